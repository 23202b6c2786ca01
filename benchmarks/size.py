"""How much is measured: a size that shows on any machine that everything works, and that of the goals."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """peer_notes: leaves of the npm tree, which takes minutes for a million and 2 GB of memory."""

    name: str
    peer_notes: int
    proof_notes: int
    epoch_receipts: int
    epoch_purses: int


QUICK = Size("quick", peer_notes=20_000, proof_notes=100_000, epoch_receipts=200_000, epoch_purses=20_000)
FULL = Size(
    "full", peer_notes=1_000_000, proof_notes=1_000_000, epoch_receipts=10_000_000, epoch_purses=1_000_000
)
