"""A lane: one key, one license, one spool, one process.

lane = Lane.open("lane.json")
signed = lane.meter(units=1, request=b"…")      # durable before it returns
response.headers["Usage-Receipt"] = signed.text
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from usufruct_protocol.errors import ConfigInvalid, UsufructError
from usufruct_protocol.receipts import settlement_domain, verify_checkpoint_signature
from usufruct_protocol.signing import checksum_address

from usufruct_meter.clock.watch import ClockWatch
from usufruct_meter.errors import (
    LaneClosed,
    LaneLocked,
    LaneNotReady,
    MeteredElsewhere,
    SpoolDoubtful,
    SpoolOutdated,
)
from usufruct_meter.lanes.draft import LaneTerms
from usufruct_meter.lanes.idempotency import ResponseIndex
from usufruct_meter.lanes.lane_file import LaneFile, lane_files
from usufruct_meter.lanes.lane_key import LaneKey, read_key_file
from usufruct_meter.lanes.lane_lock import LaneLock
from usufruct_meter.lanes.lane_writer import LaneWriter, Outcome
from usufruct_meter.lanes.spool import LaneIdentity, Spool
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.signed_receipt import MeteredCall, SignedReceipt

_logger = logging.getLogger(__name__)

_MAX_GROUP: Final = 512
_ELSEWHERE_TIMEOUT_S: Final = 5.0
_ELSEWHERE_SLEEP_S: Final = 0.002
_LOCK_WAIT_S: Final = 0.5

_Check = Callable[[LaneFile, SpoolReader], None]


def now_ms() -> int:
    """Return this machine's UTC time, floored to milliseconds."""
    return time.time_ns() // 1_000_000


