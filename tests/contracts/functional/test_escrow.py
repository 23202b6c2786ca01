"""RoyaltyEscrow: deposits in three ways, charges, withdrawals."""

import pytest
from brownie import ZERO_ADDRESS, TestUSDC

from tests.contracts.functional.scene import EPOCH_SECONDS, FOREVER, MERGE_DELAY_SECONDS, now, reverts
from tests.contracts.wire import account, sign, typed_digest

NOBODYS_LICENSE = 99
SALT = b"\7" * 32
MAX_UINT96 = 2**96 - 1


@pytest.fixture
def short_license(accept, registry):
    """A license whose end the first epoch's report covers."""
    accept(ends_at=now() + 3_600)
    return registry.licenseCount()


@pytest.fixture
def permit(token, escrow, buyer):
    """Signs the buyer's permit for the escrow; returns deadline, v, r, s."""

    def permitted(amount, deadline=FOREVER):
        values = (buyer.address, escrow.address, amount, token.nonces(buyer), deadline)
        digest = typed_digest("USD Coin", 31337, token.address, "Permit", values, version="2")
        made = sign(account("buyer").key, digest)
        return deadline, made.v, made.r, made.s

    return permitted


# -- deposit ------------------------------------------------------------------------------------------------


def test_deposit_fills_the_account(escrow, fund, license_id, buyer, token):
    event = fund(license_id, 700).events["Deposited"]
    assert (event["licenseId"], event["from"], event["amount"]) == (license_id, buyer, 700)
    found = escrow.account(license_id)
    assert (found["available"], found["deposited"]) == (700, 700)
    assert token.balanceOf(escrow) == 700


def test_anyone_may_deposit_for_a_license(escrow, token, license_id, stranger):
    token.mint(stranger, 5, {"from": stranger})
    token.approve(escrow, 5, {"from": stranger})
    escrow.deposit(license_id, 5, {"from": stranger})
    assert escrow.account(license_id)["available"] == 5


def test_deposit_needs_an_amount(escrow, license_id, buyer):
    with reverts("RoyaltyEscrow_ZeroAmount"):
        escrow.deposit(license_id, 0, {"from": buyer})


def test_deposit_needs_a_license(escrow, license_id, buyer):
    with reverts("LicenseRegistry_UnknownLicense"):
        escrow.deposit(NOBODYS_LICENSE, 1, {"from": buyer})


def test_deposit_needs_an_approval(escrow, token, license_id, buyer):
    token.mint(buyer, 5, {"from": buyer})
    with reverts("ERC20InsufficientAllowance"):
        escrow.deposit(license_id, 5, {"from": buyer})


def test_deposit_refuses_more_than_an_account_holds(fund, license_id):
    fund(license_id, MAX_UINT96)
    with reverts("RoyaltyEscrow_BalanceTooLarge"):
        fund(license_id, 1)


# -- deposit with a permit ----------------------------------------------------------------------------------


def test_a_permit_needs_no_approval(escrow, token, license_id, buyer, permit):
    token.mint(buyer, 700, {"from": buyer})
    escrow.depositWithPermit(license_id, 700, *permit(700), {"from": buyer})
    assert escrow.account(license_id)["available"] == 700


def test_a_permit_that_somebody_submitted_first_still_works(
    escrow, token, license_id, buyer, stranger, permit
):
    token.mint(buyer, 700, {"from": buyer})
    signed = permit(700)
    token.permit(buyer, escrow, 700, *signed, {"from": stranger})
    escrow.depositWithPermit(license_id, 700, *signed, {"from": buyer})
    assert escrow.account(license_id)["available"] == 700


def test_a_permit_pulls_from_its_sender_only(escrow, token, license_id, buyer, stranger, permit):
    token.mint(buyer, 700, {"from": buyer})
    with reverts("ERC20InsufficientAllowance"):
        escrow.depositWithPermit(license_id, 700, *permit(700), {"from": stranger})
    assert token.balanceOf(buyer) == 700


def test_a_permit_for_less_does_not_do(escrow, token, license_id, buyer, permit):
    token.mint(buyer, 700, {"from": buyer})
    with reverts("ERC20InsufficientAllowance"):
        escrow.depositWithPermit(license_id, 700, *permit(699), {"from": buyer})


