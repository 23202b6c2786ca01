"""What the reader returns besides ChainState, as plain data.

Money in base units; hashes as bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from usufruct_protocol.report_types import EpochReport


@dataclass(frozen=True, slots=True)
class Block:
    """A block: its number, hash, parent's hash, and its time in seconds of chain time."""

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp_s: int


@dataclass(frozen=True, slots=True)
class SettlementState:
    """Where reporting stands at one block.

    `last_*` are of the last finalized report (epoch 0, genesis and block 0 before the first);
    `finalizable_at_s` is when the pending report's dispute window ends; `next_attempt` is the lowest attempt
    that the next submit may carry; `rejections` counts the guardian's in the open epoch.
    """

    last_epoch: int
    last_period_end_s: int
    last_finalized_block: int
    finalizable_at_s: int
    next_attempt: int
    rejections: int
    pending: bool


@dataclass(frozen=True, slots=True)
class AccountState:
    """The escrow account of one license: deposited = available + reserved + charged + withdrawn."""

    available: int
    reserved: int
    charged: int
    cumulative_units: int
    deposited: int
    withdrawn: int


@dataclass(frozen=True, slots=True)
class TreeState:
    """An issued tree: root, what it promises, what it has paid, how many notes it has, when it was issued."""

    root: bytes
    total: int
    paid: int
    count: int
    issued_at_s: int


@dataclass(frozen=True, slots=True)
class SubmittedReport:
    """A report as it was posted: what was signed, the signatures, and the transaction that carried it."""

    report: EpochReport
    report_hash: bytes
    signatures: bytes
    transaction_hash: bytes
    block_number: int
    finalizable_at_s: int
