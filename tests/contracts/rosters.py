"""Rosters of people with two records each, and the secrets that revoke their consent.

Shared by the in-process and the Brownie tests, hence only packages that both environments have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from usufruct_protocol.roster import ConsentInterval, Roster, RosterRow

from tests.contracts.wire import keccak

FOREVER_MS = 2**64 - 1
RECORDS = [keccak(b"record" + bytes([number])) for number in range(3)]
OTHER_RECORD = keccak(b"somebody else's record")

Intervals = Sequence[tuple[int, int, bytes]]


def secret(number: int) -> bytes:
    """What opens a revocation."""
    return keccak(b"secret" + bytes([number]))


def revoke_tag(number: int) -> bytes:
    """What it revokes."""
    return keccak(secret(number))


def row(record: bytes, intervals: Intervals) -> RosterRow:
    """The row of a person with two records, one of them used."""
    tags = tuple(sorted((record, keccak(b"another of" + record))))
    consents = tuple(ConsentInterval(*one) for one in intervals)
    purse, salt = keccak(b"purse" + record), keccak(b"salt" + record)
    return RosterRow(purse, 1, bytes(20), 0, salt, tags, consents)


def roster_of(intervals: Mapping[bytes, Intervals]) -> Roster:
    """A roster with one row for each record."""
    return Roster.build(row(record, found) for record, found in intervals.items())
