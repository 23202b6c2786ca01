"""The file of allocated income: one encoding, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.chain_state import LicenseState, MeterKind
from usufruct_protocol.errors import InputRejected, InvariantBroken
from usufruct_protocol.income import pack_income, unallocated_income, unpack_income
from usufruct_protocol.money import SplitBps

BIG = 2**96 - 1


def row(license_id: int, amount: int) -> bytes:
    return license_id.to_bytes(4, "big") + amount.to_bytes(12, "big")


def file(*rows: bytes) -> bytes:
    return b"UFI1" + len(rows).to_bytes(4, "big") + b"".join(rows)


@given(st.dictionaries(st.integers(0, 2**32 - 1), st.integers(0, BIG), max_size=6))
def test_the_file_reads_back_without_zeros(allocated: dict[int, int]) -> None:
    kept = {license_id: amount for license_id, amount in allocated.items() if amount}
    assert unpack_income(pack_income(allocated)) == kept
    assert pack_income(dict(reversed(allocated.items()))) == pack_income(allocated)
    assert pack_income(allocated) == file(*(row(license_id, kept[license_id]) for license_id in sorted(kept)))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (file(row(2, 1), row(1, 1)), "license 1 is out of order"),
        (file(row(1, 1), row(1, 1)), "license 1 is out of order, repeated"),
        (file(row(1, 0)), "or zero"),
        (file(row(1, 1)) + b"\0", "1 bytes too many"),
        (file(row(1, 1))[:-1], "needs 12 bytes"),
        (b"UFU1" + bytes(4), "expected format"),
    ],
)
def test_other_bytes_are_refused(data: bytes, says: str) -> None:
    with pytest.raises(InputRejected, match=says):
        unpack_income(data)


def test_an_amount_beyond_uint96_is_refused() -> None:
    with pytest.raises(InputRejected, match="income must be in"):
        pack_income({1: BIG + 1})


def license_with(income: int) -> LicenseState:
    split = SplitBps(3_333, 1_667, 2_000, 2_000, 1_000)
    return LicenseState(4, MeterKind.TOKENS, 1, 1, split, bytes(32), bytes(32), 0, 0, 0, income)


def test_the_contributors_part_is_rounded_up_on_the_total() -> None:
    assert unallocated_income([license_with(10)], {}) == {4: 4}
    assert unallocated_income([license_with(11)], {4: 4}) == {}
    assert unallocated_income([license_with(13)], {4: 4}) == {4: 1}


def test_income_of_a_license_that_does_not_exist_breaks_an_invariant() -> None:
    with pytest.raises(InvariantBroken, match="license 9: 1 base units of income were allocated, 0 arrived"):
        unallocated_income([license_with(10)], {4: 4, 9: 1})
