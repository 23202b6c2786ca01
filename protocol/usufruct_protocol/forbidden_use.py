"""Proof that a call used a record whose consent had ended, as RemovalDuties wants it, and its price.

Whether a row forbids a use is decided here as on chain, so that a gateway can refuse what would be penalized.
Source: docs/spec.md section 10; RemovalDuties.sol.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.merkle import padded_siblings
from usufruct_protocol.money import MAX_UINT96, UNITS_PER_PRICE, mul_div_up
from usufruct_protocol.receipts import UsageList
from usufruct_protocol.roster import ROW_TAG, Roster, RosterRow

GRACE_SECONDS: Final = 86_400
PENALTY_FACTOR: Final = 3
_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class UsedRecord:
    """One opened entry of a usage list: fields and order of the contract's struct."""

    record_tag: bytes
    weight: int
    salt: bytes
    index: int
    count: int
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RowOpening:
    """One opened row of a roster: fields and order of the contract's struct."""

    row: bytes
    tag_position: int
    index: int
    count: int
    proof: tuple[bytes, ...]


def open_used_record(usage: UsageList, record_tag: bytes) -> UsedRecord:
    """Open one entry of a usage list, and no other. Raises: InputRejected if the list has no such record."""
    tags = [entry.record_tag for entry in usage.entries]
    if record_tag not in tags:
        raise InputRejected(f"record 0x{record_tag.hex()} is not in the usage list")
    index = tags.index(record_tag)
    leaves = [
        keccak256(b"\x04" + entry.record_tag + entry.weight.to_bytes(4, "big") + _entry_salt(usage.salt, at))
        for at, entry in enumerate(usage.entries)
    ]
    weight = usage.entries[index].weight
    salt = _entry_salt(usage.salt, index)
    return UsedRecord(record_tag, weight, salt, index, len(tags), padded_siblings(leaves, index))


def open_row(roster: Roster, record_tag: bytes) -> RowOpening:
    """Open the row of a record. Raises: InputRejected if no row of the roster has it."""
    index = roster.row_of_tag.get(record_tag)
    if index is None:
        raise InputRejected(f"record 0x{record_tag.hex()} is not in the roster")
    row = roster.rows[index]
    leaves = [keccak256(ROW_TAG + one.to_bytes()) for one in roster.rows]
    position = row.record_tags.index(record_tag)
    return RowOpening(row.to_bytes(), position, index, len(leaves), padded_siblings(leaves, index))


def forbids(row: RosterRow, issued_at_ms: int, revoked_at_s: Mapping[bytes, int]) -> bool:
    """Tell whether a row forbids a use then: a consent had ended, and none was left.

    A consent ends with its interval, without grace, or a grace period after its tag was revoked. A row that
    never had a consent is the steward's fault, and not forbidden in this sense.
    """
    has_ended = False
    for interval in row.intervals:
        if issued_at_ms < interval.from_ms:
            continue
        if issued_at_ms < interval.to_ms:
            revoked = revoked_at_s.get(interval.revoke_tag, 0)
            if revoked == 0 or (revoked + GRACE_SECONDS) * _MS > issued_at_ms:
                return False
        has_ended = True
    return has_ended


def rosters_to_open(set_at_s: Sequence[int], issued_at_ms: int) -> range:
    """Return the numbers of the rosters that could have governed a call, grace included.

    `set_at_s` are the times at which a license's rosters were set, oldest first. Empty if the first roster
    was not there a grace period before the call: then nothing can be proven.
    """
    known = [at for at in set_at_s if (at + GRACE_SECONDS) * _MS <= issued_at_ms]
    until = sum(1 for at in set_at_s if at * _MS <= issued_at_ms)
    return range(len(known) - 1, until) if known else range(0)


def use_penalty(units: int, price_per_million_units: int) -> int:
    """Return three times the price of a receipt's units, in base units, rounded up; at most a uint96."""
    return min(MAX_UINT96, mul_div_up(PENALTY_FACTOR * units, price_per_million_units, UNITS_PER_PRICE))


def _entry_salt(salt: bytes, index: int) -> bytes:
    return keccak256(salt + index.to_bytes(4, "big"))
