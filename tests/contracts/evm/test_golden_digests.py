"""Contracts hash every golden case of tests/vectors/eip712.json to the golden digest.

The cases are for one fixed address, so each contract's code is run there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eth_hash.auto import keccak

from tests.contracts.evm.chain import CHAIN_ID, Contract, Evm
from tests.contracts.evm.world import World
from tests.contracts.wire import account
from tests.reference import typed_data

GOLDEN = json.loads((Path(__file__).resolve().parents[2] / "vectors" / "eip712.json").read_text())
ADDRESS: str = GOLDEN["verifyingContract"]
REDEMPTIONS_SLOT = 5

Hash = Callable[[World, Any], bytes]


@pytest.fixture(scope="module")
def library() -> Contract:
    """The struct hashes of what lanes and nodes sign, behind their harness."""
    return Evm().deploy("LaneEvidenceHarness", sender=account("deployer"))


def at_golden_address(place: str, function: str) -> Hash:
    """The digest by a contract's function that takes the struct."""

    def digest(world: World, values: tuple[Any, ...]) -> bytes:
        contract = world.evm.settle_at(getattr(world, place), ADDRESS)
        return bytes(getattr(contract, function)(values))

    return digest


def spread(place: str, function: str) -> Hash:
    """The same by a function that takes the members one by one."""

    def digest(world: World, values: tuple[Any, ...]) -> bytes:
        contract = world.evm.settle_at(getattr(world, place), ADDRESS)
        return bytes(getattr(contract, function)(*values))

    return digest


def report(world: World, values: tuple[Any, ...]) -> bytes:
    settlement = world.evm.settle_at(world.settlement, ADDRESS)
    return keccak(b"\x19\x01" + settlement.domainSeparator() + settlement.hashReport(values))


def redirect(world: World, values: tuple[Any, ...]) -> bytes:
    tree_id, index, payee, amount, to, deadline = values
    splitter = world.evm.settle_at(world.splitter, ADDRESS)
    word = int.from_bytes(payee, "big") << 96 | amount
    return bytes(splitter.hashRedirect(tree_id, index, word, to, deadline))


def redemption(world: World, values: tuple[Any, ...]) -> bytes:
    """The ledger hashes what it remembers, so it is made to remember the golden redemption."""
    number, grant_id, holder, amount, request_hash, document_hash = values
    ledger = world.evm.settle_at(world.credits, ADDRESS)
    first = int.from_bytes(keccak(number.to_bytes(32, "big") + REDEMPTIONS_SLOT.to_bytes(32, "big")), "big")
    packed = int.from_bytes(holder, "big") << 64 | grant_id
    for offset, word in enumerate((packed, amount, int.from_bytes(request_hash, "big"))):
        world.evm.set_storage(ADDRESS, (first + offset) % 2**256, word)
    return bytes(ledger.hashReceipt(number, document_hash))


DIGEST: dict[str, Hash] = {
    "EpochReport": report,
    "LicenseOffer": at_golden_address("registry", "hashOffer"),
    "LaneRegistration": at_golden_address("registry", "hashLane"),
    "NoteRedirect": redirect,
    "MilestoneReached": spread("fees", "hashMilestoneReached"),
    "RevenueStatement": at_golden_address("fees", "hashRevenueStatement"),
    "AuditCorrection": at_golden_address("fees", "hashAuditCorrection"),
    "RedemptionReceipt": redemption,
    "AuditFinding": at_golden_address("council_register", "hashFinding"),
}
STRUCT_HASH = {"UsageReceipt": "hashReceipt", "Checkpoint": "hashCheckpoint", "CheckpointAck": "hashAck"}


def value(kind: str, given: Any) -> Any:
    """A member as contracts take it, from its JSON form."""
    if kind.endswith("[]"):
        return tuple(values_of(kind.removesuffix("[]"), item) for item in given)
    return int(given) if kind.startswith("uint") else bytes.fromhex(given[2:])


def values_of(struct: str, message: dict[str, Any]) -> tuple[Any, ...]:
    """The members of a golden message in their order."""
    return tuple(value(kind, message[name]) for name, kind in typed_data.members(struct))


def test_every_golden_struct_is_hashed_by_a_contract() -> None:
    assert GOLDEN["structs"].keys() == DIGEST.keys() | STRUCT_HASH.keys()
    assert int(GOLDEN["chainId"]) == CHAIN_ID


@pytest.mark.parametrize("struct", sorted(DIGEST))
def test_a_contract_has_the_golden_digest(shared_world: World, struct: str) -> None:
    for case in GOLDEN["structs"][struct]["cases"]:
        with shared_world.evm.undone():
            digest = DIGEST[struct](shared_world, values_of(struct, case["message"]))
        assert "0x" + digest.hex() == case["digest"]


@pytest.mark.parametrize("struct", sorted(STRUCT_HASH))
def test_a_library_has_the_golden_struct_hash(library: Contract, struct: str) -> None:
    for case in GOLDEN["structs"][struct]["cases"]:
        hashed = getattr(library, STRUCT_HASH[struct])(values_of(struct, case["message"]))
        assert "0x" + hashed.hex() == case["structHash"]
