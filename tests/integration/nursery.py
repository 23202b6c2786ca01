"""Node processes that start in an instant, and that a test can make fail on purpose."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scripts.network import ROOT, die_with_parent

POLL_S = 0.005


class Nursery:
    """Launches nodes for a `Network` by forking a process that has imported everything.

    setup: by node, what is made to fail in it from its next start on: module of the tests -> arguments of its
           `install` function
    """

    def __init__(self) -> None:
        self.setup: dict[int, dict[str, dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.nursery_process"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent(os.getpid()),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the nursery end; nodes that still run die with it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10.0)
        self._process.stdout.close()

    def launch(self, index: int, config: Path, log: Path) -> ForkedNode:
        """Start a node."""
        start = {"config": str(config), "log": str(log), "setup": self.setup.get(index, {})}
        return ForkedNode(self, self.ask({"start": start})["pid"])

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Put one request to the nursery."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with self._lock:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            answer: dict[str, Any] = json.loads(stdout.readline())
        return answer


class ForkedNode:
    """One node process; looks like a `subprocess.Popen`."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self._nursery = nursery
        self._code: int | None = None

    def poll(self) -> int | None:
        """Exit code, or None while it runs."""
        if self._code is None:
            self._code = self._nursery.ask({"poll": self.pid})["code"]
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises: subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("a forked node", timeout or 0.0)
            time.sleep(POLL_S)
        return code

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self.poll() is None:  # its id is not reused before it is polled
            os.kill(self.pid, number)
