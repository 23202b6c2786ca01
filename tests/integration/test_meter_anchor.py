"""A lane stays covered when nodes do not answer: real contracts, and endpoints that fail or lie."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from usufruct_chain import calls
from usufruct_meter.chain.errands import anchor_errand
from usufruct_meter.chain.lane_chain import LaneChain
from usufruct_meter.chain.payer import ErrandPending, PayerBroke
from usufruct_meter.chain.registration import NotRegistered
from usufruct_meter.chain.rpc import ChainUnavailable
from usufruct_meter.cli import main
from usufruct_meter.commands import lanes as lane_commands
from usufruct_meter.errors import LaneLocked, SpoolOutdated
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.lane_key import read_private_key
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.meter import Meter
from usufruct_meter.shipping.shipper import Shipper
from usufruct_protocol.errors import ConfigInvalid
from usufruct_protocol.signing import address_of, checksum_address, parse_address
from usufruct_protocol.terms import LaneRegistration

from scripts.devchain import dev_key
from tests.integration.chain_world import (
    EPOCH_S,
    GENESIS_S,
    MERGE_DELAY_S,
    SIGNER_KEYS,
    World,
    unchanged,
    world,
)
from tests.integration.meter_chain import (
    PAYER,
    VALID_TO_MS,
    Clock,
    Setting,
    anchored,
    chain_file,
    lane_file,
    payments,
    setting,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def deployed() -> Iterator[World]:
    with world() as made:
        made.chain.set_balance([checksum_address(address_of(PAYER))])
        license_id = made.accept()
        for number in range(2):
            made.register_lane(license_id, number)
        made.chain.advance_to(
            GENESIS_S + EPOCH_S
        )  # the first period, which ends later than the delay, is over
        yield made


@pytest.fixture
def chain(deployed: World) -> Iterator[World]:
    with unchanged(deployed) as made:
        yield made
        made.chain.set_automine(True)
        made.chain.rpc("anvil_dropAllTransactions")


@pytest.fixture
def made(chain: World, tmp_path: Path) -> Iterator[Setting]:
    with setting(chain, tmp_path) as one:
        yield one


def test_inv_25_what_no_node_acknowledges_is_anchored_before_the_merge_delay_ends(made: Setting) -> None:
    made.meter(3)
    started = made.world.chain.now()
    made.look()
    assert (made.covered, made.anchored) == (0, 0)
    made.pass_time(MERGE_DELAY_S // 2)
    made.look()
    assert made.anchored == 3
    assert made.world.chain.now() < started + MERGE_DELAY_S
    made.look()
    assert made.covered == 3
    assert payments(made.world) == 1
    made.pass_time(2 * MERGE_DELAY_S)
    made.look()
    assert payments(made.world) == 1, "what is covered is not paid for again"


def test_inv_25_acknowledgements_of_f_plus_1_signers_cost_nothing(made: Setting) -> None:
    point = made.meter(3)
    made.acknowledge(point, 0)
    made.look()
    assert made.covered == 0, "one signer may be the faulty one"
    made.acknowledge(point, 1)
    made.look()
    assert made.covered == 3
    made.pass_time(2 * MERGE_DELAY_S)
    made.look()
    assert payments(made.world) == 0


def test_inv_25_acknowledgements_that_came_too_late_do_not_count(made: Setting) -> None:
    point = made.meter(1)
    made.acknowledge(point, 0, 1, 2, 3, at_s=GENESIS_S + 2 * EPOCH_S + 1)
    made.look()
    assert made.covered == 0


def test_inv_25_newer_acknowledgements_of_a_period_stand_for_the_older_ones(made: Setting) -> None:
    """All nodes acknowledge more within the period, so the book forgets what they acknowledged before."""
    made.acknowledge(made.meter(1), 0, 1, 2, 3)
    made.pass_time(2 * MERGE_DELAY_S)
    made.acknowledge(made.meter(1), 0, 1, 2, 3)
    made.look()
    assert (made.covered, payments(made.world)) == (2, 0)


def test_inv_25_keys_that_are_no_signers_do_not_count(made: Setting) -> None:
    point = made.meter(1)
    made.acknowledge(point, *range(4), keys=[dev_key(number, "nobody") for number in range(4)])
    made.look()
    assert made.covered == 0


def test_inv_25_a_committee_that_is_announced_does_not_know_what_the_old_one_acknowledged(
    made: Setting,
) -> None:
    point = made.meter(2)
    made.acknowledge(point, 0, 1, 2, 3)
    made.look()
    assert made.covered == 2
    new = sorted(address_of(dev_key(number, "new signer")) for number in range(4))
    committee = made.world.contracts.committee.functions
    made.world.sender("council").send(committee.rotate([checksum_address(one) for one in new], 3))
    made.look()
    assert (made.covered, made.anchored) == (0, 0), "due by the end of its first period, not yet"
    made.pass_time(3 * EPOCH_S - MERGE_DELAY_S // 2 + GENESIS_S - made.world.chain.now())
    made.look()
    assert made.anchored == 2
    assert made.world.chain.now() < GENESIS_S + 3 * EPOCH_S
    made.look()
    assert made.covered == 2


def test_receipts_without_a_checkpoint_get_one_when_they_fall_due(made: Setting) -> None:
    made.lane.meter(1)
    made.pass_time(MERGE_DELAY_S)
    made.look()
    assert made.anchored == 1


def test_a_killed_sender_leaves_nothing_that_is_paid_twice(made: Setting) -> None:
    """The transaction of the run before is still in the pool: it is replaced, not repeated."""
    chain = made.world.chain
    chain.set_automine(False)
    point = made.meter(1)
    last = made.reader.last_checkpoint()
    assert last is not None
    killed, restarted = (LaneChain.beside(made.lane.file) for _ in range(2))
    assert killed is not None
    assert restarted is not None
    with killed, pytest.raises(ErrandPending):
        killed.payer().run(anchor_errand(point, last.signature), wait_s=0.0)
    with restarted:
        miner = threading.Timer(0.5, chain.mine)
        miner.start()
        restarted.payer().run(anchor_errand(point, last.signature), wait_s=20.0)
        miner.join()
    assert made.anchored == 1
    chain.mine(3)
    assert payments(made.world) == 1


GATEWAY = """
import sys, time
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.shipping.shipper import Shipper
path, now_ms = sys.argv[1], int(sys.argv[2])
with Lane.open(path, clock_ms=lambda: now_ms) as lane, Shipper(lane, checkpoint_every_s=0.05):
    lane.meter(1)
    print("metered", flush=True)
    time.sleep(60)
