"""docs/benchmarks.md says what the results file says, of every row of the design, and names no machine."""

from __future__ import annotations

import re

from benchmarks.figure import Figure
from benchmarks.page import DESIGN_ROWS, PAGE, RESULTS, Circumstances, load, page


def test_the_page_is_what_the_results_file_gives() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(load())


def test_every_row_of_the_design_has_its_figures_and_no_other_is_recorded() -> None:
    assert sorted(load()) == sorted(key for keys in DESIGN_ROWS.values() for key in keys)


def test_each_row_of_the_design_has_a_goal() -> None:
    results = load()
    for title, keys in DESIGN_ROWS.items():
        assert any(results[key][0].goal is not None for key in keys), title


def test_the_results_name_the_machine_by_cores_memory_and_python_only() -> None:
    assert set(re.findall(r'"taken": \{([^}]*)\}', RESULTS.read_text(encoding="utf-8")))
    for _, taken in load().values():
        assert set(vars(taken)) == {"size", "load", "cores", "memory_gb", "python"}


def test_a_figure_on_the_wrong_side_of_its_goal_is_missed() -> None:
    assert Figure("a", "", "", 1.61, 1.6).cells[-1] == "MISSED"
    assert Figure("a", "", "", 1.6, 1.6).cells[-1] == "met"
    assert Figure("a", "", "", 19.9, 20, "higher").cells[-1] == "MISSED"
    assert Figure("a", "", "", 20, 20, "higher").cells[-1] == "met"
    assert Figure("a", "", "", 10**9, None).cells[-1] == ""


def test_a_busy_machine_shows_beside_its_figures() -> None:
    assert str(Circumstances("full", 0.4, 2, 24, "3.11.2")) == "full, quiet"
    assert str(Circumstances("full", 17.3, 2, 24, "3.11.2")) == "full, load 17.3"
