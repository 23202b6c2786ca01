"""StewardCooperative: members, votes, mandates, and deals whose money nobody can divide anew.

Revert paths (all StewardCooperative_…). Constructor: ZeroAddress, BadRules, NoMembers, BadMember, ZeroShares,
MemberAlready. invite, setShares, approveMerger, mergeInto, grantMandate, declareInterests: OnlyByVote.
invite: Merged, BadMember, MemberAlready. join: Merged, NotInvited, MemberAlready. leave: Merged, NotMember.
setShares: Merged, NotMember. approveMerger, mergeInto: Merged, NotACooperative; mergeInto: MergerNotApproved.
joinByMerger: Merged, NotMergedHere, AlreadyJoined, NotMember. propose: NotMember. vote: UnknownBallot,
BallotClosed, NotMember, AlreadyVoted. execute: UnknownBallot, BallotExecuted, WrongCall, NotPassed,
BallotLapsed, and what the call reverts with. grantMandate: BadMandate. revokeMandate: BadMandate, NotAgent.
approveOffer: Merged, OnlyByVote, NotAgent, MandateOver, NotTheSteward, BeyondMandate (every limit),
NoMembers, DealExists. withdrawApproval: UnknownDeal, OnlyByVote, NotAgent. cancelOffer, setRoster,
giveNotice, setSuspended, openDuty: OnlyByVote, NotAgent, MandateOver, BeyondMandate, and the neighbor's own.
pay, owed: UnknownDeal; pay: NothingToPay, the token's own. Ether: refused.
"""

from __future__ import annotations

from typing import Any

import pytest
from eth_hash.auto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.evm.chain import Contract, Evm, Reverted
from tests.contracts.evm.cooperative import (
    AGENT,
    DAY,
    MEMBERS,
    RULES,
    SHARES,
    STRANGER,
    VOTING_SECONDS,
    Coop,
)
from tests.contracts.evm.world import World
from tests.contracts.wire import ZERO_ADDRESS, Account, account, typed_digest
from tests.reference.parts import earned

STEWARD = 1
NEWCOMER = account("newcomer")
ROSTER = keccak(b"roster")
LIMITS = (
    "None", "Administers", "CollectionHash", "MeterKind", "DealsLeft", "ExpiresAt", "LatestEnd", "FloorPrice",
    "LeastCapPerEpoch", "LeastUpfrontFee", "MostCoolingOff", "LeastUsageBond", "LeastContributorsBps",
    "LeastStewardBps",
)  # fmt: skip
BY_VOTE = 0


@pytest.fixture
def coop(world: World) -> Coop:
    return Coop(world, zip(MEMBERS, SHARES, strict=True))


def charge(world: World, license_id: int, amount: int) -> None:
    """Charge a license so much more."""
    account_ = world.escrow.account(license_id)
    units = account_.cumulativeUnits + amount
    world.settle([(license_id, units, amount)])


# -- members ----------------------------------------------------------------------------------------------


def test_founders_are_members_in_the_first_version(coop: Coop) -> None:
    contract = coop.contract
    assert contract.formulaVersion() == 1
    assert [contract.sharesAt(member, 1) for member in MEMBERS] == list(SHARES)
    assert (contract.totalSharesAt(1), contract.memberCountAt(1)) == (10, 3)
    assert (contract.totalSharesAt(0), contract.memberCountAt(0)) == (0, 0)
    assert tuple(contract.rules()) == RULES
    assert not contract.isMember(STRANGER)


@pytest.mark.parametrize(
    ("founders", "error"),
    [
        ([], "StewardCooperative_NoMembers"),
        ([(ZERO_ADDRESS, 1)], "StewardCooperative_BadMember"),
        ([(MEMBERS[0].address, 0)], "StewardCooperative_ZeroShares"),
        ([(MEMBERS[0].address, 1), (MEMBERS[0].address, 1)], "StewardCooperative_MemberAlready"),
    ],
)
def test_what_founders_must_be(world: World, founders: Any, error: str) -> None:
    with pytest.raises(Reverted, match=error):
        Coop(world, founders)


def test_a_cooperative_is_no_member_of_itself(world: World) -> None:
    itself = world.evm.next_address(STRANGER)
    with pytest.raises(Reverted, match="StewardCooperative_BadMember"):
        world.evm.deploy(
            "StewardCooperative",
            *(world.registry, world.splitter, world.duties, world.council_register),
            *(RULES, [(itself, 1)]),
            sender=STRANGER,
        )


@pytest.mark.parametrize("missing", range(4))
def test_a_cooperative_needs_its_neighbors(world: World, missing: int) -> None:
    neighbors: list[Any] = [world.registry, world.splitter, world.duties, world.council_register]
    neighbors[missing] = ZERO_ADDRESS
    with pytest.raises(Reverted, match="StewardCooperative_ZeroAddress"):
        world.evm.deploy("StewardCooperative", *neighbors, RULES, [(MEMBERS[0], 1)], sender=STRANGER)


@pytest.mark.parametrize("rules", [(0, 50), (90 * DAY + 1, 50), (DAY, 0), (DAY, 101)])
def test_rules_without_a_vote_are_refused(world: World, rules: tuple[int, int]) -> None:
    with pytest.raises(Reverted, match="StewardCooperative_BadRules"):
        Coop(world, [(MEMBERS[0], 1)], rules)


