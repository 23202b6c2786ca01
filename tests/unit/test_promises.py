"""docs/INVARIANTS.md and the tests name each other: no promise and no numbered test stands alone."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "INVARIANTS.md").read_text()
NUMBERED_ROW = re.compile(r"^\| (\d\d) \|", re.MULTILINE)
TEST_NAME = re.compile(r"def test_inv((?:(?:_and)?_\d\d)+)_")


def numbers_in_test_names() -> set[str]:
    named = [part for path in (ROOT / "tests").rglob("*.py") for part in TEST_NAME.findall(path.read_text())]
    return {number for part in named for number in re.findall(r"\d\d", part)}


def test_every_built_promise_has_a_test_and_every_numbered_test_a_promise() -> None:
    built, later = PAGE.split("## Later")
    assert set(NUMBERED_ROW.findall(built)) == numbers_in_test_names() - set(NUMBERED_ROW.findall(later))


def test_numbers_are_complete_and_used_once() -> None:
    numbers = sorted(NUMBERED_ROW.findall(PAGE))
    assert numbers == [f"{number:02}" for number in range(1, len(numbers) + 1)]
