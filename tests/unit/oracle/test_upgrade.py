"""A database that an earlier version wrote goes on, and one of a later version is left alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from usufruct_oracle import epoch_store, lane_store, quarantine_store, sqlite_engine
from usufruct_oracle.database import SCHEMA_VERSION
from usufruct_oracle.store import Store
from usufruct_protocol.errors import Incompatible, InvariantBroken

from tests.unit.oracle.conftest import taking
from tests.unit.oracle.lane_kit import KitLane

VERSION_1 = Path(__file__).with_name("schema_1.sql")
H = b"\x01" * 32


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
