"""Provide the Solidity compiler: `python -m toolchain.solc`.

It ends up as `.cache/solcx/solc-v0.8.28`, where py-solc-x, Brownie and slither look for it
(SOLCX_BINARY_PATH). In this order: a native compiler of that version that the machine already has, the
native one that py-solc-x downloads, and the WebAssembly build out of node_modules behind a small launcher.
All three give the same bytes; the native ones are several times quicker.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import requests
from solcx.exceptions import SolcInstallationError
from solcx.install import BINARY_DOWNLOAD_BASE

from toolchain.node import node_and_npm

ROOT = Path(__file__).resolve().parent.parent
VERSION = "0.8.28"
BINARIES = ROOT / ".cache" / "solcx"
COMPILER = BINARIES / f"solc-v{VERSION}"
LAUNCHED_SCRIPT = ROOT / "toolchain" / "solc-wasm.js"
# Where there is no internet, fail within seconds: the WebAssembly build is at hand.
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 20
DOWNLOAD_TIMEOUT_S = 90

LAUNCHER = """\
#!/bin/sh
# Written by toolchain/solc.py: solc {version} as WebAssembly, behind the command line of the native compiler.
# --version is answered here, because py-solc-x asks for it before every compilation.
if [ "$#" -eq 1 ] && [ "$1" = --version ]; then
    printf '%s\\n' 'solc, the solidity compiler commandline interface' 'Version: {full_version}'
    exit 0
fi
exec {node} {script} "$@"
"""


def main() -> int:
    BINARIES.mkdir(parents=True, exist_ok=True)
    COMPILER.unlink(missing_ok=True)
    origin = link_installed() or download() or launch_wasm()
    print(f"solc {VERSION}: {origin}")
    return 0


def link_installed() -> str | None:
    """Link a native compiler of the wanted version that is already on this machine."""
    home = Path.home()
    candidates = [home / ".solcx" / COMPILER.name, home / ".svm" / VERSION / f"solc-{VERSION}"]
    on_path = shutil.which("solc")
    if on_path is not None:
        candidates.insert(0, Path(on_path))
    for candidate in candidates:
        if is_wanted(candidate):
            COMPILER.symlink_to(candidate.resolve())
            return f"installed, {candidate}"
    return None


def download() -> str | None:
    """Let py-solc-x download the native compiler and compare it with the publisher's digest."""
    try:
        digest = published_digest()
        # A process of its own, because py-solc-x sets no time limit.
        script = f"import solcx; solcx.install_solc({VERSION!r}, solcx_binary_path={str(BINARIES)!r})"
        command = [sys.executable, "-c", script]
        subprocess.run(command, check=True, capture_output=True, timeout=DOWNLOAD_TIMEOUT_S)
    except (OSError, ValueError, LookupError, SolcInstallationError, subprocess.SubprocessError) as error:
        print(f"solc {VERSION}: no native download ({type(error).__name__})", file=sys.stderr)
        COMPILER.unlink(missing_ok=True)
        return None
    if hashlib.sha256(COMPILER.read_bytes()).hexdigest() != digest:
        COMPILER.unlink()
        raise SystemExit(f"solc {VERSION}: the download does not have the published SHA-256 {digest}")
    return "native download" if is_wanted(COMPILER) else None


def published_digest() -> str:
    """SHA-256 of this machine's build of the wanted version, from the publisher's list."""
    system = {"linux": "linux", "darwin": "macosx"}.get(sys.platform)
    if system is None:
        raise SolcInstallationError(f"no native compiler for {sys.platform}")
    list_url = BINARY_DOWNLOAD_BASE.format(system, "list.json")
    answer = requests.get(list_url, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S))
    answer.raise_for_status()
    listing = answer.json()
    path = listing["releases"].get(VERSION)
    for build in listing["builds"]:
        if build["path"] == path:
            return str(build["sha256"]).removeprefix("0x")
    raise SolcInstallationError(f"solc {VERSION} is not in the publisher's list for {system}")


def launch_wasm() -> str:
    """Write the launcher of the WebAssembly build."""
    node, _ = node_and_npm()
    answer = subprocess.run([node, LAUNCHED_SCRIPT, "--version"], check=True, capture_output=True, text=True)
    full_version = version_in(answer.stdout)
    if full_version is None or not full_version.startswith(f"{VERSION}+"):
        raise SystemExit(f"node_modules holds solc {full_version}, not {VERSION}: run `npm ci`")
    text = LAUNCHER.format(
        version=VERSION,
        full_version=full_version,
        node=shlex.quote(str(node)),
        script=shlex.quote(str(LAUNCHED_SCRIPT)),
    )
    COMPILER.write_text(text, encoding="utf-8")
    COMPILER.chmod(0o755)
    return "WebAssembly build from npm"


def is_wanted(binary: Path) -> bool:
    """Whether the file starts on this machine and is the wanted version."""
    if not os.access(binary, os.X_OK):
        return False
    try:
        answer = subprocess.run(
            [binary, "--version"], check=False, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and (version_in(answer.stdout) or "").startswith(f"{VERSION}+")


def version_in(text: str) -> str | None:
    """The full version in the answer to --version: 0.8.28+commit.7893614a.Linux.g++."""
    found = re.search(r"Version: (\S+)", text)
    return found[1] if found else None


if __name__ == "__main__":
    sys.exit(main())
