"""A real server with two workers: every answer that a client got is counted, whatever happened around it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_protocol.receipts import decode_signed_receipt, verify_receipt_signature

from tests.integration.meter_node import DOMAIN, StandInNode, free_port, serving
from tests.unit.meter.lane_kit import new_lane

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def node() -> Iterator[StandInNode]:
    with serving(StandInNode(free_port())) as running:
        yield running


@pytest.fixture
def files(tmp_path: Path, node: StandInNode) -> list[LaneFile]:
    return [new_lane(tmp_path / "lanes", number, nodes=(node.url,)) for number in range(2)]


class Server:
    """uvicorn with two workers, as an operator starts it."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.log = log  # a file: a full pipe would stop the workers
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "uvicorn", "tests.integration.meter_app:app", "--workers", "2"]
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port), "--log-level", "warning"],
                cwd=ROOT,
                env={**os.environ, "METER_LANES": str(folder)},
                stderr=stderr,
            )

    def worker_pids(self, wanted: int = 2) -> set[int]:
        """Wait until so many workers answer, and return who they are."""
        pids: set[int] = set()
        deadline = time.monotonic() + 30
        while len(pids) < wanted:
            assert time.monotonic() < deadline, f"only {pids} answer"
            try:
                pids.add(int(httpx.get(f"{self.url}/pid", timeout=5).text))
            except httpx.HTTPError:
                time.sleep(0.05)
        return pids

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        return self.log.read_text()


@pytest.fixture
def server(files: list[LaneFile], tmp_path: Path) -> Iterator[Server]:
    running = Server(files[0].path.parent, tmp_path / "log")
    yield running
    if running.process.poll() is None:
        running.stop()


def all_texts(files: list[LaneFile]) -> list[str]:
    texts = []
    for file in files:
        reader = SpoolReader.open(file.spool)
        texts += [stored.signed(is_repeat=False).text for stored, _ in reader.receipts_from(file.lane, 0)]
        reader.close()
    return texts


async def ask_all(url: str, bodies: list[str], *, tries: int = 1) -> dict[str, str]:
    """Ask all at once, each body with itself as key; returns body → receipt text of those answered."""
    answered: dict[str, str] = {}
    gate = asyncio.Semaphore(32)

    async def ask(client: httpx.AsyncClient, body: str) -> None:
        for _ in range(tries):
            async with gate:
                try:
                    key = {"Idempotency-Key": body}
                    answer = await client.post(f"{url}/v1/ask", content=body, headers=key)
                except httpx.HTTPError:
                    await asyncio.sleep(0.05)
                    continue
            if answer.status_code == 200:
                text = answer.headers["usage-receipt"]
                assert answered.setdefault(body, text) == text, f"{body} was metered twice"
                return
            assert "usage-receipt" not in answer.headers
            if answer.status_code != 503:
                return

    async with httpx.AsyncClient(timeout=20) as client:
        await asyncio.gather(*(ask(client, body) for body in bodies))
    return answered


def test_every_answer_of_two_workers_is_counted_once(
    files: list[LaneFile], server: Server, node: StandInNode
) -> None:
    server.worker_pids()
    asked = [f"q{number}" for number in range(300)]
    failing = [f"{what}{number}" for number in range(20) for what in ("fail", "raise")]
    bodies = asked + asked[:100] + failing
    answered: dict[str, str] = {}
    # One worker takes all connections that are opened at once, if it is the first to look.
    for start in range(0, len(bodies), 20):
        for body, text in asyncio.run(ask_all(server.url, bodies[start : start + 20])).items():
            assert answered.setdefault(body, text) == text, f"{body} was metered twice"
    assert set(answered) == set(asked)
    for text in answered.values():
        receipt, signature = decode_signed_receipt(text)
        verify_receipt_signature(receipt, signature, DOMAIN)
    errors = server.stop()
    assert "fell over" in errors
    kept = all_texts(files)
    assert sorted(kept) == sorted(answered.values())
    assert sum(node.count(file.lane) for file in files) == 300, (
        "shutdown brings the last receipts to the node"
    )
    for file in files:
        assert node.count(file.lane) > 0, "one worker answered everything: this tested one lane"
        Lane.open(file).close()


def test_clients_that_hang_up_wedge_nothing(files: list[LaneFile], server: Server) -> None:
    server.worker_pids()
    request = b"POST /v1/ask HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\nslow"
    for number in range(40):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(request + (b" ok" if number % 2 else b""))
    answered = asyncio.run(ask_all(server.url, [f"q{number}" for number in range(50)]))
    assert len(answered) == 50
    server.stop()
    kept = all_texts(files)
    assert set(answered.values()) <= set(kept)
    assert len(kept) <= 50 + 40


def test_a_worker_that_is_killed_loses_no_answer_that_a_client_got(
    files: list[LaneFile], server: Server, node: StandInNode
) -> None:
    victims = server.worker_pids()

    async def scenario() -> dict[str, str]:
        load = asyncio.create_task(ask_all(server.url, [f"q{number}" for number in range(300)], tries=60))
        await asyncio.sleep(0.3)
        os.kill(min(victims), signal.SIGKILL)
        return await load

    answered = asyncio.run(scenario())
    assert len(answered) == 300
    assert server.worker_pids() != victims, "the dead worker was replaced and took its lane again"
    again = asyncio.run(ask_all(server.url, [f"q{number}" for number in range(300)], tries=60))
    assert again == answered
    server.stop()
    assert sorted(all_texts(files)) == sorted(answered.values())
    assert sum(node.count(file.lane) for file in files) == 300


def test_more_workers_than_lanes_do_not_start(files: list[LaneFile], server: Server, tmp_path: Path) -> None:
    server.worker_pids()
    third = Server(files[0].path.parent, tmp_path / "third")
    deadline = time.monotonic() + 30
    while "one lane per worker" not in third.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    errors = third.stop()
    assert "lane_locked" in errors
    assert "one lane per worker" in errors
