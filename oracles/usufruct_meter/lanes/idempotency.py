"""Which lane metered a response id: one index for all workers of a license on a machine.

A retry may reach another worker, with another lane, than the first try did. So before a seq is taken, a
worker claims the response id here, in a transaction that only one of them can win. Then it signs and writes
the receipt in its spool. The claim says *where* to look; whether the call was metered is only ever answered
by that lane's spool, so the two files cannot disagree:

- crash after the claim, before the receipt: the claim points to a spool without the receipt. Its own lane
  goes on and meters; another lane does so once it holds the dead lane's lock, and so knows that nobody is
  about to write there. Metered once, not zero times.
- crash after the receipt: the claim points to the receipt. Metered once.
- crash while the receipt is written: whoever takes the claim over first makes certain whether it was
  (`Spool.settle`). Without that, a receipt could come to light after the call was metered again.
- power loss: the index is not synced on every claim, so its last claims may be gone while receipts are not.
  Opening it again reads the receipts beyond each lane's `indexed_count` back in from the spools; the spools
  win over claims. `indexed_count` is only ever a count whose claims were committed before it.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from usufruct_protocol.errors import ConfigInvalid, UsufructError

from usufruct_meter.errors import LaneLocked, SpoolDoubtful, SpoolFull
from usufruct_meter.lanes.lane_lock import LaneLock
from usufruct_meter.lanes.spool import Spool
from usufruct_meter.lanes.spool_reader import SpoolReader, StoredReceipt

FORMAT: Final = 1
_BUSY_TIMEOUT_S: Final = 5.0
_BUSY_SLEEP_S: Final = 0.0002
_INDEX_EVERY: Final = 4_096
"""How many receipts at most are read back per lane after a power loss."""

_logger = logging.getLogger(__name__)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS lanes (
    number INTEGER PRIMARY KEY,
    lane BLOB NOT NULL UNIQUE CHECK (length(lane) = 20),
    spool TEXT NOT NULL,
    indexed_count INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS claims (
    response_hash BLOB PRIMARY KEY CHECK (length(response_hash) = 32),
    lane_number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """The state of one response id: `receipt` if it was metered, else whether this lane may meter it now."""

    is_ours: bool
    receipt: StoredReceipt | None = None


class ResponseIndex:
    """One lane's view of the index. Calls are serialized by the lane."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, lane_number: int, own: SpoolReader
    ) -> None:
        self._path = path
        self._db = connection
        self._lane_number = lane_number
        self._own = own
        self._siblings: dict[int, SpoolReader] = {}
        self._to_release: set[bytes] = set()
        self._indexed_count = own.count()

    @classmethod
    def open(cls, path: Path, license_id: int, lane: bytes, spool: Path, own: SpoolReader) -> Self:
        """Open or make the index of a license, enter the lane, and read back what a power loss took.

        Raises: ConfigInvalid for a file that is no index or another license's; SpoolDoubtful if the lane's
        spool holds less than the index remembers of it; SpoolFull if it cannot be written.
        """
        try:
            connection = _connect(path, license_id)
            # Synced, unlike claims: what a power loss takes is read back by the list of lanes entered here.
            connection.execute("PRAGMA synchronous = FULL")
            with _transaction(connection, path):
                number, indexed_count = _enter_lane(connection, lane, spool)
                if indexed_count > own.count():
                    raise SpoolDoubtful(
                        f"spool {spool} has {own.count()} receipts, the index {path} has seen {indexed_count}"
                    )
                for other, location, indexed in connection.execute(
                    "SELECT number, spool, indexed_count FROM lanes"
                ).fetchall():
                    _read_back(connection, other, Path(location), indexed)
            connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as error:
            raise _index_error(path, error) from error
        return cls(path, connection, number, own)

    def claim(self, response_hashes: Collection[bytes], durable_count: int) -> dict[bytes, Claim]:
        """Claim response ids for this lane in one transaction; the caller meters those that are `is_ours`.

        `durable_count` is how many receipts of this lane are durable: their claims were committed earlier.
        Raises: SpoolFull if the index cannot be written.
        """
        try:
            with _transaction(self._db, self._path):
                self._release_pending()
                owners = {one: self._claim_one(one) for one in response_hashes}
                if durable_count - self._indexed_count >= _INDEX_EVERY:
                    self._set_indexed(durable_count)
            self._to_release.clear()
            return {one: self._resolve(one, owner) for one, owner in owners.items()}
        except sqlite3.Error as error:
            raise _index_error(self._path, error) from error

    def release(self, response_hashes: Collection[bytes]) -> None:
        """Give claims back that did not become receipts, now or with the next claim."""
        self._to_release.update(response_hashes)
        try:
            with _transaction(self._db, self._path):
                self._release_pending()
            self._to_release.clear()
        except (sqlite3.Error, UsufructError) as error:
            _logger.warning("claims stay for now: %s", error)

    def close(self, durable_count: int) -> None:
        """Note that everything is indexed, and close all files."""
        try:
            with _transaction(self._db, self._path):
                self._set_indexed(durable_count)
        except (sqlite3.Error, UsufructError) as error:
            _logger.warning("the index of response ids was not brought up to date: %s", error)
        for sibling in self._siblings.values():
            sibling.close()
        self._db.close()

    def _claim_one(self, response_hash: bytes) -> int:
        """Return the number of the lane that has the claim."""
        inserted = self._db.execute(
            "INSERT INTO claims (response_hash, lane_number) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (response_hash, self._lane_number),
        )
        if inserted.rowcount == 1:
            return self._lane_number
        return self._owner(response_hash)

    def _owner(self, response_hash: bytes) -> int:
        (owner,) = self._db.execute(
            "SELECT lane_number FROM claims WHERE response_hash = ?", (response_hash,)
        ).fetchone()
        return int(owner)

    def _resolve(self, response_hash: bytes, owner: int) -> Claim:
        if owner == self._lane_number:
            # Ours and not in the spool: a new claim, or one that a crash or a full disk left behind. Nobody
            # else is metering it, because this lane does one group at a time under its lock.
            receipt = self._own.receipt_of_response(response_hash)
            return Claim(is_ours=receipt is None, receipt=receipt)
        try:
            receipt = self._sibling(owner).receipt_of_response(response_hash)
            if receipt is not None:
                return Claim(is_ours=False, receipt=receipt)
            return self._take_over(response_hash, owner)
        except (sqlite3.Error, ConfigInvalid, OSError) as error:
            # Unknown is neither metered nor free; other calls of the group go on.
            _logger.warning(
                "cannot tell whether a response id of lane number %d was metered: %s", owner, error
            )
            return Claim(is_ours=False)

    def _take_over(self, response_hash: bytes, owner: int) -> Claim:
        """Take a claim from a lane that nobody runs; its lock proves that, and keeps it so meanwhile."""
        try:
            lock = LaneLock.acquire(self._spool_of(owner))
        except LaneLocked:
            return Claim(is_ours=False)
        try:
            Spool.settle(self._spool_of(owner))
            receipt = self._sibling(owner).receipt_of_response(response_hash)
            if receipt is not None:
                return Claim(is_ours=False, receipt=receipt)
            with _transaction(self._db, self._path):
                taken = self._db.execute(
                    "UPDATE claims SET lane_number = ? WHERE response_hash = ? AND lane_number = ?",
                    (self._lane_number, response_hash, owner),
                )
            return Claim(is_ours=taken.rowcount == 1)
        finally:
            lock.release()

    def _release_pending(self) -> None:
        for response_hash in self._to_release:
            if self._own.receipt_of_response(response_hash) is None:
                self._db.execute(
                    "DELETE FROM claims WHERE response_hash = ? AND lane_number = ?",
                    (response_hash, self._lane_number),
                )

    def _set_indexed(self, durable_count: int) -> None:
        self._db.execute(
            "UPDATE lanes SET indexed_count = ? WHERE number = ?", (durable_count, self._lane_number)
        )
        self._indexed_count = durable_count

    def _spool_of(self, lane_number: int) -> Path:
        (spool,) = self._db.execute("SELECT spool FROM lanes WHERE number = ?", (lane_number,)).fetchone()
        return Path(spool)

    def _sibling(self, lane_number: int) -> SpoolReader:
        if lane_number not in self._siblings:
            self._siblings[lane_number] = SpoolReader.open(self._spool_of(lane_number))
        return self._siblings[lane_number]


