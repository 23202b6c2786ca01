"""Asking peers that are slow on purpose, wrong about the time, or send more than they should."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate

import pytest
from usufruct_oracle.peers.auth import HEADER, PeerAuth
from usufruct_oracle.peers.bounded_http import BoundedHttp, TooSlow, Unreachable
from usufruct_oracle.peers.client import Peer
from usufruct_protocol.errors import InputRejected, Transient
from usufruct_protocol.signing import LocalSigner, address_of

from tests.unit.oracle.lane_kit import DOMAIN

ALICE, BOB = b"\x01" * 32, b"\x02" * 32
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
Behavior = Callable[[bytes, socket.socket], None]


@contextmanager
def server(behave: Behavior) -> Iterator[str]:
    """Serve each request, given its head, by a function that writes whatever it likes."""
    listener = socket.create_server(("127.0.0.1", 0))
    is_over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while head := read_head(connection):
                behave(head, connection)

    def accept() -> None:
        while not is_over.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        is_over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def read_head(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = connection.recv(1)
        if not part:
            return b""
        head += part
    return head


def drip(data: bytes, connection: socket.socket, pause_s: float = 0.05) -> None:
    for byte in data:
        connection.sendall(bytes([byte]))
        time.sleep(pause_s)


def test_headers_that_drip_end_with_the_time_limit() -> None:
    def endless(_head: bytes, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        drip(b"a" * 1000, connection)

    with server(endless) as url:
        client, started = BoundedHttp(url, 0.4), time.monotonic()
        with pytest.raises(TooSlow):
            client.get("/", {}, 100)
        assert time.monotonic() - started < 3.0
        client.close()


def test_a_body_that_drips_ends_with_the_time_limit() -> None:
    def slow(_head: bytes, connection: socket.socket) -> None:
        connection.sendall(OK % 1000)
        drip(b"a" * 1000, connection)

    with server(slow) as url:
        client, started = BoundedHttp(url, 0.4), time.monotonic()
        with pytest.raises(TooSlow):
            client.get("/", {}, 1000)
        assert time.monotonic() - started < 3.0
        client.close()


def test_a_large_body_may_take_its_time() -> None:
    part = bytes(200_000)

    def steady(_head: bytes, connection: socket.socket) -> None:
        connection.sendall(OK % (5 * len(part)))
        for _ in range(5):
            connection.sendall(part)
            time.sleep(0.2)

    with server(steady) as url:
        client = BoundedHttp(url, 0.6)
        assert client.get("/", {}, 10**6).body == 5 * part
        client.close()


def test_more_than_was_asked_for_is_not_read() -> None:
    with server(lambda _head, connection: connection.sendall(OK % 10**9 + bytes(10_000))) as url:
        client = BoundedHttp(url, 5.0)
        with pytest.raises(InputRejected, match="more than 999 bytes"):
            client.get("/v1/x?y=z", {}, 999)
        client.close()


def test_a_connection_that_breaks_or_speaks_no_http_is_unreachable() -> None:
    with server(lambda _head, connection: connection.shutdown(socket.SHUT_RDWR)) as url:
        client = BoundedHttp(url, 5.0)
        with pytest.raises(Unreachable):
            client.get("/", {}, 10)
        client.close()
    with server(lambda _head, connection: connection.sendall(b"220 mail\r\n\r\n")) as url:
        client = BoundedHttp(url, 5.0)
        with pytest.raises(Unreachable):
            client.get("/", {}, 10)
        client.close()


def peer_at(url: str, timeout_s: float, patience_s: float | None = None) -> Peer:
    """Bob's node as Alice's asks it."""
    auth = PeerAuth(DOMAIN, address_of(ALICE), LocalSigner(ALICE), frozenset)
    return Peer(address_of(BOB), url, auth, timeout_s, patience_s)


def test_a_peer_cannot_take_more_than_its_share_of_a_look() -> None:
    def late(_head: bytes, connection: socket.socket) -> None:
        time.sleep(0.2)
        connection.sendall(OK % 2 + b"{}")

    with server(late) as url:
        peer = peer_at(url, 5.0, patience_s=0.5)
        for _ in range(3):
            with pytest.raises(InputRejected):
                peer.vote(1, 0)
        with pytest.raises(Transient, match=r"has taken 0\.\d s of this look"):
            peer.vote(1, 0)
        peer.be_patient()
        with pytest.raises(InputRejected):
            peer.vote(1, 0)
        peer.close()


def test_a_timeout_costs_little_once_and_more_each_time() -> None:
    def silent(_head: bytes, _connection: socket.socket) -> None:
        time.sleep(10)

    def until_it_was_asked_again(peer: Peer) -> float:
        started = time.monotonic()
        while True:
            try:
                peer.vote(1, 0)
            except TooSlow:
                return time.monotonic() - started
            except Transient:
                time.sleep(0.01)

    with server(silent) as url:
        peer = peer_at(url, 0.2)
        until_it_was_asked_again(peer)
        first, _, third = (until_it_was_asked_again(peer) for _ in range(3))
        assert first >= 0.3
        assert third >= 0.6
        assert first < third
        peer.close()


def test_a_peer_whose_clock_is_an_hour_off_is_asked_in_its_own_time() -> None:
    """Its answers say what time it thinks it is; restricted files are asked for in that time."""
    for ahead_s in (-3_600, 3_600):
        seen: list[bytes] = []
        theirs = PeerAuth(
            DOMAIN,
            address_of(BOB),
            LocalSigner(BOB),
            lambda: {address_of(ALICE)},
            lambda ahead_s=ahead_s: time.time() + ahead_s,
        )

        def answer(
            head: bytes,
            connection: socket.socket,
            theirs: PeerAuth = theirs,
            seen: list[bytes] = seen,
            ahead_s: int = ahead_s,
        ) -> None:
            lines = head.decode().split("\r\n")
            path = lines[0].split(" ")[1]
            header = next((line.split(": ")[1] for line in lines if line.startswith(HEADER)), None)
            if path.startswith("/v1/rosters"):
                seen.append(theirs.check(header, "GET", path))
            date = formatdate(time.time() + ahead_s, usegmt=True)
            connection.sendall(f"HTTP/1.1 404 No\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n".encode())

        with server(answer) as url:
            peer = peer_at(url, 5.0)
            assert peer.vote(1, 0) is None
            assert peer.roster(bytes(32)) is None
            assert seen == [address_of(ALICE)]
            peer.close()
