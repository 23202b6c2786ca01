"""The committing thread: answers mean durable, refusals stay with their sender, floods are turned away."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from usufruct_oracle.intake import writer as intake_writer
from usufruct_oracle.intake.admission import Gap, Intake
from usufruct_oracle.intake.writer import IntakeWriter
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.database import Connection
from usufruct_oracle.storage.store import Store
from usufruct_protocol.batches import Batch
from usufruct_protocol.errors import InvariantBroken, Transient

from tests.unit.oracle.lane_kit import DOMAIN, KitLane


@pytest.fixture
def writer(store: Store) -> Iterator[IntakeWriter]:
    opened = IntakeWriter(store, Intake(DOMAIN))
    yield opened
    opened.close()


def test_one_bad_batch_in_a_group_spoils_no_other(store: Store, lane: KitLane, writer: IntakeWriter) -> None:
    lane.meter(*range(10))
    other = KitLane(1)
    other.meter(1)
    with store.write() as db:
        lane_store.put_lanes(db, [other.state()])
    with store.write():  # the writer has to wait, so everything below becomes one group
        good, gap, again = (
            writer.submit(lane.batch(0, 5)),
            writer.submit(lane.batch(7)),
            writer.submit(lane.batch(5)),
        )
        elsewhere = writer.submit(other.batch())
    assert good.result(5).count == 5
    assert isinstance(gap.exception(5), Gap)
    assert again.result(5).count == 10
    assert elsewhere.result(5).count == 1


def break_python(_db: Connection) -> None:
    raise OverflowError("a bug")


def break_a_constraint(db: Connection) -> None:
    db.execute("INSERT INTO signing_floor VALUES (?)", (None,))


@pytest.mark.parametrize(
    ("bug", "refusal"), [(break_python, OverflowError), (break_a_constraint, InvariantBroken)]
)
def test_a_batch_that_breaks_intake_itself_spoils_no_other(
    store: Store,
    lane: KitLane,
    writer: IntakeWriter,
    monkeypatch: pytest.MonkeyPatch,
    bug: Callable[[Connection], None],
    refusal: type[Exception],
) -> None:
    lane.meter(*range(6))
    admit = Intake.admit

    def breaks(intake: Intake, db: Any, batch: Batch, *, is_probe: bool = False) -> Any:
        if batch.first_seq == 2:
            bug(db)
        return admit(intake, db, batch, is_probe=is_probe)

    monkeypatch.setattr(Intake, "admit", breaks)
    with store.write():
        before, poison, after = (
            writer.submit(lane.batch(0, 2)),
            writer.submit(lane.batch(2, 3)),
            writer.submit(lane.batch(0, 4)),
        )
    assert before.result(5).count == 2
    assert isinstance(poison.exception(5), refusal)
    assert after.result(5).count == 4


def test_what_becomes_of_batches_is_counted(store: Store, lane: KitLane) -> None:
    metrics = Metrics()
    writer = IntakeWriter(store, Intake(DOMAIN), metrics)
    lane.meter(1, 2, 3)
    stranger = KitLane(9)
    stranger.meter(1)
    unsigned = dataclasses.replace(lane.batch(), signature=bytes(65))
    probe = writer.submit(unsigned, is_probe=True)
    answers = [
        writer.submit(batch)
        for batch in (unsigned, lane.batch(0, 2), lane.batch(0, 2), lane.batch(), stranger.batch())
    ]
    writer.close()
    assert [answer.exception(0) is None for answer in (probe, *answers)] == [
        False,
        False,
        True,
        True,
        True,
        False,
    ]
    shown = metrics.text().decode()
    for line in (
        "usufruct_receipts_total 3.0",
        'usufruct_batches_total{outcome="taken"} 2.0',
        'usufruct_batches_total{outcome="known"} 1.0',
        'usufruct_batches_total{outcome="checkpoint_signature_wrong"} 1.0',
        'usufruct_batches_total{outcome="unknown_lane"} 1.0',
        'usufruct_quarantined_batches_total{code="checkpoint_signature_wrong"} 1.0',
        "usufruct_intake_waiting_bytes 0.0",
        "usufruct_intake_seconds_count 6.0",
    ):
        assert f"{line}\n" in shown
    assert 'quarantined_batches_total{code="unknown_lane' not in shown
    with store.read() as db:
        assert db.execute("SELECT count(*) FROM quarantine").fetchone() == (1,)


def test_a_caller_that_gives_up_does_not_stop_the_writer(lane: KitLane, writer: IntakeWriter) -> None:
    lane.meter(1, 2)
    assert not writer.submit(lane.batch(0, 1)).cancel()
    assert writer.submit(lane.batch(1)).result(5).count == 2


def _is_turned_away(writer: IntakeWriter, batch: Batch) -> bool:
    try:
        writer.submit(batch)
    except Transient as error:
        return "waiting" in str(error)
    return False


def test_a_flood_is_turned_away(
    store: Store, lane: KitLane, writer: IntakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane.meter(*range(50))
    monkeypatch.setattr(intake_writer, "MAX_WAITING_BYTES", 3 * (50 * 104 + 1024))
    with store.write():
        answers = [writer.submit(lane.batch()) for _ in range(3)]
        assert (
            sum(map(_is_turned_away, [writer] * 3, [lane.batch()] * 3)) >= 2
        )  # one may be in the thread's hands
    assert {answer.result(5).count for answer in answers} == {50}
    assert writer.submit(lane.batch()).result(5).new_receipts == 0  # room again


def test_closing_stores_what_waits_and_refuses_what_comes_later(
    store: Store, lane: KitLane, writer: IntakeWriter
) -> None:
    lane.meter(1, 2, 3)
    answer = writer.submit(lane.batch())
    writer.close()
    assert answer.result(0).count == 3
    with pytest.raises(Transient, match="stopping"):
        writer.submit(lane.batch())


def test_a_disk_that_fails_is_reported_to_every_sender(
    store: Store, lane: KitLane, writer: IntakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane.meter(1, 2)

    def broken(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(lane_store, "insert_receipts", broken)
    with pytest.raises(OSError, match="no space"):
        writer.submit(lane.batch()).result(5)
    monkeypatch.undo()
    assert writer.submit(lane.batch()).result(5).count == 2
