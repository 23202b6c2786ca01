"""The store on a PostgreSQL server: one database per node, one session that writes.

The session that writes holds an advisory lock, and only it writes: when a session is lost, so is its right to
write, and a new one has to take the lock again. What a commit acknowledges is on the server's disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, cast

import psycopg
from psycopg.pq import TransactionStatus
from usufruct_protocol.errors import ConfigInvalid, Incompatible, InvariantBroken, Transient

from usufruct_oracle.secret_file import read_secret
from usufruct_oracle.storage.database import NO_USAGE, RECEIPT_ROW, SCHEMA_VERSION, Connection, PostgresUrl

_OLDEST_SERVER: Final = 140_000
_LOCK: Final = 0x7573_7566_7275_6374  # "usufruct"
# A killed node's session ends when the server notices: at once, or after some keep-alives across a network.
_LOCK_PATIENCE_S: Final = 5.0
_LOCK_POLL_S: Final = 0.1
_SLOW_REFUSAL_S: Final = 1.0
_SESSION: Final = """
    SET statement_timeout = '60s'; SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '10min';
    SET tcp_keepalives_idle = 20; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
"""
_CONNECT: Final[Mapping[str, Any]] = {
    "application_name": "usufruct-oracle",
    "connect_timeout": 10,
    "target_session_attrs": "read-write",  # a standby keeps nothing, and may not know the latest
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_SAFE_COMMITS: Final = ("on", "remote_apply")


class PostgresConnection:
    """A psycopg connection that speaks as `database.Connection`."""

    def __init__(self, raw: psycopg.Connection[tuple[Any, ...]]) -> None:
        self.raw = raw

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run one statement."""
        return self.raw.cursor(binary=True).execute(_translated(sql), parameters)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> None:
        """Run one statement per row, in one go."""
        self.raw.cursor().executemany(_translated(sql), rows)

    def insert_receipts(self, lane_id: int, records: bytes, openings: Mapping[int, bytes], /) -> None:
        """Insert verified records and their usage lists by COPY."""
        cursor = self.raw.cursor()
        with cursor.copy("COPY receipts FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "int8", "int8", "bytea", "bytea", "int8"])
            for seq, units, usage_root, request_hash, issued_at_ms in RECEIPT_ROW.iter_unpack(records):
                root = None if usage_root == NO_USAGE else usage_root
                copy.write_row((lane_id, seq, units, root, request_hash, issued_at_ms))
        if openings:
            with cursor.copy("COPY openings FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["int8", "int8", "bytea"])
                for seq, usage_list in openings.items():
                    copy.write_row((lane_id, seq, usage_list))


@lru_cache(maxsize=512)
def _translated(sql: str) -> bytes:
    return sql.replace("?", "%b").encode()


class PostgresEngine:
    """One database on a server."""

    driver_error: type[Exception] = psycopg.Error
    begin_write = "BEGIN"
    begin_read = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

    def __init__(self, location: PostgresUrl) -> None:
        self.name = str(location)
        self._location = location
        self._was_locked = False
        self._away_until = 0.0

    def schema_version(self) -> int:
        """See Engine."""
        connection = self._connect()
        try:
            return _version(connection)
        finally:
            self.discard(connection)

    def open_writer(self) -> Connection:
        """See Engine. Raises: ConfigInvalid also for a server that does not keep what it acknowledges."""
        connection = self._connect()
        try:
            self._take_lock(connection)
            _check_durability(connection, self.name)
            _prepare(connection, self.name)
        except BaseException:
            self.discard(connection)
            raise
        self._was_locked = True
        return connection

    def open_reader(self) -> Connection:
        """See Engine."""
        connection = self._connect()
        try:
            if _version(connection) != SCHEMA_VERSION:
                raise ConfigInvalid(
                    f"{self.name}: no database of this node", hint="run the node once, or check node.json"
                )
        except BaseException:
            self.discard(connection)
            raise
        return connection

    def commit(self, connection: Connection) -> None:
        """See Engine. A transaction in which a statement failed would be undone without a word."""
        done = connection.execute("COMMIT")
        if cast("psycopg.Cursor[Any]", done).statusmessage != "COMMIT":
            raise InvariantBroken(f"{self.name}: the commit undid a transaction whose statement had failed")

    def roll_back(self, connection: Connection) -> None:
        """See Engine."""
        raw = cast(PostgresConnection, connection).raw
        if raw.info.transaction_status != TransactionStatus.IDLE:
            with suppress(psycopg.Error):
                raw.execute("ROLLBACK")

    def is_usable(self, connection: Connection) -> bool:
        """See Engine."""
        raw = cast(PostgresConnection, connection).raw
        return not raw.closed and raw.info.transaction_status == TransactionStatus.IDLE

    def discard(self, connection: Connection) -> None:
        """See Engine."""
        cast(PostgresConnection, connection).raw.close()

    def close(self) -> None:
        """See Engine. The lock went with the session."""

    @contextmanager
    def typed_errors(self) -> Iterator[None]:
        """See Engine."""
        try:
            yield
        except (
            psycopg.OperationalError,
            psycopg.InterfaceError,
            psycopg.errors.ReadOnlySqlTransaction,
        ) as error:
            raise Transient(
                f"database {self.name}: {_one_line(error)}",
                hint="check the server, its disk and the password",
            ) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise ConfigInvalid(
                f"database {self.name}: {_one_line(error)}", hint="make the node's role the database's owner"
            ) from error
        except psycopg.DataError as error:
            raise OverflowError(f"database {self.name}: {_one_line(error)}") from error
        except psycopg.IntegrityError as error:
            raise InvariantBroken(f"database {self.name}: {_one_line(error)}") from error
        except psycopg.Error as error:
            raise InvariantBroken(
                f"database {self.name}: {_one_line(error)}",
                hint="restore the database, or start a new one and let it refill from peers",
            ) from error

    def _connect(self) -> PostgresConnection:
        settings = dict(_CONNECT)
        if self._location.password_file is not None:
            settings["password"] = _password(self._location.password_file)
        started = time.monotonic()
        if started < self._away_until:
            raise Transient(f"database {self.name}: the server did not answer a moment ago")
        try:
            raw = psycopg.connect(self._location.url, autocommit=True, **settings)
        except psycopg.ProgrammingError as error:
            raise ConfigInvalid(f"database {self.name}: {_one_line(error)}") from error
        except psycopg.OperationalError:
            # Whoever else needs the database should not wait as long again: many do at once.
            waited_s = time.monotonic() - started
            self._away_until = started + 2 * waited_s if waited_s > _SLOW_REFUSAL_S else 0.0
            raise
        try:
            if raw.info.server_version < _OLDEST_SERVER:
                raise ConfigInvalid(
                    f"database {self.name}: PostgreSQL {raw.info.server_version // 10_000} is too old",
                    hint="PostgreSQL 14 or later",
                )
            raw.execute(_SESSION)
        except BaseException:
            raw.close()
            raise
        return PostgresConnection(raw)

    def _take_lock(self, connection: Connection) -> None:
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        while not connection.execute("SELECT pg_try_advisory_lock(?::bigint)", (_LOCK,)).fetchone()[0]:
            if time.monotonic() < deadline:
                time.sleep(_LOCK_POLL_S)
            elif self._was_locked:
                raise Transient(f"{self.name}: another session holds the node's lock")
            else:
                raise ConfigInvalid(
                    f"{self.name} is in use by another process",
                    hint="one node per database: stop the other one first",
                )


def _password(path: Path) -> str:
    """Return what a file says, without the line's end that editors leave."""
    try:
        return read_secret(path, "database password").decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"database password {path}: not text in UTF-8") from error


def _check_durability(connection: Connection, name: str) -> None:
    """Make sure that a commit means: on disk."""
    for setting in ("fsync", "full_page_writes"):
        if connection.execute(f"SHOW {setting}").fetchone()[0] != "on":
            raise ConfigInvalid(
                f"database {name}: the server runs with {setting} = off and can lose what it acknowledged",
                hint=f"set {setting} = on in postgresql.conf",
            )
    if connection.execute("SHOW synchronous_commit").fetchone()[0] not in _SAFE_COMMITS:
        connection.execute("SET synchronous_commit = on")


def _version(connection: Connection) -> int:
    """Return the version of the tables; 0 without any."""
    if connection.execute("SELECT to_regclass('schema_version')::text").fetchone()[0] is None:
        return 0
    row = connection.execute("SELECT version FROM schema_version").fetchone()
    return 0 if row is None else int(row[0])


def _prepare(connection: PostgresConnection, name: str) -> None:
    """Make the tables, in one transaction. There is no earlier version to bring up to date yet."""
    version = _version(connection)
    if version not in (0, SCHEMA_VERSION):
        raise Incompatible(
            f"{name} has schema version {version}, this node writes {SCHEMA_VERSION}",
            hint="run the version of the node that wrote it",
        )
    schema = (
        resources.files("usufruct_oracle.storage").joinpath("schema_postgres.sql").read_text(encoding="utf-8")
    )
    with connection.raw.transaction():
        connection.raw.execute(schema.encode())
        if version == 0:
            connection.execute("INSERT INTO schema_version VALUES (?)", (SCHEMA_VERSION,))


def _one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
