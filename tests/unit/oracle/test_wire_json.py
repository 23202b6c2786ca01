"""What nodes tell each other reads back as it was, and anything else is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_oracle import wire_json
from usufruct_oracle.signed_checkpoint import SignedCheckpoint
from usufruct_oracle.wire_json import FileEntry, FrozenHeads, Vector, Vote, parse_object
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.report_types import EpochReport, ReportLine


def exactly(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


heads = st.builds(
    SignedCheckpoint,
    st.builds(Checkpoint, exactly(20), st.integers(0, 2**63 - 1), st.integers(0, 2**96), exactly(32)),
    exactly(65) | st.just(b""),
)
lines = st.builds(
    ReportLine, st.integers(1, 2**32 - 1), st.integers(0, 2**128 - 1), st.integers(0, 2**96 - 1)
)
reports = st.builds(
    EpochReport,
    epoch=st.integers(1, 2**48),
    attempt=st.integers(0, 2**32 - 1),
    period_end=st.integers(0, 2**48),
    cutoff_block=st.integers(0, 2**63),
    signer_set_version=st.integers(0, 2**32 - 1),
    rule_version=st.integers(0, 2**32 - 1),
    lane_count=st.integers(0, 2**32 - 1),
    notes_total=st.integers(0, 2**96 - 1),
    note_count=st.integers(0, 2**32 - 1),
    reserve_total=st.integers(0, 2**96 - 1),
    reserve_count=st.integers(0, 2**32 - 1),
    lines=st.lists(lines, max_size=3).map(tuple),
    **{
        name: exactly(32)
        for name in (
            "previous_report_hash",
            "cutoff_block_hash",
            "lanes_root",
            "notes_root",
            "reserve_root",
            "consent_root",
            "roster_hash",
            "bundle_hash",
        )
    },
)


def over_the_wire(content: dict[str, Any]) -> wire_json.Fields:
    return parse_object(json.dumps(content), "message")


@given(reports)
def test_reports_read_back(report: EpochReport) -> None:
    assert wire_json.report_from(over_the_wire(wire_json.report_json(report))) == report


@given(
    st.integers(1, 2**40),
    st.integers(0, 2**31),
    exactly(32),
    st.lists(heads | st.none()),
    st.lists(st.integers(1, 9)),
    st.lists(st.integers(0, 9)),
)
def test_vectors_read_back(
    epoch: int,
    attempt: int,
    cutoff: bytes,
    vector_heads: list[Any],
    withheld: list[int],
    adopted: list[int],
) -> None:
    vector = Vector(epoch, attempt, cutoff, tuple(vector_heads), tuple(withheld), tuple(adopted))
    assert wire_json.vector_from(over_the_wire(wire_json.vector_json(vector))) == vector


@given(
    exactly(32),
    st.lists(heads, unique_by=lambda head: head.checkpoint.lane),
    st.dictionaries(exactly(20), st.integers(0, 2**62)),
)
def test_frozen_heads_read_back(cutoff: bytes, frozen: list[Any], conflicts: dict[bytes, int]) -> None:
    view = FrozenHeads(7, cutoff, tuple(frozen), conflicts)
    assert wire_json.frozen_from(over_the_wire(wire_json.frozen_json(view))) == view


@given(heads)
def test_a_lane_named_twice_is_refused(head: SignedCheckpoint) -> None:
    view = FrozenHeads(7, bytes(32), (head, head), {})
    with pytest.raises(InputRejected, match="named twice"):
        wire_json.frozen_from(over_the_wire(wire_json.frozen_json(view)))


@given(st.builds(Vote, st.integers(0, 255), exactly(32), exactly(32), exactly(65) | st.none(), exactly(32)))
def test_votes_read_back(vote: Vote) -> None:
    assert wire_json.vote_from(over_the_wire(wire_json.vote_json(vote))) == vote


def test_manifests_read_back_and_names_are_plain() -> None:
    entries = {"words.bin": FileEntry(b"\x01" * 32, 5)}
    content = wire_json.manifest_json(bytes(32), entries)
    assert wire_json.manifest_from(over_the_wire(content)) == entries
    for name in ("", "ä", "x" * 65):
        with pytest.raises(InputRejected, match="bad file name"):
            wire_json.manifest_from(over_the_wire({"files": {name: content["files"]["words.bin"]}}))


GOOD_VOTE = {
    "signer_index": 1,
    "report_hash": "0x" + "11" * 32,
    "bundle_hash": "0x" + "22" * 32,
    "signature": None,
    "possession": "0x" + "33" * 32,
}


@pytest.mark.parametrize(
    "change",
    [
        {"signer_index": -1},
        {"signer_index": 256},
        {"signer_index": "1"},
        {"signer_index": True},
        {"signer_index": 1.0},
        {"report_hash": "11" * 33},
        {"report_hash": "0x" + "11" * 31},
        {"report_hash": "0x" + "zz" * 32},
        {"report_hash": None},
        {"signature": "0x"},
        {"signature": 5},
        {"possession": None},
        {"possession": "0x" + "33" * 31},
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any]) -> None:
    assert wire_json.vote_from(over_the_wire(GOOD_VOTE)).signer_index == 1
    with pytest.raises(InputRejected, match=next(iter(change))):
        wire_json.vote_from(over_the_wire({**GOOD_VOTE, **change}))


@pytest.mark.parametrize("amount", [5, "-1", "1.0", "", "1e3", "٣", str(2**128), "9" * 50, None])
def test_amounts_are_decimal_strings(amount: object) -> None:
    content = wire_json.signed_checkpoint_json(
        SignedCheckpoint(Checkpoint(b"\x01" * 20, 1, 5, bytes(32)), b"")
    )
    message = {"epoch": 1, "cutoff_block_hash": "0x" + "00" * 32, "conflicts": []}
    with pytest.raises(InputRejected, match="cumulative_units"):
        wire_json.frozen_from(over_the_wire({**message, "lanes": [{**content, "cumulative_units": amount}]}))


@pytest.mark.parametrize("data", [b"", b"[]", b"nul", b"\xff", b"[" * 100_000, b"1"])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(InputRejected):
        parse_object(data, "message")
