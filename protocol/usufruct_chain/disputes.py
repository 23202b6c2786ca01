"""Disputes of a pending report: which are open, and the answers that the contract takes.

What is open is read from state, never from logs: endpoints leave events out more often than they lie about
storage, and a question that nobody saw costs signers their bonds. Every name that a question of a report can
have is known: one per lane, one per line.
Source: IReportDisputes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from usufruct_protocol.eip712 import uint_word
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.signing import checksum_address, parse_address
from web3.contract.contract import ContractFunction

from usufruct_chain.contracts import Contracts
from usufruct_chain.reader import Reader

_NO_LANE: Final = "0x" + "00" * 20


class Question(IntEnum):
    """What a dispute asks to be shown; the numbers are those of the contract."""

    HEAD = 0
    UNITS = 1


class DisputeStatus(IntEnum):
    """How a dispute stands; the numbers are those of the contract."""

    NONE = 0
    OPEN = 1
    ANSWERED = 2
    CONDEMNED = 3
    VOID = 4


@dataclass(frozen=True, slots=True)
class Dispute:
    """One question about a report. `bond` in base units goes to whoever answers.

    subject:     number of the lane, or of the license
    needed:      the least count that the lane's head must have, or the units that heads must sum to
    units_shown: sum over the heads that were shown so far, of `lanes_shown` lanes
    """

    dispute_id: bytes
    report_hash: bytes
    challenger: bytes
    bond: int
    question: Question
    status: DisputeStatus
    subject: int
    needed: int
    lanes_shown: int
    units_shown: int


@dataclass(frozen=True, slots=True)
class ShownHead:
    """The opening of one lane's leaf under a report's lanes root, with the lane's signature (65 bytes).

    `checkpoint` None is a zero leaf, which nobody has signed.
    """

    lane_number: int
    checkpoint: Checkpoint | None
    proof: tuple[bytes, ...]
    signature: bytes


def dispute_id(report_hash: bytes, question: Question, subject: int) -> bytes:
    """Return the name of a dispute: keccak256(abi.encode(reportHash, question, subject))."""
    return keccak256(
        report_hash + uint_word(int(question), 8, "question") + uint_word(subject, 32, "subject")
    )


class DisputeReader:
    """Reads of one deployment's disputes. Raises as `Reader` does."""

    def __init__(self, contracts: Contracts) -> None:
        self._reader = Reader(contracts)
        self._views = contracts.views

    def is_held(self, block_hash: bytes) -> bool:
        """Tell whether any dispute of the pending report is open at a block."""
        (held,) = self._reader.query([self._views.settlement.openDisputes()], block_hash)
        return bool(held)

    def open_disputes(
        self, report_hash: bytes, license_ids: Iterable[int], block_hash: bytes
    ) -> list[Dispute]:
        """Return every open dispute of a report with lines of these licenses, lanes first, ascending.

        One round trip for each 100 lanes and lines: ask only for a report that is held.
        """
        (lane_count,) = self._reader.query([self._views.registry.laneCount()], block_hash)
        names = [dispute_id(report_hash, Question.HEAD, number) for number in range(lane_count)]
        names += [dispute_id(report_hash, Question.UNITS, license_id) for license_id in license_ids]
        found = self._reader.query([self._views.disputes.dispute(name) for name in names], block_hash)
        disputes = [_dispute_from(name, fields) for name, fields in zip(names, found, strict=True)]
        return [dispute for dispute in disputes if dispute.status is DisputeStatus.OPEN]

    def credit(self, account: bytes) -> int:
        """Return how many base units an account has earned by answers and was not paid yet."""
        (amount,) = self._reader.query([self._views.disputes.credit(checksum_address(account))])
        return int(amount)


def answer_head(contracts: Contracts, asked: Dispute, shown: ShownHead) -> ContractFunction:
    """Show a lane's head, which has the count that is needed; whoever sends gets the bond."""
    return contracts.disputes.functions.answerHead(asked.dispute_id, _shown_tuple(shown))


def answer_head_by_contradiction(
    contracts: Contracts,
    asked: Dispute,
    shown: ShownHead,
    anchored: tuple[Checkpoint, bytes],
) -> ContractFunction:
    """Show a head that counts less than was anchored, and the anchored checkpoint with its signature.

    The two must contradict each other: fewer receipts with more units.
    """
    pair = [] if shown.checkpoint is None else [(_checkpoint_tuple(shown.checkpoint), shown.signature)]
    pair.append((_checkpoint_tuple(anchored[0]), anchored[1]))
    return contracts.disputes.functions.answerHeadByContradiction(
        asked.dispute_id, _shown_tuple(shown), ([], pair, [])
    )


def answer_units(contracts: Contracts, asked: Dispute, shown: Sequence[ShownHead]) -> ContractFunction:
    """Show heads of a license's lanes, in one call of several; lanes shown before are skipped."""
    return contracts.disputes.functions.answerUnits(asked.dispute_id, [_shown_tuple(each) for each in shown])


def pay_credit(contracts: Contracts, account: bytes) -> ContractFunction:
    """Send an account what it has earned by answers; anyone may."""
    return contracts.disputes.functions.payCredit(checksum_address(account))


def _dispute_from(name: bytes, fields: Sequence[Any]) -> Dispute:
    report_hash, _lanes_root, challenger, bond, question, status, subject, *rest = fields
    _lane_count, _epoch, lanes_shown, needed, units_shown = rest
    return Dispute(
        dispute_id=name,
        report_hash=bytes(report_hash),
        challenger=parse_address(challenger),
        bond=bond,
        question=Question(question),
        status=DisputeStatus(status),
        subject=subject,
        needed=needed,
        lanes_shown=lanes_shown,
        units_shown=units_shown,
    )


def _shown_tuple(shown: ShownHead) -> tuple[Any, ...]:
    return shown.lane_number, (_checkpoint_tuple(shown.checkpoint), list(shown.proof)), shown.signature


def _checkpoint_tuple(point: Checkpoint | None) -> tuple[Any, ...]:
    if point is None:
        return _NO_LANE, 0, 0, bytes(32)
    return checksum_address(point.lane), point.count, point.cumulative_units, point.receipts_root
