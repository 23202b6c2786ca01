"""Votes and signatures: sign only what enough others hold, and never the same (epoch, attempt) twice.

A vote shows which report a node has stored, and proves that the whole bundle behind it is there. Once k
nodes prove the same one, each signs unless something about it is for a person to look at (guards). It is on
disk that a report is given to the signer before it is, because a signer may be another program that keeps
what it signs; and the signature is on disk before anybody else can see it.
Source: docs/spec.md, agreement 6; DESIGN section 8.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Final

from usufruct_protocol.bundle import possession_proof
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.signing import Signer, recover

from usufruct_oracle.context import EpochContext
from usufruct_oracle.guards.gate import Guards
from usufruct_oracle.peers.client import Peers
from usufruct_oracle.storage import epoch_store
from usufruct_oracle.storage.database import Connection
from usufruct_oracle.storage.epoch_store import StoredReport
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import Vote

_log = logging.getLogger(__name__)
_WRONG_PROOFS_LOOKED_AT: Final = 3
"""Per signer and attempt: each costs a hash of the whole bundle."""


class Voting:
    """Casts this node's vote, collects the others', and signs."""

    def __init__(
        self, store: Store, peers: Peers, domain_separator: bytes, signer: Signer | None, guards: Guards
    ) -> None:
        self._store = store
        self._peers = peers
        self._domain = domain_separator
        self._signer = signer
        self._guards = guards
        self._wrong_proofs: Counter[tuple[int, int, bytes]] = Counter()

    def begin(self, epoch: int) -> None:
        """Tell which epoch is open; what was held of another one is settled."""
        self._guards.begin(epoch)
        self._wrong_proofs = Counter(
            {key: count for key, count in self._wrong_proofs.items() if key[0] == epoch}
        )

    def advance(self, context: EpochContext, mine: StoredReport) -> None:
        """Show this node's vote, look at the others', sign when k agree."""
        epoch, attempt = mine.report.epoch, mine.report.attempt

        @cache
        def held() -> Mapping[str, bytes]:
            with self._store.read() as db:
                return epoch_store.bundle_files(db, epoch, mine.bundle_hash)

        self._cast(context, mine, held)
        self._collect(context, mine, held)
        with self._store.read() as db:
            votes = epoch_store.votes(db, epoch, attempt)
        agreeing = {address: vote for address, vote in votes.items() if _agrees(vote, mine)}
        own_address = None if context.own_index is None else context.chain.signers[context.own_index]
        if len(agreeing) >= context.quorum and own_address in agreeing:
            self._sign(context, own_address, agreeing[own_address], mine)

    def quorum(self, context: EpochContext, mine: StoredReport) -> dict[int, bytes] | None:
        """Return k signatures by signer index over this node's report, if they are there."""
        with self._store.read() as db:
            votes = epoch_store.votes(db, mine.report.epoch, mine.report.attempt)
        signatures = {
            vote.signer_index: vote.signature
            for vote in votes.values()
            if vote.signature is not None and _agrees(vote, mine)
        }
        if len(signatures) < context.quorum:
            return None
        return dict(sorted(signatures.items())[: context.quorum])

    def _cast(
        self, context: EpochContext, mine: StoredReport, held: Callable[[], Mapping[str, bytes]]
    ) -> None:
        if context.own_index is None or self._signer is None:
            return
        epoch, attempt = mine.report.epoch, mine.report.attempt
        own_address = context.chain.signers[context.own_index]
        with self._store.read() as db:
            if own_address in epoch_store.votes(db, epoch, attempt):
                return
        proof = possession_proof(self._domain, own_address, mine.report_hash, held())
        vote = Vote(context.own_index, mine.report_hash, mine.bundle_hash, None, proof)
        with self._store.write() as db:
            epoch_store.put_vote(db, epoch, attempt, own_address, vote)

    def _collect(
        self, context: EpochContext, mine: StoredReport, held: Callable[[], Mapping[str, bytes]]
    ) -> None:
        """Ask the peers whose signature over this attempt is not here yet."""
        epoch, attempt = mine.report.epoch, mine.report.attempt
        with self._store.read() as db:
            known = epoch_store.votes(db, epoch, attempt)
        signed = {address for address, vote in known.items() if vote.signature is not None}
        answers = self._peers.ask_all(
            lambda peer: None if peer.address in signed else peer.vote(epoch, attempt)
        )
        for address, vote in answers.items():
            if vote is None or address not in context.chain.signers:
                continue
            before = known.get(address)
            if vote == before or not self._is_own(vote, context.chain.signers.index(address), address):
                continue
            is_proven = before is not None and _agrees(before, mine) and before.possession == vote.possession
            if _agrees(vote, mine) and not is_proven and not self._proves(vote, address, mine, held):
                continue
            with self._store.write() as db:
                epoch_store.put_vote(db, epoch, attempt, address, vote)

    def _proves(
        self, vote: Vote, address: bytes, mine: StoredReport, held: Callable[[], Mapping[str, bytes]]
    ) -> bool:
        """Tell whether a vote for this node's report proves that its signer holds the bundle, too."""
        key = mine.report.epoch, mine.report.attempt, address
        if self._wrong_proofs[key] >= _WRONG_PROOFS_LOOKED_AT:
            return False
        if vote.possession == possession_proof(self._domain, address, mine.report_hash, held()):
            return True
        self._wrong_proofs[key] += 1
        _log.warning(
            "0x%s votes for the report of epoch %d, attempt %d, and does not prove that it holds its bundle",
            address.hex(),
            *key[:2],
        )
        return False

    def _is_own(self, vote: Vote, index: int, address: bytes) -> bool:
        """Tell whether a peer's vote is its own and its signature, if any, is good."""
        if vote.signer_index != index:
            _log.warning("0x%s votes as signer %d, it is signer %d", address.hex(), vote.signer_index, index)
            return False
        if vote.signature is not None:
            try:
                signer = recover(typed_digest(self._domain, vote.report_hash), vote.signature)
            except InputRejected as error:
                _log.warning("signature of 0x%s refused: %s", address.hex(), error)
                return False
            if signer != address:
                _log.warning("0x%s shows a signature of 0x%s", address.hex(), signer.hex())
                return False
        return True

    def _sign(self, context: EpochContext, own_address: bytes, own_vote: Vote, mine: StoredReport) -> None:
        """Sign a report if (epoch, attempt) passes everything signed before; durable when it returns.

        A report that was given to the signer before a crash is given to it again: it was looked at then.
        """
        if self._signer is None:
            return
        epoch, attempt = mine.report.epoch, mine.report.attempt
        with self._store.read() as db:
            is_begun = epoch_store.last_signed(db) == (epoch, attempt, mine.report_hash, None)
            is_next = _is_next(db, epoch, attempt)
        if not is_begun:
            if not is_next or self._guards.held(context, mine):
                return
            with self._store.write() as db:
                epoch_store.put_signing(db, epoch, attempt, mine.report_hash)
                self._guards.remember(db, context)
        signature = self._signer.sign_digest(typed_digest(self._domain, mine.report_hash))
        with self._store.write() as db:
            epoch_store.put_signature(db, epoch, attempt, signature)
            epoch_store.put_vote(db, epoch, attempt, own_address, replace(own_vote, signature=signature))
        _log.info("signed epoch %d, attempt %d: 0x%s", epoch, attempt, mine.report_hash.hex())


def _is_next(db: Connection, epoch: int, attempt: int) -> bool:
    """Tell whether (epoch, attempt) passes all that this key is known to have signed.

    Never below the signing floor: what it did before this database was made is not known here.
    """
    last, floor = epoch_store.last_signed(db), epoch_store.signing_floor(db)
    return floor is not None and epoch >= floor and (last is None or last[:2] < (epoch, attempt))


def _agrees(vote: Vote, mine: StoredReport) -> bool:
    return (vote.report_hash, vote.bundle_hash) == (mine.report_hash, mine.bundle_hash)
