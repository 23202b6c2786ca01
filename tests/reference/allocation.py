"""Largest remainders, by the book: exact fractions and one full sort."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from hashlib import sha256
from math import floor


def allocate(pot: int, weights: Sequence[int], references: Sequence[bytes]) -> list[int]:
    """Round every exact share down, then give what is left to the largest fractions lost."""
    exact = [Fraction(pot * weight, sum(weights)) for weight in weights]
    parts = [floor(share) for share in exact]
    lost = [share - part for share, part in zip(exact, parts, strict=True)]
    by_claim = sorted(
        range(len(weights)),
        key=lambda each: (-lost[each], sha256(references[each]).digest(), references[each]),
    )
    for each in by_claim[: pot - sum(parts)]:
        parts[each] += 1
    return parts


def allocate_in_order(pot: int, weights: Sequence[int]) -> list[int]:
    """The same in integers, for weights in roster order and so many that fractions crawl."""
    total = sum(weights)
    parts = [pot * weight // total for weight in weights]
    by_claim = sorted(range(len(weights)), key=lambda each: (-(pot * weights[each] % total), each))
    for each in by_claim[: pot - sum(parts)]:
        parts[each] += 1
    return parts
