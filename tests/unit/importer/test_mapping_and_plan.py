"""From files to licenses: by a mapping, or by the rule that holds without one."""

from __future__ import annotations

from pathlib import Path

import pytest
from usufruct_meter.importer import (
    ReplayPlan,
    plan_replay,
    read_attribution,
    read_mapping,
    read_people,
    read_usage,
    without_retries,
)
from usufruct_meter.importer.usage import COLUMNS
from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.errors import InputRejected

TOKENS_TOML = """
[[license]]
name = "A"
meter = "tokens"
models = ["m/a"]
people = ["one.csv"]
price_per_million_units = 1_000_000
"""
IGNORE_B = 'ignored_models = ["m/b"]'
RETRIEVAL_TOML = """
[[license]]
name = "R"
meter = "retrieval"
used_from_grade = 2
price_per_million_units = 7
"""


def usage_file(folder: Path, *calls: tuple[str, str, str, int]) -> Path:
    """Write calls of (second, response id, model, tokens)."""
    lines = [",".join(COLUMNS)]
    for number, (second, response_id, model, tokens) in enumerate(calls):
        moment = f"2026-04-19T10:00:{second}Z"
        lines.append(f"{moment},{moment},s{number},{response_id},{model},{model},{tokens},0,False")
    path = folder / "usage.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path: Path) -> Path:
    usage_file(
        tmp_path, ("05", "x", "m/a", 5), ("01", "x", "m/a", 3), ("03", "x", "m/b", 8), ("09", "y", "m/a", 1)
    )
    (tmp_path / "one.csv").write_text("person_id\np\np\nq\n", encoding="utf-8")
    (tmp_path / "two.csv").write_text("subject#\np\n", encoding="utf-8")
    attribution = "call_id,record_id,contributor,grade\nc1,r1,S,3\nc1,r2,T,1\nc2,r2,T,2\nc3,r1,S,0\n"
    (tmp_path / "attribution.csv").write_text(attribution, encoding="utf-8")
    return tmp_path


def planned(files: Path, toml: str | None = None, *, attribution: bool = True) -> ReplayPlan:
    mapping = None
    if toml is not None:
        (files / "map.toml").write_text(toml, encoding="utf-8")
        mapping = read_mapping(files / "map.toml")
    return plan_replay(
        read_usage(files / "usage.csv"),
        [read_people(files / "one.csv"), read_people(files / "two.csv")],
        read_attribution(files / "attribution.csv") if attribution else None,
        mapping,
    )


def test_without_a_mapping_every_model_pays_all_people_and_attribution_is_retrieval(files: Path) -> None:
    plan = planned(files)
    assert [(license_.name, license_.meter) for license_ in plan.licenses] == [
        ("tokens of m/a", MeterKind.TOKENS),
        ("tokens of m/b", MeterKind.TOKENS),
        ("retrieval", MeterKind.RETRIEVAL),
    ]
    weights = {person.reference: person.weight for person in plan.licenses[0].contributors}
    assert weights == {"one.csv/p": 2, "one.csv/q": 1, "two.csv/p": 1}, "one id in two files is two people"
    sources = {source.reference: (source.weight, source.records) for source in plan.licenses[2].contributors}
    assert sources == {"attribution.csv/S": (1, ("r1",)), "attribution.csv/T": (0, ("r2",))}, "weight is use"


def test_without_attribution_there_is_no_retrieval_license(files: Path) -> None:
    assert [license_.name for license_ in planned(files, attribution=False).licenses] == [
        "tokens of m/a",
        "tokens of m/b",
    ]


def test_inv_40_a_retry_is_the_earliest_call_once_per_license(files: Path) -> None:
    plan = planned(files)
    tokens = [
        (call.license_index, call.units) for call in without_retries(plan.calls) if call.license_index < 2
    ]
    assert tokens == [(0, 3), (1, 8), (0, 1)], (
        "x on m/a counts its earliest tokens; x on m/b is another license"
    )
    assert sum(call.license_index == 0 for call in plan.calls) == 3, (
        "the plan keeps retries for the meter to see"
    )


def test_retrieval_calls_cost_one_unit_even_when_nothing_was_used(files: Path) -> None:
    plan = planned(files, IGNORE_B + TOKENS_TOML + RETRIEVAL_TOML)
    retrievals = [call for call in plan.calls if call.license_index == 1]
    assert [call.units for call in retrievals] == [1, 1, 1]
    assert [call.records for call in retrievals] == [("r1",), ("r2",), ()], "used from grade 2, as mapped"
    assert [call.at_ms % 60_000 for call in retrievals] == [1_000, 5_000, 9_000], (
        "spread over the token trace"
    )


def test_a_retry_at_the_end_does_not_stretch_the_trace(files: Path) -> None:
    usage_file(files, ("01", "x", "m/a", 5), ("03", "y", "m/a", 1), ("59", "x", "m/a", 5))
    (files / "two.csv").unlink()
    plan = plan_replay(
        read_usage(files / "usage.csv"),
        [read_people(files / "one.csv")],
        read_attribution(files / "attribution.csv"),
    )
    assert [call.at_ms % 60_000 for call in plan.calls if call.records or call.units == 1][-1] == 3_000


