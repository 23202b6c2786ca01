"""A caller without any rights finds out whether each receipt was counted, and trusts no single node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import httpx
import pytest
from usufruct_meter.chain.rpc import ChainUnavailable
from usufruct_meter.chain.views import ChainView, LaneOnChain, Neighbors
from usufruct_meter.cli import main
from usufruct_meter.http.request import request_sha256
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.shipping.shipper import Shipper
from usufruct_meter.signed_receipt import MeteredCall, SignedReceipt
from usufruct_meter.verify import Finding, KeptReceipt, ReceiptBook, Verdict, check_counted
from usufruct_meter.verify_chain import check_on_chain
from usufruct_protocol.bundle import pack_lanes, unpack_lanes
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.signing import checksum_address
from usufruct_protocol.terms import LaneRegistration

from tests.integration.meter_node import DOMAIN, StandInNode, free_port, serving
from tests.unit.meter.lane_kit import CHAIN_ID, EPOCH_SECONDS, GENESIS_S, SETTLEMENT, Clock, new_lane

COUNT = 250


@pytest.fixture
def nodes() -> Iterator[list[StandInNode]]:
    with serving(StandInNode(free_port())) as first, serving(StandInNode(free_port())) as second:
        yield [first, second]


@pytest.fixture
def receipts(tmp_path: Path, nodes: list[StandInNode]) -> list[SignedReceipt]:
    """Receipts of two lanes, counted by both nodes in epoch 1."""
    made: list[SignedReceipt] = []
    lanes = []
    for number in range(2):
        file = new_lane(tmp_path, number, nodes=tuple(node.url for node in nodes))
        lanes.append(file.lane)
        with Lane.open(file, clock_ms=Clock()) as lane, Shipper(lane, checkpoint_every_s=0.05) as shipper:
            made += lane.meter_many([MeteredCall(1, request=b"%d" % n) for n in range(COUNT)])
            shipper.flush(20)
    for node in nodes:
        node.finalize(1, [*lanes, bytes(19) + b"\x01"])
    return made


def verdicts(texts: list[str], nodes: list[StandInNode], report_hash: bytes | None = None) -> list[Verdict]:
    urls = [node.url for node in nodes]
    return [one.verdict for one in check_counted(map(KeptReceipt, texts), urls, 1, DOMAIN, report_hash)]


def test_every_counted_receipt_is_found(receipts: list[SignedReceipt], nodes: list[StandInNode]) -> None:
    assert set(verdicts([one.text for one in receipts], nodes)) == {Verdict.COUNTED}


def test_receipts_that_the_report_does_not_count_are_told_apart(
    tmp_path: Path, receipts: list[SignedReceipt], nodes: list[StandInNode]
) -> None:
    with Lane.open(tmp_path / "lane-0.json", clock_ms=Clock()) as lane:
        hidden = lane.meter(1).text
        later = lane.meter(1, at_ms=(GENESIS_S + EPOCH_SECONDS) * 1000).text
    with Lane.open(new_lane(tmp_path / "other", 5), clock_ms=Clock()) as lane:
        elsewhere = lane.meter(1).text
    assert verdicts([hidden, later, elsewhere], nodes) == [
        Verdict.NOT_COUNTED,
        Verdict.NOT_DUE,
        Verdict.NOT_COUNTED,
    ]


def test_a_swapped_receipt_is_found(
    tmp_path: Path, receipts: list[SignedReceipt], nodes: list[StandInNode]
) -> None:
    """A second receipt for a seq that the report counts otherwise: the lane has signed both."""
    with Lane.open(new_lane(tmp_path / "again", 0), clock_ms=Clock()) as lane:
        swapped = lane.meter(1, request=b"another call").text
    assert verdicts([swapped], nodes) == [Verdict.DIFFERS]


def test_a_forged_or_borrowed_receipt_is_found(
    receipts: list[SignedReceipt], nodes: list[StandInNode]
) -> None:
    mine = receipts[3]
    urls = [node.url for node in nodes]
    for kept in (
        KeptReceipt(mine.text[:-2] + "AA"),
        KeptReceipt("nonsense"),
        KeptReceipt(mine.text, mine.request_salt.hex(), "00" * 32),
        KeptReceipt(mine.text, "no hex", "00" * 32),
    ):
        (finding,) = check_counted([kept], urls, 1, DOMAIN)
        assert finding.verdict == Verdict.DIFFERS


def test_one_lying_node_is_not_believed(receipts: list[SignedReceipt], nodes: list[StandInNode]) -> None:
    honest, liar = nodes
    report_hash = honest.finalize(1, [receipts[0].receipt.lane, receipts[-1].receipt.lane])
    heads = unpack_lanes(liar.files[1])
    short = replace(heads[0], count=3)  # type: ignore[type-var]
    texts = [receipts[7].text]

    liar.files[1] = pack_lanes([short, *heads[1:]])
    assert verdicts(texts, [liar]) == [Verdict.COULD_NOT_CHECK]
    assert verdicts(texts, [liar, honest]) == [Verdict.COUNTED]

    liar.held(receipts[0].receipt.lane).checkpoints.append((short, b""))  # type: ignore[arg-type]
    liar.finalize(1, [heads[0].lane, heads[1].lane])  # type: ignore[union-attr]
    assert verdicts(texts, [liar, honest]) == [Verdict.COULD_NOT_CHECK]
    assert verdicts(texts, [liar, honest], report_hash) == [Verdict.COUNTED]
    assert verdicts(texts, [liar], report_hash) == [Verdict.COULD_NOT_CHECK]


def test_hashes_that_do_not_fit_are_not_believed(
    receipts: list[SignedReceipt], nodes: list[StandInNode]
) -> None:
    held = nodes[0].held(receipts[0].receipt.lane)
    held.records = held.records[104:] + held.records[:104]
    assert verdicts([receipts[0].text], [nodes[0]]) == [Verdict.COULD_NOT_CHECK]
    assert verdicts([receipts[0].text], nodes) == [Verdict.COUNTED]
    held.records = b""
    assert verdicts([receipts[0].text], [nodes[0]]) == [Verdict.COULD_NOT_CHECK]


def test_without_an_answer_nothing_is_claimed(receipts: list[SignedReceipt]) -> None:
    dead = StandInNode(free_port())
    assert verdicts([receipts[0].text], [dead]) == [Verdict.COULD_NOT_CHECK]


@dataclass
class StandInView:
    """A chain that has finalized epoch 1, and knows lanes 0 and 1."""

    report_hash_1: bytes
    lanes: list[bytes]
    merge_delay_s: int = 2
    revoked_at_s: int = 0

    def last_epoch(self) -> int:
        return 1

    def report_hash(self, epoch: int) -> bytes | None:
        return self.report_hash_1 if epoch == 1 else None

    def neighbors(self) -> Neighbors:
        return Neighbors(
            committee=b"",
            registry=b"",
            challenges=b"",
            anchors=b"",
            merge_delay_s=self.merge_delay_s,
            epoch_seconds=EPOCH_SECONDS,
        )

    def lane(self, lane: bytes) -> LaneOnChain | None:
        if lane not in self.lanes:
            return None
        terms = LaneRegistration(lane, 1, 0, (GENESIS_S + 3 * EPOCH_SECONDS) * 1000, 10**12)
        return LaneOnChain(self.lanes.index(lane), terms, self.revoked_at_s)


def on_chain(texts: list[str], nodes: list[StandInNode], *views: StandInView) -> list[Finding]:
    kept = map(KeptReceipt, texts)
    return check_on_chain(kept, [node.url for node in nodes], cast(list[ChainView], views), DOMAIN)


def test_the_chains_report_decides_and_what_is_overdue_is_called_hidden(
    tmp_path: Path, receipts: list[SignedReceipt], nodes: list[StandInNode]
) -> None:
    lanes = [receipts[0].receipt.lane, receipts[-1].receipt.lane]
    view = StandInView(nodes[0].finalize(1, lanes), lanes)
    nodes[1].finalize(1, lanes[::-1])  # another report: a lie, or a rejected attempt
    end_ms = (GENESIS_S + EPOCH_SECONDS) * 1000
    with Lane.open(tmp_path / "lane-0.json", clock_ms=Clock()) as lane:
        times = (end_ms - 2_000, end_ms - 1_999, end_ms, (GENESIS_S + 3 * EPOCH_SECONDS) * 1000)
        uncounted = [lane.meter(1, at_ms=at).text for at in times]
    found = on_chain([receipts[3].text, *uncounted], [nodes[1], nodes[0]], view)
    assert [one.verdict for one in found] == [
        Verdict.COUNTED,
        Verdict.HIDDEN,
        Verdict.NOT_DUE,
        Verdict.NOT_DUE,
        Verdict.DIFFERS,
    ]
    assert "validity" in found[-1].detail
    view.revoked_at_s = 77
    revoked = on_chain(uncounted[:1], nodes, view)[0]
    assert revoked.detail.endswith("revoked on chain at 77")


def test_endpoints_that_disagree_decide_nothing(
    receipts: list[SignedReceipt], nodes: list[StandInNode]
) -> None:
    lanes = [receipts[0].receipt.lane]
    views = [StandInView(bytes(31) + bytes((number,)), lanes) for number in (1, 2)]
    with pytest.raises(ChainUnavailable, match="disagree"):
        on_chain([receipts[0].text], nodes, *views)


def test_an_http_client_keeps_every_receipt_with_its_request(
    tmp_path: Path, receipts: list[SignedReceipt]
) -> None:
    signed = receipts[0]
    book = ReceiptBook(tmp_path / "book")

    class Model(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            headers = {"Usage-Receipt": signed.text, "Usage-Receipt-Salt": signed.request_salt.hex()}
            return httpx.Response(200, headers=headers if request.url.path == "/v1/ask" else {})

    hooks = {"response": [book.keep_response]}
    with httpx.Client(transport=Model(), event_hooks=hooks) as client:
        client.post("http://model/v1/ask?deep=1", content=b"why", headers={"Idempotency-Key": "k"})
        client.post("http://model/v1/ask", content=iter([b"a", b"b"]))
        client.get("http://model/free")
    with_request, without = book.receipts()
    digest = request_sha256("POST", "/v1/ask?deep=1", b"why", "k").hex()
    assert with_request == KeptReceipt(signed.text, signed.request_salt.hex(), digest)
    assert without == KeptReceipt(signed.text, signed.request_salt.hex())


def test_a_crash_while_keeping_costs_that_receipt_alone(
    tmp_path: Path, receipts: list[SignedReceipt], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "book"
    book = ReceiptBook(path)
    book.keep(receipts[0].text)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:100])
    assert [one.text for one in book.receipts()] == [receipts[0].text]
    book.keep(receipts[1].text)
    assert [one.text for one in book.receipts()] == [receipts[0].text, receipts[1].text]
    assert "cut short" in caplog.text
    path.write_bytes(whole + b"[1, 2]\n")
    with pytest.raises(InputRejected, match="book:2: not a kept receipt"):
        book.receipts()


def test_the_command_says_it_in_exit_codes(
    tmp_path: Path,
    receipts: list[SignedReceipt],
    nodes: list[StandInNode],
    capsys: pytest.CaptureFixture[str],
) -> None:
    book = ReceiptBook(tmp_path / "book.jsonl")
    for one in receipts:
        book.keep(one.text)
    command = [
        "verify-receipt",
        "--chain-id",
        str(CHAIN_ID),
        "--settlement",
        checksum_address(SETTLEMENT),
        "--json",
    ]
    urls = ["--node", nodes[0].url, "--node", nodes[1].url]
    assert main([*command, "--book", str(tmp_path / "book.jsonl"), *urls, "--epoch", "1"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2 * COUNT
    assert main([*command, receipts[0].text, *urls, "--epoch", "2"]) == 3
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "could_not_check"
    with Lane.open(tmp_path / "lane-0.json", clock_ms=Clock()) as lane:
        hidden = lane.meter(1).text
    assert main([*command, hidden, *urls, "--epoch", "1"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "not_counted"


def test_ship_brings_what_a_stopped_worker_left_behind(
    tmp_path: Path, nodes: list[StandInNode], capsys: pytest.CaptureFixture[str]
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    file = new_lane(tmp_path, nodes=(nodes[0].url,))
    other = new_lane(tmp_path, 1, nodes=(nodes[0].url, dead))
    for one in (file, other):
        with Lane.open(one) as lane:
            lane.meter(1)
    assert main(["ship", str(file.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["nodes"][0]["acked_count"] == 1
    assert main(["ship", str(tmp_path), "--json"]) == 3
    assert [node.count(one.lane) for node in nodes[:1] for one in (file, other)] == [1, 1]
