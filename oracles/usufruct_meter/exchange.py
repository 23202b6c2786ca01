"""One HTTP exchange: the request is hashed as the app reads it, the answer held back until it may leave."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote

from usufruct_protocol.errors import InputRejected

from usufruct_meter.http_request import request_hasher
from usufruct_meter.signed_receipt import SignedReceipt

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

RECEIPT_HEADER: Final = b"usage-receipt"
SALT_HEADER: Final = b"usage-receipt-salt"
_OWN_HEADERS: Final = (RECEIPT_HEADER, SALT_HEADER)
_MAX_IDEMPOTENCY_KEY: Final = 255


class BadIdempotencyKey(InputRejected):
    """The caller sent an Idempotency-Key that cannot be used."""

    code = "bad_idempotency_key"


class Exchange:
    """One request, hashed as it is read, and its answer, held back until it is complete."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, key: bytes, max_bytes: int) -> None:
        self.send = send
        self._receive = receive
        self._hasher = request_hasher(scope["method"], _target(scope), key)
        self._key = key
        self._authorization = b"\n".join(_header_values(scope, b"authorization"))
        self._is_request_read = False
        self._start: Message | None = None
        self._parts: list[bytes] = []
        self._left_bytes = max_bytes
        self._is_complete = False

    async def receive(self) -> Message:
        """Hand the app a message, and hash what it carries."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._hasher.update(message.get("body", b""))
            self._is_request_read = not message.get("more_body", False)
        else:
            self._is_request_read = True  # the client has gone; there is no more to read
        return message

    async def read_rest_of_request(self) -> None:
        """Hash what the app did not care to read: the receipt is for the whole request."""
        while not self._is_request_read:
            await self.receive()

    def hold(self, message: Message) -> bool:
        """Keep a part of the answer; returns whether it is now to be answered or refused."""
        if self._is_complete:
            return False
        if message["type"] == "http.response.start":
            self._start = message
            return False
        if message["type"] != "http.response.body":
            raise ValueError(f"cannot hold back ASGI message {message['type']!r}")
        part = message.get("body", b"")
        self._left_bytes -= len(part)
        self._parts.append(part)
        self._is_complete = self.has_overflowed or not message.get("more_body", False)
        return self._is_complete

    @property
    def has_overflowed(self) -> bool:
        """Whether the answer is larger than what is held back."""
        return self._left_bytes < 0

    @property
    def is_success(self) -> bool:
        """Whether the app has answered with what was asked for."""
        return self._start is not None and 200 <= self._start["status"] < 300

    def response_body(self) -> bytes:
        """Return the body of the answer."""
        return b"".join(self._parts)

    def request_digest(self) -> bytes:
        """Return the digest that the receipt commits to."""
        return self._hasher.digest()

    def response_id(self) -> str | None:
        """Return what identifies a repeated request: its content, its key and who sent it."""
        if not self._key:
            return None
        return f"http:{sha256(self.request_digest() + sha256(self._authorization).digest()).hexdigest()}"

    async def answer(self, signed: SignedReceipt | None) -> None:
        """Send what was held back; a receipt header is only ever the meter's."""
        if self._start is None:
            raise ValueError("ASGI body before its start")
        headers = [
            (name, value)
            for name, value in self._start.get("headers", ())
            if name.lower() not in _OWN_HEADERS
        ]
        if signed is not None:
            headers += [
                (RECEIPT_HEADER, signed.text.encode("ascii")),
                (SALT_HEADER, signed.request_salt.hex().encode("ascii")),
            ]
        await self.send({**self._start, "headers": headers})
        await self.send({"type": "http.response.body", "body": self.response_body()})


def _target(scope: Scope) -> bytes:
    """Return path and query as the client sent them."""
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
    query: bytes = scope.get("query_string", b"")
    return path + b"?" + query if query else path


def _header_values(scope: Scope, name: bytes) -> list[bytes]:
    return [bytes(value) for key, value in scope.get("headers", ()) if key.lower() == name]


def idempotency_key(scope: Scope) -> bytes:
    """Return the key, or nothing. Raises: InputRejected for several, or one that is no plain text."""
    keys = _header_values(scope, b"idempotency-key")
    if not keys:
        return b""
    key = keys[0].strip()
    if (
        len(keys) > 1
        or not 0 < len(key) <= _MAX_IDEMPOTENCY_KEY
        or not all(0x21 <= char <= 0x7E for char in key)
    ):
        raise BadIdempotencyKey(
            f"Idempotency-Key must be one header of 1 to {_MAX_IDEMPOTENCY_KEY} visible characters"
        )
    return key
