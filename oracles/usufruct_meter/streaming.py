"""Metering an answer while it is sent: in installments, the first one before the first byte.

A receipt commits to the units of all receipts before it, so a seq that was merely reserved for a stream would
hold up every other call of its lane until the stream ends. The seq that a stream announces is therefore that
of a receipt which is durable already, over what is delivered with the first part. What follows is signed for
later: now and then while a stream goes on, so that a killed gateway loses little, and at its end. A stream
that breaks off is signed for what was delivered.

Nothing here waits or sends: the middleware does the steps, which are calls to meter and bytes to send.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator
from hashlib import sha256
from typing import Final

from usufruct_protocol.money import check_uint

from usufruct_meter.call import Call
from usufruct_meter.counting.rules import StreamCounter
from usufruct_meter.signed_receipt import MeteredCall, SignedReceipt

EVENT_STREAM: Final = "text/event-stream"
LINE_STREAMS: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl")
STREAM_TYPES: Final = (EVENT_STREAM, *LINE_STREAMS)

END: Final = "end"
_MAX_EVENT_BYTES: Final = 1024 * 1024
_MAX_TRIES: Final = 64
_UNIT_BITS: Final = 48
# Atomic, so that \r\n is one line end and never two; the \n of a \r that came last may be still to come.
_EVENT_END: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r(?!\Z))")
_ENDS_IN_CR: Final = re.compile(rb"(?>\r\n|\n|\r)\r\Z")
_LINE_END: Final = re.compile(rb"\n")
_COMMENT: Final = re.compile(r"^: usage-receipt ([\w-]+)(?: ([0-9a-f]{64}))?$", re.MULTILINE | re.ASCII)
_IS_LAST_EVENT: Final = re.compile(
    rb"data: ?\[DONE\]|event: ?(?:message_stop|response\.(?:completed|incomplete|failed))"
)

Steps = Generator[MeteredCall | bytes, SignedReceipt | None, None]
"""What to do next: meter a call, and send its receipt back in; or send bytes to the client."""


def receipts_in(stream: str) -> list[tuple[str, str | None]]:
    """Return (receipt, salt) of every receipt comment in the text of an event stream, for who called.

    There is no salt where the gateway could not see the request as it was sent.
    """
    return [(found[1], found[2]) for found in _COMMENT.finditer(stream)]


def piece_id(opening_hash: bytes, name: int | str) -> str:
    """Return the response id of a stream's later receipts: numbered from 1, and the last one `END`."""
    return f"stream:{opening_hash.hex()}:{name}"


