"""node.json: what is wrong with it is said by file and name, and secrets stay secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from usufruct_oracle.settings import Settings
from usufruct_protocol.errors import ConfigInvalid
from usufruct_protocol.signing import address_of, checksum_address

KEY = b"\x42" * 32
SIGNER = checksum_address(address_of(KEY))
GOOD: dict[str, Any] = {
    "rpc_url": "http://127.0.0.1:8545",
    "deployment": "deployment.json",
    "database": "data/node.sqlite",
    "key_file": "signer.key",
    "peers": {SIGNER: "http://127.0.0.1:9001/"},
    "attempt_seconds": 60,
}


def write(folder: Path, content: object) -> Path:
    path = folder / "node.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def key_file(folder: Path, text: str, mode: int = 0o600) -> None:
    path = folder / "signer.key"
    path.write_text(text, encoding="ascii")
    path.chmod(mode)


def test_paths_are_relative_to_the_file_and_defaults_fill_the_rest(tmp_path: Path) -> None:
    key_file(tmp_path, f"0x{KEY.hex()}\n")
    settings = Settings.load(write(tmp_path, GOOD))
    assert settings.deployment == tmp_path / "deployment.json"
    assert settings.database == tmp_path / "data" / "node.sqlite"
    assert settings.peers == {address_of(KEY): "http://127.0.0.1:9001"}
    assert (settings.host, settings.finality_depth) == ("127.0.0.1", 0)
    assert settings.private_key() == KEY


def test_no_key_file_is_a_dry_run(tmp_path: Path) -> None:
    assert Settings.load(write(tmp_path, {**GOOD, "key_file": None})).private_key() is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"attempt_seconds": 0}, "attempt_seconds must be"),
        ({"attempt_seconds": True}, "attempt_seconds must be"),
        ({"attempt_seconds": 1.5}, "attempt_seconds must be"),
        ({"port": 70_000}, "port must be"),
        ({"poll_seconds": 0}, "poll_seconds must be"),
        ({"poll_seconds": "fast"}, "poll_seconds must be"),
        ({"rpc_url": ""}, "rpc_url must be"),
        ({"rpc_url": "<your endpoint>"}, "rpc_url must be"),
        ({"peers": []}, "peers must be"),
        ({"peers": {"0x12": "http://a"}}, "not an address"),
        ({"peers": {SIGNER: "ftp://a"}}, "needs an http"),
        ({"peers": {SIGNER: "http://a", SIGNER.lower(): "http://b"}}, "named twice"),
        ({"grace_seconds": 5}, "unknown setting 'grace_seconds'"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigInvalid, match=complaint) as caught:
        Settings.load(write(tmp_path, {**GOOD, **change}))
    assert "node.json" in str(caught.value)


@pytest.mark.parametrize("name", ["rpc_url", "deployment", "database", "peers", "attempt_seconds"])
def test_a_missing_setting_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigInvalid, match=f"'{name}' is missing"):
        Settings.load(write(tmp_path, {key: value for key, value in GOOD.items() if key != name}))


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_anything_but_an_object_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigInvalid):
        Settings.load(write(tmp_path, content))


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key_file(tmp_path, KEY.hex(), mode=0o640)
    with pytest.raises(ConfigInvalid, match="others can read it"):
        Settings.load(write(tmp_path, GOOD)).private_key()


@pytest.mark.parametrize("text", ["", "00" * 32, "12" * 31, "zz" * 32, "ff" * 32])
def test_a_bad_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    key_file(tmp_path, text)
    with pytest.raises(ConfigInvalid) as caught:
        Settings.load(write(tmp_path, GOOD)).private_key()
    assert not text or text not in f"{caught.value} {caught.value.hint}"
