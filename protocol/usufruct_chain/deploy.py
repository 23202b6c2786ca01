"""Deploy the contracts, wire them, and hand every power over.

The contracts know each other by constructor immutables, so their addresses are predicted from the deployer's
nonces. Roles are wired and handed over in one transaction. Afterwards `deployment_check.verify` reads
everything back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from eth_typing import ChecksumAddress
from usufruct_protocol.errors import ConfigInvalid, InputRejected, InvariantBroken
from usufruct_protocol.signing import ZERO_ADDRESS, checksum_address, parse_address
from web3.contract import Contract
from web3.types import Nonce
from web3.utils import get_create_address

from usufruct_chain import artifacts
from usufruct_chain.abi import selector_of
from usufruct_chain.contracts import Contracts
from usufruct_chain.deployment import Deployment
from usufruct_chain.deployment_check import verify
from usufruct_chain.roles import ADMIN_ROLE, COUNCIL_ROLE, FUNCTION_ROLES, GUARDIAN_ROLE, ROLE_NAMES
from usufruct_chain.rpc import Rpc, quantity
from usufruct_chain.sender import Sender

DEV_CLIENTS: Final = ("anvil", "hardhat")


@dataclass(frozen=True, slots=True)
class DeployConfig:
    """What a deployment is asked to be. Addresses are text; money in base units; times in seconds.

    `council` gets every administrative role (a timelock, in production), `guardian` may reject pending
    reports; the deployer keeps nothing, so it can be neither. `signers` are the first committee, in any
    order: the table on chain is ascending, and a signer's index is its place there. Without `token` a test
    token that anyone can mint is deployed, on dev chains only. `checks_cutoff_block` is off only where block
    numbers are another chain's. `templates` and the floors are the council's first settings, made before the
    hand-over.
    """

    council: str
    guardian: str
    signers: tuple[str, ...]
    community: str
    platform: str
    operators: str
    custodian: str
    genesis_s: int
    epoch_seconds: int
    dispute_window_seconds: int
    note_minimum: int
    max_merge_delay_seconds: int
    token: str | None = None
    checks_cutoff_block: bool = True
    floor_contributors_bps: int = 0
    floor_community_bps: int = 0
    templates: tuple[bytes, ...] = ()

    def checked(self, deployer: str) -> DeployConfig:
        """Return it with EIP-55 addresses and ascending signers. Raises: ConfigInvalid naming the field."""
        names = ["council", "guardian", "community", "platform", "operators", "custodian"]
        if self.token is not None:
            names.append("token")
        addresses: dict[str, Any] = {name: _address(name, getattr(self, name)) for name in names}
        for name in ("council", "guardian"):
            if addresses[name] == deployer:
                raise ConfigInvalid(f"{name} is the deployer {deployer}, which must not keep any role")
        signers = sorted({_address("signers", signer) for signer in self.signers}, key=str.lower)
        if len(signers) != len(self.signers):
            raise ConfigInvalid(f"signers name {len(self.signers) - len(signers)} address(es) twice")
        return replace(self, signers=tuple(signers), **addresses)


def deploy(sender: Sender, config: DeployConfig) -> Deployment:
    """Deploy all contracts and return where they are, once everything is read back and as asked.

    It takes nine transactions or so. One that fails leaves contracts that nothing refers to: deploy again.
    Raises: ConfigInvalid if the config is unsafe, or what was deployed differs from it; ContractRejected if a
    contract refuses its settings; Transient.
    """
    config = config.checked(sender.address)
    rpc = Rpc(sender.w3)
    if config.token is None:
        config = replace(config, token=_deploy_test_token(sender, rpc))
    first_nonce = sender.next_nonce()
    at = {
        name: str(get_create_address(ChecksumAddress(sender.address), Nonce(first_nonce + place)))  # type: ignore[arg-type]
        for place, name in enumerate(artifacts.CONTRACTS)
    }
    blocks = [
        _deploy_one(sender, name, at[name], arguments)
        for name, arguments in _constructor_arguments(config, sender.address, at).items()
    ]
    assert config.token is not None
    deployment = Deployment(
        chain_id=quantity(rpc.request("eth_chainId")),
        token=config.token,
        access_manager=at["AccessManager"],
        registry=at["LicenseRegistry"],
        committee=at["OracleCommittee"],
        escrow=at["RoyaltyEscrow"],
        splitter=at["RoyaltySplitter"],
        settlement=at["UsageSettlement"],
        genesis_s=config.genesis_s,
        epoch_seconds=config.epoch_seconds,
        deployed_block=blocks[-1],
    )
    contracts = Contracts(sender.w3, deployment)
    _set_first_parameters(sender, contracts, config)
    manager = contracts.access_manager
    sender.send(manager.functions.multicall(_role_calls(manager, at, config, sender.address)))
    verify(contracts, config, sender.address, from_block=blocks[0])
    return deployment


def _constructor_arguments(
    config: DeployConfig, deployer: str, at: dict[str, str]
) -> dict[str, tuple[Any, ...]]:
    """Arguments of each constructor, in the order of deployment: what one reads is there before it."""
    token, authority, settlement = config.token, at["AccessManager"], at["UsageSettlement"]
    beneficiaries = (config.community, config.platform, config.operators, config.custodian)
    return {
        "AccessManager": (deployer,),
        "LicenseRegistry": (authority, token),
        "OracleCommittee": (authority, settlement, list(config.signers)),
        "RoyaltyEscrow": (
            token,
            at["LicenseRegistry"],
            settlement,
            at["RoyaltySplitter"],
            config.max_merge_delay_seconds,
        ),
        "RoyaltySplitter": (token, at["LicenseRegistry"], at["RoyaltyEscrow"], settlement, beneficiaries),
        "UsageSettlement": (
            authority,
            at["OracleCommittee"],
            at["RoyaltyEscrow"],
            at["RoyaltySplitter"],
            config.genesis_s,
            config.epoch_seconds,
            config.dispute_window_seconds,
            config.note_minimum,
            config.checks_cutoff_block,
        ),
    }


def _deploy_one(sender: Sender, name: str, expected: str, arguments: tuple[Any, ...]) -> int:
    """Deploy one contract where it was predicted; returns its block number."""
    receipt = sender.deploy(artifacts.load(name), *arguments)
    if receipt["contractAddress"] != expected:
        raise InvariantBroken(
            f"{name} was deployed at {receipt['contractAddress']}, the others expect it at {expected}",
            hint="another process uses the deployer's key: deploy again with a key of its own",
        )
    return int(receipt["blockNumber"])


def _deploy_test_token(sender: Sender, rpc: Rpc) -> str:
    client = str(rpc.request("web3_clientVersion")).lower()
    if not client.startswith(DEV_CLIENTS):
        raise ConfigInvalid(
            f"no token is named, and {client.split('/')[0]} is not a dev chain",
            hint="name the ERC-20 token that licenses are paid in; the test token can be minted by anyone",
        )
    return str(sender.deploy(artifacts.load_test(artifacts.TEST_TOKEN))["contractAddress"])


def _set_first_parameters(sender: Sender, contracts: Contracts, config: DeployConfig) -> None:
    registry = contracts.registry.functions
    if config.floor_contributors_bps or config.floor_community_bps:
        sender.send(registry.setFloors(config.floor_contributors_bps, config.floor_community_bps))
    for template in config.templates:
        sender.send(registry.setTemplate(template, True))


def _role_calls(manager: Contract, at: dict[str, str], config: DeployConfig, deployer: str) -> list[bytes]:
    """The calls that map functions to roles, grant the roles, and last take the deployer's own."""
    calls: list[tuple[str, tuple[Any, ...]]] = []
    for name, functions in FUNCTION_ROLES.items():
        selectors = {
            entry["name"]: selector_of(entry)
            for entry in artifacts.load(name).abi
            if entry["type"] == "function"
        }
        for role in sorted(set(functions.values())):
            chosen = [selectors[function] for function, its_role in functions.items() if its_role == role]
            calls.append(("setTargetFunctionRole", (at[name], chosen, role)))
    calls += [("labelRole", (role, ROLE_NAMES[role])) for role in (COUNCIL_ROLE, GUARDIAN_ROLE)]
    calls += [
        ("grantRole", (COUNCIL_ROLE, config.council, 0)),
        ("grantRole", (GUARDIAN_ROLE, config.guardian, 0)),
        ("grantRole", (ADMIN_ROLE, config.council, 0)),
        ("renounceRole", (ADMIN_ROLE, deployer)),
    ]
    return [bytes.fromhex(manager.encode_abi(name, arguments)[2:]) for name, arguments in calls]


def _address(name: str, text: str) -> str:
    try:
        address = parse_address(text)
    except (InputRejected, TypeError) as error:
        raise ConfigInvalid(f"{name}: {error}") from error
    if address == ZERO_ADDRESS:
        raise ConfigInvalid(f"{name} is the zero address")
    return checksum_address(address)
