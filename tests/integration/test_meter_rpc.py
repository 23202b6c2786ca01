"""An endpoint that answers with anything but what was asked for is unavailable, never believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from usufruct_meter.chain.rpc import CallReverted, ChainUnavailable, Endpoint
from usufruct_meter.chain.views import ChainView
from usufruct_protocol.errors import ConfigInvalid

SETTLEMENT = bytes(19) + b"\x01"
BLOCK = {"hash": "0x01", "number": "0x1", "timestamp": "0x1", "baseFeePerGas": "0x1"}
OPEN = {"eth_chainId": "0x5", "eth_getBlockByNumber": BLOCK}


@contextmanager
def endpoint(answer: Callable[[str], bytes]) -> Iterator[Endpoint]:
    """An endpoint of chain 5 whose answer to each method is given as bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            content = answer(asked["method"])
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
        thread.start()
        with Endpoint(f"http://127.0.0.1:{server.server_address[1]}/key", 5) as made:
            yield made
        server.shutdown()
        thread.join(10)


def results(**given: Any) -> Callable[[str], bytes]:
    return lambda method: json.dumps({"id": 1, "result": {**OPEN, **given}[method]}).encode()


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"[]", b"7", b'{"id": 1}', b"[" * 100_000, b'{"id":1,"result":"' + b"0" * 2**20 + b'"}'],
)
def test_what_is_no_json_rpc_is_no_answer(content: bytes) -> None:
    with endpoint(lambda _: content) as made, pytest.raises(ChainUnavailable):
        made.request("eth_blockNumber")


@pytest.mark.parametrize("found", [None, "zz", {}, "0x"])
def test_a_chain_id_that_is_no_number_is_no_answer(found: Any) -> None:
    with endpoint(results(eth_chainId=found)) as made, pytest.raises(ChainUnavailable):
        made.request("eth_blockNumber")


@pytest.mark.parametrize("word", ["0x12", "0x" + "00" * 33, "nonsense", 7, None, "0x" + "00" * 64])
def test_what_no_function_returns_is_no_answer(word: Any) -> None:
    with endpoint(results(eth_call=word)) as made, pytest.raises(ChainUnavailable):
        ChainView(made, SETTLEMENT).neighbors()


def test_where_there_is_no_contract_the_lane_file_is_wrong() -> None:
    with (
        endpoint(results(eth_call="0x")) as made,
        pytest.raises(ConfigInvalid, match="no contract with escrow"),
    ):
        ChainView(made, SETTLEMENT).neighbors()
    with (
        endpoint(results(eth_call="0x" + "00" * 32)) as made,
        pytest.raises(ConfigInvalid, match="zero address"),
    ):
        ChainView(made, SETTLEMENT).neighbors()


@pytest.mark.parametrize("head", [None, [], {}, {**BLOCK, "timestamp": "soon"}])
def test_a_head_that_is_none_is_no_answer(head: Any) -> None:
    with endpoint(results(eth_getBlockByNumber=head)) as made, pytest.raises(ChainUnavailable):
        ChainView(made, SETTLEMENT).head()


@pytest.mark.parametrize(
    ("error", "data"),
    [
        ({"code": 3, "message": "execution reverted", "data": "0x12345678"}, "12345678"),
        ({"code": -32000, "message": "reverted", "data": {"data": "0x1234"}}, "1234"),
        ({"code": 3, "message": "execution reverted"}, ""),
        ({"code": 3, "message": "execution reverted", "data": "zz"}, ""),
    ],
)
def test_a_refusal_is_told_from_a_failure(error: dict[str, Any], data: str) -> None:
    def answer(method: str) -> bytes:
        return results()(method) if method in OPEN else json.dumps({"id": 1, "error": error}).encode()

    with endpoint(answer) as made, pytest.raises(CallReverted) as caught:
        made.request("eth_estimateGas", {})
    assert caught.value.data.hex() == data


def test_an_error_in_any_other_form_is_a_failure() -> None:
    for error in ("busy", {"message": None}, {"code": -32005, "message": "limit"}, ["x"]):
        content = json.dumps({"id": 1, "error": error}).encode()
        with endpoint(lambda _, content=content: content) as made, pytest.raises(ChainUnavailable):  # type: ignore[misc]
            made.request("eth_blockNumber")
