"""Rows of the guards: what keeps or kept a signature back, and the terms that were signed for last.

Functions take the connection of a `Store.read` or `Store.write` block.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from usufruct_oracle.guards.concerns import Concern, Guard
from usufruct_oracle.storage.database import Connection


def put_holds(db: Connection, epoch: int, concerns: Iterable[Concern]) -> None:
    """Record why an epoch is not signed, as last seen."""
    db.executemany(
        """
        INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (epoch, guard, subject) DO UPDATE SET
            value = excluded.value, threshold = excluded.threshold, detail = excluded.detail
        """,
        [
            (
                epoch,
                str(concern.guard),
                concern.subject,
                str(concern.value),
                str(concern.limit),
                concern.detail,
            )
            for concern in concerns
        ],
    )


def holds(db: Connection, epoch: int) -> list[Concern]:
    """Return why an epoch is or was not signed; approved or not."""
    rows = db.execute(
        "SELECT guard, subject, value, threshold, detail FROM holds WHERE epoch = ? ORDER BY guard, subject",
        (epoch,),
    )
    return [
        Concern(Guard(guard), subject, int(value), int(limit), detail)
        for guard, subject, value, limit, detail in rows
    ]


def last_held_epoch(db: Connection) -> int | None:
    """Return the latest epoch that was held, or None if none ever was."""
    latest: int | None = db.execute("SELECT max(epoch) FROM holds").fetchone()[0]
    return latest


def put_terms(db: Connection, by_license: Mapping[int, str]) -> None:
    """Record the terms that a signature was given for."""
    known = terms(db)
    db.executemany(
        """
        INSERT INTO signed_terms VALUES (?, ?)
        ON CONFLICT (license_id) DO UPDATE SET terms = excluded.terms
        """,
        [(number, text) for number, text in by_license.items() if known.get(number) != text],
    )


def terms(db: Connection) -> dict[int, str]:
    """Return the terms of each license when this node last signed."""
    return dict(db.execute("SELECT license_id, terms FROM signed_terms").fetchall())
