"""Challenges against buyers, as far as they come back to signers: accusations, and what ends them for good.

Whoever is challenged may answer with signers' acknowledgements. Those who then reported less are slashed,
unless the lane is revoked first: by anybody who shows that it contradicted itself.
Source: IUsageChallenges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.signing import checksum_address
from web3.contract.contract import ContractFunction

from usufruct_chain.contracts import Contracts
from usufruct_chain.reader import Reader

SignedPoint = tuple[Checkpoint, bytes]


@dataclass(frozen=True, slots=True)
class Accusation:
    """Signers of an epoch's report who acknowledged more of a lane than they reported."""

    challenge_id: int
    lane_number: int
    epoch: int
    slashable_from_s: int


@dataclass(frozen=True, slots=True)
class Fork:
    """Two checkpoints of a lane, each with its signature, and the receipt in which they differ under each.

    Leaves are struct hashes, proofs their siblings from the leaf up.
    """

    points: tuple[SignedPoint, SignedPoint]
    seq: int
    leaves: tuple[bytes, bytes]
    proofs: tuple[tuple[bytes, ...], tuple[bytes, ...]]


@dataclass(frozen=True, slots=True)
class ConflictingPoints:
    """Two checkpoints of a lane that cannot both be true by their counts and units alone."""

    points: tuple[SignedPoint, SignedPoint]


class ChallengeReader:
    """Reads of one deployment's challenges. Raises as `Reader` does."""

    def __init__(self, contracts: Contracts) -> None:
        self._reader = Reader(contracts)
        self._views = contracts.views

    def count(self, block_hash: bytes) -> int:
        """Return how many challenges were ever opened; they are numbered from 1."""
        (count,) = self._reader.query([self._views.challenges.challengeCount()], block_hash)
        return int(count)

    def standing(self, numbers: Sequence[int], block_hash: bytes) -> dict[int, Accusation | None]:
        """Return, of these challenges, the accusations that came of them, and None for those still open.

        Others are over: upheld, or answered by an inclusion proof.
        """
        views = self._views.challenges
        answers = self._reader.query(
            [call for number in numbers for call in (views.challenge(number), views.accusation(number))],
            block_hash,
        )
        found: dict[int, Accusation | None] = {}
        for number, challenge, accusation in zip(numbers, answers[::2], answers[1::2], strict=True):
            _challenger, slashable_from_s, lane_number, epoch, _ackers = accusation
            if slashable_from_s:
                found[number] = Accusation(number, lane_number, epoch, slashable_from_s)
            elif challenge[3]:  # a kind: it is open
                found[number] = None
        return found

    def revoked(self, lane_numbers: Iterable[int], block_hash: bytes) -> dict[int, bool]:
        """Tell of each lane whether it was revoked."""
        numbers = sorted(set(lane_numbers))
        times = self._reader.query([self._views.registry.laneRevokedAt(each) for each in numbers], block_hash)
        return {number: bool(time_s) for number, time_s in zip(numbers, times, strict=True)}

    def lanes(self, lane_numbers: Iterable[int], block_hash: bytes) -> dict[int, bytes]:
        """Return the key of each lane."""
        numbers = sorted(set(lane_numbers))
        found = self._reader.query([self._views.registry.laneAt(each) for each in numbers], block_hash)
        return {number: bytes.fromhex(lane[0][2:]) for number, lane in zip(numbers, found, strict=True)}


def revoke_by_contradiction(contracts: Contracts, shown: Fork | ConflictingPoints) -> ContractFunction:
    """Have a lane revoked that signed two histories; anyone may, and nobody is paid for it."""
    points = [(_point_tuple(point), signature) for point, signature in shown.points]
    if isinstance(shown, ConflictingPoints):
        return contracts.challenges.functions.revokeByContradiction(([], points, []))
    fork = (
        *points,
        shown.seq,
        shown.leaves[0],
        list(shown.proofs[0]),
        shown.leaves[1],
        list(shown.proofs[1]),
    )
    return contracts.challenges.functions.revokeByContradiction(([], [], [fork]))


def _point_tuple(point: Checkpoint) -> tuple[Any, ...]:
    return checksum_address(point.lane), point.count, point.cumulative_units, point.receipts_root
