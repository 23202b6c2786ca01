"""What a lane signs: numbers without gaps, sums, times, salts, commitments, checkpoints."""

from __future__ import annotations

import hmac
import os
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_meter.errors import LaneClosed, OutsideValidity, UnitCapReached
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.signed_receipt import MeteredCall
from usufruct_protocol.batches import Batch, check_openings
from usufruct_protocol.errors import Conflict, InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.receipts import (
    LaneFrontier,
    decode_signed_receipt,
    settlement_domain,
    unpack_usage_list,
    verify_batch,
    verify_receipt_signature,
)

from tests.unit.meter.lane_kit import (
    CHAIN_ID,
    EPOCH_SECONDS,
    GENESIS_S,
    SETTLEMENT,
    Clock,
    lane_key,
    new_lane,
)

TAG = bytes(31) + b"\x01"
OTHER_TAG = bytes(31) + b"\x02"
DOMAIN = settlement_domain(CHAIN_ID, SETTLEMENT)


def verify_lane(path: Path, lane: bytes) -> LaneFrontier:
    """Check a spool as a node would: batch by batch, checkpoint by checkpoint, openings too."""
    reader = SpoolReader.open(path)
    frontier = LaneFrontier()
    epochs = []
    for row in reader.checkpoints_after(0, 10**6):
        records = reader.records(frontier.count, row.checkpoint.count)
        openings = reader.openings(frontier.count, row.checkpoint.count)
        batch = Batch(lane, frontier.count, records, row.checkpoint, row.signature, openings)
        check_openings(Batch.decode(batch.encode()))
        first_ms = int.from_bytes(records[96:104], "big")
        frontier = verify_batch(frontier, records, row.checkpoint, row.signature, DOMAIN)
        first_epoch, last_epoch = (
            (ms // 1000 - GENESIS_S) // EPOCH_SECONDS + 1 for ms in (first_ms, frontier.last_issued_at_ms)
        )
        assert first_epoch == last_epoch == row.epoch
        epochs.append(row.epoch)
    assert epochs == sorted(epochs)
    reader.close()
    return frontier


def test_receipts_count_up_and_are_signed(lane: Lane, clock: Clock) -> None:
    first = lane.meter(3, request=b"question")
    clock.now += 7
    second = lane.meter(4)
    assert [one.receipt.seq for one in (first, second)] == [0, 1]
    assert [one.receipt.cumulative_units for one in (first, second)] == [3, 7]
    assert second.receipt.issued_at_ms == first.receipt.issued_at_ms + 7 == clock.now
    for one in (first, second):
        assert decode_signed_receipt(one.text) == (one.receipt, one.signature)
        verify_receipt_signature(one.receipt, one.signature, lane.domain)


def test_request_and_usage_are_committed_with_salts_derived_from_the_key(lane: Lane) -> None:
    signed = lane.meter(1, usage=[(TAG, 2), (OTHER_TAG, 1), (TAG, 5)], request=b"question")
    secret = hmac.digest(lane_key(0), b"usufruct lane secret", "sha256")
    salt = hmac.digest(secret, b"request" + bytes(8), "sha256")
    assert signed.request_salt == salt
    assert signed.receipt.request_hash == keccak256(salt + sha256(b"question").digest())
    reader = SpoolReader.open(lane.file.spool)
    usage = unpack_usage_list(reader.openings(0, 1)[0])
    reader.close()
    assert usage.salt == hmac.digest(secret, b"usage" + bytes(8), "sha256") != salt
    assert dict(usage.entries) == {TAG: 5, OTHER_TAG: 1}
    assert usage.root() == signed.receipt.usage_root


def test_a_call_that_used_nothing_commits_to_nothing(lane: Lane) -> None:
    assert lane.meter(1).receipt.usage_root == bytes(32)


def test_time_never_goes_back(lane: Lane, clock: Clock) -> None:
    first = lane.meter(1).receipt
    clock.now -= 4_000
    assert lane.meter(1).receipt.issued_at_ms == first.issued_at_ms
    assert lane.meter(1, at_ms=first.issued_at_ms - 1).receipt.issued_at_ms == first.issued_at_ms
    assert lane.meter(1, at_ms=first.issued_at_ms + 1).receipt.issued_at_ms == first.issued_at_ms + 1


def test_only_calls_within_the_validity_are_signed(tmp_path: Path, clock: Clock) -> None:
    start, end = clock.now + 10, clock.now + 20
    with Lane.open(new_lane(tmp_path, valid_from_ms=start, valid_to_ms=end), clock_ms=clock) as lane:
        for at_ms, message in ((start - 1, "valid from"), (end, "valid until")):
            clock.now = at_ms
            with pytest.raises(OutsideValidity, match=message):
                lane.meter(1)
            with pytest.raises(OutsideValidity, match=message):
                lane.check_ready()
        assert lane.meter(1, at_ms=start).receipt.seq == 0
        assert lane.meter(1, at_ms=end - 1).receipt.seq == 1
        assert lane.count == 2


def test_no_call_passes_the_cap_and_smaller_ones_still_fit(tmp_path: Path, clock: Clock) -> None:
    with Lane.open(new_lane(tmp_path, unit_cap=10), clock_ms=clock) as lane:
        lane.meter(8)
        with pytest.raises(UnitCapReached, match="to 11 units"):
            lane.meter(3)
        assert lane.meter(2).receipt.seq == 1
        with pytest.raises(UnitCapReached):
            lane.check_ready()
        assert lane.meter(0).receipt.cumulative_units == 10


@pytest.mark.parametrize(
    "call",
    [
        MeteredCall(-1),
        MeteredCall(2**48),
        MeteredCall(True),
        MeteredCall(1, at_ms=-1),
        MeteredCall(1, at_ms=2**63),
        MeteredCall(1, response_id=""),
        MeteredCall(1, usage=[(b"short", 1)]),
        MeteredCall(1, usage=[(TAG, 0)]),
        MeteredCall(1, usage=[(TAG, 2**32)]),
        MeteredCall(1, usage=[(TAG, 1)] * 65_537),
        MeteredCall(1, request_sha256=b"short"),
    ],
)
def test_a_malformed_call_leaves_no_trace(lane: Lane, call: MeteredCall) -> None:
    with pytest.raises(InputRejected):
        lane.meter_many([MeteredCall(1), call])
    assert lane.count == 0
    outcomes = lane.meter_each([MeteredCall(1), call, MeteredCall(1)])
    assert [isinstance(one, InputRejected) for one in outcomes] == [False, True, False]
    assert lane.count == 2


def test_many_calls_are_signed_as_one_by_one(tmp_path: Path) -> None:
    start = (GENESIS_S + 1) * 1000
    calls = [
        MeteredCall(
            number, [(TAG, number + 1)] * (number % 3), b"%d" % number, f"id {number % 17}", start + number
        )
        for number in range(40)
    ]
    with Lane.open(new_lane(tmp_path / "a")) as one, Lane.open(new_lane(tmp_path / "b")) as many:
        singly = [one.meter(c.units, c.usage, c.request, c.response_id, c.at_ms) for c in calls]
        assert many.meter_many(calls) == singly
        assert one.count == many.count == 17


def test_the_same_calls_give_the_same_bytes(tmp_path: Path) -> None:
    texts = []
    for folder in ("a", "b"):
        with Lane.open(new_lane(tmp_path / folder)) as lane:
            made = [
                lane.meter(number, [(TAG, 1)], b"request", f"r{number}", GENESIS_S * 1000 + number * 3_000)
                for number in range(20)
            ]
            texts.append([(one.text, one.request_salt) for one in made])
            lane.checkpoint()
            frontier = verify_lane(lane.file.spool, lane.address)
            texts[-1].append((str(frontier.root()), b""))
    assert texts[0] == texts[1]


def test_a_replay_after_a_restart_gives_the_same_bytes(tmp_path: Path) -> None:
    with Lane.open(new_lane(tmp_path / "whole")) as lane:
        whole = [lane.meter(1, request=b"%d" % n, at_ms=GENESIS_S * 1000 + n).text for n in range(10)]
    file = new_lane(tmp_path / "parts")
    parts = []
    for n in range(10):
        with Lane.open(file) as lane:
            parts.append(lane.meter(1, request=b"%d" % n, at_ms=GENESIS_S * 1000 + n).text)
    assert parts == whole


def test_void_only_for_a_seq_without_a_receipt(lane: Lane) -> None:
    lane.meter(5)
    with pytest.raises(Conflict, match="a receipt is final"):
        lane.void(0)
    with pytest.raises(InputRejected, match="would leave a gap"):
        lane.void(2)
    voided = lane.void(1).receipt
    assert (voided.units, voided.cumulative_units, voided.seq) == (0, 5, 1)
    with pytest.raises(Conflict):
        lane.void(1)


def test_a_checkpoint_covers_everything_once(lane: Lane) -> None:
    assert not lane.checkpoint()
    lane.meter(1)
    assert lane.has_open_span
    assert lane.checkpoint()
    assert not lane.has_open_span
    assert not lane.checkpoint()


def test_a_call_in_a_new_period_closes_the_old_one_first(lane: Lane, clock: Clock) -> None:
    period_end_ms = (GENESIS_S + EPOCH_SECONDS) * 1000
    lane.meter(1, at_ms=period_end_ms - 1)
    lane.meter(1, at_ms=period_end_ms)
    lane.checkpoint()
    reader = SpoolReader.open(lane.file.spool)
    assert [(row.checkpoint.count, row.epoch) for row in reader.checkpoints_after(0, 9)] == [(1, 1), (2, 2)]
    reader.close()


def test_the_clock_closes_a_period_when_no_call_comes(lane: Lane, clock: Clock) -> None:
    assert not lane.close_period()
    lane.meter(1)
    assert not lane.close_period()
    clock.now = (GENESIS_S + EPOCH_SECONDS) * 1000 - 1
    assert not lane.close_period()
    clock.now += 1
    assert lane.close_period()
    assert not lane.close_period()


def test_closing_a_lane_signs_what_is_open(tmp_path: Path, clock: Clock) -> None:
    file = new_lane(tmp_path)
    with Lane.open(file, clock_ms=clock) as lane:
        lane.meter(1)
    assert verify_lane(file.spool, file.lane).count == 1
    lane.close()
    with pytest.raises(LaneClosed):
        lane.meter(1)


def test_calls_before_genesis_belong_to_the_first_period(lane: Lane) -> None:
    lane.meter(1, at_ms=0)
    lane.meter(1, at_ms=(GENESIS_S + EPOCH_SECONDS) * 1000 - 1)
    lane.checkpoint()
    reader = SpoolReader.open(lane.file.spool)
    assert [(row.checkpoint.count, row.epoch) for row in reader.checkpoints_after(0, 9)] == [(2, 1)]
    reader.close()


def test_large_openings_are_split_over_checkpoints_that_fit_a_batch(lane: Lane) -> None:
    usage = [(number.to_bytes(32, "big"), 1) for number in range(40_000)]
    lane.meter_many([MeteredCall(1, usage) for _ in range(4)])
    lane.checkpoint()
    assert verify_lane(lane.file.spool, lane.address).count == 4
    reader = SpoolReader.open(lane.file.spool)
    assert len(reader.checkpoints_after(0, 9)) == 2
    reader.close()


@given(
    steps=st.lists(
        st.tuples(
            st.integers(-3_000, 12_000), st.integers(0, 5), st.sampled_from(["call", "checkpoint", "clock"])
        ),
        max_size=40,
    )
)
def test_no_checkpoint_straddles_a_period_end(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, str]]
) -> None:
    clock = Clock()
    file = new_lane(tmp_path_factory.mktemp("lane"))
    with Lane.open(file, clock_ms=clock) as lane:
        for forward_ms, units, action in steps:
            clock.now = max(GENESIS_S * 1000, clock.now + forward_ms)
            if action == "call":
                lane.meter(units)
            elif action == "checkpoint":
                lane.checkpoint()
            else:
                lane.close_period()
        count = lane.count
    assert verify_lane(file.spool, file.lane).count == count


def test_threads_share_a_lane(lane: Lane) -> None:
    made: list[int] = []

    def work(name: int) -> None:
        made.extend(lane.meter(1, response_id=f"{name}-{n}").receipt.seq for n in range(25))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(200))
    lane.checkpoint()
    assert verify_lane(lane.file.spool, lane.address).cumulative_units == 200


def test_a_forked_process_cannot_use_the_lane_of_its_parent(lane: Lane) -> None:
    child = os.fork()
    if child == 0:
        try:
            lane.meter(1)
        except LaneClosed:
            os._exit(17)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
    assert lane.meter(1).receipt.seq == 0
