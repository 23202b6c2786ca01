"""Rows of epochs: frozen heads, vectors, reports, bundles, votes, signatures, finalized reports, rosters.

Functions take the connection of a `Store.read` or `Store.write` block.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from usufruct_protocol.bundle import RESTRICTED_FILES
from usufruct_protocol.report_types import EpochReport

from usufruct_oracle.storage.database import Connection
from usufruct_oracle.wire_json import (
    FileEntry,
    Vector,
    Vote,
    parse_object,
    report_from,
    report_json,
    vector_from,
    vector_json,
)


@dataclass(frozen=True, slots=True)
class Cutoff:
    """The block whose state an epoch's report is computed from."""

    block: int
    block_hash: bytes
    time_s: int


@dataclass(frozen=True, slots=True)
class StoredReport:
    """The report this node computed for one attempt."""

    report: EpochReport
    report_hash: bytes
    bundle_hash: bytes


@dataclass(frozen=True, slots=True)
class Finalized:
    """A finalized report whose bundle this node holds."""

    epoch: int
    report_hash: bytes
    bundle_hash: bytes
    attempt: int
    note_count: int
    is_paid: bool


def cutoff(db: Connection, epoch: int) -> Cutoff | None:
    """Return the cut-off that this node froze at, or None if it has not frozen the epoch."""
    row = db.execute(
        "SELECT cutoff_block, cutoff_block_hash, cutoff_time_s FROM epochs WHERE epoch = ?", (epoch,)
    ).fetchone()
    return None if row is None else Cutoff(*row)


def last_cutoff_time_s(db: Connection) -> int:
    """Return the time of the latest cut-off that this node froze at; 0 before the first."""
    latest: int = db.execute("SELECT coalesce(max(cutoff_time_s), 0) FROM epochs").fetchone()[0]
    return latest


def freeze(db: Connection, epoch: int, at: Cutoff, heads: Mapping[int, int]) -> None:
    """Record an epoch's cut-off and how far each lane (by lane_id) is held now. Once per epoch."""
    db.execute("INSERT INTO epochs VALUES (?, ?, ?, ?)", (epoch, at.block, at.block_hash, at.time_s))
    db.executemany(
        "INSERT INTO frozen_heads VALUES (?, ?, ?)", [(epoch, lane, count) for lane, count in heads.items()]
    )


def move_cutoff(db: Connection, epoch: int, at: Cutoff) -> None:
    """Replace a cut-off that a reorganization took away, and drop what was computed from it. Heads stay."""
    db.execute(
        "UPDATE epochs SET cutoff_block = ?, cutoff_block_hash = ?, cutoff_time_s = ? WHERE epoch = ?",
        (at.block, at.block_hash, at.time_s, epoch),
    )
    for table in ("vectors", "reports", "votes"):
        db.execute(f"DELETE FROM {table} WHERE epoch = ?", (epoch,))


def frozen_counts(db: Connection, epoch: int) -> dict[int, int]:
    """Return lane_id → count as frozen for an epoch."""
    return dict(db.execute("SELECT lane_id, count FROM frozen_heads WHERE epoch = ?", (epoch,)))


def put_vector(db: Connection, vector: Vector) -> None:
    """Record the vector of an attempt; the first one stays."""
    body = json.dumps(vector_json(vector))
    db.execute(
        "INSERT INTO vectors VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (vector.epoch, vector.attempt, body)
    )


def vector(db: Connection, epoch: int, attempt: int) -> Vector | None:
    """Return the vector this node proposed or accepted for an attempt."""
    row = db.execute("SELECT body FROM vectors WHERE epoch = ? AND attempt = ?", (epoch, attempt)).fetchone()
    return None if row is None else vector_from(parse_object(row[0], "stored vector"))


def put_report(db: Connection, stored: StoredReport, files: Mapping[str, bytes]) -> None:
    """Record a computed report with its whole bundle; the first one of an attempt stays."""
    report = stored.report
    db.execute(
        "INSERT INTO reports VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            report.epoch,
            report.attempt,
            stored.report_hash,
            stored.bundle_hash,
            json.dumps(report_json(report)),
        ),
    )
    put_bundle(db, report.epoch, stored.bundle_hash, files)


