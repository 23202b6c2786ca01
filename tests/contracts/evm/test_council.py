"""The patient council: seats, votes, the timelock, and a whole life against the contracts it governs.

Revert paths. PatientCouncil, constructor: ZeroAddress, Miswired, BadVotingTimes, BadQuorum; propose:
EtherRefused and OpenZeppelin's GovernorInsufficientProposerVotes, GovernorInvalidProposalLength,
GovernorRestrictedProposer, GovernorUnexpectedProposalState; vote, queue, execute, cancel:
GovernorUnexpectedProposalState, GovernorAlreadyCastVote, GovernorInvalidVoteType, GovernorInvalidSignature,
GovernorUnableToCancel, EtherRefused; relay, updateTimelock: Fixed.
CouncilTimelock, constructor: ZeroAddress, BadDelay; cancel: NothingIsCanceled; updateDelay:
TimelockUnauthorizedCaller, BadDelay; execute, executeBatch, receive: EtherRefused; all else:
AccessControlUnauthorizedAccount.
CouncilSeat, constructor: ZeroAddress, TooFewSeats; appoint, renew, revoke: OnlyTimelock; appoint: HoldsSeat,
BadTerm, ZeroMandate, ERC721InvalidReceiver; renew: BadTerm, ZeroMandate, ERC721NonexistentToken; revoke,
resign, vacate: TooFewSeats, NoSeat, TermRunning, ERC721NonexistentToken; transfers, approvals:
NotTransferable; delegation: DelegationOff.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from usufruct_chain.roles import ADMIN_ROLE, COUNCIL_ROLE, GUARDIAN_ROLE

from tests.contracts.evm.chain import Contract, Evm, Reverted
from tests.contracts.evm.council import (
    ABSTAIN,
    ACTIVE,
    AGAINST,
    CANCELED,
    DAY,
    DEFEATED,
    DELAY_SECONDS,
    EXECUTED,
    EXPIRED,
    FOR,
    GRACE_SECONDS,
    MANDATE,
    PENDING,
    QUEUED,
    SETTINGS,
    SUCCEEDED,
    TERM_SECONDS,
    VOTING_DELAY_SECONDS,
    VOTING_SECONDS,
    Call,
    Council,
    Proposal,
)
from tests.contracts.evm.world import World
from tests.contracts.wire import ZERO_ADDRESS, account, keccak, sign, typed_digest

STRANGER = account("stranger")
NEWCOMER = account("newcomer")
TIMELOCK = account("timelock")
FEWER = settings(max_examples=max(10, settings().max_examples // 2))  # each is a chain of its own
REASON = keccak(b"minutes of the meeting")
REFUSALS = (
    "CouncilSeat_HoldsSeat",
    "CouncilSeat_NoSeat",
    "CouncilSeat_TooFewSeats",
    "ERC721NonexistentToken",
)


@pytest.fixture
def council(evm: Evm) -> Council:
    return Council(evm)


@pytest.fixture
def bench(evm: Evm) -> Council:
    """Seats and votes under an account that acts as the timelock, at once."""
    return Council(evm, timelock=TIMELOCK)


@pytest.fixture
def governed(world: World) -> tuple[World, Council]:
    """A world whose every administrative power is the council's."""
    council = Council(world.evm)
    council.take_over(world)
    return world, council


def role(name: str) -> bytes:
    return bytes(32) if name == "DEFAULT_ADMIN_ROLE" else keccak(name.encode())


# -- seats ----------------------------------------------------------------------------------------------


def test_a_seat_is_one_vote_with_a_recorded_mandate(evm: Evm, bench: Council) -> None:
    for number, member in enumerate(bench.members, start=1):
        assert bench.seat.seatOf(member) == number
        assert bench.seat.ownerOf(number) == member.address
        assert tuple(bench.seat.seat(number)) == (evm.timestamp, evm.timestamp + TERM_SECONDS, MANDATE)
        assert bench.seat.getVotes(member) == 1
    assert bench.seat.seatCount() == len(bench.members)
    assert bench.seat.CLOCK_MODE() == "mode=timestamp"
    assert bench.seat.clock() == evm.timestamp


def test_seats_need_a_timelock_and_three_people(evm: Evm, bench: Council) -> None:
    appointments = [bench.appointment(account(f"person {number}")) for number in range(3)]
    with pytest.raises(Reverted, match="CouncilSeat_ZeroAddress"):
        evm.deploy("CouncilSeat", ZERO_ADDRESS, appointments, sender=STRANGER)
    with pytest.raises(Reverted, match="CouncilSeat_TooFewSeats"):
        evm.deploy("CouncilSeat", bench.timelock, appointments[:2], sender=STRANGER)
    with pytest.raises(Reverted, match="CouncilSeat_HoldsSeat"):
        evm.deploy("CouncilSeat", bench.timelock, [*appointments, appointments[0]], sender=STRANGER)


