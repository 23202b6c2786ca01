"""When what a lane signed cannot come from one book, by the least sums that any such book would have."""

from __future__ import annotations

from typing import Protocol


class Receipt(Protocol):
    """The part of a receipt that sums are about."""

    @property
    def seq(self) -> int: ...
    @property
    def units(self) -> int: ...
    @property
    def cumulative_units(self) -> int: ...


class Checkpoint(Protocol):
    """The part of a checkpoint that sums are about."""

    @property
    def count(self) -> int: ...
    @property
    def cumulative_units(self) -> int: ...


def receipts_contradict(first: Receipt, second: Receipt) -> bool:
    """Two receipts in ascending order, or one given twice."""
    if first.seq > second.seq:
        return False
    if first.seq == second.seq and first != second:
        return True
    before = first.cumulative_units if first.seq < second.seq else 0
    return second.cumulative_units < before + second.units


def checkpoint_is_short(receipt: Receipt, checkpoint: Checkpoint) -> bool:
    """A checkpoint has all units of receipts that it covers; receipts beyond it have all of its units."""
    if receipt.seq < checkpoint.count:
        return checkpoint.cumulative_units < receipt.cumulative_units
    return receipt.cumulative_units - receipt.units < checkpoint.cumulative_units
