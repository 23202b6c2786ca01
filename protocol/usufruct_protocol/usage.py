"""Which records were used, summed per license: what a retrieval license pays by.

An opening says how often a call used each record: 1 for a retrieval; a record repeated within a call counts
once, at its higher weight (`receipts.merge_usage`). Over calls the weights add up.
Source: docs/spec.md, agreement 9 to 12.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.wire import Cursor

_MAGIC: Final = b"UFU1"

Usage = Mapping[int, Mapping[bytes, int]]
"""License id → record tag → weight."""


def count_usage(lists: Iterable[Iterable[tuple[bytes, int]]]) -> dict[bytes, int]:
    """Add up the usage lists of one license's newly counted calls: record tag → weight."""
    weights: dict[bytes, int] = {}
    for entries in lists:
        for tag, weight in entries:
            weights[tag] = weights.get(tag, 0) + weight
    return weights


def add_usage(first: Usage, second: Usage) -> dict[int, dict[bytes, int]]:
    """Add two usage tables, license by license and tag by tag."""
    total = {license_id: dict(weights) for license_id, weights in first.items()}
    for license_id, weights in second.items():
        mine = total.setdefault(license_id, {})
        for tag, weight in weights.items():
            mine[tag] = mine.get(tag, 0) + weight
    return total


def pack_usage(usage: Usage) -> bytes:
    """Return canonical bytes: mark, license count u32; each: id u32, tag count u32, (tag ‖ weight u64)*.

    Licenses and tags ascend; zero weights and licenses without any are left out.
    """
    parts = []
    for license_id in sorted(usage):
        rows = [
            tag + usage[license_id][tag].to_bytes(8, "big")
            for tag in sorted(usage[license_id])
            if usage[license_id][tag]
        ]
        if rows:
            parts.append(license_id.to_bytes(4, "big") + len(rows).to_bytes(4, "big") + b"".join(rows))
    return _MAGIC + len(parts).to_bytes(4, "big") + b"".join(parts)


def unpack_usage(data: bytes) -> dict[int, dict[bytes, int]]:
    """Read what `pack_usage` wrote. Raises InputRejected for any other bytes."""
    cursor = Cursor(data, "usage")
    cursor.expect(_MAGIC)
    usage: dict[int, dict[bytes, int]] = {}
    for _ in range(cursor.uint(4, "license count")):
        license_id = cursor.uint(4, "license id")
        usage[license_id] = {
            cursor.take(32, "record tag"): cursor.uint(8, "weight")
            for _ in range(cursor.uint(4, "tag count"))
        }
    cursor.finish()
    if pack_usage(usage) != data:
        raise InputRejected("usage: licenses or tags are out of order, repeated or zero")
    return usage
