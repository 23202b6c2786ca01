"""Royalty on declared revenue: a statement per period, penalties for lateness, an auditor who corrects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.considerations import AuditCorrection, RevenueStatement, RoyaltyTerms, fees_domain
from usufruct_protocol.eip712 import typed_digest as hand_laid_digest

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.fees import (
    AUDITOR,
    DAY,
    FEES,
    NOBODY,
    QUARTER,
    Deal,
    make_deal,
    raw,
    royalty_terms,
)
from tests.contracts.evm.world import World
from tests.contracts.wire import ZERO_ADDRESS, account, keccak, sign, typed_digest
from tests.reference import considerations as reference

REVENUE, ROYALTY = 200_001, 10_001
UNKNOWN = 99
MAX_UINT96 = 2**96 - 1


@pytest.fixture
def deal(world: World) -> Deal:
    """A license of a year with an opened royalty, at the end of period 0."""
    made = make_deal(world, royalty=royalty_terms(world))
    made.open_royalty()
    made.after_period(0)
    return made


def settled(deal: Deal) -> bool:
    return bool(deal.world.fees.royaltySettled(deal.license_id))


def progress(deal: Deal) -> tuple[int, int]:
    stated, unpaid = deal.world.fees.royaltyProgress(deal.license_id)
    return int(stated), int(unpaid)


# -- stating and paying --------------------------------------------------------------------------------------


def test_a_stated_period_is_paid_as_income(deal: Deal) -> None:
    deal.state(0, REVENUE)
    assert (deal.owed(0), progress(deal)) == ((ROYALTY, 0), (1, 1))
    deal.pay(0, ROYALTY)
    assert (deal.owed(0), progress(deal)) == ((0, 0), (1, 0))
    world = deal.world
    assert world.splitter.income(deal.license_id) == world.token.balanceOf(world.splitter) == ROYALTY
    assert world.token.balanceOf(world.fees) == 0
    assert world.splitter.pool() == -(-ROYALTY * 7_000 // 10_000)


def test_a_royalty_is_paid_in_parts_and_by_anybody(deal: Deal) -> None:
    deal.state(0, REVENUE)
    deal.pay(0, 1)
    deal.pay(0, ROYALTY - 2, payer=deal.world.people.stranger)
    assert (deal.owed(0), progress(deal)) == ((1, 0), (1, 1))
    deal.pay(0, 1)
    assert progress(deal) == (1, 0)


def test_no_revenue_owes_nothing(deal: Deal) -> None:
    deal.state(0, 0)
    assert (deal.owed(0), progress(deal)) == ((0, 0), (1, 0))


def test_anybody_carries_what_the_buyer_signed(deal: Deal) -> None:
    statement = deal.statement(0, REVENUE)
    deal.world.fees.stateRevenue(statement, deal.signed(statement), sender=deal.world.people.stranger)
    assert deal.owed(0) == (ROYALTY, 0)


def test_a_buyer_that_is_a_contract_signs_by_erc_1271(world: World) -> None:
    owner = account("owner of a buying wallet")
    wallet = world.evm.deploy("ContractWallet", owner, sender=owner)
    terms = royalty_terms(world)
    offer = world.offer(buyer=raw(wallet), royalty_hash=terms.hash())
    wallet.act(
        world.registry, world.registry.calldata("accept", offer, world.sign_offer(offer)), sender=owner
    )
    deal = Deal(world, offer, 1, None, terms)
    deal.open_royalty()
    deal.after_period(0)
    statement = deal.statement(0, REVENUE)
    carry = {"sender": world.people.stranger}
    with pytest.raises(Reverted, match="LicenseFees_BadStatement"):
        world.fees.stateRevenue(statement, deal.signed(statement, world.people.buyer), **carry)
    world.fees.stateRevenue(statement, deal.signed(statement, owner), **carry)
    assert deal.owed(0) == (ROYALTY, 0)


def test_a_buyer_corrects_upward_only(deal: Deal) -> None:
    deal.state(0, REVENUE)
    for lower in (REVENUE, REVENUE - 1, 0):
        with pytest.raises(Reverted, match="LicenseFees_StatementNotHigher"):
            deal.state(0, lower)
    deal.pay(0, ROYALTY)
    deal.state(0, 2 * REVENUE)
    assert (deal.owed(0), progress(deal)) == ((20_001 - ROYALTY, 0), (1, 1))


def test_an_old_statement_cannot_come_back(deal: Deal) -> None:
    """The first word is public for ever; after a higher one it changes nothing."""
    first = deal.statement(0, REVENUE)
    signature = deal.signed(first)
    deal.world.fees.stateRevenue(first, signature, sender=deal.world.people.stranger)
    deal.state(0, 2 * REVENUE)
    with pytest.raises(Reverted, match="LicenseFees_StatementNotHigher"):
        deal.world.fees.stateRevenue(first, signature, sender=deal.world.people.stranger)


@pytest.mark.parametrize("change", ["license", "period", "revenue", "document", "signer", "empty"])
def test_a_statement_counts_for_what_it_says(deal: Deal, change: str) -> None:
    signed = deal.statement(0, REVENUE)
    signature = deal.signed(signed)
    other_terms = royalty_terms(deal.world, first_period_end_s=deal.world.evm.timestamp + 1)
    other = make_deal(deal.world, royalty=other_terms)
    other.open_royalty()
    deal.state(0, 1)
    deal.after_period(1)
    sent = {
        "license": replace(signed, license_id=other.license_id),
        "period": replace(signed, period=1),
        "revenue": replace(signed, revenue=REVENUE + 1),
        "document": replace(signed, document_hash=bytes(32)),
        "signer": signed,
        "empty": signed,
    }[change]
    if change == "signer":
        signature = deal.signed(signed, deal.world.people.steward)
    if change == "empty":
        signature = b""
    with pytest.raises(Reverted, match="LicenseFees_BadStatement"):
        deal.world.fees.stateRevenue(sent, signature, sender=deal.world.people.stranger)


def test_inv_33_a_statement_counts_on_one_chain_and_contract(deal: Deal) -> None:
    statement = deal.statement(0, REVENUE)
    for chain_id, contract in (
        (deal.world.evm.chain_id + 1, deal.world.fees.address),
        (deal.world.evm.chain_id, deal.world.registry.address),
    ):
        digest = typed_digest(FEES, chain_id, contract, "RevenueStatement", statement)
        signature = sign(deal.buyer.key, digest).full
        with pytest.raises(Reverted, match="LicenseFees_BadStatement"):
            deal.world.fees.stateRevenue(statement, signature, sender=deal.world.people.stranger)


# -- periods -------------------------------------------------------------------------------------------------


def test_a_period_is_stated_once_it_is_over_and_in_order(deal: Deal) -> None:
    with pytest.raises(Reverted, match="LicenseFees_PeriodNotOver"):
        deal.state(1, REVENUE)
    deal.after_period(1)
    with pytest.raises(Reverted, match="LicenseFees_StatementMissing"):
        deal.state(1, REVENUE)
    deal.state(0, 0)
    deal.state(1, REVENUE)
    assert progress(deal) == (2, 1)


def test_a_period_is_over_in_the_second_of_its_end(world: World) -> None:
    deal = make_deal(world, royalty=royalty_terms(world))
    deal.open_royalty()
    assert deal.royalty is not None
    world.evm.at(deal.royalty.period_end_s(0) - 1)
    with pytest.raises(Reverted, match="LicenseFees_PeriodNotOver"):
        deal.state(0, 1)
    world.evm.warp(1)
    deal.state(0, 1)


@pytest.mark.parametrize(("license_days", "count"), [(1, 1), (90, 1), (91, 2), (180, 2), (181, 3), (365, 5)])
def test_periods_that_begin_after_the_license_ended_do_not_exist(
    world: World, license_days: int, count: int
) -> None:
    ends_at = world.evm.timestamp + license_days * DAY
    deal = make_deal(world, royalty=royalty_terms(world), ends_at=ends_at)
    deal.open_royalty()
    assert world.fees.royaltyPeriodCount(deal.license_id) == count
    for period in range(count):
        deal.after_period(period)
        assert not settled(deal)
        deal.state(period, 0)
    assert settled(deal)
    world.evm.warp(10 * QUARTER)
    with pytest.raises(Reverted, match="LicenseFees_NoSuchPeriod"):
        deal.state(count, 1)
    with pytest.raises(Reverted, match="LicenseFees_NoSuchPeriod"):
        deal.correct(count, 1)
    assert settled(deal)


def test_notice_ends_periods_and_leaves_what_was_stated(world: World) -> None:
    deal = make_deal(world, royalty=royalty_terms(world), notice_seconds=0)
    deal.open_royalty()
    deal.after_period(0)
    deal.state(0, 0)
    assert world.fees.royaltyPeriodCount(deal.license_id) == 5
    world.registry.giveNotice(deal.license_id, sender=deal.buyer)
    assert world.fees.royaltyPeriodCount(deal.license_id) == 1
    assert settled(deal)
    world.evm.warp(QUARTER)
    with pytest.raises(Reverted, match="LicenseFees_NoSuchPeriod"):
        deal.state(1, 1)


def test_a_license_left_in_its_cooling_off_time_owes_no_royalty(world: World) -> None:
    deal = make_deal(world, royalty=royalty_terms(world))
    deal.open_royalty()
    assert not settled(deal)
    deal.cool_off()
    assert settled(deal)
    assert world.fees.royaltyPeriodCount(deal.license_id) == 0
    deal.after_period(0)
    with pytest.raises(Reverted, match="LicenseFees_NoSuchPeriod"):
        deal.state(0, REVENUE)


def test_what_was_stated_before_cooling_off_is_owed_no_more(world: World) -> None:
    """A cooling-off time longer than a period: what was paid stays paid, and nothing holds the bond."""
    deal = make_deal(world, royalty=royalty_terms(world), cooling_off_seconds=200 * DAY)
    deal.open_royalty()
    deal.after_period(0)
    deal.state(0, REVENUE)
    deal.pay(0, 1)
    assert not settled(deal)
    deal.cool_off()
    assert settled(deal)


def test_an_early_end_does_not_make_a_long_last_period_settled(world: World) -> None:
    """A bond that came free before the last period is over would let its royalty go unstated."""
    deal = make_deal(world, royalty=royalty_terms(world), ends_at=world.evm.timestamp + DAY)
    deal.open_royalty()
    world.evm.warp(80 * DAY)
    assert not settled(deal)
    deal.after_period(0)
    deal.state(0, REVENUE)
    assert not settled(deal)
    deal.pay(0, ROYALTY)
    assert settled(deal)


def test_a_license_without_an_opened_royalty_is_settled(world: World) -> None:
    assert settled(make_deal(world))
    assert settled(make_deal(world, royalty=royalty_terms(world)))
    assert world.fees.royaltySettled(UNKNOWN)


# -- being late ----------------------------------------------------------------------------------------------


def test_late_royalty_costs_a_penalty_per_started_period(deal: Deal) -> None:
    deal.state(0, REVENUE)
    assert deal.royalty is not None
    until = deal.royalty.payable_until_s(0)
    for at_s, periods_late in ((until, 0), (until + 1, 1), (until + QUARTER, 1), (until + QUARTER + 1, 2)):
        deal.world.evm.at(at_s)
        assert deal.owed(0) == (ROYALTY, -(-ROYALTY * 150 * periods_late // 10_000))
    made = deal.pay(0, ROYALTY)
    assert made.value == (ROYALTY, 301)
    assert deal.world.splitter.income(deal.license_id) == ROYALTY + 301
    found = deal.world.fees.royaltyPeriod(deal.license_id, 0)
    assert (found.paid, found.penalties) == (ROYALTY, 301)


def test_a_penalty_never_exceeds_what_is_paid_late(deal: Deal) -> None:
    deal.state(0, REVENUE)
    deal.world.evm.warp(2**40)
    assert deal.owed(0) == (ROYALTY, ROYALTY)
    assert deal.pay(0, ROYALTY).value == (ROYALTY, ROYALTY)


def test_paying_in_time_in_part_saves_that_parts_penalty(deal: Deal) -> None:
    deal.state(0, REVENUE)
    deal.pay(0, 10_000)
    deal.after_period(0, late_s=1)
    assert deal.owed(0) == (1, 1)


def test_a_statement_made_late_pays_late(deal: Deal) -> None:
    deal.after_period(0, late_s=QUARTER + 1)
    deal.state(0, REVENUE)
    assert deal.owed(0) == (ROYALTY, 301)


@given(
    revenue=st.one_of(st.integers(1, 10**6), st.integers(1, MAX_UINT96)),
    revenue_bps=st.integers(1, 10_000),
    penalty_bps=st.one_of(st.integers(0, 500), st.integers(0, 2**16 - 1)),
    days_late=st.integers(-40, 4_000),
    parts=st.lists(st.integers(1, 100), min_size=1, max_size=4),
)
def test_royalty_and_penalty_equal_the_reference_for_any_terms(
    shared_world: World, revenue: int, revenue_bps: int, penalty_bps: int, days_late: int, parts: list[int]
) -> None:
    """Three times over: contract, Python rules, and fractions; and paying in parts is never cheaper."""
    world = shared_world
    with world.evm.undone():
        terms = royalty_terms(
            world, revenue_bps=revenue_bps, late_penalty_bps=penalty_bps, grace_seconds=40 * DAY
        )
        deal = make_deal(world, royalty=terms)
        deal.open_royalty()
        deal.after_period(0)
        deal.state(0, revenue)
        at_s = terms.payable_until_s(0) + days_late * DAY
        world.evm.at(at_s)
        royalty = reference.royalty(revenue, revenue_bps)
        late = reference.started_periods_late(at_s, terms.payable_until_s(0), QUARTER)
        penalty = reference.late_penalty(royalty, late, penalty_bps)
        assert (terms.royalty(revenue), terms.penalty(0, royalty, at_s)) == (royalty, penalty)
        assert deal.owed(0) == (royalty, penalty)

        total, left = 0, royalty
        for part in parts:
            amount = min(left, max(1, royalty * part // 300))
            if amount and 2 * amount <= MAX_UINT96:
                total += deal.pay(0, amount).value[1]
                left -= amount
        assert deal.owed(0)[0] == left
        assert total + deal.owed(0)[1] >= penalty
        paid = world.fees.royaltyPeriod(deal.license_id, 0)
        assert paid.paid + paid.penalties == world.splitter.income(deal.license_id)


@given(first_end=st.integers(1, 500), period_days=st.integers(1, 400), license_days=st.integers(1, 2_000))
def test_the_number_of_periods_equals_the_reference(
    shared_world: World, first_end: int, period_days: int, license_days: int
) -> None:
    world = shared_world
    with world.evm.undone():
        now = world.evm.timestamp
        terms = royalty_terms(
            world, first_period_end_s=now + first_end * DAY, period_seconds=period_days * DAY
        )
        ends_at = now + license_days * DAY
        deal = make_deal(world, royalty=terms, ends_at=ends_at)
        deal.open_royalty()
        count = reference.period_count(terms.first_period_end_s, terms.period_seconds, ends_at)
        assert terms.period_count(ends_at) == count
        assert world.fees.royaltyPeriodCount(deal.license_id) == count


# -- the auditor ---------------------------------------------------------------------------------------------


def test_a_correction_raises_what_is_owed_with_the_penalty(deal: Deal) -> None:
    """Understated, paid in full and in time, found out two periods later: the rest is late since then."""
    deal.state(0, REVENUE)
    deal.pay(0, ROYALTY)
    deal.after_period(0, late_s=QUARTER + 1)
    deal.correct(0, 2 * REVENUE)
    assert (deal.owed(0), progress(deal)) == ((10_000, 300), (1, 1))
    deal.pay(0, 10_000)
    assert progress(deal) == (1, 0)


def test_a_lower_correction_changes_nothing_below_the_buyers_word(deal: Deal) -> None:
    deal.state(0, REVENUE)
    deal.correct(0, 1)
    assert deal.owed(0) == (ROYALTY, 0)


def test_an_auditor_takes_a_mistake_back(deal: Deal) -> None:
    deal.state(0, REVENUE)
    deal.pay(0, ROYALTY)
    deal.correct(0, MAX_UINT96, revision=1)
    assert progress(deal) == (1, 1)
    deal.correct(0, REVENUE, revision=2)
    assert (deal.owed(0), progress(deal)) == ((0, 0), (1, 0))


def test_what_was_paid_on_a_mistake_stays_paid(deal: Deal) -> None:
    deal.state(0, REVENUE)
    deal.correct(0, 2 * REVENUE, revision=1)
    deal.pay(0, 20_000)
    deal.correct(0, 0, revision=2)
    assert (deal.owed(0), progress(deal)) == ((0, 0), (1, 0))
    assert deal.world.splitter.income(deal.license_id) == 20_000


def test_a_correction_counts_once_and_in_order(deal: Deal) -> None:
    deal.state(0, REVENUE)
    deal.correct(0, 3 * REVENUE, revision=5)
    for revision in (5, 4, 0):
        with pytest.raises(Reverted, match="LicenseFees_StaleCorrection"):
            deal.correct(0, MAX_UINT96, revision=revision)
    with pytest.raises(Reverted, match="LicenseFees_StaleCorrection"):
        deal.correct(0, 3 * REVENUE, revision=5)


def test_a_correction_speaks_for_a_buyer_who_does_not(deal: Deal) -> None:
    assert deal.royalty is not None
    deal.world.evm.at(deal.royalty.payable_until_s(0))
    with pytest.raises(Reverted, match="LicenseFees_StatementMissing"):
        deal.correct(0, REVENUE)
    deal.world.evm.warp(1)
    deal.correct(0, REVENUE)
    assert (deal.owed(0), progress(deal)) == ((ROYALTY, 151), (1, 1))
    deal.state(0, REVENUE + 20)
    assert deal.owed(0)[0] == ROYALTY + 1


def test_a_correction_skips_no_period(deal: Deal) -> None:
    deal.after_period(1, late_s=1)
    with pytest.raises(Reverted, match="LicenseFees_StatementMissing"):
        deal.correct(1, REVENUE)
    deal.correct(0, 0)
    deal.correct(1, REVENUE)
    assert progress(deal) == (2, 1)


@pytest.mark.parametrize("change", ["license", "period", "revenue", "revision", "finding", "signer"])
def test_a_correction_counts_for_what_it_says(deal: Deal, change: str) -> None:
    signed = deal.correction(0, REVENUE)
    other_terms = royalty_terms(deal.world, first_period_end_s=deal.world.evm.timestamp + 1)
    other = make_deal(deal.world, royalty=other_terms)
    other.open_royalty()
    deal.after_period(1, late_s=1)
    deal.state(0, 1)
    deal.state(1, 1)
    other.state(0, 1)
    sent = {
        "license": replace(signed, license_id=other.license_id),
        "period": replace(signed, period=1),
        "revenue": replace(signed, revenue=REVENUE + 1),
        "revision": replace(signed, revision=2),
        "finding": replace(signed, finding_hash=bytes(32)),
        "signer": signed,
    }[change]
    by = deal.world.people.steward if change == "signer" else AUDITOR
    signature = deal.signed(signed, by)
    with pytest.raises(Reverted, match="LicenseFees_BadCorrection"):
        deal.world.fees.correctRevenue(sent, AUDITOR, signature, sender=deal.world.people.stranger)


def test_inv_33_a_correction_counts_on_one_chain_and_contract(deal: Deal) -> None:
    deal.state(0, REVENUE)
    found = deal.correction(0, 2 * REVENUE)
    for chain_id, contract in (
        (deal.world.evm.chain_id + 1, deal.world.fees.address),
        (deal.world.evm.chain_id, deal.world.council_register.address),
    ):
        signature = sign(AUDITOR.key, typed_digest(FEES, chain_id, contract, "AuditCorrection", found)).full
        with pytest.raises(Reverted, match="LicenseFees_BadCorrection"):
            deal.world.fees.correctRevenue(found, AUDITOR, signature, sender=deal.world.people.stranger)


def test_only_the_agreed_auditor_corrects(deal: Deal) -> None:
    deal.state(0, REVENUE)
    found = deal.correction(0, 2 * REVENUE)
    for other in (deal.world.people.council, deal.world.people.steward, deal.buyer):
        with pytest.raises(Reverted, match="LicenseFees_NotAuditor"):
            deal.world.fees.correctRevenue(found, other, deal.signed(found, other), sender=other)
    with pytest.raises(Reverted, match="LicenseFees_NotAuditor"):
        deal.world.fees.correctRevenue(found, ZERO_ADDRESS, bytes(65), sender=deal.world.people.stranger)


def test_without_an_agreed_auditor_the_councils_correct_while_in_office(world: World) -> None:
    deal = make_deal(world, royalty=royalty_terms(world, auditor=NOBODY))
    deal.open_royalty()
    deal.after_period(0)
    deal.state(0, REVENUE)
    with pytest.raises(Reverted, match="LicenseFees_NotAuditor"):
        deal.correct(0, 2 * REVENUE)
    found = deal.correction(0, 2 * REVENUE)
    with pytest.raises(Reverted, match="LicenseFees_NotAuditor"):
        world.fees.correctRevenue(found, ZERO_ADDRESS, bytes(65), sender=world.people.stranger)
    until, mandate = world.evm.timestamp + DAY, keccak(b"mandate")
    world.council_register.appointAuditor(AUDITOR, until, mandate, sender=world.people.council)
    deal.correct(0, 2 * REVENUE)
    assert deal.owed(0)[0] == 20_001
    world.evm.at(until)
    with pytest.raises(Reverted, match="LicenseFees_NotAuditor"):
        deal.correct(0, 3 * REVENUE, revision=2)


def test_a_named_auditor_shuts_the_councils_out(deal: Deal) -> None:
    council_auditor, world = account("the council's auditor"), deal.world
    until = world.evm.timestamp + DAY
    world.council_register.appointAuditor(council_auditor, until, keccak(b"m"), sender=world.people.council)
    deal.state(0, REVENUE)
    found = deal.correction(0, 2 * REVENUE)
    signature = deal.signed(found, council_auditor)
    with pytest.raises(Reverted, match="LicenseFees_NotAuditor"):
        world.fees.correctRevenue(found, council_auditor, signature, sender=deal.buyer)


# -- refused -------------------------------------------------------------------------------------------------


def test_nobody_pays_more_than_is_owed(deal: Deal) -> None:
    with pytest.raises(Reverted, match="LicenseFees_NothingOwed"):
        deal.pay(0, 1)
    deal.state(0, REVENUE)
    with pytest.raises(Reverted, match="LicenseFees_ZeroAmount"):
        deal.pay(0, 0)
    assert deal.pay(0, ROYALTY + 1).value == (ROYALTY, 0)
    for period in (0, 1, UNKNOWN, 2**32 - 1):
        with pytest.raises(Reverted, match="LicenseFees_NothingOwed"):
            deal.pay(period, 1)


def test_nobody_stops_a_payment_by_paying_a_little_first(deal: Deal) -> None:
    """A unit paid ahead of the buyer, in the last second without penalty, leaves a unit less to pay."""
    assert deal.royalty is not None
    deal.state(0, REVENUE)
    deal.world.evm.at(deal.royalty.payable_until_s(0))
    deal.pay(0, 1, payer=deal.world.people.stranger)
    assert deal.pay(0, ROYALTY).value == (ROYALTY - 1, 0)
    assert deal.owed(0) == (0, 0)


def test_a_payment_past_uint96_is_refused_and_can_be_made_in_parts(world: World) -> None:
    deal = make_deal(world, royalty=royalty_terms(world, revenue_bps=10_000, late_penalty_bps=10_000))
    deal.open_royalty()
    deal.after_period(0)
    deal.state(0, MAX_UINT96)
    deal.after_period(0, late_s=1)
    assert deal.owed(0) == (MAX_UINT96, MAX_UINT96)
    with pytest.raises(Reverted, match="LicenseFees_PaymentTooLarge"):
        deal.pay(0, MAX_UINT96)
    with pytest.raises(Reverted, match="LicenseFees_PaymentTooLarge"):
        deal.pay(0, 2**95)
    deal.pay(0, 2**95 - 1)
    assert world.splitter.income(deal.license_id) == MAX_UINT96 - 1


def test_a_payer_without_money_pays_nothing(deal: Deal) -> None:
    deal.state(0, REVENUE)
    poor = account("poor")
    with pytest.raises(Reverted, match="ERC20InsufficientAllowance"):
        deal.world.fees.payRoyalty(deal.license_id, 0, ROYALTY, sender=poor)
    assert deal.owed(0) == (ROYALTY, 0)


def test_a_fee_on_transfer_pays_no_royalty() -> None:
    world = World(Evm(), "FeeToken", (100,))
    deal = make_deal(world, royalty=royalty_terms(world))
    deal.open_royalty()
    deal.after_period(0)
    deal.state(0, REVENUE)
    with pytest.raises(Reverted, match="LicenseFees_WrongDelta"):
        deal.pay(0, ROYALTY)


def test_a_royalty_opens_once_by_the_accepted_offer_and_terms(world: World) -> None:
    terms = royalty_terms(world)
    deal = make_deal(world, royalty=terms)
    other = make_deal(world, royalty=replace(terms, revenue_bps=1))
    people = world.people
    with pytest.raises(Reverted, match="LicenseFees_WrongOffer"):
        world.fees.openRoyalty(deal.license_id, other.offer, other.royalty, sender=people.buyer)
    for name, value in (("revenue_bps", 501), ("grace_seconds", 2**32 - 1), ("auditor", NOBODY)):
        with pytest.raises(Reverted, match="LicenseFees_WrongTerms"):
            replace(deal, royalty=replace(terms, **{name: value})).open_royalty()
    with pytest.raises(Reverted, match="LicenseFees_WrongTerms"):
        replace(make_deal(world), royalty=terms).open_royalty()
    with pytest.raises(Reverted, match="LicenseRegistry_UnknownLicense"):
        world.fees.openRoyalty(UNKNOWN, deal.offer, terms, sender=people.buyer)
    deal.open_royalty()
    opened = world.fees.royaltyTerms(deal.license_id)
    assert tuple(opened) == (500, terms.first_period_end_s, QUARTER, 30 * DAY, 150, AUDITOR.address)
    with pytest.raises(Reverted, match="LicenseFees_AlreadyOpened"):
        deal.open_royalty()


@dataclass(frozen=True)
class RawTerms:
    """Royalty terms that no careful drafter would sign; hashed by the reference."""

    revenue_bps: int
    first_period_end_s: int
    period_seconds: int
    grace_seconds: int
    late_penalty_bps: int
    auditor: bytes

    def hash(self) -> bytes:
        return reference.royalty_hash(
            [self.revenue_bps, self.first_period_end_s, self.period_seconds, self.grace_seconds,
             self.late_penalty_bps, self.auditor]
        )  # fmt: skip


@pytest.mark.parametrize(
    ("revenue_bps", "first_end", "period_seconds"),
    [
        (0, 1, DAY),
        (10_001, 1, DAY),
        (65_535, 1, DAY),
        (1, 1, DAY - 1),
        (1, 1, 0),
        (1, 0, DAY),
        (1, -DAY, DAY),
    ],
)
def test_terms_with_a_trap_cannot_be_opened(
    world: World, revenue_bps: int, first_end: int, period_seconds: int
) -> None:
    """More than the whole revenue; periods nobody could keep up with; a past that was never agreed."""
    first_period_end = world.evm.timestamp + first_end
    terms: Any = RawTerms(revenue_bps, first_period_end, period_seconds, 0, 0, NOBODY)
    with pytest.raises(Reverted, match="LicenseFees_BadRoyaltyTerms"):
        make_deal(world, royalty=terms).open_royalty()


def test_the_least_terms_can_be_opened(world: World) -> None:
    make_deal(world, royalty=RoyaltyTerms(1, world.evm.timestamp + 1, DAY, 0, 0, NOBODY)).open_royalty()
    most = RoyaltyTerms(10_000, 2**48 - 1, 2**32 - 1, 2**32 - 1, 2**16 - 1, raw(AUDITOR))
    make_deal(world, royalty=most).open_royalty()


def test_nothing_works_before_the_terms_are_opened(world: World) -> None:
    deal = make_deal(world, royalty=royalty_terms(world))
    deal.after_period(0)
    for call in (
        lambda: deal.state(0, REVENUE),
        lambda: deal.correct(0, REVENUE),
        lambda: deal.pay(0, 1),
        lambda: deal.owed(0),
        lambda: world.fees.royaltyPeriodCount(deal.license_id),
        lambda: world.fees.royaltyTerms(deal.license_id),
    ):
        with pytest.raises(Reverted, match="LicenseFees_NotOpened"):
            call()


# -- hashes --------------------------------------------------------------------------------------------------

hashes = st.binary(min_size=32, max_size=32)
uint32s, uint96s = st.integers(0, 2**32 - 1), st.integers(0, MAX_UINT96)


@given(st.builds(RevenueStatement, uint32s, uint32s, uint96s, hashes))
def test_the_digest_of_a_statement_is_the_same_three_ways(
    shared_world: World, statement: RevenueStatement
) -> None:
    fees, chain_id = shared_world.fees, shared_world.evm.chain_id
    expected = typed_digest(FEES, chain_id, fees.address, "RevenueStatement", statement)
    assert fees.hashRevenueStatement(statement) == expected
    assert hand_laid_digest(fees_domain(chain_id, raw(fees)), statement.struct_hash()) == expected


@given(st.builds(AuditCorrection, uint32s, uint32s, uint96s, uint32s, hashes))
def test_the_digest_of_a_correction_is_the_same_three_ways(
    shared_world: World, correction: AuditCorrection
) -> None:
    fees, chain_id = shared_world.fees, shared_world.evm.chain_id
    expected = typed_digest(FEES, chain_id, fees.address, "AuditCorrection", correction)
    assert fees.hashAuditCorrection(correction) == expected
    assert hand_laid_digest(fees_domain(chain_id, raw(fees)), correction.struct_hash()) == expected


@given(
    st.builds(
        RoyaltyTerms,
        st.integers(1, 10_000),
        st.integers(0, 2**48 - 1),
        st.integers(DAY, 2**32 - 1),
        uint32s,
        st.integers(0, 2**16 - 1),
        st.binary(min_size=20, max_size=20),
    )
)
def test_terms_hash_in_python_as_in_the_general_encoder(terms: RoyaltyTerms) -> None:
    values = [getattr(terms, name) for name in terms.__slots__]
    assert terms.hash() == reference.royalty_hash(values)
