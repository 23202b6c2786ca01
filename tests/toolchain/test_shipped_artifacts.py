"""The artifacts that ship are what the sources compile to, byte for byte.

What changed since contracts/artifacts.lock was written is compiled; `make nightly` compiles everything.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPOT_CHECKS = ("AccessManager", "ConsentLog")


def check(*arguments: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "toolchain.compile", "--check", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr


@pytest.mark.timeout(900)
def test_artifacts_are_what_the_sources_compile_to() -> None:
    check()


@pytest.mark.timeout(900)
def test_some_of_each_origin_are_compiled_whatever_the_lock_says() -> None:
    check(*SPOT_CHECKS)
