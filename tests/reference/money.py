"""Charges and splits with fractions of a base unit: one line per sentence of the specification."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

PARTIES = ("contributors", "community", "steward", "platform", "operators")


def owed(units: int, price_per_million: int) -> int:
    """Price of all units ever counted, in whole base units."""
    return floor(Fraction(units) * Fraction(price_per_million, 1_000_000))


def run_epochs(
    price_per_million: int, cap: int, epochs: list[tuple[int, int]]
) -> tuple[list[int], list[int]]:
    """Return the charge and the carried due of each epoch, given (new units, new deposit) per epoch."""
    units = charged = deposited = 0
    charges, carried = [], []
    for new_units, deposit in epochs:
        units, deposited = units + new_units, deposited + deposit
        due = owed(units, price_per_million) - charged
        charge = min(due, deposited - charged, cap)
        charged += charge
        charges.append(charge)
        carried.append(due - charge)
    return charges, carried


def shares(charged: int, bps: tuple[int, ...]) -> tuple[int, ...]:
    """What each party has earned from everything charged: contributors rounded up, the others down."""
    exact = [Fraction(charged * part, 10_000) for part in bps]
    return (ceil(exact[0]), *map(floor, exact[1:]))
