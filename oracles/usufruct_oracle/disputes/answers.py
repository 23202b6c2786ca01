"""Answering disputes of the pending report before its window ends, each by the node whose turn it is.

Whoever disputes pays for the answer, and an unanswered question takes the bond of everybody who signed. So a
node answers for every report that it computed itself, one question at a time; a question that it cannot
answer, or not yet, keeps it from no other.
Source: docs/spec.md, section 10, disputes; IReportDisputes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from usufruct_chain.disputes import Dispute, Question
from usufruct_chain.onchain import Block
from usufruct_chain.reverts import CallReverted
from usufruct_protocol.chain_state import LaneState
from usufruct_protocol.errors import InvariantBroken, UsufructError
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.report_types import EpochReport

from usufruct_oracle.chain.disputes import DisputeChain
from usufruct_oracle.context import EpochContext
from usufruct_oracle.disputes.shown_heads import ShownHeads
from usufruct_oracle.epochs.submission import Stagger
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.peers.client import Peers
from usufruct_oracle.storage.epoch_store import StoredReport
from usufruct_oracle.storage.store import Store

_log = logging.getLogger(__name__)

ANSWERS_PER_STEP: Final = 4
LANES_PER_CALL: Final = 100
"""Heads shown in one transaction: some 4 million gas, well below any block."""

_ALREADY_DONE: Final = frozenset({"ReportDisputes_NotOpen", "ReportDisputes_ReportIsDead"})
_FIRST_PAUSE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 300.0


class Answers:
    """Composes and sends the answers to questions about one report. `lanes` are those of its cut-off."""

    def __init__(
        self, chain: DisputeChain, heads: ShownHeads, report: EpochReport, lanes: Sequence[LaneState]
    ) -> None:
        self._chain = chain
        self._heads = heads
        self._report = report
        self._lanes = lanes

    def answer(self, asked: Dispute, head: Block) -> None:
        """Answer one question; another's answer in the meantime is as good.

        Raises: InvariantBroken if the report has nothing to show; Transient; ContractRejected.
        """
        try:
            if asked.question is Question.HEAD:
                self._answer_head(asked, head)
            else:
                self._answer_units(asked)
        except CallReverted as error:
            if error.error_name not in _ALREADY_DONE:
                raise
            _log.debug("dispute 0x%s not answered: %s", asked.dispute_id.hex(), error)

    def _answer_head(self, asked: Dispute, head: Block) -> None:
        if asked.subject >= len(self._heads.heads):
            raise InvariantBroken(
                f"lane {asked.subject} was anchored in time, and the report knows no such lane"
            )
        shown = self._heads.open(asked.subject)
        count = 0 if shown.checkpoint is None else shown.checkpoint.count
        if count >= asked.needed:
            self._chain.answer_head(asked, shown)
        else:
            self._chain.answer_by_contradiction(asked, shown, self._anchored(asked, head))

    def _anchored(self, asked: Dispute, head: Block) -> tuple[Checkpoint, bytes]:
        """Return the anchored checkpoint that a head falls short of, and the lane's signature of it.

        A node signs such a head only where it has more units than the anchor with fewer receipts
        (LaneState.keeps_anchor): the two together are the proof that excuses it.
        """
        lane = self._lanes[asked.subject].lane
        point = self._chain.anchored_by(lane, self._report.period_end - 1, head)
        signature = None if point is None else self._chain.anchor_signature(point, head)
        if point is None or signature is None:
            raise InvariantBroken(f"lane {asked.subject} was asked for more than was ever anchored of it")
        return point, signature

    def _answer_units(self, asked: Dispute) -> None:
        """Show the license's lanes, those with most units first: all nodes show them in the same order."""
        numbers = self._lanes_of(asked.subject)
        shown_before = self._shown_before(asked, numbers)
        for start in range(shown_before, len(numbers), LANES_PER_CALL):
            part = [self._heads.open(number) for number in numbers[start : start + LANES_PER_CALL]]
            self._chain.answer_units(asked, part)

    def _lanes_of(self, license_id: int) -> list[int]:
        """Return the numbers of a license's lanes that the report counts, as far as its line needs them."""
        units = {
            lane.number: head.cumulative_units
            for lane, head in zip(self._lanes, self._heads.heads, strict=True)
            if head is not None and lane.license_id == license_id and head.cumulative_units
        }
        needed = next(line.cumulative_units for line in self._report.lines if line.license_id == license_id)
        numbers: list[int] = []
        for number in sorted(units, key=lambda each: (-units[each], each)):
            if needed <= 0:
                break
            needed -= units[number]
            numbers.append(number)
        return numbers

    def _shown_before(self, asked: Dispute, numbers: Sequence[int]) -> int:
        """Return how many lanes from the beginning of our order are shown already.

        The contract skips them, but sending them again costs gas. Lanes that others showed in another order
        are sent again.
        """
        heads = [self._heads.heads[number] for number in numbers[: asked.lanes_shown]]
        units = sum(head.cumulative_units for head in heads if head is not None)
        return asked.lanes_shown if units == asked.units_shown and len(heads) == asked.lanes_shown else 0


