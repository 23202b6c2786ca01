"""How long and how many: connections that send or read too slowly are closed, and no sender holds many.

uvicorn waits for ever for a first request and for a client that does not read its answer. Here a request's
head must arrive in time, an answer must be taken at a minimum rate, and when all places are taken the
sender that holds the most gives its longest idle one to a new one. Bodies have a clock of their own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import Counter
from collections.abc import Collection
from typing import Any, ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from usufruct_oracle.limits import sender_of
from usufruct_oracle.metrics import Metrics

HEAD_TIMEOUT_S: Final = 10.0
FLUSH_TIMEOUT_S: Final = 10.0
MIN_BYTES_PER_S: Final = 65_536
MAX_HEAD_BYTES: Final = 16_384
MAX_OF_ONE_SENDER: Final = 64


class Connections:
    """The open connections of one server. Used from its event loop only.

    trusted: addresses of proxies, whose connections are those of many senders; loopback is always trusted
    """

    def __init__(
        self,
        metrics: Metrics,
        max_open: int,
        trusted: Collection[str] = (),
        *,
        head_timeout_s: float = HEAD_TIMEOUT_S,
        flush_timeout_s: float = FLUSH_TIMEOUT_S,
        max_of_one: int = MAX_OF_ONE_SENDER,
    ) -> None:
        self.head_timeout_s = head_timeout_s
        self.flush_timeout_s = flush_timeout_s
        self._metrics = metrics
        self._max_open = max_open
        self._max_of_one = max_of_one
        self._trusted = frozenset(trusted)
        self._open: dict[GuardedProtocol, str] = {}
        self._of_sender: Counter[str] = Counter()

    def protocol(self) -> type[asyncio.Protocol]:
        """Return the protocol class to give to uvicorn."""
        return type("BoundGuardedProtocol", (GuardedProtocol,), {"guard": self})

    def admits(self, one: GuardedProtocol, host: str) -> bool:
        """Count a new connection, making room if there is none; False if it must go."""
        sender = sender_of(host)
        self._open[one] = sender
        self._of_sender[sender] += 1
        self._metrics.http_connections.set(len(self._open))
        if not is_trusted(host, self._trusted) and self._of_sender[sender] > self._max_of_one:
            self.refused("too_many_of_one")
            return False
        if len(self._open) > self._max_open:
            self.refused("too_many")
            idle = self._most_dispensable(one)
            if idle is None:
                return False
            idle.abort()
        return True

    def _most_dispensable(self, newest: GuardedProtocol) -> GuardedProtocol | None:
        """Return the longest idle connection of the sender that holds the most; None if all are busy."""
        idle = [(each, each.idle_since) for each in self._open if each is not newest]
        return max(
            ((each, since) for each, since in idle if since is not None),
            key=lambda found: (self._of_sender[self._open[found[0]]], -found[1]),
            default=(None, 0.0),
        )[0]

    def forget(self, one: GuardedProtocol) -> None:
        """Stop counting a connection that has ended."""
        sender = self._open.pop(one, None)
        if sender is not None:
            self._of_sender[sender] -= 1
            if not self._of_sender[sender]:
                del self._of_sender[sender]
            self._metrics.http_connections.set(len(self._open))

    def refused(self, limit: str) -> None:
        """Count a connection that a limit closed."""
        self._metrics.http_refused.labels(limit).inc()


class GuardedProtocol(H11Protocol):
    """One connection. `idle_since` is None while a request is being answered."""

    guard: ClassVar[Connections]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take or refuse a connection, and start waiting for its first request."""
        super().connection_made(transport)
        self._head_timer: asyncio.TimerHandle | None = None
        self._flush_timer: asyncio.TimerHandle | None = None
        self.idle_since: float | None = time.monotonic()
        if self.guard.admits(self, self.client[0] if self.client else ""):
            self._await_head()
        else:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release what was counted."""
        self._stop_timers()
        self.guard.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; what is not yet a whole head, or belongs to no request any more, has a clock."""
        super().data_received(data)
        if self._is_answering():
            self.idle_since = None
            self._stop_head_timer()
        elif self._head_timer is None:
            self._await_head()

    def on_response_complete(self) -> None:
        """Wait for the client to take the answer, and for its next request."""
        super().on_response_complete()
        if not self._is_answering():  # else the next request was in the buffer already
            self.idle_since = time.monotonic()
            if self.conn.their_state is h11.SEND_BODY and self._head_timer is None:
                self._await_head()  # the rest of a body that was refused is in the way of the next head
        self._watch_flush()

    def pause_writing(self) -> None:
        """The client is behind with reading: give it time for what waits."""
        super().pause_writing()
        self._watch_flush()

    def resume_writing(self) -> None:
        """The client has caught up; the rest of an answer gets its own time."""
        super().resume_writing()
        if self._is_answering() and self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None

    def abort(self) -> None:
        """Close at once, dropping what the client has not read."""
        self._stop_timers()
        self.guard.forget(self)  # not only when the loop says that it is lost: more may come before
        self.transport.abort()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.guard.head_timeout_s, self._too_slow)

    def _watch_flush(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent and self._flush_timer is None:
            wait_s = self.guard.flush_timeout_s + unsent / MIN_BYTES_PER_S
            self._flush_timer = self.loop.call_later(wait_s, self._check_flush)

    def _check_flush(self) -> None:
        self._flush_timer = None
        if self.transport.get_write_buffer_size():
            self._too_slow()

    def _too_slow(self) -> None:
        self.guard.refused("too_slow")
        self.abort()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_timers(self) -> None:
        self._stop_head_timer()
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None


def is_trusted(host: str, trusted: Collection[str]) -> bool:
    """Tell whether a connection comes from this machine or from a proxy that the operator named."""
    if host in trusted:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def server_settings(connections: Connections, trusted: Collection[str]) -> dict[str, Any]:
    """Return what uvicorn's Config needs so that connections are guarded."""
    return {
        "http": connections.protocol(),
        "ws": "none",
        "h11_max_incomplete_event_size": MAX_HEAD_BYTES,
        "forwarded_allow_ips": ["127.0.0.1", "::1", *trusted],
    }