# -- deposit with an authorization --------------------------------------------------------------------------


@pytest.fixture
def carry(escrow, token, buyer, stranger, authorize):
    """A stranger carries the buyer's authorization of 700 to the escrow, perhaps with something changed."""

    def carried(license_id, signed_for=None, amount=700, valid_after=0, valid_before=FOREVER):
        token.mint(buyer, 700, {"from": buyer})
        vrs = authorize(signed_for or license_id, 700, SALT, valid_after, valid_before)
        given = (license_id, buyer, amount, valid_after, valid_before, SALT, *vrs)
        return escrow.depositWithAuthorization(*given, {"from": stranger})

    return carried


def test_an_authorization_can_be_carried_by_anyone(escrow, license_id, carry, buyer):
    event = carry(license_id).events["Deposited"]
    assert (event["licenseId"], event["from"], event["amount"]) == (license_id, buyer, 700)
    assert escrow.account(license_id)["available"] == 700


def test_an_authorization_cannot_be_hijacked_for_another_license(accept, license_id, carry):
    accept(nonce=2)
    with reverts("TestUSDC_WrongSigner"):
        carry(license_id + 1, signed_for=license_id)


def test_an_authorization_is_for_its_amount(license_id, carry):
    with reverts("TestUSDC_WrongSigner"):
        carry(license_id, amount=699)


def test_an_authorization_works_once(license_id, carry):
    carry(license_id)
    with reverts("TestUSDC_AuthorizationUsed"):
        carry(license_id)


def test_an_authorization_begins(license_id, carry):
    with reverts("TestUSDC_AuthorizationNotYetValid"):
        carry(license_id, valid_after=now() + 3_600)


def test_an_authorization_ends(license_id, carry):
    with reverts("TestUSDC_AuthorizationExpired"):
        carry(license_id, valid_before=now())


# -- charges ------------------------------------------------------------------------------------------------


def test_a_report_holds_a_charge_and_its_finalization_draws_it(
    escrow, splitter, token, license_id, fund, nodes
):
    fund(license_id, 1_000)
    report = nodes.post([(license_id, 400, 400)])
    held = escrow.account(license_id)
    assert (held["available"], held["reserved"], held["charged"], held["cumulativeUnits"]) == (600, 400, 0, 0)
    nodes.wait_for_window()
    event = nodes.finalize(report).events["Charged"]
    assert (event["cumulativeUnits"], event["charge"], event["chargedTotal"]) == (400, 400, 400)
    drawn = escrow.account(license_id)
    assert (drawn["available"], drawn["reserved"], drawn["charged"]) == (600, 0, 400)
    assert token.balanceOf(splitter) == 400


def test_what_is_not_charged_stays_due(escrow, license_id, fund, nodes):
    fund(license_id, 100)
    nodes.settle([(license_id, 400, 100)])
    assert escrow.due(license_id) == 300


def test_a_charge_is_at_most_what_is_available(license_id, fund, nodes):
    fund(license_id, 100)
    nodes.wait()
    with reverts("RoyaltyEscrow_ChargeTooHigh"):
        nodes.submit(nodes.report([(license_id, 400, 101)]))


def test_a_charge_is_at_most_what_is_due(license_id, fund, nodes):
    fund(license_id, 1_000)
    nodes.wait()
    with reverts("RoyaltyEscrow_ChargeTooHigh"):
        nodes.submit(nodes.report([(license_id, 400, 401)]))


def test_units_never_fall(license_id, nodes):
    nodes.settle([(license_id, 400, 0)])
    nodes.wait()
    with reverts("RoyaltyEscrow_UnitsFell"):
        nodes.submit(nodes.report([(license_id, 399, 0)]))


def test_a_line_needs_a_license(license_id, nodes):
    nodes.wait()
    with reverts("LicenseRegistry_UnknownLicense"):
        nodes.submit(nodes.report([(NOBODYS_LICENSE, 1, 0)]))


@pytest.mark.parametrize("function", ["reserve", "release", "draw"])
def test_only_the_settlement_moves_what_is_held(escrow, license_id, council, function):
    with reverts("RoyaltyEscrow_OnlySettlement"):
        getattr(escrow, function).transact([(license_id, 1, 1)], {"from": council})


