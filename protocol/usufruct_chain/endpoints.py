"""Several endpoints of one chain as one: the first that answers, and no single one believed where it counts.

Endpoints go down, fall behind, serve another chain, leave out logs, and lie. What belongs together is read by
block hash, so that an answer of any of them is of the block that was asked for, or none. Which block that is
(the cut-off) must be what most of those that answer say. Transactions go to all of them.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from usufruct_protocol.errors import ConfigInvalid, Transient
from web3 import HTTPProvider
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint, RPCResponse

from usufruct_chain.rpc import error_of

_log = logging.getLogger(__name__)

LONGEST_REST_S: Final = 60.0
OUTVOTED_REST_S: Final = 600.0
STALE_AFTER_S: Final = 30.0
"""After so long without a new block the others are asked whether they have one."""
LAG_BLOCKS: Final = 8
"""A head so far below the highest seen is an endpoint that lags, not a reorganization."""

Observer = Callable[[int, str], None]
"""Told of each request: place of the endpoint, and answered, failed or disagreed."""

_SPARSE: Final = frozenset({"eth_getLogs", "eth_getTransactionReceipt", "eth_getTransactionByHash"})
"""What endpoints leave out when they are busy: nothing found is believed only if no other finds something."""
_FAILURES: Final = (requests.RequestException, Web3Exception, ValueError, KeyError, TypeError)


@dataclass(slots=True, eq=False)
class _Endpoint:
    """One endpoint and how it has behaved. `head_at` is when its newest block was new."""

    place: int
    provider: HTTPProvider
    is_vetted: bool = False
    failures: int = 0
    resting_until: float = 0.0
    head: int = -1
    head_at: float = 0.0

    @property
    def name(self) -> str:
        # Only the host: the path and the user part of such URLs often are the access key.
        return urlsplit(str(self.provider.endpoint_uri)).hostname or f"endpoint {self.place}"


class Endpoints(HTTPProvider):
    """web3's provider over several endpoints, in order of preference.

    One that fails rests, for longer each time, and the next takes over; who rests is asked only when all do.
    chain_id: endpoints of another chain are not used; None trusts them all
    """

    def __init__(
        self,
        providers: Sequence[HTTPProvider],
        *,
        chain_id: int | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not providers:
            raise ConfigInvalid("no chain endpoint is named", hint="for example http://127.0.0.1:8545")
        super().__init__(providers[0].endpoint_uri, exception_retry_configuration=None)
        self.providers = tuple(providers)
        self._endpoints = [_Endpoint(place, provider) for place, provider in enumerate(providers)]
        self._chain_id = chain_id
        self._observe = observer or (lambda *_: None)
        self._clock = clock
        self._highest = -1

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Return the answer of the first endpoint that has one; of the last, if all of them fail."""
        if method == "eth_sendRawTransaction":
            return self._broadcast(method, params)
        is_head = method == "eth_getBlockByNumber" and params[:1] == ["latest"]

        def is_good(endpoint: _Endpoint, answer: Any) -> bool:
            return self._is_current(endpoint, answer) if is_head else _tells_something(method, answer)

        return self._first(lambda provider: provider.make_request(method, params), is_good)  # type: ignore[no-any-return]

    def make_batch_request(
        self, batch_requests: list[tuple[RPCEndpoint, Any]]
    ) -> list[RPCResponse] | RPCResponse:
        """The same for a batch, which goes to one endpoint as a whole."""
        methods = [method for method, _ in batch_requests]

        def is_good(_endpoint: _Endpoint, answers: Any) -> bool:
            if not _has_no_fault(answers):
                return False
            told = [
                _tells_something(method, answer)
                for method, answer in zip(methods, answers, strict=True)
                if method in _SPARSE
            ]
            return not told or any(told)

        return self._first(lambda provider: provider.make_batch_request(batch_requests), is_good)  # type: ignore[no-any-return]

    def compare(self) -> None:
        """Compare a block that all should have by now; who is outvoted rests, a tie is only logged."""
        if len(self._endpoints) == 1:
            return
        heads = [head for endpoint in self._endpoints for head in self._head_of(endpoint)]
        if heads:
            number = max(max(heads) - LAG_BLOCKS, 0)
            if self._elect(number) is None:
                _log.warning("chain endpoints do not agree about block %d, or do not answer", number)

    def require_agreement(self, number: int, block_hash: str) -> None:
        """Make sure that most endpoints that answer have this block under its number.

        Raises: Transient if they do not. Who is outvoted rests.
        """
        if len(self._endpoints) == 1:
            return
        winner = self._elect(number)
        if winner is None:
            raise Transient(
                f"the chain endpoints do not agree about block {number}, or do not answer",
                hint="three endpoints of different operators outvote a wrong one",
            )
        if winner != block_hash.lower():
            raise Transient(f"block {number} is {winner} to most endpoints, not {block_hash}")

    def _elect(self, number: int) -> str | None:
        """Return the hash that most endpoints that know a block have for it, or None without a majority."""
        said: dict[_Endpoint, str] = {}
        try:
            usable = list(self._usable())
        except _FAILURES:
            return None
        for endpoint in usable:
            answer = self._ask(endpoint, lambda each: each.make_request(*_block_by_number(number)))
            result = answer.get("result") if isinstance(answer, dict) else None
            if isinstance(result, dict):
                said[endpoint] = str(result.get("hash")).lower()
        winner, count = Counter(said.values()).most_common(1)[0] if said else ("", 0)
        if 2 * count <= len(said):
            return None
        for endpoint, found in said.items():
            if found != winner:
                self._observe(endpoint.place, "disagreed")
                _log.error("%s has block %d as %s, the others as %s", endpoint.name, number, found, winner)
                self._rest(endpoint, OUTVOTED_REST_S)
        return winner

    def _first(self, ask: Callable[[HTTPProvider], Any], is_good: Callable[[_Endpoint, Any], bool]) -> Any:
        """Return the first good answer; without one the first that is no fault, or the last fault."""
        faults: list[Any] = []
        fine: list[Any] = []
        failure: Exception | None = None
        for endpoint in self._usable():
            try:
                answer = ask(endpoint.provider)
            except _FAILURES as error:
                failure = error
                self._failed(endpoint)
                continue
            if is_good(endpoint, answer):
                self._answered(endpoint)
                return answer
            (fine if _has_no_fault(answer) else faults).append(answer)
        if not fine and not faults and failure is not None:
            raise failure
        return next(iter((*fine, *reversed(faults))), None)

    def _ask(self, endpoint: _Endpoint, ask: Callable[[HTTPProvider], Any]) -> Any:
        """Return an endpoint's answer; None if it fails."""
        try:
            return ask(endpoint.provider)
        except _FAILURES:
            self._failed(endpoint)
            return None

    def _broadcast(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Hand a transaction to every endpoint: one of them may keep it to itself.

        What one says that took it is the answer; without one, what the first says that refused it.
        """
        answers: list[Any] = []
        failure: Exception | None = None
        for endpoint in self._usable():
            try:
                answers.append(endpoint.provider.make_request(method, params))
                self._answered(endpoint)
            except _FAILURES as error:
                failure = error
                self._failed(endpoint)
        if not answers:
            raise failure or requests.ConnectionError("no endpoint took the transaction")
        taken = [each for each in answers if isinstance(each, dict) and each.get("error") is None]
        answer: Any = (taken or answers)[0]
        return answer  # type: ignore[no-any-return]

    def _usable(self) -> Iterator[_Endpoint]:
        """Yield endpoints of the right chain: those that do not rest in order, or all if all rest.

        Raises: ConfigInvalid if every one serves another chain.
        """
        now = self._clock()
        awake = [endpoint for endpoint in self._endpoints if endpoint.resting_until <= now]
        strangers, is_any_used, failure = 0, False, None
        for endpoint in awake or sorted(self._endpoints, key=lambda each: each.resting_until):
            try:
                found = self._foreign_chain(endpoint)
            except _FAILURES as error:
                failure = error
                self._failed(endpoint)
                continue
            if found is None:
                is_any_used = True
                self.endpoint_uri = endpoint.provider.endpoint_uri
                yield endpoint
                continue
            strangers += 1
            if strangers == len(self._endpoints):
                raise ConfigInvalid(
                    f"the endpoint serves chain {found}, the deployment is on chain {self._chain_id}",
                    hint="point the endpoint setting at the right chain, or use that chain's deployment file",
                )
        if failure is not None and not is_any_used:
            raise failure

    def _foreign_chain(self, endpoint: _Endpoint) -> int | None:
        """Return the chain that an endpoint serves if it is another; asked again after each failure."""
        if endpoint.is_vetted or self._chain_id is None:
            return None
        answer = endpoint.provider.make_request(RPCEndpoint("eth_chainId"), [])
        found = int(answer["result"], 16)
        if found == self._chain_id:
            endpoint.is_vetted = True
            return None
        _log.error("%s serves chain %d, not %d: not used", endpoint.name, found, self._chain_id)
        self._rest(endpoint, LONGEST_REST_S)
        return found

    def _is_current(self, endpoint: _Endpoint, answer: Any) -> bool:
        """Judge an answer about the newest block: an endpoint that stands still or lags is passed over."""
        try:
            number = int(answer["result"]["number"], 16)
        except (TypeError, KeyError, ValueError):
            return _has_no_fault(answer)
        if number > endpoint.head:
            endpoint.head, endpoint.head_at = number, self._clock()
        self._highest = max(self._highest, number)
        if len(self._endpoints) == 1:
            return True
        if self._clock() - endpoint.head_at > STALE_AFTER_S:
            endpoint.head_at = self._clock()
            others = (each for each in self._endpoints if each is not endpoint)
            self._highest = max([self._highest, *(head for each in others for head in self._head_of(each))])
        if number >= self._highest - LAG_BLOCKS:
            return True
        _log.warning("%s is at block %d, another at %d", endpoint.name, number, self._highest)
        self._rest(endpoint, STALE_AFTER_S)
        return False

    def _head_of(self, endpoint: _Endpoint) -> Iterator[int]:
        """Yield the number of an endpoint's newest block, unless it rests or fails."""
        if endpoint.resting_until <= self._clock():
            answer = self._ask(endpoint, lambda each: each.make_request(RPCEndpoint("eth_blockNumber"), []))
            with suppress(TypeError, KeyError, ValueError):
                yield int(answer["result"], 16)

    def _answered(self, endpoint: _Endpoint) -> None:
        endpoint.failures = 0
        self._observe(endpoint.place, "answered")

    def _failed(self, endpoint: _Endpoint) -> None:
        endpoint.is_vetted = False
        endpoint.failures += 1
        self._rest(endpoint, min(2.0 ** (endpoint.failures - 1), LONGEST_REST_S))
        self._observe(endpoint.place, "failed")

    def _rest(self, endpoint: _Endpoint, seconds: float) -> None:
        endpoint.resting_until = self._clock() + seconds


def _tells_something(method: str, answer: Any) -> bool:
    """Tell whether an answer settles a question; that there is nothing is often said too soon."""
    return _has_no_fault(answer) and (method not in _SPARSE or bool(answer.get("result")))


def _has_no_fault(answer: Any) -> bool:
    """Tell whether an answer, or each of a batch, is the chain's, a revert included, and no trouble."""
    if isinstance(answer, list):
        return all(map(_has_no_fault, answer))
    if not isinstance(answer, dict) or ("result" not in answer and "error" not in answer):
        return False
    return answer.get("error") is None or not isinstance(error_of("", answer["error"], ""), Transient)


def _block_by_number(number: int) -> tuple[RPCEndpoint, list[Any]]:
    return RPCEndpoint("eth_getBlockByNumber"), [hex(number), False]
