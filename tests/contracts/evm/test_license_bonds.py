"""LicenseBonds: who may take a bond, how a slash divides, and when the buyer has it back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.fees import make_deal, royalty_terms
from tests.contracts.evm.gateway import Gateway, bonded_license, fund_challenger, reveal
from tests.contracts.evm.reserves import Reserve
from tests.contracts.evm.winding_down import AMOUNTS, Ending
from tests.contracts.evm.world import MERGE_DELAY_SECONDS, World
from tests.contracts.wire import ZERO_ADDRESS, Account, account
from tests.reference.bonds import slash as slash_in_fractions

BOND = 1_000_000_003
DAY = 86_400
GOAL = account("goal")
FINDER = account("finder")
RETRIEVAL = 0
RE_ENTERED = keccak(b"ReentrancyGuardReentrantCall()")[:4]


@pytest.fixture
def license_id(world: World) -> int:
    """A license that runs for a day, with a bond."""
    return bonded_license(world, BOND, ends_at=world.evm.timestamp + DAY)


def cover(world: World, license_id: int) -> None:
    """Finalize reports until one covers the license's end and the merge delay."""
    needed = world.registry.license(license_id).endsAt + MERGE_DELAY_SECONDS
    while world.settlement.state().lastPeriodEnd < needed:
        world.settle()


def let_it_end(world: World, license_id: int) -> None:
    """All that a withdrawal waits for."""
    cover(world, license_id)
    world.until(world.license_bonds.releasableAt(license_id))


def withdraw(world: World, license_id: int, sender: Account | None = None) -> Any:
    return world.license_bonds.withdraw(license_id, GOAL, sender=sender or world.people.buyer)


def slash(world: World, license_id: int, amount: int, reporter: Any = FINDER) -> int:
    """Slash as the challenges would."""
    made = world.license_bonds.slash(license_id, amount, reporter, sender=world.challenges)
    return int(made.value)


# -- wiring -------------------------------------------------------------------------------------------------


def test_it_knows_its_neighbors(world: World) -> None:
    bonds = world.license_bonds
    for name in ("token", "registry", "settlement", "challenges", "duties"):
        assert getattr(bonds, name)() == getattr(world, name).address
    assert bonds.remediationFund() == world.people.remediation_fund.address
    assert bonds.maxMergeDelaySeconds() == MERGE_DELAY_SECONDS


NEIGHBORS = ("token", "registry", "settlement", "challenges", "duties", "remediationFund")


@pytest.mark.parametrize("name", NEIGHBORS)
def test_constructor_refuses_zero_addresses_and_another_token(world: World, name: str) -> None:
    arguments: dict[str, Any] = {
        each: getattr(world, each) if each != "remediationFund" else GOAL for each in NEIGHBORS
    }
    arguments[name] = ZERO_ADDRESS
    with pytest.raises(Reverted) as refused:
        world.evm.deploy("LicenseBonds", *arguments.values(), MERGE_DELAY_SECONDS, sender=FINDER)
    if name == "token":
        assert refused.value.name == "LicenseBonds_WrongToken"
        assert refused.value.arguments == (ZERO_ADDRESS, world.token.address)
    else:
        assert (refused.value.name, refused.value.arguments) == ("LicenseBonds_ZeroAddress", (name,))


# -- collecting ---------------------------------------------------------------------------------------------


def test_acceptance_collects_the_bond_or_there_is_no_license(world: World) -> None:
    buyer = world.people.buyer
    world.token.mint(buyer, BOND, sender=buyer)
    world.token.approve(world.license_bonds, BOND - 1, sender=buyer)
    with pytest.raises(Reverted):
        world.accept(usage_bond=BOND)
    assert world.registry.licenseCount() == 0
    world.token.approve(world.license_bonds, BOND, sender=buyer)
    license_id = world.accept(usage_bond=BOND)
    assert world.license_bonds.bond(license_id) == world.license_bonds.agreedBond(license_id) == BOND
    assert world.token.balanceOf(world.license_bonds) == BOND


