"""Charges and splits against the slow re-implementation with fractions."""

from __future__ import annotations

from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.money import (
    BPS,
    MAX_UINT96,
    Split,
    SplitBps,
    charge_base_units,
    due_base_units,
    split_charge,
    split_dust,
    split_total,
)

from tests.reference import money as reference

amounts = st.one_of(st.integers(0, 40), st.integers(0, MAX_UINT96))


@st.composite
def splits(draw: st.DrawFn) -> tuple[int, ...]:
    """Five parts of 10,000 basis points; zeros and equal parts often."""
    if draw(st.booleans()):
        return (2_000,) * 5
    cuts = sorted(draw(st.lists(st.integers(0, BPS), min_size=4, max_size=4)))
    return tuple(after - before for before, after in pairwise([0, *cuts, BPS]))


def as_tuple(split: Split) -> tuple[int, ...]:
    return tuple(getattr(split, party) for party in reference.PARTIES)


@given(
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**12)), max_size=10),
)
def test_charges_of_a_license_over_its_epochs(price: int, cap: int, epochs: list[tuple[int, int]]) -> None:
    """Dues are carried over empty escrows and reached caps, and drawn when there is money again."""
    units = charged = deposited = 0
    charges, carried = [], []
    for new_units, deposit in epochs:
        units, deposited = units + new_units, deposited + deposit
        due = due_base_units(units, price, charged)
        charge = charge_base_units(due, deposited - charged, cap)
        charged += charge
        charges.append(charge)
        carried.append(due - charge)
    assert (charges, carried) == reference.run_epochs(price, cap, epochs)


@given(amounts, splits())
def test_shares_of_a_total(charged: int, bps: tuple[int, ...]) -> None:
    assert as_tuple(split_total(charged, SplitBps(*bps))) == reference.shares(charged, bps)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=8), splits())
def test_inv_10_a_split_does_not_depend_on_how_it_was_charged(
    charges: list[int], bps: tuple[int, ...]
) -> None:
    """Charged at once or in parts, every party has the same, none goes backwards, and up to 3 units rest."""
    terms = SplitBps(*bps)
    steps = [split_charge(*step, terms) for step in pairwise([0, *accumulate(charges)])]
    earned = tuple(map(sum, zip(*map(as_tuple, steps), strict=True)))
    assert earned == reference.shares(sum(charges), bps)
    assert all(min(as_tuple(step)) >= 0 for step in steps)
    assert 0 <= sum(charges) - sum(earned) == split_dust(sum(charges), terms) <= 3
