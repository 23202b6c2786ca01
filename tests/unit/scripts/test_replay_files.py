"""Which files a replay takes, and what it refuses before anything is started."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from usufruct_meter.importer import PlannedCall, PlannedLicense, ReplayPlan
from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.money import SplitBps

from scripts.replay_files import MissingDefault, read_recorded, split_paths
from scripts.replay_run import calls_by_epoch, check_plan, day_of, genesis_of, license_plans

DAY_MS = 86_400_000
SPLIT = SplitBps(7_000, 1_000, 1_000, 500, 500)
LICENSE = PlannedLicense("A", MeterKind.TOKENS, 1_000_000, SPLIT, "people.csv", ())


def plan(*calls: tuple[int, int, str], price: int = 1_000_000) -> ReplayPlan:
    """A plan of (time in ms, units, response id)."""
    license_ = PlannedLicense("A", MeterKind.TOKENS, price, SPLIT, "people.csv", ())
    return ReplayPlan((license_,), tuple(PlannedCall(0, at, units, name) for at, units, name in calls), ())


def test_an_epoch_is_a_day_from_midnight_of_the_first_call_on() -> None:
    calls = plan(
        (10 * DAY_MS + 5, 1, "a"), (11 * DAY_MS - 1, 1, "b"), (11 * DAY_MS, 1, "c"), (13 * DAY_MS, 1, "d")
    )
    assert genesis_of(calls) == 10 * 86_400
    assert {epoch: len(found) for epoch, found in calls_by_epoch(calls).items()} == {1: 2, 2: 1, 4: 1}
    assert day_of(genesis_of(calls), 1) == "11 January 1970"


def test_a_license_is_funded_for_its_calls_without_retries() -> None:
    (offer,) = license_plans(plan((10 * DAY_MS, 3, "a"), (10 * DAY_MS, 9, "a"), (10 * DAY_MS, 4, "b")))
    assert offer.deposit_base_units == 7 + 1_000_000


@pytest.mark.parametrize(
    ("calls", "price", "what"),
    [
        (((DAY_MS, 1, "a"),), 1, "January 1970"),
        (((10 * DAY_MS, 1, "a"), (376 * DAY_MS, 1, "b")), 1, "span 367 days"),
        (((10 * DAY_MS, 2**48 - 1, "a"),), 2**90, "the cost of 'A'"),
    ],
)
def test_what_could_only_fail_half_way_is_refused_at_once(
    calls: tuple[tuple[int, int, str], ...], price: int, what: str
) -> None:
    with pytest.raises(InputRejected, match=re.escape(what)):
        check_plan(plan(*calls, price=price))


def test_several_people_files_may_be_given_in_one_text(tmp_path: Path) -> None:
    odd = tmp_path / "a, b.csv"
    odd.touch()
    assert split_paths(str(odd)) == [odd], "a file that is there is one file, whatever its name"
    assert split_paths("x.csv,y.csv z.csv") == [Path("x.csv"), Path("y.csv"), Path("z.csv")]


def test_without_the_recorded_folder_the_missing_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USUFRUCT_SHARED", str(tmp_path / "nowhere"))
    with pytest.raises(MissingDefault, match="PEOPLE was not given") as caught:
        read_recorded(None, [], None, None)
    assert "USAGE=" in caught.value.hint


def test_attribution_may_be_left_out_of_files_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USUFRUCT_SHARED", str(tmp_path / "nowhere"))
    usage, people = tmp_path / "calls.csv", tmp_path / "people.csv"
    header = "start_time_iso,end_time_iso,span_id,response_id,request_model,response_model,input_tokens"
    moment = "2025-01-01T10:00:00Z"
    usage.write_text(
        f"{header},output_tokens,is_error\n{moment},{moment},s,r,m,m,5,0,False\n", encoding="utf-8"
    )
    people.write_text("person_id\np\n", encoding="utf-8")
    recorded = read_recorded(usage, [people], None, None)
    assert [license_.name for license_ in recorded.plan.licenses] == ["tokens of m"]
    assert ("attribution", "none was given: no retrieval license") in recorded.facts()
