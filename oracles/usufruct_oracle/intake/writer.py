"""One thread that commits what arrives, many batches to a disk sync.

Callers hand in a batch and wait for its future: it resolves after the commit, so an answer is a promise that
survives a crash. While one group is being synced the next one gathers, which is what makes many small batches
nearly as cheap as one large one.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from usufruct_protocol.batches import MAX_BATCH_BYTES, Batch
from usufruct_protocol.errors import Transient, UsufructError

from usufruct_oracle.intake.admission import QUARANTINED, Admitted, Intake, UnknownLane
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.storage.store import Store

_log = logging.getLogger(__name__)

MAX_WAITING_BYTES: Final = 8 * MAX_BATCH_BYTES
_MAX_GROUP: Final = 64
_OVERHEAD_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class _Request:
    batch: Batch
    is_probe: bool
    size: int
    answer: Future[Admitted]
    submitted_at: float


class IntakeWriter:
    """Takes batches from any thread. `close` finishes what waits; later calls are refused."""

    def __init__(self, store: Store, intake: Intake, metrics: Metrics | None = None) -> None:
        self._store = store
        self._metrics = metrics or Metrics()
        self._intake = intake
        self._waiting: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()

    def submit(self, batch: Batch, *, is_probe: bool = False) -> Future[Admitted]:
        """Queue a batch. The future's result means: durable; its exception says why it was refused.

        is_probe: see Intake.admit
        Raises: Transient when too much is waiting already, or the node is stopping.
        """
        size = _OVERHEAD_BYTES + len(batch.records) + sum(map(len, batch.openings.values()))
        request = _Request(batch, is_probe, size, Future(), time.monotonic())
        request.answer.set_running_or_notify_cancel()  # a caller that goes away must not undo a commit
        with self._lock:
            if self._is_closed:
                raise Transient("the node is stopping", hint="send to another node")
            if self._waiting_bytes + size > MAX_WAITING_BYTES:
                raise Transient("too many receipts are waiting to be stored", hint="send again in a moment")
            self._waiting_bytes += size
            self._metrics.intake_waiting_bytes.set(self._waiting_bytes)
            self._waiting.put(request)
        return request.answer

    def close(self) -> None:
        """Commit what was queued and stop the thread."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            group, is_last = self._next_group()
            if group:
                self._commit(group)
            if is_last:
                return

    def _next_group(self) -> tuple[list[_Request], bool]:
        """Wait for one request, then take along whatever else has arrived."""
        group: list[_Request] = []
        request = self._waiting.get()
        while request is not None:
            group.append(request)
            if len(group) == _MAX_GROUP:
                return group, False
            try:
                request = self._waiting.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, group: list[_Request]) -> None:
        outcomes: list[Admitted | BaseException] = []
        try:
            with self._store.write() as db:
                for request in group:
                    try:
                        outcomes.append(self._intake.admit(db, request.batch, is_probe=request.is_probe))
                    except UsufructError as error:
                        outcomes.append(error)
        except Exception as error:  # noqa: BLE001  a thread's entry point: every caller must be answered
            _log.exception("could not store a group of %d batches", len(group))
            if len(group) > 1 and not isinstance(error, Transient):
                # One of them is to blame, and must not take its neighbors along each time it is sent.
                for request in group:
                    self._commit([request])
                return
            outcomes = [error] * len(group)
        self._answer(group, outcomes)

    def _answer(self, group: list[_Request], outcomes: list[Admitted | BaseException]) -> None:
        with self._lock:
            self._waiting_bytes -= sum(request.size for request in group)
            self._metrics.intake_waiting_bytes.set(self._waiting_bytes)
        for request, outcome in zip(group, outcomes, strict=True):
            self._count(request, outcome)
            if isinstance(outcome, BaseException):
                request.answer.set_exception(outcome)
            else:
                request.answer.set_result(outcome)

    def _count(self, request: _Request, outcome: Admitted | BaseException) -> None:
        """Count what became of a batch; of what only looked for a fork, what it brought."""
        self._metrics.intake_seconds.observe(time.monotonic() - request.submitted_at)
        if isinstance(outcome, Admitted):
            self._metrics.batches.labels("taken" if outcome.new_receipts else "known").inc()
            self._metrics.receipts.inc(outcome.new_receipts)
        elif not request.is_probe:
            code = outcome.code if isinstance(outcome, UsufructError) else "internal_error"
            self._metrics.batches.labels(code).inc()
            if isinstance(outcome, QUARANTINED) and not isinstance(outcome, UnknownLane):
                self._metrics.quarantined.labels(code).inc()
