"""The node's one durable store, and the rule that what is committed survives any crash.

SQLite by default, PostgreSQL by URL. When `write()` has left its block, the data is on disk. One writer at a
time, any number of readers, and one process per database.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from usufruct_protocol.errors import ConfigInvalid, Incompatible, InvariantBroken, Transient, UsufructError

from usufruct_oracle.storage.database import Connection, Engine, Location
from usufruct_oracle.storage.sqlite_engine import SqliteEngine

_MAX_READERS: Final = 24
_READER_TIMEOUT_S: Final = 10.0


class Store:
    """An open database. Safe to share between threads."""

    def __init__(
        self, location: Location, *, exclusive: bool, on_error: Callable[[str], object] | None = None
    ) -> None:
        """Open or create the database.

        exclusive: hold the writer's lock for as long as the store is open; without it only `read` works.
        on_error:  is told the code of each transaction that the database failed
        Raises: ConfigInvalid if another process holds the lock or the database cannot be opened; Incompatible
        for a schema of another version; Transient if a server does not answer.
        """
        self._engine = _engine(location)
        self._on_error = on_error
        self._write_lock = threading.RLock()
        self._is_writing = False
        self._readers = threading.BoundedSemaphore(_MAX_READERS)
        self._pool_lock = threading.Lock()
        self._idle_readers: list[Connection] = []
        self._is_closed = False
        self._is_exclusive = exclusive
        self._writer: Connection | None = None
        try:
            with self._engine.typed_errors():
                if exclusive:
                    self._writer = self._engine.open_writer()
                else:
                    self._idle_readers.append(self._engine.open_reader())
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """How messages name the database; holds no secret."""
        return self._engine.name

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Run a block as one transaction: durable when the block has left, or not at all.

        A block inside a block belongs to the outer transaction. When a server is lost during the commit,
        nobody knows which of the two it was: everything that is written here can be written again.
        Raises: Transient if disk, server or another process is in the way; InvariantBroken if a constraint
        is violated or the database is damaged.
        """
        if not self._is_exclusive:
            raise InvariantBroken(f"{self.name} is open for reading only")
        with self._write_lock:
            if self._is_writing and self._writer is not None:
                yield self._writer
                return
            with self._typed_errors():
                writer = self._begin_write()
                self._is_writing = True
                try:
                    yield writer
                    self._engine.commit(writer)
                except BaseException:
                    self._engine.roll_back(writer)
                    raise
                finally:
                    self._is_writing = False

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Run a block on one consistent snapshot of what is committed."""
        if not self._readers.acquire(timeout=_READER_TIMEOUT_S):
            raise Transient(f"{self.name}: {_MAX_READERS} readers at once", hint="try again in a moment")
        try:
            with self._typed_errors():
                connection = self._begin_read()
                try:
                    yield connection
                finally:
                    self._engine.roll_back(connection)
                    self._give_back(connection)
        finally:
            self._readers.release()

    def bind_identity(self, identity: Mapping[str, str], *, may_differ: Collection[str] = ()) -> None:
        """Tie the database to one deployment and signer; later runs must name the same.

        may_differ: names that are not compared; a run without a key may use any signer's database
        Raises: Incompatible naming what differs: another chain's usage must not be counted into this one.
        """
        with self.write() as db:
            known = dict(db.execute("SELECT name, value FROM identity"))
            if not known:
                db.executemany("INSERT INTO identity VALUES (?, ?)", list(identity.items()))
                return
        for name in sorted(known.keys() | identity.keys()):
            if name not in may_differ and known.get(name) != identity.get(name):
                raise Incompatible(
                    f"{self.name} belongs to {name} {known.get(name)}, the settings say {identity.get(name)}",
                    hint="use a new database for another deployment or key",
                )

    def close(self) -> None:
        """Close every connection and release the lock."""
        with self._pool_lock:
            self._is_closed = True
            readers, self._idle_readers = self._idle_readers, []
        for connection in readers:
            self._engine.discard(connection)
        if self._writer is not None:
            self._engine.discard(self._writer)
            self._writer = None
        self._engine.close()

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        try:
            with self._engine.typed_errors():
                yield
        except UsufructError as error:
            if self._on_error is not None and isinstance(error.__cause__, self._engine.driver_error):
                self._on_error(error.code)
            raise

    def _begin_write(self) -> Connection:
        """Begin on the writer's connection; on a new one if the server has dropped it meanwhile."""
        if self._is_closed:
            raise Transient(f"{self.name} is closed", hint="the node is stopping")
        if self._writer is not None and self._begin(self._writer, self._engine.begin_write):
            return self._writer
        self._writer = None
        self._writer = self._engine.open_writer()
        self._writer.execute(self._engine.begin_write)
        return self._writer

    def _begin_read(self) -> Connection:
        while True:
            with self._pool_lock:
                if self._is_closed:
                    raise Transient(f"{self.name} is closed", hint="the node is stopping")
                connection = self._idle_readers.pop() if self._idle_readers else None
            if connection is None:
                connection = self._engine.open_reader()
                connection.execute(self._engine.begin_read)
                return connection
            if self._begin(connection, self._engine.begin_read):
                return connection

    def _begin(self, connection: Connection, statement: str) -> bool:
        """Begin on a connection that was idle; False, and it is discarded, if it had been lost."""
        try:
            if self._engine.is_usable(connection):
                connection.execute(statement)
                return True
        except Exception:
            if self._engine.is_usable(connection):
                raise
        self._engine.discard(connection)
        return False

    def _give_back(self, connection: Connection) -> None:
        with self._pool_lock:
            if not self._is_closed and self._engine.is_usable(connection):
                self._idle_readers.append(connection)
                return
        self._engine.discard(connection)


def schema_version(location: Location) -> int:
    """Return the version of a node's tables, 0 while there are none. Raises: ConfigInvalid, Transient."""
    engine = _engine(location)
    with engine.typed_errors():
        return engine.schema_version()


def _engine(location: Location) -> Engine:
    if isinstance(location, Path):
        return SqliteEngine(location)
    try:
        from usufruct_oracle.storage.postgres_engine import PostgresEngine
    except ImportError as error:
        raise ConfigInvalid(
            f"{location}: no PostgreSQL driver: {error}", hint="pip install 'usufruct[postgres]'"
        ) from error
    return PostgresEngine(location)
