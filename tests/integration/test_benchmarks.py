"""The long measurements still work: each of them, at a size of seconds."""

from __future__ import annotations

import re

from usufruct_protocol.batches import MAX_BATCH_RECEIPTS, Batch
from usufruct_protocol.receipts import LaneFrontier, verify_batch

from benchmarks import curve, epoch, soak
from benchmarks.node_server import DOMAIN
from benchmarks.recorded_load import LaneWriter, Minute, RecordedLoad

LOAD = RecordedLoad(({0: 3_000, 1: 50}, {0: 4_000, 2: 7}), (12, 900, 1))


def test_minutes_are_in_order_and_add_up_to_what_was_asked_for() -> None:
    minutes = list(LOAD.minutes(5_000))
    assert sum(minute.calls for minute in minutes) == 5_000
    assert [minute.start_ms for minute in minutes] == sorted(minute.start_ms for minute in minutes)
    whole = LOAD.counts(7_057)
    assert whole == {0: 7_000, 1: 50, 2: 7}


def test_each_lane_has_one_sender() -> None:
    shares = LOAD.shares(7_057, 2)
    assert sorted(lane for share in shares for lane in share) == [0, 1, 2]
    assert frozenset({0}) in shares


def test_a_busy_minute_is_cut_into_batches_that_go_on_from_each_other() -> None:
    writer, frontier = LaneWriter(0, 12), LaneFrontier()
    sizes = []
    for body in writer.batches(Minute(0, 1_700_000_000_000, MAX_BATCH_RECEIPTS + 5)):
        batch = Batch.decode(body)
        frontier = verify_batch(frontier, batch.records, batch.checkpoint, batch.signature, DOMAIN)
        sizes.append(batch.receipt_count)
    assert sizes == [MAX_BATCH_RECEIPTS, 5]
    assert frontier.cumulative_units == 12 * (MAX_BATCH_RECEIPTS + 5)


def test_a_short_soak_counts_every_receipt_and_sees_the_node_s_memory() -> None:
    samples, seconds = soak.soak(LOAD, 7_057)
    assert seconds > 0
    assert samples[-1][0] <= 7_057
    assert all(1 < memory < soak.LIMIT_MB for _, memory in samples)


def test_a_node_whose_memory_grows_fails_the_soak() -> None:
    sent = float(soak.RECEIPTS)
    steady = [(0.0, 50.0), (0.4 * sent, 100.0), (0.6 * sent, 104.0), (sent, 103.0)]
    growing = [(0.0, 50.0), (0.4 * sent, 100.0), (0.6 * sent, 110.0), (sent, 150.0)]
    assert all(row.is_met for row in soak.figures(soak.RECEIPTS, steady, 1.0))
    assert not all(row.is_met for row in soak.figures(soak.RECEIPTS, growing, 1.0))


def test_the_curve_stays_within_its_picture() -> None:
    drawn = curve.svg("a <b>", "", [(0, 10), (5, 290), (10, 320)], 300, ("x", "y"))
    (points,) = re.findall(r'polyline class="c" points="([^"]*)"', drawn)
    for point in points.split():
        x, y = map(float, point.split(","))
        assert curve.LEFT <= x <= curve.WIDTH - curve.RIGHT
        assert curve.TOP <= y <= curve.HEIGHT - curve.BOTTOM
    assert "a &lt;b&gt;" in drawn


def test_an_epoch_of_few_receipts_closes_with_a_note_for_every_purse() -> None:
    taken = epoch.measure(receipts=20_000, purses=1_000)
    assert set(taken.node) == set(taken.floor) == {"receive", "close"}
    assert taken.ratio > 0
