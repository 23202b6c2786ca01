"""Artifacts: stable bytes, removed with their source, and refused where a chain would refuse them."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from toolchain import compile as compiler
from toolchain.artifacts_lock import LOCK

ROOT = Path(__file__).resolve().parents[2]
HEADER = "// SPDX-License-Identifier: Apache-2.0\npragma solidity 0.8.28;\n"
SHARED = HEADER + "library Shared { uint256 internal constant ANSWER = 42; }\n"
ANSWER = (
    HEADER
    + 'import {Shared} from "./libraries/Shared.sol";\n'
    + ("contract Answer { function answer() external pure returns (uint256) { return Shared.ANSWER; } }\n")
)
PROBE = HEADER + "contract Probe { uint256 public immutable AT = block.number; }\n"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one deployable contract, one test contract, a library and an interface, compiled."""
    folder = tmp_path_factory.mktemp("original")
    for name in ("contracts/libraries", "contracts/interfaces", "contracts/test"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ROOT / "brownie-config.yaml", folder)
    (folder / "contracts/libraries/Shared.sol").write_text(SHARED)
    (folder / "contracts/interfaces/IAnswer.sol").write_text(HEADER + "interface IAnswer {}\n")
    (folder / "contracts/Answer.sol").write_text(ANSWER)
    (folder / "contracts/test/Probe.sol").write_text(PROBE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "DEPLOYED_AS_IS", ())
        made = Runner(folder, patch)
        assert made() == 0
        assert made.compiled == {"contracts/Answer.sol", "contracts/test/Probe.sol"}
    return folder


@pytest.fixture
def project(original: Path, tmp_path: Path) -> Path:
    """A compiled project of the test's own."""
    return shutil.copytree(original, tmp_path / "project")


@pytest.fixture
def run(project: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(compiler, "DEPLOYED_AS_IS", ())
    return Runner(project, monkeypatch)


class Runner:
    """Calls the command on the project. `compiled` are the sources that the last call compiled."""

    def __init__(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project = project
        self.artifacts = project / compiler.ARTIFACTS
        self.lock = project / LOCK
        self.compiled: set[str] = set()
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(compiler, "attempt", self._attempt)

    def _attempt(self, root: Path, source: str, *rest: Any, attempt: Any = compiler.attempt) -> Any:
        self.compiled.add(source)
        return attempt(root, source, *rest)

    def __call__(self, *arguments: str) -> int:
        self.compiled.clear()
        self._monkeypatch.setattr("sys.argv", ["compile", "--root", str(self.project), *arguments])
        return compiler.main()

    def files(self) -> dict[str, bytes]:
        found = self.artifacts.glob("**/*.json")
        return {path.relative_to(self.artifacts).as_posix(): path.read_bytes() for path in found}


def test_deployable_and_test_contracts_become_artifacts_and_nothing_else_does(run: Runner) -> None:
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
    before = run.files()
    (run.project / "contracts/Another.sol").write_text(PROBE.replace("Probe", "Another"))
    comment = "// a comment\n"
    (run.project / "contracts/libraries/Shared.sol").write_text(SHARED + comment)
    assert run("--all") == 0
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
    shutil.rmtree(run.artifacts)
    run.lock.unlink()
    assert run("--check") == 1
    assert run.files() == {}
    assert run() == 0
    assert run("--check") == 0
    (run.artifacts / "Answer.json").write_text("{}")
    capsys.readouterr()
    assert run("--check") == 1
    assert "Answer.json is not what the sources compile to" in capsys.readouterr().err
    assert run.files()["Answer.json"] == b"{}"


def test_only_what_changed_is_compiled_again(run: Runner) -> None:
    answer, probe = "contracts/Answer.sol", "contracts/test/Probe.sol"
    assert run("--check") == 0
    assert run.compiled == set()
    assert run("--all") == 0
    assert run.compiled == {answer, probe}
    (run.project / "contracts/libraries/Shared.sol").write_text(SHARED + "// a comment\n")
    assert run("--check") == 1, "the lock is about the sources as they were"
    assert run.compiled == {answer}
    assert run("Answer") == 0
    assert run("--check") == 0
    assert run.compiled == set()
    (run.artifacts / "test/Probe.json").unlink()
    assert run("--check") == 1
    assert run.compiled == {probe}
    assert run() == 0
    config = run.project / "brownie-config.yaml"
    config.write_text(config.read_text().replace("runs: 1000000", "runs: 2"))
    assert run("--check") == 1
    assert run.compiled == {answer, probe}


def test_a_file_that_the_compiler_no_longer_finds_makes_its_reader_fail(
    run: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.project / "contracts/libraries/Shared.sol").unlink()
    assert run("--check") == 1
    assert run.compiled == {"contracts/Answer.sol"}
    assert "Shared.sol" in capsys.readouterr().err


def test_a_lock_that_agrees_with_a_forged_artifact_is_found_out_by_compiling_all(
    run: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = (run.artifacts / "Answer.json").read_bytes()
    forged = honest.replace(b"0x60", b"0x61")
    assert forged != honest
    (run.artifacts / "Answer.json").write_bytes(forged)
    assert run("--check") == 1, "the lock alone tells that it was changed"
    lock = run.lock.read_text()
    run.lock.write_text(lock.replace(sha256(honest).hexdigest(), sha256(forged).hexdigest()))
    capsys.readouterr()
    assert run("--check", "--all") == 1
    assert "Answer.json is not what the sources compile to" in capsys.readouterr().err


def test_an_artifact_goes_with_its_source(run: Runner) -> None:
    (run.project / "contracts/test/Probe.sol").unlink()
    assert run("Answer") == 0
    assert set(run.files()) == {"Answer.json", "test/Probe.json"}
    assert run("--check") == 1
    assert run() == 0
    assert set(run.files()) == {"Answer.json"}


def test_a_broken_source_stops_no_other_and_keeps_its_artifact(
    run: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
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
    shutil.rmtree(run.artifacts)
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
    assert run("--check") == 1
    assert "asks for solc 0.8.30" in capsys.readouterr().err


def test_the_limits_are_those_of_the_chain() -> None:
    assert compiler.MAX_CODE_BYTES == 24_576
    assert compiler.MAX_INIT_CODE_BYTES == 2 * 24_576
