"""One ASGI exchange: the request is hashed as the app reads it, the answer goes out only as it is metered.

An answer is held until it is whole and its receipt is durable; a stream is sent while it is made, in
installments (`streaming`). Failed answers pass through as they are.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from usufruct_protocol.errors import InputRejected, UsufructError

from usufruct_meter.call import Call
from usufruct_meter.http.gateway import OWN_HEADERS, Gateway, Refusal, receipt_headers
from usufruct_meter.http.request import check_idempotency_key, repeated_request_id, request_hasher
from usufruct_meter.signed_receipt import MeteredCall, SignedReceipt
from usufruct_meter.streaming import MeteredStream, Steps

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
MeterCall = Callable[[MeteredCall], Awaitable[SignedReceipt]]

_logger = logging.getLogger(__name__)


class CutOff(OSError):
    """Ends an app whose answer can no longer be counted. To the app it is a client that has gone."""


class IncomingRequest:
    """A request as it is read: by the app, and by the meter, which has to hash all of it."""

    def __init__(self, scope: Scope, receive: Receive, max_kept_bytes: int) -> None:
        self._receive = receive
        self._key = check_idempotency_key(_header_values(scope, b"idempotency-key"))
        self._hasher = request_hasher(scope["method"], _target(scope), self._key)
        self._authorization = b"\n".join(_header_values(scope, b"authorization"))
        self._is_read = False
        self._reading = asyncio.Lock()
        self._kept: deque[Message] = deque()
        self._left_bytes = max_kept_bytes

    async def receive(self) -> Message:
        """Hand the app a message, and hash what it carries."""
        if self._kept:
            return self._kept.popleft()
        if self._is_read:
            return await self._receive()
        async with self._reading:
            return self._kept.popleft() if self._kept else await self._next()

    async def read_rest(self, *, keep: bool) -> None:
        """Hash what the app has not read: the receipt is for the whole request.

        keep: the app may still want it. Raises: InputRejected if that is more than is kept.
        """
        while not self._is_read:
            async with self._reading:  # the app may be reading at the same time
                if self._is_read:
                    return
                message = await self._next()
                if keep:
                    self._left_bytes -= len(message.get("body", b""))
                    if self._left_bytes < 0:
                        raise InputRejected("the app answers before it has read a request this large")
                    self._kept.append(message)

    def digest(self) -> bytes:
        """Return the digest that the receipt commits to."""
        return self._hasher.digest()

    def response_id(self) -> str | None:
        """Return what identifies a repeated request, or None."""
        return repeated_request_id(self.digest(), self._authorization, self._key)

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._hasher.update(message.get("body", b""))
            self._is_read = not message.get("more_body", False)
        else:
            self._is_read = True  # the client has gone; there is no more to read
        return message


class MeteredAnswer:
    """The answer of an app, on its way to the client."""

    def __init__(
        self, gateway: Gateway, call: Call, request: IncomingRequest, send: Send, meter: MeterCall
    ) -> None:
        self._gateway = gateway
        self._call = call
        self._request = request
        self._send = send
        self._meter = meter
        self._start: Message | None = None
        self._has_started = False
        self._media_type: str | None = None
        self._stream: MeteredStream | None = None
        self._parts: list[bytes] = []
        self._left_bytes = gateway.max_response_bytes
        self._is_over = False
        self.is_cut_off = False

    async def send(self, message: Message) -> None:
        """Take a message of the app. Raises: CutOff once the answer cannot be counted."""
        if self.is_cut_off:
            raise CutOff("the answer was cut off")
        if self._is_over:
            return
        if message["type"] == "http.response.start":
            await self._begin(message)
            return
        if message["type"] != "http.response.body":
            raise ValueError(f"cannot meter ASGI message {message['type']!r}")
        if self._start is None:
            raise ValueError("ASGI body before its start")
        part, is_last = message.get("body", b""), not message.get("more_body", False)
        if self._has_started and self._stream is None:
            await self._send(message)
        elif self._media_type is not None:
            await self._pass_on(self._media_type, part, is_last)
        else:
            await self._hold(part, is_last)
        self._is_over = is_last

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to sign for: an answer that was no stream, or ended."""
        return self._is_over or self._stream is None or self._stream.opening is None

    async def break_off(self) -> None:
        """Sign for what was delivered of a stream that has not ended and will not."""
        if self.is_whole or self._stream is None or self._stream.opening is None:
            return
        self._is_over = True
        try:
            await self._run(self._stream.break_off())
        except UsufructError as error:
            opening = self._stream.opening.receipt
            _logger.error(
                "the last part of a stream (lane 0x%s, seq %d) could not be counted: %s",
                opening.lane.hex(),
                opening.seq,
                error,
            )

    async def _begin(self, start: Message) -> None:
        self._start = start
        if not 200 <= start["status"] < 300:  # the app has not answered with what was asked for
            await self._send_start([])
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in start.get("headers", ())}
        self._media_type = self._gateway.stream_type(
            headers.get(b"content-type", ""),
            headers.get(b"content-encoding", ""),
            has_length=b"content-length" in headers,
        )

    async def _hold(self, part: bytes, is_last: bool) -> None:
        self._left_bytes -= len(part)
        if self._left_bytes < 0:
            self._parts.clear()
            await self._refuse(InputRejected("the answer is too large to be held until it is counted"))
            raise self._cut_off()
        self._parts.append(part)
        if not is_last:
            return
        body = b"".join(self._parts)
        count = self._gateway.rule.whole  # a user's function may raise what it likes: then there is no answer
        try:
            await self._request.read_rest(keep=False)
            metered = MeteredCall(
                count(self._call, body),
                self._call.usage,
                response_id=self._request.response_id(),
                request_sha256=self._request.digest(),
            )
            signed = await self._meter(metered)
        except UsufructError as error:
            _logger.error("a call was answered but could not be counted, so it is refused: %s", error)
            await self._refuse(error)
            return
        await self._send_start(receipt_headers(signed))
        await self._send({"type": "http.response.body", "body": body})

    async def _pass_on(self, media_type: str, part: bytes, is_last: bool) -> None:
        """Send a part of a stream, metered."""
        try:
            if self._stream is None:
                await self._request.read_rest(keep=True)
                self._stream = self._gateway.stream(
                    self._call, media_type, self._request.response_id(), self._request.digest()
                )
            await self._run(self._stream.take(part, is_last=is_last))
        except UsufructError as error:
            _logger.error("a stream was cut off, because it could not be counted further: %s", error)
            if not self._has_started:
                await self._refuse(error)
            raise self._cut_off() from error
        if is_last:
            await self._send({"type": "http.response.body", "body": b""})

    async def _run(self, steps: Steps) -> None:
        """Do what a stream asks for, in its order."""
        signed: SignedReceipt | None = None
        while True:
            try:
                step = steps.send(signed)
            except StopIteration:
                return
            signed = None
            if isinstance(step, MeteredCall):
                signed = await self._meter(step)
                if not self._has_started:
                    await self._send_start(receipt_headers(signed, is_stream=True))
            elif step:
                await self._send({"type": "http.response.body", "body": step, "more_body": True})

    def _cut_off(self) -> CutOff:
        self.is_cut_off = True
        return CutOff("the answer was cut off")

    async def _refuse(self, error: UsufructError) -> None:
        await send_refusal(self._send, Refusal.of(error))
        self._has_started = True

    async def _send_start(self, added: list[tuple[str, str]]) -> None:
        """Send the start of the answer; a receipt header is only ever the meter's."""
        assert self._start is not None
        headers = [
            (name, value)
            for name, value in self._start.get("headers", ())
            if name.lower().decode("latin-1") not in OWN_HEADERS
        ]
        headers += [(name.encode("ascii"), value.encode("ascii")) for name, value in added]
        self._has_started = True
        await self._send({**self._start, "headers": headers})


async def send_refusal(send: Send, refusal: Refusal) -> None:
    """Answer with a document of the meter's own."""
    headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in refusal.headers]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": refusal.body})


def _target(scope: Scope) -> bytes:
    """Return path and query as the client sent them."""
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
    query: bytes = scope.get("query_string", b"")
    return path + b"?" + query if query else path


def _header_values(scope: Scope, name: bytes) -> list[bytes]:
    return [bytes(value) for key, value in scope.get("headers", ()) if key.lower() == name]