def test_only_the_timelock_appoints_renews_and_revokes(bench: Council) -> None:
    seat, appointment = bench.seat, bench.appointment(NEWCOMER)
    for caller in (STRANGER, bench.members[0], account("council deployer")):
        for name, arguments in (
            ("appoint", (appointment,)),
            ("renew", (1, appointment[1], MANDATE)),
            ("revoke", (1, REASON)),
        ):
            with pytest.raises(Reverted, match="CouncilSeat_OnlyTimelock"):
                getattr(seat, name)(*arguments, sender=caller)


def test_the_timelock_appoints_renews_and_revokes(evm: Evm, bench: Council) -> None:
    seat, timelock = bench.seat, TIMELOCK
    made = seat.appoint(bench.appointment(NEWCOMER), sender=timelock)
    assert made.value == 6
    (event,) = made.named("SeatAppointed")
    assert (event.holder, event.mandateHash) == (NEWCOMER.address, MANDATE)
    evm.warp(DAY)
    later, mandate = evm.timestamp + TERM_SECONDS, keccak(b"elected again")
    renewed = seat.renew(6, later, mandate, sender=timelock)
    assert tuple(seat.seat(6)) == (evm.timestamp - DAY, later, mandate)
    assert len(renewed.named("SeatRenewed")) == 1
    revoked = seat.revoke(6, REASON, sender=timelock)
    assert revoked.named("SeatRevoked")[0].reasonHash == REASON
    assert (seat.seatOf(NEWCOMER), seat.getVotes(NEWCOMER), seat.seatCount()) == (0, 0, 5)
    with pytest.raises(Reverted, match="ERC721NonexistentToken"):
        seat.seat(6)
    assert seat.appoint(bench.appointment(NEWCOMER), sender=timelock).value == 7  # no number comes twice


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"holder": account("seat 0").address}, "CouncilSeat_HoldsSeat"),
        ({"holder": ZERO_ADDRESS}, "ERC721InvalidReceiver"),
        ({"term": 0}, "CouncilSeat_BadTerm"),
        ({"mandate": bytes(32)}, "CouncilSeat_ZeroMandate"),
    ],
)
def test_what_an_appointment_must_have(evm: Evm, bench: Council, change: dict[str, Any], error: str) -> None:
    holder = change.get("holder", NEWCOMER.address)
    term, mandate = change.get("term", TERM_SECONDS), change.get("mandate", MANDATE)
    appointment = (holder, evm.timestamp + term, mandate)
    with pytest.raises(Reverted, match=error):
        bench.seat.appoint(appointment, sender=TIMELOCK)


def test_what_a_renewal_must_have(evm: Evm, bench: Council) -> None:
    seat, timelock = bench.seat, TIMELOCK
    with pytest.raises(Reverted, match="CouncilSeat_BadTerm"):
        seat.renew(1, evm.timestamp, MANDATE, sender=timelock)
    with pytest.raises(Reverted, match="CouncilSeat_ZeroMandate"):
        seat.renew(1, evm.timestamp + 1, bytes(32), sender=timelock)
    for call in (("renew", (6, evm.timestamp + 1, MANDATE)), ("revoke", (6, REASON))):
        with pytest.raises(Reverted, match="ERC721NonexistentToken"):
            getattr(seat, call[0])(*call[1], sender=timelock)


def test_a_holder_may_resign_while_three_remain(bench: Council) -> None:
    seat = bench.seat
    with pytest.raises(Reverted, match="CouncilSeat_NoSeat"):
        seat.resign(sender=STRANGER)
    for member in bench.members[:2]:
        assert seat.resign(sender=member).named("SeatResigned")[0].holder == member.address
        assert seat.getVotes(member) == 0
    with pytest.raises(Reverted, match="CouncilSeat_TooFewSeats"):
        seat.resign(sender=bench.members[2])
    with pytest.raises(Reverted, match="CouncilSeat_TooFewSeats"):
        seat.revoke(3, REASON, sender=TIMELOCK)
    with pytest.raises(Reverted, match="CouncilSeat_NoSeat"):
        seat.resign(sender=bench.members[0])


def test_anyone_vacates_a_seat_after_its_term_but_never_the_last_three(evm: Evm, council: Council) -> None:
    """A council that failed to appoint anyone in time must still be able to: it keeps three votes."""
    seat = council.seat
    evm.warp(TERM_SECONDS - 1)
    with pytest.raises(Reverted, match="CouncilSeat_TermRunning"):
        seat.vacate(1, sender=STRANGER)
    evm.warp(1)
    assert seat.getVotes(council.members[0]) == 1  # until somebody does it
    for number in (1, 2):
        assert seat.vacate(number, sender=STRANGER).named("SeatVacated")[0].by == STRANGER.address
    with pytest.raises(Reverted, match="CouncilSeat_TooFewSeats"):
        seat.vacate(3, sender=STRANGER)
    with pytest.raises(Reverted, match="ERC721NonexistentToken"):
        seat.vacate(1, sender=STRANGER)
    council.members = council.members[2:]
    council.decide((seat, "appoint", (council.appointment(NEWCOMER),)))
    assert seat.getVotes(NEWCOMER) == 1


