"""A figure as a ratio of two measurements of one run, so that it says the same on any machine."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True)
class Ratio:
    """`value` against `goal`; `better` says whether the goal is an upper or a lower bound."""

    work: str
    against: str
    value: float
    goal: float
    better: str = "lower"

    @property
    def is_met(self) -> bool:
        """Whether the goal is reached."""
        return self.value <= self.goal if self.better == "lower" else self.value >= self.goal


def best_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the quickest of some runs: noise of a shared machine only ever adds."""
    times = []
    for _ in range(repeats):
        gc.collect()
        started = perf_counter()
        work()
        times.append(perf_counter() - started)
    return min(times)


def table(rows: list[Ratio]) -> str:
    """Lay ratios out beside their goals."""
    lines = [f"{'work':<52} {'against':<44} {'ratio':>8} {'goal':>9}"]
    for row in rows:
        sign = "<=" if row.better == "lower" else ">="
        mark = "" if row.is_met else "  MISSED"
        lines.append(f"{row.work:<52} {row.against:<44} {row.value:>7.2f}x {sign:>3} {row.goal:g}x{mark}")
    return "\n".join(lines)
