"""One line of preflight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One checked thing: ok, warn or fail, what was found, what to do; whether it is not ready by it."""

    level: str
    what: str
    detail: str
    hint: str = ""
    is_blocking: bool = False
