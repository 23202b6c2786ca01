"""Exact charges and splits, at every width and at every edge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.errors import InputRejected, InvariantBroken
from usufruct_protocol.money import (
    MAX_UINT96,
    SplitBps,
    charge_base_units,
    check_uint,
    due_base_units,
    mul_div_down,
    mul_div_up,
    split_charge,
    split_dust,
    split_total,
)

wide = st.integers(0, 2**256)
positive = st.integers(1, 2**256)


@given(wide, wide, positive)
def test_mul_div_down_is_the_floor_and_up_the_ceiling(a: int, b: int, divisor: int) -> None:
    down, up = mul_div_down(a, b, divisor), mul_div_up(a, b, divisor)
    assert down * divisor <= a * b < (down + 1) * divisor
    assert (up - 1) * divisor < a * b <= up * divisor


@pytest.mark.parametrize("function", [mul_div_down, mul_div_up])
@pytest.mark.parametrize("operands", [(-1, 1, 1), (1, -1, 1), (1, 1, 0), (1, 1, -1)])
def test_mul_div_refuses_negative_operands_and_zero_divisors(function, operands) -> None:
    with pytest.raises(InputRejected):
        function(*operands)


@pytest.mark.parametrize("bits", [8, 16, 32, 64, 96, 128, 256])
def test_check_uint_takes_exactly_the_values_of_its_width(bits: int) -> None:
    assert check_uint(0, bits, "x") == 0
    assert check_uint(2**bits - 1, bits, "x") == 2**bits - 1
    for value in (-1, 2**bits, 2**300):
        with pytest.raises(InputRejected, match="pot"):
            check_uint(value, bits, "pot")


@pytest.mark.parametrize("value", [True, 1.0, "1", None, b"\1"])
def test_check_uint_takes_ints_only(value) -> None:
    with pytest.raises(InputRejected, match="must be an integer"):
        check_uint(value, 96, "amount")


def test_due_is_the_price_of_all_units_less_what_was_charged() -> None:
    assert due_base_units(29_149_076, 1_500_000, 0) == 43_723_614
    assert due_base_units(29_149_076, 1_500_000, 43_000_000) == 723_614
    assert due_base_units(1, 1, 0) == 0  # a millionth of a base unit waits until it is whole
    assert due_base_units(10**6, 1, 0) == 1


@given(st.integers(0, 2**96), st.integers(0, MAX_UINT96), st.lists(st.integers(0, 2**64), max_size=8))
def test_inv_12_usage_counted_in_parts_is_charged_as_in_one(units: int, price: int, cuts: list[int]) -> None:
    charged = 0
    for counted in [*sorted(cut for cut in cuts if cut < units), units]:
        charged += due_base_units(counted, price, charged)
    assert charged == mul_div_down(units, price, 10**6)


@given(st.integers(0, 2**128), st.integers(0, MAX_UINT96), st.integers(1, 2**96))
def test_inv_12_more_charged_than_owed_halts(units: int, price: int, excess: int) -> None:
    owed = due_base_units(units, price, 0)
    with pytest.raises(InvariantBroken, match="worth only"):
        due_base_units(units, price, owed + excess)


@given(wide, wide, wide)
def test_inv_13_a_charge_exceeds_neither_due_nor_balance_nor_cap(due: int, available: int, cap: int) -> None:
    charge = charge_base_units(due, available, cap)
    assert charge <= due
    assert charge <= available
    assert charge <= cap
    assert charge in (due, available, cap)


@pytest.mark.parametrize("operands", [(-1, 1, 1), (1, -1, 1), (1, 1, -1)])
def test_a_charge_of_negative_operands_is_refused(operands) -> None:
    with pytest.raises(InputRejected):
        charge_base_units(*operands)


@pytest.mark.parametrize(
    "parts",
    [
        (10_000, 1, 0, 0, 0),
        (9_999, 0, 0, 0, 0),
        (0, 0, 0, 0, 0),
        (10_001, -1, 0, 0, 0),
        (2**16, 0, 0, 0, 10_000 - 2**16),
        (10_000.0, 0, 0, 0, 0),
    ],
)
def test_a_split_that_is_not_whole_is_refused(parts) -> None:
    with pytest.raises(InputRejected):
        SplitBps(*parts)


def test_contributors_round_up_and_the_others_down() -> None:
    bps = SplitBps(7_000, 500, 1_000, 500, 1_000)
    assert split_total(1_999, bps) == split_charge(0, 1_999, bps)
    split = split_total(1_999, bps)
    assert (split.contributors, split.community, split.steward, split.platform, split.operators) == (
        1_400,
        99,
        199,
        99,
        199,
    )
    assert split_dust(1_999, bps) == 3


def test_floors_that_step_at_once_leave_no_share_negative() -> None:
    bps = SplitBps(2_000, 2_000, 2_000, 2_000, 2_000)
    step = split_charge(4, 5, bps)
    assert (step.contributors, step.community, step.operators) == (0, 1, 1)
    assert split_dust(4, bps) == 3
    assert split_dust(5, bps) == 0


@pytest.mark.parametrize(("before", "after"), [(-1, 0), (0, 2**96), (5, 4)])
def test_a_total_that_falls_or_leaves_uint96_is_refused(before: int, after: int) -> None:
    with pytest.raises(InputRejected):
        split_charge(before, after, SplitBps(10_000, 0, 0, 0, 0))
