"""The epoch loop: look at the chain, do the next step that can be done, and nothing that was done before.

    cut-off → freeze → lane vector → report and bundle → vote → k signatures → submit → finalize → pay

Every step is a function of what is on disk and on the chain, and leaves its result on one of the two before
the next begins. There is no other memory: a node that is killed anywhere goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from usufruct_chain.onchain import Block, SettlementState
from usufruct_protocol.errors import Transient
from usufruct_protocol.periods import attempt_at

from usufruct_oracle.chain.client import Chain
from usufruct_oracle.chain.registry import Registry
from usufruct_oracle.context import Base, EpochContext
from usufruct_oracle.disputes.accusations import Accusations
from usufruct_oracle.disputes.answers import Disputes
from usufruct_oracle.epochs.adoption import Adoption
from usufruct_oracle.epochs.freezing import freeze
from usufruct_oracle.epochs.payment import Payment
from usufruct_oracle.epochs.reporting import Reporting
from usufruct_oracle.epochs.submission import Submission
from usufruct_oracle.epochs.vectors import Vectors
from usufruct_oracle.epochs.voting import Voting
from usufruct_oracle.intake.lane_sync import LaneSync
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.peers.client import Peers
from usufruct_oracle.peers.rosters import Rosters
from usufruct_oracle.settings import Settings
from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage import epoch_store
from usufruct_oracle.storage.epoch_store import Cutoff, StoredReport
from usufruct_oracle.storage.store import Store

_log = logging.getLogger(__name__)
_ATTEMPTS_LOOKED_AT: Final = 3


class EpochLoop:
    """Does the steps of one node. `tick` is called over and over, by one thread."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        chain: Chain,
        registry: Registry,
        adoption: Adoption,
        peers: Peers,
        sync: LaneSync,
        rosters: Rosters,
        vectors: Vectors,
        reporting: Reporting,
        voting: Voting,
        disputes: Disputes,
        accusations: Accusations,
        submission: Submission,
        payment: Payment,
        status: NodeStatus,
        own_address: bytes,
        epoch_seconds: int,
        metrics: Metrics | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._chain = chain
        self._registry = registry
        self._adoption = adoption
        self._peers = peers
        self._sync = sync
        self._rosters = rosters
        self._vectors = vectors
        self._reporting = reporting
        self._voting = voting
        self._disputes = disputes
        self._accusations = accusations
        self._submission = submission
        self._payment = payment
        self._status = status
        self._own_address = own_address
        self._epoch_seconds = epoch_seconds
        self._metrics = metrics or Metrics()
        self._context: EpochContext | None = None
        self._idle_at: bytes | None = None
        self._complete_at: bytes | None = None
        self._doubted: bytes | None = None
        self._has_floor = False

    def tick(self) -> None:
        """Look once. Costs one request while nothing happened since the last look and nothing is to be done.

        Raises: Transient and the other typed errors; what was done before is kept, and calling again is safe.
        """
        head = self._chain.head()
        if head.hash == self._idle_at:
            self._status.looked()
            return
        self._idle_at = None
        self._peers.be_patient()
        state = self._chain.settlement_state(head.hash)
        epoch = state.last_epoch + 1
        self._voting.begin(epoch)
        self._set_signing_floor(epoch, state, head)
        cutoff = self._cutoff(epoch, state)
        context = self._open(epoch, state, cutoff)
        pending_hash, mine = self._pending(context, state)
        is_disputed = is_paying = True
        failures: list[Transient] = []
        # No step may keep the others from theirs, least of all an account without gas the signature.
        with _put_off(failures):
            is_disputed = (
                context is not None and mine is not None and self._disputes.step(context, mine, head)
            )
        with _put_off(failures):
            if context is not None and cutoff is not None:
                if state.pending:
                    self._finalize(context, state, head, pending_hash, mine)
                else:
                    self._report(context, state, cutoff, head)
        with _put_off(failures):
            is_paying = self._pay(context)
        with _put_off(failures):
            self._stand_up(context, head)
        is_waiting = state.pending and not is_disputed and head.timestamp_s < state.finalizable_at_s
        if not is_paying and (context is None or is_waiting):
            self._idle_at = head.hash  # only a new block can give this node something to do
        self._status.looked(
            head=head.number,
            head_time_s=head.timestamp_s,
            epoch=epoch,
            last_finalized_epoch=state.last_epoch,
            is_frozen=cutoff is not None,
            is_pending=state.pending,
            is_paying=is_paying,
            period_end_s=state.last_period_end_s + self._epoch_seconds,
            finalizable_at_s=state.finalizable_at_s if state.pending else 0,
            open_disputes=self._disputes.open_count,
        )
        if failures:
            raise failures[0]

    def _set_signing_floor(self, epoch: int, state: SettlementState, head: Block) -> None:
        """Decide once, for a new database, from which epoch on this node signs.

        An epoch whose period is over may have been signed already by the same key with a database that was
        lost; before the first report of all, a new database is what every node has.
        """
        if self._has_floor:
            return
        period_end_s = state.last_period_end_s + self._epoch_seconds
        with self._store.write() as db:
            if epoch_store.signing_floor(db) is None:
                is_new = epoch == 1 or head.timestamp_s < period_end_s
                epoch_store.set_signing_floor(db, epoch if is_new else epoch + 1)
                if not is_new:
                    _log.warning(
                        "this database is new and the period of epoch %d is over: signing from epoch %d on",
                        epoch,
                        epoch + 1,
                    )
        self._has_floor = True

    def _cutoff(self, epoch: int, state: SettlementState) -> Cutoff | None:
        """Return the epoch's cut-off, freezing at the first sight of it; None while the period lasts."""
        with self._store.read() as db:
            known = epoch_store.cutoff(db, epoch)
        if known is not None and self._chain.is_canonical(known.block, known.block_hash):
            return known
        period_end_s = state.last_period_end_s + self._epoch_seconds
        found = self._chain.find_cutoff(
            period_end_s, self._settings.grace_s, state.last_finalized_block, self._settings.finality_depth
        )
        if found is None:
            return None
        at = Cutoff(found.number, found.hash, found.timestamp_s)
        if known is None:
            freeze(self._store, epoch, at, period_end_s)
        else:
            self._metrics.reorganizations.inc()
            _log.warning("a reorganization moved the cut-off of epoch %d to block %d", epoch, at.block)
            with self._store.write() as db:
                epoch_store.move_cutoff(db, epoch, at)
        return at

    def _open(self, epoch: int, state: SettlementState, cutoff: Cutoff | None) -> EpochContext | None:
        """Return the epoch's context: the chain at its cut-off and the state it starts from.

        Between cut-offs this only takes over what was finalized last.
        """
        if cutoff is None:
            if state.last_epoch:
                self._catch_up(
                    self._adoption.base(state.last_epoch, self._chain.report_hash(state.last_epoch))
                )
            return None
        if self._context is None or self._context.chain.cutoff_block_hash != cutoff.block_hash:
            chain_state = self._chain.read(cutoff.block_hash)
            if chain_state.epoch != epoch:
                raise Transient(f"block {cutoff.block} belongs to epoch {chain_state.epoch}, not {epoch}")
            self._registry.learn(chain_state)
            self._rosters.forget_others(chain_state, self._registry.at_head())
            base = self._adoption.base(state.last_epoch, chain_state.previous_report_hash)
            own_index = (
                chain_state.signers.index(self._own_address)
                if self._own_address in chain_state.signers
                else None
            )
            self._context = EpochContext(chain_state, base, own_index)
        return self._context

    def _catch_up(self, base: Base) -> None:
        """After an absence, fetch what was finalized meanwhile; nothing to do for who was there."""
        if self._complete_at != base.report_hash and not self._sync.fill(base.heads.values(), self._peers):
            self._complete_at = base.report_hash

    def _report(self, context: EpochContext, state: SettlementState, cutoff: Cutoff, head: Block) -> None:
        """Move the attempt that is on as far as it goes, and post a report once k have signed one."""
        attempt = attempt_at(
            head.timestamp_s, cutoff.time_s, self._settings.attempt_seconds, state.next_attempt
        )
        self._status.looked(attempt=attempt, quorum=context.quorum)
        vector = self._vectors.obtain(context, attempt)
        if vector is not None:
            mine = self._reporting.obtain(context, vector)
            self._voting.advance(context, mine)
        for report in self._own_reports(context.epoch):
            if report.report.attempt < state.next_attempt:
                continue
            signatures = self._voting.quorum(context, report)
            if signatures is not None:
                self._submission.submit(context, report.report, report.report_hash, signatures)
                return

    def _pending(
        self, context: EpochContext | None, state: SettlementState
    ) -> tuple[bytes, StoredReport | None]:
        """Return the hash of the pending report, and the report if this node computed it."""
        if context is None or not state.pending:
            return bytes(32), None
        pending_hash = self._chain.report_hash(context.epoch)
        mine = next(
            (own for own in self._own_reports(context.epoch) if own.report_hash == pending_hash), None
        )
        self._status.looked(pending_report="0x" + pending_hash.hex(), is_pending_mine=mine is not None)
        return pending_hash, mine

    def _finalize(
        self,
        context: EpochContext,
        state: SettlementState,
        head: Block,
        pending_hash: bytes,
        mine: StoredReport | None,
    ) -> None:
        """Finalize the pending report once its window has passed."""
        if mine is None and self._doubted != pending_hash:
            self._doubted = pending_hash
            _log.warning(
                "the pending report of epoch %d, 0x%s, is not one that this node computed: audit it "
                "before its window ends",
                context.epoch,
                pending_hash.hex(),
            )
        if head.timestamp_s < state.finalizable_at_s:
            return
        if mine is not None:
            self._submission.finalize(context, mine.report, pending_hash)
            return
        submitted = self._chain.submitted(context.epoch)
        if submitted is not None and submitted.report_hash == pending_hash:
            self._submission.finalize(context, submitted.report, pending_hash)

    def _own_reports(self, epoch: int) -> list[StoredReport]:
        """Return the reports this node computed for the last few attempts of an epoch, latest first."""
        with self._store.read() as db:
            latest = epoch_store.attempts(db, epoch)[: -_ATTEMPTS_LOOKED_AT - 1 : -1]
            found = [epoch_store.report(db, epoch, attempt) for attempt in latest]
        return [report for report in found if report is not None]

    def _stand_up(self, context: EpochContext | None, head: Block) -> None:
        """See whether signers are accused of what a cheating lane has brought about."""
        signers = context.chain.signers if context is not None else tuple(sorted(self._registry.signers()))
        if self._own_address in signers:
            self._accusations.step(signers.index(self._own_address), len(signers), head)

    def _pay(self, context: EpochContext | None) -> bool:
        """Pay notes of finalized epochs that are still unpaid; return whether there is more to do soon."""
        signers = context.chain.signers if context is not None else tuple(sorted(self._registry.signers()))
        own_index = signers.index(self._own_address) if self._own_address in signers else None
        return self._payment.step(own_index, len(signers))


@contextmanager
def _put_off(failures: list[Transient]) -> Iterator[None]:
    """Collect what a step could not do just now, so that the next ones have their turn."""
    try:
        yield
    except Transient as error:
        failures.append(error)
