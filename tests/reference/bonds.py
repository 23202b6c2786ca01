"""What a buyer's bond loses to a proof, and to whom it goes, with fractions."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple


class Slash(NamedTuple):
    """What was taken, and its two parts."""

    slashed: int
    reward: int
    fund: int


def slash(held: int, wanted: int, has_reporter: bool) -> Slash:
    """Take what is wanted, as far as it is there; a tenth, rounded down, is the reporter's."""
    slashed = min(held, wanted)
    reward = floor(Fraction(slashed, 10)) if has_reporter else 0
    return Slash(slashed, reward, slashed - reward)


def lane_slash(held: int, agreed: int, lane_slash_bps: int) -> Slash:
    """What proof against one lane takes: a part of the bond that was agreed on, rounded up."""
    return slash(held, ceil(Fraction(agreed * lane_slash_bps, 10_000)), True)
