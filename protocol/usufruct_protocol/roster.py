"""The roster: who is behind a license, known to nodes only by purse.

A steward signs one snapshot per license by setting its root on chain. Rows carry what the report needs and
nothing else: no name, no grant, no disease. Salts keep the root from being guessed open.
Source: docs/spec.md, rosters.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from operator import lt
from struct import Struct, unpack_from
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
_WEIGHT_END: Final = 2**64
_COUNT: Final = Struct(">I")
_ROW_HEAD: Final = Struct(">32sQ20s12s32sI")
_INTERVAL_COUNT: Final = Struct(">H")
_INTERVAL: Final = Struct(">QQ32s")


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
        # Said in one breath, because a million rows are read at once; what is wrong is found out only then.
        is_well_formed = (
            type(self.purse) is type(self.payout) is type(self.salt) is bytes
            and (len(self.purse), len(self.payout), len(self.salt)) == (32, 20, 32)
            and type(self.weight) is type(self.threshold_base_units) is int
            and 0 <= self.weight < _WEIGHT_END
            and 0 <= self.threshold_base_units <= MAX_UINT96
        )
        if not is_well_formed:
            self._refuse()
        if self.record_tags:
            _check_tags(self.purse, self.record_tags)
        if self.intervals and any(a.to_ms > b.from_ms for a, b in pairwise(self.intervals)):
            raise InputRejected(f"consent intervals of purse {self.purse.hex()} must ascend without overlap")

    def _refuse(self) -> None:
        check_bytes(self.purse, 32, "purse")
        check_bytes(self.payout, 20, "payout address")
        check_bytes(self.salt, 32, "row salt")
        check_uint(self.weight, 64, "weight")
        check_uint(self.threshold_base_units, 96, "threshold")
        raise InputRejected("a roster row has a field of a derived type")

    def to_bytes(self) -> bytes:
        """Return the row's canonical bytes."""
        head = _ROW_HEAD.pack(
            self.purse,
            self.weight,
            self.payout,
            self.threshold_base_units.to_bytes(12, "big"),
            self.salt,
            len(self.record_tags),
        )
        intervals = (_INTERVAL.pack(each.from_ms, each.to_ms, each.revoke_tag) for each in self.intervals)
        return b"".join((head, *self.record_tags, _INTERVAL_COUNT.pack(len(self.intervals)), *intervals))


def _check_tags(purse: bytes, tags: tuple[bytes, ...]) -> None:
    for tag in tags:
        check_bytes(tag, 32, "record tag")
    if any(a >= b for a, b in pairwise(tags)):
        raise InputRejected(f"record tags of purse {purse.hex()} must ascend without repeats")


def _read_row(data: bytes, start: int) -> tuple[RosterRow, int]:
    """Return the row that starts there, and where it ends.

    Raises: struct.error if the data ends before, InputRejected for what no row holds.
    """
    purse, weight, payout, threshold, salt, tag_count = _ROW_HEAD.unpack_from(data, start)
    at = start + _ROW_HEAD.size
    tags: tuple[bytes, ...] = ()
    if tag_count:
        if tag_count > (len(data) - at) // 32:
            raise struct.error("record tags")
        tags = unpack_from("32s" * tag_count, data, at)
        at += 32 * tag_count
    (interval_count,) = _INTERVAL_COUNT.unpack_from(data, at)
    at += _INTERVAL_COUNT.size
    intervals: tuple[ConsentInterval, ...] = ()
    if interval_count:
        starts = range(at, at + interval_count * _INTERVAL.size, _INTERVAL.size)
        intervals = tuple([ConsentInterval(*_INTERVAL.unpack_from(data, each)) for each in starts])
        at = starts.stop
    units = int.from_bytes(threshold, "big")
    return RosterRow(purse, weight, payout, units, salt, tags, intervals), at


def roster_order(purse: bytes) -> tuple[bytes, bytes]:
    """Sort key of rosters. Position under it breaks allocation ties, so no purse can choose its luck."""
    return hashlib.sha256(purse).digest(), purse


class Roster:
    """The rows of one license in canonical order. Immutable; equal when the bytes are equal."""

    def __init__(self, rows: tuple[RosterRow, ...]) -> None:
        self.rows = rows
        self._packed: bytes | None = None
        self._root: bytes | None = None
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
        row_count = cursor.uint(4, "row count")
        rows: list[RosterRow] = []
        leaves: list[bytes] = []
        start = len(_MAGIC) + _COUNT.size
        try:
            for _ in range(row_count):
                row, end = _read_row(data, start)
                rows.append(row)
                leaves.append(keccak256(ROW_TAG + data[start:end]))
                start = end
        except struct.error as error:
            raise InputRejected(
                f"roster: row {len(rows)} of {row_count} at offset {start} is not whole",
                hint="the data was cut short; fetch or send it again whole",
            ) from error
        cursor.take(start - len(_MAGIC) - _COUNT.size, "rows")
        cursor.finish()
        roster = cls(tuple(rows))
        roster._packed, roster._root = data, padded_root(leaves)
        return roster

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: mark, row count, rows."""
        if self._packed is None:
            rows = b"".join([row.to_bytes() for row in self.rows])
            self._packed = _MAGIC + len(self.rows).to_bytes(4, "big") + rows
        return self._packed

    @property
    def root(self) -> bytes:
        """Merkle root of the salted rows, what the steward sets on chain: leaf = keccak(0x05 ‖ row)."""
        if self._root is None:
            self._root = padded_root([keccak256(ROW_TAG + row.to_bytes()) for row in self.rows])
        return self._root

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
        purse, weight, payout, _, _, n_tags = _ROW_HEAD.unpack_from(data, offset)
        yield purse, weight, payout, n_tags
        offset += _ROW_HEAD.size + 32 * n_tags
        (n_intervals,) = _INTERVAL_COUNT.unpack_from(data, offset)
        offset += _INTERVAL_COUNT.size + _INTERVAL.size * n_intervals


def rosters_hash(roots: Mapping[int, bytes]) -> bytes:
    """Return the report's `rosterHash`: keccak of (licenseId u32 ‖ root) pairs, licenses ascending.

    `roots` are those of the rosters that were used; none at all gives 32 zero bytes.
    """
    pairs = [license_id.to_bytes(4, "big") + roots[license_id] for license_id in sorted(roots)]
    return keccak256(b"".join(pairs)) if pairs else bytes(32)


def _refuse_disorder(rows: tuple[RosterRow, ...]) -> None:
    digests = [hashlib.sha256(row.purse).digest() for row in rows]
    if not all(map(lt, digests, digests[1:])):
        _tell_disorder([row.purse for row in rows])
    tags = [tag for row in rows for tag in row.record_tags]
    if len(set(tags)) != len(tags):
        twice = next(tag for tag, count in Counter(tags).items() if count > 1)
        raise InputRejected(f"record tag {twice.hex()} belongs to two purses", hint="a record has one owner")


def _tell_disorder(purses: list[bytes]) -> None:
    for before, after in pairwise(purses):
        if before == after:
            raise InputRejected(f"purse {before.hex()} is in the roster twice", hint="merge its rows")
        if roster_order(before) > roster_order(after):
            raise InputRejected(
                "roster rows are not in (sha256(purse), purse) order", hint="use Roster.build"
            )