def test_members_come_by_vote_and_their_own_call(coop: Coop) -> None:
    contract = coop.contract
    with pytest.raises(Reverted, match="StewardCooperative_NotInvited"):
        contract.join(sender=NEWCOMER)
    coop.decide("invite", [(NEWCOMER, 4), (STRANGER, 1)])
    assert contract.invitation(NEWCOMER) == 4
    assert not contract.isMember(NEWCOMER)
    coop.decide("invite", [(STRANGER, 0)])
    with pytest.raises(Reverted, match="StewardCooperative_NotInvited"):
        contract.join(sender=STRANGER)
    contract.join(sender=NEWCOMER)
    assert (contract.formulaVersion(), contract.totalSharesAt(2), contract.memberCountAt(2)) == (2, 14, 4)
    with pytest.raises(Reverted, match="StewardCooperative_NotInvited"):
        contract.join(sender=NEWCOMER)


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("invite", [[(MEMBERS[1].address, 1)]], "StewardCooperative_MemberAlready"),
        ("invite", [[(ZERO_ADDRESS, 1)]], "StewardCooperative_BadMember"),
        ("setShares", [[(NEWCOMER.address, 1)]], "StewardCooperative_NotMember"),
        ("approveMerger", [STRANGER.address, 1], "StewardCooperative_NotACooperative"),
        ("mergeInto", [STRANGER.address], "StewardCooperative_NotACooperative"),
    ],
)
def test_a_vote_cannot_do_everything(coop: Coop, name: str, arguments: list[Any], error: str) -> None:
    with pytest.raises(Reverted, match=error):
        coop.decide(name, *arguments)


def test_only_a_vote_decides_what_is_for_votes(coop: Coop) -> None:
    mandate_id = coop.grant()
    for name, arguments in (
        ("invite", ([(NEWCOMER, 1)],)),
        ("setShares", ([(MEMBERS[0], 9)],)),
        ("approveMerger", (coop.contract, 1)),
        ("mergeInto", (coop.contract,)),
        ("grantMandate", (coop.mandate(),)),
        ("declareInterests", (ROSTER,)),
        ("approveOffer", (BY_VOTE, coop.offer())),
        ("cancelOffer", (BY_VOTE, 1)),
        ("setRoster", (BY_VOTE, 1, ROSTER)),
    ):
        for caller in (STRANGER, MEMBERS[0], AGENT):
            with pytest.raises(Reverted, match="StewardCooperative_OnlyByVote"):
                getattr(coop.contract, name)(*arguments, sender=caller)
    assert mandate_id == 1


def test_a_member_leaves_once(coop: Coop) -> None:
    contract = coop.contract
    contract.leave(sender=MEMBERS[0])
    assert [contract.sharesAt(MEMBERS[0], version) for version in (1, 2)] == [5, 0]
    assert (contract.totalSharesAt(2), contract.memberCountAt(2)) == (5, 2)
    for caller in (MEMBERS[0], STRANGER):
        with pytest.raises(Reverted, match="StewardCooperative_NotMember"):
            contract.leave(sender=caller)


def test_a_vote_changes_shares_and_expels(coop: Coop) -> None:
    contract = coop.contract
    coop.decide("setShares", [(MEMBERS[0], 0), (MEMBERS[1], 8)])
    assert [contract.sharesAt(member, 2) for member in MEMBERS] == [0, 8, 2]
    assert (contract.totalSharesAt(2), contract.memberCountAt(2), contract.formulaVersion()) == (10, 2, 2)
    assert not contract.isMember(MEMBERS[0])


# -- votes ------------------------------------------------------------------------------------------------


def test_only_members_propose(coop: Coop) -> None:
    with pytest.raises(Reverted, match="StewardCooperative_NotMember"):
        coop.propose("leave", by=STRANGER)


def test_more_than_half_of_all_decides_at_once(coop: Coop) -> None:
    contract = coop.contract
    ballot, call = coop.propose("setShares", [(MEMBERS[2], 9)])
    contract.vote(ballot, True, sender=MEMBERS[0])
    with pytest.raises(Reverted, match="StewardCooperative_NotPassed"):
        contract.execute(ballot, call, sender=STRANGER)
    contract.vote(ballot, True, sender=MEMBERS[1])
    contract.execute(ballot, call, sender=STRANGER)
    assert contract.sharesAt(MEMBERS[2], 2) == 9
    with pytest.raises(Reverted, match="StewardCooperative_BallotExecuted"):
        contract.execute(ballot, call, sender=STRANGER)
    with pytest.raises(Reverted, match="StewardCooperative_BallotClosed"):
        contract.vote(ballot, True, sender=MEMBERS[2])


def test_a_closed_ballot_needs_quorum_and_more_yes_than_no(world: World) -> None:
    people = [account(f"person {number}") for number in range(7)]
    for yes, no, passes in (
        (3, 0, False),
        (3, 1, True),
        (3, 2, True),
        (2, 2, False),
        (2, 3, False),
        (0, 4, False),
    ):
        coop = Coop(world, [(person, 1) for person in people])
        ballot, call = coop.propose("setShares", [(people[0], 2)])
        for number in range(yes + no):
            coop.contract.vote(ballot, number < yes, sender=people[number])
        world.evm.warp(VOTING_SECONDS - 1)
        with pytest.raises(Reverted, match="StewardCooperative_NotPassed"):
            coop.contract.execute(ballot, call, sender=STRANGER)
        world.evm.warp(1)
        with pytest.raises(Reverted, match="StewardCooperative_BallotClosed"):
            coop.contract.vote(ballot, True, sender=people[6])
        if passes:
            coop.contract.execute(ballot, call, sender=STRANGER)
        else:
            with pytest.raises(Reverted, match="StewardCooperative_NotPassed"):
                coop.contract.execute(ballot, call, sender=STRANGER)


def test_a_passed_ballot_lapses_after_a_month(coop: Coop) -> None:
    ballot, call = coop.propose("setShares", [(MEMBERS[2], 9)])
    for member in MEMBERS:
        coop.contract.vote(ballot, True, sender=member)
    coop.evm.warp(VOTING_SECONDS + 30 * DAY)
    with coop.evm.undone():
        coop.contract.execute(ballot, call, sender=STRANGER)
    coop.evm.warp(1)
    with pytest.raises(Reverted, match="StewardCooperative_BallotLapsed"):
        coop.contract.execute(ballot, call, sender=STRANGER)


