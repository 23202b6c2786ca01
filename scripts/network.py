"""A committee of node processes on loopback, for tests, demo and replay.

    network = Network(folder, keys)              # ports are chosen, URLs are known
    network.configure(rpc_url, deployment_file)  # once the contracts are there
    with network:
        network.start()
        ...
        network.kill(3)

Each node is a process with a folder, database and key of its own: `<folder>/node-<i>/node.json`, and its log
beside it. Nodes are in the order of their addresses, which is their order on chain.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import httpx
from usufruct_protocol.errors import ConfigInvalid, Transient
from usufruct_protocol.roster import Roster
from usufruct_protocol.signing import address_of, checksum_address

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
ROSTER_TIMEOUT_S = 30.0
BUSY = 503
POLL_S = 0.02
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast nodes work. Chain seconds for `grace_s` and `attempt_seconds`, real ones for the rest."""

    grace_s: int = 1
    finality_depth: int = 0
    attempt_seconds: int = 20
    stagger_seconds: float = 1.0
    poll_seconds: float = 0.1
    peer_timeout_seconds: float = 3.0
    keep_restricted_epochs: int = 1_000


class Process(Protocol):
    """What a network asks of a node's process; `subprocess.Popen` has it."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...
    def terminate(self) -> None: ...


Launcher = Callable[[int, Path, Path], Process]
"""Starts a node, given its number, its settings file and the file that its output is appended to."""


def launch(_index: int, config: Path, log: Path) -> Process:
    """Start a node as its operator would, except that it dies with this process."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "usufruct_oracle", "run", "--config", str(config)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(os.getpid()),
        )


