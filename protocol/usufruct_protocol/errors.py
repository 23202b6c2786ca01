"""Typed errors with a stable code and a policy.

The code is what machines compare and people search for; the policy is what a caller may do next. Everything
else (HTTP status, exit code, log level) is derived from these two at the edge.
"""

from enum import StrEnum
from typing import ClassVar


class Policy(StrEnum):
    """What the caller may do after an error."""

    NEVER_RETRY = "never_retry"
    """The input is wrong; sending it again cannot help."""
    REPLAY = "replay"
    """The work was already done; answer with what was stored then."""
    NO_BLIND_RESEND = "no_blind_resend"
    """A contract said no; read the decoded reason before sending anything again."""
    RETRY = "retry"
    """Try again a bounded number of times, waiting longer each time."""
    WAIT_OR_EXIT = "wait_or_exit"
    """The other side speaks another version; wait for it or stop."""
    HALT = "halt"
    """Stop and page a person; never retry."""
    EXIT = "exit"
    """Refuse to start."""


class UsufructError(Exception):
    """Base of every error this project raises on purpose.

    `str(error)` is the message (what went wrong, and where); `hint` says what to do about it.
    """

    code: ClassVar[str] = "error"
    policy: ClassVar[Policy] = Policy.HALT

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InputRejected(UsufructError):
    """What was given is malformed, out of range or badly signed."""

    code = "input_rejected"
    policy = Policy.NEVER_RETRY


class Conflict(UsufructError):
    """It contradicts, or repeats, something that is already recorded."""

    code = "conflict"
    policy = Policy.REPLAY


class ContractRejected(UsufructError):
    """A contract reverted; the message carries the decoded custom error."""

    code = "contract_rejected"
    policy = Policy.NO_BLIND_RESEND


class Transient(UsufructError):
    """A peer, a chain endpoint or a disk did not answer in time."""

    code = "transient"
    policy = Policy.RETRY


class Incompatible(UsufructError):
    """Chain id, rule version or format version differ."""

    code = "incompatible"
    policy = Policy.WAIT_OR_EXIT


class InvariantBroken(UsufructError):
    """Something that must always hold does not: money or counts may be wrong."""

    code = "invariant_broken"
    policy = Policy.HALT


class ConfigInvalid(UsufructError):
    """A setting is missing, malformed or unsafe."""

    code = "config_invalid"
    policy = Policy.EXIT
