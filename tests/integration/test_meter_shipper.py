"""Every receipt reaches every node that lives, once each and whole, and no node holds up another."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from usufruct_meter.errors import SpoolDoubtful, SpoolOutdated
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_lock import lock_path
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.meter import Meter
from usufruct_meter.shipping import node_worker
from usufruct_meter.shipping.batching import BatchLimits, next_batch
from usufruct_meter.shipping.shipper import Shipper
from usufruct_meter.signed_receipt import MeteredCall
from usufruct_protocol.batches import Batch
from usufruct_protocol.errors import Transient

from tests.integration.meter_node import StandInNode, free_port, serving
from tests.unit.meter.lane_kit import EPOCH_SECONDS, GENESIS_S, Clock, new_lane

TAG = bytes(31) + b"\x07"
START_MS = GENESIS_S * 1000


@pytest.fixture
def node() -> Iterator[StandInNode]:
    with serving(StandInNode(free_port())) as running:
        yield running


@pytest.fixture
def lane(tmp_path: Path, node: StandInNode) -> Iterator[Lane]:
    with Lane.open(new_lane(tmp_path, nodes=(node.url,)), clock_ms=Clock()) as opened:
        yield opened


def ship(lane: Lane) -> Shipper:
    return Shipper(lane, checkpoint_every_s=0.05)


def test_receipts_and_usage_lists_arrive_whole(lane: Lane, node: StandInNode) -> None:
    with ship(lane) as shipper:
        made = [lane.meter(2, [(TAG, n + 1)] if n % 2 else [], b"q") for n in range(50)]
        assert shipper.flush(10) == {node.url: 50}
    held = node.held(lane.address)
    assert held.frontier.cumulative_units == 100
    assert held.frontier.last_struct_hash == made[-1].receipt.struct_hash()
    assert sorted(held.openings) == list(range(1, 50, 2))
    assert shipper.status()[0].error is None


def test_receipts_leave_by_the_clock_without_a_flush(lane: Lane, node: StandInNode) -> None:
    with ship(lane):
        lane.meter(1)
        node.wait_for(lane.address, 1)


def test_a_period_is_closed_by_the_clock_when_no_call_comes(tmp_path: Path, node: StandInNode) -> None:
    clock = Clock()
    file = new_lane(tmp_path, nodes=(node.url,))
    with Lane.open(file, clock_ms=clock) as lane, Shipper(lane, checkpoint_every_s=3_600):
        lane.meter(1)
        clock.now = (GENESIS_S + EPOCH_SECONDS) * 1000
        node.wait_for(lane.address, 1)
        lane.meter(1)
        clock.now += EPOCH_SECONDS * 1000
        node.wait_for(lane.address, 2)
    assert [point.count for point, _ in node.held(lane.address).checkpoints] == [1, 2]


def test_no_batch_skips_the_end_of_a_period(lane: Lane, node: StandInNode) -> None:
    """Even far behind: a node must hold a checkpoint that ends in each period."""
    for n in range(60):
        lane.meter(1, at_ms=START_MS + n * 1_000)
        if n % 4 == 1:
            lane.checkpoint()
    with ship(lane) as shipper:
        shipper.flush(10)
    assert [point.count for point, _ in node.held(lane.address).checkpoints] == [10, 20, 30, 40, 50, 60]


def test_batches_are_cut_within_limits(lane: Lane) -> None:
    for _ in range(10):
        lane.meter_many([MeteredCall(1, [(TAG, 1)])] * 3)
        lane.checkpoint()
    reader = SpoolReader.open(lane.file.spool)
    whole = next_batch(reader, 0, BatchLimits())
    assert whole is not None
    assert whole.receipt_count == 30
    by_count = next_batch(reader, 0, BatchLimits(receipts=8))
    assert by_count is not None
    assert by_count.receipt_count == 6
    size = 6 * 104 + sum(len(opening) + 12 for opening in list(whole.openings.values())[:6])
    for limit, expected in ((size, 6), (size - 1, 3), (1, 3)):
        by_size = next_batch(reader, 0, BatchLimits(bytes=limit))
        assert by_size is not None
        assert by_size.receipt_count == expected
    assert next_batch(reader, 4, BatchLimits(receipts=3)).checkpoint.count == 6  # type: ignore[union-attr]
    assert next_batch(reader, 30, BatchLimits()) is None
    reader.close()


def test_a_node_that_takes_less_gets_smaller_batches(lane: Lane, node: StandInNode) -> None:
    node.max_receipts = 5
    for _ in range(8):
        lane.meter_many([MeteredCall(1)] * 4)
        lane.checkpoint()
    with ship(lane) as shipper:
        shipper.flush(20)
    assert max(batch.receipt_count for batch in node.batches) == 4


def test_a_node_that_refuses_a_batch_is_asked_less_and_less_often(
    lane: Lane, node: StandInNode, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[Batch] = []

    def refuse(batch: Batch) -> JSONResponse:
        refused.append(batch)
        return JSONResponse({"code": "outside_validity", "detail": "too late"}, 422)

    with monkeypatch.context() as patch, ship(lane) as shipper:
        patch.setattr(node, "take", refuse)
        lane.meter(1)
        with pytest.raises(Transient, match="too late"):
            shipper.flush(2.5)
        assert 2 <= len(refused) <= 6
        assert sum("too late" in record.getMessage() for record in caplog.records) == 1
        patch.undo()
        shipper.flush(10)
        assert shipper.status()[0].error is None


def test_a_node_that_lost_its_data_is_served_again_from_where_it_says(lane: Lane, node: StandInNode) -> None:
    with ship(lane) as shipper:
        lane.meter(1)
        shipper.flush(10)
        node.lanes.clear()
        lane.meter(1)
        shipper.flush(10)
    assert node.count(lane.address) == 2


def test_a_node_that_loses_its_data_while_nothing_happens_is_served_again(
    lane: Lane, node: StandInNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_worker, "_ASK_AGAIN_S", 0.1)
    monkeypatch.setattr(node_worker, "_IDLE_S", 0.05)
    with ship(lane) as shipper:
        lane.meter(1)
        shipper.flush(10)
        node.lanes.clear()
        node.wait_for(lane.address, 1)


def test_a_node_that_has_some_already_gets_only_the_rest(lane: Lane, node: StandInNode) -> None:
    lane.meter(1)
    with ship(lane) as shipper:
        shipper.flush(10)
    node.batches.clear()
    lane.meter(1)
    with ship(lane) as shipper:
        shipper.flush(10)
    assert [(batch.first_seq, batch.receipt_count) for batch in node.batches] == [(1, 1)]


@pytest.mark.parametrize(
    "answer",
    [
        JSONResponse({"code": "busy"}, 503, {"Retry-After": "0"}),
        JSONResponse({"code": "busy"}, 429),
        PlainTextResponse("<html>", 200),
        PlainTextResponse("[]", 200),
        JSONResponse({"count": "1"}),
        JSONResponse({"count": -1}),
        JSONResponse({"code": "internal"}, 500),
        JSONResponse({"code": "unknown_lane", "detail": "not registered"}, 422),
        JSONResponse({"code": "gap", "expected_seq": 10**6}, 409),
        JSONResponse({"code": "gap"}, 409),
        PlainTextResponse("x" * (2 * 1024 * 1024), 200),
        PlainTextResponse("moved", 302, {"Location": "http://example.invalid/"}),
    ],
)
def test_a_bad_answer_is_survived(lane: Lane, node: StandInNode, answer: Response) -> None:
    node.answers.append(answer)
    lane.meter(1)
    with ship(lane) as shipper:
        shipper.flush(10)
        node.answers.append(answer)
        lane.meter(1)
        shipper.flush(10)
    assert node.count(lane.address) == 2


def test_a_dead_and_a_slow_node_hold_up_nobody(tmp_path: Path, node: StandInNode) -> None:
    dead = StandInNode(free_port())
    slow = StandInNode(free_port(), sleep_s=3.0)
    nodes = (dead.url, slow.url, node.url)
    with (
        serving(slow),
        Lane.open(new_lane(tmp_path, nodes=nodes), clock_ms=Clock()) as lane,
        ship(lane) as shipper,
    ):
        lane.meter(1)
        started = time.monotonic()
        assert shipper.flush(10, quorum=1)[node.url] == 1
        assert time.monotonic() - started < 2.5
        with pytest.raises(Transient, match="fewer than 3 nodes"):
            shipper.flush(0.1)
        shipper.ask_nodes(10)
        errors = {one.url: one.error for one in shipper.status()}
        assert errors[dead.url] is not None
        with serving(dead):
            dead.wait_for(lane.address, 1)


def test_a_restart_resumes_and_the_spool_remembers_who_has_what(tmp_path: Path, node: StandInNode) -> None:
    file = new_lane(tmp_path, nodes=(node.url,))
    for _ in range(2):
        with Lane.open(file, clock_ms=Clock()) as lane, ship(lane) as shipper:
            lane.meter(1)
            shipper.flush(10)
    reader = SpoolReader.open(file.spool)
    assert reader.acks() == {node.url: 2}
    reader.close()


def test_a_restored_spool_is_found_out_by_a_node_before_it_signs(tmp_path: Path, node: StandInNode) -> None:
    """The whole folder went back in time, lock file and index too: only a node can tell."""
    file = new_lane(tmp_path, nodes=(node.url,))
    with Lane.open(file) as lane:
        lane.meter(1)
    old = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with Lane.open(file) as lane, ship(lane) as shipper:
        lane.meter_many([MeteredCall(1)] * 3)
        shipper.flush(10)
    for path, content in old.items():
        with path.open("wb") as target:
            target.write(content)
    with pytest.raises(
        SpoolOutdated, match="has signed 4 receipts, as a node proves; the spool has 1"
    ) as caught:
        Meter.open(file)
    assert "start a new lane" in caught.value.hint
    with pytest.raises(SpoolDoubtful, match="was stopped"):
        Lane.open(file)


def test_a_lane_that_went_on_from_an_old_copy_is_stopped_and_ships_nothing_more(
    tmp_path: Path, node: StandInNode
) -> None:
    file = new_lane(tmp_path, nodes=(node.url,))
    with Lane.open(file) as lane:
        lane.meter(1, request=b"one")
    old = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with Lane.open(file) as lane, ship(lane) as shipper:
        lane.meter(1, request=b"two")
        shipper.flush(10)
    for path, content in old.items():
        with path.open("wb") as target:
            target.write(content)
    with Lane.open(file) as lane:
        lane.meter_many([MeteredCall(1, request=b"other")] * 3)
        with ship(lane) as shipper:
            shipper.ask_nodes(10)
        with pytest.raises(SpoolOutdated, match="has signed other receipts"):
            lane.meter(1)
    assert node.count(file.lane) == 2


def test_a_lying_node_cannot_stop_a_lane(
    lane: Lane, node: StandInNode, caplog: pytest.LogCaptureFixture
) -> None:
    node.claimed_count = 1_000_000
    with ship(lane) as shipper:
        lane.meter(1)
        node.claimed_count = 5
        time.sleep(0.3)
        assert lane.meter(1).receipt.seq == 1
        node.claimed_count = None
        shipper.flush(10)
    assert "without proof" in caplog.text


def test_a_missing_lock_file_does_not_hide_a_copy(tmp_path: Path) -> None:
    file = new_lane(tmp_path)
    Lane.open(file).close()
    lock_path(file.spool).unlink()
    shutil.copy(file.spool, tmp_path / "copy")
    (tmp_path / "copy").replace(file.spool)
    with pytest.raises(SpoolDoubtful):
        Lane.open(file)


def test_acknowledgements_do_not_need_the_spool_to_be_writable(
    lane: Lane, node: StandInNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise Transient("no room")

    with ship(lane) as shipper:
        lane.meter(1)
        shipper.flush(10)
        monkeypatch.setattr(lane, "save_acks", fail)
        lane.meter(1)
        shipper.flush(10)
    assert node.count(lane.address) == 2
