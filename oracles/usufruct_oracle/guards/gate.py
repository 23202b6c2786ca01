"""Before it signs, a node looks whether a person should look first.

A held node votes, serves, posts and pays as ever; only its own signature waits, so that one held node is one
signer less and nothing else. All nodes may be held by the same thing, though: so what buyers or stewards can
bring about is held for some hours only, and nobody can stop reporting by being strange. An approval lets a
thing pass at once, for one epoch, up to the size that was shown. It decides whether this node signs, never
what: the order of attempts and the one report per attempt stay.
Source: docs/operator.md, "When the node asks you".
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from usufruct_protocol.bundle import LINES, unpack_lines
from usufruct_protocol.errors import ConfigInvalid
from usufruct_protocol.report_types import ReportLine

from usufruct_oracle.context import EpochContext
from usufruct_oracle.guards import hold_store
from usufruct_oracle.guards.approvals import Approvals
from usufruct_oracle.guards.concerns import Before, Concern, Guard, report_concerns, terms_text
from usufruct_oracle.guards.limits import GuardLimits
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage import epoch_store
from usufruct_oracle.storage.database import Connection
from usufruct_oracle.storage.epoch_store import StoredReport
from usufruct_oracle.storage.store import Store

_log = logging.getLogger(__name__)
EPOCHS_COMPARED: Final = 8
_SHOWN: Final = 20


class Surroundings:
    """What this machine and its endpoint look like just before a signature.

    chain_id: asks the endpoint which chain it serves
    head_s:   asks it for the newest block's time, in seconds of chain time
    clock:    this machine's, unix seconds
    """

    def __init__(
        self,
        limits: GuardLimits,
        expected_chain_id: int,
        chain_id: Callable[[], int],
        head_s: Callable[[], int],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._limits = limits
        self._expected_chain_id = expected_chain_id
        self._chain_id = chain_id
        self._head_s = head_s
        self._clock = clock

    def look(self) -> tuple[int, list[Concern]]:
        """Return the newest block's time and what is unusual now. Raises: Transient if nobody answers."""
        head_s, found = self._head_s(), []
        chain_id = self._chain_id()
        if chain_id != self._expected_chain_id:
            detail = f"the endpoint serves chain {chain_id}, the deployment is on {self._expected_chain_id}"
            found.append(Concern(Guard.CHAIN_ID, "endpoint", chain_id, self._expected_chain_id, detail))
        limit = self._limits.clock_skew_seconds
        if limit is not None:
            ahead_s = int(self._clock()) - head_s
            if abs(ahead_s) > limit:
                side = "ahead of" if ahead_s > 0 else "behind"
                detail = f"this machine's clock is {abs(ahead_s)} s {side} the newest block"
                found.append(Concern(Guard.CLOCK_SKEW, "this machine", abs(ahead_s), limit, detail))
        return head_s, found


class Guards:
    """Holds a signature back until everything unusual about it is approved or over."""

    def __init__(
        self,
        limits: GuardLimits,
        store: Store,
        approvals: Approvals,
        surroundings: Surroundings,
        status: NodeStatus,
        metrics: Metrics,
    ) -> None:
        self._limits = limits
        self._store = store
        self._approvals = approvals
        self._surroundings = surroundings
        self._status = status
        self._metrics = metrics
        self._of_report: tuple[tuple[int, bytes, bytes], list[Concern]] | None = None
        self._held: tuple[int, tuple[Concern, ...]] = (0, ())

    def held(self, context: EpochContext, mine: StoredReport) -> tuple[Concern, ...]:
        """Return what keeps this node from signing a report now; recorded, logged and shown until it is over.

        Raises: Transient if the endpoint does not answer.
        """
        head_s, concerns = self._surroundings.look()
        concerns += self._report_concerns(context, mine)
        approved = [concern for concern in concerns if self._is_approved(context.epoch, concern)]
        lapsed = [concern for concern in concerns if self._is_over(context, head_s, concern)]
        waiting = tuple(each for each in concerns if each not in approved and each not in lapsed)
        self._show(context.epoch, waiting)
        if not waiting:
            for concern in concerns:
                why = "as approved" if concern in approved else "though nobody has looked"
                _log.warning("signing epoch %d %s: %s", context.epoch, why, concern)
        return waiting

    def begin(self, epoch: int) -> None:
        """Forget what was held of another epoch: it was settled without this node's signature."""
        if self._held[0] != epoch and self._held[1]:
            self._show(epoch, ())

    def remember(self, db: Connection, context: EpochContext) -> None:
        """Record the terms that are signed for, in the transaction that records the signature."""
        hold_store.put_terms(db, {state.license_id: terms_text(state) for state in context.chain.licenses})

    def _is_approved(self, epoch: int, concern: Concern) -> bool:
        try:
            return self._approvals.covers(epoch, concern)
        except ConfigInvalid as error:
            _log.error("%s (%s)", error, error.hint)
            return False

    def _is_over(self, context: EpochContext, head_s: int, concern: Concern) -> bool:
        hold_seconds = self._limits.hold_seconds
        if hold_seconds is None or not concern.guard.is_of_others_making:
            return False
        return head_s >= context.chain.cutoff_time_s + hold_seconds

    def _for_how_long(self, concern: Concern) -> str:
        hours = (self._limits.hold_seconds or 0) / 3600
        return f" until {hours:g} h after its cut-off" if hours and concern.guard.is_of_others_making else ""

    def _report_concerns(self, context: EpochContext, mine: StoredReport) -> list[Concern]:
        """Return the concerns of a report; nothing but its number differs between most attempts."""
        key = (context.epoch, context.base.report_hash, mine.bundle_hash)
        if self._of_report is None or self._of_report[0] != key:
            with self._store.read() as db:
                files = epoch_store.bundle_files(db, context.epoch, mine.bundle_hash)
                before = Before(_recent_lines(db, context.epoch), hold_store.terms(db))
            found = report_concerns(self._limits, context, mine.report, files, before)
            self._of_report = (key, found)
        return self._of_report[1]

    def _show(self, epoch: int, waiting: tuple[Concern, ...]) -> None:
        shown = {concern.key: concern for concern in self._held[1]} if self._held[0] == epoch else {}
        is_news = [concern for concern in waiting if not concern.is_covered_by(shown.get(concern.key))]
        if not is_news and self._held[0] == epoch and len(shown) == len(waiting):
            return
        self._held = (epoch, waiting)
        for concern in is_news:
            if concern.key not in shown:
                _log.error(
                    "NOT SIGNING epoch %d%s: %s. Look at it, then: usufruct-oracle epoch approve --epoch %d "
                    "(runbook#held)",
                    epoch,
                    self._for_how_long(concern),
                    concern,
                    epoch,
                )
        if waiting:
            with self._store.write() as db:
                hold_store.put_holds(db, epoch, waiting)
        self._status.looked(held=[f"epoch {epoch}: {concern}" for concern in waiting[:_SHOWN]])
        firing = {concern.guard for concern in waiting}
        for guard in Guard:
            self._metrics.guards_held.labels(guard).set(int(guard in firing))


def _recent_lines(db: Connection, epoch: int) -> list[dict[int, ReportLine]]:
    """Return the lines of the last finalized reports before an epoch that are held here, oldest first."""
    found = []
    for number in range(max(1, epoch - EPOCHS_COMPARED), epoch):
        final = epoch_store.finalized(db, number)
        packed = None if final is None else epoch_store.bundle_file(db, number, final.bundle_hash, LINES)
        if packed is not None:
            found.append({line.license_id: line for line in unpack_lines(packed)})
    return found
