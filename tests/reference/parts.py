"""Parts of a growing sum, with fractions: what each party of a community fund or a cooperative has earned."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import floor


def earned(total: int, weights: Sequence[int]) -> list[int]:
    """Each one's share of all that ever came, in whole base units; what no share reaches stays."""
    return [floor(Fraction(total) * Fraction(weight, sum(weights))) for weight in weights]


def earned_with_a_last_one_who_takes_the_rest(total: int, weights: Sequence[int]) -> list[int]:
    """The tempting rule that is not used: the last part can shrink while the total grows."""
    parts = earned(total, weights)[:-1]
    return [*parts, total - sum(parts)]
