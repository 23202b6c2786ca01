"""A gateway whose clock is wrong: what counts as knowing it, and what the lane then does."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_meter.chain.block_clock import BlockClock
from usufruct_meter.clock.reading import ClockReading, elapsed_ms, read_date
from usufruct_meter.clock.watch import MAX_AHEAD_S, WORTH_SAYING_S, ClockWatch, Moment
from usufruct_meter.errors import ClockAhead, DatedAhead, LaneAhead
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.signed_receipt import MeteredCall

from tests.unit.meter.lane_kit import Clock, new_lane

MAX_AHEAD_MS = MAX_AHEAD_S * 1000
HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000
DATE = "Sun, 22 Nov 2026 18:23:09 GMT"
DATE_MS = 1_795_371_789_000


class Elapsed:
    """Time that nobody sets: only the test lets it pass."""

    now = 5_000_000

    def __call__(self) -> int:
        return self.now


class Around:
    """A clock, and nodes whose clocks are right unless said otherwise."""

    def __init__(self, node_count: int = 4) -> None:
        self.clock = Clock(START_MS)
        self.elapsed = Elapsed()
        self.watch = ClockWatch(self.clock, node_count, self.elapsed)
        self.true_ms = START_MS

    def passes(self, ms: int) -> None:
        self.elapsed.now += ms
        self.clock.now += ms
        self.true_ms += ms

    def reading(self, off_ms: int = 0) -> ClockReading:
        """What a clock shows to the second, asked over a line that takes a while."""
        origin_ms = self.true_ms + off_ms - self.elapsed.now
        return ClockReading(origin_ms - 700, origin_ms + 300, self.elapsed.now)

    def node(self, number: int, off_ms: int = 0) -> None:
        self.watch.heard(f"http://node-{number}", self.reading(off_ms))

    def block(self, off_ms: int = 0, *, is_new: bool) -> ClockReading:
        origin_ms = self.true_ms + off_ms - self.elapsed.now
        return ClockReading(origin_ms, origin_ms if is_new else None, self.elapsed.now)

    def is_refused(self) -> bool:
        try:
            self.watch.moment().date(0)
        except ClockAhead:
            return True
        return False


def test_a_clock_that_nobody_vouches_for_or_against_is_believed() -> None:
    here = Around()
    assert (here.is_refused(), here.watch.error_s()) == (False, None)


@pytest.mark.parametrize(("nodes", "needed"), [(1, 2), (2, 2), (3, 2), (4, 2), (6, 2), (7, 3), (10, 4)])
def test_so_many_nodes_have_to_say_that_a_clock_is_ahead(nodes: int, needed: int) -> None:
    here = Around(nodes)
    here.clock.now += 2 * HOUR_MS
    for number in range(needed):
        assert not here.is_refused(), f"on the word of {number}"
        here.node(number)
    assert here.is_refused()
    assert here.watch.error_s() in (7199, 7200)


@pytest.mark.parametrize("lie_ms", [-(10**15), -2 * HOUR_MS, 2 * HOUR_MS, 10**15])
def test_inv_49_f_lying_nodes_neither_stop_a_gateway_nor_hide_that_its_clock_is_ahead(lie_ms: int) -> None:
    for liars in combinations(range(7), 2):
        here = Around(7)
        for number in range(7):
            here.node(number, lie_ms if number in liars else 0)
        assert not here.is_refused()
        assert abs(here.watch.error_s() or 0) <= 1
        here.clock.now += 2 * HOUR_MS
        assert here.is_refused()


@given(
    st.lists(st.integers(-(10**13), 10**13), min_size=2, max_size=2),
    st.integers(-4 * HOUR_MS, 4 * HOUR_MS),
    st.permutations(range(7)),
)
def test_inv_49_whatever_liars_say_only_a_clock_that_is_ahead_is_refused(
    lies: list[int], off_ms: int, order: list[int]
) -> None:
    here = Around(7)
    here.clock.now += off_ms
    for number in order:
        here.node(number, lies[number] if number < 2 else 0)
    if off_ms > MAX_AHEAD_MS + 1_000:
        assert here.is_refused()
    if off_ms <= MAX_AHEAD_MS:
        assert not here.is_refused()


def test_a_clock_is_refused_beyond_the_tolerance_and_goes_on_when_it_is_set() -> None:
    here = Around()
    for number in range(4):
        here.node(number)
    here.clock.now += MAX_AHEAD_MS + 300
    assert not here.is_refused()
    here.clock.now += 1
    assert here.is_refused(), "at once: nobody was asked again"
    here.passes(3 * 86_400_000)
    assert here.is_refused(), "also when nobody answers any more"
    here.clock.now = here.true_ms
    assert not here.is_refused(), "by itself"


def test_what_a_node_said_before_a_pause_is_forgotten_when_others_answer() -> None:
    """The machine was stopped for hours, which its own counter does not know of."""
    here = Around()
    for number in range(4):
        here.node(number)
    here.true_ms += 5 * HOUR_MS
    here.clock.now = here.true_ms
    assert here.is_refused(), "as far as is known"
    here.passes(700_000)
    here.node(0)
    assert here.is_refused(), "one node alone changes nothing, either way"
    here.node(1)
    assert not here.is_refused()


def test_an_old_block_says_nothing_and_a_new_one_does() -> None:
    here = Around(0)
    here.watch.saw_blocks([here.block(-9 * HOUR_MS, is_new=False)])
    assert not here.is_refused(), "an idle chain"
    here.clock.now += 2 * HOUR_MS
    here.watch.saw_blocks([here.block(-9 * HOUR_MS, is_new=False)])
    assert not here.is_refused()
    here.watch.saw_blocks([here.block(-12_000, is_new=True)])
    assert here.is_refused()


def test_one_endpoint_that_lies_does_not_stop_a_gateway_while_another_or_the_nodes_say_otherwise() -> None:
    here = Around()
    late, right = here.block(-5 * HOUR_MS, is_new=True), here.block(is_new=True)
    here.watch.saw_blocks([late, right])
    assert not here.is_refused()
    here.watch.saw_blocks([late, here.block(is_new=False)])
    assert not here.is_refused(), "whatever block there is, what is dated before it proves nothing"
    idle = ClockReading(late.earliest_ms, right.latest_ms, right.read_at_ms)
    here.watch.saw_blocks([late, idle])
    assert not here.is_refused(), "what blocks of another showed before"
    here.watch.saw_blocks([late])
    assert here.is_refused(), "one endpoint is all that is known"
    here.node(0)
    here.node(1)
    assert not here.is_refused()


def test_lying_nodes_do_not_stop_a_gateway_that_sees_blocks_arrive() -> None:
    here = Around()
    for number in range(4):
        here.node(number, -5 * HOUR_MS)
    assert here.is_refused()
    here.watch.saw_blocks([here.block(is_new=True)])
    assert not here.is_refused()


def test_what_the_chain_itself_is_past_is_not_ahead() -> None:
    """A dev chain that was sent into the future judges by its own time, whatever nodes' clocks say."""
    here = Around()
    here.clock.now += 30 * 24 * HOUR_MS
    for number in range(4):
        here.node(number)
    assert here.is_refused()
    here.watch.saw_blocks([here.block(30 * 24 * HOUR_MS, is_new=False)])
    assert not here.is_refused()


