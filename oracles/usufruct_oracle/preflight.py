"""What an operator should know before a node runs: one line per thing, with what to do about it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import httpx
from usufruct_chain.reader import Reader
from usufruct_protocol.errors import UsufructError
from usufruct_protocol.periods import quorum
from usufruct_protocol.signing import ZERO_ADDRESS, checksum_address

from usufruct_oracle.bootstrap import Access
from usufruct_oracle.settings import Settings
from usufruct_oracle.store import Store

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"
_STALE_HEAD_S: Final = 120
_ENOUGH_GAS_WEI: Final = 10**17


@dataclass(frozen=True, slots=True)
class Finding:
    """One checked thing: ok, warn or fail, what was found, what to do."""

    level: str
    what: str
    detail: str
    hint: str = ""


def preflight(settings: Settings, access: Access) -> Iterator[Finding]:
    """Check chain, key, gas, peers and database, one after the other."""
    reader = Reader(access.contracts)
    for what, check in (("chain", _chain), ("signer", _signer), ("gas", _gas)):
        try:
            yield from check(settings, access, reader)
        except UsufructError as error:
            yield Finding(FAIL, what, str(error), error.hint)
    for address, url in settings.peers.items():
        if address != access.own_address:
            yield _peer(address, url, settings.peer_timeout_seconds)
    yield _database(settings)


def _chain(_settings: Settings, access: Access, reader: Reader) -> Iterator[Finding]:
    head = reader.head()
    age_s = int(time.time()) - head.timestamp_s
    detail = f"{access.deployment.chain_id} matches contracts, head {head.number} is {age_s} s old"
    if abs(age_s) > _STALE_HEAD_S:
        yield Finding(
            WARN, "chain", detail, "the endpoint lags, or a clock is wrong; a dev chain may do this"
        )
    else:
        yield Finding(OK, "chain", detail)


def _signer(settings: Settings, access: Access, reader: Reader) -> Iterator[Finding]:
    signers = reader.read(reader.head().hash).signers
    if access.signer is None:
        yield Finding(
            WARN, "signer", "no key: dry run, nothing is signed or sent", "set key_file in node.json"
        )
    elif access.own_address in signers:
        place = signers.index(access.own_address)
        yield Finding(
            OK, "signer", f"{checksum_address(access.own_address)} is number {place} of {len(signers)}"
        )
    else:
        yield Finding(
            FAIL,
            "signer",
            f"{checksum_address(access.own_address)} is not in the committee",
            "use the key of a signer, or ask the council to add this one",
        )
    unknown = [signer for signer in signers if signer not in settings.peers and signer != access.own_address]
    if unknown:
        yield Finding(
            FAIL if len(signers) - len(unknown) < quorum(len(signers)) else WARN,
            "peers",
            f"{len(unknown)} of {len(signers)} signers have no URL: {checksum_address(unknown[0])}",
            "add them to peers in node.json",
        )


def _gas(_settings: Settings, access: Access, reader: Reader) -> Iterator[Finding]:
    if access.own_address == ZERO_ADDRESS:
        return
    wei = reader.gas_balance_wei(access.own_address)
    detail = f"{wei // 10**14 / 10**4:.4f} ETH"
    if wei < _ENOUGH_GAS_WEI:
        yield Finding(WARN, "gas", detail, f"send 0.1 ETH to {checksum_address(access.own_address)}")
    else:
        yield Finding(OK, "gas", detail)


def _peer(address: bytes, url: str, timeout_s: float) -> Finding:
    name = f"peer {checksum_address(address)[:10]}…"
    try:
        with httpx.Client(timeout=timeout_s, trust_env=False) as client:
            answer = client.get(f"{url}/health")
    except httpx.HTTPError as error:
        return Finding(WARN, name, f"{url} does not answer: {error}", "fine while no more than f are away")
    if answer.status_code != 200:
        return Finding(
            WARN, name, f"{url} says {answer.status_code}: {answer.text[:120]}", "ask its operator"
        )
    return Finding(OK, name, url)


def _database(settings: Settings) -> Finding:
    if not settings.database.exists():
        return Finding(OK, "database", f"{settings.database} will be made")
    try:
        store = Store(settings.database, exclusive=False)
        with store.read() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
        store.close()
    except UsufructError as error:
        return Finding(FAIL, "database", str(error), error.hint)
    return Finding(OK, "database", f"{settings.database}, schema {version}")
