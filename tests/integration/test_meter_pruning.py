"""Usage lists go once their epoch is settled on chain and nearly all nodes hold them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from usufruct_meter.chain.lane_chain import LaneChain
from usufruct_meter.chain.pruning import prunable_below
from usufruct_meter.errors import NodeUnavailable, SpoolOutdated
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.shipping.shipper import Shipper
from usufruct_meter.signed_receipt import MeteredCall

from tests.integration.meter_node import StandInNode, free_port, serving
from tests.unit.meter.lane_kit import Clock, new_lane

CALL = MeteredCall(1, [(bytes(32), 1)])


@dataclass
class StandInView:
    """A chain that knows the hashes of finalized reports."""

    hashes: dict[int, bytes] = field(default_factory=dict)

    def last_epoch(self) -> int:
        return max(self.hashes, default=0)

    def report_hash(self, epoch: int) -> bytes | None:
        return self.hashes.get(epoch)


@dataclass
class StandInChain:
    """The part of `LaneChain` that pruning reads."""

    views: list[StandInView]


@pytest.fixture
def nodes() -> Iterator[list[StandInNode]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serving(StandInNode(free_port()))) for _ in range(4)]


@pytest.fixture
def lane(tmp_path: Path, nodes: list[StandInNode]) -> Iterator[Lane]:
    file = new_lane(tmp_path, nodes=tuple(node.url for node in nodes))
    with Lane.open(file, clock_ms=Clock()) as opened:
        yield opened


def ship(lane: Lane, count: int) -> None:
    lane.meter_many([CALL] * count)
    with Shipper(lane, checkpoint_every_s=0.05) as shipper:
        shipper.flush(20)


def finalized(lane: Lane, nodes: list[StandInNode]) -> bytes:
    """All nodes report what they hold as epoch 1; returns the report's hash."""
    (report_hash,) = {node.finalize(1, [lane.address]) for node in nodes}
    return report_hash


def below(lane: Lane, *views: StandInView) -> int:
    chain = cast(LaneChain, StandInChain(list(views)))
    with closing(SpoolReader.open(lane.file.spool)) as reader:
        return prunable_below(lane, chain, reader)


def test_what_two_epochs_have_passed_over_may_go(lane: Lane, nodes: list[StandInNode]) -> None:
    ship(lane, 5)
    view = StandInView({1: finalized(lane, nodes)})
    assert below(lane, view) == 0, "the epoch is disputable, or just over"
    view.hashes |= {2: b"\x02" * 32, 3: b"\x03" * 32}
    assert below(lane, view) == 5
    ship(lane, 2)
    assert below(lane, view) == 5, "later receipts are not in that report"


def test_a_report_that_is_not_on_chain_takes_nothing(lane: Lane, nodes: list[StandInNode]) -> None:
    ship(lane, 5)
    for node in nodes:
        node.finalize(1, [lane.address])
    with pytest.raises(NodeUnavailable, match="another report"):
        below(lane, StandInView({1: b"\x01" * 32, 3: b"\x03" * 32}))


def test_endpoints_that_disagree_take_nothing(lane: Lane, nodes: list[StandInNode]) -> None:
    ship(lane, 5)
    good = finalized(lane, nodes)
    assert below(lane, StandInView({1: good, 3: good}), StandInView({1: b"\x01" * 32, 3: good})) == 0


def test_what_too_few_nodes_hold_stays(lane: Lane, nodes: list[StandInNode]) -> None:
    ship(lane, 5)
    good = finalized(lane, nodes)
    view = StandInView({1: good, 3: good})
    urls = lane.file.nodes
    lane.save_acks(dict(zip(urls, (5, 5, 3, 0), strict=True)))
    assert below(lane, view) == 3, "one of four may be faulty, not two"


def test_a_report_of_another_history_is_an_alarm_and_takes_nothing(
    tmp_path: Path, lane: Lane, nodes: list[StandInNode]
) -> None:
    ship(lane, 5)
    good = finalized(lane, nodes)
    with Lane.open(new_lane(tmp_path / "other", nodes=lane.file.nodes), clock_ms=Clock()) as other:
        other.meter(7)
        with pytest.raises(SpoolOutdated, match="a finalized report proves"):
            below(other, StandInView({1: good, 3: good}))
