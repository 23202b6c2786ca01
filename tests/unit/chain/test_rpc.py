"""What endpoints say and do, as typed errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from usufruct_chain.connection import connect
from usufruct_chain.reverts import CallReverted
from usufruct_chain.rpc import MAX_BATCH, Rpc, data, hexed, quantity
from usufruct_protocol.errors import ConfigInvalid, Incompatible, Transient, UsufructError
from web3 import IPCProvider, Web3

from tests.unit.chain.fake_endpoint import FakeEndpoint, RpcFailure, connection

WRONG_EPOCH = bytes.fromhex("4e487b71") + (0x11).to_bytes(32, "big")  # Panic(0x11)


def failing(error: Any) -> Callable[..., Any]:
    def answer(*_params: Any) -> Any:
        raise RpcFailure(error)

    return answer


@pytest.mark.parametrize(
    "error",
    [
        {"code": 3, "message": "execution reverted", "data": hexed(WRONG_EPOCH)},
        {"code": -32000, "message": "execution reverted: panic", "data": hexed(WRONG_EPOCH)},
        {"code": -32015, "message": "VM execution error: revert", "data": "Reverted " + hexed(WRONG_EPOCH)},
        {"code": -32603, "message": "VM reverted", "data": {"data": hexed(WRONG_EPOCH), "message": "…"}},
    ],
)
def test_reverts_are_decoded_wherever_clients_put_them(error: dict[str, Any]) -> None:
    rpc = Rpc(connection({"eth_call": failing(error)}))
    with pytest.raises(CallReverted) as refused:
        rpc.request("eth_call")
    assert str(refused.value) == "Panic(code=17, meaning='arithmetic overflow')"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": -32000, "message": "header not found"}, Transient),
        ({"code": -32005, "message": "limit exceeded"}, Transient),
        ({"code": -32001, "message": "Resource not found"}, Transient),
        ({"code": -32601, "message": "the method eth_foo does not exist"}, Incompatible),
        ({"code": -32602, "message": "invalid argument 1"}, Incompatible),
        ("just text", Transient),
        ({"code": 3, "message": "execution reverted"}, CallReverted),
        ({"code": 3, "message": "execution reverted", "data": "0xzz"}, CallReverted),
        ({"code": 3, "message": "execution reverted", "data": 7}, CallReverted),
    ],
)
def test_error_objects_become_typed_errors(error: Any, kind: type[UsufructError]) -> None:
    rpc = Rpc(connection({"eth_foo": failing(error), "eth_ok": lambda: "0x1"}))
    with pytest.raises(kind):
        rpc.request("eth_foo")
    with pytest.raises(kind):
        rpc.batch([("eth_ok", ()), ("eth_foo", ())])
    good, bad = rpc.outcomes([("eth_ok", ()), ("eth_foo", ())])
    assert good == "0x1"
    assert isinstance(bad, kind)


def http_error(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status} for url https://node.example/secret-path", response=response)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (requests.ConnectionError("https://node.example/secret-path refused"), Transient),
        (requests.Timeout("secret-key"), Transient),
        (http_error(429), Transient),
        (http_error(502), Transient),
        (http_error(401), ConfigInvalid),
        (http_error(403), ConfigInvalid),
    ],
)
def test_connection_problems_keep_the_access_key_to_themselves(
    raised: Exception, kind: type[UsufructError]
) -> None:
    w3 = connection({})
    provider = w3.provider
    assert isinstance(provider, FakeEndpoint)

    def post(*_given: Any, **_options: Any) -> bytes:
        raise raised

    provider._request_session_manager.make_post_request = post  # type: ignore[method-assign]
    for attempt in (lambda: Rpc(w3).request("eth_chainId"), lambda: Rpc(w3).batch([("eth_chainId", ())])):
        with pytest.raises(kind) as failed:
            attempt()
        assert str(failed.value).startswith("node.example")
        assert "secret" not in str(failed.value)
    (outcome,) = Rpc(w3).outcomes([("eth_chainId", ())])
    assert isinstance(outcome, kind)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"7", b"{}", b'{"jsonrpc":"2.0","id":0}', b"\xff\xfe"]
)
def test_bodies_that_are_not_json_rpc_are_transient(body: bytes) -> None:
    w3 = connection({})
    w3.provider._request_session_manager.make_post_request = lambda *_, **__: body  # type: ignore[union-attr]
    with pytest.raises(Transient):
        Rpc(w3).request("eth_chainId")
    with pytest.raises(Transient):
        Rpc(w3).batch([("eth_chainId", ())])


def test_a_batch_answered_twice_for_one_request_is_transient() -> None:
    w3 = connection({})
    w3.provider._request_session_manager.make_post_request = (  # type: ignore[union-attr]
        lambda *_, **__: b'[{"jsonrpc":"2.0","id":0,"result":"0x1"},{"jsonrpc":"2.0","id":0,"result":"0x2"}]'
    )
    with pytest.raises(Transient, match="answered 1 of 2 requests"):
        Rpc(w3).batch([("eth_chainId", ()), ("eth_chainId", ())])


def test_a_batch_answered_in_part_is_transient() -> None:
    w3 = connection({})
    w3.provider._request_session_manager.make_post_request = (  # type: ignore[union-attr]
        lambda *_, **__: b'[{"jsonrpc":"2.0","id":0,"result":"0x1"}]'
    )
    with pytest.raises(Transient, match="answered 1 of 2 requests"):
        Rpc(w3).batch([("eth_chainId", ()), ("eth_chainId", ())])


def test_long_batches_are_cut_and_stay_in_order() -> None:
    w3 = connection({"eth_echo": lambda number: hex(number)})
    count = 2 * MAX_BATCH + 5
    found = Rpc(w3).batch([("eth_echo", (number,)) for number in range(count)])
    assert [quantity(one) for one in found] == list(range(count))
    assert isinstance(w3.provider, FakeEndpoint)
    assert [len(body) for body in w3.provider.bodies] == [MAX_BATCH, MAX_BATCH, 5]


def test_no_requests_make_no_round_trip() -> None:
    w3 = connection({})
    assert Rpc(w3).batch([]) == []
    assert isinstance(w3.provider, FakeEndpoint)
    assert w3.provider.bodies == []


@pytest.mark.parametrize("value", [None, 7, "", "12z", {}])
def test_values_of_another_shape_are_transient(value: Any) -> None:
    with pytest.raises(Transient):
        quantity(value)


@pytest.mark.parametrize("value", [None, 7, "0xabc", "0xzz", {}])
def test_data_of_another_shape_is_transient(value: Any) -> None:
    with pytest.raises(Transient):
        data(value)


def test_data_of_another_length_is_transient() -> None:
    assert data("0x0102", 2) == b"\x01\x02"
    with pytest.raises(Transient, match="2 bytes where 32 belong"):
        data("0x0102", 32)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8545", "ws://127.0.0.1:8545", "http://", "file:///etc/passwd"]
)
def test_only_http_endpoints_with_a_host_are_taken(url: str) -> None:
    with pytest.raises(ConfigInvalid):
        connect(url)


@pytest.mark.parametrize(
    ("url", "uses_proxies"),
    [
        ("http://127.0.0.1:8545", False),
        ("http://localhost:8545", False),
        ("http://[::1]:8545", False),
        ("https://node.example/key", True),
    ],
)
def test_loopback_never_goes_through_a_proxy(url: str, uses_proxies: bool) -> None:
    (provider,) = connect(url).provider.providers  # type: ignore[attr-defined]
    assert provider.session.trust_env is uses_proxies  # type: ignore[attr-defined]


def test_other_transports_are_refused() -> None:
    with pytest.raises(ConfigInvalid, match="over HTTP, not IPCProvider"):
        Rpc(Web3(IPCProvider("/nowhere")))
