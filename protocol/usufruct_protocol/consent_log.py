"""The running hash over everything that was consented and revoked, as ConsentLog computes it.

Whoever has the log's events in order can compute the accumulator at any block and compare it with a report's
`consentRoot`.

Source: docs/spec.md section 10, "Consent log"; ConsentLog.sol.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from usufruct_protocol.eip712 import check_bytes
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.money import check_uint

EMPTY: Final = bytes(32)
"""The accumulator before the first entry."""

ENTRY_TAG: Final = b"\x07"
BATCH: Final = b"\x01"
REVOCATION: Final = b"\x02"


@dataclass(frozen=True, slots=True)
class Batch:
    """A published root over salted commitments. `publisher` is 20 bytes, `time_s` the block's time."""

    root: bytes
    count: int
    publisher: bytes
    time_s: int


@dataclass(frozen=True, slots=True)
class Revocation:
    """A tag that was revoked by its secret; `time_s` is the block's time."""

    revoke_tag: bytes
    time_s: int


Entry = Batch | Revocation


def revoke_tag(secret: bytes) -> bytes:
    """Return the tag that a 32-byte secret revokes. Raises: InputRejected."""
    return keccak256(check_bytes(secret, 32, "secret"))


def extended(accumulator: bytes, entry: Entry) -> bytes:
    """Return the accumulator after one more entry. Raises: InputRejected."""
    if isinstance(entry, Batch):
        kind = BATCH
        content = keccak256(
            check_bytes(entry.root, 32, "root")
            + check_uint(entry.count, 32, "count").to_bytes(4, "big")
            + check_bytes(entry.publisher, 20, "publisher")
        )
    else:
        kind, content = REVOCATION, check_bytes(entry.revoke_tag, 32, "revokeTag")
    time = check_uint(entry.time_s, 64, "time").to_bytes(8, "big")
    return keccak256(ENTRY_TAG + check_bytes(accumulator, 32, "accumulator") + kind + content + time)


def accumulated(entries: Iterable[Entry]) -> bytes:
    """Return the accumulator after these entries, in the order of the log. Raises: InputRejected."""
    accumulator = EMPTY
    for entry in entries:
        accumulator = extended(accumulator, entry)
    return accumulator
