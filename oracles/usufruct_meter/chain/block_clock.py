"""What one endpoint's blocks say about the time.

The time of its newest block has passed, if the endpoint is honest. That no later one has come says nothing:
chains idle, endpoints lag or catch up. Only a block that arrives while one looks was just made, and only if
blocks keep pace with time: from an endpoint that catches up they come faster, on a chain that mines on demand
slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from usufruct_meter.clock.reading import ClockReading

_MIN_WATCH_MS: Final = 30_000
_MAX_PACE: Final = 2


@dataclass(frozen=True, slots=True)
class _Seen:
    """A newest block, and when (`elapsed_ms`) it was certainly not older than the newest one."""

    number: int
    time_ms: int
    at_ms: int


class BlockClock:
    """The blocks of one endpoint."""

    def __init__(self) -> None:
        self.reading: ClockReading | None = None
        self._watched: _Seen | None = None

    def saw(self, number: int, time_s: int, asked_ms: int, answered_ms: int) -> None:
        """Take the newest block of an answer, and when it was asked for and came (`elapsed_ms`)."""
        shown = _Seen(number, time_s * 1000, asked_ms)
        latest_ms = None if self.reading is None else self.reading.latest_ms
        watched = self._watched
        if watched is None or shown.number == watched.number:
            self._watched = shown
        elif shown.number > watched.number and asked_ms - watched.at_ms >= _MIN_WATCH_MS:
            passed_ms, grown_ms = asked_ms - watched.at_ms, shown.time_ms - watched.time_ms
            keeps_pace = passed_ms <= grown_ms * _MAX_PACE and grown_ms <= passed_ms * _MAX_PACE
            latest_ms = shown.time_ms - watched.at_ms if keeps_pace else None  # made after that moment
            self._watched = shown
        self.reading = ClockReading(shown.time_ms - answered_ms, latest_ms, answered_ms)
