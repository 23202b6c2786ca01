"""Milestones: each a sum of its own, paid on a quorum's word by its deadline, or the buyer's again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.considerations import Milestone, MilestoneReached, MilestoneTerms, fees_domain
from usufruct_protocol.eip712 import typed_digest as hand_laid_digest

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.fees import (
    ATTESTERS,
    DAY,
    EVIDENCE,
    FEES,
    GOAL,
    Attestations,
    Deal,
    make_deal,
    milestone_terms,
    raw,
)
from tests.contracts.evm.world import World
from tests.contracts.wire import ZERO_ADDRESS, ZERO_HASH, account, keccak, sign, typed_digest
from tests.reference import considerations as reference

AMOUNTS = (500, 700)
NONE, HELD, RELEASED, REFUNDED = range(4)
STRANGER = account("no attester")


@dataclass(frozen=True)
class RawTerms:
    """Milestone terms that no careful drafter would sign; hashed by the reference."""

    milestones: tuple[Milestone, ...]
    attesters: tuple[bytes, ...]
    quorum: int

    def hash(self) -> bytes:
        plain = [(one.amount, one.deadline_s, one.description_hash) for one in self.milestones]
        return reference.milestones_hash(plain, self.attesters, self.quorum)


@pytest.fixture
def deal(world: World) -> Deal:
    """Two opened milestones, the first funded; the cooling-off time is over."""
    made = make_deal(world, milestones=milestone_terms(world, AMOUNTS))
    made.open_milestones()
    made.fund(0)
    made.after_cooling_off()
    return made


def deadline(deal: Deal, index: int = 0) -> int:
    assert deal.milestones is not None
    return deal.milestones.milestones[index].deadline_s


def stage(deal: Deal, index: int = 0) -> int:
    return int(deal.world.fees.milestone(deal.license_id, index).stage)


# -- the life of a milestone ---------------------------------------------------------------------------------


def test_a_funded_milestone_is_held_apart(deal: Deal) -> None:
    fees = deal.world.fees
    assert fees.milestone(deal.license_id, 0) == (AMOUNTS[0], deadline(deal), HELD)
    assert fees.milestone(deal.license_id, 1) == (0, 0, NONE)
    assert fees.held() == (0, AMOUNTS[0])
    assert deal.world.token.balanceOf(fees) == AMOUNTS[0]


@pytest.mark.parametrize("who", [(0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_any_quorum_releases_a_milestone(deal: Deal, who: tuple[int, ...]) -> None:
    deal.release(0, deal.attested(0, who))
    assert stage(deal) == RELEASED
    assert deal.world.splitter.income(deal.license_id) == AMOUNTS[0]
    assert deal.world.fees.held() == (0, 0)


def test_a_milestone_is_released_in_the_last_second_and_refunded_in_the_next(deal: Deal) -> None:
    deal.world.evm.at(deadline(deal))
    with deal.world.evm.undone():
        deal.release(0, deal.attested(0, (0, 1)))
    with pytest.raises(Reverted, match="LicenseFees_MilestoneRunning"):
        deal.refund(0)
    deal.world.evm.warp(1)
    with pytest.raises(Reverted, match="LicenseFees_MilestoneExpired"):
        deal.release(0, deal.attested(0, (0, 1)))
    deal.refund(0)
    assert (stage(deal), deal.world.token.balanceOf(GOAL)) == (REFUNDED, AMOUNTS[0])


def test_anybody_may_fund_but_the_buyer_gets_it_back(deal: Deal) -> None:
    stranger = deal.world.people.stranger
    deal.fund(1, payer=stranger)
    deal.world.evm.at(deadline(deal, 1) + 1)
    with pytest.raises(Reverted, match="LicenseFees_NotBuyer"):
        deal.refund(1, by=stranger, to=stranger)
    deal.refund(1)
    assert deal.world.token.balanceOf(GOAL) == AMOUNTS[1]


def test_a_buyer_who_cools_off_gets_milestones_back_at_once(world: World) -> None:
    deal = make_deal(world, milestones=milestone_terms(world, AMOUNTS))
    deal.open_milestones()
    deal.fund(0)
    deal.cool_off()
    with pytest.raises(Reverted, match="LicenseFees_CooledOff"):
        deal.fund(1)
    deal.after_cooling_off()
    with pytest.raises(Reverted, match="LicenseFees_CooledOff"):
        deal.release(0, deal.attested(0, (0, 1)))
    deal.refund(0)
    assert world.token.balanceOf(GOAL) == AMOUNTS[0]


def test_nothing_is_released_while_the_buyer_can_cool_off(world: World) -> None:
    deal = make_deal(world, milestones=milestone_terms(world, AMOUNTS))
    deal.open_milestones()
    deal.fund(0)
    world.evm.at(deal.ends_cooling_off - 1)
    with pytest.raises(Reverted, match="LicenseFees_CoolingOff"):
        deal.release(0, deal.attested(0, (0, 1)))
    deal.after_cooling_off()
    deal.release(0, deal.attested(0, (0, 1)))


def test_a_milestone_leaves_once(deal: Deal) -> None:
    deal.release(0, deal.attested(0, (0, 1)))
    for attempt in (
        lambda: deal.release(0, deal.attested(0, (0, 1))),
        lambda: deal.release(0, deal.attested(0, (1, 2), keccak(b"more")), keccak(b"more")),
        lambda: deal.refund(0),
    ):
        with pytest.raises(Reverted, match=f"LicenseFees_NotHeld.*{RELEASED}"):
            attempt()
    deal.world.evm.at(deadline(deal, 1) + 1)
    with pytest.raises(Reverted, match="LicenseFees_NotHeld"):
        deal.refund(0)


@pytest.mark.parametrize("end", ["held", "released", "refunded"])
def test_a_milestone_is_funded_once(deal: Deal, end: str) -> None:
    if end == "released":
        deal.release(0, deal.attested(0, (0, 1)))
    if end == "refunded":
        deal.world.evm.at(deadline(deal) + 1)
        deal.refund(0)
    with pytest.raises(Reverted, match="LicenseFees_AlreadyFunded"):
        deal.fund(0)


def test_milestone_money_never_pays_another_milestone_or_fee(world: World) -> None:
    """Everything that could mix does its worst around one held milestone, which stays whole."""
    kept = make_deal(world, milestones=milestone_terms(world, (10_000,)))
    kept.open_milestones()
    kept.fund(0)
    other = make_deal(world, upfront=1, milestones=milestone_terms(world, (2, 3)))
    other.open_milestones()
    other.fund(0)
    other.fund(1)
    other.cool_off()
    world.fees.refundUpfront(other.license_id, GOAL, sender=other.buyer)
    for index in (0, 1):
        other.refund(index)
        with pytest.raises(Reverted, match="LicenseFees_NotHeld"):
            other.refund(index)
    assert world.token.balanceOf(GOAL) == 1 + 2 + 3
    assert world.token.balanceOf(world.fees) == 10_000
    assert world.fees.held() == (0, 10_000)


def test_a_blocked_buyer_sends_the_refund_elsewhere(deal: Deal) -> None:
    deal.world.token.setBlocked(deal.buyer, True, sender=deal.world.people.stranger)
    deal.world.evm.at(deadline(deal) + 1)
    with pytest.raises(Reverted, match="TestUSDC_Blocked"):
        deal.refund(0, to=deal.buyer)
    deal.refund(0)
    assert deal.world.token.balanceOf(GOAL) == AMOUNTS[0]


def test_a_fee_on_transfer_is_refused_when_funding() -> None:
    world = World(Evm(), "FeeToken", (100,))
    deal = make_deal(world, milestones=milestone_terms(world, AMOUNTS))
    deal.open_milestones()
    with pytest.raises(Reverted, match="LicenseFees_WrongDelta"):
        deal.fund(0)


# -- opening -------------------------------------------------------------------------------------------------


def test_milestones_open_once_for_anybody_who_knows_them(world: World) -> None:
    deal = make_deal(world, milestones=milestone_terms(world, AMOUNTS))
    deal.open_milestones()
    assert deal.milestones is not None
    assert world.fees.milestonesHash(deal.license_id) == deal.milestones.hash()
    with pytest.raises(Reverted, match="LicenseFees_AlreadyOpened"):
        deal.open_milestones()


def test_only_the_accepted_offer_opens(world: World) -> None:
    """An offer of other terms, of another license, or never accepted has another hash."""
    generous = milestone_terms(world, (10**9,))
    deal = make_deal(world, milestones=milestone_terms(world, AMOUNTS))
    other = make_deal(world, milestones=generous)
    for offer in (other.offer, replace(deal.offer, milestones_hash=generous.hash()), world.offer()):
        with pytest.raises(Reverted, match="LicenseFees_WrongOffer"):
            world.fees.openMilestones(deal.license_id, offer, generous, sender=world.people.steward)
    with pytest.raises(Reverted, match="LicenseRegistry_UnknownLicense"):
        world.fees.openMilestones(99, deal.offer, deal.milestones, sender=world.people.steward)


@pytest.mark.parametrize("change", ["amount", "deadline", "attesters", "quorum", "fewer", "none agreed"])
def test_only_the_agreed_terms_open_and_are_used(world: World, change: str) -> None:
    terms = milestone_terms(world, AMOUNTS)
    deal = make_deal(world, milestones=None if change == "none agreed" else terms)
    first, *rest = terms.milestones
    other = {
        "amount": lambda: replace(terms, milestones=(replace(first, amount=1), *rest)),
        "deadline": lambda: replace(terms, milestones=(replace(first, deadline_s=2**48 - 1), *rest)),
        "attesters": lambda: replace(terms, attesters=(raw(STRANGER),), quorum=1),
        "quorum": lambda: replace(terms, quorum=1),
        "fewer": lambda: replace(terms, milestones=(first,)),
        "none agreed": lambda: terms,
    }[change]()
    with pytest.raises(Reverted, match="LicenseFees_WrongTerms"):
        replace(deal, milestones=other).open_milestones()
    with pytest.raises(Reverted, match="LicenseFees_NotOpened"):
        replace(deal, milestones=other).fund(0)
    with pytest.raises(Reverted, match="LicenseFees_NotOpened"):
        replace(deal, milestones=other).release(0, [])
    if change == "none agreed":
        return
    deal.open_milestones()
    deal.fund(0)
    deal.after_cooling_off()
    changed = replace(deal, milestones=other)
    for use in (lambda: changed.fund(0), lambda: changed.release(0, [])):
        with pytest.raises(Reverted, match="LicenseFees_WrongTerms"):
            use()


BAD_TERMS: dict[str, tuple[Callable[[MilestoneTerms, int], RawTerms], str]] = {
    "no milestone": (lambda good, _: RawTerms((), good.attesters, 2), "LicenseFees_BadMilestoneCount"),
    "too many": (
        lambda good, _: RawTerms(good.milestones[:1] * 256, good.attesters, 2),
        "LicenseFees_BadMilestoneCount",
    ),
    "deadline in the cooling-off time": (
        lambda good, end: RawTerms((Milestone(1, end - 1, ZERO_HASH),), good.attesters, 2),
        "LicenseFees_BadMilestone",
    ),
    "quorum 0": (lambda good, _: RawTerms(good.milestones, good.attesters, 0), "LicenseFees_BadQuorum"),
    "quorum above": (lambda good, _: RawTerms(good.milestones, good.attesters, 4), "LicenseFees_BadQuorum"),
    "nobody": (lambda good, _: RawTerms(good.milestones, (), 0), "LicenseFees_BadQuorum"),
    "twice the same": (
        lambda good, _: RawTerms(good.milestones, good.attesters[:1] * 2, 2),
        "LicenseFees_AttestersNotAscending",
    ),
    "descending": (
        lambda good, _: RawTerms(good.milestones, good.attesters[::-1], 2),
        "LicenseFees_AttestersNotAscending",
    ),
    "zero": (
        lambda good, _: RawTerms(good.milestones, (bytes(20), *good.attesters), 2),
        "LicenseFees_AttestersNotAscending",
    ),
}


@pytest.mark.parametrize("flaw", BAD_TERMS)
def test_terms_with_a_trap_cannot_be_opened(world: World, flaw: str) -> None:
    """Each would let too few people, or nobody, decide, or lock money in."""
    make, error = BAD_TERMS[flaw]
    cooled_off_at = world.evm.timestamp + 3 * DAY
    terms: Any = make(milestone_terms(world, AMOUNTS), cooled_off_at)
    deal = make_deal(world, milestones=terms)
    with pytest.raises(Reverted, match=error):
        deal.open_milestones()


def test_a_milestone_of_nothing_cannot_be_opened(world: World) -> None:
    good = milestone_terms(world, AMOUNTS)
    free = object.__new__(Milestone)
    for name, value in (("amount", 0), ("deadline_s", 2**48 - 1), ("description_hash", ZERO_HASH)):
        object.__setattr__(free, name, value)
    terms: Any = RawTerms((*good.milestones, free), good.attesters, 2)
    with pytest.raises(Reverted, match=r"LicenseFees_BadMilestone\(2\)"):
        make_deal(world, milestones=terms).open_milestones()


def test_a_deadline_at_the_end_of_the_cooling_off_time_leaves_one_second(world: World) -> None:
    end = world.evm.timestamp + 3 * DAY
    deal = make_deal(world, milestones=milestone_terms(world, milestones=(Milestone(5, end, ZERO_HASH),)))
    deal.open_milestones()
    deal.fund(0)
    world.evm.at(end)
    deal.release(0, deal.attested(0, (0, 1)))
    assert world.splitter.income(deal.license_id) == 5


def test_the_most_milestones_there_can_be_work_to_the_last(world: World) -> None:
    many = milestone_terms(world).milestones[:1] * 255
    deal = make_deal(world, milestones=milestone_terms(world, milestones=many))
    deal.open_milestones()
    deal.fund(254)
    deal.after_cooling_off()
    deal.release(254, deal.attested(254, (0, 1)))
    assert stage(deal, 254) == RELEASED


# -- refused -------------------------------------------------------------------------------------------------


def test_what_does_not_exist_is_neither_funded_nor_paid(deal: Deal) -> None:
    with pytest.raises(Reverted, match="LicenseFees_UnknownMilestone"):
        deal.fund(2)
    for index in (1, 2, 255):
        with pytest.raises(Reverted, match=f"LicenseFees_NotHeld.*{NONE}"):
            deal.release(index, deal.attested(index, (0, 1)))
        with pytest.raises(Reverted, match=f"LicenseFees_NotHeld.*{NONE}"):
            deal.refund(index)


def test_a_milestone_is_not_funded_after_its_deadline(deal: Deal) -> None:
    deal.world.evm.at(deadline(deal, 1))
    with deal.world.evm.undone():
        deal.fund(1)
    deal.world.evm.warp(1)
    with pytest.raises(Reverted, match="LicenseFees_MilestoneExpired"):
        deal.fund(1)


def test_only_the_buyer_takes_a_refund(deal: Deal) -> None:
    deal.world.evm.at(deadline(deal) + 1)
    people = deal.world.people
    for thief in (people.stranger, people.steward, people.admin, people.council, ATTESTERS[0]):
        with pytest.raises(Reverted, match="LicenseFees_NotBuyer"):
            deal.refund(0, by=thief, to=thief)
    with pytest.raises(Reverted, match="LicenseFees_ZeroAddress"):
        deal.world.fees.refundMilestone(deal.license_id, 0, ZERO_ADDRESS, sender=deal.buyer)


FORGERIES: dict[str, tuple[Callable[[Deal], Attestations], str]] = {
    "nobody": (lambda deal: [], "LicenseFees_NotEnoughAttestations"),
    "too few": (lambda deal: deal.attested(0, (1,)), "LicenseFees_NotEnoughAttestations"),
    "the same twice": (lambda deal: deal.attested(0, (1, 1)), "LicenseFees_AttestationOutOfOrder"),
    "descending": (lambda deal: deal.attested(0, (1, 0)), "LicenseFees_AttestationOutOfOrder"),
    "one more, twice": (lambda deal: deal.attested(0, (0, 1, 1)), "LicenseFees_AttestationOutOfOrder"),
    "no attester": (
        lambda deal: [*deal.attested(0, (0,)), (3, deal.attested(0, (1,))[0][1])],
        "LicenseFees_UnknownAttester",
    ),
    "somebody else's": (
        lambda deal: [*deal.attested(0, (0,)), (1, deal.attested(0, (2,))[0][1])],
        "LicenseFees_BadAttestation",
    ),
    "other milestone": (lambda deal: deal.attested(1, (0, 1)), "LicenseFees_BadAttestation"),
    "other evidence": (lambda deal: deal.attested(0, (0, 1), ZERO_HASH), "LicenseFees_BadAttestation"),
    "one of two evidences": (
        lambda deal: [*deal.attested(0, (0,)), *deal.attested(0, (1,), ZERO_HASH)],
        "LicenseFees_BadAttestation",
    ),
    "a bad one too many": (
        lambda deal: [*deal.attested(0, (0, 1)), (2, bytes(65))],
        "LicenseFees_BadAttestation",
    ),
    "empty": (lambda deal: [(0, b""), (1, b"")], "LicenseFees_BadAttestation"),
    "other license": (
        lambda deal: replace(deal, license_id=deal.license_id + 1).attested(0, (0, 1)),
        "LicenseFees_BadAttestation",
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_less_than_a_quorum_of_true_signatures_releases_nothing(deal: Deal, forgery: str) -> None:
    make, error = FORGERIES[forgery]
    with pytest.raises(Reverted, match=error):
        deal.release(0, make(deal))
    assert stage(deal) == HELD


def test_inv_33_an_attestation_counts_on_one_chain_and_contract(deal: Deal) -> None:
    values = (deal.license_id, 0, EVIDENCE)
    for chain_id, contract, domain in (
        (deal.world.evm.chain_id + 1, deal.world.fees.address, FEES),
        (deal.world.evm.chain_id, deal.world.registry.address, FEES),
        (deal.world.evm.chain_id, deal.world.fees.address, "Usufruct Licenses"),
    ):
        digest = typed_digest(domain, chain_id, contract, "MilestoneReached", values)
        forged = [(number, sign(ATTESTERS[number].key, digest).full) for number in (0, 1)]
        with pytest.raises(Reverted, match="LicenseFees_BadAttestation"):
            deal.release(0, forged)


@pytest.mark.parametrize("form", ["high_s", "compact"])
def test_inv_33_an_attestation_has_one_form(deal: Deal, form: str) -> None:
    digest = deal.world.fees.hashMilestoneReached(deal.license_id, 0, EVIDENCE)
    made = [sign(ATTESTERS[number].key, digest) for number in (0, 1)]
    forms = {"high_s": [one.high_s.full for one in made], "compact": [one.compact for one in made]}[form]
    with pytest.raises(Reverted, match="LicenseFees_BadAttestation"):
        deal.release(0, list(enumerate(forms)))


def test_an_attester_that_is_a_contract_signs_by_erc_1271(world: World) -> None:
    owner = account("owner of an attesting wallet")
    wallet = world.evm.deploy("ContractWallet", owner, sender=owner)
    deal = make_deal(world, milestones=milestone_terms(world, AMOUNTS, attesters=(raw(wallet),), quorum=1))
    deal.open_milestones()
    deal.fund(0)
    deal.after_cooling_off()
    digest = world.fees.hashMilestoneReached(deal.license_id, 0, EVIDENCE)
    with pytest.raises(Reverted, match="LicenseFees_BadAttestation"):
        deal.release(0, [(0, sign(STRANGER.key, digest).full)])
    deal.release(0, [(0, sign(owner.key, digest).full)])
    assert stage(deal) == RELEASED


# -- hashes --------------------------------------------------------------------------------------------------

uint48s = st.one_of(st.integers(0, 2**48 - 1), st.just(2**48 - 1))
hashes = st.binary(min_size=32, max_size=32)


@given(st.integers(0, 2**32 - 1), st.integers(0, 255), hashes)
def test_the_digest_of_an_attestation_is_the_same_three_ways(
    shared_world: World, license_id: int, index: int, evidence: bytes
) -> None:
    fees, chain_id = shared_world.fees, shared_world.evm.chain_id
    expected = typed_digest(FEES, chain_id, fees.address, "MilestoneReached", (license_id, index, evidence))
    assert fees.hashMilestoneReached(license_id, index, evidence) == expected
    by_hand = MilestoneReached(license_id, index, evidence).struct_hash()
    assert hand_laid_digest(fees_domain(chain_id, raw(fees)), by_hand) == expected


@given(
    st.lists(st.tuples(st.integers(1, 2**96 - 1), uint48s, hashes), min_size=1, max_size=5),
    st.sets(
        st.integers(1, 2**160 - 1).map(lambda number: number.to_bytes(20, "big")), min_size=1, max_size=5
    ),
    st.data(),
)
def test_terms_hash_in_python_as_in_the_general_encoder(
    milestones: list[tuple[int, int, bytes]], attesters: set[bytes], data: st.DataObject
) -> None:
    quorum = data.draw(st.integers(1, len(attesters)))
    terms = MilestoneTerms(tuple(Milestone(*one) for one in milestones), tuple(sorted(attesters)), quorum)
    assert terms.hash() == reference.milestones_hash(milestones, sorted(attesters), quorum)
