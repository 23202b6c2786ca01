"""chain.json: how a meter reaches the chain, and who pays when a checkpoint has to be anchored.

It lies beside the lane files and serves all of them. Everything else is read from the settlement contract
that a lane file names. Endpoint URLs often carry an access key, so only the owner may read the file.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from usufruct_protocol.errors import ConfigInvalid

CHAIN_FILE_NAME: Final = "chain.json"
DEFAULT_MAX_FEE_GWEI: Final = 500
_MAX_FILE_BYTES: Final = 64 * 1024
_MAX_URLS: Final = 8
_REQUIRED: Final = frozenset({"rpc_urls"})
_OPTIONAL: Final = frozenset({"payer_key_file", "anchor_after_s", "max_fee_per_gas_gwei"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainFile:
    """The checked content of a chain file, with absolute paths.

    rpc_urls:             endpoints; of what they say the worst counts, so that no single one hides a duty
    payer_key_file:       key of the account that pays for anchors, used for nothing else; None: only watch
    anchor_after_s:       how long a receipt may wait for acknowledgements before it is anchored; None: half
                          the merge delay
    max_fee_per_gas_gwei: more than this is never paid
    """

    path: Path
    rpc_urls: tuple[str, ...]
    payer_key_file: Path | None = None
    anchor_after_s: int | None = None
    max_fee_per_gas_gwei: int = DEFAULT_MAX_FEE_GWEI

    @classmethod
    def beside(cls, lane_file: Path) -> Self | None:
        """Read the chain file of a lane file's folder; None if there is none. Raises: ConfigInvalid."""
        path = lane_file.absolute().parent / CHAIN_FILE_NAME
        return cls.load(path) if path.exists() else None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a chain file. Raises: ConfigInvalid naming the file and the field that is wrong."""
        fields = _read_private_object(path)
        missing, unknown = sorted(_REQUIRED - fields.keys()), sorted(fields.keys() - _REQUIRED - _OPTIONAL)
        if missing or unknown:
            raise ConfigInvalid(
                f"chain file {path} has the wrong fields; missing: {', '.join(missing) or 'none'}; "
                f"unknown: {', '.join(unknown) or 'none'}"
            )
        key_file = fields.get("payer_key_file")
        if key_file is not None and (not isinstance(key_file, str) or not key_file or "\0" in key_file):
            raise ConfigInvalid(f"chain file {path}: payer_key_file must be a path")
        return cls(
            path=path,
            rpc_urls=_urls(path, fields["rpc_urls"]),
            payer_key_file=None if key_file is None else path.parent / key_file,
            anchor_after_s=_positive(path, fields, "anchor_after_s", None),
            max_fee_per_gas_gwei=_positive(path, fields, "max_fee_per_gas_gwei", DEFAULT_MAX_FEE_GWEI)
            or DEFAULT_MAX_FEE_GWEI,
        )


def write_chain_file(folder: Path, rpc_urls: list[str], payer_key_file: str | None) -> ChainFile:
    """Write a new chain file. Raises: ConfigInvalid if a value is wrong, or the file exists."""
    path = folder.absolute() / CHAIN_FILE_NAME
    fields: dict[str, object] = {"rpc_urls": list(_urls(path, rpc_urls))}
    if payer_key_file is not None:
        fields["payer_key_file"] = payer_key_file
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConfigInvalid(f"{path} exists", hint="edit it, or choose another folder") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(fields, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return ChainFile.load(path)


def _read_private_object(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigInvalid(f"chain file {path}: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigInvalid(
            f"chain file {path} can be read by others (mode {mode:o}), and endpoints carry access keys",
            hint=f"chmod 600 {path}",
        )
    try:
        fields = json.loads(content) if len(content) <= _MAX_FILE_BYTES else None
    except ValueError as error:
        raise ConfigInvalid(f"chain file {path} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ConfigInvalid(f"chain file {path} must hold one JSON object of at most {_MAX_FILE_BYTES} bytes")
    return fields


def _urls(path: Path, value: object) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or not 1 <= len(value) <= _MAX_URLS
        or len(set(map(str, value))) != len(value)
    ):
        raise ConfigInvalid(f"chain file {path}: rpc_urls must be 1 to {_MAX_URLS} different addresses")
    for number, url in enumerate(value, start=1):
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigInvalid(  # not the text itself: it may be an access key
                f"chain file {path}: rpc_urls number {number} is not an http(s) address"
            )
    return tuple(value)


def _positive(path: Path, fields: dict[str, Any], name: str, default: int | None) -> int | None:
    value = fields.get(name, default)
    if value is not None and (type(value) is not int or not 0 < value < 2**40):
        raise ConfigInvalid(f"chain file {path}: {name} must be a positive integer, got {value!r:.40}")
    return value
