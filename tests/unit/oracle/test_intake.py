"""Intake: what is admitted, what is refused and why, and that one lane's trouble stays its own."""

from __future__ import annotations

import dataclasses
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from usufruct_oracle.intake.admission import (
    FutureDated,
    Gap,
    Intake,
    LaneStopped,
    OutsideValidity,
    OverUnitCap,
    UnknownLane,
)
from usufruct_oracle.peers.client import checkpoint_only
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.lane_store import Lane
from usufruct_oracle.storage.quarantine_store import put_refused
from usufruct_oracle.storage.store import Store
from usufruct_protocol.batches import Batch
from usufruct_protocol.errors import InputRejected, UsufructError
from usufruct_protocol.receipts import (
    Checkpoint,
    CheckpointRootWrong,
    CheckpointSignatureWrong,
    CheckpointUnitsWrong,
    CumulativeUnitsWrong,
    ReceiptGap,
    ReceiptTimeWentBack,
    settlement_domain,
)
from usufruct_protocol.receipts.encoding import RECORD_SIZE

from tests.unit.oracle.conftest import NewStore, Take
from tests.unit.oracle.lane_kit import DOMAIN, T0_MS, KitLane, record_tag


def held(store: Store, kit: KitLane) -> Lane:
    with store.read() as db:
        lane = lane_store.lane_by_address(db, kit.address)
    assert lane is not None
    return lane


def records(store: Store, kit: KitLane) -> bytes:
    with store.read() as db:
        lane = lane_store.lane_by_address(db, kit.address)
        assert lane is not None
        return lane_store.records(db, lane.lane_id, 0, lane_store.frontier(db, lane.lane_id).count)


def test_batches_are_taken_and_come_back_as_they_were(store: Store, lane: KitLane, take: Take) -> None:
    lane.meter(5, 7, usage=[(record_tag(1), 2)])
    assert take(lane.batch()).count == 2
    lane.meter(*range(1, 20))
    admitted = take(lane.batch(2))
    assert (admitted.count, admitted.new_receipts) == (21, 19)
    assert records(store, lane) == lane.records
    with store.read() as db:
        back = lane_store.cut_batch(db, held(store, lane), 0)
        assert back is not None
        assert back.encode() == lane.batch(0, 2).encode()
        frontier = lane_store.frontier(db, held(store, lane).lane_id)
    assert (frontier.root(), frontier.cumulative_units) == (
        lane.checkpoint().receipts_root,
        lane.checkpoint().cumulative_units,
    )


def test_the_same_batch_again_adds_nothing(store: Store, lane: KitLane, take: Take) -> None:
    lane.meter(1, 2, 3)
    batch = lane.batch()
    take(batch)
    again = take(batch)
    assert (again.count, again.new_receipts) == (3, 0)
    assert records(store, lane) == lane.records


def test_an_overlap_that_is_identical_gives_its_new_part(store: Store, lane: KitLane, take: Take) -> None:
    lane.meter(1, 2, 3, usage=[(record_tag(4), 1)])
    take(lane.batch())
    lane.meter(4, 5, usage=[(record_tag(5), 1)])
    admitted = take(lane.batch(1))
    assert (admitted.count, admitted.new_receipts) == (5, 2)
    assert records(store, lane) == lane.records
    with store.read() as db:
        assert len(list(lane_store.usage_lists(db, held(store, lane).lane_id, 0, 5))) == 5


def test_a_gap_names_what_is_expected(lane: KitLane, take: Take) -> None:
    lane.meter(1, 2, 3)
    take(lane.batch(0, 1))
    with pytest.raises(Gap) as caught:
        take(lane.batch(2))
    assert caught.value.expected_seq == 1


def test_a_lane_nobody_registered_is_refused(take: Take) -> None:
    stranger = KitLane(77)
    stranger.meter(1)
    with pytest.raises(UnknownLane):
        take(stranger.batch())


def altered(batch: Batch, seq: int, offset: int, value: bytes) -> Batch:
    at = (seq - batch.first_seq) * RECORD_SIZE + offset
    blob = batch.records[:at] + value + batch.records[at + len(value) :]
    return dataclasses.replace(batch, records=blob)


