"""Streams over real sockets: callers that hang up, workers that are killed, servers that stop."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx
import pytest
from usufruct_meter.http.receipt_desk import RECEIPTS_PATH
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.meter import Meter
from usufruct_protocol.receipts import decode_signed_receipt, verify_receipt_signature

from tests.integration.meter_node import DOMAIN, StandInNode, free_port, serving
from tests.integration.test_meter_asgi import Server
from tests.unit.meter.lane_kit import new_lane

COMMENT = re.compile(r": usage-receipt ([\w-]+) ([0-9a-f]{64})\n\n")
TOKENS = 120


@pytest.fixture(scope="module")
def node() -> Iterator[StandInNode]:
    with serving(StandInNode(free_port())) as running:
        yield running


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, node: StandInNode) -> list[LaneFile]:
    folder = tmp_path_factory.mktemp("lanes")
    return [new_lane(folder, number, nodes=(node.url,)) for number in range(2)]


@pytest.fixture(scope="module")
def server(files: list[LaneFile], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all: starting one takes longer than a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METER_UNITS", "tokens")
        running = Server(files[0].path.parent, tmp_path_factory.mktemp("server") / "log")
    running.worker_pids()
    yield running
    running.stop()


def units_of(files: list[LaneFile]) -> list[int]:
    units = []
    for file in files:
        reader = SpoolReader.open(file.spool)
        units += [stored.receipt.units for stored, _ in reader.receipts_from(file.lane, 0)]
        reader.close()
    return units


def wait_for(check: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_stream_is_counted_while_it_is_sent_and_any_worker_shows_its_receipts(
    files: list[LaneFile], server: Server
) -> None:
    before = sum(units_of(files))
    with httpx.stream("GET", f"{server.url}/v1/stream", timeout=30) as answer:
        parts = answer.iter_text()
        text = next(parts)
        assert "word99" not in text, "the stream was held back"
        assert sum(units_of(files)) > before, "the first receipt is durable before the first byte"
        text += "".join(parts)
    texts = [answer.headers["usage-receipt"], *(found[1] for found in COMMENT.finditer(text))]
    receipts = [decode_signed_receipt(one) for one in texts]
    for receipt, signature in receipts:
        verify_receipt_signature(receipt, signature, DOMAIN)
    assert len(receipts) > 5, "long streams are signed for on the way"
    assert sum(receipt.units for receipt, _ in receipts) == TOKENS == sum(units_of(files)) - before
    lane, seq = answer.headers["usufruct-lane"], answer.headers["usufruct-seq"]
    for _ in range(6):  # some of these meet the other worker
        shown = httpx.get(
            f"{server.url}{RECEIPTS_PATH}{lane}/{seq}",
            headers={"Usage-Receipt-Salt": answer.headers["usage-receipt-salt"]},
        )
        assert [one["receipt"] for one in shown.json()["receipts"]] == texts


def test_callers_that_hang_up_have_what_was_delivered_counted(files: list[LaneFile], server: Server) -> None:
    before = sum(units_of(files))
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port)) as caller:
            caller.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n")
            got = b""
            while got.count(b"word") < 5:
                got += caller.recv(65536)
    time.sleep(0.5)
    counted = sum(units_of(files)) - before
    assert 15 <= counted < 3 * 100
    time.sleep(0.5)
    assert sum(units_of(files)) - before == counted, "the model was stopped"


def read_until_it_breaks(url: str, server: Server) -> str:
    """Read a stream, kill all workers at the 40th word, and return what had come."""
    delivered, workers = "", server.worker_pids()
    with httpx.stream("GET", url, timeout=30) as answer:
        try:
            for part in answer.iter_text():
                delivered += part
                while workers and delivered.count("word") >= 40:
                    os.kill(workers.pop(), signal.SIGKILL)
        except httpx.HTTPError:
            return delivered
    raise AssertionError("the stream ended well")


def test_a_worker_that_is_killed_has_signed_for_what_it_delivered_but_the_last_moment(
    files: list[LaneFile], server: Server
) -> None:
    before = sum(units_of(files))
    words = read_until_it_breaks(f"{server.url}/v1/stream", server).count("word")
    counted = sum(units_of(files)) - before
    assert words - 20 <= counted <= words + 1, "an installment is 0.2 s, a word 20 ms"


def test_a_server_that_is_told_to_stop_signs_for_streams_and_ships_all_of_it(
    files: list[LaneFile], server: Server, node: StandInNode
) -> None:
    server.worker_pids()
    before = sum(units_of(files))
    with httpx.stream("GET", f"{server.url}/v1/stream", timeout=30) as answer:
        parts = answer.iter_text()
        text = next(parts)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        text += "".join(parts)
        stopping.join(40)
    assert text.endswith("data: [DONE]\n\n"), "a graceful stop lets streams end"
    assert sum(units_of(files)) - before == TOKENS
    assert sum(node.count(file.lane) for file in files) == len(units_of(files))
    for file in files:
        Lane.open(file).close()


class ThreadedServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_wsgi_over_real_sockets(tmp_path: Path, node: StandInNode) -> None:
    files = [new_lane(tmp_path / "lanes", 7, nodes=(node.url,))]

    def serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/v1/ask":
            question = environ["wsgi.input"].read()
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps({"said": question.decode(), "usage": {"total_tokens": 7}}).encode()]
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return words()

    def words() -> Iterator[bytes]:
        while True:
            yield b'data: {"choices": [{"delta": {"content": "word"}}]}\n\n'
            time.sleep(0.01)

    app = Meter.wsgi(serve, lane=files[0].path.parent, units="tokens", checkpoint_every_s=0.1)
    with make_server("127.0.0.1", 0, app, ThreadedServer, Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        answers = [httpx.post(f"{url}/v1/ask", content=f"q{number}", timeout=30) for number in range(5)]
        assert [answer.json()["said"] for answer in answers] == [f"q{number}" for number in range(5)]
        assert units_of(files) == [7] * 5
        with socket.create_connection(("127.0.0.1", server.server_port)) as caller:
            caller.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n")
            got = b""
            while got.count(b"word") < 20:
                got += caller.recv(65536)
        wait_for(lambda: len(units_of(files)) == 7)
        assert 20 <= sum(units_of(files)[5:]) <= 40
        server.shutdown()
        thread.join(10)
    app.close()
    assert node.count(files[0].lane) == 7
