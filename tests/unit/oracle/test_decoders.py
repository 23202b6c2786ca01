"""Every decoder of bytes from outside: a value or a typed refusal, and one encoding per value."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from usufruct_oracle.peers.client import pack_batches, unpack_batches
from usufruct_oracle.wire_json import (
    Fields,
    frozen_from,
    frozen_json,
    manifest_from,
    parse_object,
    report_from,
    report_json,
    vector_from,
    vector_json,
    vote_from,
    vote_json,
)
from usufruct_protocol.accruals import Accruals
from usufruct_protocol.batches import Batch
from usufruct_protocol.bundle import unpack_lanes, unpack_rosters
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.income import unpack_income
from usufruct_protocol.receipts import decode_signed_receipt, pack_usage_list, unpack_usage_list
from usufruct_protocol.roster import Roster
from usufruct_protocol.sumtree import unpack_words
from usufruct_protocol.usage import unpack_usage

from tests.unit.oracle.lane_kit import KitLane, record_tag
from tests.unit.oracle.test_epoch_store import report
from tests.unit.oracle.test_http import roster_of

# Eleven decoders share what one property gets elsewhere.
SHARE = settings(max_examples=settings.default.max_examples // 4)

BINARY: dict[str, Callable[[bytes], Any]] = {
    "batch": Batch.decode,
    "batches": unpack_batches,
    "roster": Roster.from_bytes,
    "rosters": unpack_rosters,
    "lanes": unpack_lanes,
    "words": unpack_words,
    "income": unpack_income,
    "accruals": Accruals.from_bytes,
    "usage": unpack_usage,
    "usage list": unpack_usage_list,
    "signed receipt": lambda data: decode_signed_receipt(data.decode("latin-1")),
}
SPOKEN: dict[str, Callable[[Fields], Any]] = {
    "frozen heads": frozen_from,
    "vector": vector_from,
    "vote": vote_from,
    "manifest": manifest_from,
    "report": report_from,
}


def refusal(decode: Callable[[], Any]) -> str | None:
    """Return why bytes are refused, None if they are not; any other exception is a fault."""
    try:
        decode()
    except InputRejected as error:
        return str(error)
    return None


def a_lane() -> KitLane:
    kit = KitLane(0)
    kit.meter(1, 2, 3, usage=[(record_tag(1), 2), (record_tag(2), 1)])
    return kit


GOOD: dict[str, bytes] = {
    "batch": a_lane().batch().encode(),
    "batches": pack_batches([a_lane().batch(0, 1), a_lane().batch(1)]),
    "roster": roster_of(3).to_bytes(),
    "usage list": pack_usage_list([(record_tag(1), 2)], bytes(32)),
}
BACK: dict[str, Callable[[Any], bytes]] = {
    "batch": Batch.encode,
    "batches": pack_batches,
    "roster": Roster.to_bytes,
    "usage list": lambda found: pack_usage_list(found.entries, found.salt),
}


@pytest.mark.parametrize("name", BINARY)
@SHARE
@given(data=st.binary(max_size=400))
def test_any_bytes_give_a_value_or_a_typed_refusal(name: str, data: bytes) -> None:
    assert refusal(lambda: BINARY[name](data)) != ""


@pytest.mark.parametrize("name", GOOD)
@SHARE
@given(data=st.data())
def test_bent_bytes_are_refused_or_another_value(name: str, data: st.DataObject) -> None:
    good = GOOD[name]
    at = data.draw(st.integers(0, len(good)))
    bent = good[:at] + data.draw(st.binary(max_size=9)) + good[at + data.draw(st.integers(0, 9)) :]
    try:
        found = BINARY[name](bent)
    except InputRejected:
        return
    assert BACK[name](found) == bent  # what is taken has exactly one encoding: nothing rides along


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**130), 2**130)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["0x" + "00" * 32, "0x" + "11" * 20, "0x" + "22" * 65, "0x" + "zz" * 32, "1", "٣", "1e9"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def spoken() -> dict[str, Any]:
    """One good document of each kind."""
    point = {
        "lane": "0x" + "11" * 20,
        "count": 3,
        "cumulative_units": "6",
        "receipts_root": "0x" + "00" * 32,
        "signature": "0x" + "22" * 65,
    }
    word = "0x" + "00" * 32
    return {
        "frozen heads": {
            "epoch": 1,
            "cutoff_block_hash": word,
            "lanes": [point],
            "conflicts": [{"lane": "0x" + "33" * 20, "seq": 1}],
        },
        "vector": {
            "epoch": 1,
            "attempt": 0,
            "cutoff_block_hash": word,
            "lanes": [None, point],
            "withheld": [3],
            "adopted": [1],
        },
        "vote": {
            "signer_index": 1,
            "report_hash": word,
            "bundle_hash": word,
            "signature": None,
            "possession": word,
        },
        "manifest": {"bundle_hash": word, "files": {"words.bin": {"sha256": word, "size": 32}}},
        "report": report_json(report(1, bytes(32))),
    }


@pytest.mark.parametrize("name", SPOKEN)
@SHARE
@given(data=st.data())
def test_bent_documents_are_refused_by_name(name: str, data: st.DataObject) -> None:
    document = spoken()[name]
    SPOKEN[name](Fields(document, name))
    place = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    if data.draw(st.booleans()):
        place[key] = data.draw(JSON)
    else:
        del place[key]
    assert refusal(lambda: SPOKEN[name](Fields(document, name))) != ""


@given(data=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_object_is_refused(data: bytes) -> None:
    assert "answer of a peer" in (
        refusal(lambda: parse_object(data, "answer of a peer")) or "answer of a peer"
    )


@pytest.mark.parametrize("data", [b"[" * 200_000, b'{"a":' * 200_000, b"1" * 10_000, b"\xff", b"NaN", b"{}x"])
def test_json_that_wants_to_hurt_is_refused(data: bytes) -> None:
    with pytest.raises(InputRejected):
        parse_object(data, "answer of a peer")


def test_documents_come_back_as_they_went() -> None:
    documents = spoken()
    assert frozen_json(frozen_from(Fields(documents["frozen heads"], ""))) == documents["frozen heads"]
    assert vector_json(vector_from(Fields(documents["vector"], ""))) == documents["vector"]
    assert vote_json(vote_from(Fields(documents["vote"], ""))) == documents["vote"]
    assert report_json(report_from(Fields(documents["report"], ""))) == documents["report"]