def test_a_clock_that_is_behind_is_said_and_refuses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    here = Around()
    here.clock.now -= 2 * HOUR_MS
    with caplog.at_level(logging.WARNING):
        for number in range(4):
            here.node(number)
    assert here.watch.error_s() == -7199
    assert not here.is_refused()
    assert [record.getMessage() for record in caplog.records] == [
        "this machine's clock is 7199 s behind: receipts are dated wrong; set it (NTP)"
    ]


def test_each_change_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    here = Around()

    def hear() -> list[tuple[int, str]]:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            for number in range(4):
                here.node(number)
        return [(record.levelno, record.getMessage()) for record in caplog.records]

    assert hear() == []
    here.clock.now += (WORTH_SAYING_S + 2) * 1000
    ((level, _),) = hear()
    assert level == logging.WARNING
    here.clock.now += 2 * HOUR_MS
    ((level, said),) = hear()
    assert level == logging.ERROR
    assert "calls are refused" in said
    assert hear() == []
    here.clock.now = here.true_ms
    assert hear() == [(logging.WARNING, "this machine's clock is right again")]


@pytest.mark.parametrize(
    ("previous_ms", "at_ms", "now_ms", "expected"),
    [
        (0, None, MAX_AHEAD_MS, MAX_AHEAD_MS),
        (0, None, MAX_AHEAD_MS + 1, ClockAhead),
        (0, 5, MAX_AHEAD_MS + 1, 5),  # of the past: the clock is not asked
        (MAX_AHEAD_MS, None, -HOUR_MS, MAX_AHEAD_MS),  # a clock that is behind: time stands still
        (MAX_AHEAD_MS + 1, None, 0, LaneAhead),
        (MAX_AHEAD_MS + 1, 5, 0, LaneAhead),
        (MAX_AHEAD_MS + 1, None, MAX_AHEAD_MS, LaneAhead),
        (MAX_AHEAD_MS + 1, None, MAX_AHEAD_MS + 1, ClockAhead),
        (0, MAX_AHEAD_MS, 0, MAX_AHEAD_MS),
        (0, MAX_AHEAD_MS + 1, 0, DatedAhead),
        (MAX_AHEAD_MS + 1, MAX_AHEAD_MS + 2, 0, DatedAhead),
    ],
)
def test_a_receipt_is_dated_so_far_ahead_at_most(
    previous_ms: int, at_ms: int | None, now_ms: int, expected: int | type[Exception]
) -> None:
    moment = Moment(now_ms, latest_ms=0)
    if isinstance(expected, int):
        assert moment.date(previous_ms, at_ms) == expected
        return
    with pytest.raises(expected) as caught:
        moment.date(previous_ms, at_ms)
    assert caught.value.hint  # type: ignore[attr-defined]


