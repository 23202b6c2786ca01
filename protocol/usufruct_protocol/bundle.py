"""The content-addressed files behind a report, public and restricted parts apart.

Only canonical binaries count: no signatures, logs or arrival times, and nothing of the attempt, so every node
that computes the same epoch holds the same bundle.
Source: docs/spec.md, bundles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.report_types import ReportLine
from usufruct_protocol.roster import Roster
from usufruct_protocol.wire import Cursor

LANES: Final = "lanes.bin"
LINES: Final = "lines.bin"
WORDS: Final = "words.bin"
INCOME: Final = "income.bin"
ACCRUALS: Final = "accruals.bin"
CARRIED: Final = "carried.bin"
ROSTERS: Final = "rosters.bin"
USAGE: Final = "usage.bin"

PUBLIC_FILES: Final = (LANES, LINES, WORDS, INCOME)
RESTRICTED_FILES: Final = (ACCRUALS, CARRIED, ROSTERS, USAGE)

_LINE_BYTES: Final = 4 + 16 + 12
_POSSESSION: Final = b"Usufruct bundle possession v1\n"


def bundle_hash(files: Mapping[str, bytes]) -> bytes:
    """Return keccak over the files in name order: name length u8 ‖ name ‖ sha256 ‖ size u64."""
    return manifest_hash({name: (hashlib.sha256(data).digest(), len(data)) for name, data in files.items()})


def manifest_hash(entries: Mapping[str, tuple[bytes, int]]) -> bytes:
    """Return the bundle hash from name → (sha256, size), without the files themselves."""
    parts = []
    for name in sorted(entries):
        digest, size = entries[name]
        parts.append(bytes([len(name)]) + name.encode("ascii") + digest + size.to_bytes(8, "big"))
    return keccak256(b"".join(parts))


def possession_proof(domain: bytes, signer: bytes, report_hash: bytes, files: Mapping[str, bytes]) -> bytes:
    """Return what only who has every byte of a bundle can say: SHA-256 over mark, who says it, and all files.

    mark ‖ settlement domain ‖ signer ‖ report hash ‖ per file, names ascending: name length u8 ‖ name ‖
    size u64 ‖ bytes. Who says it comes first, so that no digest of the bundle stands for its bytes, nor
    another's proof for one's own; the report hash makes it another one for each attempt.
    """
    state = hashlib.sha256(_POSSESSION + domain + signer + report_hash)
    for name in sorted(files):
        state.update(bytes([len(name)]) + name.encode("ascii") + len(files[name]).to_bytes(8, "big"))
        state.update(files[name])
    return state.digest()


def pack_lanes(heads: Sequence[Checkpoint | None]) -> bytes:
    """Pack the lane vector by lane number; an absent lane is one zero byte."""
    parts = [len(heads).to_bytes(4, "big")]
    for head in heads:
        if head is None:
            parts.append(b"\x00")
        else:
            parts += (
                b"\x01",
                head.lane,
                head.count.to_bytes(8, "big"),
                head.cumulative_units.to_bytes(16, "big"),
                head.receipts_root,
            )
    return b"".join(parts)


def unpack_lanes(data: bytes) -> tuple[Checkpoint | None, ...]:
    """Read what `pack_lanes` wrote. Raises InputRejected for any other bytes."""
    cursor = Cursor(data, LANES)
    heads: list[Checkpoint | None] = []
    for _ in range(cursor.uint(4, "lane count")):
        present = cursor.uint(1, "presence")
        if present > 1:
            raise InputRejected(f"{LANES}: presence byte {present} of lane {len(heads)} is neither 0 nor 1")
        heads.append(
            Checkpoint(
                cursor.take(20, "lane"),
                cursor.uint(8, "count"),
                cursor.uint(16, "units"),
                cursor.take(32, "root"),
            )
            if present
            else None
        )
    cursor.finish()
    return tuple(heads)


def pack_lines(lines: Sequence[ReportLine]) -> bytes:
    """Pack the report lines: license id u32 ‖ cumulative units u128 ‖ charge u96 each."""
    return b"".join(
        line.license_id.to_bytes(4, "big")
        + line.cumulative_units.to_bytes(16, "big")
        + line.charge.to_bytes(12, "big")
        for line in lines
    )


def unpack_lines(data: bytes) -> tuple[ReportLine, ...]:
    """Read what `pack_lines` wrote. Raises InputRejected for any other bytes."""
    cursor = Cursor(data, LINES)
    lines = tuple(
        ReportLine(cursor.uint(4, "license id"), cursor.uint(16, "units"), cursor.uint(12, "charge"))
        for _ in range(len(data) // _LINE_BYTES)
    )
    cursor.finish()
    return lines


def pack_rosters(rosters: Mapping[int, Roster]) -> bytes:
    """Pack the rosters that governed the epoch: license id u32 ‖ length u32 ‖ roster, licenses ascending."""
    parts: list[bytes] = []
    for license_id in sorted(rosters):
        data = rosters[license_id].to_bytes()
        parts += (license_id.to_bytes(4, "big"), len(data).to_bytes(4, "big"), data)
    return len(rosters).to_bytes(4, "big") + b"".join(parts)


def unpack_rosters(data: bytes) -> dict[int, Roster]:
    """Read what `pack_rosters` wrote. Raises InputRejected for any other bytes."""
    return {license_id: Roster.from_bytes(packed) for license_id, packed in split_rosters(data).items()}


def split_rosters(data: bytes) -> dict[int, bytes]:
    """Return the canonical bytes of each packed roster, not yet read. Raises InputRejected."""
    cursor = Cursor(data, ROSTERS)
    rosters: dict[int, bytes] = {}
    last = -1
    for _ in range(cursor.uint(4, "roster count")):
        license_id = cursor.uint(4, "license id")
        if license_id <= last:
            raise InputRejected(f"{ROSTERS}: license {license_id} is out of order")
        rosters[license_id] = cursor.take(cursor.uint(4, "roster length"), "roster")
        last = license_id
    cursor.finish()
    return rosters
