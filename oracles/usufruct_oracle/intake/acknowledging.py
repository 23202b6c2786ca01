"""Acknowledgements: what a buyer can hold against this node's key, so given with care.

An ack says that a checkpoint was held, whole and durable, at a time. On chain it answers the charge that
a buyer hid receipts, and costs the bond of every signer that gave it and then signed a report which counts
less. So its time is never one at or before the end of a period whose report may leave the checkpoint out:
- after the cut-off of every epoch that was frozen by then, because a freeze does not look back;
- after the second of the checkpoint's last receipt, because a freeze leaves out checkpoints that reach beyond
  the period (meters' clocks may run ahead).
Whatever is acknowledged at or before a period's end is therefore in that period's freeze, and this node signs
nothing lower. Its own clock takes no part.
Source: docs/spec.md sections 10 and 11.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.errors import Transient
from usufruct_protocol.receipts import Checkpoint, CheckpointAck
from usufruct_protocol.signing import Signer

from usufruct_oracle.intake.lane_sync import contradicts
from usufruct_oracle.storage import epoch_store, lane_store
from usufruct_oracle.storage.store import Store

_log = logging.getLogger(__name__)
_KEPT: Final = 4_096


@dataclass(frozen=True, slots=True)
class SignedAck:
    """An acknowledgement and this node's signature, 65 bytes."""

    ack: CheckpointAck
    signature: bytes


class Acknowledging:
    """Signs for checkpoints that this node holds. Without a key it never does.

    head_time_s:    time of the last block that was looked at, or None before the first look
    finalized_head: what the last finalized report this node took over counts of a lane
    """

    def __init__(
        self,
        store: Store,
        domain_separator: bytes,
        signer: Signer | None,
        head_time_s: Callable[[], int | None],
        finalized_head: Callable[[bytes], Checkpoint | None],
    ) -> None:
        self._store = store
        self._domain = domain_separator
        self._signer = signer
        self._head_time_s = head_time_s
        self._finalized_head = finalized_head
        self._lock = threading.Lock()
        self._given: dict[bytes, SignedAck] = {}

    def sign_for(self, point: Checkpoint) -> SignedAck | None:
        """Return an acknowledgement if this very checkpoint is held and would be counted, else None.

        Nothing that a conflict reaches, and nothing that contradicts a finalized head, is ever counted.

        To be called after the commit that stored it: what is frozen by now is then seen.
        """
        head_time_s = self._head_time_s()
        if self._signer is None or head_time_s is None:
            return None
        if contradicts(point, self._finalized_head(point.lane)):
            return None
        with self._store.read() as db:
            lane = lane_store.lane_by_address(db, point.lane)
            if lane is None or (lane.conflict_seq is not None and point.count > lane.conflict_seq):
                return None
            held = lane_store.checkpoint_at(db, lane, point.count)
            last_issued_at_ms = lane_store.last_issued_at_ms(db, lane.lane_id, point.count)
            last_cutoff_s = epoch_store.last_cutoff_time_s(db)
        if held is None or held.checkpoint != point or last_issued_at_ms is None:
            return None
        checkpoint_hash = point.struct_hash()
        with self._lock:
            given = self._given.get(checkpoint_hash)
        if given is not None:
            return (
                given  # true for ever; and whoever sends a checkpoint again does not keep a slow signer busy
            )
        received_at = max(head_time_s, last_cutoff_s + 1, last_issued_at_ms // 1000 + 1)
        ack = CheckpointAck(checkpoint_hash, received_at)
        try:
            signature = self._signer.sign_digest(typed_digest(self._domain, ack.struct_hash()))
        except Transient as error:
            # The checkpoint is on disk all the same; the meter asks again, or anchors.
            _log.warning("no acknowledgement: %s", error)
            return None
        signed = SignedAck(ack, signature)
        with self._lock:
            self._given[checkpoint_hash] = signed
            if len(self._given) > _KEPT:
                del self._given[next(iter(self._given))]
        return signed
