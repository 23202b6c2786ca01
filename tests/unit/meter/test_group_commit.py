"""Calls of event loops share a write; nobody waits for ever, and what was handed over is metered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from usufruct_meter.errors import LaneClosed
from usufruct_meter.lanes.group_commit import GroupCommit
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.signed_receipt import MeteredCall, SignedReceipt
from usufruct_protocol.errors import InputRejected

CALL = MeteredCall(1)


@pytest.fixture
def group(lane: Lane) -> Iterator[GroupCommit]:
    opened = GroupCommit(lane)
    yield opened
    opened.close()


async def meter_many(group: GroupCommit, count: int) -> list[SignedReceipt]:
    return await asyncio.gather(*(group.meter(CALL) for _ in range(count)))


def test_calls_that_come_together_share_writes(
    lane: Lane, group: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    meter_each = lane.meter_each

    def counted(calls: Any) -> Any:
        sizes.append(len(calls))
        return meter_each(calls)

    monkeypatch.setattr(lane, "meter_each", counted)
    signed = asyncio.run(meter_many(group, 1_500))
    assert sorted(one.receipt.seq for one in signed) == list(range(1_500))
    assert sum(sizes) == 1_500
    assert max(sizes) <= 512
    assert len(sizes) < 200, "they hardly shared a write"


def test_loops_of_several_threads_each_get_their_own(group: GroupCommit) -> None:
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(asyncio.run, meter_many(group, 100)) for _ in range(3)]
        seqs = [one.receipt.seq for job in jobs for one in job.result()]
    assert sorted(seqs) == list(range(300))


def test_one_bad_call_fails_alone(group: GroupCommit) -> None:
    async def ask() -> list[Any]:
        calls = (group.meter(call) for call in (CALL, MeteredCall(-1), CALL))
        return await asyncio.gather(*calls, return_exceptions=True)

    first, bad, last = asyncio.run(ask())
    assert isinstance(bad, InputRejected)
    assert [one.receipt.seq for one in (first, last)] == [0, 1]


def test_a_caller_that_has_gone_is_metered_and_holds_nobody_up(lane: Lane, group: GroupCommit) -> None:
    async def ask() -> SignedReceipt:
        gone = asyncio.create_task(group.meter(CALL))
        await asyncio.sleep(0)
        gone.cancel()
        return await group.meter(CALL)

    assert asyncio.run(ask()).receipt.seq == 1
    assert lane.count == 2


def test_an_unexpected_failure_is_heard_and_survived(
    lane: Lane, group: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(lane, "meter_each", fail)
    with pytest.raises(LaneClosed, match="ZeroDivisionError"):
        asyncio.run(group.meter(CALL))
    monkeypatch.undo()
    assert asyncio.run(group.meter(CALL)).receipt.seq == 0


def test_closing_finishes_what_was_handed_over(lane: Lane) -> None:
    group = GroupCommit(lane)

    async def hand_over() -> None:
        for _ in range(50):
            asyncio.create_task(group.meter(CALL))  # noqa: RUF006  (nobody waits for them)
        await asyncio.sleep(0)

    asyncio.run(hand_over())
    group.close()
    assert lane.count == 50
    with pytest.raises(LaneClosed):
        asyncio.run(group.meter(CALL))
