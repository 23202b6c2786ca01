"""One thread that brings one node up to date, and keeps it so."""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Final

from usufruct_protocol.batches import Batch
from usufruct_protocol.errors import UsufructError

from usufruct_meter.errors import NodeUnavailable, SpoolDoubtful
from usufruct_meter.lanes.ack_book import AckBook
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.spool_history import contradiction
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.nodes.node_client import BatchGap, BatchTooLarge, HeldLane, NodeClient
from usufruct_meter.shipping.batching import BatchLimits, next_batch

_logger = logging.getLogger(__name__)

_FIRST_BACKOFF_S: Final = 0.2
_MAX_BACKOFF_S: Final = 10.0
_IDLE_S: Final = 1.0
_ASK_AGAIN_S: Final = 60.0
"""A node may lose what it held, or may have said more than it held: ask again now and then."""


class NodeWorker(threading.Thread):
    """Brings one node up to date, and keeps it so."""

    def __init__(
        self,
        lane: Lane,
        url: str,
        stopping: threading.Event,
        notify: Callable[[], None],
        acks: AckBook,
    ) -> None:
        super().__init__(name=f"usufruct-ship {url}", daemon=True)
        self.url = url
        self.known_count: int | None = None
        self.error: str | None = None
        self._lane = lane
        self._stopping = stopping
        self._notify = notify
        self._acks = acks
        self._wake = threading.Event()
        self._limits = BatchLimits()
        self._failures = 0
        self._ask_again_at = 0.0

    @property
    def was_asked(self) -> bool:
        """Whether the node has answered, or failed to."""
        return self.known_count is not None or self.error is not None

    @property
    def acked_count(self) -> int:
        """How many receipts the node is known to hold durably."""
        return self.known_count or 0

    def wake(self) -> None:
        """Look for something to send now."""
        self._wake.set()

    def run(self) -> None:
        """Ship until stopped."""
        while not self._stopping.is_set():
            try:
                with (
                    NodeClient(self.url, self._lane.clock.heard) as node,
                    closing(SpoolReader.open(self._lane.file.spool)) as reader,
                ):
                    self._ship(node, reader)
            except Exception as error:  # a thread must not die silently behind a healthy server
                _logger.exception("shipping to %s failed unexpectedly", self.url)
                self._rest(self._failed(error, None))

    def _ship(self, node: NodeClient, reader: SpoolReader) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            self._rest(self._step(node, reader))

    def _rest(self, seconds: float | None) -> None:
        """Wait until woken; after a failure only for the time it takes to try again."""
        if seconds is None:
            self._wake.wait(_IDLE_S)
        elif seconds > 0:
            self._stopping.wait(seconds)

    def _step(self, node: NodeClient, reader: SpoolReader) -> float | None:
        """Do one exchange; returns how long to rest, None for until there is something new."""
        try:
            if self.known_count is None or time.monotonic() >= self._ask_again_at:
                self._learn(node.held(self._lane.address, self._lane.domain), reader)
                return 0.0
            batch = next_batch(reader, self.acked_count, self._limits)
            if batch is None:
                self._succeeded()
                return None
            taken = node.send_batch(batch)
            self._keep(batch, taken.ack)
            self._succeeded()
            self._acked(taken.count, reader)
            return 0.0
        except BatchGap as gap:
            return self._move_to(gap.expected_seq)
        except BatchTooLarge as error:
            can_shrink = self._limits.receipts > 1
            self._limits = self._limits.halved()
            return self._failed(error, 0.0 if can_shrink else None)
        except NodeUnavailable as error:
            return self._failed(error, error.retry_after_s)
        except (UsufructError, sqlite3.Error) as error:
            # The node may have what the lane lost: ask it again before the next try.
            self.known_count = None
            return self._failed(error, None)

    def _keep(self, batch: Batch, ack: object) -> None:
        """Write an acknowledgement down. Shipping goes on without: receipts matter more than who has them."""
        try:
            self._acks.keep(batch, ack, self.url)
        except UsufructError as error:
            _logger.warning("%s: %s", self.url, error)

    def _learn(self, held: HeldLane, reader: SpoolReader) -> None:
        """Take the node's count as cursor, unless it proves that the spool is outdated."""
        proof = outdated(held, reader)
        if proof is not None:
            # Nothing more of this history may get out: what it contradicts is already with a node.
            self._stopping.set()
            self._lane.stop(proof)
            raise proof
        self._ask_again_at = time.monotonic() + _ASK_AGAIN_S
        self._acked(min(held.count, reader.count()), reader)

    def _acked(self, count: int, reader: SpoolReader) -> None:
        """Move the cursor; a node that holds more than there is must say why before anything else is sent."""
        self.known_count = count if count <= reader.count() else None
        self._notify()

    def _succeeded(self) -> None:
        """Forget earlier failures. That a node answers is not enough: it may refuse the next batch again."""
        self.error = None
        self._failures = 0

    def _move_to(self, expected_seq: int) -> float:
        """Resume where the node says. It can only be further back: else there would be no gap."""
        if expected_seq >= self.acked_count:
            self.known_count = None
            return self._failed(BatchGap(expected_seq), None)
        _logger.warning("%s held %d receipts and now wants seq %d", self.url, self.acked_count, expected_seq)
        self.known_count = expected_seq
        return 0.0

    def _failed(self, error: Exception, rest_s: float | None) -> float:
        """Note a failure; returns how long to wait, growing with each one in a row."""
        message = str(error)
        if message != self.error:
            _logger.warning("shipping to %s: %s", self.url, message)
        self.error = message
        self._notify()
        if rest_s is None:
            rest_s = min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** min(self._failures, 16))
            rest_s *= random.uniform(0.5, 1.0)
        self._failures += 1
        return rest_s


def outdated(held: HeldLane, reader: SpoolReader) -> SpoolDoubtful | None:
    """Return the error if what a node holds proves that the spool lost or changed receipts.

    A node's bare word is not enough, or one lying node could stop every lane.
    """
    if held.checkpoint is not None:
        return contradiction(held.checkpoint, reader, "a node")
    if held.count > reader.count():
        _logger.warning(
            "a node claims %d receipts without proof; the spool has %d", held.count, reader.count()
        )
    return None
