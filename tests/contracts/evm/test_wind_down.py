"""When reports stop, everybody gets their money out, and nobody gets more than theirs."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.reserves import Reserve
from tests.contracts.evm.winding_down import (
    AMOUNTS,
    DAY,
    FINALIZE_CLOCK,
    NOTICE,
    SETTLING,
    SUBMIT_CLOCK,
    Ending,
    Shown,
)
from tests.contracts.evm.world import EPOCH_SECONDS, World
from tests.contracts.trees import RawTree, word
from tests.contracts.wire import ZERO_ADDRESS, account, sign
from tests.reference import wind_down as reference


@pytest.fixture
def ending() -> Ending:
    return Ending.of(Reserve(AMOUNTS))


@pytest.fixture
def closed(ending: Ending) -> Ending:
    ending.vanish()
    return ending


# -- the clocks ----------------------------------------------------------------------------------------------


def test_nobody_can_announce_while_reports_come(ending: Ending) -> None:
    for _ in range(2):
        ending.world.until(ending.submitted_at + SUBMIT_CLOCK - 1)
        with pytest.raises(Reverted, match="WindDown_ReportsRunning"):
            ending.announce()
        ending.world.settle()


def test_ninety_days_without_a_submit_are_enough(ending: Ending) -> None:
    ending.world.until(ending.submitted_at + SUBMIT_CLOCK)
    (event,) = ending.announce().named("WindDownAnnounced")
    assert (event.by, event.byCouncil) == (ending.world.people.stranger.address, False)
    assert ending.end.announcedAt() == ending.world.evm.timestamp


def test_a_committee_that_submits_and_never_finishes_is_out_of_time_after_180_days(ending: Ending) -> None:
    """Each report is rejected: none of them is ever final."""
    world = ending.world
    finalized_at = world.settlement.lastFinalizedAt()
    while world.evm.timestamp + 60 * DAY < finalized_at + FINALIZE_CLOCK:
        world.evm.warp(60 * DAY)
        world.settlement.rejectByCouncil(world.post(), "a test", sender=world.people.council)
        with pytest.raises(Reverted, match="WindDown_ReportsRunning"):
            ending.announce()
    world.until(finalized_at + FINALIZE_CLOCK)
    ending.announce()
    # a further submit does not prove that clock wrong
    world.evm.warp(NOTICE)
    world.settlement.rejectByCouncil(world.post(), "a test", sender=world.people.council)
    ending.close()


def test_before_the_first_report_the_clock_runs_from_the_deployment(world: World) -> None:
    world.evm.warp(SUBMIT_CLOCK - 1)
    with pytest.raises(Reverted, match="WindDown_ReportsRunning"):
        world.wind_down.announce(sender=world.people.stranger)
    world.evm.warp(1)
    world.wind_down.announce(sender=world.people.stranger)


def test_an_announcement_stands_once(ending: Ending) -> None:
    ending.world.evm.warp(SUBMIT_CLOCK)
    ending.announce()
    ending.world.evm.warp(1)
    with pytest.raises(Reverted, match="WindDown_AlreadyAnnounced"):
        ending.announce()


def test_a_committee_that_comes_back_within_the_notice_stays(ending: Ending) -> None:
    world = ending.world
    world.evm.warp(SUBMIT_CLOCK)
    ending.announce()
    world.evm.warp(NOTICE - 10)
    back = world.post()
    assert ending.end.announcedAt() == 0
    world.evm.warp(10)
    with pytest.raises(Reverted, match="WindDown_NotAnnounced"):
        ending.close(back)
    world.until(world.settlement.state().finalizableAt)
    world.settlement.finalize(back, sender=world.people.stranger)
    world.until(ending.submitted_at + SUBMIT_CLOCK - 1)
    with pytest.raises(Reverted, match="WindDown_ReportsRunning"):
        ending.announce()
    # when it vanishes again there is a new notice
    world.evm.warp(1)
    ending.announce()
    world.evm.warp(NOTICE - 1)
    with pytest.raises(Reverted, match="WindDown_NoticeRunning"):
        ending.close(last=back)
    world.evm.warp(1)
    ending.close(last=back)


def test_a_report_long_pending_can_be_finalized_in_the_notice_and_is_the_last_then(ending: Ending) -> None:
    world = ending.world
    late = world.post([(ending.license_id, 2_000, 1_000)], **ending.reserve.in_report)
    world.evm.warp(SUBMIT_CLOCK)
    ending.announce()
    world.settlement.finalize(late, sender=world.people.stranger)
    world.evm.warp(NOTICE)
    with pytest.raises(Reverted, match="UsageSettlement_WrongEpoch"):
        ending.close()
    ending.close(last=late)
    assert ending.end.reserveTree() == 2 * late.epoch + 1


def test_closing_needs_an_announcement_and_its_notice(ending: Ending) -> None:
    with pytest.raises(Reverted, match="WindDown_NotAnnounced"):
        ending.close()
    ending.world.evm.warp(SUBMIT_CLOCK)
    ending.announce()
    ending.world.evm.warp(NOTICE - 1)
    with pytest.raises(Reverted, match="WindDown_NoticeRunning"):
        ending.close()
    ending.world.evm.warp(1)
    (event,) = ending.close().named("WindDownClosed")
    assert (event.lastEpoch, event.reserveTree) == (ending.last.epoch, ending.tree_id)
    assert ending.world.settlement.stopped()


def test_after_the_closing_nothing_can_be_announced_canceled_or_closed(closed: Ending) -> None:
    council = closed.world.people.council
    for attempt in (
        closed.announce,
        closed.close,
        lambda: closed.end.announceByCouncil(sender=council),
        lambda: closed.end.cancelByCouncil(sender=council),
    ):
        with pytest.raises(Reverted, match="WindDown_AlreadyClosed"):
            attempt()
    with pytest.raises(Reverted, match="UsageSettlement_Stopped"):
        closed.world.post()


# -- the council ---------------------------------------------------------------------------------------------


def test_inv_31_only_the_council_announces_while_reports_come_and_only_it_cancels_that(
    ending: Ending,
) -> None:
    people = ending.world.people
    for outsider in (people.stranger, people.guardian, people.steward, people.buyer):
        for name in ("announceByCouncil", "cancelByCouncil"):
            with pytest.raises(Reverted, match="AccessManagedUnauthorized"):
                getattr(ending.end, name)(sender=outsider)
    with pytest.raises(Reverted, match="WindDown_NotAnnounced"):
        ending.end.cancelByCouncil(sender=people.council)
    ending.end.announceByCouncil(sender=people.council)
    with pytest.raises(Reverted, match="WindDown_AlreadyAnnounced"):
        ending.end.announceByCouncil(sender=people.council)
    ending.world.evm.warp(NOTICE)
    ending.end.cancelByCouncil(sender=people.council)
    with pytest.raises(Reverted, match="WindDown_NotAnnounced"):
        ending.close()


def test_inv_31_a_council_cannot_delay_what_the_clocks_announced(ending: Ending) -> None:
    """It announces and cancels all the time; the notice of the clocks' announcement runs on."""
    world, council = ending.world, ending.world.people.council
    ending.end.announceByCouncil(sender=council)
    world.evm.warp(SUBMIT_CLOCK)
    ending.announce()
    ending.end.cancelByCouncil(sender=council)
    world.evm.warp(NOTICE - 1)
    ending.end.announceByCouncil(sender=council)
    with pytest.raises(Reverted, match="WindDown_NoticeRunning"):
        ending.close()
    world.evm.warp(1)
    ending.close()


