"""What the node asks of a database. Two engines answer: `sqlite_engine` and `postgres_engine`.

Both run the same SQL. It marks parameters with `?`, writes flags as 0 and 1, and keeps to what both know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlsplit

from usufruct_protocol.errors import InputRejected

SCHEMA_VERSION: Final = 2
# A row of `receipts` out of a 104-byte record: without the cumulative units, which follow from a checkpoint.
RECEIPT_ROW: Final = Struct(">QQ16x32s32sQ")
NO_USAGE: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """Where a PostgreSQL database is. The URL holds no password, so that it can be shown.

    password_file: read at each connection; None leaves the password to libpq (passfile, certificate, peer)
    """

    url: str
    password_file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse a password. Raises: InputRejected, without showing it."""
        parts = urlsplit(self.url)
        named = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        if parts.password is not None or named & {"password", "sslpassword"}:
            raise InputRejected(
                "a password in the database's URL",
                hint="put it into a file and name that: database_password_file",
            )

    def __str__(self) -> str:
        return self.url


POSTGRES_SCHEMES: Final = ("postgresql://", "postgres://")
Location = Path | PostgresUrl


class Rows(Protocol):
    """The result of a statement."""

    def fetchone(self) -> Any:
        """Return the next row as a tuple, or None."""

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A connection inside a `Store.read` or `Store.write` block."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Rows:
        """Run one statement."""

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> object:
        """Run one statement per row."""

    def insert_receipts(self, lane_id: int, records: bytes, openings: Mapping[int, bytes], /) -> None:
        """Insert verified 104-byte records that continue a lane, and the usage lists that belong to them."""


class Engine(Protocol):
    """One database. Its connections are handed out by `Store`, which knows when to use which."""

    name: str
    driver_error: type[Exception]
    begin_write: str
    begin_read: str

    def schema_version(self) -> int:
        """Return the version of the tables, 0 while there are none. Raises: Transient."""

    def open_writer(self) -> Connection:
        """Return the one connection that writes; the node's exclusive lock is held from then on.

        Makes or upgrades the tables. Raises: ConfigInvalid if another process holds the lock; Incompatible
        for tables of a later version; Transient.
        """

    def open_reader(self) -> Connection:
        """Return a connection that only reads. Raises: ConfigInvalid if there is no database; Transient."""

    def commit(self, connection: Connection) -> None:
        """Make a transaction durable."""

    def roll_back(self, connection: Connection) -> None:
        """Undo a transaction, if one is open; never raises."""

    def is_usable(self, connection: Connection) -> bool:
        """Tell whether a connection can still be used; asks nobody."""

    def discard(self, connection: Connection) -> None:
        """Close a connection."""

    def typed_errors(self) -> AbstractContextManager[None]:
        """Turn what the driver raises within a block into this project's errors."""

    def close(self) -> None:
        """Release the lock."""
