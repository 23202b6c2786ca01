"""The deployed contracts and the people who use them; each test starts from the same chain."""

from __future__ import annotations

import gc
import time
from dataclasses import replace

import brownie
import pytest
from brownie import Contract, TestUSDC, chain
from usufruct_chain import contract_set
from usufruct_chain.artifacts import CONTRACTS, of_place
from usufruct_chain.roles import COUNCIL_ROLE, GUARDIAN_ROLE
from usufruct_protocol.terms import LaneRegistration, LicenseOffer
from web3.exceptions import TransactionNotFound

from tests.contracts.functional.scene import Gateway, Nodes, now
from tests.contracts.system import FOREVER, TEMPLATE, committee_of, system_config
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


@pytest.fixture(scope="session", autouse=True)
def quick_collection():
    """Brownie collects garbage at every undo, half a second each; what a session begins with is none."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def patient_lookup():
    """A busy dev chain counts a transaction a moment before it can show it; Brownie would call it dropped."""

    def patient(look_up):
        def found(transaction_hash):
            for _ in range(600):
                try:
                    return look_up(transaction_hash)
                except TransactionNotFound:
                    time.sleep(0.05)
            return look_up(transaction_hash)

        return found

    eth = brownie.web3.eth
    eth.get_transaction = patient(eth.get_transaction)
    eth.get_transaction_receipt = patient(eth.get_transaction_receipt)


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
challenger = role("challenger")
answerer = role("answerer")


@pytest.fixture(scope="session")
def signers():
    """Four oracle signers, by ascending address as the committee wants them."""
    return committee_of(4)


# -- contracts ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def token(admin):
    """A USDC-like token, deployed first: the others are wired to it for good."""
    return TestUSDC.deploy({"from": admin})


@pytest.fixture(scope="module")
def config(token, signers):
    """What is deployed."""
    return system_config(token.address, signers, now())


@pytest.fixture(scope="module")
def deployed(admin, council, guardian, config):
    """Every contract by its place, wired, with the council's and the guardian's rights; see contract_set."""
    at = contract_set.predicted(config, lambda ahead: admin.get_deployment_address(admin.nonce + ahead))
    found = {}
    for name, place in CONTRACTS.items():
        arguments = contract_set.constructor_arguments(name, config, at, admin.address)
        found[place] = deploy(name, arguments.values(), admin)
        assert found[place].address == at[place]
    manager = found["access_manager"]
    for grant in contract_set.grants():
        target = found[grant.place]
        selectors = [target.signatures[name] for name in grant.functions]
        manager.setTargetFunctionRole(target, selectors, grant.role, {"from": admin})
    manager.grantRole(COUNCIL_ROLE, council, 0, {"from": admin})
    manager.grantRole(GUARDIAN_ROLE, guardian, 0, {"from": admin})
    for place, function, arguments in contract_set.first_settings(config):
        getattr(found[place], function)(*arguments, {"from": council})
    return found


def deploy(name, arguments, admin):
    """Deploy what Brownie compiled; what it did not compile, from the artifact that ships."""
    if hasattr(brownie, name):
        return getattr(brownie, name).deploy(*arguments, {"from": admin})
    artifact = of_place(name)
    encoded = brownie.web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode).constructor(*arguments)
    created = admin.transfer(data=encoded.data_in_transaction)
    return Contract.from_abi(name, created.contract_address, artifact.abi)


@pytest.fixture
def build(deployed, config, admin):
    """Deploys another contract of a kind, told what the first one was but for arguments changed by name."""
    at = {place: contract.address for place, contract in deployed.items()}

    def built(name, **changes):
        arguments = contract_set.constructor_arguments(name, config, at, admin.address)
        assert changes.keys() <= arguments.keys()
        return deploy(name, (arguments | changes).values(), admin)

    return built


def place(name):
    """A fixture of one contract of the set."""

    @pytest.fixture(scope="module", name=name)
    def contract(deployed):
        return deployed[name]

    return contract


registry = place("registry")
committee = place("committee")
escrow = place("escrow")
splitter = place("splitter")
settlement = place("settlement")
wind_down = place("wind_down")
consent_log = place("consent_log")
anchors = place("anchors")
license_bonds = place("license_bonds")
operator_bonds = place("operator_bonds")
challenges = place("challenges")
disputes = place("disputes")
fees = place("fees")
duties = place("duties")
credits = place("credits")
council_register = place("council_register")


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
def allow(token):
    """Mints to somebody, who lets a contract pull it."""

    def allowed(payer, spender, amount):
        token.mint(payer, amount, {"from": payer})
        token.approve(spender, amount, {"from": payer})

    return allowed


@pytest.fixture
def fund(allow, escrow, buyer):
    """Mints to the buyer, approves and deposits."""

    def funded(license_id, amount):
        allow(buyer, escrow, amount)
        return escrow.deposit(license_id, amount, {"from": buyer})

    return funded


@pytest.fixture
def accept_bonded(accept, allow, registry, license_bonds, buyer):
    """Accepts the offer with a usage bond; returns the license."""

    def accepted(bond, **changes):
        allow(buyer, license_bonds, bond)
        accept(usage_bond=bond, **changes)
        return registry.licenseCount()

    return accepted


@pytest.fixture
def gateway(register_lane, settlement):
    """Registers a lane by the name of its key, valid for ever; returns its gateway."""

    def registered(license_id, name="gateway", unit_cap=10**18, **changes):
        key = account(name)
        terms = {"valid_from": 0, "valid_to": FOREVER, "unit_cap": unit_cap} | changes
        made = register_lane(license_id, key=key.key, lane=bytes.fromhex(key.address[2:]), **terms)
        number = made.events["LaneRegistered"]["laneNumber"]
        return Gateway(key, bytes(settlement.domainSeparator()), number)

    return registered


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
