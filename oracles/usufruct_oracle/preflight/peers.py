"""Asking each peer once how it is, all at the same time: for preflight, not for the protocol."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from usufruct_protocol.errors import UsufructError
from usufruct_protocol.signing import checksum_address

from usufruct_oracle.peers.bounded_http import BoundedHttp
from usufruct_oracle.settings import AGREED
from usufruct_oracle.wire_json import parse_object

_MAX_STATUS_BYTES: Final = 16 * 1024 * 1024
_SHOWN: Final = 120


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """What one peer said.

    problem:           why it does not count as up, or nothing
    agreed:            its values of the settings that all nodes share, if it told them
    own_clock_ahead_s: by how much this machine's clock is ahead of the peer's, if it told its own
    """

    address: bytes
    url: str
    problem: str
    agreed: Mapping[str, Any] | None = None
    own_clock_ahead_s: float | None = None

    @property
    def name(self) -> str:
        """How findings name it."""
        return f"peer {checksum_address(self.address)[:8]}…"

    @property
    def is_well(self) -> bool:
        """Whether it answers as the node of that signer and is not halted."""
        return not self.problem


def probe_peers(urls: Mapping[bytes, str], timeout_s: float) -> list[PeerAnswer]:
    """Ask every peer for its health and status; in the order of `urls`."""
    if not urls:
        return []
    with ThreadPoolExecutor(len(urls), thread_name_prefix="probe") as pool:
        return list(pool.map(lambda item: _probe(item[0], item[1], timeout_s), urls.items()))


def _probe(address: bytes, url: str, timeout_s: float) -> PeerAnswer:
    http = BoundedHttp(url, timeout_s)
    try:
        health = http.get("/health", {}, _MAX_STATUS_BYTES)
        status = http.get("/v1/status", {}, _MAX_STATUS_BYTES)
        facts = parse_object(status.body, "its status") if status.status == 200 else None
        signer = None if facts is None else facts.value("signer")
    except UsufructError as error:
        return PeerAnswer(address, url, f"no answer: {str(error)[:_SHOWN]}")
    finally:
        http.close()
    ahead_s = None if health.clock_s is None else time.time() - health.clock_s
    if facts is None:
        return PeerAnswer(address, url, f"its status is {status.status}", None, ahead_s)
    names = facts.names()
    agreed = {name: facts.value(name) for name in AGREED} if set(AGREED) <= set(names) else None
    problem = ""
    if signer != checksum_address(address):
        problem = f"{url} is the node of {str(signer)[:_SHOWN]!r}"
    elif health.status != 200:
        problem = f"it says {health.body[:_SHOWN].decode('utf-8', 'replace')!r}"
    return PeerAnswer(address, url, problem, agreed, ahead_s)
