"""Rosters: one canonical form, nothing ambiguous accepted."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.roster import (
    NO_ADDRESS,
    ConsentInterval,
    Roster,
    RosterRow,
    derive_purse,
    derive_record_tag,
    derive_row_salt,
    rosters_hash,
    skim,
)

bytes32 = st.binary(min_size=32, max_size=32)
intervals = st.lists(st.integers(0, 2**63), min_size=2, max_size=6, unique=True).map(
    lambda times: tuple(
        ConsentInterval(start, end, bytes(32))
        for start, end in zip(sorted(times)[::2], sorted(times)[1::2], strict=False)
    )
)
rows = st.builds(
    RosterRow,
    purse=bytes32,
    weight=st.integers(0, 2**64 - 1),
    payout=st.just(NO_ADDRESS) | st.binary(min_size=20, max_size=20),
    threshold_base_units=st.integers(0, 2**96 - 1),
    salt=bytes32,
    record_tags=st.sets(bytes32, max_size=4).map(lambda tags: tuple(sorted(tags))),
    intervals=intervals,
)
rosters = st.lists(rows, unique_by=lambda row: row.purse, max_size=6).filter(
    lambda rs: len({tag for row in rs for tag in row.record_tags}) == sum(len(row.record_tags) for row in rs)
)


def row(number: int, **changes: object) -> RosterRow:
    base = RosterRow(number.to_bytes(32, "big"), 1, NO_ADDRESS, 0, bytes(32))
    return dataclasses.replace(base, **changes)


@given(rosters, st.randoms(use_true_random=False))
def test_any_order_gives_the_same_bytes_and_they_read_back(many, shuffle) -> None:
    roster = Roster.build(many)
    assert Roster.build(shuffle.sample(many, len(many))).to_bytes() == roster.to_bytes()
    assert Roster.from_bytes(roster.to_bytes()) == roster


@given(rosters.filter(bool), st.data())
def test_no_other_bytes_read_as_a_roster(many, data) -> None:
    good = Roster.build(many).to_bytes()
    cut = data.draw(st.integers(0, len(good) - 1))
    for bad in (good[:cut], good + b"\x00"):
        with pytest.raises(InputRejected):
            Roster.from_bytes(bad)


def test_rows_are_ordered_by_the_hash_of_the_purse() -> None:
    roster = Roster.build([row(n) for n in range(20)])
    hashes = [hashlib.sha256(one.purse).digest() for one in roster.rows]
    assert hashes == sorted(hashes)


def test_disorder_in_the_bytes_is_refused() -> None:
    first, second = Roster.build([row(1), row(2)]).rows
    with pytest.raises(InputRejected, match="order"):
        Roster((second, first))


def test_a_purse_twice_is_refused() -> None:
    with pytest.raises(InputRejected, match="in the roster twice"):
        Roster.build([row(1), row(1, weight=2)])


def test_a_record_of_two_purses_is_refused() -> None:
    tags = (bytes(31) + b"\x07",)
    with pytest.raises(InputRejected, match="belongs to two purses"):
        Roster.build([row(1, record_tags=tags), row(2, record_tags=tags)])


@pytest.mark.parametrize(
    "bad",
    [
        {"weight": -1},
        {"weight": 2**64},
        {"threshold_base_units": 2**96},
        {"payout": bytes(19)},
        {"salt": bytes(31)},
        {"record_tags": (bytes([2]) * 32, bytes([1]) * 32)},
        {"record_tags": (bytes(32), bytes(32))},
        {"intervals": (ConsentInterval(5, 9, bytes(32)), ConsentInterval(8, 12, bytes(32)))},
    ],
)
def test_bad_rows_are_refused(bad) -> None:
    with pytest.raises(InputRejected):
        row(1, **bad)


def test_an_empty_consent_interval_is_refused() -> None:
    with pytest.raises(InputRejected, match="empty"):
        ConsentInterval(5, 5, bytes(32))


def test_derived_names_differ_by_use_collection_and_person() -> None:
    key, one, two = b"k" * 32, bytes(32), b"\x01" * 32
    made = {
        derive(key, collection, person)
        for derive in (derive_purse, derive_record_tag, derive_row_salt)
        for collection in (one, two)
        for person in (b"1", b"2")
    }
    assert len(made) == 12


def test_rosters_hash_is_of_ascending_pairs() -> None:
    a, b = b"\x0a" * 32, b"\x0b" * 32
    assert rosters_hash({2: b, 1: a}) == keccak256(b"\0\0\0\1" + a + b"\0\0\0\2" + b)
    assert rosters_hash({}) == bytes(32)


def test_skimming_reads_what_the_rows_hold() -> None:
    intervals = (ConsentInterval(1, 2, b"\x01" * 32), ConsentInterval(2, 9, b"\x02" * 32))
    roster = Roster.build(
        RosterRow(
            bytes([number]) * 32, number**9, bytes([number]) * 20, 7, b"\x05" * 32,
            tuple(bytes([number, tag]) * 16 for tag in range(number % 3)), intervals[: number % 3],
        )
        for number in range(1, 9)
    )  # fmt: skip
    assert list(skim(roster.to_bytes())) == [
        (row.purse, row.weight, row.payout, len(row.record_tags)) for row in roster.rows
    ]
