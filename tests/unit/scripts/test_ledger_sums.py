"""The sums that a run is judged by: even books hold, and a single base unit out of place breaks one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from usufruct_chain.onchain import AccountState, TreeState
from usufruct_protocol.chain_state import LicenseState, MeterKind
from usufruct_protocol.money import ACCRUAL_SCALE, SplitBps, split_total

from scripts.ledger import Books, LicenseBooks, check_books

BPS = SplitBps(7_001, 999, 1_000, 500, 500)
CHARGED, UNITS, DEPOSITED, DUE = 1_009, 1_019, 1_500, 10
NOTES, PAID = 600, 450
BOND = 77
MONEY_IN = "money put in = escrow + splitter + bonds + wallets + shares paid + withdrawn"


@pytest.fixture
def books() -> Books:
    terms = LicenseState(
        license_id=1,
        meter_kind=MeterKind.TOKENS,
        price_per_million_units=1_000_000,
        max_charge_per_epoch=10**9,
        split_bps=BPS,
        collection_hash=bytes(32),
        roster_root=bytes(32),
        available=DEPOSITED - CHARGED,
        charged=CHARGED,
        cumulative_units=UNITS,
    )
    split = split_total(CHARGED, BPS)
    shares = (split.community, split.steward, split.platform, split.operators)
    taken = (split.community, 0, 1, 0)
    license_books = LicenseBooks(
        terms=terms,
        account=AccountState(DEPOSITED - CHARGED, 0, CHARGED, UNITS, DEPOSITED, 0),
        due=DUE,
        charged_in_splitter=CHARGED,
        accrued=split,
        credits=tuple(share - part for share, part in zip(shares, taken, strict=True)),
        taken=taken,
        bond=BOND,
    )
    return Books(
        block_number=1,
        licenses=(license_books,),
        trees={2: TreeState(bytes(32), NOTES, PAID, 3, 1)},
        pool=split.contributors - NOTES,
        escrow_balance=DEPOSITED - CHARGED,
        splitter_balance=CHARGED - sum(taken) - PAID,
        license_bonds_balance=BOND,
        operator_bonds_balance=4 * BOND,
        operator_bonds=(BOND,) * 4,
        wallets={b"\x01" * 20: PAID},
    )


def broken(books: Books, billionths: int | None = None, minted: int = DEPOSITED + 5 * BOND) -> list[str]:
    accrued = books.pool * ACCRUAL_SCALE if billionths is None else billionths
    return [entry.name for entry in check_books(books, accrued, minted) if not entry.holds]


def test_even_books_hold(books: Books) -> None:
    assert books.licenses[0].dust > 0, "the example has dust to lose"
    assert broken(books) == []


def test_inv_36_a_billionth_missing_from_the_accruals_shows(books: Books) -> None:
    assert broken(books, billionths=books.pool * ACCRUAL_SCALE - 1) == ["accruals of all purses = pool"]


def test_inv_01_a_base_unit_missing_from_the_splitter_shows(books: Books) -> None:
    found = broken(replace(books, splitter_balance=books.splitter_balance - 1))
    assert "splitter balance = unpaid notes + pool + unpaid shares + dust" in found


def test_a_note_paid_to_a_stranger_shows(books: Books) -> None:
    found = broken(replace(books, wallets={b"\x01" * 20: PAID - 1, b"\x02" * 20: 0}))
    assert "notes paid = wallet balances" in found


def test_inv_11_a_deposit_that_is_nowhere_shows(books: Books) -> None:
    account = replace(books.licenses[0].account, deposited=DEPOSITED + 1)
    found = broken(replace(books, licenses=(replace(books.licenses[0], account=account),)))
    assert found == ["license 1: deposited = available + reserved + charged + withdrawn"]


def test_inv_12_a_charge_beyond_units_times_price_shows(books: Books) -> None:
    found = broken(replace(books, licenses=(replace(books.licenses[0], due=DUE - 1),)))
    assert found == ["license 1: units × price = charged + due"]


def test_a_share_that_was_paid_twice_shows(books: Books) -> None:
    license_books = replace(books.licenses[0], taken=(*books.licenses[0].taken[:3], 9))
    found = broken(replace(books, licenses=(license_books,)))
    assert "license 1: share of operators = paid + unpaid" in found
    assert MONEY_IN in found


@pytest.mark.parametrize("place", ["license_bonds_balance", "operator_bonds_balance"])
def test_a_bond_that_is_not_all_there_shows(books: Books, place: str) -> None:
    found = broken(replace(books, **{place: getattr(books, place) - 1}))
    assert found == [f"bonds held = bonds of {place.split('_')[0]}s", MONEY_IN]
