"""A retry is metered once, never zero times, whichever worker it reaches and whatever crashed before."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from usufruct_meter.errors import MeteredElsewhere, SpoolFull, UnitCapReached
from usufruct_meter.lanes import lane as lane_module
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.signed_receipt import MeteredCall
from usufruct_protocol.errors import ConfigInvalid, InputRejected

from tests.unit.meter.lane_kit import Clock, new_lane
from tests.unit.meter.test_spool import crash, raw


@pytest.fixture
def sibling(tmp_path: Path, clock: Clock, lane: Lane) -> Iterator[Lane]:
    """Lane 1 of the same license, as another worker would have it."""
    with Lane.open(new_lane(tmp_path, 1), clock_ms=clock) as opened:
        yield opened


def claim_only(lane: Lane, response_id: str) -> None:
    """Do what a worker does that dies between the claim and the receipt."""
    response_hash = MeteredCall(1, response_id=response_id).response_hash()
    assert response_hash is not None
    assert lane._writer._index.claim([response_hash], lane.count)[response_hash].is_ours


def test_inv_40_a_retry_gets_the_receipt_of_the_first_try(lane: Lane, clock: Clock) -> None:
    first = lane.meter(5, request=b"q", response_id="r")
    clock.now += 61 * 3_600_000
    again = lane.meter(7, request=b"other", response_id="r")
    assert again.is_repeat
    assert not first.is_repeat
    assert (again.text, again.request_salt) == (first.text, first.request_salt)
    assert (lane.count, lane.cumulative_units) == (1, 5)


def test_inv_40_a_retry_after_a_restart_is_metered_once(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    with Lane.open(file) as lane:
        first = lane.meter(1, response_id="r")
    with Lane.open(file) as lane:
        assert lane.meter(1, response_id="r").text == first.text
        assert lane.count == 1


def test_inv_40_a_retry_at_another_worker_is_metered_once(lane: Lane, sibling: Lane) -> None:
    first = lane.meter(1, response_id="r")
    again = sibling.meter(1, response_id="r")
    assert again.is_repeat
    assert again.receipt.lane == lane.address
    assert (again.text, again.request_salt) == (first.text, first.request_salt)
    assert (lane.count, sibling.count) == (1, 0)


def test_retries_within_one_group_are_metered_once(lane: Lane) -> None:
    made = lane.meter_many([MeteredCall(1, response_id=name) for name in ("a", "b", "a", "a")])
    assert [(one.receipt.seq, one.is_repeat) for one in made] == [
        (0, False),
        (1, False),
        (0, True),
        (0, True),
    ]


def test_calls_without_an_id_are_all_metered(lane: Lane) -> None:
    assert [lane.meter(1, request=b"same").receipt.seq for _ in range(3)] == [0, 1, 2]


def test_inv_40_a_claim_that_a_crash_left_behind_is_used_by_its_own_lane(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    lane = Lane.open(file)
    claim_only(lane, "r")
    crash(lane)
    with Lane.open(file) as lane:
        assert not lane.meter(1, response_id="r").is_repeat
        assert lane.count == 1


def test_inv_40_a_claim_of_a_dead_worker_is_taken_over(tmp_path: Path) -> None:
    files = [new_lane(tmp_path, number) for number in range(2)]
    dead = Lane.open(files[0])
    claim_only(dead, "r")
    crash(dead)
    with Lane.open(files[1]) as lane:
        signed = lane.meter(1, response_id="r")
        assert (signed.receipt.lane, signed.is_repeat) == (lane.address, False)
    with Lane.open(files[0]) as back:
        assert back.meter(1, response_id="r").text == signed.text
        assert back.count == 0


def test_inv_40_a_receipt_of_a_dead_worker_is_found(tmp_path: Path) -> None:
    files = [new_lane(tmp_path, number) for number in range(2)]
    dead = Lane.open(files[0])
    first = dead.meter(1, response_id="r")
    crash(dead)
    with Lane.open(files[1]) as lane:
        assert lane.meter(1, response_id="r").text == first.text


def test_inv_40_a_receipt_that_a_dead_worker_never_announced_does_not_come_back(
    tmp_path: Path, clock: Clock
) -> None:
    """Killed after its last frames reached the disk, before readers were told of them.

    Today's readers don't see that receipt, and a recovery of the file would. The frames are made in a copy of
    the spool and put behind the dead worker's log.
    """
    files = [new_lane(tmp_path, number) for number in range(2)]
    dead, other = (Lane.open(file, clock_ms=clock) for file in files)
    dead.meter(1, response_id="seen")
    assert other.meter(1, response_id="seen").is_repeat  # and so has the dead worker's spool open
    claim_only(dead, "r")
    draft = dead._writer._draft()
    unannounced = draft.add(MeteredCall(1, response_id="r"), dead.clock.moment())
    crash(dead)
    log = Path(f"{files[0].spool}-wal")
    twin = shutil.copy(files[0].spool, tmp_path / "twin")
    shutil.copy(log, f"{twin}-wal")
    with raw(twin) as db:
        db.execute(
            "INSERT INTO receipts (seq, record, signature, request_salt, response_hash)"
            " VALUES (?, ?, ?, ?, ?)",
            unannounced.row(),
        )
        frames = Path(f"{twin}-wal").read_bytes()
    assert frames.startswith(log.read_bytes())
    with log.open("r+b") as target:
        target.write(frames)

    signed = other.meter(1, response_id="r")
    assert signed.receipt.lane == other.address
    other.close()
    with Lane.open(files[0], clock_ms=clock) as back:
        assert back.count == 1
        assert back.meter(1, response_id="r").text == signed.text


def test_inv_40_a_claim_of_a_living_worker_is_left_alone(
    lane: Lane, sibling: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "_ELSEWHERE_TIMEOUT_S", 0.05)
    claim_only(lane, "r")
    with pytest.raises(MeteredElsewhere):
        sibling.meter(1, response_id="r")
    with pytest.raises(MeteredElsewhere):
        sibling.meter_many([MeteredCall(1), MeteredCall(1, response_id="r")])
    assert sibling.count == 0
    outcomes = sibling.meter_each([MeteredCall(1), MeteredCall(1, response_id="r"), MeteredCall(1)])
    assert [isinstance(one, MeteredElsewhere) for one in outcomes] == [False, True, False]
    assert not lane.meter(1, response_id="r").is_repeat
    assert sibling.meter(1, response_id="r").is_repeat


def test_inv_40_a_waiting_worker_gets_the_receipt_when_it_is_there(lane: Lane, sibling: Lane) -> None:
    claim_only(lane, "r")
    waiting: list[str] = []
    thread = threading.Thread(target=lambda: waiting.append(sibling.meter(1, response_id="r").text))
    thread.start()
    first = lane.meter(1, response_id="r")
    thread.join()
    assert waiting == [first.text]


def test_a_call_that_cannot_be_metered_gives_its_id_back(tmp_path: Path, clock: Clock) -> None:
    small = new_lane(tmp_path, 0, unit_cap=1)
    with (
        Lane.open(small, clock_ms=clock) as lane,
        Lane.open(new_lane(tmp_path, 1), clock_ms=clock) as sibling,
    ):
        with pytest.raises(UnitCapReached):
            lane.meter(2, response_id="r")
        with pytest.raises(InputRejected):
            lane.meter_many([MeteredCall(1, response_id="s"), MeteredCall(-1)])
        for response_id in ("r", "s"):
            signed = sibling.meter(2, response_id=response_id)
            assert (signed.receipt.lane, signed.is_repeat) == (sibling.address, False)


def test_a_full_disk_gives_the_ids_back(lane: Lane, sibling: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SpoolFull("no room")

    first = lane.meter(1, response_id="known")
    monkeypatch.setattr(lane._writer._spool, "append", full)
    calls = [MeteredCall(1, response_id=name) for name in ("known", "r", "r")]
    known, *failed = lane.meter_each(calls)
    assert known == first or known.text == first.text  # type: ignore[union-attr]
    assert [type(one) for one in failed] == [SpoolFull, SpoolFull]
    assert not sibling.meter(1, response_id="r").is_repeat


def test_ids_that_could_not_be_given_back_are_given_back_later(
    lane: Lane, sibling: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SpoolFull("no room")

    with monkeypatch.context() as patch:
        patch.setattr(lane._writer._spool, "append", full)
        patch.setattr(lane._writer._index, "_release_pending", full)
        with pytest.raises(SpoolFull):
            lane.meter(1, response_id="r")
        patch.undo()
    lane.meter(1, response_id="another")
    assert not sibling.meter(1, response_id="r").is_repeat


def test_inv_40_the_index_may_lose_its_last_claims_to_a_power_loss(tmp_path: Path) -> None:
    files = [new_lane(tmp_path, number) for number in range(2)]
    for file in files:
        Lane.open(file).close()
    index = files[0].idempotency
    before = index.read_bytes()
    with Lane.open(files[0]) as lane:
        first = lane.meter(1, response_id="r")
    index.write_bytes(before)
    with Lane.open(files[1]) as other:
        assert other.meter(1, response_id="r").text == first.text
        assert other.count == 0


def test_inv_40_a_lost_takeover_is_read_back_from_the_receipt(tmp_path: Path) -> None:
    """A dead lane's claim was taken over, then power was lost: the claim is the dead lane's again."""
    files = [new_lane(tmp_path, number) for number in range(3)]
    dead = Lane.open(files[0])
    Lane.open(files[1]).close()
    claim_only(dead, "r")
    crash(dead)
    index = files[0].idempotency
    shutil.copy(index, tmp_path / "before")
    with Lane.open(files[1]) as lane:
        first = lane.meter(1, response_id="r")
    index.write_bytes((tmp_path / "before").read_bytes())
    with Lane.open(files[2]) as lane:
        assert lane.meter(1, response_id="r").text == first.text


def test_a_lost_index_is_built_again_from_the_spools(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    with Lane.open(file) as lane:
        first = lane.meter_many([MeteredCall(1, response_id=f"{n}") for n in range(50)])
    file.idempotency.unlink()
    with Lane.open(file) as lane:
        assert [
            one.text for one in lane.meter_many([MeteredCall(1, response_id=f"{n}") for n in range(50)])
        ] == [one.text for one in first]


def test_a_file_that_is_no_index_is_refused(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    file.idempotency.write_bytes(b"something else" * 1000)
    with pytest.raises(ConfigInvalid, match="not a database") as caught:
        Lane.open(file)
    assert "built again from the spools" in caught.value.hint


def test_a_sibling_whose_spool_is_gone_blocks_its_own_ids_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "_ELSEWHERE_TIMEOUT_S", 0.01)
    files = [new_lane(tmp_path, number) for number in range(2)]
    with Lane.open(files[0]) as gone:
        gone.meter(1, response_id="r")
    files[0].spool.unlink()
    with Lane.open(files[1]) as lane:
        assert "lane number 1 is gone" in caplog.text
        with pytest.raises(MeteredElsewhere):
            lane.meter(1, response_id="r")
        assert lane.meter(1, response_id="s").receipt.seq == 0


def test_inv_40_two_workers_race_for_the_same_ids(lane: Lane, sibling: Lane) -> None:
    made: dict[str, list[str]] = {}
    barrier = threading.Barrier(2)

    def work(worker: Lane) -> None:
        for number in range(100):
            barrier.wait()
            made.setdefault(f"{number}", []).append(worker.meter(1, response_id=f"{number}").text)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in (lane, sibling)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(texts) == 2 and texts[0] == texts[1] for texts in made.values())
    assert lane.count + sibling.count == 100
