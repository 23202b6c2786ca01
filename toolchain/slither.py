"""Static analysis of all contracts: `python -m toolchain.slither`.

Every finding needs an answer: a row `| detector | where | answer |` in docs/security.md, where *where* is
`everywhere` or a list of `Contract.function`. A finding without a row fails, and so does a row without a
finding, so that the page stays true.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from toolchain.solc import COMPILER, ROOT

SLITHER = ROOT / ".venv-analysis" / "bin" / "slither"
ANSWERS = ROOT / "docs" / "security.md"
# Left out with a reason: docs/security.md, "Not asked".
EXCLUDED = ("assembly", "cyclomatic-complexity", "naming-convention", "timestamp", "unimplemented-functions")
EVERYWHERE = "everywhere"
_ROW = re.compile(r"^\| ([a-z0-9-]+) \| (.+?) \| .+ \|$")

Finding = tuple[str, str]


def main() -> int:
    found = findings()
    answered = answers(ANSWERS.read_text(encoding="utf-8"))
    detectors = {detector for detector, where in answered if where == EVERYWHERE}
    missing = sorted(one for one in found if one not in answered and one[0] not in detectors)
    seen = {detector for detector, _ in found}
    stale = sorted(
        (detector, where)
        for detector, where in answered
        if (detector not in seen if where == EVERYWHERE else (detector, where) not in found)
    )
    for detector, where in missing:
        print(
            f"{detector} at {where}: change it, or answer it in {ANSWERS.relative_to(ROOT)}", file=sys.stderr
        )
    for detector, where in stale:
        print(f"{detector} at {where}: answered, but not found any more", file=sys.stderr)
    print(f"{len(found)} findings, {len(missing)} without an answer")
    return 1 if missing or stale else 0


def findings() -> set[Finding]:
    """What slither has to say, as (detector, Contract.function)."""
    with tempfile.TemporaryDirectory(prefix="slither-") as folder:
        everything = ROOT / "build" / "AllContracts.sol"
        everything.parent.mkdir(exist_ok=True)
        everything.write_text(source_of_all(), encoding="utf-8")
        result = Path(folder) / "findings.json"
        command = [
            *(str(SLITHER), "build/AllContracts.sol", "--compile-force-framework", "solc"),
            *("--solc", str(COMPILER), "--solc-args", "--via-ir --base-path . --allow-paths ."),
            *("--solc-remaps", "@openzeppelin=node_modules/@openzeppelin"),
            *("--filter-paths", "node_modules|contracts/test", "--exclude", ",".join(EXCLUDED)),
            *("--json", str(result)),
        ]
        ran = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
        if not result.exists():
            raise SystemExit(f"slither did not finish:\n{ran.stderr[-3000:]}")
        content = json.loads(result.read_text(encoding="utf-8"))
    if not content["success"]:
        raise SystemExit(f"slither did not finish: {content['error']}")
    return {(one["check"], place(one["elements"][0])) for one in content["results"].get("detectors", [])}


def source_of_all() -> str:
    """One source that imports every contract, so that each file is compiled once."""
    paths = sorted((ROOT / "contracts").glob("*.sol"))
    imports = [f'import "{path.relative_to(ROOT).as_posix()}";' for path in paths]
    return "\n".join(["// SPDX-License-Identifier: Apache-2.0", "pragma solidity 0.8.28;", *imports, ""])


def place(element: dict[str, Any]) -> str:
    """`Contract.function`, whatever within the function it is about."""
    while element["type"] not in ("function", "contract"):
        parent = element["type_specific_fields"]["parent"]
        if parent["type"] == "contract":
            return f"{parent['name']}.{element['name']}"
        element = parent
    if element["type"] == "contract":
        return str(element["name"])
    return f"{element['type_specific_fields']['parent']['name']}.{element['name']}"


def answers(text: str) -> set[Finding]:
    """The rows of the page's own section, one for each place that they name."""
    section = text.split("## Static analysis", 1)[1].split("\n## ", 1)[0]
    rows = (_ROW.match(line) for line in section.splitlines())
    return {
        (row[1], where.strip("` "))
        for row in rows
        if row and row[1] != "detector"
        for where in row[2].split(",")
    }


if __name__ == "__main__":
    sys.exit(main())
