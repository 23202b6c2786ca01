"""After the end: refunds, the last reserve, and what it left. Every base unit leaves, each of them once."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.reserves import Reserve
from tests.contracts.evm.winding_down import (
    AMOUNTS,
    NOTICE,
    SETTLING,
    SUBMIT_CLOCK,
    Ending,
    Shown,
    everything_leaves,
)
from tests.contracts.evm.world import World
from tests.contracts.trees import RawTree, word
from tests.reference import wind_down as reference

# -- refunds -------------------------------------------------------------------------------------------------


def test_inv_28_the_wind_down_alone_refunds_nobody(ending: Ending) -> None:
    """Announced, closed, almost settled: the license runs, and its buyer has to wait."""
    world = ending.world
    moments = [0, SUBMIT_CLOCK, NOTICE, SETTLING - 1]
    steps = [lambda: None, ending.announce, ending.close, lambda: None]
    for seconds, step in zip(moments, steps, strict=True):
        world.evm.warp(seconds)
        step()
        with pytest.raises(Reverted, match="RoyaltyEscrow_NotCovered"):
            ending.withdraw(1)
    world.evm.warp(1)
    ending.withdraw(9_000)
    assert ending.balance(world.people.buyer) == 9_000


def test_no_license_is_accepted_after_the_end(ending: Ending) -> None:
    """It would allow use that nobody could be made to pay for. Up to the closing one is as good as ever."""
    world = ending.world
    world.evm.warp(SUBMIT_CLOCK)
    ending.announce()
    world.evm.warp(NOTICE)
    with world.evm.undone():
        world.accept()
    ending.close()
    offer = world.offer(upfront_fee=700)
    world.token.mint(world.people.buyer, 700, sender=world.people.buyer)
    world.token.approve(world.fees, 700, sender=world.people.buyer)
    licenses = world.registry.licenseCount()
    with pytest.raises(Reverted, match="LicenseRegistry_SettlementStopped") as refused:
        world.registry.accept(offer, world.sign_offer(offer), sender=world.people.buyer)
    assert refused.value.arguments == (world.settlement.address,)
    assert world.registry.licenseCount() == licenses
    assert ending.balance(world.people.buyer) == 700


def test_a_refund_goes_to_the_buyer_for_what_is_there(closed: Ending) -> None:
    closed.open_refunds()
    people, escrow = closed.world.people, closed.world.escrow
    with pytest.raises(Reverted, match="RoyaltyEscrow_NotBuyer"):
        escrow.withdraw(closed.license_id, 1, people.stranger, sender=people.stranger)
    with pytest.raises(Reverted, match="RoyaltyEscrow_InsufficientBalance"):
        closed.withdraw(9_001)
    closed.withdraw(9_000)
    assert closed.account().available == 0


def test_a_refund_does_not_wait_for_what_nobody_settled() -> None:
    """600 were due and held back by the cap; there was a month for anyone to settle them."""
    ending = Ending.of(Reserve((50,)), max_charge_per_epoch=1_000)
    ending.last = ending.world.settle([(ending.license_id, 3_000, 400)])
    ending.vanish()
    assert ending.world.escrow.due(ending.license_id) == 1_600
    ending.open_refunds()
    ending.withdraw(8_600)


def test_inv_15_a_pending_report_gives_back_what_it_held(ending: Ending) -> None:
    world = ending.world
    pending = world.post([(ending.license_id, 6_000, 5_000)])
    world.evm.warp(SUBMIT_CLOCK)
    ending.announce()
    world.evm.warp(NOTICE)
    receipt = ending.close(pending)
    assert receipt.named("ReportRejected")[0].reason == "wind-down"
    ending.open_refunds()
    ending.withdraw(9_000)
    assert (ending.account().reserved, ending.account().available) == (0, 0)


# -- the reserve and what it leaves --------------------------------------------------------------------------


def test_inv_29_closing_issues_the_last_reserve(ending: Ending) -> None:
    assert ending.world.splitter.pool() == 700
    ending.vanish()
    assert ending.world.splitter.pool() == 700 - sum(AMOUNTS)
    tree = ending.world.splitter.tree(ending.tree_id)
    assert (tree.root, tree.total, tree.count) == (ending.reserve.root, sum(AMOUNTS), 3)
    with pytest.raises(Reverted, match="UsageSettlement_ReserveAlreadyIssued"):
        ending.world.settlement.issueReserve(ending.last, sender=ending.world.people.stranger)


def test_inv_30_a_void_report_and_the_reserve_do_not_both_pay(ending: Ending) -> None:
    """The pending report would have issued as notes what the reserve of the last one pays now."""
    world = ending.world
    notes = RawTree([word(payee.address, 100) for payee in ending.reserve.payees])
    pending = world.post(notes=notes)
    world.evm.warp(SUBMIT_CLOCK)
    ending.announce()
    world.evm.warp(NOTICE)
    ending.close(pending)
    with pytest.raises(Reverted, match="UsageSettlement_NothingPending"):
        world.settlement.finalize(pending, sender=world.people.stranger)
    with pytest.raises(Reverted, match="RoyaltySplitter_UnknownTree"):
        world.splitter.claim(
            2 * pending.epoch, 0, notes.words[0], notes.proof(0), sender=world.people.stranger
        )
    ending.claim(0)


def test_inv_43_after_the_committee_vanishes_every_base_unit_leaves(ending: Ending) -> None:
    ending.vanish()
    assert ending.settle_late(Shown(ending.lanes[0], 3_333), Shown(ending.lanes[1], 111)) == 2_444
    everything_leaves(ending, refund=6_556)


def test_inv_43_also_with_a_report_pending_and_nothing_settled(ending: Ending) -> None:
    world = ending.world
    pending = world.post([(ending.license_id, 6_000, 5_000)])
    world.evm.warp(SUBMIT_CLOCK)
    ending.announce()
    world.evm.warp(NOTICE)
    ending.close(pending)
    everything_leaves(ending, refund=9_000)


def test_inv_43_also_when_everything_was_used(ending: Ending) -> None:
    ending.vanish()
    assert ending.settle_late(Shown(ending.lanes[0], 10**6)) == 9_000
    everything_leaves(ending, refund=0)


def test_inv_43_without_a_reserve_the_custodian_gets_the_pool() -> None:
    ending = Ending.of(Reserve(()))
    ending.vanish()
    with pytest.raises(Reverted, match="WindDown_StillSettling"):
        ending.end.payCustodian(sender=ending.world.people.stranger)
    ending.settle_late(Shown(ending.lanes[0], 1_500))
    ending.open_refunds()
    receipt = ending.end.payCustodian(sender=ending.world.people.stranger)
    (event,) = receipt.named("CustodianPaid")
    assert (event.to, event.amount) == (ending.world.people.custodian.address, 1_050)
    assert ending.balance(ending.world.people.custodian) == 1_050
    with pytest.raises(Reverted, match="WindDown_NothingToPay"):
        ending.end.payCustodian(sender=ending.world.people.stranger)


def test_inv_43_a_settlement_that_never_finalized_a_report_returns_what_it_holds(world: World) -> None:
    license_id = world.accept()
    world.deposit(license_id, 500)
    pending = world.post([(license_id, 100, 100)])
    world.evm.warp(SUBMIT_CLOCK)
    world.wind_down.announce(sender=world.people.stranger)
    world.evm.warp(NOTICE)
    world.wind_down.close(pending, pending, sender=world.people.stranger)
    assert world.wind_down.reserveTree() == 0
    world.evm.warp(SETTLING)
    world.escrow.withdraw(license_id, 500, world.people.buyer, sender=world.people.buyer)
    with pytest.raises(Reverted, match="WindDown_NothingToPay"):
        world.wind_down.payCustodian(sender=world.people.stranger)
    with pytest.raises(Reverted, match="RoyaltySplitter_IndexOutOfRange"):
        world.wind_down.claimSupplement(0, 1, bytes(32), b"", sender=world.people.stranger)
    assert world.token.balanceOf(world.escrow) == 0


def test_before_the_closing_nothing_of_the_pool_is_paid(ending: Ending) -> None:
    with pytest.raises(Reverted, match="WindDown_StillSettling"):
        ending.end.payCustodian(sender=ending.world.people.stranger)
    with pytest.raises(Reverted, match="RoyaltySplitter_IndexOutOfRange"):
        ending.supplement(0)
    ending.vanish()
    with pytest.raises(Reverted, match="WindDown_StillSettling"):
        ending.supplement(0)
    with pytest.raises(Reverted, match="WindDown_HasReserve"):
        ending.end.payCustodian(sender=ending.world.people.stranger)


def test_a_supplement_needs_the_leaf(closed: Ending) -> None:
    closed.open_refunds()
    index, note, salt, proof = closed.reserve.opening(1)
    stranger = closed.world.people.stranger
    for wrong in ((0, note, salt, proof), (1, note + 1, salt, proof), (1, note, bytes(32), proof)):
        with pytest.raises(Reverted, match="RoyaltySplitter_ProofMismatch"):
            closed.end.claimSupplement(*wrong, sender=stranger)
    with pytest.raises(Reverted, match="RoyaltySplitter_BadProofLength"):
        closed.end.claimSupplement(index, note, salt, proof[:-1], sender=stranger)
    with pytest.raises(Reverted, match="RoyaltySplitter_IndexOutOfRange"):
        closed.end.claimSupplement(3, note, salt, proof, sender=stranger)
    with pytest.raises(Reverted, match="RoyaltySplitter_ZeroWord"):
        closed.end.claimSupplement(1, 0, salt, proof, sender=stranger)


def test_inv_03_a_supplement_is_paid_once(closed: Ending) -> None:
    closed.open_refunds()
    assert closed.supplement(1) == 343 * 250 // 357
    with pytest.raises(Reverted, match="WindDown_NothingToPay"):
        closed.supplement(1)


def test_inv_04_a_refused_supplement_stays_payable(closed: Ending) -> None:
    closed.open_refunds()
    token, payee = closed.world.token, closed.reserve.payees[1]
    token.setBlocked(payee, True, sender=payee)
    with pytest.raises(Reverted, match="TestUSDC_Blocked"):
        closed.supplement(1)
    assert (closed.end.supplementPaid(1), closed.end.collected()) == (0, 0)
    token.setBlocked(payee, False, sender=payee)
    assert closed.supplement(1) == 343 * 250 // 357


FEWER = settings(max_examples=max(10, (settings.default or settings()).max_examples // 4))
"""Each example is a whole history with an end."""
amounts = st.lists(st.integers(1, 10**6), min_size=1, max_size=5)


@FEWER
@given(amounts, st.lists(st.tuples(st.integers(1, 10**6), st.sets(st.integers(0, 4))), max_size=3))
def test_inv_43_supplements_are_what_the_reference_computes(
    shared_world: World, parts: list[int], rounds: list[tuple[int, set[int]]]
) -> None:
    """Some claim early, some late, and income still comes in: each ends with a part of everything."""
    world = shared_world
    with world.evm.undone():
        charge = 2 * sum(parts) + 10
        ending = Ending.of(Reserve(parts), world, deposit=charge, charge=charge, lanes=0)
        held = [hold_fee(world, more) for more, _ in rounds]
        ending.vanish()
        ending.open_refunds()
        collected = ending.world.splitter.pool()
        for license_id, (more, early) in zip(held, rounds, strict=True):
            for index in early & set(range(len(parts))):
                claim_if_any(ending, index)
            world.fees.releaseUpfront(license_id, sender=world.people.buyer)
            collected += more
        for index in range(len(parts)):
            claim_if_any(ending, index)
        got = [ending.end.supplementPaid(index) for index in range(len(parts))]
        assert got == reference.supplements(parts, collected)
        assert 0 <= collected - sum(got) < len(parts)


def claim_if_any(ending: Ending, index: int) -> None:
    try:
        ending.supplement(index)
    except Reverted as refused:
        if refused.name != "WindDown_NothingToPay":
            raise


def hold_fee(world: World, amount: int) -> int:
    """Accept a license whose upfront fee all goes to contributors, once somebody releases it."""
    world.registry.setFloors(0, 0, sender=world.people.council)
    buyer = world.people.buyer
    world.token.mint(buyer, amount, sender=buyer)
    world.token.approve(world.fees, amount, sender=buyer)
    return world.accept(
        contributors_bps=10_000, community_bps=0, steward_bps=0, platform_bps=0, operators_bps=0,
        upfront_fee=amount, cooling_off_seconds=0,
    )  # fmt: skip


# -- hostile tokens ------------------------------------------------------------------------------------------


def test_inv_01_a_fee_that_begins_late_stops_late_charges_and_loses_nothing() -> None:
    ending = Ending.of(Reserve(AMOUNTS), World(Evm(), "FeeToken", (0,)))
    ending.vanish()
    ending.world.token.setFeeBps(100, sender=ending.world.people.stranger)
    with pytest.raises(Reverted, match="RoyaltyEscrow_WrongDelta"):
        ending.settle_late(Shown(ending.lanes[0], 3_000))
    ending.open_refunds()
    with pytest.raises(Reverted, match="WindDown_WrongDelta"):
        ending.supplement(0)
    ending.world.token.setFeeBps(0, sender=ending.world.people.stranger)
    ending.supplement(0)


@pytest.mark.parametrize("inner", ["settleLate", "claimSupplement", "claimReserve", "withdraw", "payShare"])
@pytest.mark.parametrize("outer", ["settleLate", "claimSupplement", "claimReserve", "recordPause"])
def test_inv_35_calls_within_a_call_of_the_wind_down_change_no_total(outer: str, inner: str) -> None:
    """The token calls back in the middle of a transfer: the sums are those of some order of the calls."""
    ending = Ending.of(Reserve(AMOUNTS), World(Evm(), "CallbackToken"))
    world, token = ending.world, ending.world.token
    stranger = world.people.stranger
    mine = world.accept(buyer=token)
    world.deposit(mine, 100)
    ending.vanish()
    if "settleLate" not in (outer, inner):
        ending.open_refunds()
    shown = Shown(ending.lanes[0], 3_000)
    late = (ending.license_id, [shown.struct], ending.signed([shown]))
    opening = ending.reserve.opening(0)
    calls = {
        "settleLate": (ending.end, ending.end.calldata("settleLate", *late)),
        "claimSupplement": (ending.end, ending.end.calldata("claimSupplement", *opening)),
        "claimReserve": (world.splitter, world.splitter.calldata("claimReserve", ending.tree_id, *opening)),
        "withdraw": (world.escrow, world.escrow.calldata("withdraw", mine, 100, token)),
        "payShare": (world.splitter, world.splitter.calldata("payShare", ending.license_id, 0)),
        "recordPause": (ending.end, ending.end.calldata("recordPause")),
    }

    def sums() -> tuple[int, ...]:
        payees = (*ending.reserve.payees, world.people.community, token)
        balances = map(ending.balance, (*payees, world.escrow, world.splitter, ending.end))
        return (*balances, world.splitter.pool(), ending.end.collected())

    def after(*names: str) -> tuple[int, ...]:
        with world.evm.undone():
            for name in names:
                with contextlib.suppress(Reverted):
                    token.act(*calls[name], sender=stranger)
            return sums()

    with world.evm.undone():
        token.arm(*calls[inner], 4, sender=stranger)
        try:
            token.act(*calls[outer], sender=stranger)
        except Reverted:
            assert sums() == after()
        else:
            assert token.callbacksSucceeded() + token.callbacksFailed() > 0, "no callback came"
        token.arm(token, b"", 0, sender=stranger)
        ended = sums()
    assert ended in (after(), after(outer), after(outer, inner), after(inner, outer))
