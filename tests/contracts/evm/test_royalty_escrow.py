"""What the escrow asks before it gives money back, and what it lets only the wind-down do.

Deposits, reservations and charges: test_charges.py. Late charges and refunds with everything around them:
test_late_usage.py, test_last_money.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.evm.chain import Contract, Reverted
from tests.contracts.evm.gateway import Gateway, fund_challenger, reveal
from tests.contracts.evm.world import MERGE_DELAY_SECONDS, World
from tests.contracts.wire import ZERO_ADDRESS, account

DAY = 86_400
LATE_CALLS = ((10, 0), (10, 7), (10, 10), (10**6, 2**255), (10**6, 2**255))
"""Units and allowance: nothing allowed, less than due, the rest of it, all that is there, nothing left."""
CHALLENGER = account("challenger")
SETTLEMENT, WIND_DOWN = account("the settlement"), account("the end")


def escrow_with(world: World, **changes: Any) -> Contract:
    """Another escrow; its neighbors may be people, who then say what only they may."""
    arguments = {
        "token": world.token,
        "registry": world.registry,
        "settlement": world.settlement,
        "splitter": world.splitter,
        "challenges": world.challenges,
        "windDown": world.wind_down,
        "maxMergeDelaySeconds": MERGE_DELAY_SECONDS,
    } | changes
    return world.evm.deploy("RoyaltyEscrow", *arguments.values(), sender=world.people.stranger)


def fund(world: World, escrow: Contract, amount: int) -> int:
    """A license with money in that escrow."""
    license_id, buyer = world.accept(), world.people.buyer
    world.token.mint(buyer, amount, sender=buyer)
    world.token.approve(escrow, amount, sender=buyer)
    escrow.deposit(license_id, amount, sender=buyer)
    return license_id


# -- wiring --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["registry", "settlement", "splitter", "challenges", "windDown"])
def test_every_neighbor_is_named(world: World, part: str) -> None:
    with pytest.raises(Reverted, match="RoyaltyEscrow_ZeroAddress"):
        escrow_with(world, **{part: ZERO_ADDRESS})


def test_another_token_than_the_registrys_is_refused(world: World) -> None:
    with pytest.raises(Reverted, match="RoyaltyEscrow_WrongToken"):
        escrow_with(world, token=world.registry)


def test_it_knows_its_neighbors(world: World) -> None:
    escrow = world.escrow
    found = (
        escrow.registry(),
        escrow.settlement(),
        escrow.splitter(),
        escrow.challenges(),
        escrow.windDown(),
    )
    neighbors = (world.registry, world.settlement, world.splitter, world.challenges, world.wind_down)
    assert found == tuple(neighbor.address for neighbor in neighbors)
    assert escrow.maxMergeDelaySeconds() == MERGE_DELAY_SECONDS


# -- withdrawals ---------------------------------------------------------------------------------------------


def test_inv_28_an_open_challenge_keeps_the_money_until_it_is_settled(world: World) -> None:
    """The license has ended, everything is covered and paid: a proof against the buyer still waits."""
    license_id = world.accept(ends_at=world.evm.timestamp + 3_600)
    world.deposit(license_id, 500)
    gateway = Gateway(world, license_id, "a gateway")
    receipt = gateway.serve()
    world.settle([(license_id, 1, 1)])
    withdrawal = (license_id, 499, world.people.buyer)
    fund_challenger(world, CHALLENGER)
    evidence = (gateway.signed(receipt), gateway.signed(gateway.checkpoint()))
    challenge_id = reveal(world, CHALLENGER, "openSwapped", *evidence).value
    with pytest.raises(Reverted, match="RoyaltyEscrow_ChallengeOpen") as refused:
        world.escrow.withdraw(*withdrawal, sender=world.people.buyer)
    assert refused.value.arguments == (license_id, 1)
    world.challenges.answerByInclusion(challenge_id, gateway.proof(0), sender=world.people.buyer)
    world.escrow.withdraw(*withdrawal, sender=world.people.buyer)
    assert world.token.balanceOf(world.people.buyer) == 499


def test_inv_43_an_open_challenge_holds_up_no_refund(world: World) -> None:
    """It takes bonds, never this balance; else whoever pays for challenges could hold refunds up for ever."""
    license_id = world.accept()
    world.deposit(license_id, 500)
    gateway = Gateway(world, license_id, "a gateway")
    receipt = gateway.serve()
    last = world.settle()
    world.wind_down.announceByCouncil(sender=world.people.council)
    world.evm.warp(30 * DAY)
    world.wind_down.close(last, last, sender=world.people.stranger)
    world.evm.warp(30 * DAY - 100)
    fund_challenger(world, CHALLENGER)
    evidence = (gateway.signed(receipt), gateway.signed(gateway.checkpoint()))
    reveal(world, CHALLENGER, "openSwapped", *evidence)
    world.evm.warp(100)
    assert world.challenges.openAgainst(license_id) == 1
    world.escrow.withdraw(license_id, 500, world.people.buyer, sender=world.people.buyer)


# -- late charges --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reserve", "release", "draw"])
def test_inv_31_the_wind_down_has_no_say_over_reports(world: World, name: str) -> None:
    escrow = escrow_with(world, windDown=WIND_DOWN)
    license_id = world.accept()
    for caller in (WIND_DOWN, world.people.council):
        with pytest.raises(Reverted, match="RoyaltyEscrow_OnlySettlement"):
            getattr(escrow, name)([(license_id, 1, 1)], sender=caller)


def test_inv_31_the_settlement_has_no_say_over_late_charges(world: World) -> None:
    escrow = escrow_with(world, settlement=SETTLEMENT)
    license_id = world.accept()
    for caller in (SETTLEMENT, world.people.council):
        with pytest.raises(Reverted, match="RoyaltyEscrow_OnlyWindDown"):
            escrow.drawLate(license_id, 1, 1, sender=caller)


def test_inv_14_late_units_never_fall(world: World) -> None:
    escrow = escrow_with(world, windDown=WIND_DOWN)
    license_id = fund(world, escrow, 100)
    escrow.drawLate(license_id, 5, 0, sender=WIND_DOWN)
    with pytest.raises(Reverted, match="RoyaltyEscrow_UnitsFell"):
        escrow.drawLate(license_id, 4, 0, sender=WIND_DOWN)
    with pytest.raises(Reverted, match="LicenseRegistry_UnknownLicense"):
        escrow.drawLate(license_id + 1, 4, 0, sender=WIND_DOWN)


def test_inv_11_a_late_charge_is_the_least_of_due_available_and_allowed(world: World) -> None:
    escrow = world.escrow
    license_id = world.accept()
    world.deposit(license_id, 100)
    charges = [escrow.drawLate(license_id, *call, sender=world.wind_down).value for call in LATE_CALLS]
    assert charges == [0, 7, 3, 90, 0]
    acct = escrow.account(license_id)
    assert (acct.deposited, acct.available, acct.reserved, acct.charged) == (100, 0, 0, 100)
    assert world.token.balanceOf(world.splitter) == 100
