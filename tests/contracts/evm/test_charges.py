"""Deposits, reservations, charges and withdrawals: a buyer's account always adds up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.world import EPOCH_SECONDS, FOREVER, MERGE_DELAY_SECONDS, World
from tests.contracts.wire import ZERO_ADDRESS, account, authorization_nonce

MAX_UINT96 = 2**96 - 1
SALT = b"\7" * 32


def funded(world: World, amount: int = 1_000, **terms: Any) -> int:
    """A license at 1 base unit per unit (unless told otherwise) with money in its account."""
    license_id = world.accept(**terms)
    if amount:
        world.deposit(license_id, amount)
    return license_id


def adds_up(world: World, license_id: int) -> bool:
    acct = world.escrow.account(license_id)
    return bool(acct.deposited == acct.available + acct.reserved + acct.charged + acct.withdrawn)


# -- money in ------------------------------------------------------------------------------------------------


def authorize(world: World, license_id: int, amount: int, salt: bytes = SALT) -> tuple[int, bytes, bytes]:
    world.token.mint(world.people.buyer, amount, sender=world.people.stranger)
    return world.authorization(license_id, world.people.buyer, amount, salt)


def test_an_authorization_funds_the_license_it_was_signed_for(world: World) -> None:
    license_id = world.accept()
    vrs = authorize(world, license_id, 500)
    stranger = world.people.stranger
    world.escrow.depositWithAuthorization(
        license_id, world.people.buyer, 500, 0, FOREVER, SALT, *vrs, sender=stranger
    )
    assert world.escrow.account(license_id).available == 500


def test_inv_31_a_hijacked_authorization_cannot_fund_another_license(world: World) -> None:
    """The attacker carries a buyer's authorization and names a license of their own."""
    license_id = world.accept()
    attacker = world.people.stranger
    attackers = world.accept(buyer=attacker)
    vrs = authorize(world, license_id, 500)
    call = (attackers, world.people.buyer, 500, 0, FOREVER)
    for salt in (SALT, authorization_nonce(license_id, SALT), bytes(32)):
        with pytest.raises(Reverted, match="TestUSDC_WrongSigner"):
            world.escrow.depositWithAuthorization(*call, salt, *vrs, sender=attacker)
    assert world.escrow.account(attackers).deposited == 0
    assert world.token.balanceOf(world.people.buyer) == 500


@pytest.mark.parametrize("amount", [499, 501, 1])
def test_inv_31_a_carrier_cannot_change_the_amount(world: World, amount: int) -> None:
    license_id = world.accept()
    vrs = authorize(world, license_id, 500)
    with pytest.raises(Reverted, match="TestUSDC_WrongSigner"):
        world.escrow.depositWithAuthorization(
            license_id, world.people.buyer, amount, 0, FOREVER, SALT, *vrs, sender=world.people.stranger
        )


def test_inv_31_a_plain_transfer_authorization_does_not_work_as_a_deposit(world: World) -> None:
    """transferWithAuthorization can be submitted to the token directly and would leave the money unbooked."""
    license_id = world.accept()
    world.token.mint(world.people.buyer, 500, sender=world.people.stranger)
    vrs = world.authorization(license_id, world.people.buyer, 500, SALT, kind="TransferWithAuthorization")
    with pytest.raises(Reverted, match="TestUSDC_WrongSigner"):
        world.escrow.depositWithAuthorization(
            license_id, world.people.buyer, 500, 0, FOREVER, SALT, *vrs, sender=world.people.stranger
        )


def test_inv_31_nobody_can_pull_an_authorization_past_the_escrow(world: World) -> None:
    license_id = world.accept()
    vrs = authorize(world, license_id, 500)
    nonce = authorization_nonce(license_id, SALT)
    with pytest.raises(Reverted, match="TestUSDC_CallerNotPayee"):
        world.token.receiveWithAuthorization(
            world.people.buyer, world.escrow, 500, 0, FOREVER, nonce, *vrs, sender=world.people.stranger
        )


def test_an_authorization_is_used_once(world: World) -> None:
    license_id = world.accept()
    vrs = authorize(world, license_id, 500)
    world.token.mint(world.people.buyer, 500, sender=world.people.stranger)
    call = (license_id, world.people.buyer, 500, 0, FOREVER, SALT, *vrs)
    world.escrow.depositWithAuthorization(*call, sender=world.people.stranger)
    with pytest.raises(Reverted, match="TestUSDC_AuthorizationUsed"):
        world.escrow.depositWithAuthorization(*call, sender=world.people.stranger)
    assert world.escrow.account(license_id).deposited == 500


