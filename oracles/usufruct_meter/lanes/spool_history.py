"""Is a checkpoint that the lane signed part of what its spool remembers?"""

from __future__ import annotations

from usufruct_protocol.receipts import Checkpoint, LaneFrontier

from usufruct_meter.errors import SpoolOutdated
from usufruct_meter.lanes.spool_reader import SpoolReader


def contradiction(point: Checkpoint, reader: SpoolReader, shown_by: str) -> SpoolOutdated | None:
    """Return the error if a checkpoint of this lane proves that the spool lost or changed receipts.

    That the lane signed the checkpoint is for the caller to have checked.
    """
    own_count = reader.count()
    if point.count > own_count:
        return SpoolOutdated(
            f"the lane has signed {point.count} receipts, as {shown_by} proves; the spool has {own_count}"
        )
    if _root_and_units_at(reader, point) != (point.receipts_root, point.cumulative_units):
        return SpoolOutdated(
            f"the lane has signed other receipts than the spool's below seq {point.count},"
            f" as {shown_by} proves"
        )
    return None


def _root_and_units_at(reader: SpoolReader, point: Checkpoint) -> tuple[bytes, int]:
    """Return root and units of the spool's first `point.count` receipts."""
    for row in reader.checkpoints_after(point.count - 1, 1):
        if row.checkpoint.count == point.count:
            return row.checkpoint.receipts_root, row.checkpoint.cumulative_units
    frontier = LaneFrontier()
    for stored, _ in reader.receipts_from(point.lane, 0):
        if stored.receipt.seq >= point.count:
            break
        frontier.append(stored.receipt)
    return frontier.root(), frontier.cumulative_units