def test_a_ballot_makes_the_call_it_was_about(coop: Coop) -> None:
    ballot, _ = coop.propose("setShares", [(MEMBERS[2], 9)])
    for member in MEMBERS[:2]:
        coop.contract.vote(ballot, True, sender=member)
    other = coop.contract.calldata("setShares", [(MEMBERS[0], 99)])
    with pytest.raises(Reverted, match="StewardCooperative_WrongCall"):
        coop.contract.execute(ballot, other, sender=MEMBERS[0])
    for name, arguments in (("vote", (9, True)), ("execute", (9, other)), ("ballot", (9,))):
        with pytest.raises(Reverted, match="StewardCooperative_UnknownBallot"):
            coop.evm.raw_call(MEMBERS[0], coop.contract.address, coop.contract.calldata(name, *arguments))


def test_one_member_votes_once_whatever_their_shares(coop: Coop) -> None:
    ballot, _ = coop.propose("setShares", [(MEMBERS[2], 9)])
    coop.contract.vote(ballot, False, sender=MEMBERS[0])
    with pytest.raises(Reverted, match="StewardCooperative_AlreadyVoted"):
        coop.contract.vote(ballot, True, sender=MEMBERS[0])
    with pytest.raises(Reverted, match="StewardCooperative_NotMember"):
        coop.contract.vote(ballot, True, sender=STRANGER)
    found = coop.contract.ballot(ballot)
    assert (found.yes, found.no, found.version) == (0, 1, 1)
    assert coop.contract.hasVoted(ballot, MEMBERS[0])


def test_members_who_come_or_go_during_a_vote_change_nothing_about_it(coop: Coop) -> None:
    """Packed with friends; or voted, left, and back under another name: the electorate stays what it was."""
    contract = coop.contract
    friends = [account(f"friend {number}") for number in range(5)]
    coop.decide("invite", [(friend, 1) for friend in friends])
    ballot, call = coop.propose("setShares", [(MEMBERS[2], 9)])
    for friend in friends:
        contract.join(sender=friend)
        with pytest.raises(Reverted, match="StewardCooperative_NotMember"):
            contract.vote(ballot, True, sender=friend)
    contract.vote(ballot, True, sender=MEMBERS[0])
    coop.people = [*friends, *MEMBERS]
    coop.decide("invite", [(NEWCOMER, 5)])
    contract.leave(sender=MEMBERS[0])
    contract.join(sender=NEWCOMER)  # the same person, by another key
    with pytest.raises(Reverted, match="StewardCooperative_NotMember"):
        contract.vote(ballot, True, sender=NEWCOMER)
    contract.leave(sender=MEMBERS[1])
    with pytest.raises(Reverted, match="StewardCooperative_NotMember"):
        contract.vote(ballot, True, sender=MEMBERS[1])  # was one when it opened, is none now
    with pytest.raises(Reverted, match="StewardCooperative_NotPassed"):
        contract.execute(ballot, call, sender=STRANGER)  # 1 of 3, not 1 of what is left
    contract.vote(ballot, True, sender=MEMBERS[2])
    contract.execute(ballot, call, sender=STRANGER)


def test_what_a_call_reverts_with_is_passed_on_and_the_ballot_stays(coop: Coop) -> None:
    ballot, call = coop.propose("setShares", [(NEWCOMER, 9)])
    for member in MEMBERS[:2]:
        coop.contract.vote(ballot, True, sender=member)
    with pytest.raises(Reverted, match="StewardCooperative_NotMember"):
        coop.contract.execute(ballot, call, sender=STRANGER)
    assert not coop.contract.ballot(ballot).executed


# -- bargaining -------------------------------------------------------------------------------------------


def test_an_agent_s_approval_is_the_cooperative_s_signature(coop: Coop) -> None:
    mandate_id = coop.grant()
    offer = coop.offer()
    digest = coop.digest(offer)
    assert not coop.signs(digest)
    with pytest.raises(Reverted, match="LicenseRegistry_BadStewardSignature"):
        coop.accept(offer)
    receipt = coop.contract.approveOffer(mandate_id, offer, sender=AGENT)
    assert receipt.value == digest
    assert receipt.named("OfferApproved")[0].version == 1
    assert tuple(coop.contract.deal(digest)) == (1, coop.evm.timestamp, mandate_id, False)
    assert coop.contract.mandate(mandate_id).dealsLeft == 2
    license_id = coop.accept(offer, b"any bytes")
    assert coop.world.registry.license(license_id).steward == coop.contract.address


def test_a_vote_approves_an_offer_without_limits(coop: Coop) -> None:
    offer = coop.offer(price_per_million_units=1, meter_kind=3)
    coop.decide("approveOffer", BY_VOTE, offer)
    assert coop.contract.deal(coop.digest(offer)).mandateId == 0
    coop.accept(offer)


@pytest.mark.parametrize(
    ("change", "limit"),
    [
        ({"collection_hash": ROSTER}, "CollectionHash"),
        ({"meter_kind": 1}, "MeterKind"),
        ({"deadline": 30 * DAY + 1}, "ExpiresAt"),
        ({"ends_at": 400 * DAY + 1}, "LatestEnd"),
        ({"price_per_million_units": 899_999}, "FloorPrice"),
        ({"max_charge_per_epoch": 10**9 - 1}, "LeastCapPerEpoch"),
        ({"upfront_fee": 6}, "LeastUpfrontFee"),
        ({"cooling_off_seconds": 3 * DAY + 1}, "MostCoolingOff"),
        ({"usage_bond": 8}, "LeastUsageBond"),
        ({"contributors_bps": 5_999}, "LeastContributorsBps"),
        ({"steward_bps": 799}, "LeastStewardBps"),
    ],
)
def test_an_offer_beyond_the_mandate_is_refused_and_one_at_the_limit_is_not(
    coop: Coop, change: dict[str, Any], limit: str
) -> None:
    mandate_id = coop.grant(least_fee=7, least_bond=9)
    now = coop.contract.mandate(mandate_id).expiresAt - 30 * DAY
    within = {"upfront_fee": 7, "usage_bond": 9, "price_per_million_units": 900_000, "steward_bps": 800}
    within |= {"contributors_bps": 6_000, "max_charge_per_epoch": 10**9}
    within |= {"deadline": now + 30 * DAY, "ends_at": now + 400 * DAY}
    beyond = {
        name: now + value if name in ("deadline", "ends_at") else value for name, value in change.items()
    }
    with pytest.raises(Reverted, match="StewardCooperative_BeyondMandate") as refused:
        coop.contract.approveOffer(mandate_id, coop.offer(**(within | beyond)), sender=AGENT)
    assert refused.value.arguments == (mandate_id, LIMITS.index(limit))
    coop.contract.approveOffer(mandate_id, coop.offer(**within), sender=AGENT)


