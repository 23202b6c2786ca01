"""Gas stays where docs/gas.md says it is: of the money path, and of what happens around it.

Pins are in gas_pins.json. A change that moves a figure by more than 2 % either way updates them, and the
table, with `python -m benchmarks.gas`: a saving deserves to be kept as much as a loss to be noticed.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import gas, gas_scenes

PINS: dict[str, int] = json.loads((Path(__file__).parent / "gas_pins.json").read_text(encoding="utf-8"))
TABLE = Path(__file__).resolve().parents[2] / "docs" / "gas.md"
TOLERANCE_PERCENT = 2


@pytest.fixture(scope="module")
def figures() -> dict[str, int]:
    return gas.measure() | gas_scenes.measure()


def test_every_figure_is_pinned_and_described(figures: dict[str, int]) -> None:
    described = [goal.key for goal in gas.GOALS] + [row.key for row in gas_scenes.ROWS]
    assert set(figures) == set(PINS) == set(described)
    assert len(described) == len(PINS)


@pytest.mark.parametrize("key", sorted(PINS))
def test_gas_is_within_two_percent_of_its_pin(figures: dict[str, int], key: str) -> None:
    assert abs(figures[key] - PINS[key]) * 100 <= PINS[key] * TOLERANCE_PERCENT


@pytest.mark.parametrize(
    "goal", [goal for goal in gas.GOALS if goal.limit is not None], ids=lambda goal: goal.key
)
def test_gas_goals_of_the_design_are_met(figures: dict[str, int], goal: gas.Goal) -> None:
    assert goal.limit is not None
    assert figures[goal.key] <= goal.limit


def test_finalizing_costs_the_same_for_one_payee_and_for_half_a_million(figures: dict[str, int]) -> None:
    """What differs is call data: a larger count and total have fewer zero bytes."""
    assert abs(figures["finalize_1_line"] - figures["finalize_1_line_1_note"]) < 200


def test_the_published_tables_show_the_pinned_figures() -> None:
    published = TABLE.read_text(encoding="utf-8")
    assert gas.table(PINS) in published
    assert gas_scenes.table(PINS) in published
