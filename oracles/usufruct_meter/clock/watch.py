"""Is this machine's clock right? What nodes and the chain say about it, so that no receipt is dated ahead.

A receipt dated more than an hour after a block's time proves on chain that its lane cheated, and costs the
bond. What others say of the time may be a lie, or late. So this machine's clock is only held to be ahead of
the latest that any of these say:

- Nodes, by the `Date` of their answers: f + 1 of them, never fewer than two, one of whom is honest.
- The endpoints of the chain, by a block that was seen to arrive (`chain.block_clock`).
- The newest block's time, which counts for the clock, never against it: chains idle and endpoints lag.
Source: docs/spec.md section 11; contracts/interfaces/IUsageChallenges.sol
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from usufruct_protocol.periods import fault_bound

from usufruct_meter.clock.reading import ClockReading, elapsed_ms
from usufruct_meter.errors import ClockAhead, DatedAhead, LaneAhead

_logger = logging.getLogger(__name__)

MAX_AHEAD_S: Final = 1_800
"""Half of the hour that the contract allows: the rest is for slow blocks, and what is not known exactly."""
WORTH_SAYING_S: Final = 600
_STALE_MS: Final = 600_000
_RETRY_AFTER_S: Final = 30
_CHAIN_ALLOWS: Final = "what is dated an hour ahead of the chain costs the bond"


@dataclass(slots=True)
class Moment:
    """What time it is: by this machine's clock, and at the latest by all that is known."""

    now_ms: int
    latest_ms: int

    def date(self, previous_ms: int, at_ms: int | None = None) -> int:
        """Return when the next receipt of a lane is issued: max(previous, now), or max(previous, at).

        Raises: ClockAhead, LaneAhead or DatedAhead, by whose fault it would be dated ahead.
        """
        wanted_ms = self.now_ms if at_ms is None else at_ms
        issued_at_ms = max(previous_ms, wanted_ms)
        if issued_at_ms - self.latest_ms > MAX_AHEAD_S * 1000:
            raise self._ahead(previous_ms, wanted_ms, is_told=at_ms is not None)
        return issued_at_ms

    def _ahead(
        self, previous_ms: int, wanted_ms: int, *, is_told: bool
    ) -> ClockAhead | LaneAhead | DatedAhead:
        ahead_s = (wanted_ms - self.latest_ms) // 1000
        if wanted_ms - self.latest_ms <= MAX_AHEAD_S * 1000:
            lane_ahead_s = (previous_ms - self.latest_ms) // 1000
            return LaneAhead(
                f"the lane's last receipt is dated {lane_ahead_s} s ahead, and its time never goes back",
                hint=f"wait until {MAX_AHEAD_S} s are left, or start a new lane: usufruct-meter lane rotate; "
                "if it is the clock that is behind, set it",
                retry_after_s=_RETRY_AFTER_S,
            )
        if is_told:
            return DatedAhead(
                f"at_ms {wanted_ms} lies {ahead_s} s ahead; receipts are dated {MAX_AHEAD_S} s ahead at most",
                hint=f"check the clock of whoever wrote it: {_CHAIN_ALLOWS}",
            )
        return ClockAhead(
            f"this machine's clock is {ahead_s} s ahead of what nodes or the chain show",
            hint=f"set it (NTP): {_CHAIN_ALLOWS}; calls go on by themselves when it is right",
            retry_after_s=_RETRY_AFTER_S,
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """The time at elapsed 0, as far as it is known: see `ClockReading`. `head_ms` is the newest block's."""

    earliest_ms: int | None = None
    latest_ms: int | None = None
    head_ms: int | None = None


class ClockWatch:
    """One lane's clock, and what others say about it. Safe for threads."""

    def __init__(
        self,
        clock_ms: Callable[[], int],
        node_count: int,
        elapsed: Callable[[], int] = elapsed_ms,
    ) -> None:
        self.clock_ms = clock_ms
        self._elapsed_ms = elapsed
        self.nodes_needed = fault_bound(node_count) + 1 if node_count >= 4 else 2
        self._lock = threading.Lock()
        self._nodes: dict[str, ClockReading] = {}
        self._by_nodes: ClockReading | None = None
        self._by_blocks: ClockReading | None = None
        self._known = _Known()
        self._said = ""

    def moment(self) -> Moment:
        """Return what time it is."""
        now_ms, known = self.clock_ms(), self._known
        latest_ms = now_ms if known.latest_ms is None else known.latest_ms + self._elapsed_ms()
        if known.head_ms is not None:
            latest_ms = max(latest_ms, known.head_ms + self._elapsed_ms())
        return Moment(now_ms, latest_ms)

    def error_s(self) -> int | None:
        """Return how far the clock is ahead at least, or behind (negative); None if nobody says."""
        known, moment = self._known, self.moment()
        if known.earliest_ms is None:
            return None
        behind_ms = known.earliest_ms + self._elapsed_ms() - moment.now_ms
        return -(behind_ms // 1000) if behind_ms > 0 else max(0, moment.now_ms - moment.latest_ms) // 1000

    def heard(self, node: str, reading: ClockReading) -> None:
        """Take what a node's answer says."""
        with self._lock:
            self._nodes[node] = reading
            self._by_nodes = self._agreed(reading.read_at_ms) or self._by_nodes
            self._conclude()

    def saw_blocks(self, readings: Collection[ClockReading]) -> None:
        """Take what the endpoints' blocks say, of all endpoints together: the latest of it counts."""
        readings = self._fresh(readings, self._elapsed_ms())
        if not readings:
            return
        latest = [one.latest_ms for one in readings if one.latest_ms is not None]
        with self._lock:
            self._by_blocks = ClockReading(
                max(one.earliest_ms for one in readings),
                max(latest, default=None),
                max(one.read_at_ms for one in readings),
            )
            self._conclude()

    def _agreed(self, now_ms: int) -> ClockReading | None:
        """Return bounds that an honest node vouches for, whichever of the others lie."""
        fresh = self._fresh(self._nodes.values(), now_ms)
        latest = sorted(one.latest_ms for one in fresh if one.latest_ms is not None)
        if len(latest) < self.nodes_needed:
            return None
        earliest = sorted((one.earliest_ms for one in fresh), reverse=True)
        return ClockReading(earliest[self.nodes_needed - 1], latest[self.nodes_needed - 1], now_ms)

    @staticmethod
    def _fresh(readings: Collection[ClockReading], now_ms: int) -> list[ClockReading]:
        """Leave out what was read long ago: a paused machine may not count the time of its pause."""
        return [one for one in readings if now_ms - one.read_at_ms <= _STALE_MS]

    def _conclude(self) -> None:
        nodes, blocks = self._by_nodes, self._by_blocks
        latest = [one.latest_ms for one in (nodes, blocks) if one is not None and one.latest_ms is not None]
        head_ms = None if blocks is None else blocks.earliest_ms
        self._known = _Known(
            earliest_ms=head_ms if nodes is None else nodes.earliest_ms,
            latest_ms=max(latest, default=None),
            head_ms=head_ms,
        )
        self._say()

    def _say(self) -> None:
        """Log when the clock goes wrong, and when it is right again."""
        error_s = self.error_s() or 0
        if error_s > MAX_AHEAD_S:
            said, level = "calls are refused: " + _CHAIN_ALLOWS, logging.ERROR
        elif abs(error_s) > WORTH_SAYING_S:
            said, level = "receipts are dated wrong; set it (NTP)", logging.WARNING
        else:
            said, level = "", logging.WARNING
        if said != self._said:
            where = "ahead" if error_s > 0 else "behind"
            what = f"{abs(error_s)} s {where}: {said}" if said else "right again"
            _logger.log(level, "this machine's clock is %s", what)
            self._said = said