class Network:
    """Node processes of one committee. Leaving the `with` block stops them all."""

    def __init__(
        self, folder: Path, keys: Sequence[bytes], pace: Pace | None = None, launcher: Launcher = launch
    ) -> None:
        """Choose a port per key. Keys may come in any order; node i is the i-th lowest address."""
        self.folder = folder
        self.keys = sorted(keys, key=address_of)
        self.pace = pace or Pace()
        self.ports = free_ports(len(self.keys))
        self._launcher = launcher
        self._processes: dict[int, Process] = {}
        self._client = httpx.Client(timeout=10.0, trust_env=False)

    @property
    def indexes(self) -> range:
        """The numbers of the nodes."""
        return range(len(self.keys))

    @property
    def urls(self) -> list[str]:
        """Base URL of each node, in the order of the committee."""
        return [f"http://{HOST}:{port}" for port in self.ports]

    def config_file(self, index: int) -> Path:
        """The settings of a node."""
        return self.folder / f"node-{index}" / "node.json"

    def log_file(self, index: int) -> Path:
        """What a node printed, over all its runs."""
        return self.folder / f"node-{index}" / "node.log"

    def database(self, index: int) -> Path:
        """A node's database."""
        return self.folder / f"node-{index}" / "node.sqlite"

    def configure(self, rpc_url: str, deployment_file: Path, **changes: Any) -> None:
        """Write every node's settings and key. `changes` are settings that differ from the network's pace."""
        peers = dict(zip(self.signers, self.urls, strict=True))
        for index, key in enumerate(self.keys):
            config = self.config_file(index)
            config.parent.mkdir(parents=True, exist_ok=True)
            key_file = config.with_name("signer.key")
            key_file.touch(mode=0o600)
            key_file.write_text(f"0x{key.hex()}\n", encoding="ascii")
            settings = {
                "rpc_url": rpc_url,
                "deployment": str(deployment_file.resolve()),
                "database": "node.sqlite",
                "key_file": key_file.name,
                "host": HOST,
                "port": self.ports[index],
                "peers": peers,
                "guards": None,  # a chain of one's own: its clock is moved, and there is nobody to ask
                **asdict(self.pace),
                **changes,
            }
            config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    @property
    def signers(self) -> list[str]:
        """Address of each node's signer as EIP-55 text."""
        return [checksum_address(address_of(key)) for key in self.keys]

    def change(self, index: int, **settings: Any) -> None:
        """Change some settings of a node, from its next start on."""
        config = self.config_file(index)
        content = json.loads(config.read_text(encoding="utf-8"))
        config.write_text(json.dumps({**content, **settings}, indent=2) + "\n", encoding="utf-8")

    def start(self, *indexes: int) -> None:
        """Start some nodes, or all that do not run, and wait until they serve.

        Raises: Transient with the end of the log if one does not come up.
        """
        wanted = [index for index in indexes or self.indexes if not self.is_running(index)]
        for index in wanted:
            self._processes[index] = self._launcher(index, self.config_file(index), self.log_file(index))
        for index in wanted:
            self._wait_until_serving(index)

    def is_running(self, index: int) -> bool:
        """Tell whether a node's process runs."""
        process = self._processes.get(index)
        return process is not None and process.poll() is None

    def exit_code(self, index: int) -> int | None:
        """Exit code of a node's last run; None while it runs or if it never did."""
        process = self._processes.get(index)
        return None if process is None else process.poll()

    def pid(self, index: int) -> int:
        """Process id of a running node."""
        return self._process(index).pid

    def kill(self, index: int) -> None:
        """Kill a node (SIGKILL): it gets no chance to tidy up."""
        self._processes[index].kill()
        self._processes[index].wait()

    def stop(self, *indexes: int) -> None:
        """Stop some nodes, or all that run, in an orderly way; one that takes too long is killed."""
        running = [index for index in indexes or self.indexes if self.is_running(index)]
        for index in running:
            self._processes[index].terminate()
        for index in running:
            try:
                self._processes[index].wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill(index)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._client.close()

    def put_roster(self, license_id: int, roster: Roster, nodes: Iterable[int] | None = None) -> None:
        """Send a roster, whose root is set on chain, to the running nodes (or to some).

        One that cannot take it just now is asked again. Raises: ConfigInvalid if one refuses it.
        """
        body = roster.to_bytes()
        for index in self.indexes if nodes is None else nodes:
            if self.is_running(index):
                url = f"{self.urls[index]}/v1/rosters/{license_id}"
                deadline = time.monotonic() + ROSTER_TIMEOUT_S
                while (answer := self._client.put(url, content=body)).status_code == BUSY:
                    if time.monotonic() > deadline:
                        break
                    time.sleep(POLL_S)
                if answer.status_code != 200:
                    raise ConfigInvalid(f"node {index} refused the roster: {answer.text}")

    def get(self, index: int, path: str) -> httpx.Response:
        """Ask a node something."""
        return self._client.get(self.urls[index] + path)

    def status(self, index: int) -> dict[str, Any]:
        """What a running node says of itself."""
        content: dict[str, Any] = self.get(index, "/v1/status").json()
        return content

    def has_frozen(self, index: int, epoch: int) -> bool:
        """Tell whether a node has frozen an epoch: what it gets from then on is counted in the next one."""
        return self.get(index, f"/v1/epochs/{epoch}/frozen").status_code == 200

    def wait_until(self, what: str, is_true: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Wait for a condition. Raises: Transient saying what did not happen, with each node's last words."""
        deadline = time.monotonic() + timeout_s
        while not is_true():
            if time.monotonic() > deadline:
                tails = "\n".join(f"node {index}: {self._last_words(index)}" for index in self.indexes)
                raise Transient(f"{what}: not within {timeout_s:g} s\n{tails}")
            time.sleep(POLL_S)

    def _wait_until_serving(self, index: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.is_running(index):
            try:
                self.get(index, "/health")
            except httpx.TransportError:
                time.sleep(POLL_S)
            else:
                return
        raise Transient(f"node {index} did not come up: {self._last_words(index)}")

    def _last_words(self, index: int) -> str:
        log = self.log_file(index)
        return log.read_text(encoding="utf-8", errors="replace")[-1500:] if log.exists() else "nothing"

    def _process(self, index: int) -> Process:
        if not self.is_running(index):
            raise ConfigInvalid(f"node {index} does not run")
        return self._processes[index]


def free_ports(count: int) -> list[int]:
    """Return different ports that are free now; all are held until the last is chosen."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def die_with_parent(parent: int) -> Callable[[], None] | None:
    """What a child runs before it becomes a node: ask Linux to kill it when its parent dies."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask
