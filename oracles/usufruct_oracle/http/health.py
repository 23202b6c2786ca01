"""Two questions about a node: is something broken (/health), and should work be sent to it (/ready).

A node that has lost the chain is unhealthy, and still takes receipts: they are safe on disk, counted later.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from usufruct_protocol.errors import UsufructError

from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage.database import Location
from usufruct_oracle.storage.store import Store

MAX_STALE_S: Final = 60.0
MIN_FREE_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Health:
    """Answers /health and /ready from what the node knows of itself.

    free_bytes: room left where the database lies, or None if that is another machine's business
    """

    status: NodeStatus
    store: Store
    free_bytes: Callable[[], int | None]

    def health(self, _request: Request) -> Response:
        """GET /health: 200 while the loop sees the chain and nothing is broken."""
        age_s = self.status.seconds_since_look()
        if self.status.halted:
            return _answer("failing", self.status.halted)
        if age_s > MAX_STALE_S:
            return _answer("failing", f"no look at the chain for {age_s:.0f} s")
        return _answer("ok", "")

    def ready(self, _request: Request) -> Response:
        """GET /ready: 200 while receipts sent here are taken and made durable."""
        if self.status.halted:
            return _answer("not ready", self.status.halted)
        free = self.free_bytes()
        if free is not None and free < MIN_FREE_BYTES:
            return _answer("not ready", f"{free // 2**20} MB of disk are left")
        try:
            with self.store.read():
                pass
        except UsufructError as error:
            return _answer("not ready", str(error))
        return _answer("ready", "")


def free_bytes_beside(database: Location) -> Callable[[], int | None]:
    """Return a question for the room left on the disk of a database; None if a server keeps it."""

    def ask() -> int | None:
        try:
            return shutil.disk_usage(database.parent).free if isinstance(database, Path) else None
        except OSError:
            return None

    return ask


def _answer(status: str, reason: str) -> Response:
    return JSONResponse({"status": status, "reason": reason}, 503 if reason else 200)