def report(db: Connection, epoch: int, attempt: int) -> StoredReport | None:
    """Return the report this node computed for an attempt."""
    row = db.execute(
        "SELECT body, report_hash, bundle_hash FROM reports WHERE epoch = ? AND attempt = ?", (epoch, attempt)
    ).fetchone()
    return (
        None
        if row is None
        else StoredReport(report_from(parse_object(row[0], "stored report")), row[1], row[2])
    )


def attempts(db: Connection, epoch: int) -> list[int]:
    """Return the attempts of an epoch that this node has a report for, ascending."""
    return [
        row[0] for row in db.execute("SELECT attempt FROM reports WHERE epoch = ? ORDER BY attempt", (epoch,))
    ]


def put_bundle(db: Connection, epoch: int, bundle_hash: bytes, files: Mapping[str, bytes]) -> None:
    """Keep a bundle's files by content. The caller has checked them against the hash."""
    for name, body in files.items():
        digest = hashlib.sha256(body).digest()
        db.execute("INSERT INTO contents VALUES (?, ?) ON CONFLICT DO NOTHING", (digest, body))
        db.execute(
            "INSERT INTO bundles VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (epoch, bundle_hash, name, digest, len(body)),
        )


def bundle_entries(db: Connection, epoch: int, bundle_hash: bytes) -> dict[str, FileEntry]:
    """Return the manifest of a bundle; empty when it is not known."""
    rows = db.execute(
        "SELECT name, sha256, size FROM bundles WHERE epoch = ? AND bundle_hash = ?", (epoch, bundle_hash)
    )
    return {name: FileEntry(sha256, size) for name, sha256, size in rows}


def bundle_file(db: Connection, epoch: int, bundle_hash: bytes, name: str) -> bytes | None:
    """Return one file of a bundle, or None if it is not held (any more)."""
    row = db.execute(
        """
        SELECT body FROM bundles JOIN contents USING (sha256) WHERE epoch = ? AND bundle_hash = ? AND name = ?
        """,
        (epoch, bundle_hash, name),
    ).fetchone()
    return None if row is None else row[0]


def bundle_files(db: Connection, epoch: int, bundle_hash: bytes) -> dict[str, bytes]:
    """Return the files of a bundle that are held."""
    rows = db.execute(
        "SELECT name, body FROM bundles JOIN contents USING (sha256) WHERE epoch = ? AND bundle_hash = ?",
        (epoch, bundle_hash),
    )
    return dict(rows.fetchall())


def put_vote(db: Connection, epoch: int, attempt: int, signer: bytes, vote: Vote) -> None:
    """Record what a signer (by address) showed. One that carries a signature is never replaced."""
    db.execute(
        """
        INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (epoch, attempt, signer) DO UPDATE SET report_hash = excluded.report_hash,
            bundle_hash = excluded.bundle_hash, signature = excluded.signature,
            possession = excluded.possession WHERE votes.signature IS NULL
        """,
        (
            epoch,
            attempt,
            signer,
            vote.signer_index,
            vote.report_hash,
            vote.bundle_hash,
            vote.signature,
            vote.possession,
        ),
    )


def votes(db: Connection, epoch: int, attempt: int) -> dict[bytes, Vote]:
    """Return the votes known for an attempt, by signer address."""
    rows = db.execute(
        """
        SELECT signer, signer_index, report_hash, bundle_hash, signature, possession FROM votes
        WHERE epoch = ? AND attempt = ? ORDER BY signer_index
        """,
        (epoch, attempt),
    )
    return {row[0]: Vote(*row[1:]) for row in rows}


def last_signed(db: Connection) -> tuple[int, int, bytes, bytes | None] | None:
    """Return (epoch, attempt, report hash, signature) of what this node last signed, or None.

    Without a signature it was given to the signer, and no answer has been recorded.
    """
    row: tuple[int, int, bytes, bytes | None] | None = db.execute(
        "SELECT epoch, attempt, report_hash, signature FROM signed ORDER BY epoch DESC, attempt DESC LIMIT 1"
    ).fetchone()
    return row


def put_signing(db: Connection, epoch: int, attempt: int, report_hash: bytes) -> None:
    """Record that a report is given to the signer, before it is: from then on it is as good as signed.

    The block it is in fails with InvariantBroken if (epoch, attempt) does not pass every earlier one.
    """
    db.execute("INSERT INTO signed VALUES (?, ?, ?, NULL)", (epoch, attempt, report_hash))


