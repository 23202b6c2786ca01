"""Recorded calls through the same code as live ones: `make replay USAGE= PEOPLE= ATTRIBUTION=`.

Meters, nodes and contracts are those of the demo; chain time follows the trace, a day is an epoch. Without an
option that says otherwise the trace is replayed three times: as it is; with a node killed and a receipt that
reaches one node only, where every root must be the same; and with a late receipt, where every total must be.

Exit status: 0 if all sums and comparisons hold, 1 if one does not, 2 for files that cannot be used, 3 if
something did not answer in time.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from rich.console import Console
from rich.markup import escape
from usufruct_protocol.errors import Policy, UsufructError

from scripts.replay_files import Recorded, read_recorded, split_paths
from scripts.replay_report import (
    Comparison,
    RunReport,
    compare_roots,
    compare_totals,
    comparison_json,
    comparison_table,
    make_run_report,
)
from scripts.replay_run import Faults, check_plan, replaying
from scripts.tables import facts_table, progress_console, result_console, write_heading, write_json

BROKEN, BAD_FILES, TRY_AGAIN, INTERRUPTED = 1, 2, 3, 130
_EXIT: Final = {Policy.NEVER_RETRY: BAD_FILES, Policy.EXIT: BAD_FILES, Policy.RETRY: TRY_AGAIN}

PLAIN: Final = Faults()
KILLED: Final = Faults(kill=True, single_node=True)
LATE: Final = Faults(late=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """All runs of one invocation, and what was compared between them."""

    recorded: Recorded
    runs: tuple[RunReport, ...]
    comparisons: tuple[tuple[str, list[Comparison]], ...]

    @property
    def holds(self) -> bool:
        """Whether every sum and every comparison holds."""
        return all(run.holds for run in self.runs) and all(
            entry.is_equal for _, entries in self.comparisons for entry in entries
        )

    def print(self, console: Console) -> None:
        """Show the rules, the tables of every run and the comparisons."""
        write_heading(console, "Rules, stated and not observed")
        for rule in self.recorded.plan.rules:
            console.print(f"· {rule}", markup=False)
        write_heading(console, "Files")
        console.print(facts_table([(name, escape(value)) for name, value in self.recorded.facts()]))
        for run in self.runs:
            run.print(console)
        for title, entries in self.comparisons:
            write_heading(console, title)
            console.print(comparison_table(entries))
        console.print(
            "\n[bold green]everything holds[/]" if self.holds else "\n[bold red]NOT everything holds[/]"
        )

    def document(self) -> dict[str, Any]:
        """Return the same as one JSON document."""
        return {
            "holds": self.holds,
            "rules": list(self.recorded.plan.rules),
            "files": dict(self.recorded.facts()),
            "runs": [run.document() for run in self.runs],
            "comparisons": {title: comparison_json(entries) for title, entries in self.comparisons},
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay and return the exit status."""
    options = _options(arguments)
    progress = progress_console()
    logging.getLogger("usufruct_meter").setLevel(logging.ERROR)  # a killed node is no news here
    try:
        people = [path for text in options.people for path in split_paths(text)]
        recorded = read_recorded(options.usage, people, options.attribution, options.mapping)
        check_plan(recorded.plan)
        outcome = _replay(recorded, options, progress)
    except KeyboardInterrupt:
        progress.print("[yellow]stopped; everything it had started is stopped too[/]")
        return INTERRUPTED
    except UsufructError as error:
        progress.print(f"error: {error}", markup=False, soft_wrap=True)
        if error.hint:
            progress.print(f"hint: {error.hint}", markup=False, soft_wrap=True)
        return _EXIT.get(error.policy, BROKEN)
    outcome.print(result_console())
    if options.json is not None:
        write_json(options.json, outcome.document())
    return 0 if outcome.holds else BROKEN


def _replay(recorded: Recorded, options: argparse.Namespace, progress: Console) -> Outcome:
    chosen = Faults(options.kill, options.single_node_receipt, options.late_receipt)
    if options.plain or chosen != PLAIN:
        return Outcome(recorded, (_run(recorded, chosen, "replay", progress),), ())
    plain = _run(recorded, PLAIN, "as recorded", progress)
    killed = _run(recorded, KILLED, "node killed, receipt at one node", progress)
    late = _run(recorded, LATE, "late receipt", progress)
    return Outcome(
        recorded,
        (plain, killed, late),
        (
            ("Node killed, receipt at one node only: every root is the same", compare_roots(plain, killed)),
            ("Receipt after the cut-off: every total is the same", compare_totals(plain, late)),
        ),
    )


def _run(recorded: Recorded, faults: Faults, title: str, progress: Console) -> RunReport:
    started = time.monotonic()

    def say(text: str) -> None:
        progress.print(f"[dim]{time.monotonic() - started:5.1f} s[/]  {text}", soft_wrap=True)

    progress.print(f"[bold]{title}[/]")
    with (
        tempfile.TemporaryDirectory(prefix="usufruct-replay-") as folder,
        replaying(recorded.plan, faults, Path(folder), say) as replay,
    ):
        replay.play()
        return make_run_report(replay, title)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make replay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add: Callable[..., Any] = parser.add_argument
    add("--usage", type=Path, metavar="CSV", help="calls of models, one per row")
    add("--people", action="append", default=[], metavar="CSV", help="records and whose they are; several")
    add("--attribution", type=Path, metavar="CSV", help="records that retrieval calls used")
    add("--mapping", type=Path, metavar="TOML", help="which models and people make which license")
    add("--json", type=Path, metavar="FILE", help="write the same figures as one document")
    add("--plain", action="store_true", help="one run, nothing goes wrong")
    add("--kill", action="store_true", help="one run; a node is killed in the second epoch")
    faults = parser.add_mutually_exclusive_group()
    faults.add_argument(
        "--single-node-receipt", action="store_true", help="one run; a receipt reaches one node"
    )
    faults.add_argument("--late-receipt", action="store_true", help="one run; a receipt misses its cut-off")
    return parser.parse_args(arguments)


def _end(_signal: int, _frame: object) -> NoReturn:
    """Turn SIGTERM into the same orderly end as Ctrl-C."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
