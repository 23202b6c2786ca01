"""Rows of lanes, receipts, openings and checkpoints.

Functions take the connection of a `Store.read` or `Store.write` block, so that callers decide what belongs to
one transaction. Nothing here judges: what comes in has been verified by `intake`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from struct import Struct
from typing import Final

from usufruct_protocol.batches import Batch
from usufruct_protocol.chain_state import LaneState
from usufruct_protocol.receipts import Checkpoint, CheckpointConflict, LaneFrontier, receipt_hashes

from usufruct_oracle.signed_checkpoint import SignedCheckpoint
from usufruct_oracle.storage.database import NO_USAGE, Connection

_RECORD: Final = Struct(">QQ16s32s32sQ")
_MAX_INTEGER: Final = 2**63 - 1
_LISTS_PER_QUERY: Final = 5_000


@dataclass(frozen=True, slots=True)
class Lane:
    """A registered lane as the store knows it.

    conflict_seq:    lowest seq for which it signed two histories
    finalized_count: receipts that the last finalized report counts
    """

    lane_id: int
    lane: bytes
    license_id: int
    valid_from_ms: int
    valid_to_ms: int
    unit_cap: int
    conflict_seq: int | None
    finalized_count: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """A batch of ours and one of theirs, signed by one lane, that differ at `seq`."""

    seq: int
    ours: Batch
    theirs: Batch


def put_lanes(db: Connection, lanes: Iterable[LaneState]) -> None:
    """Insert registered lanes, or update what has changed of them. Usually nothing has."""
    columns = "license_id, valid_from_ms, valid_to_ms, unit_cap"
    known = {lane: tuple(rest) for lane, *rest in db.execute(f"SELECT lane, {columns} FROM lanes")}
    given = {
        lane.lane: (
            lane.license_id,
            min(lane.valid_from_ms, _MAX_INTEGER),
            min(lane.valid_to_ms, _MAX_INTEGER),
            lane.unit_cap.to_bytes(16, "big"),
        )
        for lane in lanes
    }
    db.executemany(
        f"INSERT INTO lanes (lane, {columns}) VALUES (?, ?, ?, ?, ?)",
        [(lane, *rest) for lane, rest in given.items() if lane not in known],
    )
    db.executemany(
        "UPDATE lanes SET license_id = ?, valid_from_ms = ?, valid_to_ms = ?, unit_cap = ? WHERE lane = ?",
        [(*rest, lane) for lane, rest in given.items() if known.get(lane, rest) != rest],
    )


def lane_by_address(db: Connection, lane: bytes) -> Lane | None:
    """Return a registered lane, or None."""
    row = db.execute(f"{_LANES} WHERE lanes.lane = ?", (lane,)).fetchone()
    return None if row is None else _lane(row)


def all_lanes(db: Connection) -> list[Lane]:
    """Return every registered lane, in the order in which this node learned of them."""
    return [_lane(row) for row in db.execute(f"{_LANES} ORDER BY lane_id")]


def frontier(db: Connection, lane_id: int) -> LaneFrontier:
    """Return how far a lane is held; an empty frontier for a lane without receipts."""
    row = db.execute(
        "SELECT frontier FROM checkpoints WHERE lane_id = ? ORDER BY count DESC LIMIT 1", (lane_id,)
    ).fetchone()
    return LaneFrontier() if row is None else LaneFrontier.from_bytes(row[0])


def frontier_at(db: Connection, lane: Lane, count: int) -> LaneFrontier:
    """Return the frontier after the first `count` receipts, which must be held.

    Counts on from the nearest checkpoint below, so at most one batch is hashed again.
    """
    row = db.execute(
        "SELECT frontier FROM checkpoints WHERE lane_id = ? AND count <= ? ORDER BY count DESC LIMIT 1",
        (lane.lane_id, count),
    ).fetchone()
    start = LaneFrontier() if row is None else LaneFrontier.from_bytes(row[0])
    if start.count < count:
        blob = records(db, lane.lane_id, start.count, count)
        last = _RECORD.unpack(blob[-_RECORD.size :])
        start.extend(receipt_hashes(lane.lane, blob))
        start.cumulative_units, start.last_issued_at_ms = int.from_bytes(last[2], "big"), last[5]
    return start


def records(db: Connection, lane_id: int, from_seq: int, to_seq: int) -> bytes:
    """Return the 104-byte records of receipts [from_seq, to_seq), all of which must be held."""
    row = db.execute(
        """
        SELECT count, cumulative_units FROM checkpoints
        WHERE lane_id = ? AND count <= ? ORDER BY count DESC LIMIT 1
        """,
        (lane_id, from_seq),
    ).fetchone()
    base, cumulative = (0, 0) if row is None else (row[0], int.from_bytes(row[1], "big"))
    rows = db.execute(
        """
        SELECT seq, units, usage_root, request_hash, issued_at_ms FROM receipts
        WHERE lane_id = ? AND seq >= ? AND seq < ? ORDER BY seq
        """,
        (lane_id, base, to_seq),
    ).fetchall()
    totals = list(accumulate((units for _, units, *_ in rows), initial=cumulative))[1:]
    pack = _RECORD.pack
    return b"".join(
        pack(seq, units, total.to_bytes(16, "big"), usage_root or NO_USAGE, request_hash, issued_at_ms)
        for (seq, units, usage_root, request_hash, issued_at_ms), total in zip(rows, totals, strict=True)
        if seq >= from_seq
    )


def insert_receipts(db: Connection, lane_id: int, new_records: bytes, openings: Mapping[int, bytes]) -> None:
    """Insert verified records that continue the lane, and the usage lists that belong to them."""
    db.insert_receipts(lane_id, new_records, openings)


def insert_checkpoint(db: Connection, lane_id: int, signed: SignedCheckpoint, after: LaneFrontier) -> None:
    """Insert a verified checkpoint and the frontier it confirms."""
    point = signed.checkpoint
    db.execute(
        "INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            lane_id,
            point.count,
            point.cumulative_units.to_bytes(16, "big"),
            point.receipts_root,
            signed.signature,
            after.last_issued_at_ms,
            after.to_bytes(),
        ),
    )


def checkpoint_at(db: Connection, lane: Lane, count: int) -> SignedCheckpoint | None:
    """Return the checkpoint held at exactly this count, or None."""
    if count > _MAX_INTEGER:
        return None  # peers may name any 64 bits; nothing of that size is ever stored
    row = db.execute(
        f"SELECT {_POINT} FROM checkpoints WHERE lane_id = ? AND count = ?", (lane.lane_id, count)
    ).fetchone()
    return None if row is None else _signed(lane.lane, row)


def checkpoint_below(db: Connection, lane: Lane, count: int) -> SignedCheckpoint | None:
    """Return the highest checkpoint held below a count, or None."""
    row = db.execute(
        f"SELECT {_POINT} FROM checkpoints WHERE lane_id = ? AND count < ? ORDER BY count DESC LIMIT 1",
        (lane.lane_id, count),
    ).fetchone()
    return None if row is None else _signed(lane.lane, row)


def checkpoint_above(db: Connection, lane: Lane, count: int) -> SignedCheckpoint | None:
    """Return the lowest checkpoint held above a count, or None."""
    row = db.execute(
        f"SELECT {_POINT} FROM checkpoints WHERE lane_id = ? AND count > ? ORDER BY count LIMIT 1",
        (lane.lane_id, count),
    ).fetchone()
    return None if row is None else _signed(lane.lane, row)


def contradicted_by(db: Connection, lane: Lane, theirs: Checkpoint) -> SignedCheckpoint | None:
    """Return a checkpoint held that cannot be true beside another one by counts and units alone, or None.

    Units only rise along ours: if none of the nearest three contradicts it, no other one does.
    """
    for held in (
        checkpoint_at(db, lane, theirs.count),
        checkpoint_above(db, lane, theirs.count),
        checkpoint_below(db, lane, theirs.count),
    ):
        if held is not None and CheckpointConflict.between(held.checkpoint, theirs) is not None:
            return held
    return None


def last_issued_at_ms(db: Connection, lane_id: int, count: int) -> int | None:
    """Return the time of the last receipt under the checkpoint at this count, or None without one."""
    if count > _MAX_INTEGER:
        return None
    row = db.execute(
        "SELECT last_issued_at_ms FROM checkpoints WHERE lane_id = ? AND count = ?", (lane_id, count)
    ).fetchone()
    return None if row is None else row[0]


def countable_head(
    db: Connection, lane: Lane, before_ms: int, max_count: int = _MAX_INTEGER
) -> SignedCheckpoint | None:
    """Return the highest checkpoint up to a count whose last receipt was issued before a time and that no
    conflict reaches.
    """
    limit = max_count if lane.conflict_seq is None else min(max_count, lane.conflict_seq)
    row = db.execute(
        f"""
        SELECT {_POINT} FROM checkpoints
        WHERE lane_id = ? AND count <= ? AND last_issued_at_ms < ? ORDER BY count DESC LIMIT 1
        """,
        (lane.lane_id, limit, min(before_ms, _MAX_INTEGER)),
    ).fetchone()
    return None if row is None else _signed(lane.lane, row)


def cut_batch(db: Connection, lane: Lane, from_seq: int) -> Batch | None:
    """Return receipts from a seq up to the next checkpoint held, with their openings; None at the end."""
    point = checkpoint_above(db, lane, from_seq)
    if point is None:
        return None
    to_seq = point.checkpoint.count
    lists = dict(openings(db, lane.lane_id, from_seq, to_seq))
    blob = records(db, lane.lane_id, from_seq, to_seq)
    return Batch(lane.lane, from_seq, blob, point.checkpoint, point.signature, lists)


def openings(db: Connection, lane_id: int, from_seq: int, to_seq: int) -> list[tuple[int, bytes]]:
    """Return (seq, packed usage list) of receipts [from_seq, to_seq) that have one and whose list is held."""
    return db.execute(
        "SELECT seq, usage_list FROM openings WHERE lane_id = ? AND seq >= ? AND seq < ? ORDER BY seq",
        (lane_id, from_seq, to_seq),
    ).fetchall()


def usage_lists(db: Connection, lane_id: int, from_seq: int, to_seq: int) -> Iterator[bytes]:
    """Yield the packed usage lists of receipts [from_seq, to_seq), a few thousand in memory at a time."""
    for start in range(from_seq, to_seq, _LISTS_PER_QUERY):
        for _, usage_list in openings(db, lane_id, start, min(start + _LISTS_PER_QUERY, to_seq)):
            yield usage_list


def delete_openings(db: Connection, lane_id: int, below_seq: int, limit: int) -> int:
    """Delete a lane's usage lists below a seq, those of at most `limit` seqs; return how many went."""
    first = db.execute(
        "SELECT min(seq) FROM openings WHERE lane_id = ? AND seq < ?", (lane_id, below_seq)
    ).fetchone()[0]
    if first is None:
        return 0
    gone = db.execute(
        "DELETE FROM openings WHERE lane_id = ? AND seq >= ? AND seq < ? RETURNING seq",
        (lane_id, first, min(first + limit, below_seq)),
    )
    return len(gone.fetchall())


