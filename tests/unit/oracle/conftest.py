"""A store in a folder of its own, and an intake that judges for the domain of the lane kit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from usufruct_oracle import lane_store
from usufruct_oracle.intake import Admitted, Intake
from usufruct_oracle.store import Store
from usufruct_protocol.batches import Batch
from usufruct_protocol.errors import UsufructError

from tests.unit.oracle.lane_kit import DOMAIN, KitLane

Take = Callable[[Batch], Admitted]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "node.sqlite", exclusive=True)
    yield opened
    opened.close()


@pytest.fixture
def lane(store: Store) -> KitLane:
    """A registered lane without receipts."""
    kit = KitLane(0)
    with store.write() as db:
        lane_store.put_lanes(db, [kit.state()])
    return kit


@pytest.fixture
def take(store: Store) -> Take:
    """Hand a batch to intake the way the writer does: what it refuses is committed too."""
    intake = Intake(DOMAIN)

    def admit(batch: Batch) -> Admitted:
        refusal: UsufructError | None = None
        with store.write() as db:
            try:
                return intake.admit(db, batch)
            except UsufructError as error:
                refusal = error
        raise refusal

    return admit