def test_bad_batches_are_refused_by_cause_and_quarantined(store: Store, lane: KitLane, take: Take) -> None:
    lane.meter(1, 2, 3, usage=[(record_tag(1), 1)])
    good = lane.batch()
    other_domain = lane.batch(domain=settlement_domain(1, b"\x5e" * 20))
    too_many_units = Checkpoint(lane.address, 3, 7, good.checkpoint.receipts_root)
    cases: list[tuple[Batch, type[InputRejected]]] = [
        (other_domain, CheckpointSignatureWrong),
        (dataclasses.replace(good, signature=bytes(65)), CheckpointSignatureWrong),
        (dataclasses.replace(good, signature=b""), CheckpointSignatureWrong),
        (
            dataclasses.replace(good, checkpoint=too_many_units, signature=lane.sign(too_many_units)),
            CheckpointUnitsWrong,
        ),
        (altered(good, 1, 8, (9).to_bytes(8, "big")), CumulativeUnitsWrong),
        (altered(good, 1, 0, (7).to_bytes(8, "big")), ReceiptGap),
        (altered(good, 2, 96, (5).to_bytes(8, "big")), ReceiptTimeWentBack),
        (altered(good, 2, 64, b"\xee"), CheckpointRootWrong),
        (dataclasses.replace(good, openings={}), InputRejected),
        (dataclasses.replace(good, openings={**good.openings, 1: good.openings[0]}), InputRejected),
    ]
    for number, (batch, cause) in enumerate(cases):
        with pytest.raises(cause):
            take(batch)
        with store.read() as db:
            rows = db.execute(
                "SELECT lane, code, reason, size FROM quarantine ORDER BY quarantine_id"
            ).fetchall()
        assert len(rows) == number + 1
        assert rows[-1][:2] == (lane.address, cause.code)
        assert rows[-1][3] == len(batch.encode())
    assert records(store, lane) == b""
    assert take(good).count == 3  # nothing of it wedged the lane


def test_receipts_from_the_future_wait_until_their_time(store: Store, lane: KitLane) -> None:
    clock = {"now_s": T0_MS / 1000}
    intake = Intake(DOMAIN, lambda: clock["now_s"])
    lane.meter(1, at_ms=T0_MS + 3_600_000)
    lane.meter(2, at_ms=T0_MS + 3_600_001)
    with store.write() as db:
        assert intake.admit(db, lane.batch(0, 1)).count == 1
        with pytest.raises(FutureDated) as caught:
            intake.admit(db, lane.batch(1))
        assert (caught.value.seq, caught.value.retry_after_s) == (1, 1)
        assert db.execute("SELECT count(*) FROM quarantine").fetchone() == (0,)
        clock["now_s"] += 1
        assert intake.admit(db, lane.batch(1)).count == 2


def test_a_seq_too_large_for_the_store_is_refused_like_any_other(lane: KitLane, take: Take) -> None:
    lane.meter(1, 2)
    with pytest.raises(ReceiptGap):
        take(altered(lane.batch(), 1, 0, (2**64 - 1).to_bytes(8, "big")))
    assert take(lane.batch()).count == 2


def test_the_quarantine_has_an_end_and_no_lane_fills_that_of_another(store: Store, lane: KitLane) -> None:
    other = KitLane(1).address
    with store.write() as db:
        put_refused(db, other, 7, "x", "y", b"first", 1)
        for number in range(220):
            put_refused(db, lane.address, None, "x", "y", b"z" * 9_999, number)
    with store.read() as db:
        count, oldest, longest = db.execute(
            "SELECT count(*), min(received_at_s), max(length(head)) FROM quarantine WHERE lane = ?",
            (lane.address,),
        ).fetchone()
        others = db.execute("SELECT head FROM quarantine WHERE lane = ?", (other,)).fetchall()
    assert (count, oldest, longest) == (200, 20, 512)
    assert others == [(b"first",)]


def test_receipts_outside_validity_or_over_the_cap_are_refused(store: Store, take: Take) -> None:
    kit = KitLane(3)
    with store.write() as db:
        lane_store.put_lanes(db, [kit.state(valid_from_ms=T0_MS, valid_to_ms=T0_MS + 10, unit_cap=100)])
    early = kit.fork()
    early.meter(1, at_ms=T0_MS - 1)
    with pytest.raises(OutsideValidity, match="seq 0"):
        take(early.batch())
    kit.meter(40, at_ms=T0_MS)
    kit.meter(60, at_ms=T0_MS + 9)
    assert take(kit.batch()).count == 2
    late, greedy = kit.fork(), kit.fork()
    late.meter(0, at_ms=T0_MS + 10)
    with pytest.raises(OutsideValidity, match="seq 2"):
        take(late.batch(2))
    greedy.meter(1, at_ms=T0_MS + 9)
    with pytest.raises(OverUnitCap):
        take(greedy.batch(2))


