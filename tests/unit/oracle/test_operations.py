"""Alerts, runbook, service and image say only what is so: metrics, commands, anchors and paths that exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import typer
import yaml
from usufruct_oracle.cli import app as cli
from usufruct_oracle.http.health import MIN_FREE_BYTES
from usufruct_oracle.http.serving import Serving
from usufruct_oracle.http.status_metrics import StatusCollector
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage.store import Store

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
ANCHORS = {
    re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
    for title in re.findall(r"^#+ (.+)$", RUNBOOK, re.MULTILINE)
}
UNIT = DEPLOY / "systemd" / "usufruct-oracle.service"
FLAGS = re.compile(r"--[a-z-]+")


def rules() -> Iterator[dict[str, Any]]:
    for group in ALERTS["groups"]:
        yield from group["rules"]


def each_rule() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: rule["alert"])


def is_command(line: str) -> bool:
    """Tell whether a usufruct-oracle line names a command that exists, with options it knows."""
    command: Any = typer.main.get_command(cli)
    words = shlex.split(line)[1:]
    while words and words[0] in getattr(command, "commands", ()):
        command = command.commands[words.pop(0)]
    known = {flag for option in command.params for flag in option.opts}
    return not hasattr(command, "commands") and set(FLAGS.findall(" ".join(words))) <= known


@each_rule()
def test_an_alert_says_what_it_costs_until_when_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    notes = rule["annotations"]
    assert set(notes) == {"consequence", "deadline", "command", "runbook"}
    page, _, anchor = notes["runbook"].partition("#")
    assert page == "docs/runbook.md"
    assert anchor in ANCHORS
    for part in notes["command"].split(";"):
        if part.strip().startswith("usufruct-oracle"):
            assert is_command(part)


@each_rule()
def test_an_alert_asks_for_metrics_that_exist(rule: dict[str, Any], store: Store) -> None:
    metrics = Metrics()
    metrics.watch(StatusCollector(NodeStatus(), store, lambda: 1))
    promql_parser.parse(rule["expr"])  # raises where Prometheus would refuse the file
    named = set(re.findall(r"\busufruct_[a-z_]+", rule["expr"]))
    assert named <= metrics.names()
    assert named or "up{" in rule["expr"]


def test_alerts_have_names_of_their_own() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"Usufruct[A-Za-z]+", name) for name in names)


@pytest.mark.parametrize(
    "anchor", ["chain", "signer", "gas", "peers", "clock", "database", "held", "keys", "halted"]
)
def test_the_runbook_has_what_the_program_points_to(anchor: str) -> None:
    assert anchor in ANCHORS


def test_every_runbook_anchor_in_the_code_and_in_the_runbook_exists() -> None:
    sources = [path.read_text() for path in (ROOT / "oracles").rglob("*.py")]
    pointed = {anchor for text in sources for anchor in re.findall(r"runbook#([a-z-]+)", text)}
    within = set(re.findall(r"\]\(#([a-z-]+)\)", RUNBOOK))
    assert pointed | within
    assert (pointed | within) <= ANCHORS


def test_commands_in_the_runbook_exist() -> None:
    lines = set(re.findall(r"(?:`|^)(usufruct-oracle [^`\n]+)", RUNBOOK, re.MULTILINE))
    assert len(lines) > 8
    assert [line for line in lines if not is_command(line)] == []


def test_figures_in_the_runbook_are_those_of_the_program() -> None:
    assert f"Below {MIN_FREE_BYTES // 2**20} MB `/ready` says no" in RUNBOOK
    assert f"| {Serving().max_connections}, 64 of one sender" in RUNBOOK
    assert f"| {Serving().requests_per_second} requests/s" in RUNBOOK
    assert f"| {Serving().lane_batches_per_second} batches/s" in RUNBOOK


def test_the_service_runs_a_command_that_exists_and_writes_only_its_own_folder(tmp_path: Path) -> None:
    unit = ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT)
    service = unit["Service"]
    start = service["ExecStart"]
    assert is_command(start)
    assert service["User"] not in ("", "root")
    assert service["ProtectSystem"] == "strict"
    assert "ReadWritePaths" not in service
    assert service["RestartPreventExitStatus"] == "2 4"  # as cli.py: settings, a person
    if shutil.which("systemd-analyze") is None:
        pytest.skip("NOT TESTED: no systemd-analyze on this machine verifies the unit; it was only read")
    there = tmp_path / UNIT.name
    there.write_text(UNIT.read_text().replace(start.split()[0], "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", there], capture_output=True, text=True, check=False, timeout=60
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    exposed = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", there],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert exposed.returncode == 0, exposed.stdout[-2_000:]  # overall exposure at most 2.0 of 10


def test_the_image_is_pinned_runs_as_nobody_and_copies_what_exists() -> None:
    lines = (DEPLOY / "container" / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line for line in lines if line and not line.startswith("#")]
    assert steps[0] == "ARG BASE"
    assert {line for line in steps if line.startswith("FROM")} == {"FROM ${BASE} AS build", "FROM ${BASE}"}
    for line in steps:
        if line.startswith("COPY ") and "--from" not in line:
            assert all((ROOT / source).exists() for source in line.split()[1:-1]), line
        for installed in re.findall(r"pip install [^&]+", line):
            assert "--require-hashes" in installed or "--no-deps" in installed
    final = steps[steps.index("FROM ${BASE}") :]
    assert "USER 10001:10001" in final
    (command,) = (yaml.safe_load(line.removeprefix("CMD ")) for line in final if line.startswith("CMD"))
    assert is_command(shlex.join(["usufruct-oracle", *command]))


def test_the_container_service_is_rootless_and_read_only() -> None:
    quadlet = (DEPLOY / "container" / "usufruct-oracle.container").read_text()
    for setting in ("ReadOnly=true", "DropCapability=all", "NoNewPrivileges=true", "Pull=never"):
        assert f"\n{setting}\n" in quadlet
    published = re.findall(r"^PublishPort=(.+)$", quadlet, re.MULTILINE)
    assert published == ["8645:8645", "127.0.0.1:9645:9645"]
