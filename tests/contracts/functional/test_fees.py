"""LicenseFees: upfront fees, milestones, royalties."""

from dataclasses import replace

import pytest
from brownie import ZERO_ADDRESS, chain
from usufruct_protocol.considerations import (
    AuditCorrection,
    Milestone,
    MilestoneReached,
    MilestoneTerms,
    RevenueStatement,
    RoyaltyTerms,
)

from tests.contracts.functional.scene import later, now, raw, reverts, until
from tests.contracts.wire import account, as_abi, keccak, sign, typed_digest

DAY = 86_400
FEE = 10_001
COOLING_OFF = 3 * DAY
STEWARD = 1
ATTESTERS = sorted(
    (account(f"attester {number}") for number in range(3)), key=lambda one: one.address.lower()
)
EVIDENCE = keccak(b"evidence")


@pytest.fixture
def signed(fees):
    """Somebody's signature of what the fees contract reads."""

    def made(struct, by):
        digest = typed_digest("Usufruct Fees", chain.id, fees.address, type(struct).__name__, struct)
        return sign(by.key, digest).full

    return made


# -- upfront fee --------------------------------------------------------------------------------------------


@pytest.fixture
def paid_license(accept, allow, fees, buyer, registry):
    """A license with an upfront fee."""
    allow(buyer, fees, FEE)
    accept(upfront_fee=FEE)
    return registry.licenseCount()


def test_an_upfront_fee_is_held_and_then_divided(fees, splitter, token, paid_license, stranger, steward):
    assert fees.held()[0] == token.balanceOf(fees) == FEE
    later(COOLING_OFF)
    fees.releaseUpfront(paid_license, {"from": stranger})
    assert (fees.held()[0], token.balanceOf(splitter)) == (0, FEE)
    assert splitter.pool() == 7_001
    splitter.payShare(paid_license, STEWARD, {"from": stranger})
    assert token.balanceOf(steward) == 1_000
    with reverts("LicenseFees_NotHeld"):
        fees.releaseUpfront(paid_license, {"from": stranger})


def test_a_buyer_who_cools_off_has_it_back(fees, registry, token, paid_license, buyer, payee, stranger):
    with reverts("LicenseFees_NotCooledOff"):
        fees.refundUpfront(paid_license, payee, {"from": buyer})
    with reverts("LicenseFees_CoolingOff"):
        fees.releaseUpfront(paid_license, {"from": stranger})
    registry.coolOff(paid_license, {"from": buyer})
    with reverts("LicenseFees_NotBuyer"):
        fees.refundUpfront(paid_license, stranger, {"from": stranger})
    fees.refundUpfront(paid_license, payee, {"from": buyer})
    assert token.balanceOf(payee) == FEE
    later(COOLING_OFF)
    with reverts("LicenseFees_CooledOff"):
        fees.releaseUpfront(paid_license, {"from": stranger})


def test_only_the_registry_collects(fees, license_id, buyer, council):
    with reverts("LicenseFees_OnlyRegistry"):
        fees.collectUpfront(license_id, buyer, 1, {"from": council})


# -- milestones ---------------------------------------------------------------------------------------------


@pytest.fixture
def milestones():
    """One milestone, attested by two of three."""
    one = Milestone(500, now() + 100 * DAY, keccak(b"first results"))
    return MilestoneTerms((one,), tuple(raw(one.address) for one in ATTESTERS), 2)


@pytest.fixture
def opened(accept, offer, fees, registry, milestones, stranger):
    """A license whose milestones anybody has opened."""
    accept(milestones_hash=milestones.hash())
    agreed = replace(offer, milestones_hash=milestones.hash())
    fees.openMilestones(registry.licenseCount(), as_abi(agreed), as_abi(milestones), {"from": stranger})
    return registry.licenseCount()


@pytest.fixture
def funded(fees, allow, opened, milestones, buyer):
    """Its money is in."""
    allow(buyer, fees, 500)
    fees.fundMilestone(opened, 0, as_abi(milestones), {"from": buyer})
    return opened


