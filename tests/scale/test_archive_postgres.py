"""The archive of a node whose store is a PostgreSQL server: the tests of the archive again, on a real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("pyarrow", reason="NOT TESTED: pyarrow is not there; make test-scale")

from usufruct_oracle.storage.database import PostgresUrl
from usufruct_oracle.storage.store import Store

from tests.postgres_server import PostgresServer
from tests.scale.test_archive import *  # noqa: F403
from tests.unit.oracle.conftest import NewStore


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[PostgresServer, PostgresUrl]]:
    with PostgresServer() as server:
        yield server, server.new_database()


@pytest.fixture
def new_store(database: tuple[PostgresServer, PostgresUrl]) -> Iterator[NewStore]:
    """Make an open, empty store; one for each test."""
    server, where = database
    opened: list[Store] = []

    def make() -> Store:
        opened.append(Store(where, exclusive=True))
        server.empty(where)
        return opened[-1]

    yield make
    for each in opened:
        each.close()
