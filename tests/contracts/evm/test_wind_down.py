"""When reports stop: the clocks, the notice, the council, and a token that stands still."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.winding_down import (
    DAY,
    FINALIZE_CLOCK,
    NOTICE,
    SETTLING,
    SUBMIT_CLOCK,
    Ending,
    Shown,
    everything_leaves,
    pause,
)
from tests.contracts.evm.world import World
from tests.contracts.wire import ZERO_ADDRESS
from tests.reference import wind_down as reference

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
    refusals = set()
    for gas in range(30_000, 600_000, 10_000):
        with ending.world.evm.undone():
            try:
                receipt = ending.end.recordPause(sender=ending.world.people.stranger, gas=gas)
            except Reverted as refused:
                refusals.add(refused.name)
                continue
            assert gas > 400_000
            assert receipt.value is False
            assert not receipt.named("TokenPaused")
    assert "WindDown_LowGas" in refusals


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


def test_ether_is_refused(world: World) -> None:
    stranger = world.people.stranger
    world.evm.fund_ether(stranger.address, 10)
    for contract in (world.wind_down, world.splitter, world.escrow):
        for data in (b"", contract.selector("token"), b"\1\2\3\4"):
            with pytest.raises(Reverted):
                world.evm.raw_call(stranger, contract.address, data, value=1)
        assert world.evm.ether(contract.address) == 0
