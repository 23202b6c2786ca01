"""Upfront fees, and how LicenseFees moves money: whole, once, and to whom it is settled to belong.

Milestones and royalties have files of their own.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.fees import (
    COOLING_OFF,
    EVIDENCE,
    GOAL,
    Deal,
    approve,
    make_deal,
    milestone_terms,
    raw,
    royalty_terms,
)
from tests.contracts.evm.world import World
from tests.contracts.wire import ZERO_ADDRESS, Account, keccak

FEE = 10_003
HELD, RELEASED, REFUNDED = 1, 2, 3
UNKNOWN = 99


@pytest.fixture
def deal(world: World) -> Deal:
    return make_deal(world, upfront=FEE)


def release(deal: Deal) -> None:
    deal.world.fees.releaseUpfront(deal.license_id, sender=deal.world.people.stranger)


def refund(deal: Deal, to: Account | str = GOAL, by: Account | None = None) -> None:
    deal.world.fees.refundUpfront(deal.license_id, to, sender=by or deal.buyer)


def as_registry(world: World) -> Account:
    return Account("registry", b"", world.registry.address)


# -- the life of an upfront fee ------------------------------------------------------------------------------


def test_a_fee_is_collected_at_acceptance_and_held(deal: Deal) -> None:
    assert deal.world.fees.upfront(deal.license_id) == (FEE, HELD)
    assert deal.world.fees.held() == (FEE, 0)
    assert deal.world.token.balanceOf(deal.world.fees) == FEE


def test_no_license_exists_whose_fee_was_not_paid(world: World) -> None:
    offer = world.offer(upfront_fee=FEE)
    approve(world, world.people.buyer, FEE - 1)
    with pytest.raises(Reverted, match="ERC20InsufficientAllowance"):
        world.registry.accept(offer, world.sign_offer(offer), sender=world.people.buyer)
    assert world.registry.licenseCount() == 0
    assert world.token.balanceOf(world.people.buyer) == FEE - 1


def test_a_fee_becomes_income_once_the_buyer_cannot_cool_off(deal: Deal) -> None:
    world = deal.world
    deal.after_cooling_off()
    release(deal)
    assert world.splitter.income(deal.license_id) == FEE
    assert world.token.balanceOf(world.splitter) == FEE
    assert world.splitter.pool() == -(-FEE * 7_000 // 10_000)
    assert [world.splitter.shareCredit(deal.license_id, party) for party in range(4)] == [
        1_000,
        1_000,
        500,
        500,
    ]
    assert world.fees.upfront(deal.license_id) == (FEE, RELEASED)
    assert world.fees.held() == (0, 0)


def test_a_buyer_who_cooled_off_takes_the_fee_back(deal: Deal) -> None:
    deal.cool_off()
    refund(deal)
    assert deal.world.token.balanceOf(GOAL) == FEE
    assert deal.world.fees.upfront(deal.license_id) == (FEE, REFUNDED)
    assert deal.world.fees.held() == (0, 0)


def test_no_second_is_both_for_release_and_for_cooling_off(deal: Deal) -> None:
    """In the last second of the cooling-off time the buyer can leave and the fee cannot; then the reverse."""
    world = deal.world
    world.evm.at(deal.ends_cooling_off - 1)
    with pytest.raises(Reverted, match="LicenseFees_CoolingOff"):
        release(deal)
    with world.evm.undone():
        deal.cool_off()
    world.evm.at(deal.ends_cooling_off)
    with pytest.raises(Reverted, match="LicenseRegistry_CoolingOffOver"):
        deal.cool_off()
    release(deal)


def test_a_fee_of_a_license_without_cooling_off_is_released_at_once(world: World) -> None:
    deal = make_deal(world, upfront=FEE, cooling_off_seconds=0)
    release(deal)
    assert world.splitter.income(deal.license_id) == FEE


def test_a_stewards_notice_does_not_take_the_refund_away(world: World) -> None:
    """Ended by the steward in the cooling-off time, with no notice agreed: the buyer still leaves whole."""
    deal = make_deal(world, upfront=FEE, notice_seconds=0)
    world.registry.giveNotice(deal.license_id, sender=world.people.steward)
    world.evm.warp(1)
    deal.cool_off()
    refund(deal)
    assert world.token.balanceOf(GOAL) == FEE


def test_a_fee_leaves_once(deal: Deal) -> None:
    with deal.world.evm.undone():
        deal.after_cooling_off()
        release(deal)
        with pytest.raises(Reverted, match=f"LicenseFees_NotHeld.*{RELEASED}"):
            release(deal)
    deal.cool_off()
    refund(deal)
    with pytest.raises(Reverted, match=f"LicenseFees_NotHeld.*{REFUNDED}"):
        refund(deal)
    deal.after_cooling_off()
    with pytest.raises(Reverted, match="LicenseFees_CooledOff"):
        release(deal)


def test_one_licenses_fee_never_pays_anothers_refund(world: World) -> None:
    left, kept = make_deal(world, upfront=FEE), make_deal(world, upfront=1)
    kept.cool_off()
    refund(kept)
    assert world.token.balanceOf(GOAL) == 1
    with pytest.raises(Reverted, match="LicenseFees_NotHeld"):
        refund(kept)
    assert world.fees.upfront(left.license_id) == (FEE, HELD)


# -- refused -------------------------------------------------------------------------------------------------


def test_only_the_buyer_takes_a_refund(deal: Deal) -> None:
    deal.cool_off()
    people = deal.world.people
    for thief in (people.stranger, people.steward, people.admin, people.council):
        with pytest.raises(Reverted, match="LicenseFees_NotBuyer"):
            refund(deal, by=thief, to=thief)
    with pytest.raises(Reverted, match="LicenseFees_ZeroAddress"):
        refund(deal, to=ZERO_ADDRESS)


def test_a_fee_is_not_refunded_to_a_buyer_who_stays(deal: Deal) -> None:
    with pytest.raises(Reverted, match="LicenseFees_NotCooledOff"):
        refund(deal)


def test_nothing_is_there_where_nothing_was_collected(world: World) -> None:
    deal = make_deal(world, cooling_off_seconds=1)
    with world.evm.undone():
        deal.cool_off()
        with pytest.raises(Reverted, match="LicenseFees_NotHeld"):
            refund(deal)
    deal.after_cooling_off()
    with pytest.raises(Reverted, match="LicenseFees_NotHeld"):
        release(deal)
    for call in (
        lambda: world.fees.releaseUpfront(UNKNOWN, sender=world.people.stranger),
        lambda: world.fees.refundUpfront(UNKNOWN, GOAL, sender=world.people.buyer),
    ):
        with pytest.raises(Reverted, match="LicenseRegistry_UnknownLicense"):
            call()


def test_only_the_registry_collects(world: World) -> None:
    """Whoever approved the fees for a royalty must not be made to pay anybody's upfront fee."""
    deal = make_deal(world)
    approve(world, world.people.buyer, FEE)
    people = world.people
    for caller in (people.stranger, people.steward, people.buyer, people.admin, people.council):
        with pytest.raises(Reverted, match="LicenseFees_OnlyRegistry"):
            world.fees.collectUpfront(deal.license_id, people.buyer, FEE, sender=caller)


