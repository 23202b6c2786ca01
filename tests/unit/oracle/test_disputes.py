"""Answers to disputes: in turn, each question for itself, with signatures from wherever they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
from usufruct_chain.disputes import Dispute, DisputeStatus, Question, ShownHead, dispute_id
from usufruct_chain.onchain import Block
from usufruct_chain.reverts import CallReverted
from usufruct_oracle.disputes.answers import ANSWERS_PER_STEP, LANES_PER_CALL, Disputes
from usufruct_oracle.epochs.submission import Stagger
from usufruct_oracle.storage import epoch_store, lane_store
from usufruct_oracle.storage.epoch_store import StoredReport
from usufruct_oracle.storage.store import Store
from usufruct_protocol.batches import Batch
from usufruct_protocol.bundle import LANES, pack_lanes
from usufruct_protocol.errors import Transient
from usufruct_protocol.merkle import padded_root, verify_padded_proof
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.report_types import EpochReport, ReportLine

from tests.unit.oracle.conftest import Take
from tests.unit.oracle.lane_kit import DOMAIN, KitLane
from tests.unit.oracle.test_epoch_store import report as plain_report

BUNDLE = b"\x02" * 32
SIGNERS = 4
STAGGER_S = 10.0
ZERO = bytes(32)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Asked:
    """A disputes contract made of plain data, and what was sent to it."""

    opened: list[Dispute] = field(default_factory=list)
    anchors: dict[Checkpoint, bytes] = field(default_factory=dict)
    refusals: dict[bytes, Exception] = field(default_factory=dict)
    answered: list[bytes] = field(default_factory=list)
    shown: list[ShownHead] = field(default_factory=list)
    contradicted: list[tuple[Checkpoint, bytes]] = field(default_factory=list)
    looks: int = 0
    can_send: bool = True

    def is_held(self, _block: bytes) -> bool:
        self.looks += 1
        return bool(self.opened)

    def open_disputes(self, _report: bytes, _licenses: Iterable[int], _block: bytes) -> list[Dispute]:
        return list(self.opened)

    def anchored_by(self, lane: bytes, _time_s: int, _head: Block) -> Checkpoint | None:
        return next((point for point in self.anchors if point.lane == lane), None)

    def anchor_signature(self, point: Checkpoint, _head: Block) -> bytes | None:
        return self.anchors.get(point)

    def answer_head(self, asked: Dispute, shown: ShownHead) -> None:
        self._take(asked, [shown])
        assert (0 if shown.checkpoint is None else shown.checkpoint.count) >= asked.needed
        self._close(asked)

    def answer_by_contradiction(
        self, asked: Dispute, shown: ShownHead, anchored: tuple[Checkpoint, bytes]
    ) -> None:
        self._take(asked, [shown])
        self.contradicted.append(anchored)
        self._close(asked)

    def answer_units(self, asked: Dispute, shown: Sequence[ShownHead]) -> None:
        self._take(asked, shown)
        units = sum(head.checkpoint.cumulative_units for head in self.shown if head.checkpoint is not None)
        if units >= asked.needed:
            self._close(asked)

    def _take(self, asked: Dispute, shown: Sequence[ShownHead]) -> None:
        if asked.dispute_id in self.refusals:
            raise self.refusals[asked.dispute_id]
        self.shown += shown

    def _close(self, asked: Dispute) -> None:
        self.answered.append(asked.dispute_id)
        self.opened = [each for each in self.opened if each.dispute_id != asked.dispute_id]


@dataclass
class Neighbors:
    """Peers that hold some batches."""

    batches: list[Batch] = field(default_factory=list)

    def __iter__(self) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(batches=lambda *_: self.batches)

    def ask(self, peer: SimpleNamespace, question: Callable[[SimpleNamespace], bytes | None]) -> bytes | None:
        return question(peer)

    def first(self, _question: object) -> None:
        return None


@dataclass
class Scene:
    """A pending report over some lanes, all of license 1, that this node has stored."""

    store: Store
    lanes: list[KitLane]
    report: EpochReport
    mine: StoredReport
    chain: Asked = field(default_factory=Asked)
    peers: Neighbors = field(default_factory=Neighbors)
    clock: Clock = field(default_factory=Clock)
    own_index: int = 0
    blocks: int = 0

    def __post_init__(self) -> None:
        stagger = Stagger(STAGGER_S, self.clock)
        self.disputes = Disputes(
            self.store,
            self.peers,
            self.chain,
            stagger,
            DOMAIN,
            clock=self.clock,  # type: ignore[arg-type]
        )

    def rank(self, turn: int) -> int:
        return (self.own_index - turn) % SIGNERS

    def ask(self, question: Question, subject: int, needed: int) -> Dispute:
        name = dispute_id(self.mine.report_hash, question, subject)
        asked = Dispute(
            name,
            self.mine.report_hash,
            b"\x0c" * 20,
            100,
            question,
            DisputeStatus.OPEN,
            subject,
            needed,
            0,
            0,
        )
        self.chain.opened.append(asked)
        return asked

    def step(self, *, passes_s: float = SIGNERS * STAGGER_S) -> bool:
        """Look at a new block, and once more after everybody before this node has had their time."""
        context = SimpleNamespace(
            rank=self.rank, chain=SimpleNamespace(lanes=[lane.state() for lane in self.lanes])
        )
        self.blocks += 1
        head = Block(self.blocks, self.blocks.to_bytes(32, "big"), ZERO, 10**9)
        self.disputes.step(context, self.mine, head)  # type: ignore[arg-type]
        self.clock.now += passes_s
        return self.disputes.step(context, self.mine, head)  # type: ignore[arg-type]


MakeScene = Callable[..., Scene]


@pytest.fixture
def scene(store: Store) -> MakeScene:
    def make(lanes: list[KitLane], heads: Sequence[Checkpoint | None] | None = None) -> Scene:
        points = [lane.checkpoint() if lane.count else None for lane in lanes] if heads is None else heads
        leaves = [ZERO if point is None else point.struct_hash() for point in points]
        units = sum(point.cumulative_units for point in points if point is not None)
        report = replace(
            plain_report(1, BUNDLE),
            lanes_root=padded_root(leaves),
            lane_count=len(lanes),
            lines=(ReportLine(1, units, 0),),
        )
        mine = StoredReport(report, b"\x07" * 32, BUNDLE)
        with store.write() as db:
            epoch_store.put_report(db, mine, {LANES: pack_lanes(points)})
        return Scene(store, lanes, report, mine)

    return make


def held(take: Take, store: Store, *counts: int) -> list[KitLane]:
    """Registered lanes with so many receipts of 10 units, all held by this node."""
    lanes = [KitLane(number) for number in range(len(counts))]
    with store.write() as db:
        lane_store.put_lanes(db, [lane.state() for lane in lanes])
    for lane, count in zip(lanes, counts, strict=True):
        lane.meter(*[10] * count)
        if count:
            take(lane.batch())
    return lanes


def is_open_under(report: EpochReport, shown: ShownHead) -> bool:
    leaf = ZERO if shown.checkpoint is None else shown.checkpoint.struct_hash()
    proof = b"".join(shown.proof)
    return verify_padded_proof(report.lanes_root, report.lane_count, shown.lane_number, leaf, proof)


def test_inv_24_heads_and_lines_are_shown_with_their_signatures(
    store: Store, take: Take, scene: MakeScene
) -> None:
    lanes = held(take, store, 3, 0, 5)
    here = scene(lanes)
    for number, needed in enumerate((3, 0, 0)):
        here.ask(Question.HEAD, number, needed)
    here.ask(Question.UNITS, 1, 80)
    while here.step():
        assert here.blocks < 10
    assert len(here.chain.answered) == 4
    assert all(is_open_under(here.report, shown) for shown in here.chain.shown)
    assert {shown.lane_number: shown.signature for shown in here.chain.shown} == {
        0: lanes[0].sign(lanes[0].checkpoint()),
        1: b"",
        2: lanes[2].sign(lanes[2].checkpoint()),
    }
    assert [shown.lane_number for shown in here.chain.shown if shown.checkpoint][-2:] == [2, 0]


def test_a_head_below_its_anchor_is_excused_by_the_contradiction(
    store: Store, take: Take, scene: MakeScene
) -> None:
    lanes = held(take, store, 3)
    here = scene(lanes)
    other = KitLane(0)
    other.meter(*[1] * 5)
    anchored = other.checkpoint()
    here.chain.anchors[anchored] = other.sign(anchored)
    here.ask(Question.HEAD, 0, anchored.count)
    here.step()
    assert here.chain.contradicted == [(anchored, other.sign(anchored))]


def test_a_signature_that_is_not_here_comes_from_the_chain_or_a_peer(
    store: Store, take: Take, scene: MakeScene
) -> None:
    lanes = held(take, store, 0, 0)
    for lane in lanes:
        lane.meter(10, 10)
    here = scene(lanes)
    points = [lane.checkpoint() for lane in lanes]
    here.chain.anchors[points[0]] = lanes[0].sign(points[0])
    here.peers.batches = [lanes[1].batch()]
    for number in (0, 1):
        here.ask(Question.HEAD, number, 2)
    here.step()
    assert [shown.signature for shown in here.chain.shown] == [
        lane.sign(point) for lane, point in zip(lanes, points, strict=True)
    ]


def test_a_signature_that_does_not_recover_to_the_lane_is_not_sent(
    store: Store, take: Take, scene: MakeScene, caplog: pytest.LogCaptureFixture
) -> None:
    lanes = held(take, store, 0)
    lanes[0].meter(10)
    here = scene(lanes)
    point = lanes[0].checkpoint()
    here.chain.anchors[point] = KitLane(9).sign(point)
    here.ask(Question.HEAD, 0, 1)
    assert here.step()
    assert here.chain.shown == []
    assert "nobody reachable has the signature of lane 0" in caplog.text


def test_each_question_is_answered_by_the_node_whose_turn_it_is(
    store: Store, take: Take, scene: MakeScene
) -> None:
    here = scene(held(take, store, *[1] * 4))
    asked = [here.ask(Question.HEAD, number, 1) for number in range(4)]
    here.step(passes_s=0)
    first = {each.dispute_id for each in asked if here.rank(int.from_bytes(each.dispute_id[-4:], "big")) == 0}
    assert set(here.chain.answered) == first
    while here.step():
        assert here.blocks < 10
    assert len(here.chain.answered) == 4


def test_a_question_that_cannot_be_answered_keeps_no_other_waiting(
    store: Store, take: Take, scene: MakeScene, caplog: pytest.LogCaptureFixture
) -> None:
    count = 3 * ANSWERS_PER_STEP
    here = scene(held(take, store, *[1] * count))
    asked = [here.ask(Question.HEAD, number, 1) for number in range(count)]
    stuck = {each.dispute_id for each in asked[: ANSWERS_PER_STEP + 1]}
    here.chain.refusals = {name: Transient("no gas", hint="top up") for name in stuck}
    for passes_s in (STAGGER_S * SIGNERS, 0.0, 0.0, 0.0):
        here.step(passes_s=passes_s)
    assert set(here.chain.answered) == {each.dispute_id for each in asked} - stuck
    assert "no gas (top up)" in caplog.text
    here.chain.refusals.clear()
    while here.step(passes_s=1_000.0):
        assert here.blocks < 20
    assert len(here.chain.answered) == count


def test_what_somebody_else_answered_meanwhile_is_done(
    store: Store, take: Take, scene: MakeScene, caplog: pytest.LogCaptureFixture
) -> None:
    here = scene(held(take, store, 1))
    asked = here.ask(Question.HEAD, 0, 1)
    here.chain.refusals[asked.dispute_id] = CallReverted("ReportDisputes_NotOpen", {}, b"")
    here.step()
    assert "not answered yet" not in caplog.text


def test_turns_of_very_many_things_are_all_remembered() -> None:
    """A range of notes, or a question, whose node is dead becomes everybody else's in time."""
    clock = Clock()
    stagger = Stagger(STAGGER_S, clock)
    things = range(5_000)
    assert not any(stagger.is_my_turn(thing, 1) for thing in things)
    clock.now = STAGGER_S
    assert all(stagger.is_my_turn(thing, 1) for thing in things)


def test_a_license_of_many_lanes_is_shown_in_parts_and_goes_on_where_it_stopped(
    store: Store, take: Take, scene: MakeScene
) -> None:
    count = LANES_PER_CALL + 5
    here = scene(held(take, store, *[1] * count))
    asked = here.ask(Question.UNITS, 1, 10 * count)
    shown_before = LANES_PER_CALL
    here.chain.opened = [replace(asked, lanes_shown=shown_before, units_shown=10 * shown_before)]
    here.step()
    assert len(here.chain.shown) == count - shown_before
    # What somebody showed in another order is not relied on.
    here.chain.shown, here.chain.opened = [], [replace(asked, lanes_shown=2, units_shown=7)]
    here.step()
    assert len(here.chain.shown) == count
    assert len({shown.lane_number for shown in here.chain.shown}) == count


def test_a_block_without_disputes_takes_one_look_and_a_dry_node_sends_nothing(
    store: Store, take: Take, scene: MakeScene
) -> None:
    here = scene(held(take, store, 1))
    assert not here.step()
    assert here.chain.looks == 1
    here.chain.can_send = False
    here.ask(Question.HEAD, 0, 1)
    assert here.step()
    assert (here.chain.shown, here.disputes.open_count) == ([], 1)
