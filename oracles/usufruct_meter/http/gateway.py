"""What ASGI and WSGI middleware share: options, which calls are metered, and how a call is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from usufruct_protocol.errors import ConfigInvalid, UsufructError

from usufruct_meter.call import Call
from usufruct_meter.counting.rules import CountingRule, UnitsRule, counting_rule
from usufruct_meter.errors import MeteredElsewhere, MeteringPaused
from usufruct_meter.http.receipt_desk import NoSuchReceipt
from usufruct_meter.http.request import BadIdempotencyKey
from usufruct_meter.signed_receipt import SignedReceipt
from usufruct_meter.streaming import STREAM_TYPES, MeteredStream

RECEIPT_HEADER: Final = "usage-receipt"
SALT_HEADER: Final = "usage-receipt-salt"
LANE_HEADER: Final = "usufruct-lane"
SEQ_HEADER: Final = "usufruct-seq"
OWN_HEADERS: Final = frozenset((RECEIPT_HEADER, SALT_HEADER, LANE_HEADER, SEQ_HEADER))
"""Headers that are only ever the meter's: what an app sends under these names is dropped."""

_MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024
_RETRY_SOON_S: Final = 1
_RETRY_LATER_S: Final = 60
_ON_SPOOL_FULL: Final = ("refuse", "wait")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """Options of `AsgiMeter` and `WsgiMeter`.

    lane:                a lane file, or a folder of them: each worker process takes the first free one
    routes:              patterns of paths to meter, `*` for anything; every answer with a 2xx status counts
    units:               a kind of meter (see `counting`), or a function of (call, body)
    on_spool_full:       "refuse" with 503 and Retry-After, or "wait" up to `wait_s` first; never uncounted.
                         A clock that is too far ahead is treated likewise
    max_response_bytes:  of an answer that is held until it is counted; larger ones are refused
    installment_every_s: how long the delivered units of a stream wait at most for a receipt
    checkpoint_every_s:  how long a receipt waits at most for a checkpoint
    """

    lane: Path | str
    routes: Sequence[str] = ("/*",)
    units: str | UnitsRule | CountingRule = "calls"
    on_spool_full: str = "refuse"
    wait_s: float = 10.0
    max_response_bytes: int = _MAX_RESPONSE_BYTES
    installment_every_s: float = 10.0
    checkpoint_every_s: float = 1.0


class Gateway:
    """Checked options, and the decisions that depend on nothing else."""

    def __init__(self, options: GatewayOptions) -> None:
        routes = options.routes
        if isinstance(routes, str) or not routes or not all(route.startswith("/") for route in routes):
            raise ConfigInvalid(f"routes must be a list of paths that begin with /, got {routes!r}")
        if options.on_spool_full not in _ON_SPOOL_FULL:
            raise ConfigInvalid(
                f"on_spool_full must be 'refuse' or 'wait', got {options.on_spool_full!r}",
                hint="there is no way to serve uncounted: hidden calls cost the usage bond",
            )
        self.location = Path(options.lane)
        self.rule = counting_rule(options.units)
        self.counts_tokens = options.units == "tokens"
        self.max_response_bytes = options.max_response_bytes
        self.checkpoint_every_s = options.checkpoint_every_s
        self.wait_s = options.wait_s if options.on_spool_full == "wait" else 0.0
        self._routes = tuple(routes)
        self._installment_every_s = options.installment_every_s

    def is_metered(self, method: str, path: str) -> bool:
        """Whether a call is metered if it succeeds."""
        return method != "OPTIONS" and any(fnmatchcase(path, route) for route in self._routes)

    def stream_type(self, content_type: str, content_encoding: str, *, has_length: bool) -> str | None:
        """Return which kind of stream a successful answer is; None if it is to be held until it is whole.

        A compressed stream is held, since its events cannot be told apart: compress outside of the meter.
        """
        media_type = content_type.partition(";")[0].strip().lower()
        is_plain = content_encoding.strip().lower() in ("", "identity") and not has_length
        can_stream = is_plain and self.rule.stream is not None and media_type in STREAM_TYPES
        return media_type if can_stream else None

    def stream(
        self, call: Call, media_type: str, response_id: str | None, request_sha256: bytes
    ) -> MeteredStream:
        """Return how to meter an answer while it is sent."""
        if self.rule.stream is None:
            raise ValueError("this rule counts whole answers only")
        counter = self.rule.stream(call)
        opening_id = f"stream:{response_id or uuid4().hex}"
        return MeteredStream(call, counter, media_type, opening_id, request_sha256, self._installment_every_s)


def _retry_after_s(error: UsufructError) -> int:
    if isinstance(error, MeteringPaused):
        return error.retry_after_s
    return _RETRY_SOON_S if isinstance(error, MeteredElsewhere) else _RETRY_LATER_S


def receipt_headers(signed: SignedReceipt, *, is_stream: bool = False) -> list[tuple[str, str]]:
    """Return what the caller of a metered call gets; of a stream this is its first receipt."""
    headers = [(RECEIPT_HEADER, signed.text), (SALT_HEADER, signed.request_salt.hex())]
    if is_stream:
        headers += [
            (LANE_HEADER, f"0x{signed.receipt.lane.hex()}"),
            (SEQ_HEADER, str(signed.receipt.seq)),
        ]
    return headers


@dataclass(frozen=True, slots=True)
class Refusal:
    """A problem document (RFC 9457): the code and what to do, and nothing of the inside."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @classmethod
    def of(cls, error: UsufructError) -> Refusal:
        """Return how a call is refused because of an error."""
        retry_after_s = None
        if isinstance(error, BadIdempotencyKey):
            status, title, detail = 400, "Not metered", str(error)
        elif isinstance(error, NoSuchReceipt):
            status, title, detail = 404, "No such receipt", str(error)
        else:
            status, title = 503, "Not metered"
            detail = "This call cannot be counted right now, and is not answered uncounted."
            retry_after_s = _retry_after_s(error)
        headers = [("content-type", "application/problem+json")]
        if retry_after_s is not None:
            headers.append(("retry-after", str(retry_after_s)))
        content: dict[str, Any] = {"title": title, "status": status, "code": error.code, "detail": detail}
        return cls.json(status, headers, content)

    @classmethod
    def json(cls, status: int, headers: list[tuple[str, str]], content: Any) -> Refusal:
        """Return a JSON answer of the meter's own."""
        body = json.dumps(content).encode("utf-8")
        return cls(status, [*headers, ("content-length", str(len(body)))], body)
