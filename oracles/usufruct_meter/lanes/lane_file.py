"""lane.json: which lane this is, where its key and spool are, and which nodes it reports to.

The file holds no secret. Paths in it are relative to the folder it lies in.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from usufruct_protocol.errors import ConfigInvalid, InputRejected
from usufruct_protocol.receipts import MAX_CUMULATIVE_UNITS
from usufruct_protocol.signing import checksum_address, parse_address

from usufruct_meter.lanes.chain_file import CHAIN_FILE_NAME
from usufruct_meter.lanes.checkpoints import Periods

_MAX_FILE_BYTES: Final = 64 * 1024
_INTEGERS: Final = {
    "license_id": (1, 2**32 - 1),
    "chain_id": (1, 2**63 - 1),
    "genesis_s": (0, 2**53),
    "epoch_seconds": (1, 2**32),
    "valid_from_ms": (0, 2**63 - 1),
    "valid_to_ms": (1, 2**63 - 1),
    "unit_cap": (1, 2**128 - 1),
}
_ADDRESSES: Final = ("lane", "settlement")
_PATHS: Final = ("key_file", "spool", "idempotency")
_NAMES: Final = frozenset((*_INTEGERS, *_ADDRESSES, *_PATHS, "nodes"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneFile:
    """The checked content of a lane file, with absolute paths.

    lane:           20-byte address of the lane key
    settlement:     20-byte address of the UsageSettlement that counts the lane, on chain `chain_id`
    valid_from_ms,
    valid_to_ms:    [from, to) as registered
    unit_cap:       as registered; the lane refuses calls beyond it (and beyond 2⁹⁶ − 1, the rule of receipts)
    idempotency:    index of response ids, one file for all lanes of a license on this machine
    """

    path: Path
    lane: bytes
    license_id: int
    chain_id: int
    settlement: bytes
    key_file: Path
    spool: Path
    idempotency: Path
    nodes: tuple[str, ...]
    genesis_s: int
    epoch_seconds: int
    valid_from_ms: int
    valid_to_ms: int
    unit_cap: int

    @property
    def periods(self) -> Periods:
        """The periods that no checkpoint may straddle."""
        return Periods(self.genesis_s, self.epoch_seconds)

    @property
    def max_cumulative_units(self) -> int:
        """The last cumulative count that the lane may sign."""
        return min(self.unit_cap, MAX_CUMULATIVE_UNITS)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a lane file. Raises: ConfigInvalid naming the file and the field that is wrong."""
        path = Path(path).absolute()
        fields = _read_object(path)
        _check_names(path, fields)
        values: dict[str, Any] = {name: _integer(path, name, fields[name]) for name in _INTEGERS}
        values |= {name: _address(path, fields, name) for name in _ADDRESSES}
        values |= {name: path.parent / _text(path, fields, name) for name in _PATHS}
        values["nodes"] = _nodes(path, fields["nodes"])
        loaded = cls(path=path, **values)
        loaded.check()
        return loaded

    def check(self) -> None:
        """Check ranges and that the fields fit each other. Raises: ConfigInvalid."""
        for name in _INTEGERS:
            _integer(self.path, name, getattr(self, name))
        for name in _ADDRESSES:
            if not any(getattr(self, name)):
                raise ConfigInvalid(f"lane file {self.path}: {name} is the zero address")
        _nodes(self.path, list(self.nodes))
        if self.valid_from_ms >= self.valid_to_ms:
            raise ConfigInvalid(f"lane file {self.path}: valid_from_ms must be before valid_to_ms")
        files = {getattr(self, name) for name in _PATHS} | {self.path}
        if len(files) != len(_PATHS) + 1:
            raise ConfigInvalid(
                f"lane file {self.path}: key_file, spool and idempotency must be three different files"
            )

    def save_new(self) -> None:
        """Write the file, with paths relative to its folder where they lie in it.

        Raises: ConfigInvalid if it exists.
        """
        fields: dict[str, object] = {name: checksum_address(getattr(self, name)) for name in _ADDRESSES}
        fields |= {name: getattr(self, name) for name in _INTEGERS}
        fields |= {name: self._relative(getattr(self, name)) for name in _PATHS}
        fields["nodes"] = list(self.nodes)
        try:
            with self.path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(fields, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError as error:
            raise ConfigInvalid(f"{self.path} exists", hint="choose another name") from error

    def _relative(self, path: Path) -> str:
        folder = self.path.parent
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def lane_files(location: Path | str) -> tuple[Path, ...]:
    """Return the lane file at a path, or all of a folder by name: `*.json` but `chain.json`.

    Raises: ConfigInvalid if there is none.
    """
    location = Path(location).absolute()
    in_folder = (path for path in location.glob("*.json") if path.name != CHAIN_FILE_NAME)
    found = tuple(sorted(in_folder)) if location.is_dir() else (location,)
    if not found:
        raise ConfigInvalid(f"no lane file (*.json) in {location}", hint="usufruct-meter lane new makes one")
    return found


def _read_object(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigInvalid(
            f"lane file {path}: {error.strerror}", hint="usufruct-meter lane new makes one"
        ) from error
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigInvalid(f"lane file {path} has more than {_MAX_FILE_BYTES} bytes")
    try:
        fields = json.loads(content, object_pairs_hook=_without_repeats)
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ConfigInvalid(f"lane file {path} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ConfigInvalid(f"lane file {path} must hold one JSON object")
    return fields


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name appears twice")
    return fields


def _check_names(path: Path, fields: Mapping[str, Any]) -> None:
    missing, unknown = sorted(_NAMES - fields.keys()), sorted(fields.keys() - _NAMES)
    if missing or unknown:
        parts = [f"missing: {', '.join(missing)}"] * bool(missing)
        parts += [f"unknown: {', '.join(unknown)}"] * bool(unknown)
        raise ConfigInvalid(f"lane file {path} has the wrong fields; {'; '.join(parts)}")


def _integer(path: Path, name: str, value: object) -> int:
    low, high = _INTEGERS[name]
    if type(value) is not int or not low <= value <= high:
        raise ConfigInvalid(
            f"lane file {path}: {name} must be an integer from {low} to {high}, got {value!r}"
        )
    return value


def _text(path: Path, fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str) or not value or "\0" in value:
        raise ConfigInvalid(f"lane file {path}: {name} must be a path, got {value!r}")
    return value


def _address(path: Path, fields: Mapping[str, Any], name: str) -> bytes:
    try:
        return parse_address(_text(path, fields, name))
    except InputRejected as error:
        raise ConfigInvalid(f"lane file {path}: {name}: {error}", hint=error.hint) from error


def _nodes(path: Path, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(url, str) for url in value):
        raise ConfigInvalid(f"lane file {path}: nodes must be a list of addresses, got {value!r}")
    urls = tuple(url.rstrip("/") for url in value)
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ConfigInvalid(
                f"lane file {path}: {url!r} is not a node's address", hint="expected http(s)://host[:port]"
            )
    if len(set(urls)) != len(urls):
        raise ConfigInvalid(f"lane file {path}: a node is listed twice")
    return urls
