"""A whole meter before four real nodes: what they acknowledge costs nothing, what they don't is anchored, and
a caller finds every receipt in the report that the chain names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from usufruct_meter.chain.registration import check_before_signing
from usufruct_meter.cli import main
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.shipping.shipper import Shipper
from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.signing import address_of, checksum_address

from tests.integration.chain_world import EPOCH_S, GENESIS_S
from tests.integration.meter_chain import PAYER, Clock, anchored, chain_file, lane_file, payments
from tests.integration.oracle_world import Committee, committee


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Committee]:
    folder = tmp_path / "committee"
    folder.mkdir()
    with committee(folder) as made:
        made.license(MeterKind.INFERENCE, 3)
        made.put_rosters()
        made.world.chain.set_balance([checksum_address(address_of(PAYER))])
        made.world.register_lane(1, 0)
        yield made


def covered(shipper: Shipper) -> int:
    status = shipper.anchoring()
    return status.coverage.covered_count if status and status.coverage else -1


def test_inv_25_nodes_acknowledge_the_chain_covers_the_rest_and_callers_find_all(
    here: Committee, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, network = here.world, here.network
    file = lane_file(world, tmp_path / "lanes", nodes=tuple(network.urls))
    chain_file(tmp_path / "lanes", world.chain.rpc_url)
    texts: list[str] = []

    with Lane.open(file, clock_ms=Clock(world), check=check_before_signing) as lane:
        with Shipper(lane, checkpoint_every_s=0.05) as shipper:
            texts += [lane.meter(1).text for _ in range(20)]
            shipper.flush(30)
        # A keeper looks when it starts, and then once a minute.
        with Shipper(lane, checkpoint_every_s=0.05) as shipper:
            network.wait_until("the nodes' signatures cover the lane", lambda: covered(shipper) == 20)
        assert payments(world) == 0

        for index in (0, 1, 2):
            network.kill(index)
        texts.append(lane.meter(1).text)
        world.chain.advance_to(GENESIS_S + EPOCH_S - 10)  # due when the first period ends
        with Shipper(lane, checkpoint_every_s=0.05) as shipper:
            network.wait_until("an anchor covers it", lambda: anchored(world, file) == 21)
        assert payments(world) == 1

        network.start()
        with Shipper(lane, checkpoint_every_s=0.05) as shipper:
            shipper.flush(30)
    here.settle(1)
    with closing(SpoolReader.open(file.spool)) as reader:
        assert reader.count() == 21

    where = ["--chain-id", str(world.chain.chain_id), "--settlement", world.contracts.deployment.settlement]
    nodes = [word for url in network.urls for word in ("--node", url)]
    capsys.readouterr()
    assert main(["verify", *texts, *where, *nodes, "--rpc-url", world.chain.rpc_url, "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert {one["verdict"] for one in found} == {"counted"}