def test_inv_33_an_authorization_of_another_chain_is_refused(world: World) -> None:
    other = World(Evm(chain_id=world.evm.chain_id + 1))
    license_id = world.accept()
    assert other.accept() == license_id
    vrs = authorize(other, license_id, 500)
    world.token.mint(world.people.buyer, 500, sender=world.people.stranger)
    with pytest.raises(Reverted, match="TestUSDC_WrongSigner"):
        world.escrow.depositWithAuthorization(
            license_id, world.people.buyer, 500, 0, FOREVER, SALT, *vrs, sender=world.people.stranger
        )


@pytest.mark.parametrize("license_id", [0, 1, 2**32 - 1])
def test_money_for_a_license_that_does_not_exist_is_refused(world: World, license_id: int) -> None:
    with pytest.raises(Reverted, match="LicenseRegistry_UnknownLicense"):
        world.deposit(license_id, 500)


def test_inv_11_more_than_an_account_can_hold_is_refused(world: World) -> None:
    license_id = funded(world, MAX_UINT96)
    with pytest.raises(Reverted, match="RoyaltyEscrow_BalanceTooLarge"):
        world.deposit(license_id, 1)
    assert adds_up(world, license_id)


def test_inv_01_money_sent_without_a_deposit_belongs_to_no_account(world: World) -> None:
    license_id = funded(world)
    world.token.mint(world.escrow, 777, sender=world.people.stranger)
    world.deposit(license_id, 5)
    assert world.escrow.account(license_id).available == 1_005


# -- charges -------------------------------------------------------------------------------------------------


def test_inv_12_a_charge_above_what_the_units_cost_is_refused(world: World) -> None:
    license_id = funded(world, price_per_million_units=300_000)
    with pytest.raises(Reverted, match="RoyaltyEscrow_ChargeTooHigh"):
        world.post([(license_id, 333, 100)])
    world.post([(license_id, 333, 99)])


usage = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 3)), min_size=1, max_size=4)


