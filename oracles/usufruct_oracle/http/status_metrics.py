"""What a scrape reads off a node instead of being told: its place in the epoch, its lanes, its disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from usufruct_protocol.errors import UsufructError

from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage import epoch_store, lane_store
from usufruct_oracle.storage.database import Connection
from usufruct_oracle.storage.store import Store

_log = logging.getLogger(__name__)

_FACTS: Final[Mapping[str, tuple[str, str]]] = {
    "head": ("usufruct_head_block", "Newest block that was looked at."),
    "head_time_s": ("usufruct_head_timestamp_seconds", "Its time."),
    "looked_at": (
        "usufruct_last_look_timestamp_seconds",
        "When the last look was complete; 0 before one.",
    ),
    "epoch": ("usufruct_epoch_number", "The epoch that is open or being reported."),
    "last_finalized_epoch": ("usufruct_finalized_epoch_number", "The last epoch that is final on chain."),
    "attempt": ("usufruct_attempt_number", "The attempt at a report that is on."),
    "quorum": ("usufruct_quorum_signers", "How many signers must agree."),
    "period_end_s": ("usufruct_period_end_timestamp_seconds", "When the period of the open epoch ends."),
    "finalizable_at_s": (
        "usufruct_finalizable_timestamp_seconds",
        "When the pending report's dispute window ends; 0 if none is pending.",
    ),
    "is_frozen": ("usufruct_epoch_frozen", "1 once the open epoch's cut-off is past and this node froze it."),
    "is_pending": ("usufruct_report_pending", "1 while a report waits for its dispute window to end."),
    "is_pending_mine": (
        "usufruct_report_pending_known",
        "1 if this node computed the pending report too.",
    ),
    "halted": ("usufruct_halted", "1 if the node stopped for good: an invariant is broken."),
    "trouble": ("usufruct_in_trouble", "1 if the last look failed."),
}


class StatusCollector(Collector):
    """Reads status and store at each scrape. What cannot be read is left out of it.

    free_bytes: room left where the database lies; None if that is another machine's business
    """

    def __init__(self, status: NodeStatus, store: Store, free_bytes: Callable[[], int | None]) -> None:
        self._status = status
        self._store = store
        self._free_bytes = free_bytes

    def describe(self) -> list[Metric]:
        """Return the families that a scrape may hold, without asking anything."""
        return [_gauge(name, about) for name, about in (*_FACTS.values(), *_STORED.values(), _FREE)]

    def collect(self) -> Iterator[Metric]:
        """Yield one value per fact that is known."""
        facts = self._status.facts()
        for fact, (name, about) in _FACTS.items():
            if fact in facts:
                yield _gauge(name, about, _number(facts[fact]))
        free = self._free_bytes()
        if free is not None:
            yield _gauge(*_FREE, free)
        try:
            with self._store.read() as db:
                found = _stored(db, facts)
        except UsufructError as error:
            _log.warning("no figures of the store: %s", error)
            return
        for what, value in found.items():
            yield _gauge(*_STORED[what], value)


_FREE: Final = ("usufruct_disk_free_bytes", "Room left on the disk that the database lies on.")
_STORED: Final[Mapping[str, tuple[str, str]]] = {
    "lanes": ("usufruct_lanes", "Lanes registered on chain."),
    "stopped": ("usufruct_lanes_stopped", "Lanes that signed two histories."),
    "unpaid": ("usufruct_unpaid_epochs", "Final epochs with notes that are not paid yet."),
    "last_signed": ("usufruct_signed_epoch_number", "The last epoch whose report this node's key signed."),
    "signed": (
        "usufruct_collected_signatures",
        "Signatures over the report that most signed, this attempt.",
    ),
}


def _stored(db: Connection, facts: Mapping[str, Any]) -> dict[str, int]:
    lanes = lane_store.all_lanes(db)
    found = {
        "lanes": len(lanes),
        "stopped": sum(lane.conflict_seq is not None for lane in lanes),
        "unpaid": len(epoch_store.unpaid(db)),
    }
    last = epoch_store.last_signed(db)
    if last is not None:
        found["last_signed"] = last[0]
    if "epoch" in facts and "attempt" in facts:
        votes = epoch_store.votes(db, facts["epoch"], facts["attempt"])
        signed = [vote.report_hash for vote in votes.values() if vote.signature is not None]
        found["signed"] = max(map(signed.count, signed), default=0)
    return found


def _number(value: Any) -> float:
    """Return a number as it is, a flag as 0 or 1, a text as 1 unless it is empty."""
    return float(bool(value)) if isinstance(value, (bool, str)) else float(value)


def _gauge(name: str, about: str, value: float | None = None) -> Metric:
    return GaugeMetricFamily(name, about, value=value)
