"""Compile the contracts into the artifacts that ship: `python -m toolchain.compile [--check] [NAME ...]`.

Every contract in contracts/ itself and in contracts/test/ becomes one JSON file with ABI and bytecode in
protocol/usufruct_chain/artifacts/, test contracts in artifacts/test/; so do the contracts of OpenZeppelin that
are deployed as they are. Each source is compiled on its own, so
its bytecode depends on what it imports and on nothing else in the tree, and several compile at once.
Settings come from brownie-config.yaml. Output bytes are the same on every machine and with every build of
the compiler. A compiler warning in our own sources is a failure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

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
    """What one source file gave: artifact file contents by path below the artifacts folder, and warnings."""

    artifacts: dict[Path, bytes]
    warnings: list[str]


def main() -> int:
    parser = argparse.ArgumentParser(description="Compile the contracts into the artifacts that ship.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only the sources of these names")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if an artifact differs")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        sources = contract_sources(arguments.root, arguments.names)
        results = compile_all(arguments.root, sources)
    except CompilationFailed as error:
        print(error, file=sys.stderr)
        return 1
    artifacts = {path: text for result in results for path, text in result.artifacts.items()}
    whole_tree = not arguments.names
    folder = arguments.root / ARTIFACTS
    differences = compare(folder, artifacts, whole_tree)
    if arguments.check:
        for difference in differences:
            print(f"{ARTIFACTS / difference}: not what the sources compile to; run `make compile`", file=sys.stderr)
    else:
        write(folder, artifacts, differences)
        report(artifacts, differences)
    warnings = [warning for result in results for warning in result.warnings]
    for warning in sorted(set(warnings)):
        print(warning, file=sys.stderr)
    return 1 if warnings or (arguments.check and differences) else 0


def contract_sources(root: Path, names: list[str]) -> list[str]:
    """Source files that hold deployable contracts, as paths from the root, sorted."""
    folder = root / "contracts"
    found = sorted([*folder.glob("*.sol"), *folder.glob("test/**/*.sol")])
    candidates = [*(path.relative_to(root).as_posix() for path in found), *DEPLOYED_AS_IS]
    sources = [source for source in candidates if not names or Path(source).stem in names]
    missing = sorted(set(names) - {Path(source).stem for source in sources})
    if missing:
        raise CompilationFailed(f"no contracts/{missing[0]}.sol and no such file in contracts/test")
    return sources


def compile_all(root: Path, sources: list[str]) -> list[Compiled]:
    if not COMPILER.exists():
        raise CompilationFailed(f"no compiler at {COMPILER}: run `make compile`, which provides it")
    settings = compiler_settings(root)
    version = compiler_version()
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda source: compile_source(root, source, settings, version), sources))


def compiler_settings(root: Path) -> Json:
    """Standard-JSON settings out of brownie-config.yaml, without the output selection."""
    compiler = yaml.safe_load((root / "brownie-config.yaml").read_text(encoding="utf-8"))["compiler"]
    solc = compiler["solc"]
    if solc["version"] != VERSION:
        raise CompilationFailed(f"brownie-config.yaml asks for solc {solc['version']}, the project has {VERSION}")
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
    artifacts = {}
    for name, contract in output["contracts"][source].items():
        if contract["evm"]["bytecode"]["object"]:
            artifacts[artifact_folder(source) / f"{name}.json"] = artifact(source, name, contract, settings, version)
    return Compiled(artifacts, [problem["formattedMessage"] for problem in problems if is_ours(problem)])


def artifact_folder(source: str) -> Path:
    """Where a source's artifacts go, below the artifacts folder: as in contracts/, and packages at the top."""
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


def compare(folder: Path, artifacts: dict[Path, bytes], whole_tree: bool) -> list[Path]:
    """Artifacts that are missing, differ, or (when everything was compiled) have lost their source."""
    changed = {path for path, text in artifacts.items() if contents(folder / path) != text}
    if whole_tree:
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
        state = "written" if path in differences else "unchanged"
        print(f"{path.with_suffix('')!s:32} {code_bytes:6} bytes of code, {MAX_CODE_BYTES - code_bytes:6} left  {state}")
    for path in sorted(set(differences) - artifacts.keys()):
        print(f"{path.with_suffix('')!s:32} removed")


if __name__ == "__main__":
    sys.exit(main())
