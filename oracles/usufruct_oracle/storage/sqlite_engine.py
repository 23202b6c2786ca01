"""The store in a SQLite file: write-ahead log with full sync, one process per file."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Final, cast

from usufruct_protocol.errors import ConfigInvalid, Incompatible, InvariantBroken, Transient

from usufruct_oracle.storage.database import NO_USAGE, RECEIPT_ROW, SCHEMA_VERSION, Connection

_BUSY_SECONDS: Final = 10.0
_CACHE_KIB: Final = 65_536
# 32 MB of log before SQLite copies it back: fewer syncs of the main file while a meter sends at full speed.
_AUTOCHECKPOINT_PAGES: Final = 8_000
_ROWS_PER_INSERT: Final = (200, 50)
_RECORD_SIZE: Final = RECEIPT_ROW.size
# Version → what turns its tables into the next one's. New tables come from the schema, run at every start.
_UPGRADES: Final = {
    1: (
        "DELETE FROM evidence WHERE evidence_id <> (SELECT evidence_id FROM evidence AS best "
        "WHERE best.lane_id = evidence.lane_id ORDER BY seq, evidence_id LIMIT 1)",
        # A signature may be missing while it is being made.
        "CREATE TABLE signed_2 (epoch INTEGER NOT NULL, attempt INTEGER NOT NULL, report_hash BLOB NOT NULL, "
        "signature BLOB, PRIMARY KEY (epoch, attempt)) STRICT, WITHOUT ROWID",
        "INSERT INTO signed_2 SELECT * FROM signed",
        "DROP TABLE signed",
        "ALTER TABLE signed_2 RENAME TO signed",
        "ALTER TABLE quarantine ADD COLUMN received_at_s INTEGER NOT NULL DEFAULT 0",
        # Made again below: its votes prove nothing, and nodes ask each other again.
        "DROP TABLE votes",
    ),
}


class SqliteConnection(sqlite3.Connection):
    """A connection of the standard library with one fast way in for receipts."""

    def insert_receipts(self, lane_id: int, records: bytes, openings: Mapping[int, bytes], /) -> None:
        """Insert verified records and their usage lists.

        Rows go from the unpacked bytes straight into SQLite, many to a statement. Per row there is
        then neither a Python step nor a hand-over between threads, which under load costs far more than the
        insert.
        """
        start = 0
        for rows in _ROWS_PER_INSERT:
            insert = f"INSERT INTO receipts VALUES {_row_values(lane_id, rows)}"
            size = rows * _RECORD_SIZE
            while len(records) - start >= size:
                part = RECEIPT_ROW.iter_unpack(records[start : start + size])
                self.execute(insert, tuple(chain.from_iterable(part)))
                start += size
        rest = RECEIPT_ROW.iter_unpack(records[start:])
        self.executemany(f"INSERT INTO receipts VALUES {_row_values(lane_id, 1)}", rest)
        self.executemany(f"INSERT INTO openings VALUES ({lane_id:d}, ?, ?)", openings.items())


def _row_values(lane_id: int, count: int) -> str:
    return ", ".join([f"({lane_id:d}, ?, ?, nullif(?, x'{NO_USAGE.hex()}'), ?, ?)"] * count)


class SqliteEngine:
    """One file. The lock is a file beside it, held until it is closed, even by a crash."""

    driver_error: type[Exception] = sqlite3.Error
    begin_write = "BEGIN IMMEDIATE"
    begin_read = "BEGIN"

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._lock_file: int | None = None

    def schema_version(self) -> int:
        """See Engine."""
        if not self._path.exists():
            return 0
        connection = self._connect("rw")
        try:
            return _version(connection)
        finally:
            connection.close()

    def open_writer(self) -> Connection:
        """See Engine."""
        if self._lock_file is None:
            self._lock_file = _take_lock(self._path)
        connection = self._connect("rwc")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_AUTOCHECKPOINT_PAGES}")
        # What is deleted for people's sake is overwritten, not only forgotten.
        connection.execute("PRAGMA secure_delete = ON")
        _prepare(connection, self.name)
        return connection

    def open_reader(self) -> Connection:
        """See Engine."""
        if not self._path.exists():
            raise ConfigInvalid(
                f"{self.name}: no such database", hint="run the node once, or check node.json"
            )
        connection = self._connect("rw")
        connection.execute("PRAGMA query_only = ON")
        return connection

    def commit(self, connection: Connection) -> None:
        """See Engine."""
        connection.execute("COMMIT")

    def roll_back(self, connection: Connection) -> None:
        """See Engine."""
        with suppress(sqlite3.Error):
            cast(SqliteConnection, connection).rollback()

    def is_usable(self, connection: Connection) -> bool:
        """See Engine."""
        return True

    def discard(self, connection: Connection) -> None:
        """See Engine."""
        cast(SqliteConnection, connection).close()

    def close(self) -> None:
        """See Engine."""
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    @contextmanager
    def typed_errors(self) -> Iterator[None]:
        """See Engine."""
        try:
            yield
        except sqlite3.OperationalError as error:
            # No such table or column: waiting mends nothing.
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
                raise InvariantBroken(
                    f"database {self.name}: {error}", hint="was it made by another version?"
                ) from error
            raise Transient(f"database {self.name}: {error}", hint="check free space and the disk") from error
        except sqlite3.IntegrityError as error:
            raise InvariantBroken(f"database {self.name}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise InvariantBroken(
                f"database {self.name}: {error}",
                hint="restore the file, or start a new one and let it refill from peers",
            ) from error

    def _connect(self, mode: str) -> SqliteConnection:
        try:
            connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                factory=SqliteConnection,
            )
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute("PRAGMA foreign_keys = ON")
        except sqlite3.OperationalError as error:
            raise ConfigInvalid(f"{self.name}: {error}", hint="check the path and its permissions") from error
        return connection


def _take_lock(path: Path) -> int:
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


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _prepare(db: sqlite3.Connection, name: str) -> None:
    """Make the tables, or bring those of an earlier version up to date, in one transaction."""
    version = _version(db)
    if version > SCHEMA_VERSION:
        raise Incompatible(
            f"{name} has schema version {version}, this node writes {SCHEMA_VERSION}",
            hint="run the version of the node that wrote it",
        )
    steps = range(version, SCHEMA_VERSION) if version else ()  # a new file has nothing to bring up to date
    upgrades = [statement for step in steps for statement in _UPGRADES[step]]
    schema = (
        resources.files("usufruct_oracle.storage").joinpath("schema_sqlite.sql").read_text(encoding="utf-8")
    )
    script = ";\n".join(("BEGIN", *upgrades, schema, f"PRAGMA user_version = {SCHEMA_VERSION}", "COMMIT"))
    db.executescript(script)
