"""Put faults into a contract, one at a time, and see whether the tests notice.

`python -m toolchain.mutation RoyaltySplitter --sample 150` compiles faulty copies outside the tree, points
the EVM tests at each and counts. A fault that does not compile, or compiles to the same code, is none. Which
ones a sample holds depends on the seed alone. The result is written to build/mutation/NAME.json; faults that
nobody noticed are printed as they would stand in the source.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from toolchain.compile import ARTIFACTS, attempt, compiler_settings, compiler_version
from toolchain.solc import COMPILER, ROOT

RESULTS: Final = ROOT / "build" / "mutation"
ANALYSIS_PYTHON: Final = ROOT / ".venv-analysis" / "bin" / "python"
EVM_TESTS: Final = "tests/contracts/evm"
TEST_TIMEOUT_S: Final = 900
INVALID, SAME, KILLED, SURVIVED = "does not compile", "same code", "killed", "survived"


@dataclass(frozen=True)
class Fault:
    """One change of a source: bytes start … end become `new`."""

    operator: str
    line: int
    start: int
    end: int
    old: str
    new: str

    def order(self, seed: int) -> bytes:
        """Where the fault stands in the shuffled list of a seed."""
        return hashlib.sha256(f"{seed} {self.start} {self.end} {self.new}".encode()).digest()


def main() -> int:
    given = parser().parse_args()
    worst = 0
    for name in given.contracts:
        faults = sorted(list_faults(name), key=lambda fault: fault.order(given.seed))
        chosen = faults[: given.sample] if given.sample else faults
        print(f"{name}: {len(chosen)} of {len(faults)} faults", flush=True)
        outcomes = run_all(name, chosen, given.tests or [EVM_TESTS], given.jobs)
        score = conclude(name, outcomes, len(faults))
        if score < given.goal:
            worst = 1
    return worst


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="mutation", description="Put faults into contracts and count those that the tests notice."
    )
    command.add_argument("contracts", nargs="+", metavar="CONTRACT", help="name of a contract in contracts/")
    command.add_argument("--sample", type=int, default=0, metavar="N", help="that many faults; 0 is all")
    command.add_argument("--seed", type=int, default=1, help="which ones a sample holds")
    command.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="faults tested side by side")
    command.add_argument(
        "--goal", type=float, default=85.0, metavar="PERCENT", help="exit 1 below this score"
    )
    command.add_argument("--tests", nargs="+", metavar="PATH", help=f"tests to run ({EVM_TESTS})")
    return command


def list_faults(name: str) -> list[Fault]:
    command = [
        *(str(ANALYSIS_PYTHON), str(Path(__file__).with_name("patches.py"))),
        *(f"contracts/{name}.sol", "--solc", str(COMPILER)),
        *("--remapping", "@openzeppelin=node_modules/@openzeppelin"),
    ]
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [Fault(**fields) for fields in json.loads(answer.stdout)]


def run_all(name: str, faults: list[Fault], tests: list[str], jobs: int) -> dict[Fault, str]:
    """What became of each fault. Several are compiled and tested at once."""
    outcomes: dict[Fault, str] = {}
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(outcome, name, fault, tests): fault for fault in faults}
        for done, future in enumerate(as_completed(waiting), start=1):
            fault = waiting[future]
            outcomes[fault] = future.result()
            print(
                f"{done:4}/{len(faults)} {fault.operator:4} line {fault.line:4} {outcomes[fault]}", flush=True
            )
    return outcomes


def outcome(name: str, fault: Fault, tests: list[str]) -> str:
    """Compile the contract with one fault and test it."""
    source = f"contracts/{name}.sol"
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        root = Path(folder)
        copy_sources(root)
        text = (root / source).read_bytes()
        (root / source).write_bytes(text[: fault.start] + fault.new.encode() + text[fault.end :])
        compiled = attempt(root, source, compiler_settings(root), compiler_version())
        if not compiled.artifacts:
            return INVALID
        ((_, artifact),) = compiled.artifacts.items()
        shipped = json.loads((ROOT / ARTIFACTS / f"{name}.json").read_bytes())
        if json.loads(artifact)["bytecode"] == shipped["bytecode"]:
            return SAME
        (root / f"{name}.json").write_bytes(artifact)
        return KILLED if is_noticed(root, tests) else SURVIVED


def copy_sources(root: Path) -> None:
    for path in (ROOT / "contracts").glob("**/*.sol"):
        target = root / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (root / "brownie-config.yaml").write_bytes((ROOT / "brownie-config.yaml").read_bytes())
    (root / "node_modules").symlink_to(ROOT / "node_modules")


def is_noticed(artifacts: Path, tests: list[str]) -> bool:
    """Whether a test fails. Any other end than success or a failed test is an error of this program's."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", *tests]
    settings = {**os.environ, "USUFRUCT_TEST_ARTIFACTS": str(artifacts), "HYPOTHESIS_PROFILE": "mutation"}
    try:
        ran = subprocess.run(
            command,
            cwd=ROOT,
            env=settings,
            capture_output=True,
            text=True,
            timeout=TEST_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True
    if ran.returncode not in (0, 1):
        raise RuntimeError(f"pytest ended with {ran.returncode}: {ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return ran.returncode == 1


def conclude(name: str, outcomes: dict[Fault, str], total: int) -> float:
    """Print and write the result; returns the score in percent of the faults that changed the code."""
    counts = Counter(outcomes.values())
    tested = counts[KILLED] + counts[SURVIVED]
    score = 100 * counts[KILLED] / tested if tested else 0.0
    for fault, ended in sorted(outcomes.items(), key=lambda item: item[0].start):
        if ended == SURVIVED:
            print(f"survived, line {fault.line} ({fault.operator}):\n  - {fault.old}\n  + {fault.new}")
    print(
        f"{name}: {counts[KILLED]} of {tested} noticed, {score:.1f} % "
        f"({counts[INVALID]} did not compile, {counts[SAME]} changed nothing)"
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {
        "contract": name,
        "faults": total,
        "score_percent": round(score, 1),
        "outcomes": [asdict(fault) | {"outcome": ended} for fault, ended in outcomes.items()],
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return score


if __name__ == "__main__":
    sys.exit(main())
