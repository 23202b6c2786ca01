"""From an accepted lane vector to a stored report: gather inputs, call the pure function, keep the bundle."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Iterable, Iterator

from usufruct_protocol.eip712 import epoch_report_hash
from usufruct_protocol.errors import InvariantBroken
from usufruct_protocol.receipts import Checkpoint, unpack_usage_list
from usufruct_protocol.report import BuiltReport, ReportInputs, build_report
from usufruct_protocol.usage import count_usage

from usufruct_oracle.context import EpochContext
from usufruct_oracle.peers.rosters import Rosters
from usufruct_oracle.storage import epoch_store, lane_store
from usufruct_oracle.storage.database import Connection
from usufruct_oracle.storage.epoch_store import StoredReport
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import Vector

_log = logging.getLogger(__name__)


class Reporting:
    """Builds each attempt's report once and stores it with its bundle."""

    def __init__(self, store: Store, rosters: Rosters) -> None:
        self._store = store
        self._rosters = rosters
        self._last: tuple[tuple[object, ...], BuiltReport] | None = None

    def obtain(self, context: EpochContext, vector: Vector) -> StoredReport:
        """Return the report of a vector's attempt, durably stored with its bundle."""
        with self._store.read() as db:
            stored = epoch_store.report(db, vector.epoch, vector.attempt)
        if stored is not None:
            return stored
        built = self._build(context, vector)
        report = dataclasses.replace(built.report, attempt=vector.attempt)
        stored = StoredReport(report, epoch_report_hash(report), report.bundle_hash)
        with self._store.write() as db:
            epoch_store.put_report(db, stored, built.bundle)
        _log.info(
            "built epoch %d, attempt %d: %d lines, %d notes, bundle 0x%s",
            report.epoch,
            report.attempt,
            len(report.lines),
            report.note_count,
            report.bundle_hash.hex(),
        )
        return stored

    def _build(self, context: EpochContext, vector: Vector) -> BuiltReport:
        """Build the report, or reuse the last one: nothing but its number depends on the attempt."""
        heads = tuple(None if head is None else head.checkpoint for head in vector.heads)
        unknown = vector.withheld, vector.adopted
        key = (vector.epoch, vector.cutoff_block_hash, context.base.report_hash, heads, unknown)
        if self._last is None or self._last[0] != key:
            with self._store.read() as db:
                usage = count_new_usage(db, context, heads, vector.adopted)
            rosters = self._rosters.load(context.chain)
            inputs = ReportInputs(
                context.chain,
                vector.attempt,
                heads,
                usage,
                {number: rosters[number] for number in rosters if number not in vector.withheld},
                context.base.accruals,
                context.base.carried,
                context.base.allocated_income,
                context.base.rosters_for(context.chain),
            )
            self._last = (key, build_report(inputs))
        return self._last[1]


def count_new_usage(
    db: Connection,
    context: EpochContext,
    heads: Iterable[Checkpoint | None],
    adopted: Collection[int] = (),
) -> dict[int, dict[bytes, int]]:
    """Return the record weights of receipts that a vector newly counts, by license.

    Only licenses that are paid by use: for the others usage lists change nothing, and stay where they are.
    Adopted lanes add none: their receipts are not there, or not everywhere.
    """
    paid_by_use = {state.license_id for state in context.chain.licenses if state.meter_kind.pays_by_use}
    lists: dict[int, list[Iterator[bytes]]] = {}
    for state, head in zip(context.chain.lanes, heads, strict=True):
        if head is None or state.license_id not in paid_by_use or state.number in adopted:
            continue
        before = context.base.heads.get(state.lane)
        lane = lane_store.lane_by_address(db, state.lane)
        if lane is None:
            raise InvariantBroken(f"lane 0x{state.lane.hex()} is in an accepted vector, but not in the store")
        from_seq = 0 if before is None else before.count
        lists.setdefault(state.license_id, []).append(
            lane_store.usage_lists(db, lane.lane_id, from_seq, head.count)
        )
    return {
        license_id: count_usage(unpack_usage_list(packed).entries for part in parts for packed in part)
        for license_id, parts in lists.items()
    }
