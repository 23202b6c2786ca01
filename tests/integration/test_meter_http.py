"""A server that lies about length, packs bombs, or drips for ever holds nobody up."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest
from usufruct_meter.errors import NodeUnavailable
from usufruct_meter.nodes.http_client import BoundedClient, TooLong
from usufruct_meter.nodes.node_client import NodeClient


@contextmanager
def serving(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads a request and then says what it likes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        connection.recv(65_536)
                        speak(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)
    assert not thread.is_alive()


def drip(text: bytes) -> Callable[[socket.socket], None]:
    def speak(connection: socket.socket) -> None:
        connection.sendall(text)
        for _ in range(200):
            connection.sendall(b"x")
            time.sleep(0.05)

    return speak


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"]
)
def test_an_answer_that_drips_is_cut_off_and_the_client_goes_on(start: bytes) -> None:
    with serving(drip(start)) as url:
        client = BoundedClient(url, exchange_s=0.4)
        for _ in range(2):
            started = time.monotonic()
            with pytest.raises(httpx.HTTPError):
                client.ask("GET", "/", max_bytes=1_000)
            assert time.monotonic() - started < 3
        client.close()


def test_silence_is_cut_off_by_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usufruct_meter.nodes.http_client._PAUSE", httpx.Timeout(0.3))
    with serving(lambda _: time.sleep(1.0)) as url:
        client = BoundedClient(url, exchange_s=5.0)
        with pytest.raises(httpx.HTTPError):
            client.ask("GET", "/", max_bytes=1_000)
        client.close()


def test_packed_answers_stay_packed() -> None:
    bomb = gzip.compress(bytes(10**6))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    with serving(lambda connection: connection.sendall(head + bomb)) as url:
        client = BoundedClient(url, exchange_s=5.0)
        assert client.ask("GET", "/", max_bytes=len(bomb)).body == bomb
        with pytest.raises(TooLong):
            client.ask("GET", "/", max_bytes=len(bomb) - 1)
        client.close()


def test_a_node_that_breaks_off_is_tried_again_later() -> None:
    with serving(lambda connection: connection.sendall(b"HTTP/1.1 2")) as url, NodeClient(url) as node:
        for _ in range(2):
            with pytest.raises(NodeUnavailable):
                node.json("/v1/epochs/1")
