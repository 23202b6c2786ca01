"""The clock that keeps a lane covered: it watches what is acknowledged, and anchors what falls due."""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import reduce
from typing import Final

from usufruct_protocol.errors import UsufructError

from usufruct_meter.chain.challenges import ChallengeWatch, answer_to
from usufruct_meter.chain.coverage import Acknowledged, Coverage, coverage
from usufruct_meter.chain.errands import anchor_errand
from usufruct_meter.chain.lane_chain import LaneChain
from usufruct_meter.chain.payer import ErrandPending
from usufruct_meter.chain.pruning import prunable_below
from usufruct_meter.chain.views import ChainFacts, OpenChallenge
from usufruct_meter.errors import SpoolOutdated
from usufruct_meter.lanes.ack_book import AckBook, ack_book_path
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.spool_reader import SpoolReader

_logger = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 60.0
_LOOKS_PER_MERGE_DELAY: Final = 20
_SEND_WAIT_S: Final = 240.0
_FIRST_BACKOFF_S: Final = 2.0
_LOOK_AFTER_S: Final = 5.0
_NOW_AND_THEN_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class AnchoringStatus:
    """How a lane stands; `coverage` is None until the chain has answered once."""

    coverage: Coverage | None
    error: str | None


def lane_coverage(file: LaneFile, chain: LaneChain, reader: SpoolReader) -> tuple[Coverage, int | None]:
    """Return how far a lane is covered, and when it will be anchored; for a look from outside.

    Raises: ChainUnavailable, ConfigInvalid, AcksUnavailable.
    """
    acks = AckBook(ack_book_path(file.spool), file.lane, b"", file.periods, len(file.nodes))
    try:
        facts = chain.facts()
        found = _worst(reader, acks, facts, file, {})
    finally:
        acks.close()
    if found.due_s is None:
        return found, None
    return found, chain.act_at_s(found.due_s, min(one.merge_delay_s for one in facts))


def _worst(
    reader: SpoolReader,
    acks: AckBook,
    facts: Sequence[ChainFacts],
    file: LaneFile,
    acknowledged: Acknowledged,
) -> Coverage:
    found = (coverage(reader, acks, one, file.periods, acknowledged) for one in facts)
    return reduce(Coverage.worse, found)