def test_a_seat_goes_from_nobody_to_nobody(bench: Council) -> None:
    seat, holder = bench.seat, bench.members[0]
    for name, arguments in (
        ("transferFrom", (holder, NEWCOMER, 1)),
        ("transferFrom", (holder, holder, 1)),
        ("approve", (NEWCOMER, 1)),
        ("setApprovalForAll", (NEWCOMER, True)),
        ("safeTransferFrom", (holder, NEWCOMER, 1, b"")),
    ):
        with pytest.raises(Reverted, match="CouncilSeat_NotTransferable"):
            getattr(seat, name)(*arguments, sender=holder)
    assert seat.ownerOf(1) == holder.address


def test_a_vote_cannot_be_delegated_in_person_or_by_signature(evm: Evm, bench: Council) -> None:
    seat, holder = bench.seat, bench.members[0]
    with pytest.raises(Reverted, match="CouncilSeat_DelegationOff"):
        seat.delegate(NEWCOMER, sender=holder)
    domain = ("Usufruct Council Seat", evm.chain_id, seat.address)
    digest = typed_digest(*domain, "Delegation", (NEWCOMER.address, 0, evm.timestamp))
    made = sign(holder.key, digest)
    with pytest.raises(Reverted, match="CouncilSeat_DelegationOff"):
        seat.delegateBySig(NEWCOMER, 0, evm.timestamp, made.v, made.r, made.s, sender=NEWCOMER)
    assert seat.delegates(holder) == holder.address
    assert (seat.getVotes(holder), seat.getVotes(NEWCOMER)) == (1, 0)


@FEWER
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 2 * DAY)), max_size=25))
def test_votes_of_any_past_moment_are_the_seats_of_that_moment(steps: list[tuple[int, int, int]]) -> None:
    """Any appointments, revocations and resignations, in any seconds, several in one too."""
    evm = Evm()
    bench = Council(evm, timelock=TIMELOCK)
    seat, timelock = bench.seat, TIMELOCK
    people = [*bench.members, NEWCOMER, STRANGER]
    history: dict[int, set[str]] = {}
    for kind, number, pause in steps:
        history[evm.timestamp] = {p.name for p in people if seat.seatOf(p)}
        evm.warp(pause)
        person = people[number]
        try:
            if kind < 2:
                seat.appoint(bench.appointment(person), sender=timelock)
            elif kind == 2:
                seat.revoke(seat.seatOf(person), REASON, sender=timelock)
            else:
                seat.resign(sender=person)
        except Reverted as refused:
            if refused.name not in REFUSALS:
                raise
        history[evm.timestamp] = {p.name for p in people if seat.seatOf(p)}
    evm.warp(1)
    for moment, sitting in history.items():
        assert {p.name for p in people if seat.getPastVotes(p, moment)} == sitting
        assert all(seat.getPastVotes(p, moment) <= 1 for p in people)
        assert seat.getPastTotalSupply(moment) == len(sitting) >= 3


# -- timelock -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, 90 * DAY + 1])
def test_the_delay_is_at_least_something_and_at_most_ninety_days(evm: Evm, delay: int) -> None:
    with pytest.raises(Reverted, match="CouncilTimelock_BadDelay"):
        evm.deploy("CouncilTimelock", delay, STRANGER, sender=STRANGER)
    with pytest.raises(Reverted, match="CouncilTimelock_ZeroAddress"):
        evm.deploy("CouncilTimelock", DAY, ZERO_ADDRESS, sender=STRANGER)


def test_the_council_alone_proposes_and_executes_and_nobody_cancels(evm: Evm, council: Council) -> None:
    timelock = council.timelock
    everybody = [council.governor, timelock, *council.members, STRANGER, account("council deployer")]
    holders = {
        name: {who.address for who in everybody if timelock.hasRole(role(name), who)}
        for name in ("PROPOSER_ROLE", "EXECUTOR_ROLE", "CANCELLER_ROLE", "DEFAULT_ADMIN_ROLE")
    }
    assert holders == {
        "PROPOSER_ROLE": {council.governor.address},
        "EXECUTOR_ROLE": {council.governor.address},
        "CANCELLER_ROLE": set(),
        "DEFAULT_ADMIN_ROLE": {timelock.address},
    }
    one = (council.seat, 0, b"", bytes(32), bytes(32))
    batch = ([council.seat], [0], [b""], bytes(32), bytes(32))
    for caller in (STRANGER, council.members[0]):
        for name, arguments in (
            ("schedule", (*one, DELAY_SECONDS)),
            ("scheduleBatch", (*batch, DELAY_SECONDS)),
            ("execute", one),
            ("executeBatch", batch),
            ("grantRole", (role("PROPOSER_ROLE"), caller)),
            ("revokeRole", (role("PROPOSER_ROLE"), council.governor)),
        ):
            with pytest.raises(Reverted, match="AccessControlUnauthorizedAccount"):
                getattr(timelock, name)(*arguments, sender=caller)


