"""The contracts of a deployment: which ones, in which order, and what their constructors are told.

One description for everybody who deploys: production, and the chains of the tests. A constructor parameter
means the same in every contract, by its name: `registry_` is where the LicenseRegistry is, `epochSeconds_` is
the config's `epoch_seconds`, and the fields of a struct `settings` are those of the config's settings of that
contract.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from usufruct_protocol.errors import InvariantBroken

from usufruct_chain import artifacts
from usufruct_chain.artifacts import CONTRACTS, PLACES, TEST_TOKEN
from usufruct_chain.deploy_config import Council, DeployConfig
from usufruct_chain.roles import COUNCIL_ROLE, FUNCTION_ROLES, GUARDIAN_ROLE

OTHER_NAMES: Final[dict[str, str]] = {
    "authority": "access_manager",
    "bonds": "license_bonds",
    "genesis": "genesis_s",
    "check_cutoff_hash": "checks_cutoff_block",
    "initial_signers": "signers",
    "initial_admin": "deployer",
}
"""Constructor parameters that are called otherwise than the place or the setting they are given."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Functions of one contract that a role may call."""

    place: str
    functions: tuple[str, ...]
    role: int


def chosen(config: DeployConfig) -> dict[str, str]:
    """The contracts that a config asks for, each with its place, in the order of deployment."""
    found = {TEST_TOKEN: "token"} if config.token is None else {}
    found |= CONTRACTS
    if not isinstance(config.community, str):
        found["CommunityFund"] = PLACES["CommunityFund"]
    if isinstance(config.council, Council):
        found |= {name: PLACES[name] for name in ("CouncilTimelock", "CouncilSeat", "PatientCouncil")}
    return found


def predicted(config: DeployConfig, address_of_next: Callable[[int], str]) -> dict[str, str]:
    """Where each contract will be, by place; the function tells where the deployer's n-th next one goes."""
    return {place: address_of_next(ahead) for ahead, place in enumerate(chosen(config).values())}


def constructor_arguments(
    contract: str, config: DeployConfig, at: Mapping[str, str], deployer: str
) -> dict[str, Any]:
    """What a contract's constructor is told, by parameter (without underscores), in its order.

    Raises: InvariantBroken for a parameter that nobody has said the meaning of.
    """
    known = {"deployer": deployer} | everything_known(config, at)
    return {
        parameter["name"].rstrip("_"): _argument(contract, parameter, known)
        for parameter in _parameters(contract)
    }


def stated(contract: str, known: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the getters of a contract must answer: those named like a constructor parameter that is known."""
    for parameter in _parameters(contract):
        own = _known_to(contract, parameter, known)
        for part in parameter.get("components", [parameter]):
            if not part["type"].endswith("[]") and _setting(part) in own:
                yield part["name"].rstrip("_"), own[_setting(part)]


def everything_known(config: DeployConfig, at: Mapping[str, str]) -> dict[str, Any]:
    """Every setting and every place by its name; contracts stand in for what they were deployed for."""
    known = {name: value for name, value in asdict(config).items() if value is not None} | dict(at)
    if not isinstance(config.community, str):
        parts = [(each.account, each.bps, each.name) for each in config.community]
        known |= {"community": at["community_fund"], "community_fund_only": {"beneficiaries": parts}}
    if isinstance(config.council, Council):
        seats = [(seat.holder, seat.term_ends_at_s, seat.mandate_hash) for seat in config.council.seats]
        known |= {
            "council": at["council_timelock"],
            "council_timelock_only": asdict(config.council) | {"council": at["patient_council"]},
            "council_seat_only": {"timelock": at["council_timelock"], "first": seats},
            "patient_council_only": {"timelock": at["council_timelock"], "seats": at["council_seat"]},
            "patient_council_settings": asdict(config.council),
        }
    return known


def grants() -> Iterator[Grant]:
    """Which functions are given to a role, in the order of roles.FUNCTION_ROLES."""
    for contract, functions in FUNCTION_ROLES.items():
        for role in (COUNCIL_ROLE, GUARDIAN_ROLE):
            given = tuple(name for name, its_role in functions.items() if its_role == role)
            if given:
                yield Grant(CONTRACTS[contract], given, role)


def first_settings(config: DeployConfig) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    """The council's first settings, made before powers are handed over: place, function, arguments."""
    if config.floor_contributors_bps or config.floor_community_bps:
        yield "registry", "setFloors", (config.floor_contributors_bps, config.floor_community_bps)
    if config.bond_epochs:
        yield "registry", "setBondEpochs", (config.bond_epochs,)
    for template in config.templates:
        yield "registry", "setTemplate", (template, True)


def _parameters(contract: str) -> list[dict[str, Any]]:
    for entry in artifacts.of_place(contract).abi:
        if entry["type"] == "constructor":
            parameters: list[dict[str, Any]] = entry["inputs"]
            return parameters
    return []


def _argument(contract: str, parameter: dict[str, Any], known: Mapping[str, Any]) -> Any:
    own = _known_to(contract, parameter, known)
    if parameter["type"] == "tuple":
        return tuple(_argument(contract, part, own) for part in parameter["components"])
    setting = _setting(parameter)
    if setting not in own:
        raise InvariantBroken(f"nobody says what the constructor of {contract} is told as {setting}")
    value = own[setting]
    return list(value) if isinstance(value, tuple) else value


def _known_to(contract: str, parameter: dict[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is known, with what only this contract is told, and the fields of its own struct."""
    place = PLACES[contract]
    fields = known.get(f"{place}_{_setting(parameter)}", {}) if parameter["type"] == "tuple" else {}
    return {**known, **known.get(f"{place}_only", {}), **fields}


def _setting(parameter: dict[str, Any]) -> str:
    """The name of the place or setting that a parameter is given."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", parameter["name"].rstrip("_")).lower()
    return OTHER_NAMES.get(name, name)