def test_the_registry_collects_once_and_something(deal: Deal) -> None:
    world = deal.world
    approve(world, world.people.buyer, FEE)
    with pytest.raises(Reverted, match="LicenseFees_NotHeld"):
        world.fees.collectUpfront(deal.license_id, world.people.buyer, FEE, sender=as_registry(world))
    with pytest.raises(Reverted, match="LicenseFees_ZeroAmount"):
        world.fees.collectUpfront(UNKNOWN, world.people.buyer, 0, sender=as_registry(world))


@pytest.mark.parametrize(
    ("position", "error"),
    [
        (0, "LicenseFees_WrongToken"),
        (1, "LicenseFees_ZeroAddress"),
        (2, "LicenseFees_ZeroAddress"),
        (3, "LicenseFees_ZeroAddress"),
    ],
)
def test_a_neighbor_that_is_nobody_is_refused(world: World, position: int, error: str) -> None:
    arguments: list[Any] = [world.token, world.registry, world.splitter, world.council_register]
    arguments[position] = ZERO_ADDRESS
    with pytest.raises(Reverted, match=error):
        world.evm.deploy("LicenseFees", *arguments, sender=world.people.stranger)


def test_neighbors_are_the_deployments(world: World) -> None:
    fees = world.fees
    assert (fees.token(), fees.registry()) == (world.token.address, world.registry.address)
    assert (fees.splitter(), fees.councilRegister()) == (
        world.splitter.address,
        world.council_register.address,
    )


