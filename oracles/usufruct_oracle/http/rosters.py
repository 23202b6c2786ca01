"""Rosters over HTTP: stewards put them, peers fetch them."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from usufruct_protocol.errors import Transient

from usufruct_oracle.bundles.sealing import seal
from usufruct_oracle.chain.registry import Registry
from usufruct_oracle.http.large_answers import LargeAnswers
from usufruct_oracle.http.parameters import path_bytes, path_uint
from usufruct_oracle.http.peer_access import PeerAccess
from usufruct_oracle.http.problems import NotFound
from usufruct_oracle.http.request_body import read_body
from usufruct_oracle.peers.client import MAX_ROSTER_BYTES
from usufruct_oracle.peers.rosters import Rosters
from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage import epoch_store
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import hexed

_TURN_S: Final = 5.0
_BYTES_PER_S: Final = 1024 * 1024


class RosterHttp:
    """Handlers of /v1/rosters."""

    def __init__(
        self,
        store: Store,
        rosters: Rosters,
        registry: Registry,
        access: PeerAccess,
        status: NodeStatus,
        for_peers: LargeAnswers,
    ) -> None:
        self._store = store
        self._rosters = rosters
        self._registry = registry
        self._access = access
        self._status = status
        self._for_peers = for_peers
        self._turn = asyncio.Semaphore(1)

    async def take_roster(self, request: Request) -> Response:
        """PUT /v1/rosters/{license_id}: hold the roster whose root the steward has set on chain."""
        self._status.check_running()
        license_id = path_uint(request, "license_id", 32)
        root = await run_in_threadpool(lambda: self._rosters.named(license_id, self._registry.at_head()))
        # Nobody's bytes are read for a license that has no roster, or whose roster is here.
        if not await run_in_threadpool(self._rosters.holds, root):
            await self._take_roster_body(request, license_id, root)
        return JSONResponse({"license_id": license_id, "root": hexed(root)})

    def roster(self, request: Request) -> Response:
        """GET /v1/rosters/{root}: a roster by its root, for peers."""
        reader = self._access.reader(request)
        root = path_bytes(request, "root", 32)

        def load() -> bytes:
            with self._store.read() as db:
                body = epoch_store.roster(db, root)
            if body is None:
                raise NotFound("no roster with this root is held here")
            return seal(body, [reader])

        return self._for_peers.answer(load)

    async def _take_roster_body(self, request: Request, license_id: int, root: bytes) -> None:
        """Read and keep a roster, one at a time: each may be very large."""
        try:
            async with asyncio.timeout(_TURN_S):
                await self._turn.acquire()
        except TimeoutError as error:
            raise Transient("another roster is being taken", hint="send it again in a moment") from error
        try:
            body = await read_body(request, MAX_ROSTER_BYTES, min_bytes_per_s=_BYTES_PER_S)
            await run_in_threadpool(self._rosters.put, license_id, body, root)
        finally:
            self._turn.release()
