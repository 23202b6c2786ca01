"""Tokens that take fees, say no by returning false, return nothing, burn gas, or call back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest
from usufruct_protocol.terms import NoteRedirect

from tests.contracts.evm.chain import Contract, Evm, Reverted
from tests.contracts.evm.reserves import Reserve, settle_with
from tests.contracts.evm.world import DISPUTE_SECONDS, FOREVER, GUARDIAN_ROLE, World
from tests.contracts.trees import RawTree, word
from tests.contracts.wire import SPLITTER, Account, account, sign, typed_digest

PAYEES = [account(f"payee {number}") for number in range(4)]
GOAL = account("where a payee wants it")
AMOUNTS = (10, 20, 40, 80)


def funded_tree(world: World) -> tuple[RawTree, int]:
    tree = RawTree([word(payee.address, amount) for payee, amount in zip(PAYEES, AMOUNTS, strict=True)])
    world.fill_pool(1_000)
    return tree, world.issue(tree)


def pay_all(world: World, tree: RawTree, tree_id: int, **options: Any) -> int:
    receipt = world.splitter.payRange(
        tree_id, 0, tree.depth, tree.words, b"", sender=world.people.stranger, **options
    )
    return int(receipt.value)


def paid_out(world: World) -> list[int]:
    return [world.token.balanceOf(payee) for payee in PAYEES]


# -- fees ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fee_bps", [1, 100, 10_000])
def test_inv_01_a_fee_on_transfer_is_refused_at_the_door(fee_bps: int) -> None:
    world = World(Evm(), "FeeToken", (fee_bps,))
    license_id = world.accept()
    with pytest.raises(Reverted, match="RoyaltyEscrow_WrongDelta"):
        world.deposit(license_id, 1_000)
    assert world.escrow.account(license_id).deposited == 0


def test_inv_01_a_fee_that_begins_after_the_deposit_delays_finalization_and_loses_nothing() -> None:
    """The splitter would get less than was charged, and the last to be paid would find nothing."""
    world = World(Evm(), "FeeToken", (0,))
    license_id = world.accept()
    world.deposit(license_id, 1_000)
    report = world.post([(license_id, 1_000, 1_000)])
    world.until(world.settlement.state().finalizableAt)
    world.token.setFeeBps(1, sender=world.people.stranger)
    with pytest.raises(Reverted, match="RoyaltyEscrow_WrongDelta"):
        world.settlement.finalize(report, sender=world.people.stranger)
    world.token.setFeeBps(0, sender=world.people.stranger)
    world.settlement.finalize(report, sender=world.people.stranger)
    assert world.token.balanceOf(world.splitter) == 1_000


# -- tokens without answers, and with the wrong one ----------------------------------------------------------


def test_a_token_that_returns_nothing_works_throughout() -> None:
    world = World(Evm(), "NoReturnToken")
    tree, tree_id = funded_tree(world)
    world.splitter.claim(tree_id, 1, tree.words[1], tree.proof(1), sender=world.people.stranger)
    assert pay_all(world, tree, tree_id) == 10 + 40 + 80
    assert paid_out(world) == list(AMOUNTS)


def test_inv_04_a_refusal_of_a_token_that_returns_nothing_is_seen() -> None:
    world = World(Evm(), "NoReturnToken")
    tree, tree_id = funded_tree(world)
    world.token.setRefused(PAYEES[2], True, sender=world.people.stranger)
    assert pay_all(world, tree, tree_id) == 10 + 20 + 80
    assert not world.splitter.isPaid(tree_id, 2)


def test_inv_04_a_transfer_that_returns_false_is_no_payment() -> None:
    world = World(Evm(), "FalseToken")
    tree, tree_id = funded_tree(world)
    world.token.setRefused(PAYEES[1], True, sender=world.people.stranger)
    assert pay_all(world, tree, tree_id) == 10 + 40 + 80
    assert (world.splitter.isPaid(tree_id, 1), world.splitter.tree(tree_id).paid) == (False, 130)
    with pytest.raises(Reverted, match="RoyaltySplitter_TransferFailed"):
        world.splitter.claim(tree_id, 1, tree.words[1], tree.proof(1), sender=world.people.stranger)
    world.token.setRefused(PAYEES[1], False, sender=world.people.stranger)
    assert pay_all(world, tree, tree_id) == 20


def test_inv_01_a_deposit_that_returns_false_is_no_deposit() -> None:
    world = World(Evm(), "FalseToken")
    license_id = world.accept()
    world.token.setRefused(world.people.buyer, True, sender=world.people.stranger)
    with pytest.raises(Reverted, match="SafeERC20FailedOperation"):
        world.deposit(license_id, 1_000)


def test_inv_01_a_draw_that_returns_false_is_no_charge() -> None:
    world = World(Evm(), "FalseToken")
    license_id = world.accept()
    world.deposit(license_id, 1_000)
    report = world.post([(license_id, 100, 100)])
    world.until(world.settlement.state().finalizableAt)
    world.token.setRefused(world.splitter, True, sender=world.people.stranger)
    with pytest.raises(Reverted, match="SafeERC20FailedOperation"):
        world.settlement.finalize(report, sender=world.people.stranger)
    world.token.setRefused(world.splitter, False, sender=world.people.stranger)
    world.settlement.finalize(report, sender=world.people.stranger)


def test_a_party_that_the_token_refuses_keeps_its_share() -> None:
    world = World(Evm(), "FalseToken")
    license_id = world.accept()
    world.deposit(license_id, 1_000)
    world.settle([(license_id, 1_000, 1_000)])
    world.token.setRefused(world.people.community, True, sender=world.people.stranger)
    with pytest.raises(Reverted, match="RoyaltySplitter_TransferFailed"):
        world.splitter.payShare(license_id, 0, sender=world.people.stranger)
    assert world.splitter.shareCredit(license_id, 0) == 100
    assert world.splitter.payShare(license_id, 1, sender=world.people.stranger).value == 100


# -- gas -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("curse", [2, 3], ids=["return bomb", "revert bomb"])
def test_inv_04_an_answer_too_long_to_copy_does_not_stop_a_range(curse: int) -> None:
    world = World(Evm(), "GasGuzzlerToken")
    tree, tree_id = funded_tree(world)
    world.token.setCurse(PAYEES[1], curse, sender=world.people.stranger)
    paid = pay_all(world, tree, tree_id)
    assert paid == sum(paid_out(world))
    assert [world.splitter.isPaid(tree_id, index) for index in (0, 2, 3)] == [True] * 3
    # the bomb that returns has moved the money and said true; the one that reverts has not
    assert world.splitter.isPaid(tree_id, 1) is (curse == 2)


def test_inv_04_receivers_that_burn_all_gas_do_not_stop_a_range() -> None:
    world = World(Evm(), "GasGuzzlerToken")
    tree, tree_id = funded_tree(world)
    for payee in PAYEES[1:3]:
        world.token.setCurse(payee, 1, sender=world.people.stranger)
    assert pay_all(world, tree, tree_id, gas=2_000_000) == 10 + 80
    assert paid_out(world) == [10, 0, 0, 80]
    for payee in PAYEES[1:3]:
        world.token.setCurse(payee, 0, sender=world.people.stranger)
    assert pay_all(world, tree, tree_id) == 20 + 40


# -- re-entry ------------------------------------------------------------------------------------------------


class Reentry(NamedTuple):
    """How a call with calls inside ended."""

    sums: tuple[Any, ...]
    went_through: bool
    callbacks_ran: int
    callbacks_failed: int


class Scene:
    """A chain where every call that moves money is possible at once, with a token that calls back.

    The token is also the buyer of one covered license and a guardian, so that its callback may do what only
    those may. Calls are (target, call data): the callback must be able to make any of them.
    """

    def __init__(self) -> None:
        self.world = world = World(Evm(), "CallbackToken")
        people = world.people
        self.mine = world.accept(buyer=world.token, ends_at=world.evm.timestamp + 3_600)
        self.running = world.accept()
        for license_id in (self.mine, self.running):
            world.deposit(license_id, 5_000)
        world.settle([(self.running, 1_000, 1_000)])
        self.tree, self.tree_id = funded_tree(world)
        self.reserve = Reserve((30,), [PAYEES[3]])
        last = settle_with(world, self.reserve)
        world.settlement.issueReserve(last, sender=world.wind_down)
        self.reserve_id = 2 * last.epoch + 1
        self.other = world.evm.deploy("CallbackToken", sender=people.stranger)
        self.other.mint(world.splitter, 77, sender=people.stranger)
        world.manager.grantRole(GUARDIAN_ROLE, world.token, 0, sender=people.admin)
        world.token.mint(world.token, 1_000, sender=people.stranger)
        approval = world.token.calldata("approve", world.escrow, 1_000)
        world.token.act(world.token, approval, sender=people.stranger)
        self.report = world.post([(self.running, 2_000, 1_000)])
        world.until(world.evm.timestamp + DISPUTE_SECONDS)
        self.calls: dict[str, tuple[Contract, bytes]] = dict(self._calls())

    def _calls(self) -> Iterable[tuple[str, tuple[Contract, bytes]]]:
        world, tree = self.world, self.tree
        splitter, escrow, settlement = world.splitter, world.escrow, world.settlement
        redirect = NoteRedirect(
            self.tree_id,
            1,
            bytes.fromhex(PAYEES[1].address[2:]),
            20,
            bytes.fromhex(GOAL.address[2:]),
            FOREVER,
        )
        digest = typed_digest(SPLITTER, world.evm.chain_id, splitter.address, "NoteRedirect", redirect)
        signed = sign(PAYEES[1].key, digest).full
        note = (self.tree_id, 1, tree.words[1])
        yield "deposit", (escrow, escrow.calldata("deposit", self.running, 300))
        yield "withdraw", (escrow, escrow.calldata("withdraw", self.mine, 400, world.token))
        yield "finalize", (settlement, settlement.calldata("finalize", self.report))
        yield "reject", (settlement, settlement.calldata("reject", self.report, "re-entered"))
        yield "payRange", (splitter, splitter.calldata("payRange", self.tree_id, 0, 2, tree.words, b""))
        yield "claim", (splitter, splitter.calldata("claim", *note, tree.proof(1)))
        yield (
            "redirect",
            (splitter, splitter.calldata("redirect", *note, GOAL, FOREVER, signed, tree.proof(1))),
        )
        yield "claimMany", (splitter, splitter.calldata("claimMany", [(*note, tree.proof(1))]))
        leaf = splitter.calldata("claimReserve", self.reserve_id, *self.reserve.opening(0))
        yield "claimReserve", (splitter, leaf)
        yield "payShare", (splitter, splitter.calldata("payShare", self.running, 0))
        yield "rescue", (splitter, splitter.calldata("rescue", self.other))

    def call(self, name: str) -> bool:
        """Make one of the calls, as the token; whether it succeeded."""
        target, data = self.calls[name]
        try:
            self.world.token.act(target, data, sender=self.world.people.stranger)
        except Reverted:
            return False
        return True

    def sums(self) -> tuple[Any, ...]:
        """Every balance and every total, for comparison."""
        world = self.world
        holders: list[Account | Contract] = [
            *PAYEES, GOAL, world.people.community, world.people.steward, world.people.buyer,
            world.token, world.escrow, world.splitter,
        ]  # fmt: skip
        return (
            tuple(world.token.balanceOf(holder) for holder in holders),
            tuple(world.escrow.account(license_id) for license_id in (self.mine, self.running)),
            tuple(world.splitter.shareCredit(self.running, party) for party in range(4)),
            world.splitter.pool(),
            world.splitter.tree(self.tree_id),
            world.splitter.paidBits(self.tree_id, 0),
            world.splitter.isPaid(self.reserve_id, 0),
            self.other.balanceOf(world.people.custodian),
            world.settlement.state().lastEpoch,
            world.settlement.state().pending,
        )

    def after(self, *names: str) -> tuple[Any, ...]:
        """Sums after these calls, one after the other; the chain is as before again."""
        with self.world.evm.undone():
            for name in names:
                self.call(name)
            return self.sums()

    def after_reentry(self, outer: str, inner: str, times: int) -> Reentry:
        """What a call leaves whose first transfers each make another call."""
        target, data = self.calls[inner]
        with self.world.evm.undone():
            self.world.token.arm(target, data, times, sender=self.world.people.stranger)
            went_through = self.call(outer)
            self.world.token.arm(target, b"", 0, sender=self.world.people.stranger)
            ran, failed = self.world.token.callbacksSucceeded(), self.world.token.callbacksFailed()
            return Reentry(self.sums(), went_through, ran, failed)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


NAMES = (
    "deposit", "withdraw", "finalize", "reject", "payRange", "claim", "claimMany", "claimReserve", "redirect",
    "payShare", "rescue",
)  # fmt: skip
QUIET = ("reject", "rescue")
"""Calls in which this token is not moved, so that it cannot call back."""


@pytest.mark.parametrize("name", NAMES)
def test_the_scene_allows_every_call_alone(scene: Scene, name: str) -> None:
    with scene.world.evm.undone():
        before = scene.sums()
        assert scene.call(name)
        assert scene.sums() != before


@pytest.mark.parametrize("inner", NAMES)
@pytest.mark.parametrize("outer", [name for name in NAMES if name not in QUIET])
def test_inv_35_calls_within_a_call_end_as_if_made_before_or_after(
    scene: Scene, outer: str, inner: str
) -> None:
    """Re-entered at the worst moment, the sums are those of some order of the same calls, or of none."""
    for times in (1, 8):
        ended = scene.after_reentry(outer, inner, times)
        if not ended.went_through:
            assert ended.sums == scene.after()
            continue
        assert ended.callbacks_ran + ended.callbacks_failed > 0, "no callback came: this would prove nothing"
        inners = [inner] * ended.callbacks_ran
        assert ended.sums in (scene.after(outer, *inners), scene.after(*inners, outer))


def test_inv_35_a_note_is_not_drawn_twice_by_a_callback_in_the_middle_of_its_range(scene: Scene) -> None:
    """What an unguarded prototype allowed: the bits of a range are written after its transfers."""
    for inner in ("payRange", "claim", "claimMany", "redirect"):
        ended = scene.after_reentry("payRange", inner, 8)
        assert (ended.went_through, ended.callbacks_ran) == (True, 0)
        assert ended.sums == scene.after("payRange")


def test_inv_35_only_money_leaving_the_splitter_stops_a_finalization_from_within(scene: Scene) -> None:
    """It sees less than it was sent and refuses; the report stays pending, and works without the callback."""
    stopped = {name for name in NAMES if not scene.after_reentry("finalize", name, 1).went_through}
    assert stopped == {"payRange", "claim", "claimMany", "claimReserve", "redirect", "payShare"}
    assert scene.after("finalize") != scene.after()
