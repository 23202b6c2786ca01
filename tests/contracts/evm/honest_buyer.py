"""A buyer who does what IUsageChallenges asks of an honest one, and not a second earlier than it must."""

from __future__ import annotations

from dataclasses import dataclass, field

from usufruct_protocol.receipts import Checkpoint

from tests.contracts.evm.gateway import Gateway, Signed, acks, bonded_license
from tests.contracts.evm.world import MERGE_DELAY_SECONDS, World
from tests.contracts.wire import Account

BEYOND_COUNT, SWAPPED = 1, 2


@dataclass
class AckedCheckpoint:
    """A checkpoint that more signers than may be faulty have acknowledged in time."""

    checkpoint: Checkpoint
    acks: list[tuple[int, bytes]]


@dataclass
class Lane:
    """One gateway with what the buyer can show for it."""

    gateway: Gateway
    anchored: int = 0
    acked: list[AckedCheckpoint] = field(default_factory=list)

    @property
    def shown(self) -> int:
        """How many receipts are anchored or acknowledged."""
        return max([self.anchored, *(each.checkpoint.count for each in self.acked)])

    def due_at(self) -> int | None:
        """Second by which the oldest receipt that nobody vouches for must be anchored."""
        if self.shown == len(self.gateway.receipts):
            return None
        return self.gateway.receipts[self.shown].issued_at_ms // 1_000 + MERGE_DELAY_SECONDS


class HonestBuyer:
    """Its license, its lanes, and the duties it does at the last moment."""

    def __init__(self, world: World, bond: int, lane_count: int) -> None:
        self.world = world
        self.bond = bond
        self.license_id = bonded_license(world, bond)
        self.lanes = [
            Lane(Gateway(world, self.license_id, f"honest gateway {number}")) for number in range(lane_count)
        ]
        self.wallet: Account = world.people.buyer
        self.answered = 0
        self.settled: set[int] = set()

    def pass_until(self, timestamp_s: int) -> None:
        """Let time pass; the buyer acts whenever it can wait no longer."""
        while (due := self.next_duty_at()) is not None and due <= timestamp_s:
            self.world.evm.at(max(due, self.world.evm.timestamp))
            self.act()
        self.world.evm.at(max(timestamp_s, self.world.evm.timestamp))

    def next_duty_at(self) -> int | None:
        """The next moment at which something has to be done."""
        moments = [due for lane in self.lanes if (due := lane.due_at()) is not None]
        moments += [self.world.challenges.challenge(number).answerableUntil for number in self._open()]
        return min(moments, default=None)

    def act(self) -> None:
        """Do what is due now."""
        now = self.world.evm.timestamp
        for lane in self.lanes:
            due = lane.due_at()
            if due is not None and due <= now:
                self.anchor(lane)
        for number in self._open():
            if self.world.challenges.challenge(number).answerableUntil <= now:
                self.answer(number)

    def anchor(self, lane: Lane) -> None:
        """Anchor all receipts of a lane, if they are not yet."""
        if lane.anchored < len(lane.gateway.receipts):
            lane.gateway.anchor()
            lane.anchored = len(lane.gateway.receipts)

    def ask_for_acks(self, lane: Lane, signers: list[Account], received_at: int) -> None:
        """Offer the newest checkpoint; keep what signers acknowledge, if that is enough and in time.

        While another committee is announced, no set of signers is sure to govern the report to come.
        """
        committee = self.world.committee
        version = committee.latestVersion()
        governing = committee.versionFor(self.world.settlement.state().lastEpoch + 1)
        members = set(committee.signersOf(version)[0])
        enough = (len(members) - 1) // 3 + 1
        due = lane.due_at()
        honest = sorted(
            {signer.address: signer for signer in signers}.items(), key=lambda item: item[0].lower()
        )
        usable = [signer for address, signer in honest if address in members]
        if due is None or version != governing or len(usable) < enough or received_at > due:
            return
        checkpoint = lane.gateway.checkpoint()
        lane.acked.append(AckedCheckpoint(checkpoint, acks(self.world, checkpoint, usable, received_at)))

    def on_rotation(self) -> None:
        """New signers are announced: what only the old ones have acknowledged is anchored."""
        for lane in self.lanes:
            self.anchor(lane)

    def answer(self, number: int) -> None:
        """Answer a challenge with what is at hand."""
        challenge = self.world.challenges.challenge(number)
        lane = next(each for each in self.lanes if each.gateway.number == challenge.laneNumber)
        if challenge.kind == SWAPPED:
            proof = lane.gateway.proof(challenge.seq, challenge.count)
            self.world.challenges.answerByInclusion(number, proof, sender=self.wallet)
        else:
            shown: list[tuple[Signed, list[tuple[int, bytes]]]] = [
                (lane.gateway.signed(each.checkpoint), each.acks)
                for each in lane.acked
                if each.checkpoint.count > challenge.seq
                and all(received_at <= challenge.periodEnd for received_at, _ in each.acks)
            ]
            self.world.challenges.answerByAcks(number, *shown[0], sender=self.wallet)
        self.answered += 1

    def _open(self) -> list[int]:
        numbers = set(range(1, self.world.challenges.challengeCount() + 1)) - self.settled
        mine = {lane.gateway.number for lane in self.lanes}
        found = []
        for number in sorted(numbers):
            challenge = self.world.challenges.challenge(number)
            if challenge.kind == 0:
                self.settled.add(number)
            elif challenge.laneNumber in mine:
                found.append(number)
        return found
