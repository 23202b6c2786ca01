"""What an operator decides about a node: one JSON file, read once at startup.

Paths in it are relative to the file's own folder. Secrets are named by path, never written into the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from usufruct_protocol.errors import ConfigInvalid, InputRejected
from usufruct_protocol.signing import parse_address

from usufruct_oracle.guards.limits import GuardLimits
from usufruct_oracle.http.serving import Serving
from usufruct_oracle.storage.database import POSTGRES_SCHEMES, Location, PostgresUrl

_REQUIRED: Final = ("rpc_url", "deployment", "database", "peers", "attempt_seconds")
_OPTIONAL: Final[Mapping[str, Any]] = {
    "database_password_file": None,
    "key_file": None,
    "keystore_file": None,
    "passphrase_file": None,
    "signer_command": None,
    "signer_address": None,
    "signer_timeout_seconds": 10.0,
    "host": "127.0.0.1",
    "port": 8645,
    "grace_s": 60,
    "finality_depth": 0,
    "stagger_seconds": 5.0,
    "poll_seconds": 2.0,
    "peer_timeout_seconds": 5.0,
    "keep_restricted_epochs": 3,
    "approvals": "approvals",
    "guards": {},
    "pending_transaction": None,
    "bundle_key_file": None,
    "serving": {},
}


AGREED: Final = ("grace_s", "finality_depth", "attempt_seconds")
"""Settings that must be equal on all nodes, or they never sign the same."""
_KEY_PLACES: Final = ("keystore_file", "signer_command", "key_file")


@dataclass(frozen=True, slots=True)
class KeystoreKey:
    """The signer's key in an encrypted keystore file."""

    keystore_file: Path
    passphrase_file: Path


@dataclass(frozen=True, slots=True)
class ExternalKey:
    """The signer's key behind another program, and the address that it must sign for."""

    command: tuple[str, ...]
    address: bytes
    timeout_s: float


@dataclass(frozen=True, slots=True)
class PlainKey:
    """The signer's key as hex in a file: for development."""

    key_file: Path


