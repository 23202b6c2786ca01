"""A full disk, a damaged file, a database of an earlier or a later version."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from usufruct_oracle.storage import epoch_store, lane_store, quarantine_store, sqlite_engine
from usufruct_oracle.storage.database import SCHEMA_VERSION
from usufruct_oracle.storage.store import Store
from usufruct_protocol.errors import Incompatible, InvariantBroken, Transient
from usufruct_protocol.receipts.encoding import RECORD_SIZE

from tests.unit.oracle.conftest import taking
from tests.unit.oracle.lane_kit import KitLane

VERSION_1 = Path(__file__).with_name("schema_1.sql")
H = b"\x01" * 32


def test_a_full_disk_loses_nothing_and_halts_nothing(store: Store, lane: KitLane) -> None:
    lane.meter(*range(5_000))
    take = taking(store)
    with store.write() as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 20}")
    acknowledged = [0]
    with pytest.raises(Transient, match="full"):
        acknowledged += (take(lane.batch(first, first + 100)).count for first in range(0, 5_000, 100))
    with store.read() as db:
        (known,) = lane_store.all_lanes(db)
        taken = lane_store.frontier(db, known.lane_id).count
        assert 0 < taken == acknowledged[-1]
        assert lane_store.records(db, known.lane_id, 0, 5_000) == lane.records[: taken * RECORD_SIZE]
    with store.write() as db:
        db.execute("PRAGMA max_page_count = 1000000")
    assert take(lane.batch(taken)).count == 5_000


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(InvariantBroken, match="not a database"):
        Store(path, exclusive=True)


def test_a_damaged_file_halts_the_node_and_says_what_to_do(tmp_path: Path, lane: KitLane) -> None:
    path = tmp_path / "node.sqlite"
    store = Store(path, exclusive=True)
    with store.write() as db:
        lane_store.put_lanes(db, [lane.state()])
    lane.meter(*range(2_000))
    taking(store)(lane.batch())
    store.close()
    content = bytearray(path.read_bytes())
    content[8_192:] = b"\x5a" * (len(content) - 8_192)
    path.write_bytes(content)
    with pytest.raises(InvariantBroken, match="malformed") as caught:
        use_everything(path)
    assert "restore" in caught.value.hint


def test_a_schema_that_lacks_something_is_not_waited_for(store: Store) -> None:
    with pytest.raises(InvariantBroken, match="no such column: nowhere"), store.read() as db:
        db.execute("SELECT nowhere FROM lanes")


def use_everything(path: Path) -> None:
    store = Store(path, exclusive=True)
    try:
        with store.read() as db:
            for known in lane_store.all_lanes(db):
                lane_store.records(db, known.lane_id, 0, 2_000)
    finally:
        store.close()


def shape(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Columns of every table."""
    with closing(sqlite3.connect(path)) as db:
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: db.execute(f"PRAGMA table_info({name})").fetchall() for name in names}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database of version 1: a lane that signed several histories, a signature, a refused batch."""
    path = tmp_path / "old.sqlite"
    kit = KitLane(0)
    with closing(sqlite3.connect(path)) as db:
        db.executescript(VERSION_1.read_text(encoding="utf-8"))
        db.execute("INSERT INTO lanes VALUES (1, ?, 1, 0, ?, ?, 4)", (kit.address, 2**63 - 1, b"\xff" * 16))
        for seq, theirs in ((7, b"late"), (4, b"first"), (4, b"again")):
            db.execute(
                "INSERT INTO evidence (lane_id, seq, ours, theirs) VALUES (1, ?, ?, ?)",
                (seq, b"ours", theirs),
            )
        db.execute("INSERT INTO signed VALUES (3, 1, ?, ?)", (H, b"\x02" * 65))
        db.execute(
            "INSERT INTO quarantine (lane, code, reason, size, sha256, head) VALUES (?, 'c', 'r', 1, ?, ?)",
            (kit.address, H, b"x"),
        )
        db.execute("PRAGMA user_version = 1")
        db.commit()
    return path


def test_a_database_of_version_1_is_brought_up_to_date(old: Path, tmp_path: Path) -> None:
    store = Store(old, exclusive=True)
    with store.read() as db:
        (lane,) = lane_store.all_lanes(db)
        assert (lane.conflict_seq, lane.finalized_count) == (4, 0)
        assert db.execute("SELECT seq, theirs FROM evidence").fetchall() == [(4, b"first")]
        assert [each.received_at_s for each in quarantine_store.latest_refused(db, 9)] == [0]
        assert epoch_store.last_signed(db) is not None
    with pytest.raises(InvariantBroken, match="already signed"), store.write() as db:
        epoch_store.put_signing(db, 3, 1, b"\x09" * 32)
    kit = KitLane(1)
    with store.write() as db:
        lane_store.put_lanes(db, [kit.state()])
    kit.meter(1, 2)
    assert taking(store)(kit.batch()).count == 2
    store.close()
    Store(tmp_path / "new.sqlite", exclusive=True).close()
    assert shape(old) == shape(tmp_path / "new.sqlite")
    Store(old, exclusive=True).close()


def test_an_upgrade_that_fails_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shape(old)
    steps = {1: (*sqlite_engine._UPGRADES[1], "INSERT INTO nowhere VALUES (1)")}
    monkeypatch.setattr(sqlite_engine, "_UPGRADES", steps)
    with pytest.raises(Exception, match="nowhere"):
        Store(old, exclusive=True)
    assert shape(old) == before


def test_a_database_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    Store(path, exclusive=True).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(Incompatible, match=f"schema version {SCHEMA_VERSION + 1}"):
        Store(path, exclusive=True)