def test_a_single_call_and_a_single_person_are_enough(files: Path) -> None:
    usage_file(files, ("07", "x", "m/a", 5))
    (files / "one.csv").write_text("person_id\np\n", encoding="utf-8")
    plan = plan_replay(
        read_usage(files / "usage.csv"),
        [read_people(files / "one.csv")],
        read_attribution(files / "attribution.csv"),
    )
    assert {call.at_ms % 60_000 for call in plan.calls} == {7_000}
    assert len(plan.calls) == 4


def test_what_was_joined_or_left_out_by_rule_is_said(files: Path) -> None:
    said = "\n".join(planned(files, IGNORE_B + TOKENS_TOML).rules)
    assert "not an observation" in said
    assert "two.csv is in no license" in said
    assert "attribution.csv is in no license" in said
    assert "Calls of m/b are left out" in said


def test_a_model_without_a_license_is_named_with_its_line(files: Path) -> None:
    with pytest.raises(InputRejected) as caught:
        planned(files, TOKENS_TOML)
    assert str(caught.value) == f"{files}/usage.csv:4: no license for model 'm/b'"


@pytest.mark.parametrize(
    ("toml", "what"),
    [
        (IGNORE_B + TOKENS_TOML.replace("one.csv", "three.csv"), "names people file 'three.csv'"),
        ('ignored_models = ["m/a", "m/b"]' + TOKENS_TOML.replace("m/a", "m/c"), "ignores every model"),
    ],
)
def test_a_mapping_that_does_not_fit_the_files_is_refused(files: Path, toml: str, what: str) -> None:
    with pytest.raises(InputRejected, match=what):
        planned(files, toml)


def test_a_retrieval_license_needs_an_attribution_file(files: Path) -> None:
    with pytest.raises(InputRejected, match="needs an attribution file"):
        planned(files, IGNORE_B + TOKENS_TOML + RETRIEVAL_TOML, attribution=False)


def test_two_people_files_of_one_name_are_refused(files: Path) -> None:
    (files / "other").mkdir()
    twin = files / "other" / "one.csv"
    twin.write_text("person_id\np\n", encoding="utf-8")
    people = [read_people(files / "one.csv"), read_people(twin)]
    with pytest.raises(InputRejected, match="same name"):
        plan_replay(read_usage(files / "usage.csv"), people, None)


def test_no_people_and_no_billable_call_are_refused(files: Path) -> None:
    with pytest.raises(InputRejected, match="no people file"):
        plan_replay(read_usage(files / "usage.csv"), [], None)
    usage_file(files, ("01", "x", "m/a", 0))
    with pytest.raises(InputRejected, match="no billable call"):
        planned(files)


@pytest.mark.parametrize(
    ("toml", "what"),
    [
        ("", "names no license"),
        ("license = 3", "names no license"),
        ("[[license]", "not TOML"),
        ("[[license]]\nmeter = 'tokens'", "license 1 has no name"),
        (TOKENS_TOML.replace('"tokens"', '"gpu"'), "meter is 'gpu'"),
        (TOKENS_TOML.replace("models", "model"), "unknown model"),
        (TOKENS_TOML.replace('["m/a"]', '"m/a"'), "models is no list of texts"),
        (TOKENS_TOML.replace('["m/a"]', "[]"), "lacks models or people"),
        (TOKENS_TOML.replace("1_000_000", "1.5"), "must be an integer, got float"),
        (TOKENS_TOML.replace("1_000_000", "-1"), "price_per_million_units must be in"),
        (TOKENS_TOML.replace("1_000_000", "0"), "price_per_million_units is 0"),
        (TOKENS_TOML.replace("1_000_000", str(2**96)), "price_per_million_units must be in"),
        (TOKENS_TOML + "used_from_grade = 1", "unknown used_from_grade"),
        (TOKENS_TOML + "split_bps = {contributors = 10000}", "split_bps is incomplete"),
        (
            TOKENS_TOML
            + "split_bps = {contributors = 1, community = 1, steward = 1, platform = 1, operators = 1}",
            "must sum to 10000",
        ),
        (RETRIEVAL_TOML.replace("= 2", "= true"), "used_from_grade is True"),
        (RETRIEVAL_TOML.replace("= 2", "= -2"), "used_from_grade is -2"),
        (TOKENS_TOML * 2, "license name 'A' is there twice"),
        (TOKENS_TOML + TOKENS_TOML.replace('"A"', '"B"'), "model 'm/a' is there twice"),
        ('ignored_models = ["m/a"]' + TOKENS_TOML, "model 'm/a' is there twice"),
        (RETRIEVAL_TOML + RETRIEVAL_TOML.replace('"R"', '"S"'), "two retrieval licenses"),
    ],
)
def test_a_wrong_mapping_is_refused_with_its_file(tmp_path: Path, toml: str, what: str) -> None:
    path = tmp_path / "map.toml"
    path.write_text(toml, encoding="utf-8")
    with pytest.raises(InputRejected) as caught:
        read_mapping(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert what in str(caught.value)
    assert caught.value.hint


def test_a_mapping_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputRejected, match="cannot be read"):
        read_mapping(tmp_path / "nowhere.toml")
    (tmp_path / "big.toml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(InputRejected, match="more than"):
        read_mapping(tmp_path / "big.toml")


def test_the_shipped_mapping_reads() -> None:
    shipped = Path(__file__).resolve().parents[3] / "examples" / "replay" / "recorded.toml"
    assert [rule.meter for rule in read_mapping(shipped).licenses] == [
        MeterKind.TOKENS,
        MeterKind.TOKENS,
        MeterKind.RETRIEVAL,
    ]
