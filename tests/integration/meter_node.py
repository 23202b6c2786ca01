"""A node to ship to: real HTTP, real checks of every batch, and faults at the push of a button."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from usufruct_protocol.batches import Batch, check_openings
from usufruct_protocol.bundle import pack_lanes
from usufruct_protocol.eip712 import epoch_report_hash, typed_digest
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.merkle import padded_root
from usufruct_protocol.receipts import (
    RECORD_SIZE,
    Checkpoint,
    CheckpointAck,
    LaneFrontier,
    receipt_hashes,
    settlement_domain,
    verify_batch,
)
from usufruct_protocol.report_types import EpochReport, ReportLine
from usufruct_protocol.signing import sign_digest

from tests.unit.meter.lane_kit import CHAIN_ID, EPOCH_SECONDS, GENESIS_S, SETTLEMENT

DOMAIN = settlement_domain(CHAIN_ID, SETTLEMENT)


def signed_ack(key: bytes, point: Checkpoint, received_at: int) -> dict[str, Any]:
    """An acknowledgement as nodes write it."""
    digest = typed_digest(DOMAIN, CheckpointAck(point.struct_hash(), received_at).struct_hash())
    return {
        "count": point.count,
        "received_at": received_at,
        "signature": "0x" + sign_digest(key, digest).hex(),
    }


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
    reports: dict[int, EpochReport] = field(default_factory=dict)
    files: dict[int, bytes] = field(default_factory=dict)
    key: bytes | None = None
    received_at: int = GENESIS_S + 7

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
        answer: dict[str, Any] = {"lane": "0x" + batch.lane.hex(), "count": held.frontier.count}
        if self.key is not None:
            answer["ack"] = signed_ack(self.key, batch.checkpoint, self.received_at)
        return JSONResponse(answer)

    def finalize(self, epoch: int, lanes: list[bytes]) -> bytes:
        """Report everything that is held, as if the committee had agreed on it; returns the report hash."""
        heads = [self.held(lane).checkpoints[-1][0] if self.count(lane) else None for lane in lanes]
        zero = bytes(32)
        report = EpochReport(
            epoch=epoch,
            attempt=0,
            previous_report_hash=zero,
            period_end=GENESIS_S + epoch * EPOCH_SECONDS,
            cutoff_block=1,
            cutoff_block_hash=zero,
            signer_set_version=1,
            rule_version=1,
            lanes_root=padded_root([head.struct_hash() if head else zero for head in heads]),
            lane_count=len(heads),
            notes_root=zero,
            notes_total=2**90,
            note_count=0,
            reserve_root=zero,
            reserve_total=0,
            reserve_count=0,
            consent_root=zero,
            roster_hash=zero,
            bundle_hash=zero,
            lines=(ReportLine(1, 5, 2**80),),
        )
        self.reports[epoch] = report
        self.files[epoch] = pack_lanes(heads)
        return epoch_report_hash(report)

    def _epoch(self, request: Request) -> Response:
        report = self.reports.get(int(request.path_params["epoch"]))
        if report is None:
            return JSONResponse({"code": "not_found"}, 404)
        return JSONResponse({"report": {name: _plain(name, value) for name, value in asdict(report).items()}})

    def _lanes_file(self, request: Request) -> Response:
        return Response(self.files[int(request.path_params["epoch"])])

    def _hashes(self, request: Request) -> Response:
        lane = bytes.fromhex(request.path_params["lane"][2:])
        first, end = (int(request.query_params[name]) for name in ("from_seq", "to_count"))
        end = min(end, first + 100)  # small answers, so that callers have to ask more than once
        records = self.held(lane).records[first * RECORD_SIZE : end * RECORD_SIZE]
        return Response(b"".join(receipt_hashes(lane, records)))

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
                Route("/v1/lanes/{lane}/hashes", self._hashes),
                Route("/v1/epochs/{epoch:int}", self._epoch),
                Route("/v1/epochs/{epoch:int}/bundle/lanes.bin", self._lanes_file),
                Route("/", lambda _: PlainTextResponse("a node")),
            ]
        )


def _plain(name: str, value: Any) -> Any:
    """A report field as nodes write it: bytes as hex, totals as decimal strings."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if name == "lines":
        return [{key: _plain(key, one) for key, one in line.items()} for line in value]
    return str(value) if name in ("notes_total", "reserve_total", "cumulative_units", "charge") else value


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
