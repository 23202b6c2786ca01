"""CloudEvents 1.0 in JSON batches (`application/cloudevents-batch+json`): receipts out and in, usage in.

A receipt is an event with `source` = lane and `id` = seq, so that what deduplicates by (source, id) does so
right. A usage event of another system is metered once per (source, id).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.receipts import UsageReceipt, decode_signed_receipt
from usufruct_protocol.signing import parse_address

from usufruct_meter.signed_receipt import MeteredCall, SignedReceipt

RECEIPT_TYPE: Final = "org.usufruct.receipt.v1"
MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
MAX_BATCH_EVENTS: Final = 10_000
_CLOCK_TOLERANCE_MS: Final = 60_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_REQUIRED: Final = ("id", "source", "specversion", "type")


@dataclass(frozen=True, slots=True)
class UsageMapping:
    """Where a usage event of another system says what it took.

    units_field: name of the integer in `data` (a decimal string will do); None counts one per event
    event_type:  only events of this `type` are usage; None takes all
    """

    units_field: str | None = None
    event_type: str | None = None


def receipt_event(signed: SignedReceipt) -> dict[str, Any]:
    """Return a receipt as an event. Amounts are decimal strings, the receipt itself its header text."""
    receipt = signed.receipt
    return {
        "specversion": "1.0",
        "type": RECEIPT_TYPE,
        "source": f"0x{receipt.lane.hex()}",
        "id": str(receipt.seq),
        "time": _time_text(receipt.issued_at_ms),
        "datacontenttype": "application/json",
        "data": {
            "units": str(receipt.units),
            "cumulative_units": str(receipt.cumulative_units),
            "receipt": signed.text,
        },
    }


def encode_batches(receipts: Iterable[SignedReceipt], max_events: int = MAX_BATCH_EVENTS) -> Iterator[bytes]:
    """Yield receipts as batches of at most `max_events`; nothing for no receipts."""
    batch: list[dict[str, Any]] = []
    for signed in receipts:
        batch.append(receipt_event(signed))
        if len(batch) == max_events:
            yield json.dumps(batch).encode("ascii")
            batch = []
    if batch:
        yield json.dumps(batch).encode("ascii")


def decode_receipts(batch: bytes) -> list[tuple[UsageReceipt, bytes]]:
    """Return the receipts of a batch with their signatures, which are not checked here.

    Events of other types are passed over. Raises: InputRejected naming the event.
    """
    return [
        _receipt_of(at, event) for at, event in enumerate(_events(batch)) if event["type"] == RECEIPT_TYPE
    ]


def decode_usage(batch: bytes, mapping: UsageMapping, now_ms: int) -> list[MeteredCall]:
    """Return the usage events of a batch as calls to be metered, by time, then in the order given.

    The receipt of each commits to its event. Raises: InputRejected naming the event; nothing is half taken.
    An event from the future is refused too: a lane's time never goes back, so one such event would have it
    date every later receipt ahead, which is evidence against the buyer.
    """
    calls = [
        _call_of(at, event, mapping, now_ms)
        for at, event in enumerate(_events(batch))
        if mapping.event_type in (None, event["type"])
    ]
    return sorted(calls, key=lambda call: call.at_ms or 0)


def _events(batch: bytes) -> list[dict[str, Any]]:
    if len(batch) > MAX_BATCH_BYTES:
        raise InputRejected(f"a batch has at most {MAX_BATCH_BYTES} bytes", hint="send it in parts")
    try:
        events = json.loads(batch)
    except (ValueError, RecursionError) as error:
        raise InputRejected(f"the batch is not JSON: {error}") from error
    if not isinstance(events, list):
        raise InputRejected("a batch is a JSON array of events", hint="put a single event into [ ]")
    if len(events) > MAX_BATCH_EVENTS:
        raise InputRejected(f"a batch has at most {MAX_BATCH_EVENTS} events", hint="send it in parts")
    for at, event in enumerate(events):
        if not isinstance(event, dict):
            raise InputRejected(f"event {at} is no object")
        for name in _REQUIRED:
            if not isinstance(event.get(name), str) or not event[name]:
                raise InputRejected(f"event {at}: {name} must be a text that is not empty")
        if event["specversion"] != "1.0":
            raise InputRejected(f"event {at}: specversion {event['specversion']!r:.20} is not 1.0")
    return events


def _receipt_of(at: int, event: dict[str, Any]) -> tuple[UsageReceipt, bytes]:
    data = event.get("data")
    text = data.get("receipt") if isinstance(data, dict) else None
    if not isinstance(text, str):
        raise InputRejected(f"event {at}: data.receipt must be a text")
    try:
        receipt, signature = decode_signed_receipt(text)
        lane = parse_address(event["source"])
    except InputRejected as error:
        raise InputRejected(f"event {at}: {error}") from error
    if (lane, event["id"]) != (receipt.lane, str(receipt.seq)):
        raise InputRejected(f"event {at}: source and id do not name the receipt that it carries")
    return receipt, signature


def _call_of(at: int, event: dict[str, Any], mapping: UsageMapping, now_ms: int) -> MeteredCall:
    identity = json.dumps([event["source"], event["id"]])
    try:
        at_ms = _time_ms(event["time"]) if "time" in event else None
    except (TypeError, ValueError, OverflowError) as error:
        raise InputRejected(f"event {at}: time is no RFC 3339 time since 1970: {error}") from error
    if at_ms is not None and at_ms > now_ms + _CLOCK_TOLERANCE_MS:
        raise InputRejected(
            f"event {at}: its time {event['time']} lies ahead",
            hint="check the clocks of both machines; receipts must not be dated ahead",
        )
    return MeteredCall(
        _units_of(at, event.get("data"), mapping.units_field),
        request=json.dumps(event, sort_keys=True).encode("utf-8"),
        response_id=f"cloudevents:{identity}",
        at_ms=at_ms,
    )


def _units_of(at: int, data: Any, name: str | None) -> int:
    if name is None:
        return 1
    value = data.get(name) if isinstance(data, dict) else None
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 20:
        value = int(value)
    if type(value) is not int or value < 0:
        raise InputRejected(
            f"event {at}: data.{name} must be an integer that is not negative, got {value!r:.40}"
        )
    return value


def _time_ms(text: str) -> int:
    """Return milliseconds since 1970, floored. A time without an offset is UTC."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    at_ms = (moment - _EPOCH) // timedelta(milliseconds=1)
    if at_ms < 0:
        raise ValueError("it is before 1970")
    return at_ms


def _time_text(at_ms: int) -> str:
    moment = _EPOCH + timedelta(milliseconds=at_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