def test_a_mandate_is_for_so_many_deals(coop: Coop) -> None:
    mandate_id = coop.grant(deals_left=1)
    coop.contract.approveOffer(mandate_id, coop.offer(), sender=AGENT)
    with pytest.raises(Reverted, match="StewardCooperative_BeyondMandate") as refused:
        coop.contract.approveOffer(mandate_id, coop.offer(), sender=AGENT)
    assert refused.value.arguments == (mandate_id, LIMITS.index("DealsLeft"))


def test_a_mandate_ends_in_time_and_its_open_approvals_with_it(coop: Coop) -> None:
    mandate_id = coop.grant()
    end = coop.contract.mandate(mandate_id).expiresAt
    offer = coop.offer(deadline=end)
    coop.contract.approveOffer(mandate_id, offer, sender=AGENT)
    coop.evm.at(end)
    assert coop.signs(coop.digest(offer))
    coop.contract.approveOffer(mandate_id, coop.offer(deadline=end), sender=AGENT)
    coop.evm.warp(1)
    assert not coop.signs(coop.digest(offer))
    with pytest.raises(Reverted, match="StewardCooperative_MandateOver"):
        coop.contract.approveOffer(mandate_id, coop.offer(deadline=end), sender=AGENT)
    with pytest.raises(Reverted, match="StewardCooperative_MandateOver"):
        coop.contract.cancelOffer(mandate_id, 77, sender=AGENT)


@pytest.mark.parametrize("by", ["vote", "agent"])
def test_a_revoked_mandate_takes_its_open_approvals_along(coop: Coop, by: str) -> None:
    mandate_id, other = coop.grant(), coop.grant()
    offer, kept = coop.offer(), coop.offer()
    coop.contract.approveOffer(mandate_id, offer, sender=AGENT)
    coop.contract.approveOffer(other, kept, sender=AGENT)
    if by == "vote":
        coop.decide("revokeMandate", mandate_id)
    else:
        coop.contract.revokeMandate(mandate_id, sender=AGENT)
    assert (coop.signs(coop.digest(offer)), coop.signs(coop.digest(kept))) == (False, True)
    with pytest.raises(Reverted, match="LicenseRegistry_BadStewardSignature"):
        coop.accept(offer)
    with pytest.raises(Reverted, match="StewardCooperative_MandateOver"):
        coop.contract.approveOffer(mandate_id, coop.offer(), sender=AGENT)


def test_a_mandate_is_the_agent_s_alone(coop: Coop) -> None:
    mandate_id = coop.grant()
    for caller in (STRANGER, MEMBERS[0]):
        for name, arguments in (
            ("approveOffer", (mandate_id, coop.offer())),
            ("revokeMandate", (mandate_id,)),
            ("cancelOffer", (mandate_id, 5)),
            ("approveOffer", (9, coop.offer())),
        ):
            with pytest.raises(Reverted, match="StewardCooperative_NotAgent"):
                getattr(coop.contract, name)(*arguments, sender=caller)
    for missing in (0, 9):
        with pytest.raises(Reverted, match="StewardCooperative_BadMandate"):
            coop.contract.revokeMandate(missing, sender=AGENT)


@pytest.mark.parametrize("change", [{"agent": ZERO_ADDRESS}, {"expires_at": 0}])
def test_a_mandate_needs_an_agent_and_time(coop: Coop, change: dict[str, Any]) -> None:
    with pytest.raises(Reverted, match="StewardCooperative_BadMandate"):
        coop.grant(**change)


def test_nobody_under_mandate_zero_but_a_vote(coop: Coop) -> None:
    """Mandate 0 has no agent, and the zero address signs nothing."""
    with pytest.raises(Reverted, match="StewardCooperative_OnlyByVote"):
        coop.contract.approveOffer(0, coop.offer(), sender=AGENT)


def test_an_offer_is_approved_once(coop: Coop) -> None:
    """A second approval would freeze a later formula for money that has come under the first."""
    mandate_id = coop.grant()
    offer = coop.offer()
    coop.contract.approveOffer(mandate_id, offer, sender=AGENT)
    coop.admit(NEWCOMER, 90)
    with pytest.raises(Reverted, match="StewardCooperative_DealExists"):
        coop.contract.approveOffer(mandate_id, offer, sender=AGENT)
    with pytest.raises(Reverted, match="StewardCooperative_DealExists"):
        coop.decide("approveOffer", BY_VOTE, offer)
    coop.contract.withdrawApproval(coop.digest(offer), sender=AGENT)
    with pytest.raises(Reverted, match="StewardCooperative_DealExists"):
        coop.contract.approveOffer(mandate_id, offer, sender=AGENT)
    assert coop.contract.deal(coop.digest(offer)).version == 1


def test_an_offer_of_another_steward_is_not_ours_to_approve(coop: Coop) -> None:
    mandate_id = coop.grant()
    other = Coop(coop.world, [(STRANGER, 1)])
    for steward in (other.bytes_address, bytes.fromhex(coop.world.people.steward.address[2:])):
        with pytest.raises(Reverted, match="StewardCooperative_NotTheSteward"):
            coop.contract.approveOffer(mandate_id, coop.offer(steward=steward), sender=AGENT)


