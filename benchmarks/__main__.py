"""Print every benchmark: `make bench`. Ratios within this run, and gas, which is the same everywhere."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from dataclasses import asdict

from benchmarks import gas
from benchmarks.ratio import table

MODULES = ("protocol", "meter", "intake")


def main() -> int:
    """Run the benchmarks that were asked for; exit 1 if a goal was missed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=(*MODULES, "gas"), action="append", help="run only these")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    arguments = parser.parse_args()
    wanted = arguments.only or [*MODULES, "gas"]
    rows = []
    for name in MODULES:
        if name in wanted:
            print(f"measuring {name} …", file=sys.stderr)
            rows += importlib.import_module(f"benchmarks.{name}").run()
    figures = gas.measure() if "gas" in wanted else {}
    missed = [row.work for row in rows if not row.is_met]
    missed += [goal.label for goal in gas.missed(figures)] if figures else []
    if arguments.json:
        print(
            json.dumps({"ratios": [asdict(row) for row in rows], "gas": figures, "missed": missed}, indent=2)
        )
    else:
        print(
            "\n\n".join(
                part for part in (table(rows) if rows else "", gas.table(figures) if figures else "") if part
            )
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
