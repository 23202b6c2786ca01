"""What disks, half copies and hands do to an archive's files."""

from __future__ import annotations

import hashlib
from pathlib import Path


def rotted(body: bytes) -> bytes:
    """Turn one bit over, among the values and not in the footer."""
    at = len(body) // 5
    return body[:at] + bytes([body[at] ^ 4]) + body[at + 1 :]


def named_by_content(path: Path) -> Path:
    """Give a file the name that its bytes call for, as somebody would who changes it on purpose."""
    lane = path.name.partition("-")[0]
    return path.rename(path.with_name(f"{lane}-{hashlib.sha256(path.read_bytes()).hexdigest()}.parquet"))
