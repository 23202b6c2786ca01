"""Bringing a lane's receipts to its nodes: one thread per node, and one that signs checkpoints by the clock.

A node that is down, slow or lying costs nobody else anything: every node has its own thread, connection and
cursor, and each thread holds one batch at a time. Cursors come from the nodes themselves, so nothing has to
be remembered to resume. Receipts stay in the spool, whatever nodes say.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from usufruct_protocol.errors import Transient, UsufructError

from usufruct_meter.chain.anchoring import AnchoringStatus, AnchorKeeper
from usufruct_meter.chain.lane_chain import LaneChain
from usufruct_meter.errors import LaneClosed
from usufruct_meter.lanes.ack_book import AckBook, ack_book_path
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.shipping.node_worker import NodeWorker

_logger = logging.getLogger(__name__)

_JOIN_S: Final = 15.0
_TICK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """How far one node is."""

    url: str
    acked_count: int | None
    error: str | None


class Shipper:
    """Ships one open lane. `start` it once; `stop` it before closing the lane.

    checkpoint_every_s: how long a receipt waits at most for the checkpoint that it is shipped under; the end
                        of a period never waits
    """

    def __init__(self, lane: Lane, *, checkpoint_every_s: float = 1.0) -> None:
        self._lane = lane
        self._checkpoint_every_s = checkpoint_every_s
        self._stopping = threading.Event()
        self._progress = threading.Condition()
        nodes = lane.file.nodes
        self._acks = AckBook(
            ack_book_path(lane.file.spool), lane.address, lane.domain, lane.file.periods, len(nodes)
        )
        self._workers = [NodeWorker(lane, url, self._stopping, self._notify, self._acks) for url in nodes]
        self._keeper = threading.Thread(target=self._keep, name="usufruct-checkpoints", daemon=True)
        chain = LaneChain.beside(lane.file)
        self._anchoring = AnchorKeeper(lane, chain, self._acks, self._stopping) if chain else None
        self._saved_acks: dict[str, int] = {}

    def start(self) -> Self:
        """Start the threads."""
        self._keeper.start()
        for thread in (*self._workers, self._anchoring):
            if thread is not None:
                thread.start()
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def flush(self, timeout_s: float, *, quorum: int | None = None) -> dict[str, int]:
        """Sign a checkpoint over everything and wait until nodes hold it; returns url → held count.

        quorum: how many nodes are enough; all of them if None
        Raises: Transient naming the nodes that are behind when time is up; SpoolFull, SpoolDoubtful.
        """
        self._lane.checkpoint()
        target = self._lane.count
        needed = len(self._workers) if quorum is None else quorum

        def is_done() -> bool:
            return sum(worker.acked_count >= target for worker in self._workers) >= needed

        if not self._wait_for(is_done, timeout_s):
            behind = [f"{one.url}: {one.error or one.acked_count}" for one in self.status()]
            raise Transient(f"fewer than {needed} nodes hold {target} receipts: {'; '.join(behind)}")
        return {worker.url: worker.acked_count for worker in self._workers}

    def settle(self, timeout_s: float) -> None:
        """Sign a checkpoint over everything and give each node that answers the time to take it.

        Raises: SpoolFull, SpoolDoubtful.
        """
        self._lane.checkpoint()
        target = self._lane.count
        self._wait_for(
            lambda: all(one.acked_count >= target or one.error for one in self._workers), timeout_s
        )

    def ask_nodes(self, timeout_s: float) -> None:
        """Wait until every node was asked once what it holds of the lane, but not long for dead ones.

        A node that proves that the spool is outdated has then stopped the lane before it signs anything.
        """
        self._wait_for(lambda: all(one.was_asked for one in self._workers), timeout_s)

    def status(self) -> list[NodeStatus]:
        """Return how far each node is, and what is wrong with it if anything is."""
        return [NodeStatus(one.url, one.known_count, one.error) for one in self._workers]

    def anchoring(self) -> AnchoringStatus | None:
        """Return how far the lane is covered; None if there is no chain file."""
        return self._anchoring.status if self._anchoring else None

    def stop(self) -> None:
        """Stop all threads; a request that is under way is finished or times out."""
        self._stopping.set()
        for worker in self._workers:
            worker.wake()
        for thread in (*self._workers, self._keeper, self._anchoring):
            if thread is not None and thread.ident is not None:
                thread.join(_JOIN_S)
        self._save_acks()
        self._acks.close()

    def _wait_for(self, is_done: Callable[[], bool], timeout_s: float) -> bool:
        for worker in self._workers:
            worker.wake()
        with self._progress:
            return self._progress.wait_for(is_done, timeout_s)

    def _notify(self) -> None:
        with self._progress:
            self._progress.notify_all()

    def _keep(self) -> None:
        """Sign a checkpoint when receipts have waited long enough for one, or their period is over."""
        due_at = time.monotonic() + self._checkpoint_every_s
        while not self._stopping.wait(min(self._checkpoint_every_s, _TICK_S)):
            try:
                is_due = time.monotonic() >= due_at
                if self._lane.checkpoint() if is_due else self._lane.close_period():
                    for worker in self._workers:
                        worker.wake()
                if is_due:
                    due_at = time.monotonic() + self._checkpoint_every_s
            except LaneClosed:
                return
            except UsufructError as error:
                _logger.warning("no checkpoint for now: %s", error)
            except Exception:  # a thread must not die silently behind a healthy server
                _logger.exception("no checkpoint for now")
            self._save_acks()

    def _save_acks(self) -> None:
        """Keep what `status` on the command line shows."""
        acked = {one.url: one.known_count for one in self._workers if one.known_count is not None}
        if acked != self._saved_acks:
            try:
                self._lane.save_acks(acked)
                self._saved_acks = acked
            except UsufructError as error:
                _logger.debug("acknowledgements were not written down: %s", error)