def test_nobody_cancels_even_with_the_role_for_it(council: Council) -> None:
    timelock = council.timelock
    council.decide((timelock, "grantRole", (role("CANCELLER_ROLE"), STRANGER)))
    assert timelock.hasRole(role("CANCELLER_ROLE"), STRANGER)
    queued = council.queued((timelock, "updateDelay", (3 * DAY,)))
    id_ = timelock.hashOperationBatch(
        queued.targets, queued.values, queued.payloads, bytes(32), timelock_salt(council, queued.named[3])
    )
    assert timelock.isOperationPending(id_)
    with pytest.raises(Reverted, match="CouncilTimelock_NothingIsCanceled"):
        timelock.chain.raw_call(STRANGER, timelock.address, timelock.calldata("cancel", id_))
    council.evm.warp(DELAY_SECONDS)
    council.governor.execute(*queued.named, sender=STRANGER)
    assert timelock.isOperationDone(id_)


def timelock_salt(council: Council, description_hash: bytes) -> bytes:
    prefix = bytes.fromhex(council.governor.address[2:]) + bytes(12)
    return bytes(a ^ b for a, b in zip(prefix, description_hash, strict=True))


def test_the_delay_grows_by_vote_and_never_falls_below_the_first(council: Council) -> None:
    timelock = council.timelock
    for caller in (STRANGER, council.members[0]):
        with pytest.raises(Reverted, match="TimelockUnauthorizedCaller"):
            timelock.updateDelay(3 * DAY, sender=caller)
    council.decide((timelock, "updateDelay", (3 * DAY,)))
    assert timelock.getMinDelay() == 3 * DAY
    council.delay_seconds = 3 * DAY
    for delay in (DELAY_SECONDS - 1, 0, 90 * DAY + 1):
        with pytest.raises(Reverted, match="CouncilTimelock_BadDelay"):
            council.decide((timelock, "updateDelay", (delay,)))
    council.decide((timelock, "updateDelay", (DELAY_SECONDS,)))
    assert timelock.getMinDelay() == timelock.leastDelaySeconds() == DELAY_SECONDS


# -- votes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ((DAY, 0, 50), "PatientCouncil_BadVotingTimes"),
        ((DAY, 90 * DAY + 1, 50), "PatientCouncil_BadVotingTimes"),
        ((90 * DAY + 1, DAY, 50), "PatientCouncil_BadVotingTimes"),
        ((DAY, DAY, 19), "PatientCouncil_BadQuorum"),
        ((DAY, DAY, 76), "PatientCouncil_BadQuorum"),
    ],
)
def test_rules_under_which_a_council_could_not_work_are_refused(
    evm: Evm, council: Council, settings: tuple[int, int, int], error: str
) -> None:
    with pytest.raises(Reverted, match=error):
        evm.deploy("PatientCouncil", council.seat, council.timelock, settings, sender=STRANGER)


def test_a_council_needs_seats_of_its_own_timelock(evm: Evm, council: Council) -> None:
    other = Council(Evm()).timelock  # any other address
    for seat, timelock, error in (
        (ZERO_ADDRESS, council.timelock, "PatientCouncil_ZeroAddress"),
        (council.seat, ZERO_ADDRESS, "PatientCouncil_ZeroAddress"),
        (council.seat, STRANGER, "PatientCouncil_Miswired"),
    ):
        with pytest.raises(Reverted, match=error):
            evm.deploy("PatientCouncil", seat, timelock, SETTINGS, sender=STRANGER)
    assert other.address  # two chains, one address scheme: nothing else to see


def test_only_a_seat_proposes(council: Council) -> None:
    council.evm.warp(1)
    proposal = council.draft([(council.timelock, "updateDelay", (3 * DAY,))])
    with pytest.raises(Reverted, match="GovernorInsufficientProposerVotes"):
        council.governor.propose(*proposal.content, sender=STRANGER)
    assert council.governor.proposalThreshold() == 1


def test_a_proposal_has_calls_and_sends_no_ether(council: Council) -> None:
    council.evm.warp(1)
    member = council.members[0]
    with pytest.raises(Reverted, match="PatientCouncil_EtherRefused"):
        council.governor.propose([council.seat], [1], [b""], "pays", sender=member)
    with pytest.raises(Reverted, match="GovernorInvalidProposalLength"):
        council.governor.propose([], [], [], "empty", sender=member)
    with pytest.raises(Reverted, match="GovernorInvalidProposalLength"):
        council.governor.propose([council.seat], [0, 0], [b""], "uneven", sender=member)


