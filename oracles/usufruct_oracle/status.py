"""What the node is doing, for its own pages and its operator: written by the epoch loop, read by HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from usufruct_protocol.errors import Transient


@dataclass
class NodeStatus:
    """The last known state of the loop. `halted` is why it stopped for good, or empty.

    redact: takes secrets out of reasons, which everybody may read
    """

    clock: Callable[[], float] = time.time
    redact: Callable[[str], str] = str
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _facts: dict[str, Any] = field(default_factory=dict)
    _looked_at: float = 0.0
    _trouble: str = ""
    _halted: str = ""

    def looked(self, **facts: Any) -> None:
        """Record a completed look at the chain and what was found or done."""
        with self._lock:
            self._facts.update(facts)
            self._looked_at = self.clock()
            self._trouble = ""

    def in_trouble(self, reason: str) -> None:
        """Record why the last look failed; the next one may succeed."""
        with self._lock:
            self._trouble = self.redact(reason)

    def halt(self, reason: str) -> None:
        """Record that the loop has stopped until a person has looked."""
        with self._lock:
            self._halted = self.redact(reason)

    @property
    def halted(self) -> str:
        """Return why the node stopped for good, or nothing."""
        with self._lock:
            return self._halted

    def check_running(self) -> None:
        """Let input pass, unless the node stopped for good. Raises: Transient."""
        reason = self.halted
        if reason:
            raise Transient(f"this node has stopped taking input: {reason}", hint="send to another node")

    def seconds_since_look(self) -> float:
        """Return how long ago the last complete look at the chain was."""
        with self._lock:
            return self.clock() - self._looked_at

    def head_time_s(self) -> int | None:
        """Return the time of the last block that was looked at, or None before the first look."""
        with self._lock:
            found: int | None = self._facts.get("head_time_s")
            return found

    def present_s(self) -> float:
        """Return the later of this machine's clock and the last block's time, in unix seconds."""
        return max(self.clock(), self.head_time_s() or 0)

    def facts(self) -> dict[str, Any]:
        """Return everything known, as JSON values."""
        with self._lock:
            return {
                **self._facts,
                "looked_at": int(self._looked_at),
                "trouble": self._trouble,
                "halted": self._halted,
            }
