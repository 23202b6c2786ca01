"""Admit receipts: verify a batch against its checkpoint, and commit it or say exactly why not.

One signature per checkpoint, one hash per receipt; the frontier goes on from the stored one. Sending again is
harmless: what is known and identical is skipped, only the rest is taken. A lane that signs two histories is
stopped at the lowest seq in which they differ, and both batches are kept as evidence; no other lane notices.
Source: docs/spec.md, agreement 6, 12 and 23.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from usufruct_protocol.batches import Batch, check_openings
from usufruct_protocol.errors import Conflict, InputRejected, InvariantBroken
from usufruct_protocol.receipts import (
    LaneFault,
    LaneFrontier,
    unpack_receipt,
    verify_batch,
    verify_checkpoint_signature,
)
from usufruct_protocol.receipts.encoding import RECORD_SIZE

from usufruct_oracle.signed_checkpoint import SignedCheckpoint
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.database import Connection
from usufruct_oracle.storage.lane_store import Evidence, Lane
from usufruct_oracle.storage.quarantine_store import put_refused

_log = logging.getLogger(__name__)
QUARANTINED: Final = InputRejected
CLOCK_TOLERANCE_S: Final = 3600
"""As in UsageChallenges: a receipt dated later than this after the chain's time is proof against its lane."""


class UnknownLane(InputRejected):
    """No such lane is registered."""

    code = "unknown_lane"

    def __init__(self, lane: bytes) -> None:
        super().__init__(
            f"lane 0x{lane.hex()} is not registered on chain",
            hint="register the lane, then send the batch again",
        )


class LaneRevoked(InputRejected):
    """The lane's key was proven dishonest or stolen."""

    code = "lane_revoked"

    def __init__(self, lane: bytes) -> None:
        super().__init__(
            f"lane 0x{lane.hex()} was revoked on chain: nothing more of it is taken",
            hint="register a new lane with a new key",
        )


class Gap(Conflict):
    """Receipts before the batch's first are missing here."""

    code = "gap"

    def __init__(self, lane: bytes, first_seq: int, expected_seq: int) -> None:
        super().__init__(
            f"lane 0x{lane.hex()}: the batch begins at seq {first_seq}, but {expected_seq} is next",
            hint=f"send from seq {expected_seq} on",
        )
        self.expected_seq = expected_seq


class LaneStopped(Conflict):
    """The lane signed two histories; nothing from the lowest conflicting seq on is taken.

    is_located: False if only two checkpoints are known to conflict, so that the fork may lie below `seq`
    """

    code = "lane_conflict"

    def __init__(self, lane: bytes, seq: int, *, is_located: bool = True) -> None:
        super().__init__(
            f"lane 0x{lane.hex()} signed two different histories from seq {seq} on",
            hint="start a new lane; this one counts up to the conflict",
        )
        self.seq = seq
        self.is_located = is_located


class FutureDated(Conflict):
    """A receipt is dated further ahead than clocks may differ; it is taken once that time has come."""

    code = "future_dated"

    def __init__(self, lane: bytes, seq: int, issued_at_ms: int, wait_s: int) -> None:
        super().__init__(
            f"lane 0x{lane.hex()} seq {seq}: issued at {issued_at_ms} ms, {wait_s} s further ahead than the "
            f"{CLOCK_TOLERANCE_S} s that clocks may differ",
            hint="set the gateway's clock: on chain such a receipt costs the lane's bond",
        )
        self.seq = seq
        self.retry_after_s = wait_s


class OutsideValidity(LaneFault):
    """A receipt is dated outside the lane's validity."""

    code = "outside_validity"


