"""The compiler is found in the promised order, and the WebAssembly one behaves like the native one."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from toolchain import solc
from toolchain.node import node_and_npm

ROOT = Path(__file__).resolve().parents[2]
WASM = ROOT / "toolchain" / "solc-wasm.js"
LIBRARY = """\
// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;
library Two { uint8 constant TWO = 2; }
"""
TOKEN = """\
// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.28;
import {Two} from "%s";
contract Token { function decimals() external pure returns (uint8) { return Two.TWO; } }
"""


def run_wasm(folder: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    node, _ = node_and_npm()
    command = [str(node), str(WASM), *arguments]
    return subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, check=False)


def standard_input(source: str, **settings: Any) -> str:
    selection = {"outputSelection": {"*": {"*": ["evm.bytecode.object"]}}}
    sources = {"src/Token.sol": {"content": source}}
    return json.dumps({"language": "Solidity", "sources": sources, "settings": selection | settings})


def messages(answer: subprocess.CompletedProcess[str]) -> str:
    assert answer.returncode == 0, answer.stderr
    return " ".join(problem["message"] for problem in json.loads(answer.stdout).get("errors", []))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a source that imports another one, and a file next to the project."""
    root = tmp_path / "project"
    for folder in (root / "src", root / "packages" / "two", tmp_path / "outside"):
        folder.mkdir(parents=True)
        (folder / "Two.sol").write_text(LIBRARY)
    (root / "src" / "Token.sol").write_text(TOKEN % "./Two.sol")
    return root


def test_wasm_says_its_version_like_the_native_compiler(tmp_path: Path) -> None:
    answer = run_wasm(tmp_path, "--version")
    assert (solc.version_in(answer.stdout) or "").startswith("0.8.28+commit.7893614a")


def test_wasm_reads_imports_below_the_base_path(project: Path) -> None:
    answer = run_wasm(project, "--standard-json", text=standard_input(TOKEN % "./Two.sol"))
    assert messages(answer) == ""
    assert json.loads(answer.stdout)["contracts"]["src/Token.sol"]["Token"]["evm"]["bytecode"]["object"]


def test_wasm_takes_its_input_from_a_file_too(project: Path) -> None:
    (project / "input.json").write_text(standard_input(TOKEN % "./Two.sol"))
    assert messages(run_wasm(project, "--standard-json", "input.json")) == ""


def test_wasm_reads_remapped_imports(project: Path) -> None:
    text = standard_input(TOKEN % "@two/Two.sol", remappings=["@two=packages/two"])
    assert messages(run_wasm(project, "--standard-json", "-", text=text)) == ""


def test_wasm_refuses_imports_outside_of_the_allowed_folders(project: Path) -> None:
    outside = project.parent / "outside"
    text = standard_input(TOKEN % (outside / "Two.sol"))
    assert "File outside of allowed directories" in messages(run_wasm(project, "--standard-json", text=text))
    answer = run_wasm(project, "--standard-json", "--allow-paths", str(outside), text=text)
    assert messages(answer) == ""


def test_wasm_refuses_a_link_out_of_the_project(project: Path) -> None:
    (project / "src" / "Link.sol").symlink_to(project.parent / "outside" / "Two.sol")
    text = standard_input(TOKEN % "./Link.sol")
    assert "File outside of allowed directories" in messages(run_wasm(project, "--standard-json", text=text))


def test_wasm_reports_an_import_that_two_folders_hold(project: Path) -> None:
    (project / "Two.sol").write_text(LIBRARY)
    text = standard_input(TOKEN % "Two.sol")
    found_twice = ["--standard-json", "--base-path", ".", "--include-path", "packages/two"]
    assert "Ambiguous import" in messages(run_wasm(project, *found_twice, text=text))


def test_wasm_reports_a_missing_import(project: Path) -> None:
    assert "File not found" in messages(
        run_wasm(project, "--standard-json", text=standard_input(TOKEN % "./No.sol"))
    )


def test_wasm_gives_combined_json(project: Path) -> None:
    fields = "abi,ast,bin,bin-runtime,srcmap,srcmap-runtime,userdoc,devdoc,hashes"
    answer = run_wasm(project, "src/Token.sol", "--combined-json", fields, "--optimize", "--via-ir")
    assert answer.returncode == 0, answer.stderr
    output = json.loads(answer.stdout)
    contract = output["contracts"]["src/Token.sol:Token"]
    assert contract["hashes"] == {"decimals()": "313ce567"}
    assert output["sourceList"] == ["src/Token.sol", "src/Two.sol"]
    assert output["sources"]["src/Two.sol"]["AST"]["nodeType"] == "SourceUnit"


