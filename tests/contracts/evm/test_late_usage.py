"""Usage that no report has counted: anyone shows what the lanes have signed, and the license is charged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.evm.chain import Reverted
from tests.contracts.evm.reserves import Reserve
from tests.contracts.evm.winding_down import AMOUNTS, NOTICE, SETTLING, Ending, Shown
from tests.contracts.evm.world import EPOCH_SECONDS, World
from tests.contracts.wire import account, sign
from tests.reference import wind_down as reference


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


def test_inv_31_only_lanes_of_the_license_prove_its_units(ending: Ending) -> None:
    elsewhere = ending.world.accept()
    ending.vanish()
    closed, stranger = ending, account("no lane")
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


FEWER = settings(max_examples=max(10, (settings.default or settings()).max_examples // 4))
"""Each example is a whole history with an end."""
prices = st.integers(1, 5 * 10**6)
shown_units = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10**5)), max_size=5)


@FEWER
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
