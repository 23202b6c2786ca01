"""PatientCouncil, CouncilSeat, CouncilTimelock: seats vote, the timelock acts, and nothing is moved."""

from dataclasses import dataclass

import pytest
from brownie import ZERO_ADDRESS, CouncilSeat, CouncilTimelock, PatientCouncil, chain
from usufruct_chain.roles import ADMIN_ROLE, COUNCIL_ROLE

from tests.contracts.functional.scene import later, now, reverts
from tests.contracts.wire import ZERO_HASH, account, keccak, sign, typed_digest

DAY = 86_400
DELAY_SECONDS, VOTING_DELAY_SECONDS, VOTING_SECONDS, QUORUM_PERCENT = 2 * DAY, DAY, 3 * DAY, 50
GRACE_SECONDS = 30 * DAY
TERM_SECONDS = 730 * DAY
MANDATE = keccak(b"elected by the members' assembly")
AGAINST, FOR = 0, 1
DEFEATED, EXPIRED, EXECUTED = 3, 6, 7


@dataclass
class Council:
    """The three contracts, and the people in the seats."""

    timelock: object
    seat: object
    governor: object
    members: list
    anyone: object

    def propose(self, *calls, by=None, value=0):
        """Propose calls, each a contract, a function and its arguments; returns what names the proposal."""
        later(1)  # who sat a moment ago may propose
        targets = [target.address for target, *_ in calls]
        payloads = [getattr(target, name).encode_input(*arguments) for target, name, *arguments in calls]
        values = [value] * len(calls)
        self.governor.propose(targets, values, payloads, "A proposal", {"from": by or self.members[0]})
        return targets, values, payloads, keccak(b"A proposal")

    def id_of(self, named):
        return self.governor.hashProposal(*named)

    def vote(self, named, voters, support=FOR):
        """Wait for the vote to open, and cast the same vote for several seats."""
        later(VOTING_DELAY_SECONDS + 1)
        for voter in voters:
            self.governor.castVote(self.id_of(named), support, {"from": voter})

    def pass_on(self, *calls, voters=None):
        """Propose, let seats vote for it, and wait for the end of the vote."""
        named = self.propose(*calls)
        self.vote(named, voters or self.members)
        later(VOTING_SECONDS + 1)
        return named

    def queue(self, named):
        return self.governor.queue(*named, {"from": self.anyone})

    def execute(self, named):
        return self.governor.execute(*named, {"from": self.anyone})

    def decide(self, *calls):
        """Take calls the whole way; returns the transaction that executed them."""
        named = self.pass_on(*calls)
        self.queue(named)
        later(DELAY_SECONDS)
        return self.execute(named)


def appointment(holder, term_seconds=TERM_SECONDS):
    """Somebody's appointment from now on."""
    return (holder, now() + term_seconds, MANDATE)


@pytest.fixture(scope="module")
def members(accounts):
    """Who sits."""
    return [accounts.add(account(f"seat {number}").key) for number in range(4)]


@pytest.fixture(scope="module")
def patients(deployed, manager_of, members, admin, stranger):
    """A council of four seats that has every administrative power."""
    governor = admin.get_deployment_address(admin.nonce + 2)
    timelock = CouncilTimelock.deploy(DELAY_SECONDS, governor, {"from": admin})
    seat = CouncilSeat.deploy(timelock, [appointment(who) for who in members], {"from": admin})
    settings = (VOTING_DELAY_SECONDS, VOTING_SECONDS, QUORUM_PERCENT)
    governor = PatientCouncil.deploy(seat, timelock, settings, {"from": admin})
    for role in (COUNCIL_ROLE, ADMIN_ROLE):
        manager_of.grantRole(role, timelock, 0, {"from": admin})
    manager_of.renounceRole(ADMIN_ROLE, admin, {"from": admin})
    return Council(timelock, seat, governor, members, stranger)


@pytest.fixture(scope="module")
def manager_of(deployed):
    """OpenZeppelin's AccessManager."""
    return deployed["access_manager"]


# -- votes --------------------------------------------------------------------------------------------------


