"""What an operator should know before a node runs: one line per thing, with what to do about it.

A finding that fails keeps the node from doing its work, except that of a single peer: whether the epoch is at
risk depends on how many signers there are together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Final

from usufruct_chain.onchain import Block
from usufruct_chain.reader import Reader
from usufruct_chain.rpc import Rpc, quantity
from usufruct_protocol.errors import UsufructError
from usufruct_protocol.periods import quorum
from usufruct_protocol.signing import ZERO_ADDRESS, checksum_address

from usufruct_oracle.bootstrap import Access
from usufruct_oracle.guards import hold_store
from usufruct_oracle.guards.approvals import Approvals
from usufruct_oracle.http.health import MIN_FREE_BYTES, free_bytes_beside
from usufruct_oracle.keys.node_key import kind_of, try_out
from usufruct_oracle.preflight.endpoints import endpoint_findings
from usufruct_oracle.preflight.findings import FAIL, OK, WARN, Finding
from usufruct_oracle.preflight.peers import PeerAnswer, probe_peers
from usufruct_oracle.settings import PlainKey, Settings
from usufruct_oracle.storage.store import Store, schema_version

_STALE_HEAD_S: Final = 120
_CLOCK_SKEW_S: Final = 20
"""A third of what peers tolerate, so that a clock is noticed before its node is alone."""
_SUBMIT_GAS: Final = 150_000


@dataclass(frozen=True, slots=True)
class Readiness:
    """Everything that was found. `epoch` is the open one; 0, and no signers, if the chain did not say."""

    findings: tuple[Finding, ...]
    epoch: int
    signer_count: int
    signers_up: int

    @property
    def is_ready(self) -> bool:
        """Whether this node can do its work."""
        return not any(finding.is_blocking for finding in self.findings)

    @property
    def is_at_risk(self) -> bool:
        """Whether fewer signers than a quorum would be up, this node included if it is ready."""
        return not self.signer_count or self.signers_up < quorum(self.signer_count)


def preflight(settings: Settings, access: Access) -> Readiness:
    """Check chain, key, gas, clock, peers, settings and database. Changes nothing."""
    reader = Reader(access.contracts)
    findings: list[Finding] = []
    signers: tuple[bytes, ...] = ()
    epoch = 0
    try:
        head = reader.head()
        state = reader.read(head.hash)
        signers, epoch = state.signers, state.epoch
        findings += _chain(access, head)
    except UsufructError as error:
        findings.append(_failed("chain", error))
    findings += endpoint_findings(
        settings.rpc_urls,
        access.deployment.chain_id,
        settings.finality_depth,
        settings.peer_timeout_seconds,
    )
    findings += _caught("keys", lambda: _key(settings, access))
    if signers:
        findings += _place(settings, access, signers)
    findings += _caught("gas", lambda: _gas(settings, access, reader))
    findings += _caught("bond", lambda: _bond(access, reader))
    others = {address: url for address, url in settings.peers.items() if address != access.own_address}
    answers = probe_peers(others, settings.peer_timeout_seconds)
    findings += _clock(answers)
    findings += _agreed(settings, answers)
    is_own_up = access.own_address in signers and not any(finding.is_blocking for finding in findings)
    signers_up = is_own_up + sum(answer.address in signers and answer.is_well for answer in answers)
    findings += _peers(answers, signers_up, len(signers))
    findings += _caught("database", lambda: _database(settings, access))
    findings += _caught("held", lambda: _held(settings, epoch))
    return Readiness(tuple(findings), epoch, len(signers), signers_up)


def _caught(what: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    try:
        return list(check())
    except UsufructError as error:
        return [_failed(what, error)]


def _failed(what: str, error: UsufructError) -> Finding:
    hint = f"{error.hint}; runbook#{what}" if error.hint else f"runbook#{what}"
    return Finding(FAIL, what, str(error), hint, is_blocking=True)


def _chain(access: Access, head: Block) -> Iterator[Finding]:
    age_s = int(time.time()) - head.timestamp_s
    detail = f"{access.deployment.chain_id} matches contracts, head {head.number} is {age_s} s old"
    if abs(age_s) > _STALE_HEAD_S:
        yield Finding(WARN, "chain", detail, "the endpoint lags, or a clock is wrong; runbook#chain")
    else:
        yield Finding(OK, "chain", detail)


def _key(settings: Settings, access: Access) -> Iterator[Finding]:
    if access.signer is None or settings.key is None:
        yield Finding(WARN, "keys", "no key: dry run, nothing is signed or sent", "runbook#keys")
        return
    try_out(access.signer)
    detail = f"{checksum_address(access.own_address)} signs; {kind_of(settings.key)}"
    if isinstance(settings.key, PlainKey):
        yield Finding(WARN, "keys", detail, "usufruct-oracle keys import encrypts it; runbook#keys")
    else:
        yield Finding(OK, "keys", detail)


def _place(settings: Settings, access: Access, signers: Sequence[bytes]) -> Iterator[Finding]:
    """This node's place in the committee, and whether the others' places are known."""
    own = checksum_address(access.own_address)
    if access.own_address in signers:
        yield Finding(OK, "signer", f"{own} is number {signers.index(access.own_address)} of {len(signers)}")
    elif access.signer is not None:
        hint = "use the key of a signer, or ask the council to add this one; runbook#signer"
        yield Finding(FAIL, "signer", f"{own} is not in the committee", hint, is_blocking=True)
    unknown = [signer for signer in signers if signer not in settings.peers and signer != access.own_address]
    if unknown:
        names = ", ".join(map(checksum_address, unknown))
        is_too_many = len(signers) - len(unknown) < quorum(len(signers))
        detail = f"{len(unknown)} of {len(signers)} signers have no URL: {names}"
        hint = "add them to peers in node.json; runbook#peers"
        yield Finding(FAIL if is_too_many else WARN, "peers", detail, hint, is_blocking=is_too_many)


def _gas(settings: Settings, access: Access, reader: Reader) -> Iterator[Finding]:
    if access.own_address == ZERO_ADDRESS:
        return
    wei = reader.gas_balance_wei(access.own_address)
    price_wei = quantity(Rpc(access.contracts.w3).request("eth_gasPrice"))
    submits = wei // (_SUBMIT_GAS * max(1, price_wei))
    detail = f"{wei / 10**18:,.4f} ETH, about {submits:,} submits"
    enough_wei = settings.guards.low_gas_wei
    if enough_wei is not None and wei < enough_wei:
        wanted = f"{(enough_wei - wei) / 10**18:.3g} ETH"
        yield Finding(
            WARN, "gas", detail, f"send {wanted} to {checksum_address(access.own_address)}; runbook#gas"
        )
    else:
        yield Finding(OK, "gas", detail)


def _bond(access: Access, reader: Reader) -> Iterator[Finding]:
    """What stands behind this node's key, against what a new committee version asks of each signer."""
    if access.signer is None or not access.deployment.operator_bonds:
        return
    views = access.contracts.views.operator_bonds
    (bonded, thawing, thawed_at), least = reader.query([views.bond(access.own_address), views.minimumBond()])
    detail = f"{bonded:,} base units are bonded, {least:,} are asked for"
    if thawing:
        leaves = datetime.fromtimestamp(thawed_at, UTC).date()
        detail += f"; {thawing:,} more are thawing and can leave on {leaves}"
    if bonded < least:
        hint = (
            f"OperatorBonds.deposit({checksum_address(access.own_address)}, {least - bonded}); runbook#bond"
        )
        yield Finding(WARN, "bond", detail, hint)
    else:
        yield Finding(OK, "bond", detail)


