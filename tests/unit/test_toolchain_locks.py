"""Lock files pin by hash and say nothing about where packages come from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_python_package_is_pinned_by_hash(lock: Path) -> None:
    logical_lines = lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    requirements = [line for line in logical_lines if line.strip() and not line.lstrip().startswith("#")]
    assert requirements
    for requirement in requirements:
        assert re.match(r"[a-z0-9-]+==[^ ]+ ", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


@pytest.mark.parametrize(
    "file", [*LOCKS, ROOT / "package-lock.json", ROOT / "pyproject.toml"], ids=lambda path: path.name
)
def test_no_index_or_download_address_is_recorded(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    if file.name == "package-lock.json":
        # Links to a project's sponsors are part of its package description.
        packages = json.loads(text)["packages"]
        text = json.dumps([{**package, "funding": None} for package in packages.values()])
    assert not re.search(r"(https?|file|git\+\w+)://|--(extra-)?index-url|--find-links|\"resolved\"", text)


def test_every_npm_package_is_pinned_by_integrity() -> None:
    packages = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    outside = {name: package for name, package in packages.items() if name}
    assert outside
    assert all(package["integrity"].startswith("sha512-") for package in outside.values())


def test_npm_packages_run_no_install_scripts() -> None:
    packages = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert not [name for name, package in packages.items() if package.get("hasInstallScript")]


def test_runtime_lock_pins_what_the_tests_ran_with() -> None:
    development = _pins(ROOT / "requirements" / "dev.lock")
    runtime = _pins(ROOT / "requirements" / "runtime.lock")
    assert runtime <= development
    names = {pin.split("==")[0] for pin in runtime}
    assert {"coincurve", "tiny-keccak", "web3", "starlette", "uvicorn"} <= names
    assert not names & {"eth-brownie", "py-solc-x", "pytest", "scikit-learn"}


def test_bootstrap_installs_the_locked_uv() -> None:
    assert _pins(ROOT / "requirements" / "bootstrap.lock") <= _pins(ROOT / "requirements" / "dev.lock")


def test_brownie_configuration_keeps_the_shape_that_does_not_crash() -> None:
    config = yaml.safe_load((ROOT / "brownie-config.yaml").read_text(encoding="utf-8"))
    assert set(config["networks"]) == {"anvil"}
    settings = config["networks"]["anvil"]["cmd_settings"]
    assert settings["base_fee"] == 0
    assert settings["steps_tracing"] is True
    assert all(path.startswith("build/") for path in config["project_structure"].values())


def _pins(lock: Path) -> set[str]:
    return set(re.findall(r"^[a-z0-9-]+==[^ ]+", lock.read_text(encoding="utf-8"), re.MULTILINE))
