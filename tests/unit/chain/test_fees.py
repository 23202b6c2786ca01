"""Fees: enough to replace what waits, never more than the limits, whatever an endpoint suggests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_chain.fees import (
    DEFAULT_TIP_WEI,
    GWEI,
    MAX_FEE_WEI,
    MAX_SUGGESTED_TIP_WEI,
    MAX_TIP_WEI,
    Fees,
    MarketFees,
    market_fees,
)
from usufruct_protocol.errors import Incompatible, Transient

POOL_STEP_PERCENT = 110
AMOUNTS = st.integers(0, 2**128)


@given(base_fee_wei=AMOUNTS, tip_wei=AMOUNTS)
def test_a_first_version_lasts_for_a_doubling_of_the_base_fee_within_the_limits(
    base_fee_wei: int, tip_wei: int
) -> None:
    asked = MarketFees(base_fee_wei, tip_wei).asked()
    assert asked.tip_wei == min(tip_wei, MAX_SUGGESTED_TIP_WEI) <= asked.max_fee_wei <= MAX_FEE_WEI
    assert asked.max_fee_wei == min(2 * base_fee_wei + asked.tip_wei, MAX_FEE_WEI)


@given(
    base_fee_wei=AMOUNTS,
    tip_wei=AMOUNTS,
    last_tip=st.integers(0, MAX_TIP_WEI),
    more=st.integers(0, MAX_FEE_WEI),
)
def test_a_replacement_is_raised_as_pools_ask_or_left_as_it_was(
    base_fee_wei: int, tip_wei: int, last_tip: int, more: int
) -> None:
    last = Fees(last_tip, min(last_tip + more, MAX_FEE_WEI))
    raised = MarketFees(base_fee_wei, tip_wei).raised(last)
    assert raised.tip_wei <= raised.max_fee_wei <= MAX_FEE_WEI
    assert raised.tip_wei <= MAX_TIP_WEI
    if raised != last:
        assert raised.tip_wei * 100 >= last.tip_wei * POOL_STEP_PERCENT
        assert raised.max_fee_wei * 100 >= last.max_fee_wei * POOL_STEP_PERCENT
        assert raised.max_fee_wei >= MarketFees(base_fee_wei, tip_wei).asked().max_fee_wei


def test_a_lying_suggestion_costs_at_most_the_limit() -> None:
    asked = market_fees({"baseFeePerGas": hex(20 * GWEI)}, hex(10**24)).asked()
    assert asked == Fees(MAX_SUGGESTED_TIP_WEI, 40 * GWEI + MAX_SUGGESTED_TIP_WEI)


def test_what_endpoints_say() -> None:
    assert market_fees({"baseFeePerGas": "0x7"}, None) == MarketFees(7, DEFAULT_TIP_WEI)
    with pytest.raises(Incompatible, match="EIP-1559"):
        market_fees({"number": "0x1"}, "0x1")
    with pytest.raises(Transient, match="where a number belongs"):
        market_fees({"baseFeePerGas": None}, "0x1")
