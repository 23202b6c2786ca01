"""What another machine's clock shows, in terms of a clock of our own that nobody sets.

`elapsed_ms` only ever runs forward, also while the machine sleeps. A reading says what the other clock
showed, or would have shown, when `elapsed_ms` was 0: so readings of different moments compare, and stay good
however often this machine's wall clock is set.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_DATE_STEP_MS: Final = 1_000


def elapsed_ms() -> int:
    """Return milliseconds since the machine started."""
    return time.clock_gettime_ns(_CLOCK) // 1_000_000


@dataclass(frozen=True, slots=True)
class ClockReading:
    """Another clock: unix milliseconds at elapsed 0.

    earliest_ms: it showed this or later
    latest_ms:   it showed this or earlier; None if nothing says so
    read_at_ms:  `elapsed_ms` when it was read
    """

    earliest_ms: int
    latest_ms: int | None
    read_at_ms: int


def read_date(headers: Mapping[str, str], asked_ms: int, answered_ms: int) -> ClockReading | None:
    """Return what the `Date` of an HTTP answer says; None if there is none, or the answer is from a cache."""
    if "age" in headers:
        return None
    try:
        date = parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    date_ms = int(date.timestamp()) * 1000  # whole seconds, taken at some time between the two
    return ClockReading(date_ms - answered_ms, date_ms + _DATE_STEP_MS - asked_ms, answered_ms)