class MeteredStream:
    """One stream that is sent while it is counted.

    opening_id:      response id of the first receipt; a repeated request repeats it
    installment_s:   how long delivered units wait at most for a receipt, while parts keep coming
    Retries: a repeat of a stream that ended gets the receipts of then. A stream that broke off was delivered
             in part and is counted for that part; its retry is counted in full.
    """

    def __init__(
        self,
        call: Call,
        counter: StreamCounter,
        media_type: str,
        opening_id: str,
        request_sha256: bytes,
        installment_s: float,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.opening: SignedReceipt | None = None
        self.shows_salts = True
        self._call = call
        self._request_sha256 = request_sha256
        self._counter = counter
        self._is_event_stream = media_type == EVENT_STREAM
        self._events = _Events(_EVENT_END if self._is_event_stream else _LINE_END)
        self._opening_id = opening_id
        self._opening_hash = sha256(opening_id.encode("utf-8")).digest()
        self._installment_s = installment_s
        self._clock_s = clock_s
        self._last_signed_s = clock_s()
        self._pieces = 0
        self._signed_units = 0
        self._signed_usage = 0
        self._delivered_units = 0
        self._has_ended = False

    def announce(self) -> MeteredCall:
        """Return the first receipt's call before anything has come, where headers must leave that early."""
        return self._piece(self._so_far(), self._opening_id)

    def opened(self, opening: SignedReceipt) -> None:
        """Take the first receipt."""
        self.opening = opening
        if opening.is_repeat:
            self._signed_units = opening.receipt.units
            self._has_ended = False  # the first run may have signed for the end apart

    def take(self, part: bytes, *, is_last: bool) -> Steps:
        """Take a part of the answer as the app made it. Raises: InputRejected for units that are none."""
        events = self._events.take(part)
        if is_last:
            events += self._events.rest()
        if self.opening is None:
            yield from self._open(events, is_last)
        else:
            yield from self._go_on(events)
        if is_last and self.opening is not None:
            yield from self._end()

    def break_off(self) -> Steps:
        """Sign for what was delivered of a stream that will not end; nothing that was signed for already."""
        if self.opening is not None and self._is_unsigned(self._delivered_units):
            yield from self._installment(self._delivered_units)

    def _open(self, events: list[bytes], is_last: bool) -> Steps:
        """Sign the first receipt, over what comes with the first part; over everything if it is the last."""
        if not events and not is_last:
            return
        for event in events:
            self._counter.feed(event)
        self._has_ended = is_last or any(map(self._ends_with, events))
        units = self._total() if self._has_ended else self._so_far()
        opening = yield self._piece(units, self._opening_id)
        assert opening is not None, "the step was to meter"
        self.opened(opening)
        yield from self._send(events)

    def _go_on(self, events: list[bytes]) -> Steps:
        ready: list[bytes] = []
        for event in events:
            self._counter.feed(event)
            if self._ends_with(event) and not self._has_ended:
                yield from self._send(ready)
                ready = []
                yield from self._end()
            ready.append(event)
        if self._is_due():
            signed = yield from self._installment(self._so_far())
            ready.append(self._comment(signed))
        yield from self._send(ready)

    def _send(self, events: list[bytes]) -> Steps:
        if events:
            yield b"".join(events)
            self._delivered_units = max(self._delivered_units, self._so_far())

    def _end(self) -> Steps:
        """Sign for the rest, and say so before the stream's last event, where clients still listen."""
        units = self._total()
        if not self._is_unsigned(units):
            self._has_ended = True
            return
        if self._has_ended:  # more came after what looked like the end
            yield from self._installment(units)
            return
        self._has_ended = True
        signed = yield self._piece(units, piece_id(self._opening_hash, END))
        yield self._comment(signed)

    def _installment(self, units: int) -> Generator[MeteredCall, SignedReceipt | None, SignedReceipt | None]:
        """Sign a numbered receipt; numbers that an earlier run of the same request took are passed over."""
        for _ in range(_MAX_TRIES):
            self._pieces += 1
            before = self._signed_units, self._signed_usage
            signed = yield self._piece(units, piece_id(self._opening_hash, self._pieces))
            if signed is None or not signed.is_repeat:
                return signed
            self._signed_units, self._signed_usage = before
        return None

    def _piece(self, units: int, response_id: str) -> MeteredCall:
        usage = self._call.usage
        call = MeteredCall(
            max(0, units - self._signed_units),
            usage[self._signed_usage :],
            response_id=response_id,
            request_sha256=self._request_sha256,
        )
        self._signed_units = max(units, self._signed_units)
        self._signed_usage = len(usage)
        self._last_signed_s = self._clock_s()
        return call

    def _so_far(self) -> int:
        return check_uint(self._counter.so_far(), _UNIT_BITS, "units")

    def _total(self) -> int:
        return check_uint(self._counter.total(), _UNIT_BITS, "units")

    def _is_unsigned(self, units: int) -> bool:
        return units > self._signed_units or len(self._call.usage) > self._signed_usage

    def _is_due(self) -> bool:
        return (
            self._clock_s() - self._last_signed_s >= self._installment_s
            and self.opening is not None
            and not self.opening.is_repeat
            and not self._has_ended
            and self._is_unsigned(self._so_far())
        )

    def _ends_with(self, event: bytes) -> bool:
        return self._is_event_stream and any(map(_IS_LAST_EVENT.match, event.splitlines()))

    def _comment(self, signed: SignedReceipt | None) -> bytes:
        if signed is None or not self._is_event_stream or not self._events.is_at_boundary:
            return b""
        salt = f" {signed.request_salt.hex()}" if self.shows_salts else ""
        return f": usage-receipt {signed.text}{salt}\n\n".encode("ascii")


class _Events:
    """Cuts a body into whole events, each with its end."""

    def __init__(self, end: re.Pattern[bytes]) -> None:
        self._end = end
        self._pending = b""
        self.is_at_boundary = True

    def take(self, part: bytes) -> list[bytes]:
        """Return the events that are whole now. One too large to wait for comes in pieces."""
        events, at = [], 0
        body = self._pending + part
        for found in self._end.finditer(body):
            events.append(body[at : found.end()])
            at = found.end()
            self.is_at_boundary = True
        self._pending = body[at:]
        if len(self._pending) > _MAX_EVENT_BYTES:
            events += self.rest()
        return events

    def rest(self) -> list[bytes]:
        """Return what has come of an event that has not ended."""
        pending, self._pending = self._pending, b""
        if not pending:
            return []
        self.is_at_boundary = _ENDS_IN_CR.search(pending) is not None
        return [pending]
