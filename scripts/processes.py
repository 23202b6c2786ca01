"""Child processes that never outlive the script that started them, and say what went wrong when they die."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
from usufruct_protocol.errors import Transient

PR_SET_PDEATHSIG: Final = 1
STOP_TIMEOUT_S: Final = 10.0
SHOWN_LOG_BYTES: Final = 2_000


class Child:
    """One process with a log file of its own; use it in a `with` statement, or `stop` it.

    It gets a session of its own, so that Ctrl-C reaches this script alone, which then stops its children in
    order. If this script dies without doing so, Linux asks the child to end.
    """

    def __init__(
        self, name: str, command: Sequence[str], log_path: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._command = list(command)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start it. What it prints is appended to the log."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_end_with_parent(os.getpid()),
            )
        return self

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Ask it to end, and make it after a while. Stopping twice is fine."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._process = None

    def check(self) -> None:
        """Raise Transient with the end of its log if it has ended."""
        if not self.is_running:
            raise Transient(f"{self.name} has ended; its log says:\n{self.log_end()}")

    def log_end(self) -> str:
        """Return the last lines it printed."""
        data = self.log_path.read_bytes() if self.log_path.exists() else b""
        return data[-SHOWN_LOG_BYTES:].decode("utf-8", "replace")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float, pause_s: float = 0.1) -> None:
    """Wait until something is so. Raises: Transient naming it when the time is up."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise Transient(f"{what} did not happen within {timeout_s:g} s")
        time.sleep(pause_s)


def patiently(is_so: Callable[[], bool]) -> Callable[[], bool]:
    """Return the same question; where nobody answers just now, the answer is: not yet."""

    def is_known_to_be_so() -> bool:
        try:
            return is_so()
        except (Transient, httpx.TransportError):
            return False

    return is_known_to_be_so


def wait_until_healthy(child: Child, url: str, timeout_s: float) -> None:
    """Wait until a child answers 200 on `url`. Raises: Transient with the end of its log if it does not."""

    def answers() -> bool:
        child.check()
        try:
            return httpx.get(url, timeout=2.0, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, f"{child.name} answering at {url}", timeout_s)
    except Transient as error:
        raise Transient(f"{error}; its log says:\n{child.log_end()}") from error


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with_parent(parent: int) -> Callable[[], Any] | None:
    """What the child runs first: ask Linux to end it when the thread that started it ends."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the request was in place
            os._exit(1)

    return ask
