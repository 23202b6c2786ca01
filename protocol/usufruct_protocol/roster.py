"""The roster: who is behind a license, known to nodes only by purse.

A steward signs one snapshot per license by setting its root on chain. Rows carry what the report needs and
nothing else: no name, no grant, no disease. Salts keep the root from being guessed open.
Source: docs/spec.md, rosters.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from struct import Struct
from typing import Final

from usufruct_protocol.eip712 import check_bytes
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.merkle import padded_root
from usufruct_protocol.money import MAX_UINT96, check_uint
from usufruct_protocol.wire import Cursor

NO_ADDRESS: Final = bytes(20)
ROW_TAG: Final = b"\x05"
_MAGIC: Final = b"UFR1"
_MAX_WEIGHT_BITS: Final = 64
_COUNT: Final = Struct(">I")
_ROW_HEAD: Final = Struct(">32sQ20s12x32xI")
_INTERVAL_COUNT: Final = Struct(">H")
_INTERVAL_BYTES: Final = 8 + 8 + 32


def derive_purse(steward_key: bytes, collection: bytes, person: bytes) -> bytes:
    """Return the pseudonym of one person in one collection: 32 bytes that only the steward can link."""
    return hmac.digest(steward_key, b"purse" + collection + person, "sha256")


def derive_record_tag(steward_key: bytes, collection: bytes, record: bytes) -> bytes:
    """Return the 32-byte tag under which gateways report the use of one record of a collection."""
    return hmac.digest(steward_key, b"record" + collection + record, "sha256")


def derive_row_salt(steward_key: bytes, collection: bytes, person: bytes) -> bytes:
    """Return the salt of a person's roster row, from which the salt of a reserve leaf also derives."""
    return hmac.digest(steward_key, b"row salt" + collection + person, "sha256")


@dataclass(frozen=True, slots=True)
class ConsentInterval:
    """When a purse's data may be used, [from, to) in ms, and the tag a revocation would show."""

    from_ms: int
    to_ms: int
    revoke_tag: bytes

    def __post_init__(self) -> None:
        check_uint(self.from_ms, 64, "consent from_ms")
        check_uint(self.to_ms, 64, "consent to_ms")
        if self.from_ms >= self.to_ms:
            raise InputRejected(f"consent interval is empty: [{self.from_ms}, {self.to_ms})")
        check_bytes(self.revoke_tag, 32, "revoke tag")


@dataclass(frozen=True, slots=True)
class RosterRow:
    """One purse in one license.

    weight:               share of the pot when a license pays by roster (any scale, < 2^64)
    payout:               20-byte wallet, or zeros when the purse has none yet (it accrues, nothing is issued)
    threshold_base_units: smallest note this purse wants; the council's minimum still applies
    record_tags:          its records, ascending; a tag belongs to one purse only
    """

    purse: bytes
    weight: int
    payout: bytes
    threshold_base_units: int
    salt: bytes
    record_tags: tuple[bytes, ...] = ()
    intervals: tuple[ConsentInterval, ...] = ()

    def __post_init__(self) -> None:
        check_bytes(self.purse, 32, "purse")
        check_bytes(self.payout, 20, "payout address")
        check_bytes(self.salt, 32, "row salt")
        check_uint(self.weight, _MAX_WEIGHT_BITS, "weight")
        if not 0 <= self.threshold_base_units <= MAX_UINT96:
            raise InputRejected(f"threshold must be a uint96, got {self.threshold_base_units}")
        for tag in self.record_tags:
            check_bytes(tag, 32, "record tag")
        if any(a >= b for a, b in pairwise(self.record_tags)):
            raise InputRejected(f"record tags of purse {self.purse.hex()} must ascend without repeats")
        if any(a.to_ms > b.from_ms for a, b in pairwise(self.intervals)):
            raise InputRejected(f"consent intervals of purse {self.purse.hex()} must ascend without overlap")

    def to_bytes(self) -> bytes:
        """Return the row's canonical bytes."""
        parts = [
            self.purse,
            self.weight.to_bytes(8, "big"),
            self.payout,
            self.threshold_base_units.to_bytes(12, "big"),
            self.salt,
            len(self.record_tags).to_bytes(4, "big"),
            *self.record_tags,
            len(self.intervals).to_bytes(2, "big"),
        ]
        for interval in self.intervals:
            parts += (
                interval.from_ms.to_bytes(8, "big"),
                interval.to_ms.to_bytes(8, "big"),
                interval.revoke_tag,
            )
        return b"".join(parts)

    @classmethod
    def read(cls, cursor: Cursor) -> RosterRow:
        """Read one row off a cursor. Raises InputRejected for anything not canonical."""
        purse = cursor.take(32, "purse")
        weight = cursor.uint(8, "weight")
        payout = cursor.take(20, "payout address")
        threshold = cursor.uint(12, "threshold")
        salt = cursor.take(32, "row salt")
        tags = tuple(cursor.take(32, "record tag") for _ in range(cursor.uint(4, "record tag count")))
        intervals = tuple(
            ConsentInterval(cursor.uint(8, "from_ms"), cursor.uint(8, "to_ms"), cursor.take(32, "revoke tag"))
            for _ in range(cursor.uint(2, "interval count"))
        )
        return cls(purse, weight, payout, threshold, salt, tags, intervals)


