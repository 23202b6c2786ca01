"""A strictly monotone signer is never slashed, whatever an adversary with everybody else's keys plays.

The adversary has all lane keys, one signer's key, money, and everything public. Three signers run one honest
node: it keeps the rules that IReportDisputes lists, and nothing more.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

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
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.report_types import EpochReport

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.disputes import (
    ANSWERER,
    CHALLENGER,
    HEAD,
    OPEN,
    SIGNER_BOND,
    Scene,
    ask_head,
    ask_units,
    condemn,
    next_period,
    reveal,
    shown_by,
    sign_alone,
)
from tests.contracts.evm.gateway import NO_CHECKPOINT, Gateway, LaneVector, contradiction
from tests.contracts.evm.world import World

HONEST = (0, 1, 2)
Evidence = tuple[list[Any], list[Any], list[Any]]


def conflict(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether two checkpoints of a lane cannot both be true."""
    if one.count == other.count:
        return one != other
    low, high = sorted((one, other), key=lambda point: point.count)
    return high.cumulative_units < low.cumulative_units


@dataclass
class Known:
    """What the node knows of one lane."""

    gateway: Gateway
    head: Checkpoint | None = None
    points: list[Checkpoint] = field(default_factory=list)
    excuses: list[tuple[int, Evidence]] = field(default_factory=list)

    def learn(self, point: Checkpoint) -> None:
        """Keep a signed checkpoint; follow it unless it contradicts another."""
        clashes = [held for held in self.points if conflict(held, point)]
        for held in clashes:
            pair = (self.gateway.signed(held), self.gateway.signed(point))
            # good for any anchor at or above the lower of the two
            self.excuses.append((min(held.count, point.count), contradiction(*pair)))
        self.points.append(point)
        if not clashes and (self.head is None or point.count > self.head.count):
            self.head = point

    def excuse(self, needed: int) -> Evidence | None:
        """A contradiction at or below an anchored count, if the node holds one."""
        return next((evidence for lowest, evidence in self.excuses if lowest <= needed), None)


class HonestNode:
    """Builds and signs one report per attempt, and shows what it is asked for."""

    def __init__(self, world: World, lanes: list[Gateway]) -> None:
        self.world = world
        self.lanes = [Known(lane) for lane in lanes]
        self.final: list[Checkpoint | None] = [None] * len(lanes)

    def build(self, period_end: int, lines_of: Any) -> tuple[EpochReport, LaneVector]:
        """The next report over the highest heads, bound by anchors unless a contradiction excuses."""
        heads = []
        for known, final in zip(self.lanes, self.final, strict=True):
            found = self.world.anchors.anchorAt(known.gateway.key, period_end)
            bound = Checkpoint(known.gateway.address, found.count, found.cumulativeUnits, found.receiptsRoot)
            if bound.count and bound not in known.points:
                known.learn(bound)
            if bound.count > (known.head.count if known.head else 0) and not known.excuse(bound.count):
                known.head = bound
            assert final is None or (known.head is not None and known.head.count >= final.count)
            heads.append(known.head)
        vector = LaneVector(heads)
        root = self.world.consent_log.accumulator()
        return self.world.report(lines_of(heads), **vector.in_report, consent_root=root), vector

    def answer(self, report: EpochReport, vector: LaneVector, asked: bytes) -> None:
        """Show what is asked for."""
        disputes = self.world.disputes
        found = disputes.dispute(asked)
        if found.status != OPEN:
            return
        if found.question != HEAD:
            own = [known.gateway for known in self.lanes if known.gateway.license_id == found.subject]
            shown = [shown_by(lane, vector) for lane in own if vector.heads[lane.number]]
            disputes.answerUnits(asked, shown, sender=ANSWERER)
            return
        known = self.lanes[found.subject]
        head = vector.heads[found.subject]
        if (head.count if head else 0) >= found.needed:
            disputes.answerHead(asked, shown_by(known.gateway, vector), sender=ANSWERER)
            return
        excuse = known.excuse(found.needed)
        assert excuse, "the node signed a count that it cannot defend"
        disputes.answerHeadByContradiction(asked, shown_by(known.gateway, vector), excuse, sender=ANSWERER)


