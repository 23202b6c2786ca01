"""MoneyMath.sol computes what `usufruct_protocol.money` computes, and never wraps."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import ceil, floor

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from usufruct_protocol.errors import InvariantBroken
from usufruct_protocol.money import (
    BPS,
    SplitBps,
    due_base_units,
    mul_div_down,
    mul_div_up,
    split_charge,
    split_total,
)

from tests.contracts.evm.chain import Contract, Reverted

MAX_UINT96 = 2**96 - 1
uint96 = st.integers(0, MAX_UINT96)
uint128 = st.integers(0, 2**128 - 1)
divisors = st.integers(1, 2**64)


@st.composite
def splits(draw: st.DrawFn) -> SplitBps:
    """Five parts of 10,000 basis points, zeros included."""
    cuts = sorted(draw(st.lists(st.integers(0, BPS), min_size=4, max_size=4)))
    ends = [0, *cuts, BPS]
    return SplitBps(*(after - before for before, after in pairwise(ends)))


def pricing(bps: SplitBps) -> tuple[int, ...]:
    """The on-chain pricing struct of a split; price and cap do not matter to it."""
    return (1, 1, bps.community, bps.steward, bps.platform, bps.operators)


@given(uint128, uint128, divisors)
def test_mul_div_down_equals_python_and_floors(money_math: Contract, a: int, b: int, divisor: int) -> None:
    result = money_math.mulDivDown(a, b, divisor)
    assert result == mul_div_down(a, b, divisor) == floor(Fraction(a * b, divisor))


@given(uint128, uint96, divisors)
def test_mul_div_up_equals_python_and_ceils(money_math: Contract, a: int, b: int, divisor: int) -> None:
    result = money_math.mulDivUp(a, b, divisor)
    assert result == mul_div_up(a, b, divisor) == ceil(Fraction(a * b, divisor))


@pytest.mark.parametrize("function", ["mulDivDown", "mulDivUp"])
def test_a_product_beyond_256_bits_reverts(money_math: Contract, function: str) -> None:
    with pytest.raises(Reverted, match="Panic"):
        getattr(money_math, function)(2**128, 2**128, 1)


@pytest.mark.parametrize("function", ["mulDivDown", "mulDivUp"])
def test_a_zero_divisor_reverts(money_math: Contract, function: str) -> None:
    with pytest.raises(Reverted, match="Panic"):
        getattr(money_math, function)(1, 1, 0)


@given(uint128, uint96, uint96)
def test_inv_12_due_equals_python_and_never_exceeds_what_units_cost(
    money_math: Contract, units: int, price: int, charged: int
) -> None:
    owed = floor(Fraction(units * price, 10**6))
    result = money_math.due(units, price, charged)
    assert result == max(owed - charged, 0)
    if charged <= owed:
        assert result == due_base_units(units, price, charged)
    else:
        with pytest.raises(InvariantBroken):
            due_base_units(units, price, charged)


@given(uint96, uint96, splits())
def test_split_equals_python(money_math: Contract, one: int, other: int, bps: SplitBps) -> None:
    before, after = sorted((one, other))
    growth = money_math.split(before, after, pricing(bps))
    expected = split_charge(before, after, bps)
    assert tuple(growth) == (
        expected.contributors,
        expected.community,
        expected.steward,
        expected.platform,
        expected.operators,
    )


@given(st.integers(0, 3 * BPS), st.integers(0, 40), splits())
def test_inv_01_shares_of_small_charges_are_always_funded(
    money_math: Contract, before: int, charge: int, bps: SplitBps
) -> None:
    """Floors that step together are the dangerous place: cumulative shares never pass what was charged."""
    so_far = sum(money_math.split(0, before, pricing(bps)))
    growth = sum(money_math.split(before, before + charge, pricing(bps)))
    assert 0 <= before - so_far <= 3
    assert 0 <= before + charge - (so_far + growth) <= 3


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=6), splits())
def test_a_split_does_not_depend_on_how_a_total_was_charged(
    money_math: Contract, charges: list[int], bps: SplitBps
) -> None:
    charged, parts = 0, [0] * 5
    for charge in charges:
        growth = money_math.split(charged, charged + charge, pricing(bps))
        parts = [part + more for part, more in zip(parts, growth, strict=True)]
        charged += charge
    total = split_total(charged, bps)
    assert parts == [total.contributors, total.community, total.steward, total.platform, total.operators]


@given(uint96, uint96, splits())
def test_a_falling_total_reverts_rather_than_pay_twice(
    money_math: Contract, one: int, other: int, bps: SplitBps
) -> None:
    before, after = sorted((one, other), reverse=True)
    assume(mul_div_up(before, bps.contributors, BPS) > mul_div_up(after, bps.contributors, BPS))
    with pytest.raises(Reverted, match="Panic"):
        money_math.split(before, after, pricing(bps))
