"""A node to ship to: real HTTP, real checks of every batch, and faults at the push of a button."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from usufruct_protocol.batches import Batch, check_openings
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.receipts import (
    RECORD_SIZE,
    Checkpoint,
    LaneFrontier,
    settlement_domain,
    verify_batch,
)

from tests.unit.meter.lane_kit import CHAIN_ID, SETTLEMENT

DOMAIN = settlement_domain(CHAIN_ID, SETTLEMENT)


@dataclass
class HeldLane:
    """What the stand-in holds of one lane."""

    frontier: LaneFrontier = field(default_factory=LaneFrontier)
    records: bytes = b""
    openings: dict[int, bytes] = field(default_factory=dict)
    checkpoints: list[tuple[Checkpoint, bytes]] = field(default_factory=list)


@dataclass
class StandInNode:
    """Takes batches as a node does. `answers` are given instead of the next ones, in order."""

    port: int
    lanes: dict[bytes, HeldLane] = field(default_factory=dict)
    answers: list[Response] = field(default_factory=list)
    max_receipts: int = 10**9
    batches: list[Batch] = field(default_factory=list)
    claimed_count: int | None = None
    sleep_s: float = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def held(self, lane: bytes) -> HeldLane:
        return self.lanes.setdefault(lane, HeldLane())

    def count(self, lane: bytes) -> int:
        return self.held(lane).frontier.count

    def wait_for(self, lane: bytes, count: int, timeout_s: float = 15.0) -> None:
        """Wait until so many receipts have arrived."""
        deadline = time.monotonic() + timeout_s
        while self.count(lane) < count:
            assert time.monotonic() < deadline, f"{self.count(lane)} of {count} receipts arrived"
            time.sleep(0.01)

    def take(self, batch: Batch) -> Response:
        held = self.held(batch.lane)
        if batch.receipt_count > self.max_receipts:
            return JSONResponse({"code": "too_large"}, 413)
        if batch.first_seq > held.frontier.count:
            return JSONResponse({"code": "gap", "expected_seq": held.frontier.count}, 409)
        known = held.records[batch.first_seq * RECORD_SIZE :]
        if known != batch.records[: len(known)]:
            return JSONResponse({"code": "lane_conflict", "detail": "two histories"}, 409)
        new = batch.records[len(known) :]
        try:
            held.frontier = verify_batch(held.frontier, new, batch.checkpoint, batch.signature, DOMAIN)
            check_openings(batch)
        except InputRejected as error:
            return JSONResponse({"code": error.code, "detail": str(error)}, 422)
        held.records += new
        held.openings |= batch.openings
        held.checkpoints.append((batch.checkpoint, batch.signature))
        self.batches.append(batch)
        return JSONResponse({"lane": "0x" + batch.lane.hex(), "count": held.frontier.count})

    def app(self) -> Starlette:
        async def take(request: Request) -> Response:
            body = await request.body()
            if self.sleep_s:
                time.sleep(self.sleep_s)
            return self.answers.pop(0) if self.answers else self.take(Batch.decode(body))

        def lane(request: Request) -> Response:
            if self.answers:
                return self.answers.pop(0)
            held = self.lanes.get(bytes.fromhex(request.path_params["lane"][2:]))
            if held is None and self.claimed_count is None:
                return JSONResponse({"code": "not_found"}, 404)
            held = held or HeldLane()
            signed = None
            if held.checkpoints:
                point, signature = held.checkpoints[-1]
                signed = {
                    "lane": "0x" + point.lane.hex(),
                    "count": point.count,
                    "cumulative_units": str(point.cumulative_units),
                    "receipts_root": "0x" + point.receipts_root.hex(),
                    "signature": "0x" + signature.hex(),
                }
            count = held.frontier.count if self.claimed_count is None else self.claimed_count
            return JSONResponse({"count": count, "checkpoint": signed})

        return Starlette(
            routes=[
                Route("/v1/batches", take, methods=["POST"]),
                Route("/v1/lanes/{lane}", lane),
                Route("/", lambda _: PlainTextResponse("a node")),
            ]
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(node: StandInNode) -> Iterator[StandInNode]:
    """Serve a node on its port from a thread, and stop it again."""
    server = uvicorn.Server(uvicorn.Config(node.app(), port=node.port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    yield node
    server.should_exit = True
    server.force_exit = True
    thread.join(10)
    assert not thread.is_alive()