@pytest.fixture
def ahead(tmp_path: Path) -> Iterator[tuple[Lane, Clock]]:
    """A lane with three receipts, one under no checkpoint, whose clock has just jumped two hours ahead."""
    clock = Clock()
    with Lane.open(new_lane(tmp_path, epoch_seconds=86_400), clock_ms=clock) as lane:
        lane.clock.saw_blocks([block_at(clock.now)])
        lane.meter(1, response_id="a")
        lane.meter(1)
        lane.checkpoint()
        lane.meter(1)
        clock.now += 2 * HOUR_MS
        yield lane, clock


def block_at(now_ms: int) -> ClockReading:
    """A block that arrives now, by a clock that nobody sets."""
    at_ms = elapsed_ms()
    return ClockReading(now_ms - at_ms, now_ms - at_ms, at_ms)


def test_inv_49_a_clock_ahead_signs_nothing_and_loses_nothing(ahead: tuple[Lane, Clock]) -> None:
    lane, clock = ahead
    before = lane.last_issued_at_ms
    for _ in range(2):
        with pytest.raises(ClockAhead, match="ahead of what nodes or the chain show") as caught:
            lane.meter(1)
        assert caught.value.retry_after_s > 0
    for refused in (lane.check_ready, lane.check_clock, lambda: lane.void(3), lambda: lane.meter(0)):
        with pytest.raises(ClockAhead):
            refused()
    with pytest.raises(ClockAhead):
        lane.meter_many([MeteredCall(1)])
    assert isinstance(lane.meter_each([MeteredCall(1)])[0], ClockAhead)
    assert (lane.count, lane.last_issued_at_ms) == (3, before)
    assert lane.checkpoint(), "what is durable is still checkpointed, for the nodes to take"
    assert lane.meter(1, response_id="a").is_repeat, "and a retry still gets its receipt"
    clock.now -= 2 * HOUR_MS
    lane.check_ready()
    assert lane.meter(1).receipt.seq == 3


def test_past_calls_are_imported_whatever_the_clock_says_and_future_ones_refused(
    ahead: tuple[Lane, Clock],
) -> None:
    lane, clock = ahead
    known_ms = clock.now - 2 * HOUR_MS
    assert lane.meter(1, at_ms=known_ms - 60_000).receipt.issued_at_ms == lane.last_issued_at_ms
    assert lane.meter(1, at_ms=known_ms + 60_000).receipt.issued_at_ms == known_ms + 60_000
    with pytest.raises(DatedAhead, match="lies 72"):
        lane.meter(1, at_ms=known_ms + 2 * HOUR_MS + 60_000)


def test_an_import_from_the_future_is_held_against_the_own_clock(lane: Lane, clock: Clock) -> None:
    lane.meter(1, at_ms=clock.now + MAX_AHEAD_MS)
    with pytest.raises(DatedAhead, match="1800 s ahead at most"):
        lane.meter_many([MeteredCall(1), MeteredCall(1, at_ms=clock.now + MAX_AHEAD_MS + 1)])
    assert lane.count == 1


