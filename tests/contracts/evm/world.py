"""The whole contract set on one chain, with the people who use it, and the common path as one-liners."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from eth_hash.auto import keccak
from usufruct_chain import contract_set
from usufruct_chain.artifacts import CONTRACTS
from usufruct_chain.roles import COUNCIL_ROLE, GUARDIAN_ROLE
from usufruct_protocol.report_types import EpochReport, ReportLine
from usufruct_protocol.terms import LaneRegistration, LicenseOffer

from tests.contracts.evm.chain import Contract, Evm, Receipt
from tests.contracts.system import (
    DISPUTE_SECONDS,
    EPOCH_SECONDS,
    FLOORS,
    FOREVER,
    MERGE_DELAY_SECONDS,
    NOTE_MINIMUM,
    TEMPLATE,
    People,
    committee_of,
    system_config,
)
from tests.contracts.trees import RawTree
from tests.contracts.wire import (
    LICENSES,
    ZERO_HASH,
    Account,
    authorization_nonce,
    quorum_blob,
    sign,
    typed_digest,
)

RECEIVE = "ReceiveWithAuthorization"
NO_NOTES = RawTree([])

__all__ = [
    "COUNCIL_ROLE",
    "DISPUTE_SECONDS",
    "EPOCH_SECONDS",
    "FLOORS",
    "FOREVER",
    "GUARDIAN_ROLE",
    "MERGE_DELAY_SECONDS",
    "NOTE_MINIMUM",
    "TEMPLATE",
    "People",
    "World",
    "committee_of",
]


class World:
    """A deployed, wired set of contracts with approved template and floors.

    Each contract is an attribute under its place in artifacts.CONTRACTS: `world.registry`,
    `world.challenges`, `world.license_bonds` …; `world.manager` is the AccessManager, where `people.admin`
    stays admin.
    """

    people = People

    def __init__(
        self, evm: Evm, token: str = "TestUSDC", token_args: tuple[Any, ...] = (), *, signer_count: int = 4
    ) -> None:
        self.evm = evm
        self.offers_made = 0
        for name in (*CONTRACTS, token):
            evm.know(name)
        self.token = evm.deploy(token, *token_args, sender=self.people.stranger)
        self.genesis = evm.timestamp
        signers = committee_of(signer_count)
        self.config = system_config(self.token.address, signers, self.genesis)
        self._deploy()
        self.signers = {self.committee.latestVersion(): signers}
        self._grant_roles()
        for place, function, arguments in contract_set.first_settings(self.config):
            getattr(getattr(self, place), function)(*arguments, sender=self.people.council)

    @property
    def contracts(self) -> dict[str, Contract]:
        """Every contract of the set by its name, in the order of deployment."""
        return {name: getattr(self, place) for name, place in CONTRACTS.items()}

    def _deploy(self) -> None:
        admin = self.people.admin
        at = contract_set.predicted(self.config, lambda ahead: self.evm.next_address(admin, ahead))
        for name, place in CONTRACTS.items():
            arguments = contract_set.constructor_arguments(name, self.config, at, admin.address)
            contract = self.evm.deploy(name, *arguments.values(), sender=admin)
            assert contract.address == at[place]
            setattr(self, place, contract)
        self.manager = self.access_manager

    def _grant_roles(self) -> None:
        admin = self.people.admin
        for grant in contract_set.grants():
            target = getattr(self, grant.place)
            selectors = [target.selector(name) for name in grant.functions]
            self.manager.setTargetFunctionRole(target, selectors, grant.role, sender=admin)
        self.manager.grantRole(COUNCIL_ROLE, self.people.council, 0, sender=admin)
        self.manager.grantRole(GUARDIAN_ROLE, self.people.guardian, 0, sender=admin)

    # -- licenses and money in ------------------------------------------------------------------------------

    def offer(self, **changes: Any) -> LicenseOffer:
        """Return an acceptable offer from steward to buyer; fields may be changed by name."""
        self.offers_made += 1
        plain = LicenseOffer(
            steward=_bytes(self.people.steward),
            buyer=_bytes(self.people.buyer),
            template_hash=TEMPLATE,
            document_hash=keccak(b"document"),
            collection_hash=keccak(b"collection"),
            token=_bytes(self.token),
            meter_kind=0,
            price_per_million_units=1_000_000,
            upfront_fee=0,
            max_charge_per_epoch=10**12,
            usage_bond=0,
            contributors_bps=7_000,
            community_bps=1_000,
            steward_bps=1_000,
            platform_bps=500,
            operators_bps=500,
            milestones_hash=ZERO_HASH,
            royalty_hash=ZERO_HASH,
            starts_at=self.evm.timestamp,
            ends_at=self.evm.timestamp + 365 * 86_400,
            cooling_off_seconds=3 * 86_400,
            notice_seconds=30 * 86_400,
            nonce=self.offers_made,
            deadline=self.evm.timestamp + 86_400,
        )
        return replace(plain, **changes)

    def sign_offer(self, offer: LicenseOffer, steward: Account | None = None) -> bytes:
        """Return the steward's signature of an offer."""
        digest = typed_digest(LICENSES, self.evm.chain_id, self.registry.address, "LicenseOffer", offer)
        return sign((steward or self.people.steward).key, digest).full

    def accept(
        self, *, buyer: Account | Contract | None = None, steward: Account | None = None, **changes: Any
    ) -> int:
        """Offer and accept a license; returns its id. A buyer that is a contract acts for itself."""
        buyer, steward = buyer or self.people.buyer, steward or self.people.steward
        offer = self.offer(buyer=_bytes(buyer), steward=_bytes(steward), **changes)
        signature = self.sign_offer(offer, steward)
        if isinstance(buyer, Account):
            return int(self.registry.accept(offer, signature, sender=buyer).value)
        call = self.registry.calldata("accept", offer, signature)
        return int.from_bytes(buyer.act(self.registry, call, sender=self.people.stranger).value, "big")

    def lane(self, license_id: int, key: Account, **changes: Any) -> LaneRegistration:
        """Return a lane registration; fields may be changed by name."""
        plain = LaneRegistration(_bytes(key), license_id, self.evm.timestamp * 1_000, FOREVER, 10**18)
        return replace(plain, **changes)

    def sign_lane(self, registration: LaneRegistration, key: Account) -> bytes:
        """Return the lane key's own signature."""
        digest = typed_digest(
            LICENSES, self.evm.chain_id, self.registry.address, "LaneRegistration", registration
        )
        return sign(key.key, digest).full

    def deposit(self, license_id: int, amount: int, payer: Account | None = None) -> Receipt:
        """Mint, approve and deposit."""
        payer = payer or self.people.buyer
        self.token.mint(payer, amount, sender=payer)
        self.token.approve(self.escrow, amount, sender=payer)
        receipt: Receipt = self.escrow.deposit(license_id, amount, sender=payer)
        return receipt

    def authorization(
        self, license_id: int, payer: Account, amount: int, salt: bytes, *, kind: str = RECEIVE
    ) -> tuple[int, bytes, bytes]:
        """Return v, r, s of an EIP-3009 authorization of the escrow, valid for ever."""
        nonce = authorization_nonce(license_id, salt)
        values = (payer.address, self.escrow.address, amount, 0, FOREVER, nonce)
        digest = typed_digest("USD Coin", self.evm.chain_id, self.token.address, kind, values, version="2")
        made = sign(payer.key, digest)
        return made.v, made.r, made.s

    # -- reports --------------------------------------------------------------------------------------------

    def report(
        self, lines: Iterable[tuple[int, int, int]] = (), notes: RawTree = NO_NOTES, **changes: Any
    ) -> EpochReport:
        """Return the next acceptable report; lines are (license, cumulative units, charge)."""
        state = self.settlement.state()
        epoch = state.lastEpoch + 1
        cutoff = self.evm.number - 1
        plain = EpochReport(
            epoch=epoch,
            attempt=state.nextAttempt,
            previous_report_hash=self.settlement.reportHash(state.lastEpoch),
            period_end=state.lastPeriodEnd + EPOCH_SECONDS,
            cutoff_block=cutoff,
            cutoff_block_hash=self.evm.block_hash(cutoff),
            signer_set_version=self.committee.versionFor(epoch),
            rule_version=1,
            lanes_root=keccak(b"lanes"),
            lane_count=1,
            notes_root=notes.root,
            notes_total=notes.total,
            note_count=notes.count,
            reserve_root=ZERO_HASH,
            reserve_total=0,
            reserve_count=0,
            consent_root=self.consent_log.accumulatorAt(cutoff),
            roster_hash=keccak(b"rosters"),
            bundle_hash=keccak(b"bundle"),
            lines=tuple(ReportLine(*line) for line in lines),
        )
        return replace(plain, **changes)

    def report_digest(self, report: EpochReport) -> bytes:
        """Return what the committee signs; asked from the contract, whose hash other tests check."""
        return keccak(b"\x19\x01" + self.settlement.domainSeparator() + self.settlement.hashReport(report))

    def sign_report(self, report: EpochReport, indices: Sequence[int] | None = None) -> bytes:
        """Return a quorum's signatures (by the first k signers unless told otherwise)."""
        signers = self.signers[report.signer_set_version]
        if indices is None:
            indices = range(self.committee.threshold(len(signers)))
        return quorum_blob(self.report_digest(report), signers, indices)

    def until(self, timestamp_s: int) -> None:
        """Let time pass up to a moment, if it is still ahead; always mines one block."""
        self.evm.at(max(timestamp_s, self.evm.timestamp + 1))

    def submit(self, report: EpochReport) -> Receipt:
        """Submit with a quorum's signatures."""
        signatures = self.sign_report(report)
        receipt: Receipt = self.settlement.submit(report, signatures, sender=self.people.stranger)
        return receipt

    def post(
        self, lines: Iterable[tuple[int, int, int]] = (), notes: RawTree = NO_NOTES, **changes: Any
    ) -> EpochReport:
        """Wait for the period to end, then build and submit the next report."""
        self.until(self.settlement.state().lastPeriodEnd + EPOCH_SECONDS)
        report = self.report(lines, notes, **changes)
        self.submit(report)
        return report

    def settle(
        self, lines: Iterable[tuple[int, int, int]] = (), notes: RawTree = NO_NOTES, **changes: Any
    ) -> EpochReport:
        """Post the next report, let its window pass, and finalize it."""
        report = self.post(lines, notes, **changes)
        self.until(self.settlement.state().finalizableAt)
        self.settlement.finalize(report, sender=self.people.stranger)
        return report

    def fill_pool(self, amount: int) -> int:
        """Charge a fresh license of one pure contributors' split until the pool has grown by `amount`."""
        self.registry.setFloors(0, 0, sender=self.people.council)
        license_id = self.accept(
            contributors_bps=10_000, community_bps=0, steward_bps=0, platform_bps=0, operators_bps=0,
            max_charge_per_epoch=2**96 - 1,
        )  # fmt: skip
        self.registry.setFloors(*FLOORS, sender=self.people.council)
        self.deposit(license_id, amount)
        self.settle([(license_id, amount, amount)])
        return license_id

    def issue(self, tree: RawTree, **changes: Any) -> int:
        """Finalize an epoch that issues this tree from the pool; returns its tree id."""
        return 2 * self.settle(notes=tree, **changes).epoch


def _bytes(who: Account | Contract) -> bytes:
    return bytes.fromhex(who.address[2:])
