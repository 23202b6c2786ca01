"""Fixtures of the meter's unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from usufruct_meter.lanes.lane import Lane

from tests.unit.meter.lane_kit import Clock, new_lane


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lane(tmp_path: Path, clock: Clock) -> Iterator[Lane]:
    """Lane 0, open."""
    with Lane.open(new_lane(tmp_path), clock_ms=clock) as opened:
        yield opened