class AnchorKeeper(threading.Thread):
    """Looks at the chain now and then, and anchors the lane's last checkpoint when something falls due."""

    def __init__(self, lane: Lane, chain: LaneChain, acks: AckBook, stopping: threading.Event) -> None:
        super().__init__(name="usufruct-anchor", daemon=True)
        self._lane = lane
        self.chain = chain
        self._acks = acks
        self._stopping = stopping
        self._acknowledged: Acknowledged = {}
        self._failures = 0
        self._next_at = 0.0
        self._challenges = ChallengeWatch(chain)
        self._coverage: Coverage | None = None
        self._error: str | None = None

    @property
    def status(self) -> AnchoringStatus:
        """How the lane stands."""
        return AnchoringStatus(self._coverage, self._error)

    def run(self) -> None:
        """Keep the lane covered until stopped."""
        with self.chain, closing(SpoolReader.open(self._lane.file.spool)) as reader:
            while not self._stopping.is_set():
                try:
                    rest_s = self.step(reader)
                    self._failures, self._error = 0, None
                    self._now_and_then(reader)
                except (UsufructError, sqlite3.Error) as error:
                    rest_s = self._failed(error)
                except Exception as error:  # a thread must not die silently behind a healthy server
                    _logger.exception("keeping the lane covered failed unexpectedly")
                    rest_s = self._failed(error)
                self._stopping.wait(rest_s)

    def step(self, reader: SpoolReader) -> float:
        """Look once, and anchor if something is due; returns how long to rest.

        Raises: ChainUnavailable and what `AnchorSender.send` raises.
        """
        facts = self.chain.facts()
        self._lane.clock.saw_blocks(self.chain.clock_readings())
        found = _worst(reader, self._acks, facts, self._lane.file, self._acknowledged)
        self._coverage = found
        merge_delay_s = min(one.merge_delay_s for one in facts)
        look_every_s = min(_LOOK_EVERY_S, merge_delay_s / _LOOKS_PER_MERGE_DELAY)
        clock_s = self._lane.clock_ms() // 1000
        if found.due_s is None:
            return look_every_s
        now_s = max(clock_s, *(one.head.time_s for one in facts))
        act_at_s = self.chain.act_at_s(found.due_s, merge_delay_s)
        if now_s < act_at_s:
            return min(look_every_s, float(act_at_s - now_s))
        self._anchor(reader, found, now_s)
        return min(look_every_s, _LOOK_AFTER_S)

    def _now_and_then(self, reader: SpoolReader) -> None:
        """Do what has days of time: a failure waits for the next time."""
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + _NOW_AND_THEN_S
        self.answer_challenges(reader)
        self._prune(reader)

    def answer_challenges(self, reader: SpoolReader) -> None:
        """Answer what the lane is charged with; what cannot be answered is an alarm, not the end."""
        try:
            for challenge in self._challenges.open():
                self._answer(challenge, reader)
        except UsufructError as error:
            _logger.warning("cannot tell whether the lane is challenged: %s", error)

    def _answer(self, challenge: OpenChallenge, reader: SpoolReader) -> None:
        number, until_s = challenge.challenge_id, challenge.answerable_until_s
        _logger.error("challenge %d against this lane, to be answered by %d", number, until_s)
        try:
            errand = answer_to(challenge, self.chain, reader, self._acks)
            self.chain.payer(self._stopping.is_set).run(errand, wait_s=_SEND_WAIT_S)
        except UsufructError as error:
            _logger.error("challenge %d is not answered: %s %s", number, error, error.hint)
        else:
            _logger.warning("challenge %d is answered; its bond is credited to the payer", number)

    def _prune(self, reader: SpoolReader) -> None:
        """Delete what is settled."""
        try:
            below = prunable_below(self._lane, self.chain, reader)
            if below > reader.usage_pruned_below():
                self._lane.prune_usage_lists(below)
        except SpoolOutdated as error:
            _logger.error("a finalized report counts what this spool does not know: %s", error)
        except UsufructError as error:
            _logger.info("usage lists are not pruned for now: %s", error)

    def _anchor(self, reader: SpoolReader, found: Coverage, now_s: int) -> None:
        last = reader.last_checkpoint()
        if last is None or last.checkpoint.count <= found.covered_count:
            self._lane.checkpoint()
            last = reader.last_checkpoint()
        if last is None or found.due_s is None:
            return
        late_s = now_s - found.due_s
        _logger.log(
            logging.ERROR if late_s > 0 else logging.WARNING,
            "too few signers acknowledge receipts from seq %d on%s: anchoring %d receipts on chain",
            found.covered_count,
            f", {late_s} s past the merge delay" if late_s > 0 else "",
            last.checkpoint.count,
        )
        payer = self.chain.payer(self._stopping.is_set)
        payer.run(anchor_errand(last.checkpoint, last.signature), wait_s=_SEND_WAIT_S)
        _logger.warning("%d receipts are anchored", last.checkpoint.count)

    def _failed(self, error: Exception) -> float:
        """Note a failure; returns how long to wait, growing with each one in a row, up to a minute."""
        message = f"{error} {getattr(error, 'hint', '')}".strip()
        if message != self._error:
            level = logging.INFO if isinstance(error, ErrandPending) else logging.ERROR
            _logger.log(level, "cannot tell or see to it that the lane is covered: %s", message)
        self._error = message
        rest_s = min(_LOOK_EVERY_S, _FIRST_BACKOFF_S * float(2 ** min(self._failures, 8)))
        self._failures += 1
        return rest_s * random.uniform(0.5, 1.0)