@given(st.integers(0, MAX_UINT96), usage)
def test_inv_12_charges_never_pass_the_price_of_the_units(
    shared_world: World, price: int, epochs: list[tuple[int, int]]
) -> None:
    """Whatever units come when, and however much of the due each report leaves for later."""
    world = shared_world
    with world.evm.undone():
        license_id = funded(world, MAX_UINT96, price_per_million_units=price, max_charge_per_epoch=MAX_UINT96)
        units = charged = 0
        for new_units, part in epochs:
            units += new_units
            due = units * price // 10**6 - charged
            charge = min(due if part == 3 else due * part // 3, MAX_UINT96 - charged)
            world.settle([(license_id, units, charge)])
            charged += charge
            acct = world.escrow.account(license_id)
            assert acct.charged == charged <= units * price // 10**6
            assert world.escrow.due(license_id) == units * price // 10**6 - charged


@pytest.mark.parametrize("charge", [501, MAX_UINT96])
def test_inv_13_a_charge_above_the_cap_is_refused(world: World, charge: int) -> None:
    license_id = funded(world, 10_000, max_charge_per_epoch=500)
    with pytest.raises(Reverted, match="RoyaltyEscrow_ChargeTooHigh"):
        world.post([(license_id, MAX_UINT96, charge)])
    world.settle([(license_id, MAX_UINT96, 500)])


def test_inv_13_the_cap_is_per_epoch_and_the_rest_stays_due(world: World) -> None:
    license_id = funded(world, 10_000, max_charge_per_epoch=500)
    world.settle([(license_id, 1_200, 500)])
    assert world.escrow.due(license_id) == 700
    world.settle([(license_id, 1_200, 500)])
    world.settle([(license_id, 1_200, 200)])
    with pytest.raises(Reverted, match="RoyaltyEscrow_ChargeTooHigh"):
        world.post([(license_id, 1_200, 1)])


def test_inv_13_a_charge_above_the_balance_is_refused(world: World) -> None:
    license_id = funded(world, 300)
    other = funded(world, 10_000)
    with pytest.raises(Reverted, match="RoyaltyEscrow_ChargeTooHigh"):
        world.post([(license_id, 1_000, 301), (other, 10, 10)])
    world.settle([(license_id, 1_000, 300), (other, 10, 10)])


def test_inv_13_one_report_cannot_charge_a_license_twice(world: World) -> None:
    license_id = funded(world, 10_000, max_charge_per_epoch=500)
    for lines in (
        [(license_id, 1_000, 500), (license_id, 1_000, 500)],
        [(license_id, 1_000, 500), (license_id, 2_000, 500)],
        [(0, 0, 0)],
    ):
        with pytest.raises(Reverted, match="UsageSettlement_LinesNotAscending"):
            world.post(lines)


def test_inv_14_units_never_fall(world: World) -> None:
    license_id = funded(world)
    world.settle([(license_id, 100, 100)])
    with pytest.raises(Reverted, match="RoyaltyEscrow_UnitsFell"):
        world.post([(license_id, 99, 0)])
    world.settle([(license_id, 100, 0)])
    world.settle()
    assert world.escrow.account(license_id).cumulativeUnits == 100


def test_inv_14_units_stay_as_they_were_after_a_rejection(world: World) -> None:
    license_id = funded(world)
    world.settlement.reject(world.post([(license_id, 500, 500)]), "", sender=world.people.guardian)
    assert world.escrow.account(license_id).cumulativeUnits == 0
    world.settle([(license_id, 100, 100)])


def test_inv_12_units_at_the_top_of_their_type_do_not_wrap_the_due(world: World) -> None:
    license_id = funded(
        world, MAX_UINT96, price_per_million_units=MAX_UINT96, max_charge_per_epoch=MAX_UINT96
    )
    world.settle([(license_id, 2**128 - 1, 1)])
    assert world.escrow.due(license_id) == (2**128 - 1) * MAX_UINT96 // 10**6 - 1


def test_inv_15_a_rejection_restores_every_account_exactly(world: World) -> None:
    licenses = [funded(world, amount) for amount in (1_000, 2_000, 3_000)]
    world.settle([(licenses[0], 10, 10), (licenses[1], 0, 0)])
    before = [world.escrow.account(license_id) for license_id in licenses]
    report = world.post([(licenses[0], 500, 400), (licenses[1], 50, 0), (licenses[2], 3_000, 3_000)])
    assert [world.escrow.account(license_id).reserved for license_id in licenses] == [400, 0, 3_000]
    world.settlement.reject(report, "a test", sender=world.people.guardian)
    assert [world.escrow.account(license_id) for license_id in licenses] == before


def test_inv_15_money_deposited_while_a_report_is_pending_is_kept_by_a_rejection(world: World) -> None:
    license_id = funded(world)
    report = world.post([(license_id, 600, 600)])
    world.deposit(license_id, 50)
    world.settlement.reject(report, "a test", sender=world.people.guardian)
    acct = world.escrow.account(license_id)
    assert (acct.available, acct.reserved, acct.deposited) == (1_050, 0, 1_050)


def test_inv_01_charges_that_together_pass_their_type_neither_wrap_nor_wait_for_ever(world: World) -> None:
    """Two accounts at the top of their type: what is accepted can be finalized too."""
    terms: dict[str, Any] = {
        "contributors_bps": 9_500,
        "community_bps": 500,
        "steward_bps": 0,
        "platform_bps": 0,
        "operators_bps": 0,
        "max_charge_per_epoch": MAX_UINT96,
        "price_per_million_units": MAX_UINT96,
    }
    lines = [(funded(world, MAX_UINT96, **terms), 10**6, MAX_UINT96) for _ in range(2)]
    world.settle(lines)
    assert world.token.balanceOf(world.splitter) == 2 * MAX_UINT96
    assert world.splitter.pool() == 2 * -(-MAX_UINT96 * 9_500 // 10_000)


# -- money back ----------------------------------------------------------------------------------------------


def ended(world: World, amount: int = 1_000) -> int:
    """A funded license that ends within the first epoch, early enough for that epoch's report to cover it."""
    return funded(world, amount, ends_at=world.evm.timestamp + EPOCH_SECONDS - MERGE_DELAY_SECONDS)


def withdraw(world: World, license_id: int, amount: int) -> None:
    world.escrow.withdraw(license_id, amount, world.people.buyer, sender=world.people.buyer)


def test_inv_28_a_withdrawal_waits_for_the_final_report(world: World) -> None:
    license_id = ended(world)
    world.evm.warp(10 * EPOCH_SECONDS)
    with pytest.raises(Reverted, match="RoyaltyEscrow_NotCovered"):
        withdraw(world, license_id, 1)
    report = world.post([(license_id, 400, 400)])
    with pytest.raises(Reverted, match="RoyaltyEscrow_NotCovered"):
        withdraw(world, license_id, 1)
    world.until(world.settlement.state().finalizableAt)
    world.settlement.finalize(report, sender=world.people.stranger)
    withdraw(world, license_id, 600)
    assert world.token.balanceOf(world.people.buyer) == 600
    assert adds_up(world, license_id)


def test_inv_28_coverage_includes_the_merge_delay_to_the_second(world: World) -> None:
    end = world.genesis + EPOCH_SECONDS - MERGE_DELAY_SECONDS
    covered, not_covered = funded(world, ends_at=end), funded(world, ends_at=end + 1)
    world.settle()
    withdraw(world, covered, 1)
    with pytest.raises(Reverted, match="RoyaltyEscrow_NotCovered"):
        withdraw(world, not_covered, 1)


def test_inv_28_cooling_off_after_use_does_not_open_the_account_before_coverage(world: World) -> None:
    license_id = funded(world)
    world.evm.warp(EPOCH_SECONDS)
    world.registry.coolOff(license_id, sender=world.people.buyer)
    world.settle()
    with pytest.raises(Reverted, match="RoyaltyEscrow_NotCovered"):
        withdraw(world, license_id, 1_000)


def test_inv_28_a_pending_charge_holds_the_account(world: World) -> None:
    license_id = ended(world)
    world.settle()
    world.post([(license_id, 100, 100)])
    with pytest.raises(Reverted, match="RoyaltyEscrow_LinePending"):
        withdraw(world, license_id, 900)


def test_inv_28_a_pending_line_without_a_charge_holds_the_account_too(world: World) -> None:
    """Late units are on their way: whoever could empty the account now would leave them unpaid."""
    license_id = ended(world)
    world.settle()
    world.post([(license_id, 100, 0)])
    with pytest.raises(Reverted, match="RoyaltyEscrow_LinePending"):
        withdraw(world, license_id, 1_000)


def test_inv_28_a_due_holds_the_account(world: World) -> None:
    license_id = ended(world)
    world.settle([(license_id, 500, 100)])
    with pytest.raises(Reverted, match="RoyaltyEscrow_StillDue"):
        withdraw(world, license_id, 1)
    world.settle([(license_id, 500, 400)])
    withdraw(world, license_id, 500)


def test_inv_31_only_the_buyer_withdraws_and_only_what_is_there(world: World) -> None:
    license_id = ended(world)
    world.settle()
    people = world.people
    for thief in (people.stranger, people.steward, people.council, people.admin, people.guardian):
        with pytest.raises(Reverted, match="RoyaltyEscrow_NotBuyer"):
            world.escrow.withdraw(license_id, 1, thief, sender=thief)
    with pytest.raises(Reverted, match="RoyaltyEscrow_InsufficientBalance"):
        withdraw(world, license_id, 1_001)
    with pytest.raises(Reverted, match="RoyaltyEscrow_ZeroAmount"):
        withdraw(world, license_id, 0)
    with pytest.raises(Reverted, match="RoyaltyEscrow_ZeroRecipient"):
        world.escrow.withdraw(license_id, 1, ZERO_ADDRESS, sender=people.buyer)


def test_inv_28_one_buyers_withdrawal_leaves_other_accounts_alone(world: World) -> None:
    mine = ended(world)
    other_buyer = account("other buyer")
    others = world.accept(buyer=other_buyer)
    world.deposit(others, 700, payer=other_buyer)
    world.settle()
    withdraw(world, mine, 1_000)
    with pytest.raises(Reverted, match="RoyaltyEscrow_InsufficientBalance"):
        withdraw(world, mine, 1)
    assert world.escrow.account(others).available == 700
    assert world.token.balanceOf(world.escrow) == 700


def test_a_charge_computed_from_chargeable_cannot_be_undercut_by_a_withdrawal(world: World) -> None:
    """While the buyer is free to withdraw, a report charges nothing; before that, the money stays."""
    license_id = ended(world)
    assert world.escrow.chargeable(license_id) == 1_000
    world.settle()
    assert world.escrow.chargeable(license_id) == 0
    withdraw(world, license_id, 1_000)
