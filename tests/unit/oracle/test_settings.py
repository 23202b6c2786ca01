"""node.json: what is wrong with it is said by file and name, and secrets stay secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from usufruct_oracle.settings import ExternalKey, KeystoreKey, PlainKey, Settings
from usufruct_oracle.storage.database import PostgresUrl
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


def test_paths_are_relative_to_the_file_and_defaults_fill_the_rest(tmp_path: Path) -> None:
    settings = Settings.load(write(tmp_path, GOOD))
    assert settings.deployment == tmp_path / "deployment.json"
    assert settings.database == tmp_path / "data" / "node.sqlite"
    assert settings.pending_transaction == tmp_path / "data" / "node.sqlite.pending-transaction.json"
    assert settings.bundle_key_file == tmp_path / "data" / "node.sqlite.bundle.key"
    assert settings.peers == {address_of(KEY): "http://127.0.0.1:9001"}
    assert (settings.host, settings.finality_depth) == ("127.0.0.1", 0)
    assert settings.key == PlainKey(tmp_path / "signer.key")


def test_a_key_is_in_one_place_and_no_place_is_a_dry_run(tmp_path: Path) -> None:
    without = {**GOOD, "key_file": None}
    command = {"signer_command": ["clef", "--x"], "signer_address": SIGNER, "signer_timeout_seconds": 3}
    stored = {"keystore_file": "signer.json", "passphrase_file": "passphrase"}
    assert Settings.load(write(tmp_path, without)).key is None
    found = Settings.load(write(tmp_path, {**without, **stored})).key
    assert found == KeystoreKey(tmp_path / "signer.json", tmp_path / "passphrase")
    found = Settings.load(write(tmp_path, {**without, **command})).key
    assert found == ExternalKey(("clef", "--x"), address_of(KEY), 3.0)


def test_an_endpoint_is_not_shown_with_the_settings(tmp_path: Path) -> None:
    url = "https://chain.example/v3/0123456789abcdef"
    assert "0123456789abcdef" not in repr(Settings.load(write(tmp_path, {**GOOD, "rpc_url": url})))


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
        ({"rpc_url": []}, "rpc_url must be"),
        ({"rpc_url": ["http://a", ""]}, "rpc_url must be"),
        ({"rpc_url": ["http://a", "http://a"]}, "names an endpoint twice"),
        ({"rpc_url": "<your endpoint>"}, "rpc_url must be"),
        ({"peers": []}, "peers must be"),
        ({"peers": {"0x12": "http://a"}}, "not an address"),
        ({"peers": {SIGNER: "ftp://a"}}, "needs an http"),
        ({"peers": {SIGNER: "http://a", SIGNER.lower(): "http://b"}}, "named twice"),
        ({"grace_seconds": 5}, "unknown setting 'grace_seconds'"),
        ({"keystore_file": "a", "passphrase_file": "b"}, "keystore_file and key_file are both set"),
        ({"key_file": None, "keystore_file": "a"}, "keystore_file needs passphrase_file"),
        ({"passphrase_file": "a"}, "passphrase_file needs keystore_file"),
        ({"key_file": None, "signer_command": ["a"]}, "signer_command needs signer_address"),
        ({"signer_address": SIGNER}, "signer_address needs signer_command"),
        ({"key_file": None, "signer_command": "a b", "signer_address": SIGNER}, "must be an array"),
        ({"key_file": None, "signer_command": [], "signer_address": SIGNER}, "must be an array"),
        ({"key_file": None, "signer_command": ["a"], "signer_address": "0x1"}, "signer_address: not an"),
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


def test_a_database_is_a_file_or_a_server_whose_password_stands_in_a_file(tmp_path: Path) -> None:
    url = "postgresql://node@db.example/usufruct?sslmode=verify-full"
    where = {**GOOD, "database": url}
    assert Settings.load(write(tmp_path, where)).database == PostgresUrl(url)
    found = Settings.load(write(tmp_path, {**where, "database_password_file": "db.password"})).database
    assert found == PostgresUrl(url, tmp_path / "db.password")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"database": "postgresql://node:hunter2@db.example/usufruct"}, "a password in the database's URL"),
        (
            {"database": "postgres://db.example/usufruct?user=a&password=hunter2"},
            "a password in the database",
        ),
        ({"database_password_file": "db.password"}, "but the database is a file"),
    ],
)
def test_a_password_has_no_other_place(tmp_path: Path, change: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigInvalid, match=complaint) as caught:
        Settings.load(write(tmp_path, {**GOOD, **change}))
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
