"""A figure beside its goal. Nearly all are ratios of two measurements of one run, which say the same on any
machine; a few are absolute, where the goal is."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

RATIO = "×"


@dataclass(frozen=True)
class Figure:
    """`value` against `goal`; `better` says whether the goal is an upper or a lower bound.

    key:  names the figure in the results file, whatever its size was
    goal: None for a figure that only explains another one
    """

    key: str
    work: str
    against: str
    value: float
    goal: float | None
    better: str = "lower"
    unit: str = RATIO

    @property
    def is_met(self) -> bool:
        """Whether the goal is reached."""
        if self.goal is None:
            return True
        return self.value <= self.goal if self.better == "lower" else self.value >= self.goal

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """Work, what it is held against, value, goal and verdict, as text."""
        if self.goal is None:
            return self.work, self.against, self._number(self.value), "", ""
        bound = f"{'≤' if self.better == 'lower' else '≥'} {self.goal:g} {self.unit}"
        return self.work, self.against, self._number(self.value), bound, "met" if self.is_met else "MISSED"

    def _number(self, value: float) -> str:
        return f"{value:,.0f} {self.unit}" if value >= 100 else f"{value:.2f} {self.unit}"


HEADINGS = ("work", "floor or peer, in the same run", "measured", "goal", "")


def best_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the quickest of some runs: noise of a shared machine only ever adds."""
    times = []
    for _ in range(repeats):
        gc.collect()
        times.append(seconds(work))
    return min(times)


def seconds(work: Callable[[], object]) -> float:
    """Return how long one run takes."""
    started = perf_counter()
    work()
    return perf_counter() - started


def table(rows: Sequence[Figure]) -> str:
    """Lay figures out beside their goals."""
    lines = [HEADINGS, *(row.cells for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        f"{work:<{widths[0]}}  {against:<{widths[1]}}  {value:>{widths[2]}}  {goal:>{widths[3]}}  {verdict}"
        for work, against, value, goal, verdict in lines
    )
