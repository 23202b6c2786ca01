"""Replacing a lane: make its successor, have it registered, then swap the two.

Between the steps the old lane meters on. Nothing of it is moved or deleted: only its lane file gets another
ending, so that no worker takes it any more. Its spool still says what was metered, and answers challenges.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from usufruct_protocol.errors import ConfigInvalid

from usufruct_meter.errors import SpoolDoubtful
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.lane_key import new_private_key
from usufruct_meter.lanes.new_lane import LaneOptions, create_lane
from usufruct_meter.lanes.spool import sync_folder

_logger = logging.getLogger(__name__)

NEXT_SUFFIX: Final = ".next"
RETIRED_SUFFIX: Final = ".retired"


def successor_path(path: Path) -> Path:
    """Return where the lane file of a lane's successor waits."""
    return path.with_name(path.name + NEXT_SUFFIX)


def prepare_successor(
    file: LaneFile, *, valid_from_ms: int, draw_key: Callable[[], bytes] = new_private_key
) -> LaneFile:
    """Make the lane that will take over, with the same terms from a time on; the same one when asked again.

    Raises: ConfigInvalid.
    """
    waiting = successor_path(file.path)
    if waiting.exists():
        return LaneFile.load(waiting)
    options = LaneOptions(
        license_id=file.license_id,
        chain_id=file.chain_id,
        settlement=file.settlement,
        genesis_s=file.genesis_s,
        epoch_seconds=file.epoch_seconds,
        nodes=file.nodes,
        valid_from_ms=valid_from_ms,
        valid_to_ms=file.valid_to_ms,
        unit_cap=file.unit_cap,
    )
    return create_lane(
        file.path.parent,
        options,
        private_key=draw_key(),
        lane_file=waiting,
        idempotency=file.idempotency,
    )


def swap(path: Path, finish: Callable[[Lane], None]) -> LaneFile:
    """Put the successor of a lane in its place; `finish` ships what is left of the old one.

    May be repeated after a crash at any point. A lane that was stopped for good is retired as it is.
    Raises: LaneLocked while a worker uses the lane; ConfigInvalid if there is no successor; what `finish`
    raises.
    """
    waiting = successor_path(path)
    if not waiting.exists():
        raise ConfigInvalid(f"{waiting} is missing", hint="usufruct-meter lane rotate makes it first")
    successor = LaneFile.load(waiting)
    placed = path.with_name(f"lane-{successor.lane.hex()[:12]}.json")
    if placed.exists():
        raise ConfigInvalid(f"{placed} exists already")
    if path.exists():
        try:
            with Lane.open(path) as lane:
                finish(lane)
        except SpoolDoubtful as error:
            _logger.warning("the old lane is retired as it is: %s", error)
        path.rename(path.with_name(path.name + RETIRED_SUFFIX))
    waiting.rename(placed)
    sync_folder(path.parent)
    return LaneFile.load(placed)