def test_inv_33_an_approval_counts_for_one_cooperative_registry_and_chain(coop: Coop) -> None:
    mandate_id = coop.grant()
    offer = coop.offer()
    coop.contract.approveOffer(mandate_id, offer, sender=AGENT)
    other = Coop(coop.world, zip(MEMBERS, SHARES, strict=True))
    assert not other.signs(coop.digest(offer))
    assert not other.signs(other.digest(offer))
    elsewhere = [
        typed_digest("Usufruct Licenses", chain_id, registry, "LicenseOffer", offer)
        for chain_id, registry in ((1, coop.world.registry.address), (coop.evm.chain_id, STRANGER.address))
    ]
    assert not any(coop.signs(digest) for digest in elsewhere)
    for changed in ({"nonce": 99}, {"steward_bps": 900, "platform_bps": 600}):
        assert not coop.signs(coop.digest(coop.offer(**({"nonce": offer.nonce} | changed))))
    for digest in (bytes(32), keccak(b"a note to redirect")):
        assert not coop.signs(digest)


def test_an_approval_is_taken_back_by_its_agent_or_a_vote(coop: Coop) -> None:
    mandate_id = coop.grant()
    first, second, voted = coop.offer(), coop.offer(), coop.offer()
    for offer in (first, second):
        coop.contract.approveOffer(mandate_id, offer, sender=AGENT)
    coop.decide("approveOffer", BY_VOTE, voted)
    for caller in (STRANGER, MEMBERS[0]):
        with pytest.raises(Reverted, match="StewardCooperative_NotAgent"):
            coop.contract.withdrawApproval(coop.digest(first), sender=caller)
    with pytest.raises(Reverted, match="StewardCooperative_OnlyByVote"):
        coop.contract.withdrawApproval(coop.digest(voted), sender=AGENT)
    with pytest.raises(Reverted, match="StewardCooperative_UnknownDeal"):
        coop.contract.withdrawApproval(ROSTER, sender=AGENT)
    coop.contract.withdrawApproval(coop.digest(first), sender=AGENT)
    coop.decide("withdrawApproval", coop.digest(second))
    coop.decide("withdrawApproval", coop.digest(voted))
    for offer in (first, second, voted):
        assert not coop.signs(coop.digest(offer))
        with pytest.raises(Reverted, match="LicenseRegistry_BadStewardSignature"):
            coop.accept(offer)


def test_a_cooperative_without_members_makes_no_deals(coop: Coop) -> None:
    """There would be nobody whose money it is."""
    mandate_id = coop.grant()
    for member in MEMBERS:
        coop.contract.leave(sender=member)
    with pytest.raises(Reverted, match="StewardCooperative_NoMembers"):
        coop.contract.approveOffer(mandate_id, coop.offer(), sender=AGENT)


# -- administering licenses -------------------------------------------------------------------------------


def test_the_agent_administers_licenses_of_its_collection(coop: Coop) -> None:
    mandate_id = coop.grant()
    license_id = coop.deal(mandate_id)
    registry, contract = coop.world.registry, coop.contract
    contract.setRoster(mandate_id, license_id, ROSTER, sender=AGENT)
    assert registry.license(license_id).rosterRoot == ROSTER
    contract.setSuspended(mandate_id, license_id, True, sender=AGENT)
    assert registry.license(license_id).suspended
    contract.giveNotice(mandate_id, license_id, sender=AGENT)
    assert registry.license(license_id).endsAt == coop.evm.timestamp + 30 * DAY
    contract.cancelOffer(mandate_id, 4_711, sender=AGENT)
    assert registry.offerUsed(contract, 4_711)
    secret = b"\x07" * 32
    coop.world.consent_log.forceRevoke(secret, sender=STRANGER)
    contract.openDuty(mandate_id, license_id, 1, keccak(secret), sender=AGENT)
    assert coop.world.duties.openFor(license_id) == 1


def test_a_vote_administers_any_license(coop: Coop) -> None:
    mandate_id = coop.grant()
    license_id = coop.deal(mandate_id)
    coop.decide("revokeMandate", mandate_id)
    coop.decide("setRoster", BY_VOTE, license_id, ROSTER)
    assert coop.world.registry.license(license_id).rosterRoot == ROSTER
    coop.decide("declareInterests", ROSTER)
    assert coop.world.council_register.declaration(coop.contract).declarationHash == ROSTER


def test_an_agent_administers_only_if_the_mandate_says_so_and_only_its_collection(coop: Coop) -> None:
    bargains = coop.grant(administers=False)
    other_collection = coop.grant(collection=ROSTER)
    over = coop.grant(expires_at=coop.evm.timestamp + 1)
    license_id = coop.deal(bargains)
    coop.evm.warp(2)
    tag = keccak(b"\x07" * 32)
    for name, arguments in (
        ("setRoster", (license_id, ROSTER)),
        ("giveNotice", (license_id,)),
        ("setSuspended", (license_id, True)),
        ("openDuty", (license_id, 0, tag)),
    ):
        call = getattr(coop.contract, name)
        for mandate_id, limit in ((bargains, "Administers"), (other_collection, "CollectionHash")):
            with pytest.raises(Reverted, match="StewardCooperative_BeyondMandate") as refused:
                call(mandate_id, *arguments, sender=AGENT)
            assert refused.value.arguments == (mandate_id, LIMITS.index(limit))
        with pytest.raises(Reverted, match="StewardCooperative_MandateOver"):
            call(over, *arguments, sender=AGENT)
        with pytest.raises(Reverted, match="StewardCooperative_NotAgent"):
            call(bargains, *arguments, sender=MEMBERS[0])
        with pytest.raises(Reverted, match="StewardCooperative_OnlyByVote"):
            call(BY_VOTE, *arguments, sender=MEMBERS[0])