def roster_order(purse: bytes) -> tuple[bytes, bytes]:
    """Sort key of rosters. Position under it breaks allocation ties, so no purse can choose its luck."""
    return hashlib.sha256(purse).digest(), purse


class Roster:
    """The rows of one license in canonical order. Immutable; equal when the bytes are equal."""

    def __init__(self, rows: tuple[RosterRow, ...]) -> None:
        self.rows = rows
        _refuse_disorder(rows)

    @classmethod
    def build(cls, rows: Iterable[RosterRow]) -> Roster:
        """Sort rows into a roster. Raises InputRejected for a purse or a record tag that occurs twice."""
        return cls(tuple(sorted(rows, key=lambda row: roster_order(row.purse))))

    @classmethod
    def from_bytes(cls, data: bytes) -> Roster:
        """Read canonical bytes; anything that `to_bytes` would not write is refused."""
        cursor = Cursor(data, "roster")
        cursor.expect(_MAGIC)
        rows = tuple(RosterRow.read(cursor) for _ in range(cursor.uint(4, "row count")))
        cursor.finish()
        return cls(rows)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: mark, row count, rows."""
        return _MAGIC + len(self.rows).to_bytes(4, "big") + b"".join(row.to_bytes() for row in self.rows)

    @cached_property
    def root(self) -> bytes:
        """Merkle root of the salted rows, what the steward sets on chain: leaf = keccak(0x05 ‖ row)."""
        return padded_root([keccak256(ROW_TAG + row.to_bytes()) for row in self.rows])

    @cached_property
    def weights(self) -> tuple[int, ...]:
        """Roster weights, in row order."""
        return tuple(row.weight for row in self.rows)

    @cached_property
    def row_of_tag(self) -> Mapping[bytes, int]:
        """Row position of each record tag."""
        return {tag: position for position, row in enumerate(self.rows) for tag in row.record_tags}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Roster) and self.rows == other.rows

    def __hash__(self) -> int:
        return hash(self.root)


def skim(data: bytes) -> Iterator[tuple[bytes, int, bytes, int]]:
    """Yield purse, weight, payout and number of records of each row, much faster than `Roster.from_bytes`.

    Only for canonical bytes that were checked before: nothing is checked here.
    """
    offset = len(_MAGIC)
    (row_count,) = _COUNT.unpack_from(data, offset)
    offset += _COUNT.size
    for _ in range(row_count):
        purse, weight, payout, n_tags = _ROW_HEAD.unpack_from(data, offset)
        yield purse, weight, payout, n_tags
        offset += _ROW_HEAD.size + 32 * n_tags
        (n_intervals,) = _INTERVAL_COUNT.unpack_from(data, offset)
        offset += _INTERVAL_COUNT.size + _INTERVAL_BYTES * n_intervals


def rosters_hash(roots: Mapping[int, bytes]) -> bytes:
    """Return the report's `rosterHash`: keccak of (licenseId u32 ‖ root) pairs, licenses ascending.

    `roots` are those of the rosters that were used; none at all gives 32 zero bytes.
    """
    pairs = [license_id.to_bytes(4, "big") + roots[license_id] for license_id in sorted(roots)]
    return keccak256(b"".join(pairs)) if pairs else bytes(32)


def _refuse_disorder(rows: tuple[RosterRow, ...]) -> None:
    keys = [roster_order(row.purse) for row in rows]
    for before, after in pairwise(keys):
        if before == after:
            raise InputRejected(f"purse {before[1].hex()} is in the roster twice", hint="merge its rows")
        if before > after:
            raise InputRejected(
                "roster rows are not in (sha256(purse), purse) order", hint="use Roster.build"
            )
    tags = [tag for row in rows for tag in row.record_tags]
    if len(set(tags)) != len(tags):
        twice = next(tag for tag, count in Counter(tags).items() if count > 1)
        raise InputRejected(f"record tag {twice.hex()} belongs to two purses", hint="a record has one owner")
