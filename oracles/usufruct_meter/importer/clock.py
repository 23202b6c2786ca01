"""Times of recorded files: ISO 8601 in, whole microseconds since 1970 out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from usufruct_meter.importer.tables import Row

MICROSECONDS_PER_MS: Final = 1_000

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Narrower than fromisoformat, which also takes bare dates and week dates: a call has a time of day.
_TIME: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:?\d{2})?", re.ASCII | re.IGNORECASE
)


def read_time_us(row: Row, column: str) -> int:
    """Return a time as microseconds since 1970, digits beyond microseconds cut off.

    A time without an offset is UTC. Raises: InputRejected for anything but an ISO 8601 date and time.
    """
    text = row.text(column)
    moment = _parsed(text)
    if moment is None:
        raise row.rejected(
            f"{column} is {text[:60]!r}, not a time",
            "write it as 2026-04-19T10:29:02.456+00:00; without offset is UTC",
        )
    since_1970_us = (moment - _UNIX_EPOCH) // timedelta(microseconds=1)
    if since_1970_us < 0:
        raise row.rejected(f"{column} is {text!r}, before 1970", "check the clock that wrote it")
    return since_1970_us


def _parsed(text: str) -> datetime | None:
    if not _TIME.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
