"""Periods, proposers, quorums."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.periods import (
    attempt_at,
    epoch_of_ms,
    fault_bound,
    period_end_s,
    proposer_index,
    quorum,
)


@given(st.integers(4, 255))
def test_inv_23_two_quorums_share_an_honest_signer_and_honest_signers_suffice(n: int) -> None:
    f, k = fault_bound(n), quorum(n)
    assert n > 3 * f
    assert 2 * k - n > f
    assert k <= n - f


@pytest.mark.parametrize(("n", "f", "k"), [(4, 1, 3), (5, 1, 4), (7, 2, 5), (10, 3, 7), (13, 4, 9)])
def test_known_quorums(n: int, f: int, k: int) -> None:
    assert (fault_bound(n), quorum(n)) == (f, k)


def test_fewer_than_four_signers_are_refused() -> None:
    with pytest.raises(InputRejected, match="at least 4"):
        quorum(3)


@given(st.integers(0, 2**40), st.integers(1, 10**6), st.integers(0, 10**12))
def test_a_time_lies_in_the_epoch_that_names_it(genesis: int, seconds: int, offset: int) -> None:
    epoch = epoch_of_ms(genesis, seconds, genesis * 1000 + offset)
    assert period_end_s(genesis, seconds, epoch - 1) * 1000 <= genesis * 1000 + offset
    assert genesis * 1000 + offset < period_end_s(genesis, seconds, epoch) * 1000


def test_a_time_before_genesis_has_no_epoch() -> None:
    with pytest.raises(InputRejected, match="before the first period"):
        epoch_of_ms(10, 5, 9_999)


@given(st.integers(1, 10**6), st.integers(0, 100), st.integers(4, 50))
def test_attempts_give_every_signer_a_turn(epoch: int, attempt: int, n: int) -> None:
    assert {proposer_index(epoch, attempt + i, n) for i in range(n)} == set(range(n))


def test_attempts_move_with_chain_time_only() -> None:
    assert [attempt_at(now, 100, 10, 3) for now in (90, 100, 109, 110, 135)] == [3, 3, 3, 4, 6]
    with pytest.raises(InputRejected, match="attempt_seconds"):
        attempt_at(1, 1, 0, 0)