class Lane:
    """The one writer of a lane. Safe for threads; refuses to be used after a fork.

    Guarantees: a receipt that was returned is durable; seqs have no gaps; cumulative units and time never
    fall; one receipt per response id; no checkpoint covers receipts of two periods.
    """

    def __init__(self, file: LaneFile, writer: LaneWriter) -> None:
        self.file = file
        self.domain = writer.terms.domain
        self.clock = writer.clock
        self._writer = writer
        self._mutex = threading.Lock()
        self._queue: deque[_Ticket] = deque()
        self._pid = os.getpid()

    @classmethod
    def open(
        cls,
        location: LaneFile | Path | str,
        *,
        clock_ms: Callable[[], int] = now_ms,
        check: _Check | None = None,
    ) -> Self:
        """Open a lane, or the first one of a folder that no other process uses.

        `check` may raise before the lane has signed anything: LaneNotReady has the next one tried.
        Raises: ConfigInvalid for a bad lane file, key or spool; LaneLocked if all are in use; SpoolDoubtful
        if the spool may not remember all that the lane has signed; SpoolFull if a disk is full.
        """
        files = [location] if isinstance(location, LaneFile) else [*map(LaneFile.load, lane_files(location))]
        not_ready: dict[Path, LaneNotReady] = {}
        for wait_s in (0.0, _LOCK_WAIT_S):  # siblings that look for a claim hold a free lock for a moment
            for file in files:
                if file.path in not_ready:
                    continue
                try:
                    return cls(file, _open_writer(file, clock_ms, wait_s, check))
                except LaneNotReady as error:
                    not_ready[file.path] = error
                    _logger.warning("%s is passed over: %s", file.path, error)
                except LaneLocked:
                    continue
        if len(not_ready) == len(files):
            raise next(iter(not_ready.values()))
        raise LaneLocked(
            f"{', '.join(str(file.path) for file in files)}: in use by other processes",
            hint="one lane per worker: usufruct-meter lane new makes more",
        )

    @property
    def address(self) -> bytes:
        """The lane's 20-byte address."""
        return self.file.lane

    @property
    def count(self) -> int:
        """How many receipts are durable."""
        return self._writer.frontier.count

    @property
    def cumulative_units(self) -> int:
        """Units of all receipts together."""
        return self._writer.frontier.cumulative_units

    @property
    def last_issued_at_ms(self) -> int:
        """The time of the last receipt; 0 if there is none."""
        return self._writer.frontier.last_issued_at_ms

    def clock_ms(self) -> int:
        """Return the time that the lane goes by."""
        return self.clock.clock_ms()

    @property
    def has_open_span(self) -> bool:
        """Whether there are receipts that no checkpoint covers."""
        return self._writer.span.receipts > 0

    def meter(
        self,
        units: int,
        usage: Sequence[tuple[bytes, int]] = (),
        request: bytes = b"",
        response_id: str | None = None,
        at_ms: int | None = None,
    ) -> SignedReceipt:
        """Sign the receipt of one call; durable before it returns. Calls of other threads share one write.

        A response id that was metered before, by any worker of the license, returns the receipt of then.
        Raises: InputRejected, OutsideValidity or UnitCapReached for a call that cannot be metered;
                MeteredElsewhere, MeteringPaused (SpoolFull, ClockAhead, LaneAhead): try again;
                SpoolDoubtful, LaneClosed: this lane is done.
        """
        return self.meter_call(MeteredCall(units, usage, request, response_id, at_ms))

    def meter_call(self, call: MeteredCall) -> SignedReceipt:
        """As `meter`, for a call that is made up already."""
        deadline = time.monotonic() + _ELSEWHERE_TIMEOUT_S
        while True:
            outcome = self._in_group(call)
            if isinstance(outcome, SignedReceipt):
                return outcome
            if not isinstance(outcome, MeteredElsewhere) or time.monotonic() >= deadline:
                raise outcome
            time.sleep(_ELSEWHERE_SLEEP_S)

    def meter_many(self, calls: Sequence[MeteredCall]) -> list[SignedReceipt]:
        """Sign receipts for a list of calls in one durable transaction: all of them or none.

        The receipts are those that `meter` would sign, call by call. Raises: as `meter`, for the first call
        that cannot be metered; nothing is then written.
        """
        deadline = time.monotonic() + _ELSEWHERE_TIMEOUT_S
        while True:
            with self._writing() as writer:
                outcomes = writer.meter_group(calls, all_or_none=True)
            errors = [outcome for outcome in outcomes if isinstance(outcome, UsufructError)]
            if not errors:
                return [outcome for outcome in outcomes if isinstance(outcome, SignedReceipt)]
            lasting = [error for error in errors if not isinstance(error, MeteredElsewhere)]
            if lasting or time.monotonic() >= deadline:
                raise (lasting or errors)[0]
            time.sleep(_ELSEWHERE_SLEEP_S)

    def meter_each(self, calls: Sequence[MeteredCall]) -> list[Outcome]:
        """Sign receipts in one durable transaction, each call on its own: a receipt or the error per call.

        Never waits: a response id that another worker is metering comes back as MeteredElsewhere.
        Raises: LaneClosed after a fork.
        """
        with self._writing() as writer:
            return writer.meter_group(calls, all_or_none=False)

    def void(self, seq: int) -> SignedReceipt:
        """Sign a receipt over no units for a seq that was taken and never got one.

        A lane takes a seq in the transaction that writes its receipt, so this is only ever the next one.
        Raises: Conflict if the seq has a receipt; InputRejected if it would leave a gap; else as `meter`.
        """
        with self._writing() as writer:
            return writer.void(seq)

    def checkpoint(self) -> bool:
        """Sign a checkpoint over all receipts, unless the last one covers them. Returns whether it did.

        Raises: SpoolFull, SpoolDoubtful, LaneClosed.
        """
        with self._writing() as writer:
            return writer.checkpoint()

    def close_period(self) -> bool:
        """Sign the closing checkpoint if the period of the last receipt is over by the clock.

        Needed when no further call comes; a call in a new period brings the closing checkpoint by itself.
        """
        with self._writing() as writer:
            epoch_of = writer.terms.periods.epoch_of
            if epoch_of(self.clock_ms()) <= epoch_of(writer.frontier.last_issued_at_ms):
                return False
            return writer.checkpoint()

    def check_usable(self) -> None:
        """Raise what stopped the lane for good, if anything did: SpoolDoubtful, LaneClosed."""
        self._check_process()
        self._writer.check_usable()

    def check_clock(self) -> None:
        """Raise what keeps the next receipt from being dated now, if it is known: ClockAhead, LaneAhead."""
        self.clock.moment().date(self.last_issued_at_ms)

    @property
    def is_failing(self) -> bool:
        """Whether the last write failed; `check_ready` then writes, and takes as long as the disk does."""
        return self._writer.is_failing

    def check_ready(self) -> None:
        """Raise what a call of one unit would meet now, so that no work is done that cannot be counted.

        Quick, but after a failed write: then it tries writing again, at most once a second.
        Raises: as `meter`.
        """
        self._check_process()
        self._writer.check_ready()
        if self._writer.is_failing:
            with self._mutex:
                self._writer.retry_writing()

    def stop(self, error: SpoolDoubtful) -> None:
        """Refuse every further signature, now and after reopening, because of what is known of the spool."""
        with self._writing() as writer:
            writer.stop(error)

    def save_acks(self, counts: dict[str, int]) -> None:
        """Remember in the spool what each node has acknowledged. Raises: SpoolFull, SpoolDoubtful."""
        with self._writing() as writer:
            writer.save_acks(counts)

    def prune_usage_lists(self, below_seq: int) -> None:
        """Delete the usage lists below a seq, in small steps between calls.

        Raises: SpoolFull, SpoolDoubtful, LaneClosed.
        """
        has_more = True
        while has_more:
            with self._writing() as writer:
                has_more = writer.prune_usage_lists(below_seq)

    def close(self) -> None:
        """Sign a last checkpoint if one is due and give the lane back. May be called twice."""
        if os.getpid() == self._pid:
            with self._mutex:
                self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[LaneWriter]:
        """The writer, for one thread of the process that opened the lane. Raises: LaneClosed."""
        self._check_process()  # before the mutex, whose owner may not exist in this process
        with self._mutex:
            yield self._writer

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise LaneClosed(
                "the lane was opened before this process was forked", hint="open it in each worker process"
            )

    def _in_group(self, call: MeteredCall) -> Outcome:
        """Meter a call together with whatever other threads have queued meanwhile: one write for all."""
        ticket = _Ticket(call)
        self._check_process()
        self._queue.append(ticket)
        with self._mutex:
            writer = self._writer
            while ticket.outcome is None:
                group = [self._queue.popleft() for _ in range(min(len(self._queue), _MAX_GROUP))]
                try:
                    outcomes = writer.meter_group([one.call for one in group], all_or_none=False)
                except BaseException as error:
                    for one in group:
                        one.outcome = LaneClosed(f"the thread that wrote for this one failed: {error!r}")
                    raise
                for one, outcome in zip(group, outcomes, strict=True):
                    one.outcome = outcome
        return ticket.outcome