def test_what_most_seats_vote_for_is_done_after_a_delay(patients, registry):
    named = patients.pass_on((registry, "setFloors", 6_000, 700), voters=patients.members[:3])
    patients.queue(named)
    with reverts("TimelockUnexpectedOperationState"):
        patients.execute(named)
    later(DELAY_SECONDS)
    patients.execute(named)
    assert tuple(registry.floors()) == (6_000, 700)
    assert patients.governor.state(patients.id_of(named)) == EXECUTED


def test_a_quorum_must_have_voted(patients, registry):
    named = patients.pass_on((registry, "setFloors", 0, 0), voters=patients.members[:1])
    assert patients.governor.state(patients.id_of(named)) == DEFEATED
    with reverts("GovernorUnexpectedProposalState"):
        patients.queue(named)


def test_what_is_voted_down_is_not_done(patients, registry):
    named = patients.propose((registry, "setFloors", 0, 0))
    patients.vote(named, patients.members[:2], AGAINST)
    for voter in patients.members[2:]:
        patients.governor.castVote(patients.id_of(named), FOR, {"from": voter})
    later(VOTING_SECONDS + 1)
    assert patients.governor.state(patients.id_of(named)) == DEFEATED


def test_only_seats_propose_and_each_votes_once(patients, registry, stranger):
    with reverts("GovernorInsufficientProposerVotes"):
        patients.propose((registry, "setFloors", 0, 0), by=stranger)
    named = patients.propose((registry, "setFloors", 0, 0))
    patients.vote(named, patients.members[:1])
    with reverts("GovernorAlreadyCastVote"):
        patients.governor.castVote(patients.id_of(named), FOR, {"from": patients.members[0]})
    patients.governor.castVote(patients.id_of(named), FOR, {"from": stranger})
    assert tuple(patients.governor.proposalVotes(patients.id_of(named))) == (0, 1, 0)


def test_a_seat_votes_by_signature(patients, registry, stranger):
    named = patients.propose((registry, "setFloors", 0, 0))
    later(VOTING_DELAY_SECONDS + 1)
    number, voter = patients.id_of(named), patients.members[0]
    values = (number, FOR, voter.address, 0)
    digest = typed_digest("Usufruct Patient Council", chain.id, patients.governor.address, "Ballot", values)
    signature = sign(account("seat 0").key, digest).full
    patients.governor.castVoteBySig(number, FOR, voter, signature, {"from": stranger})
    assert patients.governor.hasVoted(number, voter)
    with reverts("GovernorInvalidSignature"):
        patients.governor.castVoteBySig(number, FOR, patients.members[1], signature, {"from": stranger})


def test_what_nobody_executes_lapses(patients, registry):
    named = patients.pass_on((registry, "setFloors", 0, 0))
    patients.queue(named)
    later(DELAY_SECONDS + GRACE_SECONDS + 1)
    assert patients.governor.state(patients.id_of(named)) == EXPIRED
    with reverts("GovernorUnexpectedProposalState"):
        patients.execute(named)


def test_inv_31_a_vote_moves_nobodys_money(patients, escrow, token, license_id, fund):
    fund(license_id, 1_000)
    thief = patients.timelock.address
    for error, call in (
        ("RoyaltyEscrow_NotBuyer", (escrow, "withdraw", license_id, 1_000, thief)),
        ("ERC20InsufficientAllowance", (token, "transferFrom", escrow.address, thief, 1_000)),
    ):
        named = patients.pass_on(call)
        patients.queue(named)
        later(DELAY_SECONDS)
        with reverts(error):
            patients.execute(named)
    assert token.balanceOf(escrow) == 1_000


# -- what is fixed ------------------------------------------------------------------------------------------


def test_nothing_that_passed_is_canceled(patients, registry, admin):
    named = patients.pass_on((registry, "setFloors", 0, 0))
    patients.queue(named)
    operation = patients.timelock.hashOperationBatch(*named[:3], ZERO_HASH, ZERO_HASH)
    for who in (admin, patients.members[0]):
        with reverts("CouncilTimelock_NothingIsCanceled"):
            patients.timelock.cancel(operation, {"from": who})
    with reverts("GovernorUnableToCancel"):
        patients.governor.cancel(*named, {"from": patients.members[0]})


def test_a_delay_never_falls_below_its_first(patients, stranger):
    with reverts("TimelockUnauthorizedCaller"):
        patients.timelock.updateDelay(DELAY_SECONDS, {"from": stranger})
    patients.decide((patients.timelock, "updateDelay", 3 * DAY))
    assert patients.timelock.getMinDelay() == 3 * DAY


