"""What nodes signed about having a lane's receipts: the buyer's answer to the charge that it hid some.

Such a charge names a finalized report and a receipt that it leaves out. It is answered on chain by one
checkpoint over that receipt and acknowledgements of it by f + 1 signers, all given by the end of the report's
period. So per period the book keeps acknowledgements until n - f nodes have acknowledged a higher checkpoint:
as many hold f + 1 honest ones, whoever of the others lies or signs with no signer's key.
Source: docs/spec.md section 10.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from usufruct_protocol.batches import Batch
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.periods import fault_bound
from usufruct_protocol.receipts import Checkpoint, CheckpointAck
from usufruct_protocol.signing import recover

from usufruct_meter.errors import AcksUnavailable
from usufruct_meter.lanes.checkpoints import Periods

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS acks (
    epoch INTEGER NOT NULL,
    count INTEGER NOT NULL,
    url TEXT NOT NULL,
    cumulative_units BLOB NOT NULL,
    receipts_root BLOB NOT NULL,
    lane_signature BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    signer BLOB NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (epoch, count, url)
) STRICT, WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class KeptAck:
    """One node's acknowledgement: when, whose key, and the 65 bytes."""

    received_at: int
    signer: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A checkpoint with the lane's signature, and acknowledgements of it by ascending signer."""

    checkpoint: Checkpoint
    lane_signature: bytes
    acks: tuple[KeptAck, ...]


def ack_book_path(spool: Path) -> Path:
    """Return where the book of a lane with this spool lies."""
    return spool.with_name(spool.name + ".acks")


class AckBook:
    """The acknowledgements of one lane, in a file beside its spool. Safe to use from several threads.

    All methods raise AcksUnavailable when the file cannot be read or written.
    """

    def __init__(self, path: Path, lane: bytes, domain: bytes, periods: Periods, node_count: int) -> None:
        self._lane = lane
        self._domain = domain
        self._periods = periods
        self._enough = node_count - (fault_bound(node_count) if node_count >= 4 else 0)
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute(_SCHEMA)
        except sqlite3.Error as error:
            raise AcksUnavailable(f"acknowledgements in {path}: {error}") from error

    def keep(self, batch: Batch, given: object, url: str) -> bool:
        """Keep what a node answered to a batch, if it is an acknowledgement of it; whether it was."""
        ack = read_ack(given, batch.checkpoint, self._domain)
        if ack is None:
            return False
        point = batch.checkpoint
        epoch = self._epoch(ack.received_at)
        row = (
            epoch,
            point.count,
            url,
            point.cumulative_units.to_bytes(16, "big"),
            point.receipts_root,
            batch.signature,
            ack.received_at,
            ack.signer,
            ack.signature,
        )
        # A repeated batch is acknowledged anew, later: the first time is worth more.
        self._run("INSERT OR IGNORE INTO acks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        self._run(
            """
            DELETE FROM acks WHERE epoch = ? AND count < (
                SELECT coalesce(max(count), 0) FROM (
                    SELECT count FROM acks WHERE epoch = ? GROUP BY count HAVING count(*) >= ?
                )
            )
            """,
            (epoch, epoch, self._enough),
        )
        return True

    def answer(
        self, seq: int, by_s: int, needed: int, signers: Collection[bytes] | None = None
    ) -> Answer | None:
        """Return a checkpoint over a receipt that at least this many keys had acknowledged by a time.

        Of keys that are no `signers`, if these are given, acknowledgements are left out.
        """
        rows = self._run(
            """
            SELECT count, cumulative_units, receipts_root, lane_signature, signer, min(received_at), signature
            FROM acks WHERE count > ? AND received_at <= ?
            GROUP BY count, receipts_root, signer ORDER BY count, signer
            """,
            (seq, by_s),
        )
        found: dict[tuple[int, bytes], Answer] = {}
        for count, units, root, lane_signature, signer, received_at, signature in rows:
            if signers is not None and signer not in signers:
                continue
            point = Checkpoint(self._lane, count, int.from_bytes(units, "big"), root)
            earlier = found.get((count, root))
            acks = (*(earlier.acks if earlier else ()), KeptAck(received_at, signer, signature))
            found[count, root] = Answer(point, lane_signature, acks)
        return next((one for one in found.values() if len(one.acks) >= needed), None)

    def acknowledged_count(self, seq: int, by_s: int, signers: Collection[bytes], needed: int) -> int:
        """Return the count of the highest checkpoint over a receipt that this many of these signers had
        acknowledged by a time; 0 if there is none."""
        rows = self._run(
            "SELECT DISTINCT count, receipts_root, signer FROM acks WHERE count > ? AND received_at <= ?"
            " ORDER BY count DESC",
            (seq, by_s),
        )
        given: Counter[tuple[int, bytes]] = Counter()
        for count, root, signer in rows:
            given[count, root] += signer in signers
            if given[count, root] >= needed:
                return int(count)
        return 0

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _epoch(self, received_at: int) -> int:
        """The first period that ends no earlier."""
        return self._periods.epoch_of(received_at * 1000 - 1)

    def _run(self, statement: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._db.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            raise AcksUnavailable(f"acknowledgements: {error}") from error


def read_ack(given: object, point: Checkpoint, domain: bytes) -> KeptAck | None:
    """Return an acknowledgement of this checkpoint that somebody really signed, or None.

    Whether that somebody is a signer of the committee is not known here.
    """
    if not isinstance(given, Mapping):
        return None
    received_at, text = given.get("received_at"), str(given.get("signature"))
    if given.get("count") != point.count or type(received_at) is not int or not 0 < received_at < 2**48:
        return None
    try:
        signature = bytes.fromhex(text.removeprefix("0x"))
        ack = CheckpointAck(point.struct_hash(), received_at)
        return KeptAck(received_at, recover(typed_digest(domain, ack.struct_hash()), signature), signature)
    except (ValueError, InputRejected):
        return None
