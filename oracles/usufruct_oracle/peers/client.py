"""What a node asks other nodes, and how little it believes of the answers.

Every answer has a size limit and a time limit, is parsed strictly, and is checked against a hash or a
signature by whoever uses it. A peer that cannot be reached is left alone for a moment, and none can take more
than its share of the time of one look, whatever it answers and however slowly.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from usufruct_protocol.batches import MAX_BATCH_BYTES, Batch
from usufruct_protocol.bundle import RESTRICTED_FILES, manifest_hash
from usufruct_protocol.errors import InputRejected, Transient, UsufructError
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.roster import Roster
from usufruct_protocol.wire import Cursor

from usufruct_oracle.bundles.keys import Announcement
from usufruct_oracle.bundles.sealing import SealingKey, sealed_size
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.peers.auth import PeerAuth
from usufruct_oracle.peers.bounded_http import MIN_BYTES_PER_S, BoundedHttp, TooSlow, Unreachable
from usufruct_oracle.wire_json import (
    FileEntry,
    FrozenHeads,
    Vector,
    Vote,
    frozen_from,
    hexed,
    manifest_from,
    parse_object,
    vector_from,
    vote_from,
)

_log = logging.getLogger(__name__)

MAX_JSON_BYTES: Final = 16 * 1024 * 1024
MAX_FILE_BYTES: Final = 1024 * 1024 * 1024
MAX_ROSTER_BYTES: Final = 256 * 1024 * 1024
MAX_CLOCK_DIFFERENCE_S: Final = 7_200
"""How wrong a peer's clock may be, against ours, for its requests to be signed in its own time."""
_MAX_REFUSAL_BYTES: Final = 4096
_REFUSED_PAUSE_S: Final = 0.1
T = TypeVar("T")


