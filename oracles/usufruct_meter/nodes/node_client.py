"""What a meter and a caller ask a node over HTTP. Everything that comes back is checked before it is used."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx
from usufruct_protocol.batches import Batch
from usufruct_protocol.errors import InputRejected, UsufructError
from usufruct_protocol.receipts import Checkpoint, verify_checkpoint_signature

from usufruct_meter.clock.reading import ClockReading
from usufruct_meter.errors import NodeRefused, NodeUnavailable
from usufruct_meter.nodes.http_client import Answer, BoundedClient, TooLong

_MAX_JSON_BYTES: Final = 1024 * 1024
_EXCHANGE_S: Final = 60.0
_MAX_RETRY_AFTER_S: Final = 300.0


class BatchGap(UsufructError):
    """The node wants receipts from `expected_seq` on."""

    code = "gap"

    def __init__(self, expected_seq: int) -> None:
        super().__init__(f"the node's next receipt is seq {expected_seq}")
        self.expected_seq = expected_seq


class BatchTooLarge(UsufructError):
    """The node takes smaller batches only."""

    code = "too_large"


@dataclass(frozen=True, slots=True)
class HeldLane:
    """What a node says it holds of a lane; the checkpoint, if it gives one, is signed by the lane."""

    count: int
    checkpoint: Checkpoint | None


@dataclass(frozen=True, slots=True)
class Taken:
    """What a node says to a batch: how much of the lane it holds, and its acknowledgement, unchecked."""

    count: int
    ack: object


class NodeClient:
    """One node. Not shared between threads.

    heard: is told what the node's clock shows, with every answer
    All methods raise NodeUnavailable when it is worth trying again, NodeRefused when it is not.
    """

    def __init__(self, url: str, heard: Callable[[str, ClockReading], None] | None = None) -> None:
        self.url = url
        self._heard = heard
        self._http = BoundedClient(url, exchange_s=_EXCHANGE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send_batch(self, batch: Batch) -> Taken:
        """Send a batch; returns what the node says to it.

        Raises: BatchGap, BatchTooLarge, NodeUnavailable, NodeRefused.
        """
        answer = self._ask(
            "POST",
            "/v1/batches",
            _MAX_JSON_BYTES,
            content=batch.encode(),
            headers={"content-type": "application/octet-stream"},
        )
        if answer.status == 413:
            raise BatchTooLarge(f"{self.url} takes no batch of {batch.receipt_count} receipts")
        content = self._object(answer.body)
        if answer.status == 409 and content.get("code") == "gap":
            raise BatchGap(self._count(content, "expected_seq"))
        if answer.status == 409 and content.get("code") == "future_dated":
            detail, wait_s = str(content.get("detail"))[:300], _retry_after_s(answer.headers)
            raise NodeUnavailable(f"{self.url}: {detail}", retry_after_s=wait_s)
        self._expect_ok(answer.status, content)
        return Taken(self._count(content, "count"), content.get("ack"))

    def held(self, lane: bytes, domain: bytes) -> HeldLane:
        """Return what the node holds of a lane; an unknown lane is one it holds nothing of."""
        answer = self._ask("GET", f"/v1/lanes/0x{lane.hex()}", _MAX_JSON_BYTES)
        if answer.status == 404:
            return HeldLane(0, None)
        content = self._object(answer.body)
        self._expect_ok(answer.status, content)
        signed = content.get("checkpoint")
        return HeldLane(
            self._count(content, "count"), None if signed is None else self._checkpoint(signed, lane, domain)
        )

    def json(self, path: str) -> Mapping[str, Any] | None:
        """Return the JSON object at a path, or None where the node has none."""
        answer = self._ask("GET", path, _MAX_JSON_BYTES)
        if answer.status == 404:
            return None
        content = self._object(answer.body)
        self._expect_ok(answer.status, content)
        return content

    def data(self, path: str, max_bytes: int) -> bytes | None:
        """Return the bytes at a path, or None where the node has none."""
        answer = self._ask("GET", path, max_bytes)
        if answer.status == 404:
            return None
        if answer.status != 200:
            self._expect_ok(answer.status, self._object(answer.body))
        return answer.body

    def _ask(self, method: str, path: str, max_bytes: int, **request: Any) -> Answer:
        """Send a request and read at most `max_bytes` of the answer."""
        try:
            answer = self._http.ask(method, path, max_bytes=max_bytes, **request)
        except httpx.HTTPError as error:
            raise NodeUnavailable(f"{self.url}: {error or type(error).__name__}") from error
        except TooLong as error:
            raise NodeRefused(f"{self.url}{path} answers with {error}") from error
        if self._heard is not None and answer.clock is not None:
            self._heard(self.url, answer.clock)
        if answer.status in (429, 503):
            raise NodeUnavailable(
                f"{self.url} asks to wait ({answer.status})", retry_after_s=_retry_after_s(answer.headers)
            )
        if answer.status >= 500:
            raise NodeUnavailable(f"{self.url} failed with status {answer.status}")
        return answer

    def _object(self, body: bytes) -> Mapping[str, Any]:
        try:
            content = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise NodeRefused(f"{self.url} answers with what is not JSON") from error
        if not isinstance(content, dict):
            raise NodeRefused(f"{self.url} answers with what is no JSON object")
        return content

    def _expect_ok(self, status: int, content: Mapping[str, Any]) -> None:
        if status != 200:
            code, detail = str(content.get("code"))[:60], str(content.get("detail"))[:300]
            raise NodeRefused(
                f"{self.url} refused with {status} {code}: {detail}", hint=str(content.get("hint", ""))[:300]
            )

    def _count(self, content: Mapping[str, Any], name: str) -> int:
        value = content.get(name)
        if type(value) is not int or not 0 <= value < 2**63:
            raise NodeRefused(f"{self.url} answers without a valid {name}")
        return value

    def _checkpoint(self, signed: object, lane: bytes, domain: bytes) -> Checkpoint | None:
        """Return a checkpoint that the lane really signed, or None: a node's word alone is no proof."""
        try:
            if not isinstance(signed, dict) or not isinstance(signed.get("count"), int):
                return None
            point = Checkpoint(
                lane,
                signed["count"],
                int(str(signed["cumulative_units"])),
                bytes.fromhex(str(signed["receipts_root"]).removeprefix("0x")),
            )
            signature = bytes.fromhex(str(signed["signature"]).removeprefix("0x"))
            verify_checkpoint_signature(point, signature, domain)
        except (KeyError, ValueError, InputRejected):
            return None
        return point


def _retry_after_s(headers: httpx.Headers) -> float | None:
    text = headers.get("retry-after", "")
    return min(float(text), _MAX_RETRY_AFTER_S) if text.isascii() and text.isdecimal() else None
