"""A broken sum, a difference between runs, bad files: each has an exit status of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from rich.console import Console
from usufruct_protocol.errors import InputRejected, InvariantBroken, Transient

from scripts import demo, replay
from scripts.ledger import Sum
from scripts.outcome import RangeGas, signer_indexes
from scripts.replay_report import Comparison
from scripts.tables import sums_table, usdc


@dataclass
class Outcome:
    """What a run came to, without having run."""

    holds: bool

    def print(self, console: Console) -> None:
        console.print("figures")

    def document(self) -> dict[str, Any]:
        return {"holds": self.holds}


@pytest.mark.parametrize(("holds", "status"), [(True, 0), (False, 1)])
def test_a_broken_sum_is_a_failing_exit(monkeypatch: pytest.MonkeyPatch, holds: bool, status: int) -> None:
    monkeypatch.setattr(demo, "_play", lambda *_: Outcome(holds))
    assert demo.main([]) == status


@pytest.mark.parametrize(
    ("error", "status"),
    [(InvariantBroken("books"), 1), (Transient("slow"), 3), (KeyboardInterrupt(), 130)],
)
def test_a_demo_that_does_not_get_through_says_why(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(demo, "_play", fail)
    assert demo.main([]) == status


def test_bad_files_and_broken_invariants_of_a_replay_differ_in_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for error, status in ((InputRejected("row"), 2), (InvariantBroken("books"), 1), (Transient("slow"), 3)):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(replay, "read_recorded", fail)
        assert replay.main([]) == status


def test_a_difference_between_runs_breaks_the_replay() -> None:
    same, other = Comparison("root", "ab", "ab"), Comparison("root", "ab", "ac")
    assert replay.Outcome(None, (), (("t", [same]),)).holds  # type: ignore[arg-type]
    assert not replay.Outcome(None, (), (("t", [same, other]),)).holds  # type: ignore[arg-type]


def test_a_broken_sum_is_shown_with_what_is_missing() -> None:
    console = Console(record=True, width=120)
    console.print(sums_table([Sum("in = out", 10, 7)]))
    assert "BROKEN by 3" in console.export_text()


@pytest.mark.parametrize(
    ("base_units", "text"),
    [(0, "0.000000"), (1, "0.000001"), (1_234_567_890, "1,234.567890"), (-5, "-0.000005")],
)
def test_amounts_are_written_exactly(base_units: int, text: str) -> None:
    assert usdc(base_units) == text


def test_signers_are_read_from_the_blob_the_committee_checked() -> None:
    blob = b"".join(bytes([index]) + bytes(64) for index in (0, 2, 3))
    assert signer_indexes(blob) == (0, 2, 3)


def test_gas_per_payee_rounds_up_and_needs_a_payee() -> None:
    assert RangeGas(first=True, full=True, payees=3, gas=10).gas_per_payee == 4
    assert RangeGas(first=True, full=True, payees=0, gas=0).gas_per_payee == 0
