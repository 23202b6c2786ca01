"""The little of the contract ABI that a meter needs: words of 32 bytes, and calls whose types are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from usufruct_protocol.keccak import keccak256
from usufruct_protocol.receipts import Checkpoint

WORD: Final = 32


def selector(signature: str) -> bytes:
    """Return the four bytes that stand for a function or an error."""
    return keccak256(signature.encode("ascii"))[:4]


def uint(value: int) -> bytes:
    """Encode a number."""
    return value.to_bytes(WORD, "big")


def number(word: bytes) -> int:
    """Decode a number."""
    return int.from_bytes(word, "big")


def address(word: bytes) -> bytes:
    """Decode an address."""
    return word[WORD - 20 :]


def static(*values: bytes) -> bytes:
    """Encode values of at most 32 bytes, numbers and addresses alike, aligned to the right."""
    return b"".join(value.rjust(WORD, b"\0") for value in values)


def dynamic_bytes(value: bytes) -> bytes:
    """Encode bytes: the length, then the bytes, padded."""
    return uint(len(value)) + value + bytes(-len(value) % WORD)


def array(items: Sequence[bytes]) -> bytes:
    """Encode an array of items of dynamic size: count, offsets, items."""
    offsets, at = [], len(items) * WORD
    for item in items:
        offsets.append(uint(at))
        at += len(item)
    return uint(len(items)) + b"".join(offsets) + b"".join(items)


def checkpoint(point: Checkpoint) -> bytes:
    """Encode a checkpoint: four words."""
    return static(point.lane, uint(point.count), uint(point.cumulative_units), point.receipts_root)
