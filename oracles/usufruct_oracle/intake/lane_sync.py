"""Getting receipts that other nodes hold and this one does not, and learning of dishonest lanes on the way.

Whatever a peer sends goes through the same intake as what a meter sends: a peer is a messenger, no witness.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from usufruct_protocol.batches import Batch
from usufruct_protocol.errors import Transient, UsufructError
from usufruct_protocol.receipts import (
    Checkpoint,
    CheckpointSignatureWrong,
    LaneFault,
    verify_checkpoint_signature,
)

from usufruct_oracle.context import EpochContext
from usufruct_oracle.intake.admission import LaneStopped
from usufruct_oracle.intake.writer import IntakeWriter
from usufruct_oracle.peers.client import Peer, checkpoint_only
from usufruct_oracle.signed_checkpoint import SignedCheckpoint
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.lane_store import Lane
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import FrozenHeads

_log = logging.getLogger(__name__)
_COMMIT_TIMEOUT_S: Final = 60.0


class LaneSync:
    """Pulls lanes from peers into the store."""

    def __init__(self, store: Store, writer: IntakeWriter, domain_separator: bytes) -> None:
        self._store = store
        self._writer = writer
        self._domain = domain_separator

    def lane(self, address: bytes) -> Lane:
        """Return a lane that the registry lists. Raises: Transient if the store has not heard of it yet."""
        with self._store.read() as db:
            lane = lane_store.lane_by_address(db, address)
        if lane is None:
            raise Transient(f"lane 0x{address.hex()} is not in the store yet")
        return lane

    def is_countable(self, context: EpochContext, signed: SignedCheckpoint) -> bool:
        """Tell whether this node would sign for a lane head.

        It is the one already finalized; or it is held whole, has no fewer units than the finalized one, its
        last receipt lies before the period's end, and no conflict reaches it. (Validity and cap hold for
        everything in the store.)
        """
        point = signed.checkpoint
        finalized = context.base.heads.get(point.lane)
        if finalized == point:
            return True
        if contradicts(point, finalized):
            return False
        with self._store.read() as db:
            lane = lane_store.lane_by_address(db, point.lane)
            if lane is None or (lane.conflict_seq is not None and point.count > lane.conflict_seq):
                return False
            held = lane_store.checkpoint_at(db, lane, point.count)
            last_ms = lane_store.last_issued_at_ms(db, lane.lane_id, point.count)
        return (
            held is not None
            and held.checkpoint == point
            and last_ms is not None
            and last_ms < context.period_end_ms
        )

    def obtain(self, context: EpochContext, signed: SignedCheckpoint, sources: Iterable[Peer]) -> bool:
        """Try to hold a lane head whole, asking the sources in turn; tell whether it is countable.

        Nobody is asked for what the lane did not sign.
        """
        if self.is_countable(context, signed):
            return True
        if not self._is_signed(signed):
            return False
        lane = self.lane(signed.checkpoint.lane)
        if lane.conflict_seq is not None and signed.checkpoint.count > lane.conflict_seq:
            return False
        claim = checkpoint_only(signed.checkpoint, signed.signature)
        is_contradicted = False
        for source in (None, *sources):
            if source is not None:
                self._pull(lane, signed.checkpoint.count, source)
            if self._held_count(lane) >= signed.checkpoint.count:
                # A cut that this node did not know: the same receipts under another checkpoint, or a fork.
                refusal = self._take(claim, is_probe=True)
                is_contradicted = _is_other_history(refusal)
                if source is not None and is_contradicted and self._find_fork(lane, source, claim):
                    return False
            if self.is_countable(context, signed):
                return True
        if is_contradicted:
            self._take(claim)  # nobody has the receipts behind it: the two checkpoints stop the lane
        return False

    def fill(self, finalized: Iterable[Checkpoint], sources: Iterable[Peer]) -> bool:
        """Fetch receipts that are finalized and not held here; tell whether any are still missing.

        Nothing waits for them, but the more nodes hold them the safer they are, and later ones build on them.
        """
        is_missing = False
        for point in finalized:
            lane = self.lane(point.lane)
            for source in sources:
                if lane.conflict_seq is None and self._held_count(lane) < point.count:
                    self._pull(lane, point.count, source)
            is_missing |= lane.conflict_seq is None and self._held_count(lane) < point.count
        return is_missing

    def learn_conflicts(self, peer: Peer, frozen: FrozenHeads) -> None:
        """Fetch and judge the evidence behind conflicts that a peer knows of and this node does not."""
        for address, seq in frozen.conflicts.items():
            with self._store.read() as db:
                lane = lane_store.lane_by_address(db, address)
            if lane is not None and (lane.conflict_seq is None or seq < lane.conflict_seq):
                self.learn_conflict(peer, lane)

    def learn_conflict(self, peer: Peer, lane: Lane) -> None:
        """Fetch and judge what a peer holds against one lane."""
        try:
            batches = peer.evidence(lane.lane)
        except UsufructError as error:
            _log.debug("no evidence from %s: %s", peer, error)
            return
        for batch in batches:
            if batch.lane == lane.lane:
                self._take_from(peer, lane, batch)

    def _is_signed(self, signed: SignedCheckpoint) -> bool:
        try:
            verify_checkpoint_signature(signed.checkpoint, signed.signature, self._domain)
        except LaneFault as error:
            _log.debug("a lane head that nobody signed: %s", error)
            return False
        return True

    def _pull(self, lane: Lane, to_count: int, peer: Peer) -> None:
        """Take receipts from a peer until the lane is held up to a count, or the peer has no more to give."""
        while (held := self._held_count(lane)) < to_count:
            try:
                batches = peer.batches(lane.lane, held, to_count)
            except UsufructError as error:
                _log.debug("no receipts from %s: %s", peer, error)
                return
            for batch in batches:
                if self._take_from(peer, lane, batch) is not None:
                    return
            if self._held_count(lane) == held:
                return

    def _take_from(self, peer: Peer, lane: Lane, batch: Batch) -> UsufructError | None:
        """Hand a peer's batch to intake; if it tells another history than ours, find where the two part.

        Two checkpoints that conflict stop a lane by themselves only if their receipts cannot be had.
        """
        refusal = self._take(batch, is_probe=True)
        if not _is_other_history(refusal) or self._find_fork(lane, peer, batch):
            return refusal
        return self._take(batch)

    def _find_fork(self, lane: Lane, peer: Peer, other: Batch) -> bool:
        """Look for the lowest receipt in which a peer's history of a lane differs from ours, by halving.

        Our history and the one that `other` tells differ somewhere below the end of the shorter one. The
        batch that begins below the fork and reaches beyond it proves the conflict, and intake keeps it.
        """
        agreed, differs = 0, min(self._held_count(lane), other.checkpoint.count)
        while agreed < differs:
            middle = (agreed + differs) // 2
            try:
                batches = peer.batches(lane.lane, middle, middle + 1)
            except UsufructError:
                return False
            if not batches or batches[0].first_seq != middle:
                return False
            refusal = self._take(batches[0], is_probe=True)
            if refusal is None:
                agreed = max(middle + 1, min(batches[0].checkpoint.count, differs))
            elif _is_other_history(refusal):
                differs = middle
            else:
                return isinstance(refusal, LaneStopped)
        return False

    def _take(self, batch: Batch, *, is_probe: bool = False) -> UsufructError | None:
        """Hand a batch to intake; return why it was refused, or None if it is durable."""
        try:
            self._writer.submit(batch, is_probe=is_probe).result(timeout=_COMMIT_TIMEOUT_S)
        except UsufructError as error:
            _log.debug("batch from a peer refused: %s", error)
            return error
        except TimeoutError as error:
            raise Transient(f"a batch was not stored within {_COMMIT_TIMEOUT_S:g} s") from error
        return None

    def _held_count(self, lane: Lane) -> int:
        with self._store.read() as db:
            return lane_store.frontier(db, lane.lane_id).count


def contradicts(point: Checkpoint, finalized: Checkpoint | None) -> bool:
    """Tell whether a checkpoint has fewer units than a finalized one of no more receipts.

    That happens only after an adoption, and both are signed by the lane: proof of two histories. It never
    counts, or units would fall. A history that differs from what was adopted in its receipts alone does
    count: nodes may have acknowledged it, and would be slashed for leaving it out.
    """
    return (
        finalized is not None
        and point.count >= finalized.count
        and point.cumulative_units < finalized.cumulative_units
    )


def _is_other_history(refusal: UsufructError | None) -> bool:
    """Tell whether a refusal means that two histories differ, without saying from where on."""
    if isinstance(refusal, LaneStopped):
        return not refusal.is_located
    return isinstance(refusal, LaneFault) and not isinstance(refusal, CheckpointSignatureWrong)