def test_wasm_fails_on_a_broken_source_and_on_an_unknown_option(project: Path) -> None:
    (project / "src" / "Token.sol").write_text("contract {")
    broken = run_wasm(project, "src/Token.sol", "--combined-json", "abi")
    assert broken.returncode == 1
    assert "ParserError" in broken.stderr
    assert run_wasm(project, "--standard-json", "--bogus").returncode == 1


def test_wasm_writes_all_of_a_large_answer_into_a_pipe(project: Path) -> None:
    functions = "".join(
        f"function f{i}() external pure returns (uint256) {{ return {i}; }}" for i in range(1500)
    )
    source = (
        f"// SPDX-License-Identifier: Apache-2.0\npragma solidity 0.8.28;\ncontract Large {{ {functions} }}\n"
    )
    (project / "src" / "Large.sol").write_text(source)
    answer = run_wasm(project, "src/Large.sol", "--combined-json", "abi,ast")
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout) > 1_000_000
    assert len(json.loads(answer.stdout)["contracts"]["src/Large.sol:Large"]["abi"]) == 1500


def compiler_script(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'Version: {version}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any compiler; what is set up goes to `binaries`."""
    (tmp_path / "home").mkdir()
    (tmp_path / "binaries").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(solc, "BINARIES", tmp_path / "binaries")
    monkeypatch.setattr(solc, "COMPILER", tmp_path / "binaries" / "solc-v0.8.28")
    monkeypatch.setattr(solc.shutil, "which", lambda name: None)
    return tmp_path


def test_an_installed_native_compiler_comes_first(empty_machine: Path) -> None:
    native = compiler_script(empty_machine / "home/.solcx/solc-v0.8.28", "0.8.28+commit.7893614a.Linux.g++")
    origin = solc.link_installed()
    assert origin is not None
    assert str(native) in origin
    assert solc.COMPILER.resolve() == native


def test_another_version_on_the_machine_is_not_taken(
    empty_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = compiler_script(empty_machine / "bin/solc", "0.8.30+commit.73712a01.Linux.g++")
    monkeypatch.setattr(solc.shutil, "which", lambda name: str(other))
    assert solc.link_installed() is None
    assert not solc.COMPILER.exists()


def test_without_internet_there_is_no_download_and_no_failure(
    empty_machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise solc.requests.ConnectionError("name or service not known")

    monkeypatch.setattr(solc.requests, "get", unreachable)
    assert solc.download() is None
    assert "no native download" in capsys.readouterr().err


def test_a_download_without_the_published_digest_is_refused(
    empty_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deliver(*_: object, **__: object) -> None:
        compiler_script(solc.COMPILER, "0.8.28+commit.7893614a.Linux.g++")

    monkeypatch.setattr(solc, "published_digest", lambda: "00" * 32)
    monkeypatch.setattr(solc.subprocess, "run", deliver)
    with pytest.raises(SystemExit, match="published SHA-256"):
        solc.download()
    assert not solc.COMPILER.exists()


def test_a_download_with_the_published_digest_is_taken(
    empty_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original_run = subprocess.run

    def deliver(command: list[Any], **options: Any) -> subprocess.CompletedProcess[str]:
        if "-c" not in command:
            return original_run(command, **options)
        compiler_script(solc.COMPILER, "0.8.28+commit.7893614a.Linux.g++")
        return subprocess.CompletedProcess(command, 0)

    reference = compiler_script(empty_machine / "reference", "0.8.28+commit.7893614a.Linux.g++")
    digest = hashlib.sha256(reference.read_bytes()).hexdigest()
    monkeypatch.setattr(solc, "published_digest", lambda: digest)
    monkeypatch.setattr(solc.subprocess, "run", deliver)
    assert solc.download() == "native download"


def test_the_launcher_answers_and_compiles(
    empty_machine: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the launcher needs the machine's own node
    monkeypatch.setattr(solc, "COMPILER", empty_machine / "binaries" / "solc-v0.8.28")
    assert solc.launch_wasm() == "WebAssembly build from npm"
    assert solc.is_wanted(solc.COMPILER)
    answer = subprocess.run(
        [solc.COMPILER, "--standard-json"],
        cwd=project,
        input=standard_input(TOKEN % "./Two.sol"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert messages(answer) == ""
