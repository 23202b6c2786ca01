"""GET requests whose whole exchange has a limit, for servers that one does not trust.

Ordinary clients limit the pause between two bytes. A server that sends one byte after each of them, in the
headers already, holds its caller for as long as it likes. Here the limit runs from connecting to the last
byte, and grows only with what arrives.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore
from usufruct_protocol.errors import InputRejected, Transient

MIN_BYTES_PER_S: Final = 250_000
"""Pace of an answer that costs none of its time limit."""
_CONNECTIONS: Final = 8
_KEPT_IDLE_S: Final = 20.0


class TooSlow(Transient):
    """The exchange took longer than its limit."""


class Unreachable(Transient):
    """No connection, or one that broke."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body, and the server's own clock in unix seconds if it told it."""

    status: int
    body: bytes
    clock_s: float | None


class BoundedHttp:
    """Connections to one server. Safe to share between threads. Sends no cookies, follows no redirects.

    timeout_s: limit for a whole exchange, extended by 1 s for each MIN_BYTES_PER_S received
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self.url = url.rstrip("/")
        self._backend = _Backend(timeout_s)
        self._pool = httpcore.ConnectionPool(
            max_connections=_CONNECTIONS, keepalive_expiry=_KEPT_IDLE_S, network_backend=self._backend
        )
        self._timeout_s = timeout_s
        self._host = urlsplit(self.url).netloc.rpartition("@")[2]

    def get(self, path: str, headers: dict[str, str], max_bytes: int) -> Answer:
        """Return the answer to GET `path`. Raises: TooSlow, Unreachable; InputRejected past `max_bytes`."""
        self._backend.start()
        sent = list({"Host": self._host, "Accept-Encoding": "identity", **headers}.items())
        waits = {"timeout": {"pool": self._timeout_s}}
        try:
            with self._pool.stream("GET", self.url + path, headers=sent, extensions=waits) as response:
                body = self._read(response, path, max_bytes)
        except httpcore.TimeoutException as error:
            raise TooSlow(f"{self.url} did not answer in {self._timeout_s:g} s") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
            raise Unreachable(f"{self.url}: {error or type(error).__name__}") from error
        return Answer(response.status, body, _clock_of(response))

    def close(self) -> None:
        """Close its connections."""
        self._pool.close()

    def _read(self, response: httpcore.Response, path: str, max_bytes: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        for part in response.iter_stream():  # never unpacked: a few bytes could become gigabytes
            size += len(part)
            if size > max_bytes:
                raise InputRejected(f"{self.url} sent more than {max_bytes} bytes for {path.split('?')[0]}")
            parts.append(part)
        return b"".join(parts)


def _clock_of(response: httpcore.Response) -> float | None:
    for name, value in response.headers:
        if name.lower() == b"date":
            with suppress(ValueError, OverflowError):  # whatever else it may be, it is no date
                return parsedate_to_datetime(value.decode("latin-1")).timestamp()
    return None


class _Backend(httpcore.NetworkBackend):
    """Opens connections that know when the exchange of the calling thread has to be over."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._inner = httpcore.SyncBackend()
        self._thread = threading.local()

    def start(self) -> None:
        """Begin an exchange of this thread."""
        self._thread.deadline = time.monotonic() + self._timeout_s

    def earn(self, size: int) -> None:
        """Extend the exchange of this thread by what so many bytes may take."""
        self._thread.deadline += size / MIN_BYTES_PER_S

    def left_s(self, late: type[httpcore.TimeoutException]) -> float:
        """Return how long this thread's exchange may still take. Raises: `late` if its time is up."""
        left_s: float = self._thread.deadline - time.monotonic()
        if left_s <= 0:
            raise late("the whole exchange took too long")
        return left_s

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left_s = self.left_s(httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_tcp(host, port, left_s, local_address, socket_options), self)


class _Stream(httpcore.NetworkStream):
    """A connection that never waits past the end of the exchange."""

    def __init__(self, inner: httpcore.NetworkStream, backend: _Backend) -> None:
        self._inner = inner
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._inner.read(max_bytes, self._backend.left_s(httpcore.ReadTimeout))
        self._backend.earn(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._backend.left_s(httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = self._backend.left_s(httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left_s), self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
