"""The artifacts that ship are what the sources compile to, byte for byte."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(900)
def test_artifacts_are_what_the_sources_compile_to() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "toolchain.compile", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
