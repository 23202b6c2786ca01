"""JSON-RPC over HTTP to one endpoint of one chain. What comes back is checked for shape before it is used."""

from __future__ import annotations

import json
import threading
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx
from usufruct_protocol.errors import ConfigInvalid, ContractRejected, Transient

from usufruct_meter.nodes.http_client import BoundedClient, TooLong

_MAX_ANSWER_BYTES: Final = 1024 * 1024
_EXCHANGE_S: Final = 20.0
_MAX_SHOWN: Final = 200
_REVERTED: Final = 3


class ChainUnavailable(Transient):
    """A chain endpoint did not answer, or not with what was asked for."""

    code = "chain_unavailable"


class CallReverted(ContractRejected):
    """A contract refused. `data` is what it said, as ABI-encoded error."""

    code = "call_reverted"

    def __init__(self, message: str, data: bytes) -> None:
        super().__init__(message, hint="nothing was paid for: it was only simulated")
        self.data = data


class Endpoint:
    """One endpoint, only ever asked about one chain. Safe for threads.

    Methods raise ChainUnavailable when it is worth trying again, ConfigInvalid if it serves another chain.
    """

    def __init__(self, url: str, chain_id: int) -> None:
        self.name = urlsplit(url).hostname or "the endpoint"  # the rest of a URL may be an access key
        self.chain_id = chain_id
        self._http = BoundedClient(exchange_s=_EXCHANGE_S)
        self._url = url
        self._is_checked = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def served_chain_id(self) -> int:
        """Return the id of the chain that the endpoint serves, whatever was expected."""
        return quantity(self._ask("eth_chainId", ()))

    def request(self, method: str, *params: object) -> Any:
        """Return the result of a request, on the right chain or not at all."""
        with self._lock:
            if not self._is_checked:
                found = self.served_chain_id()
                if found != self.chain_id:
                    raise ConfigInvalid(
                        f"{self.name} serves chain {found}, the lane is counted on chain {self.chain_id}",
                        hint="put an endpoint of the right chain into chain.json",
                    )
                self._is_checked = True
            return self._ask(method, params)

    def _ask(self, method: str, params: tuple[object, ...]) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        try:
            given = self._http.ask("POST", self._url, max_bytes=_MAX_ANSWER_BYTES, json=body)
        except (httpx.HTTPError, TooLong) as error:  # not its own text: that repeats the URL
            self._is_checked = False  # whoever answers next may be somebody else
            raise ChainUnavailable(f"{self.name}: {method}: {type(error).__name__}") from error
        try:
            answer = json.loads(given.body)
        except (ValueError, RecursionError) as error:
            raise ChainUnavailable(f"{self.name} answers {method} with {given.status} and no JSON") from error
        if not isinstance(answer, dict) or ("result" not in answer and "error" not in answer):
            raise ChainUnavailable(f"{self.name} answers {method} with what is no JSON-RPC")
        if answer.get("error") is not None:
            raise _error(self.name, method, answer["error"])
        return answer.get("result")


def quantity(value: object) -> int:
    """Return the number in a `0x…` quantity. Raises: ChainUnavailable."""
    try:
        return int(str(value), 16)
    except ValueError as error:
        raise ChainUnavailable(f"an endpoint gave {value!r:.40} where a number belongs") from error


def data(value: object) -> bytes:
    """Return the bytes of `0x…` data. Raises: ChainUnavailable."""
    try:
        return bytes.fromhex(str(value).removeprefix("0x"))
    except ValueError as error:
        raise ChainUnavailable(f"an endpoint gave {value!r:.40} where bytes belong") from error


def _error(name: str, method: str, error: Any) -> Transient | ContractRejected:
    content = error if isinstance(error, dict) else {"message": str(error)}
    message = str(content.get("message"))[:_MAX_SHOWN]
    if content.get("code") == _REVERTED or "revert" in message.lower():
        given = content.get("data")
        given = given.get("data") if isinstance(given, dict) else given
        try:
            revert = bytes.fromhex(str(given or "").removeprefix("0x"))
        except ValueError:
            revert = b""
        return CallReverted(f"refused by the contract: {message}", revert)
    return ChainUnavailable(f"{name}: {method}: {message} ({content.get('code')})")