class OverUnitCap(LaneFault):
    """The lane's units pass the cap it was registered with."""

    code = "over_unit_cap"


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a lane holds after a batch, and how many receipts of it were new."""

    lane: bytes
    count: int
    new_receipts: int


class Intake:
    """Judges batches for one settlement contract. Stateless: everything it knows is in the store.

    now_s: unix seconds. Only keeps receipts out that claim to be from the future; what is counted in an epoch
           is past by chain time, so no clock decides about it.
    """

    def __init__(self, domain_separator: bytes, now_s: Callable[[], float] = time.time) -> None:
        self._domain = domain_separator
        self._now_s = now_s

    def admit(self, db: Connection, batch: Batch, *, is_probe: bool = False) -> Admitted:
        """Take a batch into a write transaction of the store.

        is_probe: the batch was fetched to find out where two histories part. If it is refused without showing
        that, nothing is written down.
        Raises: UnknownLane, Gap, LaneStopped, LaneFault or InputRejected. The transaction must then still be
        committed: it may hold evidence, or the quarantined input.
        """
        lane = lane_store.lane_by_address(db, batch.lane)
        if lane is None:
            raise UnknownLane(batch.lane)
        try:
            return self._judge(db, lane, batch, is_probe)
        except QUARANTINED as error:
            _log.debug("refused a batch: %s", error, extra={"code": error.code})
            if not is_probe:
                seq = _storable(getattr(error, "seq", None))
                now_s = int(self._now_s())
                put_refused(db, lane.lane, seq, error.code, str(error), batch.encode(), now_s)
            raise

    def _judge(self, db: Connection, lane: Lane, batch: Batch, is_probe: bool) -> Admitted:
        if batch.checkpoint.count == 0:
            raise InputRejected(f"lane 0x{lane.lane.hex()}: a checkpoint over no receipts says nothing")
        held = lane_store.frontier(db, lane.lane_id)
        if batch.first_seq > held.count:
            raise Gap(lane.lane, batch.first_seq, held.count)
        differing_seq = _first_difference(db, lane, batch, held.count)
        if differing_seq is not None:
            self._refuse_other_history(db, lane, batch, differing_seq, is_probe)
        if batch.checkpoint.count <= held.count:
            self._confirm(db, lane, batch, is_probe)
            return Admitted(lane.lane, held.count, 0)
        if lane.conflict_seq is not None and batch.checkpoint.count > lane.conflict_seq:
            raise LaneStopped(lane.lane, lane.conflict_seq)
        return self._append(db, lane, batch, held)

    def _append(self, db: Connection, lane: Lane, batch: Batch, held: LaneFrontier) -> Admitted:
        """Take the part of a batch that is new; the part before it is known and identical."""
        new_records = batch.records[(held.count - batch.first_seq) * RECORD_SIZE :]
        after = verify_batch(held, new_records, batch.checkpoint, batch.signature, self._domain)
        check_openings(batch, needed_from=lane.finalized_count)
        _check_validity(lane, new_records, after)
        self._check_not_ahead(lane, after)
        openings = {seq: data for seq, data in batch.openings.items() if seq >= held.count}
        lane_store.insert_receipts(db, lane.lane_id, new_records, openings)
        lane_store.insert_checkpoint(
            db, lane.lane_id, SignedCheckpoint(batch.checkpoint, batch.signature), after
        )
        return Admitted(lane.lane, after.count, after.count - held.count)

    def _check_not_ahead(self, lane: Lane, after: LaneFrontier) -> None:
        """Refuse a batch whose last receipt is from the future. Times never fall: the last one suffices."""
        ahead_ms = after.last_issued_at_ms - int((self._now_s() + CLOCK_TOLERANCE_S) * 1000)
        if ahead_ms > 0:
            raise FutureDated(lane.lane, after.count - 1, after.last_issued_at_ms, -(-ahead_ms // 1000))

    def _confirm(self, db: Connection, lane: Lane, batch: Batch, is_probe: bool) -> None:
        """Accept a checkpoint over receipts that are all known; keep it if it is a new one."""
        point = batch.checkpoint
        known = lane_store.checkpoint_at(db, lane, point.count)
        if known is not None and known.checkpoint == point:
            return
        verify_checkpoint_signature(point, batch.signature, self._domain)
        ours = lane_store.frontier_at(db, lane, point.count)
        if (ours.root(), ours.cumulative_units) != (point.receipts_root, point.cumulative_units):
            seq = _last_certain_seq(db, lane, point.count)
            # Nobody can count receipts that nobody shows. To stop for them below what was acknowledged would
            # cost those who acknowledged it their bonds, were there nothing to prove the other history by.
            if not is_probe and lane_store.contradicted_by(db, lane, point) is not None:
                self._stop(db, lane, seq, batch)
            raise LaneStopped(lane.lane, seq, is_located=False)
        lane_store.insert_checkpoint(db, lane.lane_id, SignedCheckpoint(point, batch.signature), ours)

    def _refuse_other_history(
        self, db: Connection, lane: Lane, batch: Batch, seq: int, is_probe: bool
    ) -> None:
        """Tell a second history that the lane signed from wrong bytes under a signature, and refuse both."""
        verify_checkpoint_signature(batch.checkpoint, batch.signature, self._domain)
        before = lane_store.frontier_at(db, lane, batch.first_seq)
        try:
            verify_batch(before, batch.records, batch.checkpoint, batch.signature, self._domain)
        except LaneFault:
            # The receipts are not those that were signed, so where the histories part is not known. If the
            # checkpoint itself contradicts what we hold, the lane is dishonest all the same.
            if batch.checkpoint.count > lane_store.frontier(db, lane.lane_id).count:
                raise
            self._confirm(db, lane, batch, is_probe)
            raise
        self._stop(db, lane, seq, batch)
        raise LaneStopped(lane.lane, seq)

    @staticmethod
    def _stop(db: Connection, lane: Lane, seq: int, theirs: Batch) -> None:
        lane_store.stop_at_conflict(db, lane, _evidence(db, lane, seq, theirs))
        _log.error("lane 0x%s signed two histories: stopped at seq %d", lane.lane.hex(), seq)


def _storable(seq: int | None) -> int | None:
    """Return a seq as far as the store has room for it: a bad receipt may claim any 64 bits."""
    return seq if seq is not None and seq < 2**63 else None


def _first_difference(db: Connection, lane: Lane, batch: Batch, held_count: int) -> int | None:
    """Return the lowest seq in which a batch differs from the receipts held, or None."""
    end = min(held_count, batch.checkpoint.count)
    if end <= batch.first_seq:
        return None
    known = lane_store.records(db, lane.lane_id, batch.first_seq, end)
    if known == batch.records[: len(known)]:
        return None
    for start in range(0, len(known), RECORD_SIZE):
        if known[start : start + RECORD_SIZE] != batch.records[start : start + RECORD_SIZE]:
            return batch.first_seq + start // RECORD_SIZE
    raise InvariantBroken(f"lane 0x{lane.lane.hex()}: {len(known)} bytes differ, but no receipt in them does")


def _check_validity(lane: Lane, new_records: bytes, after: LaneFrontier) -> None:
    """Refuse receipts outside [valid_from, valid_to) or over the cap. Times never fall: the ends suffice."""
    if not new_records:
        return
    first = unpack_receipt(lane.lane, new_records[:RECORD_SIZE])
    for seq, issued_at_ms in ((first.seq, first.issued_at_ms), (after.count - 1, after.last_issued_at_ms)):
        if not lane.valid_from_ms <= issued_at_ms < lane.valid_to_ms:
            raise OutsideValidity(
                f"issued at {issued_at_ms} ms, outside [{lane.valid_from_ms}, {lane.valid_to_ms})",
                lane=lane.lane,
                seq=seq,
                hint="register a new lane for this time",
            )
    if after.cumulative_units > lane.unit_cap:
        raise OverUnitCap(
            f"{after.cumulative_units} units pass the lane's cap of {lane.unit_cap}",
            lane=lane.lane,
            seq=after.count - 1,
            hint="register a new lane",
        )


def _last_certain_seq(db: Connection, lane: Lane, count: int) -> int:
    """Return where a lane stops when only its checkpoints at `count` conflict: at the one before."""
    below = lane_store.checkpoint_below(db, lane, count)
    return 0 if below is None else below.checkpoint.count


def _evidence(db: Connection, lane: Lane, seq: int, theirs: Batch) -> Evidence:
    """Pair a conflicting batch with ours, both as short as they can be.

    A node that holds the receipts before them can judge the two by itself.
    """
    certain_seq = _last_certain_seq(db, lane, seq + 1)
    ours = lane_store.cut_batch(db, lane, certain_seq)
    if ours is None:
        raise InvariantBroken(
            f"lane 0x{lane.lane.hex()}: no checkpoint above {certain_seq} to hold against another"
        )
    first_seq = max(theirs.first_seq, certain_seq)
    records = theirs.records[(first_seq - theirs.first_seq) * RECORD_SIZE :]
    openings = {number: data for number, data in theirs.openings.items() if number >= first_seq}
    return Evidence(
        seq, ours, Batch(lane.lane, first_seq, records, theirs.checkpoint, theirs.signature, openings)
    )
