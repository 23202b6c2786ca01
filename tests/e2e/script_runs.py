"""Running a script as a user does, and looking for anything it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Finished:
    """A script that has ended: its exit status, what it printed, and its JSON document if it wrote one."""

    status: int
    printed: str
    document: dict[str, Any]


class ScriptRun:
    """A script with a temporary folder of its own, by which every process it starts can be recognized."""

    def __init__(self, module: str, folder: Path, *arguments: str, **environment: str) -> None:
        self.folder = folder
        self.log = folder / "printed.log"
        self._json = folder / "document.json"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, "--json", str(self._json), *arguments],
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_hear_ctrl_c,
            )

    def finish(self, timeout_s: float) -> Finished:
        """Wait for the end. The script is killed if it takes too long."""
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"no end after {timeout_s} s: {self.printed()[-2000:]}") from None
        document = json.loads(self._json.read_text(encoding="utf-8")) if self._json.exists() else {}
        return Finished(status, self.printed(), document)

    def wait_for(self, text: str, timeout_s: float) -> None:
        """Wait until the script has printed something."""
        deadline = time.monotonic() + timeout_s
        while text not in self.printed():
            assert self._process.poll() is None, self.printed()[-2000:]
            assert time.monotonic() < deadline, f"{text!r} was never printed: {self.printed()[-2000:]}"
            time.sleep(0.1)

    def send_signal(self, number: int) -> None:
        """Send a signal to the script alone, not to what it started."""
        self._process.send_signal(number)

    def printed(self) -> str:
        """Everything printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def left_running(self) -> list[str]:
        """Command lines of processes that carry this run's temporary folder in their environment."""
        mark = f"TMPDIR={self.folder}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue  # it ended, or is not ours
        return found

    def left_behind(self) -> list[str]:
        """Temporary files and folders that were not removed."""
        return [entry.name for entry in self.folder.iterdir() if entry not in (self.log, self._json)]


def _hear_ctrl_c() -> None:
    """As in a person's shell: what was started in the background of a script ignores SIGINT from birth."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
