"""Seven signers, of which two may fail: one lies, one is dead, and one is back after a long absence.

Reports come out as if all were well, and nobody halts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from usufruct_chain.signatures import settlement_domain
from usufruct_protocol.bundle import LANES, unpack_lanes
from usufruct_protocol.chain_state import MeterKind

from tests.e2e.liar import KINDS, Liar
from tests.integration.oracle_world import ATTEMPT_S, Committee, committee, record_tag

SIZE = 7
LIAR, DEAD, STALE = 1, 4, 6  # the dead one dies when the stale one comes back: five of seven must sign
HONEST = [index for index in range(SIZE) if index not in (LIAR, DEAD)]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Committee]:
    with committee(tmp_path, size=SIZE, away=(LIAR, STALE)) as made:
        yield made


def settle(here: Committee, epoch: int) -> list[int]:
    """Close an epoch, let attempts pass until one succeeds; return the receipts counted per lane."""
    here.close_period(epoch)
    here.wait_frozen(epoch)
    for _ in range(SIZE):
        try:
            here.wait_pending(epoch, timeout_s=12.0)
            break
        except Exception:  # noqa: BLE001  not this attempt: its proposer lies or is dead
            here.pass_time(ATTEMPT_S)
    final = here.wait_final(epoch)
    heads: list[int] = []
    for index in HONEST:
        if here.network.is_running(index):
            here.wait_known_final(index, epoch)
            answer = here.network.get(index, f"/v1/epochs/{epoch}/bundle/{LANES}")
            heads = [0 if head is None else head.count for head in unpack_lanes(answer.content)]
    assert final.report.epoch == epoch
    return heads


def test_a_liar_a_dead_node_and_a_stale_one_change_nothing(here: Committee) -> None:
    here.license(MeterKind.INFERENCE, 5)
    here.license(MeterKind.RETRIEVAL, 3)
    lanes = [here.lane(1), here.lane(2)]
    here.put_rosters()
    network = here.network
    domain = settlement_domain(here.world.contracts.deployment)
    with Liar(network.ports[LIAR], network.keys[LIAR], LIAR, domain, network.urls[HONEST[0]]) as liar:
        liar.lanes = [lane.address for lane in lanes]
        expected = 0
        for epoch in (1, 2, 3):  # the liar proposes first in epoch 1
            at_ms = here.at_ms(epoch)
            lanes[0].meter(*([100] * 20), at_ms=at_ms)
            lanes[1].meter(*([100] * 5), at_ms=at_ms, usage=[(record_tag(2, 1), 1)])
            here.ship()
            if epoch == 3:
                network.kill(DEAD)
                network.start(STALE)
                here.put_rosters()
            assert settle(here, epoch) == [20 * epoch, 5 * epoch]
            expected += (20 + 5) * 100
            here.wait_paid(epoch)
        assert all(liar.told[kind] for kind in KINDS), liar.told
    final = here.world.reader.report_calldata(3)
    assert final is not None
    assert sum(line.cumulative_units for line in final.report.lines) == expected
    for index in HONEST:
        status = network.status(index)
        assert status["halted"] == ""
        assert status["last_finalized_epoch"] == 3
        assert {held["conflict_seq"] for held in status["lanes"].values()} == {None}
        network.wait_until(
            f"node {index} holds everything",
            lambda index=index: (
                [held["count"] for held in network.status(index)["lanes"].values()] == [60, 15]
            ),
        )
        assert "Traceback" not in here.log_of(index)
