"""Print every benchmark beside its goal: `make bench`; `make bench-record` also writes docs/benchmarks.md."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from dataclasses import asdict

from benchmarks import gas, page
from benchmarks.figure import Figure, table
from benchmarks.size import FULL, QUICK

MODULES = ("protocol", "intake", "meter", "proofs", "epoch")


def main() -> int:
    """Run the benchmarks that were asked for; exit 1 if a goal was missed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=(*MODULES, "gas"), action="append", help="run only these")
    parser.add_argument("--full", action="store_true", help="the sizes of the goals: an hour, 8 GB of memory")
    parser.add_argument("--record", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    arguments = parser.parse_args()
    size = FULL if arguments.full else QUICK
    wanted = arguments.only or [*MODULES, "gas"]
    rows: list[Figure] = []
    for name in MODULES:
        if name not in wanted:
            continue
        print(f"measuring {name} …", file=sys.stderr)
        taken = page.Circumstances.here(size.name)
        figures = importlib.import_module(f"benchmarks.{name}").run(size)
        if arguments.record:
            page.record(figures, taken)
        rows += figures
    used = gas.measure() if "gas" in wanted else {}
    missed = [row.work for row in rows if not row.is_met]
    missed += [goal.label for goal in gas.missed(used)] if used else []
    if arguments.json:
        print(json.dumps({"figures": [asdict(row) for row in rows], "gas": used, "missed": missed}, indent=2))
    else:
        tables = [table(rows) if rows else "", gas.table(used) if used else ""]
        print("\n\n".join(part for part in tables if part))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
