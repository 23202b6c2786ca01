"""The end of a settlement, slow and obvious: what is proven late, its price, and who gets what is left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import floor


def elapsed(since: int, now: int, pauses: Iterable[tuple[int, int]]) -> int:
    """Seconds from `since` to `now`, each counted unless a pause [from, until) holds it."""
    stood_still = [range(start, end) for start, end in pauses]
    return sum(not any(second in pause for pause in stood_still) for second in range(since, now))


def proven_units(checkpoints: Iterable[tuple[str, int]]) -> int:
    """Units of a license by the checkpoints that were shown: each lane at its highest."""
    by_lane: dict[str, list[int]] = {}
    for lane, units in checkpoints:
        by_lane.setdefault(lane, []).append(units)
    return sum(max(units) for units in by_lane.values())


def late_allowance(cap: int, last_period_end: int, closed_at: int, epoch_seconds: int) -> int:
    """The cap once for each whole epoch that went by without a report, at least once."""
    return cap * max(1, floor(Fraction(closed_at - last_period_end, epoch_seconds)))


def late_charge(units: int, price_per_million: int, charged: int, available: int, allowance: int) -> int:
    """What proven units cost beyond what was charged, as far as there is money and allowance."""
    owed = floor(Fraction(units) * Fraction(price_per_million, 1_000_000)) - charged
    return max(0, min(owed, available, allowance))


def supplements(amounts: Sequence[int], collected: int) -> list[int]:
    """What each leaf of a reserve gets on top, of everything collected: its part, rounded down."""
    total = sum(amounts)
    return [floor(Fraction(amount * collected, total)) for amount in amounts]
