"""A process that takes batches as fast as it can and says what it has acknowledged, until it is killed.

python -m tests.unit.oracle.crashing_node <database file, or URL and password file>
"""

from __future__ import annotations

import sys
from collections import deque
from pathlib import Path

from usufruct_oracle.intake.admission import Intake
from usufruct_oracle.intake.writer import IntakeWriter
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.database import Location, PostgresUrl
from usufruct_oracle.storage.store import Store

from tests.unit.oracle.lane_kit import DOMAIN, KitLane, record_tag

RECEIPTS = 2_000
PER_BATCH = 10


def whole_lane() -> KitLane:
    """The same lane in parent and child: everything in it is derived, nothing is drawn."""
    kit = KitLane(9)
    kit.meter(*range(RECEIPTS // 2))
    kit.meter(*range(RECEIPTS // 2), usage=[(record_tag(1), 1), (record_tag(2), 3)])
    return kit


def main() -> None:
    store = Store(location(*sys.argv[1:]), exclusive=True)
    kit = whole_lane()
    with store.write() as db:
        lane_store.put_lanes(db, [kit.state()])
    with store.read() as db:
        lane = lane_store.lane_by_address(db, kit.address)
        assert lane is not None
        start = lane_store.frontier(db, lane.lane_id).count
    writer = IntakeWriter(store, Intake(DOMAIN))
    batches = [kit.batch(first, first + PER_BATCH) for first in range(start, RECEIPTS, PER_BATCH)]
    say("ready")
    waiting = deque(writer.submit(batch) for batch in batches)
    while waiting:
        say(str(waiting.popleft().result().count))
    say("done")


def location(database: str, password_file: str | None = None) -> Location:
    """Where the arguments say the database is."""
    return Path(database) if password_file is None else PostgresUrl(database, Path(password_file))


def arguments(of: Location) -> list[str]:
    """What to call this module with."""
    return [of.url, str(of.password_file)] if isinstance(of, PostgresUrl) else [str(of)]


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