def test_inv_43_a_council_that_ends_a_healthy_settlement_costs_nobody_a_unit(ending: Ending) -> None:
    """Reports go on in the notice; what the pending one would have charged is settled by checkpoints."""
    world = ending.world
    ending.end.announceByCouncil(sender=world.people.council)
    last = world.settle([(ending.license_id, 2_000, 1_000)], **ending.reserve.in_report)
    world.evm.warp(NOTICE)
    pending = world.post([(ending.license_id, 5_000, 3_000)])
    with pytest.raises(Reverted, match="UsageSettlement_WrongReport"):
        ending.close(last, last)
    ending.last = last
    ending.close(pending)
    acct = ending.account()
    assert (acct.available, acct.reserved, acct.cumulativeUnits) == (8_000, 0, 2_000)
    with pytest.raises(Reverted, match="UsageSettlement_NothingPending"):
        world.settlement.finalize(pending, sender=world.people.stranger)
    assert ending.settle_late(Shown(ending.lanes[0], 4_000), Shown(ending.lanes[1], 1_000)) == 3_000
    everything_leaves(ending, refund=5_000)


def test_a_committee_that_reports_keeps_its_settlement_against_everybody_but_the_council(
    ending: Ending,
) -> None:
    for _ in range(5):
        ending.world.evm.warp(60 * DAY)
        with pytest.raises(Reverted, match="WindDown_ReportsRunning"):
            ending.announce()
        with pytest.raises(Reverted, match="WindDown_NotAnnounced"):
            ending.close()
        ending.world.settle()


