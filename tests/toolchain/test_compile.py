"""Artifacts: stable bytes, removed with their source, and refused where a chain would refuse them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from toolchain import compile as compiler

ROOT = Path(__file__).resolve().parents[2]
HEADER = "// SPDX-License-Identifier: Apache-2.0\npragma solidity 0.8.28;\n"
SHARED = HEADER + "library Shared { uint256 internal constant ANSWER = 42; }\n"
ANSWER = (
    HEADER
    + 'import {Shared} from "./libraries/Shared.sol";\n'
    + ("contract Answer { function answer() external pure returns (uint256) { return Shared.ANSWER; } }\n")
)
PROBE = HEADER + "contract Probe { uint256 public immutable AT = block.number; }\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one deployable contract, one test contract, a library and an interface."""
    for folder in ("contracts/libraries", "contracts/interfaces", "contracts/test"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "brownie-config.yaml", tmp_path)
    (tmp_path / "contracts/libraries/Shared.sol").write_text(SHARED)
    (tmp_path / "contracts/interfaces/IAnswer.sol").write_text(HEADER + "interface IAnswer {}\n")
    (tmp_path / "contracts/Answer.sol").write_text(ANSWER)
    (tmp_path / "contracts/test/Probe.sol").write_text(PROBE)
    return tmp_path


@pytest.fixture
def run(project: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(compiler, "DEPLOYED_AS_IS", ())
    return Runner(project, monkeypatch)


class Runner:
    """Calls the command on the project."""

    def __init__(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project = project
        self.artifacts = project / compiler.ARTIFACTS
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str) -> int:
        self._monkeypatch.setattr("sys.argv", ["compile", "--root", str(self.project), *arguments])
        return compiler.main()

    def files(self) -> dict[str, bytes]:
        found = self.artifacts.glob("**/*.json")
        return {path.relative_to(self.artifacts).as_posix(): path.read_bytes() for path in found}


def test_deployable_and_test_contracts_become_artifacts_and_nothing_else_does(run: Runner) -> None:
    assert run() == 0
    files = run.files()
    assert set(files) == {"Answer.json", "test/Probe.json"}
    answer = json.loads(files["Answer.json"])
    assert answer["contractName"] == "Answer"
    assert answer["sourceName"] == "contracts/Answer.sol"
    assert [entry["name"] for entry in answer["abi"]] == ["answer"]
    assert answer["bytecode"].startswith("0x60")
    assert answer["deployedBytecode"].removeprefix("0x") in answer["bytecode"]
    assert answer["compiler"]["version"] == "0.8.28+commit.7893614a"
    assert answer["compiler"]["settings"]["evmVersion"] == "cancun"
    assert answer["compiler"]["settings"]["metadata"] == {"appendCBOR": False, "bytecodeHash": "none"}


def test_bytes_depend_on_the_imports_only(run: Runner) -> None:
    assert run() == 0
    before = run.files()
    (run.project / "contracts/Another.sol").write_text(PROBE.replace("Probe", "Another"))
    comment = "// a comment\n"
    (run.project / "contracts/libraries/Shared.sol").write_text(SHARED + comment)
    assert run() == 0
    after = run.files()
    assert set(after) - set(before) == {"Another.json"}
    assert {name: after[name] for name in before} == before
    (run.project / "contracts/libraries/Shared.sol").write_text(SHARED.replace("42", "43"))
    assert run() == 0
    assert run.files()["Answer.json"] != before["Answer.json"]
    assert run.files()["test/Probe.json"] == before["test/Probe.json"]


def test_check_names_an_artifact_that_differs_and_writes_nothing(
    run: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--check") == 1
    assert run.files() == {}
    assert run() == 0
    assert run("--check") == 0
    (run.artifacts / "Answer.json").write_text("{}")
    capsys.readouterr()
    assert run("--check") == 1
    assert "Answer.json is not what the sources compile to" in capsys.readouterr().err
    assert run.files()["Answer.json"] == b"{}"


def test_an_artifact_goes_with_its_source(run: Runner) -> None:
    assert run() == 0
    (run.project / "contracts/test/Probe.sol").unlink()
    assert run("Answer") == 0
    assert set(run.files()) == {"Answer.json", "test/Probe.json"}
    assert run("--check") == 1
    assert run() == 0
    assert set(run.files()) == {"Answer.json"}


def test_a_broken_source_stops_no_other_and_keeps_its_artifact(
    run: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    before = run.files()
    (run.project / "contracts/Answer.sol").write_text("contract {")
    (run.project / "contracts/test/Probe.sol").write_text(PROBE.replace("AT", "SINCE"))
    assert run() == 1
    assert "ParserError" in capsys.readouterr().err
    assert run.files()["Answer.json"] == before["Answer.json"]
    assert run.files()["test/Probe.json"] != before["test/Probe.json"]


def test_a_warning_about_our_own_source_fails(run: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    unused = PROBE.replace("}", "function f() external pure { uint256 unused = 1; } }")
    (run.project / "contracts/test/Probe.sol").write_text(unused)
    assert run("Probe") == 1
    assert "Unused local variable" in capsys.readouterr().err


def test_a_contract_that_needs_linking_is_refused(run: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    external = "library Far { function f() external pure returns (uint256) { return 1; } }\n"
    calls = "contract Near { function f() external pure returns (uint256) { return Far.f(); } }\n"
    (run.project / "contracts/libraries/Far.sol").write_text(HEADER + external)
    (run.project / "contracts/Near.sol").write_text(
        HEADER + 'import {Far} from "./libraries/Far.sol";\n' + calls
    )
    assert run("Near") == 1
    assert "Near needs an external library linked" in capsys.readouterr().err


def test_a_contract_too_large_for_a_chain_is_refused(
    run: Runner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiler, "MAX_CODE_BYTES", 20)
    assert run("Answer") == 1
    assert "Answer is too large for a chain" in capsys.readouterr().err
    assert run.files() == {}


def test_an_unknown_name_is_refused(run: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("Nothing") == 1
    assert "no source Nothing.sol" in capsys.readouterr().err


def test_another_compiler_version_in_the_configuration_is_refused(
    run: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run.project / "brownie-config.yaml"
    config.write_text(config.read_text().replace("version: 0.8.28", "version: 0.8.30"))
    assert run() == 1
    assert "asks for solc 0.8.30" in capsys.readouterr().err


def test_the_limits_are_those_of_the_chain() -> None:
    assert compiler.MAX_CODE_BYTES == 24_576
    assert compiler.MAX_INIT_CODE_BYTES == 2 * 24_576