def _clock(answers: Sequence[PeerAnswer]) -> Iterator[Finding]:
    """This machine's clock against those of most peers: requests signed a minute off are refused."""
    aheads_s = [answer.own_clock_ahead_s for answer in answers if answer.own_clock_ahead_s is not None]
    if not aheads_s:
        return
    ahead_s = median(aheads_s)
    if abs(ahead_s) > _CLOCK_SKEW_S:
        side = "ahead of" if ahead_s > 0 else "behind"
        detail = f"{abs(ahead_s):.0f} s {side} {len(aheads_s)} peers"
        hint = "set this machine's clock (NTP): peers refuse what is signed a minute off; runbook#clock"
        yield Finding(FAIL, "clock", detail, hint, is_blocking=True)
    else:
        yield Finding(OK, "clock", f"within {max(1, round(abs(ahead_s)))} s of {len(aheads_s)} peers")


def _agreed(settings: Settings, answers: Sequence[PeerAnswer]) -> Iterator[Finding]:
    """Settings that all nodes must share; who differs from most is wrong."""
    told = [answer for answer in answers if answer.agreed is not None]
    differing = [answer for answer in told if answer.agreed != settings.agreed]
    for answer in differing:
        wrong = [
            f"{name} is {value} here and {(answer.agreed or {}).get(name)} there"
            for name, value in settings.agreed.items()
            if (answer.agreed or {}).get(name) != value
        ]
        is_own_fault = 2 * len(differing) > len(told)
        detail = f"{answer.name}: {', '.join(wrong)}"
        hint = "these must be equal on all nodes, or they never sign the same; runbook#quorum"
        yield Finding(FAIL, "settings", detail, hint, is_blocking=is_own_fault)
    if told and not differing:
        yield Finding(OK, "settings", f"as on {len(told)} peers")


