"""An endpoint in memory: answers JSON-RPC requests from a table of functions, without a socket."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from usufruct_chain.contracts import Contracts
from usufruct_chain.deployment import Deployment
from usufruct_chain.reader import Reader
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.signing import checksum_address
from web3 import HTTPProvider, Web3

Answer = Callable[..., Any]


class RpcFailure(Exception):
    """Raised by an answering function to make the answer an error object."""


class FakeEndpoint(HTTPProvider):
    """web3's provider with the wire taken out: bodies are encoded, answered and decoded as over HTTP."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        super().__init__(
            "http://secret-user:secret-key@node.example/secret-path", exception_retry_configuration=None
        )
        self.answers = answers
        self.bodies: list[Any] = []
        self._request_session_manager.make_post_request = self._post  # type: ignore[method-assign]

    def _post(self, _uri: Any, body: Any, **_options: Any) -> bytes:
        request = json.loads(body)
        self.bodies.append(request)
        answer = (
            [self._answer(one) for one in request] if isinstance(request, list) else self._answer(request)
        )
        return json.dumps(answer).encode()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        envelope = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            return {**envelope, "result": self.answers[request["method"]](*request["params"])}
        except RpcFailure as failure:
            return {**envelope, "error": failure.args[0]}


def connection(answers: dict[str, Answer]) -> Web3:
    return Web3(FakeEndpoint(answers))


def some_deployment(deployed_block: int = 0) -> Deployment:
    """A deployment whose addresses hold nothing."""
    addresses = [checksum_address(bytes([number] * 20)) for number in range(1, 8)]
    return Deployment(
        31337, *addresses, genesis_s=1_700_000_000, epoch_seconds=600, deployed_block=deployed_block
    )  # type: ignore[misc, arg-type]


class FakeBlocks:
    """A chain of empty blocks with given times; `fork` tells two chains with the same times apart."""

    def __init__(self, times: list[int], fork: str = "") -> None:
        self.times = times
        self.fork = fork
        self.reads = 0
        self.by_hash = {self.hash(number): number for number in range(len(times))}

    def hash(self, number: int) -> str:
        return "0x" + keccak256(f"{self.fork}/{number}".encode()).hex()

    def by_number(self, which: str, _full: bool) -> dict[str, Any] | None:
        self.reads += 1
        number = len(self.times) - 1 if which == "latest" else int(which, 16)
        return self.header(number) if number < len(self.times) else None

    def by_block_hash(self, block_hash: str, _full: bool) -> dict[str, Any] | None:
        number = self.by_hash.get(block_hash)
        return None if number is None else self.header(number)

    def header(self, number: int) -> dict[str, Any]:
        return {
            "number": hex(number),
            "hash": self.hash(number),
            "parentHash": self.hash(number - 1),
            "timestamp": hex(self.times[number]),
        }

    def reader(self, deployed_block: int = 0) -> Reader:
        answers: dict[str, Answer] = {
            "eth_getBlockByNumber": lambda *given: self.by_number(*given),
            "eth_getBlockByHash": lambda *given: self.by_block_hash(*given),
        }
        return Reader(Contracts(connection(answers), some_deployment(deployed_block)))