def test_only_the_registry_collects(world: World, license_id: int) -> None:
    for sender in (world.people.buyer, world.people.council, world.people.admin, world.challenges):
        with pytest.raises(Reverted, match="LicenseBonds_OnlyRegistry"):
            world.license_bonds.collect(9, world.people.buyer, 1, sender=sender)


def test_a_bond_is_collected_once(world: World, license_id: int) -> None:
    with pytest.raises(Reverted) as refused:
        world.license_bonds.collect(license_id, world.people.buyer, 1, sender=world.registry)
    assert refused.value.name == "LicenseBonds_AlreadyCollected"
    assert refused.value.arguments == (license_id,)


def test_a_token_that_keeps_a_fee_bonds_nobody(evm: Evm) -> None:
    world = World(evm, "FeeToken", (100,))
    with pytest.raises(Reverted, match="LicenseBonds_WrongDelta"):
        bonded_license(world, BOND)


# -- slashing -----------------------------------------------------------------------------------------------


def test_only_challenges_and_duties_slash(world: World, license_id: int) -> None:
    people = world.people
    strangers = [people.council, people.guardian, people.admin, people.steward, people.buyer]
    for sender in (*strangers, world.registry, world.settlement, world.disputes, world.operator_bonds):
        with pytest.raises(Reverted, match="LicenseBonds_OnlySlashers"):
            world.license_bonds.slash(license_id, 1, FINDER, sender=sender)
    for sender in (world.challenges, world.duties):
        assert world.license_bonds.slash(license_id, 1, FINDER, sender=sender).value == 1


@given(
    bond=st.integers(1, 2**96 - 1),
    cuts=st.lists(st.tuples(st.integers(0, 2**96 - 1), st.booleans()), min_size=1, max_size=6),
)
def test_inv_27_parts_of_a_slash_sum_to_the_slash(bond: int, cuts: list[tuple[int, bool]]) -> None:
    """However often, with and without somebody to reward, until nothing is left and beyond."""
    world = World(Evm())
    license_id = bonded_license(world, bond)
    fund, held, rewards, taken = world.people.remediation_fund, bond, 0, 0
    for wanted, has_reporter in cuts:
        expected = slash_in_fractions(held, wanted, has_reporter)
        receipt = world.license_bonds.slash(
            license_id, wanted, FINDER if has_reporter else ZERO_ADDRESS, sender=world.challenges
        )
        (event,) = receipt.named("BondSlashed")
        assert receipt.value == event.slashed == expected.slashed == expected.reward + expected.fund
        assert event.reward == expected.reward
        held, rewards, taken = held - expected.slashed, rewards + expected.reward, taken + expected.slashed
        assert world.license_bonds.bond(license_id) == held
        assert world.license_bonds.credit(FINDER) == rewards
        assert world.license_bonds.credit(fund) == taken - rewards
        assert rewards * 10 <= taken
        assert held + world.license_bonds.credit(FINDER) + world.license_bonds.credit(fund) == bond
    assert world.license_bonds.credit(ZERO_ADDRESS) == 0
    assert world.license_bonds.agreedBond(license_id) == bond
    assert world.token.balanceOf(world.license_bonds) == bond


def test_nobody_is_rewarded_where_duties_name_nobody(world: World, license_id: int) -> None:
    assert slash(world, license_id, 1_000, ZERO_ADDRESS) == 1_000
    assert world.license_bonds.credit(world.people.remediation_fund) == 1_000


# -- credits ------------------------------------------------------------------------------------------------


def test_credits_are_pulled_once(world: World, license_id: int) -> None:
    slash(world, license_id, 1_000)
    bonds, fund = world.license_bonds, world.people.remediation_fund
    receipt = bonds.payCredit(fund, sender=world.people.stranger)
    expected = {"account": fund.address, "to": fund.address, "amount": 900}
    assert vars(receipt.named("CreditPaid")[0]) == expected
    bonds.withdrawCredit(GOAL, sender=FINDER)
    assert (world.token.balanceOf(fund), world.token.balanceOf(GOAL)) == (900, 100)
    for sender, call in ((FINDER, bonds.withdrawCredit), (world.people.stranger, bonds.payCredit)):
        with pytest.raises(Reverted, match="LicenseBonds_NoCredit"):
            call(FINDER, sender=sender)
    assert world.token.balanceOf(bonds) == BOND - 1_000 == bonds.bond(license_id)


