"""Lane vectors and anchors: what a gateway put on chain is counted, with its receipts or without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from usufruct_oracle.context import Base, EpochContext
from usufruct_oracle.epochs.freezing import freeze, frozen_view
from usufruct_oracle.epochs.reporting import count_new_usage
from usufruct_oracle.epochs.vectors import Vectors
from usufruct_oracle.signed_checkpoint import SignedCheckpoint
from usufruct_oracle.storage import epoch_store
from usufruct_oracle.storage.epoch_store import Cutoff
from usufruct_oracle.wire_json import Vector
from usufruct_protocol.chain_state import LicenseState, MeterKind
from usufruct_protocol.money import SplitBps
from usufruct_protocol.receipts import Checkpoint

from tests.unit.oracle.lane_kit import T0_MS, KitLane, record_tag
from tests.unit.oracle.test_lane_sync import Node, cut, head
from tests.unit.oracle.test_voting import SIGNERS
from tests.unit.oracle.test_voting import context as epoch_context

EPOCH = 1
PERIOD_END_S = T0_MS // 1000 + 20
PROPOSER, OTHER = SIGNERS[EPOCH % len(SIGNERS)], SIGNERS[(EPOCH + 1) % len(SIGNERS)]


class Network:
    """Two nodes that reach each other. `said` replaces what the proposer shows; `is_down` silences both."""

    def __init__(self, nodes: dict[bytes, Node]) -> None:
        self.nodes = nodes
        self.said: Vector | None = None
        self.is_down = False

    def vectors(self, own: bytes, patience_seconds: float = 0.0) -> Vectors:
        rosters = SimpleNamespace(missing=lambda _chain: ())
        peers = PeersOf(self, own)
        node = self.nodes[own]
        return Vectors(node.store, node.sync, peers, rosters, own, patience_seconds)  # type: ignore[arg-type]

    def settle(self, context: EpochContext) -> tuple[Vector | None, Vector | None]:
        """What the proposer proposes for attempt 0, and what the other makes of it."""
        at = Cutoff(context.chain.cutoff_block, context.chain.cutoff_block_hash, context.chain.cutoff_time_s)
        for node in self.nodes.values():
            freeze(node.store, EPOCH, at, PERIOD_END_S)
        proposed = self.vectors(PROPOSER).obtain(context, 0)
        return proposed, self.vectors(OTHER).obtain(context, 0)


class PeersOf:
    """The other node, as a node's peers."""

    def __init__(self, network: Network, own: bytes) -> None:
        self._network = network
        self._peers = {
            address: SimpleNamespace(
                address=address,
                frozen=lambda epoch, node=node: self._read(node, frozen_view, epoch),
                vector=lambda epoch, attempt, node=node: (
                    network.said or self._read(node, epoch_store.vector, epoch, attempt)
                ),
                batches=node.batches,
                evidence=node.evidence,
            )
            for address, node in network.nodes.items()
            if address != own
        }

    @staticmethod
    def _read(node: Node, question: Callable[..., Any], *arguments: int) -> Any:
        with node.store.read() as db:
            return question(db, *arguments)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._peers.values())

    def __len__(self) -> int:
        return len(self._peers)

    def by_address(self, address: bytes) -> Any:
        return self._peers.get(address)

    def ask_all(self, question: Callable[[Any], Any]) -> dict[bytes, Any]:
        if self._network.is_down:
            return {}
        return {address: question(peer) for address, peer in self._peers.items()}

    def ask(self, peer: Any, question: Callable[[Any], Any]) -> Any:
        return question(peer)


@pytest.fixture
def kit() -> KitLane:
    return KitLane(0)


@pytest.fixture
def network(tmp_path: Path, kit: KitLane) -> Iterator[Network]:
    nodes = {PROPOSER: Node(tmp_path / "one.sqlite", kit), OTHER: Node(tmp_path / "two.sqlite", kit)}
    yield Network(nodes)
    for node in nodes.values():
        node.writer.close()
        node.store.close()


def context(
    kit: KitLane, anchor: Checkpoint | None, finalized: Checkpoint | None = None, **changes: Any
) -> EpochContext:
    """The epoch whose period ends 20 seconds after the kit's first receipt."""
    state = LicenseState(
        1, MeterKind.RETRIEVAL, 1, 1, SplitBps(10_000, 0, 0, 0, 0), bytes(32), bytes(32), 0, 0, 0
    )
    lane = dataclasses.replace(kit.state(), anchor=anchor)
    chain = dataclasses.replace(
        epoch_context().chain, previous_period_end_s=PERIOD_END_S - 10, lanes=(lane,), licenses=(state,)
    )
    heads = {} if finalized is None else {finalized.lane: finalized}
    base = dataclasses.replace(Base.genesis(), heads=heads, **changes)
    return EpochContext(chain, base, 0)


