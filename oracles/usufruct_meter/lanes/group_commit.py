"""Metering from an event loop: while one group of calls is being synced to disk, the next one gathers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

from usufruct_protocol.errors import UsufructError

from usufruct_meter.errors import LaneClosed, MeteredElsewhere
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_writer import Outcome
from usufruct_meter.signed_receipt import MeteredCall, SignedReceipt

_logger = logging.getLogger(__name__)

_MAX_GROUP: Final = 512
_ELSEWHERE_TIMEOUT_S: Final = 5.0
_ELSEWHERE_SLEEP_S: Final = 0.003

_Waiter = tuple[MeteredCall, "asyncio.Future[SignedReceipt]", asyncio.AbstractEventLoop]


class GroupCommit:
    """Meters calls of event loops in groups, on one thread of its own.

    A call costs its loop two short turns: one that hands it over, and a part of one that brings back its
    whole group.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._waiting: SimpleQueue[_Waiter | None] = SimpleQueue()
        self._is_closed = False
        self._gate = threading.Lock()  # nothing is handed over behind the mark that ends the thread
        self._thread = threading.Thread(target=self._write, name="usufruct-meter", daemon=True)
        self._thread.start()

    async def meter(self, call: MeteredCall) -> SignedReceipt:
        """Return the receipt once it is durable; it becomes so even if the waiting task is cancelled.

        Raises: as `Lane.meter`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _ELSEWHERE_TIMEOUT_S
        while True:
            waiter: asyncio.Future[SignedReceipt] = loop.create_future()
            with self._gate:
                if self._is_closed:
                    raise LaneClosed("metering is closed", hint="open it again")
                self._waiting.put((call, waiter, loop))
            try:
                return await waiter
            except MeteredElsewhere:
                if loop.time() >= deadline:
                    raise
            await asyncio.sleep(_ELSEWHERE_SLEEP_S)

    def close(self) -> None:
        """Finish what was handed over and stop the thread."""
        with self._gate:
            self._is_closed = True
            self._waiting.put(None)
        self._thread.join()

    def _write(self) -> None:
        """Meter whatever has gathered, group by group, until closed."""
        is_open = True
        while is_open:
            group, is_open = self._next_group()
            outcomes: Sequence[Outcome]
            try:
                outcomes = self._lane.meter_each([call for call, _, _ in group]) if group else []
            except UsufructError as error:
                outcomes = [error] * len(group)
            except Exception as error:
                _logger.exception("a group of calls could not be metered")
                outcomes = [LaneClosed(f"metering failed: {error!r}")] * len(group)
            for loop in {loop for _, _, loop in group}:
                answers = [
                    (waiter, outcome)
                    for (_, waiter, at), outcome in zip(group, outcomes, strict=True)
                    if at is loop
                ]
                with suppress(RuntimeError):  # the loop is gone, and everybody who waited with it
                    loop.call_soon_threadsafe(_deliver, answers)

    def _next_group(self) -> tuple[list[_Waiter], bool]:
        """Wait for a call, and take all that have come meanwhile; whether there can be more."""
        first = self._waiting.get()
        if first is None:
            return [], False
        group = [first]
        with suppress(Empty):
            while len(group) < _MAX_GROUP:
                one = self._waiting.get_nowait()
                if one is None:
                    return group, False
                group.append(one)
        return group, True


def _deliver(answers: Sequence[tuple[asyncio.Future[SignedReceipt], Outcome]]) -> None:
    for waiter, outcome in answers:
        if waiter.done():
            continue  # its caller has gone; the receipt stands
        if isinstance(outcome, SignedReceipt):
            waiter.set_result(outcome)
        else:
            waiter.set_exception(outcome)