# -- a token that stands still -------------------------------------------------------------------------------


def pause(ending: Ending, is_paused: bool) -> None:
    ending.world.token.setPaused(is_paused, sender=ending.world.people.stranger)
    assert ending.end.recordPause(sender=ending.world.people.stranger).value is is_paused


def test_a_recorded_pause_stops_every_clock(ending: Ending) -> None:
    world = ending.world
    world.until(ending.submitted_at + SUBMIT_CLOCK - DAY)
    pause(ending, True)
    world.evm.warp(400 * DAY)
    with pytest.raises(Reverted, match="WindDown_ReportsRunning"):
        ending.announce()
    pause(ending, False)
    world.evm.warp(DAY - 1)
    with pytest.raises(Reverted, match="WindDown_ReportsRunning"):
        ending.announce()
    world.evm.warp(1)
    ending.announce()
    world.evm.warp(NOTICE - DAY)
    pause(ending, True)
    world.evm.warp(100 * DAY)
    with pytest.raises(Reverted, match="WindDown_NoticeRunning"):
        ending.close()
    pause(ending, False)
    world.evm.warp(DAY)
    ending.close()
    world.evm.warp(SETTLING - DAY)
    pause(ending, True)
    world.evm.warp(100 * DAY)
    assert not ending.end.refundsOpen()
    with pytest.raises(Reverted, match="TestUSDC_Paused"):
        ending.settle_late(Shown(ending.lanes[0], 3_000))
    pause(ending, False)
    assert ending.settle_late(Shown(ending.lanes[0], 3_000)) == 2_000
    world.evm.warp(DAY)
    assert ending.end.refundsOpen()


def test_a_pause_is_recorded_by_whoever_announces_or_closes(ending: Ending) -> None:
    world = ending.world
    world.evm.warp(SUBMIT_CLOCK)
    ending.announce()
    world.evm.warp(NOTICE)
    world.token.setPaused(True, sender=world.people.stranger)
    receipt = ending.close()
    assert receipt.named("TokenPaused")
    world.evm.warp(SETTLING)
    assert not ending.end.refundsOpen()
    pause(ending, False)
    world.evm.warp(SETTLING)
    assert ending.end.refundsOpen()


def test_refunds_once_open_stay_open(closed: Ending) -> None:
    closed.open_refunds()
    pause(closed, True)
    closed.world.evm.warp(DAY)
    assert closed.end.refundsOpen()
    with pytest.raises(Reverted, match="TestUSDC_Paused"):
        closed.withdraw(1)
    pause(closed, False)
    assert closed.end.refundsOpen()
    closed.withdraw(1)


def test_saying_it_again_changes_nothing(ending: Ending) -> None:
    pause(ending, False)
    pause(ending, True)
    ending.world.evm.warp(10)
    pause(ending, True)
    ending.world.evm.warp(10)
    pause(ending, False)
    pause(ending, False)
    since = ending.world.evm.timestamp - 30
    assert ending.end.elapsedSince(since) == 10


def test_nobody_can_feign_a_pause_by_sparing_gas(ending: Ending) -> None:
    for gas in range(30_000, 600_000, 10_000):
        with ending.world.evm.undone():
            try:
                receipt = ending.end.recordPause(sender=ending.world.people.stranger, gas=gas)
            except Reverted:
                continue
            assert receipt.value is False
            assert not receipt.named("TokenPaused")


@given(st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=12), st.integers(0, 3_000))
def test_elapsed_time_is_what_the_reference_counts(
    shared_world: World, moves: list[tuple[int, bool]], back: int
) -> None:
    world = shared_world
    stranger = world.people.stranger
    with world.evm.undone():
        pauses: list[list[int]] = []
        world.evm.warp(3_000)
        for seconds, is_paused in moves:
            world.evm.warp(seconds)
            world.token.setPaused(is_paused, sender=stranger)
            world.wind_down.recordPause(sender=stranger)
            open_one = bool(pauses) and len(pauses[-1]) == 1
            if is_paused and not open_one:
                pauses.append([world.evm.timestamp])
            elif not is_paused and open_one:
                pauses[-1].append(world.evm.timestamp)
        now = world.evm.timestamp
        closed = [(start, end[0] if end else now) for start, *end in pauses]
        since = now - back
        assert world.wind_down.elapsedSince(since) == reference.elapsed(since, now, closed)
        assert world.wind_down.elapsedSince(now + back) == 0