def unsigned(point: Checkpoint) -> SignedCheckpoint:
    return SignedCheckpoint(point, b"")


def used(node: Node, at: EpochContext, vector: Vector) -> dict[int, dict[bytes, int]]:
    points = [None if each is None else each.checkpoint for each in vector.heads]
    with node.store.read() as db:
        return count_new_usage(db, at, points, vector.adopted)


def test_an_anchor_whose_receipts_nobody_has_is_adopted_without_uses(network: Network, kit: KitLane) -> None:
    """A gateway that anchors and ships nothing pays for what it signed, and holds nobody up."""
    kit.meter(1, 1, 1, usage=[(record_tag(1), 1)])
    for node in network.nodes.values():
        node.take(*cut(kit, 3))
    kit.meter(*range(20))
    at = context(kit, kit.checkpoint())
    proposed, accepted = network.settle(at)
    assert proposed is not None
    assert accepted == proposed
    assert (proposed.heads, proposed.adopted) == ((unsigned(kit.checkpoint()),), (0,))
    assert used(network.nodes[OTHER], at, proposed) == {}


def test_an_anchor_below_what_is_held_changes_nothing(network: Network, kit: KitLane) -> None:
    kit.meter(*range(20), usage=[(record_tag(1), 1)])
    network.nodes[OTHER].take(*cut(kit, 10, 20))
    at = context(kit, kit.checkpoint(15))
    proposed, accepted = network.settle(at)
    assert proposed is not None
    assert accepted == proposed
    assert (proposed.heads, proposed.adopted) == ((head(kit),), ())
    assert used(network.nodes[PROPOSER], at, proposed) == {1: {record_tag(1): 20}}


def test_receipts_that_came_after_the_freeze_count_up_to_the_anchor(network: Network, kit: KitLane) -> None:
    kit.meter(*range(20))
    at = context(kit, kit.checkpoint(15))
    cutoff = Cutoff(at.chain.cutoff_block, at.chain.cutoff_block_hash, at.chain.cutoff_time_s)
    for node in network.nodes.values():
        freeze(node.store, EPOCH, cutoff, PERIOD_END_S)
    network.nodes[PROPOSER].take(*cut(kit, 15, 20))
    proposed, accepted = network.settle(at)
    assert proposed is not None
    assert accepted == proposed
    assert (proposed.heads, proposed.adopted) == ((head(kit, 15),), ())


def test_receipts_dated_after_the_period_bind_once_anchored(network: Network, kit: KitLane) -> None:
    kit.meter(5, 5)
    kit.meter(5, at_ms=PERIOD_END_S * 1000)
    for node in network.nodes.values():
        node.take(*cut(kit, 2, 3))
    proposed, accepted = network.settle(context(kit, kit.checkpoint()))
    assert proposed is not None
    assert accepted == proposed
    assert (proposed.heads, proposed.adopted) == ((unsigned(kit.checkpoint()),), (0,))


