"""Forgetting what people are owed: usage lists, rosters and accruals go some epochs after they were needed.

They say which purses' records were used and what those have earned. A report needs them until it is final; an
audit may want them a little longer. What a dispute or a challenge asks for (receipts, checkpoints, lane
vectors, evidence, every public file) is none of this and stays.
Source: docs/spec.md, agreement 24.
"""

from __future__ import annotations

import logging
from typing import Final

from usufruct_protocol.bundle import LANES, unpack_lanes

from usufruct_oracle.storage import epoch_store, lane_store
from usufruct_oracle.storage.store import Store

_log = logging.getLogger(__name__)
_LISTS_PER_TRANSACTION: Final = 5_000


def forget(store: Store, final_epoch: int, keep_epochs: int) -> int:
    """Delete what belongs to finalized epochs before the last `keep_epochs`.

    Returns how many usage lists went: in small transactions, so that receipts are taken in between. What a
    crash leaves is deleted the next time.
    """
    oldest_kept = final_epoch - keep_epochs + 1
    with store.write() as db:
        epoch_store.prune_restricted(db, oldest_kept)
    forgotten = 0
    for lane_id, count in _counted_before(store, oldest_kept).items():
        while True:
            with store.write() as db:
                deleted = lane_store.delete_openings(db, lane_id, count, _LISTS_PER_TRANSACTION)
            forgotten += deleted
            if not deleted:
                break
    if forgotten:
        _log.info("deleted %d usage lists of epochs before %d", forgotten, oldest_kept)
    return forgotten


def _counted_before(store: Store, epoch: int) -> dict[int, int]:
    """Return lane_id → receipts counted by the last report before an epoch that this node holds."""
    with store.read() as db:
        final = epoch_store.last_finalized(db, epoch - 1)
        body = None if final is None else epoch_store.bundle_file(db, final.epoch, final.bundle_hash, LANES)
        known = {lane.lane: lane.lane_id for lane in lane_store.all_lanes(db)}
    heads = () if body is None else unpack_lanes(body)
    return {known[head.lane]: head.count for head in heads if head is not None and head.lane in known}
