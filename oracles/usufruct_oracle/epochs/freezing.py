"""The freeze: what this node had durably acknowledged when an epoch was cut off.

From then on it signs no lane vector that counts less (agreement 6), and what arrives later waits for the next
epoch unless another node had frozen it.
"""

from __future__ import annotations

import logging

from usufruct_oracle.storage import epoch_store, lane_store
from usufruct_oracle.storage.database import Connection
from usufruct_oracle.storage.epoch_store import Cutoff
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import FrozenHeads

_log = logging.getLogger(__name__)


def freeze(store: Store, epoch: int, at: Cutoff, period_end_s: int) -> None:
    """Freeze an epoch, once: per lane the highest checkpoint whose last receipt lies within the period."""
    with store.write() as db:
        if epoch_store.cutoff(db, epoch) is not None:
            return
        heads = {}
        for lane in lane_store.all_lanes(db):
            head = lane_store.countable_head(db, lane, period_end_s * 1000)
            if head is not None:
                heads[lane.lane_id] = head.checkpoint.count
        epoch_store.freeze(db, epoch, at, heads)
    _log.info("froze epoch %d at block %d with %d lanes", epoch, at.block, len(heads))


def frozen_view(db: Connection, epoch: int) -> FrozenHeads | None:
    """Return what peers may see of a freeze, or None if the epoch is not frozen."""
    at = epoch_store.cutoff(db, epoch)
    if at is None:
        return None
    counts = epoch_store.frozen_counts(db, epoch)
    lanes = lane_store.all_lanes(db)
    heads = [
        lane_store.checkpoint_at(db, lane, counts[lane.lane_id]) for lane in lanes if lane.lane_id in counts
    ]
    conflicts = {lane.lane: lane.conflict_seq for lane in lanes if lane.conflict_seq is not None}
    return FrozenHeads(epoch, at.block_hash, tuple(head for head in heads if head is not None), conflicts)
