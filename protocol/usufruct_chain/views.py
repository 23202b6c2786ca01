"""View functions of a contract: encode a call, name its block by hash, decode the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import get_abi_input_types, get_abi_output_types
from usufruct_protocol.errors import ConfigInvalid, Incompatible

from usufruct_chain.abi import selector_of
from usufruct_chain.rpc import Request, data, hexed


@dataclass(frozen=True, slots=True)
class ViewCall:
    """One call of a view function, ready to be batched."""

    contract: str
    function: str
    call_data: bytes
    output_types: tuple[str, ...]

    def request(self, block_hash: bytes) -> Request:
        """Return the JSON-RPC request at one block, named by hash (EIP-1898)."""
        call = {"to": self.contract, "data": hexed(self.call_data)}
        return "eth_call", (call, {"blockHash": hexed(block_hash)})

    def decode(self, answer: Any) -> Any:
        """Return the decoded answer: one value, or a tuple of several; a struct is a tuple of its fields.

        Addresses are lower-case 0x text, bytes32 bytes, integers ints.
        Raises: ConfigInvalid when there is no such contract, Incompatible when its answer has another shape.
        """
        encoded = data(answer)
        if not encoded:
            raise ConfigInvalid(
                f"no contract answers {self.function} at {self.contract}",
                hint="the deployment file is another chain's, or the block is older than the contract",
            )
        try:
            values = decode(self.output_types, encoded)
        except DecodingError as error:
            raise Incompatible(
                f"{self.contract} answers {self.function} in another format: {error}"
            ) from error
        return values[0] if len(values) == 1 else values


class Views:
    """The functions of one contract by name: `views.paidBits(4, 0)` is a ViewCall."""

    def __init__(self, contract: str, abi: list[dict[str, Any]]) -> None:
        self._contract = contract
        self._functions: dict[str, Callable[..., ViewCall]] = {}
        for entry in abi:
            if entry["type"] == "function":
                self._functions[entry["name"]] = _encoder(contract, entry)

    def __contains__(self, name: str) -> bool:
        return name in self._functions

    def __getattr__(self, name: str) -> Callable[..., ViewCall]:
        try:
            return self._functions[name]
        except KeyError:
            raise AttributeError(f"{self._contract} has no function {name}") from None


def _encoder(contract: str, entry: dict[str, Any]) -> Callable[..., ViewCall]:
    selector = selector_of(entry)
    input_types = tuple(get_abi_input_types(entry))  # type: ignore[arg-type]
    output_types = tuple(get_abi_output_types(entry))  # type: ignore[arg-type]

    def bind(*arguments: Any) -> ViewCall:
        call_data = selector + encode(input_types, arguments)
        return ViewCall(contract, entry["name"], call_data, output_types)

    return bind
