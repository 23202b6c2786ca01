"""Income besides usage is divided like charges, in a total of its own, and joins the contributors' pool.

A splitter stands alone here: its neighbors are people, so that each can say what only they may say.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.evm.chain import Contract, Evm, Reverted
from tests.contracts.evm.world import World
from tests.contracts.trees import RawTree, word
from tests.contracts.wire import ZERO_ADDRESS, Account, account
from tests.reference import money as reference

MAX_UINT96 = 2**96 - 1
BPS = 10_000
ESCROW, SETTLEMENT, FEES, WIND_DOWN = map(account, ("the escrow", "the settlement", "the fees", "the end"))
NEIGHBORS = (ESCROW, SETTLEMENT, FEES, WIND_DOWN)


@dataclass
class Lone:
    """A splitter with people for neighbors."""

    world: World
    splitter: Contract

    def charge(self, license_id: int, amount: int) -> None:
        self.world.token.mint(self.splitter, amount, sender=ESCROW)
        self.splitter.accrue([(license_id, amount, amount)], sender=ESCROW)

    def earn(self, license_id: int, amount: int) -> Any:
        self.world.token.mint(self.splitter, amount, sender=FEES)
        return self.splitter.accrueIncome(license_id, amount, sender=FEES)

    def credits(self, license_id: int) -> list[int]:
        return [self.splitter.shareCredit(license_id, party) for party in range(4)]

    def balance(self, who: Account | Contract) -> int:
        return int(self.world.token.balanceOf(who))


def lone_splitter(world: World, **changes: Any) -> Contract:
    people = world.people
    arguments = {
        "authority": world.manager,
        "token": world.token,
        "registry": world.registry,
        "escrow": ESCROW,
        "settlement": SETTLEMENT,
        "fees": FEES,
        "windDown": WIND_DOWN,
        "beneficiaries": (people.platform, people.operators, people.custodian),
    } | changes
    return world.evm.deploy("RoyaltySplitter", *arguments.values(), sender=people.stranger)


@pytest.fixture
def lone(world: World) -> Lone:
    return Lone(world, lone_splitter(world))


@pytest.fixture(scope="module")
def shared() -> Lone:
    """One for many examples, each of which undoes what it did."""
    world = World(Evm())
    return Lone(world, lone_splitter(world))


# -- who and what --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["authority", "registry", "escrow", "settlement", "fees", "windDown"])
def test_every_neighbor_is_named(world: World, part: str) -> None:
    with pytest.raises(Reverted, match="RoyaltySplitter_ZeroAddress"):
        lone_splitter(world, **{part: ZERO_ADDRESS})


@pytest.mark.parametrize("position", range(3))
def test_every_beneficiary_is_named(world: World, position: int) -> None:
    people = world.people
    parts: list[Any] = [people.platform, people.operators, people.custodian]
    parts[position] = ZERO_ADDRESS
    with pytest.raises(Reverted, match="RoyaltySplitter_ZeroAddress"):
        lone_splitter(world, beneficiaries=tuple(parts))


def test_another_token_than_the_registrys_is_refused(world: World) -> None:
    with pytest.raises(Reverted, match="RoyaltySplitter_WrongToken"):
        lone_splitter(world, token=world.registry)


def test_inv_31_each_word_is_one_neighbors(lone: Lone) -> None:
    license_id = lone.world.accept()
    words = {
        ESCROW: ("RoyaltySplitter_OnlyEscrow", "accrue", ([(license_id, 1, 1)],)),
        SETTLEMENT: ("RoyaltySplitter_OnlySettlement", "issue", (2, bytes(32), 0, 0)),
        FEES: ("RoyaltySplitter_OnlyFees", "accrueIncome", (license_id, 1)),
        WIND_DOWN: ("RoyaltySplitter_OnlyWindDown", "surrenderPool", ()),
    }
    for owner, (refusal, name, arguments) in words.items():
        for caller in (*NEIGHBORS, lone.world.people.council, lone.world.people.admin):
            if caller is not owner:
                with pytest.raises(Reverted, match=refusal):
                    getattr(lone.splitter, name)(*arguments, sender=caller)


def test_income_of_nothing_or_of_no_license_is_refused(lone: Lone) -> None:
    license_id = lone.world.accept()
    with pytest.raises(Reverted, match="RoyaltySplitter_ZeroAmount"):
        lone.splitter.accrueIncome(license_id, 0, sender=FEES)
    with pytest.raises(Reverted, match="LicenseRegistry_UnknownLicense"):
        lone.splitter.accrueIncome(license_id + 1, 5, sender=FEES)


def test_income_past_its_type_is_refused(lone: Lone) -> None:
    license_id = lone.world.accept()
    lone.earn(license_id, MAX_UINT96)
    with pytest.raises(Reverted, match="RoyaltySplitter_IncomeTooLarge"):
        lone.splitter.accrueIncome(license_id, 1, sender=FEES)


def test_inv_19_no_income_is_large_enough_to_stop_a_charge(lone: Lone) -> None:
    """The pool holds more than any single amount can be; what comes in later is added all the same."""
    licenses = [lone.world.accept() for _ in range(3)]
    for license_id in licenses:
        lone.earn(license_id, MAX_UINT96)
        lone.charge(license_id, MAX_UINT96)
    assert lone.splitter.pool() > MAX_UINT96
    assert lone.splitter.shareEarned(licenses[0], 0) == 2 * (MAX_UINT96 * 1_000 // BPS)


# -- the division --------------------------------------------------------------------------------------------


def test_income_is_divided_by_the_licenses_terms_and_announced(lone: Lone) -> None:
    license_id = lone.world.accept()
    (event,) = lone.earn(license_id, 1_001).named("IncomeAccrued")
    parts = (event.contributors, event.community, event.steward, event.platform, event.operators)
    assert (event.licenseId, parts) == (license_id, (701, 100, 100, 50, 50))
    assert (lone.splitter.pool(), lone.splitter.income(license_id)) == (701, 1_001)
    assert lone.splitter.charged(license_id) == 0
    assert lone.credits(license_id) == [100, 100, 50, 50]


def test_a_party_pulls_its_parts_of_charges_and_income_together(lone: Lone) -> None:
    license_id = lone.world.accept()
    people = lone.world.people
    lone.earn(license_id, 1_000)
    assert lone.splitter.payShare(license_id, 1, sender=people.stranger).value == 100
    lone.charge(license_id, 500)
    lone.earn(license_id, 1_000)
    assert lone.splitter.shareEarned(license_id, 1) == 250
    assert lone.splitter.payShare(license_id, 1, sender=people.stranger).value == 150
    assert lone.balance(people.steward) == 250
    with pytest.raises(Reverted, match="RoyaltySplitter_NothingToPay"):
        lone.splitter.payShare(license_id, 1, sender=people.stranger)


def test_charges_and_income_share_no_rounding(lone: Lone) -> None:
    """9 charged and 1 earned are two totals: a report's contributors' share follows from charges alone."""
    license_id = lone.world.accept()
    lone.charge(license_id, 9)
    pool = lone.splitter.pool()
    lone.earn(license_id, 1)
    assert pool == -(-9 * 7 // 10)
    assert lone.splitter.pool() == pool + 1
    assert lone.splitter.shareCredit(license_id, 0) == 0


def test_notes_are_issued_from_income_too(lone: Lone) -> None:
    license_id = lone.world.accept()
    lone.earn(license_id, 1_000)
    payee = account("a contributor")
    tree = RawTree([word(payee.address, 700)])
    with pytest.raises(Reverted, match="RoyaltySplitter_Unfunded"):
        lone.splitter.issue(2, tree.root, 701, 1, sender=SETTLEMENT)
    lone.splitter.issue(2, tree.root, 700, 1, sender=SETTLEMENT)
    lone.splitter.claim(2, 0, tree.words[0], b"", sender=payee)
    assert (lone.balance(payee), lone.splitter.pool()) == (700, 0)


shares = st.lists(st.integers(0, BPS), min_size=4, max_size=4).map(
    lambda cuts: tuple(after - before for before, after in pairwise([0, *sorted(cuts), BPS]))
)
moves = st.lists(st.tuples(st.booleans(), st.integers(1, 10**13) | st.integers(1, 40)), max_size=8)


@given(shares, moves)
def test_inv_01_income_and_charges_are_divided_as_the_reference_says(
    shared: Lone, bps: tuple[int, ...], history: list[tuple[bool, int]]
) -> None:
    world = shared.world
    with world.evm.undone():
        world.registry.setFloors(0, 0, sender=world.people.council)
        names = ("contributors_bps", "community_bps", "steward_bps", "platform_bps", "operators_bps")
        license_id = world.accept(**dict(zip(names, bps, strict=True)))
        charged = earned = 0
        for is_income, amount in history:
            (shared.earn if is_income else shared.charge)(license_id, amount)
            charged, earned = charged + amount * (not is_income), earned + amount * is_income
        parts = [
            sum(both) for both in zip(*(reference.shares(x, bps) for x in (charged, earned)), strict=True)
        ]
        assert [shared.splitter.pool(), *shared.credits(license_id)] == parts
        assert 0 <= shared.balance(shared.splitter) - sum(parts) <= 6


# -- what is left at the end ---------------------------------------------------------------------------------


def test_the_pool_is_surrendered_whole_and_again_when_more_comes_in(lone: Lone) -> None:
    license_id = lone.world.accept()
    lone.earn(license_id, 1_000)
    receipt = lone.splitter.surrenderPool(sender=WIND_DOWN)
    assert (receipt.value, receipt.named("PoolSurrendered")[0].amount) == (700, 700)
    assert (lone.balance(WIND_DOWN), lone.splitter.pool()) == (700, 0)
    lone.earn(license_id, 100)
    assert lone.splitter.surrenderPool(sender=WIND_DOWN).value == 70
    assert lone.credits(license_id) == [110, 110, 55, 55]


def test_a_refused_surrender_keeps_the_pool(lone: Lone) -> None:
    lone.earn(lone.world.accept(), 1_000)
    lone.world.token.setPaused(True, sender=FEES)
    with pytest.raises(Reverted, match="RoyaltySplitter_TransferFailed"):
        lone.splitter.surrenderPool(sender=WIND_DOWN)
    assert lone.splitter.pool() == 700


# -- rescue --------------------------------------------------------------------------------------------------


def test_inv_31_rescue_sends_other_tokens_to_the_custodian_and_never_this_one(lone: Lone) -> None:
    world, people = lone.world, lone.world.people
    lone.earn(world.accept(), 1_000)
    with pytest.raises(Reverted, match="RoyaltySplitter_NotForRescue"):
        lone.splitter.rescue(world.token, sender=people.custodian)
    other = world.evm.deploy("PlainToken", sender=people.stranger)
    other.mint(lone.splitter, 55, sender=people.stranger)
    receipt = lone.splitter.rescue(other, sender=people.stranger)
    assert (receipt.value, other.balanceOf(people.custodian)) == (55, 55)
    assert receipt.named("Rescued")[0].asset == other.address
    assert lone.balance(people.custodian) == 0


def test_inv_31_a_second_address_of_the_settlement_token_rescues_nothing_either() -> None:
    world = World(Evm(), "TwoFacedToken")
    lone, stranger = Lone(world, lone_splitter(world)), world.people.stranger
    lone.earn(world.accept(), 1_000)
    face = world.evm.deploy("SecondFace", world.token, sender=stranger)
    assert face.balanceOf(lone.splitter) == 1_000
    with pytest.raises(Reverted, match="RoyaltySplitter_NotForRescue"):
        lone.splitter.rescue(face, sender=stranger)
    assert lone.balance(lone.splitter) == 1_000


def test_what_is_no_token_is_not_rescued(lone: Lone) -> None:
    for nothing in (account("nobody"), lone.world.registry):
        with pytest.raises(Reverted):
            lone.splitter.rescue(nothing, sender=lone.world.people.stranger)