Key = KeystoreKey | ExternalKey | PlainKey


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one node.

    database:               a SQLite file, or a PostgreSQL server's database
    key:                    where the signer's key is; None runs the node dry: it checks and serves
                            everything, and neither signs nor sends
    peers:                  signer address → base URL, this node's own entry included or not
    rpc_urls:               endpoints of the chain, in order of preference; three outvote a wrong one
    bundle_key_file:        opens what is sealed to this node in exported bundles; made at the first start
    pending_transaction:    keeps the transaction whose outcome is not known yet; by default a file beside the
                            database file, or beside node.json where the database is a server's
    grace_s:                chain seconds between a period's end and its cut-off; equal on all nodes
    finality_depth:         blocks below the head at which a block counts as final; equal on all nodes
    attempt_seconds:        chain seconds until the next signer may propose; equal on all nodes
    stagger_seconds:        how long a node lets each node of a better rank send a transaction first
    poll_seconds:           pause between two looks at the chain
    keep_restricted_epochs: finalized epochs whose rosters, accruals and usage lists are kept
    approvals:              folder in which `epoch approve` leaves what a person let pass
    guards:                 how unusual a report may be before a person is asked
    serving:                limits for the outside, and where the operator finds metrics
    """

    rpc_urls: tuple[str, ...] = field(repr=False)  # providers put their access key into them
    deployment: Path
    database: Location
    key: Key | None
    host: str
    port: int
    peers: Mapping[bytes, str]
    grace_s: int
    finality_depth: int
    attempt_seconds: int
    stagger_seconds: float
    poll_seconds: float
    peer_timeout_seconds: float
    keep_restricted_epochs: int
    approvals: Path
    guards: GuardLimits
    pending_transaction: Path
    bundle_key_file: Path
    serving: Serving

    @property
    def operator_url(self) -> str:
        """Where this node answers its operator: apart from the outside, if it has a port for that."""
        if self.serving.metrics_port is None:
            return f"http://{self.host}:{self.port}"
        return f"http://{self.serving.metrics_host}:{self.serving.metrics_port}"

    @property
    def agreed(self) -> dict[str, int]:
        """The settings that must be equal on all nodes."""
        return {name: getattr(self, name) for name in AGREED}

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read node.json. Raises: ConfigInvalid naming the file, the setting and what is wrong with it."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigInvalid(
                f"{path}: cannot be read: {error.strerror}", hint="usufruct-oracle init writes one"
            ) from error
        except ValueError as error:
            raise ConfigInvalid(f"{path}: not JSON: {error}") from error
        if not isinstance(data, dict):
            raise ConfigInvalid(f"{path}: expected a JSON object")
        return _Reader(path, data).settings()


class _Reader:
    """Takes settings out of a JSON object one by one, so that every complaint names file and setting."""

    def __init__(self, path: Path, data: dict[str, Any]) -> None:
        self._path = path
        unknown = sorted(data.keys() - {*_REQUIRED, *_OPTIONAL})
        if unknown:
            raise ConfigInvalid(f"{path}: unknown setting {unknown[0]!r}", hint="check the spelling")
        missing = [name for name in _REQUIRED if name not in data]
        if missing:
            raise ConfigInvalid(f"{path}: {missing[0]!r} is missing")
        self._data = {**_OPTIONAL, **data}

    def settings(self) -> Settings:
        return Settings(
            rpc_urls=self._urls("rpc_url"),
            deployment=self._file("deployment"),
            database=self._database(),
            key=self._key(),
            host=self._text("host"),
            port=self._integer("port", 0, 65_535),
            peers=self._peers(),
            grace_s=self._integer("grace_s", 1, 86_400),
            finality_depth=self._integer("finality_depth", 0, 100_000),
            attempt_seconds=self._integer("attempt_seconds", 1, 86_400),
            stagger_seconds=self._seconds("stagger_seconds", 0.0),
            poll_seconds=self._seconds("poll_seconds", 0.01),
            peer_timeout_seconds=self._seconds("peer_timeout_seconds", 0.05),
            keep_restricted_epochs=self._integer("keep_restricted_epochs", 2, 1_000_000),
            approvals=self._file("approvals"),
            guards=self._guards(),
            pending_transaction=self._beside_database("pending_transaction", "pending-transaction.json"),
            bundle_key_file=self._beside_database("bundle_key_file", "bundle.key"),
            serving=self._serving(),
        )

    def _bad(self, name: str, expected: str) -> ConfigInvalid:
        return ConfigInvalid(f"{self._path}: {name} must be {expected}, got {self._data[name]!r}")

    def _text(self, name: str) -> str:
        value = self._data[name]
        if not isinstance(value, str) or not value or value.startswith("<"):
            raise self._bad(name, "a text, not empty and not a placeholder")
        return value

    def _urls(self, name: str) -> tuple[str, ...]:
        value = self._data[name]
        urls = value if isinstance(value, list) and value else [value]
        for url in urls:
            if not isinstance(url, str) or not url or url.startswith("<"):
                raise self._bad(name, "a URL or a list of URLs, none empty and none a placeholder")
        if len(set(urls)) != len(urls):
            raise ConfigInvalid(f"{self._path}: {name} names an endpoint twice")
        return tuple(urls)

    def _file(self, name: str) -> Path:
        return self._path.parent / self._text(name)

    def _integer(self, name: str, low: int, high: int) -> int:
        value = self._data[name]
        if type(value) is not int or not low <= value <= high:
            raise self._bad(name, f"a whole number from {low} to {high}")
        return value

    def _seconds(self, name: str, low: float) -> float:
        value = self._data[name]
        if type(value) not in (int, float) or not low <= value <= 86_400:
            raise self._bad(name, f"a number of seconds from {low} to 86400")
        return float(value)

    def _beside_database(self, name: str, default: str) -> Path:
        """A file that the node writes: as named, else where it can write already."""
        if self._data[name] is not None:
            return self._file(name)
        database = self._database()
        if isinstance(database, Path):
            return database.with_name(f"{database.name}.{default}")
        return self._path.with_name(default)

    def _database(self) -> Location:
        password_file = self._data["database_password_file"]
        if not self._text("database").startswith(POSTGRES_SCHEMES):
            if password_file is not None:
                raise ConfigInvalid(f"{self._path}: database_password_file, but the database is a file")
            return self._file("database")
        try:
            return PostgresUrl(
                self._text("database"),
                None if password_file is None else self._file("database_password_file"),
            )
        except InputRejected as error:
            raise ConfigInvalid(f"{self._path}: {error}", hint=error.hint) from error

    def _key(self) -> Key | None:
        given = [name for name in _KEY_PLACES if self._data[name] is not None]
        if len(given) > 1:
            raise ConfigInvalid(
                f"{self._path}: {given[0]} and {given[1]} are both set", hint="a node has one key; keep one"
            )
        self._check_companion("passphrase_file", "keystore_file")
        self._check_companion("signer_address", "signer_command")
        match given:
            case ["keystore_file"]:
                return KeystoreKey(self._file("keystore_file"), self._file("passphrase_file"))
            case ["signer_command"]:
                timeout_s = self._seconds("signer_timeout_seconds", 0.1)
                return ExternalKey(self._command(), self._address("signer_address"), timeout_s)
            case ["key_file"]:
                return PlainKey(self._file("key_file"))
        return None

    def _check_companion(self, name: str, of: str) -> None:
        if (self._data[name] is None) != (self._data[of] is None):
            there, missing = (of, name) if self._data[name] is None else (name, of)
            raise ConfigInvalid(f"{self._path}: {there} needs {missing} beside it")

    def _serving(self) -> Serving:
        try:
            return Serving.from_json(self._data["serving"])
        except InputRejected as error:
            raise ConfigInvalid(f"{self._path}: {error}", hint=error.hint) from error

    def _guards(self) -> GuardLimits:
        try:
            return GuardLimits.from_json(self._data["guards"])
        except InputRejected as error:
            raise ConfigInvalid(f"{self._path}: guards: {error}", hint=error.hint) from error

    def _command(self) -> tuple[str, ...]:
        value = self._data["signer_command"]
        if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
            raise self._bad("signer_command", "an array of texts, the program first")
        return tuple(value)

    def _address(self, name: str) -> bytes:
        try:
            return parse_address(self._text(name))
        except InputRejected as error:
            raise ConfigInvalid(f"{self._path}: {name}: {error}", hint=error.hint) from error

    def _peers(self) -> dict[bytes, str]:
        value = self._data["peers"]
        if not isinstance(value, dict):
            raise self._bad("peers", "an object of signer address → URL")
        peers: dict[bytes, str] = {}
        for text, url in value.items():
            try:
                address = parse_address(text)
            except InputRejected as error:
                raise ConfigInvalid(f"{self._path}: peers: {error}") from error
            if not isinstance(url, str) or not url.startswith(("http://", "https://")):
                raise ConfigInvalid(f"{self._path}: peers: {text} needs an http(s) URL, got {url!r}")
            if address in peers:
                raise ConfigInvalid(f"{self._path}: peers: {text} is named twice")
            peers[address] = url.rstrip("/")
        return peers