def test_a_proposal_can_be_kept_from_being_copied(council: Council) -> None:
    """Whoever copies a proposal from the mempool could cancel it; the suffix names who may make it."""
    council.evm.warp(1)
    first, second = council.members[:2]
    call = ([council.seat], [0], [b""], f"#proposer={first.address}")
    with pytest.raises(Reverted, match="GovernorRestrictedProposer"):
        council.governor.propose(*call, sender=second)
    council.governor.propose(*call, sender=first)
    with pytest.raises(Reverted, match="GovernorUnexpectedProposalState"):
        council.governor.propose(*call, sender=first)


def test_a_proposal_goes_through_its_states_at_its_times(council: Council) -> None:
    governor, evm = council.governor, council.evm
    proposal = council.propose((council.timelock, "updateDelay", (3 * DAY,)))
    start = evm.timestamp
    assert governor.state(proposal.id) == PENDING
    with pytest.raises(Reverted, match="GovernorUnexpectedProposalState"):
        governor.castVote(proposal.id, FOR, sender=council.members[0])
    evm.at(start + VOTING_DELAY_SECONDS)
    assert governor.state(proposal.id) == PENDING
    evm.warp(1)
    assert governor.state(proposal.id) == ACTIVE
    council.vote(proposal, FOR, council.members[:3])
    with pytest.raises(Reverted, match="GovernorUnexpectedProposalState"):
        governor.queue(*proposal.named, sender=STRANGER)
    evm.at(start + VOTING_DELAY_SECONDS + VOTING_SECONDS)
    assert governor.state(proposal.id) == ACTIVE
    evm.warp(1)
    assert governor.state(proposal.id) == SUCCEEDED
    with pytest.raises(Reverted, match="GovernorUnexpectedProposalState"):
        governor.castVote(proposal.id, AGAINST, sender=council.members[4])
    with pytest.raises(Reverted, match="TimelockUnexpectedOperationState"):
        governor.execute(*proposal.named, sender=STRANGER)  # not queued
    governor.queue(*proposal.named, sender=STRANGER)
    assert governor.state(proposal.id) == QUEUED
    queued_at = evm.timestamp
    assert governor.proposalEta(proposal.id) == queued_at + DELAY_SECONDS
    evm.at(queued_at + DELAY_SECONDS - 1)
    with pytest.raises(Reverted, match="TimelockUnexpectedOperationState"):
        governor.execute(*proposal.named, sender=STRANGER)
    evm.warp(1)
    governor.execute(*proposal.named, sender=STRANGER)
    assert governor.state(proposal.id) == EXECUTED
    for again in ("queue", "execute", "cancel"):
        with pytest.raises(Reverted, match=r"GovernorUnexpectedProposalState|GovernorUnableToCancel"):
            getattr(governor, again)(*proposal.named, sender=council.members[0])


