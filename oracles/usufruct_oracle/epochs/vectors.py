"""The lane vector of an attempt: composed by its proposer, checked by everybody else.

Source: docs/spec.md, agreement 6.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Final

from usufruct_protocol.chain_state import LaneState
from usufruct_protocol.errors import InvariantBroken
from usufruct_protocol.receipts import Checkpoint

from usufruct_oracle.context import EpochContext
from usufruct_oracle.intake.lane_sync import LaneSync, contradicts
from usufruct_oracle.peers.client import Peer, Peers
from usufruct_oracle.peers.rosters import Rosters
from usufruct_oracle.signed_checkpoint import SignedCheckpoint
from usufruct_oracle.storage import epoch_store, lane_store
from usufruct_oracle.storage.lane_store import Lane
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import FrozenHeads, Vector

_log = logging.getLogger(__name__)
_UNSIGNED: Final = b""


class Vectors:
    """Proposes and accepts lane vectors. What it returned once for an attempt is stored and never changes.

    patience_seconds: how long a proposer waits for peers that have not frozen the epoch yet or do not answer;
                      one that starts again may have acknowledged what nobody else has
    """

    def __init__(
        self,
        store: Store,
        sync: LaneSync,
        peers: Peers,
        rosters: Rosters,
        own_address: bytes,
        patience_seconds: float,
    ) -> None:
        self._store = store
        self._sync = sync
        self._peers = peers
        self._rosters = rosters
        self._own_address = own_address
        self._patience_seconds = patience_seconds
        self._waiting_since: tuple[int, int, float] | None = None
        self._last_objection: tuple[int, int, str] | None = None

    def obtain(self, context: EpochContext, attempt: int) -> Vector | None:
        """Return the vector of an attempt that this node may sign for, or None while there is none."""
        with self._store.read() as db:
            stored = epoch_store.vector(db, context.epoch, attempt)
        if stored is not None:
            return stored
        if context.proposer(attempt) == self._own_address:
            vector = self._compose(context, attempt)
        else:
            vector = self._accept(context, attempt)
        if vector is not None:
            with self._store.write() as db:
                epoch_store.put_vector(db, vector)
        return vector

    def _compose(self, context: EpochContext, attempt: int) -> Vector | None:
        """Take for each lane the highest head that a reachable node had frozen and that can be had whole."""
        answers = self._peers.ask_all(lambda peer: peer.frozen(context.epoch))
        frozen_by = {address: frozen for address, frozen in answers.items() if frozen is not None}
        if len(frozen_by) < len(self._peers) and self._is_patient(context.epoch, attempt):
            return None
        self._learn_conflicts(context, frozen_by)
        heads, adopted = [], []
        for state in context.chain.lanes:
            head = self._best_head(context, state.lane, frozen_by)
            if state.anchor is not None and not state.keeps_anchor(head.checkpoint if head else None):
                head = self._held_anchor(context, state.anchor)
                if head is None:
                    head = SignedCheckpoint(state.anchor, _UNSIGNED)
                    adopted.append(state.number)
                    _log.warning("lane %d: adopting %d anchored receipts", state.number, state.anchor.count)
            heads.append(head)
        withheld = self._rosters.missing(context.chain)
        cutoff_block_hash = context.chain.cutoff_block_hash
        return Vector(context.epoch, attempt, cutoff_block_hash, tuple(heads), withheld, tuple(adopted))

    def _held_anchor(self, context: EpochContext, anchor: Checkpoint) -> SignedCheckpoint | None:
        """Return an anchored checkpoint, signed, if its receipts are held and count; they may be late."""
        lane = self._sync.lane(anchor.lane)
        with self._store.read() as db:
            held = lane_store.checkpoint_at(db, lane, anchor.count)
        if held is None or held.checkpoint != anchor or not self._sync.is_countable(context, held):
            return None
        return held

    def _best_head(
        self, context: EpochContext, lane: bytes, frozen_by: Mapping[bytes, FrozenHeads]
    ) -> SignedCheckpoint | None:
        finalized = context.base.heads.get(lane)
        lowest = 0 if finalized is None else finalized.count
        offers: dict[SignedCheckpoint, list[Peer]] = {}
        for address, frozen in frozen_by.items():
            peer = self._peers.by_address(address)
            for head in frozen.heads:
                if peer is not None and head.checkpoint.lane == lane:
                    offers.setdefault(head, []).append(peer)
        own = self._own_head(context, lane)
        if own is not None:
            offers.setdefault(own, [])
        for head in sorted(offers, key=lambda each: -each.checkpoint.count):
            if head.checkpoint.count > lowest and self._sync.obtain(context, head, offers[head]):
                return head
        # Looking for them may have shown two histories: what lies below the fork counts all the same.
        own = self._own_head(context, lane)
        if own is not None and own.checkpoint.count > lowest and self._sync.is_countable(context, own):
            return own
        return self._with_signature(lane, context)

    def _own_head(self, context: EpochContext, lane_address: bytes) -> SignedCheckpoint | None:
        """Return the highest checkpoint within this node's own freeze that it would still sign for."""
        lane = self._sync.lane(lane_address)
        with self._store.read() as db:
            frozen = epoch_store.frozen_counts(db, context.epoch).get(lane.lane_id, 0)
            head = lane_store.countable_head(db, lane, context.period_end_ms, frozen)
        is_void = head is not None and contradicts(head.checkpoint, context.base.heads.get(lane_address))
        return None if is_void else head

    def _with_signature(self, lane_address: bytes, context: EpochContext) -> SignedCheckpoint | None:
        """Return the finalized head of a lane again, with its signature if this node happens to hold it."""
        finalized = context.base.heads.get(lane_address)
        if finalized is None:
            return None
        lane = self._sync.lane(lane_address)
        with self._store.read() as db:
            held = lane_store.checkpoint_at(db, lane, finalized.count)
        return (
            held
            if held is not None and held.checkpoint == finalized
            else SignedCheckpoint(finalized, _UNSIGNED)
        )

    def _accept(self, context: EpochContext, attempt: int) -> Vector | None:
        """Fetch the proposer's vector and everything it counts; None unless this node may sign for it."""
        proposer = self._peers.by_address(context.proposer(attempt))
        if proposer is None:
            return None
        vector = self._peers.ask(proposer, lambda peer: peer.vector(context.epoch, attempt))
        if vector is None:
            return None
        objection = self._objection(context, attempt, vector, proposer)
        if objection:
            self._say_once((context.epoch, attempt, objection))
            return None
        return vector

    def _say_once(self, objection: tuple[int, int, str]) -> None:
        """Log an objection when it is a new one: this node looks again and again, it may go away."""
        if objection != self._last_objection:
            self._last_objection = objection
            _log.info("epoch %d, attempt %d: not signing: %s", *objection)

    def _objection(self, context: EpochContext, attempt: int, vector: Vector, proposer: Peer) -> str:
        """Return why this node does not sign for a vector (yet), or nothing."""
        if (vector.epoch, vector.attempt) != (context.epoch, attempt):
            return f"the proposer sent the vector of epoch {vector.epoch}, attempt {vector.attempt}"
        if vector.cutoff_block_hash != context.chain.cutoff_block_hash:
            return "the proposer sees another cut-off block"
        if len(vector.heads) != len(context.chain.lanes):
            return f"the vector has {len(vector.heads)} lanes, the registry {len(context.chain.lanes)}"
        with self._store.read() as db:
            frozen = epoch_store.frozen_counts(db, context.epoch)
        for state, head in zip(context.chain.lanes, vector.heads, strict=True):
            if state.number in vector.adopted:
                objection = self._adoption_objection(context, state, head)
            else:
                objection = self._lane_objection(context, state, head, frozen, proposer)
            if objection:
                return f"lane {state.number}: {objection}"
        missing = self._rosters.missing(context.chain)
        if missing != vector.withheld:
            return f"licenses {missing} have no roster here, the vector says {vector.withheld}"
        return ""

    def _lane_objection(
        self,
        context: EpochContext,
        state: LaneState,
        head: SignedCheckpoint | None,
        frozen: Mapping[int, int],
        proposer: Peer,
    ) -> str:
        finalized = context.base.heads.get(state.lane)
        lane = self._sync.lane(state.lane)
        count = 0 if head is None else head.checkpoint.count
        if head is not None and head.checkpoint.lane != state.lane:
            return f"the vector names lane 0x{head.checkpoint.lane.hex()}"
        if finalized is not None and count < finalized.count:
            return f"{count} is less than the {finalized.count} that are finalized"
        if not state.keeps_anchor(head.checkpoint if head else None):
            return f"{count} is less than was anchored in time"
        if count < frozen.get(lane.lane_id, 0) and self._is_owed(context, lane, frozen[lane.lane_id]):
            if lane.conflict_seq is None:
                self._sync.learn_conflict(proposer, lane)
                lane = self._sync.lane(state.lane)
            if lane.conflict_seq is None:
                return f"{count} is less than the {frozen[lane.lane_id]} that were acknowledged here"
        if head is not None and not self._sync.obtain(context, head, self._sources(proposer)):
            return f"the {count} receipts cannot be had whole, or do not count"
        return ""

    def _is_owed(self, context: EpochContext, lane: Lane, frozen: int) -> bool:
        """Tell whether what was frozen of a lane must be counted: not if it contradicts what is finalized."""
        with self._store.read() as db:
            held = lane_store.checkpoint_at(db, lane, frozen)
        return held is None or not contradicts(held.checkpoint, context.base.heads.get(lane.lane))

    def _adoption_objection(
        self, context: EpochContext, state: LaneState, head: SignedCheckpoint | None
    ) -> str:
        """Return why a lane is not to be counted by its anchor alone, or nothing."""
        finalized = context.base.heads.get(state.lane)
        if head is None or head.checkpoint != state.anchor:
            return "what the vector adopts is not what was anchored"
        if finalized is not None and state.keeps_anchor(finalized):
            return "what was anchored is finalized or contradicted: nothing is to be adopted"
        own = self._own_head(context, state.lane)
        if own is not None and state.keeps_anchor(own.checkpoint):
            return f"{own.checkpoint.count} receipts are held here: nothing is to be adopted"
        return ""

    def _sources(self, proposer: Peer) -> list[Peer]:
        return [proposer, *(peer for peer in self._peers if peer is not proposer)]

    def _learn_conflicts(self, context: EpochContext, frozen_by: Mapping[bytes, FrozenHeads]) -> None:
        for address, frozen in frozen_by.items():
            peer = self._peers.by_address(address)
            if peer is None:
                raise InvariantBroken(f"an answer of 0x{address.hex()}, who was never asked")
            self._sync.learn_conflicts(peer, frozen)

    def _is_patient(self, epoch: int, attempt: int) -> bool:
        """Tell whether peers that have not shown what they froze may still be waited for."""
        now = time.monotonic()
        if self._waiting_since is None or self._waiting_since[:2] != (epoch, attempt):
            self._waiting_since = (epoch, attempt, now)
        return now - self._waiting_since[2] < self._patience_seconds
