"""Answers of many megabytes: a few at a time, sent in parts that wait for the reader."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from usufruct_protocol.errors import Transient

_PART_BYTES: Final = 262_144


class LargeAnswers:
    """Places for large answers. Each is held in memory until the client has taken all of it."""

    def __init__(self, places: int) -> None:
        self._places = threading.BoundedSemaphore(places)

    def answer(self, load: Callable[[], bytes]) -> Response:
        """Return an answer with the bytes that `load` gives. Raises: Transient when every place is taken."""
        if not self._places.acquire(blocking=False):
            raise Transient("too many large answers are being read at once", hint="ask again in a moment")
        try:
            return _InParts(load(), self._places.release)
        except BaseException:
            self._places.release()
            raise


class _InParts(Response):
    """Sends its body part by part, and says when that has ended, well or not."""

    media_type = "application/octet-stream"

    def __init__(self, body: bytes, when_sent: Callable[[], None]) -> None:
        super().__init__(body)
        self._when_sent = when_sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            view = memoryview(self.body)
            for start in range(0, len(view), _PART_BYTES):
                part = bytes(view[start : start + _PART_BYTES])
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._when_sent()
