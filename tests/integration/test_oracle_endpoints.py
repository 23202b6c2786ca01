"""Nodes whose chain endpoints lie, fail, keep things back or serve another chain; nodes without gas."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from typer.testing import CliRunner
from usufruct_oracle.cli import app
from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.signing import address_of, checksum_address

from scripts.network import HOST, free_ports
from tests.integration.oracle_world import Committee, committee
from tests.integration.tampering import Bend, bent_endpoint

BLOCK_METHODS = ("eth_getBlockByNumber", "eth_getBlockByHash")


def lies_about_hashes(request: dict[str, Any], result: Any) -> Any:
    """Another chain of blocks with the same numbers and times."""
    if request["method"] in BLOCK_METHODS and isinstance(result, dict):
        return {**result, "hash": "0xbad" + result["hash"][5:]}
    return result


def serves_another_chain(request: dict[str, Any], result: Any) -> Any:
    return "0x1" if request["method"] == "eth_chainId" else result


def flaky() -> Bend:
    """Every third answer is HTTP 503."""
    counter = itertools.count(1)

    def bend(_request: dict[str, Any], result: Any) -> Any:
        if next(counter) % 3 == 0:
            raise ConnectionError
        return result

    return bend


def keeps_back(request: dict[str, Any], result: Any) -> Any:
    """No log, no receipt, no reason: what busy endpoints do with what is new."""
    if request["method"] == "eth_getTransactionReceipt":
        return None
    return [] if request["method"] == "eth_getLogs" else result


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Committee]:
    """Four nodes, each with another trouble; all can reach the chain itself too."""
    with ExitStack() as stack:
        made = stack.enter_context(committee(tmp_path_factory.mktemp("committee"), away=range(4)))
        real = made.world.chain.rpc_url

        def bent(bend: Bend) -> str:
            return stack.enter_context(bent_endpoint(real, bend))

        endpoints = [
            [bent(lies_about_hashes), real, bent(lambda _request, result: result)],
            [bent(serves_another_chain), real],
            ["http://127.0.0.1:9", bent(flaky()), real],
            [bent(keeps_back), real],
        ]
        for index, (urls, port) in enumerate(zip(endpoints, free_ports(4), strict=True)):
            file = made.network.config_file(index)
            serving = {"metrics_port": port}
            content = {**json.loads(file.read_text()), "rpc_url": urls, "serving": serving}
            file.write_text(json.dumps(content))
        made.network.start()
        made.license(MeterKind.INFERENCE, 3)
        made.put_rosters()
        yield made
        made.network.stop()


def endpoint_levels(here: Committee, index: int) -> list[str]:
    """What preflight says of a node's endpoints, in their order."""
    done = CliRunner().invoke(app, ["preflight", "--json", "--config", str(here.network.config_file(index))])
    found = json.loads(done.stdout)["findings"]
    return [finding["level"] for finding in found if finding["what"].startswith("endpoint ")]


def counted(here: Committee, index: int, outcome: str) -> dict[int, float]:
    """How many requests of a node had an outcome, by place of the endpoint."""
    port = json.loads(here.network.config_file(index).read_text())["serving"]["metrics_port"]
    text = here.http.get(f"http://{HOST}:{port}/metrics").text
    found = re.findall(rf'usufruct_rpc_requests_total{{endpoint="(\d)",outcome="{outcome}"}} (\S+)', text)
    return {int(place): float(count) for place, count in found}


def test_an_epoch_settles_whatever_single_endpoints_do(here: Committee) -> None:
    lane = here.lane(1)
    lane.meter(*[1_000] * 3, at_ms=here.at_ms(1))
    here.ship()
    final = here.settle(1)
    here.wait_paid(1)
    assert final.report.lines[0].cumulative_units == 3_000
    assert here.world.reader.block(final.report.cutoff_block).hash == final.report.cutoff_block_hash
    for index in here.network.indexes:
        here.wait_known_final(index, 1)
    assert endpoint_levels(here, 1) == ["fail", "ok"]
    first, _flaky, last = endpoint_levels(here, 2)
    assert (first, last) == ("warn", "ok")
    assert counted(here, 0, "disagreed")[0] >= 1
    assert counted(here, 1, "answered").get(0) is None, "nothing is believed of another chain"
    assert counted(here, 2, "failed")[0] >= 1
    assert "the others as" in here.log_of(0)
    assert "serves chain 1, not 31337" in here.log_of(1)


def test_accounts_without_gas_vote_and_sign_all_the_same(here: Committee) -> None:
    """Three of four signers cannot pay for anything; with one of them dead, the other two are needed."""
    poor = [checksum_address(address_of(here.network.keys[index])) for index in range(3)]
    here.world.chain.set_balance(poor, 0)
    here.network.kill(0)
    here.lanes[0].meter(*[1_000] * 2, at_ms=here.at_ms(2))
    here.ship()
    here.close_period(2)
    here.wait_frozen(2)
    here.wait_pending(2, 60.0)
    final = here.wait_final(2)
    here.wait_paid(2)
    assert final.report.lines[0].cumulative_units == 5_000
    rich = checksum_address(address_of(here.network.keys[3]))
    assert here.world.chain.w3.eth.get_transaction(final.transaction_hash)["from"] == rich