def test_a_lane_that_was_ahead_waits_until_its_time_has_come(tmp_path: Path) -> None:
    """The clock was wrong when nobody could tell; it is right now, and lane time never goes back."""
    file, clock = new_lane(tmp_path, epoch_seconds=86_400), Clock()
    clock.now += 2 * HOUR_MS
    with Lane.open(file, clock_ms=clock) as lane:
        first = lane.meter(1).receipt.issued_at_ms
    clock.now -= 2 * HOUR_MS
    with Lane.open(file, clock_ms=clock) as lane:
        for refused in (lane.check_ready, lane.check_clock, lambda: lane.meter(1)):
            with pytest.raises(LaneAhead, match="7200 s ahead"):
                refused()
        clock.now += HOUR_MS + MAX_AHEAD_MS
        lane.check_ready()
        assert lane.meter(1).receipt.issued_at_ms == first


def test_a_clock_that_falls_behind_wedges_no_lane(lane: Lane, clock: Clock) -> None:
    """Others know that it is the clock that is wrong, so the lane's own time is good."""
    lane.clock.saw_blocks([block_at(clock.now)])
    first = lane.meter(1).receipt.issued_at_ms
    clock.now -= 900_000
    assert lane.meter(1).receipt.issued_at_ms == first
    clock.now = 0
    lane.check_ready()
    assert lane.meter(1).receipt.issued_at_ms == first


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"date": DATE}, ClockReading(DATE_MS - 50, DATE_MS + 1_000 - 20, 50)),
        ({"date": DATE.replace("GMT", "-0000")}, ClockReading(DATE_MS - 50, DATE_MS + 1_000 - 20, 50)),
        ({"date": DATE, "age": "0"}, None),
        ({}, None),
        ({"date": "yesterday"}, None),
        ({"date": "Sun, 22 Nov 99999999999999999999 18:23:09 GMT"}, None),
        ({"date": "Sun, 22 Nov 2026 18:23:09 +99999999999999"}, None),
    ],
)
def test_the_date_of_an_answer_bounds_the_time_it_was_given(
    headers: dict[str, str], expected: ClockReading | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "XYZ-9")
    time.tzset()
    try:
        assert read_date(headers, 20, 50) == expected
    finally:
        monkeypatch.undo()
        time.tzset()


def latest_after(looks: list[tuple[int, int, int]]) -> int | None:
    """Show blocks (seconds passed, number, block time in s) to a clock; what it says of the latest time."""
    blocks = BlockClock()
    for passed_s, number, time_s in looks:
        blocks.saw(number, time_s, passed_s * 1000, passed_s * 1000 + 40)
    assert blocks.reading is not None
    last = looks[-1]
    assert blocks.reading.earliest_ms == last[2] * 1000 - (last[0] * 1000 + 40)
    return blocks.reading.latest_ms


@pytest.mark.parametrize(
    ("looks", "latest_ms"),
    [
        ([(0, 7, 100)], None),  # may be old
        ([(0, 7, 100), (600, 7, 100)], None),  # idle
        ([(0, 7, 100), (60, 12, 160)], 160_000),  # made after the first look
        ([(0, 7, 100), (40, 7, 100), (100, 12, 172)], 132_000),  # after the last look without it
        ([(0, 7, 100), (60, 900, 4_000)], None),  # catches up
        ([(0, 7, 100), (60, 8, 101)], None),  # mined on demand, a second further each time
        ([(0, 7, 100), (60, 12, 100)], None),
        ([(0, 7, 100), (60, 12, 40)], None),  # lies
        ([(0, 7, 100), (10, 8, 112), (20, 9, 124)], None),  # too short a look to tell
        ([(0, 7, 100), (10, 8, 112), (20, 9, 124), (36, 10, 136)], 136_000),
        ([(0, 7, 100), (60, 3, 160)], None),  # another backend, behind
        ([(0, 7, 100), (60, 12, 160), (120, 800, 9_000)], None),  # was paused
        ([(0, 7, 100), (60, 12, 160), (120, 12, 160)], 160_000),
    ],
)
def test_only_blocks_that_arrive_as_time_passes_tell_the_time(
    looks: list[tuple[int, int, int]], latest_ms: int | None
) -> None:
    assert latest_after(looks) == latest_ms
