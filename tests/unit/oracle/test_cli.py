"""Commands without a chain: init, and how errors leave."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner
from usufruct_oracle.cli import app
from usufruct_oracle.keys.node_key import open_signer
from usufruct_oracle.settings import KeystoreKey, PlainKey, Settings
from usufruct_protocol.signing import address_of, checksum_address

PEER = checksum_address(address_of(b"\x07" * 32))


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.stdout, done.stderr


def init(folder: Path, *more: str) -> tuple[int, str, str]:
    deployment = folder / "deployment.json"
    return run(
        "init",
        "--deployment",
        str(deployment),
        "--rpc-url",
        "http://127.0.0.1:1",
        "--folder",
        str(folder / "node"),
        *more,
    )


@pytest.mark.parametrize("flags", [(), ("--plain-key",)])
def test_init_writes_settings_that_load_and_a_key_that_only_its_owner_reads(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    code, said, _ = init(tmp_path, "--port", "9100", "--peer", f"{PEER}=http://127.0.0.1:9101", *flags)
    assert code == 0
    settings = Settings.load(tmp_path / "node" / "node.json")
    assert isinstance(settings.key, PlainKey if flags else KeystoreKey)
    signer = open_signer(settings)
    assert signer is not None
    assert checksum_address(signer.address) in said
    for path in (tmp_path / "node").iterdir():
        assert path.name == "node.json" or stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (settings.port, list(settings.peers.values())) == (9100, ["http://127.0.0.1:9101"])
    assert settings.deployment.resolve() == tmp_path / "deployment.json"


@pytest.mark.parametrize("name", ["node.json", "signer.json", "passphrase"])
def test_init_never_overwrites(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "node"
    folder.mkdir()
    (folder / name).write_text("mine")
    code, _, errors = init(tmp_path)
    assert code == 2
    assert f"{name} exists already" in errors
    assert {path.name: path.read_text() for path in folder.iterdir()} == {name: "mine"}


@pytest.mark.parametrize("peer", ["nonsense", "0x12=http://a", f"{PEER[:-1]}=http://a"])
def test_a_peer_that_is_none_is_refused(tmp_path: Path, peer: str) -> None:
    code, _, errors = init(tmp_path, "--peer", peer)
    assert code == 2
    assert "code: " in errors
    assert not (tmp_path / "node").exists()


def test_errors_end_with_hint_and_code_on_stderr(tmp_path: Path) -> None:
    for command in (
        ("run",),
        ("status",),
        ("audit", "--epoch", "1"),
        ("preflight",),
        ("epoch", "show", "--epoch", "1"),
    ):
        code, said, errors = run(*command, "--config", str(tmp_path / "missing.json"))
        assert code == 2
        assert said == ""
        assert errors.splitlines()[-2:] == ["hint: usufruct-oracle init writes one", "code: config_invalid"]
