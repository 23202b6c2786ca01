"""A lane is replaced without a call lost, and its history stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from usufruct_meter.cli import main
from usufruct_meter.errors import LaneLocked, SpoolDoubtful
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile, lane_files
from usufruct_meter.lanes.rotation import RETIRED_SUFFIX, prepare_successor, successor_path, swap
from usufruct_protocol.errors import ConfigInvalid

from tests.unit.meter.lane_kit import GENESIS_S, Clock, new_lane

NOW_MS = (GENESIS_S + 5) * 1000


def nothing(_: Lane) -> None:
    return


def test_a_successor_has_the_same_terms_and_is_taken_by_nobody_yet(tmp_path: Path) -> None:
    file = new_lane(tmp_path, nodes=("http://127.0.0.1:9",), unit_cap=77)
    successor = prepare_successor(file, valid_from_ms=NOW_MS)
    assert successor.lane != file.lane
    assert (successor.license_id, successor.nodes, successor.unit_cap) == (1, file.nodes, 77)
    assert (successor.valid_from_ms, successor.valid_to_ms) == (NOW_MS, file.valid_to_ms)
    assert successor.idempotency == file.idempotency
    assert lane_files(tmp_path) == (file.path,)
    assert prepare_successor(file, valid_from_ms=NOW_MS + 1) == successor, "asked again, it is the same one"


def test_after_the_swap_retries_still_find_the_old_receipt(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    with Lane.open(file, clock_ms=Clock()) as lane:
        first = lane.meter(1, response_id="a")
    prepare_successor(file, valid_from_ms=0)
    finished: list[bytes] = []
    placed = swap(file.path, lambda lane: finished.append(lane.address))
    assert finished == [file.lane]
    assert lane_files(tmp_path) == (placed.path,)
    with Lane.open(tmp_path, clock_ms=Clock()) as lane:
        assert lane.address == placed.lane
        assert lane.meter(1, response_id="a").text == first.text
        assert lane.meter(1, response_id="b").receipt.seq == 0
    retired = LaneFile.load(file.path.with_name(file.path.name + RETIRED_SUFFIX))
    with Lane.open(retired, clock_ms=Clock()) as lane:
        assert lane.count == 1


def test_a_lane_in_use_is_not_swapped(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    prepare_successor(file, valid_from_ms=0)
    with Lane.open(file), pytest.raises(LaneLocked):
        swap(file.path, nothing)
    assert lane_files(tmp_path) == (file.path,)


def test_a_swap_that_was_cut_short_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = new_lane(tmp_path)
    successor = prepare_successor(file, valid_from_ms=0)
    rename = Path.rename

    def rename_once(path: Path, target: Path) -> Path:
        if path == successor_path(file.path):
            raise OSError("killed")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_once)
    with pytest.raises(OSError, match="killed"):
        swap(file.path, nothing)
    monkeypatch.undo()
    assert swap(file.path, nothing).lane == successor.lane
    with pytest.raises(ConfigInvalid, match="is missing"):
        swap(file.path, nothing)


def test_a_lane_that_was_stopped_for_good_is_retired_as_it_is(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    with Lane.open(file) as lane:
        lane.stop(SpoolDoubtful("a node holds more"))
    successor = prepare_successor(file, valid_from_ms=0)
    assert swap(file.path, nothing).lane == successor.lane


def test_the_command_asks_for_the_registration_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = new_lane(tmp_path)
    codes = [main(["lane", "rotate", str(file.path), "--json"])]
    codes.append(main(["lane", "rotate", str(file.path), "--seed", str(tmp_path / "seed"), "--json"]))
    assert codes == [4, 4]
    capsys.readouterr()
    assert not (tmp_path / "seed").exists(), "the successor was made before"
    assert main(["lane", "rotate", str(file.path), "--is-registered", "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert lane_files(tmp_path) == (Path(shown["lane_file"]),)
