"""Compile the contracts into the artifacts that ship: `python -m toolchain.compile [--check] [NAME ...]`.

Every contract in contracts/ itself and in contracts/test/ becomes one JSON file with ABI and bytecode in
protocol/usufruct_chain/artifacts/, test contracts in artifacts/test/; so do the contracts of OpenZeppelin
that are deployed as they are. Each source is compiled on its own, so its bytecode depends on what it imports
and on nothing else in the tree, and several compile at once. Settings come from brownie-config.yaml. Output
bytes are the same on every machine and with every build of the compiler.

Sources that are named are compiled, else those that contracts/artifacts.lock does not know as they are now;
with --all, every one.
A source that fails stops no other; errors, and warnings about our own sources, make the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from toolchain.artifacts_lock import LOCK, entry, lock_text, read_lock
from toolchain.solc import COMPILER, ROOT, VERSION, version_in

ARTIFACTS = Path("protocol") / "usufruct_chain" / "artifacts"
DEPLOYED_AS_IS = ("node_modules/@openzeppelin/contracts/access/manager/AccessManager.sol",)
# EIP-170 and EIP-3860: what a chain accepts as the code of one contract, and as its creation code.
MAX_CODE_BYTES = 24_576
MAX_INIT_CODE_BYTES = 49_152

Json = dict[str, Any]


class CompilationFailed(Exception):
    """The sources do not compile as they are: the message is the compiler's report."""


@dataclass(frozen=True)
class Compiled:
    """What one source gave: artifact files by path below the artifacts folder, and what is wrong with it.

    reads: every file that the compiler read, as paths from the root
    """

    source: str
    reads: list[str] = field(default_factory=list)
    artifacts: dict[Path, bytes] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def main() -> int:
    arguments = command_line().parse_args()
    root, folder = arguments.root, arguments.root / ARTIFACTS
    try:
        sources = contract_sources(root, arguments.names)
        compiler = compiler_identity(root)
    except CompilationFailed as error:
        print(error, file=sys.stderr)
        return 1
    lock = read_lock(root)
    current = {
        source: each
        for source, each in lock.items()
        if source in sources and not arguments.all and not arguments.names
        if each.is_current(root, ARTIFACTS, compiler)
    }
    results = compile_all(root, [source for source in sources if source not in current], compiler)
    problems = sorted({problem for result in results for problem in result.problems})
    for problem in problems:
        print(problem, file=sys.stderr)
    artifacts = {
        Path(path): (folder / path).read_bytes() for each in current.values() for path in each.artifacts
    }
    artifacts |= {path: text for result in results for path, text in result.artifacts.items()}
    # Without all sources compiled, an artifact that none of them gave may still have its source.
    complete = not arguments.names and not problems
    differences = compare(folder, artifacts, complete)
    made = {
        result.source: entry(root, result.reads, compiler, result.artifacts)
        for result in results
        if not result.problems
    }
    known = lock_text((lock if arguments.names else {}) | current | made)
    if arguments.check:
        wrong = [f"{ARTIFACTS / path} is not what the sources compile to" for path in differences]
        if contents(root / LOCK) != known:
            wrong.append(f"{LOCK} is not about the sources as they are")
        for line in wrong:
            print(f"{line}: `make compile`", file=sys.stderr)
        return 1 if problems or wrong else 0
    write(folder, artifacts, differences)
    (root / LOCK).write_bytes(known)
    report(artifacts, differences)
    return 1 if problems else 0


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compile the contracts into the artifacts that ship.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only the sources of these names")
    parser.add_argument("--all", action="store_true", help="compile what has not changed, too")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if an artifact differs")
    parser.add_argument("--root", type=Path, default=ROOT, help="project to compile, this one by default")
    return parser


def contract_sources(root: Path, names: list[str]) -> list[str]:
    """Source files that hold deployable contracts, as paths from the root, sorted."""
    folder = root / "contracts"
    found = sorted([*folder.glob("*.sol"), *folder.glob("test/**/*.sol")])
    candidates = [*(path.relative_to(root).as_posix() for path in found), *DEPLOYED_AS_IS]
    sources = [source for source in candidates if not names or Path(source).stem in names]
    missing = sorted(set(names) - {Path(source).stem for source in sources})
    if missing:
        raise CompilationFailed(f"no source {missing[0]}.sol in contracts/ or contracts/test/")
    return sources


def compiler_identity(root: Path) -> Json:
    """What makes a compiler another one: version and settings. Raises: CompilationFailed without one."""
    if not COMPILER.exists():
        raise CompilationFailed(f"no compiler at {COMPILER}: run `make compile`, which provides it")
    return {"version": compiler_version(), "settings": compiler_settings(root)}


def compile_all(root: Path, sources: list[str], compiler: Json) -> list[Compiled]:
    settings, version = compiler["settings"], compiler["version"]
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda source: attempt(root, source, settings, version), sources))


def attempt(root: Path, source: str, settings: Json, version: str) -> Compiled:
    """Compile one source; a failure is part of the result, so that the others are compiled all the same."""
    try:
        return compile_source(root, source, settings, version)
    except CompilationFailed as error:
        return Compiled(source, problems=[str(error)])


