"""chain.json: what is wrong in it is named, and access keys are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from usufruct_meter.lanes.chain_file import ChainFile, write_chain_file
from usufruct_meter.lanes.lane_file import lane_files
from usufruct_protocol.errors import ConfigInvalid

from tests.unit.meter.lane_kit import new_lane

URL = "https://rpc.example/v2/access-key"


def written(folder: Path, content: Any, mode: int = 0o600) -> Path:
    path = folder / "chain.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(mode)
    return path


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    made = write_chain_file(tmp_path, [URL, "http://127.0.0.1:8545"], "payer.key")
    assert made == ChainFile.load(tmp_path / "chain.json")
    assert made.rpc_urls == (URL, "http://127.0.0.1:8545")
    assert made.payer_key_file == tmp_path / "payer.key"
    assert made.path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigInvalid, match="exists"):
        write_chain_file(tmp_path, [URL], None)


def test_it_is_no_lane_file(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    assert ChainFile.beside(file.path) is None
    written(tmp_path, {"rpc_urls": [URL]})
    assert lane_files(tmp_path) == (file.path,)
    found = ChainFile.beside(file.path)
    assert found is not None
    assert (found.payer_key_file, found.anchor_after_s) == (None, None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("[]", "one JSON object"),
        (" " * 70_000, "one JSON object"),
        ({}, "missing: rpc_urls"),
        ({"rpc_urls": [URL], "rpc_url": URL}, "unknown: rpc_url"),
        ({"rpc_urls": []}, "1 to 8"),
        ({"rpc_urls": [URL, URL]}, "different"),
        ({"rpc_urls": [f"{URL}{n}" for n in range(9)]}, "1 to 8"),
        ({"rpc_urls": [URL, "ftp://rpc.example/access-key"]}, "number 2 is not"),
        ({"rpc_urls": [7]}, "number 1 is not"),
        ({"rpc_urls": [URL], "payer_key_file": ""}, "payer_key_file"),
        ({"rpc_urls": [URL], "anchor_after_s": 0}, "anchor_after_s"),
        ({"rpc_urls": [URL], "anchor_after_s": True}, "anchor_after_s"),
        ({"rpc_urls": [URL], "max_fee_per_gas_gwei": "5"}, "max_fee_per_gas_gwei"),
    ],
)
def test_what_is_wrong_is_named_without_the_access_key(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(ConfigInvalid, match=said) as caught:
        ChainFile.load(written(tmp_path, content))
    assert "access-key" not in str(caught.value)


def test_others_may_not_read_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="read by others"):
        ChainFile.load(written(tmp_path, {"rpc_urls": [URL]}, 0o640))
