"""Metering from an event loop: while one group of calls is being synced to disk, the next one gathers."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from usufruct_meter.errors import MeteredElsewhere
from usufruct_meter.lane import Lane
from usufruct_meter.signed_receipt import MeteredCall, SignedReceipt

_MAX_GROUP: Final = 512
_ELSEWHERE_TIMEOUT_S: Final = 5.0
_ELSEWHERE_SLEEP_S: Final = 0.003

_Waiting = list[tuple[MeteredCall, "asyncio.Future[SignedReceipt]"]]


class GroupCommit:
    """Meters calls of one event loop in groups, on one thread of its own."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._executor = ThreadPoolExecutor(1, "usufruct-meter")
        self._waiting: _Waiting = []
        self._drain: asyncio.Task[None] | None = None

    async def meter(self, call: MeteredCall) -> SignedReceipt:
        """Return the receipt once it is durable; it becomes so even if the waiting task is cancelled.

        Raises: as `Lane.meter`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _ELSEWHERE_TIMEOUT_S
        while True:
            future: asyncio.Future[SignedReceipt] = loop.create_future()
            self._waiting.append((call, future))
            if self._drain is None:
                self._drain = loop.create_task(self._drain_all())
            try:
                return await future
            except MeteredElsewhere:
                if loop.time() >= deadline:
                    raise
            await asyncio.sleep(_ELSEWHERE_SLEEP_S)

    def close(self) -> None:
        """Finish what was handed over and stop the thread."""
        self._executor.shutdown()

    async def _drain_all(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:_MAX_GROUP], self._waiting[_MAX_GROUP:]
                await self._meter_group(group)
        finally:
            self._drain = None

    async def _meter_group(self, group: _Waiting) -> None:
        loop = asyncio.get_running_loop()
        calls = [call for call, _ in group]
        try:
            outcomes = await loop.run_in_executor(self._executor, self._lane.meter_each, calls)
        except Exception as error:  # noqa: BLE001  (whoever waits must hear of it, whatever it is)
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if future.done():
                continue  # its caller has gone; the receipt stands
            if isinstance(outcome, SignedReceipt):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)
