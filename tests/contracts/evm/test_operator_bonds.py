"""OperatorBonds: every refusal, where each base unit goes, and a twin that counts coins."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.world import COUNCIL_ROLE, World
from tests.contracts.wire import ZERO_ADDRESS, Account, account
from tests.reference.operator_bonds import FUND, Book

BOND = 1_000_003
THAW_SECONDS = 90 * 86_400
MAX_UINT96 = 2**96 - 1
SIGNER = account("signer 0")
REPORTER = account("reporter")
DISPUTES = account("the disputes")
CHALLENGES = account("the challenges")
GOAL = account("where a signer wants it")


def bonds_on(evm: Evm, token: str = "TestUSDC", *token_args: Any) -> World:
    """A world whose operator bonds take slashes from two accounts: a contract cannot send a transaction."""
    world = World(evm, token, token_args)
    people = world.people
    world.operator_bonds = evm.deploy(
        "OperatorBonds",
        world.manager,
        world.token,
        DISPUTES,
        CHALLENGES,
        people.remediation_fund,
        THAW_SECONDS,
        0,
        sender=people.admin,
    )
    selectors = [world.operator_bonds.selector("setMinimumBond")]
    world.manager.setTargetFunctionRole(world.operator_bonds, selectors, COUNCIL_ROLE, sender=people.admin)
    return world


@pytest.fixture
def world(evm: Evm) -> World:
    """Operator bonds with neighbors that tests can speak for."""
    return bonds_on(evm)


def fund(world: World, signer: Account, amount: int = BOND, payer: Account | None = None) -> Any:
    """Put money behind a signer."""
    payer = payer or world.people.stranger
    world.token.mint(payer, amount, sender=payer)
    world.token.approve(world.operator_bonds, amount, sender=payer)
    return world.operator_bonds.deposit(signer, amount, sender=payer)


def slash(world: World, signer: Account, reporter: Account | str = REPORTER) -> Any:
    """Slash as the disputes contract would."""
    return world.operator_bonds.slash(signer, reporter, sender=DISPUTES)


def refuses(error: str, *arguments: Any) -> Any:
    """The custom error, with its arguments where they are given."""
    text = f"{error}({', '.join(map(str, arguments))})" if arguments else f"{error}("
    return pytest.raises(Reverted, match=text.replace("(", r"\(").replace(")", r"\)"))


# -- deployment ----------------------------------------------------------------------------------------------


ARGUMENTS = ["authority", "token", "disputes", "challenges", "remediationFund"]


@pytest.mark.parametrize("missing", range(len(ARGUMENTS)))
def test_constructor_refuses_zero_addresses(shared_world: World, missing: int) -> None:
    people = shared_world.people
    addresses = [shared_world.manager.address, shared_world.token.address] + [people.stranger.address] * 3
    addresses[missing] = ZERO_ADDRESS
    with refuses("OperatorBonds_ZeroAddress", ARGUMENTS[missing]):
        shared_world.evm.deploy("OperatorBonds", *addresses, THAW_SECONDS, 0, sender=people.stranger)


def test_constructor_refuses_a_thaw_shorter_than_ninety_days(shared_world: World) -> None:
    people = shared_world.people
    addresses = [shared_world.manager.address, shared_world.token.address] + [people.stranger.address] * 3
    with refuses("OperatorBonds_ThawTooShort", THAW_SECONDS - 1, THAW_SECONDS):
        shared_world.evm.deploy("OperatorBonds", *addresses, THAW_SECONDS - 1, 0, sender=people.stranger)
    made = shared_world.evm.deploy("OperatorBonds", *addresses, THAW_SECONDS, 7, sender=people.stranger)
    assert (made.thawSeconds(), made.minimumBond()) == (THAW_SECONDS, 7)


def test_it_names_its_neighbors(shared_world: World) -> None:
    bonds = shared_world.operator_bonds
    assert bonds.token() == shared_world.token.address
    assert bonds.disputes() == shared_world.disputes.address
    assert bonds.challenges() == shared_world.challenges.address
    assert bonds.remediationFund() == shared_world.people.remediation_fund.address


# -- paying in -----------------------------------------------------------------------------------------------


def test_anyone_bonds_for_a_signer_and_it_becomes_the_signers(world: World) -> None:
    receipt = fund(world, SIGNER, payer=world.people.buyer)
    assert world.operator_bonds.bonded(SIGNER) == BOND
    assert world.operator_bonds.bond(SIGNER) == (BOND, 0, 0)
    (event,) = receipt.named("BondDeposited")
    assert (event.signer, event.amount) == (SIGNER.address, BOND)
    assert vars(event)["from"] == world.people.buyer.address
    with refuses("OperatorBonds_InsufficientBond"):
        world.operator_bonds.thaw(1, sender=world.people.buyer)


def test_deposit_refuses_nobody_and_nothing(world: World) -> None:
    with refuses("OperatorBonds_ZeroSigner"):
        world.operator_bonds.deposit(ZERO_ADDRESS, 1, sender=SIGNER)
    with refuses("OperatorBonds_ZeroAmount"):
        world.operator_bonds.deposit(SIGNER, 0, sender=SIGNER)


def test_deposit_needs_the_money(world: World) -> None:
    with pytest.raises(Reverted, match="ERC20Insufficient"):
        world.operator_bonds.deposit(SIGNER, 1, sender=SIGNER)


def test_a_bond_fits_what_counts_it_thawing_parts_included(world: World) -> None:
    fund(world, SIGNER, MAX_UINT96)
    world.operator_bonds.thaw(MAX_UINT96, sender=SIGNER)
    with refuses("OperatorBonds_BondTooLarge", SIGNER.address, MAX_UINT96 + 1):
        fund(world, SIGNER, 1)


def test_a_fee_on_transfer_is_refused() -> None:
    world = bonds_on(Evm(), "FeeToken", 100)
    with refuses("OperatorBonds_WrongDelta", 1_000, 990):
        fund(world, SIGNER, 1_000)


def test_a_token_that_returns_nothing_works_throughout() -> None:
    world = bonds_on(Evm(), "NoReturnToken")
    fund(world, SIGNER)
    slash(world, SIGNER)
    assert world.operator_bonds.payCredit(REPORTER, sender=SIGNER).value == BOND // 10
    assert world.token.balanceOf(REPORTER) == BOND // 10


# -- taking out ----------------------------------------------------------------------------------------------


def test_a_bond_leaves_after_its_thaw_and_not_a_second_before(world: World) -> None:
    fund(world, SIGNER)
    started = world.operator_bonds.thaw(400, sender=SIGNER).named("ThawStarted")
    thawed_at = world.evm.timestamp + THAW_SECONDS
    assert [(e.amount, e.thawing, e.thawedAt) for e in started] == [(400, 400, thawed_at)]
    assert world.operator_bonds.bond(SIGNER) == (BOND - 400, 400, thawed_at)
    assert world.operator_bonds.bonded(SIGNER) == BOND - 400
    world.evm.at(thawed_at - 1)
    with refuses("OperatorBonds_StillThawing", thawed_at, thawed_at - 1):
        world.operator_bonds.withdraw(GOAL, sender=SIGNER)
    world.evm.at(thawed_at)
    (event,) = world.operator_bonds.withdraw(GOAL, sender=SIGNER).named("BondWithdrawn")
    assert (event.signer, event.to, event.amount) == (SIGNER.address, GOAL.address, 400)
    assert world.token.balanceOf(GOAL) == 400
    assert world.operator_bonds.bond(SIGNER) == (BOND - 400, 0, 0)
    with refuses("OperatorBonds_NothingThawing", SIGNER.address):
        world.operator_bonds.withdraw(GOAL, sender=SIGNER)


def test_a_second_thaw_starts_the_clock_of_both_again(world: World) -> None:
    fund(world, SIGNER)
    world.operator_bonds.thaw(400, sender=SIGNER)
    world.evm.warp(THAW_SECONDS - 1)
    world.operator_bonds.thaw(1, sender=SIGNER)
    world.evm.warp(1)
    with refuses("OperatorBonds_StillThawing"):
        world.operator_bonds.withdraw(GOAL, sender=SIGNER)


def test_a_thaw_can_be_called_off(world: World) -> None:
    fund(world, SIGNER)
    world.operator_bonds.thaw(400, sender=SIGNER)
    (event,) = world.operator_bonds.cancelThaw(sender=SIGNER).named("ThawCanceled")
    assert (event.signer, event.amount) == (SIGNER.address, 400)
    assert world.operator_bonds.bond(SIGNER) == (BOND, 0, 0)
    with refuses("OperatorBonds_NothingThawing", SIGNER.address):
        world.operator_bonds.cancelThaw(sender=SIGNER)


def test_thaw_refuses_nothing_and_more_than_there_is(world: World) -> None:
    fund(world, SIGNER)
    with refuses("OperatorBonds_ZeroAmount"):
        world.operator_bonds.thaw(0, sender=SIGNER)
    with refuses("OperatorBonds_InsufficientBond", SIGNER.address, BOND, BOND + 1):
        world.operator_bonds.thaw(BOND + 1, sender=SIGNER)


def test_withdraw_refuses_a_zero_recipient_and_those_who_thaw_nothing(world: World) -> None:
    with refuses("OperatorBonds_ZeroRecipient"):
        world.operator_bonds.withdraw(ZERO_ADDRESS, sender=SIGNER)
    with refuses("OperatorBonds_NothingThawing", SIGNER.address):
        world.operator_bonds.withdraw(GOAL, sender=SIGNER)


def test_a_paused_token_delays_withdrawals_and_loses_nothing(world: World) -> None:
    fund(world, SIGNER)
    world.operator_bonds.thaw(BOND, sender=SIGNER)
    world.evm.warp(THAW_SECONDS)
    world.token.setPaused(True, sender=SIGNER)
    with pytest.raises(Reverted, match="TestUSDC_Paused"):
        world.operator_bonds.withdraw(GOAL, sender=SIGNER)
    world.token.setPaused(False, sender=SIGNER)
    world.operator_bonds.withdraw(GOAL, sender=SIGNER)
    assert world.token.balanceOf(GOAL) == BOND


# -- slashes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("proof", [DISPUTES, CHALLENGES], ids=str)
@pytest.mark.parametrize("amount", [1, 9, 10, 19, BOND, MAX_UINT96])
def test_inv_27_the_parts_of_an_operators_slash_sum_to_it(world: World, proof: Account, amount: int) -> None:
    fund(world, SIGNER, amount)
    receipt = world.operator_bonds.slash(SIGNER, REPORTER, sender=proof)
    reward = world.operator_bonds.credit(REPORTER)
    rest = world.operator_bonds.credit(world.people.remediation_fund)
    assert receipt.value == amount == reward + rest
    assert reward == amount // 10
    (event,) = receipt.named("BondSlashed")
    assert (event.signer, event.by, event.reporter) == (SIGNER.address, proof.address, REPORTER.address)
    assert (event.slashed, event.reward) == (amount, reward)


def test_a_slash_takes_what_is_thawing_and_what_has_thawed(world: World) -> None:
    fund(world, SIGNER)
    world.operator_bonds.thaw(BOND - 1, sender=SIGNER)
    world.evm.warp(2 * THAW_SECONDS)
    assert slash(world, SIGNER).value == BOND
    assert world.operator_bonds.bond(SIGNER) == (0, 0, 0)
    with refuses("OperatorBonds_NothingThawing"):
        world.operator_bonds.withdraw(GOAL, sender=SIGNER)


def test_a_slash_of_nothing_changes_nothing_and_does_not_fail(world: World) -> None:
    fund(world, SIGNER)
    slash(world, SIGNER)
    again = slash(world, SIGNER)
    assert (again.value, again.events) == (0, ())
    assert world.operator_bonds.credit(REPORTER) == BOND // 10


def test_a_slash_without_reporter_goes_to_the_fund_whole(world: World) -> None:
    fund(world, SIGNER)
    assert slash(world, SIGNER, ZERO_ADDRESS).value == BOND
    assert world.operator_bonds.credit(world.people.remediation_fund) == BOND
    assert world.operator_bonds.credit(ZERO_ADDRESS) == 0


def test_a_fund_that_reports_gets_both_parts(world: World) -> None:
    fund(world, SIGNER)
    slash(world, SIGNER, world.people.remediation_fund)
    assert world.operator_bonds.credit(world.people.remediation_fund) == BOND


@pytest.mark.parametrize(
    "name", ["admin", "council", "guardian", "stranger", "operators", "remediation_fund"]
)
def test_inv_31_no_title_slashes_an_operator(world: World, name: str) -> None:
    fund(world, SIGNER)
    caller: Account = getattr(world.people, name)
    with refuses("OperatorBonds_OnlyProofs", caller.address):
        world.operator_bonds.slash(SIGNER, caller, sender=caller)
    with refuses("OperatorBonds_OnlyProofs", SIGNER.address):
        world.operator_bonds.slash(SIGNER, SIGNER, sender=SIGNER)


def test_neither_a_pause_nor_a_blocked_wallet_stops_a_slash(world: World) -> None:
    fund(world, SIGNER)
    world.token.setPaused(True, sender=SIGNER)
    world.token.setBlocked(REPORTER, True, sender=SIGNER)
    slash(world, SIGNER)
    world.token.setPaused(False, sender=SIGNER)
    with pytest.raises(Reverted):
        world.operator_bonds.payCredit(REPORTER, sender=SIGNER)
    world.operator_bonds.payCredit(world.people.remediation_fund, sender=SIGNER)
    assert world.token.balanceOf(world.people.remediation_fund) == BOND - BOND // 10
    world.token.setBlocked(REPORTER, False, sender=SIGNER)
    world.operator_bonds.payCredit(REPORTER, sender=SIGNER)
    assert world.token.balanceOf(REPORTER) == BOND // 10


def test_credit_is_paid_once_to_its_owner_at_anybodys_call(world: World) -> None:
    fund(world, SIGNER)
    slash(world, SIGNER)
    receipt = world.operator_bonds.payCredit(REPORTER, sender=world.people.stranger)
    assert [(e.account, e.amount) for e in receipt.named("CreditPaid")] == [(REPORTER.address, BOND // 10)]
    with refuses("OperatorBonds_NoCredit", REPORTER.address):
        world.operator_bonds.payCredit(REPORTER, sender=REPORTER)


def test_the_council_sets_the_least_bond_and_touches_no_bond(world: World) -> None:
    fund(world, SIGNER)
    receipt = world.operator_bonds.setMinimumBond(5 * BOND, sender=world.people.council)
    assert [e.amount for e in receipt.named("MinimumBondSet")] == [5 * BOND]
    assert world.operator_bonds.minimumBond() == 5 * BOND
    assert world.operator_bonds.bonded(SIGNER) == BOND
    with pytest.raises(Reverted, match="AccessManagedUnauthorized"):
        world.operator_bonds.setMinimumBond(0, sender=world.people.stranger)


# -- re-entry ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["withdraw", "payCredit", "deposit"])
def test_inv_35_a_token_that_calls_back_takes_nothing_twice(inner: str) -> None:
    """The token itself is the signer, and re-enters in the middle of its own withdrawal."""
    world = bonds_on(Evm(), "CallbackToken")
    token, bonds, people = world.token, world.operator_bonds, world.people
    itself = Account("the token", b"", token.address)
    fund(world, itself, 1_000)
    fund(world, SIGNER, 1_000)
    world.operator_bonds.slash(SIGNER, itself, sender=DISPUTES)
    token.act(bonds, bonds.calldata("thaw", 600), sender=people.stranger)
    world.evm.warp(THAW_SECONDS)
    arguments = {"withdraw": (GOAL,), "payCredit": (itself,), "deposit": (itself, 1)}[inner]
    token.arm(bonds, bonds.calldata(inner, *arguments), 2, sender=people.stranger)
    token.act(bonds, bonds.calldata("withdraw", GOAL), sender=people.stranger)
    assert (token.callbacksSucceeded(), token.callbacksFailed()) == (0, 1)
    assert token.balanceOf(GOAL) == 600
    assert token.balanceOf(bonds) == 400 + 1_000
    assert bonds.bond(itself) == (400, 0, 0)


def test_inv_35_a_slash_within_a_deposit_books_both() -> None:
    """The one function that is not guarded: it moves no token, so its order does not matter."""
    world = bonds_on(Evm(), "CallbackToken")
    bonds = world.evm.deploy(
        "OperatorBonds", world.manager, world.token, world.token, world.token, world.people.remediation_fund,
        THAW_SECONDS, 0, sender=world.people.stranger,
    )  # fmt: skip
    payer = world.people.stranger
    world.token.mint(payer, 1_000, sender=payer)
    world.token.approve(bonds, 1_000, sender=payer)
    bonds.deposit(SIGNER, 700, sender=payer)
    world.token.arm(bonds, bonds.calldata("slash", SIGNER, REPORTER), 1, sender=payer)
    bonds.deposit(SIGNER, 300, sender=payer)
    assert world.token.callbacksSucceeded() == 1
    assert bonds.bonded(SIGNER) == 300
    assert bonds.credit(REPORTER) + bonds.credit(world.people.remediation_fund) == 700
    assert world.token.balanceOf(bonds) == 1_000


# -- random histories against the twin -----------------------------------------------------------------------


SIGNERS = [account(f"bonded {number}") for number in range(3)]
REPORTERS = [account(f"reporter {number}") for number in range(2)]
signers = st.integers(0, 2)
amounts = st.one_of(st.integers(1, 30), st.integers(1, 10**9))


class Bonds(RuleBasedStateMachine):
    """Deposits, thaws, withdrawals and slashes in any order, on the chain and by counting coins."""

    @initialize()
    def deploy(self) -> None:
        self.world = bonds_on(Evm())
        self.bonds = self.world.operator_bonds
        self.book = Book(self.bonds.thawSeconds())
        self.names = {one.address: one.name for one in (*SIGNERS, *REPORTERS)}
        self.names[self.world.people.remediation_fund.address] = FUND

    @rule(pick=signers, amount=amounts)
    def deposit(self, pick: int, amount: int) -> None:
        fund(self.world, SIGNERS[pick], amount)
        self.book.deposit(SIGNERS[pick].name, amount)

    @rule(pick=signers, amount=amounts)
    def thaw(self, pick: int, amount: int) -> None:
        fits = self.book.thaw(SIGNERS[pick].name, amount, self.world.evm.timestamp)
        with nullcontext() if fits else refuses("OperatorBonds_InsufficientBond"):
            self.bonds.thaw(amount, sender=SIGNERS[pick])

    @rule(pick=signers)
    def cancel(self, pick: int) -> None:
        fits = self.book.cancel(SIGNERS[pick].name)
        with nullcontext() if fits else refuses("OperatorBonds_NothingThawing"):
            self.bonds.cancelThaw(sender=SIGNERS[pick])

    @rule(pick=signers)
    def withdraw(self, pick: int) -> None:
        fits = self.book.withdraw(SIGNERS[pick].name, GOAL.name, self.world.evm.timestamp)
        refusal = pytest.raises(Reverted, match=r"OperatorBonds_(NothingThawing|StillThawing)")
        with nullcontext() if fits else refusal:
            self.bonds.withdraw(GOAL, sender=SIGNERS[pick])

    @rule(pick=signers, reporter=st.integers(-1, 1))
    def slash(self, pick: int, reporter: int) -> None:
        who = REPORTERS[reporter] if reporter >= 0 else None
        taken = self.book.slash(SIGNERS[pick].name, who.name if who else None)
        assert slash(self.world, SIGNERS[pick], who or ZERO_ADDRESS).value == taken

    @rule(pick=st.integers(0, 2))
    def collect(self, pick: int) -> None:
        who = [*REPORTERS, self.world.people.remediation_fund][pick]
        amount = self.book.collect(self.names[who.address])
        with nullcontext() if amount else refuses("OperatorBonds_NoCredit"):
            assert self.bonds.payCredit(who, sender=self.world.people.stranger).value == amount

    @rule(share=st.sampled_from([1, THAW_SECONDS // 2, THAW_SECONDS - 1, THAW_SECONDS]))
    def wait(self, share: int) -> None:
        self.world.evm.warp(share)

    @invariant()
    def same(self) -> None:
        """Chain and twin agree on everything, and the balance is exactly what is owed."""
        for one in SIGNERS:
            held = self.bonds.bond(one)
            assert held.bonded == self.book.of(one.name, thawing=False)
            assert held.thawing == self.book.of(one.name, thawing=True)
        for address, name in self.names.items():
            assert self.bonds.credit(address) == self.book.credits.get(name, 0)
        assert self.world.token.balanceOf(self.bonds) == self.book.held()
        assert self.world.token.balanceOf(GOAL) == self.book.paid.get(GOAL.name, 0)


def test_inv_27_random_histories_keep_every_base_unit_of_the_bonds() -> None:
    """A fifth of the profile's examples, each some fifty moves long."""
    profile = settings.default
    assert profile is not None
    examples = max(10, profile.max_examples // 5)
    run_state_machine_as_test(Bonds, settings=settings(profile, max_examples=examples))
