"""Standing up to accusations: a lane that signed two histories is revoked before it costs signers a bond.

A buyer can have a count acknowledged, make nodes stop the lane by a second history, and accuse those who
acknowledged of reporting less. The two histories are the answer, and nodes that stopped the lane hold them.
Source: IUsageChallenges.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol

from usufruct_chain.challenges import Accusation, ConflictingPoints, Fork
from usufruct_chain.onchain import Block
from usufruct_protocol.errors import ContractRejected

from usufruct_oracle.disputes.contradictions import contradiction_of
from usufruct_oracle.epochs.submission import Stagger
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.store import Store

_log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 600
"""Chain seconds between two looks; signers have seven days at least."""


class AccusationChain(Protocol):
    """What standing up to accusations takes of the chain."""

    @property
    def can_send(self) -> bool: ...
    def new_accusations(self, block_hash: bytes) -> list[Accusation]: ...
    def lane_of(self, lane_number: int, block_hash: bytes) -> bytes: ...
    def revoke(self, shown: Fork | ConflictingPoints) -> None: ...


class Accusations:
    """Looks for accusations about lanes that are not revoked, and has those revoked that cheated."""

    def __init__(self, store: Store, chain: AccusationChain, stagger: Stagger) -> None:
        self._store = store
        self._chain = chain
        self._stagger = stagger
        self._looked_at_s = 0
        self._standing: list[Accusation] = []

    def step(self, own_index: int, signer_count: int, head: Block) -> None:
        """Look once in a while; answer what is this node's turn. Raises: Transient."""
        if abs(head.timestamp_s - self._looked_at_s) >= LOOK_EVERY_S:
            self._standing = self._chain.new_accusations(head.hash)
            self._looked_at_s = head.timestamp_s
        for accused in list(self._standing):
            rank = (own_index - accused.challenge_id) % signer_count
            if self._chain.can_send and self._stagger.is_my_turn(("revoke", accused.lane_number), rank):
                self._standing.remove(accused)
                self._revoke(accused, head)

    def _revoke(self, accused: Accusation, head: Block) -> None:
        with self._store.read() as db:
            lane = lane_store.lane_by_address(db, self._chain.lane_of(accused.lane_number, head.hash))
            shown = None if lane is None else contradiction_of(db, lane)
        if shown is None:
            _log.warning(
                "signers of epoch %d are accused of reporting less of lane %d than they acknowledged, "
                "slashable from %d on; nothing here shows that the lane signed two histories",
                accused.epoch,
                accused.lane_number,
                accused.slashable_from_s,
            )
            return
        try:
            self._chain.revoke(shown)
        except ContractRejected as error:
            _log.error("lane %d is not revoked: %s", accused.lane_number, error)
