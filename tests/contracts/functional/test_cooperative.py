"""StewardCooperative: members, votes, an agent with a mandate, and deals divided as frozen."""

from dataclasses import astuple, dataclass, replace

import pytest
from brownie import ZERO_ADDRESS, StewardCooperative

from tests.contracts.functional.scene import later, now, raw, reverts
from tests.contracts.wire import account, as_abi, keccak

DAY = 86_400
VOTING_SECONDS = 7 * DAY
BY_VOTE = 0


@dataclass(frozen=True)
class Mandate:
    """What the agent may do, by the fields of the contract's struct."""

    agent: str
    expires_at: int
    meter_kind: int = 1
    administers: bool = True
    floor_price: int = 900_000
    least_cap: int = 10**9
    deals_left: int = 1
    least_bond: int = 0
    least_fee: int = 0
    least_contributors: int = 6_000
    least_steward: int = 800
    latest_end: int = 2**48 - 1
    most_cooling_off: int = 3 * DAY
    collection: bytes = keccak(b"collection")


@pytest.fixture(scope="module")
def members(accounts):
    return [accounts.add(account(f"member {number}").key) for number in range(3)]


@pytest.fixture(scope="module")
def agent(accounts):
    return accounts.add(account("bargaining agent").key)


@pytest.fixture(scope="module")
def found(registry, splitter, duties, council_register, admin):
    """Founds a cooperative with these members and shares."""

    def founded(*founders, quorum_percent=50):
        rules = (VOTING_SECONDS, quorum_percent)
        neighbors = (registry, splitter, duties, council_register)
        return StewardCooperative.deploy(*neighbors, rules, list(founders), {"from": admin})

    return founded


@pytest.fixture(scope="module")
def coop(found, members):
    """Three members with 5, 3 and 2 shares."""
    return found(*zip(members, (5, 3, 2), strict=True))


@pytest.fixture
def decide(coop, members, stranger):
    """Has members vote for a call of the cooperative to itself, and makes it."""

    def decided(function, *arguments, of=coop, voters=members):
        call = getattr(of, function).encode_input(*arguments)
        ballot = of.propose(call, {"from": voters[0]}).events["BallotOpened"]["ballotId"]
        for voter in voters:
            of.vote(ballot, True, {"from": voter})
        return of.execute(ballot, call, {"from": stranger})

    return decided


@pytest.fixture
def mandated(decide, agent):
    """The agent has a mandate; returns its number."""
    terms = Mandate(agent.address, now() + 30 * DAY)
    return decide("grantMandate", astuple(terms)).events["MandateGranted"]["mandateId"]


@pytest.fixture
def coop_offer(coop, offer):
    """An offer of the cooperative."""
    return replace(offer, steward=raw(coop))


@pytest.fixture
def deal(coop, coop_offer, mandated, agent, registry, buyer):
    """A license that the agent has agreed; returns it."""
    coop.approveOffer(mandated, as_abi(coop_offer), {"from": agent})
    registry.accept(as_abi(coop_offer), b"", {"from": buyer})
    return registry.licenseCount()


# -- deals --------------------------------------------------------------------------------------------------


def test_a_deal_is_divided_by_its_members_shares(
    coop, deal, fund, nodes, token, members, decide, stranger, payee
):
    """Whoever joins after the deal has no part of it; whoever leaves keeps theirs."""
    decide("invite", [(payee, 90)])
    coop.join({"from": payee})
    coop.leave({"from": members[2]})
    fund(deal, 10_007)
    nodes.settle([(deal, 10_007, 10_007)])
    for member in members:
        coop.pay(deal, member, {"from": stranger})
    assert [token.balanceOf(member) for member in members] == [500, 300, 200]
    with reverts("StewardCooperative_NothingToPay"):
        coop.pay(deal, payee, {"from": stranger})


def test_the_agent_stays_within_the_mandate(coop, coop_offer, mandated, agent):
    for changes in (
        {"price_per_million_units": 899_999},
        {"meter_kind": 0},
        {"collection_hash": keccak(b"other")},
        {"steward_bps": 700, "platform_bps": 800},
    ):
        with reverts("StewardCooperative_BeyondMandate"):
            coop.approveOffer(mandated, as_abi(replace(coop_offer, **changes)), {"from": agent})
    coop.approveOffer(mandated, as_abi(coop_offer), {"from": agent})
    with reverts("StewardCooperative_BeyondMandate"):
        coop.approveOffer(mandated, as_abi(replace(coop_offer, nonce=2)), {"from": agent})


def test_a_mandate_is_the_agents_and_ends(coop, coop_offer, mandated, agent, stranger, decide):
    with reverts("StewardCooperative_NotAgent"):
        coop.approveOffer(mandated, as_abi(coop_offer), {"from": stranger})
    with reverts("StewardCooperative_OnlyByVote"):
        coop.approveOffer(BY_VOTE, as_abi(coop_offer), {"from": agent})
    decide("revokeMandate", mandated)
    with reverts("StewardCooperative_MandateOver"):
        coop.approveOffer(mandated, as_abi(coop_offer), {"from": agent})


def test_an_offer_nobody_approved_is_not_signed(coop, coop_offer, registry, buyer):
    with reverts("LicenseRegistry_BadStewardSignature"):
        registry.accept(as_abi(coop_offer), b"", {"from": buyer})