def test_a_checkpoint_over_nothing_is_refused(lane: KitLane, take: Take) -> None:
    nothing = Checkpoint(lane.address, 0, 5, b"\x01" * 32)
    with pytest.raises(InputRejected, match="no receipts"):
        take(checkpoint_only(nothing, lane.sign(nothing)))


def test_a_new_cut_through_known_receipts_is_kept(store: Store, lane: KitLane, take: Take) -> None:
    lane.meter(*range(1, 11))
    take(lane.batch())
    for count in (4, 7, 1):
        point = lane.checkpoint(count)
        assert take(checkpoint_only(point, lane.sign(point))).new_receipts == 0
    with store.read() as db:
        for count in (1, 4, 7, 10):
            kept = lane_store.checkpoint_at(db, held(store, lane), count)
            assert kept is not None
            assert kept.checkpoint == lane.checkpoint(count)
        assert lane_store.frontier_at(db, held(store, lane), 6).root() == lane.frontier(6).root()


# Two histories


def test_another_history_stops_the_lane_at_its_first_difference(
    store: Store, lane: KitLane, take: Take
) -> None:
    lane.meter(*range(1, 7))
    liar = lane.fork()
    lane.meter(5, 5, 5)
    liar.meter(5)
    liar.meter(4, 5, 6, request=b"other")
    take(lane.batch(0, 4))
    take(lane.batch(4))
    with pytest.raises(LaneStopped) as caught:
        take(liar.batch(4))
    assert caught.value.seq == 7
    assert held(store, lane).conflict_seq == 7
    assert records(store, lane) == lane.records  # what was acknowledged stays
    with store.read() as db:
        (evidence,) = lane_store.evidence_of(db, held(store, lane).lane_id)
        below = lane_store.countable_head(db, held(store, lane), 2**62)
    assert evidence.seq == 7
    assert evidence.ours.record(7) == lane.batch().record(7)
    assert evidence.theirs.record(7) == liar.batch().record(7)
    assert below is not None
    assert below.checkpoint.count == 4


def test_a_stopped_lane_takes_nothing_beyond_the_conflict_and_repeats_are_still_fine(
    store: Store, lane: KitLane, take: Take
) -> None:
    lane.meter(1, 2, 3, 4)
    liar = lane.fork()
    lane.meter(5)
    liar.meter(6)
    take(lane.batch())
    with pytest.raises(LaneStopped):
        take(liar.batch())
    lane.meter(7)
    with pytest.raises(LaneStopped):
        take(lane.batch(5))
    assert take(lane.batch(0, 5)).new_receipts == 0
    lower = lane.fork()
    lower.records = lower.records[:RECORD_SIZE]
    lower.meter(9, 9, 9, 9)
    with pytest.raises(LaneStopped) as caught:
        take(lower.batch())
    assert caught.value.seq == 1
    assert held(store, lane).conflict_seq == 1


def test_another_lane_does_not_notice(store: Store, lane: KitLane, take: Take) -> None:
    honest = KitLane(1)
    with store.write() as db:
        lane_store.put_lanes(db, [honest.state()])
    honest.meter(1)
    take(honest.batch())
    liar = lane.fork()
    lane.meter(1)
    liar.meter(2)
    take(lane.batch())
    with pytest.raises(LaneStopped):
        take(liar.batch())
    honest.meter(2, 3)
    assert take(honest.batch(1)).count == 3


def test_evidence_convinces_a_node_that_holds_the_past(
    store: Store, lane: KitLane, take: Take, new_store: NewStore
) -> None:
    """What one node keeps as evidence is enough for the next, whichever of the two histories it holds."""
    lane.meter(*range(1, 30))
    liar = lane.fork()
    lane.meter(1, 1, 1)
    liar.meter(1, 2, 3)
    take(lane.batch(0, 20))
    take(lane.batch(20))
    with pytest.raises(LaneStopped):
        take(liar.batch(3))
    with store.read() as db:
        (evidence,) = lane_store.evidence_of(db, held(store, lane).lane_id)
    for other in (lane, liar):
        fresh = new_store()
        stopped = 0
        with fresh.write() as db:
            lane_store.put_lanes(db, [lane.state()])
            intake = Intake(DOMAIN)
            intake.admit(db, other.batch())
            for batch in (evidence.ours, evidence.theirs):
                try:
                    intake.admit(db, batch)
                except LaneStopped:
                    stopped += 1
        assert stopped == 1
        assert held(fresh, lane).conflict_seq == 30


