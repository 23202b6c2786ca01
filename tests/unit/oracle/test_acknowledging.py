"""What a node puts its key behind: never a time by whose period's end the checkpoint may be left out."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from usufruct_oracle.epochs.freezing import freeze, frozen_view
from usufruct_oracle.intake.acknowledging import Acknowledging
from usufruct_oracle.intake.admission import Intake
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.epoch_store import Cutoff
from usufruct_oracle.storage.store import Store
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.errors import UsufructError
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.signing import LocalSigner, address_of, recover

from tests.unit.oracle.conftest import Take
from tests.unit.oracle.lane_kit import DOMAIN, T0_MS, KitLane

KEY = b"\x0b" * 32
T0_S = T0_MS // 1000


def acknowledging(
    store: Store,
    head_time_s: int | None = 0,
    key: bytes | None = KEY,
    finalized: Checkpoint | None = None,
) -> Acknowledging:
    signer = None if key is None else LocalSigner(key)
    return Acknowledging(store, DOMAIN, signer, lambda: head_time_s, lambda _lane: finalized)


def received_at(store: Store, point: Checkpoint, head_time_s: int = 0) -> int | None:
    signed = acknowledging(store, head_time_s).sign_for(point)
    return None if signed is None else signed.ack.received_at


def frozen_count(store: Store, lane: KitLane, epoch: int) -> int:
    with store.read() as db:
        view = frozen_view(db, epoch)
    assert view is not None
    return max(
        (head.checkpoint.count for head in view.heads if head.checkpoint.lane == lane.address), default=0
    )


def freeze_at(store: Store, epoch: int, period_end_s: int, late_s: int = 1) -> None:
    freeze(store, epoch, Cutoff(epoch, bytes(32), period_end_s + late_s), period_end_s)


def test_it_signs_for_what_is_held_at_the_time_of_the_chain(store: Store, lane: KitLane, take: Take) -> None:
    lane.meter(1, 2)
    take(lane.batch())
    point = lane.batch().checkpoint
    signed = acknowledging(store, T0_S + 500).sign_for(point)
    assert signed is not None
    assert (signed.ack.checkpoint_hash, signed.ack.received_at) == (point.struct_hash(), T0_S + 500)
    assert recover(typed_digest(DOMAIN, signed.ack.struct_hash()), signed.signature) == address_of(KEY)


def test_a_checkpoint_sent_again_keeps_no_signer_busy(
    store: Store, lane: KitLane, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usufruct_oracle.intake.acknowledging._KEPT", 2)
    lane.meter(1, 2, 3)
    points = [lane.batch(0, count).checkpoint for count in (1, 2, 3)]
    for count in (1, 2, 3):
        take(lane.batch(0, count))
    clock = iter(range(T0_S + 500, T0_S + 600))
    signer = LocalSigner(KEY)
    acks = Acknowledging(store, DOMAIN, signer, lambda: next(clock), lambda _lane: None)
    first = acks.sign_for(points[0])
    assert acks.sign_for(points[0]) is first
    others = [acks.sign_for(point) for point in points[1:]]
    assert [acks.sign_for(point) for point in points[1:]] == others
    again = acks.sign_for(points[0])  # forgotten meanwhile: memory has an end
    assert first is not None
    assert again is not None
    assert again.ack.received_at > first.ack.received_at


def test_without_a_key_or_a_look_at_the_chain_it_signs_nothing(
    store: Store, lane: KitLane, take: Take
) -> None:
    lane.meter(1)
    take(lane.batch())
    point = lane.batch().checkpoint
    assert acknowledging(store, key=None).sign_for(point) is None
    assert acknowledging(store, head_time_s=None).sign_for(point) is None


def test_it_signs_for_nothing_that_a_finalized_head_rules_out(
    store: Store, lane: KitLane, take: Take
) -> None:
    """An adopted anchor may have more units than receipts that come later; those are never counted."""
    lane.meter(1, 2, 3)
    take(lane.batch())
    point = lane.batch().checkpoint
    for count, units, is_signed in ((2, 6, True), (3, 7, False), (2, 7, False), (4, 7, True)):
        adopted = Checkpoint(lane.address, count, units, bytes(32))
        assert (acknowledging(store, T0_S, finalized=adopted).sign_for(point) is not None) == is_signed


def test_it_signs_for_nothing_that_it_does_not_hold(store: Store, lane: KitLane, take: Take) -> None:
    lane.meter(1, 2)
    point = lane.batch().checkpoint
    assert received_at(store, point) is None
    take(lane.batch())
    other = lane.fork()
    other.meter(5)
    stranger = KitLane(77)
    stranger.meter(1)
    for unknown in (other.batch().checkpoint, stranger.batch().checkpoint):
        assert received_at(store, unknown) is None
    forged = Checkpoint(point.lane, point.count, point.cumulative_units + 1, point.receipts_root)
    assert received_at(store, forged) is None


def test_it_signs_for_no_checkpoint_that_a_conflict_reaches(store: Store, lane: KitLane, take: Take) -> None:
    lane.meter(1)
    first = lane.batch().checkpoint
    take(lane.batch())
    other = lane.fork()
    lane.meter(1)
    other.meter(2)
    take(lane.batch())
    with pytest.raises(UsufructError):
        take(other.batch())
    assert received_at(store, lane.batch().checkpoint) is None
    assert received_at(store, first) is not None


def test_inv_24_an_ack_after_a_freeze_comes_after_its_period(store: Store, lane: KitLane, take: Take) -> None:
    """However far the chain that this node last saw lags behind."""
    lane.meter(1)
    freeze_at(store, 1, T0_S + 100)
    take(lane.batch())
    moment = received_at(store, lane.batch().checkpoint, head_time_s=T0_S - 50)
    assert moment is not None
    assert moment > T0_S + 100


def test_inv_24_an_ack_comes_after_the_checkpoints_last_receipt(
    store: Store, lane: KitLane, take: Take
) -> None:
    """A meter whose clock runs ahead sends what this period's freeze leaves out."""
    lane.meter(1)
    lane.meter(1, at_ms=T0_MS + 10_000)
    take(lane.batch())
    moment = received_at(store, lane.batch().checkpoint, head_time_s=T0_S)
    assert moment == T0_S + 11
    freeze_at(store, 1, T0_S + 10)
    assert frozen_count(store, lane, 1) == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moves=st.lists(
        st.tuples(
            st.integers(0, 40), st.integers(-30, 30), st.integers(-30, 30), st.booleans(), st.integers(0, 5)
        ),
        min_size=1,
        max_size=8,
    )
)
def test_inv_24_what_is_acked_by_a_periods_end_is_in_its_freeze(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[int, int, int, bool, int]]
) -> None:
    """Batches and freezes in any order, with a meter's clock and a chain that run ahead and behind."""
    store = Store(tmp_path_factory.mktemp("node") / "node.sqlite", exclusive=True)
    lane = KitLane(0)
    with store.write() as db:
        lane_store.put_lanes(db, [lane.state()])
    intake_time_s, epoch, last_ms = T0_S, 0, T0_MS
    given_acks: list[tuple[int, int]] = []
    freezes: list[tuple[int, int]] = []
    for passed_s, meter_ahead_s, chain_ahead_s, is_freeze, late_s in moves:
        intake_time_s += passed_s
        if is_freeze:
            epoch += 1
            period_end_s = T0_S + 25 * epoch
            freeze_at(store, epoch, period_end_s, max(1, late_s))
            freezes.append((period_end_s, frozen_count(store, lane, epoch)))
            continue
        last_ms = max(last_ms, (intake_time_s + meter_ahead_s) * 1000)
        lane.meter(1, at_ms=last_ms)
        admit(store, lane)
        moment = received_at(store, lane.batch().checkpoint, max(0, intake_time_s + chain_ahead_s))
        assert moment is not None
        given_acks.append((moment, lane.batch().checkpoint.count))
    store.close()
    for period_end_s, count in freezes:
        assert all(acked <= count for moment, acked in given_acks if moment <= period_end_s)


def admit(store: Store, lane: KitLane) -> None:
    with store.write() as db:
        Intake(DOMAIN).admit(db, lane.batch())