@pytest.mark.parametrize("seats", [3, 4, 5, 7, 10])
@pytest.mark.parametrize("percent", [20, 34, 50, 67, 75])
def test_the_quorum_is_a_share_of_all_seats_rounded_up(evm: Evm, seats: int, percent: int) -> None:
    council = Council(evm, seats=seats, settings=(0, VOTING_SECONDS, percent))
    evm.warp(1)
    assert council.governor.quorum(evm.timestamp - 1) == -(-seats * percent // 100) >= 1


@FEWER
@given(
    st.integers(3, 9).flatmap(
        lambda seats: st.tuples(
            st.just(seats), st.integers(20, 75), st.lists(st.integers(-1, 2), min_size=seats, max_size=seats)
        )
    )
)
def test_a_proposal_passes_by_quorum_and_majority_of_the_seats(case: tuple[int, int, list[int]]) -> None:
    """Any votes: −1 stays away, 0 against, 1 for, 2 abstains."""
    seats, percent, votes = case
    evm = Evm()
    council = Council(evm, seats=seats, settings=(VOTING_DELAY_SECONDS, VOTING_SECONDS, percent))
    proposal = council.propose((council.timelock, "updateDelay", (3 * DAY,)))
    council.open_vote()
    for member, support in zip(council.members, votes, strict=True):
        if support >= 0:
            council.vote(proposal, support, [member])
    council.close_vote()
    is_quorate = 100 * (votes.count(FOR) + votes.count(ABSTAIN)) >= percent * seats
    expected = SUCCEEDED if is_quorate and votes.count(FOR) > votes.count(AGAINST) else DEFEATED
    assert council.governor.state(proposal.id) == expected
    assert tuple(council.governor.proposalVotes(proposal.id)) == tuple(votes.count(kind) for kind in range(3))


def test_one_seat_votes_once(council: Council) -> None:
    proposal = council.propose((council.timelock, "updateDelay", (3 * DAY,)))
    council.open_vote()
    member = council.members[0]
    with pytest.raises(Reverted, match="GovernorInvalidVoteType"):
        council.vote(proposal, 3, [member])
    council.vote(proposal, AGAINST, [member])
    for support in (AGAINST, FOR, ABSTAIN):
        with pytest.raises(Reverted, match="GovernorAlreadyCastVote"):
            council.vote(proposal, support, [member])
    assert tuple(council.governor.proposalVotes(proposal.id)) == (1, 0, 0)


def test_votes_count_by_who_sat_when_the_vote_opened(bench: Council) -> None:
    """Packing the council during a vote changes nothing about it, and neither does emptying it."""
    proposal = bench.propose((bench.seat, "revoke", (1, REASON)))
    bench.open_vote()
    needed = bench.governor.quorum(bench.governor.proposalSnapshot(proposal.id))
    packed = [account(f"late seat {number}") for number in range(6)]
    for person in packed:
        bench.seat.appoint(bench.appointment(person), sender=TIMELOCK)
    bench.seat.resign(sender=bench.members[0])
    bench.vote(proposal, AGAINST, packed)
    bench.vote(proposal, FOR, bench.members[:3])  # one of them sat, and resigned since
    assert tuple(bench.governor.proposalVotes(proposal.id)) == (0, 3, 0)
    assert bench.governor.quorum(bench.governor.proposalSnapshot(proposal.id)) == needed
    bench.close_vote()
    assert bench.governor.state(proposal.id) == SUCCEEDED


def test_a_stranger_s_vote_weighs_nothing(council: Council) -> None:
    proposal = council.propose((council.timelock, "updateDelay", (3 * DAY,)))
    council.open_vote()
    council.vote(proposal, FOR, [STRANGER])
    assert tuple(council.governor.proposalVotes(proposal.id)) == (0, 0, 0)


def test_a_vote_by_signature_counts_once_and_only_here(council: Council) -> None:
    governor, member = council.governor, council.members[1]
    proposal = council.propose((council.timelock, "updateDelay", (3 * DAY,)))
    council.open_vote()

    def ballot(contract: Contract, nonce: int) -> bytes:
        domain = ("Usufruct Patient Council", council.evm.chain_id, contract.address)
        digest = typed_digest(*domain, "Ballot", (proposal.id, FOR, member.address, nonce))
        return sign(member.key, digest).full

    for wrong in (ballot(council.seat, 0), ballot(governor, 1)):
        with pytest.raises(Reverted, match="GovernorInvalidSignature"):
            governor.castVoteBySig(proposal.id, FOR, member, wrong, sender=STRANGER)
    with pytest.raises(Reverted, match="GovernorInvalidSignature"):
        governor.castVoteBySig(proposal.id, AGAINST, member, ballot(governor, 0), sender=STRANGER)
    governor.castVoteBySig(proposal.id, FOR, member, ballot(governor, 0), sender=STRANGER)
    with pytest.raises(Reverted, match="GovernorInvalidSignature"):
        governor.castVoteBySig(proposal.id, FOR, member, ballot(governor, 0), sender=STRANGER)
    assert tuple(governor.proposalVotes(proposal.id)) == (0, 1, 0)


def test_a_proposer_takes_back_a_proposal_before_the_vote_and_nobody_else_ever(council: Council) -> None:
    governor = council.governor
    first, second = council.members[:2]
    proposal = council.propose((council.timelock, "updateDelay", (3 * DAY,)), by=first)
    for caller in (second, STRANGER):
        with pytest.raises(Reverted, match="GovernorUnableToCancel"):
            governor.cancel(*proposal.named, sender=caller)
    with council.evm.undone():
        governor.cancel(*proposal.named, sender=first)
        assert governor.state(proposal.id) == CANCELED
    council.open_vote()
    for moment in (0, VOTING_SECONDS + 1):
        council.evm.warp(moment)
        with pytest.raises(Reverted, match="GovernorUnableToCancel"):
            governor.cancel(*proposal.named, sender=first)


def test_what_was_left_lying_for_a_month_is_void(council: Council) -> None:
    governor, evm = council.governor, council.evm
    passed = council.passed((council.timelock, "updateDelay", (3 * DAY,)))
    deadline = governor.proposalDeadline(passed.id)
    with evm.undone():
        evm.at(deadline + GRACE_SECONDS + 1)
        assert governor.state(passed.id) == EXPIRED
        with pytest.raises(Reverted, match="GovernorUnexpectedProposalState"):
            governor.queue(*passed.named, sender=STRANGER)
    evm.at(deadline + GRACE_SECONDS)
    governor.queue(*passed.named, sender=STRANGER)
    eta = governor.proposalEta(passed.id)
    with evm.undone():
        evm.at(eta + GRACE_SECONDS + 1)
        assert governor.state(passed.id) == EXPIRED
        with pytest.raises(Reverted, match="GovernorUnexpectedProposalState"):
            governor.execute(*passed.named, sender=STRANGER)
    evm.at(eta + GRACE_SECONDS)
    governor.execute(*passed.named, sender=STRANGER)
    assert governor.state(passed.id) == EXECUTED


def test_the_council_has_no_way_around_its_timelock(council: Council) -> None:
    for name, arguments in (("relay", (council.seat, 0, b"")), ("updateTimelock", (STRANGER,))):
        call = council.governor.calldata(name, *arguments)
        for caller in (STRANGER, council.members[0]):
            with pytest.raises(Reverted, match="PatientCouncil_Fixed"):
                council.evm.raw_call(caller, council.governor.address, call)
        with pytest.raises(Reverted, match="PatientCouncil_Fixed"):
            council.decide((council.governor, name, arguments))


def test_ether_is_refused_everywhere(council: Council) -> None:
    evm, member = council.evm, council.members[0]
    evm.fund_ether(member.address, 100)
    queued = council.queued((council.timelock, "updateDelay", (3 * DAY,)))
    evm.warp(DELAY_SECONDS)
    timelock_batch = (
        queued.targets, queued.values, queued.payloads, bytes(32),
        timelock_salt(council, queued.named[3]),
    )  # fmt: skip
    calls = [
        (council.governor, b"", "GovernorDisabledDeposit"),
        (
            council.governor,
            council.governor.calldata("execute", *queued.named),
            "PatientCouncil_EtherRefused",
        ),
        (council.governor, council.governor.calldata("relay", council.seat, 0, b""), "PatientCouncil_Fixed"),
        (council.timelock, b"", "CouncilTimelock_EtherRefused"),
        (
            council.timelock,
            council.timelock.calldata("executeBatch", *timelock_batch),
            "CouncilTimelock_EtherRefused",
        ),
        (
            council.timelock,
            council.timelock.calldata("execute", council.seat, 0, b"", bytes(32), bytes(32)),
            "CouncilTimelock_EtherRefused",
        ),
        (council.seat, b"", "Empty"),
        (council.seat, council.seat.calldata("resign"), "Empty"),
    ]
    for contract, call, error in calls:
        with pytest.raises(Reverted, match=error):
            evm.raw_call(member, contract.address, call, value=1)
    held = [evm.ether(contract.address) for contract in (council.governor, council.timelock, council.seat)]
    assert held == [0, 0, 0]


# -- a whole life ---------------------------------------------------------------------------------------


def test_the_council_sets_floors_that_bind_the_next_offer(governed: tuple[World, Council]) -> None:
    world, council = governed
    with pytest.raises(Reverted, match="AccessManagedUnauthorized"):
        world.registry.setFloors(0, 0, sender=world.people.council)
    council.decide((world.registry, "setFloors", (7_500, 500)))
    assert world.registry.floors() == (7_500, 500)
    with pytest.raises(Reverted, match="LicenseRegistry_BelowFloor"):
        world.accept(contributors_bps=7_000)


def test_the_council_rotates_the_signers(governed: tuple[World, Council]) -> None:
    world, council = governed
    signers = [*world.signers[world.committee.latestVersion()][:3], account("a new signer")]
    signers.sort(key=lambda signer: int(signer.address, 16))
    council.decide((world.committee, "rotate", (signers, 40)))
    latest = world.committee.latestVersion()
    assert latest == 2
    assert world.committee.versionFor(40) == latest
    assert world.committee.versionFor(1) == 1


def test_the_council_does_several_things_at_once_or_none(governed: tuple[World, Council]) -> None:
    world, council = governed
    template = keccak(b"a new template")
    both = ((world.registry, "setTemplate", (template, True)), (world.registry, "setFloors", (9_999, 2)))
    with pytest.raises(Reverted, match="LicenseRegistry_BadFloors"):
        council.decide(*both)
    assert not world.registry.templateApproved(template)
    council.decide(both[0], (world.registry, "setFloors", (9_999, 1)))
    assert world.registry.templateApproved(template)


def guardian_calls(world: World, council: Council, replacement: Proposal) -> list[Call]:
    """Everything a guardian might try against a decision to replace it."""
    guardian, manager, timelock = world.people.guardian, world.manager, council.timelock
    grant = manager.calldata("grantRole", GUARDIAN_ROLE, guardian, 0)
    id_ = timelock.hashOperationBatch(
        replacement.targets,
        replacement.values,
        replacement.payloads,
        bytes(32),
        timelock_salt(council, replacement.named[3]),
    )
    return [
        (council.governor, "cancel", replacement.named),
        (timelock, "cancel", (id_,)),
        (timelock, "grantRole", (role("CANCELLER_ROLE"), guardian)),
        (manager, "cancel", (timelock, manager, replacement.payloads[0])),
        (manager, "cancel", (timelock, world.registry, replacement.payloads[0])),
        (manager, "grantRole", (GUARDIAN_ROLE, guardian, 0)),
        (manager, "revokeRole", (COUNCIL_ROLE, timelock)),
        (manager, "revokeRole", (ADMIN_ROLE, timelock)),
        (manager, "setRoleGuardian", (COUNCIL_ROLE, GUARDIAN_ROLE)),
        (manager, "setRoleAdmin", (GUARDIAN_ROLE, GUARDIAN_ROLE)),
        (manager, "setGrantDelay", (GUARDIAN_ROLE, DAY)),
        (manager, "setTargetClosed", (council.timelock, True)),
        (manager, "setTargetAdminDelay", (world.settlement, DAY)),
        (manager, "updateAuthority", (world.settlement, guardian)),
        (manager, "schedule", (manager, grant, 0)),
        (manager, "execute", (manager, grant)),
    ]


def test_a_guardian_cannot_keep_itself_in_office(governed: tuple[World, Council]) -> None:
    world, council = governed
    old, new, manager = world.people.guardian, account("new guardian"), world.manager
    replacement = council.queued(
        (manager, "revokeRole", (GUARDIAN_ROLE, old)), (manager, "grantRole", (GUARDIAN_ROLE, new, 0))
    )
    for contract, name, arguments in guardian_calls(world, council, replacement):
        call = contract.calldata(name, *arguments)
        with pytest.raises(Reverted):
            world.evm.raw_call(old, contract.address, call)
    world.evm.warp(DELAY_SECONDS)
    council.governor.execute(*replacement.named, sender=STRANGER)
    assert manager.hasRole(GUARDIAN_ROLE, old)[0] is False
    assert manager.hasRole(GUARDIAN_ROLE, new)[0] is True
    report = world.post()
    with pytest.raises(Reverted, match="AccessManagedUnauthorized"):
        world.settlement.reject(report, "out of office", sender=old)
    world.settlement.reject(report, "in office", sender=new)


def test_no_role_of_the_manager_has_a_guardian_but_the_council(governed: tuple[World, Council]) -> None:
    """AccessManager lets the guardian of a role cancel: here the admin role, which only the timelock has."""
    world, council = governed
    manager = world.manager
    for role_id in (ADMIN_ROLE, COUNCIL_ROLE, GUARDIAN_ROLE, 3, 2**64 - 1):
        assert manager.getRoleGuardian(role_id) == ADMIN_ROLE
        assert manager.getRoleAdmin(role_id) == ADMIN_ROLE
    named = [who for name, who in vars(world.people).items() if not name.startswith("_")]
    for who in [*named, *council.members, council.governor, council.seat]:
        assert manager.hasRole(ADMIN_ROLE, who)[0] is False
        assert manager.hasRole(COUNCIL_ROLE, who)[0] is False
    assert manager.hasRole(ADMIN_ROLE, council.timelock) == (True, 0)
    assert manager.hasRole(COUNCIL_ROLE, council.timelock) == (True, 0)


def test_a_council_fast_enough_for_the_window_rejects_a_report(world: World) -> None:
    """Proposal, vote and delay must fit into the window; a slower council leaves it to the guardian."""
    world.settlement.setDisputeWindow(6 * 3_600, sender=world.people.council)
    council = Council(world.evm, settings=(60, 3 * 3_600, 50), delay_seconds=3_600)
    council.take_over(world)
    report = world.post()
    council.decide((world.settlement, "rejectByCouncil", (report, "wrong rosters")))
    assert not world.settlement.state().pending


def test_a_council_votes_in_its_successor(governed: tuple[World, Council]) -> None:
    """Other rules of voting are another contract; timelock, seats and every power stay where they are."""
    world, council = governed
    timelock, old = council.timelock, council.governor
    new = world.evm.deploy("PatientCouncil", council.seat, timelock, (0, DAY, 40), sender=STRANGER)
    roles = ("PROPOSER_ROLE", "EXECUTOR_ROLE")
    lost = council.queued((world.registry, "setFloors", (1, 1)))
    council.decide(
        *((timelock, "grantRole", (role(name), new)) for name in roles),
        *((timelock, "revokeRole", (role(name), old)) for name in roles),
    )
    with pytest.raises(Reverted, match="AccessControlUnauthorizedAccount"):
        old.execute(*lost.named, sender=STRANGER)
    council.governor = new
    council.decide((world.registry, "setFloors", (6_000, 600)))
    assert world.registry.floors() == (6_000, 600)


def test_a_seat_is_replaced_by_vote(governed: tuple[World, Council]) -> None:
    _, council = governed
    council.decide(
        (council.seat, "appoint", (council.appointment(NEWCOMER, 3 * TERM_SECONDS),)),
        (council.seat, "revoke", (1, REASON)),
    )
    assert council.seat.seatOf(NEWCOMER) == 6
    assert council.seat.seatOf(council.members[0]) == 0
