"""One process per lane: an advisory lock beside the spool, and a mark of how far the lane had come.

The lock lies beside the spool and not on lane.json, because editors replace that file, and a lock does not
follow a replaced file. The mark is the count of the last durable receipt, written after each commit without
waiting for the disk: it can lag behind the spool, never lead it. A spool behind its mark was restored.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Self

from usufruct_protocol.errors import ConfigInvalid

from usufruct_meter.errors import LaneLocked

_RETRY_S = 0.02


class LaneLock:
    """The exclusive right to write a lane. Closing it, or the end of the process, gives it back."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, spool: Path, *, wait_s: float = 0.0) -> Self:
        """Take the lock of a spool, trying for `wait_s`: siblings probe it for a moment.

        Raises: LaneLocked if another process (or another opening in this one) has it; ConfigInvalid if the
        lock file cannot be made.
        """
        deadline = time.monotonic() + wait_s
        try:
            descriptor = os.open(lock_path(spool), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigInvalid(
                f"lock {lock_path(spool)}: {error.strerror}", hint="is spool right?"
            ) from error
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return cls(descriptor)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    raise LaneLocked(
                        f"the lane of spool {spool} is in use by another process",
                        hint="one lane per worker: give a folder of lane files, or stop the other process",
                    ) from error
            time.sleep(_RETRY_S)

    def mark(self) -> int:
        """Return the highest count that is known to have been durable; 0 if none was marked."""
        text = os.pread(self._descriptor, 20, 0)
        return int(text) if text.isdigit() else 0

    def set_mark(self, count: int) -> None:
        """Remember a count that is durable."""
        os.pwrite(self._descriptor, b"%020d" % count, 0)

    def release(self) -> None:
        """Give the lock back."""
        os.close(self._descriptor)


def lock_path(spool: Path) -> Path:
    """Return the lock file of a spool."""
    return spool.with_name(spool.name + ".lock")
