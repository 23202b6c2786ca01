"""A committee in which two of four nodes are flooded closes its epoch, and both flooded ones sign."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from usufruct_protocol.chain_state import MeterKind

from scripts.network import free_ports
from tests.integration.oracle_world import Committee, committee

FLOODED = (0, 1)
PLACES = 32
GREEDY = 80
HOST = "127.0.0.1"
GREEDY_HOST = "127.0.0.2"


@contextmanager
def flood(port: int) -> Iterator[None]:
    """More connections than there are places, none of which ever says a whole head; lost ones come back."""
    stopping = threading.Event()
    held: list[socket.socket] = []

    def connect() -> socket.socket:
        client = socket.create_connection((HOST, port), 5, source_address=(GREEDY_HOST, 0))
        client.sendall(b"POST /v1/batches HTTP/1.1\r\nHost: ")
        client.setblocking(False)
        return client

    def press() -> None:
        while not stopping.wait(0.02):
            for index, client in enumerate(held):
                with suppress(BlockingIOError):
                    try:
                        client.send(b"x")
                        is_open = client.recv(1) != b""
                    except BlockingIOError:
                        continue
                    except OSError:
                        is_open = False
                    if not is_open:
                        client.close()
                        with suppress(OSError):
                            held[index] = connect()

    held += [connect() for _ in range(GREEDY)]
    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(10)
        for client in held:
            client.close()


def scrape(port: int) -> dict[str, float]:
    text = httpx.get(f"http://{HOST}:{port}/metrics", timeout=10, trust_env=False).text
    return {name: float(value) for name, value in re.findall(r"^(usufruct_\S+) (\S+)$", text, re.MULTILINE)}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Committee]:
    with committee(tmp_path) as made:
        made.network.stop()
        for index, port in zip(made.network.indexes, free_ports(4), strict=True):
            config = made.network.config_file(index)
            content = json.loads(config.read_text())
            content["serving"] = {"metrics_port": port, "max_connections": PLACES}
            config.write_text(json.dumps(content))
        made.network.start()
        yield made


def metrics_port(here: Committee, index: int) -> int:
    """Where a node answers its operator."""
    port: int = json.loads(here.network.config_file(index).read_text())["serving"]["metrics_port"]
    return port


def test_flooded_nodes_still_count_sign_and_tell_their_operator(here: Committee) -> None:
    license_id = here.license(MeterKind.INFERENCE, 4)
    lane = here.lane(license_id)
    here.put_rosters()
    lane.meter(*([1_000] * 20), at_ms=here.at_ms(1))
    with flood(here.network.ports[0]), flood(here.network.ports[1]):
        here.ship()
        rubbish = [
            here.http.post(f"{here.network.urls[index]}/v1/batches", content=bytes(2**20))
            for index in FLOODED
            for _ in range(10)
        ]
        assert {answer.status_code for answer in rubbish} == {422}
        here.settle(1)
        here.wait_paid(1)
        for index in FLOODED:
            port = metrics_port(here, index)
            assert httpx.get(f"http://{HOST}:{port}/ready", trust_env=False).status_code == 200
            asked = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "usufruct_oracle",
                    "status",
                    "-c",
                    here.network.config_file(index),
                    "--json",
                ],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
            assert json.loads(asked.stdout)["last_finalized_epoch"] == 1
            shown = scrape(port)
            assert shown["usufruct_receipts_total"] == 20
            assert shown["usufruct_signed_epoch_number"] == 1
            assert shown["usufruct_http_connections"] <= PLACES + 1
            assert shown['usufruct_http_refused_connections_total{limit="too_many"}'] > 0
            assert shown['usufruct_http_requests_total{route="/v1/batches",status="422"}'] == 10
            assert shown["usufruct_lanes"] == 1
            assert shown["usufruct_halted"] == 0
            assert any(name.startswith("usufruct_signer_balance_wei{") for name in shown)
            assert sum(name.startswith("usufruct_peer_last_answer_timestamp_seconds{") for name in shown) == 3
    for index in FLOODED:
        assert "Traceback" not in here.log_of(index)
