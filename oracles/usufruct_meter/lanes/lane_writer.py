"""Claim, sign, write: the one order in which a call becomes a receipt.

1. Response ids are claimed in the license's index, so that no other worker meters them meanwhile.
2. Receipts are signed in a draft, which nothing outside sees.
3. The draft is written to the spool; only then is it the lane's state, and only then may it leave.

A crash between any two steps leaves a claim without a receipt (found and used again) or receipts that nobody
has been given (the caller's retry gets them). Not safe for threads: see `Lane`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from usufruct_protocol.errors import UsufructError
from usufruct_protocol.receipts import LaneFrontier
from usufruct_protocol.signing import checksum_address

from usufruct_meter.clock.watch import ClockWatch
from usufruct_meter.errors import LaneClosed, MeteredElsewhere, SpoolDoubtful, SpoolFull
from usufruct_meter.lanes.checkpoints import OpenSpan
from usufruct_meter.lanes.draft import Draft, LaneTerms, check_call
from usufruct_meter.lanes.idempotency import Claim, ResponseIndex
from usufruct_meter.lanes.lane_lock import LaneLock
from usufruct_meter.lanes.spool import Spool
from usufruct_meter.signed_receipt import MeteredCall, SignedReceipt

_logger = logging.getLogger(__name__)

_PROBE_EVERY_S: Final = 1.0

Outcome = SignedReceipt | UsufructError


@dataclass(slots=True)
class _Group:
    """Calls that are metered together, their response ids, and what becomes of each."""

    calls: Sequence[MeteredCall]
    hashes: dict[int, bytes | None] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    signed: dict[bytes, SignedReceipt] = field(default_factory=dict)

    def check(self) -> None:
        """Sort out the calls that no lane could meter."""
        for at, call in enumerate(self.calls):
            try:
                check_call(call)
                self.hashes[at] = call.response_hash()
            except UsufructError as error:
                self.outcomes[at] = error

    def response_hashes(self) -> set[bytes]:
        return {one for one in self.hashes.values() if one is not None}

    def has_failed(self) -> bool:
        return any(isinstance(one, UsufructError) for one in self.outcomes.values())

    def fail(self, error: UsufructError, draft: Draft | None = None) -> None:
        """Put the error in place of what was not written; receipts of earlier times stand."""
        unwritten = {id(stored.receipt) for stored in draft.receipts} if draft else set()
        for at in range(len(self.calls)):
            outcome = self.outcomes.get(at)
            if outcome is None or (isinstance(outcome, SignedReceipt) and id(outcome.receipt) in unwritten):
                self.outcomes[at] = error

    def in_order(self) -> list[Outcome]:
        return [self.outcomes[at] for at in range(len(self.calls))]


class LaneWriter:
    """The state of a lane that is open for writing, and the steps that move it."""

    def __init__(
        self,
        terms: LaneTerms,
        lock: LaneLock,
        spool: Spool,
        index: ResponseIndex,
        state: tuple[LaneFrontier, OpenSpan],
        clock: ClockWatch,
    ) -> None:
        self.terms = terms
        self.frontier, self.span = state
        self.clock = clock
        self._lock = lock
        self._spool = spool
        self._index = index
        self._broken: UsufructError | None = None
        self._probe_at: float | None = None

    def meter_group(self, calls: Sequence[MeteredCall], *, all_or_none: bool) -> list[Outcome]:
        """Meter calls in one transaction; returns a receipt or an error for each, in order.

        With `all_or_none` nothing is written if any call fails; the outcomes then only tell which and why.
        """
        group = _Group(calls)
        group.check()
        try:
            self.check_usable()
            self._spool.check_room()
            if all_or_none and group.has_failed():
                return list(group.outcomes.values())
            hashes = group.response_hashes()
            claims = self._index.claim(hashes, self.frontier.count) if hashes else {}
        except UsufructError as error:
            group.fail(error)
            return group.in_order()
        draft = self._draft()
        for at, response_hash in group.hashes.items():
            try:
                group.outcomes[at] = self._meter_one(draft, calls[at], response_hash, claims, group.signed)
            except UsufructError as error:
                group.outcomes[at] = error
        if all_or_none and group.has_failed():
            self._release(claims, {})
            return group.in_order()
        self._release(claims, group.signed)
        try:
            self._write(draft)
        except UsufructError as error:
            self._release(claims, {})
            group.fail(error, draft)
        return group.in_order()

    def void(self, seq: int) -> SignedReceipt:
        """Sign and write a void receipt. Raises: as `Draft.add_void` and `Spool.append`."""
        self.check_usable()
        draft = self._draft()
        stored = draft.add_void(seq, self.clock.moment())
        self._write(draft)
        return stored.signed(is_repeat=False)

    def checkpoint(self) -> bool:
        """Sign and write a checkpoint if there is anything new to cover. Raises: as `Spool.append`."""
        self.check_usable()
        draft = self._draft()
        if draft.checkpoint() is None:
            return False
        self._write(draft)
        return True

    def check_usable(self) -> None:
        """Raise what stopped the lane, if anything did."""
        if self._broken is not None:
            raise self._broken

    @property
    def is_failing(self) -> bool:
        """Whether the last write failed for a reason that may pass."""
        return self._probe_at is not None

    def check_ready(self) -> None:
        """Raise what a call of one unit would meet now. Only reads; safe without the mutex."""
        self.check_usable()
        self._spool.check_room()
        frontier = self.frontier
        self.terms.check_time(self.clock.moment().date(frontier.last_issued_at_ms))
        self.terms.check_cap(frontier.cumulative_units + 1)

    def retry_writing(self) -> None:
        """Try a failed disk again, at most once a second. Raises: as `Spool.append`."""
        if self._probe_at is None:
            return
        if time.monotonic() < self._probe_at:
            raise SpoolFull("the spool could not be written", hint="free some disk space; calls wait")
        self._probe_at = time.monotonic() + _PROBE_EVERY_S
        self._guarded(self._spool.probe)

    def stop(self, error: SpoolDoubtful) -> None:
        """Refuse every further signature, now and after reopening."""
        if self._broken is not None:
            return
        self._break(error)
        try:
            self._spool.stop(str(error))
        except UsufructError as failure:
            _logger.error("that the lane stopped could not be written down: %s", failure)

    def save_acks(self, counts: dict[str, int]) -> None:
        """Write down what each node has acknowledged."""
        self.check_usable()
        self._guarded(lambda: self._spool.save_acks(counts))

    def prune_usage_lists(self, below_seq: int) -> bool:
        """Delete some usage lists that nobody needs any more; whether there may be more."""
        self.check_usable()
        has_more = False

        def write() -> None:
            nonlocal has_more
            has_more = self._spool.prune_usage_lists(min(below_seq, self.frontier.count))

        self._guarded(write)
        return has_more

    def close(self) -> None:
        """Sign a last checkpoint if there is anything to cover, and let go of all files. Idempotent."""
        if isinstance(self._broken, LaneClosed):
            return
        try:
            if self._broken is None:
                self.checkpoint()
        except UsufructError as error:
            _logger.warning("no closing checkpoint: %s", error)
        finally:
            self._broken = LaneClosed("the lane is closed", hint="open it again")
            self._index.close(self.frontier.count)
            self._spool.close()
            self._lock.release()

    def _meter_one(
        self,
        draft: Draft,
        call: MeteredCall,
        response_hash: bytes | None,
        claims: dict[bytes, Claim],
        signed: dict[bytes, SignedReceipt],
    ) -> SignedReceipt:
        if response_hash is None:
            return draft.add(call, self.clock.moment()).signed(is_repeat=False)
        if response_hash in signed:  # twice in one group
            first = signed[response_hash]
            return SignedReceipt(first.receipt, first.signature, first.request_salt, is_repeat=True)
        claim = claims[response_hash]
        if claim.receipt is not None:
            return claim.receipt.signed(is_repeat=True)
        if not claim.is_ours:
            raise MeteredElsewhere("another worker is metering this response id", hint="try again")
        signed[response_hash] = draft.add(call, self.clock.moment()).signed(is_repeat=False)
        return signed[response_hash]

    def _release(self, claims: dict[bytes, Claim], signed: dict[bytes, SignedReceipt]) -> None:
        """Give back the claims that get no receipt."""
        unused = [one for one, claim in claims.items() if claim.is_ours and one not in signed]
        if unused:
            self._index.release(unused)

    def _draft(self) -> Draft:
        return Draft(self.terms, self.frontier.copy(), OpenSpan(self.span.receipts, self.span.bytes))

    def _write(self, draft: Draft) -> None:
        """Make a draft durable, and only then the lane's state."""
        if not draft.receipts and not draft.checkpoints:
            return
        self._guarded(lambda: self._spool.append(draft.receipts, draft.checkpoints))
        self.frontier, self.span = draft.frontier, draft.span
        self._lock.set_mark(self.frontier.count)

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except SpoolFull:
            self._probe_at = time.monotonic() + _PROBE_EVERY_S
            raise
        except SpoolDoubtful as error:
            # After a failed sync nobody knows what the disk holds: this process must not sign on from memory.
            self._break(error)
            raise
        self._probe_at = None

    def _break(self, error: SpoolDoubtful) -> None:
        self._broken = error
        _logger.error("lane %s stops: %s", checksum_address(self.terms.key.address), error)
