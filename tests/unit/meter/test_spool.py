"""A spool that is full, copied, restored, damaged or written by somebody else."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from usufruct_meter.errors import SpoolCopied, SpoolDoubtful, SpoolFull, SpoolOutdated, UsageListsPruned
from usufruct_meter.lane_check import check_lane
from usufruct_meter.lanes import lane_writer, spool
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.lane_lock import lock_path
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.shipping.batching import BatchLimits, next_batch
from usufruct_meter.signed_receipt import MeteredCall

from tests.unit.meter.lane_kit import Clock, new_lane


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """The spool as somebody with a database shell sees it."""
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def set_page_limit(lane: Lane, pages: int) -> None:
    """Make the spool's disk as full as if it had room for so many pages only."""
    lane._writer._spool._db.execute(f"PRAGMA max_page_count = {pages}")


def test_inv_39_what_was_returned_is_there_after_reopening(tmp_path: Path, clock: Clock) -> None:
    file = new_lane(tmp_path)
    with Lane.open(file, clock_ms=clock) as lane:
        made = [lane.meter(2, [(bytes(32), 1)], b"q", f"id-{n}") for n in range(5)]
    reader = SpoolReader.open(file.spool)
    assert [stored.signed(is_repeat=False) for stored, _ in reader.receipts_from(file.lane, 0)] == made
    reader.close()
    with Lane.open(file, clock_ms=clock) as lane:
        assert (lane.count, lane.cumulative_units, lane.last_issued_at_ms) == (5, 10, clock.now)


def test_spool_and_index_are_private(lane: Lane) -> None:
    lane.meter(1, response_id="x")
    for path in lane.file.path.parent.iterdir():
        if path != lane.file.path:
            assert path.stat().st_mode & 0o077 == 0, path


def test_a_full_disk_refuses_calls_and_loses_no_seq(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_writer, "_PROBE_EVERY_S", 0.0)
    lane.meter(1)
    set_page_limit(lane, 1)
    large = [(number.to_bytes(32, "big"), 1) for number in range(2_000)]
    with pytest.raises(SpoolFull, match="cannot be written"):
        lane.meter(1, large, response_id="r")
    assert lane.count == 1
    set_page_limit(lane, 10**6)
    lane.check_ready()
    assert lane.meter(1, large, response_id="r").receipt.seq == 1


