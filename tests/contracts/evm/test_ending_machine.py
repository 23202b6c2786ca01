"""Random histories that end: reports, income, rotations, pauses; then reports stop, or are stopped.

The committee is honest here and its books are kept beside: whatever happens on the way, everybody can then
take out exactly what was theirs, and nobody anything else.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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
from usufruct_protocol.report_types import EpochReport

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.reserves import Reserve, claim_reserve, issue_reserve, replace_committee
from tests.contracts.evm.winding_down import NOTICE, SETTLING, SUBMIT_CLOCK, Ending, Shown
from tests.contracts.evm.world import EPOCH_SECONDS, World
from tests.contracts.trees import RawTree, word
from tests.contracts.wire import Account, account
from tests.reference import money, wind_down

PURSES = [account(f"purse {number}") for number in range(3)]
SPLITS = [(10_000, 0, 0, 0, 0), (7_000, 1_000, 1_000, 500, 500), (3_333, 1_667, 2_500, 1_250, 1_250)]
NAMES = ("contributors_bps", "community_bps", "steward_bps", "platform_bps", "operators_bps")
DUST_PER_LICENSE = 6
MAX_LICENSES = 2

picks = st.integers(0, 2**16)
amounts = st.integers(1, 50) | st.integers(1, 10**7)
subsets = st.sets(st.integers(0, len(PURSES) - 1))


@dataclass
class License:
    """Terms, lanes with what they have signed, and who else has a share. One unit costs one base unit."""

    number: int
    bps: tuple[int, ...]
    cap: int
    lanes: list[Account]
    units: list[int] = field(default_factory=lambda: [0, 0])
    shown: list[int] = field(default_factory=lambda: [0, 0])
    deposited: int = 0
    charged: int = 0
    income: int = 0
    late: int = 0

    def contributors(self, total: int) -> int:
        return money.shares(total, self.bps)[0]


@dataclass
class Books:
    """What the committee would sign next, and what is accrued once that is final."""

    report: EpochReport
    notes: RawTree
    reserve: Reserve
    noted: dict[int, int]
    accruals: list[int]
    charges: dict[int, int]


class UntilTheEnd(RuleBasedStateMachine):
    """The moves, and after each of them what must hold."""

    @initialize(split=st.sampled_from(SPLITS), amount=amounts, noted=subsets)
    def begin(self, split: tuple[int, ...], amount: int, noted: set[int]) -> None:
        self.world = World(Evm())
        self.end = self.world.wind_down
        self.world.registry.setFloors(0, 0, sender=self.world.people.council)
        self.licenses: list[License] = []
        self.accruals = [0] * len(PURSES)
        self.entitled = [0] * len(PURSES)
        self.pool = 0
        self.pending: Books | None = None
        self.last: Books | None = None
        self.trees: dict[int, RawTree] = {}
        self.rotations = 0
        self.paused = False
        self.closed = False
        self.accept(split, 10**6)
        self.deposit(0, 10 * amount)
        self.run_epoch(0, amount, noted)

    # -- before the end -------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.licenses) < MAX_LICENSES)
    @rule(split=st.sampled_from(SPLITS), cap=st.sampled_from([1, 100, 10**6]))
    def accept(self, split: tuple[int, ...], cap: int) -> None:
        terms = dict(zip(NAMES, split, strict=True))
        terms |= {"max_charge_per_epoch": cap, "ends_at": self.world.evm.timestamp + 10**9}
        if self.closed:
            with pytest.raises(Reverted, match="LicenseRegistry_SettlementStopped"):
                self.world.accept(**terms)
            return
        number = self.world.accept(**terms)
        lanes = [account(f"lane {number} {position}") for position in range(2)]
        for key in lanes:
            registration = self.world.lane(number, key)
            signature = self.world.sign_lane(registration, key)
            self.world.registry.registerLane(registration, signature, sender=self.world.people.buyer)
        self.licenses.append(License(number, split, cap, lanes))

    @precondition(lambda self: not self.paused)
    @rule(pick=picks, amount=amounts)
    def deposit(self, pick: int, amount: int) -> None:
        chosen = self.licenses[pick % len(self.licenses)]
        self.world.deposit(chosen.number, amount)
        chosen.deposited += amount

    @rule(pick=picks, lane=st.integers(0, 1), units=amounts)
    def use(self, pick: int, lane: int, units: int) -> None:
        self.licenses[pick % len(self.licenses)].units[lane] += units

    @precondition(lambda self: not self.paused)
    @rule(pick=picks, amount=amounts)
    def earn_income(self, pick: int, amount: int) -> None:
        chosen = self.licenses[pick % len(self.licenses)]
        self.world.token.mint(self.world.splitter, amount, sender=self.world.people.buyer)
        self.world.splitter.accrueIncome(chosen.number, amount, sender=self.world.fees)
        self.pool += chosen.contributors(chosen.income + amount) - chosen.contributors(chosen.income)
        chosen.income += amount

    @precondition(lambda self: self.pending is None and not self.closed)
    @rule(noted=subsets)
    def report(self, noted: set[int]) -> None:
        world = self.world
        epoch = world.settlement.state().lastEpoch + 1
        if world.committee.issuesReserveFirst(epoch) and world.settlement.reserveIssuedEpoch() != epoch - 1:
            self.issue_reserve()
        world.until(world.settlement.state().lastPeriodEnd + EPOCH_SECONDS)
        self.pending = self.next_books(noted)
        world.submit(self.pending.report)

    def next_books(self, noted: set[int]) -> Books:
        """Charge what is due, divide what nobody was allocated, note some purses, reserve the others."""
        lines, charges, share = [], {}, 0
        for each in self.licenses:
            units = sum(each.units)
            charge = min(units - each.charged, each.deposited - each.charged, each.cap)
            lines.append((each.number, units, charge))
            charges[each.number] = charge
            share += each.contributors(each.charged + charge) - each.contributors(each.charged)
        each_gets = (self.pool + share - sum(self.accruals)) // len(PURSES)
        after = [accrued + each_gets for accrued in self.accruals]
        notes = {purse: after[purse] for purse in sorted(noted) if after[purse]}
        after = [0 if purse in notes else accrued for purse, accrued in enumerate(after)]
        tree = RawTree([word(PURSES[purse].address, amount) for purse, amount in notes.items()])
        kept = [purse for purse, accrued in enumerate(after) if accrued]
        reserve = Reserve([after[purse] for purse in kept], [PURSES[purse] for purse in kept])
        report = self.world.report(lines, tree, **reserve.in_report)
        return Books(report, tree, reserve, notes, after, charges)

    @precondition(lambda self: self.pending is not None and not self.paused and not self.closed)
    @rule()
    def finalize(self) -> None:
        assert self.pending is not None
        final, self.pending = self.pending, None
        self.world.until(self.world.settlement.state().finalizableAt)
        self.world.settlement.finalize(final.report, sender=self.world.people.stranger)
        for each in self.licenses:
            charge = final.charges.get(each.number, 0)
            self.pool += each.contributors(each.charged + charge) - each.contributors(each.charged)
            each.charged += charge
        self.pool -= final.notes.total
        self.accruals = final.accruals
        for purse, amount in final.noted.items():
            self.entitled[purse] += amount
        if final.notes.count:
            self.trees[2 * final.report.epoch] = final.notes
        self.last = final

    @precondition(lambda self: not self.closed and not self.paused)
    @rule(pick=picks, units=amounts, noted=subsets)
    def run_epoch(self, pick: int, units: int, noted: set[int]) -> None:
        """Usage, a report, and its finalization: single moves seldom get that far."""
        self.use(pick, pick % 2, units)
        if self.pending is None:
            self.report(noted)
        self.finalize()

    @precondition(lambda self: self.pending is not None and not self.closed)
    @rule()
    def reject(self) -> None:
        assert self.pending is not None
        self.world.settlement.rejectByCouncil(self.pending.report, "", sender=self.world.people.council)
        self.pending = None

    @precondition(lambda self: self.rotations < 2 and not self.closed and not self.paused)
    @rule(noted=subsets, is_asked=st.booleans())
    def rotate(self, noted: set[int], is_asked: bool) -> None:
        """Others take over: the old committee's last report, whose reserve is issued at once or later."""
        if self.pending is not None:
            self.finalize()
        self.rotations += 1
        epoch = self.world.settlement.state().lastEpoch
        try:
            replace_committee(self.world, epoch + 2, f"committee {self.rotations}")
        except Reverted as refused:
            if refused.name != "OracleCommittee_EpochNotInFuture":
                raise
            return
        self.run_epoch(0, 1, noted)
        if is_asked:
            self.issue_reserve()

    def issue_reserve(self) -> None:
        assert self.last is not None
        issue_reserve(self.world, self.last.report)
        self.book_reserve()

    def book_reserve(self) -> None:
        """What was reserved belongs to its people from now on; the next report starts from nothing."""
        assert self.last is not None
        reserve = self.last.reserve
        for purse, accrued in enumerate(self.accruals):
            self.entitled[purse] += accrued
        self.accruals = [0] * len(PURSES)
        self.pool -= reserve.total
        if reserve.count:
            self.trees[2 * self.last.report.epoch + 1] = reserve

    # -- time, pauses, payments -----------------------------------------------------------------------------

    @rule(days=st.sampled_from([1, 20, 31, 95]))
    def wait(self, days: int) -> None:
        self.world.evm.warp(days * 86_400)

    @rule(paused=st.booleans(), is_recorded=st.booleans())
    def pause(self, paused: bool, is_recorded: bool) -> None:
        self.paused = paused
        self.world.token.setPaused(paused, sender=self.world.people.stranger)
        if is_recorded:
            self.end.recordPause(sender=self.world.people.stranger)

    @precondition(lambda self: self.trees and not self.paused)
    @rule(pick=picks, position=picks)
    def claim(self, pick: int, position: int) -> None:
        tree_id = list(self.trees)[pick % len(self.trees)]
        self.pay(tree_id, position % self.trees[tree_id].count)

    def pay(self, tree_id: int, index: int) -> None:
        tree, splitter = self.trees[tree_id], self.world.splitter
        if splitter.isPaid(tree_id, index):
            return
        if isinstance(tree, Reserve):
            claim_reserve(self.world, tree_id, tree, index)
        else:
            splitter.claim(
                tree_id, index, tree.words[index], tree.proof(index), sender=self.world.people.stranger
            )

    @precondition(lambda self: not self.end.refundsOpen() if hasattr(self, "end") else False)
    @rule(pick=picks)
    def withdraw_early(self, pick: int) -> None:
        """Every license here runs on: its buyer has to wait for the end."""
        chosen = self.licenses[pick % len(self.licenses)]
        buyer = self.world.people.buyer
        with pytest.raises(Reverted, match="RoyaltyEscrow_NotCovered"):
            self.world.escrow.withdraw(chosen.number, 1, buyer, sender=buyer)

    # -- the end --------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.closed)
    @rule(by_council=st.booleans())
    def announce(self, by_council: bool) -> None:
        people = self.world.people
        try:
            if by_council:
                self.end.announceByCouncil(sender=people.council)
            else:
                self.end.announce(sender=people.stranger)
        except Reverted as refused:
            if refused.name not in ("WindDown_AlreadyAnnounced", "WindDown_ReportsRunning"):
                raise

    @precondition(lambda self: not self.closed)
    @rule()
    def close(self) -> None:
        last = self.last.report if self.last else self.world.report()
        pending = self.pending.report if self.pending else last
        was_issued = bool(self.last) and (
            self.world.settlement.reserveIssuedEpoch() == self.world.settlement.state().lastEpoch
        )
        try:
            self.end.close(last, pending, sender=self.world.people.stranger)
        except Reverted as refused:
            if refused.name not in ("WindDown_NotAnnounced", "WindDown_NoticeRunning"):
                raise
            return
        self.closed, self.pending = True, None
        if self.last and not was_issued:
            self.book_reserve()

    @precondition(lambda self: self.closed and not self.paused and not self.end.refundsOpen())
    @rule(pick=picks, lanes=st.sets(st.integers(0, 1)))
    def settle_late(self, pick: int, lanes: set[int]) -> None:
        chosen = self.licenses[pick % len(self.licenses)]
        for lane in lanes:
            chosen.shown[lane] = chosen.units[lane]
        shown = [Shown(chosen.lanes[lane], chosen.units[lane]) for lane in sorted(lanes)]
        committed = self.world.escrow.account(chosen.number).cumulativeUnits
        units = max(committed, wind_down.proven_units((str(i), u) for i, u in enumerate(chosen.shown)))
        allowance = wind_down.late_allowance(
            chosen.cap, self.world.settlement.state().lastPeriodEnd, self.end.closedAt(), EPOCH_SECONDS
        )
        expected = wind_down.late_charge(
            units, 10**6, chosen.charged, chosen.deposited - chosen.charged, allowance - chosen.late
        )
        signatures = b"".join(
            Ending(self.world, Reserve(()), self.world.report(), 0).signed([each]) for each in shown
        )
        charge = self.end.settleLate(
            chosen.number, [each.struct for each in shown], signatures, sender=self.world.people.stranger
        ).value
        assert charge == expected
        self.pool += chosen.contributors(chosen.charged + charge) - chosen.contributors(chosen.charged)
        chosen.charged += charge
        chosen.late += charge

    # -- what must hold -------------------------------------------------------------------------------------

    def balance(self, who: object) -> int:
        return int(self.world.token.balanceOf(who))

    @invariant()
    def inv_01_11_money_is_where_it_belongs(self) -> None:
        if not hasattr(self, "licenses"):
            return
        world = self.world
        trees = [world.splitter.tree(tree_id) for tree_id in self.trees]
        credits = sum(
            world.splitter.shareCredit(each.number, party) for each in self.licenses for party in range(4)
        )
        owed = sum(tree.total - tree.paid for tree in trees) + world.splitter.pool() + credits
        assert world.splitter.pool() == self.pool
        assert 0 <= self.balance(world.splitter) - owed <= DUST_PER_LICENSE * len(self.licenses)
        held = sum(each.deposited - each.charged for each in self.licenses)
        assert self.balance(world.escrow) == held

    @invariant()
    def inv_30_nobody_was_paid_what_was_not_theirs(self) -> None:
        if hasattr(self, "entitled"):
            for purse, who in enumerate(PURSES):
                assert self.balance(who) <= self.entitled[purse]

    def teardown(self) -> None:
        """However far it got: the committee vanishes, and everybody takes what is theirs."""
        if not hasattr(self, "licenses"):
            return
        if self.paused:
            self.pause(False, True)
        if not self.closed:
            self.end.recordPause(sender=self.world.people.stranger)
            self.world.evm.warp(SUBMIT_CLOCK)
            self.announce(False)
            self.world.evm.warp(NOTICE)
            self.close()
            assert self.closed
        self.end.recordPause(sender=self.world.people.stranger)
        if not self.end.refundsOpen():
            for number in range(len(self.licenses)):
                self.settle_late(number, {0, 1})
        self.world.evm.warp(SETTLING)
        for tree_id, tree in self.trees.items():
            for index in range(tree.count):
                self.pay(tree_id, index)
        assert [self.balance(who) for who in PURSES] == self.entitled
        self.take_the_rest()

    def take_the_rest(self) -> None:
        world, stranger = self.world, self.world.people.stranger
        for each in self.licenses:
            if each.deposited - each.charged:
                buyer = world.people.buyer
                world.escrow.withdraw(each.number, each.deposited - each.charged, buyer, sender=buyer)
            for party in range(4):
                if world.splitter.shareCredit(each.number, party):
                    world.splitter.payShare(each.number, party, sender=stranger)
        reserve = self.trees.get(self.end.reserveTree())
        if isinstance(reserve, Reserve) and self.pool:
            expected = wind_down.supplements(reserve.amounts, self.pool)
            for index, amount in enumerate(expected):
                if amount:
                    paid = self.end.claimSupplement(*reserve.opening(index), sender=stranger).value
                    assert paid == amount
            if any(expected):
                assert self.balance(self.end) == self.pool - sum(expected) < reserve.count
        elif self.pool:
            assert self.end.payCustodian(sender=stranger).value == self.pool
        assert self.balance(world.escrow) == 0
        left = self.balance(world.splitter) - world.splitter.pool()
        assert 0 <= left <= DUST_PER_LICENSE * len(self.licenses)
        assert world.splitter.pool() < len(PURSES)


# Longer than the others: a failing history is shortened before it is shown.
@pytest.mark.timeout(900)
def test_inv_01_11_13_29_30_43_hold_in_any_history_that_ends() -> None:
    profile = settings.default
    assert profile is not None
    run_state_machine_as_test(
        UntilTheEnd,
        settings=settings(profile, max_examples=max(10, profile.max_examples // 8), stateful_step_count=30),
    )
