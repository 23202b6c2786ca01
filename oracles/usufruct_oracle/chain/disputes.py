"""The chain as far as signers have to stand up for what they signed: disputes, accusations."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from usufruct_chain import disputes
from usufruct_chain.anchors import AnchorReader
from usufruct_chain.challenges import (
    Accusation,
    ChallengeReader,
    ConflictingPoints,
    Fork,
    revoke_by_contradiction,
)
from usufruct_chain.contracts import Contracts
from usufruct_chain.disputes import Dispute, DisputeReader, ShownHead
from usufruct_chain.onchain import Block
from usufruct_chain.sender import Sender
from usufruct_protocol.errors import ConfigInvalid
from usufruct_protocol.receipts import Checkpoint

_log = logging.getLogger(__name__)
_CHALLENGES_READ_AGAIN: Final = 50


class DisputeChain(Protocol):
    """What answering takes. Reads raise Transient; sends also ContractRejected."""

    @property
    def can_send(self) -> bool: ...
    def is_held(self, block_hash: bytes) -> bool: ...
    def open_disputes(
        self, report_hash: bytes, license_ids: Iterable[int], block_hash: bytes
    ) -> list[Dispute]: ...
    def anchored_by(self, lane: bytes, time_s: int, head: Block) -> Checkpoint | None: ...
    def anchor_signature(self, point: Checkpoint, head: Block) -> bytes | None: ...
    def answer_head(self, asked: Dispute, shown: ShownHead) -> None: ...
    def answer_by_contradiction(
        self, asked: Dispute, shown: ShownHead, anchored: tuple[Checkpoint, bytes]
    ) -> None: ...
    def answer_units(self, asked: Dispute, shown: Sequence[ShownHead]) -> None: ...


class DisputeClient:
    """`DisputeChain` and `AccusationChain` over a deployment's contracts. Without a sender it only reads."""

    def __init__(self, contracts: Contracts, sender: Sender | None) -> None:
        self._contracts = contracts
        self._sender = sender
        self._disputes = DisputeReader(contracts)
        self._anchors = AnchorReader(contracts)
        self._accusations = ChallengeReader(contracts)
        self._last_challenge = 0
        self._challenges: list[int] = []

    @property
    def can_send(self) -> bool:
        """Tell whether there is a key to send with."""
        return self._sender is not None

    def is_held(self, block_hash: bytes) -> bool:
        """Tell whether any dispute of the pending report is open at a block."""
        return self._disputes.is_held(block_hash)

    def open_disputes(
        self, report_hash: bytes, license_ids: Iterable[int], block_hash: bytes
    ) -> list[Dispute]:
        """Return every open dispute of a report whose lines are of these licenses."""
        return self._disputes.open_disputes(report_hash, license_ids, block_hash)

    def anchored_by(self, lane: bytes, time_s: int, head: Block) -> Checkpoint | None:
        """Return a lane's last checkpoint that was anchored by a time."""
        return self._anchors.anchored_by(lane, time_s, head)

    def anchor_signature(self, point: Checkpoint, head: Block) -> bytes | None:
        """Return the lane's signature of an anchored checkpoint, or None if it was not anchored."""
        return self._anchors.signature_of(point, head)

    def answer_head(self, asked: Dispute, shown: ShownHead) -> None:
        """Show one head; simulated first."""
        self._require_sender().send(disputes.answer_head(self._contracts, asked, shown))
        _log.info("showed the head of lane %d", asked.subject)

    def answer_by_contradiction(
        self, asked: Dispute, shown: ShownHead, anchored: tuple[Checkpoint, bytes]
    ) -> None:
        """Show one head and the anchored checkpoint that contradicts it; simulated first."""
        call = disputes.answer_head_by_contradiction(self._contracts, asked, shown, anchored)
        self._require_sender().send(call)
        _log.info("showed the head of lane %d and what contradicts its anchor", asked.subject)

    def answer_units(self, asked: Dispute, shown: Sequence[ShownHead]) -> None:
        """Show some heads of a license; simulated first."""
        self._require_sender().send(disputes.answer_units(self._contracts, asked, shown))
        _log.info("showed %d heads of license %d", len(shown), asked.subject)

    def new_accusations(self, block_hash: bytes) -> list[Accusation]:
        """Return accusations about lanes that are not revoked; what is over and old are not read again."""
        # The newest are read again: a reorganization may have opened others under their numbers.
        first_new = max(self._last_challenge - _CHALLENGES_READ_AGAIN, 0) + 1
        self._last_challenge = self._accusations.count(block_hash)
        older = (number for number in self._challenges if number < first_new)
        numbers = [*older, *range(first_new, self._last_challenge + 1)]
        standing = self._accusations.standing(numbers, block_hash)
        accused = [each for each in standing.values() if each is not None]
        revoked = self._accusations.revoked((each.lane_number for each in accused), block_hash)
        self._challenges = [
            number for number, each in standing.items() if each is None or not revoked[each.lane_number]
        ]
        return [each for each in accused if not revoked[each.lane_number]]

    def lane_of(self, lane_number: int, block_hash: bytes) -> bytes:
        """Return the key of a lane."""
        return self._accusations.lanes([lane_number], block_hash)[lane_number]

    def revoke(self, shown: Fork | ConflictingPoints) -> None:
        """Have a lane revoked that contradicted itself; simulated first."""
        self._require_sender().send(revoke_by_contradiction(self._contracts, shown))
        _log.warning("had lane 0x%s revoked: it signed two histories", shown.points[0][0].lane.hex())

    def credit(self, account: bytes) -> int:
        """Return what an account has earned by answers and was not paid yet, in base units."""
        return self._disputes.credit(account)

    def collect(self, account: bytes) -> None:
        """Have an account paid what it has earned by answers."""
        self._require_sender().send(disputes.pay_credit(self._contracts, account))

    def _require_sender(self) -> Sender:
        if self._sender is None:
            raise ConfigInvalid("this node has no key and sends nothing", hint="set key_file in node.json")
        return self._sender
