"""The recorded files, read in place: every count that money is later made of."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from usufruct_meter.importer import (
    Attribution,
    PlannedCall,
    RecordedUsage,
    ReplayPlan,
    plan_replay,
    read_attribution,
    read_mapping,
    read_people,
    read_usage,
    without_retries,
)

DEEPSEEK, KIMI, MEDQUAD = range(3)
MS_PER_DAY = 86_400_000
APRIL_19 = 20_562
MAPPING = Path(__file__).resolve().parents[2] / "examples" / "replay" / "recorded.toml"

USED_PAIRS = {
    "ADAM": 73,
    "MPlusDrugs": 50,
    "GHR": 22,
    "MPlusHealthTopics": 8,
    "NIHSeniorHealth": 7,
    "NINDS": 7,
    "NHLBI": 5,
    "GARD": 3,
    "CDC": 2,
}


@pytest.fixture(scope="module")
def expected(shared_data: Path) -> dict[str, Any]:
    return dict(json.loads((shared_data / "EXPECTED.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def usage(shared_data: Path) -> RecordedUsage:
    return read_usage(shared_data / "usage" / "exgentic_llm_calls.csv")


@pytest.fixture(scope="module")
def attribution(shared_data: Path) -> Attribution:
    return read_attribution(shared_data / "attribution" / "medquad_liveqa_qrels.csv")


@pytest.fixture(scope="module")
def plan(shared_data: Path, usage: RecordedUsage, attribution: Attribution) -> ReplayPlan:
    health = shared_data / "health"
    people = [
        read_people(health / name) for name in ("parkinsons_telemonitoring.csv", "glucose_BIGIDEAs.csv")
    ]
    return plan_replay(usage, people, attribution, read_mapping(MAPPING))


@pytest.fixture(scope="module")
def receipts(plan: ReplayPlan) -> tuple[PlannedCall, ...]:
    return without_retries(plan.calls)


def test_rows_failures_and_retries_of_the_trace(usage: RecordedUsage, expected: dict[str, Any]) -> None:
    figures = expected["exgentic"]
    assert (usage.rows, usage.failed_rows, len(usage.calls), usage.zero_token_rows) == (1_627, 80, 1_547, 0)
    assert (usage.rows, usage.failed_rows, len(usage.calls)) == (
        figures["rows"],
        figures["errors"],
        figures["ok_rows"],
    )
    per_model = Counter(call.model for call in usage.calls)
    assert per_model == {model: row[0] for model, row in figures["ok_by_model_rows_in_out"].items()}
    assert len({call.response_id for call in usage.calls}) == figures["distinct_response_ids"] == 1_542


def test_tokens_per_license_after_retries_collapse(
    receipts: tuple[PlannedCall, ...], expected: dict[str, Any]
) -> None:
    calls = Counter(call.license_index for call in receipts)
    assert calls == {DEEPSEEK: 799, KIMI: 743, MEDQUAD: 61}
    tokens = {index: sum(call.units for call in receipts if call.license_index == index) for index in calls}
    assert tokens == {DEEPSEEK: 29_149_076, KIMI: 18_570_610, MEDQUAD: 61}
    assert tokens[DEEPSEEK] + tokens[KIMI] == sum(expected["exgentic"]["in_out_after_dedup_by_response_id"])


def test_retries_come_back_after_as_long_as_sixty_one_hours(plan: ReplayPlan) -> None:
    first: dict[tuple[int, str], int] = {}
    gaps_h = [
        (call.at_ms - first[identity]) // 3_600_000
        for call in plan.calls
        if first.setdefault(identity := (call.license_index, call.response_id), call.at_ms) != call.at_ms
    ]
    assert (len(gaps_h), min(gaps_h), max(gaps_h)) == (5, 0, 61)


def test_people_and_records_of_the_token_licenses(plan: ReplayPlan) -> None:
    contributors = [license_.contributors for license_ in plan.licenses]
    assert [len(people) for people in contributors[:2]] == [28, 16]
    assert sum(person.weight for person in contributors[DEEPSEEK]) == 3_871
    assert sum(person.weight for person in contributors[KIMI]) == 36_898


def test_repeated_pairs_carry_two_grades_and_the_higher_counts(
    attribution: Attribution, expected: dict[str, Any]
) -> None:
    assert (attribution.rows, len(attribution.grades)) == (1_528, 61)
    assert sum(len(records) for records in attribution.grades.values()) == 1_428
    assert attribution.rows - 1_428 == attribution.repeated_pairs == attribution.regraded_pairs == 100
    assert expected["medquad"]["distinct_call_record_pairs"] == 1_428


def test_used_pairs_by_source_and_calls_that_used_nothing(
    plan: ReplayPlan, attribution: Attribution, receipts: tuple[PlannedCall, ...], expected: dict[str, Any]
) -> None:
    retrievals = [call for call in receipts if call.license_index == MEDQUAD]
    used = Counter(attribution.contributor_of[record] for call in retrievals for record in call.records)
    assert used == USED_PAIRS
    assert used.total() == 177
    weights = {
        source.reference.split("/")[1]: source.weight for source in plan.licenses[MEDQUAD].contributors
    }
    assert {name: weight for name, weight in weights.items() if weight} == USED_PAIRS
    nothing_used = [call for call in retrievals if not call.records]
    assert len(nothing_used) == expected["medquad"]["calls_without_any_grade>=3"] == 14
    assert all(call.units == 1 for call in nothing_used)


def test_days_of_the_trace(receipts: tuple[PlannedCall, ...]) -> None:
    days = Counter((call.at_ms // MS_PER_DAY - APRIL_19, call.license_index) for call in receipts)
    assert {day for day, _ in days} == set(range(6)), "19 to 24 April: six daily epochs"
    assert not any(day == 3 and license_ != MEDQUAD for day, license_ in days), (
        "no model was called on 22 April"
    )
    assert days[3, MEDQUAD] == 12, "placed there by the stated rule"
    tokens_by_day = [
        sum(n for (d, license_), n in days.items() if d == day and license_ != MEDQUAD) for day in range(6)
    ]
    assert sum(tokens_by_day) == 1_542
