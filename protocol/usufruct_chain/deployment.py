"""Where one deployment lives: chain, addresses, and the clock that everyone counts epochs by."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from usufruct_protocol.errors import ConfigInvalid, InputRejected
from usufruct_protocol.signing import checksum_address, parse_address

_NUMBERS = ("chain_id", "genesis_s", "epoch_seconds", "deployed_block")
_FIRST = ("token", "access_manager", "registry", "committee", "escrow", "splitter", "settlement")
"""Addresses that every deployment file has; files from before the other contracts have no more than these."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Contracts of one deployment.

    Addresses are EIP-55 text, empty where a deployment has no such contract. `genesis_s` is the start of
    epoch 1 in seconds of chain time; epoch e ends at `genesis_s + e * epoch_seconds`. No contract exists
    before `deployed_block`: the block of the last one, or the one at which a continued run found it there.
    """

    chain_id: int
    token: str
    access_manager: str
    registry: str
    committee: str
    escrow: str
    splitter: str
    settlement: str
    genesis_s: int
    epoch_seconds: int
    deployed_block: int
    wind_down: str = ""
    consent_log: str = ""
    anchors: str = ""
    license_bonds: str = ""
    operator_bonds: str = ""
    challenges: str = ""
    disputes: str = ""
    fees: str = ""
    duties: str = ""
    credits: str = ""
    council_register: str = ""
    community_fund: str = ""
    council_timelock: str = ""
    council_seat: str = ""
    patient_council: str = ""

    def content(self) -> dict[str, Any]:
        """What its file holds: contracts that it does not have are left out."""
        return {name: value for name, value in asdict(self).items() if value != ""}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON; a reader sees the old file or the new one, never half of it."""
        target = Path(path)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        draft.write_text(json.dumps(self.content(), indent=2) + "\n", encoding="utf-8")
        draft.replace(target)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Deployment:
        """Read what `save` wrote. Raises: ConfigInvalid naming the file and the field that is wrong."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigInvalid(f"cannot read deployment file {path}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigInvalid(f"{path} is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise ConfigInvalid(f"{path} holds a {type(content).__name__}, not a deployment")
        names = [field.name for field in fields(cls)]
        missing = [name for name in (*_NUMBERS, *_FIRST) if name not in content]
        unknown = [name for name in content if name not in names]
        if missing or unknown:
            raise ConfigInvalid(f"{path}: missing fields {missing}, unknown fields {unknown}")
        return cls(**{name: _checked(name, value, path) for name, value in content.items()})


def _checked(name: str, value: Any, path: str | os.PathLike[str]) -> Any:
    if name in _NUMBERS:
        if type(value) is not int or value < 0:
            raise ConfigInvalid(f"{path}: {name} must be an integer >= 0, got {value!r}")
        return value
    try:
        return checksum_address(parse_address(value))
    except (InputRejected, TypeError) as error:
        raise ConfigInvalid(f"{path}: {name}: {error}") from error