class _Ticket:
    """A call that waits for a group, and what became of it."""

    __slots__ = ("call", "outcome")

    def __init__(self, call: MeteredCall) -> None:
        self.call = call
        self.outcome: Outcome | None = None


def _open_writer(
    file: LaneFile, clock_ms: Callable[[], int], wait_s: float, check: _Check | None
) -> LaneWriter:
    key = read_key_file(file.key_file)
    if key.address != file.lane:
        raise ConfigInvalid(
            f"key file {file.key_file} is the key of {checksum_address(key.address)}, the lane file "
            f"{file.path} names {checksum_address(file.lane)}",
            hint="is key_file right?",
        )
    lock = LaneLock.acquire(file.spool, wait_s=wait_s)
    try:
        return _open_spool(file, key, lock, clock_ms, check)
    except BaseException:
        lock.release()
        raise


def _open_spool(
    file: LaneFile, key: LaneKey, lock: LaneLock, clock_ms: Callable[[], int], check: _Check | None
) -> LaneWriter:
    domain = settlement_domain(file.chain_id, file.settlement)
    spool = Spool.open(file.spool, LaneIdentity(file.lane, file.chain_id, file.settlement))
    try:
        count = spool.reader.count()
        if lock.mark() > count:
            raise SpoolOutdated(f"spool {file.spool} has {count} receipts, its lane has signed {lock.mark()}")
        _check_last_checkpoint(file, spool, domain)
        if check is not None:
            check(file, spool.reader)
        state = spool.frontier()
        index = ResponseIndex.open(file.idempotency, file.license_id, file.lane, file.spool, spool.reader)
    except BaseException:
        spool.close()
        raise
    terms = LaneTerms(
        key, domain, file.valid_from_ms, file.valid_to_ms, file.max_cumulative_units, file.periods
    )
    return LaneWriter(terms, lock, spool, index, state, ClockWatch(clock_ms, len(file.nodes)))


def _check_last_checkpoint(file: LaneFile, spool: Spool, domain: bytes) -> None:
    """Hold the frontier that the lane goes on from against what it last signed."""
    last = spool.reader.last_checkpoint()
    if last is None:
        return
    point, frontier = last.checkpoint, spool.reader.last_frontier()
    try:
        verify_checkpoint_signature(point, last.signature, domain)
    except UsufructError as error:
        raise SpoolDoubtful(f"spool {file.spool}: {error}") from error
    if (frontier.root(), frontier.cumulative_units) != (point.receipts_root, point.cumulative_units):
        raise SpoolDoubtful(f"spool {file.spool}: its last checkpoint does not fit its frontier")
