"""The node's one durable store: a SQLite file, and the rule that what is committed survives any crash.

Write-ahead log with full sync: when `write()` has left its block, the data is on disk. One writer at a time,
any number of readers, and one process per file.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Final

from usufruct_protocol.errors import ConfigInvalid, Incompatible, InvariantBroken, Transient

SCHEMA_VERSION: Final = 1
_BUSY_SECONDS: Final = 10.0
_CACHE_KIB: Final = 65_536
# 32 MB of log before SQLite copies it back: fewer syncs of the main file while a meter sends at full speed.
_AUTOCHECKPOINT_PAGES: Final = 8_000


class Store:
    """An open database file. Safe to share between threads."""

    def __init__(self, path: Path, *, exclusive: bool) -> None:
        """Open or create the file.

        exclusive: hold the writer's lock for as long as the store is open; without it only `read` works.
        Raises: ConfigInvalid if another process holds the lock or the file cannot be opened; Incompatible for
        a schema of another version.
        """
        self.path = path
        self._lock_file = _take_lock(path) if exclusive else None
        self._write_lock = threading.RLock()
        self._pool_lock = threading.Lock()
        self._idle_readers: list[sqlite3.Connection] = []
        self._is_closed = False
        try:
            self._writer = self._connect() if exclusive else None
            if self._writer is not None:
                _prepare(self._writer, path)
            elif not path.exists():
                raise ConfigInvalid(f"{path}: no such database", hint="run the node once, or check node.json")
        except BaseException:
            self.close()
            raise

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Run a block as one transaction: durable when the block has left, or not at all.

        A block inside a block belongs to the outer transaction.
        Raises: Transient if disk or another process is in the way; InvariantBroken if the file is damaged.
        """
        if self._writer is None:
            raise InvariantBroken(f"{self.path} is open for reading only")
        with self._write_lock:
            if self._writer.in_transaction:
                yield self._writer
                return
            with _typed_errors(self.path):
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    yield self._writer
                    self._writer.execute("COMMIT")
                except BaseException:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Run a block on one consistent snapshot of what is committed."""
        with _typed_errors(self.path):
            connection = self._borrow()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._give_back(connection)

    def bind_identity(self, identity: Mapping[str, str]) -> None:
        """Tie the file to one deployment and signer; later runs must name the same.

        Raises: Incompatible naming what differs: another chain's usage must not be counted into this file.
        """
        with self.write() as db:
            known = dict(db.execute("SELECT name, value FROM identity"))
            if not known:
                db.executemany("INSERT INTO identity VALUES (?, ?)", identity.items())
                return
        for name in sorted(known.keys() | identity.keys()):
            if known.get(name) != identity.get(name):
                raise Incompatible(
                    f"{self.path} belongs to {name} {known.get(name)}, the settings say {identity.get(name)}",
                    hint="use a new database file for another deployment or key",
                )

    def close(self) -> None:
        """Close every connection and release the lock."""
        with self._pool_lock:
            self._is_closed = True
            readers, self._idle_readers = self._idle_readers, []
        for connection in readers:
            connection.close()
        if getattr(self, "_writer", None) is not None:
            self._writer.close()  # type: ignore[union-attr]
            self._writer = None
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={'rw' if read_only else 'rwc'}",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute("PRAGMA foreign_keys = ON")
            if read_only:
                connection.execute("PRAGMA query_only = ON")
        except sqlite3.OperationalError as error:
            raise ConfigInvalid(f"{self.path}: {error}", hint="check the path and its permissions") from error
        return connection

    def _borrow(self) -> sqlite3.Connection:
        with self._pool_lock:
            if self._is_closed:
                raise Transient(f"{self.path} is closed", hint="the node is stopping")
            if self._idle_readers:
                return self._idle_readers.pop()
        return self._connect(read_only=True)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._pool_lock:
            if not self._is_closed:
                self._idle_readers.append(connection)
                return
        connection.close()


def _take_lock(path: Path) -> int:
    """Return a file descriptor that holds the lock until it is closed, even by a crash."""
    try:
        lock_file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigInvalid(f"{path}: {error.strerror}", hint="check the path and its permissions") from error
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock_file)
        raise ConfigInvalid(
            f"{path} is in use by another process", hint="one node per database: stop the other one first"
        ) from error
    return lock_file


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    with _typed_errors(path):
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {_AUTOCHECKPOINT_PAGES}")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == SCHEMA_VERSION:
            return
        if version != 0:
            raise Incompatible(f"{path} has schema version {version}, this node writes {SCHEMA_VERSION}")
        schema = resources.files("usufruct_oracle").joinpath("schema.sql").read_text(encoding="utf-8")
        db.executescript(f"BEGIN;\n{schema}\nPRAGMA user_version = {SCHEMA_VERSION};\nCOMMIT;")


@contextmanager
def _typed_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Transient(f"database {path}: {error}", hint="check free space and the disk") from error
    except sqlite3.DatabaseError as error:
        raise InvariantBroken(
            f"database {path}: {error}",
            hint="restore the file, or start a new one and let it refill from peers",
        ) from error