@pytest.fixture
def release(fees, milestones, signed, stranger):
    """Attesters say that the milestone was reached."""

    def released(license_id, attesters, index=0):
        reached = MilestoneReached(license_id, index, EVIDENCE)
        given = [(number, signed(reached, ATTESTERS[number])) for number in attesters]
        return fees.releaseMilestone(
            license_id, index, EVIDENCE, as_abi(milestones), given, {"from": stranger}
        )

    return released


def test_a_milestone_is_released_by_its_attesters(fees, splitter, token, funded, release):
    later(COOLING_OFF)
    event = release(funded, (0, 2)).events["MilestoneReleased"]
    assert (event["licenseId"], event["index"], event["amount"]) == (funded, 0, 500)
    assert (fees.held()[1], token.balanceOf(splitter), splitter.pool()) == (0, 500, 350)


@pytest.mark.parametrize(
    ("attesters", "error"),
    [((1,), "NotEnoughAttestations"), ((1, 1), "AttestationOutOfOrder"), ((2, 1), "AttestationOutOfOrder")],
)
def test_a_milestone_needs_its_quorum(funded, release, attesters, error):
    later(COOLING_OFF)
    with reverts(f"LicenseFees_{error}"):
        release(funded, attesters)


def test_attesters_sign_for_one_milestone(fees, funded, milestones, signed, stranger):
    later(COOLING_OFF)
    other = MilestoneReached(funded + 1, 0, EVIDENCE)
    given = [(number, signed(other, ATTESTERS[number])) for number in (0, 1)]
    with reverts("LicenseFees_BadAttestation"):
        fees.releaseMilestone(funded, 0, EVIDENCE, as_abi(milestones), given, {"from": stranger})


def test_a_milestone_missed_goes_back_to_the_buyer(fees, token, funded, milestones, release, buyer):
    with reverts("LicenseFees_MilestoneRunning"):
        fees.refundMilestone(funded, 0, buyer, {"from": buyer})
    until(milestones.milestones[0].deadline_s + 1)
    with reverts("LicenseFees_MilestoneExpired"):
        release(funded, (0, 1))
    fees.refundMilestone(funded, 0, buyer, {"from": buyer})
    assert token.balanceOf(buyer) == 500
    with reverts("LicenseFees_NotHeld"):
        fees.refundMilestone(funded, 0, buyer, {"from": buyer})


def test_milestones_are_those_of_the_offer(fees, opened, offer, milestones, stranger, buyer):
    agreed = as_abi(replace(offer, milestones_hash=milestones.hash()))
    with reverts("LicenseFees_AlreadyOpened"):
        fees.openMilestones(opened, agreed, as_abi(milestones), {"from": stranger})
    other = replace(milestones, quorum=1)
    with reverts("LicenseFees_WrongTerms"):
        fees.fundMilestone(opened, 0, as_abi(other), {"from": buyer})
    with reverts("LicenseFees_UnknownMilestone"):
        fees.fundMilestone(opened, 1, as_abi(milestones), {"from": buyer})


# -- royalty ------------------------------------------------------------------------------------------------


@pytest.fixture
def royalty():
    """A twentieth of the revenue per quarter, 30 days to pay, 1.5 % a quarter for being late."""
    return RoyaltyTerms(500, now() + 90 * DAY, 90 * DAY, 30 * DAY, 150, raw(account("auditor").address))


@pytest.fixture
def shared(accept, offer, fees, registry, royalty, stranger):
    """A license with that royalty."""
    accept(royalty_hash=royalty.hash())
    agreed = replace(offer, royalty_hash=royalty.hash())
    fees.openRoyalty(registry.licenseCount(), as_abi(agreed), as_abi(royalty), {"from": stranger})
    return registry.licenseCount()


@pytest.fixture
def declared(fees, shared, royalty, buyer):
    """The buyer has declared 1,000,001 for the first quarter."""
    until(royalty.period_end_s(0))
    statement = RevenueStatement(shared, 0, 1_000_001, keccak(b"statement"))
    fees.stateRevenue(as_abi(statement), b"", {"from": buyer})
    return shared


