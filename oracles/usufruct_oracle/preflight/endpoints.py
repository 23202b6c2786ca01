"""Asking each of several chain endpoints by itself: which answer, which lag, whether they tell one story."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from usufruct_chain.connection import chain_id_of, close, connect
from usufruct_chain.rpc import Rpc, data, quantity
from usufruct_protocol.errors import UsufructError

from usufruct_oracle.preflight.findings import FAIL, OK, WARN, Finding

_LAG_S = 120


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one endpoint says of the chain."""

    url: str
    name: str
    chain_id: int = 0
    head: int = 0
    head_s: int = 0
    problem: str = ""


def endpoint_findings(
    rpc_urls: Sequence[str], chain_id: int, finality_depth: int, timeout_s: float
) -> Iterator[Finding]:
    """Yield one finding per endpoint, and one about whether they agree. One endpoint alone needs none.

    Endpoints are named by their place in `rpc_url` and their host: the rest of a URL often is an access key.
    """
    if len(rpc_urls) < 2:
        return
    with ThreadPoolExecutor(len(rpc_urls), thread_name_prefix="endpoint") as pool:
        seen = list(pool.map(lambda item: _look(item[0], item[1], timeout_s), enumerate(rpc_urls)))
        good = [each for each in seen if not each.problem and each.chain_id == chain_id]
        newest_s = max((each.head_s for each in good), default=0)
        for each in seen:
            yield _finding(each, chain_id, newest_s)
        if len(good) > 1:
            number = max(0, min(each.head for each in good) - finality_depth)
            yield _agreement(number, list(pool.map(lambda each: _hash_at(each, number, timeout_s), good)))


def _finding(seen: _Seen, chain_id: int, newest_s: int) -> Finding:
    if seen.problem:
        return Finding(WARN, seen.name, seen.problem, "the others stand in; runbook#chain")
    if seen.chain_id != chain_id:
        detail = f"serves chain {seen.chain_id}, the deployment is on {chain_id}"
        return Finding(FAIL, seen.name, detail, "it is not used: correct rpc_url; runbook#chain")
    if newest_s - seen.head_s > _LAG_S:
        detail = f"{newest_s - seen.head_s} s behind another endpoint"
        return Finding(WARN, seen.name, detail, "runbook#chain")
    return Finding(OK, seen.name, f"head {seen.head}")


def _agreement(number: int, hashes: Sequence[bytes | None]) -> Finding:
    told = [each for each in hashes if each is not None]
    if len(set(told)) > 1:
        detail = f"they have {len(set(told))} different blocks {number}"
        hint = "trust none until another one says which is right; runbook#chain"
        return Finding(FAIL, "endpoints", detail, hint, is_blocking=True)
    return Finding(OK, "endpoints", f"{len(told)} agree on block {number}")


def _look(place: int, url: str, timeout_s: float) -> _Seen:
    name = f"endpoint {place + 1} {urlsplit(url).hostname}"
    try:
        w3 = connect(url, timeout_s=timeout_s)
        try:
            found = chain_id_of(w3)
            block = Rpc(w3).request("eth_getBlockByNumber", "latest", False)
            return _Seen(url, name, found, quantity(block["number"]), quantity(block["timestamp"]))
        finally:
            close(w3)
    except UsufructError as error:
        return _Seen(url, name, problem=str(error))
    except (LookupError, TypeError):
        return _Seen(url, name, problem="it gave no block")


def _hash_at(seen: _Seen, number: int, timeout_s: float) -> bytes | None:
    w3 = connect(seen.url, timeout_s=timeout_s)
    try:
        return data(Rpc(w3).request("eth_getBlockByNumber", hex(number), False)["hash"], 32)
    except (UsufructError, LookupError, TypeError):
        return None
    finally:
        close(w3)
