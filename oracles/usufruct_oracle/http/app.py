"""What a node says over HTTP: to meters, stewards, peers, callers and its operator.

Bodies have size limits, restricted answers need a signed request, and nothing here decides anything: intake
judges, the store remembers, the epoch loop acts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from usufruct_protocol.errors import UsufructError

from usufruct_oracle.bundles.keys import Announcing
from usufruct_oracle.chain.registry import Registry
from usufruct_oracle.http.bundles import BundleHttp
from usufruct_oracle.http.edge import Edge
from usufruct_oracle.http.epochs import EpochHttp
from usufruct_oracle.http.health import Health
from usufruct_oracle.http.lanes import LaneHttp
from usufruct_oracle.http.large_answers import LargeAnswers
from usufruct_oracle.http.peer_access import PeerAccess
from usufruct_oracle.http.problems import on_bug, on_http_exception, on_usufruct_error
from usufruct_oracle.http.rosters import RosterHttp
from usufruct_oracle.intake.acknowledging import Acknowledging
from usufruct_oracle.intake.writer import IntakeWriter
from usufruct_oracle.limits import Buckets, Shares
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.peers.auth import PeerAuth
from usufruct_oracle.peers.rosters import Rosters
from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import hexed

_PLACES_FOR_ANYONE: Final = 8
_PLACES_FOR_PEERS: Final = 32


class NodeHttp:
    """The routes of one node. `identity` is what /v1/status says about whose node it is."""

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
        shares = shares or Shares()
        metrics = metrics or Metrics()
        access = PeerAccess(auth)
        # Apart, so that strangers who read slowly do not keep peers from a bundle.
        for_anyone, for_peers = LargeAnswers(_PLACES_FOR_ANYONE), LargeAnswers(_PLACES_FOR_PEERS)
        self._store = store
        self._status = status
        self._identity = identity
        self._metrics = metrics
        self._shares = shares
        self._health = health or Health(status, store, lambda: None)
        self._lanes = LaneHttp(
            store,
            writer,
            registry,
            acknowledging,
            access,
            status,
            metrics,
            Buckets(shares.of_lane),
            for_anyone,
        )
        self._rosters = RosterHttp(store, rosters, registry, access, status, for_peers)
        self._epochs = EpochHttp(store, own_address)
        self._bundles = BundleHttp(store, access, announcing, for_anyone, for_peers)

    def app(self) -> ASGIApp:
        """Return the ASGI application."""
        get: list[tuple[str, Callable[[Request], Response]]] = [
            ("/health", self._health.health),
            ("/ready", self._health.ready),
            ("/v1/status", self.status),
            ("/v1/bundle-key", self._bundles.bundle_key),
            ("/v1/lanes/{lane}", self._lanes.lane),
            ("/v1/lanes/{lane}/hashes", self._lanes.lane_hashes),
            ("/v1/lanes/{lane}/batches", self._lanes.lane_batches),
            ("/v1/lanes/{lane}/evidence", self._lanes.lane_evidence),
            ("/v1/rosters/{root}", self._rosters.roster),
            ("/v1/epochs/{epoch:int}", self._epochs.epoch),
            ("/v1/epochs/{epoch:int}/frozen", self._epochs.frozen),
            ("/v1/epochs/{epoch:int}/attempts/{attempt:int}/vector", self._epochs.vector),
            ("/v1/epochs/{epoch:int}/attempts/{attempt:int}/vote", self._epochs.vote),
            ("/v1/epochs/{epoch:int}/bundle", self._bundles.manifest),
            ("/v1/epochs/{epoch:int}/bundle/{name}", self._bundles.bundle_file),
        ]
        app = Starlette(
            routes=[
                Route("/v1/batches", self._lanes.take_batch, methods=["POST"]),
                Route("/v1/rosters/{license_id:int}", self._rosters.take_roster, methods=["PUT"]),
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