def test_after_a_full_disk_readiness_is_asked_by_writing(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise SpoolFull("no room")

    monkeypatch.setattr(lane._writer._spool, "append", lambda *_: full())
    monkeypatch.setattr(lane._writer._spool, "probe", full)
    lane.check_ready()
    with pytest.raises(SpoolFull):
        lane.meter(1)
    for _ in range(2):
        with pytest.raises(SpoolFull):
            lane.check_ready()
    monkeypatch.undo()
    assert lane.meter(1).receipt.seq == 0
    lane.check_ready()


def test_a_failing_disk_stops_the_lane_in_this_process(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        """A disk whose sync fails: afterwards nobody knows what it holds."""

        in_transaction = False

        def execute(self, statement: str, *_: object) -> None:
            if statement == "COMMIT":
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
                raise error

        executemany = execute

    lane.meter(1)
    monkeypatch.setattr(lane._writer._spool, "_db", Failing())
    with pytest.raises(SpoolDoubtful, match="SQLITE_IOERR_FSYNC"):
        lane.meter(1)
    monkeypatch.undo()
    with pytest.raises(SpoolDoubtful, match="SQLITE_IOERR_FSYNC"):
        lane.meter(1)


def test_a_copied_spool_is_refused(tmp_path: Path) -> None:
    file = new_lane(tmp_path / "a")
    Lane.open(file).close()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with pytest.raises(SpoolCopied, match="copied or restored") as caught:
        Lane.open(tmp_path / "b")
    assert "start a new lane" in caught.value.hint


def restore(file: LaneFile, backup: Path) -> None:
    """Put an old content back into the very same file, as `cp backup spool` does."""
    with file.spool.open("wb") as target:
        target.write(backup.read_bytes())


@pytest.fixture
def restored(tmp_path: Path) -> LaneFile:
    """A lane of 5,000 receipts whose spool was restored to what it was after 2."""
    file = new_lane(tmp_path)
    with Lane.open(file) as lane:
        lane.meter_many([MeteredCall(1, response_id=f"{n}") for n in range(2)])
    backup = tmp_path / "backup"
    shutil.copy(file.spool, backup)
    with Lane.open(file) as lane:
        lane.meter_many([MeteredCall(1, response_id=f"more {n}") for n in range(5_000)])
    restore(file, backup)
    return file


def test_a_restored_spool_is_refused(restored: LaneFile) -> None:
    with pytest.raises(SpoolOutdated, match="has 2 receipts, its lane has signed 5002"):
        Lane.open(restored)


def test_a_restored_spool_is_refused_by_the_index_too(restored: LaneFile) -> None:
    lock_path(restored.spool).unlink()
    with pytest.raises(SpoolDoubtful, match=r"has 2 receipts, the index .* has seen 5002"):
        Lane.open(restored)


def test_the_mark_never_leads_the_spool(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    with Lane.open(file) as lane:
        lane.meter(1)
        assert int(lock_path(file.spool).read_text()) == 1
    lock_path(file.spool).write_text("no number")
    with Lane.open(file) as lane:
        assert lane.meter(1).receipt.seq == 1


@pytest.mark.parametrize("happening", ["removed", "replaced"])
def test_a_spool_that_is_taken_away_stops_the_lane(tmp_path: Path, happening: str) -> None:
    file = new_lane(tmp_path)
    with Lane.open(file) as lane:
        lane.meter(1)
        if happening == "removed":
            file.spool.unlink()
        else:
            os.replace(shutil.copy(file.spool, tmp_path / "copy"), file.spool)
        with pytest.raises(SpoolDoubtful, match=f"was {happening} while in use"):
            lane.meter(1)


def test_a_seq_written_by_somebody_else_stops_the_lane(lane: Lane) -> None:
    lane.meter(1)
    with raw(lane.file.spool) as db:
        db.execute("INSERT INTO receipts SELECT 1, record, signature, request_salt, NULL FROM receipts")
    with pytest.raises(SpoolDoubtful, match="written by somebody else"):
        lane.meter(1)
    assert lane.count == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("DELETE FROM receipts WHERE seq = 3", "does not add up"),
        ("UPDATE receipts SET record = zeroblob(104) WHERE seq = 4", "does not add up"),
        ("UPDATE checkpoints SET signature = zeroblob(65)", "signature v must be"),
        ("UPDATE checkpoints SET receipts_root = zeroblob(32)", "signed by"),
        ("UPDATE checkpoints SET frontier = zeroblob(64)", "does not fit its frontier"),
        ("DROP TABLE lane", "no such table"),
    ],
)
def test_a_damaged_spool_is_refused(tmp_path: Path, damage: str, message: str) -> None:
    file = new_lane(tmp_path)
    lane = Lane.open(file)
    lane.meter_many([MeteredCall(1) for _ in range(2)])
    lane.checkpoint()
    lane.meter_many([MeteredCall(1) for _ in range(3)])
    crash(lane)
    with raw(file.spool) as db:
        db.execute(damage)
    with pytest.raises(SpoolDoubtful, match=message):
        Lane.open(file)


def crash(lane: Lane) -> None:
    """Let go of a lane as a crash does: nothing is signed or written any more."""
    lane._writer._spool.close()
    lane._writer._index._db.close()
    lane._writer._lock.release()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    file.spool.write_bytes(b"something else" * 1000)
    with pytest.raises(SpoolDoubtful, match="not a database"):
        Lane.open(file)


def test_a_stopped_lane_stays_stopped(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    with Lane.open(file) as lane:
        lane.stop(SpoolOutdated("a node holds more"))
        with pytest.raises(SpoolOutdated, match="a node holds more"):
            lane.meter(1)
    with pytest.raises(SpoolDoubtful, match="was stopped: a node holds more"):
        Lane.open(file)


def test_a_reader_of_another_process_does_not_disturb(lane: Lane) -> None:
    lane.meter(1)
    with raw(lane.file.spool) as db:
        db.execute("BEGIN")
        db.execute("SELECT * FROM receipts").fetchall()
        assert lane.meter(1).receipt.seq == 1
        assert db.execute("SELECT count(*) FROM receipts").fetchone() == (1,)


def test_somebody_elses_write_lock_makes_calls_wait_not_fail_for_good(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane._writer._spool._db.execute("PRAGMA busy_timeout = 10")
    with raw(lane.file.spool) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(SpoolFull, match="locked"):
            lane.meter(1)
        db.execute("ROLLBACK")
    assert lane.meter(1).receipt.seq == 0


def test_calls_leave_room_for_what_closes_a_period(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    lane.meter(1)
    monkeypatch.setattr(spool, "MIN_FREE_BYTES", 2**62)
    with pytest.raises(SpoolFull, match="bytes are left") as caught:
        lane.meter(1)
    assert caught.value.retry_after_s >= 10
    with pytest.raises(SpoolFull):
        lane.check_ready()
    assert lane.checkpoint(), "a checkpoint needs little, and the nodes need it"
    monkeypatch.setattr(spool, "MIN_FREE_BYTES", 0)
    assert lane.meter(1).receipt.seq == 1


def test_usage_lists_are_pruned_in_steps_and_the_rest_stays_provable(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_PRUNE_STEP", 3)
    for _ in range(4):
        lane.meter_many([MeteredCall(1, [(bytes(32), 1)])] * 3)
        lane.checkpoint()
    lane.prune_usage_lists(8)
    with closing(SpoolReader.open(lane.file.spool)) as reader:
        assert sorted(reader.openings(0, 12)) == [8, 9, 10, 11]
        assert reader.usage_pruned_below() == 8
        with pytest.raises(UsageListsPruned):
            next_batch(reader, 6, BatchLimits())
        batch = next_batch(reader, 9, BatchLimits())
        assert batch is not None
        assert batch.receipt_count == 3
    assert [line.level for line in check_lane(lane.file) if line.what == "spool"] == ["ok"]
    lane.prune_usage_lists(2)
    with closing(SpoolReader.open(lane.file.spool)) as reader:
        assert reader.usage_pruned_below() == 8


def test_pruning_never_reaches_beyond_what_there_is(lane: Lane) -> None:
    lane.meter(1, [(bytes(32), 1)])
    lane.prune_usage_lists(10**9)
    lane.meter(1, [(bytes(32), 1)])
    with closing(SpoolReader.open(lane.file.spool)) as reader:
        assert reader.usage_pruned_below() == 1
        assert list(reader.openings(0, 9)) == [1]
