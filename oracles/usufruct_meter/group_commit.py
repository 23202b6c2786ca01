"""Metering from an event loop: while one group of calls is being synced to disk, the next one gathers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from usufruct_meter.errors import MeteredElsewhere
from usufruct_meter.lane import Lane
from usufruct_meter.lane_writer import Outcome
from usufruct_meter.signed_receipt import MeteredCall, SignedReceipt

_MAX_GROUP: Final = 512
_ELSEWHERE_TIMEOUT_S: Final = 5.0
_ELSEWHERE_SLEEP_S: Final = 0.003

_Waiting = list[tuple[MeteredCall, "asyncio.Future[SignedReceipt]"]]


class GroupCommit:
    """Meters calls of one event loop in groups, on one thread of its own.

    Jobs go to the thread and come back by callback, not by task: each turn of the loop that is saved is a
    good part of what a call costs.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._executor = ThreadPoolExecutor(1, "usufruct-meter")
        self._waiting: _Waiting = []
        self._is_writing = False

    async def meter(self, call: MeteredCall) -> SignedReceipt:
        """Return the receipt once it is durable; it becomes so even if the waiting task is cancelled.

        Raises: as `Lane.meter`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _ELSEWHERE_TIMEOUT_S
        while True:
            waiter: asyncio.Future[SignedReceipt] = loop.create_future()
            self._waiting.append((call, waiter))
            self._write_next(loop)
            try:
                return await waiter
            except MeteredElsewhere:
                if loop.time() >= deadline:
                    raise
            await asyncio.sleep(_ELSEWHERE_SLEEP_S)

    def close(self) -> None:
        """Finish what was handed over and stop the thread."""
        self._executor.shutdown()

    def _write_next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand the gathered calls to the thread, unless it is writing: then `_finish` will."""
        if self._is_writing or not self._waiting:
            return
        group, self._waiting = self._waiting[:_MAX_GROUP], self._waiting[_MAX_GROUP:]
        job = self._executor.submit(self._lane.meter_each, [call for call, _ in group])
        self._is_writing = True

        def report(done: Future[list[Outcome]]) -> None:
            with suppress(RuntimeError):  # the loop is gone, and everybody who waited with it
                loop.call_soon_threadsafe(self._finish, loop, group, done)

        job.add_done_callback(report)

    def _finish(self, loop: asyncio.AbstractEventLoop, group: _Waiting, done: Future[list[Outcome]]) -> None:
        self._is_writing = False
        self._write_next(loop)
        error = done.exception()
        outcomes: Sequence[SignedReceipt | BaseException] = [error] * len(group) if error else done.result()
        for (_, waiter), outcome in zip(group, outcomes, strict=True):
            if waiter.done():
                continue  # its caller has gone; the receipt stands
            if isinstance(outcome, SignedReceipt):
                waiter.set_result(outcome)
            else:
                waiter.set_exception(outcome)
