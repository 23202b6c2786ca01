"""Answering what a lane is charged with: whoever answers in time earns the challenger's bond."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from usufruct_protocol.errors import UsufructError
from usufruct_protocol.merkle import padded_siblings
from usufruct_protocol.periods import fault_bound
from usufruct_protocol.receipts import receipt_hashes

from usufruct_meter.chain.errands import acks_errand, inclusion_errand
from usufruct_meter.chain.lane_chain import LaneChain
from usufruct_meter.chain.payer import Errand
from usufruct_meter.chain.views import ChallengeKind, OpenChallenge, each
from usufruct_meter.lanes.ack_book import AckBook
from usufruct_meter.lanes.spool_reader import SpoolReader

_logger = logging.getLogger(__name__)

_READ_AT_ONCE: Final = 10_000


class Unanswerable(UsufructError):
    """Nothing that the lane keeps answers this challenge."""

    code = "challenge_unanswerable"


class ChallengeWatch:
    """The challenges against one lane. Those that were seen to be closed are not asked for again."""

    def __init__(self, chain: LaneChain) -> None:
        self._chain = chain
        self._closed_below = 1

    def open(self) -> Iterator[OpenChallenge]:
        """Yield challenges of the lane that wait for an answer. Raises: ChainUnavailable, ConfigInvalid."""
        views = self._chain.views
        lane = each(views, lambda view: view.lane(self._chain.file.lane))[0]
        count = max(each(views, lambda view: view.challenge_count(view.head().block_hash)))
        is_closed_so_far = True
        for challenge_id in range(self._closed_below, count + 1):
            found = self._known(challenge_id)
            is_closed_so_far = is_closed_so_far and found is None
            if is_closed_so_far:
                self._closed_below = challenge_id + 1
            elif found is not None and lane is not None and found.lane_number == lane.number:
                yield found

    def _known(self, challenge_id: int) -> OpenChallenge | None:
        """Return a challenge if any endpoint says that it is open."""
        found = each(self._chain.views, lambda view: view.challenge(challenge_id))
        return next((one for one in found if one is not None), None)


def answer_to(challenge: OpenChallenge, chain: LaneChain, reader: SpoolReader, acks: AckBook) -> Errand:
    """Return what answers a challenge, from what the lane has kept.

    Raises: Unanswerable; ChainUnavailable.
    """
    if challenge.kind is ChallengeKind.SWAPPED:
        return _by_inclusion(challenge, reader)
    signers = each(chain.views, lambda view: view.committee_of(challenge.signer_set_version))[0]
    needed = fault_bound(len(signers)) + 1
    answer = acks.answer(challenge.seq, challenge.period_end_s, needed, signers)
    if answer is None:
        raise Unanswerable(
            f"challenge {challenge.challenge_id}: fewer than {needed} signers had acknowledged receipt "
            f"{challenge.seq} by {challenge.period_end_s}, and no anchor covers it",
            hint="was the meter without nodes and chain past the merge delay? look for another copy of …acks",
        )
    return acks_errand(challenge.challenge_id, answer)


def _by_inclusion(challenge: OpenChallenge, reader: SpoolReader) -> Errand:
    lane, leaves = reader.lane(), []
    for first in range(0, challenge.count, _READ_AT_ONCE):
        records = reader.records(first, min(first + _READ_AT_ONCE, challenge.count))
        leaves += receipt_hashes(lane, records)
    if len(leaves) < challenge.count or leaves[challenge.seq] != challenge.receipt_hash:
        raise Unanswerable(
            f"challenge {challenge.challenge_id}: the spool has another receipt {challenge.seq}, or none",
            hint="somebody else signs with this lane's key: revokeByContradiction, and start a new lane",
        )
    return inclusion_errand(challenge.challenge_id, padded_siblings(leaves, challenge.seq))
