"""A dev chain with contracts, licenses, rosters, lanes and funded escrow: all that a first call needs.

Everyone's keys are computed from names (`devchain.dev_key`), so a run repeats to the byte: dev chains only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from usufruct_chain import calls
from usufruct_chain.connection import connect
from usufruct_chain.contracts import Contracts
from usufruct_chain.deploy import deploy
from usufruct_chain.deploy_config import DeployConfig
from usufruct_chain.deployment import Deployment
from usufruct_chain.reader import Reader
from usufruct_chain.sender import Sender
from usufruct_chain.signatures import sign_offer
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.new_lane import LaneOptions, create_lane, sign_registration
from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.money import SplitBps
from usufruct_protocol.roster import Roster
from usufruct_protocol.signing import LocalSigner, address_of, checksum_address, parse_address
from usufruct_protocol.terms import LicenseOffer

from scripts.devchain import Anvil, dev_key
from scripts.people import Collection

NODES: Final = 4
TEMPLATE: Final = keccak256(b"usufruct dev template")
DOCUMENT: Final = keccak256(b"usufruct dev license text")
SECONDS_PER_DAY: Final = 86_400
LICENSE_DAYS: Final = 3_650
# What vouches for others: a bond per license, in epochs at its cap, and one per operator in base units.
BOND_EPOCHS: Final = 2
OPERATOR_BOND: Final = 1_000_000_000

DEPLOYER, STEWARD, BUYER, RELAYER = range(4)
FIRST_SIGNER: Final = 4


@dataclass(frozen=True, slots=True)
class Clock:
    """Chain time of a deployment, in seconds. Epoch e ends at `genesis_s + e * epoch_seconds`."""

    genesis_s: int
    epoch_seconds: int
    dispute_window_seconds: int


@dataclass(frozen=True, slots=True)
class LicensePlan:
    """One license to offer and accept. Money in base units; `lanes` gateways meter for it."""

    name: str
    meter: MeterKind
    price_per_million_units: int
    max_charge_per_epoch: int
    split_bps: SplitBps
    collection: Collection
    lanes: int
    deposit_base_units: int


@dataclass(frozen=True, slots=True)
class License:
    """An accepted license: its number, its roster and the folder with its lanes."""

    license_id: int
    plan: LicensePlan
    roster: Roster
    lane_folder: Path
    lanes: tuple[LaneFile, ...]


class World:
    """One deployment on one dev chain, and everyone who acts on it. Made by `found_world`."""

    def __init__(self, chain: Anvil, deployment: Deployment, folder: Path) -> None:
        self.chain = chain
        self.deployment = deployment
        self.folder = folder
        self.licenses: tuple[License, ...] = ()
        self.minted_base_units = 0

    @cached_property
    def contracts(self) -> Contracts:
        """The contracts, over a connection of this object's own."""
        return Contracts(connect(self.chain.rpc_url), self.deployment)

    @cached_property
    def reader(self) -> Reader:
        """Reads of the deployment."""
        return Reader(self.contracts)

    @cached_property
    def relayer(self) -> Sender:
        """An account that may send what anyone may."""
        return Sender(self.contracts.w3, LocalSigner(self.chain.keys[RELAYER]))

    @cached_property
    def buyer(self) -> Sender:
        """The account that accepts the licenses and owns the lanes."""
        return Sender(self.contracts.w3, LocalSigner(self.chain.keys[BUYER]))

    @property
    def signer_keys(self) -> list[bytes]:
        """The committee's keys in the order of its table on chain (ascending addresses)."""
        return sorted(self.chain.keys[FIRST_SIGNER : FIRST_SIGNER + NODES], key=address_of)

    @property
    def deployment_file(self) -> Path:
        """Where nodes read the addresses from."""
        return self.folder / "deployment.json"

    def usage_bond(self, plan: LicensePlan) -> int:
        """What a license's buyer posts at acceptance, in base units."""
        return BOND_EPOCHS * plan.max_charge_per_epoch

    def approve(self, owner: Sender, spender: str, amount_base_units: int) -> None:
        """Mint to somebody and let a contract pull it."""
        deployer, token = (
            Sender(self.contracts.w3, LocalSigner(self.chain.keys[DEPLOYER])),
            self.contracts.token.functions,
        )
        deployer.send(token.mint(owner.address, amount_base_units))
        owner.send(token.approve(spender, amount_base_units))
        self.minted_base_units += amount_base_units

    def fund(self, license_id: int, amount_base_units: int, salt: str) -> None:
        """Mint to the buyer and move it into a license's escrow by EIP-3009; the relayer carries it."""
        deployer = Sender(self.contracts.w3, LocalSigner(self.chain.keys[DEPLOYER]))
        deployer.send(self.contracts.token.functions.mint(self.buyer.address, amount_base_units))
        self.minted_base_units += amount_base_units
        self.relayer.send(
            calls.deposit_with_authorization(
                self.contracts,
                license_id,
                self.chain.keys[BUYER],
                amount_base_units,
                keccak256(salt.encode("utf-8")),
            )
        )


def found_world(
    chain: Anvil,
    clock: Clock,
    plans: Sequence[LicensePlan],
    note_minimum: int,
    node_urls: Sequence[str],
    folder: Path,
) -> World:
    """Deploy on a running chain and bring every license to the point where its first call can be metered."""
    deployment = deploy(
        Sender(connect(chain.rpc_url), LocalSigner(chain.keys[DEPLOYER])), _config(chain, clock, note_minimum)
    )
    world = World(chain, deployment, folder)
    deployment.save(world.deployment_file)
    _post_operator_bonds(world)
    world.approve(world.buyer, deployment.license_bonds, sum(world.usage_bond(plan) for plan in plans))
    world.licenses = tuple(
        _found_license(world, number, plan, node_urls) for number, plan in enumerate(plans, start=1)
    )
    return world


def _config(chain: Anvil, clock: Clock, note_minimum: int) -> DeployConfig:
    signers = chain.keys[FIRST_SIGNER : FIRST_SIGNER + NODES]
    return DeployConfig(
        council=_address_named("council"),
        guardian=_address_named("guardian"),
        signers=tuple(checksum_address(address_of(key)) for key in signers),
        community=_address_named("community"),
        platform=_address_named("platform"),
        operators=_address_named("operators"),
        custodian=_address_named("custodian"),
        remediation_fund=_address_named("remediation fund"),
        genesis_s=clock.genesis_s,
        epoch_seconds=clock.epoch_seconds,
        dispute_window_seconds=clock.dispute_window_seconds,
        note_minimum=note_minimum,
        max_merge_delay_seconds=clock.epoch_seconds,
        floor_contributors_bps=5_000,
        floor_community_bps=500,
        templates=(TEMPLATE,),
        bond_epochs=BOND_EPOCHS,
        minimum_bond=OPERATOR_BOND,
    )


def _post_operator_bonds(world: World) -> None:
    world.approve(world.relayer, world.deployment.operator_bonds, NODES * OPERATOR_BOND)
    for key in world.signer_keys:
        signer = checksum_address(address_of(key))
        world.relayer.send(world.contracts.operator_bonds.functions.deposit(signer, OPERATOR_BOND))


def _found_license(world: World, number: int, plan: LicensePlan, node_urls: Sequence[str]) -> License:
    steward = Sender(world.contracts.w3, LocalSigner(world.chain.keys[STEWARD]))
    offer = _offer(world, number, plan)
    signature = sign_offer(world.deployment, offer, world.chain.keys[STEWARD])
    world.buyer.send(calls.accept_offer(world.contracts, offer, signature))
    roster = plan.collection.roster()
    steward.send(calls.set_roster(world.contracts, number, roster.root))
    lane_folder = world.folder / "lanes" / str(number)
    lanes = tuple(_register_lane(world, number, place, node_urls, lane_folder) for place in range(plan.lanes))
    if plan.deposit_base_units:
        world.fund(number, plan.deposit_base_units, f"first deposit of license {number}")
    return License(number, plan, roster, lane_folder, lanes)


def _offer(world: World, number: int, plan: LicensePlan) -> LicenseOffer:
    now_s = world.reader.head().timestamp_s
    split = plan.split_bps
    return LicenseOffer(
        steward=address_of(world.chain.keys[STEWARD]),
        buyer=address_of(world.chain.keys[BUYER]),
        template_hash=TEMPLATE,
        document_hash=DOCUMENT,
        collection_hash=plan.collection.hash,
        token=parse_address(world.deployment.token),
        meter_kind=int(plan.meter),
        price_per_million_units=plan.price_per_million_units,
        upfront_fee=0,
        max_charge_per_epoch=plan.max_charge_per_epoch,
        usage_bond=world.usage_bond(plan),
        contributors_bps=split.contributors,
        community_bps=split.community,
        steward_bps=split.steward,
        platform_bps=split.platform,
        operators_bps=split.operators,
        milestones_hash=bytes(32),
        royalty_hash=bytes(32),
        starts_at=now_s,
        ends_at=now_s + LICENSE_DAYS * SECONDS_PER_DAY,
        cooling_off_seconds=0,
        notice_seconds=30 * SECONDS_PER_DAY,
        nonce=number,
        deadline=now_s + SECONDS_PER_DAY,
    )


def _register_lane(
    world: World, license_id: int, place: int, node_urls: Sequence[str], folder: Path
) -> LaneFile:
    deployment = world.deployment
    options = LaneOptions(
        license_id=license_id,
        chain_id=deployment.chain_id,
        settlement=parse_address(deployment.settlement),
        genesis_s=deployment.genesis_s,
        epoch_seconds=deployment.epoch_seconds,
        nodes=node_urls,
    )
    key = dev_key(place, f"lane of license {license_id}")
    lane = create_lane(folder, options, name=f"lane-{place}", private_key=key)
    registration, signature = sign_registration(lane, parse_address(deployment.registry))
    world.buyer.send(calls.register_lane(world.contracts, registration, signature))
    return lane


def _address_named(name: str) -> str:
    return checksum_address(address_of(dev_key(0, name)))
