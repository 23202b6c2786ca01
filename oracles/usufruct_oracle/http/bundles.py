"""Bundles over HTTP: public files for everybody, restricted ones sealed to the signer who asks."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from usufruct_protocol.bundle import PUBLIC_FILES, RESTRICTED_FILES

from usufruct_oracle.bundles.keys import Announcing
from usufruct_oracle.bundles.sealing import seal
from usufruct_oracle.http.large_answers import LargeAnswers
from usufruct_oracle.http.parameters import hex_bytes, path_uint
from usufruct_oracle.http.peer_access import PeerAccess
from usufruct_oracle.http.problems import NotFound
from usufruct_oracle.storage import epoch_store
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import manifest_json


class BundleHttp:
    """Handlers of /v1/bundle-key and /v1/epochs/{epoch}/bundle."""

    def __init__(
        self,
        store: Store,
        access: PeerAccess,
        announcing: Announcing | None,
        for_anyone: LargeAnswers,
        for_peers: LargeAnswers,
    ) -> None:
        self._store = store
        self._access = access
        self._announcing = announcing
        self._for_anyone = for_anyone
        self._for_peers = for_peers

    def bundle_key(self, _request: Request) -> Response:
        """GET /v1/bundle-key: the key to which others seal what this signer may read, under its signature."""
        if self._announcing is None:
            raise NotFound("this node is no signer")
        return JSONResponse(self._announcing.current().to_json())

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
        reader = self._access.reader(request) if name in RESTRICTED_FILES else None
        places = self._for_peers if self._access.is_peer(request) else self._for_anyone
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
        epoch = path_uint(request, "epoch", 48)
        text = request.query_params.get("bundle_hash")
        if text is not None:
            return epoch, hex_bytes(text, "bundle_hash", 32)
        with self._store.read() as db:
            final = epoch_store.finalized(db, epoch)
        if final is None:
            raise NotFound(f"epoch {epoch} is not final here", hint="name the bundle: ?bundle_hash=0x…")
        return epoch, final.bundle_hash
