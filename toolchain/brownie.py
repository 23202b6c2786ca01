"""Run Brownie on this project: `python -m toolchain.brownie test tests/contracts/functional`.

Brownie keeps state in ~/.brownie and takes over any chain that already listens on its configured port.
Here every run has a home of its own, removed afterwards, and a dev chain on a free port, with the settings
of the network `anvil` in brownie-config.yaml; two runs at once do not meet.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
BROWNIE = ROOT / ".venv-brownie" / "bin" / "brownie"
CACHE = ROOT / ".cache"
NETWORK = "private-anvil"
COMMANDS_WITH_A_CHAIN = ("console", "run", "test")


def main(arguments: list[str]) -> int:
    if not BROWNIE.exists():
        print(f"no Brownie at {BROWNIE}: run `make setup-brownie`", file=sys.stderr)
        return 2
    (ROOT / "build").mkdir(exist_ok=True)
    CACHE.mkdir(exist_ok=True)
    # A console handles Ctrl-C itself; this process only waits for it.
    signal.signal(signal.SIGINT, lambda *_: None)
    with tempfile.TemporaryDirectory(prefix="brownie-home-", dir=CACHE) as home:
        write_networks(Path(home))
        return subprocess.run(command(arguments), cwd=ROOT, env=os.environ | {"HOME": home}).returncode


def command(arguments: list[str]) -> list[str]:
    """The command line, on the private chain unless the caller names a network.

    The network comes last: Brownie ignores a test path that stands behind it.
    """
    with_chain = bool(arguments) and arguments[0] in COMMANDS_WITH_A_CHAIN and "--network" not in arguments
    return [str(BROWNIE), *arguments, *(["--network", NETWORK] if with_chain else [])]


def write_networks(home: Path) -> None:
    """Declare the private network in a Brownie home."""
    project = yaml.safe_load((ROOT / "brownie-config.yaml").read_text(encoding="utf-8"))
    folder = home / ".brownie"
    folder.mkdir()
    text = yaml.safe_dump(networks(project["networks"]["anvil"]["cmd_settings"], free_port()))
    (folder / "network-config.yaml").write_text(text, encoding="utf-8")


def networks(settings: dict[str, Any], port: int) -> dict[str, Any]:
    """Brownie's network file with one development chain."""
    chain = {
        "name": "Anvil on a free port",
        "id": NETWORK,
        "cmd": "anvil",
        "host": "http://127.0.0.1",
        "timeout": 120,
        "cmd_settings": settings | {"port": port},
    }
    return {"live": [], "development": [chain]}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
