"""Allocation is exact, fair to a billionth, and does not depend on order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.allocation import allocate, floor_parts
from usufruct_protocol.errors import InputRejected

pots = st.one_of(st.integers(0, 100), st.integers(0, 2**96 * 10**9))
weight_lists = st.lists(st.one_of(st.integers(0, 4), st.integers(0, 2**128)), min_size=1, max_size=60).filter(
    any
)


@given(pots, weight_lists)
def test_inv_36_parts_sum_to_the_pot_and_miss_their_share_by_less_than_one(
    pot: int, weights: list[int]
) -> None:
    parts = allocate(pot, weights)
    total = sum(weights)
    assert sum(parts) == pot
    assert all(abs(part * total - pot * weight) < total for part, weight in zip(parts, weights, strict=True))


@given(pots, weight_lists)
def test_a_zero_weight_gets_nothing(pot: int, weights: list[int]) -> None:
    assert all(not part for part, weight in zip(allocate(pot, weights), weights, strict=True) if not weight)


@given(pots, weight_lists)
def test_more_weight_never_gets_less(pot: int, weights: list[int]) -> None:
    ranked = sorted(zip(weights, allocate(pot, weights), strict=True))
    by_weight = [part for _, part in ranked]
    assert by_weight == sorted(by_weight)


@given(pots, weight_lists, st.randoms(use_true_random=False))
def test_inv_37_order_of_purses_changes_no_part(pot: int, weights: list[int], shuffle: random.Random) -> None:
    purses = [position.to_bytes(32, "big") for position in range(len(weights))]
    rows = list(zip(purses, weights, strict=True))
    shuffled = shuffle.sample(rows, len(rows))
    one = dict(zip(purses, allocate(pot, weights, purses), strict=True))
    other = allocate(pot, [weight for _, weight in shuffled], [purse for purse, _ in shuffled])
    assert dict(zip([purse for purse, _ in shuffled], other, strict=True)) == one


def test_leftovers_go_to_the_largest_remainders_then_to_the_earliest() -> None:
    assert allocate(10, [1, 1, 1]) == [4, 3, 3]
    assert allocate(11, [1, 1, 1]) == [4, 4, 3]
    assert allocate(3, [5, 3, 1]) == [2, 1, 0]  # exact: 1 2/3, 1, 1/3
    assert allocate(1, [1, 1, 2]) == [0, 0, 1]
    assert allocate(0, [1, 2]) == [0, 0]


def test_ties_by_reference_are_broken_by_sha256() -> None:
    # sha256(b"a") = ca97…, sha256(b"b") = 3e23…, sha256(b"c") = 2e7d…
    assert allocate(1, [1, 1, 1], [b"a", b"b", b"c"]) == [0, 0, 1]
    assert allocate(2, [1, 1, 1], [b"a", b"b", b"c"]) == [0, 1, 1]


@given(pots, weight_lists)
def test_floor_parts_leave_less_than_one_per_weight(pot: int, weights: list[int]) -> None:
    parts, total = floor_parts(pot, weights), sum(weights)
    assert all(
        part * total <= pot * weight < (part + 1) * total for part, weight in zip(parts, weights, strict=True)
    )
    assert 0 <= pot - sum(parts) < len(weights)


@pytest.mark.parametrize("function", [allocate, floor_parts])
@pytest.mark.parametrize(
    ("pot", "weights"),
    [(1, []), (1, [0, 0]), (0, [0]), (-1, [1]), (1, [2, -1]), (1.0, [1]), (1, [1, 1.0]), (1, [1, 0.5])],
)
def test_what_cannot_be_divided_is_refused(function, pot, weights) -> None:
    with pytest.raises(InputRejected):
        function(pot, weights)


@pytest.mark.parametrize("references", [[b"a"], [b"a", b"a"], [b"a", b"b", b"c"]])
def test_references_must_name_each_weight_once(references: list[bytes]) -> None:
    with pytest.raises(InputRejected, match="reference"):
        allocate(10, [1, 2], references)
