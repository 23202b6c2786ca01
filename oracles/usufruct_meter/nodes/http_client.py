"""HTTP to servers that one does not trust: the whole exchange has a limit, and so has what comes back.

httpx limits the pause between two bytes; a server that sends one byte after each of them, in the headers
already, would hold its caller for as long as it likes.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Final

import httpx

from usufruct_meter.clock.reading import ClockReading, elapsed_ms, read_date

_PAUSE: Final = httpx.Timeout(10.0, connect=3.0)
_SENT_BYTES_PER_S: Final = 64 * 1024
"""The slowest uplink that a batch still gets through."""


class TooLong(Exception):
    """The answer has more bytes than were asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, as sent: never unpacked, since a few bytes could become gigabytes."""

    status: int
    headers: httpx.Headers
    body: bytes
    clock: ClockReading | None


class BoundedClient:
    """Connections to one server, for one thread at a time. Follows no redirects, reads no environment.

    exchange_s: limit for a whole exchange, from connecting to the last byte, besides what sending takes
    """

    def __init__(self, base_url: str = "", *, exchange_s: float) -> None:
        self._base_url = base_url
        self._exchange_s = exchange_s
        self._http = self._connect()

    def ask(self, method: str, url: str, *, max_bytes: int, **request: Any) -> Answer:
        """Send a request to a URL, or a path of the base. Raises: httpx.HTTPError, TooLong."""
        if self._http.is_closed:
            self._http = self._connect()
        asked_ms = elapsed_ms()
        allowed_s = self._exchange_s + len(request.get("content", b"")) / _SENT_BYTES_PER_S
        deadline = time.monotonic() + allowed_s
        watchdog = threading.Timer(allowed_s, self._http.close)
        watchdog.daemon = True
        watchdog.start()
        try:
            with self._http.stream(method, url, **request) as response:
                clock = read_date(response.headers, asked_ms, elapsed_ms())
                body = bytearray()
                for part in response.iter_raw():
                    body += part
                    if len(body) > max_bytes:
                        raise TooLong(f"more than {max_bytes} bytes")
                    if time.monotonic() > deadline:
                        raise httpx.ReadTimeout(f"no whole answer in {allowed_s:.3g} s")
                return Answer(response.status_code, response.headers, bytes(body), clock)
        except (RuntimeError, OSError) as error:  # the watchdog closed the connection under the exchange
            raise httpx.ReadTimeout(f"no whole answer in {allowed_s:.3g} s") from error
        finally:
            watchdog.cancel()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _connect(self) -> httpx.Client:
        return httpx.Client(
            base_url=self._base_url,
            timeout=_PAUSE,
            trust_env=False,
            follow_redirects=False,
            headers={"accept-encoding": "identity"},
        )
