"""A store of its own for each test, and an intake that judges for the domain of the lane kit.

`tests/integration/test_oracle_store_postgres.py` runs the same tests with `new_store` on a PostgreSQL server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from usufruct_oracle.intake.admission import Admitted, Intake
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.store import Store
from usufruct_protocol.batches import Batch
from usufruct_protocol.errors import UsufructError

from tests.unit.oracle.lane_kit import DOMAIN, KitLane

Take = Callable[[Batch], Admitted]
NewStore = Callable[[], Store]


@pytest.fixture
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewStore]:
    """Make open, empty stores."""
    opened: list[Store] = []

    def make() -> Store:
        opened.append(Store(tmp_path_factory.mktemp("node") / "node.sqlite", exclusive=True))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def store(new_store: NewStore) -> Store:
    return new_store()


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
    return taking(store)


def taking(store: Store) -> Take:
    """The same for any store."""
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
