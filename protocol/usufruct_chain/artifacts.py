"""Compiled contracts that ship with the package, so that running needs no compiler.

The JSON files in artifacts/ are written by `make compile`; a test compiles the sources again and compares.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from usufruct_protocol.errors import ConfigInvalid

CONTRACTS: Final[dict[str, str]] = {
    "AccessManager": "access_manager",
    "LicenseRegistry": "registry",
    "OracleCommittee": "committee",
    "RoyaltyEscrow": "escrow",
    "RoyaltySplitter": "splitter",
    "UsageSettlement": "settlement",
    "WindDown": "wind_down",
    "ConsentLog": "consent_log",
    "CheckpointAnchors": "anchors",
    "LicenseBonds": "license_bonds",
    "OperatorBonds": "operator_bonds",
    "UsageChallenges": "challenges",
    "ReportDisputes": "disputes",
    "LicenseFees": "fees",
    "RemovalDuties": "duties",
    "CreditLedger": "credits",
    "CouncilRegister": "council_register",
}
"""The contracts of a deployment in the order in which they are deployed, each with its place: its name in
deployment files, on `Contracts` and in tests."""

TEST_TOKEN: Final = "TestUSDC"
"""The dev chains' token. Its ABI is also the one any token is called by: ERC-20, EIP-2612 and EIP-3009."""

PLACES: Final[dict[str, str]] = {
    TEST_TOKEN: "token",
    **CONTRACTS,
    "CommunityFund": "community_fund",
    "CouncilTimelock": "council_timelock",
    "CouncilSeat": "council_seat",
    "PatientCouncil": "patient_council",
}
"""The places of all contracts, those among them that only some deployments have."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract: its ABI, and its creation code as 0x-prefixed hex."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: str


@cache
def load(name: str) -> Artifact:
    """Return the artifact of a production contract. Raises: ConfigInvalid if it does not ship."""
    return _read(f"{name}.json", name)


def of_place(name: str) -> Artifact:
    """Return the artifact of a contract in PLACES. Raises: ConfigInvalid."""
    return load_test(name) if name == TEST_TOKEN else load(name)


@cache
def load_test(name: str) -> Artifact:
    """Return the artifact of a contract that is for dev chains and tests only. Raises: ConfigInvalid."""
    return _read(f"test/{name}.json", name)


def _read(path: str, name: str) -> Artifact:
    file = resources.files("usufruct_chain").joinpath("artifacts", *path.split("/"))
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigInvalid(
            f"no compiled contract {name} in usufruct_chain/artifacts", hint="run `make compile`"
        ) from error
    return Artifact(name, content["abi"], content["bytecode"])