def test_an_approval_can_be_withdrawn_until_it_is_accepted(
    coop, coop_offer, mandated, agent, registry, buyer, offer
):
    made = coop.approveOffer(mandated, as_abi(coop_offer), {"from": agent})
    coop.withdrawApproval(made.events["OfferApproved"]["digest"], {"from": agent})
    with reverts("LicenseRegistry_BadStewardSignature"):
        registry.accept(as_abi(coop_offer), b"", {"from": buyer})


def test_members_approve_without_an_agent(coop, coop_offer, decide, registry, buyer):
    decide("approveOffer", BY_VOTE, as_abi(coop_offer))
    registry.accept(as_abi(coop_offer), b"", {"from": buyer})
    assert registry.license(registry.licenseCount())["steward"] == coop


def test_an_agent_administers_licenses(coop, deal, mandated, agent, registry, stranger):
    coop.setRoster(mandated, deal, keccak(b"roster"), {"from": agent})
    assert bytes(registry.license(deal)["rosterRoot"]) == keccak(b"roster")
    coop.setSuspended(mandated, deal, True, {"from": agent})
    assert registry.license(deal)["suspended"]
    coop.giveNotice(mandated, deal, {"from": agent})
    with reverts("StewardCooperative_NotAgent"):
        coop.giveNotice(mandated, deal, {"from": stranger})


# -- members and votes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("invite", ([(account("payee").address, 1)],)),
        ("setShares", ([(account("member 0").address, 1)],)),
        ("grantMandate", (astuple(Mandate(account("payee").address, 2**40)),)),
        ("mergeInto", (account("payee").address,)),
        ("declareInterests", (keccak(b"interests"),)),
    ],
)
def test_what_binds_all_takes_a_vote(coop, members, function, arguments):
    with reverts("StewardCooperative_OnlyByVote"):
        getattr(coop, function)(*arguments, {"from": members[0]})


def test_nobody_is_made_a_member(coop, decide, payee, stranger):
    decide("invite", [(payee, 4)])
    assert not coop.isMember(payee)
    with reverts("StewardCooperative_NotInvited"):
        coop.join({"from": stranger})
    coop.join({"from": payee})
    assert coop.sharesAt(payee, coop.formulaVersion()) == 4


def test_one_member_one_vote(coop, members, stranger):
    """Half of the shares are one vote of three; the quorum is half of the members."""
    call = coop.declareInterests.encode_input(keccak(b"interests"))
    ballot = coop.propose(call, {"from": members[0]}).events["BallotOpened"]["ballotId"]
    coop.vote(ballot, True, {"from": members[0]})
    with reverts("StewardCooperative_AlreadyVoted"):
        coop.vote(ballot, True, {"from": members[0]})
    with reverts("StewardCooperative_NotMember"):
        coop.vote(ballot, True, {"from": stranger})
    later(VOTING_SECONDS)
    with reverts("StewardCooperative_BallotClosed"):
        coop.vote(ballot, True, {"from": members[1]})
    with reverts("StewardCooperative_NotPassed"):
        coop.execute(ballot, call, {"from": stranger})


def test_a_ballot_is_executed_once_and_as_it_was_asked(coop, members, decide, stranger):
    call = coop.declareInterests.encode_input(keccak(b"interests"))
    ballot = decide("declareInterests", keccak(b"interests")).events["BallotExecuted"]["ballotId"]
    with reverts("StewardCooperative_BallotExecuted"):
        coop.execute(ballot, call, {"from": stranger})
    again = coop.propose(call, {"from": members[0]}).events["BallotOpened"]["ballotId"]
    with reverts("StewardCooperative_WrongCall"):
        coop.execute(again, coop.declareInterests.encode_input(keccak(b"other")), {"from": stranger})
    with reverts("StewardCooperative_UnknownBallot"):
        coop.execute(again + 1, call, {"from": stranger})


def test_cooperatives_merge_and_members_follow(coop, found, decide, members, payee, stranger):
    """What the members of the one brought is what it was when the other approved."""
    other = found((payee, 6))
    decide("approveMerger", other, other.formulaVersion())
    decide("mergeInto", coop, of=other, voters=[payee])
    assert other.mergedInto() == coop
    coop.joinByMerger(other, {"from": payee})
    assert coop.sharesAt(payee, coop.formulaVersion()) == 6
    with reverts("StewardCooperative_AlreadyJoined"):
        coop.joinByMerger(other, {"from": payee})
    with reverts("StewardCooperative_NotMember"):
        coop.joinByMerger(other, {"from": stranger})
    with reverts("StewardCooperative_Merged"):
        other.leave({"from": payee})


def test_a_cooperative_is_founded_soundly(found, members):
    with reverts("StewardCooperative_NoMembers"):
        found()
    with reverts("StewardCooperative_ZeroShares"):
        found((members[0], 0))
    with reverts("StewardCooperative_BadMember"):
        found((ZERO_ADDRESS, 1))
    with reverts("StewardCooperative_MemberAlready"):
        found((members[0], 1), (members[0], 1))
    with reverts("StewardCooperative_BadRules"):
        found((members[0], 1), quorum_percent=0)