# -- late usage ----------------------------------------------------------------------------------------------


def test_late_checkpoints_are_charged_by_price_balance_and_terms(closed: Ending) -> None:
    receipt = closed.end.settleLate(
        closed.license_id,
        [Shown(closed.lanes[0], 2_500).struct],
        closed.signed([Shown(closed.lanes[0], 2_500)]),
        sender=closed.world.people.stranger,
    )
    (event,) = receipt.named("LateSettled")
    assert (event.cumulativeUnits, event.charge) == (2_500, 1_500)
    acct = closed.account()
    assert (acct.charged, acct.available, acct.cumulativeUnits) == (2_500, 7_500, 2_500)
    # the parties' parts as of any charge, the contributors' into the pool
    assert [closed.world.splitter.shareCredit(closed.license_id, party) for party in range(4)] == [
        250, 250, 125, 125,
    ]  # fmt: skip
    assert closed.world.splitter.pool() == 700 - sum(AMOUNTS) + 1_050


def test_each_lane_counts_once_at_its_highest(closed: Ending) -> None:
    one, other = closed.lanes
    assert closed.settle_late(Shown(one, 800)) == 0
    assert closed.end.lateUnits(closed.license_id) == 800
    assert closed.settle_late(Shown(other, 700)) == 500
    assert closed.settle_late(Shown(one, 600), Shown(one, 900), Shown(one, 900)) == 100
    assert closed.settle_late(Shown(one, 900), Shown(other, 100)) == 0
    assert closed.account().cumulativeUnits == 1_600


def test_inv_14_late_units_below_the_committed_ones_take_nothing_back(closed: Ending) -> None:
    assert closed.settle_late(Shown(closed.lanes[0], 1)) == 0
    assert closed.account().cumulativeUnits == 1_000


def test_what_was_due_before_is_settled_without_any_checkpoint() -> None:
    """The cap held it back: 400 of 1,000 could be charged, 600 stay due."""
    ending = Ending.of(Reserve((50,)), max_charge_per_epoch=1_000)
    ending.last = ending.world.settle([(ending.license_id, 3_000, 400)], **ending.reserve.in_report)
    ending.vanish()
    assert ending.settle_late() == 1_600
    assert ending.settle_late() == 0


def test_inv_13_late_charges_keep_to_the_cap_of_each_missed_epoch() -> None:
    ending = Ending.of(Reserve((50,)), max_charge_per_epoch=1_000, deposit=10**6)
    ending.vanish()
    closed_at = ending.end.closedAt()
    allowance = reference.late_allowance(1_000, ending.last.period_end, closed_at, EPOCH_SECONDS)
    assert allowance == 120_000
    assert ending.end.lateAllowance(ending.license_id) == allowance
    assert ending.settle_late(Shown(ending.lanes[0], 100_000)) == 99_000
    assert ending.end.lateAllowance(ending.license_id) == 21_000
    assert ending.settle_late(Shown(ending.lanes[0], 10**9)) == 21_000
    assert ending.settle_late() == 0


def test_inv_13_a_council_that_closes_at_once_leaves_one_cap() -> None:
    ending = Ending.of(Reserve((50,)), max_charge_per_epoch=1_000)
    ending.end.announceByCouncil(sender=ending.world.people.council)
    ending.world.evm.warp(NOTICE)
    ending.last = ending.world.settle()
    while ending.world.settlement.state().lastPeriodEnd + EPOCH_SECONDS <= ending.world.evm.timestamp:
        ending.last = ending.world.settle()
    ending.close()
    assert ending.settle_late(Shown(ending.lanes[0], 10**6)) == 1_000


def test_inv_13_late_charges_keep_to_the_balance(closed: Ending) -> None:
    assert closed.settle_late(Shown(closed.lanes[0], 10**9)) == 9_000
    acct = closed.account()
    assert (acct.available, acct.charged) == (0, 10_000)
    closed.world.deposit(closed.license_id, 50)
    assert closed.settle_late() == 50


