"""Usage files as they come from elsewhere: what is read, what is refused, and where the error points."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_meter.importer import read_usage
from usufruct_meter.importer.usage import COLUMNS
from usufruct_protocol.errors import InputRejected

HEADER = ",".join(COLUMNS)
TIMES = "2026-04-19T10:29:02.456822+00:00,2026-04-19T10:29:12.262686+00:00"
ROW = f"{TIMES},span1,resp1,vendor/m,vendor/m,100,20,False"


def row(**changes: str) -> str:
    values = dict(zip(COLUMNS, ROW.split(","), strict=True)) | changes
    return ",".join(values[column] for column in COLUMNS)


def written(folder: Path, *lines: str, header: str = HEADER, end: str = "\n") -> Path:
    path = folder / "usage.csv"
    path.write_bytes((end.join((header, *lines)) + end).encode())
    return path


def error_of(path: Path) -> str:
    with pytest.raises(InputRejected) as caught:
        read_usage(path)
    assert caught.value.hint, "every refusal says what to do"
    return str(caught.value)


def test_a_call_is_read_with_its_units_and_its_receipt_time(tmp_path: Path) -> None:
    (call,) = read_usage(written(tmp_path, ROW)).calls
    assert (call.model, call.tokens, call.response_id, call.line) == ("vendor/m", 120, "resp1", 2)
    assert call.issued_at_ms == 1_776_594_552_262, "the end of the response, floored to a millisecond"


@pytest.mark.parametrize(
    ("text", "issued_at_ms"),
    [
        ("2026-04-19T10:29:12.262686", 1_776_594_552_262),
        ("2026-04-19 10:29:12.2629996", 1_776_594_552_262),
        ("2026-04-19T10:29:12Z", 1_776_594_552_000),
        ("2026-04-19T12:29:12.5+02:00", 1_776_594_552_500),
        ("2026-04-19T00:29:12.5-1000", 1_776_594_552_500),
    ],
)
def test_a_time_without_offset_is_utc_and_others_are_converted(
    tmp_path: Path, text: str, issued_at_ms: int
) -> None:
    start = "2026-04-19T10:00:00Z"
    (call,) = read_usage(written(tmp_path, row(start_time_iso=start, end_time_iso=text))).calls
    assert call.issued_at_ms == issued_at_ms


def test_replay_order_is_by_end_then_start_then_span(tmp_path: Path) -> None:
    early, late = "2026-04-19T10:00:00Z", "2026-04-19T10:00:01Z"
    path = written(
        tmp_path,
        row(start_time_iso=late, end_time_iso=late, span_id="d"),
        row(start_time_iso=early, end_time_iso=late, span_id="c"),
        row(start_time_iso=early, end_time_iso=late, span_id="b"),
        row(start_time_iso=early, end_time_iso=early, span_id="e"),
    )
    assert [call.span_id for call in read_usage(path).calls] == ["e", "b", "c", "d"]


def test_failed_rows_give_no_call_whatever_their_tokens_say(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        row(is_error="True", input_tokens="0", output_tokens="0", response_id=""),
        row(is_error="true", input_tokens="900"),
        row(is_error="1", input_tokens="", output_tokens="", response_model=""),
        ROW,
    )
    usage = read_usage(path)
    assert (usage.rows, usage.failed_rows, len(usage.calls)) == (4, 3, 1)


def test_a_row_without_a_single_token_gives_no_receipt(tmp_path: Path) -> None:
    usage = read_usage(written(tmp_path, row(input_tokens="0", output_tokens="0"), ROW))
    assert (usage.rows, usage.failed_rows, usage.zero_token_rows, len(usage.calls)) == (2, 0, 1, 1)


def test_the_model_that_answered_counts_and_else_the_one_asked_for(tmp_path: Path) -> None:
    answered = row(request_model="alias", response_model="vendor/real")
    asked = row(request_model="alias", response_model="")
    assert read_usage(written(tmp_path, answered, asked)).models == ("alias", "vendor/real")


def test_without_a_response_id_the_span_tells_calls_apart(tmp_path: Path) -> None:
    path = written(tmp_path, row(response_id="", span_id="s1"), row(response_id=" ", span_id="s2"))
    assert [call.response_id for call in read_usage(path).calls] == ["span:s1", "span:s2"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_any_system_are_fine(tmp_path: Path, end: str) -> None:
    assert len(read_usage(written(tmp_path, ROW, ROW, end=end)).calls) == 2


def test_byte_order_mark_blank_lines_quotes_and_other_columns_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    lines = [f'"note",{HEADER}', "", f'"first\nsecond, third",{ROW}', "", f",{ROW}"]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    usage = read_usage(path)
    assert [call.line for call in usage.calls] == [3, 6], "lines are those where a row begins"


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    path = written(tmp_path, ",".join(reversed(ROW.split(","))), header=",".join(reversed(COLUMNS)))
    assert read_usage(path).calls[0].tokens == 120


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named_with_file_and_line(tmp_path: Path, column: str) -> None:
    path = written(tmp_path, ROW, header=HEADER.replace(column, f"not_{column}"))
    assert error_of(path).startswith(f"{path}:1: missing column {column}")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"input_tokens": "-1"}, "input_tokens is '-1'"),
        ({"input_tokens": "1.0"}, "input_tokens is '1.0'"),
        ({"input_tokens": "1e3"}, "input_tokens is '1e3'"),
        ({"input_tokens": "1_000"}, "input_tokens is '1_000'"),
        ({"input_tokens": " 5"}, "input_tokens is ' 5'"),
        ({"input_tokens": "٣"}, "input_tokens is '٣'"),
        ({"output_tokens": ""}, "output_tokens is ''"),
        ({"output_tokens": "nan"}, "output_tokens is 'nan'"),
        ({"output_tokens": str(1 << 47)}, "the limit is"),
        ({"output_tokens": "9" * 5000}, "the limit is"),
        ({"end_time_iso": "2026-04-19T10:00:00Z"}, "ends before it starts"),
        ({"end_time_iso": "2026-04-19"}, "not a time"),
        ({"end_time_iso": "2026-02-30T10:00:00Z"}, "not a time"),
        ({"end_time_iso": "2026-04-19T24:00:00Z"}, "not a time"),
        ({"end_time_iso": "2026-04-19T10:00:60Z"}, "not a time"),
        ({"end_time_iso": "1776594552"}, "not a time"),
        ({"start_time_iso": ""}, "start_time_iso is blank"),
        ({"start_time_iso": "1969-12-31T23:59:59Z"}, "before 1970"),
        ({"start_time_iso": "0001-01-01T00:00:00+14:00"}, "before 1970"),
        ({"is_error": "no"}, "is_error is 'no'"),
        ({"is_error": ""}, "is_error is ''"),
        ({"span_id": ""}, "span_id is blank"),
        ({"request_model": "", "response_model": " "}, "request_model is blank"),
    ],
)
def test_a_bad_value_is_refused_with_file_and_line(
    tmp_path: Path, changes: dict[str, str], what: str
) -> None:
    path = written(tmp_path, ROW, "", row(**changes))
    message = error_of(path)
    assert message.startswith(f"{path}:4: ")
    assert what in message
    assert len(message) < len(str(path)) + 200, "a huge value does not flood the screen"


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        (b"", 1, "empty"),
        (b"\n\n\n", 1, "empty"),
        (f"{HEADER},span_id\n{ROW},x\n".encode(), 1, "span_id is there more than once"),
        (f"{HEADER.replace(',', ';')}\n".encode(), 1, "missing column"),
        (f"{HEADER}\n{ROW}\n{ROW},extra\n".encode(), 3, "10 fields where the header has 9"),
        (f"{HEADER}\n{ROW}\nshort\n".encode(), 3, "1 fields where the header has 9"),
        (f'{HEADER}\n{ROW}\n"{ROW}\n'.encode(), 3, "not readable as CSV"),
        (f'{HEADER}\n{ROW}\n"a"b,{ROW}\n'.encode(), 3, "not readable as CSV"),
        (f"{HEADER}\n{ROW}\n{'x' * 200_000},{ROW}\n".encode(), 3, "not readable as CSV"),
        (f"{HEADER}\n".encode("utf-16"), 1, "not UTF-8"),
        (b"start_time_iso\xff\n", 1, "not UTF-8"),
    ],
)
def test_a_broken_file_is_refused_with_file_and_line(
    tmp_path: Path, content: bytes, line: int, what: str
) -> None:
    path = tmp_path / "usage.csv"
    path.write_bytes(content)
    message = error_of(path)
    assert message.startswith(f"{path}:{line}: ")
    assert what in message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert error_of(tmp_path / "nowhere.csv") == f"{tmp_path}/nowhere.csv: no such file"
    assert "no such file" in error_of(tmp_path)


def test_a_file_beyond_the_size_limit_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    with path.open("wb") as stream:
        stream.truncate((1 << 30) + 1)
    assert "the limit is" in error_of(path)


@given(st.binary(max_size=300) | st.text(alphabet='",\n\r a1\x00é', max_size=300).map(str.encode))
def test_whatever_bytes_come_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(f"{HEADER}\n{ROW}\n".encode() + tail)
    try:
        rows = read_usage(path).rows
    except InputRejected as error:
        refusal = str(error)
        assert f"{path}:" in refusal  # both outcomes are right; any other exception fails
    else:
        assert rows >= 1
