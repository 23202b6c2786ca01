"""Random histories of the money in LicenseFees: all that was collected is held, released or refunded.

Buyers accept, fund, cool off, state and pay; attesters sign; auditors correct; anybody releases; strangers
try to take what is not theirs; wallets are blocked, money arrives unasked, time passes. After every move the
contract is compared with a model in plain integers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.fees import DAY, GOAL, QUARTER, Deal, make_deal, milestone_terms, royalty_terms
from tests.contracts.evm.world import World
from tests.reference import considerations as reference

MAX_DEALS = 3
NONE, HELD, RELEASED, REFUNDED = range(4)
picks = st.integers(0, 2**16)
amounts = st.one_of(st.integers(1, 9), st.integers(1, 10**12))
revenues = st.one_of(st.integers(0, 99), st.integers(0, 10**12))
waits = st.sampled_from([1, DAY, 3 * DAY, 40 * DAY, QUARTER])


@dataclass
class Sum:
    """One amount that can leave once."""

    amount: int
    deadline_s: int = 0
    stage: int = NONE


@dataclass
class Period:
    stated: int = 0
    corrected: int = 0
    revision: int = 0
    paid: int = 0
    penalties: int = 0

    @property
    def unpaid(self) -> int:
        return max(0, reference.royalty(max(self.stated, self.corrected), 500) - self.paid)


@dataclass
class ModelDeal:
    deal: Deal
    upfront: Sum
    milestones: list[Sum]
    bound_from_s: int
    ends_at_s: int
    cooled_off: bool = False
    periods: list[Period] = field(default_factory=list)
    income: int = 0

    @property
    def held_milestones(self) -> int:
        return sum(one.amount for one in self.milestones if one.stage == HELD)


class FeesHistory(RuleBasedStateMachine):
    """Each rule plays on the chain and on the model."""

    @initialize(upfront=amounts, parts=st.lists(amounts, min_size=1, max_size=2))
    def deploy(self, upfront: int, parts: list[int]) -> None:
        self.world = World(Evm())
        self.deals: list[ModelDeal] = []
        self.gifts = 0
        self.goal = 0
        self.accept(upfront, parts)

    @precondition(lambda self: len(self.deals) < MAX_DEALS)
    @rule(upfront=st.one_of(st.just(0), amounts), parts=st.lists(amounts, min_size=1, max_size=2))
    def accept(self, upfront: int, parts: list[int]) -> None:
        world = self.world
        deal = make_deal(
            world,
            upfront=upfront,
            milestones=milestone_terms(world, parts),
            royalty=royalty_terms(world),
            ends_at=world.evm.timestamp + 200 * DAY,
        )
        deal.open_milestones()
        deal.open_royalty()
        assert deal.milestones is not None
        milestones = [Sum(one.amount, one.deadline_s) for one in deal.milestones.milestones]
        fee = Sum(upfront, stage=HELD if upfront else NONE)
        ends_at = world.evm.timestamp + 200 * DAY
        self.deals.append(ModelDeal(deal, fee, milestones, deal.ends_cooling_off, ends_at))

    @rule(seconds=waits)
    def wait(self, seconds: int) -> None:
        self.world.evm.warp(seconds)

    @rule(amount=amounts)
    def give(self, amount: int) -> None:
        """Money that arrives unasked is nobody's, and changes nothing."""
        self.world.token.mint(self.world.fees, amount, sender=self.world.people.stranger)
        self.gifts += amount

    @rule(pick=picks)
    def cool_off(self, pick: int) -> None:
        model = self._pick(pick)
        if model.cooled_off or self.now >= model.bound_from_s:
            with pytest.raises(Reverted, match=r"LicenseRegistry_(CoolingOffOver|AlreadyCooledOff)"):
                model.deal.cool_off()
            return
        model.deal.cool_off()
        model.cooled_off = True
        model.ends_at_s = self.now

    # -- upfront fee and milestones -------------------------------------------------------------------------

    @rule(pick=picks)
    def release_upfront(self, pick: int) -> None:
        model = self._pick(pick)
        fees, sender = self.world.fees, self.world.people.stranger
        if model.upfront.stage != HELD or model.cooled_off or self.now < model.bound_from_s:
            with pytest.raises(Reverted, match=r"LicenseFees_(NotHeld|CooledOff|CoolingOff)"):
                fees.releaseUpfront(model.deal.license_id, sender=sender)
            return
        fees.releaseUpfront(model.deal.license_id, sender=sender)
        self._leave(model, model.upfront, RELEASED)

    @rule(pick=picks, by_stranger=st.booleans())
    def refund_upfront(self, pick: int, by_stranger: bool) -> None:
        model = self._pick(pick)
        fees, people = self.world.fees, self.world.people
        sender = people.stranger if by_stranger else people.buyer
        if by_stranger or model.upfront.stage != HELD or not model.cooled_off:
            with pytest.raises(Reverted, match=r"LicenseFees_(NotBuyer|NotHeld|NotCooledOff)"):
                fees.refundUpfront(model.deal.license_id, GOAL, sender=sender)
            return
        fees.refundUpfront(model.deal.license_id, GOAL, sender=sender)
        self._leave(model, model.upfront, REFUNDED)

    @rule(pick=picks)
    def fund_milestone(self, pick: int) -> None:
        model, index, found = self._pick_milestone(pick)
        if found.stage != NONE or model.cooled_off or self.now > found.deadline_s:
            with pytest.raises(Reverted, match=r"LicenseFees_(AlreadyFunded|CooledOff|MilestoneExpired)"):
                model.deal.fund(index)
            return
        model.deal.fund(index)
        found.stage = HELD

    @rule(pick=picks, who=st.sampled_from([(0, 1), (0, 2), (1,), (0, 1, 2)]))
    def release_milestone(self, pick: int, who: tuple[int, ...]) -> None:
        model, index, found = self._pick_milestone(pick)
        attestations = model.deal.attested(index, who)
        is_bound = not model.cooled_off and self.now >= model.bound_from_s
        if found.stage != HELD or not is_bound or self.now > found.deadline_s or len(who) < 2:
            with pytest.raises(Reverted, match="LicenseFees_"):
                model.deal.release(index, attestations)
            return
        model.deal.release(index, attestations)
        self._leave(model, found, RELEASED)

    @rule(pick=picks)
    def refund_milestone(self, pick: int) -> None:
        model, index, found = self._pick_milestone(pick)
        if found.stage != HELD or (self.now <= found.deadline_s and not model.cooled_off):
            with pytest.raises(Reverted, match=r"LicenseFees_(NotHeld|MilestoneRunning)"):
                model.deal.refund(index)
            return
        model.deal.refund(index)
        self._leave(model, found, REFUNDED)

    # -- royalty --------------------------------------------------------------------------------------------

    @rule(pick=picks, revenue=revenues, again=st.booleans())
    def state_revenue(self, pick: int, revenue: int, again: bool) -> None:
        model = self._pick(pick)
        number = max(0, len(model.periods) - again)
        is_new = number == len(model.periods)
        higher = is_new or revenue > model.periods[number].stated
        if not self._is_over(model, number) or not higher:
            with pytest.raises(
                Reverted, match=r"LicenseFees_(NoSuchPeriod|PeriodNotOver|StatementNotHigher)"
            ):
                model.deal.state(number, revenue)
            return
        model.deal.state(number, revenue)
        if is_new:
            model.periods.append(Period())
        model.periods[number].stated = revenue

    @precondition(lambda self: any(model.periods for model in self.deals))
    @rule(pick=picks, revenue=revenues)
    def correct_revenue(self, pick: int, revenue: int) -> None:
        model, number, period = self._pick_period(pick)
        if not self._is_over(model, number):
            with pytest.raises(Reverted, match="LicenseFees_NoSuchPeriod"):
                model.deal.correct(number, revenue, period.revision + 1)
            return
        model.deal.correct(number, revenue, period.revision + 1)
        period.corrected = revenue
        period.revision += 1

    @precondition(lambda self: any(model.periods for model in self.deals))
    @rule(pick=picks, share=st.integers(1, 5))
    def pay_royalty(self, pick: int, share: int) -> None:
        model, number, period = self._pick_period(pick)
        most = max(1, period.unpaid * share // 4)
        amount = min(most, period.unpaid)
        if amount == 0:
            with pytest.raises(Reverted, match="LicenseFees_NothingOwed"):
                model.deal.pay(number, most)
            return
        assert model.deal.royalty is not None
        until = model.deal.royalty.payable_until_s(number)
        late = reference.started_periods_late(self.now, until, QUARTER)
        penalty = ceil(amount * min(Fraction(1), late * Fraction(150, 10_000)))
        assert model.deal.pay(number, most).value == (amount, penalty)
        period.paid += amount
        period.penalties += penalty
        model.income += amount + penalty

    # -- what holds -----------------------------------------------------------------------------------------

    @invariant()
    def what_was_collected_is_held_released_or_refunded(self) -> None:
        fees = self.world.fees
        upfront = sum(model.upfront.amount for model in self.deals if model.upfront.stage == HELD)
        milestones = sum(model.held_milestones for model in self.deals)
        assert fees.held() == (upfront, milestones)
        assert self.world.token.balanceOf(fees) == upfront + milestones + self.gifts
        assert self.world.token.balanceOf(GOAL) == self.goal

    @invariant()
    def every_sum_is_where_the_model_has_it(self) -> None:
        for model in self.deals:
            found = self.world.fees.upfront(model.deal.license_id)
            assert (found.amount, found.stage) == (model.upfront.amount, model.upfront.stage)
            for index, one in enumerate(model.milestones):
                stage = self.world.fees.milestone(model.deal.license_id, index).stage
                assert stage == one.stage

    @invariant()
    def income_is_all_that_left_for_the_splitter(self) -> None:
        splitter = self.world.splitter
        for model in self.deals:
            assert splitter.income(model.deal.license_id) == model.income
        assert self.world.token.balanceOf(splitter) == sum(model.income for model in self.deals)

    @invariant()
    def periods_are_as_stated_corrected_and_paid(self) -> None:
        fees = self.world.fees
        for model in self.deals:
            license_id = model.deal.license_id
            for number, period in enumerate(model.periods):
                found = fees.royaltyPeriod(license_id, number)
                assert tuple(found) == tuple(vars(period).values())
                assert fees.royaltyOwed(license_id, number)[0] == period.unpaid
            unpaid = sum(1 for period in model.periods if period.unpaid)
            assert fees.royaltyProgress(license_id) == (len(model.periods), unpaid)
            settled = unpaid == 0 and len(model.periods) >= self._period_count(model)
            settled = settled or model.cooled_off
            assert fees.royaltySettled(license_id) is settled

    # -- inside ---------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        return self.world.evm.timestamp

    def _pick(self, pick: int) -> ModelDeal:
        return self.deals[pick % len(self.deals)]

    def _pick_milestone(self, pick: int) -> tuple[ModelDeal, int, Sum]:
        model = self._pick(pick)
        index = pick // MAX_DEALS % len(model.milestones)
        return model, index, model.milestones[index]

    def _pick_period(self, pick: int) -> tuple[ModelDeal, int, Period]:
        started = [model for model in self.deals if model.periods]
        model = started[pick % len(started)]
        number = pick // MAX_DEALS % len(model.periods)
        return model, number, model.periods[number]

    def _period_count(self, model: ModelDeal) -> int:
        assert model.deal.royalty is not None
        first_end = model.deal.royalty.first_period_end_s
        return 0 if model.cooled_off else reference.period_count(first_end, QUARTER, model.ends_at_s)

    def _is_over(self, model: ModelDeal, number: int) -> bool:
        assert model.deal.royalty is not None
        over = self.now >= model.deal.royalty.period_end_s(number)
        return number < self._period_count(model) and over

    def _leave(self, model: ModelDeal, found: Sum, stage: int) -> None:
        found.stage = stage
        if stage == RELEASED:
            model.income += found.amount
        else:
            self.goal += found.amount


# Longer than the others: a failing history is shortened before it is shown.
@pytest.mark.timeout(900)
def test_the_money_of_fees_adds_up_over_any_history() -> None:
    """An eighth of the profile's examples, each some 50 moves long."""
    profile = settings.default
    assert profile is not None
    run_state_machine_as_test(
        FeesHistory,
        settings=settings(profile, max_examples=max(10, profile.max_examples // 8), stateful_step_count=50),
    )


def test_a_gift_to_the_fees_is_no_ones(evm: Evm) -> None:
    """Not even the last refund can reach it."""
    world = World(evm)
    deal = make_deal(world, upfront=5)
    world.token.mint(world.fees, 1_000, sender=world.people.stranger)
    deal.cool_off()
    world.fees.refundUpfront(deal.license_id, GOAL, sender=deal.buyer)
    assert world.token.balanceOf(GOAL) == 5
    assert world.token.balanceOf(world.fees) == 1_000