def test_a_royalty_is_paid_on_what_was_declared(fees, splitter, token, allow, declared, buyer):
    assert tuple(fees.royaltyOwed(declared, 0)) == (50_001, 0)
    allow(buyer, fees, 50_001)
    fees.payRoyalty(declared, 0, 2**96 - 1, {"from": buyer})
    assert (token.balanceOf(buyer), token.balanceOf(splitter)) == (0, 50_001)
    assert tuple(fees.royaltyProgress(declared)) == (1, 0)
    with reverts("LicenseFees_NothingOwed"):
        fees.payRoyalty(declared, 0, 1, {"from": buyer})


def test_a_late_royalty_costs_more(fees, allow, declared, royalty, buyer):
    until(royalty.payable_until_s(0) + 1)
    owed, penalty = fees.royaltyOwed(declared, 0)
    assert (owed, penalty) == (50_001, royalty.penalty(0, 50_001, now()))
    assert penalty == 751
    allow(buyer, fees, owed + penalty)
    event = fees.payRoyalty(declared, 0, 2**96 - 1, {"from": buyer}).events["RoyaltyPaid"]
    assert event["penalty"] == 751


def test_an_auditor_corrects_what_was_declared(fees, declared, signed, stranger):
    auditor = account("auditor")
    found = AuditCorrection(declared, 0, 2_000_000, 1, keccak(b"finding"))
    with reverts("LicenseFees_NotAuditor"):
        fees.correctRevenue(as_abi(found), stranger, signed(found, account("stranger")), {"from": stranger})
    with reverts("LicenseFees_BadCorrection"):
        forged = signed(found, account("stranger"))
        fees.correctRevenue(as_abi(found), auditor.address, forged, {"from": stranger})
    fees.correctRevenue(as_abi(found), auditor.address, signed(found, auditor), {"from": stranger})
    assert fees.royaltyOwed(declared, 0)[0] == 100_000
    with reverts("LicenseFees_StaleCorrection"):
        fees.correctRevenue(as_abi(found), auditor.address, signed(found, auditor), {"from": stranger})


def test_a_statement_is_the_buyers(fees, shared, royalty, signed, stranger):
    until(royalty.period_end_s(0))
    statement = RevenueStatement(shared, 0, 700, keccak(b"statement"))
    with reverts("LicenseFees_BadStatement"):
        fees.stateRevenue(as_abi(statement), signed(statement, account("stranger")), {"from": stranger})
    fees.stateRevenue(as_abi(statement), signed(statement, account("buyer")), {"from": stranger})
    assert fees.royaltyPeriod(shared, 0)["stated"] == 700


def test_periods_are_declared_when_they_are_over_and_never_down(fees, declared, royalty, buyer):
    def state(period, revenue):
        statement = RevenueStatement(declared, period, revenue, keccak(b"statement"))
        fees.stateRevenue(as_abi(statement), b"", {"from": buyer})

    with reverts("LicenseFees_PeriodNotOver"):
        state(1, 5)
    with reverts("LicenseFees_StatementNotHigher"):
        state(0, 1_000_000)
    with reverts("LicenseFees_NoSuchPeriod"):
        state(99, 5)
    until(royalty.period_end_s(2))
    with reverts("LicenseFees_StatementMissing"):
        state(2, 5)


def test_a_royalty_is_that_of_the_offer(fees, accept, offer, registry, royalty, stranger):
    accept(royalty_hash=royalty.hash())
    agreed, other = replace(offer, royalty_hash=royalty.hash()), replace(royalty, revenue_bps=499)
    with reverts("LicenseFees_WrongTerms"):
        fees.openRoyalty(registry.licenseCount(), as_abi(agreed), as_abi(other), {"from": stranger})
    with reverts("LicenseFees_WrongOffer"):
        fees.openRoyalty(registry.licenseCount(), as_abi(offer), as_abi(royalty), {"from": stranger})
    with reverts("LicenseFees_NotOpened"):
        fees.royaltyOwed.transact(registry.licenseCount(), 0, {"from": stranger})


@pytest.mark.parametrize("missing", ["registry", "splitter", "councilRegister"])
def test_fees_know_their_neighbors(build, missing):
    with reverts("LicenseFees_ZeroAddress"):
        build("LicenseFees", **{missing: ZERO_ADDRESS})