def test_inv_31_only_lanes_of_the_license_prove_its_units(closed: Ending) -> None:
    world = closed.world
    elsewhere = world.accept()
    stranger = account("no lane")
    with pytest.raises(Reverted, match="WindDown_UnknownLane"):
        closed.settle_late(Shown(stranger, 5_000))
    with pytest.raises(Reverted, match="WindDown_OtherLicense"):
        closed.settle_late(Shown(closed.lanes[0], 5_000), license_id=elsewhere)
    with pytest.raises(Reverted, match="LicenseRegistry_UnknownLicense"):
        closed.settle_late(license_id=elsewhere + 1)


def test_inv_31_only_the_lane_itself_signs_for_it(closed: Ending) -> None:
    shown = Shown(closed.lanes[0], 5_000)
    for thief in (closed.lanes[1], closed.world.people.council, closed.world.people.steward):
        with pytest.raises(Reverted, match="LaneEvidence_WrongSigner"):
            closed.settle_late(shown, signatures=closed.signed([shown], by=thief))
    twin = sign(shown.lane.key, closed.digest(shown)).high_s.full
    for broken in (bytes(65), twin):
        with pytest.raises(Reverted, match="LaneEvidence_BadSignature"):
            closed.settle_late(shown, signatures=broken)


def test_inv_33_a_checkpoint_of_another_chain_or_contract_proves_nothing(closed: Ending) -> None:
    shown = Shown(closed.lanes[0], 5_000)
    elsewhere: tuple[dict[str, Any], ...] = ({"chain_id": 1}, {"contract": closed.end.address})
    for place in elsewhere:
        signature = sign(shown.lane.key, closed.digest(shown, **place)).full
        with pytest.raises(Reverted, match="LaneEvidence_WrongSigner"):
            closed.settle_late(shown, signatures=signature)


def test_each_checkpoint_has_its_signature(closed: Ending) -> None:
    shown = [Shown(closed.lanes[0], 5_000), Shown(closed.lanes[1], 5_000)]
    both = closed.signed(shown)
    for signatures in (b"", both[:65], both[:-1], both + b"\0", both + both[:65]):
        with pytest.raises(Reverted, match="WindDown_WrongSignatureCount"):
            closed.settle_late(*shown, signatures=signatures)
    with pytest.raises(Reverted, match="LaneEvidence_WrongSigner"):
        closed.settle_late(*shown, signatures=both[65:] + both[:65])
    assert closed.settle_late(*shown) == 9_000


def test_a_lane_proves_no_more_than_its_unit_cap(closed: Ending) -> None:
    with pytest.raises(Reverted, match="WindDown_OverUnitCap"):
        closed.settle_late(Shown(closed.lanes[0], 10**18 + 1))
    closed.settle_late(Shown(closed.lanes[0], 10**18))


def test_checkpoints_are_settled_between_the_closing_and_the_refunds(ending: Ending) -> None:
    shown = Shown(ending.lanes[0], 5_000)
    with pytest.raises(Reverted, match="WindDown_NotClosed"):
        ending.settle_late(shown)
    ending.vanish()
    ending.world.evm.warp(SETTLING - 1)
    assert ending.settle_late(shown) == 4_000
    with pytest.raises(Reverted, match="RoyaltyEscrow_NotCovered"):
        ending.withdraw(1)
    ending.world.evm.warp(1)
    with pytest.raises(Reverted, match="WindDown_SettlingOver"):
        ending.settle_late(shown)
    ending.withdraw(1)


def test_inv_31_nobody_else_draws_late(closed: Ending) -> None:
    people = closed.world.people
    for caller in (people.stranger, people.council, people.admin, people.steward):
        with pytest.raises(Reverted, match="RoyaltyEscrow_OnlyWindDown"):
            closed.world.escrow.drawLate(closed.license_id, 5_000, 5_000, sender=caller)


prices = st.integers(1, 5 * 10**6)
shown_units = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10**5)), max_size=5)


