"""What goes in and out of a meter: a call that was answered, and the receipt for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.receipts import UsageReceipt, encode_signed_receipt


@dataclass(frozen=True, slots=True)
class MeteredCall:
    """One answered call.

    units:          0 … 2⁴⁸ − 1 of what the license counts
    usage:          (record tag, weight) of what the answer used; order and repeats don't matter
    request:        the bytes that the receipt commits to, salted; or their SHA-256 as `request_sha256`
    response_id:    one answer, however often it is reported; unique per license for ever
    at_ms:          when the response ended; None is now
    """

    units: int
    usage: Sequence[tuple[bytes, int]] = ()
    request: bytes = b""
    response_id: str | None = None
    at_ms: int | None = None
    request_sha256: bytes | None = None

    def response_hash(self) -> bytes | None:
        """Return what the spool and the index keep of the response id. Raises: InputRejected if empty."""
        if self.response_id is None:
            return None
        if not self.response_id:
            raise InputRejected("response_id is empty", hint="leave it out: None says that there is none")
        return sha256(self.response_id.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """A receipt that is durable in its lane's spool.

    `request_salt` lets the caller, and nobody else, check that the receipt is for its own request.
    `is_repeat` says that the response id had been metered before and this is the receipt of then.
    """

    receipt: UsageReceipt
    signature: bytes
    request_salt: bytes
    is_repeat: bool = False

    @property
    def text(self) -> str:
        """The text of the `Usage-Receipt` header."""
        return encode_signed_receipt(self.receipt, self.signature)


def request_hash(salt: bytes, request_sha256: bytes) -> bytes:
    """Return what a receipt says of a request: keccak256(salt ‖ SHA-256 of the request)."""
    return keccak256(salt + request_sha256)
