"""CommunityFund: named beneficiaries, cumulative parts, and nobody's part at another's mercy.

Revert paths. Constructor: NoBeneficiaries, BadBeneficiary (account 0, the fund itself, 0 bps),
BeneficiaryTwice, PartsNotWhole. pay: UnknownBeneficiary, NothingToPay, a token's own refusal. owed,
beneficiary: UnknownBeneficiary. Ether: refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.evm.chain import Contract, Evm, Reverted
from tests.contracts.evm.world import World
from tests.contracts.wire import ZERO_ADDRESS, Account, account
from tests.reference.parts import earned, earned_with_a_last_one_who_takes_the_rest

STRANGER = account("stranger")
NAMES = [account(f"beneficiary {number}") for number in range(5)]


def named(bps: Sequence[int]) -> list[tuple[str, int, str]]:
    """Beneficiaries with these parts, in order."""
    return [(NAMES[number].address, part, f"Community {number}") for number, part in enumerate(bps)]


@pytest.fixture
def token(evm: Evm) -> Contract:
    return evm.deploy("TestUSDC", sender=STRANGER)


def fund_of(evm: Evm, bps: Sequence[int]) -> Contract:
    return evm.deploy("CommunityFund", named(bps), sender=STRANGER)


def give(token: Contract, to: Contract | Account, amount: int) -> None:
    token.mint(to, amount, sender=STRANGER)


@pytest.mark.parametrize(
    ("beneficiaries", "error"),
    [
        ([], "CommunityFund_NoBeneficiaries"),
        ([(ZERO_ADDRESS, 10_000, "nobody")], "CommunityFund_BadBeneficiary"),
        ([(NAMES[0].address, 10_000, "all"), (NAMES[1].address, 0, "none")], "CommunityFund_BadBeneficiary"),
        (
            [(NAMES[0].address, 5_000, "one"), (NAMES[0].address, 5_000, "again")],
            "CommunityFund_BeneficiaryTwice",
        ),
        (named([5_000, 4_999]), "CommunityFund_PartsNotWhole"),
        (named([5_000, 5_001]), "CommunityFund_PartsNotWhole"),
    ],
)
def test_what_a_fund_must_have(evm: Evm, beneficiaries: list[tuple[str, int, str]], error: str) -> None:
    with pytest.raises(Reverted, match=error):
        evm.deploy("CommunityFund", beneficiaries, sender=STRANGER)


def test_a_fund_is_no_beneficiary_of_itself(evm: Evm) -> None:
    itself = evm.next_address(STRANGER)
    with pytest.raises(Reverted, match="CommunityFund_BadBeneficiary"):
        evm.deploy("CommunityFund", [(itself, 10_000, "itself")], sender=STRANGER)


def test_a_fund_says_whom_it_pays(evm: Evm) -> None:
    fund = fund_of(evm, [6_000, 4_000])
    assert fund.beneficiaryCount() == 2
    assert tuple(fund.beneficiary(1)) == (NAMES[1].address, 4_000, "Community 1")
    for index in (2, 2**256 - 1):
        with pytest.raises(Reverted, match="CommunityFund_UnknownBeneficiary"):
            fund.beneficiary(index)


def test_anyone_may_have_a_part_paid(evm: Evm, token: Contract) -> None:
    fund = fund_of(evm, [6_000, 4_000])
    give(token, fund, 1_001)
    receipt = fund.pay(token, 0, sender=STRANGER)
    (event,) = receipt.named("BeneficiaryPaid")
    assert (receipt.value, event.account, event.amount) == (600, NAMES[0].address, 600)
    assert (token.balanceOf(NAMES[0]), token.balanceOf(fund)) == (600, 401)
    assert (fund.received(token), fund.paid(token, 0), fund.owed(token, 0)) == (1_001, 600, 0)
    for index, error in ((0, "CommunityFund_NothingToPay"), (2, "CommunityFund_UnknownBeneficiary")):
        with pytest.raises(Reverted, match=error):
            fund.pay(token, index, sender=STRANGER)
    with pytest.raises(Reverted, match="CommunityFund_UnknownBeneficiary"):
        fund.owed(token, 2)


def test_another_token_is_divided_by_itself(evm: Evm, token: Contract) -> None:
    fund = fund_of(evm, [6_000, 4_000])
    other = evm.deploy("PlainToken", sender=STRANGER)
    give(token, fund, 1_000)
    give(other, fund, 50)
    assert fund.pay(other, 1, sender=STRANGER).value == 20
    assert fund.pay(token, 1, sender=STRANGER).value == 400


def test_a_refused_beneficiary_waits_alone(evm: Evm, token: Contract) -> None:
    fund = fund_of(evm, [6_000, 4_000])
    give(token, fund, 1_000)
    token.setBlocked(NAMES[0], True, sender=STRANGER)
    with pytest.raises(Reverted):
        fund.pay(token, 0, sender=STRANGER)
    assert fund.pay(token, 1, sender=STRANGER).value == 400
    give(token, fund, 500)
    token.setBlocked(NAMES[0], False, sender=STRANGER)
    assert fund.pay(token, 0, sender=STRANGER).value == 900


def test_a_last_one_who_takes_the_rest_would_be_overpaid() -> None:
    """Why every part rounds down: the rest would shrink from 3 to 2 when the fourth unit comes."""
    weights = (3_333, 3_333, 3_334)
    assert earned_with_a_last_one_who_takes_the_rest(3, weights)[-1] == 3
    assert earned_with_a_last_one_who_takes_the_rest(4, weights)[-1] == 2
    for total in range(200):
        before, after = earned(total, weights), earned(total + 1, weights)
        assert all(late >= early for early, late in zip(before, after, strict=True))


PARTS = st.lists(st.integers(1, 9_999), min_size=0, max_size=4, unique=True).map(
    lambda cuts: [b - a for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 10_000], strict=True)]
)


@given(PARTS, st.lists(st.tuples(st.integers(0, 9), st.integers(1, 10_000)), max_size=30))
def test_parts_are_those_of_the_reference_whoever_is_paid_when(
    bps: list[int], steps: list[tuple[int, int]]
) -> None:
    evm = Evm()
    token = evm.deploy("TestUSDC", sender=STRANGER)
    fund = fund_of(evm, bps)
    total = 0
    for index, amount in steps:
        if index >= len(bps):
            give(token, fund, amount)
            total += amount
        elif fund.owed(token, index):
            fund.pay(token, index, sender=STRANGER)
            assert token.balanceOf(NAMES[index]) == earned(total, bps)[index]
    due = earned(total, bps)
    for index, part in enumerate(due):
        if fund.owed(token, index):
            fund.pay(token, index, sender=STRANGER)
        assert token.balanceOf(NAMES[index]) == fund.paid(token, index) == part
    assert token.balanceOf(fund) == total - sum(due) < len(bps)


def test_inv_35_a_token_that_calls_back_takes_nothing_twice(evm: Evm) -> None:
    """A payment is written down before the balance falls: a token that calls in between sees too much."""
    fund = fund_of(evm, [5_000, 5_000])
    token = evm.deploy("CallbackToken", sender=STRANGER)
    give(token, fund, 100)
    token.arm(fund, fund.calldata("pay", token, 1), 1, sender=STRANGER)
    fund.pay(token, 0, sender=STRANGER)
    assert (token.balanceOf(NAMES[0]), token.balanceOf(NAMES[1])) == (50, 0)
    assert fund.pay(token, 1, sender=STRANGER).value == 50


def test_a_license_s_community_share_reaches_the_named(world: World) -> None:
    """From a charge to the foundations, by the hands of strangers only."""
    fund = fund_of(world.evm, [7_000, 3_000])
    world.registry.setCommunity(fund, sender=world.people.council)
    license_id = world.accept()
    world.deposit(license_id, 10_000)
    world.settle([(license_id, 10_000, 10_000)])
    world.splitter.payShare(license_id, 0, sender=STRANGER)
    assert fund.received(world.token) == 1_000
    assert [fund.pay(world.token, index, sender=STRANGER).value for index in range(2)] == [700, 300]


def test_ether_is_refused(evm: Evm, token: Contract) -> None:
    fund = fund_of(evm, [10_000])
    give(token, fund, 100)
    evm.fund_ether(STRANGER.address, 10)
    for call in (b"", fund.calldata("pay", token, 0)):
        with pytest.raises(Reverted):
            evm.raw_call(STRANGER, fund.address, call, value=1)
    assert evm.ether(fund.address) == 0
