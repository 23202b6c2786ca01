"""The one transaction of an account whose outcome is not known yet, on disk before the network has it.

An account sends one transaction at a time: as long as its nonce is not used up, every further version or
replacement has the same nonce, so at most one of them is ever mined and paid for. A process that is killed
leaves the transaction here; the next one finds out what became of it before it sends anything else.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from usufruct_protocol.errors import ConfigInvalid, InvariantBroken, Transient
from usufruct_protocol.keccak import keccak256

_FORMAT: Final = 1
_MAX_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What to execute. `to` is None for a deployment; `where` names it in errors."""

    to: str | None
    call_data: str
    value_wei: int
    gas: int | None
    where: str

    def does_the_same(self, other: Outgoing) -> bool:
        """Tell whether two would do one thing twice."""
        return (self.to, self.call_data, self.value_wei) == (other.to, other.call_data, other.value_wei)


@dataclass(frozen=True, slots=True)
class Version:
    """One signed version: the same nonce and call as the others, at higher fees than those before it."""

    raw: bytes
    tip_wei: int
    max_fee_wei: int

    @property
    def transaction_hash(self) -> bytes:
        """Return the hash that it is mined under."""
        return keccak256(self.raw)


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A transaction in all its versions, oldest first.

    replaced:      versions of what stood at this nonce before
    first_sent_at: time of this machine's clock, in seconds
    """

    chain_id: int
    address: str
    nonce: int
    outgoing: Outgoing
    versions: tuple[Version, ...]
    replaced: tuple[Version, ...] = ()
    first_sent_at: float = 0.0

    @property
    def last(self) -> Version:
        """Return the version with the highest fees."""
        return self.versions[-1]

    def bumped(self, version: Version) -> Outstanding:
        """Return it with one more version."""
        return replace(self, versions=(*self.versions, version))


class Journal:
    """Keeps the outstanding transaction; without a path only as long as the process lives.

    Raises, from the constructor: ConfigInvalid if another process holds the file, or it cannot be opened, or
    what it holds is not readable.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock: int | None = None
        self._standing: Outstanding | None = None
        if path is not None:
            self._lock = _take_lock(path)
            try:
                self._standing = _read(path)
            except BaseException:
                self.close()
                raise

    @property
    def standing(self) -> Outstanding | None:
        """Return the transaction without a known outcome, if there is one."""
        return self._standing

    def put(self, standing: Outstanding | None) -> None:
        """Replace what is kept; on disk when this returns. Raises: Transient if the disk will not take it."""
        if self._path is not None:
            try:
                _write(self._path, standing)
            except OSError as error:
                raise Transient(
                    f"{self._path}: {error.strerror}", hint="nothing is sent before it is written down here"
                ) from error
        self._standing = standing

    def close(self) -> None:
        """Let another process have the file."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _take_lock(path: Path) -> int:
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigInvalid(f"{path}: {error.strerror}", hint="check the path and its permissions") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ConfigInvalid(
            f"{path}: another process sends with this key", hint="stop the other one first"
        ) from error
    return descriptor


def _write(path: Path, standing: Outstanding | None) -> None:
    draft = path.with_name(f"{path.name}.draft")
    content = {"format": _FORMAT, "standing": None if standing is None else _content(standing)}
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> Outstanding | None:
    """Return what the file holds; a file that is not there holds nothing."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("too large")
        content = json.loads(path.read_text(encoding="ascii"))
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']}")
        return None if content["standing"] is None else _standing(content["standing"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigInvalid(
            f"{path}: not readable: {error}",
            hint="if no transaction of this account is pending, delete the file",
        ) from error


def _content(standing: Outstanding) -> dict[str, Any]:
    fields = asdict(standing)
    for name in ("versions", "replaced"):
        fields[name] = [{**version, "raw": version["raw"].hex()} for version in fields[name]]
    return fields


def _standing(fields: dict[str, Any]) -> Outstanding:
    found = {**fields, "outgoing": Outgoing(**fields["outgoing"])}
    for name in ("versions", "replaced"):
        found[name] = tuple(
            Version(bytes.fromhex(each["raw"]), int(each["tip_wei"]), int(each["max_fee_wei"]))
            for each in fields[name]
        )
    standing = Outstanding(**found)
    if not standing.versions:
        raise ValueError("a transaction without a signed version")
    return standing


def require_account(standing: Outstanding | None, chain_id: int, address: str) -> None:
    """Refuse a journal that belongs to another account or chain. Raises: InvariantBroken."""
    if standing is not None and (standing.chain_id, standing.address) != (chain_id, address):
        raise InvariantBroken(
            f"the journal holds a transaction of {standing.address} on chain {standing.chain_id}, "
            f"this is {address} on chain {chain_id}",
            hint="give each account a journal of its own",
        )
