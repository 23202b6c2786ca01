"""What of an HTTP request a receipt commits to, for the gateway that signs and the caller that checks.

    METHOD SP target LF idempotency key LF body

The target is path and query as sent. The hash streams, so a large body is never held for it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

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
