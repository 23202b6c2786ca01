"""A stream of any shape and cut arrives as it was made, and its receipts sum to what it took."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from usufruct_meter.call import Call
from usufruct_meter.counting.rules import RULES
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.signed_receipt import MeteredCall, SignedReceipt
from usufruct_meter.streaming import EVENT_STREAM, MeteredStream, Steps

from tests.unit.meter.lane_kit import Clock, new_lane

COMMENT = re.compile(rb": usage-receipt [\w-]+ [0-9a-f]{64}\n\n")
EVENT_ENDS = re.compile(rb"\n\n|\r\n\r\n|\r\r")
numbers = itertools.count()


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    with Lane.open(new_lane(tmp_path_factory.mktemp("lanes")), clock_ms=Clock()) as opened:
        yield opened


def new_stream(kind: str = "tokens", call: Call | None = None, opening_id: str = "") -> MeteredStream:
    call = call or Call()
    stream = RULES[kind].stream
    assert stream is not None
    opening_id = opening_id or f"stream {next(numbers)}"
    return MeteredStream(call, stream(call), EVENT_STREAM, opening_id, bytes(32), 10.0)


def do(steps: Steps, lane: Lane) -> tuple[bytes, list[SignedReceipt]]:
    """Do the steps; returns what was sent and what was signed."""
    sent, signed = b"", []
    reply = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration:
            return sent, signed
        reply = None
        if isinstance(step, MeteredCall):
            reply = lane.meter_call(step)
            signed.append(reply)
        else:
            assert lane.count, "bytes left before a receipt"
            sent += step


def send_all(parts: Sequence[bytes], lane: Lane, opening_id: str = "") -> tuple[bytes, list[SignedReceipt]]:
    stream = new_stream(opening_id=opening_id)
    body, receipts = b"", []
    for at, part in enumerate(parts):
        sent, signed = do(stream.take(part, is_last=at == len(parts) - 1), lane)
        body, receipts = body + sent, receipts + signed
    return body, receipts


def event(content: object, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(content)}\n\n".encode()


def openai(text: str) -> bytes:
    return event({"choices": [{"delta": {"content": text}}]})


OPENAI = [
    openai("a"),
    openai("b"),
    event({"choices": [], "usage": {"total_tokens": 40}}),
    b"data: [DONE]\n\n",
]
VLLM = [
    event({"choices": [{"delta": {"content": "a"}}], "usage": {"prompt_tokens": 30, "completion_tokens": n}})
    for n in range(1, 11)
] + [b"data: [DONE]\n\n"]
ANTHROPIC = [
    event(
        {
            "type": "message_start",
            "message": {"usage": {"input_tokens": 20, "cache_read_input_tokens": 5, "output_tokens": 1}},
        },
        "message_start",
    ),
    event({"type": "ping"}, "ping"),
    *(event({"type": "content_block_delta", "delta": {"text": t}}, "content_block_delta") for t in "abc"),
    event({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 15}}, "message_delta"),
    event({"type": "message_stop"}, "message_stop"),
]
RESPONSES = [
    event({"type": "response.created", "response": {"usage": None}}, "response.created"),
    event({"type": "response.output_text.delta", "delta": "a"}, "response.output_text.delta"),
    event(
        {"type": "response.completed", "response": {"usage": {"input_tokens": 30, "output_tokens": 10}}},
        "response.completed",
    ),
]
GEMINI = [
    event({"candidates": [{}], "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7 + n}})
    for n in (11, 22, 33)
]
SHAPES = {"openai": OPENAI, "vllm": VLLM, "anthropic": ANTHROPIC, "responses": RESPONSES, "gemini": GEMINI}


@pytest.mark.parametrize("shape", SHAPES)
def test_tokens_are_those_that_the_server_reports(lane: Lane, shape: str) -> None:
    body, signed = send_all(SHAPES[shape], lane)
    assert COMMENT.sub(b"", body) == b"".join(SHAPES[shape])
    assert sum(one.receipt.units for one in signed) == 40


@given(
    shape=st.sampled_from(sorted(SHAPES)),
    cuts=st.lists(st.integers(0, 1500), max_size=12).map(sorted),
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
)
@example(shape="anthropic", cuts=[150, 570], line_end=b"\r\n")  # between the last \r and its \n
def test_inv_47_however_a_stream_is_cut_it_arrives_whole_and_its_receipts_sum_to_its_tokens(
    lane: Lane, shape: str, cuts: list[int], line_end: bytes
) -> None:
    made = b"".join(SHAPES[shape]).replace(b"\n", line_end)
    edges = [0, *(cut for cut in cuts if cut < len(made)), len(made)]
    body, signed = send_all([made[a:b] for a, b in itertools.pairwise(edges)], lane)
    assert COMMENT.sub(b"", body) == made
    assert sum(one.receipt.units for one in signed) == 40
    for one in EVENT_ENDS.split(body):
        assert one.startswith((b"data: ", b"event: ", b": usage-receipt")) or not one.strip(), one


@given(
    shape=st.sampled_from(sorted(SHAPES)),
    cuts=st.lists(st.lists(st.integers(0, 1500), max_size=6).map(sorted), min_size=2, max_size=4),
)
def test_inv_40_a_stream_is_counted_once_however_often_and_in_whatever_parts_it_is_sent(
    lane: Lane, shape: str, cuts: list[list[int]]
) -> None:
    made, opening_id, before = b"".join(SHAPES[shape]), f"key {next(numbers)}", lane.cumulative_units
    for one in cuts:
        edges = [0, *(cut for cut in one if cut < len(made)), len(made)]
        send_all([made[a:b] for a, b in itertools.pairwise(edges)], lane, opening_id)
    assert lane.cumulative_units - before == 40


@given(st.lists(st.binary(max_size=60), max_size=20), st.sampled_from(["tokens", "calls", "training"]))
def test_any_bytes_pass_through_unchanged(lane: Lane, parts: list[bytes], kind: str) -> None:
    stream = new_stream(kind)
    body = b""
    for part in parts:
        body += do(stream.take(part, is_last=False), lane)[0]
    body += do(stream.take(b"", is_last=True), lane)[0]
    assert COMMENT.sub(b"", body) == b"".join(parts)


def test_an_event_too_large_to_wait_for_passes_in_pieces_and_nothing_is_put_into_it(lane: Lane) -> None:
    large = b"data: " + b"x" * 3_000_000
    body, signed = send_all([openai("a"), large[:1_500_000], large[1_500_000:], b"\n\n", *OPENAI[2:]], lane)
    assert COMMENT.sub(b"", body) == OPENAI[0] + large + b"\n\n" + b"".join(OPENAI[2:])
    assert sum(one.receipt.units for one in signed) == 40


def test_what_the_app_says_comes_before_what_the_stream_says(lane: Lane) -> None:
    call = Call()
    stream = new_stream(call=call)
    call.units = 5
    _, first = do(stream.take(OPENAI[0], is_last=False), lane)
    call.units = 9
    _, last = do(stream.take(b"".join(OPENAI[1:]), is_last=True), lane)
    assert [one.receipt.units for one in first + last] == [5, 4]


def test_a_count_that_falls_takes_nothing_back(lane: Lane) -> None:
    call = Call()
    stream = new_stream(call=call)
    call.units = 5
    do(stream.take(OPENAI[0], is_last=False), lane)
    call.units = 2
    assert do(stream.take(OPENAI[3], is_last=True), lane)[1] == []


def test_training_is_counted_by_records_and_passes_as_it_goes_on(lane: Lane) -> None:
    call = Call()
    stream = new_stream("training", call)
    _, first = do(stream.take(event("started"), is_last=False), lane)
    call.ran_over(1_000, 3)
    _, last = do(stream.take(event("done"), is_last=True), lane)
    assert [one.receipt.units for one in first + last] == [0, 3_000]
