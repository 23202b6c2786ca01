"""Deploy the contracts, wire them, and hand every power over.

The contracts know each other by constructor immutables, so their addresses are predicted from the deployer's
nonces. Roles are wired and handed over in one transaction. Afterwards `deployment_check.verify` reads
everything back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from eth_typing import ChecksumAddress
from usufruct_protocol.errors import ConfigInvalid, InvariantBroken
from web3.types import Nonce
from web3.utils import get_create_address

from usufruct_chain import artifacts, contract_set
from usufruct_chain.abi import selector_of
from usufruct_chain.artifacts import CONTRACTS
from usufruct_chain.contracts import Contracts
from usufruct_chain.deploy_config import DeployConfig
from usufruct_chain.deployment import Deployment
from usufruct_chain.deployment_check import verify
from usufruct_chain.roles import ADMIN_ROLE, COUNCIL_ROLE, GUARDIAN_ROLE, ROLE_NAMES
from usufruct_chain.rpc import Rpc, quantity
from usufruct_chain.sender import Sender

DEV_CLIENTS: Final = ("anvil", "hardhat")


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
    at = contract_set.predicted(
        lambda ahead: str(get_create_address(ChecksumAddress(sender.address), Nonce(first_nonce + ahead)))  # type: ignore[arg-type]
    )
    blocks = [
        _deploy_one(
            sender,
            name,
            at[place],
            tuple(contract_set.constructor_arguments(name, config, at, sender.address).values()),
        )
        for name, place in CONTRACTS.items()
    ]
    assert config.token is not None
    deployment = Deployment(
        chain_id=quantity(rpc.request("eth_chainId")),
        token=config.token,
        **at,
        genesis_s=config.genesis_s,
        epoch_seconds=config.epoch_seconds,
        deployed_block=blocks[-1],
    )
    contracts = Contracts(sender.w3, deployment)
    _set_first_parameters(sender, contracts, config)
    manager = contracts.access_manager
    sender.send(manager.functions.multicall(_role_calls(contracts, config, sender.address)))
    verify(contracts, config, sender.address, from_block=blocks[0])
    return deployment


def _deploy_one(sender: Sender, name: str, expected: str, arguments: tuple[Any, ...]) -> int:
    """Deploy one contract where it was predicted; returns its block number."""
    receipt = sender.deploy(artifacts.load_or_reserve(name), *arguments)
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
    for place, function, arguments in contract_set.first_settings(config):
        sender.send(getattr(contracts, place).functions[function](*arguments))


def _role_calls(contracts: Contracts, config: DeployConfig, deployer: str) -> list[bytes]:
    """The calls that map functions to roles, grant the roles, and last take the deployer's own."""
    calls: list[tuple[str, tuple[Any, ...]]] = []
    for grant in contract_set.grants():
        target = getattr(contracts, grant.place)
        selectors = {entry["name"]: selector_of(entry) for entry in target.abi if entry["type"] == "function"}
        chosen = [selectors[name] for name in grant.functions]
        calls.append(("setTargetFunctionRole", (target.address, chosen, grant.role)))
    calls += [("labelRole", (role, ROLE_NAMES[role])) for role in (COUNCIL_ROLE, GUARDIAN_ROLE)]
    calls += [
        ("grantRole", (COUNCIL_ROLE, config.council, 0)),
        ("grantRole", (GUARDIAN_ROLE, config.guardian, 0)),
        ("grantRole", (ADMIN_ROLE, config.council, 0)),
        ("renounceRole", (ADMIN_ROLE, deployer)),
    ]
    manager = contracts.access_manager
    return [bytes.fromhex(manager.encode_abi(name, arguments)[2:]) for name, arguments in calls]
