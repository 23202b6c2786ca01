"""Verify a batch of receipts against one signed checkpoint: one signature, one hash per receipt.

Every check runs over the whole batch at once; only when one fails is the batch walked receipt by receipt, to
name the first that is wrong.
"""

from itertools import accumulate

from usufruct_protocol.errors import InvariantBroken
from usufruct_protocol.receipts.encoding import receipt_hashes, record_columns, record_count
from usufruct_protocol.receipts.faults import (
    CheckpointCountWrong,
    CheckpointRootWrong,
    CheckpointUnitsWrong,
    ReceiptGap,
)
from usufruct_protocol.receipts.lane_tree import LaneFrontier, check_time, check_units
from usufruct_protocol.receipts.structs import (
    MAX_CUMULATIVE_UNITS,
    MAX_RECEIPT_UNITS,
    Checkpoint,
    verify_checkpoint_signature,
)


def verify_batch(
    frontier: LaneFrontier,
    receipts_blob: bytes,
    checkpoint: Checkpoint,
    signature: bytes,
    domain_separator: bytes,
) -> LaneFrontier:
    """Return the frontier after a batch, if every receipt in it may be counted.

    Shapes: `receipts_blob` is n >= 0 records of 104 bytes, from seq `frontier.count` on; the checkpoint
            covers exactly the receipts so far and these. The given frontier is not changed.
    Checks: the lane's signature (first, so that a stranger cannot make a node hash for nothing), contiguous
            seqs, units < 2^48, cumulative units exact and < 2^96, time that never falls, and the root.
    Raises: LaneFault, one type per cause, naming lane and seq; InputRejected for a cut-off record.
    Source: docs/spec.md, lanes
    """
    lane = checkpoint.lane
    count = frontier.count + record_count(lane, receipts_blob)
    if checkpoint.count != count:
        raise CheckpointCountWrong(
            f"checkpoint covers {checkpoint.count} receipts, but {count} are at hand",
            lane=lane,
            seq=checkpoint.count,
        )
    verify_checkpoint_signature(checkpoint, signature, domain_separator)
    after = frontier.copy()
    if count > frontier.count:
        after.cumulative_units, after.last_issued_at_ms = _check_fields(frontier, lane, receipts_blob)
        after.extend(receipt_hashes(lane, receipts_blob))
    if checkpoint.cumulative_units != after.cumulative_units:
        raise CheckpointUnitsWrong(
            f"checkpoint says {checkpoint.cumulative_units} units, its receipts {after.cumulative_units}",
            lane=lane,
            seq=count,
        )
    if checkpoint.receipts_root != after.root():
        raise CheckpointRootWrong(
            "checkpoint commits to other receipts",
            lane=lane,
            seq=count,
            hint="a receipt differs from the one that was signed, here or in an earlier batch",
        )
    return after


def _check_fields(frontier: LaneFrontier, lane: bytes, records: bytes) -> tuple[int, int]:
    """Return the last cumulative units and time of the batch. Raises: LaneFault for the first bad receipt."""
    seqs, units, cumulative, times = record_columns(records)
    expected = range(frontier.count, frontier.count + len(seqs))
    is_good = (
        seqs == list(expected)
        and max(units) <= MAX_RECEIPT_UNITS
        and [frontier.cumulative_units, *cumulative]
        == list(accumulate(units, initial=frontier.cumulative_units))
        and cumulative[-1] <= MAX_CUMULATIVE_UNITS
        and frontier.last_issued_at_ms <= times[0]
        and times == sorted(times)
    )
    if is_good:
        return cumulative[-1], times[-1]
    totals_before = [frontier.cumulative_units, *cumulative[:-1]]
    times_before = [frontier.last_issued_at_ms, *times[:-1]]
    for row in zip(expected, seqs, units, cumulative, totals_before, times, times_before, strict=True):
        expected_seq, seq, unit_count, total, previous_total, issued_at_ms, previous_ms = row
        if seq != expected_seq:
            raise ReceiptGap(f"expected seq {expected_seq}", lane=lane, seq=seq)
        check_units(lane, seq, unit_count, total, previous_total)
        check_time(lane, seq, issued_at_ms, previous_ms)
    raise InvariantBroken(f"lane 0x{lane.hex()}: batch fails as a whole, but no receipt in it does")