def test_a_credit_goes_nowhere_but_where_its_owner_says(world: World, license_id: int) -> None:
    slash(world, license_id, 1_000)
    with pytest.raises(Reverted, match="LicenseBonds_ZeroRecipient"):
        world.license_bonds.withdrawCredit(ZERO_ADDRESS, sender=FINDER)
    with pytest.raises(Reverted, match="LicenseBonds_NoCredit"):
        world.license_bonds.withdrawCredit(GOAL, sender=world.people.stranger)


def test_a_reporter_whom_the_token_refuses_stops_nobody(world: World, license_id: int) -> None:
    world.token.setBlocked(FINDER, True, sender=FINDER)
    slash(world, license_id, 1_000)
    with pytest.raises(Reverted, match="TestUSDC_Blocked"):
        world.license_bonds.payCredit(FINDER, sender=world.people.stranger)
    world.license_bonds.payCredit(world.people.remediation_fund, sender=world.people.stranger)
    world.license_bonds.withdrawCredit(GOAL, sender=FINDER)
    assert world.token.balanceOf(GOAL) == 100


# -- withdrawing --------------------------------------------------------------------------------------------


def test_the_bond_outlives_the_challenge_horizon(world: World, license_id: int) -> None:
    ends_at = world.registry.license(license_id).endsAt
    challenges = world.challenges
    expected = (
        ends_at + MERGE_DELAY_SECONDS + challenges.evidenceHorizonSeconds() + challenges.answerSeconds()
    )
    assert world.license_bonds.releasableAt(license_id) == expected
    cover(world, license_id)
    world.until(expected - 1)
    with pytest.raises(Reverted) as early:
        withdraw(world, license_id)
    assert early.value.name == "LicenseBonds_TooEarly"
    assert early.value.arguments == (license_id, expected, expected - 1)
    world.evm.warp(1)
    receipt = withdraw(world, license_id)
    (event,) = receipt.named("BondWithdrawn")
    assert (event.licenseId, event.to, event.amount) == (license_id, GOAL.address, BOND)
    assert world.token.balanceOf(GOAL) == BOND
    assert world.license_bonds.bond(license_id) == 0
    with pytest.raises(Reverted, match="LicenseBonds_NothingLeft"):
        withdraw(world, license_id)


def test_only_the_buyer_withdraws_and_to_somebody(world: World, license_id: int) -> None:
    let_it_end(world, license_id)
    for sender in (world.people.steward, world.people.council, world.people.remediation_fund):
        with pytest.raises(Reverted, match="LicenseBonds_NotBuyer"):
            withdraw(world, license_id, sender)
    with pytest.raises(Reverted, match="LicenseBonds_ZeroRecipient"):
        world.license_bonds.withdraw(license_id, ZERO_ADDRESS, sender=world.people.buyer)
    with pytest.raises(Reverted, match="LicenseRegistry_UnknownLicense"):
        withdraw(world, 9)
    with pytest.raises(Reverted, match="LicenseRegistry_UnknownLicense"):
        world.license_bonds.releasableAt(9)


def test_a_license_without_a_bond_has_nothing_to_withdraw(world: World) -> None:
    license_id = world.accept(ends_at=world.evm.timestamp + DAY)
    let_it_end(world, license_id)
    with pytest.raises(Reverted, match="LicenseBonds_NothingLeft"):
        withdraw(world, license_id)


def test_inv_28_the_bond_waits_for_a_report_that_covers_the_end(world: World) -> None:
    """To the second: the last period needed ends just when merging must be over."""
    ends_at = world.genesis + 3 * DAY - MERGE_DELAY_SECONDS
    license_id = bonded_license(world, BOND, ends_at=ends_at)
    needed = world.registry.license(license_id).endsAt + MERGE_DELAY_SECONDS
    world.until(world.license_bonds.releasableAt(license_id))
    while (covered := world.settlement.state().lastPeriodEnd) < needed:
        with pytest.raises(Reverted) as refused:
            withdraw(world, license_id)
        assert refused.value.name == "LicenseBonds_NotCovered"
        assert refused.value.arguments == (license_id, covered, needed)
        world.settle()
    assert covered == needed
    withdraw(world, license_id)