def compiler_settings(root: Path) -> Json:
    """Standard-JSON settings out of brownie-config.yaml, without the output selection."""
    compiler = yaml.safe_load((root / "brownie-config.yaml").read_text(encoding="utf-8"))["compiler"]
    solc = compiler["solc"]
    if solc["version"] != VERSION:
        raise CompilationFailed(f"brownie-config.yaml asks for solc {solc['version']}, not for {VERSION}")
    return {
        "evmVersion": compiler["evm_version"],
        # No hash of sources and no compiler version in the code: the same bytes from every tool.
        "metadata": {"appendCBOR": False, "bytecodeHash": "none"},
        "optimizer": solc["optimizer"],
        "remappings": solc["remappings"],
        "viaIR": solc["viaIR"],
    }


def compiler_version() -> str:
    """Version and commit, without the platform the compiler was built for."""
    answer = subprocess.run([COMPILER, "--version"], check=True, capture_output=True, text=True)
    version = version_in(answer.stdout)
    if version is None:
        raise CompilationFailed(f"{COMPILER} does not say its version")
    return ".".join(version.split(".")[:4])


def compile_source(root: Path, source: str, settings: Json, version: str) -> Compiled:
    """Compile one file, its imports read from the tree, and shape the artifacts of its contracts."""
    selection = ["abi", "evm.bytecode.object", "evm.bytecode.linkReferences", "evm.deployedBytecode.object"]
    request = {
        "language": "Solidity",
        "sources": {source: {"content": (root / source).read_text(encoding="utf-8")}},
        "settings": settings | {"outputSelection": {source: {"*": selection}}},
    }
    answer = subprocess.run(
        [COMPILER, "--standard-json", "--base-path", "."],
        cwd=root,
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise CompilationFailed(f"{source}: the compiler stopped: {answer.stderr.strip()}")
    output = json.loads(answer.stdout)
    problems = output.get("errors", [])
    if any(problem["severity"] == "error" for problem in problems):
        raise CompilationFailed("\n".join(problem["formattedMessage"] for problem in problems))
    artifacts = {
        artifact_folder(source) / f"{name}.json": artifact(source, name, contract, settings, version)
        for name, contract in output["contracts"][source].items()
        if contract["evm"]["bytecode"]["object"]  # interfaces and abstract contracts have none
    }
    warnings = [problem["formattedMessage"] for problem in problems if is_ours(problem)]
    return Compiled(source, sorted(output["sources"]), artifacts, warnings)


def artifact_folder(source: str) -> Path:
    """Where a source's artifacts go: as in contracts/, and those of packages at the top."""
    return Path() if source in DEPLOYED_AS_IS else Path(source).parent.relative_to("contracts")


def is_ours(problem: Json) -> bool:
    """Whether a warning is about the project's own sources; notes and other people's code pass."""
    file = problem.get("sourceLocation", {}).get("file", "")
    return problem["severity"] == "warning" and not file.startswith("node_modules/")


def artifact(source: str, name: str, contract: Json, settings: Json, version: str) -> bytes:
    """The bytes of one artifact file. Code is 0x-prefixed hex; immutables are zero in deployedBytecode."""
    evm = contract["evm"]
    if evm["bytecode"]["linkReferences"]:
        raise CompilationFailed(f"{source}: {name} needs an external library linked; make it internal")
    code_bytes = len(evm["deployedBytecode"]["object"]) // 2
    init_code_bytes = len(evm["bytecode"]["object"]) // 2
    if code_bytes > MAX_CODE_BYTES or init_code_bytes > MAX_INIT_CODE_BYTES:
        raise CompilationFailed(
            f"{source}: {name} is too large for a chain: {code_bytes} of {MAX_CODE_BYTES} bytes of code, "
            f"{init_code_bytes} of {MAX_INIT_CODE_BYTES} bytes of creation code"
        )
    content = {
        "contractName": name,
        "sourceName": source,
        "compiler": {"version": version, "settings": settings},
        "abi": contract["abi"],
        "bytecode": "0x" + evm["bytecode"]["object"],
        "deployedBytecode": "0x" + evm["deployedBytecode"]["object"],
    }
    return (json.dumps(content, indent=1, ensure_ascii=True) + "\n").encode("ascii")


def compare(folder: Path, artifacts: dict[Path, bytes], complete: bool) -> list[Path]:
    """Artifacts that are missing, differ, or (when all sources were compiled) have lost their source."""
    changed = {path for path, text in artifacts.items() if contents(folder / path) != text}
    if complete:
        present = {path.relative_to(folder) for path in folder.glob("**/*.json")}
        changed |= present - artifacts.keys()
    return sorted(changed)


def contents(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def write(folder: Path, artifacts: dict[Path, bytes], differences: list[Path]) -> None:
    for path in differences:
        target = folder / path
        if path in artifacts:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(artifacts[path])
        else:
            target.unlink()


def report(artifacts: dict[Path, bytes], differences: list[Path]) -> None:
    for path, text in sorted(artifacts.items()):
        code_bytes = (len(json.loads(text)["deployedBytecode"]) - 2) // 2
        left = MAX_CODE_BYTES - code_bytes
        state = "written" if path in differences else "unchanged"
        print(f"{path.with_suffix('')!s:32} {code_bytes:6} bytes of code, {left:6} left  {state}")
    for path in sorted(set(differences) - artifacts.keys()):
        print(f"{path.with_suffix('')!s:32} removed")


if __name__ == "__main__":
    sys.exit(main())