def _peers(answers: Sequence[PeerAnswer], signers_up: int, signer_count: int) -> Iterator[Finding]:
    needed = quorum(signer_count) if signer_count else 0
    for answer in answers:
        if answer.is_well:
            yield Finding(OK, answer.name, answer.url)
            continue
        standing = f"quorum still {signers_up} ≥ {needed}"
        if signers_up < needed:
            standing = f"no quorum, {signers_up} < {needed}"
        detail = f"{answer.problem}; {standing}" if needed else answer.problem
        yield Finding(FAIL, answer.name, detail, "ask its operator; runbook#peers")


def _database(settings: Settings, access: Access) -> Iterator[Finding]:
    place = settings.database
    free = free_bytes_beside(place)()
    if free is not None and free < MIN_FREE_BYTES:
        detail = f"{free // 2**20} MB are left beside {place}"
        yield Finding(FAIL, "database", detail, "make room; runbook#disk", is_blocking=True)
    if not schema_version(place):
        yield Finding(OK, "database", f"{place} will be made")
        return
    store = Store(place, exclusive=False)
    try:
        with store.read() as db:
            known = dict(db.execute("SELECT name, value FROM identity").fetchall())
    finally:
        store.close()
    for name, value in access.identity.items():
        is_compared = name != "signer" or access.signer is not None
        if is_compared and known.get(name, value) != value:
            detail = f"{store.name} belongs to {name} {known[name]}, the settings say {value}"
            hint = "use a new database for another deployment or key; runbook#database"
            yield Finding(FAIL, "database", detail, hint, is_blocking=True)
            return
    yield Finding(OK, "database", store.name)


def _held(settings: Settings, epoch: int) -> Iterator[Finding]:
    """What waits for a person in the open epoch."""
    place = settings.database
    if not schema_version(place):
        return
    store = Store(place, exclusive=False)
    try:
        with store.read() as db:
            concerns = hold_store.holds(db, epoch)
    finally:
        store.close()
    approvals = Approvals(settings.approvals)
    for concern in concerns:
        if not approvals.covers(epoch, concern):
            hint = f"look at it, then: usufruct-oracle epoch approve --epoch {epoch}; runbook#held"
            yield Finding(WARN, "held", f"epoch {epoch}: {concern}", hint)
