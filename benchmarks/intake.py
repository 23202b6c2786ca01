"""Durable intake end to end over HTTP, against SQLite inserting the same rows with the same durability.

`python -m benchmarks.intake`. The node's HTTP server, intake and store run in a process of their own, as in
production; only the chain is missing, and is not asked, because the store knows the lanes already.
"""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from struct import Struct
from time import perf_counter

import httpx
import uvicorn
from usufruct_chain.connection import connect
from usufruct_chain.contracts import Contracts
from usufruct_chain.deployment import Deployment
from usufruct_oracle import lane_store
from usufruct_oracle.acknowledging import Acknowledging
from usufruct_oracle.chain_client import ChainClient
from usufruct_oracle.connections import Connections, server_settings
from usufruct_oracle.http import NodeHttp
from usufruct_oracle.intake import Intake
from usufruct_oracle.intake_writer import IntakeWriter
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.peer_auth import PeerAuth
from usufruct_oracle.peers import Peers
from usufruct_oracle.registry import Registry
from usufruct_oracle.rosters import Rosters
from usufruct_oracle.status import NodeStatus
from usufruct_oracle.store import Store
from usufruct_protocol.batches import Batch
from usufruct_protocol.chain_state import LaneState
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.receipts import Checkpoint, LaneFrontier, receipt_hashes, settlement_domain
from usufruct_protocol.signing import address_of, sign_digest

from benchmarks.ratio import Ratio, table

LANES = 4
RECEIPTS_PER_LANE = 50_000
PER_BATCH = 1_000
DOMAIN = settlement_domain(31337, b"\x5e" * 20)
NOWHERE = "0x" + "00" * 20
RECORD = Struct(">QQ16s32s32sQ")
ROW = Struct(">QQ16x32s32sQ")
HOST = "127.0.0.1"


def key_of(lane: int) -> bytes:
    """The key of a lane."""
    return sha256(b"intake benchmark %d" % lane).digest()


def records_of(first: int, count: int) -> bytes:
    """Receipts of one unit each, with request hashes as incompressible as real ones."""
    return b"".join(
        RECORD.pack(
            seq,
            1,
            (seq + 1).to_bytes(16, "big"),
            bytes(32),
            sha256(b"%d" % seq).digest(),
            1_700_000_000_000 + seq,
        )
        for seq in range(first, first + count)
    )


def batches_of(lane: int) -> list[bytes]:
    """All batches of a lane, encoded and signed."""
    key = key_of(lane)
    address, frontier, encoded = address_of(key), LaneFrontier(), []
    for first in range(0, RECEIPTS_PER_LANE, PER_BATCH):
        blob = records_of(first, PER_BATCH)
        frontier.extend(receipt_hashes(address, blob))
        point = Checkpoint(address, first + PER_BATCH, first + PER_BATCH, frontier.root())
        signature = sign_digest(key, typed_digest(DOMAIN, point.struct_hash()))
        encoded.append(Batch(address, first, blob, point, signature).encode())
    return encoded


def insert_alone(path: Path) -> float:
    """Receipts per second that SQLite alone makes durable: same rows, same table, one sync per batch."""
    batches = [
        (lane, records_of(first, PER_BATCH))
        for first in range(0, RECEIPTS_PER_LANE, PER_BATCH)
        for lane in range(LANES)
    ]
    store = Store(path, exclusive=True)
    store.close()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous = FULL")
    started = perf_counter()
    for lane, blob in batches:
        db.execute("BEGIN IMMEDIATE")
        db.executemany(
            f"INSERT INTO receipts VALUES ({lane}, ?, ?, nullif(?, x'{bytes(32).hex()}'), ?, ?)",
            ROW.iter_unpack(blob),
        )
        db.execute("COMMIT")
    seconds = perf_counter() - started
    db.close()
    return LANES * RECEIPTS_PER_LANE / seconds


def over_http(folder: Path) -> float:
    """Receipts per second that a node acknowledges, one sender per lane."""
    lanes = [batches_of(lane) for lane in range(LANES)]
    with _serving(folder / "node.sqlite") as url, ThreadPoolExecutor(LANES) as pool:

        def send(batches: list[bytes]) -> None:
            with httpx.Client(base_url=url, timeout=60.0, trust_env=False) as client:
                for body in batches:
                    client.post("/v1/batches", content=body).raise_for_status()

        started = perf_counter()
        list(pool.map(send, lanes))
        return LANES * RECEIPTS_PER_LANE / (perf_counter() - started)


def run() -> list[Ratio]:
    """Measure both in turns, twice, and compare the best of each."""
    floors, nodes = [], []
    for number in range(2):
        with tempfile.TemporaryDirectory(prefix="usufruct-bench-") as folder:
            floors.append(insert_alone(Path(folder) / "floor.sqlite"))
            nodes.append(over_http(Path(folder)))
        print(f"round {number}: SQLite {floors[-1]:,.0f}/s, node {nodes[-1]:,.0f}/s", file=sys.stderr)
    against = "SQLite insert alone, same rows and syncs"
    return [
        Ratio("durable intake over HTTP, batches of 1,000", against, max(nodes) / max(floors), 0.5, "higher")
    ]


@contextmanager
def _serving(database: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.intake", "serve", str(database), str(port)])
    url = f"http://{HOST}:{port}"
    try:
        for _ in range(3_000):
            try:
                socket.create_connection((HOST, port), timeout=1.0).close()
                break
            except OSError:
                time.sleep(0.02)
        yield url
    finally:
        server.terminate()
        server.wait()


def _serve(database: Path, port: int) -> None:
    """Run HTTP, intake and store of a node whose chain is away."""
    store = Store(database, exclusive=True)
    with store.write() as db:
        lane_store.put_lanes(
            db, [LaneState(lane, address_of(key_of(lane)), 1, 0, 2**63, 2**96) for lane in range(LANES)]
        )
    deployment = Deployment(
        chain_id=31337,
        token=NOWHERE,
        access_manager=NOWHERE,
        registry=NOWHERE,
        committee=NOWHERE,
        escrow=NOWHERE,
        splitter=NOWHERE,
        settlement=NOWHERE,
        genesis_s=0,
        epoch_seconds=1,
        deployed_block=0,
    )
    registry = Registry(store, ChainClient(Contracts(connect(f"http://{HOST}:9"), deployment), None))
    auth = PeerAuth(DOMAIN, bytes(20), None, frozenset)
    writer = IntakeWriter(store, Intake(DOMAIN))
    rosters = Rosters(store, Peers({}, bytes(20), auth, 1.0))
    status = NodeStatus()
    acks = Acknowledging(store, DOMAIN, None, status.head_time_s, lambda _: None)
    app = NodeHttp(store, writer, registry, rosters, auth, status, acks, bytes(20), {}).app()
    guarded = server_settings(Connections(Metrics(), 512), ())
    uvicorn.run(app, host=HOST, port=port, log_level="error", access_log=False, lifespan="off", **guarded)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        _serve(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        print(table(run()))
