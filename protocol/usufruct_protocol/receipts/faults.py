"""What can be wrong with a lane's receipts, one type per cause.

A node quarantines the input with the code, and goes on with every other lane.
"""

from usufruct_protocol.errors import InputRejected


class LaneFault(InputRejected):
    """Something in one lane breaks its rules.

    `lane` is the 20-byte key address; `seq` is the receipt at fault, or a checkpoint's count.
    """

    code = "lane_fault"

    def __init__(self, message: str, *, lane: bytes, seq: int, hint: str = "") -> None:
        super().__init__(f"lane 0x{lane.hex()} seq {seq}: {message}", hint=hint)
        self.lane = lane
        self.seq = seq


class ReceiptGap(LaneFault):
    """A seq is missing, repeated or out of order."""

    code = "receipt_gap"


class ReceiptUnitsTooLarge(LaneFault):
    """Units or cumulative units pass the limits that keep every later sum exact."""

    code = "receipt_units_too_large"


class CumulativeUnitsWrong(LaneFault):
    """Cumulative units are not the previous ones plus this receipt's units."""

    code = "cumulative_units_wrong"


class ReceiptTimeWentBack(LaneFault):
    """A receipt is dated before the one that precedes it."""

    code = "receipt_time_went_back"


class CheckpointCountWrong(LaneFault):
    """A checkpoint's count is not the number of receipts up to the end of the batch."""

    code = "checkpoint_count_wrong"


class CheckpointUnitsWrong(LaneFault):
    """A checkpoint's cumulative units are not those of its last receipt."""

    code = "checkpoint_units_wrong"


class CheckpointRootWrong(LaneFault):
    """A checkpoint commits to other receipts than the ones that came with it."""

    code = "checkpoint_root_wrong"


class CheckpointSignatureWrong(LaneFault):
    """A checkpoint is not signed by its lane, for this contract on this chain."""

    code = "checkpoint_signature_wrong"
