"""A gateway whose clock is wrong, beside nodes and a chain that know the time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse
from usufruct_meter.asgi import AsgiMeter
from usufruct_meter.cli import main
from usufruct_meter.errors import ClockAhead
from usufruct_meter.lanes.lane import Lane, now_ms
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.meter import Meter
from usufruct_meter.shipping.shipper import Shipper
from usufruct_protocol.signing import address_of, checksum_address

from tests.integration.chain_world import EPOCH_S, GENESIS_S, World, world
from tests.integration.meter_chain import PAYER, Clock, Setting, setting
from tests.integration.meter_node import StandInNode, free_port, serving
from tests.unit.meter.lane_kit import new_lane

HOUR_S = 3_600


@pytest.fixture(scope="module")
def servers() -> Iterator[list[StandInNode]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serving(StandInNode(free_port()))) for _ in range(4)]


@pytest.fixture
def file(tmp_path: Path, servers: list[StandInNode]) -> LaneFile:
    urls = tuple(node.url for node in servers)
    genesis_s = int(time.time()) - 10 * HOUR_S
    for node in servers:
        node.lanes.clear()
    return new_lane(tmp_path, nodes=urls, genesis_s=genesis_s, epoch_seconds=86_400)


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set what the meter takes the time from, and nothing else."""
    right = time.time_ns

    def ahead(seconds: int) -> None:
        monkeypatch.setattr(time, "time_ns", lambda: right() + seconds * 10**9)

    return ahead


def wait_until(is_true: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_inv_49_a_clock_that_jumps_ahead_stops_calls_and_holds_nothing_back(
    file: LaneFile, servers: list[StandInNode], set_clock: Callable[[int], None]
) -> None:
    with Meter.open(file, checkpoint_every_s=0.05) as meter:
        assert abs(meter.lane.clock.error_s() or 0) <= 1
        meter.meter(1)
        set_clock(2 * HOUR_S)
        with pytest.raises(ClockAhead, match=r"7\d\d\d s ahead"):
            meter.meter(1)
        for node in servers:
            node.wait_for(file.lane, 1)
        set_clock(0)
        meter.meter(1)
        meter.shipper.flush(10)
        assert meter.lane.last_issued_at_ms <= now_ms()


def test_inv_49_a_server_does_not_start_by_a_clock_ahead_and_ships_what_it_has(
    file: LaneFile, servers: list[StandInNode], set_clock: Callable[[int], None]
) -> None:
    with Lane.open(file) as lane:
        lane.meter(1)
    set_clock(2 * HOUR_S)
    sent: list[Any] = []

    async def start() -> None:
        messages = [{"type": "lifespan.startup"}]

        async def receive() -> Any:
            return messages.pop() if messages else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        app = AsgiMeter(None, lane=file.path)  # type: ignore[arg-type]
        await asyncio.wait_for(app({"type": "lifespan"}, receive, send), 20)

    asyncio.run(start())
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert sent[0]["message"].startswith("clock_ahead: ")
    assert "hint: set it (NTP)" in sent[0]["message"]
    assert [node.count(file.lane) for node in servers] == [1] * 4
    set_clock(0)
    with Lane.open(file) as lane:  # given back
        lane.meter(1)


@pytest.mark.parametrize(
    ("ahead_s", "level", "text"),
    [
        (0, "ok", "s ahead of what nodes show"),
        (900, "warn", "ahead"),
        (2 * HOUR_S, "fail", "ahead"),
        (-2 * HOUR_S, "warn", "behind"),
    ],
)
def test_check_holds_the_clock_against_the_nodes(
    file: LaneFile,
    set_clock: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
    ahead_s: int,
    level: str,
    text: str,
) -> None:
    set_clock(ahead_s)
    code = main(["check", str(file.path), "--json"])
    lines = {line["what"]: line for line in json.loads(capsys.readouterr()[0])}
    assert (lines["clock"]["level"], code) == (level, int(level == "fail"))
    assert text in lines["clock"]["detail"]
    assert (lines["clock"]["hint"] != "") == (level != "ok")


def test_check_says_nothing_of_the_clock_on_the_word_of_one_node(
    servers: list[StandInNode], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = new_lane(tmp_path, nodes=(servers[0].url, f"http://127.0.0.1:{free_port()}"))
    assert main(["check", str(file.path), "--json"]) == 0
    assert "clock" not in {line["what"] for line in json.loads(capsys.readouterr()[0])}


def test_a_node_that_waits_for_the_time_of_a_batch_is_not_asked_again_before(
    file: LaneFile, servers: list[StandInNode]
) -> None:
    """The lane is ahead already: its receipts are kept, and taken when their time has come."""
    node = servers[0]
    problem = {"code": "future_dated", "detail": "dated ahead"}
    with Lane.open(file, clock_ms=lambda: now_ms() + 2 * HOUR_S * 1000) as lane:
        lane.meter(1)
        node.answers = [
            JSONResponse({"code": "not_found"}, 404),
            JSONResponse(problem, 409, {"Retry-After": "3600"}),
            JSONResponse(problem, 409),
        ]
        with Shipper(lane, checkpoint_every_s=0.05) as shipper:
            wait_until(lambda: len(node.answers) == 1)
            time.sleep(1.0)
            assert len(node.answers) == 1, "not asked again"
            assert "dated ahead" in str(shipper.status()[0].error)
    node.answers.clear()
    with Lane.open(file) as lane, Shipper(lane) as shipper:
        shipper.flush(10)
    assert node.count(file.lane) == 1


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Setting]:
    with world() as here:
        here.chain.set_balance([checksum_address(address_of(PAYER))])
        here.register_lane(here.accept(), 0)
        here.chain.advance_to(GENESIS_S + EPOCH_S)
        with setting(here, tmp_path) as ready:
            yield ready


def passes(world: World, seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time pass for the machine and the chain, which mines a block at its end."""
    counter = time.clock_gettime_ns
    monkeypatch.setattr(time, "clock_gettime_ns", lambda clock: counter(clock) + seconds * 10**9)
    world.chain.advance_to(world.chain.now() + seconds)


def test_inv_49_a_block_that_arrives_shows_that_the_clock_is_ahead(
    made: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = made.lane.clock.clock_ms
    assert isinstance(clock, Clock)
    made.look()
    clock.ahead_s = 2 * HOUR_S
    made.look()
    made.lane.check_ready()  # the newest block is old: the chain may be idle
    clock.ahead_s = 0
    made.lane.meter(1)
    passes(made.world, 60, monkeypatch)
    made.look()
    made.lane.meter(1)
    clock.ahead_s = 2 * HOUR_S
    with pytest.raises(ClockAhead):
        made.lane.meter(1)
    made.world.chain.advance_to(made.world.chain.now() + 3 * HOUR_S)
    clock.ahead_s = 0
    made.look()
    assert made.lane.meter(1).receipt.seq == 2, "the chain is where the clock is, by whatever leap"
