"""WSGI middleware: the rules of `asgi`, for threads and pre-forking servers.

    app = Meter.wsgi(app, lane="lanes/", units="tokens", routes=["/v1/*"])

The lane is opened with the first call, so that each forked worker opens its own.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from itertools import chain
from typing import Any, Final, TypeVar

from usufruct_protocol.errors import InputRejected, UsufructError

from usufruct_meter.call import Call
from usufruct_meter.errors import MeteringPaused
from usufruct_meter.http.gateway import (
    OWN_HEADERS,
    SALT_HEADER,
    Gateway,
    GatewayOptions,
    Refusal,
    receipt_headers,
)
from usufruct_meter.http.receipt_desk import RECEIPTS_PATH, receipts_at
from usufruct_meter.http.wsgi_request import WsgiRequest, path_of
from usufruct_meter.meter import Meter
from usufruct_meter.observers import tell
from usufruct_meter.signed_receipt import MeteredCall, SignedReceipt
from usufruct_meter.streaming import MeteredStream, Steps

T = TypeVar("T")
Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

_logger = logging.getLogger(__name__)

_POLL_S: Final = 0.25


class WsgiMeter:
    """Wraps a WSGI app. Options: `GatewayOptions`; rules as `AsgiMeter`. Safe for threads.

    The app may say units and records used in `environ["usufruct.call"]`, a `Call`.
    """

    def __init__(self, app: App, **options: Any) -> None:
        self._app = app
        self._gateway = Gateway(GatewayOptions(**options))
        self._opening = threading.Lock()
        self._open_meter: Meter | None = None
        self._pid = 0

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one call."""
        own_path = environ.get("PATH_INFO", "")  # below where the app is mounted
        if own_path.startswith(RECEIPTS_PATH):
            return self._show_receipts(own_path, environ, start_response)
        if not self._gateway.is_metered(environ["REQUEST_METHOD"], path_of(environ)):
            return self._app(environ, start_response)
        try:
            meter = self._ready()
            request = WsgiRequest(environ, self._gateway.max_response_bytes)
        except UsufructError as error:
            return _answer(start_response, Refusal.of(error))
        call = Call()
        environ = {**environ, "usufruct.call": call, "wsgi.input": request}
        environ.pop("wsgi.file_wrapper", None)  # a way to answer that cannot be metered

        def sign(metered: MeteredCall) -> SignedReceipt:
            return tell(self._patiently(lambda: meter.lane.meter_call(metered)))

        answer = _MeteredAnswer(self._gateway, call, request, start_response, sign)
        answer.begin(self._app(environ, answer.start_response))
        return answer

    def close(self) -> None:
        """Ship what is left and give the lane back; runs by itself when the process ends in good order."""
        with self._opening:
            meter, self._open_meter = self._open_meter, None
            if meter is not None and self._pid == os.getpid():
                meter.close()

    def _ready(self) -> Meter:
        """Return the meter of this process, opening its lane with the first call.

        Raises: as `Meter.open` and `Lane.check_ready`.
        """
        meter = self._open_meter
        if meter is None or self._pid != os.getpid():
            with self._opening:
                if self._open_meter is None or self._pid != os.getpid():
                    self._open_meter = Meter.open(
                        self._gateway.location, checkpoint_every_s=self._gateway.checkpoint_every_s
                    )
                    self._pid = os.getpid()
                    atexit.register(self.close)
                meter = self._open_meter
        self._patiently(meter.lane.check_ready)
        return meter

    def _patiently(self, attempt: Callable[[], T]) -> T:
        """Return what an attempt returns, waiting for a pause to end if the gateway was told to."""
        deadline = time.monotonic() + self._gateway.wait_s
        while True:
            try:
                return attempt()
            except MeteringPaused:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_POLL_S)

    def _show_receipts(self, path: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        salt = environ.get("HTTP_" + SALT_HEADER.upper().replace("-", "_"), "")
        try:
            found = receipts_at(self._gateway.location, path, salt)
        except UsufructError as error:
            return _answer(start_response, Refusal.of(error))
        return _answer(start_response, Refusal.json(200, [("content-type", "application/json")], found))


class _MeteredAnswer:
    """The answer of an app, part by part as the server asks for it; closed by the server, come what may."""

    def __init__(
        self,
        gateway: Gateway,
        call: Call,
        request: WsgiRequest,
        start_response: StartResponse,
        sign: Callable[[MeteredCall], SignedReceipt],
    ) -> None:
        self._gateway = gateway
        self._call = call
        self._request = request
        self._start_response = start_response
        self._sign = sign
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._written: list[bytes] = []
        self._app_parts: Iterable[bytes] = ()
        self._out: Iterator[bytes] = iter(())
        self._stream: MeteredStream | None = None
        self._has_started = False
        self._has_ended = False

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """Take what the app answers with; kept until the server may have it."""
        if exc_info and self._has_started:
            raise exc_info[1].with_traceback(exc_info[2])
        if self._status and not exc_info:
            raise ValueError("start_response was called twice")
        self._status, self._headers = status, headers
        return self._written.append

    def begin(self, parts: Iterable[bytes]) -> None:
        """Take the app's answer, and hand it on as its kind asks for.

        The server gets nothing before this returns, so a call that cannot be counted is still refused whole.
        """
        self._app_parts = parts
        source = self._with_written(parts)
        try:
            first = next((part for part in source if part), b"")  # only now has every app said its status
            if not self._status:
                raise ValueError("the app answered without start_response")
            if not self._status.startswith("2"):  # the app has not answered with what was asked for
                self._start([])
                self._out = chain((first,), source)
            elif (media_type := self._stream_type()) is not None:
                self._out = self._stream_on(media_type, first, source)
                self._out = chain((next(self._out, b""),), self._out)  # the first receipt is signed now
            else:
                self._out = iter(self._hold(first, source))
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._out)

    def close(self) -> None:
        """End the app, and sign for what was delivered of a stream that did not end."""
        try:
            close = getattr(self._app_parts, "close", None)
            if close is not None:
                close()
        finally:
            stream, self._stream = self._stream, None
            if stream is not None and not self._has_ended:
                self._break_off(stream)

    def _with_written(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what the app returns, and before each part what it wrote the old way."""
        for part in parts:
            yield b"".join(self._written) + part
            self._written.clear()
        yield b"".join(self._written)

    def _stream_type(self) -> str | None:
        headers = {name.lower(): value for name, value in self._headers}
        return self._gateway.stream_type(
            headers.get("content-type", ""),
            headers.get("content-encoding", ""),
            has_length="content-length" in headers,
        )

    def _hold(self, first: bytes, source: Iterator[bytes]) -> Iterable[bytes]:
        """Return the whole answer once it is counted, or a refusal."""
        parts, size = [first], len(first)
        try:
            for part in source:
                parts.append(part)
                size += len(part)
                if size > self._gateway.max_response_bytes:
                    raise InputRejected("the answer is too large to be held until it is counted")
            body = b"".join(parts)
            self._request.read_rest(keep=False)
            signed = self._sign(
                MeteredCall(
                    self._gateway.rule.whole(self._call, body),
                    self._call.usage,
                    response_id=self._request.response_id(),
                    request_sha256=self._request.digest(),
                )
            )
        except UsufructError as error:
            _logger.error("a call was answered but could not be counted, so it is refused: %s", error)
            return self._refuse(error)
        self._start(receipt_headers(signed))
        return [body]

    def _stream_on(self, media_type: str, first: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
        """Yield a stream, metered. What cannot be counted is refused before the first byte, later cut off."""
        try:
            self._request.read_rest(keep=True)
            stream = self._stream = self._gateway.stream(
                self._call, media_type, self._request.response_id(), self._request.digest()
            )
            yield from self._run(stream.take(first, is_last=False))
            for part in source:
                yield from self._run(stream.take(part, is_last=False))
            yield from self._run(stream.take(b"", is_last=True))
            self._has_ended = True
        except UsufructError as error:
            _logger.error("a stream was cut off, because it could not be counted further: %s", error)
            if self._has_started:
                raise
            self._has_ended = True
            yield from self._refuse(error)

    def _run(self, steps: Steps) -> Iterator[bytes]:
        """Do what a stream asks for, in its order."""
        signed: SignedReceipt | None = None
        while True:
            try:
                step = steps.send(signed)
            except StopIteration:
                return
            signed = None
            if isinstance(step, MeteredCall):
                signed = self._sign(step)
                if not self._has_started:
                    self._start(receipt_headers(signed, is_stream=True))
            elif step:
                yield step

    def _break_off(self, stream: MeteredStream) -> None:
        try:
            for _ in self._run(stream.break_off()):
                pass
        except UsufructError as error:
            _logger.error("the last part of a stream could not be counted: %s", error)

    def _start(self, added: list[tuple[str, str]]) -> None:
        """Start the answer; a receipt header is only ever the meter's."""
        own = [(name, value) for name, value in self._headers if name.lower() not in OWN_HEADERS]
        self._has_started = True
        self._start_response(self._status, own + added)

    def _refuse(self, error: UsufructError) -> Iterable[bytes]:
        self._has_started = True
        return _answer(self._start_response, Refusal.of(error))


def _answer(start_response: StartResponse, refusal: Refusal) -> Iterable[bytes]:
    """Answer with a document of the meter's own."""
    start_response(f"{refusal.status} {HTTPStatus(refusal.status).phrase}", refusal.headers)
    return [refusal.body]
