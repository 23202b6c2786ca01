"""The meter keeps what nodes sign, and finds in it what answers a charge on chain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from usufruct_meter.errors import AcksUnavailable
from usufruct_meter.lanes.ack_book import AckBook, ack_book_path
from usufruct_meter.lanes.checkpoints import Periods
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.shipping.shipper import Shipper
from usufruct_protocol.batches import Batch
from usufruct_protocol.receipts import verify_checkpoint_signature
from usufruct_protocol.signing import address_of

from tests.integration.meter_node import DOMAIN, StandInNode, free_port, serving, signed_ack
from tests.unit.meter.lane_kit import EPOCH_SECONDS, GENESIS_S, Clock, new_lane
from tests.unit.oracle.lane_kit import KitLane

KEYS = [bytes(31) + bytes((number + 1,)) for number in range(4)]
PERIODS = Periods(GENESIS_S, EPOCH_SECONDS)
FIRST_END_S = GENESIS_S + EPOCH_SECONDS


@pytest.fixture
def kit() -> KitLane:
    return KitLane(0, domain=DOMAIN)


@pytest.fixture
def book(tmp_path: Path, kit: KitLane) -> Iterator[AckBook]:
    opened = AckBook(tmp_path / "acks", kit.address, DOMAIN, PERIODS, 4)
    yield opened
    opened.close()


def batch_of(kit: KitLane, count: int) -> Batch:
    while kit.count < count:
        kit.meter(1)
    return kit.batch(0, count)


def keep(book: AckBook, batch: Batch, received_at: int, *nodes: int) -> None:
    for node in nodes:
        assert book.keep(batch, signed_ack(KEYS[node], batch.checkpoint, received_at), f"http://{node}")


def test_a_shipped_lane_has_its_nodes_signatures(tmp_path: Path) -> None:
    with ExitStack() as stack:
        nodes = [stack.enter_context(serving(StandInNode(free_port(), key=key))) for key in KEYS]
        file = new_lane(tmp_path, nodes=tuple(node.url for node in nodes))
        lane = stack.enter_context(Lane.open(file, clock_ms=Clock()))
        with Shipper(lane, checkpoint_every_s=0.05) as shipper:
            for _ in range(5):
                lane.meter(1)
            shipper.flush(10)
        book = AckBook(ack_book_path(file.spool), lane.address, lane.domain, file.periods, 4)
        answer = book.answer(4, FIRST_END_S, 4)
        assert answer is not None
        assert answer.checkpoint.count == 5
        verify_checkpoint_signature(answer.checkpoint, answer.lane_signature, lane.domain)
        assert [ack.signer for ack in answer.acks] == sorted(map(address_of, KEYS))
        assert {ack.received_at for ack in answer.acks} == {nodes[0].received_at}
        book.close()


def test_an_answer_covers_the_receipt_in_time_and_by_enough_keys(book: AckBook, kit: KitLane) -> None:
    keep(book, batch_of(kit, 3), FIRST_END_S, 0, 1)
    keep(book, batch_of(kit, 6), FIRST_END_S + 1, 0, 1, 2)
    found = book.answer(2, FIRST_END_S, 2)
    assert found is not None
    assert found.checkpoint == kit.checkpoint(3)
    assert book.answer(2, FIRST_END_S, 3) is None
    assert book.answer(2, FIRST_END_S - 1, 2) is None
    assert book.answer(3, FIRST_END_S, 2) is None
    later = book.answer(3, FIRST_END_S + 1, 3)
    assert later is not None
    assert later.checkpoint.count == 6


def test_one_key_behind_several_nodes_counts_once(book: AckBook, kit: KitLane) -> None:
    batch = batch_of(kit, 1)
    for url in ("http://a", "http://b"):
        assert book.keep(batch, signed_ack(KEYS[0], batch.checkpoint, FIRST_END_S), url)
    assert book.answer(0, FIRST_END_S, 2) is None


def test_the_first_time_counts(book: AckBook, kit: KitLane) -> None:
    batch = batch_of(kit, 1)
    keep(book, batch, FIRST_END_S - 5, 0)
    keep(book, batch, FIRST_END_S, 0)
    assert book.answer(0, FIRST_END_S - 5, 1) is not None


def test_lower_checkpoints_go_once_all_but_the_faulty_have_a_higher_one(book: AckBook, kit: KitLane) -> None:
    keep(book, batch_of(kit, 1), FIRST_END_S, 0, 1, 2, 3)
    keep(book, batch_of(kit, 2), FIRST_END_S, 0, 1)
    low = book.answer(0, FIRST_END_S, 4)
    assert low is not None
    assert low.checkpoint.count == 1
    keep(book, batch_of(kit, 2), FIRST_END_S, 2)
    assert book.answer(0, FIRST_END_S, 4) is None
    high = book.answer(0, FIRST_END_S, 3)
    assert high is not None
    assert high.checkpoint.count == 2


def test_a_later_period_takes_nothing_from_an_earlier_one(book: AckBook, kit: KitLane) -> None:
    keep(book, batch_of(kit, 1), FIRST_END_S, 0, 1, 2, 3)
    keep(book, batch_of(kit, 2), FIRST_END_S + 1, 0, 1, 2, 3)
    assert book.answer(0, FIRST_END_S, 4) is not None


def test_what_is_no_acknowledgement_of_the_batch_is_not_kept(book: AckBook, kit: KitLane) -> None:
    batch, other = batch_of(kit, 1), batch_of(kit, 2)
    good = signed_ack(KEYS[0], batch.checkpoint, FIRST_END_S)
    bad: list[Any] = [
        None,
        "yes",
        [],
        {},
        good | {"signature": "0x12"},
        good | {"signature": "zz"},
        good | {"signature": None},
        good | {"received_at": "1"},
        good | {"received_at": True},
        good | {"received_at": 0},
        good | {"received_at": 2**48},
        good | {"count": 2},
        signed_ack(KEYS[0], other.checkpoint, FIRST_END_S),
    ]
    assert not any(book.keep(batch, given, "http://a") for given in bad)
    assert book.answer(0, 2**40, 1) is None


def test_a_file_that_cannot_be_used_says_so(tmp_path: Path, kit: KitLane) -> None:
    (tmp_path / "acks").write_bytes(b"not a database, but long enough to be taken for one" * 20)
    with pytest.raises(AcksUnavailable):
        AckBook(tmp_path / "acks", kit.address, DOMAIN, PERIODS, 4)