class Peer:
    """One other signer's node.

    patience_s: how much time its answers may take between two calls of `be_patient`, all together, beyond
                what their bytes need; None is no limit
    """

    def __init__(
        self,
        address: bytes,
        url: str,
        auth: PeerAuth,
        timeout_s: float,
        patience_s: float | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._metrics = metrics or Metrics()
        self.address = address
        self.url = url
        self._auth = auth
        self._timeout_s = timeout_s
        self._http = BoundedHttp(url, timeout_s)
        self._key = SealingKey.generate()
        self._patience_s = patience_s
        self._spent_s = 0.0
        self._ahead_s = 0.0
        self._timeouts = 0
        self._silent_until = 0.0

    def __repr__(self) -> str:
        return f"peer {hexed(self.address)} at {self.url}"

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def count(self, outcome: str) -> None:
        """Count how a question went: answered, slow, unreachable or refused (nonsense)."""
        self._metrics.peer_requests.labels(hexed(self.address), outcome).inc()

    def be_patient(self) -> None:
        """Begin a new look: forget how much of this node's time the peer has taken."""
        self._spent_s = 0.0

    def frozen(self, epoch: int) -> FrozenHeads | None:
        """Return what the peer had frozen for an epoch, or None if it has not frozen it yet."""
        body = self._get(f"/v1/epochs/{epoch}/frozen", MAX_JSON_BYTES)
        return None if body is None else frozen_from(parse_object(body, f"frozen heads of {self}"))

    def vector(self, epoch: int, attempt: int) -> Vector | None:
        """Return the lane vector that the peer proposed or accepted for an attempt, if any."""
        body = self._get(f"/v1/epochs/{epoch}/attempts/{attempt}/vector", MAX_JSON_BYTES)
        return None if body is None else vector_from(parse_object(body, f"vector of {self}"))

    def vote(self, epoch: int, attempt: int) -> Vote | None:
        """Return which report the peer computed for an attempt, if it has."""
        body = self._get(f"/v1/epochs/{epoch}/attempts/{attempt}/vote", 4096)
        return None if body is None else vote_from(parse_object(body, f"vote of {self}"))

    def bundle_key(self) -> Announcement | None:
        """Return the key to which the peer wants bundles sealed, not checked; None without a signer's key."""
        body = self._get("/v1/bundle-key", 4096)
        return None if body is None else Announcement.from_json(parse_object(body, f"bundle key of {self}"))

    def batches(self, lane: bytes, from_seq: int, to_count: int) -> list[Batch]:
        """Return receipts from a seq on, cut at checkpoints up to `to_count`; as many as fit one answer."""
        path = f"/v1/lanes/{hexed(lane)}/batches?from_seq={from_seq}&to_count={to_count}"
        body = self._get(path, 2 * MAX_BATCH_BYTES + 1024, is_restricted=True)
        return [] if body is None else unpack_batches(body)

    def evidence(self, lane: bytes) -> list[Batch]:
        """Return the batches that show a lane's conflict, if the peer knows of one."""
        body = self._get(f"/v1/lanes/{hexed(lane)}/evidence", 8 * MAX_BATCH_BYTES, is_restricted=True)
        return [] if body is None else unpack_batches(body)

    def roster(self, root: bytes) -> bytes | None:
        """Return the canonical bytes of the roster with a root. Raises: InputRejected if it has another."""
        body = self._get(f"/v1/rosters/{hexed(root)}", MAX_ROSTER_BYTES, is_restricted=True)
        if body is not None and Roster.from_bytes(body).root != root:
            raise InputRejected(f"{self} sent another roster than {hexed(root)}")
        return body

    def manifest(self, epoch: int, bundle_hash: bytes) -> dict[str, FileEntry] | None:
        """Return the file list of a bundle, checked against its hash."""
        body = self._get(f"/v1/epochs/{epoch}/bundle?bundle_hash={hexed(bundle_hash)}", MAX_JSON_BYTES)
        if body is None:
            return None
        entries = manifest_from(parse_object(body, f"bundle manifest of {self}"))
        if (
            manifest_hash({name: (entry.sha256, entry.size) for name, entry in entries.items()})
            != bundle_hash
        ):
            raise InputRejected(f"{self} sent another file list than that of bundle {hexed(bundle_hash)}")
        return entries

    def file(self, epoch: int, bundle_hash: bytes, name: str, entry: FileEntry) -> bytes | None:
        """Return one bundle file, checked against its size and digest."""
        if entry.size > MAX_FILE_BYTES:
            raise InputRejected(f"bundle file {name} of {entry.size} bytes is larger than {MAX_FILE_BYTES}")
        path = f"/v1/epochs/{epoch}/bundle/{name}?bundle_hash={hexed(bundle_hash)}"
        body = self._get(path, entry.size, is_restricted=name in RESTRICTED_FILES)
        if body is not None and (len(body), hashlib.sha256(body).digest()) != (entry.size, entry.sha256):
            raise InputRejected(f"{self} sent another {name} than bundle {hexed(bundle_hash)} lists")
        return body

    def _get(self, path: str, max_bytes: int, *, is_restricted: bool = False) -> bytes | None:
        """Return the body of a 200 answer, None for 404. Raises: Transient, InputRejected.

        A restricted answer is asked for sealed to this process; who overhears it, or sends the request again,
        reads nothing. The request's signature covers that key.
        A peer that times out is left alone for a while, each time longer. One that answers as slowly as it
        may, again and again, is not asked any more in this look.
        """
        started = time.monotonic()
        if started < self._silent_until:
            raise Transient(f"{self} did not answer a moment ago")
        if self._patience_s is not None and self._spent_s >= self._patience_s:
            raise Transient(f"{self} has taken {self._spent_s:.1f} s of this look")
        headers: dict[str, str] = {}
        if is_restricted:
            path += f"{'&' if '?' in path else '?'}recipient={self._key.recipient}"
            headers = self._auth.header(self.address, "GET", path, self._ahead_s)
            max_bytes = sealed_size(max_bytes)
        received = 0
        try:
            # A refusal may be longer than the file that was asked for.
            answer = self._http.get(path, headers, max(max_bytes, _MAX_REFUSAL_BYTES))
            received = len(answer.body)
        except TooSlow:
            self.count("slow")
            self._timeouts += 1
            self._silent_until = time.monotonic() + self._timeout_s * min(2.0 ** (self._timeouts - 2), 4.0)
            raise
        except Unreachable:
            self.count("unreachable")
            self._silent_until = time.monotonic() + _REFUSED_PAUSE_S
            raise
        finally:
            self._spent_s += max(0.0, time.monotonic() - started - received / MIN_BYTES_PER_S)
        self._timeouts = 0
        self.count("answered")
        self._metrics.peer_answered_at.labels(hexed(self.address)).set(time.time())
        if answer.clock_s is not None:
            ahead_s = answer.clock_s - time.time()
            self._ahead_s = ahead_s if abs(ahead_s) <= MAX_CLOCK_DIFFERENCE_S else 0.0
        if answer.status == 200:
            return self._key.open(answer.body, f"answer of {self}") if is_restricted else answer.body
        if answer.status == 404:
            return None
        raise Transient(f"{self} answered {answer.status} to GET {path}: {answer.body[:200]!r}")


class Peers:
    """All other signers' nodes. Questions to all of them go out at once."""

    def __init__(
        self,
        urls: Mapping[bytes, str],
        own_address: bytes,
        auth: PeerAuth,
        timeout_s: float,
        patience_s: float | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """patience_s: see Peer; needs `be_patient` to be called before each look."""
        self._peers = {
            address: Peer(address, url, auth, timeout_s, patience_s, metrics)
            for address, url in urls.items()
            if address != own_address
        }
        self._pool = ThreadPoolExecutor(max(1, len(self._peers)), thread_name_prefix="peer")

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def __len__(self) -> int:
        return len(self._peers)

    def be_patient(self) -> None:
        """Begin a new look, in which each peer may take its share of time again."""
        for peer in self._peers.values():
            peer.be_patient()

    def by_address(self, address: bytes) -> Peer | None:
        """Return the node of a signer, if its URL is known."""
        return self._peers.get(address)

    def ask_all(self, question: Callable[[Peer], T]) -> dict[bytes, T]:
        """Put one question to every peer at once; those that fail to answer it properly are left out."""
        answers = self._pool.map(
            lambda peer: (peer.address, _answer(peer, question)), list(self._peers.values())
        )
        return {address: answer[0] for address, answer in answers if answer}

    def ask(self, peer: Peer, question: Callable[[Peer], T | None]) -> T | None:
        """Put a question to one peer; None if it is down, answers nonsense or has nothing to say."""
        return next(iter(_answer(peer, question)), None)

    def first(self, question: Callable[[Peer], T | None]) -> T | None:
        """Put a question to one peer after another until one has something to say."""
        for peer in self._peers.values():
            for answer in _answer(peer, question):
                if answer is not None:
                    return answer
        return None

    def close(self) -> None:
        """Wait for open questions and close all connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for peer in self._peers.values():
            peer.close()


def _answer(peer: Peer, question: Callable[[Peer], T]) -> tuple[T, ...]:
    """Return the answer as a 1-tuple, or an empty one if the peer is down or sent something unusable."""
    try:
        return (question(peer),)
    except Transient as error:
        _log.debug("%s", error)
    except UsufructError as error:
        peer.count("refused")
        _log.warning("%s: %s", peer, error)
    return ()


def fetch_bundle(
    peer: Peer, epoch: int, bundle_hash: bytes
) -> tuple[dict[str, bytes], dict[str, FileEntry]] | None:
    """Return a whole bundle and its file list from one peer, all of it checked, or None if it lacks any."""
    entries = peer.manifest(epoch, bundle_hash)
    if entries is None:
        return None
    files: dict[str, bytes] = {}
    for name, entry in entries.items():
        body = peer.file(epoch, bundle_hash, name, entry)
        if body is None:
            return None
        files[name] = body
    return files, entries


def pack_batches(batches: list[Batch]) -> bytes:
    """Return batches one after another, each after its length as u32."""
    encoded = [batch.encode() for batch in batches]
    return b"".join(part for body in encoded for part in (len(body).to_bytes(4, "big"), body))


def unpack_batches(data: bytes) -> list[Batch]:
    """Read what `pack_batches` wrote. Raises: InputRejected for any other bytes."""
    cursor = Cursor(data, "batches")
    batches = []
    left = len(data)
    while left:
        size = cursor.uint(4, "batch length")
        batches.append(Batch.decode(cursor.take(size, "batch")))
        left -= 4 + size
    cursor.finish()
    return batches


def checkpoint_only(checkpoint: Checkpoint, signature: bytes) -> Batch:
    """Return a batch that adds no receipt and only asks whether a checkpoint fits what is known."""
    return Batch(checkpoint.lane, checkpoint.count, b"", checkpoint, signature)