def test_nobody_signs_for_less_than_was_anchored(
    network: Network, kit: KitLane, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    kit.meter(*range(20))
    for node in network.nodes.values():
        node.take(*cut(kit, 10))
    at = context(kit, kit.checkpoint())
    network.said = Vector(EPOCH, 0, at.chain.cutoff_block_hash, (head(kit, 10),))
    assert network.settle(at)[1] is None
    assert "10 is less than was anchored in time" in caplog.text


@pytest.mark.parametrize(
    ("held", "finalized", "adopts", "objection"),
    [
        (20, 0, 15, "20 receipts are held here"),
        (0, 0, 14, "not what was anchored"),
        (0, 15, 15, "is finalized or contradicted"),
    ],
)
def test_an_adoption_without_need_is_not_signed(
    network: Network,
    kit: KitLane,
    caplog: pytest.LogCaptureFixture,
    held: int,
    finalized: int,
    adopts: int,
    objection: str,
) -> None:
    """Adopting takes the uses out of the weights: no proposer may choose it."""
    caplog.set_level("INFO")
    kit.meter(*range(20))
    if held:
        network.nodes[OTHER].take(*cut(kit, held))
    at = context(kit, kit.checkpoint(15), kit.checkpoint(finalized) if finalized else None)
    adopted = (unsigned(kit.checkpoint(adopts)),)
    network.said = Vector(EPOCH, 0, at.chain.cutoff_block_hash, adopted, (), (0,))
    assert network.settle(at)[1] is None
    assert objection in caplog.text


def test_a_history_of_fewer_units_than_were_adopted_is_never_counted(network: Network, kit: KitLane) -> None:
    """Else units would fall below what is finalized, and no report could follow."""
    kit.meter(*range(10))
    other = kit.fork()
    other.meter(*[9] * 5)
    anchored = other.checkpoint()
    kit.meter(*[0] * 10)
    for node in network.nodes.values():
        node.take(*cut(kit, 10, 20))
    proposed, accepted = network.settle(context(kit, anchored, finalized=anchored))
    assert proposed is not None
    assert accepted == proposed
    assert (proposed.heads, proposed.adopted) == ((unsigned(anchored),), ())


def test_a_second_anchor_is_adopted_whatever_other_history_is_held(network: Network, kit: KitLane) -> None:
    kit.meter(*range(10))
    other = kit.fork()
    other.meter(*[9] * 8)
    kit.meter(*[0] * 10)
    for node in network.nodes.values():
        node.take(*cut(kit, 10, 20))
    proposed, accepted = network.settle(context(kit, other.checkpoint(), finalized=other.checkpoint(15)))
    assert proposed is not None
    assert accepted == proposed
    assert (proposed.heads, proposed.adopted) == ((unsigned(other.checkpoint()),), (0,))


def test_another_history_of_more_units_than_were_adopted_is_counted(network: Network, kit: KitLane) -> None:
    """It may have been acknowledged before the adoption, and who acknowledged it signs for no less."""
    kit.meter(*range(10))
    other = kit.fork()
    other.meter(*[1] * 5)
    kit.meter(*[2] * 10)
    for node in network.nodes.values():
        node.take(*cut(kit, 10, 20))
    proposed, accepted = network.settle(context(kit, other.checkpoint(), finalized=other.checkpoint()))
    assert proposed is not None
    assert accepted == proposed
    assert (proposed.heads, proposed.adopted) == ((head(kit),), ())


def test_the_same_history_after_an_adoption_goes_on(network: Network, kit: KitLane) -> None:
    kit.meter(*range(20), usage=[(record_tag(1), 1)])
    network.nodes[OTHER].take(*cut(kit, 12, 20))
    at = context(kit, kit.checkpoint(15), finalized=kit.checkpoint(15))
    proposed, accepted = network.settle(at)
    assert proposed is not None
    assert accepted == proposed
    assert proposed.heads == (head(kit),)
    assert used(network.nodes[PROPOSER], at, proposed) == {1: {record_tag(1): 5}}


def test_an_anchor_that_contradicts_the_finalized_head_binds_nobody(network: Network, kit: KitLane) -> None:
    """More receipts with fewer units: the lane signed two histories, and everybody can show both."""
    kit.meter(*[5] * 10)
    for node in network.nodes.values():
        node.take(*cut(kit, 10))
    liar = KitLane(0)
    liar.meter(*[1] * 20)
    proposed, accepted = network.settle(context(kit, liar.checkpoint(), finalized=kit.checkpoint()))
    assert proposed is not None
    assert accepted == proposed
    assert (proposed.heads, proposed.adopted) == ((head(kit),), ())


def test_an_anchor_over_a_stopped_lane_still_counts(network: Network, kit: KitLane) -> None:
    """What an equivocating gateway put on chain it pays for; signers who left it out could be slashed."""
    kit.meter(*range(10))
    other = kit.fork()
    kit.meter(1, 2, 3)
    other.meter(3, 2, 1, 1)
    for node in network.nodes.values():
        node.take(*cut(kit, 10, 13))
        with pytest.raises(Exception, match="two different histories"):
            node.take(other.batch(10))
    proposed, accepted = network.settle(context(kit, kit.checkpoint()))
    assert proposed is not None
    assert accepted == proposed
    assert (proposed.heads, proposed.adopted) == ((unsigned(kit.checkpoint()),), (0,))


def test_a_proposer_waits_a_while_for_a_node_that_does_not_answer(network: Network, kit: KitLane) -> None:
    """It may be starting again, and have acknowledged what nobody else has."""
    kit.meter(1, 1, 1)
    network.nodes[OTHER].take(*cut(kit, 3))
    at = context(kit, None)
    for node in network.nodes.values():
        freeze(node.store, EPOCH, Cutoff(1, at.chain.cutoff_block_hash, 1), PERIOD_END_S)
    vectors = network.vectors(PROPOSER, patience_seconds=60.0)
    network.is_down = True
    assert vectors.obtain(at, 0) is None
    network.is_down = False
    found = vectors.obtain(at, 0)
    assert found is not None
    assert found.heads == (head(kit, 3),)
    network.is_down = True
    alone = network.vectors(PROPOSER).obtain(at, len(SIGNERS))
    assert alone is not None, "but not for ever"
