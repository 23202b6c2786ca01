"""Metering recorded calls: through the same lanes, spools and checkpoints as live ones, in trace time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Final

from usufruct_meter.importer import PlannedCall
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.nodes.node_client import NodeClient
from usufruct_meter.shipping.batching import BatchLimits, next_batch
from usufruct_meter.shipping.shipper import Shipper
from usufruct_meter.signed_receipt import MeteredCall

from scripts.world import License

SHIP_TIMEOUT_S: Final = 60.0
NEVER_S: Final = 1e9


class Gateways:
    """All lanes of all licenses, opened by this process. Time is what the driver says it is."""

    def __init__(self, licenses: Sequence[License]) -> None:
        self.now_ms = 0
        self._licenses = licenses
        self._lanes = [
            [Lane.open(file, clock_ms=lambda: self.now_ms) for file in license_.lanes]
            for license_ in licenses
        ]
        self._answered: dict[tuple[int, str], int] = {}
        self._turns = [0] * len(licenses)

    def meter(self, calls: Iterable[PlannedCall]) -> None:
        """Sign receipts for calls, in replay order; a license's lanes take turns.

        A retry goes to another lane than the call did, so that only the license's index can tell it is one.
        """
        waiting: dict[Lane, list[MeteredCall]] = {}
        for call in calls:
            self.now_ms = max(self.now_ms, call.at_ms)
            identity = (call.license_index, call.response_id)
            first_place = self._answered.get(identity)
            if first_place is None:
                place = self._answered[identity] = self._next_place(call.license_index)
            else:
                self._write(waiting)
                place = first_place + 1
            lanes = self._lanes[call.license_index]
            waiting.setdefault(lanes[place % len(lanes)], []).append(self._metered(call))
        self._write(waiting)

    def ship(self, running: int) -> None:
        """Sign checkpoints over everything and wait until so many nodes hold it."""
        for lane in self._all():
            if lane.count:
                with Shipper(lane, checkpoint_every_s=NEVER_S) as shipper:
                    shipper.flush(SHIP_TIMEOUT_S, quorum=running)

    def ship_to_one(self, url: str) -> None:
        """Sign checkpoints over everything and bring it to a single node."""
        with NodeClient(url) as node:
            for lane in self._all():
                lane.checkpoint()
                held = node.held(lane.address, lane.domain).count
                with closing(SpoolReader.open(lane.file.spool)) as spool:
                    while (batch := next_batch(spool, held, BatchLimits())) is not None:
                        held = node.send_batch(batch).count

    def close(self) -> None:
        """Give the lanes back."""
        for lane in self._all():
            lane.close()

    def _all(self) -> list[Lane]:
        return [lane for lanes in self._lanes for lane in lanes]

    def _next_place(self, license_index: int) -> int:
        place = self._turns[license_index]
        self._turns[license_index] = (place + 1) % len(self._lanes[license_index])
        return place

    def _metered(self, call: PlannedCall) -> MeteredCall:
        collection = self._licenses[call.license_index].plan.collection
        return MeteredCall(
            units=call.units,
            usage=[(collection.record_tag(record), 1) for record in call.records],
            response_id=call.response_id,
            at_ms=call.at_ms,
        )

    @staticmethod
    def _write(waiting: dict[Lane, list[MeteredCall]]) -> None:
        for lane, calls in waiting.items():
            lane.meter_many(calls)
        waiting.clear()
