"""`make replay` as a user runs it: on the recorded files with every fault, and on files of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from usufruct_meter.importer import read_people
from usufruct_meter.importer.usage import COLUMNS

from tests.e2e.script_runs import Finished, ScriptRun

SCALE = 10**9
DEAD_NODE = 2
PARTIES = ("contributors", "community", "steward", "platform", "operators")
PLAIN, KILLED, LATE = range(3)


@pytest.fixture(scope="module")
def recorded(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = ScriptRun(
        "scripts.replay", tmp_path_factory.mktemp("replay"), USUFRUCT_SHARED=str(shared_data.parent)
    )
    finished = run.finish(timeout_s=800)
    assert finished.status == 0, finished.printed[-3000:]
    assert run.left_running() == []
    assert run.left_behind() == []
    return finished.document


@pytest.mark.timeout(900)
def test_every_sum_holds_in_every_run(recorded: dict[str, Any]) -> None:
    assert [run["run"] for run in recorded["runs"]] == [
        "as recorded",
        "node killed, receipt at one node",
        "late receipt",
    ]
    for run in recorded["runs"]:
        assert all(entry["left"] == entry["right"] for entry in run["sums"]), run["run"]
    assert recorded["holds"] is True


def test_units_and_charges_are_those_of_the_files(recorded: dict[str, Any]) -> None:
    for run in recorded["runs"]:
        licenses = run["licenses"]
        assert [license_["calls"] for license_ in licenses] == [799, 743, 61]
        assert [int(license_["units"]) for license_ in licenses] == [29_149_076, 18_570_610, 61]
        assert [license_["meter"] for license_ in licenses] == ["tokens", "tokens", "retrieval"]
        for license_ in licenses:
            cost = int(license_["units"]) * int(license_["price_per_million_units"]) // 10**6
            assert (int(license_["charged"]), int(license_["due"])) == (cost, 0)


def test_six_days_are_reported_and_earnings_carry_over(recorded: dict[str, Any]) -> None:
    plain = recorded["runs"][PLAIN]
    assert [epoch["day"] for epoch in plain["epochs"]] == [f"{day} April 2026" for day in range(19, 25)]
    april_22 = plain["epochs"][3]
    assert int(april_22["charge"]) == 12 * 50_000, "no tokens that day, only the retrievals placed there"
    assert any(int(epoch["notes_total"]) < int(epoch["charge"]) * 7 // 10 for epoch in plain["epochs"])


def test_inv_38_a_killed_node_and_a_receipt_at_one_node_change_no_root(recorded: dict[str, Any]) -> None:
    plain, killed = recorded["runs"][PLAIN], recorded["runs"][KILLED]
    assert len(plain["epochs"]) == len(killed["epochs"]) == 6
    for ours, theirs in zip(plain["epochs"], killed["epochs"], strict=True):
        for root in ("lanes_root", "notes_root", "reserve_root"):
            assert ours[root] == theirs[root], (ours["epoch"], root)
            assert int(ours[root], 16) > 0, "an empty tree would prove nothing"
    for number in (2, 3):
        assert DEAD_NODE not in killed["epochs"][number - 1]["signed_by"]
    assert killed["epochs"][1]["attempt"] > 0, "the dead node would have proposed the second epoch"


def test_a_late_receipt_is_counted_in_the_next_epoch_and_changes_no_total(recorded: dict[str, Any]) -> None:
    plain, late = recorded["runs"][PLAIN], recorded["runs"][LATE]
    ours = [int(epoch["charge"]) for epoch in plain["epochs"]]
    theirs = [int(epoch["charge"]) for epoch in late["epochs"]]
    moved = ours[1] - theirs[1]
    assert moved > 0, "the receipt was late"
    assert theirs[2] == ours[2] + moved, "and was counted in the next epoch"
    assert [*ours[:1], *ours[3:]] == [*theirs[:1], *theirs[3:]]
    for left, right in zip(plain["licenses"], late["licenses"], strict=True):
        assert (left["units"], left["charged"]) == (right["units"], right["charged"])
        assert left["split"] == right["split"]


def test_people_earn_by_their_records(recorded: dict[str, Any], shared_data: Path) -> None:
    run = recorded["runs"][PLAIN]
    earned = {payee["name"]: int(payee["accrued_billionths"]) for payee in run["payees"]}
    files = ("parkinsons_telemonitoring.csv", "glucose_BIGIDEAs.csv")
    for license_, file in zip(run["licenses"], files, strict=False):
        records = read_people(shared_data / "health" / file).records
        share = int(license_["split"]["contributors"]) * SCALE
        for person, count in records.items():
            exact = share * count // sum(records.values())
            assert abs(earned[f"{file}/{person}"] - exact) <= len(run["epochs"]), person


def test_sources_earn_only_by_use(recorded: dict[str, Any]) -> None:
    run = recorded["runs"][PLAIN]
    prefix = "medquad_liveqa_qrels.csv/"
    earned = {
        payee["name"].removeprefix(prefix): int(payee["accrued_billionths"])
        for payee in run["payees"]
        if payee["name"].startswith(prefix)
    }
    assert sum(earned.values()) == int(run["licenses"][2]["split"]["contributors"]) * SCALE
    assert {name for name, amount in earned.items() if amount == 0} == {"MPlusHerbsSuppls", "NIDDK"}
    ranked = sorted(earned, key=lambda name: -earned[name])
    assert ranked[:3] == ["ADAM", "MPlusDrugs", "GHR"]


def test_the_join_is_stated_as_a_rule(recorded: dict[str, Any]) -> None:
    assert "not an observation" in recorded["rules"][0]


# Files of one's own


def usage_csv(folder: Path, **changes: str) -> Path:
    """Three models over two days, with a failed row, a retry a day later and times without offset."""
    rows = [
        ("2025-01-31T23:59:59.999", "a1", "m/a", "7", "False"),
        ("2025-01-31T10:00:00+00:00", "a2", "m/a", "1000000", "False"),
        ("2025-01-31T11:00:00", "b1", "m/b", "2500000", "False"),
        ("2025-01-31T12:00:00", "", "m/b", "0", "True"),
        ("2025-02-01T09:00:00Z", "b1", "m/b", "2500000", "False"),
        ("2025-02-01T10:00:00+02:00", "c1", "m/c", "3", "False"),
        ("2025-02-01T18:00:00", "a3", "m/a", "500000", "False"),
    ]
    lines = [",".join(COLUMNS)]
    for number, (moment, response_id, model, tokens, failed) in enumerate(rows):
        values = {
            "start_time_iso": moment,
            "end_time_iso": moment,
            "span_id": f"s{number}",
            "response_id": response_id,
            "request_model": model,
            "response_model": model,
            "input_tokens": tokens,
            "output_tokens": "0",
            "is_error": failed,
        }
        if number == len(rows) - 1:
            values |= changes
        lines.append(",".join(values[column] for column in COLUMNS))
    path = folder / "calls.csv"
    path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")
    return path


@pytest.fixture
def own_files(tmp_path: Path) -> Mapping[str, str]:
    folder = tmp_path / "files"
    folder.mkdir()
    people = folder / "people.csv"
    people.write_text("age,subject#\n50,1\n50,1\n61,2\n", encoding="utf-8")
    more = folder / "more.csv"
    more.write_text("person_id\n1\n", encoding="utf-8")
    used = folder / "used.csv"
    used.write_text(
        "call_id,record_id,contributor,grade\nq1,r1,north,4\nq1,r1,north,0\nq2,r2,south,2\nq3,r3,south,1\n",
        encoding="utf-8",
    )
    return {
        "--usage": str(usage_csv(folder)),
        "--people": f"{people},{more}",
        "--attribution": str(used),
    }


def replay(folder: Path, files: Mapping[str, str], *options: str, timeout_s: float = 400) -> Finished:
    run_folder = folder / "run"
    run_folder.mkdir()
    arguments = [part for pair in files.items() for part in pair]
    run = ScriptRun(
        "scripts.replay", run_folder, *arguments, *options, USUFRUCT_SHARED=str(folder / "nowhere")
    )
    finished = run.finish(timeout_s)
    assert run.left_running() == []
    assert run.left_behind() == []
    return finished


@pytest.mark.timeout(500)
def test_files_of_ones_own_need_no_mapping(tmp_path: Path, own_files: Mapping[str, str]) -> None:
    finished = replay(tmp_path, own_files, "--kill", "--late-receipt")
    assert finished.status == 0, finished.printed[-3000:]
    (run,) = finished.document["runs"]
    assert run["holds"] is True
    by_name = {license_["name"]: license_ for license_ in run["licenses"]}
    assert {name: (one["calls"], int(one["units"])) for name, one in by_name.items()} == {
        "tokens of m/a": (3, 1_500_007),
        "tokens of m/b": (1, 2_500_000),
        "tokens of m/c": (1, 3),
        "retrieval": (3, 3),
    }
    assert [epoch["day"] for epoch in run["epochs"]] == [
        "31 January 2025",
        "1 February 2025",
        "2 February 2025",
    ], "the receipt that was late on the last day takes one more"
    assert DEAD_NODE not in run["epochs"][1]["signed_by"]
    people = {payee["name"]: int(payee["accrued_billionths"]) for payee in run["payees"]}
    token_share = sum(int(by_name[f"tokens of m/{model}"]["split"]["contributors"]) for model in "abc")
    total = sum(amount for name, amount in people.items() if "used.csv" not in name)
    assert total == token_share * SCALE
    assert abs(people["people.csv/1"] - 2 * people["people.csv/2"]) <= 20, "two records against one"
    assert abs(people["people.csv/2"] - people["more.csv/1"]) <= 20, "the same id in two files is two people"
    assert people["used.csv/north"] > people["used.csv/south"] == 0, "grades below 3 used nothing"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"input_tokens": "12.5"}, "calls.csv:8: input_tokens is '12.5', not a whole number"),
        ({"end_time_iso": "yesterday"}, "calls.csv:8: end_time_iso is 'yesterday', not a time"),
    ],
)
def test_a_bad_row_stops_the_replay_before_anything_starts(
    tmp_path: Path, own_files: Mapping[str, str], changes: dict[str, str], what: str
) -> None:
    usage_csv(Path(own_files["--usage"]).parent, **changes)
    finished = replay(tmp_path, own_files, timeout_s=60)
    assert finished.status == 2
    assert what in finished.printed
    assert "hint:" in finished.printed
    assert finished.document == {}
    assert "epoch" not in finished.printed


def test_without_files_and_without_the_recorded_ones_it_says_what_to_give(tmp_path: Path) -> None:
    finished = replay(tmp_path, {}, timeout_s=60)
    assert finished.status == 2
    assert "was not given, and there is no" in finished.printed
    assert "make replay USAGE=" in finished.printed
