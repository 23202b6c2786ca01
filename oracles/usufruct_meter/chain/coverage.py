"""Which receipts of a lane are safe from the charge of having been hidden, and by when the next ones must be.

A receipt is covered by an anchor, or by f + 1 signers' acknowledgements of one checkpoint over it, given by
the end of the first period that judges it: the one that ends no earlier than the merge delay after its time.
What is not covered is due when the merge delay is over. The signers must be those who judge the report in
question, so what only the present ones acknowledged is not covered against a committee that is announced: it
has to be anchored before that committee's first period ends.
Source: docs/spec.md section 10 (challenges against buyers); contracts/interfaces/IUsageChallenges.sol
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass

from usufruct_meter.chain.views import ChainFacts, CommitteeVersion
from usufruct_meter.lanes.ack_book import AckBook
from usufruct_meter.lanes.checkpoints import Periods
from usufruct_meter.lanes.spool_reader import SpoolReader

Acknowledged = MutableMapping[tuple[frozenset[bytes], int], int]
"""Below which seq these signers had acknowledged everything, given this merge delay: not by version, of which
an endpoint that lies may tell other signers."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far a lane is covered.

    covered_count:  receipts below are covered, whatever any report says
    anchored_count: receipts below are covered by an anchor
    due_s:          when an anchor over the first uncovered receipt must be in a block; None if there is none
    """

    covered_count: int
    anchored_count: int
    due_s: int | None

    def worse(self, other: Coverage) -> Coverage:
        """Return what holds if both may be wrong."""
        dues = [due for due in (self.due_s, other.due_s) if due is not None]
        return Coverage(
            min(self.covered_count, other.covered_count),
            min(self.anchored_count, other.anchored_count),
            min(dues, default=None),
        )


def coverage(
    reader: SpoolReader,
    acks: AckBook,
    facts: ChainFacts,
    periods: Periods,
    acknowledged: Acknowledged,
) -> Coverage:
    """Return how far a lane is covered against every committee that judges an open or a later period.

    acknowledged: what was found before and need not be looked for again. Anchors are not in it: a
                  reorganization can take them.
    Raises: AcksUnavailable, sqlite3.Error.
    """
    anchored = min(facts.anchor.count, reader.count())
    whole = Coverage(reader.count(), anchored, None)
    for committee in facts.committees:
        judges = committee.signers, facts.merge_delay_s
        known = acknowledged.get(judges, 0)
        judging = _Judging(periods, facts.merge_delay_s)
        covered = _covered_count(reader, acks, committee, judging, max(anchored, known))
        if anchored <= known:
            acknowledged[judges] = covered
        first_uncovered = reader.receipt(covered)
        if first_uncovered is None:
            continue
        merged_by_s = first_uncovered.receipt.issued_at_ms // 1000 + facts.merge_delay_s
        first_judged_s = periods.genesis_s + committee.from_epoch * periods.epoch_seconds
        whole = whole.worse(Coverage(covered, anchored, max(merged_by_s, first_judged_s)))
    return whole


@dataclass(frozen=True, slots=True)
class _Judging:
    """When a receipt is judged for the first time."""

    periods: Periods
    merge_delay_s: int

    def first_s(self, issued_at_ms: int) -> int:
        """Return the end of the first period that a receipt must be merged by."""
        merged_by_s = issued_at_ms // 1000 + self.merge_delay_s
        epoch = self.periods.epoch_of(merged_by_s * 1000 - 1)
        return self.periods.genesis_s + epoch * self.periods.epoch_seconds


def _covered_count(
    reader: SpoolReader, acks: AckBook, committee: CommitteeVersion, judging: _Judging, covered: int
) -> int:
    while (stored := reader.receipt(covered)) is not None:
        by_s = judging.first_s(stored.receipt.issued_at_ms)
        reached = acks.acknowledged_count(covered, by_s, committee.signers, committee.acks_needed)
        if reached <= covered:
            break
        covered = reached
    return covered