def _connect(path: Path, license_id: int) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise ConfigInvalid(f"index {path}: {error.strerror}", hint="is idempotency right?") from error
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=0, check_same_thread=False
    )
    try:
        _set_up(connection, path, license_id)
    except (sqlite3.Error, UsufructError):
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection, path: Path, license_id: int) -> None:
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:  # switching an empty file to WAL needs it alone for a moment
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() >= deadline:
                raise
            time.sleep(_BUSY_SLEEP_S)
    connection.execute("PRAGMA trusted_schema = OFF")
    with _transaction(connection, path):
        (found,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        expected = _application_id(license_id)
        if version == 0 and found == 0:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {expected}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        elif (found, version) != (expected, FORMAT):
            raise ConfigInvalid(
                f"index {path} belongs to another license than {license_id}, or another version",
                hint="every license has an idempotency file of its own",
            )


def _application_id(license_id: int) -> int:
    """SQLite keeps a signed 32-bit application id: the license id fits, and 0 is never one."""
    return license_id - 2**32 if license_id >= 2**31 else license_id


def _enter_lane(connection: sqlite3.Connection, lane: bytes, spool: Path) -> tuple[int, int]:
    connection.execute(
        "INSERT INTO lanes (lane, spool) VALUES (?, ?)"
        " ON CONFLICT (lane) DO UPDATE SET spool = excluded.spool",
        (lane, str(spool)),
    )
    number, indexed = connection.execute(
        "SELECT number, indexed_count FROM lanes WHERE lane = ?", (lane,)
    ).fetchone()
    return int(number), int(indexed)


def _read_back(connection: sqlite3.Connection, number: int, spool: Path, indexed_count: int) -> None:
    """Enter the receipts of a lane that the index does not know; a receipt wins over a claim."""
    if not spool.is_file():
        _logger.warning(
            "spool %s of lane number %d is gone; its response ids are known up to %d",
            spool,
            number,
            indexed_count,
        )
        return
    reader = SpoolReader.open(spool)
    try:
        count = reader.count()
        for seq, response_hash in reader.response_hashes_from(indexed_count):
            if seq < count:
                connection.execute(
                    "INSERT INTO claims (response_hash, lane_number) VALUES (?, ?)"
                    " ON CONFLICT (response_hash) DO UPDATE SET lane_number = excluded.lane_number",
                    (response_hash, number),
                )
        connection.execute(
            "UPDATE lanes SET indexed_count = max(indexed_count, ?) WHERE number = ?", (count, number)
        )
    finally:
        reader.close()


@contextmanager
def _transaction(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """One write transaction. Waits for another worker's by trying often: SQLite's own wait is 1 ms and more.

    Raises: SpoolFull if another process keeps the file for seconds.
    """
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            break
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
            if time.monotonic() >= deadline:
                raise SpoolFull(f"index {path} is kept busy by another process") from error
        time.sleep(_BUSY_SLEEP_S)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")


def _index_error(path: Path, error: sqlite3.Error) -> UsufructError:
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    if name.startswith(("SQLITE_FULL", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_NOMEM")):
        return SpoolFull(f"index {path} cannot be written: {error}", hint="free some disk space; calls wait")
    return ConfigInvalid(
        f"index {path} failed: {error} ({name})",
        hint="stop the workers, move it away, and start them: it is built again from the spools",
    )
