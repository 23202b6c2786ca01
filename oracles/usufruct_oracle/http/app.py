"""What a node says over HTTP: to meters, stewards, peers, callers and its operator.

Bodies have size limits, restricted answers need a signed request, and nothing here decides anything: intake
judges, the store remembers, the epoch loop acts.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from usufruct_protocol.batches import MAX_BATCH_BYTES, Batch
from usufruct_protocol.bundle import PUBLIC_FILES, RESTRICTED_FILES
from usufruct_protocol.errors import InputRejected, Transient, UsufructError
from usufruct_protocol.money import check_uint
from usufruct_protocol.receipts import receipt_hashes

from usufruct_oracle.bundles.keys import Announcing
from usufruct_oracle.bundles.sealing import check_recipient, seal
from usufruct_oracle.chain.registry import Registry
from usufruct_oracle.epochs.freezing import frozen_view
from usufruct_oracle.http.edge import Edge
from usufruct_oracle.http.health import Health
from usufruct_oracle.http.large_answers import LargeAnswers
from usufruct_oracle.http.problems import NotFound, on_bug, on_http_exception, on_usufruct_error
from usufruct_oracle.http.request_body import BodyRoom, read_body
from usufruct_oracle.intake.acknowledging import Acknowledging
from usufruct_oracle.intake.admission import LaneRevoked, UnknownLane
from usufruct_oracle.intake.writer import IntakeWriter
from usufruct_oracle.limits import Buckets, Shares, TooMany
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.peers.auth import HEADER, NotAPeer, PeerAuth
from usufruct_oracle.peers.client import MAX_ROSTER_BYTES, pack_batches
from usufruct_oracle.peers.rosters import Rosters
from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage import epoch_store, lane_store
from usufruct_oracle.storage.lane_store import Lane
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import (
    frozen_json,
    hexed,
    manifest_json,
    report_json,
    signed_checkpoint_json,
    vector_json,
    vote_json,
)

_HEX: Final = re.compile(r"0x[0-9a-fA-F]+")
_BATCHES_PER_ANSWER_BYTES: Final = MAX_BATCH_BYTES
_ROSTER_TURN_S: Final = 5.0
_ROSTER_BYTES_PER_S: Final = 1024 * 1024
_PLACES_FOR_ANYONE: Final = 8
_PLACES_FOR_PEERS: Final = 32
MAX_HASHES: Final = 262_144
OCTETS: Final = "application/octet-stream"


class NodeHttp:
    """The handlers of one node. `identity` is what /v1/status says about whose node it is."""

    def __init__(
        self,
        store: Store,
        writer: IntakeWriter,
        registry: Registry,
        rosters: Rosters,
        auth: PeerAuth,
        status: NodeStatus,
        acknowledging: Acknowledging,
        own_address: bytes,
        identity: dict[str, Any],
        *,
        health: Health | None = None,
        metrics: Metrics | None = None,
        shares: Shares | None = None,
        announcing: Announcing | None = None,
    ) -> None:
        self._store = store
        self._writer = writer
        self._registry = registry
        self._rosters = rosters
        self._auth = auth
        self._status = status
        self._acknowledging = acknowledging
        self._own_address = own_address
        self._identity = identity
        self._health = health or Health(status, store, lambda: None)
        self._metrics = metrics or Metrics()
        self._shares = shares or Shares()
        self._announcing = announcing
        self._lane_shares = Buckets(self._shares.of_lane)
        self._room = BodyRoom()
        # Apart, so that strangers who read slowly do not keep peers from a bundle.
        self._for_anyone = LargeAnswers(_PLACES_FOR_ANYONE)
        self._for_peers = LargeAnswers(_PLACES_FOR_PEERS)
        self._roster_turn = asyncio.Semaphore(1)

    def app(self) -> ASGIApp:
        """Return the ASGI application."""
        get: list[tuple[str, Callable[[Request], Response]]] = [
            ("/health", self._health.health),
            ("/ready", self._health.ready),
            ("/v1/status", self.status),
            ("/v1/bundle-key", self.bundle_key),
            ("/v1/lanes/{lane}", self.lane),
            ("/v1/lanes/{lane}/hashes", self.lane_hashes),
            ("/v1/lanes/{lane}/batches", self.lane_batches),
            ("/v1/lanes/{lane}/evidence", self.lane_evidence),
            ("/v1/rosters/{root}", self.roster),
            ("/v1/epochs/{epoch:int}", self.epoch),
            ("/v1/epochs/{epoch:int}/frozen", self.frozen),
            ("/v1/epochs/{epoch:int}/attempts/{attempt:int}/vector", self.vector),
            ("/v1/epochs/{epoch:int}/attempts/{attempt:int}/vote", self.vote),
            ("/v1/epochs/{epoch:int}/bundle", self.manifest),
            ("/v1/epochs/{epoch:int}/bundle/{name}", self.bundle_file),
        ]
        app = Starlette(
            routes=[
                Route("/v1/batches", self.take_batch, methods=["POST"]),
                Route("/v1/rosters/{license_id:int}", self.take_roster, methods=["PUT"]),
                *(Route(path, handler, methods=["GET"]) for path, handler in get),
            ],
            exception_handlers={
                UsufructError: on_usufruct_error,
                HTTPException: on_http_exception,
                Exception: on_bug,
            },
        )
        app.router.redirect_slashes = False  # a path that nobody serves is a problem document, not a hint
        return Edge(app, self._metrics, Buckets(self._shares.of_sender), self._shares.trusted_proxies)

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

    async def _batch_of(self, request: Request) -> Batch:
        """Return the batch in a request, if its lane may send one now."""
        self._refuse_when_halted()
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

    async def take_roster(self, request: Request) -> Response:
        """PUT /v1/rosters/{license_id}: hold the roster whose root the steward has set on chain."""
        self._refuse_when_halted()
        license_id = _number(request, "license_id", 32)
        root = await run_in_threadpool(lambda: self._rosters.named(license_id, self._registry.at_head()))
        # Nobody's bytes are read for a license that has no roster, or whose roster is here.
        if not await run_in_threadpool(self._rosters.holds, root):
            await self._take_roster_body(request, license_id, root)
        return JSONResponse({"license_id": license_id, "root": hexed(root)})

    async def _take_roster_body(self, request: Request, license_id: int, root: bytes) -> None:
        """Read and keep a roster, one at a time: each may be very large."""
        try:
            async with asyncio.timeout(_ROSTER_TURN_S):
                await self._roster_turn.acquire()
        except TimeoutError as error:
            raise Transient("another roster is being taken", hint="send it again in a moment") from error
        try:
            body = await read_body(request, MAX_ROSTER_BYTES, min_bytes_per_s=_ROSTER_BYTES_PER_S)
            await run_in_threadpool(self._rosters.put, license_id, body, root)
        finally:
            self._roster_turn.release()

    def status(self, _request: Request) -> Response:
        """GET /v1/status: whose node this is and what it is doing."""
        with self._store.read() as db:
            held = {
                hexed(lane.lane): {
                    "count": lane_store.frontier(db, lane.lane_id).count,
                    "conflict_seq": lane.conflict_seq,
                }
                for lane in lane_store.all_lanes(db)
            }
        return JSONResponse({**self._identity, **self._status.facts(), "lanes": held})

    def bundle_key(self, _request: Request) -> Response:
        """GET /v1/bundle-key: the key to which others seal what this signer may read, under its signature."""
        if self._announcing is None:
            raise NotFound("this node is no signer")
        return JSONResponse(self._announcing.current().to_json())

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
        from_seq, to_count = _query_uint(request, "from_seq"), _query_uint(request, "to_count")

        def load() -> bytes:
            with self._store.read() as db:
                end = min(to_count, lane_store.frontier(db, lane.lane_id).count, from_seq + MAX_HASHES)
                blob = lane_store.records(db, lane.lane_id, from_seq, end) if from_seq < end else b""
            return b"".join(receipt_hashes(lane.lane, blob))

        return self._for_anyone.answer(load)

    def lane_batches(self, request: Request) -> Response:
        """GET /v1/lanes/{lane}/batches: receipts with their usage lists, for peers."""
        reader = self._reader(request)
        lane = self._lane(request)
        from_seq, to_count = _query_uint(request, "from_seq"), _query_uint(request, "to_count")
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
        return Response(seal(pack_batches(batches), [reader]), media_type=OCTETS)

    def lane_evidence(self, request: Request) -> Response:
        """GET /v1/lanes/{lane}/evidence: both histories where a lane signed two, for peers."""
        reader = self._reader(request)
        lane = self._lane(request)
        with self._store.read() as db:
            found = lane_store.evidence_of(db, lane.lane_id)[:1]
        packed = pack_batches([batch for each in found for batch in (each.ours, each.theirs)])
        return Response(seal(packed, [reader]), media_type=OCTETS)

    def roster(self, request: Request) -> Response:
        """GET /v1/rosters/{root}: a roster by its root, for peers."""
        reader = self._reader(request)
        root = _hex_param(request, "root", 32)

        def load() -> bytes:
            with self._store.read() as db:
                body = epoch_store.roster(db, root)
            if body is None:
                raise NotFound("no roster with this root is held here")
            return seal(body, [reader])

        return self._for_peers.answer(load)

    def epoch(self, request: Request) -> Response:
        """GET /v1/epochs/{epoch}: the finalized report as this node holds it."""
        number = _number(request, "epoch", 48)
        with self._store.read() as db:
            final = epoch_store.finalized(db, number)
            report = None if final is None else epoch_store.report(db, number, final.attempt)
        if final is None:
            raise NotFound(f"epoch {number} is not final here")
        is_same = report is not None and report.report_hash == final.report_hash
        return JSONResponse(
            {
                "epoch": number,
                "attempt": final.attempt,
                "report_hash": hexed(final.report_hash),
                "bundle_hash": hexed(final.bundle_hash),
                "note_count": final.note_count,
                "is_paid": final.is_paid,
                "report": report_json(report.report) if report is not None and is_same else None,
            }
        )

    def frozen(self, request: Request) -> Response:
        """GET /v1/epochs/{epoch}/frozen: what this node held when it froze the epoch."""
        with self._store.read() as db:
            view = frozen_view(db, _number(request, "epoch", 48))
        if view is None:
            raise NotFound("this epoch is not frozen here (yet)")
        return JSONResponse(frozen_json(view))

    def vector(self, request: Request) -> Response:
        """GET …/vector: the lane vector this node proposed or accepted."""
        with self._store.read() as db:
            found = epoch_store.vector(db, _number(request, "epoch", 48), _number(request, "attempt", 32))
        if found is None:
            raise NotFound("no vector for this attempt here (yet)")
        return JSONResponse(vector_json(found))

    def vote(self, request: Request) -> Response:
        """GET …/vote: which report this node computed; its signature once k nodes hold the same bundle."""
        with self._store.read() as db:
            votes = epoch_store.votes(db, _number(request, "epoch", 48), _number(request, "attempt", 32))
        mine = votes.get(self._own_address)
        if mine is None:
            raise NotFound("no vote for this attempt here (yet)")
        return JSONResponse(vote_json(mine))

    def manifest(self, request: Request) -> Response:
        """GET …/bundle: names, digests and sizes of a bundle's files."""
        epoch, bundle_hash = self._bundle_wanted(request)
        with self._store.read() as db:
            entries = epoch_store.bundle_entries(db, epoch, bundle_hash)
        if not entries:
            raise NotFound("this bundle is not held here")
        return JSONResponse(manifest_json(bundle_hash, entries))

    def bundle_file(self, request: Request) -> Response:
        """GET …/bundle/{name}: one file; rosters, accruals and usage go to peers only."""
        name = request.path_params["name"]
        if name not in (*PUBLIC_FILES, *RESTRICTED_FILES):
            raise NotFound("a bundle has no such file")
        reader = self._reader(request) if name in RESTRICTED_FILES else None
        places = self._for_peers if self._is_peer(request) else self._for_anyone
        epoch, bundle_hash = self._bundle_wanted(request)

        def load() -> bytes:
            with self._store.read() as db:
                body = epoch_store.bundle_file(db, epoch, bundle_hash, name)
            if body is None:
                raise NotFound(f"{name} of this bundle is not held here")
            return body if reader is None else seal(body, [reader])

        return places.answer(load)

    def _bundle_wanted(self, request: Request) -> tuple[int, bytes]:
        """Return epoch and bundle hash: the one in the query, else that of the finalized report."""
        epoch = _number(request, "epoch", 48)
        text = request.query_params.get("bundle_hash")
        if text is not None:
            return epoch, _hex(text, "bundle_hash", 32)
        with self._store.read() as db:
            final = epoch_store.finalized(db, epoch)
        if final is None:
            raise NotFound(f"epoch {epoch} is not final here", hint="name the bundle: ?bundle_hash=0x…")
        return epoch, final.bundle_hash

    def _lane(self, request: Request) -> Lane:
        address = _hex_param(request, "lane", 20)
        self._registry.is_registered(address)
        with self._store.read() as db:
            lane = lane_store.lane_by_address(db, address)
        if lane is None:
            raise NotFound(f"lane {hexed(address)} is not registered on chain")
        return lane

    def _reader(self, request: Request) -> str:
        """Return the key to which a restricted answer is sealed: the one that a peer's signed request names.

        Raises: NotAPeer, InputRejected.
        """
        self._require_peer(request)
        recipient = request.query_params.get("recipient")
        if recipient is None:
            raise InputRejected(
                f"{request.url.path} is answered sealed", hint="name an age key of yours: recipient=age1…"
            )
        return check_recipient(recipient)

    def _require_peer(self, request: Request) -> None:
        query = request.url.query
        path = request.url.path + (f"?{query}" if query else "")
        self._auth.check(request.headers.get(HEADER), request.method, path)

    def _is_peer(self, request: Request) -> bool:
        try:
            self._require_peer(request)
        except NotAPeer:
            return False
        return True

    def _refuse_when_halted(self) -> None:
        reason = self._status.halted
        if reason:
            raise Transient(f"this node has stopped taking input: {reason}", hint="send to another node")


def _size(batch: Batch) -> int:
    return len(batch.records) + sum(len(opening) + 12 for opening in batch.openings.values()) + 256


def _hex_param(request: Request, name: str, length: int) -> bytes:
    return _hex(request.path_params[name], name, length)


def _hex(text: str, name: str, length: int) -> bytes:
    if len(text) != 2 + 2 * length or not _HEX.fullmatch(text):
        raise InputRejected(f"{name} must be 0x and {2 * length} hex digits")
    return bytes.fromhex(text[2:])


def _number(request: Request, name: str, bits: int) -> int:
    return check_uint(request.path_params[name], bits, name)


def _query_uint(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise InputRejected(f"query parameter {name} must be a whole number")
    return int(text)