def put_signature(db: Connection, epoch: int, attempt: int, signature: bytes) -> None:
    """Record the signer's answer. It is never replaced: the block fails with InvariantBroken instead."""
    db.execute("UPDATE signed SET signature = ? WHERE epoch = ? AND attempt = ?", (signature, epoch, attempt))


def signing_floor(db: Connection) -> int | None:
    """Return the first epoch that this node may sign; None while that is not known."""
    row = db.execute("SELECT epoch FROM signing_floor").fetchone()
    return None if row is None else row[0]


def set_signing_floor(db: Connection, epoch: int) -> None:
    """Set the first epoch that this node may sign."""
    db.execute("DELETE FROM signing_floor")
    db.execute("INSERT INTO signing_floor VALUES (?)", (epoch,))


def put_finalized(db: Connection, report_hash: bytes, final: EpochReport) -> None:
    """Record a finalized report whose bundle is held, and drop what other attempts of the epoch left."""
    db.execute(
        """
        INSERT INTO finalized VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (epoch) DO UPDATE SET
            report_hash = excluded.report_hash, bundle_hash = excluded.bundle_hash,
            attempt = excluded.attempt, note_count = excluded.note_count, is_paid = excluded.is_paid
            WHERE finalized.report_hash <> excluded.report_hash
        """,
        (
            final.epoch,
            report_hash,
            final.bundle_hash,
            final.attempt,
            final.note_count,
            int(final.note_count == 0),
        ),
    )
    db.execute("DELETE FROM bundles WHERE epoch = ? AND bundle_hash <> ?", (final.epoch, final.bundle_hash))


def finalized(db: Connection, epoch: int) -> Finalized | None:
    """Return a finalized report as this node recorded it."""
    row = db.execute("SELECT * FROM finalized WHERE epoch = ?", (epoch,)).fetchone()
    return None if row is None else _finalized(row)


def last_finalized(db: Connection, epoch: int) -> Finalized | None:
    """Return the latest finalized report up to an epoch that this node recorded, or None."""
    row = db.execute(
        "SELECT * FROM finalized WHERE epoch <= ? ORDER BY epoch DESC LIMIT 1", (epoch,)
    ).fetchone()
    return None if row is None else _finalized(row)


def unpaid(db: Connection) -> list[Finalized]:
    """Return finalized reports with notes that this node has not seen paid, oldest first."""
    rows = db.execute("SELECT * FROM finalized WHERE is_paid = 0 ORDER BY epoch").fetchall()
    return [_finalized(row) for row in rows]


def set_paid(db: Connection, epoch: int) -> None:
    """Record that every note of an epoch is paid."""
    db.execute("UPDATE finalized SET is_paid = 1 WHERE epoch = ?", (epoch,))


def prune_restricted(db: Connection, before_epoch: int) -> None:
    """Delete rosters, accruals and usage of older bundles. Manifests stay, so the hash stays explained."""
    marks = ", ".join("?" * len(RESTRICTED_FILES))
    db.execute(
        f"""
        DELETE FROM contents WHERE sha256 NOT IN (
            SELECT sha256 FROM bundles WHERE epoch >= ? OR name NOT IN ({marks})
        )
        """,
        (before_epoch, *RESTRICTED_FILES),
    )


def put_roster(db: Connection, root: bytes, body: bytes) -> None:
    """Keep a roster by its root."""
    db.execute("INSERT INTO rosters VALUES (?, ?) ON CONFLICT DO NOTHING", (root, body))


def keep_rosters(db: Connection, roots: Collection[bytes]) -> None:
    """Delete every roster that is not among these."""
    held = [row[0] for row in db.execute("SELECT root FROM rosters")]
    db.executemany("DELETE FROM rosters WHERE root = ?", [(root,) for root in held if root not in roots])


def has_roster(db: Connection, root: bytes) -> bool:
    """Tell whether the roster with a root is held, without reading it."""
    return db.execute("SELECT 1 FROM rosters WHERE root = ?", (root,)).fetchone() is not None


def roster(db: Connection, root: bytes) -> bytes | None:
    """Return the canonical bytes of the roster with a root, or None."""
    row = db.execute("SELECT body FROM rosters WHERE root = ?", (root,)).fetchone()
    return None if row is None else row[0]


def _finalized(row: tuple[int, bytes, bytes, int, int, int]) -> Finalized:
    epoch, report_hash, bundle_hash, attempt, note_count, is_paid = row
    return Finalized(epoch, report_hash, bundle_hash, attempt, note_count, bool(is_paid))