Move = tuple[int, str, str, int]
lanes = st.integers(0, 2)
counts = st.integers(0, 12)
moves = st.tuples(
    st.integers(0, 2),
    st.sampled_from(["", "truth", "lie", "receipts", "fork"]),
    st.sampled_from(["", "truth", "lie"]),
    st.integers(0, 6),
)


class Adversary(RuleBasedStateMachine):
    """Everything that lanes, a fourth signer, challengers and passers-by can do, in any order."""

    @initialize()
    def deploy(self) -> None:
        self.world = World(Evm())
        self.scene = Scene.build(self.world)
        self.node = HonestNode(self.world, self.scene.lanes)
        self.reports: list[tuple[EpochReport, LaneVector]] = []
        self.finalized: list[tuple[EpochReport, LaneVector]] = []
        self.pending: tuple[EpochReport, LaneVector] | None = None
        self.asked: list[bytes] = []
        self.entries = 0
        self.wealth = self.owned(CHALLENGER)
        self.report(((0, "truth", "", 0), (1, "truth", "truth", 0), (0, "", "", 0)), True, False)
        self.finalize()

    def owned(self, who: Any) -> int:
        """What somebody has, and what is owed to them."""
        world = self.world
        return int(world.token.balanceOf(who) + world.disputes.credit(who) + world.operator_bonds.credit(who))

    # -- lanes, honest or not -----------------------------------------------------------------------------

    @rule(pick=lanes, calls=st.integers(1, 3))
    def serve(self, pick: int, calls: int) -> None:
        for _ in range(calls):
            self.scene.lanes[pick].serve(7)

    @rule(pick=lanes)
    def deliver(self, pick: int) -> None:
        self.node.lanes[pick].learn(self.scene.lanes[pick].checkpoint())

    @rule(pick=lanes, count=counts, units=st.integers(0, 100))
    def deliver_a_lie(self, pick: int, count: int, units: int) -> None:
        self.node.lanes[pick].learn(self.lie(pick, count, units))

    def lie(self, pick: int, count: int, units: int) -> Checkpoint:
        return Checkpoint(self.scene.lanes[pick].address, count, units, bytes((count, units % 256)) * 16)

    @rule(pick=lanes, seq=st.integers(0, 4), forked=st.booleans())
    def show_two_histories(self, pick: int, seq: int, forked: bool) -> None:
        """The node keeps them; they excuse it from anchors above that seq, in epochs to come."""
        lane = self.scene.lanes[pick]
        other = lane.rewritten(seq)
        pair = (lane.signed(lane.receipts[seq]), lane.signed(other.receipts[seq]))
        shown = contradiction(fork=lane.fork(seq, other)) if forked else contradiction(*pair)
        self.node.lanes[pick].excuses.append((seq + 1, shown))

    @rule(pick=lanes, more=st.integers(0, 4), units=st.integers(0, 60), true=st.booleans())
    def anchor(self, pick: int, more: int, units: int, true: bool) -> None:
        """A true checkpoint, or one made up on top of what is anchored."""
        lane = self.scene.lanes[pick]
        last = self.world.anchors.anchorAt(lane.key, self.world.evm.timestamp)
        point = lane.checkpoint()
        if not true:
            point = self.lie(pick, last.count + more, last.cumulativeUnits + units)
        with suppress(Reverted):
            self.world.anchors.anchor(*lane.signed(point), sender=CHALLENGER)

    @rule(secret=st.booleans())
    def consent(self, secret: bool) -> None:
        self.entries += 1
        entry = self.entries.to_bytes(32, "big")
        if secret:
            self.world.consent_log.forceRevoke(entry, sender=CHALLENGER)
        else:
            self.world.consent_log.publish(entry, 1, sender=CHALLENGER)
        self.pass_time(12)

    # -- the honest majority ------------------------------------------------------------------------------

    @precondition(lambda self: self.pending is None)
    @rule(moves=st.tuples(moves, moves, moves), helped=st.booleans(), doubted=st.booleans())
    def report(self, moves: tuple[Move, ...], helped: bool, doubted: bool) -> None:
        """An epoch: what lanes do in it, the report about it, and every question that can be asked."""
        for pick, (calls, told, anchored, count) in enumerate(moves):
            self.serve(pick, calls)
            if told == "truth":
                self.deliver(pick)
            elif told == "lie":
                self.deliver_a_lie(pick, count, 7 * count)
            elif told:
                self.show_two_histories(pick, count % 5, told == "fork")
            if anchored:
                self.anchor(pick, count, 7 * count, anchored == "truth")
        next_period(self.world)
        period_end = self.world.settlement.state().lastPeriodEnd + 86_400
        report, vector = self.node.build(period_end, self.lines_of)
        indices = (0, 1, 2, 3) if helped else HONEST
        self.world.settlement.submit(report, self.world.sign_report(report, indices), sender=ANSWERER)
        self.pending = (report, vector)
        self.reports.append(self.pending)
        self.asked = []
        if doubted:
            self.ask({(of_line, pick) for of_line in (False, True) for pick in range(3)})

    def lines_of(self, heads: list[Checkpoint | None]) -> list[tuple[int, int, int]]:
        units: dict[int, int] = {}
        for lane, head in zip(self.scene.lanes, heads, strict=True):
            units[lane.license_id] = units.get(lane.license_id, 0) + (head.cumulative_units if head else 0)
        return [(license_id, total, 0) for license_id, total in sorted(units.items())]

    @precondition(lambda self: self.pending is not None)
    @rule(really=st.sampled_from([True, False, False]))
    def reject(self, really: bool) -> None:
        assert self.pending is not None
        if not really:
            return
        self.world.settlement.rejectByCouncil(self.pending[0], "a test", sender=self.world.people.council)
        self.pending = None
        for asked in self.asked:
            if self.world.disputes.dispute(asked).status == OPEN:
                self.world.disputes.voidDispute(asked, sender=CHALLENGER)

    @precondition(lambda self: self.pending is not None)
    @rule()
    def finalize(self) -> None:
        """No adversary can stop it, once the node has answered."""
        assert self.pending is not None
        self.node_answers()
        self.world.until(self.world.settlement.state().finalizableAt)
        self.world.settlement.finalize(self.pending[0], sender=ANSWERER)
        self.finalized.append(self.pending)
        self.node.final = list(self.pending[1].heads)
        self.pending = None

    def node_answers(self) -> None:
        assert self.pending is not None
        for asked in self.asked:
            self.node.answer(*self.pending, asked)

    # -- attacks ------------------------------------------------------------------------------------------

    @precondition(lambda self: self.pending is not None)
    @rule(picks=st.sets(st.tuples(st.booleans(), lanes), min_size=1))
    def ask(self, picks: set[tuple[bool, int]]) -> None:
        assert self.pending is not None
        for of_line, pick in sorted(picks):
            with suppress(Reverted):
                asked = (ask_units if of_line else ask_head)(self.world, self.pending[0], pick)
                self.asked.append(asked)

    @precondition(lambda self: self.pending is not None and self.asked)
    @rule(pick=st.integers(0, 9), lane=lanes, old=st.booleans())
    def show_something(self, pick: int, lane: int, old: bool) -> None:
        """Answers in part or in vain, to take the bond back or to stand in the node's way."""
        assert self.pending is not None
        asked = self.asked[pick % len(self.asked)]
        vector = (self.reports[0] if old else self.pending)[1]
        claim = shown_by(self.scene.lanes[lane], vector)
        with suppress(Reverted):
            self.world.disputes.answerUnits(asked, [claim], sender=CHALLENGER)
        with suppress(Reverted):
            self.world.disputes.answerHead(asked, claim, sender=CHALLENGER)

    @precondition(lambda self: self.asked)
    @rule(pick=st.integers(0, 9), of=st.integers(0, 9), late=st.booleans())
    def condemn_something(self, pick: int, of: int, late: bool) -> None:
        asked = self.asked[pick % len(self.asked)]
        if late and self.pending is not None:
            self.pass_time(3_600)
        with suppress(Reverted):
            condemn(self.world, asked, self.reports[of % len(self.reports)][0], HONEST)

    @precondition(lambda self: self.reports)
    @rule(of=st.integers(0, 9))
    def call_the_consent_root_wrong(self, of: int) -> None:
        report = self.reports[of % len(self.reports)][0]
        with suppress(Reverted):
            self.world.disputes.wrongConsent(
                report, self.world.sign_report(report, HONEST), sender=CHALLENGER
            )

    @precondition(lambda self: self.finalized and self.pending is not None)
    @rule(of=st.integers(0, 3), lie=st.integers(0, 2))
    def call_each_lane_fallen(self, of: int, lie: int) -> None:
        """By its true head, an older one or one made up, against its own leaf, another lane's and none."""
        assert self.pending is not None
        final, counted = self.finalized[-1 - of % len(self.finalized)]
        report, vector = self.pending
        signatures = self.world.sign_report(report, HONEST)
        for lane, gateway in enumerate(self.scene.lanes):
            _, opening, _ = before = shown_by(gateway, counted)
            if lane == lie:
                point = self.lie(lane, 12, 200)
                before = (lane, (point, opening[1]), gateway.signed(point)[1])
            own = vector.head(lane)
            for after in (own, (NO_CHECKPOINT, own[1]), (NO_CHECKPOINT, ()), vector.head((lane + 1) % 3)):
                with self.world.evm.undone(), pytest.raises(Reverted):
                    reveal(self.world, "laneFell", report, signatures, final, before, after)

    @precondition(lambda self: len(self.reports) > 1)
    @rule(one=st.integers(0, 9), other=st.integers(0, 9), signer=st.integers(0, 3), forged=st.booleans())
    def call_a_signer_double(self, one: int, other: int, signer: int, forged: bool) -> None:
        """With two reports as they were, or with one that the fourth signer made up."""
        first = self.reports[one % len(self.reports)][0]
        second = self.reports[other % len(self.reports)][0]
        if forged:
            second = replace(first, bundle_hash=bytes((other,)) * 32)
        signers = self.world.signers[1]
        # only its own key can sign what the node did not
        of_second = sign_alone(self.world, second, signers[3] if forged else signers[signer])
        self.show("doubleSigned", first, sign_alone(self.world, first, signers[signer]), second, of_second)

    def show(self, function: str, *evidence: Any) -> None:
        self.node_in_time(60)
        with suppress(Reverted):
            reveal(self.world, function, *evidence)

    @precondition(lambda self: self.reports)
    @rule(of=st.integers(0, 9))
    def slash_the_signers_of_something(self, of: int) -> None:
        report = self.reports[of % len(self.reports)][0]
        with suppress(Reverted):
            self.world.disputes.slashSigners(
                report, self.world.sign_report(report, HONEST), sender=CHALLENGER
            )

    @rule(seconds=st.sampled_from([1, 600, 1_800, 3_599, 40_000]))
    def pass_time(self, seconds: int) -> None:
        self.node_in_time(seconds)
        self.world.evm.warp(seconds)

    def node_in_time(self, seconds: int) -> None:
        """Let the node answer in the last moment before the window ends, and not earlier."""
        state = self.world.settlement.state()
        if state.pending and self.world.evm.timestamp + seconds >= state.finalizableAt:
            self.node_answers()

    # -- what never happens -------------------------------------------------------------------------------

    @invariant()
    def honest_signers_keep_everything(self) -> None:
        world = self.world
        for index in HONEST:
            assert world.operator_bonds.bonded(world.signers[1][index]) == SIGNER_BOND

    @invariant()
    def no_honest_report_is_condemned(self) -> None:
        world = self.world
        if self.reports:
            newest = self.reports[-1][0]
            assert world.disputes.condemnedBy(world.settlement.hashReport(newest)) == "0x" + "00" * 20
        assert world.settlement.state().pending == (self.pending is not None)

    @invariant()
    def attacking_does_not_pay(self) -> None:
        """Beyond the tenth of the fourth signer's bond, which it may have forfeited."""
        open_bonds = sum(
            found.bond
            for found in map(self.world.disputes.dispute, self.asked)
            if found.status == OPEN and found.challenger == CHALLENGER.address
        )
        assert self.owned(CHALLENGER) + open_bonds <= self.wealth + SIGNER_BOND // 10


def test_inv_24_no_adversary_slashes_a_strictly_monotone_signer() -> None:
    """A tenth of the profile's examples: each is some fifty moves, and a move tries many proofs."""
    profile = settings.default
    assert profile is not None
    examples = max(10, profile.max_examples // 10)
    run_state_machine_as_test(Adversary, settings=settings(profile, max_examples=examples))
