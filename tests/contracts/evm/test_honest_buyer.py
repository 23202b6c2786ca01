"""An honest buyer is never slashed: adversaries with all public data, and every signer on their side.

The machine lets them sign any report, invent heads, leave lanes out, acknowledge what they like, rotate,
wait, and challenge with everything that lanes ever signed. The tests after it take one duty away each, and
show that the buyer is slashed then: so none of them is for nothing.
"""

from __future__ import annotations

import re
from dataclasses import replace
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
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.report_types import EpochReport

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.gateway import (
    SALT,
    Gateway,
    LaneVector,
    bonded_license,
    commitment,
    contradiction,
    fund_challenger,
    reveal,
)
from tests.contracts.evm.honest_buyer import HonestBuyer
from tests.contracts.evm.world import EPOCH_SECONDS, MERGE_DELAY_SECONDS, World, committee_of
from tests.contracts.wire import CURVE_ORDER, account

BOND = 10**9
HOUR = 3_600
MALLORY = account("mallory")

picks = st.integers(0, 2**16)
REFUSED = r"(UsageChallenges|LaneEvidence|LaneTree|CheckpointAcks|UsageSettlement|CommitReveal)_\w+"


class Adversaries(RuleBasedStateMachine):
    """Everybody against one honest buyer."""

    @initialize()
    def deploy(self) -> None:
        self.world = World(Evm())
        self.buyer = HonestBuyer(self.world, BOND, lane_count=2)
        cheat_license = bonded_license(self.world, BOND, buyer=MALLORY)
        self.cheat = Gateway(self.world, cheat_license, "mallory's gateway")
        self.finalized: list[tuple[EpochReport, LaneVector]] = []
        self.rotations = 0
        fund_challenger(self.world, MALLORY, bonds=1_000)
        for _ in range(3):
            self.cheat.serve()

    @property
    def gateways(self) -> list[Gateway]:
        return [*(lane.gateway for lane in self.buyer.lanes), self.cheat]

    # -- what is true ---------------------------------------------------------------------------------------

    @rule(pick=picks, units=st.integers(0, 5), skew_s=st.sampled_from([-600, 0, 0, 59, 3_600]))
    def serve(self, pick: int, units: int, skew_s: int) -> None:
        """A clock may be off by minutes, and an hour ahead."""
        gateway = self.buyer.lanes[pick % 2].gateway
        last_ms = gateway.receipts[-1].issued_at_ms if gateway.receipts else 0
        gateway.serve(units, max(last_ms, (self.world.evm.timestamp + skew_s) * 1_000 + pick % 1_000))

    @rule(
        pick=picks,
        members=st.sets(st.integers(0, 6), min_size=1),
        lie_s=st.sampled_from([-HOUR, 0, 0, HOUR]),
    )
    def acknowledge(self, pick: int, members: set[int], lie_s: int) -> None:
        """Signers and strangers acknowledge, at any time they like to say."""
        signers = [*self.world.signers[self.world.committee.latestVersion()], *committee_of(3, "no signer")]
        chosen = [signers[number] for number in members]
        self.buyer.ask_for_acks(self.buyer.lanes[pick % 2], chosen, self.world.evm.timestamp + lie_s)

    @rule(pick=picks, hours=st.sampled_from([2, 12, 24]))
    def acknowledge_and_leave_out(self, pick: int, hours: int) -> None:
        """Enough signers acknowledge a receipt, and then all sign a report without it."""
        self.serve(pick, 1, 0)
        self.acknowledge(pick, {0, 1, 2}, 0)
        self.wait(hours)
        self.report(4, [0, 0, 0], 3)
        self.beyond_count(pick - 2, len(self.finalized) - 1, 0, "true")

    @rule(hours=st.sampled_from([1, 1, 2, 12, 24, 7 * 24]))
    def wait(self, hours: int) -> None:
        self.buyer.pass_until(self.world.evm.timestamp + hours * HOUR)

    # -- what the signers do --------------------------------------------------------------------------------

    @rule(late=st.integers(0, 4), heads=st.lists(picks, min_size=3, max_size=3), lanes=st.integers(0, 3))
    def report(self, late: int, heads: list[int], lanes: int) -> None:
        """A quorum finalizes whatever it likes: true, old, invented or missing heads, too few lanes."""
        earliest = self.world.settlement.state().lastPeriodEnd + EPOCH_SECONDS
        self.buyer.pass_until(earliest)
        period_end = earliest + (self.world.evm.timestamp - earliest) * late // 4
        if self.world.committee.issuesReserveFirst(len(self.finalized) + 1):
            self.world.settlement.issueReserve(self.finalized[-1][0], sender=MALLORY)
        vector = LaneVector(
            [self._head(gateway, pick) for gateway, pick in zip(self.gateways, heads, strict=True)][:lanes]
        )
        report = self.world.report(period_end=period_end, **vector.in_report)
        self.world.submit(report)
        self.buyer.pass_until(self.world.settlement.state().finalizableAt)
        self.world.settlement.finalize(report, sender=MALLORY)
        self.finalized.append((report, vector))

    def _head(self, gateway: Gateway, pick: int) -> Checkpoint | None:
        if pick % 3 == 0:
            return None
        if pick % 3 == 1:
            return gateway.checkpoint(pick % (len(gateway.receipts) + 1))
        return Checkpoint(gateway.address, pick % 7, pick, keccak256(pick.to_bytes(4, "big")))

    @precondition(lambda self: self.rotations < 9 and self.finalized)
    @rule(pick=picks)
    def rotate(self, pick: int) -> None:
        """Other signers from an epoch whose period is not over: all of them, or a few."""
        state, now = self.world.settlement.state(), self.world.evm.timestamp
        from_epoch = max(
            state.lastEpoch + 2, state.lastEpoch + (now - state.lastPeriodEnd) // EPOCH_SECONDS + 1
        )
        if from_epoch > state.lastEpoch + 300:
            return
        self.rotations += 1
        signers = committee_of(4 + pick % 4, f"committee {self.rotations * (pick % 2)}")
        made = self.world.committee.rotate(signers, from_epoch, sender=self.world.people.council)
        self.world.signers[made.value] = signers
        self.buyer.on_rotation()

    # -- what challengers do --------------------------------------------------------------------------------

    @rule(
        first=picks,
        second=picks,
        points=st.tuples(st.booleans(), st.booleans()),
        malleate=st.booleans(),
        rewarded=st.booleans(),
    )
    def contradict(
        self, first: int, second: int, points: tuple[bool, bool], malleate: bool, rewarded: bool
    ) -> None:
        """Any two receipts and checkpoints of honest lanes, one perhaps with its other signature."""
        evidence = []
        for pick, is_point in zip((first, second), points, strict=True):
            gateway = self.buyer.lanes[pick % 2].gateway
            if not gateway.receipts:
                return
            seq = pick // 2 % len(gateway.receipts)
            evidence.append(gateway.signed(gateway.checkpoint(seq) if is_point else gateway.receipts[seq]))
        if malleate:
            good = evidence[1][1]
            high = (CURVE_ORDER - int.from_bytes(good[32:64], "big")).to_bytes(32, "big")
            evidence[1] = (evidence[1][0], good[:32] + high + bytes((55 - good[64],)))
        self._contradict(contradiction(*evidence), rewarded)

    @rule(pick=picks, counts=st.tuples(picks, picks), seqs=st.tuples(picks, picks), rewarded=st.booleans())
    def fork(self, pick: int, counts: tuple[int, int], seqs: tuple[int, int], rewarded: bool) -> None:
        """Any two checkpoints with leaves that stand in them, at one seq or passed off as such."""
        gateway = self.buyer.lanes[pick % 2].gateway
        held = len(gateway.receipts)
        if held:
            first, second = (1 + count % held for count in counts)
            one, other = seqs[0] % first, seqs[1] % second
            parts = gateway.fork(one, gateway, (first, second)) if one < second else None
            shown = (
                gateway.signed(gateway.checkpoint(first)),
                gateway.signed(gateway.checkpoint(second)),
                one,
                gateway.leaves[one],
                gateway.proof(one, first),
                gateway.leaves[other],
                gateway.proof(other, second),
            )
            for evidence in filter(None, (parts, shown)):
                self._contradict(contradiction(fork=evidence), rewarded)

    def _contradict(self, evidence: Any, rewarded: bool) -> None:
        if rewarded:
            self._refused("challengeContradiction", evidence)
        else:
            with pytest.raises(Reverted, match=REFUSED):
                self.world.challenges.revokeByContradiction(evidence, sender=MALLORY)

    @rule(pick=picks)
    def date_ahead(self, pick: int) -> None:
        gateway = self.buyer.lanes[pick % 2].gateway
        if gateway.receipts:
            self._refused("challengeFutureDate", gateway.signed(gateway.receipts[-1]))

    @rule(pick=picks, flaw=st.sampled_from(["seq", "issued_at_ms", "request_hash"]))
    def forge(self, pick: int, flaw: str) -> None:
        """What the lane never signed proves nothing."""
        gateway = self.buyer.lanes[pick % 2].gateway
        if gateway.receipts:
            receipt, signature = gateway.signed(gateway.receipts[-1])
            changed: Any = keccak256(b"forged") if flaw == "request_hash" else 2**62
            self._refused("challengeFutureDate", (replace(receipt, **{flaw: changed}), signature))

    @precondition(lambda self: self.finalized)
    @rule(pick=picks, epoch=picks, other=picks, shape=st.sampled_from(["true", "true", "true", "wrong"]))
    def beyond_count(self, pick: int, epoch: int, other: int, shape: str) -> None:
        """Any receipt against any report, with the true opening of its lane or with another one."""
        gateway = self.buyer.lanes[pick % 2].gateway
        if not gateway.receipts:
            return
        report, vector = self.finalized[epoch % len(self.finalized)]
        head = vector.head(gateway.number)
        if shape == "wrong":
            head = self.finalized[other % len(self.finalized)][1].head(other % 4)
        receipt = gateway.receipts[(pick // 2) % len(gateway.receipts)]
        self._play("openBeyondCount", gateway.signed(receipt), report, head)

    @rule(pick=picks, covering=picks, crossed=st.booleans())
    def swapped(self, pick: int, covering: int, crossed: bool) -> None:
        """Any receipt with any checkpoint that a lane could have signed, of the other lane too."""
        gateway = self.buyer.lanes[pick % 2].gateway
        other = self.buyer.lanes[(pick + crossed) % 2].gateway
        if gateway.receipts:
            receipt = gateway.receipts[pick // 2 % len(gateway.receipts)]
            point = other.checkpoint(covering % (len(other.receipts) + 1))
            self._play("openSwapped", gateway.signed(receipt), other.signed(point))

    @rule(pick=picks)
    def uphold(self, pick: int) -> None:
        with pytest.raises(Reverted, match=REFUSED):
            self.world.challenges.uphold(pick % (self.world.challenges.challengeCount() + 2), sender=MALLORY)

    @rule()
    def cheat_elsewhere(self) -> None:
        """A cheat of another license costs that license alone."""
        if not self.world.challenges.laneSlashed(self.cheat.number):
            pair = self.cheat.signed(self.cheat.receipts[0]), self.cheat.signed(self.cheat.forged(0))
            self._play("challengeContradiction", contradiction(*pair))
            assert self.world.license_bonds.bond(self.cheat.license_id) < BOND

    def _refused(self, function: str, *evidence: Any) -> None:
        with pytest.raises(Reverted, match=REFUSED):
            self._send(function, *evidence)

    def _play(self, function: str, *evidence: Any) -> None:
        try:
            self._send(function, *evidence)
        except Reverted as refused:
            if not re.fullmatch(REFUSED, refused.name):
                raise

    def _send(self, function: str, *evidence: Any) -> None:
        calldata = self.world.challenges.calldata(function, *evidence, SALT)
        self.world.challenges.commit(commitment(MALLORY, calldata), sender=MALLORY)
        self.buyer.pass_until(self.world.evm.timestamp + 60)
        getattr(self.world.challenges, function)(*evidence, SALT, sender=MALLORY)

    # -- what holds -----------------------------------------------------------------------------------------

    @invariant()
    def bond_is_whole(self) -> None:
        if not hasattr(self, "buyer"):
            return
        world, buyer = self.world, self.buyer
        assert world.license_bonds.bond(buyer.license_id) == BOND
        for lane in buyer.lanes:
            assert not world.challenges.laneSlashed(lane.gateway.number)
            assert world.registry.laneRevokedAt(lane.gateway.number) == 0
        assert world.challenges.credit(buyer.wallet) == buyer.answered * world.challenges.challengeBond()

    def teardown(self) -> None:
        """Whatever is open is answered in time, and the buyer is free."""
        if hasattr(self, "buyer"):
            self.buyer.pass_until(self.world.evm.timestamp + self.world.challenges.answerSeconds())
            assert self.world.challenges.openAgainst(self.buyer.license_id) == 0
            self.bond_is_whole()


# Longer than the others: a failing history is shortened before it is shown.
@pytest.mark.timeout(900)
def test_inv_25_honest_buyer_is_never_slashable() -> None:
    """A quarter of the profile's examples, each some 40 moves long."""
    profile = settings.default
    assert profile is not None
    run_state_machine_as_test(
        Adversaries,
        settings=settings(profile, max_examples=max(10, profile.max_examples // 4), stateful_step_count=40),
    )


# -- each duty taken away -----------------------------------------------------------------------------------


@pytest.fixture
def gateway(world: World) -> Gateway:
    """A lane with a bond behind it, and somebody who can pay for challenges."""
    fund_challenger(world, MALLORY, bonds=9)
    return Gateway(world, bonded_license(world, BOND), "gateway")


def slash_unanswered(world: World, gateway: Gateway, function: str, *evidence: Any) -> int:
    """Open a challenge that nobody answers; what the bond lost."""
    number = reveal(world, MALLORY, function, *evidence).value
    world.evm.at(world.challenges.challenge(number).answerableUntil)
    with pytest.raises(Reverted, match="UsageChallenges_StillAnswerable"):
        world.challenges.uphold(number, sender=MALLORY)
    world.evm.warp(1)
    world.challenges.uphold(number, sender=MALLORY)
    return BOND - int(world.license_bonds.bond(gateway.license_id))


def test_inv_25_needs_anchors_by_the_period_end(world: World, gateway: Gateway) -> None:
    """One second after the merge delay is too late where a period ends just then."""
    period_end = world.settlement.state().lastPeriodEnd + EPOCH_SECONDS
    world.evm.at(period_end - MERGE_DELAY_SECONDS)
    receipt = gateway.serve()
    world.evm.at(period_end + 1)
    gateway.anchor()
    report = world.settle(**LaneVector([]).in_report)
    assert slash_unanswered(
        world, gateway, "openBeyondCount", gateway.signed(receipt), report, LaneVector([]).head(0)
    )


def test_inv_25_holds_with_an_anchor_in_the_last_second(world: World, gateway: Gateway) -> None:
    period_end = world.settlement.state().lastPeriodEnd + EPOCH_SECONDS
    world.evm.at(period_end - MERGE_DELAY_SECONDS)
    receipt = gateway.serve()
    world.evm.at(period_end)
    gateway.anchor()
    report = world.settle(**LaneVector([]).in_report)
    with pytest.raises(Reverted, match="UsageChallenges_Anchored"):
        reveal(world, MALLORY, "openBeyondCount", gateway.signed(receipt), report, LaneVector([]).head(0))


def test_inv_25_needs_one_receipt_per_seq(world: World, gateway: Gateway) -> None:
    gateway.serve()
    evidence = contradiction(gateway.signed(gateway.receipts[0]), gateway.signed(gateway.forged(0)))
    reveal(world, MALLORY, "challengeContradiction", evidence)
    assert world.license_bonds.bond(gateway.license_id) < BOND


def test_inv_25_needs_true_checkpoints(world: World, gateway: Gateway) -> None:
    for _ in range(3):
        gateway.serve(5)
    lie = gateway.signed(replace(gateway.checkpoint(3), cumulative_units=14))
    for witness in (gateway.checkpoint(2), gateway.receipts[2]):
        with world.evm.undone():
            evidence = contradiction(gateway.signed(witness), lie)
            if isinstance(witness, Checkpoint):  # alone it knows of ten units, and fourteen are more
                with pytest.raises(Reverted, match="LaneEvidence_NoConflict"):
                    reveal(world, MALLORY, "challengeContradiction", evidence)
            else:
                reveal(world, MALLORY, "challengeContradiction", evidence)
                assert world.license_bonds.bond(gateway.license_id) < BOND


def test_inv_25_needs_units_that_add_up(world: World, gateway: Gateway) -> None:
    """A checkpoint that says too little cannot hide behind receipts that say too little."""
    gateway.serve(5)
    gateway.serve(5)
    gateway.receipts[1] = gateway.forged(1, cumulative_units=9)
    evidence = contradiction(*map(gateway.signed, gateway.receipts))
    reveal(world, MALLORY, "challengeContradiction", evidence)
    assert world.license_bonds.bond(gateway.license_id) < BOND


def test_inv_25_needs_receipts_that_are_kept(world: World, gateway: Gateway) -> None:
    """A checkpoint over other receipts than the callers got cannot be answered."""
    for _ in range(3):
        gateway.serve()
    given_away = gateway.signed(gateway.receipts[1])
    gateway.receipts[1] = gateway.forged(1)
    covering = gateway.signed(gateway.checkpoint())
    assert slash_unanswered(world, gateway, "openSwapped", given_away, covering)


def test_inv_25_needs_a_clock(world: World, gateway: Gateway) -> None:
    now = world.evm.timestamp
    at_limit = gateway.serve(issued_at_ms=(now + 60 + HOUR) * 1_000)
    with pytest.raises(Reverted, match="UsageChallenges_NotInFuture"):
        reveal(world, MALLORY, "challengeFutureDate", gateway.signed(at_limit))
    beyond = gateway.serve(issued_at_ms=(world.evm.timestamp + 60 + HOUR) * 1_000 + 1)
    reveal(world, MALLORY, "challengeFutureDate", gateway.signed(beyond))
    assert world.license_bonds.bond(gateway.license_id) < BOND
