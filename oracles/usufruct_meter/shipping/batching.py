"""Cutting a spool into batches for one node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from usufruct_protocol.batches import MAX_BATCH_BYTES, MAX_BATCH_RECEIPTS, Batch
from usufruct_protocol.receipts import RECORD_SIZE

from usufruct_meter.errors import UsageListsPruned
from usufruct_meter.lanes.spool_reader import CheckpointRow, SpoolReader

_LOOK_AHEAD: Final = 64
_ENVELOPE_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much a node takes at once."""

    receipts: int = MAX_BATCH_RECEIPTS
    bytes: int = MAX_BATCH_BYTES - _ENVELOPE_BYTES

    def halved(self) -> BatchLimits:
        """Return smaller limits for a node that refused a batch as too large."""
        return BatchLimits(max(1, self.receipts // 2), max(1, self.bytes // 2))


def next_batch(reader: SpoolReader, first_seq: int, limits: BatchLimits) -> Batch | None:
    """Return the next batch of a lane from a seq on, or None if no checkpoint covers it yet.

    It ends at the last checkpoint that is within the limits **and** in the same period as the first one: a
    node counts a period through a checkpoint that ends in it, so the closing one is never skipped. The span
    up to the first checkpoint is sent even if it is over the limits: nothing smaller is signed.
    Raises: UsageListsPruned if the lane no longer keeps what these receipts used.
    """
    _check_kept(reader, first_seq)
    chosen: CheckpointRow | None = None
    for row in reader.checkpoints_after(first_seq, _LOOK_AHEAD):
        if chosen is not None and (
            row.epoch != chosen.epoch or not _fits(reader, first_seq, row.checkpoint.count, limits)
        ):
            break
        chosen = row
    if chosen is None:
        return None
    end = chosen.checkpoint.count
    return Batch(
        chosen.checkpoint.lane,
        first_seq,
        reader.records(first_seq, end),
        chosen.checkpoint,
        chosen.signature,
        reader.openings(first_seq, end),
    )


def _check_kept(reader: SpoolReader, first_seq: int) -> None:
    pruned_below = reader.usage_pruned_below()
    if first_seq < pruned_below:
        raise UsageListsPruned(
            f"the node wants receipts from seq {first_seq} on; usage lists below {pruned_below} are pruned",
            hint="they are in finalized reports: the node gets them, or what came of them, from its peers",
        )


def _fits(reader: SpoolReader, first_seq: int, end: int, limits: BatchLimits) -> bool:
    if end - first_seq > limits.receipts:
        return False
    return (end - first_seq) * RECORD_SIZE + reader.openings_bytes(first_seq, end) <= limits.bytes
