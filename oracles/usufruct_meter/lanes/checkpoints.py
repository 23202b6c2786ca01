"""When a lane signs a checkpoint: often enough to fit a batch, and never across the end of a period.

A node counts a lane through its highest checkpoint whose last receipt lies before the period end. One
checkpoint over receipts of two periods would push the first period's receipts into the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from usufruct_protocol.periods import epoch_of_ms
from usufruct_protocol.receipts import RECORD_SIZE

MAX_SPAN_RECEIPTS: Final = 2_000
MAX_SPAN_BYTES: Final = 3 * 1024 * 1024
"""With the largest single opening (see `draft.MAX_USAGE_ENTRIES`) a span stays below MAX_BATCH_BYTES."""


@dataclass(frozen=True, slots=True)
class Periods:
    """The epochs of a settlement contract, as far as a meter needs them."""

    genesis_s: int
    epoch_seconds: int

    def epoch_of(self, at_ms: int) -> int:
        """Return the epoch that counts a receipt: the first one for whatever came before genesis."""
        return epoch_of_ms(self.genesis_s, self.epoch_seconds, max(at_ms, self.genesis_s * 1000))


@dataclass(slots=True)
class OpenSpan:
    """Receipts since the last checkpoint: how many, and how many bytes they will take in a batch."""

    receipts: int = 0
    bytes: int = 0

    def is_full_for(self, opening_bytes: int) -> bool:
        """Whether the span must be closed before a receipt with this opening joins it."""
        return self.receipts >= MAX_SPAN_RECEIPTS or (
            self.receipts > 0 and self.bytes + RECORD_SIZE + opening_bytes > MAX_SPAN_BYTES
        )

    def add(self, opening_bytes: int) -> None:
        """Count one receipt."""
        self.receipts += 1
        self.bytes += RECORD_SIZE + (12 + opening_bytes if opening_bytes else 0)
