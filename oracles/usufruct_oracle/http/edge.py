"""What happens to every request before and after its handler: shares of senders, and counting.

A sender that is over its share is told so before its body is read. What a request cost is known afterwards:
one token, more for many bytes either way, much more for input that was refused.
"""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from time import perf_counter
from typing import Final

from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from usufruct_oracle.http.connections import is_trusted
from usufruct_oracle.http.problems import from_error
from usufruct_oracle.http.request_body import SENDER
from usufruct_oracle.limits import (
    ANSWERED_BYTES_PER_TOKEN,
    REFUSED_COST,
    REQUEST_COST,
    SENT_BYTES_PER_TOKEN,
    Buckets,
    TooMany,
    sender_of,
)
from usufruct_oracle.metrics import Metrics

_REFUSED: Final = frozenset({400, 401, 403, 405, 408, 413, 422})
_UNMATCHED: Final = "none"


class Edge:
    """ASGI middleware around the whole application.

    trusted: addresses of proxies; what comes from them, or from this machine, without naming the client
             behind it has no share to keep within
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, senders: Buckets, trusted: Collection[str] = ()
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._senders = senders
        self._trusted = frozenset(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        sender = scope[SENDER] = self._sender(scope)
        started = perf_counter()
        try:
            wait_s = 0 if sender is None else self._senders.wait_s(sender)
            if wait_s:
                self._metrics.limited.labels("sender").inc()
                refusal = from_error(TooMany("this sender", "sender", wait_s))
                await refusal(scope, exchange.receive, exchange.send)
            else:
                await self._app(scope, exchange.receive, exchange.send)
        finally:
            # Not the path: there are as many of those as anybody likes.
            matched = scope.get("route")
            route = matched.path if isinstance(matched, Route) else _UNMATCHED
            self._metrics.http_requests.labels(route, str(exchange.status)).inc()
            self._metrics.http_seconds.labels(route).observe(perf_counter() - started)
            if sender is not None:
                self._senders.pay(sender, exchange.cost())

    def _sender(self, scope: Scope) -> str | None:
        client = scope.get("client")
        if client is None or is_trusted(client[0], self._trusted):
            return None
        return sender_of(client[0])


class _Exchange:
    """Watches one request and its answer go by."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.status = int(HTTPStatus.INTERNAL_SERVER_ERROR)
        self._sent_bytes = 0
        self._answered_bytes = 0
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message = await self._receive()
        self._sent_bytes += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self._answered_bytes += len(message.get("body", b""))
        await self._send(message)

    def cost(self) -> float:
        refused = REFUSED_COST if self.status in _REFUSED else 0.0
        sent, answered = (
            self._sent_bytes / SENT_BYTES_PER_TOKEN,
            self._answered_bytes / ANSWERED_BYTES_PER_TOKEN,
        )
        return REQUEST_COST + refused + sent + answered
