"""HTTP connections to the endpoints of a chain, and the check that it is the right chain."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from usufruct_protocol.errors import ConfigInvalid
from web3 import HTTPProvider, Web3

from usufruct_chain.endpoints import Endpoints, Observer
from usufruct_chain.rpc import Rpc, hexed, quantity

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 20.0
CONNECTIONS_KEPT = 8


def connect(
    rpc_urls: str | Sequence[str],
    *,
    timeout_s: float = ANSWER_TIMEOUT_S,
    chain_id: int | None = None,
    observer: Observer | None = None,
) -> Web3:
    """Return a connection that nothing has been sent over yet; several URLs stand in for each other in order.

    One HTTP session per endpoint serves all threads and stays open between requests. A request is repeated at
    another endpoint, never at the same one: whoever asked knows whether to (Transient). Endpoints of another
    chain than `chain_id` are not used. Proxy settings of the environment apply, except to loopback.
    Raises: ConfigInvalid unless each URL is http or https with a host.
    """
    urls = [rpc_urls] if isinstance(rpc_urls, str) else rpc_urls
    providers = [_provider(url, timeout_s) for url in urls]
    return Web3(Endpoints(providers, chain_id=chain_id, observer=observer))


def close(w3: Web3) -> None:
    """Close the sockets that a connection keeps open; the next request would open new ones."""
    if isinstance(w3.provider, Endpoints):
        for provider in w3.provider.providers:
            if isinstance(provider, _SessionProvider):
                provider.session.close()


def compare_endpoints(w3: Web3) -> None:
    """Leave alone, for a while, endpoints that have another chain of blocks than most; never fails."""
    if isinstance(w3.provider, Endpoints):
        w3.provider.compare()


def require_agreement(w3: Web3, number: int, block_hash: bytes) -> None:
    """Make sure that most endpoints of a connection have this block under its number. Raises: Transient."""
    if isinstance(w3.provider, Endpoints):
        w3.provider.require_agreement(number, hexed(block_hash))


def _provider(rpc_url: str, timeout_s: float) -> _SessionProvider:
    parts = urlsplit(rpc_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigInvalid(
            "chain endpoint must be an http:// or https:// URL with a host",
            hint="for example http://127.0.0.1:8545",
        )
    session = requests.Session()
    session.trust_env = not _is_loopback(parts.hostname)
    adapter = HTTPAdapter(pool_maxsize=CONNECTIONS_KEPT, max_retries=0)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return _SessionProvider(rpc_url, session, (min(CONNECT_TIMEOUT_S, timeout_s), timeout_s))


def chain_id_of(w3: Web3) -> int:
    """Ask an endpoint which chain it serves. Raises: Transient."""
    return quantity(Rpc(w3).request("eth_chainId"))


def check_chain_id(w3: Web3, expected: int) -> None:
    """Refuse to work on another chain than the configured one. Raises: ConfigInvalid, Transient."""
    found = chain_id_of(w3)
    if found != expected:
        raise ConfigInvalid(
            f"the endpoint serves chain {found}, the deployment is on chain {expected}",
            hint="point the endpoint setting at the right chain, or use that chain's deployment file",
        )


class _SessionProvider(HTTPProvider):
    """web3's provider over a session that can be closed, without repeating failed requests by itself."""

    def __init__(self, rpc_url: str, session: requests.Session, timeout_s: tuple[float, float]) -> None:
        super().__init__(
            rpc_url,
            request_kwargs={"timeout": timeout_s},
            session=session,
            exception_retry_configuration=None,
        )
        self.session = session


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
