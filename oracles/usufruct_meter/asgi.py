"""ASGI middleware: no metered call is answered before its receipt is durable.

The answer is held back until the app has finished it and the receipt is on disk, then sent with the header
`Usage-Receipt`. Whoever gets an answer therefore gets a receipt, and a stream arrives in one piece. When the
meter cannot write, calls are refused with 503 and Retry-After, if possible before the app has done any work:
an answer is never given away uncounted.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from usufruct_protocol.errors import ConfigInvalid, InputRejected, UsufructError

from usufruct_meter.call import Call, UnitsRule, units_rule
from usufruct_meter.errors import MeteredElsewhere, SpoolFull
from usufruct_meter.exchange import (
    BadIdempotencyKey,
    Exchange,
    Message,
    Receive,
    Scope,
    Send,
    idempotency_key,
)
from usufruct_meter.group_commit import GroupCommit
from usufruct_meter.meter import Meter
from usufruct_meter.signed_receipt import MeteredCall

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_logger = logging.getLogger(__name__)

_MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024
_RETRY_SOON_S: Final = 1
_RETRY_LATER_S: Final = 60
_LAST_EVENTS: Final = ("lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed")


class AsgiMeter:
    """Wraps an ASGI app; opens its lane in the process that serves, at startup or with the first call.

    lane:    a lane file, or a folder of them: each worker process takes the first one that is free
    routes:  patterns of paths to meter, `*` for anything; every answer with a 2xx status then gets a receipt
    units:   "calls" (one per call), "tokens" (the app says, or an OpenAI-style answer), or a function of
             (call, body); what the app sets as `scope["usufruct"].units` reaches the function as `call.units`
    Retries: a request repeated with its `Idempotency-Key` (same method, target, body and Authorization) is
             answered by the app again, but gets the receipt of the first time.
    Not metered: failed calls (status >= 400 or an exception), redirects and 304, OPTIONS. WebSockets on a
             metered route are refused. A call whose client hangs up is metered if the app finishes it.
    Raises:  ConfigInvalid for a bad option; the server's startup fails if the lane cannot be opened.
    """

    def __init__(
        self,
        app: App,
        *,
        lane: Path | str,
        routes: Sequence[str] = ("/*",),
        units: str | UnitsRule = "calls",
        max_response_bytes: int = _MAX_RESPONSE_BYTES,
        checkpoint_every_s: float = 1.0,
    ) -> None:
        if isinstance(routes, str) or not routes or not all(route.startswith("/") for route in routes):
            raise ConfigInvalid(f"routes must be a list of paths that begin with /, got {routes!r}")
        self._app = app
        self._location = Path(lane)
        self._routes = tuple(routes)
        self._units = units_rule(units)
        self._max_response_bytes = max_response_bytes
        self._checkpoint_every_s = checkpoint_every_s
        self._opening = asyncio.Lock()
        self._open_meter: tuple[Meter, GroupCommit] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
        elif kind not in ("http", "websocket") or not self._is_metered(scope):
            await self._app(scope, receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1011, "reason": "not metered over WebSocket"})
        else:
            await self._serve(scope, receive, send)

    def _is_metered(self, scope: Scope) -> bool:
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            return False
        return any(fnmatchcase(scope["path"], route) for route in self._routes)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            group = await self._ready()
            key = idempotency_key(scope)
        except UsufructError as error:
            await _refuse(send, error)
            return
        call = Call()
        extensions = {
            name: value
            for name, value in (scope.get("extensions") or {}).items()
            if not name.startswith("http.response.")  # ways to answer that cannot be held back
        }
        exchange = Exchange(scope, receive, send, key, self._max_response_bytes)

        async def send_when_metered(message: Message) -> None:
            if not exchange.hold(message):
                return
            if exchange.has_overflowed:
                await _refuse(send, InputRejected("the answer is too large to be held until it is counted"))
            elif not exchange.is_success:
                await exchange.answer(None)
            else:
                await self._meter_and_answer(group, call, exchange)

        inner_scope = {**scope, "usufruct": call, "extensions": extensions}
        await self._app(inner_scope, exchange.receive, send_when_metered)

    async def _meter_and_answer(self, group: GroupCommit, call: Call, exchange: Exchange) -> None:
        units = self._units  # the function may raise what it likes: then there is no answer
        try:
            await exchange.read_rest_of_request()
            metered = MeteredCall(
                units(call, exchange.response_body()),
                call.usage,
                response_id=exchange.response_id(),
                request_sha256=exchange.request_digest(),
            )
            signed = await group.meter(metered)
        except UsufructError as error:
            _logger.error("a call was answered but could not be counted, so it is refused: %s", error)
            await _refuse(exchange.send, error)
            return
        await exchange.answer(signed)

    async def _ready(self) -> GroupCommit:
        """Return the way to meter, opening the lane if no lifespan event has.

        Raises: as `Meter.open` and `Lane.check_ready`.
        """
        meter, group = self._open_meter or await self._open()
        if meter.lane.is_failing:
            await asyncio.to_thread(meter.lane.check_ready)
        else:
            meter.lane.check_ready()
        return group

    async def _open(self) -> tuple[Meter, GroupCommit]:
        async with self._opening:
            if self._open_meter is None:
                meter = await asyncio.to_thread(
                    Meter.open, self._location, checkpoint_every_s=self._checkpoint_every_s
                )
                self._open_meter = meter, GroupCommit(meter.lane)
            return self._open_meter

    async def close(self) -> None:
        """Ship what is left and give the lane back; for servers without lifespan events."""
        if self._open_meter is not None:
            (meter, group), self._open_meter = self._open_meter, None
            await asyncio.to_thread(group.close)
            await asyncio.to_thread(meter.close)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open before the app starts and close after it has stopped, whether or not it knows of lifespans."""
        startup: Message | None = await receive()
        try:
            await self._open()
        except Exception as error:  # noqa: BLE001  (anything but this event, and the server would start)
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


async def _refuse(send: Send, error: UsufructError) -> None:
    """Answer with a problem document: the code and what to do, and nothing of the inside."""
    if isinstance(error, BadIdempotencyKey):
        status, detail, retry_after_s = 400, str(error), None
    else:
        status, detail = 503, "This call cannot be counted right now, and is not answered uncounted."
        retry_after_s = _RETRY_SOON_S if isinstance(error, (SpoolFull, MeteredElsewhere)) else _RETRY_LATER_S
    content = {"title": "Not metered", "status": status, "code": error.code, "detail": detail}
    headers = [(b"content-type", b"application/problem+json")]
    if retry_after_s is not None:
        headers.append((b"retry-after", str(retry_after_s).encode("ascii")))
    body = json.dumps(content).encode("utf-8")
    headers.append((b"content-length", str(len(body)).encode("ascii")))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