def test_wrong_receipts_under_a_true_checkpoint_prove_nothing(
    store: Store, lane: KitLane, take: Take
) -> None:
    """Anyone on the way can change bytes; only what the lane signed may stop a lane."""
    lane.meter(1, 2, 3)
    take(lane.batch())
    genuine = lane.batch()
    forged = altered(genuine, 1, 64, b"\xaa")
    with pytest.raises(CheckpointRootWrong):
        take(forged)
    lane.meter(4)
    longer = altered(lane.batch(), 1, 64, b"\xaa")
    with pytest.raises(CheckpointRootWrong):
        take(longer)
    assert held(store, lane).conflict_seq is None
    assert take(lane.batch(3)).count == 4


def test_two_checkpoints_of_one_count_stop_the_lane_at_the_one_before(
    store: Store, lane: KitLane, take: Take
) -> None:
    lane.meter(*range(1, 9))
    take(lane.batch(0, 5))
    take(lane.batch(5))
    contradiction = Checkpoint(lane.address, 8, 36, b"\x66" * 32)
    with pytest.raises(LaneStopped) as caught:
        take(checkpoint_only(contradiction, lane.sign(contradiction)))
    assert caught.value.seq == 5
    assert held(store, lane).conflict_seq == 5
    with pytest.raises(CheckpointSignatureWrong):
        take(checkpoint_only(Checkpoint(lane.address, 3, 6, b"\x67" * 32), bytes(65)))
    assert held(store, lane).conflict_seq == 5


def test_a_conflict_among_the_very_first_receipts_leaves_nothing(
    store: Store, lane: KitLane, take: Take
) -> None:
    liar = lane.fork()
    lane.meter(1)
    liar.meter(2)
    take(lane.batch())
    with pytest.raises(LaneStopped) as caught:
        take(liar.batch())
    assert caught.value.seq == 0
    with store.read() as db:
        assert lane_store.countable_head(db, held(store, lane), 2**62) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    starts=st.lists(st.integers(0, 40), min_size=8, max_size=8),
)
def test_any_order_of_overlapping_batches_ends_in_the_same_lane(store, cuts, starts) -> None:
    """Cut and repeated as a shipper may do it: the store holds the lane, or a prefix of it."""
    with store.read() as db:
        kit = KitLane(len(lane_store.all_lanes(db)))  # a new one each time
    kit.meter(*range(40))
    intake = Intake(DOMAIN)
    highest = 0
    with store.write() as db:
        lane_store.put_lanes(db, [kit.state()])
        for end, start in zip(cuts, starts, strict=False):
            first = min(start, end)
            if first > highest:
                with pytest.raises(Gap):
                    intake.admit(db, kit.batch(first, end))
                continue
            admitted = intake.admit(db, kit.batch(first, end))
            highest = max(highest, end)
            assert admitted.count == highest
    assert records(store, kit) == kit.records[: highest * RECORD_SIZE]
    assert held(store, kit).conflict_seq is None


def test_a_lane_follows_what_the_registry_says(store: Store, lane: KitLane) -> None:
    before = held(store, lane)
    with store.write() as db:
        lane_store.put_lanes(db, [lane.state(valid_to_ms=77, unit_cap=9), KitLane(1).state()])
    after = held(store, lane)
    assert (after.valid_to_ms, after.unit_cap) == (77, 9)
    assert (after.lane_id, after.license_id) == (before.lane_id, before.license_id)
    with store.read() as db:
        assert len(lane_store.all_lanes(db)) == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(bends=st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 255)), min_size=1, max_size=3))
def test_no_bent_batch_wedges_a_lane(store, take, bends) -> None:
    """Whatever arrives instead of a batch, the batch itself is taken afterwards, and nothing else was."""
    with store.read() as db:
        kit = KitLane(len(lane_store.all_lanes(db)))
    with store.write() as db:
        lane_store.put_lanes(db, [kit.state()])
    kit.meter(*range(20), usage=[(record_tag(1), 1)])
    assert take(kit.batch(0, 10)).count == 10
    bent = bytearray(kit.batch(10).encode())
    for at, change in bends:
        bent[at % len(bent)] ^= change
    with suppress(UsufructError):
        take(Batch.decode(bytes(bent)))
    assert take(kit.batch(10)).count == 20
    assert records(store, kit) == kit.records
    assert held(store, kit).conflict_seq is None
