"""Training is metered by record and pass, once, however often a run is restarted."""

from __future__ import annotations

import pytest
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.training import TrainingRun
from usufruct_protocol.errors import Conflict, InputRejected

TAGS = [number.to_bytes(32, "big") for number in range(1, 6)]


def test_units_are_records_times_passes(lane: Lane) -> None:
    run = TrainingRun(lane, "run-1", TAGS)
    for number in (1, 2, 3):
        (signed,) = run.pass_done(number)
        assert (signed.receipt.units, signed.receipt.usage_root != bytes(32)) == (5, True)
    assert lane.cumulative_units == len(TAGS) * 3


def test_inv_40_a_restarted_run_is_metered_once(lane: Lane) -> None:
    first = TrainingRun(lane, "run-1", TAGS).pass_done(1)
    again = TrainingRun(lane, "run-1", TAGS).pass_done(1)
    assert [(one.text, one.is_repeat) for one in again] == [(one.text, True) for one in first]
    TrainingRun(lane, "run-2", TAGS).pass_done(1)
    assert lane.cumulative_units == 10


def test_records_may_be_a_mere_count(lane: Lane) -> None:
    (signed,) = TrainingRun(lane, "run-1", 120_000).pass_done(1)
    assert (signed.receipt.units, signed.receipt.usage_root) == (120_000, bytes(32))


def test_a_large_set_takes_several_receipts_all_or_none(lane: Lane) -> None:
    tags = [number.to_bytes(32, "big") for number in range(65_536 + 2)]
    signed = TrainingRun(lane, "run-1", tags).pass_done(1)
    assert [one.receipt.units for one in signed] == [65_536, 2]
    assert TrainingRun(lane, "run-1", tags).pass_done(1)[1].is_repeat


def test_another_set_of_records_is_another_run(lane: Lane) -> None:
    TrainingRun(lane, "run-1", TAGS).pass_done(1)
    with pytest.raises(Conflict, match="metered over 5 records, not 4"):
        TrainingRun(lane, "run-1", TAGS[:4]).pass_done(1)
    assert lane.cumulative_units == 5


@pytest.mark.parametrize(
    ("run_id", "records", "number"),
    [("", 5, 1), ("a", 0, 1), ("a", [], 1), ("a", -1, 1), ("a", 2**48, 1), ("a", 5, 0), ("a", 5, -1)],
)
def test_bad_runs_are_refused(lane: Lane, run_id: str, records: int, number: int) -> None:
    with pytest.raises(InputRejected):
        TrainingRun(lane, run_id, records).pass_done(number)
    assert lane.count == 0
