"""People and attribution files: whose records, and which of them a call used."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_meter.importer import place_call_ms, read_attribution, read_people
from usufruct_protocol.errors import InputRejected

HEADER = "call_id,record_id,contributor,grade"


def written(folder: Path, *lines: str) -> Path:
    path = folder / "file.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("column", ["person_id", "subject#"])
def test_a_persons_weight_is_the_number_of_records(tmp_path: Path, column: str) -> None:
    path = written(tmp_path, f"value,{column}", "5,002", "6,001", "7,002", "", "8,2")
    assert dict(read_people(path).records) == {"001": 1, "002": 2, "2": 1}, "ids are texts: 2 is not 002"


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (["name,value", "a,1"], "1: missing column person_id or subject#"),
        (["person_id,subject#", "a,1"], "1: both person_id and subject# are there"),
        (["person_id,person_id", "a,1"], "1: column person_id is there more than once"),
        (["person_id,value"], "1: nobody is in this file"),
        (["person_id,value", "a,1", ",2"], "3: person_id is blank"),
    ],
)
def test_a_people_file_that_cannot_be_paid_is_refused(tmp_path: Path, lines: list[str], what: str) -> None:
    path = written(tmp_path, *lines)
    with pytest.raises(InputRejected) as caught:
        read_people(path)
    assert str(caught.value).startswith(f"{path}:{what}")


def test_of_a_repeated_pair_the_higher_grade_counts(tmp_path: Path) -> None:
    path = written(
        tmp_path, HEADER, "c1,r1,A,4", "c1,r1,A,1", "c1,r2,B,2", "c1,r2,B,3", "c2,r1,A,1", "c2,r1,A,1"
    )
    attribution = read_attribution(path)
    assert attribution.used_records("c1", 3) == ("r1", "r2")
    assert attribution.used_records("c1", 4) == ("r1",)
    assert attribution.used_records("c2", 3) == ()
    assert (attribution.rows, attribution.repeated_pairs, attribution.regraded_pairs) == (6, 3, 2)


def test_calls_and_records_come_by_id_whatever_the_order_of_rows(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER, "b,r2,A,3", "a,r9,A,0", "b,r1,A,3")
    attribution = read_attribution(path)
    assert list(attribution.grades) == ["a", "b"]
    assert attribution.used_records("b", 3) == ("r1", "r2")
    assert attribution.records_by_contributor() == {"A": ("r1", "r2", "r9")}


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("c,r1,A,", "grade is ''"),
        ("c,r1,A,-1", "grade is '-1'"),
        ("c,r1,A,3.5", "grade is '3.5'"),
        (",r1,A,3", "call_id is blank"),
        ("c,,A,3", "record_id is blank"),
        ("c,r1,,3", "contributor is blank"),
        ("c,r1,B,3", "record 'r1' belongs to 'B' here and to 'A' on line 2"),
    ],
)
def test_a_bad_attribution_row_is_refused_with_file_and_line(tmp_path: Path, row: str, what: str) -> None:
    path = written(tmp_path, HEADER, "c0,r1,A,3", row)
    with pytest.raises(InputRejected) as caught:
        read_attribution(path)
    assert str(caught.value).startswith(f"{path}:3: {what}")


def test_an_attribution_file_without_calls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRejected, match="no call is in this file"):
        read_attribution(written(tmp_path, HEADER))


def test_a_single_call_stands_at_the_start_of_the_trace() -> None:
    assert place_call_ms(0, 1, 100, 900) == 100


@given(st.integers(2, 500), st.integers(0, 2**45), st.integers(0, 2**45))
def test_placed_calls_span_the_trace_in_order(count: int, first_ms: int, span_ms: int) -> None:
    places = [place_call_ms(index, count, first_ms, first_ms + span_ms) for index in range(count)]
    assert (places[0], places[-1]) == (first_ms, first_ms + span_ms)
    assert places == sorted(places)
    assert all(place == first_ms + span_ms * i // (count - 1) for i, place in enumerate(places))
