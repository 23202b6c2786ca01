"""The loop's thread: what a failed look leads to, and what it counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from usufruct_oracle.chain.gas_watch import GasWatch
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.runner import LoopThread
from usufruct_oracle.status import NodeStatus
from usufruct_protocol.errors import ConfigInvalid, InvariantBroken, Transient

ACCOUNT = b"\x0a" * 20


class Loop:
    """Does at each tick what a test wrote down."""

    def __init__(self, *steps: Exception | None) -> None:
        self._steps = list(steps)
        self.stop: Callable[[], None] = lambda: None

    def tick(self) -> None:
        step = self._steps.pop(0)
        if not self._steps:
            self.stop()
        if step is not None:
            raise step


def ran(*steps: Exception | None) -> tuple[Metrics, NodeStatus]:
    metrics, status, loop = Metrics(), NodeStatus(), Loop(*steps)
    thread = LoopThread(loop, status, metrics, 0.001)  # type: ignore[arg-type]
    loop.stop = thread._stop_asked.set
    thread.run()
    return metrics, status


def looks(metrics: Metrics) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in metrics.registry.collect():
        if family.name == "usufruct_looks":
            found = {
                s.labels["outcome"]: s.value for s in family.samples if s.name.endswith("_total") and s.value
            }
    return found


def test_looks_are_counted_by_how_they_went() -> None:
    metrics, status = ran(None, Transient("away"), ConfigInvalid("wrong"), ZeroDivisionError("bug"), None)
    assert looks(metrics) == {"done": 2, "waiting": 1, "failed": 1, "unexpected": 1}
    assert status.halted == ""
    assert metrics.registry.get_sample_value("usufruct_look_seconds_count") == 5


def test_a_broken_invariant_ends_the_loop_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    metrics, status = ran(None, InvariantBroken("the pool does not match"), None)
    assert looks(metrics) == {"done": 1, "halted": 1}
    assert status.halted == "the pool does not match"
    assert "runbook#halted" in caplog.text


def test_the_balance_is_asked_once_a_minute_and_never_fails_a_look() -> None:
    metrics, asked, now_s = Metrics(), 0, [0.0]

    def balance(address: bytes) -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise Transient("away")
        return int.from_bytes(address[:1], "big") * 10**17

    watch = GasWatch(ACCOUNT, balance, metrics, lambda: now_s[0])
    watch.look()
    assert b"usufruct_signer_balance_wei{" not in metrics.text()
    for now_s[0] in (0.0, 59.0, 60.0):
        watch.look()
    assert asked == 3
    labels: dict[str, Any] = {"account": "0x" + "0a" * 20}
    shown = {
        sample.labels["account"].lower(): sample.value
        for family in metrics.registry.collect()
        if family.name == "usufruct_signer_balance_wei"
        for sample in family.samples
    }
    assert shown == {labels["account"]: 1e18}
