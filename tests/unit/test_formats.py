"""Accruals, usage, batches, lane vectors: each has one encoding, and damaged bytes are refused by name."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.accruals import Accruals
from usufruct_protocol.batches import MAX_BATCH_BYTES, MAX_BATCH_RECEIPTS, Batch, check_openings
from usufruct_protocol.bundle import (
    bundle_hash,
    manifest_hash,
    pack_lanes,
    pack_rosters,
    unpack_lanes,
    unpack_rosters,
)
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.receipts import Checkpoint, UsageReceipt, pack_receipt, pack_usage_list, usage_root
from usufruct_protocol.sumtree import pack_words, unpack_words
from usufruct_protocol.usage import add_usage, count_usage, pack_usage, unpack_usage

bytes32 = st.binary(min_size=32, max_size=32)
LANE = b"\x11" * 20
SALT = b"\x05" * 32


@given(st.dictionaries(bytes32, st.integers(0, 2**128 - 1)))
def test_accruals_read_back_without_zeros(amounts) -> None:
    accruals = Accruals(amounts)
    assert Accruals.from_bytes(accruals.to_bytes()) == accruals
    assert dict(accruals) == {purse: amount for purse, amount in amounts.items() if amount}
    assert accruals.total == sum(amounts.values())


@pytest.mark.parametrize("amount", [-1, 2**128])
def test_an_accrual_outside_u128_is_refused(amount) -> None:
    with pytest.raises(InputRejected, match="uint128"):
        Accruals({bytes(32): amount})


def test_accruals_out_of_order_or_zero_are_refused() -> None:
    def raw(*rows: tuple[int, int]) -> bytes:
        body = b"".join(purse.to_bytes(32, "big") + amount.to_bytes(16, "big") for purse, amount in rows)
        return b"UFA1" + len(rows).to_bytes(4, "big") + body

    assert Accruals.from_bytes(raw((1, 5), (2, 6))).total == 11
    for bad in (raw((2, 6), (1, 5)), raw((1, 5), (1, 5)), raw((1, 0)), raw((1, 5))[:-1], raw((1, 5)) + b"\0"):
        with pytest.raises(InputRejected):
            Accruals.from_bytes(bad)


@given(st.dictionaries(st.integers(1, 9), st.dictionaries(bytes32, st.integers(1, 2**40), min_size=1)))
def test_usage_reads_back(usage) -> None:
    assert unpack_usage(pack_usage(usage)) == usage
    doubled = add_usage(usage, usage)
    assert doubled == {k: {tag: 2 * weight for tag, weight in v.items()} for k, v in usage.items()}


def test_usage_adds_up_over_calls() -> None:
    one, two = b"\x01" * 32, b"\x02" * 32
    assert count_usage([[(one, 1), (two, 3)], [(one, 1)], []]) == {one: 2, two: 3}


def test_usage_that_is_not_canonical_is_refused() -> None:
    row = bytes(32) + (1).to_bytes(8, "big")
    twice = b"UFU1" + (1).to_bytes(4, "big") + (1).to_bytes(4, "big") + (2).to_bytes(4, "big") + row + row
    with pytest.raises(InputRejected, match="repeated"):
        unpack_usage(twice)


def receipt(seq: int, *, used: bool) -> UsageReceipt:
    root = usage_root([(bytes([seq + 1]) * 32, 1)], SALT) if used else bytes(32)
    return UsageReceipt(LANE, seq, 1, seq + 1, root, bytes(32), 1000 + seq)


def batch(first: int, uses: list[bool], **changes: object) -> Batch:
    receipts = [receipt(first + i, used=used) for i, used in enumerate(uses)]
    made = Batch(
        LANE,
        first,
        b"".join(map(pack_receipt, receipts)),
        Checkpoint(LANE, first + len(uses), first + len(uses), b"\x07" * 32),
        b"\x08" * 65,
        {
            one.seq: pack_usage_list([(bytes([one.seq + 1]) * 32, 1)], SALT)
            for one, used in zip(receipts, uses, strict=True)
            if used
        },
    )
    return dataclasses.replace(made, **changes)


@given(st.integers(0, 200), st.lists(st.booleans(), max_size=12))
def test_batches_read_back_and_their_openings_match(first, uses) -> None:
    made = batch(first, uses)
    assert Batch.decode(made.encode()) == made
    assert sorted(check_openings(made)) == [first + i for i, used in enumerate(uses) if used]


@given(st.lists(st.booleans(), min_size=1, max_size=4), st.data())
def test_a_batch_cut_short_or_grown_is_refused(uses, data) -> None:
    good = batch(3, uses).encode()
    for bad in (good[: data.draw(st.integers(0, len(good) - 1))], good + b"\0"):
        with pytest.raises(InputRejected):
            Batch.decode(bad)


def test_a_missing_opening_names_lane_and_seq() -> None:
    with pytest.raises(InputRejected, match=f"lane {LANE.hex()} seq 6: the usage list is missing"):
        check_openings(batch(5, [False, True], openings={}))


def test_a_wrong_opening_is_refused() -> None:
    wrong = pack_usage_list([(b"\x44" * 32, 1)], SALT)
    with pytest.raises(InputRejected, match="does not match"):
        check_openings(batch(5, [True], openings={5: wrong}))


def test_an_opening_without_a_receipt_is_refused() -> None:
    stray = pack_usage_list([(b"\x44" * 32, 1)], SALT)
    with pytest.raises(InputRejected, match="without a receipt"):
        check_openings(batch(5, [False], openings={5: stray}))


def test_a_batch_that_does_not_end_at_its_checkpoint_is_refused() -> None:
    with pytest.raises(InputRejected, match="do not end at"):
        batch(5, [False], checkpoint=Checkpoint(LANE, 7, 7, bytes(32)))


def test_a_batch_with_a_foreign_checkpoint_is_refused() -> None:
    with pytest.raises(InputRejected, match="carries a checkpoint of"):
        batch(5, [False], checkpoint=Checkpoint(b"\x12" * 20, 6, 6, bytes(32)))


def test_oversized_batches_are_refused_before_they_are_read() -> None:
    with pytest.raises(InputRejected, match="at most"):
        Batch.decode(bytes(MAX_BATCH_BYTES + 1))
    with pytest.raises(InputRejected, match="at most"):
        batch(0, [False] * (MAX_BATCH_RECEIPTS + 1))


@given(st.lists(st.none() | st.integers(0, 2**64 - 1)))
def test_lane_vectors_read_back(counts) -> None:
    heads = tuple(None if count is None else Checkpoint(LANE, count, count, bytes(32)) for count in counts)
    assert unpack_lanes(pack_lanes(heads)) == heads


def test_a_lane_vector_with_a_strange_mark_is_refused() -> None:
    with pytest.raises(InputRejected, match="neither 0 nor 1"):
        unpack_lanes((1).to_bytes(4, "big") + b"\x02")


def test_rosters_of_a_bundle_must_ascend() -> None:
    empty = b"UFR1" + bytes(4)
    part = (1).to_bytes(4, "big") + len(empty).to_bytes(4, "big") + empty
    assert pack_rosters(unpack_rosters((1).to_bytes(4, "big") + part)) == (1).to_bytes(4, "big") + part
    with pytest.raises(InputRejected, match="out of order"):
        unpack_rosters((2).to_bytes(4, "big") + part + part)


@given(st.lists(st.integers(0, 2**256 - 1)))
def test_words_read_back(words) -> None:
    assert list(unpack_words(pack_words(words))) == words


def test_bundle_hash_depends_on_names_contents_and_not_on_order() -> None:
    files = {"a": b"1", "b": b"2"}
    assert bundle_hash(files) == bundle_hash(dict(reversed(files.items())))
    assert len({bundle_hash(f) for f in (files, {"a": b"2", "b": b"1"}, {"a": b"1"}, {"ab": b"12"})}) == 4
    assert manifest_hash({}) == bundle_hash({})
