"""What a node acknowledged it has, however it died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.database import Location
from usufruct_oracle.storage.store import Store
from usufruct_protocol.errors import Incompatible
from usufruct_protocol.receipts.encoding import RECORD_SIZE

from tests.unit.oracle.crashing_node import RECEIPTS, arguments, whole_lane

ROOT = Path(__file__).resolve().parents[3]
KILLED_AFTER_ACKNOWLEDGEMENTS = (1, 7, 60)


@pytest.fixture
def database(tmp_path: Path) -> Location:
    return tmp_path / "node.sqlite"


def run_and_kill(database: Location, after: int) -> int:
    """Let a node take batches, kill it -9 after so many acknowledgements; return the last count it gave."""
    acknowledged = 0
    with subprocess.Popen(
        [sys.executable, "-m", "tests.unit.oracle.crashing_node", *arguments(database)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        for _ in range(after):
            line = child.stdout.readline().strip()
            if line == "done":
                break
            acknowledged = int(line)
        os.kill(child.pid, signal.SIGKILL)
        for line in child.stdout:  # what was said before the signal arrived counts too
            if line.strip().isdecimal():
                acknowledged = int(line)
        assert child.wait() in (-signal.SIGKILL, 0)
    return acknowledged


def test_inv_39_acknowledged_receipts_survive_kill_9(database: Location) -> None:
    kit = whole_lane()
    acknowledged = 0
    for after in KILLED_AFTER_ACKNOWLEDGEMENTS:
        acknowledged = max(acknowledged, run_and_kill(database, after))
        store = Store(database, exclusive=True)
        with store.read() as db:
            if isinstance(database, Path):
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            lane = lane_store.lane_by_address(db, kit.address)
            assert lane is not None
            held = lane_store.frontier(db, lane.lane_id)
            records = lane_store.records(db, lane.lane_id, 0, held.count)
            lists = list(lane_store.usage_lists(db, lane.lane_id, 0, held.count))
        store.close()
        assert acknowledged <= held.count <= RECEIPTS
        assert records == kit.records[: held.count * RECORD_SIZE]
        assert held.root() == kit.frontier(held.count).root()
        assert lists == [kit.openings[seq] for seq in sorted(kit.openings) if seq < held.count]
    assert acknowledged > 0


def test_one_process_per_database(database: Location) -> None:
    first = Store(database, exclusive=True)
    command = [sys.executable, "-m", "tests.unit.oracle.crashing_node", *arguments(database)]
    second = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert second.returncode != 0
    assert "in use by another process" in second.stderr
    reader = Store(database, exclusive=False)
    with reader.read() as db:
        assert lane_store.all_lanes(db) == []
    reader.close()
    first.close()
    Store(database, exclusive=True).close()


@pytest.mark.parametrize("field", ["settlement", "signer", "chain_id"])
def test_a_database_stays_with_its_node(store: Store, field: str) -> None:
    identity = {"chain_id": "1", "settlement": "0xa", "signer": "0xb"}
    store.bind_identity(identity)
    store.bind_identity(identity)
    with pytest.raises(Incompatible, match=field):
        store.bind_identity({**identity, field: "other"})
    store.bind_identity({**identity, field: "other"}, may_differ=(field,))
    store.bind_identity(identity)