def set_finalized(db: Connection, heads: Iterable[Checkpoint]) -> None:
    """Record how far a finalized report counts each lane; lanes it does not name stay as they are."""
    db.executemany(
        """
        INSERT INTO finalized_heads VALUES (?, ?) ON CONFLICT (lane) DO UPDATE SET count = excluded.count
        """,
        [(head.lane, head.count) for head in heads],
    )


def stop_at_conflict(db: Connection, lane: Lane, evidence: Evidence) -> None:
    """Let nothing of the lane count from its lowest conflicting seq on, and keep the evidence for it."""
    if lane.conflict_seq is not None and lane.conflict_seq <= evidence.seq:
        return
    db.execute("DELETE FROM evidence WHERE lane_id = ?", (lane.lane_id,))
    db.execute(
        "INSERT INTO evidence (lane_id, seq, ours, theirs) VALUES (?, ?, ?, ?)",
        (lane.lane_id, evidence.seq, evidence.ours.encode(), evidence.theirs.encode()),
    )
    db.execute("UPDATE lanes SET conflict_seq = ? WHERE lane_id = ?", (evidence.seq, lane.lane_id))


def evidence_of(db: Connection, lane_id: int) -> list[Evidence]:
    """Return what shows that a lane signed two histories, lowest seq first."""
    rows = db.execute(
        "SELECT seq, ours, theirs FROM evidence WHERE lane_id = ? ORDER BY seq, evidence_id", (lane_id,)
    )
    return [Evidence(seq, Batch.decode(ours), Batch.decode(theirs)) for seq, ours, theirs in rows]


_LANES: Final = """
    SELECT lane_id, lanes.lane, license_id, valid_from_ms, valid_to_ms, unit_cap, conflict_seq,
        coalesce(finalized_heads.count, 0)
    FROM lanes LEFT JOIN finalized_heads ON finalized_heads.lane = lanes.lane
"""
_POINT: Final = "count, cumulative_units, receipts_root, signature"


def _signed(lane: bytes, row: tuple[int, bytes, bytes, bytes]) -> SignedCheckpoint:
    count, cumulative_units, receipts_root, signature = row
    return SignedCheckpoint(
        Checkpoint(lane, count, int.from_bytes(cumulative_units, "big"), receipts_root), signature
    )


def _lane(row: tuple[int, bytes, int, int, int, bytes, int | None, int]) -> Lane:
    lane_id, lane, license_id, valid_from_ms, valid_to_ms, unit_cap, conflict_seq, finalized_count = row
    cap = int.from_bytes(unit_cap, "big")
    return Lane(lane_id, lane, license_id, valid_from_ms, valid_to_ms, cap, conflict_seq, finalized_count)
