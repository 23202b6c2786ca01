"""Accusations: looked for once in a while, answered in turn, with a proof that stands by itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_chain.challenges import Accusation, ConflictingPoints, Fork
from usufruct_chain.onchain import Block
from usufruct_chain.reverts import CallReverted
from usufruct_oracle.disputes.accusations import LOOK_EVERY_S, Accusations
from usufruct_oracle.disputes.contradictions import contradiction_of
from usufruct_oracle.epochs.submission import Stagger
from usufruct_oracle.intake.admission import LaneStopped
from usufruct_oracle.peers.client import checkpoint_only
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.store import Store
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.receipts import (
    lane_inclusion_proof,
    lane_inclusion_proof_of,
    verify_checkpoint_signature,
    verify_lane_inclusion,
)

from tests.unit.oracle.conftest import Take
from tests.unit.oracle.lane_kit import DOMAIN, KitLane

STAGGER_S = 10.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Court:
    """The challenges contract as plain data."""

    lane: bytes
    accused: list[Accusation] = field(default_factory=list)
    revoked: list[Fork | ConflictingPoints] = field(default_factory=list)
    looks: int = 0
    can_send: bool = True
    refusal: Exception | None = None

    def new_accusations(self, _block: bytes) -> list[Accusation]:
        self.looks += 1
        return list(self.accused)

    def lane_of(self, _number: int, _block: bytes) -> bytes:
        return self.lane

    def revoke(self, shown: Fork | ConflictingPoints) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.revoked.append(shown)


def block(time_s: int) -> Block:
    return Block(1, bytes(32), bytes(32), time_s)


def forked(lane: KitLane, take: Take, ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    """Let a lane of three receipts go on in two ways, and the node learn of both."""
    lane.meter(10, 10, 10)
    take(lane.batch())
    other = lane.fork()
    lane.meter(*ours)
    take(lane.batch(3))
    other.meter(*theirs, request=b"x")
    with pytest.raises(LaneStopped):
        take(other.batch(3))


def proof(store: Store, lane: KitLane) -> Fork | ConflictingPoints | None:
    with store.read() as db:
        known = lane_store.lane_by_address(db, lane.address)
        assert known is not None
        return contradiction_of(db, known)


def test_histories_that_part_are_shown_by_the_receipt_in_which_they_do(
    store: Store, lane: KitLane, take: Take
) -> None:
    forked(lane, take, (1, 1), (1, 100, 1))
    shown = proof(store, lane)
    assert isinstance(shown, Fork)
    assert shown.seq == 3
    assert shown.leaves[0] != shown.leaves[1]
    for (point, signature), leaf, siblings in zip(shown.points, shown.leaves, shown.proofs, strict=True):
        verify_checkpoint_signature(point, signature, DOMAIN)
        assert verify_lane_inclusion(point.receipts_root, point.count, 3, leaf, b"".join(siblings))


def test_checkpoints_that_conflict_by_themselves_need_no_receipt(
    store: Store, lane: KitLane, take: Take
) -> None:
    forked(lane, take, (10, 10), (1, 1))
    assert isinstance(proof(store, lane), ConflictingPoints)


def test_inv_24_what_nothing_proves_on_chain_stops_no_lane_below_what_was_acknowledged(
    store: Store, lane: KitLane, take: Take
) -> None:
    """A checkpoint over receipts that nobody shows, with a count between ours and units that fit."""
    lane.meter(10, 10, 10, 10)
    take(lane.batch())
    other = KitLane(0)
    other.meter(1, 1)
    with pytest.raises(LaneStopped):
        take(checkpoint_only(other.checkpoint(), other.sign(other.checkpoint())))
    assert proof(store, lane) is None
    lane.meter(10)
    assert take(lane.batch(4)).count == 5
    with store.read() as db:
        known = lane_store.lane_by_address(db, lane.address)
    assert known is not None
    assert known.conflict_seq is None


@pytest.mark.parametrize(
    "units", [(10, 9), (1, 1, 1), (50,)], ids=["equal count", "fewer units", "more units"]
)
def test_a_checkpoint_that_contradicts_any_of_ours_is_proof_without_receipts(
    store: Store, lane: KitLane, take: Take, units: tuple[int, ...]
) -> None:
    for _ in range(2):
        lane.meter(10, 10)
        take(lane.batch(lane.count - 2))
    other = KitLane(0)
    other.meter(*units)
    point = other.checkpoint()
    with pytest.raises(LaneStopped):
        take(checkpoint_only(point, other.sign(point)))
    shown = proof(store, lane)
    assert isinstance(shown, ConflictingPoints)
    assert shown.points[1][0] == point


def test_a_lane_is_revoked_by_the_node_whose_turn_it_is_and_once(
    store: Store, lane: KitLane, take: Take
) -> None:
    forked(lane, take, (1, 1), (1, 100, 1))
    clock, court = Clock(), Court(lane.address, [Accusation(1, 0, 4, 10**9)])
    watch = Accusations(store, court, Stagger(STAGGER_S, clock))
    watch.step(0, 4, block(LOOK_EVERY_S))
    assert court.revoked == []
    clock.now += 3 * STAGGER_S
    for _ in range(3):
        watch.step(0, 4, block(LOOK_EVERY_S))
    assert len(court.revoked) == 1
    assert court.looks == 1
    watch.step(0, 4, block(2 * LOOK_EVERY_S))
    assert court.looks == 2


def test_what_cannot_be_shown_is_said_and_a_refusal_stops_nothing(
    store: Store, lane: KitLane, take: Take, caplog: pytest.LogCaptureFixture
) -> None:
    court = Court(lane.address, [Accusation(4, 0, 4, 10**9)])
    Accusations(store, court, Stagger(STAGGER_S)).step(0, 4, block(LOOK_EVERY_S))
    assert "nothing here shows that the lane signed two histories" in caplog.text
    forked(lane, take, (1, 1), (1, 100, 1))
    court.refusal = CallReverted("UsageChallenges_UnknownLane", {}, b"")
    Accusations(store, court, Stagger(STAGGER_S)).step(0, 4, block(LOOK_EVERY_S))
    assert "lane 0 is not revoked: UsageChallenges_UnknownLane" in caplog.text
    court.can_send, court.refusal = False, None
    Accusations(store, court, Stagger(STAGGER_S)).step(0, 4, block(LOOK_EVERY_S))
    assert court.revoked == []


@given(count=st.integers(1, 70), data=st.data())
def test_a_proof_made_from_parts_is_the_one_made_from_the_whole(count: int, data: st.DataObject) -> None:
    leaves = [keccak256(bytes([number])) for number in range(count)]
    index = data.draw(st.integers(0, count - 1))
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=5)))
    parts = [leaves[a:b] for a, b in zip([0, *cuts], [*cuts, count], strict=True)]
    siblings = lane_inclusion_proof_of(parts, count, index)
    assert b"".join(siblings) == lane_inclusion_proof(leaves, index)
    for wrong_count, wrong_index in ((count, count), (count + 1, index)):
        with pytest.raises(InputRejected):
            lane_inclusion_proof_of(parts, wrong_count, wrong_index)
