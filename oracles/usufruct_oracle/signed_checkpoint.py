"""A lane's head as its meter signed it."""

from __future__ import annotations

from dataclasses import dataclass

from usufruct_protocol.receipts import Checkpoint


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint and the lane's signature over it."""

    checkpoint: Checkpoint
    signature: bytes
