"""Four node processes on a chain that takes blocks back: the cut-off, a submit, a finalize, a payment.

The tests are one story, told in order: each goes on from the epoch that the one before has left.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from usufruct_protocol.chain_state import MeterKind

from tests.integration.oracle_world import ATTEMPT_S, PACE, Committee, committee, payout

DEPTH = 3
PEOPLE = 3
SEND_AGAIN_S = 60.0


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Committee]:
    pace = replace(PACE, finality_depth=DEPTH)
    with committee(tmp_path_factory.mktemp("committee"), pace=pace) as made:
        made.license(MeterKind.INFERENCE, PEOPLE)
        made.put_rosters()
        made.lane(1)
        yield made


@pytest.fixture
def epoch(here: Committee) -> int:
    """The epoch that is open, with three calls in it."""
    number = here.last_final() + 1
    here.lanes[0].meter(*[1_000] * 3, at_ms=here.at_ms(number))
    here.ship()
    return number


def mine(here: Committee, blocks: int = 1) -> None:
    for _ in range(blocks):
        here.pass_time(1)


def take_back(here: Committee, blocks: int) -> None:
    """Replace the newest blocks by others; what was in them is forgotten everywhere.

    Not while a node waits for its receipt: it would send again only after half a minute.
    """
    for index in here.network.indexes:
        here.network.wait_until(f"node {index} has sent", lambda index=index: not is_sending(here, index))
    here.world.chain.rpc("anvil_reorg", blocks, [])


def is_sending(here: Committee, index: int) -> bool:
    journal = here.network.database(index).with_name("node.sqlite.pending-transaction.json")
    return journal.exists() and json.loads(journal.read_bytes())["standing"] is not None


def take_back_to(here: Committee, block_number: int) -> None:
    """Replace every block from a number on."""
    take_back(here, here.world.reader.head().number - block_number + 1)


def is_canonical(here: Committee, number: int, block_hash: bytes) -> bool:
    return here.world.reader.block(number).hash == block_hash


def pending(here: Committee, epoch: int) -> bytes:
    """Let an epoch's period end and its report be posted; its hash."""
    here.close_period(epoch)
    mine(here, DEPTH)
    here.wait_pending(epoch)
    return here.world.reader.report_hash(epoch)


def balances(here: Committee) -> list[int]:
    return list(here.world.reader.token_balances([payout(1, person) for person in range(PEOPLE)]))


def finish(here: Committee, epoch: int) -> None:
    """Let the epoch become final and paid, and be done with in every node's books."""
    here.wait_final(epoch)
    here.wait_paid(epoch)
    mine(here, DEPTH)
    for index in here.network.indexes:
        here.network.wait_until(
            f"node {index} is done with epoch {epoch}",
            lambda index=index: here.network.get(index, f"/v1/epochs/{epoch}").json().get("is_paid") is True,
            SEND_AGAIN_S,
        )
    assert not any(here.network.status(index)["halted"] for index in here.network.indexes)


def test_nobody_freezes_on_a_block_that_can_still_be_taken_back(here: Committee, epoch: int) -> None:
    here.close_period(epoch)
    first = here.world.reader.head()
    mine(here, DEPTH - 1)
    time.sleep(0.5)
    assert not any(here.network.has_frozen(index, epoch) for index in here.network.indexes)
    take_back_to(here, first.number)
    assert pending(here, epoch) != bytes(32)
    found = here.world.reader.report_calldata(epoch)
    assert found is not None
    assert found.report.cutoff_block_hash != first.hash
    assert is_canonical(here, found.report.cutoff_block, found.report.cutoff_block_hash)
    finish(here, epoch)


def test_a_submit_that_was_taken_back_is_made_again(here: Committee, epoch: int) -> None:
    report_hash = pending(here, epoch)
    posted = here.world.reader.report_calldata(epoch)
    assert posted is not None
    block = here.world.reader.block(posted.block_number)
    take_back_to(here, block.number)
    assert not is_canonical(here, block.number, block.hash)
    # Nodes may have posted it again by now; but it must be the same report, signed once.
    here.wait_pending(epoch)
    assert here.world.reader.report_hash(epoch) == report_hash
    finish(here, epoch)


def test_a_finalize_and_payments_that_were_taken_back_are_made_again_and_paid_once(
    here: Committee, epoch: int
) -> None:
    before = balances(here)
    pending(here, epoch)
    here.wait_final(epoch)
    here.wait_paid(epoch)
    paid = [after - then for after, then in zip(balances(here), before, strict=True)]
    assert all(paid)
    finalized = here.world.reader.settlement_state(here.world.reader.head().hash).last_finalized_block
    take_back_to(here, finalized)
    assert (here.last_final(), balances(here)) == (epoch - 1, before)
    here.wait_final(epoch)
    here.wait_paid(epoch)
    assert [after - then for after, then in zip(balances(here), before, strict=True)] == paid

    take_back(here, 1)  # the payment alone
    here.wait_paid(epoch)
    finish(here, epoch)
    assert [after - then for after, then in zip(balances(here), before, strict=True)] == paid


def test_inv_24_a_cut_off_that_was_final_and_is_taken_back_costs_an_attempt_and_no_bond(
    here: Committee, epoch: int
) -> None:
    """Deeper than anybody waits for: what was signed stays signed, so the next attempt reports anew."""
    report_hash = pending(here, epoch)
    found = here.world.reader.report_calldata(epoch)
    assert found is not None
    take_back_to(here, found.report.cutoff_block)
    assert here.world.reader.report_hash(epoch) == bytes(32)
    here.close_period(epoch)
    mine(here, DEPTH)
    for _ in range(4):
        here.pass_time(ATTEMPT_S)
        time.sleep(1.5)
        if here.world.reader.report_hash(epoch) != bytes(32):
            break
    second = here.world.reader.report_calldata(epoch)
    assert second is not None
    assert second.report_hash != report_hash
    assert second.report.attempt > found.report.attempt
    assert is_canonical(here, second.report.cutoff_block, second.report.cutoff_block_hash)
    finish(here, epoch)
    for index in here.network.indexes:
        assert "a reorganization moved the cut-off" in here.log_of(index)