def test_a_buyer_who_ends_the_license_waits_as_long(world: World) -> None:
    """Cooling off or giving notice moves the end, and all that follows it; it frees nothing at once."""
    license_id = bonded_license(world, BOND)
    world.registry.coolOff(license_id, sender=world.people.buyer)
    now = world.evm.timestamp
    cover(world, license_id)
    with pytest.raises(Reverted, match="LicenseBonds_TooEarly"):
        withdraw(world, license_id)
    assert world.license_bonds.releasableAt(license_id) > now + 97 * DAY
    world.until(world.license_bonds.releasableAt(license_id))
    withdraw(world, license_id)


def test_an_open_challenge_holds_the_bond(world: World) -> None:
    """The last challenge that can be opened is settled before the bond is free, or holds it."""
    license_id = bonded_license(world, BOND, ends_at=world.evm.timestamp + DAY)
    lane = Gateway(world, license_id, "gateway")
    for _ in range(3):
        lane.serve()
    fund_challenger(world, FINDER)
    cover(world, license_id)
    last = world.registry.license(license_id).endsAt + 90 * DAY
    world.until(last - 60)
    evidence = lane.signed(lane.receipts[1]), lane.signed(lane.checkpoint())
    number = reveal(world, FINDER, "openSwapped", *evidence).value
    assert world.evm.timestamp == last
    world.until(world.license_bonds.releasableAt(license_id))
    with pytest.raises(Reverted) as refused:
        withdraw(world, license_id)
    assert (refused.value.name, refused.value.arguments) == ("LicenseBonds_ChallengeOpen", (license_id, 1))
    with world.evm.undone():
        world.challenges.uphold(number, sender=FINDER)
        lost = BOND - world.license_bonds.bond(license_id)
        withdraw(world, license_id)
        assert world.token.balanceOf(GOAL) == BOND - lost < BOND
    world.challenges.answerByInclusion(number, lane.proof(1), sender=world.people.stranger)
    withdraw(world, license_id)
    assert world.token.balanceOf(GOAL) == BOND


def test_an_open_duty_holds_the_bond(world: World, license_id: int) -> None:
    secret = b"\1" * 32
    world.consent_log.forceRevoke(secret, sender=world.people.stranger)
    world.duties.openDuty(license_id, RETRIEVAL, keccak(secret), sender=world.people.steward)
    let_it_end(world, license_id)
    with pytest.raises(Reverted) as refused:
        withdraw(world, license_id)
    assert (refused.value.name, refused.value.arguments) == ("LicenseBonds_DutyOpen", (license_id, 1))
    world.duties.enforceDuty(license_id, RETRIEVAL, 1, sender=world.people.stranger)
    with pytest.raises(Reverted, match="LicenseBonds_NothingLeft"):
        withdraw(world, license_id)


def test_an_unpaid_royalty_holds_the_bond(world: World) -> None:
    buyer = world.people.buyer
    world.token.mint(buyer, BOND, sender=buyer)
    world.token.approve(world.license_bonds, BOND, sender=buyer)
    deal = make_deal(
        world, royalty=royalty_terms(world), usage_bond=BOND, ends_at=world.evm.timestamp + 40 * DAY
    )
    deal.open_royalty()
    let_it_end(world, deal.license_id)
    assert not world.fees.royaltySettled(deal.license_id)
    with pytest.raises(Reverted) as refused:
        withdraw(world, deal.license_id)
    assert (refused.value.name, refused.value.arguments) == ("LicenseBonds_RoyaltyOwed", (deal.license_id,))


