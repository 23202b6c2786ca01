"""A cursor over bytes from outside: fixed-width big-endian fields, nothing missing, nothing left over."""

from __future__ import annotations

from usufruct_protocol.errors import InputRejected


class Cursor:
    """Read fields off the front of a byte string.

    Raises: InputRejected naming what was being read and where it was cut off.
    """

    __slots__ = ("_data", "_offset", "_what")

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._offset = 0
        self._what = what

    def take(self, size: int, field: str) -> bytes:
        """Return the next `size` bytes."""
        end = self._offset + size
        if end > len(self._data):
            raise InputRejected(
                f"{self._what}: {field} needs {size} bytes at offset {self._offset}, only "
                f"{len(self._data) - self._offset} are left",
                hint="the data was cut short; fetch or send it again whole",
            )
        part = self._data[self._offset : end]
        self._offset = end
        return part

    def uint(self, size: int, field: str) -> int:
        """Return the next `size` bytes as an unsigned big-endian integer."""
        return int.from_bytes(self.take(size, field), "big")

    def expect(self, magic: bytes) -> None:
        """Consume a format mark, or refuse the data."""
        found = self.take(len(magic), "format mark")
        if found != magic:
            raise InputRejected(f"{self._what}: expected format {magic!r}, found {found!r}")

    def finish(self) -> None:
        """Refuse trailing bytes."""
        left = len(self._data) - self._offset
        if left:
            raise InputRejected(f"{self._what}: {left} bytes too many at offset {self._offset}")
