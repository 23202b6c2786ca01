"""Allocation against slow re-implementations, with and without the short cut of the threshold."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.allocation import allocate

from tests.reference import allocation as reference

pots = st.one_of(st.integers(0, 200), st.integers(0, 2**96 * 10**9))
weights = st.one_of(st.integers(0, 3), st.integers(0, 2**100))
rows = st.dictionaries(st.binary(min_size=1, max_size=32), weights, min_size=1, max_size=40)


@given(pots, rows.filter(lambda found: any(found.values())))
def test_parts_by_reference(pot: int, weight_of: dict[bytes, int]) -> None:
    references, weights = list(weight_of), list(weight_of.values())
    assert allocate(pot, weights, references) == reference.allocate(pot, weights, references)


@given(pots, rows.filter(lambda found: any(found.values())))
def test_parts_in_roster_order(pot: int, weight_of: dict[bytes, int]) -> None:
    references = sorted(weight_of, key=lambda purse: (sha256(purse).digest(), purse))
    weights = [weight_of[purse] for purse in references]
    assert allocate(pot, weights) == reference.allocate(pot, weights, references)
    assert allocate(pot, weights) == reference.allocate_in_order(pot, weights)


SHAPES = {
    "random": lambda draw, n: [draw.randrange(1, 10**9) for _ in range(n)],
    "few values": lambda draw, n: [draw.randrange(1, 5) for _ in range(n)],
    "equal": lambda draw, n: [7] * n,
    "falling": lambda draw, n: list(range(n, 0, -1)),
    "mostly zero": lambda draw, n: [draw.choice((0, 0, 0, 11)) for _ in range(n)],
    "sampled positions mislead": lambda draw, n: [10**6 if i % 4 == 0 else 1 + i % 3 for i in range(n)],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("leftover_share", [0.0, 0.01, 0.5, 0.99])
def test_many_purses_take_the_sampled_threshold(shape: str, leftover_share: float) -> None:
    """20,000 weights are sampled in strides; every kind of distribution must come out as the full sort."""
    draw = random.Random(shape)
    weights = SHAPES[shape](draw, 20_000)
    pot = sum(weights) * 3 + int(len(weights) * leftover_share) + 1
    assert allocate(pot, weights) == reference.allocate_in_order(pot, weights)


@pytest.mark.parametrize(("sampled", "others", "pot"), [(1, 1_000, 2_000), (1_000, 900, 8_000)])
def test_a_sample_that_misleads_changes_nothing(sampled: int, others: int, pot: int) -> None:
    """Every fourth purse is in the sample; if those are far lighter or heavier, the bracket misses.

    Each part is 0 or 1 here, so the remainders are the weights times the pot.
    """
    weights = [sampled + i % 500 if i % 4 == 0 else others + i % 499 for i in range(20_000)]
    parts = allocate(pot, weights)
    assert set(parts) == {0, 1}
    assert parts == reference.allocate_in_order(pot, weights)
