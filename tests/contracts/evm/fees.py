"""Licenses that cost something besides their use, and what their parties sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from usufruct_protocol.considerations import (
    AuditCorrection,
    Milestone,
    MilestoneTerms,
    RevenueStatement,
    RoyaltyTerms,
)
from usufruct_protocol.terms import LicenseOffer

from tests.contracts.evm.chain import Contract, Receipt
from tests.contracts.evm.world import World
from tests.contracts.wire import ZERO_HASH, Account, account, keccak, sign, typed_digest

FEES = "Usufruct Fees"
DAY = 86_400
QUARTER = 90 * DAY
COOLING_OFF = 3 * DAY
NOBODY = bytes(20)
AUDITOR = account("auditor")
ATTESTERS = sorted(
    (account(f"attester {number}") for number in range(3)), key=lambda one: int(one.address, 16)
)
GOAL = account("where the buyer wants it back")
EVIDENCE = keccak(b"evidence")

Attestations = list[tuple[int, bytes]]


def raw(who: Account | Contract) -> bytes:
    """An address as bytes."""
    return bytes.fromhex(who.address[2:])


def milestone_terms(world: World, amounts: Sequence[int] = (500, 700), **changes: Any) -> MilestoneTerms:
    """Milestones due 100, 200 … days from now, attested by two of three."""
    now = world.evm.timestamp
    milestones = tuple(
        Milestone(amount, now + 100 * DAY * (number + 1), keccak(bytes([number])))
        for number, amount in enumerate(amounts)
    )
    plain = {"milestones": milestones, "attesters": tuple(map(raw, ATTESTERS)), "quorum": 2}
    return MilestoneTerms(**{**plain, **changes})


def royalty_terms(world: World, **changes: Any) -> RoyaltyTerms:
    """A twentieth of the revenue per quarter, 30 days to pay, 1.5 % a quarter for being late."""
    plain = {
        "revenue_bps": 500,
        "first_period_end_s": world.evm.timestamp + QUARTER,
        "period_seconds": QUARTER,
        "grace_seconds": 30 * DAY,
        "late_penalty_bps": 150,
        "auditor": raw(AUDITOR),
    }
    return RoyaltyTerms(**{**plain, **changes})


@dataclass
class Deal:
    """One accepted license with what its offer says and what that stands for."""

    world: World
    offer: LicenseOffer
    license_id: int
    milestones: MilestoneTerms | None
    royalty: RoyaltyTerms | None

    @property
    def buyer(self) -> Account:
        return self.world.people.buyer

    @property
    def ends_cooling_off(self) -> int:
        """First second in which the buyer cannot cool off."""
        found = self.world.registry.license(self.license_id)
        return int(found.acceptedAt + found.coolingOffSeconds)

    def after_cooling_off(self) -> None:
        """Let the cooling-off time pass."""
        self.world.until(self.ends_cooling_off)

    def cool_off(self) -> None:
        """The buyer leaves."""
        self.world.registry.coolOff(self.license_id, sender=self.buyer)

    # -- milestones -----------------------------------------------------------------------------------------

    def open_milestones(self) -> Receipt:
        receipt: Receipt = self.world.fees.openMilestones(
            self.license_id, self.offer, self.milestones, sender=self.world.people.stranger
        )
        return receipt

    def fund(self, index: int, payer: Account | None = None) -> Receipt:
        """Mint, approve and put a milestone's amount in."""
        assert self.milestones is not None
        payer = payer or self.buyer
        if index < len(self.milestones.milestones):
            approve(self.world, payer, self.milestones.milestones[index].amount)
        receipt: Receipt = self.world.fees.fundMilestone(
            self.license_id, index, self.milestones, sender=payer
        )
        return receipt

    def attested(self, index: int, who: Sequence[int], evidence: bytes = EVIDENCE) -> Attestations:
        """Attesters' signatures that a milestone was reached."""
        values = (self.license_id, index, evidence)
        digest = typed_digest(
            FEES, self.world.evm.chain_id, self.world.fees.address, "MilestoneReached", values
        )
        return [(number, sign(ATTESTERS[number].key, digest).full) for number in who]

    def release(self, index: int, attestations: Attestations, evidence: bytes = EVIDENCE) -> Receipt:
        receipt: Receipt = self.world.fees.releaseMilestone(
            self.license_id, index, evidence, self.milestones, attestations, sender=self.world.people.stranger
        )
        return receipt

    def refund(self, index: int, by: Account | None = None, to: Account = GOAL) -> Receipt:
        receipt: Receipt = self.world.fees.refundMilestone(
            self.license_id, index, to, sender=by or self.buyer
        )
        return receipt

    # -- royalty --------------------------------------------------------------------------------------------

    def open_royalty(self) -> Receipt:
        receipt: Receipt = self.world.fees.openRoyalty(
            self.license_id, self.offer, self.royalty, sender=self.world.people.stranger
        )
        return receipt

    def after_period(self, period: int, late_s: int = 0) -> None:
        """Let a period end, and its grace too if a lateness is given."""
        assert self.royalty is not None
        end = self.royalty.payable_until_s(period) + late_s if late_s else self.royalty.period_end_s(period)
        self.world.evm.at(max(end, self.world.evm.timestamp))

    def statement(self, period: int, revenue: int) -> RevenueStatement:
        return RevenueStatement(self.license_id, period, revenue, keccak(b"statement"))

    def signed(self, struct: RevenueStatement | AuditCorrection, by: Account | None = None) -> bytes:
        """A statement signed by the buyer, or a correction by the auditor."""
        name = type(struct).__name__
        digest = typed_digest(FEES, self.world.evm.chain_id, self.world.fees.address, name, struct)
        return sign((by or (self.buyer if name == "RevenueStatement" else AUDITOR)).key, digest).full

    def state(self, period: int, revenue: int) -> Receipt:
        """The buyer declares."""
        receipt: Receipt = self.world.fees.stateRevenue(
            self.statement(period, revenue), b"", sender=self.buyer
        )
        return receipt

    def correction(self, period: int, revenue: int, revision: int = 1) -> AuditCorrection:
        return AuditCorrection(self.license_id, period, revenue, revision, keccak(b"finding"))

    def correct(self, period: int, revenue: int, revision: int = 1) -> Receipt:
        """Somebody carries the auditor's finding."""
        found = self.correction(period, revenue, revision)
        receipt: Receipt = self.world.fees.correctRevenue(
            found, AUDITOR, self.signed(found), sender=self.world.people.stranger
        )
        return receipt

    def owed(self, period: int) -> tuple[int, int]:
        """Royalty and penalty that paying a period off takes now."""
        royalty, penalty = self.world.fees.royaltyOwed(self.license_id, period)
        return int(royalty), int(penalty)

    def pay(self, period: int, royalty: int, payer: Account | None = None) -> Receipt:
        """Mint, approve and pay a part of a period's royalty."""
        payer = payer or self.buyer
        approve(self.world, payer, 2 * royalty)
        receipt: Receipt = self.world.fees.payRoyalty(self.license_id, period, royalty, sender=payer)
        return receipt


def approve(world: World, payer: Account, amount: int) -> None:
    """Give somebody money that the fees may pull."""
    world.token.mint(payer, amount, sender=payer)
    world.token.approve(world.fees, amount, sender=payer)


def make_deal(
    world: World,
    *,
    upfront: int = 0,
    milestones: MilestoneTerms | None = None,
    royalty: RoyaltyTerms | None = None,
    **changes: Any,
) -> Deal:
    """Offer and accept a license with these considerations; nothing is opened yet."""
    offer = world.offer(
        upfront_fee=upfront,
        milestones_hash=milestones.hash() if milestones else ZERO_HASH,
        royalty_hash=royalty.hash() if royalty else ZERO_HASH,
        **changes,
    )
    approve(world, world.people.buyer, upfront)
    made = world.registry.accept(offer, world.sign_offer(offer), sender=world.people.buyer)
    return Deal(world, offer, int(made.value), milestones, royalty)
