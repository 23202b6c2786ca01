"""Each alert of deploy/ speaks when it should and is silent before: Prometheus itself evaluates the cases."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from usufruct_oracle.chain.sending import open_sender
from usufruct_oracle.http.status_metrics import StatusCollector
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage.store import Store
from usufruct_protocol.signing import LocalSigner
from web3 import Web3

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "prometheus"
CASES = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
ALERT = re.compile(r'alertname="(\w+)", instance="(\w+)"')


def firing(expected: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (alert, instance) of what a case expects at one time."""
    return [pair for sample in expected["exp_samples"] for pair in ALERT.findall(sample["labels"])]


def test_every_alert_has_a_case_where_it_fires_and_is_silent_before() -> None:
    fired = set()
    for case in CASES:
        first, *later = (firing(each) for each in case["promql_expr_test"])
        assert first == [], case["name"]
        fired |= {pair for each in later for pair in each}
        assert {instance for _, instance in fired} <= {"ill"}
        assert any('instance="well"' in each["series"] for each in case["input_series"]), case["name"]
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    assert {alert for alert, _ in fired} == {
        rule["alert"] for group in rules["groups"] for rule in group["rules"]
    }


def test_cases_are_made_of_metrics_that_exist(store: Store) -> None:
    metrics = Metrics()
    metrics.watch(StatusCollector(NodeStatus(), store, lambda: 1))
    named = {each["series"].partition("{")[0] for case in CASES for each in case["input_series"]}
    assert named <= metrics.names() | {"up"}


def test_reverts_are_counted_from_nought(tmp_path: Path) -> None:
    metrics = Metrics()
    nowhere = Web3(Web3.HTTPProvider("http://127.0.0.1:9"))
    open_sender(nowhere, LocalSigner(b"\x01" * 32), 31337, tmp_path / "pending.json", metrics).close()
    assert b'usufruct_transactions_total{kind="pay_range",outcome="reverted"} 0.0' in metrics.text()


def test_prometheus_finds_what_the_cases_expect() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("NOT TESTED: no promtool on this machine evaluates the alerts; apt install prometheus")
    done = subprocess.run(
        [promtool, "test", "rules", FOLDER / "alerts_test.yml"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
