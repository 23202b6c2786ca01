"""Slow and greedy clients against a real server: they lose their connection, everybody else keeps theirs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from usufruct_oracle.http.connections import Connections, server_settings
from usufruct_oracle.http.health import Health
from usufruct_oracle.http.large_answers import LargeAnswers
from usufruct_oracle.http.operator import OperatorServer, operator_app
from usufruct_oracle.http.problems import on_usufruct_error
from usufruct_oracle.http.request_body import read_body
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage.store import Store
from usufruct_protocol.errors import ConfigInvalid, UsufructError

HOST = "127.0.0.1"
OTHER_HOST = "127.0.0.2"
LARGE = 8 * 2**20
TIMEOUT_S = 0.5


class Server:
    """A small application behind guarded connections, in a thread."""

    def __init__(self, max_open: int = 512, max_of_one: int = 64) -> None:
        self.metrics = Metrics()
        self.taken: list[int] = []
        places = LargeAnswers(1)

        async def take(request: Request) -> Response:
            self.taken.append(len(await read_body(request, 2**20)))
            return Response("taken")

        app = Starlette(
            routes=[
                Route("/", take, methods=["POST"]),
                Route("/large", lambda _: Response(bytes(LARGE))),
                Route("/in-parts", lambda _: places.answer(lambda: bytes(LARGE))),
                Route("/small", lambda _: Response("here")),
            ],
            exception_handlers={UsufructError: on_usufruct_error},
        )
        self.connections = Connections(
            self.metrics,
            max_open,
            head_timeout_s=TIMEOUT_S,
            flush_timeout_s=TIMEOUT_S,
            max_of_one=max_of_one,
        )
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port = probe.getsockname()[1]
        config = uvicorn.Config(
            app,
            host="0.0.0.0",
            port=self.port,
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=1,
            **server_settings(self.connections, ()),
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        wait_until(lambda: self.server.started)

    def connect(self, source: str = HOST, *, receive_bytes: int | None = None) -> socket.socket:
        client = socket.socket()
        client.bind((source, 0))
        if receive_bytes:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.settimeout(10)
        client.connect((HOST, self.port))
        return client

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://{HOST}:{self.port}{path}", timeout=10, trust_env=False)

    def count(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name) or 0.0

    def refused(self, limit: str) -> float:
        name = "usufruct_http_refused_connections_total"
        return self.metrics.registry.get_sample_value(name, {"limit": limit}) or 0.0


@contextmanager
def serving(**limits: int) -> Iterator[Server]:
    server = Server(**limits)
    try:
        yield server
    finally:
        server.server.should_exit = True
        server.thread.join(10)


def wait_until(is_true: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def received(client: socket.socket, wanted: bytes) -> bytes:
    """What has come by the time that it holds the wanted bytes; an answer may come in parts."""
    found = b""
    while wanted not in found:
        part = client.recv(65_536)
        assert part, found
        found += part
    return found


def is_closed_within(client: socket.socket, seconds: float) -> bool:
    client.settimeout(seconds)
    try:
        while client.recv(65_536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


@pytest.mark.parametrize(
    "first",
    [b"", b"GET /small HT", b"GET /small HTTP/1.1\r\nHost: x\r\nX-Slow: "],
    ids=["mute", "line", "header"],
)
def test_a_head_that_does_not_come_is_not_waited_for(first: bytes) -> None:
    with serving() as server, server.connect() as client:
        client.sendall(first)
        started = time.monotonic()
        while time.monotonic() - started < 5 and not is_closed_within(client, 0.05):
            try:
                client.sendall(b"a")  # a byte now and then buys no time
            except OSError:
                break
        assert time.monotonic() - started < 3
        assert server.refused("too_slow") == 1
        assert server.get("/small").text == "here"


def test_the_second_request_of_a_connection_has_the_same_clock() -> None:
    with serving() as server, server.connect() as client:
        client.sendall(b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in received(client, b"here")
        client.sendall(b"GET /sm")
        assert is_closed_within(client, 5)
        assert server.refused("too_slow") == 1


def test_a_body_that_stops_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usufruct_oracle.http.request_body.FIRST_BYTES_S", TIMEOUT_S)
    with serving() as server, server.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        assert b"408 Request Timeout" in received(client, b'"code":"too_slow"')
        assert is_closed_within(client, 5)  # the rest of that body is not waited for either
        assert server.taken == []


def test_a_client_that_leaves_in_its_body_has_sent_nothing() -> None:
    with serving() as server:
        with server.connect() as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        assert server.get("/small").text == "here"
        assert server.taken == []
        wait_until(lambda: server.count("usufruct_http_connections") == 0)


@pytest.mark.parametrize("path", ["/large", "/in-parts"])
def test_an_answer_nobody_reads_is_dropped(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usufruct_oracle.http.connections.MIN_BYTES_PER_S", LARGE * 4)
    with serving() as server, server.connect(receive_bytes=4096) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_until(lambda: server.refused("too_slow") == 1)
        wait_until(lambda: server.count("usufruct_http_connections") == 0)
        assert len(server.get(path).content) == LARGE  # its place is free again


def test_large_answers_have_a_limit_and_a_reader_that_keeps_up_gets_all() -> None:
    with serving() as server, server.connect(receive_bytes=4096) as slow:
        slow.sendall(b"GET /in-parts HTTP/1.1\r\nHost: x\r\n\r\n")
        assert slow.recv(12) == b"HTTP/1.1 200"
        refused = server.get("/in-parts")
        assert (refused.status_code, refused.json()["code"]) == (503, "transient")
        size = 12
        slow.settimeout(5)
        while size < LARGE:
            size += len(slow.recv(2**20))
        wait_until(lambda: server.get("/in-parts").status_code == 200)


def test_when_all_places_are_taken_who_holds_the_most_makes_room() -> None:
    with serving(max_open=4) as server, ExitStack() as stack:
        modest = stack.enter_context(server.connect(OTHER_HOST))
        greedy = [stack.enter_context(server.connect()) for _ in range(3)]
        wait_until(lambda: server.count("usufruct_http_connections") == 4)
        late = stack.enter_context(server.connect(OTHER_HOST))
        assert is_closed_within(greedy[0], 0.3)
        assert [is_closed_within(each, 0.02) for each in (modest, late, *greedy[1:])] == [False] * 4
        assert server.refused("too_many") == 1


def test_a_burst_takes_no_more_places_than_there_are() -> None:
    with serving(max_open=4) as server, ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(server.connect())
        wait_until(lambda: server.refused("too_many") >= 36)
        assert server.count("usufruct_http_connections") <= 4
        assert server.get("/small").text == "here"


def test_one_sender_gets_so_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usufruct_oracle.http.connections.is_trusted", lambda host, _trusted: host != HOST)
    with serving(max_of_one=3) as server, ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(server.connect())
        wait_until(lambda: server.refused("too_many_of_one") == 2)
        assert server.count("usufruct_http_connections") <= 5


def test_a_head_without_end_is_refused() -> None:
    with serving() as server, server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"a" * 40_000)
        assert received(client, b"400 Bad Request")
        assert is_closed_within(client, 5)


def test_the_operator_has_a_listener_of_its_own(tmp_path: Path) -> None:
    metrics, status = Metrics(), NodeStatus()
    store = Store(tmp_path / "node.sqlite", exclusive=True)
    app = operator_app(metrics, Health(status, store, lambda: None))
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
        probe.listen()
        taken = OperatorServer(app, HOST, port)
        with pytest.raises(ConfigInvalid, match="cannot serve metrics"):
            taken.start()
    server = OperatorServer(app, HOST, port)
    server.start()
    try:
        metrics.receipts.inc(7)
        url = f"http://{HOST}:{port}"
        scraped = httpx.get(f"{url}/metrics", trust_env=False)
        assert scraped.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "usufruct_receipts_total 7.0\n" in scraped.text
        assert httpx.get(f"{url}/health", trust_env=False).status_code == 503  # has not looked yet
        status.looked()
        assert httpx.get(f"{url}/health", trust_env=False).status_code == 200
        assert httpx.get(f"{url}/ready", trust_env=False).status_code == 200
    finally:
        server.close()
        store.close()
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/metrics", trust_env=False)
