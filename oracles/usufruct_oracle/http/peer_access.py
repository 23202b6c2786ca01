"""Who may read what is not for everybody: signers, by a signed request; what they get is sealed to them."""

from __future__ import annotations

from starlette.requests import Request
from usufruct_protocol.errors import InputRejected

from usufruct_oracle.bundles.sealing import check_recipient
from usufruct_oracle.peers.auth import HEADER, NotAPeer, PeerAuth


class PeerAccess:
    """Tells signers' requests from those of strangers."""

    def __init__(self, auth: PeerAuth) -> None:
        self._auth = auth

    def reader(self, request: Request) -> str:
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

    def is_peer(self, request: Request) -> bool:
        """Tell whether a signer sent this request."""
        try:
            self._require_peer(request)
        except NotAPeer:
            return False
        return True

    def _require_peer(self, request: Request) -> None:
        query = request.url.query
        path = request.url.path + (f"?{query}" if query else "")
        self._auth.check(request.headers.get(HEADER), request.method, path)