"""


def test_kill_9_with_the_anchor_in_the_pool_pays_once(chain: World, tmp_path: Path) -> None:
    """Gateways after each other meter, send an anchor, and are killed before there is a block."""
    file = lane_file(chain, tmp_path)
    chain_file(tmp_path, chain.chain.rpc_url, anchor_after_s=1)
    chain.chain.set_automine(False)
    pooled: list[str] = []
    for number in range(4):
        now_ms = (chain.chain.now() + 10 * number) * 1000
        command = [sys.executable, "-c", GATEWAY, str(file.path), str(now_ms)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as gateway:
            assert gateway.stdout is not None
            assert gateway.stdout.readline() == b"metered\n"
            if number:  # the first receipt is due as soon as time has passed
                wait_until(lambda: len(pool_of_payer(chain, pooled)) > 0)
            gateway.kill()
    chain.chain.mine()
    assert payments(chain) == 1
    assert anchored(chain, file) >= 2


def pool_of_payer(world: World, seen: list[str]) -> list[str]:
    """Hashes of the payer's transactions in the pool that were not seen before."""
    pool = world.chain.rpc("txpool_content")["pending"]
    found = {name.lower(): of for name, of in pool.items()}.get("0x" + address_of(PAYER).hex(), {})
    new = [tx["hash"] for tx in found.values() if tx["hash"] not in seen]
    seen += new
    return new


def test_a_transaction_that_stays_in_the_pool_is_replaced_at_a_higher_fee(made: Setting) -> None:
    chain = made.world.chain
    chain.set_automine(False)
    point = made.meter(1)
    last = made.reader.last_checkpoint()
    found = LaneChain.beside(made.lane.file)
    assert last is not None
    assert found is not None
    seen: list[int] = []

    def watch() -> None:
        while len(set(seen)) < 3:
            pool = chain.rpc("txpool_content")["pending"]
            seen.extend(int(tx["maxFeePerGas"], 16) for of in pool.values() for tx in of.values())
        chain.mine()

    with found:
        payer = found.payer()
        payer._bump_after_s = 0.2
        watcher = threading.Thread(target=watch)
        watcher.start()
        payer.run(anchor_errand(point, last.signature), wait_s=30.0)
        watcher.join(30)
    assert made.anchored == 1
    assert payments(made.world) == 1
    fees = list(dict.fromkeys(seen))
    assert fees == sorted(fees)


