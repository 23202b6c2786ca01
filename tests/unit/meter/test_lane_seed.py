"""Keys of many lanes from one seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from usufruct_meter.cli import main
from usufruct_meter.lanes import lane_seed
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.lane_key import read_private_key
from usufruct_meter.lanes.lane_seed import PURPOSE, derive_key, draw_branch, open_seed
from usufruct_protocol.errors import ConfigInvalid, InputRejected
from usufruct_protocol.signing import checksum_address

from tests.unit.meter.lane_kit import CHAIN_ID, SETTLEMENT


def test_the_hardened_steps_of_the_standard_test_vectors() -> None:
    """BIP-32, test vectors 1 and 4: the chains whose steps are all hardened."""
    first = bytes(range(16))
    fourth = bytes.fromhex("3ddd5602285899a946114506157c7997e5444528f3003f6134712147db19b678")
    for seed, path, key in (
        (first, (), "e8f32e723decf4051aefac8e2c93c9c5b214313817cdb01a1494b917c8436b35"),
        (first, (0,), "edb2e14f9ee77d26dd93b4ecede8d16ed408ce149b6cd80b0715a2d911a0afea"),
        (fourth, (), "12c0d59c7aa3a10973dbd3f478b65f2516627e3fe61e00c345be9a477ad2e215"),
        (fourth, (0,), "00d948e9261e41362a688b916f297121ba6bfb2274a3575ac0e456551dfd7f7e"),
        (fourth, (0, 1), "3a2086edd7d9df86c3487a5905a1712a9aa664bce8cc268141e07549eaa8661d"),
    ):
        assert derive_key(seed, path).hex() == key


def test_steps_are_in_range_and_paths_differ() -> None:
    seed = bytes(range(32))
    assert len({derive_key(seed, (PURPOSE, 1, 2, worker)) for worker in range(50)}) == 50
    for step in (-1, 2**31):
        with pytest.raises(InputRejected, match="not below"):
            derive_key(seed, (step,))
    with pytest.raises(InputRejected, match="license id"):
        draw_branch(2**31)


def test_a_seed_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "seed"
    seed = open_seed(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert open_seed(path) == seed
    path.chmod(0o644)
    with pytest.raises(ConfigInvalid, match="can be read by others"):
        open_seed(path)


def new_lanes(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> list[dict[str, Any]]:
    where = ["--chain-id", str(CHAIN_ID), "--settlement", checksum_address(SETTLEMENT)]
    when = ["--genesis", "1000", "--epoch-seconds", "10"]
    assert main(["lane", "new", str(folder), "--license", "7", *where, *when, *more, "--json"]) == 0
    made: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return made


def test_a_restored_seed_never_makes_the_same_lane_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = tmp_path / "seed"
    made = new_lanes(capsys, tmp_path / "a", "--workers", "4", "--seed", str(seed))
    again = new_lanes(capsys, tmp_path / "b", "--workers", "4", "--seed", str(seed))
    assert len({one["lane"] for one in (*made, *again)}) == 8


def test_the_keys_are_the_seeds_children(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_seed.secrets, "randbelow", lambda _: 5)
    seed = tmp_path / "seed"
    made = new_lanes(capsys, tmp_path / "a", "--workers", "2", "--seed", str(seed))
    keys = [read_private_key(LaneFile.load(one["lane_file"]).key_file) for one in made]
    assert keys == [derive_key(read_private_key(seed), (PURPOSE, 7, 5, worker)) for worker in range(2)]
