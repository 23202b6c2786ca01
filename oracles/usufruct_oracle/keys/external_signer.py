"""A signer that is another program: a hardware device, a key service, a machine that holds nothing else.

One line of JSON per question on its standard input, one per answer on its standard output:

    {"id": 1, "method": "sign_digest", "address": "0x…", "digest": "0x…"}
    {"id": 1, "signature": "0x…"}        r ‖ s or r ‖ s ‖ v, in either half of the curve
    {"id": 1, "error": "the device is locked"}

The program is started at the first question and kept; one that ends after an answer is started again for the
next question. One that does not answer in time is killed with all it started. Whatever it answers is believed
only if the signature recovers to the address that the settings name.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, Any, Final

from usufruct_protocol.errors import InputRejected, Transient
from usufruct_protocol.signing import CURVE_ORDER, HALF_CURVE_ORDER, checksum_address, recover

_log = logging.getLogger(__name__)

_MAX_ANSWER_BYTES: Final = 16_384
_PAUSE_AFTER_FAILURE_S: Final = 1.0


class SignerFailed(Transient):
    """The signer command did not give a signature of its address."""

    code = "signer_failed"


class _Ended(Exception):
    """The program ended without a word."""


class ExternalSigner:
    """Signs by asking a command, one question at a time; threads take turns.

    command:    program and arguments, run without a shell in a session of its own
    address:    whose signatures it must give, 20 bytes
    timeout_s:  how long one signature may take, waiting for other threads included
    on_failure: called whenever it gives none
    """

    def __init__(
        self,
        command: Sequence[str],
        address: bytes,
        timeout_s: float,
        on_failure: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = list(command)
        self._address = address
        self._timeout_s = timeout_s
        self._on_failure = on_failure or (lambda: None)
        self._clock = clock
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._questions = 0
        self._failed_until = 0.0
        self._last_failure = ""

    @property
    def address(self) -> bytes:
        """The account, 20 bytes."""
        return self._address

    def __repr__(self) -> str:
        return f"ExternalSigner({checksum_address(self._address)}, {self._command[0]!r})"

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes; returns r ‖ s ‖ v (65 bytes), s in the lower half.

        Raises: SignerFailed (a Transient) when the command cannot be run, does not answer in time, or answers
        anything but a signature of its address; for a moment after that it is not asked again.
        """
        if len(digest) != 32:
            raise InputRejected(f"digest must be 32 bytes, got {len(digest)}")
        deadline = self._clock() + self._timeout_s
        if not self._turn.acquire(timeout=self._timeout_s):
            raise SignerFailed(f"{self}: others are waiting for it", hint="is the signer command slow?")
        try:
            if self._clock() < self._failed_until:
                raise SignerFailed(f"{self} failed a moment ago: {self._last_failure}")
            try:
                return self._checked(digest, self._ask(digest, deadline))
            except SignerFailed as error:
                self._end()
                self._on_failure()
                self._last_failure = str(error)
                self._failed_until = self._clock() + _PAUSE_AFTER_FAILURE_S
                raise
        finally:
            self._turn.release()

    def close(self) -> None:
        """End the program; nobody waits for an answer of it now."""
        with self._turn:
            self._end()

    def _ask(self, digest: bytes, deadline: float) -> dict[str, Any]:
        is_first_question = self._process is None
        try:
            return self._ask_once(digest, deadline)
        except _Ended:
            # One that lives for a single answer may have ended between its answer and this question.
            if not is_first_question:
                with contextlib.suppress(_Ended):
                    return self._ask_once(digest, deadline)
        raise SignerFailed(f"{self} ended without an answer", hint="run it by hand; see runbook#keys")

    def _ask_once(self, digest: bytes, deadline: float) -> dict[str, Any]:
        """Put the question and read its answer. Raises: _Ended if the program is gone before a full line."""
        process = self._running()
        if process.stdin is None or process.stdout is None:
            raise SignerFailed(f"{self} has no pipes")
        self._questions += 1
        question = {
            "id": self._questions,
            "method": "sign_digest",
            "address": checksum_address(self._address),
            "digest": "0x" + digest.hex(),
        }
        try:
            process.stdin.write(json.dumps(question).encode("ascii") + b"\n")
            process.stdin.flush()
        except OSError as error:
            self._end()
            raise _Ended from error
        return self._parsed(self._line(process.stdout, deadline), self._questions)

    def _line(self, output: IO[bytes], deadline: float) -> bytes:
        parts = b""
        while not parts.endswith(b"\n"):
            left_s = deadline - self._clock()
            if left_s <= 0 or not _is_readable_within(output, left_s):
                raise SignerFailed(
                    f"{self} did not answer within {self._timeout_s:g} s and was killed",
                    hint="is the device plugged in and unlocked? signer_timeout_seconds sets the limit",
                )
            part = os.read(output.fileno(), _MAX_ANSWER_BYTES)
            if not part:
                self._end()
                raise _Ended
            parts += part
            if len(parts) > _MAX_ANSWER_BYTES:
                raise SignerFailed(f"{self} answered more than {_MAX_ANSWER_BYTES} bytes")
        return parts

    def _parsed(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or answer.get("id") != number:
            raise SignerFailed(f"{self} did not answer question {number} with one line of JSON")
        return answer

    def _checked(self, digest: bytes, answer: dict[str, Any]) -> bytes:
        """Return the signature in the form that contracts take, if it is one of this address."""
        if "error" in answer:
            reason = "".join(filter(str.isprintable, str(answer["error"])))[:200]
            raise SignerFailed(f"{self} refused: {reason}")
        text = answer.get("signature")
        try:
            given = bytes.fromhex(text.removeprefix("0x")) if isinstance(text, str) else b""
        except ValueError:
            given = b""
        if len(given) not in (64, 65):
            raise SignerFailed(f"{self} answered no signature of 64 or 65 bytes")
        s = int.from_bytes(given[32:64], "big")
        low_s = CURVE_ORDER - s if HALF_CURVE_ORDER < s < CURVE_ORDER else s
        for v in (27, 28):
            signature = given[:32] + low_s.to_bytes(32, "big") + bytes((v,))
            with contextlib.suppress(InputRejected):
                if recover(digest, signature) == self._address:
                    return signature
        raise SignerFailed(
            f"{self} gave a signature that is not of {checksum_address(self._address)}",
            hint="is signer_address that of its key? it must sign the digest as it is",
        )

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            try:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,
                    bufsize=0,
                )
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                raise SignerFailed(f"{self} cannot be run: {reason}", hint="check signer_command") from error
            _log.info("started %s", self)
        return self._process

    def _end(self) -> None:
        """Kill the program with all it started; the next question starts it anew."""
        process, self._process = self._process, None
        if process is None:
            return
        # Before the leader is waited for: until then nobody else can have its number.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _is_readable_within(pipe: IO[bytes], seconds: float) -> bool:
    # Not select.select, which knows no file numbers above 1,023: a node has that many connections.
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(max(1, int(seconds * 1000))))
