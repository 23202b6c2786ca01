"""The store on a real PostgreSQL server: the tests of the SQLite store again, and what only a server does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from usufruct_oracle.database import PostgresUrl
from usufruct_oracle.store import Store

from tests.postgres_server import PostgresServer
from tests.unit.oracle.conftest import NewStore, lane, store, take  # noqa: F401  fixtures
from tests.unit.oracle.test_crash import *  # noqa: F403
from tests.unit.oracle.test_epoch_store import *  # noqa: F403
from tests.unit.oracle.test_intake import *  # noqa: F403
from tests.unit.oracle.test_intake_writer import *  # noqa: F403


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture(scope="module")
def spare(server: PostgresServer) -> list[PostgresUrl]:
    """Databases that no test is using."""
    return []


@pytest.fixture
def database(server: PostgresServer) -> PostgresUrl:
    return server.new_database()


@pytest.fixture
def new_store(server: PostgresServer, spare: list[PostgresUrl]) -> Iterator[NewStore]:
    opened: list[tuple[PostgresUrl, Store]] = []

    def make() -> Store:
        where = spare.pop() if spare else server.new_database()
        opened.append((where, Store(where, exclusive=True)))
        server.empty(where)
        return opened[-1][1]

    yield make
    for where, each in opened:
        each.close()
        spare.append(where)
