"""Pulling lanes from peers: gaps are filled, forks are found wherever they lie, and none can be invented."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from usufruct_oracle.context import Base, EpochContext
from usufruct_oracle.intake.admission import Intake
from usufruct_oracle.intake.lane_sync import LaneSync
from usufruct_oracle.intake.writer import IntakeWriter
from usufruct_oracle.signed_checkpoint import SignedCheckpoint
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import FrozenHeads
from usufruct_protocol.batches import Batch
from usufruct_protocol.errors import Transient
from usufruct_protocol.receipts import Checkpoint

from tests.unit.oracle.lane_kit import DOMAIN, T0_MS, KitLane
from tests.unit.oracle.test_voting import context as epoch_context


class Node:
    """A store with an intake, and what a peer would see of it."""

    def __init__(self, path: Path, kit: KitLane) -> None:
        self.store = Store(path, exclusive=True)
        self.writer = IntakeWriter(self.store, Intake(DOMAIN))
        self.sync = LaneSync(self.store, self.writer, DOMAIN)
        self.asked = 0
        with self.store.write() as db:
            lane_store.put_lanes(db, [kit.state()])
        self.kit = kit

    def take(self, *batches: Batch) -> None:
        for batch in batches:
            self.writer.submit(batch).result(5)

    @property
    def lane(self) -> lane_store.Lane:
        return self.sync.lane(self.kit.address)

    @property
    def count(self) -> int:
        with self.store.read() as db:
            return lane_store.frontier(db, self.lane.lane_id).count

    def batches(self, _lane: bytes, from_seq: int, to_count: int) -> list[Batch]:
        self.asked += 1
        found = []
        with self.store.read() as db:
            while from_seq < to_count and len(found) < 3:
                batch = lane_store.cut_batch(db, self.lane, from_seq)
                if batch is None:
                    break
                found.append(batch)
                from_seq = batch.checkpoint.count
        return found

    def evidence(self, _lane: bytes) -> list[Batch]:
        with self.store.read() as db:
            found = lane_store.evidence_of(db, self.lane.lane_id)[:1]
        return [batch for each in found for batch in (each.ours, each.theirs)]


@pytest.fixture
def kit() -> KitLane:
    return KitLane(0)


@pytest.fixture
def nodes(tmp_path: Path, kit: KitLane) -> Iterator[tuple[Node, Node]]:
    pair = Node(tmp_path / "one.sqlite", kit), Node(tmp_path / "two.sqlite", kit)
    yield pair
    for node in pair:
        node.writer.close()
        node.store.close()


def context(finalized: dict[bytes, Checkpoint] | None = None) -> EpochContext:
    """An epoch whose period ends after every receipt of the kit."""
    chain = epoch_context().chain
    chain = dataclasses.replace(chain, previous_period_end_s=T0_MS // 1000 + 10)
    base = Base.genesis()
    return EpochContext(chain, dataclasses.replace(base, heads=finalized or {}), 0)


def cut(kit: KitLane, *counts: int, start: int = 0) -> list[Batch]:
    found = []
    for count in counts:
        found.append(kit.batch(start, count))
        start = count
    return found


def head(kit: KitLane, count: int | None = None) -> SignedCheckpoint:
    point = kit.checkpoint(count)
    return SignedCheckpoint(point, kit.sign(point))


def test_a_gap_is_filled_over_several_answers(nodes: tuple[Node, Node], kit: KitLane) -> None:
    one, two = nodes
    kit.meter(*range(50))
    two.take(*cut(kit, *range(5, 51, 5)))
    one.take(*cut(kit, 7))
    assert one.sync.obtain(context(), head(kit), [two])  # type: ignore[list-item]
    assert one.count == 50
    assert one.sync.is_countable(context(), head(kit))


def test_a_cut_that_only_the_proposer_knew_is_learned(nodes: tuple[Node, Node], kit: KitLane) -> None:
    one, _ = nodes
    kit.meter(*range(10))
    one.take(*cut(kit, 10))
    assert one.sync.obtain(context(), head(kit, 6), [])
    assert not one.sync.obtain(context(), SignedCheckpoint(kit.checkpoint(5), bytes(65)), [])


def test_a_head_beyond_the_period_or_nobody_has_is_not_countable(
    nodes: tuple[Node, Node], kit: KitLane
) -> None:
    one, two = nodes
    kit.meter(1)
    kit.meter(1, at_ms=context().period_end_ms - 1)
    kit.meter(1, at_ms=context().period_end_ms)
    two.take(*cut(kit, 1, 2, 3))
    peers = [two]
    assert not one.sync.obtain(context(), head(kit, 3), peers)  # type: ignore[arg-type]
    assert one.sync.obtain(context(), head(kit, 2), peers)  # type: ignore[arg-type]
    kit.meter(1)
    assert not one.sync.obtain(context(), head(kit, 4), peers)  # type: ignore[arg-type]


def test_what_is_finalized_counts_without_being_held(nodes: tuple[Node, Node], kit: KitLane) -> None:
    one, _ = nodes
    kit.meter(1, 2, 3)
    point = kit.checkpoint()
    assert one.sync.is_countable(context({kit.address: point}), SignedCheckpoint(point, b""))
    assert not one.sync.is_countable(context(), SignedCheckpoint(point, b""))


@pytest.mark.parametrize("fork_at", [0, 1, 7, 19, 20, 33, 39])
@pytest.mark.parametrize(("ours", "theirs"), [(40, 60), (60, 40), (50, 50), (41, 42)])
def test_a_fork_is_found_at_its_first_receipt(
    nodes: tuple[Node, Node], kit: KitLane, fork_at: int, ours: int, theirs: int
) -> None:
    """Whoever pulls from whom, both end with the lane stopped at the receipt where the histories part."""
    one, two = nodes
    kit.meter(*([3] * fork_at))
    other = kit.fork()
    kit.meter(*([5] * (ours - fork_at)))
    other.meter(*([7] * (theirs - fork_at)))
    one.take(*cut(kit, *range(4, ours, 4), ours))
    two.take(*cut(other, *range(3, theirs, 3), theirs))
    assert not one.sync.obtain(context(), head(other), [two])  # type: ignore[list-item]
    assert one.lane.conflict_seq == fork_at
    two.sync.learn_conflicts(one, FrozenHeads(1, bytes(32), (), {kit.address: fork_at}))  # type: ignore[arg-type]
    assert two.lane.conflict_seq == fork_at


def test_a_peer_cannot_invent_a_conflict(nodes: tuple[Node, Node], kit: KitLane) -> None:
    one, two = nodes
    kit.meter(*range(10))
    one.take(*cut(kit, 5, 10))
    forger = KitLane(0, key=b"\x66" * 32)
    forger.meter(*range(1, 11))
    lies = [
        Batch(kit.address, 0, forger.records, Checkpoint(kit.address, 10, 55, bytes(32)), bytes(65)),
        Batch(kit.address, 0, forger.records, kit.checkpoint(), kit.sign(kit.checkpoint())),
    ]
    two.evidence = lambda _lane: lies  # type: ignore[method-assign]
    one.sync.learn_conflicts(two, FrozenHeads(1, bytes(32), (), {kit.address: 0}))  # type: ignore[arg-type]
    assert one.lane.conflict_seq is None


def test_a_peer_that_is_gone_is_not_an_error(nodes: tuple[Node, Node], kit: KitLane) -> None:
    one, two = nodes
    kit.meter(1, 2)

    def gone(*_: object) -> list[Batch]:
        raise Transient("gone")

    two.batches = two.evidence = gone  # type: ignore[method-assign]
    assert not one.sync.obtain(context(), head(kit), [two])  # type: ignore[list-item]
    one.sync.learn_conflicts(two, FrozenHeads(1, bytes(32), (), {kit.address: 0}))  # type: ignore[arg-type]
    assert one.sync.fill([kit.checkpoint()], [two])  # type: ignore[list-item]


def test_finalized_receipts_are_filled_in_later(nodes: tuple[Node, Node], kit: KitLane) -> None:
    one, two = nodes
    kit.meter(*range(30))
    two.take(*cut(kit, 10, 20, 30))
    assert not one.sync.fill([kit.checkpoint(20)], [two])  # type: ignore[list-item]
    assert one.count >= 20
    asked = two.asked
    assert not one.sync.fill([kit.checkpoint(20)], [two])  # type: ignore[list-item]
    assert two.asked == asked
