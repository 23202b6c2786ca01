"""What can go wrong between a call and its receipt, one type per remedy.

An error that stops a lane for good says "start a new lane": a lane that may have signed more than its spool
remembers would sign the same seq twice, and that is provable and costs the buyer's bond.
"""

from __future__ import annotations

from typing import Final

from usufruct_protocol.errors import (
    ConfigInvalid,
    InputRejected,
    InvariantBroken,
    Policy,
    Transient,
    UsufructError,
)

NEW_LANE_HINT: Final = "start a new lane: usufruct-meter lane new, register it, and keep this spool as it is"


class LaneLocked(ConfigInvalid):
    """Another process meters with this lane."""

    code = "lane_locked"


class LaneNotReady(ConfigInvalid):
    """The lane may not sign yet, or not any more; another one of its folder may."""

    code = "lane_not_ready"


class LaneClosed(UsufructError):
    """The lane was closed, or opened by the parent of a forked process."""

    code = "lane_closed"


class OutsideValidity(InputRejected):
    """The call ended before the lane's registered validity, or after it."""

    code = "lane_outside_validity"


class UnitCapReached(InputRejected):
    """The call's units would take the lane past its registered cap."""

    code = "lane_unit_cap"


class UnitsMissing(InputRejected):
    """A call succeeded, but nothing says how many units it took."""

    code = "units_missing"


class DatedAhead(InputRejected):
    """A call is said to have ended at a time that is still to come."""

    code = "dated_ahead"


class MeteringPaused(Transient):
    """Nothing can be metered for now; what is durable stays so.

    retry_after_s: when a caller may try again
    """

    def __init__(self, message: str, *, hint: str = "", retry_after_s: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class SpoolFull(MeteringPaused):
    """The spool could not be written for lack of room or because it was busy; nothing was signed away."""

    code = "spool_full"


class ClockAhead(MeteringPaused):
    """This machine's clock is so far ahead that receipts would be evidence against their lane."""

    code = "clock_ahead"


class LaneAhead(MeteringPaused):
    """The lane's last receipt is dated so far ahead that the next one would be evidence against the lane."""

    code = "lane_ahead"


class SpoolDoubtful(InvariantBroken):
    """The spool may not remember all that its lane has signed."""

    code = "spool_doubtful"

    def __init__(self, message: str, *, hint: str = NEW_LANE_HINT) -> None:
        super().__init__(message, hint=hint)


class SpoolOutdated(SpoolDoubtful):
    """Receipts of this lane exist that the spool does not have: it was restored from a copy."""

    code = "spool_outdated"


class SpoolCopied(SpoolDoubtful):
    """The spool is not the file that the lane was created with: it was copied or restored."""

    code = "spool_copied"


class MeteredElsewhere(Transient):
    """Another worker is metering the same response id right now."""

    code = "response_id_busy"


class AcksUnavailable(Transient):
    """The file of acknowledgements cannot be read or written."""

    code = "acks_unavailable"


class UsageListsPruned(UsufructError):
    """A node asks for receipts of which the lane keeps the records, but no longer what they used."""

    code = "usage_lists_pruned"
    policy = Policy.RETRY


class NodeRefused(InputRejected):
    """A node refused what it was sent, or answered with something that is no answer."""

    code = "node_refused"


class NodeUnavailable(Transient):
    """A node did not answer, or asked to wait (`retry_after_s`)."""

    code = "node_unavailable"

    def __init__(self, message: str, *, retry_after_s: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s