@dataclass(slots=True)
class _Retry:
    """When a question that failed is tried again."""

    at: float
    pause_s: float


class Disputes:
    """Looks for open questions about the pending report, and answers those whose turn it is."""

    def __init__(
        self,
        store: Store,
        peers: Peers,
        chain: DisputeChain,
        stagger: Stagger,
        domain_separator: bytes,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics or Metrics()
        self._store = store
        self._peers = peers
        self._chain = chain
        self._stagger = stagger
        self._domain = domain_separator
        self._clock = clock
        self._retries: dict[bytes, _Retry] = {}
        self._opened: tuple[bytes, list[Dispute]] = bytes(32), []

    @property
    def open_count(self) -> int:
        """Return how many questions were open at the last look."""
        return len(self._opened[1])

    def step(self, context: EpochContext, mine: StoredReport, head: Block) -> bool:
        """Answer a few questions about a pending report that this node computed.

        Returns whether any were open: then there is more to do, without a new block too.
        """
        opened = self._look(mine, head)
        due = [asked for asked in opened if self._is_due(context, asked)]
        if due and self._chain.can_send:
            self._answer(context, mine, due[:ANSWERS_PER_STEP], head)
        return bool(opened)

    def _look(self, mine: StoredReport, head: Block) -> list[Dispute]:
        """Return the open questions; a block that was looked at costs no request."""
        if self._opened[0] != head.hash:
            found: list[Dispute] = []
            if self._chain.is_held(head.hash):
                license_ids = [line.license_id for line in mine.report.lines]
                found = self._chain.open_disputes(mine.report_hash, license_ids, head.hash)
            self._announce(found)
            self._opened = head.hash, found
            self._metrics.disputes_open.set(len(found))
        return self._opened[1]

    def _is_due(self, context: EpochContext, asked: Dispute) -> bool:
        """Tell whether a question is this node's to answer now. Turns differ by question: all nodes share."""
        rank = context.rank(int.from_bytes(asked.dispute_id[-4:], "big"))
        is_mine = self._stagger.is_my_turn(("dispute", asked.dispute_id), rank)
        retry = self._retries.get(asked.dispute_id)
        return is_mine and (retry is None or self._clock() >= retry.at)

    def _answer(self, context: EpochContext, mine: StoredReport, due: Sequence[Dispute], head: Block) -> None:
        heads = ShownHeads(
            mine.report,
            self._store,
            self._peers,
            self._domain,
            lambda point: self._chain.anchor_signature(point, head),
        )
        answers = Answers(self._chain, heads, mine.report, context.chain.lanes)
        for asked in due:
            try:
                answers.answer(asked, head)
            except UsufructError as error:
                self._try_later(asked, error)
            else:
                self._opened[1].remove(asked)
                self._metrics.disputes_answered.inc()

    def _try_later(self, asked: Dispute, error: UsufructError) -> None:
        last = self._retries.get(asked.dispute_id)
        pause_s = _FIRST_PAUSE_S if last is None else min(2 * last.pause_s, _LONGEST_PAUSE_S)
        self._retries[asked.dispute_id] = _Retry(self._clock() + pause_s, pause_s)
        _log.error(
            "dispute 0x%s is not answered yet, next try in %d s: %s (%s)",
            asked.dispute_id.hex(),
            pause_s,
            error,
            error.hint or "see the runbook",
        )

    def _announce(self, opened: Sequence[Dispute]) -> None:
        known = {asked.dispute_id for asked in self._opened[1]}
        self._retries = {name: retry for name, retry in self._retries.items() if name in known}
        for asked in opened:
            if asked.dispute_id not in known:
                _log.warning(
                    "0x%s disputes the %s %d of the pending report: dispute 0x%s, needed %d",
                    asked.challenger.hex(),
                    "head of lane" if asked.question is Question.HEAD else "units of license",
                    asked.subject,
                    asked.dispute_id.hex(),
                    asked.needed,
                )
