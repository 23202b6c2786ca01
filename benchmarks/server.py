"""Servers that benchmarks measure run in processes of their own, as in production."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

HOST = "127.0.0.1"
_START_S = 600.0


@dataclass(frozen=True)
class Server:
    """A process that listens."""

    url: str
    pid: int


@contextmanager
def serving(module: str, *arguments: object) -> Iterator[Server]:
    """Run `python -m MODULE serve ARGUMENT … PORT` until the block is left; it listens when the block begins.

    Raises: RuntimeError if it ends or does not listen within ten minutes.
    """
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", module, "serve", *map(str, arguments), str(port)]
    process = subprocess.Popen(command)
    try:
        _wait_for(process, port)
        yield Server(f"http://{HOST}:{port}", process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((HOST, port), timeout=1.0).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"{' '.join(map(str, process.args))} did not listen")  # type: ignore[arg-type]