def test_ether_is_refused(world: World) -> None:
    sender = world.people.stranger
    world.evm.fund_ether(sender.address, 10**18)
    for contract in (world.fees, world.duties, world.credits):
        with pytest.raises(Reverted):
            world.evm.raw_call(sender, contract.address, b"", value=1)
        assert "payable" not in {function.mutability for function in contract.functions.values()}


# -- tokens that misbehave -----------------------------------------------------------------------------------


def test_a_blocked_buyer_sends_the_refund_elsewhere(deal: Deal) -> None:
    deal.cool_off()
    deal.world.token.setBlocked(deal.buyer, True, sender=deal.world.people.stranger)
    with pytest.raises(Reverted, match="TestUSDC_Blocked"):
        refund(deal, to=deal.buyer)
    assert deal.world.fees.upfront(deal.license_id) == (FEE, HELD)
    refund(deal, to=GOAL)
    assert deal.world.token.balanceOf(GOAL) == FEE


def test_a_pause_delays_and_loses_nothing(deal: Deal) -> None:
    world = deal.world
    deal.after_cooling_off()
    world.token.setPaused(True, sender=world.people.stranger)
    with pytest.raises(Reverted, match="TestUSDC_Paused"):
        release(deal)
    world.token.setPaused(False, sender=world.people.stranger)
    release(deal)
    assert world.splitter.income(deal.license_id) == FEE


@pytest.mark.parametrize("fee_bps", [1, 10_000])
def test_a_fee_on_transfer_is_refused_at_acceptance(fee_bps: int) -> None:
    world = World(Evm(), "FeeToken", (fee_bps,))
    with pytest.raises(Reverted, match="LicenseFees_WrongDelta"):
        make_deal(world, upfront=FEE)


def test_a_fee_on_transfer_that_begins_later_releases_nothing_short() -> None:
    world = World(Evm(), "FeeToken", (0,))
    deal = make_deal(world, upfront=FEE)
    deal.after_cooling_off()
    world.token.setFeeBps(100, sender=world.people.stranger)
    with pytest.raises(Reverted, match="LicenseFees_WrongDelta"):
        release(deal)
    assert world.splitter.income(deal.license_id) == 0
    world.token.setFeeBps(0, sender=world.people.stranger)
    release(deal)
    assert world.splitter.income(deal.license_id) == FEE


def test_a_token_that_moves_nothing_collects_nothing() -> None:
    """It says no by returning false, and a caller that does not look would book the money."""
    world = World(Evm(), "FalseToken")
    world.token.setRefused(world.people.buyer, True, sender=world.people.stranger)
    with pytest.raises(Reverted, match="SafeERC20FailedOperation"):
        make_deal(world, upfront=FEE)


def test_a_token_without_return_values_works() -> None:
    world = World(Evm(), "NoReturnToken")
    deal = make_deal(world, upfront=FEE)
    deal.after_cooling_off()
    release(deal)
    assert world.splitter.income(deal.license_id) == FEE


