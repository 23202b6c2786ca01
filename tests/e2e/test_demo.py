"""`make demo` as a newcomer runs it: real processes, real time, every figure recomputed from the document."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.script_runs import Finished, ScriptRun

CALLS = 600
SCALE = 10**9
PARTIES = ("contributors", "community", "steward", "platform", "operators")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[ScriptRun, Finished]:
    run = ScriptRun("scripts.demo", tmp_path_factory.mktemp("demo"), "--calls", str(CALLS))
    return run, run.finish(timeout_s=500)


@pytest.fixture
def document(played: tuple[ScriptRun, Finished]) -> dict[str, Any]:
    assert played[1].status == 0, played[1].printed[-3000:]
    return played[1].document


@pytest.mark.timeout(600)
def test_every_sum_holds_and_nothing_is_left(played: tuple[ScriptRun, Finished]) -> None:
    run, finished = played
    assert finished.status == 0, finished.printed[-3000:]
    assert finished.document["holds"] is True
    assert all(entry["left"] == entry["right"] for entry in finished.document["sums"])
    assert run.left_running() == []
    assert run.left_behind() == []


def test_every_call_is_counted_and_charged(document: dict[str, Any]) -> None:
    receipts = document["receipts"]
    assert (receipts["kept"], receipts["counted"]) == (CALLS, CALLS)
    assert receipts["retries"] == CALLS // 40
    assert receipts["refused"] == 12
    for license_ in document["licenses"]:
        units, price = int(license_["units"]), int(license_["price_per_million_units"])
        assert units == license_["calls"] == CALLS // 2, "retries and refusals cost nothing"
        assert int(license_["charged"]) == units * price // 10**6
        split = sum(int(license_["split"][party]) for party in PARTIES)
        assert split + int(license_["dust"]) == int(license_["charged"])
        assert 0 <= int(license_["dust"]) <= 3


def test_all_patients_are_paid_what_was_issued(document: dict[str, Any]) -> None:
    payees = document["payees"]
    patients = [payee for payee in payees if payee["name"].startswith("patient-")]
    assert len(patients) == 426
    assert len({payee["wallet"] for payee in payees}) == len(payees) == 427
    accrued = sum(int(payee["accrued_billionths"]) for payee in payees)
    assert accrued == SCALE * sum(int(license_["split"]["contributors"]) for license_ in document["licenses"])
    assert all(int(payee["issued"]) == int(payee["paid"]) > 0 for payee in patients)
    others = [payee for payee in patients if payee["name"] != document["events"]["redirected"]]
    assert all(payee["wallet_balance"] == payee["paid"] for payee in others)


def test_inv_32_a_redirected_note_reaches_the_wallet_that_was_signed(document: dict[str, Any]) -> None:
    events = document["events"]
    by_name = {payee["name"]: payee for payee in document["payees"]}
    mover, new = by_name[events["redirected"]], by_name[f"new wallet of {events['redirected']}"]
    assert new["wallet"] == events["redirected_to"]
    assert int(new["wallet_balance"]) > 0
    assert int(mover["wallet_balance"]) + int(new["wallet_balance"]) == int(mover["paid"])
    assert by_name[events["claimed"]]["wallet_balance"] == by_name[events["claimed"]]["paid"]


def test_a_dead_node_costs_nothing_and_a_quorum_signs_every_report(document: dict[str, Any]) -> None:
    dead = document["events"]["killed_node"] - 1
    killed_in = document["events"]["killed_in_epoch"]
    epochs = document["epochs"]
    assert [epoch["epoch"] for epoch in epochs] == list(range(1, len(epochs) + 1))
    assert len(epochs) >= 4, "three epochs of calls, and one that draws what was carried"
    assert all(len(set(epoch["signed_by"])) >= epoch["threshold"] == 3 for epoch in epochs)
    assert dead not in epochs[killed_in - 1]["signed_by"]
    assert document["events"]["back_in_epoch"] > killed_in


def test_a_short_escrow_carries_a_due_that_a_top_up_pays(document: dict[str, Any]) -> None:
    events, similar = document["events"], document["licenses"][1]
    price = int(similar["price_per_million_units"])
    cost = CALLS // 2 * price // 10**6
    assert int(events["carried_due"]) == cost - cost * 85 // 100
    assert int(similar["deposited"]) == cost * 85 // 100 + int(events["topped_up"])
    assert int(similar["due"]) == 0
    drawn_later = sum(int(epoch["charge"]) for epoch in document["epochs"][events["carried_in_epoch"] :])
    assert drawn_later == int(events["carried_due"])


def test_gas_of_ranges_claims_and_redirects_is_measured(document: dict[str, Any]) -> None:
    gas = document["gas"]
    by_kind = {(group["payment"], group["range"]): group for group in gas["ranges"] if group["payees"]}
    first, later = by_kind["first", "full"], by_kind["later", "full"]
    assert later["gas_per_payee"] < first["gas_per_payee"] < gas["claim"] < gas["redirect"]


@pytest.mark.timeout(600)
def test_a_demo_that_is_stopped_leaves_nothing_running(tmp_path: Path) -> None:
    run = ScriptRun("scripts.demo", tmp_path, "--calls", "60000")
    run.wait_for("everything is up", timeout_s=300)
    assert len(run.left_running()) >= 8, "script, chain, four nodes, two workers"
    run.send_signal(signal.SIGINT)
    assert run.finish(timeout_s=60).status == 130
    assert run.left_running() == []
    assert run.left_behind() == []
