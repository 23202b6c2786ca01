"""Reading a spool: by its own lane, by the threads that ship it, by sibling workers and by the command line.

A reader never writes, so any number of them may look at a spool that a lane is writing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from usufruct_protocol.errors import ConfigInvalid
from usufruct_protocol.receipts import Checkpoint, LaneFrontier, UsageReceipt, pack_receipt, unpack_receipt

from usufruct_meter.signed_receipt import SignedReceipt

_BUSY_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """A receipt as the spool keeps it; `opening` is empty where nothing was used."""

    receipt: UsageReceipt
    signature: bytes
    request_salt: bytes
    response_hash: bytes | None
    opening: bytes = b""

    def row(self) -> tuple[int, bytes, bytes, bytes, bytes | None]:
        """Return the row of table `receipts`."""
        record = pack_receipt(self.receipt)
        return self.receipt.seq, record, self.signature, self.request_salt, self.response_hash

    def signed(self, *, is_repeat: bool) -> SignedReceipt:
        """Return what the caller gets."""
        return SignedReceipt(self.receipt, self.signature, self.request_salt, is_repeat)


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A stored checkpoint and the epoch that counts its last receipt."""

    checkpoint: Checkpoint
    signature: bytes
    epoch: int


class SpoolReader:
    """Queries over one spool. Every method raises sqlite3.Error if the file cannot be read."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a spool for reading. Raises: ConfigInvalid if there is none."""
        try:
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro",
                uri=True,
                isolation_level=None,
                timeout=_BUSY_TIMEOUT_S,
                check_same_thread=False,
            )
        except sqlite3.OperationalError as error:
            raise ConfigInvalid(f"spool {path}: {error}", hint="is the path right?") from error
        return cls(connection)

    def check_integrity(self) -> None:
        """Raises: ConfigInvalid if SQLite finds the file damaged."""
        (found,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise ConfigInvalid(
                f"the spool's file is damaged: {found}", hint="start a new lane: usufruct-meter lane new"
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def lane(self) -> bytes:
        """Return the address of the lane."""
        (lane,) = self._db.execute("SELECT lane FROM lane").fetchone()
        return bytes(lane)

    def stopped_because(self) -> str | None:
        """Return why the lane was stopped for good, or None."""
        (reason,) = self._db.execute("SELECT stopped_because FROM lane").fetchone()
        return reason if reason is None else str(reason)

    def count(self) -> int:
        """Return how many receipts there are."""
        (last,) = self._db.execute("SELECT max(seq) FROM receipts").fetchone()
        return 0 if last is None else int(last) + 1

    def last_frontier(self) -> LaneFrontier:
        """Return the frontier of the last checkpoint, or of an empty lane."""
        row = self._db.execute("SELECT frontier FROM checkpoints ORDER BY count DESC LIMIT 1").fetchone()
        return LaneFrontier.from_bytes(row[0]) if row else LaneFrontier()

    def receipts_from(self, lane: bytes, first_seq: int) -> Iterator[tuple[StoredReceipt, int]]:
        """Yield receipts from a seq on, ascending, each with the size of its opening (0 for none)."""
        rows = self._db.execute(
            "SELECT r.record, r.signature, r.request_salt, r.response_hash, coalesce(length(o.opening), 0)"
            " FROM receipts AS r LEFT JOIN openings AS o USING (seq) WHERE r.seq >= ? ORDER BY r.seq",
            (first_seq,),
        )
        for record, signature, salt, response_hash, opening_bytes in rows:
            yield StoredReceipt(unpack_receipt(lane, record), signature, salt, response_hash), opening_bytes

    def receipt(self, seq: int) -> StoredReceipt | None:
        """Return one receipt, without its opening."""
        return self._one("seq = ?", seq)

    def receipt_of_response(self, response_hash: bytes) -> StoredReceipt | None:
        """Return the receipt of a response id, without its opening, if it was metered in this lane."""
        return self._one("response_hash = ?", response_hash)

    def response_hashes_from(self, first_seq: int) -> Iterator[tuple[int, bytes]]:
        """Yield (seq, hash) of receipts that carry a response id, from a seq on."""
        yield from self._db.execute(
            "SELECT seq, response_hash FROM receipts"
            " WHERE seq >= ? AND response_hash IS NOT NULL ORDER BY seq",
            (first_seq,),
        )

    def records(self, first_seq: int, end_seq: int) -> bytes:
        """Return the 104-byte records of seqs [first, end), joined."""
        rows = self._db.execute(
            "SELECT record FROM receipts WHERE seq >= ? AND seq < ? ORDER BY seq", (first_seq, end_seq)
        )
        return b"".join(record for (record,) in rows)

    def openings(self, first_seq: int, end_seq: int) -> dict[int, bytes]:
        """Return the packed usage lists of seqs [first, end)."""
        return dict(
            self._db.execute(
                "SELECT seq, opening FROM openings WHERE seq >= ? AND seq < ?", (first_seq, end_seq)
            )
        )

    def openings_bytes(self, first_seq: int, end_seq: int) -> int:
        """Return how many bytes the openings of seqs [first, end) take in a batch."""
        (size,) = self._db.execute(
            "SELECT coalesce(sum(length(opening) + 12), 0) FROM openings WHERE seq >= ? AND seq < ?",
            (first_seq, end_seq),
        ).fetchone()
        return int(size)

    def usage_pruned_below(self) -> int:
        """Return the seq below which usage lists were deleted; 0 if none were."""
        found = self._db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'pruned'").fetchone()
        row = self._db.execute("SELECT usage_below FROM pruned").fetchone() if found[0] else None
        return int(row[0]) if row else 0

    def checkpoints_after(self, count: int, limit: int) -> list[CheckpointRow]:
        """Return up to `limit` checkpoints (−1: all) that cover more than `count` receipts, ascending."""
        lane = self.lane()
        rows = self._db.execute(
            "SELECT count, cumulative_units, receipts_root, signature, epoch FROM checkpoints"
            " WHERE count > ? ORDER BY count LIMIT ?",
            (count, limit),
        )
        return [_checkpoint(lane, row) for row in rows]

    def last_checkpoint(self) -> CheckpointRow | None:
        """Return the checkpoint over most receipts."""
        row = self._db.execute(
            "SELECT count, cumulative_units, receipts_root, signature, epoch FROM checkpoints"
            " ORDER BY count DESC LIMIT 1"
        ).fetchone()
        return _checkpoint(self.lane(), row) if row else None

    def acks(self) -> dict[str, int]:
        """Return how many receipts each node was last known to hold."""
        return dict(self._db.execute("SELECT url, acked_count FROM nodes"))

    def _one(self, condition: str, value: int | bytes) -> StoredReceipt | None:
        row = self._db.execute(
            f"SELECT record, signature, request_salt, response_hash FROM receipts WHERE {condition}", (value,)
        ).fetchone()
        if row is None:
            return None
        return StoredReceipt(unpack_receipt(self.lane(), row[0]), row[1], row[2], row[3])


def _checkpoint(lane: bytes, row: tuple[int, bytes, bytes, bytes, int]) -> CheckpointRow:
    count, units, root, signature, epoch = row
    return CheckpointRow(Checkpoint(lane, count, int.from_bytes(units, "big"), root), signature, epoch)
