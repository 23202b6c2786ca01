"""Prove the checks of tests/proofs for all inputs: `python -m toolchain.prove [HALMOS ARGUMENT ...]`.

forge compiles them with the project's compiler, halmos executes them symbolically, cvc5 decides what is left
(`toolchain.cvc5_int`). Proofs of libraries run without via-IR: they are about the source's arithmetic.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from toolchain.solc import COMPILER, ROOT

PROOFS = ROOT / "tests" / "proofs"
ANALYSIS = ROOT / ".venv-analysis" / "bin"
FORGE_FOLDERS = ROOT / "node_modules" / "@foundry-rs"
INTEGER_SOLVER = f"{ANALYSIS / 'python'} {ROOT / 'toolchain' / 'cvc5_int.py'}"


def main() -> int:
    folders = [str(folder) for folder in FORGE_FOLDERS.glob("forge-*/bin")]
    path = os.pathsep.join([*folders, os.environ["PATH"]])
    if shutil.which("forge", path=path) is None:
        print("prove: no forge: npm has it for Linux on x86-64; elsewhere install Foundry", file=sys.stderr)
        return 1
    settings = {**os.environ, "PATH": path, "FOUNDRY_SOLC": str(COMPILER), "FOUNDRY_OFFLINE": "true"}
    results = [
        subprocess.run([*halmos(), *solver, *sys.argv[1:]], cwd=PROOFS, env=settings, check=False).returncode
        for solver in (
            ("--match-contract", "^Money", "--solver-command", INTEGER_SOLVER),
            ("--match-contract", "^(?!Money)"),
        )
    ]
    return max(results)


def halmos() -> list[str]:
    """The command, without what depends on the proofs. No time limit: an unfinished proof is none."""
    return [
        str(ANALYSIS / "halmos"),
        *("--root", "."),
        *("--forge-build-out", os.path.relpath(ROOT / "build" / "proofs", PROOFS)),
        *("--loop", "16"),
        *("--solver-timeout-assertion", "0"),
    ]


if __name__ == "__main__":
    sys.exit(main())
