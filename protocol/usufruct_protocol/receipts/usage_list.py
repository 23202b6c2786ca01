"""The list of records that a call used, committed to by `usageRoot` and opened to nodes only.

Leaf i = keccak256(0x04 ‖ recordTag ‖ weight u32 ‖ keccak256(salt ‖ i as u32)), in a padded Merkle tree. Each
leaf has a salt of its own, so opening one entry says nothing about the others. An empty list has root zero.
"""

import hmac
from collections.abc import Iterable
from itertools import pairwise
from struct import Struct
from typing import Final, NamedTuple

from usufruct_protocol.eip712 import check_bytes
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.merkle import padded_root
from usufruct_protocol.money import check_uint

_ENTRY: Final = Struct(">32sI")
_HEAD: Final = Struct(">32sI")  # salt, number of entries
_LEAF_PREFIX: Final = b"\x04"


class UsageEntry(NamedTuple):
    """One record that a call used: its 32-byte tag and how much it counts (1 … 2³² − 1)."""

    record_tag: bytes
    weight: int


class UsageList(NamedTuple):
    """The opening of a `usageRoot`."""

    entries: tuple[UsageEntry, ...]
    salt: bytes

    def root(self) -> bytes:
        """Return the `usageRoot` that this opens."""
        return usage_root(self.entries, self.salt)


def derive_salt(lane_secret: bytes, purpose: bytes, seq: int) -> bytes:
    """Return HMAC-SHA256(lane secret, purpose ‖ seq as u64).

    Derived, not drawn, so that repeating a call after a crash gives the same receipt. The seq has a fixed
    width, so no two (purpose, seq) share a message.
    Raises: InputRejected for an empty secret or a seq that is not a u64.
    """
    if not lane_secret:
        raise InputRejected("lane secret is empty")
    return hmac.digest(lane_secret, purpose + check_uint(seq, 64, "seq").to_bytes(8, "big"), "sha256")


def merge_usage(entries: Iterable[tuple[bytes, int]]) -> tuple[UsageEntry, ...]:
    """Return the canonical list: ascending by tag; of repeated tags the highest weight counts.

    Raises: InputRejected for a tag that is not 32 bytes or a weight outside 1 … 2³² − 1.
    """
    weights: dict[bytes, int] = {}
    for record_tag, weight in entries:
        check_bytes(record_tag, 32, "record tag")
        if check_uint(weight, 32, "usage weight") == 0:
            raise InputRejected(f"record 0x{record_tag.hex()} has weight 0: it was not used, leave it out")
        weights[record_tag] = max(weight, weights.get(record_tag, 0))
    return tuple(UsageEntry(tag, weights[tag]) for tag in sorted(weights))


def usage_root(entries: Iterable[tuple[bytes, int]], salt: bytes) -> bytes:
    """Return the commitment to a usage list; order and repeats of the entries don't matter.

    Raises: InputRejected for a bad entry or a salt that is not 32 bytes.
    """
    check_bytes(salt, 32, "usage salt")
    return padded_root(
        keccak256(_LEAF_PREFIX + _ENTRY.pack(*entry) + keccak256(salt + index.to_bytes(4, "big")))
        for index, entry in enumerate(merge_usage(entries))
    )


def pack_usage_list(entries: Iterable[tuple[bytes, int]], salt: bytes) -> bytes:
    """Return the canonical opening: salt ‖ number of entries u32 ‖ (recordTag ‖ weight u32)*, ascending.

    Raises: InputRejected for a bad entry or a salt that is not 32 bytes.
    """
    merged = merge_usage(entries)
    head = _HEAD.pack(check_bytes(salt, 32, "usage salt"), len(merged))
    return head + b"".join(_ENTRY.pack(*entry) for entry in merged)


def unpack_usage_list(data: bytes) -> UsageList:
    """Return the opening that `pack_usage_list` wrote, and nothing else: one list has one encoding.

    Raises: InputRejected for a wrong length, entries out of order or repeated, or a zero weight.
    """
    if len(data) < _HEAD.size:
        raise InputRejected(f"usage list of {len(data)} bytes is cut off")
    salt, count = _HEAD.unpack_from(data)
    if len(data) != _HEAD.size + _ENTRY.size * count:
        raise InputRejected(f"usage list of {len(data)} bytes does not hold {count} entries")
    entries = tuple(UsageEntry(*entry) for entry in _ENTRY.iter_unpack(data[_HEAD.size :]))
    for earlier, later in pairwise(entries):
        if earlier.record_tag >= later.record_tag:
            raise InputRejected(f"usage list is not ascending at record 0x{later.record_tag.hex()}")
    for entry in entries:
        if entry.weight == 0:
            raise InputRejected(f"record 0x{entry.record_tag.hex()} has weight 0")
    return UsageList(entries, salt)
