"""JSON-RPC as the rest of the package needs it: raw values, batches, and typed errors.

web3's provider carries the requests; what is left out is its formatting of every value, which costs more than
the request itself when a node polls many times per second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests
from usufruct_protocol.errors import ConfigInvalid, Incompatible, Transient, UsufructError
from web3 import HTTPProvider, Web3
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint

from usufruct_chain.reverts import decode_revert

MAX_BATCH = 100
"""Requests in one HTTP body; public endpoints refuse much larger ones."""

_BAD_REQUEST_CODES = (-32700, -32600, -32601, -32602)
_REVERTED_CODE = 3
_MAX_SHOWN = 300

Request = tuple[str, Sequence[Any]]
"""Method and parameters."""


class Rpc:
    """Raw JSON-RPC over one web3 connection.

    Raises, from every method: ContractRejected (decoded) when the node reports a revert; Transient when the
    endpoint does not answer, or cannot just now; ConfigInvalid when it refuses the credentials; Incompatible
    when it does not know the method.
    """

    def __init__(self, w3: Web3) -> None:
        if not isinstance(w3.provider, HTTPProvider):
            raise ConfigInvalid(f"the chain is reached over HTTP, not {type(w3.provider).__name__}")
        self._provider = w3.provider

    @property
    def endpoint(self) -> str:
        """The host that is asked, or was last: the rest of such URLs often is the access key."""
        return urlsplit(str(self._provider.endpoint_uri)).hostname or "the endpoint"

    def request(self, method: str, *params: Any) -> Any:
        """Return the result of one request."""
        with self.translated(method):
            answer = self._provider.make_request(RPCEndpoint(method), list(params))
        result = self._outcome(method, answer)
        if isinstance(result, UsufructError):
            raise result
        return result

    def batch(self, wanted: Sequence[Request]) -> list[Any]:
        """Return the results of many requests in order, or raise the first error among them."""
        outcomes = self.outcomes(wanted)
        for outcome in outcomes:
            if isinstance(outcome, UsufructError):
                raise outcome
        return outcomes

    def outcomes(self, wanted: Sequence[Request]) -> list[Any]:
        """Return one result or one error (not raised) per request, in order; up to 100 share a round trip."""
        found: list[Any] = []
        for start in range(0, len(wanted), MAX_BATCH):
            part = wanted[start : start + MAX_BATCH]
            try:
                found += self._round_trip(part)
            except UsufructError as error:
                found += [error] * len(part)
        return found

    def _round_trip(self, part: Sequence[Request]) -> list[Any]:
        with self.translated("a batch"):
            answers: Any = self._provider.make_batch_request(
                [(RPCEndpoint(method), params) for method, params in part]
            )
            if isinstance(answers, dict):
                raise error_of("a batch", answers["error"], self.endpoint)
            # web3 numbers requests upwards and has sorted the answers by these numbers.
            numbers = {answer["id"] for answer in answers}
        if len(answers) != len(part) or len(numbers) != len(part):
            raise Transient(f"{self.endpoint} answered {len(numbers)} of {len(part)} requests")
        return [self._outcome(method, answer) for (method, _), answer in zip(part, answers, strict=True)]

    def _outcome(self, method: str, answer: Any) -> Any:
        if not isinstance(answer, dict) or ("result" not in answer and "error" not in answer):
            return Transient(f"{self.endpoint} gave a malformed answer to {method}")
        if answer.get("error") is not None:
            return error_of(method, answer["error"], self.endpoint)
        return answer["result"]

    @contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Turn what web3 and requests raise about the connection into this project's errors."""
        try:
            yield
        except requests.HTTPError as error:
            status = error.response.status_code
            if status in (401, 403):
                raise ConfigInvalid(
                    f"{self.endpoint} refused {doing}: HTTP {status}",
                    hint="check the key in the endpoint URL",
                ) from error
            raise Transient(f"{self.endpoint} answered {doing} with HTTP {status}") from error
        except requests.RequestException as error:
            # Not the exception's own text: it repeats the whole URL.
            raise Transient(f"{self.endpoint} did not answer {doing}: {type(error).__name__}") from error
        except (Web3Exception, ValueError, KeyError, TypeError) as error:
            # What web3 raises when a body is not the JSON-RPC it expects.
            raise Transient(
                f"{self.endpoint} gave a malformed answer to {doing}: {error!r:.{_MAX_SHOWN}}"
            ) from error


def quantity(value: Any) -> int:
    """Return the number in a JSON-RPC quantity (`0x…` text). Raises: Transient if it is none."""
    try:
        return int(value, 16)
    except (TypeError, ValueError) as error:
        raise Transient(f"the endpoint gave {value!r:.40} where a number belongs") from error


def data(value: Any, length: int | None = None) -> bytes:
    """Return the bytes of JSON-RPC data (`0x…` text), of a given length. Raises: Transient otherwise."""
    try:
        found = bytes.fromhex(value.removeprefix("0x"))
    except (AttributeError, ValueError) as error:
        raise Transient(f"the endpoint gave {value!r:.80} where bytes belong") from error
    if length is not None and len(found) != length:
        raise Transient(f"the endpoint gave {len(found)} bytes where {length} belong")
    return found


def hexed(value: bytes) -> str:
    """Return bytes as JSON-RPC data."""
    return f"0x{value.hex()}"


def error_of(method: str, error: Any, endpoint: str) -> UsufructError:
    """Return the typed error that a JSON-RPC error object stands for."""
    code = error.get("code") if isinstance(error, dict) else None
    message = str(error.get("message") if isinstance(error, dict) else error)[:_MAX_SHOWN]
    lowered = message.lower()
    if code == _REVERTED_CODE or "revert" in lowered or "invalid opcode" in lowered:
        return decode_revert(_revert_data(error))
    if code in _BAD_REQUEST_CODES:
        return Incompatible(f"{endpoint} does not take {method}: {message} ({code})")
    return Transient(f"{endpoint} failed at {method}: {message} ({code})")


def _revert_data(error: Any) -> bytes:
    """Revert data out of an error object; clients put it in different places and under different prefixes."""
    found = error.get("data") if isinstance(error, dict) else None
    if isinstance(found, dict):
        found = found.get("data") or found.get("result")
    if not isinstance(found, str):
        return b""
    try:
        return bytes.fromhex(found[found.find("0x") + 2 :]) if "0x" in found else b""
    except ValueError:
        return b""
