"""Deploy the contracts, wire them, and hand every power over.

The contracts know each other by constructor immutables, so their addresses are predicted from the deployer's
nonces: the n-th creation has the n-th nonce, or it does not happen. First settings, roles and the hand-over
are one transaction. Afterwards `deployment_check.verify` reads everything back.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from eth_typing import ChecksumAddress
from usufruct_protocol.errors import ConfigInvalid, InvariantBroken
from usufruct_protocol.keccak import keccak256
from web3.types import Nonce
from web3.utils import get_create_address

from usufruct_chain import artifacts, contract_set
from usufruct_chain.abi import selector_of
from usufruct_chain.connection import check_chain_id
from usufruct_chain.contracts import Contracts
from usufruct_chain.deploy_config import DeployConfig
from usufruct_chain.deploy_journal import Beginning, Journal, described
from usufruct_chain.deployment import Deployment
from usufruct_chain.deployment_check import code_difference, verify
from usufruct_chain.reader import Reader
from usufruct_chain.roles import ADMIN_ROLE, COUNCIL_ROLE, GUARDIAN_ROLE, ROLE_NAMES
from usufruct_chain.rpc import Rpc, quantity
from usufruct_chain.sender import Sender

DEV_CLIENTS: Final = ("anvil", "hardhat")


def deploy(sender: Sender, config: DeployConfig, state_file: Path | None = None) -> Deployment:
    """Deploy all contracts and return where they are, once everything is read back and as asked.

    With `state_file`, a run that was killed at any point is continued by the next one with the same config:
    no contract is deployed twice. The file stays until the caller has kept the result, and removes it.
    Raises: ConfigInvalid if the config is unsafe, the chain or the state file is another's, or what was
    deployed differs from the config; ContractRejected if a contract refuses its settings; Transient.
    """
    config = config.checked(sender.address)
    rpc = Rpc(sender.w3)
    if config.chain_id is not None:
        check_chain_id(sender.w3, config.chain_id)
    if config.token is None:
        _require_dev_chain(rpc)
    journal = Journal(state_file, _beginning(sender, rpc, config))
    first_nonce = journal.beginning.first_nonce
    at = contract_set.predicted(config, lambda ahead: _created_at(sender.address, first_nonce + ahead))
    last_block = _create_all(sender, rpc, config, journal, at)
    deployment = Deployment(
        chain_id=journal.beginning.chain_id,
        **({"token": config.token} | at),  # type: ignore[arg-type]
        genesis_s=config.genesis_s,
        epoch_seconds=config.epoch_seconds,
        deployed_block=last_block,
    )
    contracts = Contracts(sender.w3, deployment)
    _hand_over(sender, contracts, config, journal)
    verify(contracts, config, sender.address, from_block=journal.beginning.first_block)
    return deployment


def _beginning(sender: Sender, rpc: Rpc, config: DeployConfig) -> Beginning:
    code = b"".join(
        bytes.fromhex(artifacts.of_place(name).bytecode[2:]) for name in contract_set.chosen(config)
    )
    return Beginning(
        chain_id=quantity(rpc.request("eth_chainId")),
        genesis_block_hash=str(rpc.request("eth_getBlockByNumber", "0x0", False)["hash"]),
        deployer=sender.address,
        first_nonce=sender.next_nonce(),
        first_block=quantity(rpc.request("eth_blockNumber")),
        config=described(config),
        code_hash=keccak256(code).hex(),
    )


def _create_all(sender: Sender, rpc: Rpc, config: DeployConfig, journal: Journal, at: dict[str, str]) -> int:
    """Create every contract that is not there yet; returns the block at which all are there."""
    first_nonce, block = journal.beginning.first_nonce, 0
    for ahead, (name, place) in enumerate(contract_set.chosen(config).items()):
        nonce = sender.next_nonce()
        if nonce > first_nonce + ahead:
            difference = code_difference(sender.w3, name, config, at, sender.address)
            if difference:
                raise ConfigInvalid(
                    f"transaction {first_nonce + ahead} of the deployer did not create {name}: {difference}",
                    hint="it failed, or another process uses the key: remove the state file to deploy anew",
                )
            block = quantity(rpc.request("eth_blockNumber"))
            continue
        if nonce < first_nonce + ahead:
            raise ConfigInvalid(
                f"{sender.address} has sent {nonce} transactions, fewer than the state file tells of",
                hint="the chain went back: remove the state file to deploy anew",
            )
        journal.about_to(f"create {name}")
        arguments = contract_set.constructor_arguments(name, config, at, sender.address)
        receipt = sender.deploy(artifacts.of_place(name), *arguments.values())
        if receipt["contractAddress"] != at[place]:
            raise InvariantBroken(
                f"{name} was deployed at {receipt['contractAddress']}, the others expect it at {at[place]}",
                hint="another process uses the deployer's key: deploy again with a key of its own",
            )
        block = int(receipt["blockNumber"])
    return block


def _created_at(deployer: str, nonce: int) -> str:
    return str(get_create_address(ChecksumAddress(deployer), Nonce(nonce)))  # type: ignore[arg-type]


def _require_dev_chain(rpc: Rpc) -> None:
    client = str(rpc.request("web3_clientVersion")).lower()
    if not client.startswith(DEV_CLIENTS):
        raise ConfigInvalid(
            f"no token is named, and {client.split('/')[0]} is not a dev chain",
            hint="name the ERC-20 token that licenses are paid in; the test token can be minted by anyone",
        )


def _hand_over(sender: Sender, contracts: Contracts, config: DeployConfig, journal: Journal) -> None:
    """Make the first settings, give every power away, unless an earlier run did."""
    still_admin = contracts.views.access_manager.hasRole(ADMIN_ROLE, sender.address)
    ((is_admin, _),) = Reader(contracts).query([still_admin])
    if is_admin:
        journal.about_to("hand over")
        calls = list(_final_calls(contracts, config, sender.address))
        sender.send(contracts.access_manager.functions.multicall(calls))


def _final_calls(contracts: Contracts, config: DeployConfig, deployer: str) -> Iterator[bytes]:
    """The manager's calls, in order: settings, functions to roles, roles to holders, the deployer's away."""

    def call(function: str, *arguments: Any) -> bytes:
        return bytes.fromhex(contracts.access_manager.encode_abi(function, arguments)[2:])

    deployment = contracts.deployment
    for place, function, arguments in contract_set.first_settings(config):
        target = getattr(contracts, place)
        yield call("execute", target.address, bytes.fromhex(target.encode_abi(function, arguments)[2:]))
    for grant in contract_set.grants():
        target = getattr(contracts, grant.place)
        selectors = {entry["name"]: selector_of(entry) for entry in target.abi if entry["type"] == "function"}
        chosen = [selectors[name] for name in grant.functions]
        yield call("setTargetFunctionRole", target.address, chosen, grant.role)
    for role in (COUNCIL_ROLE, GUARDIAN_ROLE):
        yield call("labelRole", role, ROLE_NAMES[role])
    council = contract_set.everything_known(config, deployment.content())["council"]
    yield call("grantRole", COUNCIL_ROLE, council, 0)
    yield call("grantRole", GUARDIAN_ROLE, config.guardian, 0)
    yield call("grantRole", ADMIN_ROLE, council, 0)
    yield call("renounceRole", ADMIN_ROLE, deployer)