def test_chargeable_is_what_balance_and_cap_allow(accept, registry, escrow, fund):
    accept(max_charge_per_epoch=300)
    fund(1, 200)
    assert escrow.chargeable(1) == 200
    fund(1, 200)
    assert escrow.chargeable(1) == 300


def test_nothing_is_chargeable_while_the_buyer_may_withdraw(escrow, short_license, fund, nodes):
    fund(short_license, 200)
    nodes.settle()
    assert escrow.chargeable(short_license) == 0


# -- withdraw -----------------------------------------------------------------------------------------------


def test_withdraw_gives_unspent_money_back(escrow, token, short_license, fund, nodes, buyer, stranger):
    fund(short_license, 1_000)
    nodes.settle([(short_license, 400, 400)])
    event = escrow.withdraw(short_license, 600, stranger, {"from": buyer}).events["Withdrawn"]
    assert (event["licenseId"], event["to"], event["amount"]) == (short_license, stranger, 600)
    assert token.balanceOf(stranger) == 600
    found = escrow.account(short_license)
    assert (found["available"], found["withdrawn"]) == (0, 600)


def test_withdraw_is_for_the_buyer(escrow, short_license, council):
    with reverts("RoyaltyEscrow_NotBuyer"):
        escrow.withdraw(short_license, 1, council, {"from": council})


def test_withdraw_needs_a_license(escrow, license_id, buyer):
    with reverts("LicenseRegistry_UnknownLicense"):
        escrow.withdraw(NOBODYS_LICENSE, 1, buyer, {"from": buyer})


def test_withdraw_needs_an_amount(escrow, short_license, buyer):
    with reverts("RoyaltyEscrow_ZeroAmount"):
        escrow.withdraw(short_license, 0, buyer, {"from": buyer})


def test_withdraw_needs_a_recipient(escrow, short_license, buyer):
    with reverts("RoyaltyEscrow_ZeroRecipient"):
        escrow.withdraw(short_license, 1, ZERO_ADDRESS, {"from": buyer})


def test_withdraw_waits_for_coverage(escrow, accept, fund, nodes, buyer):
    accept(ends_at=now() + EPOCH_SECONDS)
    fund(1, 1_000)
    nodes.settle()
    with reverts("RoyaltyEscrow_NotCovered"):
        escrow.withdraw(1, 1, buyer, {"from": buyer})


@pytest.mark.parametrize("charge", [0, 100])
def test_withdraw_waits_for_a_pending_line(escrow, short_license, fund, nodes, buyer, charge):
    fund(short_license, 1_000)
    nodes.settle()
    nodes.post([(short_license, 100, charge)])
    with reverts("RoyaltyEscrow_LinePending"):
        escrow.withdraw(short_license, 1, buyer, {"from": buyer})


def test_withdraw_waits_for_a_due(escrow, short_license, fund, nodes, buyer):
    fund(short_license, 1_000)
    nodes.settle([(short_license, 500, 100)])
    with reverts("RoyaltyEscrow_StillDue"):
        escrow.withdraw(short_license, 1, buyer, {"from": buyer})


def test_withdraw_is_at_most_what_is_available(escrow, short_license, fund, nodes, buyer):
    fund(short_license, 1_000)
    nodes.settle()
    with reverts("RoyaltyEscrow_InsufficientBalance"):
        escrow.withdraw(short_license, 1_001, buyer, {"from": buyer})


# -- building -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["registry", "settlement", "splitter", "challenges", "windDown"])
def test_an_escrow_needs_its_neighbors(build, missing):
    with reverts("RoyaltyEscrow_ZeroAddress"):
        build("RoyaltyEscrow", **{missing: ZERO_ADDRESS})


def test_an_escrow_and_its_registry_hold_the_same_token(build, admin):
    with reverts("RoyaltyEscrow_WrongToken"):
        build("RoyaltyEscrow", token=TestUSDC.deploy({"from": admin}).address)


def test_an_escrow_knows_its_neighbors(escrow, token, registry, settlement, splitter):
    assert (escrow.token(), escrow.registry()) == (token, registry)
    assert (escrow.settlement(), escrow.splitter()) == (settlement, splitter)
    assert escrow.maxMergeDelaySeconds() == MERGE_DELAY_SECONDS
