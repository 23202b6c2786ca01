"""What each purse has earned and not yet been issued, in billionths of a base unit.

Source: docs/spec.md, accruals.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping
from typing import Final

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.wire import Cursor

_MAGIC: Final = b"UFA1"
_ROW: Final = 48


class Accruals(Mapping[bytes, int]):
    """An immutable mapping purse → billionths, purses ascending, zeros left out."""

    __slots__ = ("_amounts",)

    def __init__(self, amounts: Mapping[bytes, int] | None = None) -> None:
        given = amounts or {}
        purses = sorted(given)
        values = list(map(given.__getitem__, purses))
        if values and not ({32}.issuperset(map(len, purses)) and min(values) >= 0 and max(values) < 1 << 128):
            _refuse(zip(purses, values, strict=True))
        rows = zip(purses, values, strict=True)
        self._amounts = dict(rows) if 0 not in values else {purse: value for purse, value in rows if value}

    def __getitem__(self, purse: bytes) -> int:
        return self._amounts[purse]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._amounts)

    def __len__(self) -> int:
        return len(self._amounts)

    def items(self) -> ItemsView[bytes, int]:
        """Return purses and amounts; as a view of a dict, and so much faster than a mapping's own."""
        return self._amounts.items()

    def __hash__(self) -> int:
        return hash(tuple(self._amounts.items()))

    @property
    def total(self) -> int:
        """Sum over all purses, in billionths."""
        return sum(self._amounts.values())

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: mark, count u32, then purse ‖ u128 per row."""
        rows = b"".join(purse + amount.to_bytes(16, "big") for purse, amount in self._amounts.items())
        return _MAGIC + len(self._amounts).to_bytes(4, "big") + rows

    @classmethod
    def from_bytes(cls, data: bytes) -> Accruals:
        """Read canonical bytes. Raises InputRejected for zeros, disorder, repeats or a wrong length."""
        cursor = Cursor(data, "accruals")
        cursor.expect(_MAGIC)
        amounts: dict[bytes, int] = {}
        last = b""
        for _ in range(cursor.uint(4, "count")):
            purse, amount = cursor.take(32, "purse"), cursor.uint(16, "amount")
            if purse <= last or amount == 0:
                raise InputRejected(f"accruals: purse {purse.hex()} is out of order, repeated or zero")
            amounts[purse] = amount
            last = purse
        cursor.finish()
        return cls(amounts)


def _refuse(rows: Iterable[tuple[bytes, int]]) -> None:
    purse, amount = next(
        (purse, amount) for purse, amount in rows if len(purse) != 32 or not 0 <= amount < 1 << 128
    )
    raise InputRejected(f"accrual of {purse.hex()} must be a uint128 for a 32-byte purse, got {amount}")


EMPTY: Final = Accruals()
