"""Sealed bytes: any of the recipients opens them, nobody else, and no bent byte passes."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_oracle.bundles.sealing import NotOpened, SealingKey, check_recipient, seal, sealed_size
from usufruct_protocol.errors import ConfigInvalid, InputRejected

ALICE, BOB, EVE = (SealingKey.generate() for _ in range(3))


@given(st.binary(max_size=300), st.integers(0, 3))
def test_each_recipient_opens_it_and_nobody_else(body: bytes, chunks: int) -> None:
    body += bytes(65_536 * chunks)
    sealed = seal(body, [ALICE.recipient, BOB.recipient])
    assert len(sealed) <= sealed_size(len(body), 2)
    assert ALICE.open(sealed, "it") == BOB.open(sealed, "it") == body
    with pytest.raises(NotOpened, match="it: damaged, or sealed to others"):
        EVE.open(sealed, "it")


def test_other_threads_have_their_turns_while_much_is_sealed_and_opened() -> None:
    """Intake goes on while a peer takes a roster: the cipher must not keep the interpreter to itself."""
    body, turns, is_over = bytes(32 * 1024 * 1024), [0], threading.Event()

    def count() -> None:
        while not is_over.wait(0.001):
            turns[0] += 1

    other = threading.Thread(target=count)
    other.start()
    try:
        sealed = seal(body, [ALICE.recipient])
        after_sealing = turns[0]
        assert ALICE.open(sealed, "it") == body
        assert 3 <= after_sealing <= turns[0] - 3
    finally:
        is_over.set()
        other.join()


@given(st.binary(max_size=100), st.integers(0, 2**32), st.integers(1, 255))
def test_no_bent_or_missing_byte_passes(body: bytes, at: int, change: int) -> None:
    sealed = bytearray(seal(body, [ALICE.recipient]))
    cut = bytes(sealed[: at % len(sealed)])
    sealed[at % len(sealed)] ^= change
    for damaged in (bytes(sealed), cut):
        with pytest.raises(NotOpened):
            ALICE.open(damaged, "it")


def test_a_key_file_is_made_once_and_is_an_ordinary_age_identity(tmp_path: Path) -> None:
    path = tmp_path / "bundle.key"
    made = SealingKey.load_or_make(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SealingKey.load_or_make(path).recipient == made.recipient
    identity = pyrage.x25519.Identity.from_str(path.read_text().strip())
    assert pyrage.decrypt(seal(b"x", [made.recipient]), [identity]) == b"x"
    path.write_text(f"# created: today\n# public key: {made.recipient}\n{path.read_text()}\n")
    assert SealingKey.load(path).recipient == made.recipient
    assert path.read_text().strip().splitlines()[-1] not in repr(made)


@pytest.mark.parametrize("content", ["", "AGE-SECRET-KEY-1SECRETS", "two\nlines", "\xff"])
def test_a_key_file_that_is_none_is_refused_and_not_shown(content: str, tmp_path: Path) -> None:
    path = tmp_path / "bundle.key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigInvalid, match="not one age identity") as caught:
        SealingKey.load(path)
    assert "SECRETS" not in repr(caught.value) + str(caught.value.__cause__)
    path.chmod(0o644)
    with pytest.raises(ConfigInvalid, match="others can read it"):
        SealingKey.load(path)


@pytest.mark.parametrize(
    "text",
    [
        *("", "age1nobody", "AGE-SECRET-KEY-1X", "ssh-ed25519 AAAA"),
        pytest.param(ALICE.recipient[:-1], id="a character short"),
    ],
)
def test_what_is_no_recipient_is_refused(text: str) -> None:
    with pytest.raises(InputRejected, match="no age recipient"):
        check_recipient(text)
