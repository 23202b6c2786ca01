"""The cut-off search against a scan of every block."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.errors import Transient

from tests.unit.chain.fake_endpoint import FakeBlocks


def scanned(times: list[int], due_s: int, after_block: int, depth: int, deployed_block: int) -> int | None:
    """The definition: the first block that is late enough and new enough, if it is deep enough."""
    for number, time_s in enumerate(times):
        if time_s >= due_s and number > after_block and number >= deployed_block:
            return number if number <= len(times) - 1 - depth else None
    return None


@given(
    # Blocks of one second may share it; the chain may also stand still for long.
    steps=st.lists(st.sampled_from([0, 0, 1, 2, 50]), min_size=1, max_size=60),
    period_end_s=st.integers(0, 120),
    grace_s=st.integers(0, 20),
    after_block=st.integers(0, 60),
    depth=st.integers(0, 10),
    deployed_block=st.integers(0, 20),
)
def test_the_search_finds_what_a_scan_finds(
    steps: list[int], period_end_s: int, grace_s: int, after_block: int, depth: int, deployed_block: int
) -> None:
    times = list(accumulate(steps))
    blocks = FakeBlocks(times)
    found = blocks.reader(deployed_block).find_cutoff(period_end_s, grace_s, after_block, depth)
    expected = scanned(times, period_end_s + grace_s, after_block, depth, deployed_block)
    assert (None if found is None else found.number) == expected


def test_a_long_chain_takes_few_reads() -> None:
    blocks = FakeBlocks(list(range(0, 12 * 100_000, 12)))
    found = blocks.reader().find_cutoff(600_001, 0, 0, 5)
    assert found is not None
    assert found.number == 50_001
    assert blocks.reads <= 20


def test_waiting_for_the_period_end_takes_one_read() -> None:
    blocks = FakeBlocks([0, 10, 20])
    assert blocks.reader().find_cutoff(21, 0, 0, 0) is None
    assert blocks.reads == 1


def test_a_chain_replaced_during_the_search_is_noticed() -> None:
    """The new chain reaches the period end earlier, so what the search has ruled out is wrong."""
    old = FakeBlocks(list(range(64)), "old")
    new = FakeBlocks([*range(32), *([40] * 32)], "new")
    reader = old.reader()
    serve = old.by_number

    def replaced_after_four_reads(which: str, full: bool) -> object:
        if old.reads >= 4:
            old.by_number = new.by_number  # type: ignore[method-assign]
            old.by_block_hash = new.by_block_hash  # type: ignore[method-assign]
        return serve(which, full) if old.reads < 4 else new.by_number(which, full)

    old.by_number = replaced_after_four_reads  # type: ignore[assignment, method-assign]
    with pytest.raises(Transient):
        reader.find_cutoff(40, 0, 0, 0)
