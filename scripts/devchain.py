"""A dev chain for tests, demo and replay: one anvil process that dies with whoever started it.

    with Anvil() as chain:
        w3 = connect(chain.rpc_url)

Without `block_time` the driver owns time: each transaction is mined at once, one second after the block
before, and only `set_next_timestamp` and `advance_to` make larger steps. Time never goes back. With
`block_time` the chain follows the clock of the machine: a block every so many seconds, and one for each
transaction at once unless `instant=False` makes transactions wait for the next block, as on a public chain.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from usufruct_chain.connection import close, connect
from usufruct_chain.rpc import Rpc, quantity
from usufruct_protocol.errors import ConfigInvalid, Transient
from usufruct_protocol.signing import address_of, checksum_address
from web3 import Web3

ROOT = Path(__file__).resolve().parent.parent
SHIPPED_ANVIL = ROOT / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"

DEFAULT_CHAIN_ID = 31337
BALANCE_WEI = 10_000 * 10**18
BLOCK_GAS_LIMIT = 30_000_000
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
PORT_TRIES = 3

TIE_AND_EXECUTE = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):  # the parent died before the request was in place
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def dev_key(number: int, purpose: str = "account") -> bytes:
    """Return a private key that everyone can compute: for dev chains only.

    The accounts of a chain are `dev_key(0)`, `dev_key(1)` …; another purpose gives other keys.
    """
    return sha256(f"usufruct dev key/{purpose}/{number}".encode()).digest()


class Anvil:
    """A running anvil; use it in a `with` statement.

    `accounts` keys are funded with 10,000 ether each; hundreds cost a few milliseconds. `timestamp` is the
    genesis time in seconds (now, when left out). `base_fee` 0 makes gas free of a base fee for good. The same
    arguments give the same chain, except for a chain that follows the clock.

    The process is killed when the thread that started it ends, however that happens. Its output goes to
    `log_path`, in a folder of its own that goes when it stops.
    Raises: ConfigInvalid when there is no anvil, Transient when it does not come up.
    """

    def __init__(
        self,
        *,
        block_time: int | None = None,
        instant: bool = True,
        timestamp: int | None = None,
        accounts: int = 10,
        chain_id: int = DEFAULT_CHAIN_ID,
        base_fee: int | None = None,
        hardfork: str = "cancun",
    ) -> None:
        self.keys = [dev_key(number) for number in range(accounts)]
        self.chain_id = chain_id
        self.rpc_url = ""
        self._block_time = block_time
        self._options = [
            "--chain-id",
            str(chain_id),
            "--hardfork",
            hardfork,
            "--gas-limit",
            str(BLOCK_GAS_LIMIT),
        ]
        # Without a genesis time anvil's first block says it is second 1 to the calls that read it.
        self._options += ["--timestamp", str(int(time.time()) if timestamp is None else timestamp)]
        self._options += ["--accounts", "1", "--silent", "--disable-default-create2-deployer"]
        if block_time is not None:
            self._options += ["--block-time", str(block_time), *(["--mixed-mining"] if instant else [])]
        if base_fee is not None:
            self._options += ["--base-fee", str(base_fee)]
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def addresses(self) -> list[str]:
        """The funded accounts as EIP-55 text, in the order of `keys`."""
        return [checksum_address(address_of(key)) for key in self.keys]

    @property
    def log_path(self) -> Path:
        """What anvil printed."""
        return Path(self._running_folder.name) / "anvil.log"

    @property
    def pid(self) -> int:
        """Process id of the running anvil."""
        if self._process is None:
            raise ConfigInvalid("this dev chain is not running", hint="use it in a `with` statement")
        return self._process.pid

    @cached_property
    def w3(self) -> Web3:
        """A connection to the chain."""
        return connect(self.rpc_url)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start it; `stop` must follow. A port that is taken between choosing and binding is chosen again."""
        binary = find_anvil()
        self._folder = tempfile.TemporaryDirectory(prefix="anvil-")
        for _ in range(PORT_TRIES):
            port = _free_port()
            self.rpc_url = f"http://127.0.0.1:{port}"
            own = ["--host", "127.0.0.1", "--port", str(port), "--cache-path", self._folder.name]
            with self.log_path.open("wb") as log:
                self._process = subprocess.Popen(
                    _tied_to_this_process([binary, *self._options, *own]),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            if self._answers():
                self._prepare()
                return self
        said = self.log_path.read_text(errors="replace")[-500:]
        self.stop()
        raise Transient(f"anvil did not come up: {said}")

    def stop(self) -> None:
        """Stop it and remove its folder. Stopping twice is fine."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if "w3" in self.__dict__:
            close(self.w3)
            del self.w3
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def rpc(self, method: str, *params: Any) -> Any:
        """Send one JSON-RPC request and return its result."""
        return Rpc(self.w3).request(method, *params)

    def now(self) -> int:
        """Return the time of the newest block, in seconds."""
        return quantity(self.rpc("eth_getBlockByNumber", "latest", False)["timestamp"])

    def set_next_timestamp(self, timestamp_s: int) -> None:
        """Give the next block this time. Raises: Incompatible if it is not after the newest block's."""
        self.rpc("evm_setNextBlockTimestamp", timestamp_s)

    def advance_to(self, timestamp_s: int) -> None:
        """Mine one block of this time. Raises as `set_next_timestamp`."""
        self.set_next_timestamp(timestamp_s)
        self.mine()

    def mine(self, blocks: int = 1) -> None:
        """Mine empty blocks, or ones with what is pending."""
        self.rpc("anvil_mine", hex(blocks))

    def set_automine(self, on: bool) -> None:
        """Mine each transaction at once, or keep them pending until `mine`."""
        self.rpc("evm_setAutomine", on)

    def set_balance(self, addresses: list[str], wei: int = BALANCE_WEI) -> None:
        """Set how much each account has for gas."""
        Rpc(self.w3).batch([("anvil_setBalance", (address, hex(wei))) for address in addresses])

    def snapshot(self) -> str:
        """Remember the state; `revert` returns to it once."""
        return str(self.rpc("evm_snapshot"))

    def revert(self, snapshot: str) -> None:
        """Return to a snapshot. Raises: ConfigInvalid if it was used or never taken."""
        if not self.rpc("evm_revert", snapshot):
            raise ConfigInvalid(f"no snapshot {snapshot}: each can be returned to once")

    @property
    def _running_folder(self) -> tempfile.TemporaryDirectory[str]:
        if self._folder is None:
            raise ConfigInvalid("this dev chain is not running", hint="use it in a `with` statement")
        return self._folder

    def _answers(self) -> bool:
        """Wait until it takes connections; False if the process ended instead."""
        assert self._process is not None
        port = int(self.rpc_url.rsplit(":", 1)[1])
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            except OSError:
                time.sleep(0.01)
            else:
                return self._process.poll() is None
        return False

    def _prepare(self) -> None:
        if self._block_time is None:
            self.rpc("anvil_setBlockTimestampInterval", 1)
        self.set_balance(self.addresses)


def find_anvil() -> str:
    """Return the anvil to run: the one `make setup` installs, else the machine's. Raises: ConfigInvalid."""
    if SHIPPED_ANVIL.exists():
        return str(SHIPPED_ANVIL)
    found = shutil.which("anvil")
    if found is None:
        raise ConfigInvalid(
            f"no anvil at {SHIPPED_ANVIL} and none on PATH",
            hint="run `make setup`; on other machines than 64-bit Intel Linux install Foundry",
        )
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tied_to_this_process(command: list[str]) -> list[str]:
    """The command behind a short program that first asks Linux to kill it with its parent.

    A program of its own, since code between fork and exec is not safe in a process with threads.
    """
    if not sys.platform.startswith("linux"):
        return command
    return [sys.executable, "-I", "-S", "-c", TIE_AND_EXECUTE, str(os.getpid()), *command]
