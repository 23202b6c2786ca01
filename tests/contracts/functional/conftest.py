"""The deployed contracts and the people who use them; each test starts from the same chain."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from pathlib import Path

import pytest
from brownie import (
    Contract,
    LicenseRegistry,
    OracleCommittee,
    RoyaltyEscrow,
    RoyaltySplitter,
    TestUSDC,
    UsageSettlement,
    chain,
)
from usufruct_protocol.terms import LaneRegistration, LicenseOffer

from tests.contracts.functional.scene import (
    COUNCIL_ROLE,
    DISPUTE_SECONDS,
    EPOCH_SECONDS,
    FLOORS,
    FOREVER,
    GUARDIAN_ROLE,
    MERGE_DELAY_SECONDS,
    NOTE_MINIMUM,
    TEMPLATE,
    Nodes,
    now,
)
from tests.contracts.wire import (
    LICENSES,
    ZERO_HASH,
    account,
    as_abi,
    authorization_nonce,
    keccak,
    sign,
    typed_digest,
)

ARTIFACTS = Path(__file__).resolve().parents[3] / "protocol" / "usufruct_chain" / "artifacts"


@pytest.fixture(scope="session", autouse=True)
def quick_collection():
    """Brownie collects garbage at every undo, half a second each; what a session begins with is none."""
    gc.freeze()


@pytest.fixture(autouse=True)
def isolation(fn_isolation):
    """Undo each test."""


# -- people -------------------------------------------------------------------------------------------------


def role(name):
    """A fixture of one person's unlocked account."""

    @pytest.fixture(scope="session", name=name)
    def person(accounts):
        return accounts.add(account(name).key)

    return person


admin = role("admin")
council = role("council")
guardian = role("guardian")
steward = role("steward")
buyer = role("buyer")
stranger = role("stranger")
community = role("community")
platform = role("platform")
operators = role("operators")
custodian = role("custodian")
payee = role("payee")


@pytest.fixture(scope="session")
def signers():
    """Four oracle signers, by ascending address as the committee wants them."""
    made = (account(f"signer {number}") for number in range(4))
    return sorted(made, key=lambda signer: int(signer.address, 16))


# -- contracts ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def token(admin):
    """A USDC-like token, deployed first: the others are wired to it for good."""
    return TestUSDC.deploy({"from": admin})


@pytest.fixture(scope="module")
def manager(admin):
    """OpenZeppelin's AccessManager, from the artifact that ships."""
    artifact = json.loads((ARTIFACTS / "AccessManager.json").read_text())
    created = admin.transfer(data=artifact["bytecode"] + "00" * 12 + admin.address[2:])
    return Contract.from_abi("AccessManager", created.contract_address, artifact["abi"])


@pytest.fixture(scope="module")
def deployed(admin, council, guardian, token, manager, signers, community, platform, operators, custodian):
    """All five, on predicted addresses, with the council's and the guardian's rights."""
    escrow, splitter, settlement = (admin.get_deployment_address(admin.nonce + ahead) for ahead in (2, 3, 4))
    registry = LicenseRegistry.deploy(manager, token, {"from": admin})
    committee = OracleCommittee.deploy(manager, settlement, [who.address for who in signers], {"from": admin})
    parties = (community, platform, operators, custodian)
    found = {
        "registry": registry,
        "committee": committee,
        "escrow": RoyaltyEscrow.deploy(
            token, registry, settlement, splitter, MERGE_DELAY_SECONDS, {"from": admin}
        ),
        "splitter": RoyaltySplitter.deploy(token, registry, escrow, settlement, parties, {"from": admin}),
        "settlement": UsageSettlement.deploy(
            manager,
            committee,
            escrow,
            splitter,
            now(),
            EPOCH_SECONDS,
            DISPUTE_SECONDS,
            NOTE_MINIMUM,
            True,
            {"from": admin},
        ),
    }
    grant(manager, admin, COUNCIL_ROLE, council, registry, ["setTemplate", "setFloors"])
    grant(manager, admin, COUNCIL_ROLE, council, committee, ["rotate"])
    governed = ["setDisputeWindow", "setNoteMinimum", "rejectByCouncil"]
    grant(manager, admin, COUNCIL_ROLE, council, found["settlement"], governed)
    grant(manager, admin, GUARDIAN_ROLE, guardian, found["settlement"], ["reject"])
    registry.setTemplate(TEMPLATE, True, {"from": council})
    registry.setFloors(*FLOORS, {"from": council})
    return found


def grant(manager, admin, role_id, holder, target, names):
    """Let a role call functions of a contract."""
    selectors = [target.signatures[name] for name in names]
    manager.setTargetFunctionRole(target, selectors, role_id, {"from": admin})
    manager.grantRole(role_id, holder, 0, {"from": admin})


@pytest.fixture(scope="module")
def registry(deployed):
    return deployed["registry"]


@pytest.fixture(scope="module")
def committee(deployed):
    return deployed["committee"]


@pytest.fixture(scope="module")
def escrow(deployed):
    return deployed["escrow"]


@pytest.fixture(scope="module")
def splitter(deployed):
    return deployed["splitter"]


@pytest.fixture(scope="module")
def settlement(deployed):
    return deployed["settlement"]


# -- what people do -----------------------------------------------------------------------------------------


@pytest.fixture
def offer(steward, buyer, token):
    """An acceptable offer; `replace(offer, …)` changes a term."""
    today = now()
    return LicenseOffer(
        steward=bytes.fromhex(steward.address[2:]),
        buyer=bytes.fromhex(buyer.address[2:]),
        template_hash=TEMPLATE,
        document_hash=keccak(b"document"),
        collection_hash=keccak(b"collection"),
        token=bytes.fromhex(token.address[2:]),
        meter_kind=1,
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
        starts_at=today,
        ends_at=today + 365 * 86_400,
        cooling_off_seconds=3 * 86_400,
        notice_seconds=30 * 86_400,
        nonce=1,
        deadline=today + 86_400,
    )


@pytest.fixture
def signed_offer(registry):
    """Signs an offer, as the steward unless told otherwise."""

    def signed(terms, by="steward"):
        return sign(
            account(by).key, typed_digest(LICENSES, chain.id, registry.address, "LicenseOffer", terms)
        ).full

    return signed


@pytest.fixture
def accept(registry, offer, signed_offer, buyer):
    """Accepts the offer with changed terms; returns the transaction."""

    def accepted(**changes):
        terms = replace(offer, **changes)
        return registry.accept(as_abi(terms), signed_offer(terms), {"from": buyer})

    return accepted


@pytest.fixture
def license_id(accept, registry):
    """An accepted license at one base unit per unit."""
    accept()
    return registry.licenseCount()


@pytest.fixture
def register_lane(registry, buyer):
    """Registers the key called `lane`; terms, signer and caller may be changed."""
    lane = account("lane")

    def registered(license_id, caller=buyer, key=lane.key, **changes):
        terms = LaneRegistration(bytes.fromhex(lane.address[2:]), license_id, 1_000, 2_000, 500)
        terms = replace(terms, **changes)
        signature = sign(key, typed_digest(LICENSES, chain.id, registry.address, "LaneRegistration", terms))
        return registry.registerLane(as_abi(terms), signature.full, {"from": caller})

    return registered


@pytest.fixture
def fund(token, escrow, buyer):
    """Mints to the buyer, approves and deposits."""

    def funded(license_id, amount):
        token.mint(buyer, amount, {"from": buyer})
        token.approve(escrow, amount, {"from": buyer})
        return escrow.deposit(license_id, amount, {"from": buyer})

    return funded


@pytest.fixture
def authorize(token, escrow, buyer):
    """Signs an EIP-3009 authorization of the buyer to the escrow; returns v, r, s."""

    def authorized(license_id, amount, salt, valid_after=0, valid_before=FOREVER):
        nonce = authorization_nonce(license_id, salt)
        values = (buyer.address, escrow.address, amount, valid_after, valid_before, nonce)
        digest = typed_digest(
            "USD Coin", chain.id, token.address, "ReceiveWithAuthorization", values, version="2"
        )
        made = sign(account("buyer").key, digest)
        return made.v, made.r, made.s

    return authorized


@pytest.fixture
def nodes(settlement, committee, signers, stranger):
    """The oracle nodes, who post through somebody without any rights."""
    return Nodes(settlement, committee, signers, stranger)
