"""OperatorBonds: what signers put up, and how they get it back."""

import pytest
from brownie import ZERO_ADDRESS

from tests.contracts.functional.scene import later, now, reverts, until

AMOUNT = 1_000


@pytest.fixture
def signer(accounts, signers):
    """A signer who sends transactions."""
    return accounts.add(signers[0].key)


@pytest.fixture
def bonded(operator_bonds, allow, operators, signer):
    """The operator has put up a bond for the signer."""
    allow(operators, operator_bonds, AMOUNT)
    return operator_bonds.deposit(signer, AMOUNT, {"from": operators})


@pytest.fixture
def thawing(operator_bonds, bonded, signer):
    """Part of it thaws."""
    return operator_bonds.thaw(400, {"from": signer})


def test_anyone_puts_up_a_bond(operator_bonds, bonded, signer, operators):
    event = bonded.events["BondDeposited"]
    assert (event["signer"], event["from"], event["amount"]) == (signer, operators, AMOUNT)
    assert operator_bonds.bonded(signer) == AMOUNT


def test_a_thawing_bond_counts_no_more(operator_bonds, thawing, signer):
    found = operator_bonds.bond(signer)
    assert (found["bonded"], found["thawing"]) == (600, 400)
    assert found["thawedAt"] == thawing.timestamp + operator_bonds.thawSeconds()


def test_a_thawed_bond_is_paid_out(operator_bonds, token, thawing, signer, payee):
    until(operator_bonds.bond(signer)["thawedAt"])
    operator_bonds.withdraw(payee, {"from": signer})
    assert token.balanceOf(payee) == 400
    assert operator_bonds.bonded(signer) == 600


def test_thawing_takes_its_time(operator_bonds, thawing, signer, payee):
    later(operator_bonds.thawSeconds() - 60)
    with reverts("OperatorBonds_StillThawing"):
        operator_bonds.withdraw(payee, {"from": signer})


def test_a_thaw_can_be_called_off(operator_bonds, thawing, signer):
    operator_bonds.cancelThaw({"from": signer})
    assert operator_bonds.bonded(signer) == AMOUNT
    with reverts("OperatorBonds_NothingThawing"):
        operator_bonds.cancelThaw({"from": signer})


def test_more_thaws_from_now_on(operator_bonds, thawing, signer):
    later(1_000)
    operator_bonds.thaw(100, {"from": signer})
    found = operator_bonds.bond(signer)
    assert (found["thawing"], found["thawedAt"]) == (500, now() + operator_bonds.thawSeconds())


def test_nobody_thaws_what_is_not_there(operator_bonds, bonded, signer):
    with reverts("OperatorBonds_InsufficientBond"):
        operator_bonds.thaw(AMOUNT + 1, {"from": signer})
    with reverts("OperatorBonds_ZeroAmount"):
        operator_bonds.thaw(0, {"from": signer})


def test_a_bond_goes_to_somebody(operator_bonds, thawing, signer):
    with reverts("OperatorBonds_ZeroRecipient"):
        operator_bonds.withdraw(ZERO_ADDRESS, {"from": signer})


@pytest.mark.parametrize(("signer_given", "amount"), [(False, AMOUNT), (True, 0)])
def test_a_deposit_is_of_something_for_somebody(operator_bonds, signer, operators, signer_given, amount):
    error = "OperatorBonds_ZeroAmount" if signer_given else "OperatorBonds_ZeroSigner"
    with reverts(error):
        operator_bonds.deposit(signer if signer_given else ZERO_ADDRESS, amount, {"from": operators})


def test_inv_31_only_proofs_slash(operator_bonds, bonded, signer, council, guardian):
    for title in (council, guardian):
        with reverts("OperatorBonds_OnlyProofs"):
            operator_bonds.slash(signer, title, {"from": title})


def test_the_council_sets_the_least_bond_of_new_signers(operator_bonds, council, stranger):
    operator_bonds.setMinimumBond(500, {"from": council})
    assert operator_bonds.minimumBond() == 500
    with reverts("AccessManagedUnauthorized"):
        operator_bonds.setMinimumBond(0, {"from": stranger})


def test_nobody_is_paid_without_a_credit(operator_bonds, stranger):
    with reverts("OperatorBonds_NoCredit"):
        operator_bonds.payCredit(stranger, {"from": stranger})


@pytest.mark.parametrize("missing", ["token", "disputes", "challenges", "remediationFund", "authority"])
def test_bonds_know_their_neighbors(build, missing):
    with reverts("OperatorBonds_ZeroAddress"):
        build("OperatorBonds", **{missing: ZERO_ADDRESS})


def test_a_thaw_outlasts_every_dispute(build):
    with reverts("OperatorBonds_ThawTooShort"):
        build("OperatorBonds", thawSeconds=90 * 86_400 - 1)
