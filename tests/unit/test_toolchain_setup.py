"""Set-up chooses tools that work, and says what is missing when there are none."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_socket
import yaml

from toolchain import brownie, environments, node

ROOT = Path(__file__).resolve().parents[2]


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def choose_python(*folders: Path) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(ROOT / "toolchain" / "choose-python.sh")]
    settings = {"PATH": os.pathsep.join(str(folder) for folder in folders)}
    return subprocess.run(command, env=settings, capture_output=True, text=True, check=False)


def test_python_that_refuses_to_start_is_passed_over(tmp_path: Path) -> None:
    script(tmp_path / "shims" / "python3.11", "echo 'command not found' >&2; exit 127")
    script(tmp_path / "bin" / "python3.12", f'exec {sys.executable} "$@"')
    answer = choose_python(tmp_path / "shims", tmp_path / "bin")
    assert answer.stdout.strip() == str(tmp_path / "bin" / "python3.12")


def test_a_machine_without_a_usable_python_is_told_which_to_install(tmp_path: Path) -> None:
    script(tmp_path / "python3.11", "exit 1")
    answer = choose_python(tmp_path)
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert "Python 3.11 or 3.12" in answer.stderr


def test_make_stops_when_no_python_was_found(tmp_path: Path) -> None:
    for name in ("toolchain", "requirements"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("Makefile", "pyproject.toml", "package.json", "package-lock.json"):
        (tmp_path / name).symlink_to(ROOT / name)
    make = subprocess.run(["/bin/sh", "-c", "command -v make"], capture_output=True, text=True, check=True)
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "bash"):
        (tools / tool).symlink_to("/bin/" + tool)
    answer = subprocess.run(
        [make.stdout.strip(), "setup"],
        cwd=tmp_path,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode != 0
    assert "Python 3.11 or 3.12" in answer.stderr


@pytest.mark.parametrize(("version", "taken"), [("v20.20.2", True), ("v24.1.0", True), ("v18.19.0", False)])
def test_only_a_recent_enough_node_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, taken: bool
) -> None:
    fake = script(tmp_path / "node", f"echo {version}")
    script(tmp_path / "npm", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(node, "pypi_node", lambda: (Path("pypi/node"), Path("pypi/npm-cli.js")))
    expected = (
        (fake, [str(tmp_path / "npm")]) if taken else (Path("pypi/node"), ["pypi/node", "pypi/npm-cli.js"])
    )
    assert node.node_and_npm() == expected


def test_another_active_environment_does_not_leak_into_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    assert "VIRTUAL_ENV" not in environments.install_settings()


def test_an_environment_whose_python_is_gone_is_built_again(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(tmp_path / "uninstalled")
    assert not environments.runs(tmp_path / "python")
    assert not environments.runs(script(tmp_path / "broken", "exit 1"))
    assert environments.runs(Path(sys.executable))


def test_brownie_gets_its_network_after_the_test_path() -> None:
    assert brownie.command(["test", "tests/contracts/functional"])[1:] == [
        "test",
        "tests/contracts/functional",
        "--network",
        brownie.NETWORK,
    ]
    assert brownie.command(["compile"])[1:] == ["compile"]
    assert brownie.command(["run", "deploy", "--network", "mainnet"])[1:] == [
        "run",
        "deploy",
        "--network",
        "mainnet",
    ]


def test_brownie_gets_the_settings_of_the_configuration_on_another_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brownie, "free_port", lambda: 40_000)
    brownie.write_networks(tmp_path)
    (chain,) = yaml.safe_load((tmp_path / ".brownie" / "network-config.yaml").read_text())["development"]
    config = yaml.safe_load((ROOT / "brownie-config.yaml").read_text())
    assert chain["cmd_settings"] == config["networks"]["anvil"]["cmd_settings"] | {"port": 40_000}


def test_unit_tests_cannot_open_a_network_socket() -> None:
    with pytest.warns(UserWarning, match="socket"), pytest.raises(pytest_socket.SocketBlockedError):
        socket.socket(socket.AF_INET)


def test_missing_recorded_data_is_said_loudly(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_figures.py").write_text("def test_figures(shared_data): raise AssertionError\n")
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:pytest-brownie", str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"USUFRUCT_SHARED": str(tmp_path / "nowhere")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout
    assert "1 skipped" in answer.stdout
    assert "did NOT run" in answer.stdout
    assert str(tmp_path / "nowhere" / "data") in answer.stdout
