"""List the faults that can be put into a contract, as JSON: `python patches.py CONTRACT.sol --solc SOLC ...`.

Runs in .venv-analysis, from the root of the sources. The operators are slither-mutate's: a statement replaced
by a revert or commented out, operators of comparison, logic, bits and arithmetic exchanged, a literal moved,
a condition inverted, an initialization dropped. Those that rewrite a whole contract at once (FHR) are left
out. Nothing is tested here, and nothing is written.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from slither import Slither  # type: ignore[import-not-found]  # only in .venv-analysis
from slither.tools.mutator.mutators import all_mutators  # type: ignore[import-not-found]
from slither.tools.mutator.mutators.abstract_mutator import AbstractMutator  # type: ignore[import-not-found]


def main() -> None:
    parser = argparse.ArgumentParser(description="List the faults that can be put into a contract, as JSON.")
    parser.add_argument("source", type=Path)
    parser.add_argument("--solc", required=True)
    parser.add_argument("--remapping", action="append", default=[])
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    slither = Slither(
        str(given.source),
        solc=given.solc,
        solc_remaps=given.remapping,
        solc_args="--via-ir --base-path . --allow-paths .",
        compile_force_framework="solc",
    )
    (contract,) = slither.get_contract_from_name(given.source.stem)
    found = []
    mutators: list[Any] = [one for one in vars(all_mutators).values() if isinstance(one, type)]
    for mutator in mutators:
        if issubclass(mutator, AbstractMutator) and mutator.NAME not in ("", "FHR"):
            found += patches_of(mutator, contract)
    unique = {(fault["start"], fault["end"], fault["new"]): fault for fault in found}
    print(json.dumps([unique[key] for key in sorted(unique)]))


def patches_of(mutator: Any, contract: Any) -> list[dict[str, object]]:
    """The faults of one operator, within the contract's own file."""
    made = mutator(contract.compilation_unit, 0, "", "", contract, None, False, Path(), [], rate=100)
    listed = made._mutate().get("patches", {}).get(made.in_file, [])
    return [
        {
            "operator": made.NAME,
            "line": patch["line_number"],
            "start": patch["start"],
            "end": patch["end"],
            "old": patch["old_string"],
            "new": patch["new_string"],
        }
        for patch in listed
    ]


if __name__ == "__main__":
    main()
