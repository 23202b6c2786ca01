"""Build one locked Python environment: `python toolchain/environments.py FOLDER LOCK [--uv PATH]`.

Standard library only, because it runs before anything is installed. Packages are installed from a lock
with hashes, by uv where it works (seven times quicker) and by pip where it does not, for example behind a
mirror that only pip is configured for. The project itself is then installed in place, without its
dependencies, since the lock already holds them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOOTSTRAP_LOCK = ROOT / "requirements" / "bootstrap.lock"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="environment to create or to bring up to date")
    parser.add_argument("lock", type=Path, help="requirements file with hashes")
    parser.add_argument("--uv", type=Path, help="uv to use; by default it is installed into the environment")
    arguments = parser.parse_args()
    try:
        build_environment(arguments.folder.resolve(), arguments.lock.resolve(), arguments.uv)
    except subprocess.CalledProcessError as error:
        command = " ".join(str(part) for part in error.cmd)
        print(f"setup failed with exit code {error.returncode}: {command}", file=sys.stderr)
        return 1
    return 0


def build_environment(folder: Path, lock: Path, uv: Path | None = None) -> None:
    """Create `folder` if needed and install exactly what `lock` names, then this project in place."""
    python = folder / "bin" / "python"
    if not runs(python):
        venv.create(folder, clear=folder.exists(), symlinks=os.name == "posix", with_pip=True)
    if uv is None:
        run(python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", BOOTSTRAP_LOCK)
        uv = folder / "bin" / "uv"
    in_place = ("--no-deps", "--no-build-isolation", "-e", ROOT)
    if installs(uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", lock):
        run(uv, "pip", "install", "--quiet", "--python", python, *in_place)
        return
    print("uv could not install the packages; trying pip, which takes about a minute", file=sys.stderr)
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", lock)
    run(python, "-m", "pip", "install", "--quiet", *in_place)


def runs(python: Path) -> bool:
    """Whether the interpreter starts: it may be missing, or its base may have been uninstalled."""
    if not python.exists():
        return False
    return subprocess.run([python, "-c", "import pip"], check=False, capture_output=True).returncode == 0


def installs(*command: Path | str) -> bool:
    return subprocess.run(command, check=False, env=install_settings()).returncode == 0


def run(*command: Path | str) -> None:
    subprocess.run(command, check=True, env=install_settings())


def install_settings() -> dict[str, str]:
    """The caller's variables, without those of another active environment.

    uv is told to trust the authorities that the machine trusts, as pip does.
    """
    settings = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONHOME")}
    settings["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    settings.setdefault("UV_SYSTEM_CERTS", "true")
    return settings


if __name__ == "__main__":
    sys.exit(main())