def test_the_councils_rules_are_fixed(patients, stranger):
    with reverts("PatientCouncil_Fixed"):
        patients.governor.relay(stranger, 0, b"", {"from": stranger})
    with reverts("PatientCouncil_Fixed"):
        patients.governor.updateTimelock(stranger, {"from": stranger})


def test_ether_is_refused(patients, registry, accounts):
    with reverts("PatientCouncil_EtherRefused"):
        patients.propose((registry, "setFloors", 0, 0), value=1)
    with reverts("CouncilTimelock_EtherRefused"):
        accounts[0].transfer(patients.timelock, 1)


# -- seats --------------------------------------------------------------------------------------------------


def test_the_council_appoints_renews_and_revokes(patients, stranger):
    seat = patients.seat
    patients.decide((seat, "appoint", appointment(stranger)))
    number = seat.seatOf(stranger)
    assert (number, seat.seatCount(), seat.getVotes(stranger)) == (5, 5, 1)
    ends = now() + 2 * TERM_SECONDS
    patients.decide((seat, "renew", number, ends, MANDATE))
    assert seat.seat(number)["termEndsAt"] == ends
    patients.decide((seat, "revoke", number, keccak(b"minutes")))
    assert (seat.seatOf(stranger), seat.seatCount()) == (0, 4)


@pytest.mark.parametrize("function", ["appoint", "renew", "revoke"])
def test_nobody_else_does(patients, stranger, function):
    arguments = {
        "appoint": (appointment(stranger),),
        "renew": (1, now() + DAY, MANDATE),
        "revoke": (1, MANDATE),
    }[function]
    with reverts("CouncilSeat_OnlyTimelock"):
        getattr(patients.seat, function)(*arguments, {"from": patients.members[0]})


def test_a_seat_is_not_given_away(patients, stranger):
    holder = patients.members[0]
    for call in (
        lambda: patients.seat.transferFrom(holder, stranger, 1, {"from": holder}),
        lambda: patients.seat.approve(stranger, 1, {"from": holder}),
        lambda: patients.seat.setApprovalForAll(stranger, True, {"from": holder}),
    ):
        with reverts("CouncilSeat_NotTransferable"):
            call()
    with reverts("CouncilSeat_DelegationOff"):
        patients.seat.delegate(stranger, {"from": holder})


def test_three_seats_remain(patients, stranger):
    patients.seat.resign({"from": patients.members[3]})
    with reverts("CouncilSeat_TooFewSeats"):
        patients.seat.resign({"from": patients.members[2]})
    with reverts("CouncilSeat_NoSeat"):
        patients.seat.resign({"from": stranger})


def test_a_seat_is_vacant_after_its_term(patients, stranger):
    with reverts("CouncilSeat_TermRunning"):
        patients.seat.vacate(1, {"from": stranger})
    later(TERM_SECONDS)
    patients.seat.vacate(1, {"from": stranger})
    assert patients.seat.seatOf(patients.members[0]) == 0


def test_nobody_holds_two_seats(admin, members):
    with reverts("CouncilSeat_HoldsSeat"):
        CouncilSeat.deploy(admin, [appointment(members[0])] * 3, {"from": admin})
    with reverts("CouncilSeat_TooFewSeats"):
        CouncilSeat.deploy(admin, [appointment(who) for who in members[:2]], {"from": admin})


def test_contracts_of_the_council_fit_together(patients, admin):
    with reverts("CouncilTimelock_BadDelay"):
        CouncilTimelock.deploy(0, admin, {"from": admin})
    settings = (VOTING_DELAY_SECONDS, VOTING_SECONDS, QUORUM_PERCENT)
    with reverts("PatientCouncil_Miswired"):
        PatientCouncil.deploy(patients.seat, admin, settings, {"from": admin})
    with reverts("PatientCouncil_BadQuorum"):
        PatientCouncil.deploy(patients.seat, patients.timelock, (*settings[:2], 19), {"from": admin})
    with reverts("PatientCouncil_ZeroAddress"):
        PatientCouncil.deploy(ZERO_ADDRESS, patients.timelock, settings, {"from": admin})
