"""A signer that is another program: believed only by its signatures, and never waited for beyond its time."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from usufruct_oracle.keys.external_signer import ExternalSigner, SignerFailed
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.signing import CURVE_ORDER, address_of, sign_digest

KEY, OTHER = b"\x51" * 32, b"\x52" * 32
DIGESTS = [keccak256(bytes((number,))) for number in range(4)]

READ = "import json, os, sys, time\ntable = json.load(open(sys.argv[1]))\n"
ANSWER = 'print(json.dumps({"id": asked["id"], "signature": table[asked["digest"]]}), flush=True)\n'
LOOP = READ + "for line in sys.stdin:\n    asked = json.loads(line)\n    "


def high_s(signature: bytes) -> bytes:
    s = CURVE_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes((55 - signature[64],))


@contextmanager
def signer(
    folder: Path,
    program: str,
    *,
    key: bytes = KEY,
    timeout_s: float = 10.0,
    form: str = "whole",
    on_failure: Callable[[], None] | None = None,
) -> Iterator[ExternalSigner]:
    """A signer whose program looks signatures up in a table, so that it needs no curve of its own."""
    forms = {"whole": lambda made: made, "high": high_s, "short": lambda made: made[:64]}
    table = {"0x" + digest.hex(): "0x" + forms[form](sign_digest(key, digest)).hex() for digest in DIGESTS}
    (folder / "table.json").write_text(json.dumps(table))
    command = [sys.executable, "-S", "-E", "-c", program, str(folder / "table.json")]
    made = ExternalSigner(command, address_of(KEY), timeout_s, on_failure)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("form", ["whole", "high", "short"])
def test_any_form_of_signature_becomes_the_one_that_contracts_take(tmp_path: Path, form: str) -> None:
    with signer(tmp_path, LOOP + ANSWER, form=form) as made:
        assert [made.sign_digest(digest) for digest in DIGESTS] == [
            sign_digest(KEY, digest) for digest in DIGESTS
        ]


def test_it_is_started_once_and_asked_by_many_threads_in_turn(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    program = f"open({str(starts)!r}, 'a').write('x')\n" + LOOP + ANSWER
    found: list[bytes] = []
    with signer(tmp_path, program) as made:
        threads = [
            threading.Thread(target=lambda d=digest: found.append(made.sign_digest(d)))
            for digest in DIGESTS * 5
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert sorted(found) == sorted(sign_digest(KEY, digest) for digest in DIGESTS * 5)
    assert starts.read_text() == "x"


def test_one_that_ends_after_each_answer_is_started_again(tmp_path: Path) -> None:
    once = READ + "asked = json.loads(sys.stdin.readline())\n" + ANSWER
    with signer(tmp_path, once) as made:
        for digest in DIGESTS:
            assert made.sign_digest(digest) == sign_digest(KEY, digest)


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("raise SystemExit(1)", "ended without an answer"),
        (LOOP + "print('nonsense', flush=True)", "one line of JSON"),
        (LOOP + "print('[]', flush=True)", "one line of JSON"),
        (LOOP + "print(json.dumps({'id': 99, 'signature': '0x'}), flush=True)", "one line of JSON"),
        (LOOP + "print(json.dumps({'id': asked['id']}), flush=True)", "no signature"),
        (LOOP + "print(json.dumps({'id': asked['id'], 'signature': '0xzz'}), flush=True)", "no signature"),
        (LOOP + "print(json.dumps({'id': asked['id'], 'signature': 7}), flush=True)", "no signature"),
        (LOOP + "print(json.dumps({'id': asked['id'], 'signature': '00' * 65}), flush=True)", "not of 0x"),
        (
            LOOP + "print(json.dumps({'id': asked['id'], 'error': 'locked\\x1b[2J'}), flush=True)",
            "refused: locked",
        ),
        ("print('x' * 100_000, flush=True)\n" + LOOP + "pass", "more than"),
    ],
)
def test_anything_but_a_signature_is_an_error_that_says_what(
    tmp_path: Path, program: str, complaint: str
) -> None:
    with signer(tmp_path, program) as made, pytest.raises(SignerFailed, match=complaint) as caught:
        made.sign_digest(DIGESTS[0])
    assert "\x1b" not in str(caught.value)


def test_a_signature_of_another_key_is_refused(tmp_path: Path) -> None:
    with signer(tmp_path, LOOP + ANSWER, key=OTHER) as made, pytest.raises(SignerFailed, match="not of 0x"):
        made.sign_digest(DIGESTS[0])


def test_a_hung_one_is_killed_with_its_children_and_blocks_nobody(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    hangs = (
        READ + f"child = os.fork()\nopen({str(pids)!r}, 'a').write(f'{{os.getpid()}} ')\n" + "time.sleep(600)"
    )
    with signer(tmp_path, hangs, timeout_s=0.7) as made:
        began = time.monotonic()
        with pytest.raises(SignerFailed, match=r"did not answer within 0\.7 s"):
            made.sign_digest(DIGESTS[0])
        assert time.monotonic() - began < 3
        began = time.monotonic()
        with pytest.raises(SignerFailed, match="failed a moment ago"):
            made.sign_digest(DIGESTS[1])
        assert time.monotonic() - began < 0.3
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    deadline = time.monotonic() + 5
    while any(is_alive(pid) for pid in started) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(is_alive(pid) for pid in started)


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] not in "ZX"
    return False


def test_a_failed_one_is_asked_again_after_a_moment(tmp_path: Path) -> None:
    """The device was unplugged, and is back."""
    seen = tmp_path / "seen"
    fails_first = (
        f"import pathlib\nseen = pathlib.Path({str(seen)!r})\n"
        + "if not seen.exists():\n    seen.touch()\n    raise SystemExit\n"
        + LOOP
        + ANSWER
    )
    failures: list[None] = []
    with signer(tmp_path, fails_first, on_failure=lambda: failures.append(None)) as made:
        with pytest.raises(SignerFailed):
            made.sign_digest(DIGESTS[0])
        assert len(failures) == 1
        time.sleep(1.1)
        assert made.sign_digest(DIGESTS[0]) == sign_digest(KEY, DIGESTS[0])


def test_the_command_and_the_key_are_in_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Arguments may name a slot or a token; only the program's name is shown."""
    caplog.set_level(logging.DEBUG)
    with signer(tmp_path, LOOP + ANSWER) as made:
        made.sign_digest(DIGESTS[0])
        assert "table.json" not in repr(made)
    assert os.path.basename(sys.executable) in caplog.text
    assert "table.json" not in caplog.text