def test_a_license_of_another_steward_is_not_administered(coop: Coop) -> None:
    mandate_id = coop.grant()
    foreign = coop.world.accept()
    with pytest.raises(Reverted, match="LicenseRegistry_NotSteward"):
        coop.contract.setRoster(mandate_id, foreign, ROSTER, sender=AGENT)


# -- money ------------------------------------------------------------------------------------------------


def test_members_have_their_part_of_what_the_steward_earned(coop: Coop) -> None:
    world, contract = coop.world, coop.contract
    license_id = coop.deal(coop.grant())
    charge(world, license_id, 100_070)  # the steward's tenth is 10,007
    assert [contract.owed(license_id, member) for member in MEMBERS] == [5_003, 3_002, 2_001]
    receipt = contract.pay(license_id, MEMBERS[0], sender=STRANGER)
    assert receipt.value == receipt.named("MemberPaid")[0].amount == 5_003
    with pytest.raises(Reverted, match="StewardCooperative_NothingToPay"):
        contract.pay(license_id, MEMBERS[0], sender=STRANGER)
    with pytest.raises(Reverted, match="StewardCooperative_NothingToPay"):
        contract.pay(license_id, STRANGER, sender=STRANGER)
    for member in MEMBERS[1:]:
        contract.pay(license_id, member, sender=STRANGER)
    assert [world.token.balanceOf(member) for member in MEMBERS] == [5_003, 3_002, 2_001]
    assert coop.balance() == 1  # less than one base unit per member


def test_a_share_that_somebody_fetched_before_is_divided_all_the_same(coop: Coop) -> None:
    license_id = coop.deal(coop.grant())
    charge(coop.world, license_id, 100_000)
    coop.world.splitter.payShare(license_id, STEWARD, sender=STRANGER)
    assert coop.balance() == 10_000
    for member, part in zip(MEMBERS, (5_000, 3_000, 2_000), strict=True):
        assert coop.contract.pay(license_id, member, sender=STRANGER).value == part
    charge(coop.world, license_id, 100_000)
    assert coop.contract.pay(license_id, MEMBERS[2], sender=STRANGER).value == 2_000


def test_who_leaves_keeps_what_frozen_deals_owe_and_has_nothing_of_later_ones(coop: Coop) -> None:
    world, contract = coop.world, coop.contract
    mandate_id = coop.grant()
    before = coop.deal(mandate_id)
    contract.leave(sender=MEMBERS[0])
    after = coop.deal(mandate_id)
    for license_id in (before, after):
        charge(world, license_id, 100_000)  # before too: its money comes after the leaving
    assert [contract.owed(before, member) for member in MEMBERS] == [5_000, 3_000, 2_000]
    assert [contract.owed(after, member) for member in MEMBERS] == [0, 6_000, 4_000]
    contract.pay(before, MEMBERS[0], sender=STRANGER)
    with pytest.raises(Reverted, match="StewardCooperative_NothingToPay"):
        contract.pay(after, MEMBERS[0], sender=STRANGER)


def test_who_joins_has_nothing_of_deals_approved_before(coop: Coop) -> None:
    mandate_id = coop.grant()
    offer = coop.offer()
    coop.contract.approveOffer(mandate_id, offer, sender=AGENT)
    coop.admit(NEWCOMER, 90)  # after approval, before acceptance, before any money
    license_id = coop.accept(offer)
    coop.world.deposit(license_id, 10**6)
    charge(coop.world, license_id, 100_000)
    assert [coop.contract.owed(license_id, who) for who in (*MEMBERS, NEWCOMER)] == [5_000, 3_000, 2_000, 0]


def test_no_vote_changes_the_formula_of_an_approved_deal(coop: Coop) -> None:
    license_id = coop.deal(coop.grant())
    coop.decide("setShares", [(MEMBERS[0], 0), (MEMBERS[1], 1_000_000)])
    charge(coop.world, license_id, 100_000)
    assert [coop.contract.owed(license_id, member) for member in MEMBERS] == [5_000, 3_000, 2_000]
    offer_hash = coop.world.registry.license(license_id).offerHash
    coop.decide("withdrawApproval", offer_hash)  # too late to mean anything
    assert coop.contract.owed(license_id, MEMBERS[0]) == 5_000


def test_a_license_that_was_never_approved_here_pays_nobody_here(coop: Coop) -> None:
    foreign = coop.world.accept()
    for name in ("pay", "owed"):
        with pytest.raises(Reverted, match="StewardCooperative_UnknownDeal"):
            coop.evm.raw_call(
                STRANGER, coop.contract.address, coop.contract.calldata(name, foreign, MEMBERS[0])
            )
    with pytest.raises(Reverted, match="LicenseRegistry_UnknownLicense"):
        coop.contract.pay(99, MEMBERS[0], sender=STRANGER)


def test_money_of_one_license_never_pays_for_another(coop: Coop) -> None:
    """Each deal has members of its own; what lies here for one is not the other's."""
    mandate_id = coop.grant()
    first = coop.deal(mandate_id)
    coop.decide("setShares", [(MEMBERS[0], 0)])
    second = coop.deal(mandate_id)
    charge(coop.world, first, 100_000)
    coop.world.splitter.payShare(first, STEWARD, sender=STRANGER)
    assert [coop.contract.owed(second, member) for member in MEMBERS] == [0, 0, 0]
    charge(coop.world, second, 50_000)
    for license_id in (second, first):
        for member in MEMBERS:
            if coop.contract.owed(license_id, member):
                coop.contract.pay(license_id, member, sender=STRANGER)
    assert [coop.world.token.balanceOf(member) for member in MEMBERS] == [5_000, 6_000, 4_000]
    assert coop.balance() == 0


