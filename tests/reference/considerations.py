"""Royalties, penalties and term hashes with fractions and eth-abi, one line per sentence of the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil

from eth_abi.abi import encode
from eth_hash.auto import keccak

DAY = 86_400

Interval = tuple[int, int, bytes]
"""From and to in milliseconds, revoke tag."""


def royalty(revenue: int, revenue_bps: int) -> int:
    """The payee's part of the revenue, rounded up."""
    return ceil(Fraction(revenue * revenue_bps, 10_000))


def started_periods_late(at_s: int, payable_until_s: int, period_seconds: int) -> int:
    """How many periods of lateness have begun, counted one by one."""
    late, begins = 0, payable_until_s
    while begins < at_s:
        late, begins = late + 1, begins + period_seconds
    return late


def late_penalty(paid: int, periods_late: int, penalty_bps: int) -> int:
    """What paying late costs on top, rounded up, never more than what is paid."""
    share = min(Fraction(1), periods_late * Fraction(penalty_bps, 10_000))
    return ceil(paid * share)


def period_count(first_end_s: int, period_seconds: int, license_ends_at_s: int) -> int:
    """Periods that begin before the license ends, counted one by one; the first always does."""
    count, begins = 1, first_end_s
    while begins < license_ends_at_s:
        count, begins = count + 1, begins + period_seconds
    return count


def use_penalty(units: int, price_per_million: int) -> int:
    """Three times the price of the units, rounded up."""
    return ceil(3 * Fraction(units * price_per_million, 1_000_000))


def is_forbidden(intervals: Sequence[Interval], at_ms: int, revoked_at_s: Mapping[bytes, int]) -> bool:
    """Whether a consent had ended at that time and none permitted."""
    permits = [
        from_ms <= at_ms < to_ms and not (tag in revoked_at_s and (revoked_at_s[tag] + DAY) * 1_000 <= at_ms)
        for from_ms, to_ms, tag in intervals
    ]
    begun = [from_ms <= at_ms for from_ms, _, _ in intervals]
    return any(begun) and not any(permits)


def milestones_hash(
    milestones: Sequence[tuple[int, int, bytes]], attesters: Sequence[bytes], quorum: int
) -> bytes:
    """Hash of milestone terms, by the general ABI encoder."""
    return keccak(
        encode(
            ["(uint96,uint48,bytes32)[]", "address[]", "uint8"], [list(milestones), list(attesters), quorum]
        )
    )


def royalty_hash(terms: Sequence[int | bytes]) -> bytes:
    """Hash of royalty terms, by the general ABI encoder."""
    return keccak(encode(["(uint16,uint48,uint32,uint32,uint16,address)"], [tuple(terms)]))


def credit_leaf(holder: bytes, amount: int, salt: bytes) -> bytes:
    """Leaf of a holder's credits."""
    return keccak(b"\x08" + holder + amount.to_bytes(12, "big") + salt)
