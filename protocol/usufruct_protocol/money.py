"""Money arithmetic: exact integers, and names that carry the rounding.

All amounts are base units of one ERC-20 token and fit `uint96`. A charge and its split are functions of
cumulative totals, so rounding never builds up and usage that is counted an epoch late changes no total.
"""

from dataclasses import dataclass
from typing import Final

from usufruct_protocol.errors import InputRejected, InvariantBroken

MAX_UINT96: Final = 2**96 - 1
BPS: Final = 10_000
UNITS_PER_PRICE: Final = 1_000_000
ACCRUAL_SCALE: Final = 10**9


def check_uint(value: int, bits: int, name: str) -> int:
    """Return `value` if it is an int in [0, 2**bits).

    Raises: InputRejected naming the field, for other types (bool and float too) and other values.
    """
    if type(value) is not int:
        raise InputRejected(f"{name} must be an integer, got {type(value).__name__}")
    if value < 0 or value >> bits:
        raise InputRejected(f"{name} must be in [0, 2^{bits}), got {value}")
    return value


def mul_div_down(a: int, b: int, divisor: int) -> int:
    """Return ⌊a × b ÷ divisor⌋ for unsigned operands, at any width.

    Raises: InputRejected for a negative operand or a divisor below one.
    """
    if a < 0 or b < 0 or divisor <= 0:
        raise InputRejected(f"mul_div needs a, b >= 0 and divisor > 0, got {a}, {b}, {divisor}")
    return a * b // divisor


def mul_div_up(a: int, b: int, divisor: int) -> int:
    """Return ⌈a × b ÷ divisor⌉ for unsigned operands, at any width.

    Raises: InputRejected for a negative operand or a divisor below one.
    """
    if a < 0 or b < 0 or divisor <= 0:
        raise InputRejected(f"mul_div needs a, b >= 0 and divisor > 0, got {a}, {b}, {divisor}")
    return -(-a * b // divisor)


def due_base_units(cumulative_units: int, price_per_million_units: int, charged_base_units: int) -> int:
    """Return what a license owes now: the price of everything it ever used, less everything charged so far.

    Units:    `cumulative_units` metered units since the license began; price and result in base units.
    Rounding: down, once, on the cumulative total.
    Raises:   InvariantBroken if more was charged than was ever owed.
    Source:   docs/spec.md, charges; UsageSettlement.sol
    """
    owed_base_units = mul_div_down(cumulative_units, price_per_million_units, UNITS_PER_PRICE)
    if charged_base_units > owed_base_units:
        raise InvariantBroken(
            f"charged {charged_base_units} base units, but {cumulative_units} units at "
            f"{price_per_million_units} per million are worth only {owed_base_units}",
            hint="units or price went backwards: compare the last finalized line with the registry",
        )
    return owed_base_units - charged_base_units


def charge_base_units(due: int, available: int, cap: int) -> int:
    """Return what a report line draws: the due, as far as escrow balance and epoch cap reach.

    Units:  base units; `available` excludes what is reserved for a pending report.
    Raises: InputRejected for a negative operand.
    """
    if due < 0 or available < 0 or cap < 0:
        raise InputRejected(f"due, available and cap must be >= 0, got {due}, {available}, {cap}")
    return min(due, available, cap)


@dataclass(frozen=True, slots=True)
class SplitBps:
    """How a license divides its charges, in basis points that sum to 10,000."""

    contributors: int
    community: int
    steward: int
    platform: int
    operators: int

    def __post_init__(self) -> None:
        parts = (self.contributors, self.community, self.steward, self.platform, self.operators)
        for name, part in zip(self.__slots__, parts, strict=True):
            check_uint(part, 16, f"{name}_bps")
        if sum(parts) != BPS:
            raise InputRejected(f"split must sum to {BPS} bps, got {sum(parts)} from {parts}")


@dataclass(frozen=True, slots=True)
class Split:
    """One charge divided among the five parties, in base units."""

    contributors: int
    community: int
    steward: int
    platform: int
    operators: int

    @property
    def total(self) -> int:
        """The charge that was divided."""
        return self.contributors + self.community + self.steward + self.platform + self.operators


def split_charge(charged_before: int, charged_after: int, bps: SplitBps) -> Split:
    """Divide the charge `charged_after - charged_before` by cumulative basis points.

    Units:    base units charged to one license, before and after this charge.
    Rounding: each party but contributors gets the difference of two floors of the cumulative total;
              contributors get the remainder.
    Corner:   a charge of a few base units can be smaller than the sum of those differences, because several
              floors may step up at the same total (20 % four times: going from 4 to 5 steps all four). Then
              the parties are served in the order of the fields until the charge is used up and contributors
              get 0. Whenever charge × contributors_bps >= 3 × 10,000 the remainder covers it.
    Raises:   InputRejected if the total is not a uint96 or falls.
    Source:   docs/spec.md, splits; RoyaltySplitter.sol
    """
    check_uint(charged_before, 96, "charged_before")
    check_uint(charged_after, 96, "charged_after")
    if charged_after < charged_before:
        raise InputRejected(f"charged total fell from {charged_before} to {charged_after}")
    left = charged_after - charged_before
    shares: list[int] = []
    for party_bps in (bps.community, bps.steward, bps.platform, bps.operators):
        step = mul_div_down(charged_after, party_bps, BPS) - mul_div_down(charged_before, party_bps, BPS)
        share = min(step, left)
        shares.append(share)
        left -= share
    community, steward, platform, operators = shares
    return Split(left, community, steward, platform, operators)