def test_two_lanes_of_one_payer_take_turns(chain: World, tmp_path: Path) -> None:
    chain_file(tmp_path, chain.chain.rpc_url)
    files = [lane_file(chain, tmp_path, number) for number in range(2)]
    lanes = []
    with ExitStack() as stack:
        for file in files:
            lane = stack.enter_context(Lane.open(file, clock_ms=Clock(chain)))
            lane.meter(1)
            lanes.append(lane)
        chain.chain.advance_to(chain.chain.now() + MERGE_DELAY_S)
        for lane in lanes:
            stack.enter_context(Shipper(lane, checkpoint_every_s=0.05))
        for file in files:
            wait_until(lambda file=file: anchored(chain, file) == 1)  # type: ignore[misc]
    assert payments(chain) == 2


def test_a_payer_without_ether_is_said_and_tried_again(made: Setting) -> None:
    made.world.chain.set_balance([checksum_address(address_of(PAYER))], 1)
    made.meter(1)
    made.pass_time(MERGE_DELAY_S)
    with pytest.raises(PayerBroke):
        made.look()
    made.world.chain.set_balance([checksum_address(address_of(PAYER))])
    made.look()
    assert made.anchored == 1


def test_fees_above_the_limit_are_not_paid(chain: World, tmp_path: Path) -> None:
    with setting(chain, tmp_path, max_fee_per_gas_gwei=1) as made:
        made.world.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(50 * 10**9))
        made.world.chain.mine()
        made.meter(1)
        made.pass_time(MERGE_DELAY_S)
        made.world.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(50 * 10**9))
        made.world.chain.mine()
        with pytest.raises(ChainUnavailable, match="max_fee_per_gas_gwei"):
            made.look()
        assert payments(made.world) == 0


def test_without_a_payer_the_duty_is_named(chain: World, tmp_path: Path) -> None:
    with setting(chain, tmp_path, payer=None) as made:
        made.meter(1)
        made.pass_time(MERGE_DELAY_S)
        with pytest.raises(ConfigInvalid, match="payer_key_file"):
            made.look()


def test_an_endpoint_of_another_chain_is_refused(chain: World, tmp_path: Path) -> None:
    with (
        tampering(chain.chain.rpc_url, {"eth_chainId": lambda _: "0x1"}) as url,
        setting(chain, tmp_path, url) as made,
        pytest.raises(ConfigInvalid, match="serves chain 1,"),
    ):
        made.look()
    assert payments(chain) == 0


def test_an_endpoint_that_claims_an_anchor_hides_no_duty(chain: World, tmp_path: Path) -> None:
    def claim(result: Any) -> Any:
        if len(result) == 2 + 64 * 4:  # the answer of anchorAt
            return "0x" + (10**9).to_bytes(32, "big").hex() * 4
        return result

    with (
        tampering(chain.chain.rpc_url, {"eth_call": claim}) as liar,
        setting(chain, tmp_path, liar, chain.chain.rpc_url) as made,
    ):
        made.meter(1)
        made.pass_time(MERGE_DELAY_S)
        made.look()
        assert made.anchored == 1


def test_an_endpoint_that_lies_about_signers_covers_nothing_for_good(chain: World, tmp_path: Path) -> None:
    """A node that signs with made-up keys, and an endpoint that calls them the committee."""
    made_up = [address_of(dev_key(number, "nobody")) for number in range(4)]
    lying = True

    def signers(result: Any) -> Any:
        true = "".join(address_of(key).hex().rjust(64, "0") for key in sorted(SIGNER_KEYS, key=address_of))
        return result.replace(true, "".join(one.hex().rjust(64, "0") for one in made_up)) if lying else result

    with (
        tampering(chain.chain.rpc_url, {"eth_call": signers}) as liar,
        setting(chain, tmp_path, liar) as made,
    ):
        point = made.meter(1)
        made.acknowledge(point, *range(4), keys=[dev_key(number, "nobody") for number in range(4)])
        made.look()
        assert made.covered == 1
        lying = False
        made.look()
        assert made.covered == 0