def test_a_member_whom_the_token_refuses_waits_alone(coop: Coop) -> None:
    world = coop.world
    license_id = coop.deal(coop.grant())
    charge(world, license_id, 100_000)
    world.token.setBlocked(MEMBERS[0], True, sender=STRANGER)
    with pytest.raises(Reverted):
        coop.contract.pay(license_id, MEMBERS[0], sender=STRANGER)
    assert coop.contract.pay(license_id, MEMBERS[1], sender=STRANGER).value == 3_000
    world.token.setBlocked(MEMBERS[0], False, sender=STRANGER)
    assert coop.contract.pay(license_id, MEMBERS[0], sender=STRANGER).value == 5_000


def test_inv_35_a_token_that_calls_back_pays_no_part_twice(evm: Evm) -> None:
    world = World(evm, "CallbackToken")
    coop = Coop(world, zip(MEMBERS, SHARES, strict=True))
    license_id = coop.deal(coop.grant())
    charge(world, license_id, 100_000)
    world.splitter.payShare(license_id, STEWARD, sender=STRANGER)
    again = coop.contract.calldata("pay", license_id, MEMBERS[1])
    world.token.arm(coop.contract, again, 1, sender=STRANGER)
    coop.contract.pay(license_id, MEMBERS[0], sender=STRANGER)
    assert world.token.callbacksFailed() == 1
    assert [world.token.balanceOf(member) for member in MEMBERS] == [5_000, 0, 0]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("charge"), st.integers(0, 3), st.integers(1, 50_000)),
        st.tuples(st.just("deal"), st.just(0), st.just(0)),
        st.tuples(st.just("leave"), st.integers(0, 4), st.just(0)),
        st.tuples(st.just("admit"), st.integers(0, 4), st.integers(1, 1_000)),
        st.tuples(st.just("share"), st.integers(0, 4), st.integers(1, 2**32 - 1)),
        st.tuples(st.just("pay"), st.integers(0, 3), st.integers(0, 4)),
    ),
    max_size=25,
)


class Twin:
    """The same life, with each deal's members as a plain list of their own."""

    def __init__(self) -> None:
        self.world = World(Evm())
        self.people = [account(f"person {number}") for number in range(5)]
        self.coop = Coop(self.world, [(person, 1) for person in self.people[:2]])
        self.mandate_id = self.coop.grant(deals_left=99, expires_at=self.world.evm.timestamp + 10_000 * DAY)
        self.shares = dict.fromkeys(self.people[:2], 1)
        self.frozen: dict[int, dict[Account, int]] = {}
        self.charged: dict[int, int] = {}
        self.taken: dict[tuple[int, Account], int] = {}

    def deal(self) -> None:
        if self.shares:
            license_id = self.coop.deal(self.mandate_id)
            self.frozen[license_id], self.charged[license_id] = dict(self.shares), 0

    def charge(self, deal: int, amount: int) -> None:
        if deal < len(self.charged):
            license_id = list(self.charged)[deal]
            charge(self.world, license_id, amount)
            self.charged[license_id] += amount

    def leave(self, number: int, _: int) -> None:
        if self.people[number] in self.shares:
            self.coop.contract.leave(sender=self.people[number])
            del self.shares[self.people[number]]

    def admit(self, number: int, shares: int) -> None:
        if self.shares and self.people[number] not in self.shares:
            self.coop.admit(self.people[number], shares)
            self.shares[self.people[number]] = shares

    def share(self, number: int, shares: int) -> None:
        if self.people[number] in self.shares:
            self.coop.decide("setShares", [(self.people[number], shares)])
            self.shares[self.people[number]] = shares

    def pay(self, deal: int, number: int) -> None:
        if deal < len(self.frozen):
            license_id, member = list(self.frozen)[deal], self.people[number]
            if self.coop.contract.owed(license_id, member):
                paid = self.coop.contract.pay(license_id, member, sender=STRANGER).value
                self.taken[license_id, member] = self.taken.get((license_id, member), 0) + paid

    def steward_share(self, license_id: int) -> int:
        return self.charged[license_id] * 1_000 // 10_000

    def parts(self, license_id: int) -> dict[Account, int]:
        frozen = self.frozen[license_id]
        return dict(zip(frozen, earned(self.steward_share(license_id), list(frozen.values())), strict=True))


