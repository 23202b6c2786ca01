"""Durable intake end to end over HTTP, against the bare database taking the same rows as durably.

`python -m benchmarks.intake`
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from struct import Struct
from time import perf_counter

import httpx
from usufruct_oracle.storage.database import Location, PostgresUrl
from usufruct_oracle.storage.store import Store
from usufruct_protocol.batches import Batch
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.receipts import Checkpoint, LaneFrontier, receipt_hashes
from usufruct_protocol.signing import address_of, sign_digest

from benchmarks.figure import Figure, table
from benchmarks.node_server import DOMAIN, key_of
from benchmarks.server import serving
from benchmarks.size import QUICK, Size
from tests.postgres_server import PostgresServer

LANES = 8
RECEIPTS_PER_LANE = 50_000
PER_BATCH = 1_000
RECORD = Struct(">QQ16s32s32sQ")
ROW = Struct(">QQ16x32s32sQ")
COPY_ROW = Struct(">hiqiqiqii32siq")


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
    batches = _in_turns()
    db = open_floor(path)
    started = perf_counter()
    for lane, blob in batches:
        insert_batch(db, [(lane, blob)])
    seconds = perf_counter() - started
    db.close()
    return LANES * RECEIPTS_PER_LANE / seconds


def copy_alone(database: PostgresUrl, server: PostgresServer) -> float:
    """Receipts per second that PostgreSQL alone makes durable: ready-made COPY data, one commit per batch."""
    Store(database, exclusive=True).close()
    data = [_copy_data(lane, blob) for lane, blob in _in_turns()]
    with server.connect(database) as db:
        started = perf_counter()
        for each in data:
            with db.transaction(), db.cursor().copy("COPY receipts FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(each)
        seconds = perf_counter() - started
    return LANES * RECEIPTS_PER_LANE / seconds


def _in_turns() -> list[tuple[int, bytes]]:
    """Return the records of all lanes, batch by batch."""
    return [
        (lane, records_of(first, PER_BATCH))
        for first in range(0, RECEIPTS_PER_LANE, PER_BATCH)
        for lane in range(LANES)
    ]


def _copy_data(lane: int, records: bytes) -> bytes:
    """Return receipts without usage in the binary format of COPY: each field with its length before it."""
    rows = (
        COPY_ROW.pack(6, 8, lane, 8, seq, 8, units, -1, 32, request_hash, 8, issued_at_ms)
        for seq, units, _, request_hash, issued_at_ms in ROW.iter_unpack(records)
    )
    return b"PGCOPY\n\xff\r\n\x00" + bytes(8) + b"".join(rows) + b"\xff\xff"


def open_floor(path: Path) -> sqlite3.Connection:
    """Open an empty database with a node's tables, as durable as a node's."""
    Store(path, exclusive=True).close()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous = FULL")
    return db


def insert_batch(db: sqlite3.Connection, rows: list[tuple[int, bytes]]) -> None:
    """Insert the receipts of (lane, records) in one transaction."""
    db.execute("BEGIN IMMEDIATE")
    for lane, blob in rows:
        db.executemany(
            f"INSERT INTO receipts VALUES ({lane}, ?, ?, nullif(?, x'{bytes(32).hex()}'), ?, ?)",
            ROW.iter_unpack(blob),
        )
    db.execute("COMMIT")


def over_http(database: Location) -> float:
    """Receipts per second that a node acknowledges, one sender per lane."""
    lanes = [batches_of(lane) for lane in range(LANES)]
    password_file = database.password_file if isinstance(database, PostgresUrl) else None
    with ExitStack() as stack:
        node = stack.enter_context(serving("benchmarks.node_server", database, password_file, LANES))
        pool = stack.enter_context(ThreadPoolExecutor(LANES))
        clients = [
            stack.enter_context(httpx.Client(base_url=node.url, timeout=60.0, trust_env=False)) for _ in lanes
        ]

        def send(client: httpx.Client, batches: list[bytes]) -> None:
            for body in batches:
                client.post("/v1/batches", content=body).raise_for_status()

        started = perf_counter()
        list(pool.map(send, clients, lanes))
        return LANES * RECEIPTS_PER_LANE / (perf_counter() - started)


def on_sqlite() -> Figure:
    """Measure node and floor in turns, twice, and compare the best of each."""
    floors, nodes = [], []
    for number in range(2):
        with tempfile.TemporaryDirectory(prefix="usufruct-bench-") as folder:
            floors.append(insert_alone(Path(folder) / "floor.sqlite"))
            nodes.append(over_http(Path(folder) / "node.sqlite"))
        print(f"round {number}: SQLite {floors[-1]:,.0f}/s, node {nodes[-1]:,.0f}/s", file=sys.stderr)
    work, against = "durable intake over HTTP, batches of 1,000", "SQLite insert alone, same rows and syncs"
    return Figure("intake", work, against, max(nodes) / max(floors), 0.5, "higher")


def on_postgres() -> Figure:
    """The same with a node on a PostgreSQL server of its own, on the same cores."""
    floors, nodes = [], []
    with PostgresServer() as server:
        for number in range(2):
            floors.append(copy_alone(server.new_database(), server))
            nodes.append(over_http(server.new_database()))
            print(f"round {number}: COPY {floors[-1]:,.0f}/s, node {nodes[-1]:,.0f}/s", file=sys.stderr)
    work, against = "the same on PostgreSQL", "COPY alone, same rows and commits"
    return Figure("intake_postgres", work, against, max(nodes) / max(floors), None, "higher")


def run(_: Size = QUICK) -> list[Figure]:
    """Measure intake on both databases."""
    return [on_sqlite(), on_postgres()]


if __name__ == "__main__":
    print(table(run()))
