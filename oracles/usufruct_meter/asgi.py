"""ASGI middleware: no metered call is answered before its receipt is durable.

An answer is held until the app has finished it and the receipt is on disk, then sent with the header
`Usage-Receipt`. A stream of events is sent while it is made: its first receipt is durable before its first
byte (`streaming`). Whoever gets an answer therefore gets a receipt. When the meter cannot write, calls are
refused with 503 and Retry-After, if possible before the app has done any work: an answer is never given away
uncounted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from usufruct_protocol.errors import UsufructError

from usufruct_meter.call import Call
from usufruct_meter.errors import MeteringPaused
from usufruct_meter.http.exchange import (
    IncomingRequest,
    Message,
    MeteredAnswer,
    Receive,
    Scope,
    Send,
    send_refusal,
)
from usufruct_meter.http.gateway import SALT_HEADER, Gateway, GatewayOptions, Refusal
from usufruct_meter.http.receipt_desk import RECEIPTS_PATH, receipts_at
from usufruct_meter.lanes.group_commit import GroupCommit
from usufruct_meter.meter import Meter
from usufruct_meter.observers import tell
from usufruct_meter.signed_receipt import MeteredCall, SignedReceipt

T = TypeVar("T")
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_logger = logging.getLogger(__name__)

_POLL_S: Final = 0.25
_LAST_EVENTS: Final = ("lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed")


class AsgiMeter:
    """Wraps an ASGI app; opens its lane in the process that serves, at startup or with the first call.

    Options: `GatewayOptions`. The app may say units and records used in `scope["usufruct"]`, a `Call`.
    Streams: answers of type text/event-stream or of JSON lines, without a length. Their headers name the
             first receipt; later ones come as comments in an event stream, and from `receipt_desk`.
    Retries: a request repeated with its `Idempotency-Key` (same method, target, body and Authorization) is
             answered by the app again, but gets the receipt of the first time.
    Not metered: failed calls (status >= 400 or an exception), redirects and 304, OPTIONS. WebSockets on a
             metered route are refused. A call whose client hangs up is metered if the app finishes it; a
             stream that breaks off is metered for what was delivered.
    Raises:  ConfigInvalid for a bad option; the server's startup fails if the lane cannot be opened, or the
             clock is known to be ahead.
    """

    def __init__(self, app: App, **options: Any) -> None:
        self._app = app
        self._gateway = Gateway(GatewayOptions(**options))
        self._opening = asyncio.Lock()
        self._open_meter: tuple[Meter, GroupCommit] | None = None
        self._breaking_off: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
        elif kind == "http" and _own_path(scope).startswith(RECEIPTS_PATH):
            await self._show_receipts(scope, send)
        elif kind not in ("http", "websocket") or not self._is_metered(scope):
            await self._app(scope, receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1011, "reason": "not metered over WebSocket"})
        else:
            await self._serve(scope, receive, send)

    def _is_metered(self, scope: Scope) -> bool:
        return self._gateway.is_metered(scope.get("method", "GET"), scope["path"])

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            group = await self._ready()
            request = IncomingRequest(scope, receive, self._gateway.max_response_bytes)
        except UsufructError as error:
            await send_refusal(send, Refusal.of(error))
            return
        call = Call()
        extensions = {
            name: value
            for name, value in (scope.get("extensions") or {}).items()
            if not name.startswith("http.response.")  # ways to answer that cannot be metered
        }

        async def meter(metered: MeteredCall) -> SignedReceipt:
            if not self._gateway.wait_s:
                return tell(await group.meter(metered))
            return tell(await self._patiently(lambda: group.meter(metered)))

        answer = MeteredAnswer(self._gateway, call, request, send, meter)
        inner_scope = {**scope, "usufruct": call, "extensions": extensions}
        try:
            await self._app(inner_scope, request.receive, answer.send)
        except Exception:
            if not answer.is_cut_off:
                raise
            _logger.debug("the app ended with its answer cut off", exc_info=True)
        finally:
            if not answer.is_whole:
                await self._break_off(answer)

    async def _break_off(self, answer: MeteredAnswer) -> None:
        """Sign for a stream that did not end; goes on even if the task that served it is cancelled."""
        task = asyncio.ensure_future(answer.break_off())
        self._breaking_off.add(task)
        task.add_done_callback(self._breaking_off.discard)
        await asyncio.shield(task)

    async def _show_receipts(self, scope: Scope, send: Send) -> None:
        salts = [value.decode("latin-1") for name, value in scope["headers"] if name == SALT_HEADER.encode()]
        try:
            found = await asyncio.to_thread(
                receipts_at, self._gateway.location, _own_path(scope), salts[0] if salts else ""
            )
        except UsufructError as error:
            await send_refusal(send, Refusal.of(error))
        else:
            await send_refusal(send, Refusal.json(200, [("content-type", "application/json")], found))

    async def _ready(self) -> GroupCommit:
        """Return the way to meter, opening the lane if no lifespan event has.

        Raises: as `Meter.open` and `Lane.check_ready`.
        """
        meter, group = self._open_meter or await self._open()
        if not meter.lane.is_failing:
            try:
                meter.lane.check_ready()
                return group
            except MeteringPaused:
                if not self._gateway.wait_s:
                    raise
        await self._patiently(lambda: asyncio.to_thread(meter.lane.check_ready))
        return group

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what an attempt returns, waiting for a pause to end if the gateway was told to."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._gateway.wait_s
        while True:
            try:
                return await attempt()
            except MeteringPaused:
                if loop.time() >= deadline:
                    raise
            await asyncio.sleep(_POLL_S)

    async def _open(self) -> tuple[Meter, GroupCommit]:
        async with self._opening:
            if self._open_meter is None:
                meter = await asyncio.to_thread(
                    Meter.open, self._gateway.location, checkpoint_every_s=self._gateway.checkpoint_every_s
                )
                self._open_meter = meter, GroupCommit(meter.lane)
            return self._open_meter

    async def close(self) -> None:
        """Ship what is left and give the lane back; for servers without lifespan events."""
        while self._breaking_off:
            await asyncio.wait(self._breaking_off)
        if self._open_meter is not None:
            (meter, group), self._open_meter = self._open_meter, None
            await asyncio.to_thread(group.close)
            await asyncio.to_thread(meter.close)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open before the app starts and close after it has stopped, whether or not it knows of lifespans."""
        startup: Message | None = await receive()
        try:
            meter, _ = await self._open()
            meter.lane.check_clock()
        except Exception as error:  # noqa: BLE001  (anything but this event, and the server would start)
            await self.close()
            code, hint = getattr(error, "code", type(error).__name__), getattr(error, "hint", "")
            await send({"type": "lifespan.startup.failed", "message": f"{code}: {error}\nhint: {hint}"})
            return
        has_answered = False

        async def receive_after_opening() -> Message:
            nonlocal startup
            first, startup = startup, None
            return first if first is not None else await receive()

        async def send_after_closing(message: Message) -> None:
            nonlocal has_answered
            has_answered = True
            if message["type"] in _LAST_EVENTS:
                await self.close()
            await send(message)

        try:
            await self._app(scope, receive_after_opening, send_after_closing)
        except Exception:
            if has_answered:
                raise
            _logger.debug("the app has no lifespan of its own", exc_info=True)
        if not has_answered:
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self.close()
            await send({"type": "lifespan.shutdown.complete"})


def _own_path(scope: Scope) -> str:
    """Return the path below where the app is mounted."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))
