"""Several endpoints as one: down, behind, of another chain, lying; and what is sent goes to all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from usufruct_chain.connection import compare_endpoints, require_agreement
from usufruct_chain.endpoints import LAG_BLOCKS, LONGEST_REST_S, OUTVOTED_REST_S, STALE_AFTER_S, Endpoints
from usufruct_chain.rpc import Rpc
from usufruct_protocol.errors import ConfigInvalid, Transient
from web3 import Web3

from tests.unit.chain.fake_endpoint import FakeEndpoint, RpcFailure

CHAIN = 31337


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Node:
    """An endpoint that a test turns into whatever it needs."""

    name: str
    chain_id: int = CHAIN
    head: int = 100
    is_down: bool = False
    error: dict[str, Any] | None = None
    fork: str = ""
    found: str | None = None
    asked: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def provider(self) -> FakeEndpoint:
        provider = FakeEndpoint(
            {
                "eth_chainId": lambda: self._say("eth_chainId", hex(self.chain_id)),
                "eth_blockNumber": lambda: self._say("eth_blockNumber", hex(self.head)),
                "eth_gasPrice": lambda: self._say("eth_gasPrice", self.name),
                "eth_getBlockByNumber": lambda which, _full: self._say("block", self._block(which)),
                "eth_getTransactionReceipt": lambda _hash: self._say("receipt", self.found),
                "eth_getLogs": lambda _filter: self._say("logs", None),
                "eth_sendRawTransaction": self._send,
            }
        )
        answer = provider._request_session_manager.make_post_request

        def post(*given: Any, **options: Any) -> bytes:
            if self.is_down:
                raise requests.ConnectionError("http://secret")
            return answer(*given, **options)

        provider._request_session_manager.make_post_request = post  # type: ignore[method-assign]
        provider.endpoint_uri = f"http://{self.name}/key"  # type: ignore[assignment]
        return provider

    def _block(self, which: str) -> dict[str, Any] | None:
        number = self.head if which == "latest" else int(which, 16)
        return (
            None
            if number > self.head
            else {"number": hex(number), "hash": f"0x{self.fork}{number:064x}"[:66]}
        )

    def _send(self, raw: str) -> str:
        self._say("send", None)
        self.sent.append(raw)
        return "0x01"

    def _say(self, what: str, answer: Any) -> Any:
        self.asked.append(what)
        if self.error is not None and what != "eth_chainId":
            raise RpcFailure(self.error)
        return answer


class Scene:
    """Some nodes behind one connection, and what the observer was told."""

    def __init__(self, *nodes: Node, chain_id: int | None = CHAIN) -> None:
        self.nodes = nodes
        self.clock = Clock()
        self.seen: list[tuple[int, str]] = []
        endpoints = Endpoints(
            [node.provider() for node in nodes],
            chain_id=chain_id,
            observer=lambda place, outcome: self.seen.append((place, outcome)),
            clock=self.clock,
        )
        self.w3 = Web3(endpoints)
        self.rpc = Rpc(self.w3)

    def who(self) -> str:
        """Name of the node that answers."""
        return str(self.rpc.request("eth_gasPrice"))

    def head(self) -> int:
        return int(self.rpc.request("eth_getBlockByNumber", "latest", False)["number"], 16)

    def agree(self, number: int, fork: str = "") -> None:
        require_agreement(self.w3, number, bytes.fromhex(f"{fork}{number:064x}"[:64]))


def test_the_first_is_asked_and_the_next_takes_over_while_it_rests() -> None:
    scene = Scene(Node("a"), Node("b"))
    assert scene.who() == "a"
    assert scene.nodes[1].asked == []
    scene.nodes[0].is_down = True
    assert [scene.who(), scene.who()] == ["b", "b"]
    assert scene.seen == [(0, "answered"), (0, "failed"), (1, "answered"), (1, "answered")]
    scene.nodes[0].is_down = False
    assert scene.who() == "b"
    scene.clock.now += 1.0
    assert scene.who() == "a"


def test_who_fails_again_and_again_rests_for_longer() -> None:
    scene = Scene(Node("a", is_down=True), Node("b"))
    for _ in range(12):
        scene.who()
        scene.clock.now += LONGEST_REST_S
    assert scene.seen.count((0, "failed")) == 12
    scene.who()
    scene.clock.now += LONGEST_REST_S - 1
    scene.who()
    assert scene.seen.count((0, "failed")) == 13


@pytest.mark.parametrize(
    "error",
    [{"code": -32005, "message": "limit exceeded"}, {"code": -32000, "message": "header not found"}],
)
def test_trouble_of_one_endpoint_is_not_the_chain_s_answer(error: dict[str, Any]) -> None:
    scene = Scene(Node("a", error=error), Node("b"))
    assert scene.who() == "b"
    assert scene.rpc.batch([("eth_gasPrice", ()), ("eth_chainId", ())]) == ["b", hex(CHAIN)]


def test_a_revert_is_the_chain_s_answer() -> None:
    scene = Scene(Node("a", error={"code": 3, "message": "execution reverted"}), Node("b"))
    with pytest.raises(Exception, match="reverted without a reason"):
        scene.who()
    assert scene.nodes[1].asked == []


def test_when_all_fail_the_failure_is_transient_and_shows_no_key() -> None:
    scene = Scene(Node("a", is_down=True), Node("b", is_down=True))
    with pytest.raises(Transient, match="did not answer eth_gasPrice: ConnectionError") as refused:
        scene.who()
    assert "secret" not in str(refused.value)
    scene.nodes[1].is_down = False
    assert scene.who() == "b", "all rest: then all are asked"


def test_endpoints_of_another_chain_are_not_used() -> None:
    scene = Scene(Node("a", chain_id=1), Node("b"))
    assert [scene.who(), scene.who()] == ["b", "b"]
    assert scene.nodes[0].asked == ["eth_chainId"]
    with pytest.raises(ConfigInvalid, match="serves chain 1, the deployment is on chain 31337"):
        Scene(Node("a", chain_id=1), Node("b", chain_id=1)).who()


def test_an_endpoint_that_comes_back_as_another_chain_is_noticed() -> None:
    scene = Scene(Node("a"), Node("b"))
    assert scene.who() == "a"
    scene.nodes[0].is_down = True
    scene.who()
    scene.nodes[0].is_down, scene.nodes[0].chain_id = False, 1
    scene.clock.now += LONGEST_REST_S
    assert scene.who() == "b"


def test_an_endpoint_that_falls_back_is_passed_over() -> None:
    scene = Scene(Node("a"), Node("b", head=101))
    assert scene.head() == 100
    scene.nodes[0].head = 100 - LAG_BLOCKS
    assert scene.head() == 100 - LAG_BLOCKS, "a reorganization, perhaps"
    scene.nodes[0].head -= 1
    assert scene.head() == 101


def test_an_endpoint_that_stands_still_is_compared_with_the_others() -> None:
    scene = Scene(Node("a"), Node("b", head=100 + LAG_BLOCKS))
    assert scene.head() == 100
    scene.clock.now += STALE_AFTER_S + 1
    assert scene.head() == 100, "the other is hardly ahead"
    scene.nodes[1].head += 1
    assert scene.head() == 100
    assert scene.nodes[1].asked.count("eth_blockNumber") == 1, "not at every look"
    scene.clock.now += STALE_AFTER_S + 1
    assert scene.head() == 100 + LAG_BLOCKS + 1


def test_a_chain_that_stands_still_keeps_its_endpoint() -> None:
    scene = Scene(Node("a"), Node("b"))
    for _ in range(5):
        assert scene.head() == 100
        scene.clock.now += STALE_AFTER_S + 1
    assert scene.who() == "a"


def test_a_block_is_believed_if_most_endpoints_have_it() -> None:
    liar = Node("a", fork="ff")
    scene = Scene(liar, Node("b"), Node("c"))
    scene.agree(90)
    assert scene.who() == "b", "the outvoted one rests"
    assert (0, "disagreed") in scene.seen
    scene.clock.now += OUTVOTED_REST_S
    with pytest.raises(Transient, match="to most endpoints, not 0xff"):
        scene.agree(90, "ff")


def test_endpoints_that_do_not_know_a_block_do_not_vote() -> None:
    scene = Scene(Node("a"), Node("b", head=80), Node("c", is_down=True))
    scene.agree(90)
    with pytest.raises(Transient, match="do not agree about block 200"):
        scene.agree(200)


def test_a_liar_is_found_by_comparing_and_a_tie_is_left_alone() -> None:
    scene = Scene(Node("a", fork="ff"), Node("b"), Node("c", head=100 - LAG_BLOCKS))
    compare_endpoints(scene.w3)
    assert scene.who() == "b"
    tie = Scene(Node("a", fork="ff"), Node("b"))
    compare_endpoints(tie.w3)
    assert tie.who() == "a"
    for node in tie.nodes:
        node.is_down = True
    compare_endpoints(tie.w3)


def test_two_that_disagree_are_a_tie_and_one_alone_is_believed() -> None:
    with pytest.raises(Transient, match="do not agree about block 90") as refused:
        Scene(Node("a"), Node("b", fork="ff")).agree(90)
    assert "three endpoints" in refused.value.hint
    Scene(Node("a", fork="ff")).agree(90)


def test_transactions_go_to_every_endpoint_and_one_that_takes_it_is_enough() -> None:
    scene = Scene(
        Node("a", error={"code": -32000, "message": "nonce too low"}), Node("b"), Node("c", is_down=True)
    )
    assert scene.rpc.request("eth_sendRawTransaction", "0x02") == "0x01"
    assert [node.sent for node in scene.nodes] == [[], ["0x02"], []]
    scene.nodes[1].error = {"code": -32000, "message": "replacement transaction underpriced"}
    with pytest.raises(Transient, match="nonce too low"):
        scene.rpc.request("eth_sendRawTransaction", "0x02")
    for node in scene.nodes:
        node.is_down = True
    with pytest.raises(Transient, match="did not answer eth_sendRawTransaction"):
        scene.rpc.request("eth_sendRawTransaction", "0x02")


def test_nothing_found_is_believed_only_if_nobody_finds_anything() -> None:
    scene = Scene(Node("a"), Node("b", found="0x5"))
    assert scene.rpc.request("eth_getTransactionReceipt", "0x01") == "0x5"
    batch = [("eth_gasPrice", ()), ("eth_getTransactionReceipt", ("0x01",)), ("eth_getLogs", ({},))]
    assert scene.rpc.batch(batch) == ["b", "0x5", None]
    scene.nodes[1].found = None
    assert scene.rpc.request("eth_getTransactionReceipt", "0x01") is None
    assert scene.rpc.batch(batch) == ["a", None, None], "then the first endpoint's view is the answer"


def test_no_endpoint_at_all_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="no chain endpoint"):
        Endpoints([])
