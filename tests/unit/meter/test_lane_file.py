"""Bad lane files and keys are refused at start, by name, and a key is never shown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from usufruct_meter.errors import LaneLocked, SpoolDoubtful
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile, lane_files
from usufruct_meter.lanes.lane_key import LaneKey, new_private_key, read_key_file, write_key_file
from usufruct_protocol.errors import ConfigInvalid
from usufruct_protocol.signing import sign_digest

from tests.unit.meter.lane_kit import lane_key, new_lane


def change(path: Path, **fields: Any) -> None:
    content = json.loads(path.read_text())
    for name, value in fields.items():
        if value is None:
            del content[name]
        else:
            content[name] = value
    path.write_text(json.dumps(content))


def test_a_lane_file_reads_back_as_it_was_made(tmp_path: Path) -> None:
    made = new_lane(tmp_path, nodes=("http://127.0.0.1:1/",))
    assert LaneFile.load(made.path) == made
    assert made.nodes == ("http://127.0.0.1:1",)


def test_a_lane_folder_may_be_moved(tmp_path: Path) -> None:
    new_lane(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    with Lane.open(tmp_path / "new") as lane:
        assert lane.meter(1).receipt.seq == 0


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    key = file.key_file.read_bytes()
    with pytest.raises(ConfigInvalid, match=r"lane-0\.key exists"):
        new_lane(tmp_path)
    assert file.key_file.read_bytes() == key


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"unit_cap": None}, "missing: unit_cap"),
        ({"colour": 1}, "unknown: colour"),
        ({"license_id": 0}, "license_id must be an integer from 1"),
        ({"license_id": True}, "license_id must be"),
        ({"chain_id": "1"}, "chain_id must be"),
        ({"epoch_seconds": 1.5}, "epoch_seconds must be"),
        ({"valid_to_ms": 5, "valid_from_ms": 5}, "valid_from_ms must be before"),
        ({"settlement": "0x1234"}, "settlement: not an address"),
        ({"settlement": "0x" + 40 * "0"}, "settlement is the zero address"),
        ({"spool": ""}, "spool must be a path"),
        ({"spool": "lane-0.key"}, "three different files"),
        ({"nodes": "http://a"}, "nodes must be a list"),
        ({"nodes": ["ftp://a"]}, "not a node's address"),
        ({"nodes": ["http://a/", "http://a"]}, "listed twice"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    path = new_lane(tmp_path).path
    change(path, **fields)
    with pytest.raises(ConfigInvalid, match=message):
        LaneFile.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "one JSON object"),
        (b'{"lane": 1, "lane": 2}', "twice"),
        (b"\xff", "not JSON"),
        (b" " * 70_000, "more than"),
    ],
)
def test_what_is_no_lane_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "lane.json"
    path.write_bytes(content)
    with pytest.raises(ConfigInvalid, match=message):
        LaneFile.load(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="No such file"):
        LaneFile.load(tmp_path / "none.json")
    with pytest.raises(ConfigInvalid, match="no lane file"):
        lane_files(tmp_path)
    file = new_lane(tmp_path)
    file.key_file.unlink()
    with pytest.raises(ConfigInvalid, match=r"key file .* No such file"):
        Lane.open(file)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    assert file.key_file.stat().st_mode & 0o777 == 0o600
    file.key_file.chmod(0o640)
    with pytest.raises(ConfigInvalid, match="mode 640") as caught:
        Lane.open(file)
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize(
    "content", ["", "0x12", "zz" * 32, "00" * 32, "ff" * 32, "11" * 32, "00" * 31 + "01", "aa" * 33]
)
def test_what_is_no_random_key_is_refused_and_not_repeated(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigInvalid) as caught:
        read_key_file(path)
    assert len(content) < 5 or content not in f"{caught.value} {caught.value.hint}"


def test_a_key_is_never_shown(tmp_path: Path) -> None:
    private_key = new_private_key()
    write_key_file(tmp_path / "key", private_key)
    key = read_key_file(tmp_path / "key")
    assert private_key.hex() not in repr(key).lower()
    assert not hasattr(key, "__dict__")
    file = new_lane(tmp_path)
    assert lane_key(0).hex() not in repr(file) + file.path.read_text()


def test_the_key_signs_as_the_protocol_does() -> None:
    private_key = lane_key(7)
    key = LaneKey(private_key)
    for digest in (bytes(32), b"\xff" * 32, lane_key(8)):
        assert key.sign(digest) == sign_digest(private_key, digest)


def test_the_wrong_key_is_refused(tmp_path: Path) -> None:
    file, other = new_lane(tmp_path, 0), new_lane(tmp_path, 1)
    change(file.path, key_file=other.key_file.name)
    with pytest.raises(ConfigInvalid, match="is the key of"):
        Lane.open(file.path)


def test_the_wrong_spool_is_refused(tmp_path: Path) -> None:
    file, other = new_lane(tmp_path, 0), new_lane(tmp_path, 1)
    change(file.path, spool=other.spool.name)
    with pytest.raises(ConfigInvalid, match="is of lane"):
        Lane.open(file.path)
    change(file.path, spool=file.spool.name, chain_id=1)
    with pytest.raises(ConfigInvalid, match="on chain 31337"):
        Lane.open(file.path)


def test_a_missing_spool_is_never_made_anew(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    file.spool.unlink()
    with pytest.raises(SpoolDoubtful, match="is missing") as caught:
        Lane.open(file)
    assert "start a new lane" in caught.value.hint
    assert not file.spool.exists()


def test_a_lane_is_open_once(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    with Lane.open(file), pytest.raises(LaneLocked, match="in use by other processes"):
        Lane.open(file)
    Lane.open(file).close()


def test_replacing_the_lane_file_does_not_lose_the_lock(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    with Lane.open(file):
        copy = tmp_path / "edited"
        copy.write_bytes(file.path.read_bytes())
        os.replace(copy, file.path)
        with pytest.raises(LaneLocked):
            Lane.open(file.path)


def test_a_folder_gives_each_opening_a_lane_of_its_own(tmp_path: Path) -> None:
    files = [new_lane(tmp_path, number) for number in range(2)]
    with Lane.open(tmp_path) as first, Lane.open(tmp_path) as second:
        assert [first.address, second.address] == [file.lane for file in files]
        with pytest.raises(LaneLocked, match=r"lane-0.json, .*lane-1.json: in use"):
            Lane.open(tmp_path)


def test_lanes_of_two_licenses_do_not_share_an_index(tmp_path: Path) -> None:
    new_lane(tmp_path, 0)
    other = new_lane(tmp_path, 1, license_id=2)
    change(other.path, idempotency="license-1.responses")
    Lane.open(tmp_path / "lane-0.json").close()
    with pytest.raises(ConfigInvalid, match="another license than 2"):
        Lane.open(other.path)
