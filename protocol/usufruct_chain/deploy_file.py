"""Read what a deployment is asked to be from a TOML file: the fields of DeployConfig by their names.

Hashes are hex text; seats, beneficiaries and the settings of one contract are tables.
"""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from usufruct_protocol.errors import ConfigInvalid

from usufruct_chain.deploy_config import DeployConfig

HASH_BYTES: Final = 32


def read_config(path: Path) -> DeployConfig:
    """Return the config in a file. Raises: ConfigInvalid naming the file and the field that is wrong."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigInvalid(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigInvalid(f"{path} is not TOML: {error}") from error
    config: DeployConfig = _build(DeployConfig, content, str(path))
    return config


def _build(kind: Any, value: Any, where: str) -> Any:
    """A value of a type hint out of TOML's tables, arrays and scalars."""
    if isinstance(kind, UnionType):
        return _build(_member(kind, value), value, where)
    if is_dataclass(kind):
        return _build_fields(kind, value, where)
    if get_origin(kind) is tuple:
        (item, *_) = get_args(kind)
        if not isinstance(value, list):
            raise ConfigInvalid(f"{where} must be an array, got {value!r}")
        return tuple(_build(item, each, f"{where}[{place}]") for place, each in enumerate(value))
    if kind is bytes:
        return _hash(value, where)
    if type(value) is not kind or (kind is int and value < 0):
        wanted = {int: "an integer >= 0", bool: "true or false", str: "text"}[kind]
        raise ConfigInvalid(f"{where} must be {wanted}, got {value!r}")
    return value


def _build_fields(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigInvalid(f"{where} must be a table, got {value!r}")
    known = {field.name for field in fields(kind)}
    required = [field.name for field in fields(kind) if field.default is MISSING]
    missing = [name for name in required if name not in value]
    unknown = sorted(value.keys() - known)
    if missing or unknown:
        raise ConfigInvalid(f"{where}: missing fields {missing}, unknown fields {unknown}")
    hints = get_type_hints(kind)
    return kind(**{name: _build(hints[name], each, f"{where}: {name}") for name, each in value.items()})


def _member(union: Any, value: Any) -> Any:
    """The type of a union that a value is meant for: tables are structs, arrays tuples, the rest is plain."""
    for kind in get_args(union):
        if isinstance(value, dict) and is_dataclass(kind):
            return kind
        if isinstance(value, list) and get_origin(kind) is tuple:
            return kind
    return next(kind for kind in get_args(union) if kind is not NoneType)


def _hash(value: Any, where: str) -> bytes:
    try:
        found = bytes.fromhex(value.removeprefix("0x"))
    except (AttributeError, ValueError):
        found = b""
    if len(found) != HASH_BYTES:
        raise ConfigInvalid(f"{where} must be {2 * HASH_BYTES} hex digits, got {value!r}")
    return found
