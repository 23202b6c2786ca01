"""Read a deployment back from the chain and compare it with what it should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from usufruct_protocol.errors import ConfigInvalid, ContractRejected, UsufructError
from usufruct_protocol.signing import checksum_address
from web3 import Web3

from usufruct_chain import artifacts, contract_set
from usufruct_chain.abi import selector_of, topic_of
from usufruct_chain.artifacts import CONTRACTS, PLACES
from usufruct_chain.connection import check_chain_id
from usufruct_chain.contracts import Contracts
from usufruct_chain.deployment import Deployment
from usufruct_chain.reader import Reader
from usufruct_chain.roles import ADMIN_ROLE, COUNCIL_ROLE, FUNCTION_ROLES, GUARDIAN_ROLE, ROLE_NAMES
from usufruct_chain.rpc import Rpc, data, hexed
from usufruct_chain.views import ViewCall

if TYPE_CHECKING:
    from usufruct_chain.deploy_config import DeployConfig

Expectation = tuple[str, ViewCall, Any]
"""What is read, the call that reads it, and what it must answer."""

FIXED_PARTIES = ((2, "platform"), (3, "operators"))
"""Numbers and names of the parties that are the same for every license."""


def open_contracts(w3: Web3, deployment: Deployment) -> Contracts:
    """Return the contracts of a deployment, once it is sure that they are there and belong together.

    Raises: ConfigInvalid if the endpoint serves another chain, an address holds no contract, or the contracts
    are not wired to each other as the deployment says, naming what differs; Transient.
    """
    check_chain_id(w3, deployment.chain_id)
    contracts = Contracts(w3, deployment)
    _require_code(Rpc(w3), deployment)
    _require(
        _differences(contracts, _wiring(contracts)),
        "the contracts on chain are not those of the deployment file",
    )
    return contracts


def verify(contracts: Contracts, config: DeployConfig, deployer: str, from_block: int) -> None:
    """Compare a new deployment with its config: wiring, parameters, and who holds which power.

    `from_block` is the block of the AccessManager: role events are read from there on.
    Raises: ConfigInvalid naming everything that differs.
    """
    config = config.checked(deployer)
    _require_code(Rpc(contracts.w3), contracts.deployment)
    expected = [*_wiring(contracts), *_parameters(contracts, config), *_function_roles(contracts)]
    differences = [
        *_code_differences(contracts, config, deployer),
        *_differences(contracts, expected),
        *_holder_differences(contracts, config, deployer, from_block),
    ]
    _require(differences, "the deployment is not what was asked for")


def _require_code(rpc: Rpc, deployment: Deployment) -> None:
    named = [(name, getattr(deployment, name)) for name in PLACES.values()]
    names, addresses = zip(*((name, address) for name, address in named if address), strict=True)
    codes = rpc.batch([("eth_getCode", (address, "latest")) for address in addresses])
    missing = [
        f"{name} {address}"
        for name, address, code in zip(names, addresses, codes, strict=True)
        if not data(code)
    ]
    if missing:
        raise ConfigInvalid(
            f"no contract on chain {deployment.chain_id} at: {', '.join(missing)}",
            hint="the deployment file is another chain's, or the endpoint is not fully synchronized",
        )


def _code_differences(contracts: Contracts, config: DeployConfig, deployer: str) -> list[str]:
    at = contracts.deployment.content()
    found = (
        code_difference(contracts.w3, name, config, at, deployer) for name in contract_set.chosen(config)
    )
    return [difference for difference in found if difference]


def code_difference(
    w3: Web3, name: str, config: DeployConfig, at: Mapping[str, str], deployer: str
) -> str | None:
    """Say how the code of a contract is not what its creation gives, immutables and all; None if it is.

    The contract is created once more by a call at its own address: the creation code with its arguments
    stands in for the code there, over empty storage; what the call returns is the code a creation leaves.
    Raises: Incompatible if the endpoint takes no state overrides in calls; Transient.
    """
    rpc, address, artifact = Rpc(w3), at[PLACES[name]], artifacts.of_place(name)
    arguments = contract_set.constructor_arguments(name, config, at, deployer)
    factory = w3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
    creation = str(factory.constructor(*arguments.values()).data_in_transaction)
    call, override = {"from": deployer, "to": address}, {address: {"code": creation, "state": {}}}
    created, code = rpc.outcomes(
        [("eth_call", (call, "latest", override)), ("eth_getCode", (address, "latest"))]
    )
    for outcome in (created, code):
        if isinstance(outcome, UsufructError) and not isinstance(outcome, ContractRejected):
            raise outcome
    if isinstance(created, ContractRejected):
        return f"{name} cannot be created as asked ({created})"
    return None if data(created) == data(code) else f"the code at {address} is not that of {name} as asked"


def _wiring(contracts: Contracts) -> list[Expectation]:
    """Every address that is fixed for ever, and the clock: all that the deployment file knows."""
    return _stated(contracts, {name: value for name, value in asdict(contracts.deployment).items() if value})


def _parameters(contracts: Contracts, config: DeployConfig) -> list[Expectation]:
    """Everything that the config names, as it stands before the first report."""
    views = contracts.views
    beneficiaries = [
        (f"RoyaltySplitter.beneficiary({name})", views.splitter.beneficiary(1, party), getattr(config, name))
        for party, name in FIXED_PARTIES
    ]
    templates = [
        (
            f"LicenseRegistry.templateApproved({hexed(template)})",
            views.registry.templateApproved(template),
            True,
        )
        for template in config.templates
    ]
    floors = (config.floor_contributors_bps, config.floor_community_bps)
    # lastEpoch, lastPeriodEnd, lastFinalizedBlock, finalizableAt, nextAttempt, rejections, pending
    first_state = (0, config.genesis_s, 0, 0, 0, 0, False)
    return [
        *_stated(contracts, contract_set.everything_known(config, contracts.deployment.content())),
        *beneficiaries,
        *templates,
        ("LicenseRegistry.floors", views.registry.floors(), floors),
        ("OracleCommittee.latestVersion", views.committee.latestVersion(), 1),
        ("OracleCommittee.signersOf(1)", views.committee.signersOf(1), (config.signers, 1)),
        (
            "UsageSettlement.checksCutoffBlock",
            views.settlement.checksCutoffBlock(),
            config.checks_cutoff_block,
        ),
        ("UsageSettlement.state", views.settlement.state(), first_state),
    ]


def _stated(contracts: Contracts, known: dict[str, Any]) -> list[Expectation]:
    """What every contract was told by its constructor and tells again."""
    expected: list[Expectation] = []
    for name, place in PLACES.items():
        if getattr(contracts.deployment, place):
            views = getattr(contracts.views, place)
            expected += [
                (f"{name}.{getter}", getattr(views, getter)(), value)
                for getter, value in contract_set.stated(name, known)
                if getter in views
            ]
    return expected


def _function_roles(contracts: Contracts) -> list[Expectation]:
    """The role of every function that can change anything, and that no contract is closed."""
    manager, at = contracts.views.access_manager, contracts.deployment
    expected: list[Expectation] = []
    for name, functions in FUNCTION_ROLES.items():
        target = getattr(at, CONTRACTS[name])
        for entry in artifacts.load(name).abi:
            if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure"):
                role = functions.get(entry["name"], ADMIN_ROLE)
                call = manager.getTargetFunctionRole(target, selector_of(entry))
                expected.append((f"the role of {name}.{entry['name']}", call, role))
        expected.append((f"whether {name} is closed", manager.isTargetClosed(target), False))
    for role in (COUNCIL_ROLE, GUARDIAN_ROLE):
        expected.append((f"the admin of role {ROLE_NAMES[role]}", manager.getRoleAdmin(role), ADMIN_ROLE))
    return expected


def _holder_differences(
    contracts: Contracts, config: DeployConfig, deployer: str, from_block: int
) -> list[str]:
    """Compare who holds each role, by all grants and revocations there ever were, with who should."""
    found = _holders(contracts, from_block)
    council = contract_set.everything_known(config, contracts.deployment.content())["council"]
    wanted = {ADMIN_ROLE: {council}, COUNCIL_ROLE: {council}, GUARDIAN_ROLE: {config.guardian}}
    differences = []
    for role in sorted(found.keys() | wanted.keys()):
        holders, expected = found.get(role, set()), wanted.get(role, set())
        if holders != expected:
            note = " (the deployer among them)" if deployer in holders else ""
            name = ROLE_NAMES.get(role, str(role))
            differences.append(f"role {name} is held by {sorted(holders)}{note}, expected {sorted(expected)}")
    return differences


def _holders(contracts: Contracts, from_block: int) -> dict[int, set[str]]:
    events = {
        entry["name"]: topic_of(entry)
        for entry in artifacts.load("AccessManager").abi
        if entry["type"] == "event"
    }
    granted, revoked = events["RoleGranted"], events["RoleRevoked"]
    wanted = {
        "address": contracts.deployment.access_manager,
        "topics": [[hexed(granted), hexed(revoked)]],
        "fromBlock": hex(from_block),
        "toBlock": "latest",
    }
    holders: dict[int, set[str]] = {}
    for log in Rpc(contracts.w3).request("eth_getLogs", wanted):
        topic, role, account = (data(item, 32) for item in log["topics"])
        members = holders.setdefault(int.from_bytes(role, "big"), set())
        address = checksum_address(account[12:])
        if topic == granted:
            members.add(address)
        else:
            members.discard(address)
    return holders


def _differences(contracts: Contracts, expected: list[Expectation]) -> list[str]:
    found = Reader(contracts).query([call for _, call, _ in expected])
    return [
        f"{what} is {answer}, expected {wanted}"
        for (what, _, wanted), answer in zip(expected, found, strict=True)
        if _comparable(answer) != _comparable(wanted)
    ]


def _comparable(value: Any) -> Any:
    """Addresses regardless of case, tuples by their items."""
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, (tuple, list)):
        return tuple(_comparable(item) for item in value)
    return value


def _require(differences: list[str], problem: str) -> None:
    if differences:
        raise ConfigInvalid(f"{problem}: {'; '.join(differences)}")