MONEY_FUNCTIONS = (
    "releaseUpfront",
    "refundUpfront",
    "fundMilestone",
    "releaseMilestone",
    "refundMilestone",
    "payRoyalty",
)


@pytest.mark.parametrize("function", MONEY_FUNCTIONS)
@pytest.mark.parametrize("moment", ["releaseUpfront", "fundMilestone", "payRoyalty"])
def test_inv_35_re_entry_into_the_fees_is_refused(function: str, moment: str) -> None:
    """Every way to move money, tried in the middle of each kind of movement: out, in, and through."""
    world = World(Evm(), "CallbackToken")
    deal = make_deal(world, upfront=FEE, milestones=milestone_terms(world), royalty=royalty_terms(world))
    deal.open_milestones()
    deal.open_royalty()
    deal.fund(0)
    deal.after_period(0)
    deal.state(0, 10_000)
    approve(world, deal.buyer, 10_000)
    arguments: dict[str, tuple[Any, ...]] = {
        "releaseUpfront": (deal.license_id,),
        "refundUpfront": (deal.license_id, GOAL),
        "fundMilestone": (deal.license_id, 1, deal.milestones),
        "releaseMilestone": (deal.license_id, 0, EVIDENCE, deal.milestones, deal.attested(0, (0, 1))),
        "refundMilestone": (deal.license_id, 0, GOAL),
        "payRoyalty": (deal.license_id, 0, 100),
    }
    world.token.arm(world.fees, world.fees.calldata(function, *arguments[function]), 9, sender=deal.buyer)
    getattr(world.fees, moment)(*arguments[moment], sender=deal.buyer)
    assert world.token.callbacksSucceeded() == 0
    assert world.token.lastAnswer() == keccak(b"ReentrancyGuardReentrantCall()")[:4]
    assert world.token.balanceOf(world.fees) == sum(world.fees.held())
    assert world.token.balanceOf(world.splitter) == world.splitter.income(deal.license_id)


def test_inv_35_re_entry_at_acceptance_collects_once() -> None:
    """The registry itself is entered again, for a second license, while the first one's fee is on its way."""
    world = World(Evm(), "CallbackToken")
    world.token.mint(world.token, 2 * FEE, sender=world.people.stranger)
    approval = world.token.calldata("approve", world.fees, 2 * FEE)
    world.token.act(world.token, approval, sender=world.people.stranger)
    first, second = (world.offer(buyer=raw(world.token), upfront_fee=FEE) for _ in range(2))
    again = world.registry.calldata("accept", second, world.sign_offer(second))
    world.token.arm(world.registry, again, 1, sender=world.people.stranger)
    call = world.registry.calldata("accept", first, world.sign_offer(first))
    world.token.act(world.registry, call, sender=world.people.stranger)
    assert (world.token.callbacksSucceeded(), world.token.callbacksFailed()) == (0, 1)
    assert world.registry.licenseCount() == 1
    assert world.fees.held() == (FEE, 0)
    assert world.token.balanceOf(world.fees) == FEE


@pytest.mark.parametrize("length", [1, COOLING_OFF, 2**32 - 1])
def test_cooling_off_of_any_length_holds_the_fee_that_long(world: World, length: int) -> None:
    deal = make_deal(world, upfront=FEE, cooling_off_seconds=length)
    world.evm.at(deal.ends_cooling_off - 1)
    with pytest.raises(Reverted, match="LicenseFees_CoolingOff"):
        release(deal)
    world.evm.at(deal.ends_cooling_off)
    release(deal)


def test_inv_31_nobody_by_role_can_take_a_fee(deal: Deal) -> None:
    """No function of the fees asks for a role: council, guardian and admin are strangers here."""
    people = deal.world.people
    for insider in (people.admin, people.council, people.guardian, people.steward):
        with pytest.raises(Reverted):
            refund(deal, by=insider, to=insider)
        with pytest.raises(Reverted):
            deal.world.fees.releaseUpfront(deal.license_id, sender=insider)
        assert deal.world.token.balanceOf(insider) == 0