def test_inv_43_a_bond_is_free_once_refunds_are_open() -> None:
    """No report will ever cover the end, and the license may run for years: only what is open holds it."""
    world = World(Evm())
    license_id = bonded_license(world, BOND, ends_at=world.evm.timestamp + 3_650 * DAY)
    lane = Gateway(world, license_id, "gateway")
    lane.serve()
    ending = Ending.of(Reserve(AMOUNTS), world)
    ending.vanish()
    with pytest.raises(Reverted, match="LicenseBonds_TooEarly"):
        withdraw(world, license_id)
    ending.open_refunds()
    assert world.wind_down.refundsOpen()
    fund_challenger(world, FINDER)
    evidence = lane.signed(lane.receipts[0]), lane.signed(lane.checkpoint())
    number = reveal(world, FINDER, "openSwapped", *evidence).value
    with pytest.raises(Reverted, match="LicenseBonds_ChallengeOpen"):
        withdraw(world, license_id)
    world.challenges.answerByInclusion(number, (), sender=world.people.stranger)
    withdraw(world, license_id)
    assert world.token.balanceOf(GOAL) == BOND


# -- tokens -------------------------------------------------------------------------------------------------


def test_inv_35_re_entry_takes_no_bond_twice() -> None:
    """The token itself is the buyer, and calls back in the middle of its own withdrawal."""
    world = World(Evm(), "CallbackToken")
    token, bonds, anyone = world.token, world.license_bonds, world.people.stranger
    token.mint(token, BOND, sender=anyone)
    token.act(token, token.calldata("approve", bonds, BOND), sender=anyone)
    license_id = world.accept(buyer=token, usage_bond=BOND, ends_at=world.evm.timestamp + DAY)
    neighbor = bonded_license(world, BOND)
    let_it_end(world, license_id)
    again = bonds.calldata("withdraw", license_id, token)
    token.arm(bonds, again, 9, sender=anyone)
    token.act(bonds, again, sender=anyone)
    assert token.callbacksSucceeded() == 0 < token.callbacksFailed()
    assert token.lastAnswer() == RE_ENTERED
    assert token.balanceOf(token) == BOND
    assert token.balanceOf(bonds) == bonds.bond(neighbor) == BOND


def test_inv_35_re_entry_takes_no_credit_twice() -> None:
    world = World(Evm(), "CallbackToken")
    token, bonds, anyone = world.token, world.license_bonds, world.people.stranger
    license_id = bonded_license(world, BOND)
    slash(world, license_id, 1_000, token)
    again = bonds.calldata("withdrawCredit", token)
    token.arm(bonds, again, 9, sender=anyone)
    token.act(bonds, again, sender=anyone)
    assert token.callbacksSucceeded() == 0 < token.callbacksFailed()
    assert token.lastAnswer() == RE_ENTERED
    assert token.balanceOf(token) == 100


def test_a_token_that_answers_false_loses_nothing(evm: Evm) -> None:
    world = World(evm, "FalseToken")
    license_id = bonded_license(world, BOND, ends_at=world.evm.timestamp + DAY)
    let_it_end(world, license_id)
    world.token.setRefused(GOAL, True, sender=GOAL)
    with pytest.raises(Reverted, match="SafeERC20FailedOperation"):
        withdraw(world, license_id)
    assert world.license_bonds.bond(license_id) == BOND


def test_ether_is_refused(world: World) -> None:
    world.evm.fund_ether(FINDER.address, 10)
    for function in world.license_bonds.functions.values():
        if not function.is_view:
            with pytest.raises(Reverted):
                world.evm.raw_call(
                    FINDER, world.license_bonds.address, function.selector + bytes(128), value=1
                )


def test_bonds_and_credits_never_exceed_the_balance(world: World) -> None:
    """Several licenses, slashed and paid out in between; what is left is whole."""
    licenses = [bonded_license(world, bond) for bond in (7, 1_001, BOND)]
    bonds, fund = world.license_bonds, world.people.remediation_fund
    for smaller, larger in pairwise(licenses):
        slash(world, smaller, 5)
        slash(world, larger, 700)
        owed = sum(bonds.bond(each) for each in licenses) + bonds.credit(FINDER) + bonds.credit(fund)
        assert owed == world.token.balanceOf(bonds)
        bonds.payCredit(fund, sender=FINDER)
