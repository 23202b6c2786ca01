"""The durable memory of one lane: receipts, openings and checkpoints in one SQLite file.

What `append` wrote survives any crash once it has returned (WAL, synchronous=FULL). The seq is the primary
key, so whatever happens around it, the file holds one receipt per seq and no gap below the last.
Opening never creates: a lane whose spool is gone must not start again from seq 0.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from usufruct_protocol.errors import ConfigInvalid, UsufructError
from usufruct_protocol.receipts import Checkpoint, LaneFrontier
from usufruct_protocol.signing import checksum_address

from usufruct_meter.errors import SpoolCopied, SpoolDoubtful, SpoolFull
from usufruct_meter.lanes.checkpoints import OpenSpan
from usufruct_meter.lanes.spool_reader import SpoolReader, StoredReceipt

FORMAT: Final = 1
MIN_FREE_BYTES: Final = 64 * 1024 * 1024
"""Room that calls leave for checkpoints, acknowledgements and whatever else the disk is for."""
_BUSY_TIMEOUT_S: Final = 5.0
_ROOM_CHECK_S: Final = 0.25
_NO_ROOM_RETRY_S: Final = 30
_PRUNE_STEP: Final = 500

_SCHEMA: Final = """
CREATE TABLE lane (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    format INTEGER NOT NULL,
    lane BLOB NOT NULL CHECK (length(lane) = 20),
    chain_id INTEGER NOT NULL,
    settlement BLOB NOT NULL CHECK (length(settlement) = 20),
    inode INTEGER NOT NULL,
    stopped_because TEXT,
    probes INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE receipts (
    seq INTEGER PRIMARY KEY CHECK (seq >= 0),
    record BLOB NOT NULL CHECK (length(record) = 104),
    signature BLOB NOT NULL CHECK (length(signature) = 65),
    request_salt BLOB NOT NULL CHECK (length(request_salt) = 32),
    response_hash BLOB CHECK (response_hash IS NULL OR length(response_hash) = 32)
) STRICT;
CREATE UNIQUE INDEX receipt_of_response ON receipts (response_hash) WHERE response_hash IS NOT NULL;
CREATE TABLE openings (
    seq INTEGER PRIMARY KEY,
    opening BLOB NOT NULL
) STRICT;
CREATE TABLE checkpoints (
    count INTEGER PRIMARY KEY CHECK (count > 0),
    epoch INTEGER NOT NULL,
    cumulative_units BLOB NOT NULL CHECK (length(cumulative_units) = 16),
    receipts_root BLOB NOT NULL CHECK (length(receipts_root) = 32),
    signature BLOB NOT NULL CHECK (length(signature) = 65),
    frontier BLOB NOT NULL
) STRICT;
CREATE TABLE nodes (
    url TEXT PRIMARY KEY,
    acked_count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""

_INSERT_RECEIPT: Final = (
    "INSERT INTO receipts (seq, record, signature, request_salt, response_hash) VALUES (?, ?, ?, ?, ?)"
)
_INSERT_CHECKPOINT: Final = (
    "INSERT INTO checkpoints (count, epoch, cumulative_units, receipts_root, signature, frontier)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
_PRUNED_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS pruned"
    " (id INTEGER PRIMARY KEY CHECK (id = 1), usage_below INTEGER NOT NULL) STRICT"
)
_PROBE: Final = "UPDATE lane SET probes = probes + 1"


@dataclass(frozen=True, slots=True)
class LaneIdentity:
    """Which lane a spool belongs to: its key, and the contract that counts it."""

    lane: bytes
    chain_id: int
    settlement: bytes


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint, the epoch that counts its last receipt, and the frontier to go on from."""

    checkpoint: Checkpoint
    signature: bytes
    epoch: int
    frontier: bytes


class Spool:
    """The one writer of a spool; the caller holds the lane's lock and serializes calls."""

    def __init__(self, path: Path, connection: sqlite3.Connection, inode: int) -> None:
        self._path = path
        self._db = connection
        self._inode = inode
        self._check_room_at = 0.0
        self._free_bytes = 0
        self.reader = SpoolReader(connection)

    @classmethod
    def create(cls, path: Path, identity: LaneIdentity) -> None:
        """Make the empty spool of a new lane, readable by its owner only.

        Raises: ConfigInvalid if the file exists or cannot be made.
        """
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise ConfigInvalid(f"spool {path}: {error.strerror}", hint="choose another place") from error
        connection = _connect(path)
        try:
            connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            connection.execute(
                "INSERT INTO lane (id, format, lane, chain_id, settlement, inode) VALUES (1, ?, ?, ?, ?, ?)",
                (FORMAT, identity.lane, identity.chain_id, identity.settlement, path.stat().st_ino),
            )
        finally:
            connection.close()
        sync_folder(path.parent)

    @classmethod
    def open(cls, path: Path, identity: LaneIdentity) -> Self:
        """Open the spool of a lane.

        Raises: ConfigInvalid if it is another lane's, of another version, or missing; SpoolDoubtful if it was
        copied, stopped earlier, or is damaged.
        """
        if not path.is_file():
            raise SpoolDoubtful(f"spool {path} is missing")
        inode = path.stat().st_ino
        try:
            connection = _connect(path)
            row = connection.execute(
                "SELECT format, lane, chain_id, settlement, inode, stopped_because FROM lane"
            ).fetchone()
        except sqlite3.DatabaseError as error:
            raise _spool_error(path, error) from error
        try:
            _check_identity(path, row, identity, inode)
        except UsufructError:
            connection.close()
            raise
        return cls(path, connection, inode)

    @staticmethod
    def settle(path: Path) -> None:
        """Make certain what the last commit of a dead writer came to; the caller holds the lane's lock.

        A writer that is killed between syncing its last frames and announcing them leaves a transaction that
        today's readers don't see and that a recovery of the file would bring back. A write of our own either
        comes after it or overwrites it; from then on everybody sees the same for ever.
        Raises: sqlite3.Error if the file cannot be written.
        """
        connection = _connect(path)
        try:
            connection.execute(_PROBE)
        finally:
            connection.close()

    def frontier(self) -> tuple[LaneFrontier, OpenSpan]:
        """Return how far the lane has come, and what no checkpoint covers yet.

        Raises: SpoolDoubtful if receipts are missing or do not continue from the last checkpoint.
        """
        lane = self.reader.lane()
        try:
            frontier = self.reader.last_frontier()
            span = OpenSpan()
            for stored, opening_bytes in self.reader.receipts_from(lane, frontier.count):
                frontier.append(stored.receipt)
                span.add(opening_bytes)
        except sqlite3.DatabaseError as error:
            raise _spool_error(self._path, error) from error
        except UsufructError as error:
            raise SpoolDoubtful(f"spool {self._path} does not add up: {error}") from error
        return frontier, span

    def append(self, receipts: Sequence[StoredReceipt], checkpoints: Sequence[SignedCheckpoint]) -> None:
        """Write receipts with their openings, and checkpoints, in one transaction; durable on return.

        Raises: SpoolFull if nothing was written and trying again later may help; SpoolDoubtful if it must not
        be tried again: the disk failed, or the file is not the one that was opened.
        """
        self._check_file()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_INSERT_RECEIPT, [stored.row() for stored in receipts])
            openings = [(stored.receipt.seq, stored.opening) for stored in receipts if stored.opening]
            if openings:
                self._db.executemany("INSERT INTO openings (seq, opening) VALUES (?, ?)", openings)
            if checkpoints:
                self._db.executemany(_INSERT_CHECKPOINT, map(_checkpoint_row, checkpoints))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise _spool_error(self._path, error) from error

    def check_room(self) -> None:
        """Refuse calls before the disk is full, so that what closes a period can still be written.

        Looks at the disk a few times per second at most. Raises: SpoolFull.
        """
        now = time.monotonic()
        if now >= self._check_room_at:
            disk = os.statvfs(self._path.parent)
            self._free_bytes = disk.f_bavail * disk.f_frsize
            self._check_room_at = now + _ROOM_CHECK_S
        if self._free_bytes < MIN_FREE_BYTES:
            raise SpoolFull(
                f"spool {self._path}: {self._free_bytes} bytes are left, calls need {MIN_FREE_BYTES}",
                hint="free some disk space; calls wait",
                retry_after_s=_NO_ROOM_RETRY_S,
            )

    def prune_usage_lists(self, below_seq: int) -> bool:
        """Delete some of the usage lists below a seq; returns whether there may be more. Raises: as `append`.

        A step at a time, because calls wait meanwhile. The freed room of the file is used again.
        """
        self._check_file()
        try:
            self._db.execute(_PRUNED_TABLE)
            self._db.execute("BEGIN IMMEDIATE")
            deleted = self._db.execute(
                "DELETE FROM openings WHERE seq IN"
                " (SELECT seq FROM openings WHERE seq < ? ORDER BY seq LIMIT ?)",
                (below_seq, _PRUNE_STEP),
            ).rowcount
            if deleted:
                self._db.execute(
                    "INSERT INTO pruned (id, usage_below) VALUES (1, ?)"
                    " ON CONFLICT (id) DO UPDATE SET usage_below = max(usage_below, excluded.usage_below)",
                    (below_seq,),
                )
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise _spool_error(self._path, error) from error
        return deleted == _PRUNE_STEP

    def probe(self) -> None:
        """Write one durable row to see whether writing works again. Raises: as `append`."""
        self._write(_PROBE)

    def stop(self, reason: str) -> None:
        """Remember for good that this lane must not sign any more. Raises: as `append`."""
        self._write("UPDATE lane SET stopped_because = ?", (reason,))

    def save_acks(self, counts: dict[str, int]) -> None:
        """Remember how many receipts each node has acknowledged. Raises: as `append`."""
        for url, count in counts.items():
            self._write(
                "INSERT INTO nodes (url, acked_count) VALUES (?, ?)"
                " ON CONFLICT (url) DO UPDATE SET acked_count = excluded.acked_count",
                (url, count),
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _write(self, statement: str, parameters: tuple[object, ...] = ()) -> None:
        self._check_file()
        try:
            self._db.execute(statement, parameters)
        except sqlite3.Error as error:
            self._roll_back()
            raise _spool_error(self._path, error) from error

    def _check_file(self) -> None:
        """A removed or replaced file still takes writes, but nobody will find them again."""
        try:
            found = self._path.stat().st_ino
        except OSError as error:
            raise SpoolDoubtful(f"spool {self._path} was removed while in use") from error
        if found != self._inode:
            raise SpoolCopied(f"spool {self._path} was replaced while in use")

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        timeout=_BUSY_TIMEOUT_S,
        check_same_thread=False,
    )
    try:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "fullfsync = ON", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _check_identity(path: Path, row: tuple[object, ...] | None, identity: LaneIdentity, inode: int) -> None:
    if row is None or row[0] != FORMAT:
        raise ConfigInvalid(f"spool {path} is not of format {FORMAT}", hint="made by another version?")
    found = LaneIdentity(row[1], row[2], row[3])  # type: ignore[arg-type]  # STRICT columns
    if found != identity:
        raise ConfigInvalid(
            f"spool {path} is of lane {checksum_address(found.lane)} on chain {found.chain_id} (settlement "
            f"{checksum_address(found.settlement)}), not of the lane file's",
            hint="is spool right in the lane file?",
        )
    if row[5] is not None:
        raise SpoolDoubtful(f"lane {checksum_address(identity.lane)} was stopped: {row[5]}")
    if row[4] != inode:
        raise SpoolCopied(
            f"spool {path} was copied or restored: it is file {inode}, the lane was made with file {row[4]}"
        )


def _checkpoint_row(signed: SignedCheckpoint) -> tuple[object, ...]:
    point = signed.checkpoint
    return (
        point.count,
        signed.epoch,
        point.cumulative_units.to_bytes(16, "big"),
        point.receipts_root,
        signed.signature,
        signed.frontier,
    )


def _spool_error(path: Path, error: sqlite3.Error) -> UsufructError:
    """Tell what can pass (no room, somebody else's lock) from what cannot."""
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    if name.startswith(("SQLITE_FULL", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_NOMEM")):
        is_full = name.startswith("SQLITE_FULL")
        return SpoolFull(
            f"spool {path} cannot be written: {error}",
            hint="free some disk space; calls wait",
            retry_after_s=_NO_ROOM_RETRY_S if is_full else 1,
        )
    if name.startswith("SQLITE_CONSTRAINT"):
        return SpoolDoubtful(f"spool {path} was written by somebody else: {error}")
    return SpoolDoubtful(f"spool {path} failed: {error} ({name})")


def sync_folder(folder: Path) -> None:
    """Make what was created or renamed in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
