"""What metering adds to a call, against what cannot be avoided: sign, hash, one durable write.

`python -m benchmarks.meter`. Floor and meter take turns call by call on the same disk, and block by block
their medians are compared, because what a sync takes changes from moment to moment on a shared machine.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

from coincurve import PrivateKey
from usufruct_meter.asgi import AsgiMeter
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.new_lane import LaneOptions, create_lane
from usufruct_meter.lanes.spool import Spool
from usufruct_meter.signed_receipt import MeteredCall
from usufruct_protocol.keccak import keccak256

from benchmarks.figure import Figure, best_seconds, seconds, table
from benchmarks.size import QUICK, Size

CALLS = 576
BLOCK = 96
MANY = 5_000
CONCURRENT = 8
ARRIVALS_PER_S = 100
ADDED_S = 0.002
"""What metering may add to all but the slowest hundredth of calls, besides the disk."""
FLOOR = "sign + hash + one durable write"
REQUEST = b'{"features": [17.99, 10.38, 122.8, 1001.0, 0.1184]}'


def one_by_one() -> list[Figure]:
    """A lane that meters calls singly, without and with a response id."""
    with _folder() as folder, Lane.open(_new_lane(folder)) as lane, _floor(folder) as floor:
        ids = (f"response {number}" for number in range(10**9))
        base, plain, with_id = _in_turns(
            floor,
            lambda: lane.meter(1, request=REQUEST),
            lambda: lane.meter(1, request=REQUEST, response_id=next(ids)),
        )
    return [
        Figure("meter_call", "meter a call, alone", FLOOR, _against(plain, base), 1.5),
        Figure(
            "meter_call_with_id",
            "meter a call with a response id, alone",
            FLOOR,
            _against(with_id, base),
            1.5,
        ),
    ]


def many_at_once() -> Figure:
    """A list of calls in one transaction, as an import does it, against signing alone."""
    key = PrivateKey(sha256(b"benchmark").digest())
    numbers = iter(range(10**9))
    with _folder() as folder, Lane.open(_new_lane(folder)) as lane:

        def meter() -> None:
            ids = (f"{next(numbers)}" for _ in range(MANY))
            lane.meter_many([MeteredCall(1, request=REQUEST, response_id=one) for one in ids])

        def sign() -> None:
            for _ in range(MANY):
                key.sign_recoverable(keccak256(REQUEST), hasher=None)

        metered, signed = best_seconds(meter), best_seconds(sign)
    return Figure(
        "meter_many", f"meter {MANY:,} calls in one transaction", "the signatures alone", metered / signed, 3
    )


def behind_asgi() -> list[Figure]:
    """What the middleware adds to an app that answers at once: alone, and with many calls under way."""
    with _folder() as folder, _floor(folder) as floor:
        return asyncio.run(_behind_asgi(_new_lane(folder), floor))


async def _behind_asgi(file: LaneFile, floor: Callable[[], object]) -> list[Figure]:
    metered = AsgiMeter(_answer_at_once, lane=file.path)
    await _ask(metered)  # opens the lane
    base: list[float] = []
    alone: list[float] = []
    with_turn: list[float] = []
    for _ in range(CALLS):
        base.append(seconds(floor))
        started = perf_counter()
        await _ask(metered)
        alone.append(perf_counter() - started)
        with_turn.append(base[-1] + await _turn())
    busy_base: list[float] = []
    each: list[float] = []
    latencies: list[float] = []

    async def client() -> None:
        for _ in range(BLOCK // CONCURRENT):
            started = perf_counter()
            await _ask(metered)
            latencies.append(perf_counter() - started)

    for _ in range(CALLS // BLOCK):
        busy_base += [seconds(floor) for _ in range(BLOCK)]
        started = perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENT):
                group.create_task(client())
        each += [(perf_counter() - started) / BLOCK] * BLOCK
    added, turn = await _added(metered)
    await metered.close()
    busy = f"{CONCURRENT} calls under way"
    return [
        Figure("asgi_alone", "ASGI call, alone", FLOOR, _against(alone, base), 1.5),
        Figure(
            "asgi_alone_turn", "ASGI call, alone", f"{FLOOR}, in a thread", _against(alone, with_turn), None
        ),
        Figure("asgi_each", f"ASGI, time per call, {busy}", FLOOR, _against(each, busy_base), 1.0),
        Figure("asgi_latency", f"ASGI, latency, {busy}", FLOOR, _against(latencies, busy_base), 5.0),
        Figure(
            "asgi_p99",
            f"ASGI, p99 of what is added, {ARRIVALS_PER_S} calls/s",
            "p99 of a thread's bare turn, and 2 ms",
            added / (turn + ADDED_S),
            1.0,
        ),
    ]


async def _added(metered: AsgiMeter) -> tuple[float, float]:
    """Return the 99th percentiles of a call's latency without the durable writes that it waited for, and of
    handing nothing to a thread and back.

    Calls come when they come, so a slow write is met by many; what the disk takes is not the meter's, nor how
    long a busy machine takes to run a thread.
    """
    calls: list[tuple[float, float]] = []
    turns: list[float] = []

    async def turn() -> None:
        turns.append(await _turn())

    async def call() -> None:
        started = perf_counter()
        await _ask(metered)
        calls.append((started, perf_counter()))

    with _writes() as writes:
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLS):
                group.create_task(call())
                await asyncio.sleep(0.5 / ARRIVALS_PER_S)
                group.create_task(turn())
                await asyncio.sleep(0.5 / ARRIVALS_PER_S)
    added = [
        ended - started - sum(max(0.0, min(ended, end) - max(started, start)) for start, end in writes)
        for started, ended in calls
    ]
    return quantiles(added, n=100)[98], quantiles(turns, n=100)[98]


async def _turn() -> float:
    """Return how long it takes to hand nothing to a thread and back."""
    started = perf_counter()
    await asyncio.get_running_loop().run_in_executor(None, int)
    return perf_counter() - started


@contextmanager
def _writes() -> Iterator[list[tuple[float, float]]]:
    """Collect when spools were writing."""
    append = Spool.append
    taken: list[tuple[float, float]] = []

    def timed(*arguments: Any) -> None:
        started = perf_counter()
        append(*arguments)
        taken.append((started, perf_counter()))

    Spool.append = timed  # type: ignore[method-assign]
    try:
        yield taken
    finally:
        Spool.append = append  # type: ignore[method-assign]


def run(_: Size = QUICK) -> list[Figure]:
    """Run every benchmark of the meter."""
    return [*one_by_one(), many_at_once(), *behind_asgi()]


async def _answer_at_once(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b'{"malignant": true}'})


async def _ask(app: Any) -> None:
    async def receive() -> Any:
        return {"type": "http.request", "body": REQUEST, "more_body": False}

    async def send(_: Any) -> None:
        return None

    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
    scope |= {"raw_path": b"/predict", "query_string": b""}
    await app(scope, receive, send)


def _in_turns(*works: Callable[[], object]) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in works]
    for _ in range(CALLS):
        for work, taken in zip(works, times, strict=True):
            taken.append(seconds(work))
    return times


def _against(times: list[float], base: list[float]) -> float:
    """Return the middle one of the ratios of medians, block by block of calls that took turns."""
    blocks = range(0, len(base), BLOCK)
    return median(median(times[at : at + BLOCK]) / median(base[at : at + BLOCK]) for at in blocks)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="usufruct-bench-") as folder:
        yield Path(folder)


def _new_lane(folder: Path) -> LaneFile:
    options = LaneOptions(
        license_id=1, chain_id=31337, settlement=b"\x01" * 20, genesis_s=0, epoch_seconds=86_400
    )
    return create_lane(folder, options)


@contextmanager
def _floor(folder: Path) -> Iterator[Callable[[], object]]:
    """The least that any meter does: hash the request, hash and sign a receipt, one synced insert."""
    key = PrivateKey(sha256(b"benchmark").digest())
    db = sqlite3.connect(folder / "floor", isolation_level=None)
    for statement in (
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "CREATE TABLE receipts (seq INTEGER PRIMARY KEY, record BLOB, signature BLOB) STRICT",
    ):
        db.execute(statement)

    def work() -> None:
        digest = keccak256(keccak256(sha256(REQUEST).digest() + bytes(224)) + bytes(34))
        signature = key.sign_recoverable(digest, hasher=None)
        db.execute("INSERT INTO receipts (record, signature) VALUES (?, ?)", (bytes(104), signature))

    yield work
    db.close()


if __name__ == "__main__":
    print(table(run()))
