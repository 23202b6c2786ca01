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
    """What one charge adds to each of the five parties, in base units."""

    contributors: int
    community: int
    steward: int
    platform: int
    operators: int

    @property
    def total(self) -> int:
        """What the parties got; it differs from the charge by the change of the license's dust (0 … 3)."""
        return self.contributors + self.community + self.steward + self.platform + self.operators


def split_total(charged_total: int, bps: SplitBps) -> Split:
    """Divide everything charged to a license so far.

    Units:    base units, cumulative.
    Rounding: contributors up, the four others down. Each is a function of the total alone and never falls as
              the total grows, so a receipt counted an epoch late changes no split. What is left over is dust,
              0 to 3 base units per license for all time: (1 - c) x >= floors of the others, hence
              x - floors >= c x, and the left side is an integer.
    Raises:   InputRejected if the total is not a uint96.
    Source:   docs/spec.md, splits; docs/adr/0001; contracts/libraries/MoneyMath.sol
    """
    check_uint(charged_total, 96, "charged_total")
    return Split(
        mul_div_up(charged_total, bps.contributors, BPS),
        mul_div_down(charged_total, bps.community, BPS),
        mul_div_down(charged_total, bps.steward, BPS),
        mul_div_down(charged_total, bps.platform, BPS),
        mul_div_down(charged_total, bps.operators, BPS),
    )


def split_charge(charged_before: int, charged_after: int, bps: SplitBps) -> Split:
    """Divide the charge `charged_after - charged_before`: the growth of each party's cumulative share.

    Units:    base units charged to one license, before and after this charge.
    Rounding: as `split_total`; no share is ever negative.
    Raises:   InputRejected if the total is not a uint96 or falls.
    """
    if charged_after < charged_before:
        raise InputRejected(f"charged total fell from {charged_before} to {charged_after}")
    before, after = split_total(charged_before, bps), split_total(charged_after, bps)
    return Split(
        after.contributors - before.contributors,
        after.community - before.community,
        after.steward - before.steward,
        after.platform - before.platform,
        after.operators - before.operators,
    )


def split_dust(charged_total: int, bps: SplitBps) -> int:
    """Return the base units (0 … 3) of a license's total charge that no party's share reaches."""
    return charged_total - split_total(charged_total, bps).total
