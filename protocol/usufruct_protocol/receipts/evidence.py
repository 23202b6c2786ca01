"""What shows that a lane was not honest: gaps, one seq with two contents, checkpoints that conflict."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.receipts.structs import Checkpoint, UsageReceipt


def find_gaps(seqs: Iterable[int]) -> list[range]:
    """Return the missing seqs below the highest one held, as ascending ranges.

    Order and repeats of the input don't matter. A lane starts at 0: holding only seq 3 misses `range(0, 3)`.
    """
    gaps = []
    expected = 0
    for seq in sorted(set(seqs)):
        if seq > expected:
            gaps.append(range(expected, seq))
        expected = seq + 1
    return gaps


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Two different receipts of one lane with one seq: a lane that signs both is provably dishonest.

    Raises: InputRejected if the two do not conflict.
    """

    first: UsageReceipt
    second: UsageReceipt

    def __post_init__(self) -> None:
        if (self.first.lane, self.first.seq) != (self.second.lane, self.second.seq):
            raise InputRejected("an equivocation needs two receipts of one lane with one seq")
        if self.first == self.second:
            raise InputRejected("the same receipt twice is a repeat, not an equivocation")

    @classmethod
    def between(cls, one: UsageReceipt, other: UsageReceipt) -> Self | None:
        """Return the evidence if the two conflict; the same for either order (lower struct hash first)."""
        if (one.lane, one.seq) != (other.lane, other.seq) or one == other:
            return None
        first, second = sorted((one, other), key=UsageReceipt.struct_hash)
        return cls(first, second)


@dataclass(frozen=True, slots=True)
class CheckpointConflict:
    """Two checkpoints of one lane that cannot both be prefixes of one sequence of receipts.

    Either they have one count and differ, or the one with the higher count has fewer cumulative units.
    Raises: InputRejected if the two do not conflict.
    """

    first: Checkpoint
    second: Checkpoint

    def __post_init__(self) -> None:
        if not _checkpoints_conflict(self.first, self.second):
            raise InputRejected("these two checkpoints can both be true")

    @classmethod
    def between(cls, one: Checkpoint, other: Checkpoint) -> Self | None:
        """Return the evidence if the two conflict; the same for either order (lower count, then hash)."""
        if not _checkpoints_conflict(one, other):
            return None
        first, second = sorted((one, other), key=lambda each: (each.count, each.struct_hash()))
        return cls(first, second)


def _checkpoints_conflict(one: Checkpoint, other: Checkpoint) -> bool:
    if one.lane != other.lane:
        return False
    if one.count == other.count:
        return one != other
    lower, higher = (one, other) if one.count < other.count else (other, one)
    return higher.cumulative_units < lower.cumulative_units
