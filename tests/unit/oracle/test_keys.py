"""Keys at rest: encrypted, read by their owner only, and in no message, log, repr or traceback."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from typer.testing import CliRunner
from usufruct_oracle.cli import app
from usufruct_oracle.keys import keystore
from usufruct_oracle.keys.external_signer import ExternalSigner
from usufruct_oracle.keys.keystore import (
    make_passphrase,
    open_keystore,
    read_passphrase,
    read_plain_key,
    write_keystore,
    write_plain_key,
)
from usufruct_oracle.keys.node_key import open_signer
from usufruct_oracle.secret_file import MAX_BYTES, read_secret, write_secret
from usufruct_oracle.settings import Settings
from usufruct_protocol.errors import ConfigInvalid
from usufruct_protocol.signing import address_of, checksum_address

KEY = bytes(range(0x41, 0x61))
ADDRESS = checksum_address(address_of(KEY))
PASSPHRASE = "corréct horse battery staple"
FAST_N = 2**10


def passphrase_file(folder: Path, text: str = PASSPHRASE + "\n") -> Path:
    path = folder / "passphrase"
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path


def stored_key(folder: Path) -> Path:
    path = folder / "signer.json"
    write_keystore(path, KEY, PASSPHRASE.encode(), scrypt_n=FAST_N)
    return path


def settings(folder: Path, **key: Any) -> Settings:
    path = folder / "node.json"
    content = {"rpc_url": "http://127.0.0.1:1", "deployment": "d.json", "database": "node.sqlite"}
    path.write_text(json.dumps({**content, "peers": {}, "attempt_seconds": 60, **key}), encoding="utf-8")
    return Settings.load(path)


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


def test_a_keystore_gives_its_key_back_and_other_wallets_open_it(tmp_path: Path) -> None:
    path = stored_key(tmp_path)
    assert open_keystore(path, passphrase_file(tmp_path)).address == address_of(KEY)
    assert bytes(Account.decrypt(json.loads(path.read_text()), PASSPHRASE)) == KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert KEY.hex() not in path.read_text()
    assert keystore.SCRYPT_N == 2**18


def test_a_keystore_of_another_wallet_opens(tmp_path: Path) -> None:
    for kdf, rounds in (("scrypt", FAST_N), ("pbkdf2", 1000)):
        path = tmp_path / f"{kdf}.json"
        write_secret(path, json.dumps(Account.encrypt(KEY, PASSPHRASE, kdf, rounds)).encode(), "keystore")  # type: ignore[arg-type]
        assert open_keystore(path, passphrase_file(tmp_path)).address == address_of(KEY)


@pytest.mark.parametrize(
    "bend",
    [
        lambda stored: [],
        lambda stored: {},
        lambda stored: {**stored, "version": 9},
        lambda stored: {**stored, "crypto": {**stored["crypto"], "kdf": "md5"}},
        lambda stored: {**stored, "crypto": {**stored["crypto"], "ciphertext": "zz"}},
        lambda stored: {**stored, "crypto": {**stored["crypto"], "ciphertext": "00"}},
        lambda stored: {**stored, "crypto": {**stored["crypto"], "kdfparams": {}}},
        lambda stored: {**stored, "address": "11" * 20},
        lambda stored: 7,
    ],
)
def test_a_bent_keystore_is_refused_by_name(tmp_path: Path, bend: Callable[[Any], Any]) -> None:
    path = stored_key(tmp_path)
    path.write_text(json.dumps(bend(json.loads(path.read_text()))))
    with pytest.raises(ConfigInvalid, match=r"keystore .*signer\.json") as caught:
        open_keystore(path, passphrase_file(tmp_path))
    assert caught.value.hint


def test_another_passphrase_does_not_open_it_and_stays_unseen(tmp_path: Path) -> None:
    path, wrong = stored_key(tmp_path), passphrase_file(tmp_path, "wrong horse entirely\n")
    with pytest.raises(ConfigInvalid, match="does not open it") as caught:
        open_keystore(path, wrong)
    shown = "".join(traceback.format_exception(caught.value)) + caught.value.hint
    assert "wrong horse" not in shown


@pytest.mark.parametrize(("text", "complaint"), [("", "empty"), ("\n", "empty"), ("short\n", "has 5 bytes")])
def test_a_passphrase_must_be_worth_its_name(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigInvalid, match=complaint):
        write_keystore(tmp_path / "new.json", KEY, read_passphrase(passphrase_file(tmp_path, text)))
    assert not (tmp_path / "new.json").exists()


def test_the_end_of_the_line_is_no_part_of_a_passphrase_and_spaces_are(tmp_path: Path) -> None:
    assert read_passphrase(passphrase_file(tmp_path, " two words \r\n")) == b" two words "


def test_made_passphrases_are_long_random_and_never_overwritten(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    make_passphrase(one)
    make_passphrase(two)
    assert len(read_passphrase(one)) >= 43
    assert read_passphrase(one) != read_passphrase(two)
    with pytest.raises(ConfigInvalid, match="exists already"):
        make_passphrase(one)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    write_secret(path, b"quiet", "secret")
    path.chmod(mode)
    with pytest.raises(ConfigInvalid, match="others can read it") as caught:
        read_secret(path, "secret")
    assert caught.value.hint == f"chmod 600 {path}"
    assert "quiet" not in str(caught.value)


def test_a_secret_is_a_plain_file_of_bounded_size(tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe, 0o600)
    write_secret(large, bytes(MAX_BYTES + 1), "secret")
    for path, complaint in (
        (pipe, "not a plain file"),
        (tmp_path, "not a plain file"),
        (large, "larger than"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(ConfigInvalid, match=complaint):
            read_secret(path, "secret")
    with pytest.raises(ConfigInvalid, match="exists already"):
        write_secret(large, b"", "secret")


@pytest.mark.parametrize("text", ["", "00" * 32, "12" * 31, "zz" * 32, "ff" * 32, "é" * 64])
def test_a_bad_plain_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "signer.key"
    write_secret(path, text.encode(), "key file")
    with pytest.raises(ConfigInvalid, match="not a private key") as caught:
        read_plain_key(path)
    shown = "".join(traceback.format_exception(caught.value)) + caught.value.hint
    assert not text or text not in shown


def test_each_kind_of_key_opens_and_the_plain_one_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored_key(tmp_path)
    passphrase_file(tmp_path)
    write_plain_key(tmp_path / "signer.key", KEY)
    dry = open_signer(settings(tmp_path))
    kept = open_signer(settings(tmp_path, keystore_file="signer.json", passphrase_file="passphrase"))
    outside = open_signer(settings(tmp_path, signer_command=["/none"], signer_address=ADDRESS))
    assert caplog.text == ""
    plain = open_signer(settings(tmp_path, key_file="signer.key"))
    assert "unencrypted" in caplog.text
    assert dry is None
    assert isinstance(outside, ExternalSigner)
    for signer in (kept, outside, plain):
        assert signer is not None
        assert signer.address == address_of(KEY)


def test_no_secret_reaches_repr_log_or_traceback(tmp_path: Path) -> None:
    """Everything that holds the key is shown, logged, and made to fail."""
    stored_key(tmp_path)
    passphrase_file(tmp_path)
    write_plain_key(tmp_path / "signer.key", KEY)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        for place in (
            {"keystore_file": "signer.json", "passphrase_file": "passphrase"},
            {"key_file": "signer.key"},
        ):
            found = settings(tmp_path, **place)
            signer = open_signer(found)
            assert signer is not None
            logging.getLogger("test").info("%r %s %r", signer, vars(type(signer)), found)
            try:
                signer.sign_digest(KEY[:31])
            except Exception:
                logging.getLogger("test").exception("as a node would log it: %r", signer)
    finally:
        logging.getLogger().removeHandler(handler)
        logging.getLogger().setLevel(logging.WARNING)
    said = stream.getvalue()
    assert "LocalSigner" in said
    assert "Traceback" in said
    for form in (KEY.hex(), KEY.decode(), repr(KEY), str(int.from_bytes(KEY, "big")), PASSPHRASE):
        assert form not in said


def test_keys_new_import_and_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystore.write_keystore, "__kwdefaults__", {"scrypt_n": FAST_N})
    fresh, passphrase = tmp_path / "fresh.json", tmp_path / "passphrase"
    code, said, _ = run("keys", "new", "--keystore", fresh, "--passphrase-file", passphrase)
    assert code == 0
    made = checksum_address(open_keystore(fresh, passphrase).address)
    assert said.startswith(f"{made} is in {fresh}")

    write_plain_key(tmp_path / "signer.key", KEY)
    moved = tmp_path / "moved.json"
    code, said, _ = run(
        "keys", "import", "--key-file", tmp_path / "signer.key", "--keystore", moved,
        "--passphrase-file", passphrase,
    )  # fmt: skip
    assert code == 0
    assert ADDRESS in said
    settings(tmp_path, keystore_file="moved.json", passphrase_file="passphrase")
    code, said, _ = run("keys", "show", "--config", tmp_path / "node.json", "--json")
    assert code == 0
    assert json.loads(said) == {"address": ADDRESS, "kind": f"keystore {moved}", "signs": True}
    assert KEY.hex() not in said

    before = moved.read_bytes()
    code, _, errors = run("keys", "new", "--keystore", moved, "--passphrase-file", passphrase)
    assert code == 2
    assert "exists already" in errors
    assert moved.read_bytes() == before


def test_keys_show_says_when_a_node_runs_dry_or_its_signer_fails(tmp_path: Path) -> None:
    settings(tmp_path)
    code, _, errors = run("keys", "show", "--config", tmp_path / "node.json")
    assert (code, "runs dry" in errors) == (2, True)
    settings(tmp_path, signer_command=[str(tmp_path / "none")], signer_address=ADDRESS)
    code, _, errors = run("keys", "show", "--config", tmp_path / "node.json")
    assert code == 3
    assert errors.splitlines()[-1] == "code: signer_failed"
