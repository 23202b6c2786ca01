"""What the registry on chain says right now: lanes that may send, signers that may ask, rosters that govern.

Asked by requests from outside, so it is careful with the chain: one reader at a time, and nothing is read
twice at the same head.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from usufruct_protocol.chain_state import ChainState
from usufruct_protocol.errors import Transient

from usufruct_oracle.chain.client import Chain
from usufruct_oracle.limits import Buckets, Rate
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.store import Store

_MAX_WAITING: Final = 8
_UNKNOWN_LANES: Final = Rate(per_second=5, burst=50)
_SIGNERS_MAX_AGE_S: Final = 30.0


class Registry:
    """The chain's state at the head, read when somebody needs it."""

    def __init__(self, store: Store, chain: Chain, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._chain = chain
        self._clock = clock
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._questions = Buckets(_UNKNOWN_LANES, clock)
        self._waiting = threading.BoundedSemaphore(_MAX_WAITING)
        self._state: ChainState | None = None
        self._read_at = 0.0
        self._revoked: frozenset[bytes] = frozenset()
        with store.read() as db:
            self._lanes = frozenset(lane.lane for lane in lane_store.all_lanes(db))

    def knows(self, lane: bytes) -> bool:
        """Tell whether a lane is registered, as far as this node has heard; asks nobody."""
        return lane in self._lanes

    def is_revoked(self, lane: bytes) -> bool:
        """Tell whether a lane was revoked, as far as this node has heard; asks nobody."""
        return lane in self._revoked

    def is_registered(self, lane: bytes) -> bool:
        """Tell whether a lane is registered; the chain is asked if this node has not heard of it.

        Raises: Transient, also when strangers ask for unknown lanes faster than an endpoint should be asked.
        """
        if not self.knows(lane):
            with self._asking:
                wait_s = self._questions.wait_s(None)
                self._questions.pay(None, 0 if wait_s else 1)
            if wait_s:
                raise Transient("too many questions about unknown lanes", hint="try again in a moment")
            self.at_head()
        return self.knows(lane)

    def at_head(self) -> ChainState:
        """Return the state at the newest block. Raises: Transient, also when too many are asking already."""
        if not self._waiting.acquire(blocking=False):
            raise Transient("too many questions to the chain at once", hint="try again in a moment")
        try:
            with self._lock:
                head = self._chain.head()
                if self._state is None or self._state.cutoff_block_hash != head.hash:
                    self.learn(self._chain.read(head.hash))
                self._read_at = self._clock()
                state = self._state
        finally:
            self._waiting.release()
        if state is None:
            raise Transient("the chain's state is not known yet")
        return state

    def learn(self, state: ChainState) -> None:
        """Take over what a read of the chain said about lanes and signers."""
        with self._store.write() as db:
            lane_store.put_lanes(db, state.lanes)
        self._lanes |= {lane.lane for lane in state.lanes}
        self._revoked = frozenset(lane.lane for lane in state.lanes if lane.revoked_at_s)
        self._state = state
        self._read_at = self._clock()

    def signers(self) -> frozenset[bytes]:
        """Return who signs the epoch that is open, at most half a minute old."""
        if self._state is None or self._clock() - self._read_at > _SIGNERS_MAX_AGE_S:
            return frozenset(self.at_head().signers)
        return frozenset(self._state.signers)
