"""A wall clock that a forked node can set wrong, for itself alone. Monotonic time stays what it is.

Nodes ask for the time by `time.time` only; everything else that the standard library builds on the C clock is
left alone.
"""

from __future__ import annotations

import time

_real = time.time
_ahead_s = 0.0


def take_over() -> None:
    """Put this clock in the place of `time.time`; it is right until `install` sets it wrong."""
    time.time = _now


def install(ahead_s: float) -> None:
    """Let this process believe that it is so many seconds later."""
    global _ahead_s
    _ahead_s = ahead_s


def _now() -> float:
    return _real() + _ahead_s
