"""Posting and finalizing reports: everybody may, so nodes take turns instead of racing.

The first in the order of an epoch goes at once, each further one waits a little longer. Every transaction is
simulated first; finding that somebody else was faster is a success.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Final

from usufruct_chain.reverts import CallReverted
from usufruct_protocol.errors import Transient
from usufruct_protocol.report_types import EpochReport

from usufruct_oracle.chain.client import Chain
from usufruct_oracle.context import EpochContext

_log = logging.getLogger(__name__)

_ALREADY_DONE: Final = frozenset(
    {
        "UsageSettlement_ReportPending",
        "UsageSettlement_NothingPending",
        "UsageSettlement_WrongEpoch",
        "UsageSettlement_WrongReport",
    }
)
_RESERVE_FIRST: Final = "OracleCommittee_ReserveNotIssued"
_NOT_YET: Final = frozenset(
    {
        "UsageSettlement_WindowOpen",
        "UsageSettlement_DisputeOpen",
        "UsageSettlement_PeriodNotOver",
        "UsageSettlement_BadCutoffBlock",
    }
)
_KEPT: Final = 1 << 17
"""More than the ranges of 32 million notes: what is forgotten too soon never becomes anybody's turn."""


class Stagger:
    """Remembers since when something could be done, and whether it is this node's turn.

    Time is this machine's: it only decides who pays for a transaction, never what is in it.
    """

    def __init__(self, stagger_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stagger_seconds = stagger_seconds
        self._clock = clock
        self._since: dict[Hashable, float] = {}

    def is_my_turn(self, what: Hashable, rank: int) -> bool:
        """Tell whether the nodes before this one have had their time, counted from the first question."""
        since = self._since.setdefault(what, self._clock())
        while len(self._since) > _KEPT:
            self._since.pop(next(iter(self._since)))
        return self._clock() - since >= rank * self._stagger_seconds


class Submission:
    """Sends a report's two transactions when it is this node's turn."""

    def __init__(self, chain: Chain, stagger: Stagger) -> None:
        self._chain = chain
        self._stagger = stagger
        self._refused: set[bytes] = set()

    def submit(
        self, context: EpochContext, report: EpochReport, report_hash: bytes, signatures: Mapping[int, bytes]
    ) -> None:
        """Post a report that k signers have signed.

        Where too many signers are new, the contract first wants the last report's reserve issued: then that
        is done instead, and the report follows when this is called again.
        Raises: ContractRejected once per report that the contract will not have; it is not sent again.
        """
        rank = context.rank(report.epoch + report.attempt)
        if report_hash in self._refused or not self._stagger.is_my_turn(("submit", report_hash), rank):
            return
        try:
            self._chain.submit(report, signatures)
        except CallReverted as error:
            if error.error_name in _ALREADY_DONE or error.error_name in _NOT_YET:
                _log.debug("report of epoch %d not posted: %s", report.epoch, error)
                return
            if error.error_name == _RESERVE_FIRST:
                self._issue_reserve(report.epoch - 1)
                return
            self._refused.add(report_hash)
            raise

    def _issue_reserve(self, epoch: int) -> None:
        finalized = self._chain.submitted(epoch)
        if finalized is None:
            raise Transient(f"the report of epoch {epoch} is not on chain as it was a moment ago")
        try:
            self._chain.issue_reserve(finalized.report)
        except CallReverted as error:
            if error.error_name != "UsageSettlement_ReserveAlreadyIssued":
                raise
            _log.debug("reserve of epoch %d not issued: %s", epoch, error)

    def finalize(self, context: EpochContext, report: EpochReport, report_hash: bytes) -> None:
        """Finalize the pending report; its window must have passed."""
        rank = context.rank(report.epoch + report.attempt)
        if not self._stagger.is_my_turn(("finalize", report_hash), rank):
            return
        try:
            self._chain.finalize(report)
        except CallReverted as error:
            if error.error_name not in _ALREADY_DONE and error.error_name not in _NOT_YET:
                raise
            _log.debug("epoch %d not finalized: %s", report.epoch, error)
