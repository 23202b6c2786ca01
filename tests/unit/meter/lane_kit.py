"""Lanes to test with: fixed keys, short periods, a clock that only the test moves."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.new_lane import LaneOptions, create_lane

GENESIS_S = 1_000
EPOCH_SECONDS = 10
SETTLEMENT = bytes.fromhex("5e771e") + bytes(16) + b"\x01"
CHAIN_ID = 31337


@dataclass
class Clock:
    """A clock in ms; starts in the middle of the first period."""

    now: int = (GENESIS_S + 5) * 1000

    def __call__(self) -> int:
        return self.now


def lane_key(number: int) -> bytes:
    """Return the private key of test lane `number`."""
    return sha256(b"test lane %d" % number).digest()


def new_lane(folder: Path, number: int = 0, **options: object) -> LaneFile:
    """Make lane `number` in a folder, with lane files `lane-0.json`, `lane-1.json` …"""
    given = {
        "license_id": 1,
        "chain_id": CHAIN_ID,
        "settlement": SETTLEMENT,
        "genesis_s": GENESIS_S,
        "epoch_seconds": EPOCH_SECONDS,
    } | options
    return create_lane(
        folder,
        LaneOptions(**given),  # type: ignore[arg-type]
        name=f"lane-{number}",
        private_key=lane_key(number),
    )