def test_dead_endpoints_are_passed_over(chain: World, tmp_path: Path) -> None:
    with setting(chain, tmp_path, "http://127.0.0.1:9", chain.chain.rpc_url) as made:
        made.meter(1)
        made.pass_time(MERGE_DELAY_S)
        made.look()
        assert made.anchored == 1


def test_when_no_endpoint_answers_it_is_tried_again_and_no_key_is_shown(
    made: Setting, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with setting(made.world, tmp_path / "other", "http://user:secret@127.0.0.1:9/v2/access-key") as dead:
        dead.meter(1)
        with pytest.raises(ChainUnavailable) as caught:
            dead.look()
    assert "secret" not in str(caught.value) + caplog.text
    assert "access-key" not in str(caught.value) + caplog.text


def test_an_anchor_that_a_reorganization_takes_is_made_again(made: Setting) -> None:
    made.meter(1)
    made.pass_time(MERGE_DELAY_S)
    before = made.world.chain.snapshot()
    made.look()
    assert made.anchored == 1
    made.world.chain.revert(before)
    assert made.anchored == 0
    made.look()
    assert made.anchored == 1


def test_a_lane_that_is_not_registered_signs_nothing(chain: World, tmp_path: Path) -> None:
    file = lane_file(chain, tmp_path, 7)
    chain_file(tmp_path, chain.chain.rpc_url)
    with pytest.raises(NotRegistered, match="not registered"):
        Meter.open(file)
    with closing(SpoolReader.open(file.spool)) as reader:
        assert reader.count() == 0


def test_a_lane_that_is_not_registered_yet_is_passed_over(chain: World, tmp_path: Path) -> None:
    waiting, registered = lane_file(chain, tmp_path, 7), lane_file(chain, tmp_path, 1)
    waiting.path.rename(tmp_path / "a-first.json")
    chain_file(tmp_path, chain.chain.rpc_url)
    with Meter.open(tmp_path) as meter:
        assert meter.lane.address == registered.lane
        with pytest.raises(LaneLocked):
            Meter.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"unit_cap": 10**12 + 1}, "unit_cap is 1000000000000 on chain and 1000000000001 in the file"),
        ({"valid_to_ms": VALID_TO_MS + 1}, "valid_to is"),
        ({"license_id": 2}, "license_id is 1 on chain and 2 in the file"),
        ({"epoch_seconds": 60}, "epochs take 86400 s"),
    ],
)
def test_a_lane_file_that_differs_from_the_chain_is_refused(
    chain: World, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    file = lane_file(chain, tmp_path, **change)
    chain_file(tmp_path, chain.chain.rpc_url)
    with pytest.raises(NotRegistered, match=said):
        Meter.open(file)


def test_a_spool_from_before_the_last_anchor_is_found_without_any_node(chain: World, tmp_path: Path) -> None:
    """A machine restored from a snapshot: file numbers and marks fit, only the chain remembers."""
    with setting(chain, tmp_path) as made:
        made.meter(2)
        made.pass_time(MERGE_DELAY_S)
        made.look()
    file = lane_file(chain, tmp_path / "restored")
    chain_file(tmp_path / "restored", chain.chain.rpc_url)
    with Lane.open(file, clock_ms=Clock(chain)) as lane:
        lane.meter(2)
    with pytest.raises(SpoolOutdated, match="has signed 2 receipts, as an anchor proves; the spool has 1"):
        Meter.open(file)
    with closing(SpoolReader.open(file.spool)) as reader:
        assert reader.count() == 1


def test_a_lane_that_has_signed_goes_on_without_the_chain_and_a_new_one_does_not(
    chain: World, tmp_path: Path
) -> None:
    file = lane_file(chain, tmp_path)
    chain_file(tmp_path, "http://127.0.0.1:9")
    with pytest.raises(ChainUnavailable):
        Meter.open(file)
    with Lane.open(file, clock_ms=Clock(chain)) as lane:
        lane.meter(1)
    with Meter.open(file) as meter:
        assert meter.lane.count == 1


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Return the exit code and the JSON document of a command."""
    capsys.readouterr()
    code = main([*arguments, "--json"])
    out, _ = capsys.readouterr()
    return code, json.loads(out) if out else None


def test_the_commands_take_a_folder_from_nothing_to_an_anchor(
    chain: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, deployment = tmp_path / "lanes", chain.contracts.deployment
    where = ["--rpc-url", chain.chain.rpc_url, "--settlement", deployment.settlement]
    options = ["init", str(folder), "--license", "1", *where, "--unit-cap", "1000", "--workers", "2"]
    assert run(capsys, *options) == (2, None), "by this machine's clock the license is over"
    monkeypatch.setattr(lane_commands, "now_ms", Clock(chain))
    code, made = run(capsys, *options)
    assert code == 0
    assert [one["chain_id"] for one in made] == [chain.chain.chain_id] * 2
    file = LaneFile.load(made[0]["lane_file"])
    assert (file.genesis_s, file.epoch_seconds) == (GENESIS_S, EPOCH_S)
    assert (file.valid_to_ms, file.unit_cap) == (VALID_TO_MS, 1_000)
    code, lines = run(capsys, "check", str(file.path))
    assert code == 1
    assert {line["what"]: line["level"] for line in lines}["lane"] == "fail"
    with pytest.raises(NotRegistered):
        Meter.open(folder)

    given = made[0]["registration"]
    registration = LaneRegistration(
        parse_address(given["lane"]), 1, int(given["validFrom"]), int(given["validTo"]), 1_000
    )
    signature = bytes.fromhex(given["laneSignature"][2:])
    chain.sender("buyer").send(calls.register_lane(chain.contracts, registration, signature))
    payer = checksum_address(address_of(read_private_key(folder / "payer.key")))
    chain.chain.set_balance([payer])
    _, lines = run(capsys, "check", str(file.path))
    wrong = [line["what"] for line in lines if line["level"] == "fail"]
    assert wrong == ["clock"], "this chain's time is years behind"
    with Meter.open(file) as meter:
        assert meter.shipper.anchoring() is not None


def test_status_and_anchor_say_and_do_what_a_running_meter_would(
    chain: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with setting(chain, tmp_path) as made:
        made.meter(2)
        code, (status,) = run(capsys, "status", str(made.lane.file.path))
        assert (code, status["chain"]["covered_count"]) == (0, 0)
        code, (anchored_lane,) = run(capsys, "anchor", str(made.lane.file.path))
        assert (code, anchored_lane["anchored_count"]) == (0, 2)
        assert made.anchored == 2
        code, (anchored_lane,) = run(capsys, "anchor", str(made.lane.file.path))
        assert (code, anchored_lane["anchored_count"]) == (0, 2)
        assert payments(chain) == 1
    code, lines = run(capsys, "check", str(made.lane.file.path))
    levels = {line["what"]: line["level"] for line in lines}
    assert (levels["lane"], levels["covered"], levels["payer"]) == ("ok", "ok", "ok")


def test_a_caller_asks_the_chain_and_trusts_no_node(
    chain: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--chain-id", str(chain.chain.chain_id), "--settlement", chain.contracts.deployment.settlement]
    asking = [*where, "--rpc-url", chain.chain.rpc_url, "--node", "http://127.0.0.1:9"]
    with Lane.open(lane_file(chain, tmp_path), clock_ms=Clock(chain)) as lane:
        text = lane.meter(1).text
    code, (found,) = run(capsys, "verify", text, *asking)
    assert (code, found["verdict"], found["detail"]) == (3, "not_due", "no report is final yet")
    with Lane.open(lane_file(chain, tmp_path / "other", 7), clock_ms=Clock(chain)) as lane:
        unregistered = lane.meter(1).text
    code, (found,) = run(capsys, "verify", unregistered, *asking)
    assert (code, found["verdict"], found["detail"]) == (1, "differs", "its lane is not registered")

    chain.settle(chain.report(chain.close_epoch(1)))
    chain.settle(chain.report(chain.close_epoch(2)))
    code, (found,) = run(capsys, "verify", text, *asking)
    assert (code, found["verdict"]) == (3, "could_not_check"), "a node that gives nothing proves nothing"


def wait_until(is_done: Callable[[], bool], timeout_s: float = 30.0) -> None:
    done = threading.Event()
    for _ in range(int(timeout_s / 0.05)):
        if is_done():
            return
        done.wait(0.05)
    raise AssertionError("it did not come to pass in time")


@contextmanager
def tampering(rpc_url: str, changes: dict[str, Callable[[Any], Any]]) -> Iterator[str]:
    """An endpoint in front of another, whose answers to some methods are changed."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer = httpx.post(rpc_url, json=body, trust_env=False).json()
            if body["method"] in changes and "result" in answer:
                answer["result"] = changes[body["method"]](answer["result"])
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(10)