@given(prices, st.integers(1, 2_000), st.integers(0, 10**5), st.lists(shown_units, max_size=3))
def test_inv_12_late_charges_are_what_the_reference_computes(
    shared_world: World, price: int, cap: int, deposit: int, rounds: list[list[tuple[int, int]]]
) -> None:
    with shared_world.evm.undone():
        terms = {"price_per_million_units": price, "max_charge_per_epoch": cap}
        ending = Ending.of(Reserve(()), shared_world, deposit=deposit, charge=0, **terms)
        ending.vanish()
        allowance = reference.late_allowance(
            cap, ending.last.period_end, ending.end.closedAt(), EPOCH_SECONDS
        )
        so_far: list[tuple[str, int]] = []
        for shown in rounds:
            so_far += [(str(lane), units) for lane, units in shown]
            proven = reference.proven_units(so_far)
            before = ending.account()
            expected = reference.late_charge(proven, price, before.charged, before.available, allowance)
            charge = ending.settle_late(*(Shown(ending.lanes[lane], units) for lane, units in shown))
            assert (charge, ending.account().cumulativeUnits) == (expected, proven)
            assert ending.account().charged * 10**6 <= proven * price
            allowance -= charge


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


def everything_leaves(ending: Ending, refund: int) -> None:
    """All is paid out; less than one base unit per leaf, and the dust of one license, stay."""
    world = ending.world
    ending.open_refunds()
    if refund:
        ending.withdraw(refund)
    for index in range(ending.reserve.count):
        ending.claim(index)
    ending.pay_parties()
    left = world.splitter.pool()
    paid = [ending.supplement(index) for index in range(ending.reserve.count)]
    assert paid == reference.supplements(ending.reserve.amounts, left)
    received = [ending.balance(payee) for payee in ending.reserve.payees]
    assert received == [amount + more for amount, more in zip(ending.reserve.amounts, paid, strict=True)]
    assert ending.balance(world.escrow) == 0
    assert ending.balance(world.splitter) <= 3
    assert ending.balance(ending.end) < ending.reserve.count


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


amounts = st.lists(st.integers(1, 10**6), min_size=1, max_size=5)


@given(amounts, st.lists(st.tuples(st.integers(1, 10**6), st.sets(st.integers(0, 4))), max_size=3))
def test_inv_43_supplements_are_what_the_reference_computes(
    shared_world: World, parts: list[int], rounds: list[tuple[int, set[int]]]
) -> None:
    """Some claim early, some late, and income still comes in: each ends with a part of everything."""
    world = shared_world
    with world.evm.undone():
        charge = 2 * sum(parts) + 10
        ending = Ending.of(Reserve(parts), world, deposit=charge, charge=charge)
        ending.vanish()
        ending.open_refunds()
        collected = ending.world.splitter.pool()
        for more, early in rounds:
            for index in early & set(range(len(parts))):
                claim_if_any(ending, index)
            give_to_pool(ending, more)
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


def give_to_pool(ending: Ending, amount: int) -> None:
    """A fee that all goes to contributors comes in after the end."""
    world = ending.world
    world.registry.setFloors(0, 0, sender=world.people.council)
    buyer = world.people.buyer
    world.token.mint(buyer, amount, sender=buyer)
    world.token.approve(world.fees, amount, sender=buyer)
    license_id = world.accept(
        contributors_bps=10_000, community_bps=0, steward_bps=0, platform_bps=0, operators_bps=0,
        upfront_fee=amount, cooling_off_seconds=0,
    )  # fmt: skip
    world.fees.releaseUpfront(license_id, sender=buyer)


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


# -- wiring --------------------------------------------------------------------------------------------------


def test_the_wind_down_is_wired_to_what_names_it(world: World) -> None:
    people, evm = world.people, world.evm
    with pytest.raises(Reverted, match="WindDown_ZeroAddress"):
        evm.deploy("WindDown", ZERO_ADDRESS, world.settlement, sender=people.admin)
    with pytest.raises(Reverted, match="WindDown_ZeroAddress"):
        evm.deploy("WindDown", world.manager, ZERO_ADDRESS, sender=people.admin)
    with pytest.raises(Reverted, match="WindDown_Miswired"):
        evm.deploy("WindDown", world.manager, world.settlement, sender=people.admin)
    end = world.wind_down
    found = (end.settlement(), end.escrow(), end.splitter(), end.registry(), end.token())
    expected = (world.settlement, world.escrow, world.splitter, world.registry, world.token)
    assert found == tuple(contract.address for contract in expected)


def test_a_token_that_refuses_to_move_nothing_is_refused() -> None:
    """It could not be told from one that stands still: the clocks would never run."""
    with pytest.raises(Reverted, match="WindDown_TokenRefusesProbe"):
        World(Evm(), "NoZeroToken")
