"""Refused input of registered lanes, with the reason: what an operator shows to the buyer who asks.

Only the beginning of the input is kept, and per lane only the newest: garbage fills no disk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from usufruct_oracle.storage.database import Connection

KEPT_PER_LANE: Final = 200
HEAD_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class Refused:
    """A refused input.

    seq:    of the receipt at fault, where it is known
    code:   of the error; `reason` is its message
    size:   bytes of the whole input, which `sha256` is the digest of
    head:   its first bytes
    """

    number: int
    lane: bytes
    seq: int | None
    code: str
    reason: str
    size: int
    sha256: bytes
    head: bytes
    received_at_s: int


def put_refused(
    db: Connection, lane: bytes, seq: int | None, code: str, reason: str, body: bytes, received_at_s: int
) -> None:
    """Remember a refused input; the lane's oldest one makes room."""
    db.execute(
        """
        INSERT INTO quarantine (lane, seq, code, reason, size, sha256, head, received_at_s)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (lane, seq, code, reason, len(body), hashlib.sha256(body).digest(), body[:HEAD_BYTES], received_at_s),
    )
    db.execute(
        """
        DELETE FROM quarantine WHERE lane = ? AND quarantine_id <= (
            SELECT quarantine_id FROM quarantine WHERE lane = ? ORDER BY quarantine_id DESC LIMIT 1 OFFSET ?
        )
        """,
        (lane, lane, KEPT_PER_LANE),
    )


def latest_refused(db: Connection, limit: int, lane: bytes | None = None) -> list[Refused]:
    """Return the newest refused inputs, newest first, of one lane or of all."""
    condition, parameters = ("", ()) if lane is None else ("WHERE lane = ?", (lane,))
    rows = db.execute(
        f"{_SELECT} {condition} ORDER BY quarantine_id DESC LIMIT ?", (*parameters, limit)
    ).fetchall()
    return [Refused(*row) for row in rows]


def refused(db: Connection, number: int) -> Refused | None:
    """Return one refused input, or None if there is none of this number (any more)."""
    row = db.execute(f"{_SELECT} WHERE quarantine_id = ?", (number,)).fetchone()
    return None if row is None else Refused(*row)


_SELECT: Final = """
    SELECT quarantine_id, lane, seq, code, reason, size, sha256, head, received_at_s FROM quarantine
"""
