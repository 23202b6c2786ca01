"""What of an HTTP request a receipt commits to, for the gateway that signs and the caller that checks.

    METHOD SP target LF idempotency key LF body

The target is path and query as sent. The hash streams, so a large body is never held for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from usufruct_protocol.errors import InputRejected

if TYPE_CHECKING:
    from hashlib import _Hash


def request_hasher(method: str, target: bytes, idempotency_key: bytes = b"") -> _Hash:
    """Return a SHA-256 that has taken everything but the body; feed the body and take the digest."""
    return sha256(method.upper().encode("ascii") + b" " + target + b"\n" + idempotency_key + b"\n")


def request_sha256(method: str, target: bytes | str, body: bytes = b"", idempotency_key: str = "") -> bytes:
    """Return the digest of a request as the caller sent it."""
    target_bytes = target.encode("ascii") if isinstance(target, str) else target
    hasher = request_hasher(method, target_bytes, idempotency_key.encode("latin-1"))
    hasher.update(body)
    return hasher.digest()


_MAX_IDEMPOTENCY_KEY: Final = 255


class BadIdempotencyKey(InputRejected):
    """The caller sent an Idempotency-Key that cannot be used."""

    code = "bad_idempotency_key"


def check_idempotency_key(values: Sequence[bytes]) -> bytes:
    """Return the key among the values of its header, or nothing if there is none.

    Raises: BadIdempotencyKey for several, or one that is no plain text.
    """
    if not values:
        return b""
    key = values[0].strip()
    is_plain = 0 < len(key) <= _MAX_IDEMPOTENCY_KEY and all(0x21 <= char <= 0x7E for char in key)
    if len(values) > 1 or not is_plain:
        raise BadIdempotencyKey(
            f"Idempotency-Key must be one header of 1 to {_MAX_IDEMPOTENCY_KEY} visible characters"
        )
    return key


def repeated_request_id(request_sha256: bytes, authorization: bytes, idempotency_key: bytes) -> str | None:
    """Return what identifies a repeated request: its content, its key and who sent it. None without a key."""
    if not idempotency_key:
        return None
    return f"http:{sha256(request_sha256 + sha256(authorization).digest()).hexdigest()}"
