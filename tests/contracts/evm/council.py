"""A patient council over a world: seats, votes and a timelock that holds every power of the AccessManager."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from usufruct_chain.roles import ADMIN_ROLE, COUNCIL_ROLE

from tests.contracts.evm.chain import Contract, Evm, Receipt
from tests.contracts.evm.world import World
from tests.contracts.wire import Account, account, keccak

DAY = 86_400
DELAY_SECONDS = 2 * DAY
VOTING_DELAY_SECONDS = DAY
VOTING_SECONDS = 3 * DAY
GRACE_SECONDS = 30 * DAY
QUORUM_PERCENT = 50
TERM_SECONDS = 730 * DAY
MANDATE = keccak(b"elected by the members' assembly")
SETTINGS = (VOTING_DELAY_SECONDS, VOTING_SECONDS, QUORUM_PERCENT)

AGAINST, FOR, ABSTAIN = 0, 1, 2
PENDING, ACTIVE, CANCELED, DEFEATED, SUCCEEDED, QUEUED, EXPIRED, EXECUTED = range(8)

Call = tuple[Contract, str, tuple[Any, ...]]


@dataclass(frozen=True)
class Proposal:
    """What was proposed: everything that queueing and executing must repeat."""

    id: int
    targets: tuple[str, ...]
    values: tuple[int, ...]
    payloads: tuple[bytes, ...]
    description: str

    @property
    def content(self) -> tuple[Any, ...]:
        """What `propose` takes."""
        return (self.targets, self.values, self.payloads, self.description)

    @property
    def named(self) -> tuple[Any, ...]:
        """What `queue`, `execute` and `cancel` take: the description by its hash."""
        return (self.targets, self.values, self.payloads, keccak(self.description.encode()))


class Council:
    """The three council contracts, and the people in the seats.

    `timelock` puts a plain account in the place of the timelock, which can then do at once what would take a
    vote; nothing can be queued or executed in that case.
    """

    def __init__(
        self,
        evm: Evm,
        *,
        seats: int = 5,
        settings: tuple[int, int, int] = SETTINGS,
        delay_seconds: int = DELAY_SECONDS,
        timelock: Account | None = None,
    ) -> None:
        self.evm = evm
        self.anyone = account("anyone")
        self.members = [account(f"seat {number}") for number in range(seats)]
        deployer = account("council deployer")
        self.delay_seconds = delay_seconds
        self.timelock: Any = timelock or evm.deploy(
            "CouncilTimelock", delay_seconds, evm.next_address(deployer, 2), sender=deployer
        )
        appointments = [self.appointment(member) for member in self.members]
        self.seat = evm.deploy("CouncilSeat", self.timelock, appointments, sender=deployer)
        self.governor = evm.deploy("PatientCouncil", self.seat, self.timelock, settings, sender=deployer)
        self.proposals_made = 0

    def appointment(self, holder: Account, term_seconds: int = TERM_SECONDS) -> tuple[Any, ...]:
        """Return the appointment of somebody from now on."""
        return (holder.address, self.evm.timestamp + term_seconds, MANDATE)

    def take_over(self, world: World) -> None:
        """Give the timelock every administrative power of a world; who had it before keeps none."""
        manager, admin = world.manager, world.people.admin
        manager.grantRole(COUNCIL_ROLE, self.timelock, 0, sender=admin)
        manager.grantRole(ADMIN_ROLE, self.timelock, 0, sender=admin)
        manager.revokeRole(COUNCIL_ROLE, world.people.council, sender=admin)
        manager.renounceRole(ADMIN_ROLE, admin, sender=admin)

    def draft(self, calls: Iterable[Call]) -> Proposal:
        """Return a proposal of these calls that was not made before."""
        chosen = list(calls)
        self.proposals_made += 1
        targets = tuple(target.address for target, _, _ in chosen)
        payloads = tuple(target.calldata(name, *arguments) for target, name, arguments in chosen)
        description = f"Proposal {self.proposals_made}"
        values = (0,) * len(chosen)
        named = (targets, values, payloads, keccak(description.encode()))
        return Proposal(self.governor.hashProposal(*named), targets, values, payloads, description)

    def propose(self, *calls: Call, by: Account | None = None) -> Proposal:
        """Propose calls, as the first seat unless told otherwise."""
        self.evm.warp(1)
        proposal = self.draft(calls)
        made = self.governor.propose(*proposal.content, sender=by or self.members[0])
        assert made.value == proposal.id
        return proposal

    def open_vote(self) -> None:
        """Let the voting delay of what was just proposed pass."""
        self.evm.warp(self.governor.votingDelay() + 1)

    def close_vote(self) -> None:
        """Let the whole voting period pass."""
        self.evm.warp(self.governor.votingPeriod() + 1)

    def vote(self, proposal: Proposal, support: int, voters: Sequence[Account]) -> None:
        """Cast the same vote for several seats."""
        for voter in voters:
            self.governor.castVote(proposal.id, support, sender=voter)

    def passed(self, *calls: Call) -> Proposal:
        """Propose, and let every seat vote for it; what is left is to queue and execute."""
        proposal = self.propose(*calls)
        self.open_vote()
        sitting = [member for member in self.members if self.seat.seatOf(member)]
        self.vote(proposal, FOR, sitting)
        self.close_vote()
        return proposal

    def queued(self, *calls: Call) -> Proposal:
        """Pass and queue; what is left is to wait and to execute."""
        proposal = self.passed(*calls)
        self.governor.queue(*proposal.named, sender=self.anyone)
        return proposal

    def decide(self, *calls: Call) -> Receipt:
        """Take calls the whole way, until they were executed."""
        proposal = self.queued(*calls)
        self.evm.warp(self.delay_seconds)
        executed: Receipt = self.governor.execute(*proposal.named, sender=self.anyone)
        return executed
