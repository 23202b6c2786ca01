"""A dev chain with everything deployed and somebody in every role: what the chain tests start from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from usufruct_chain import calls, signatures
from usufruct_chain.contracts import Contracts
from usufruct_chain.deploy import deploy
from usufruct_chain.deploy_config import DeployConfig
from usufruct_chain.deployment_check import open_contracts
from usufruct_chain.onchain import Block
from usufruct_chain.reader import Reader
from usufruct_chain.sender import Sender
from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.report_types import EpochReport, ReportLine
from usufruct_protocol.signing import LocalSigner, address_of, checksum_address, parse_address
from usufruct_protocol.sumtree import NoteTree
from usufruct_protocol.terms import LaneRegistration, LicenseOffer
from web3.logs import DISCARD

from scripts.devchain import Anvil, dev_key

GENESIS_S = 1_700_000_000
EPOCH_S = 86_400
WINDOW_S = 3_600
MERGE_DELAY_S = 7_200
NOTE_MINIMUM = 10
TEMPLATE = bytes([7] * 32)
USDC = 10**6


@dataclass
class World:
    """One deployment on one dev chain. Times on chain move only when a test moves them."""

    chain: Anvil
    contracts: Contracts
    config: DeployConfig
    reader: Reader
    roles: dict[str, Sender] = field(default_factory=dict)
    nonces: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))

    def sender(self, role: str) -> Sender:
        """The account of a role: deployer, council, guardian, steward, buyer, anyone."""
        return self.roles[role]

    def signer_keys(self) -> list[bytes]:
        """Keys of the committee in the order of its table."""
        return sorted(SIGNER_KEYS, key=address_of)

    def offer(self, **changes: object) -> LicenseOffer:
        """An offer of the steward to the buyer: 2 USDC per million inferences, 70/10/10/5/5."""
        plain = LicenseOffer(
            steward=parse_address(self.sender("steward").address),
            buyer=parse_address(self.sender("buyer").address),
            template_hash=TEMPLATE,
            document_hash=bytes([1] * 32),
            collection_hash=bytes([2] * 32),
            token=parse_address(self.contracts.deployment.token),
            meter_kind=int(MeterKind.INFERENCE),
            price_per_million_units=2 * USDC,
            upfront_fee=0,
            max_charge_per_epoch=100 * USDC,
            usage_bond=0,
            contributors_bps=7_000,
            community_bps=1_000,
            steward_bps=1_000,
            platform_bps=500,
            operators_bps=500,
            milestones_hash=bytes(32),
            royalty_hash=bytes(32),
            starts_at=GENESIS_S,
            ends_at=GENESIS_S + 365 * EPOCH_S,
            cooling_off_seconds=0,
            notice_seconds=EPOCH_S,
            nonce=next(self.nonces),
            deadline=GENESIS_S + 365 * EPOCH_S,
        )
        return replace(plain, **changes)  # type: ignore[arg-type]

    def accept(self, offer: LicenseOffer | None = None) -> int:
        """The buyer accepts an offer that the steward signed; returns the license id."""
        offer = self.offer() if offer is None else offer
        signature = signatures.sign_offer(self.contracts.deployment, offer, dev_key(0, "steward"))
        receipt = self.sender("buyer").send(calls.accept_offer(self.contracts, offer, signature))
        accepted = self.contracts.registry.events.LicenseAccepted()
        (event,) = accepted.process_receipt(receipt, errors=DISCARD)  # a fee or a bond says things of its own
        return int(event["args"]["licenseId"])

    def register_lane(self, license_id: int, number: int, **changes: object) -> LaneRegistration:
        """The buyer registers the lane of `dev_key(number, "lane")`, valid for a year from genesis."""
        key = dev_key(number, "lane")
        plain = LaneRegistration(
            lane=address_of(key),
            license_id=license_id,
            valid_from=GENESIS_S * 1000,
            valid_to=(GENESIS_S + 365 * EPOCH_S) * 1000,
            unit_cap=10**12,
        )
        registration = replace(plain, **changes)  # type: ignore[arg-type]
        signature = signatures.sign_lane(self.contracts.deployment, registration, key)
        self.sender("buyer").send(calls.register_lane(self.contracts, registration, signature))
        return registration

    def deposit(self, license_id: int, amount: int, salt: bytes = bytes(32)) -> None:
        """The buyer signs an EIP-3009 deposit and somebody else carries it."""
        token = self.contracts.token.functions
        self.sender("anyone").send(token.mint(self.sender("buyer").address, amount))
        call = calls.deposit_with_authorization(self.contracts, license_id, dev_key(0, "buyer"), amount, salt)
        self.sender("anyone").send(call)

    def close_epoch(self, epoch: int) -> Block:
        """Move chain time past the end of an epoch; returns the cut-off block."""
        period_end_s = GENESIS_S + epoch * EPOCH_S
        if self.chain.now() < period_end_s:
            self.chain.advance_to(period_end_s)
        state = self.reader.settlement_state(self.reader.head().hash)
        found = self.reader.find_cutoff(period_end_s, 0, state.last_finalized_block, 0)
        assert found is not None
        return found

    def report(
        self,
        cutoff: Block,
        attempt: int = 0,
        lines: tuple[ReportLine, ...] = (),
        notes: NoteTree | None = None,
    ) -> EpochReport:
        """A report of the open epoch that promises these notes and no reserve."""
        state = self.reader.read(cutoff.hash)
        tree = NoteTree(()) if notes is None else notes
        return EpochReport(
            epoch=state.epoch,
            attempt=attempt,
            previous_report_hash=state.previous_report_hash,
            period_end=state.period_end_s,
            cutoff_block=state.cutoff_block,
            cutoff_block_hash=state.cutoff_block_hash,
            signer_set_version=state.signer_set_version,
            rule_version=1,
            lanes_root=bytes(32),
            lane_count=len(state.lanes),
            notes_root=tree.root,
            notes_total=tree.total,
            note_count=tree.count,
            reserve_root=bytes(32),
            reserve_total=0,
            reserve_count=0,
            consent_root=state.consent_root,
            roster_hash=bytes(32),
            bundle_hash=bytes([9] * 32),
            lines=lines,
        )

    def sign(self, report: EpochReport, *indexes: int) -> dict[int, bytes]:
        """Signatures of some committee members, by index."""
        keys = self.signer_keys()
        return {
            index: signatures.sign_report(self.contracts.deployment, report, keys[index]) for index in indexes
        }

    def settle(self, report: EpochReport) -> None:
        """Submit a report with three signatures, let its window pass, finalize it."""
        anyone = self.sender("anyone")
        anyone.send(calls.submit_report(self.contracts, report, self.sign(report, 0, 1, 2)))
        self.chain.advance_to(self.chain.now() + WINDOW_S)
        anyone.send(calls.finalize_report(self.contracts, report))


SIGNER_KEYS = [dev_key(number, "signer") for number in range(4)]
ROLES = ("deployer", "council", "guardian", "steward", "buyer", "anyone")


def world_config() -> DeployConfig:
    """What every test world is deployed with."""

    def address(purpose: str, number: int = 0) -> str:
        return checksum_address(address_of(dev_key(number, purpose)))

    return DeployConfig(
        council=address("council"),
        guardian=address("guardian"),
        signers=tuple(checksum_address(address_of(key)) for key in SIGNER_KEYS),
        community=address("community"),
        platform=address("platform"),
        operators=address("operators"),
        custodian=address("custodian"),
        remediation_fund=address("remediation fund"),
        genesis_s=GENESIS_S,
        epoch_seconds=EPOCH_S,
        dispute_window_seconds=WINDOW_S,
        note_minimum=NOTE_MINIMUM,
        max_merge_delay_seconds=MERGE_DELAY_S,
        floor_contributors_bps=5_000,
        floor_community_bps=500,
        templates=(TEMPLATE,),
    )


@contextmanager
def world(**chain_options: object) -> Iterator[World]:
    """A fresh chain at genesis time with everything deployed and every role able to pay gas."""
    options = {"timestamp": GENESIS_S, **chain_options}
    with Anvil(**options) as chain:  # type: ignore[arg-type]
        roles = {role: Sender(chain.w3, LocalSigner(dev_key(0, role))) for role in ROLES}
        chain.set_balance([sender.address for sender in roles.values()])
        config = world_config()
        deployment = deploy(roles["deployer"], config)
        contracts = open_contracts(chain.w3, deployment)
        yield World(chain, contracts, config, Reader(contracts), roles)


@contextmanager
def unchanged(made: World) -> Iterator[World]:
    """Whatever happens inside is undone on chain afterwards."""
    snapshot = made.chain.snapshot()
    try:
        yield made
    finally:
        made.chain.revert(snapshot)


__all__ = ["World", "unchanged", "world", "world_config"]