@settings(max_examples=max(10, settings().max_examples // 4))  # each is a chain of its own
@given(STEPS)
def test_parts_are_those_of_the_reference_whatever_members_do(steps: list[tuple[str, int, int]]) -> None:
    twin = Twin()
    twin.deal()
    for kind, first, second in steps:
        if kind == "deal":
            twin.deal()
        else:
            getattr(twin, kind)(first, second)
    contract, left = twin.coop.contract, 0
    for license_id, frozen in twin.frozen.items():
        expected = twin.parts(license_id)
        rest = twin.steward_share(license_id) - sum(expected.values())
        assert 0 <= rest < len(frozen)
        for person in twin.people:
            owed = contract.owed(license_id, person)
            assert owed + twin.taken.get((license_id, person), 0) == expected.get(person, 0)
            if owed:
                contract.pay(license_id, person, sender=STRANGER)
            assert contract.paid(license_id, person) == expected.get(person, 0)
        if twin.world.splitter.shareCredit(license_id, STEWARD):
            twin.world.splitter.payShare(license_id, STEWARD, sender=STRANGER)
        left += rest
    assert twin.coop.balance() == left


# -- mergers ----------------------------------------------------------------------------------------------


@pytest.fixture
def larger(world: World) -> Coop:
    return Coop(world, [(account("larger 0"), 10), (account("larger 1"), 10), (MEMBERS[2], 10)])


def merge(coop: Coop, larger: Coop) -> None:
    larger.decide("approveMerger", coop.contract, coop.contract.formulaVersion())
    coop.decide("mergeInto", larger.contract)


def test_members_of_a_merged_cooperative_join_with_their_shares(coop: Coop, larger: Coop) -> None:
    merge(coop, larger)
    contract = larger.contract
    assert coop.contract.mergedInto() == contract.address
    contract.joinByMerger(coop.contract, sender=MEMBERS[0])
    contract.joinByMerger(coop.contract, sender=MEMBERS[2])  # who had a seat in both
    version = contract.formulaVersion()
    assert [contract.sharesAt(member, version) for member in MEMBERS] == [5, 0, 12]
    assert (contract.totalSharesAt(version), contract.memberCountAt(version)) == (37, 4)
    for caller, error in (
        (MEMBERS[0], "StewardCooperative_AlreadyJoined"),
        (STRANGER, "StewardCooperative_NotMember"),
    ):
        with pytest.raises(Reverted, match=error):
            contract.joinByMerger(coop.contract, sender=caller)
    contract.leave(sender=MEMBERS[0])
    with pytest.raises(Reverted, match="StewardCooperative_AlreadyJoined"):
        contract.joinByMerger(coop.contract, sender=MEMBERS[0])


def test_a_merger_needs_both_votes_on_the_very_same_members(coop: Coop, larger: Coop) -> None:
    with pytest.raises(Reverted, match="StewardCooperative_MergerNotApproved"):
        coop.decide("mergeInto", larger.contract)
    larger.decide("approveMerger", coop.contract, coop.contract.formulaVersion())
    with pytest.raises(Reverted, match="StewardCooperative_NotMergedHere"):
        larger.contract.joinByMerger(coop.contract, sender=MEMBERS[0])
    coop.admit(NEWCOMER, 1_000_000)  # whom the others never voted on
    with pytest.raises(Reverted, match="StewardCooperative_MergerNotApproved"):
        coop.decide("mergeInto", larger.contract)
    larger.decide("approveMerger", coop.contract, coop.contract.formulaVersion())
    larger.decide("approveMerger", coop.contract, 0)
    with pytest.raises(Reverted, match="StewardCooperative_MergerNotApproved"):
        coop.decide("mergeInto", larger.contract)


def test_a_cooperative_merges_once_and_is_closed_then(coop: Coop, larger: Coop) -> None:
    mandate_id = coop.grant()
    offer = coop.offer()
    coop.contract.approveOffer(mandate_id, offer, sender=AGENT)
    coop.decide("invite", [(NEWCOMER, 1)])
    third = Coop(coop.world, [(STRANGER, 1)])
    third.decide("approveMerger", coop.contract, coop.contract.formulaVersion())
    merge(coop, larger)
    for name, arguments in (
        ("mergeInto", (third.contract,)),
        ("mergeInto", (larger.contract,)),
        ("invite", ([(STRANGER, 1)],)),
        ("setShares", ([(MEMBERS[0], 1)],)),
        ("approveMerger", (third.contract, 1)),
        ("approveOffer", (BY_VOTE, coop.offer())),
    ):
        with pytest.raises(Reverted, match="StewardCooperative_Merged"):
            coop.decide(name, *arguments)
    for caller, name, arguments in (
        (NEWCOMER, "join", ()),
        (MEMBERS[0], "leave", ()),
        (MEMBERS[0], "joinByMerger", (third.contract,)),
        (AGENT, "approveOffer", (mandate_id, coop.offer())),
    ):
        with pytest.raises(Reverted, match="StewardCooperative_Merged"):
            getattr(coop.contract, name)(*arguments, sender=caller)
    assert not coop.signs(coop.digest(offer))
    with pytest.raises(Reverted, match="StewardCooperative_Merged"):
        larger.decide("approveMerger", coop.contract, 1)  # what was settled stays settled
    back = (coop.contract, larger.contract.formulaVersion())
    assert back[0].mergedInto() == larger.contract.address
    with pytest.raises(Reverted, match="StewardCooperative_Merged"):
        larger.decide("mergeInto", coop.contract)


def test_deals_of_a_merged_cooperative_stay_divided_and_administered_where_they_are(
    coop: Coop, larger: Coop
) -> None:
    mandate_id = coop.grant()
    license_id = coop.deal(mandate_id)
    merge(coop, larger)
    charge(coop.world, license_id, 100_000)
    assert [coop.contract.owed(license_id, member) for member in MEMBERS] == [5_000, 3_000, 2_000]
    coop.contract.pay(license_id, MEMBERS[1], sender=STRANGER)
    coop.contract.setRoster(mandate_id, license_id, ROSTER, sender=AGENT)
    coop.decide("giveNotice", BY_VOTE, license_id)


def test_only_the_same_code_with_the_same_neighbors_is_a_cooperative(coop: Coop) -> None:
    """Otherwise it could say anything about its members, and change it after the vote."""
    world = coop.world
    wallet = world.evm.deploy("ContractWallet", STRANGER, sender=STRANGER)
    elsewhere = world.evm.deploy(
        "StewardCooperative",
        *(world.registry, world.splitter, world.council_register, world.council_register),
        *(RULES, [(STRANGER, 1)]),
        sender=STRANGER,
    )
    for other in (coop.contract, wallet, elsewhere, STRANGER):
        with pytest.raises(Reverted, match="StewardCooperative_NotACooperative"):
            coop.decide("approveMerger", other, 1)
        with pytest.raises(Reverted, match="StewardCooperative_NotACooperative"):
            coop.decide("mergeInto", other)


def test_ether_is_refused(coop: Coop) -> None:
    coop.evm.fund_ether(MEMBERS[0].address, 10)
    calls: list[bytes] = [b"", coop.contract.calldata("leave"), coop.contract.calldata("propose", b"")]
    for call in calls:
        with pytest.raises(Reverted):
            coop.evm.raw_call(MEMBERS[0], coop.contract.address, call, value=1)
    assert coop.evm.ether(coop.contract.address) == 0


def test_the_view_functions_say_what_a_cooperative_is_wired_to(coop: Coop) -> None:
    contract, world = coop.contract, coop.world
    wired: dict[str, Contract] = {
        "registry": world.registry,
        "splitter": world.splitter,
        "duties": world.duties,
        "councilRegister": world.council_register,
    }
    assert {name: getattr(contract, name)() for name in wired} == {n: c.address for n, c in wired.items()}
