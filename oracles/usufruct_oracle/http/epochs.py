"""Epochs over HTTP: what was frozen, proposed, voted for and finalized."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from usufruct_oracle.epochs.freezing import frozen_view
from usufruct_oracle.http.parameters import path_uint
from usufruct_oracle.http.problems import NotFound
from usufruct_oracle.storage import epoch_store
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import (
    frozen_json,
    hexed,
    report_json,
    vector_json,
    vote_json,
)


class EpochHttp:
    """Handlers of /v1/epochs, but for bundles."""

    def __init__(self, store: Store, own_address: bytes) -> None:
        self._store = store
        self._own_address = own_address

    def epoch(self, request: Request) -> Response:
        """GET /v1/epochs/{epoch}: the finalized report as this node holds it."""
        number = path_uint(request, "epoch", 48)
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
            view = frozen_view(db, path_uint(request, "epoch", 48))
        if view is None:
            raise NotFound("this epoch is not frozen here (yet)")
        return JSONResponse(frozen_json(view))

    def vector(self, request: Request) -> Response:
        """GET …/vector: the lane vector this node proposed or accepted."""
        with self._store.read() as db:
            found = epoch_store.vector(db, path_uint(request, "epoch", 48), path_uint(request, "attempt", 32))
        if found is None:
            raise NotFound("no vector for this attempt here (yet)")
        return JSONResponse(vector_json(found))

    def vote(self, request: Request) -> Response:
        """GET …/vote: which report this node computed; its signature once k nodes hold the same bundle."""
        with self._store.read() as db:
            votes = epoch_store.votes(db, path_uint(request, "epoch", 48), path_uint(request, "attempt", 32))
        mine = votes.get(self._own_address)
        if mine is None:
            raise NotFound("no vote for this attempt here (yet)")
        return JSONResponse(vote_json(mine))
