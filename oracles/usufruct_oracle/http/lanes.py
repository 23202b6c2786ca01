"""Lanes over HTTP: batches in; what is held of a lane, its hashes, receipts and contradictions out."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from usufruct_protocol.batches import MAX_BATCH_BYTES, Batch
from usufruct_protocol.errors import UsufructError
from usufruct_protocol.receipts import receipt_hashes

from usufruct_oracle.bundles.sealing import seal
from usufruct_oracle.chain.registry import Registry
from usufruct_oracle.http.large_answers import LargeAnswers
from usufruct_oracle.http.parameters import path_bytes, query_uint
from usufruct_oracle.http.peer_access import PeerAccess
from usufruct_oracle.http.problems import NotFound
from usufruct_oracle.http.request_body import BodyRoom, read_body
from usufruct_oracle.intake.acknowledging import Acknowledging
from usufruct_oracle.intake.admission import LaneRevoked, UnknownLane
from usufruct_oracle.intake.writer import IntakeWriter
from usufruct_oracle.limits import Buckets, TooMany
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.peers.client import pack_batches
from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.lane_store import Lane
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import (
    hexed,
    signed_checkpoint_json,
)

_BATCHES_PER_ANSWER_BYTES: Final = MAX_BATCH_BYTES
_MAX_HASHES: Final = 262_144
_OCTETS: Final = "application/octet-stream"


class LaneHttp:
    """Handlers of /v1/batches and /v1/lanes."""

    def __init__(
        self,
        store: Store,
        writer: IntakeWriter,
        registry: Registry,
        acknowledging: Acknowledging,
        access: PeerAccess,
        status: NodeStatus,
        metrics: Metrics,
        lane_shares: Buckets,
        for_anyone: LargeAnswers,
    ) -> None:
        self._store = store
        self._writer = writer
        self._registry = registry
        self._acknowledging = acknowledging
        self._access = access
        self._status = status
        self._metrics = metrics
        self._lane_shares = lane_shares
        self._for_anyone = for_anyone
        self._room = BodyRoom()

    async def take_batch(self, request: Request) -> Response:
        """POST /v1/batches: 200 once every receipt is on disk, with this node's word for the checkpoint."""
        try:
            batch = await self._batch_of(request)
        except UsufructError as error:
            self._metrics.batches.labels(error.code).inc()
            raise
        admitted = await asyncio.wrap_future(self._writer.submit(batch))
        if admitted.new_receipts:
            self._lane_shares.pay(batch.lane, 1)
        answer = {"lane": hexed(admitted.lane), "count": admitted.count}
        signed = await run_in_threadpool(self._acknowledging.sign_for, batch.checkpoint)
        if signed is not None:
            answer["ack"] = {
                "count": batch.checkpoint.count,
                "received_at": signed.ack.received_at,
                "signature": hexed(signed.signature),
            }
        return JSONResponse(answer)

    def lane(self, request: Request) -> Response:
        """GET /v1/lanes/{lane}: what is durably held of a lane."""
        lane = self._lane(request)
        with self._store.read() as db:
            held = lane_store.frontier(db, lane.lane_id)
            point = lane_store.checkpoint_at(db, lane, held.count)
        return JSONResponse(
            {
                "lane": hexed(lane.lane),
                "license_id": lane.license_id,
                "count": held.count,
                "cumulative_units": str(held.cumulative_units),
                "conflict_seq": lane.conflict_seq,
                "checkpoint": None if point is None else signed_checkpoint_json(point),
            }
        )

    def lane_hashes(self, request: Request) -> Response:
        """GET /v1/lanes/{lane}/hashes: struct hashes, 32 bytes each, for callers who check their receipts.

        A hash hides what is behind it: every receipt holds a salted request hash.
        """
        lane = self._lane(request)
        from_seq, to_count = query_uint(request, "from_seq"), query_uint(request, "to_count")

        def load() -> bytes:
            with self._store.read() as db:
                end = min(to_count, lane_store.frontier(db, lane.lane_id).count, from_seq + _MAX_HASHES)
                blob = lane_store.records(db, lane.lane_id, from_seq, end) if from_seq < end else b""
            return b"".join(receipt_hashes(lane.lane, blob))

        return self._for_anyone.answer(load)

    def lane_batches(self, request: Request) -> Response:
        """GET /v1/lanes/{lane}/batches: receipts with their usage lists, for peers."""
        reader = self._access.reader(request)
        lane = self._lane(request)
        from_seq, to_count = query_uint(request, "from_seq"), query_uint(request, "to_count")
        batches: list[Batch] = []
        size = 0
        with self._store.read() as db:
            while from_seq < to_count:
                batch = lane_store.cut_batch(db, lane, from_seq)
                if batch is None or (batches and size + _size(batch) > _BATCHES_PER_ANSWER_BYTES):
                    break
                batches.append(batch)
                size += _size(batch)
                from_seq = batch.checkpoint.count
        return Response(seal(pack_batches(batches), [reader]), media_type=_OCTETS)

    def lane_evidence(self, request: Request) -> Response:
        """GET /v1/lanes/{lane}/evidence: both histories where a lane signed two, for peers."""
        reader = self._access.reader(request)
        lane = self._lane(request)
        with self._store.read() as db:
            found = lane_store.evidence_of(db, lane.lane_id)[:1]
        packed = pack_batches([batch for each in found for batch in (each.ours, each.theirs)])
        return Response(seal(packed, [reader]), media_type=_OCTETS)

    async def _batch_of(self, request: Request) -> Batch:
        """Return the batch in a request, if its lane may send one now."""
        self._status.check_running()
        batch = Batch.decode(await read_body(request, MAX_BATCH_BYTES, self._room))
        if not self._registry.knows(batch.lane) and not await run_in_threadpool(
            self._registry.is_registered, batch.lane
        ):
            raise UnknownLane(batch.lane)
        if self._registry.is_revoked(batch.lane):
            raise LaneRevoked(batch.lane)
        wait_s = self._lane_shares.wait_s(batch.lane)
        if wait_s:
            self._metrics.limited.labels("lane").inc()
            raise TooMany(f"lane {hexed(batch.lane)}", "lane", wait_s)
        return batch

    def _lane(self, request: Request) -> Lane:
        address = path_bytes(request, "lane", 20)
        self._registry.is_registered(address)
        with self._store.read() as db:
            lane = lane_store.lane_by_address(db, address)
        if lane is None:
            raise NotFound(f"lane {hexed(address)} is not registered on chain")
        return lane


def _size(batch: Batch) -> int:
    return len(batch.records) + sum(len(opening) + 12 for opening in batch.openings.values()) + 256
