"""A deployment is wired, handed over, read back, and recognized later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from usufruct_chain import artifacts
from usufruct_chain.connection import check_chain_id
from usufruct_chain.contracts import Contracts
from usufruct_chain.deploy import deploy
from usufruct_chain.deploy_config import Beneficiary, Council, DeployConfig, Seat
from usufruct_chain.deployment import Deployment
from usufruct_chain.deployment_check import open_contracts, verify
from usufruct_chain.reader import Reader
from usufruct_chain.reverts import CallReverted
from usufruct_chain.roles import ADMIN_ROLE, FUNCTION_ROLES, GUARDIAN_ROLE
from usufruct_chain.rpc import Rpc
from usufruct_chain.sender import Sender
from usufruct_protocol.errors import ConfigInvalid, ContractRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.signing import LocalSigner, checksum_address

from scripts import deploy as deploy_command
from scripts.devchain import dev_key
from tests.integration.chain_world import EPOCH_S, GENESIS_S, World, unchanged, world, world_config


@pytest.fixture(scope="module")
def shared_world() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def here(shared_world: World) -> Iterator[World]:
    with unchanged(shared_world) as made:
        yield made


@pytest.fixture(scope="module")
def other(shared_world: World) -> Deployment:
    """A second deployment on the same chain, with longer epochs."""
    config = replace(world_config(), epoch_seconds=EPOCH_S + 1)
    return deploy(shared_world.sender("deployer"), config)


def recheck(here: World, config: DeployConfig | None = None) -> None:
    verify(
        here.contracts,
        here.config if config is None else config,
        here.sender("deployer").address,
        from_block=0,
    )


def test_a_deployment_is_as_asked_and_opens_again(here: World, tmp_path: Path) -> None:
    recheck(here)
    here.contracts.deployment.save(tmp_path / "deployment.json")
    loaded = Deployment.load(tmp_path / "deployment.json")
    assert loaded == here.contracts.deployment
    assert open_contracts(here.chain.w3, loaded).deployment == loaded


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("community", "0x" + "11" * 20, "LicenseRegistry.community"),
        ("platform", "0x" + "11" * 20, "RoyaltySplitter.beneficiary(platform)"),
        ("operators", "0x" + "11" * 20, "RoyaltySplitter.beneficiary(operators)"),
        ("custodian", "0x" + "11" * 20, "RoyaltySplitter.custodian"),
        ("guardian", "0x" + "11" * 20, "role guardian is held by"),
        ("council", "0x" + "11" * 20, "role council is held by"),
        ("signers", ("0x" + "11" * 20,), "OracleCommittee.signersOf(1)"),
        ("genesis_s", 1, "UsageSettlement.state"),
        ("dispute_window_seconds", 1, "UsageSettlement.disputeWindowSeconds"),
        ("note_minimum", 1, "UsageSettlement.noteMinimum"),
        ("max_merge_delay_seconds", 1, "RoyaltyEscrow.maxMergeDelaySeconds"),
        ("checks_cutoff_block", False, "UsageSettlement.checksCutoffBlock"),
        ("floor_contributors_bps", 1, "LicenseRegistry.floors"),
        ("templates", (bytes(32),), "LicenseRegistry.templateApproved"),
    ],
)
def test_each_parameter_is_read_back(here: World, field: str, value: Any, named: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        recheck(here, replace(here.config, **{field: value}))
    assert named in str(refused.value)


@pytest.mark.parametrize("name", ["token", *artifacts.CONTRACTS.values(), "epoch_seconds"])
def test_contracts_of_two_deployments_do_not_mix(here: World, other: Deployment, name: str) -> None:
    mixed = replace(here.contracts.deployment, **{name: getattr(other, name)})
    with pytest.raises(ConfigInvalid, match="not those of the deployment file"):
        open_contracts(here.chain.w3, mixed)


def test_the_wrong_chain_and_missing_contracts_are_named(here: World) -> None:
    with pytest.raises(ConfigInvalid, match="serves chain 31337, the deployment is on chain 1"):
        check_chain_id(here.chain.w3, 1)
    with pytest.raises(ConfigInvalid, match="serves chain 31337"):
        open_contracts(here.chain.w3, replace(here.contracts.deployment, chain_id=5))
    nowhere = checksum_address(bytes([5] * 20))
    with pytest.raises(ConfigInvalid, match=f"no contract on chain 31337 at: escrow {nowhere}"):
        open_contracts(here.chain.w3, replace(here.contracts.deployment, escrow=nowhere))


def test_the_deployer_keeps_no_power(here: World) -> None:
    deployer = here.sender("deployer")
    for call in (
        here.contracts.settlement.functions.setNoteMinimum(1),
        here.contracts.registry.functions.setFloors(0, 0),
        here.contracts.committee.functions.rotate(list(here.config.signers), 5),
        here.contracts.access_manager.functions.grantRole(ADMIN_ROLE, deployer.address, 0),
    ):
        with pytest.raises(ContractRejected, match="Unauthorized"):
            deployer.send(call)
    here.sender("council").send(here.contracts.settlement.functions.setNoteMinimum(77))
    (minimum,) = here.reader.query([here.contracts.views.settlement.noteMinimum()])
    assert minimum == 77


def test_a_role_too_many_is_named(here: World) -> None:
    manager = here.contracts.access_manager.functions
    here.sender("council").send(manager.grantRole(GUARDIAN_ROLE, here.sender("deployer").address, 0))
    with pytest.raises(ConfigInvalid, match=r"role guardian is held by .* \(the deployer among them\)"):
        recheck(here)
    here.sender("council").send(manager.revokeRole(GUARDIAN_ROLE, here.sender("deployer").address))
    recheck(here)
    here.sender("council").send(manager.grantRole(9, here.sender("anyone").address, 0))
    with pytest.raises(ConfigInvalid, match="role 9 is held by"):
        recheck(here)


def test_a_function_given_to_another_role_is_named(here: World) -> None:
    manager, at = here.contracts.access_manager.functions, here.contracts.deployment
    selector = bytes.fromhex(here.contracts.settlement.encode_abi("setNoteMinimum", [1])[2:10])
    here.sender("council").send(manager.setTargetFunctionRole(at.settlement, [selector], GUARDIAN_ROLE))
    with pytest.raises(ConfigInvalid, match=r"the role of UsageSettlement\.setNoteMinimum is 2, expected 1"):
        recheck(here)


def test_inv_31_roles_reach_the_functions_of_the_role_table_and_no_other(here: World) -> None:
    """Every function that changes anything is called by a stranger with empty arguments.

    Those that ask for a role set parameters, rotate signers or reject; escrow and splitter ask for none.
    """
    refused: dict[str, set[str]] = {}
    for name, place in list(artifacts.CONTRACTS.items())[1:]:
        contract = getattr(here.contracts, place)
        for entry in contract.abi:
            if entry["type"] != "function" or entry["stateMutability"] in ("view", "pure"):
                continue
            data = contract.encode_abi(entry["name"], [empty(item) for item in entry["inputs"]])
            call = {"from": here.sender("anyone").address, "to": contract.address, "data": data}
            (outcome,) = Rpc(here.chain.w3).outcomes([("eth_call", (call, "latest"))])
            if isinstance(outcome, CallReverted) and outcome.error_name == "AccessManagedUnauthorized":
                refused.setdefault(name, set()).add(entry["name"])
    # setAuthority answers to the AccessManager alone, where only admin reaches it.
    managed = {name: functions - {"setAuthority"} for name, functions in refused.items()}
    managed = {name: functions for name, functions in managed.items() if functions}
    assert managed == {name: set(functions) for name, functions in FUNCTION_ROLES.items()}


def empty(item: dict[str, Any]) -> Any:
    """The emptiest value of an ABI type."""
    kind = item["type"]
    if kind.endswith("[]"):
        return []
    if kind == "tuple":
        return tuple(empty(part) for part in item["components"])
    if kind == "address":
        return checksum_address(bytes(20))
    if kind.startswith("bytes"):
        return bytes(int(kind[5:] or 0))
    return {"bool": False, "string": ""}.get(kind, 0)


def test_unsafe_configs_are_refused_before_anything_is_sent(here: World) -> None:
    deployer = here.sender("deployer")
    nonce = deployer.next_nonce()
    config = world_config()
    for changed, message in (
        (replace(config, council=deployer.address), "council is the deployer"),
        (replace(config, guardian=deployer.address), "guardian is the deployer"),
        (replace(config, custodian="0x" + "00" * 20), "custodian is the zero address"),
        (replace(config, platform="0x1234"), "platform: not an address"),
        (replace(config, signers=(*config.signers, config.signers[0])), "signers name 1 address"),
    ):
        with pytest.raises(ConfigInvalid, match=message):
            deploy(deployer, changed)
    assert deployer.next_nonce() == nonce


def test_an_existing_token_is_used(here: World) -> None:
    token = here.contracts.deployment.token
    assert deploy(here.sender("deployer"), replace(world_config(), token=token)).token == token


def test_settings_that_a_contract_refuses_are_decoded(here: World) -> None:
    with pytest.raises(ContractRejected, match="OracleCommittee_TooFewSigners"):
        deploy(here.sender("deployer"), replace(world_config(), signers=world_config().signers[:3]))


def test_code_that_is_not_what_its_creation_gives_is_named(here: World) -> None:
    escrow = here.contracts.deployment.escrow
    code = bytearray(bytes.fromhex(here.chain.rpc("eth_getCode", escrow, "latest")[2:]))
    registry = bytes.fromhex(here.contracts.deployment.registry[2:])
    place = code.index(registry)
    code[place + 19] ^= 1
    here.chain.rpc("anvil_setCode", escrow, "0x" + code.hex())
    with pytest.raises(ConfigInvalid, match=f"the code at {escrow} is not that of RoyaltyEscrow as asked"):
        recheck(here)


def test_people_can_be_named_instead_of_a_council_and_a_community(here: World) -> None:
    seats = tuple(
        Seat(checksum_address(bytes([number] * 20)), GENESIS_S + 10**8, bytes([number] * 32))
        for number in (1, 2, 3)
    )
    parts = tuple(
        Beneficiary(checksum_address(bytes([number] * 20)), bps, f"friend {number}")
        for number, bps in ((4, 9_999), (5, 1))
    )
    config = replace(world_config(), council=Council(seats), community=parts)
    made = Contracts(here.chain.w3, deploy(here.sender("deployer"), config))
    at, views = made.deployment, made.views
    assert open_contracts(here.chain.w3, at).deployment == at
    read = {
        "who governs": views.access_manager.hasRole(ADMIN_ROLE, at.council_timelock),
        "who may propose to the timelock": views.council_timelock.hasRole(
            keccak256(b"PROPOSER_ROLE"), at.patient_council
        ),
        "the community": views.registry.community(),
        "its second beneficiary": views.community_fund.beneficiary(1),
        "seats": views.council_seat.balanceOf(seats[2].holder),
    }
    answers = dict(zip(read, Reader(made).query(list(read.values())), strict=True))
    assert answers["who governs"] == (True, 0)
    assert answers["who may propose to the timelock"] is True
    assert checksum_address(bytes.fromhex(answers["the community"][2:])) == at.community_fund
    assert answers["its second beneficiary"] == (parts[1].account.lower(), 1, "friend 5")
    assert answers["seats"] == 1


def test_a_dev_deployment_needs_nothing_but_an_endpoint(here: World) -> None:
    made = deploy_command.dev(here.chain.rpc_url)
    assert Sender(here.chain.w3, LocalSigner(dev_key(0))).address != made.settlement
    open_contracts(here.chain.w3, made)
