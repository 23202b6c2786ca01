"""Run tests with all their nodes on PostgreSQL: `pytest -p tests.on_postgres tests/integration/…`.

For tests that ask nodes, not their database files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.network import Network
from tests.postgres_server import PostgresServer


@pytest.fixture(scope="session", autouse=True)
def nodes_on_postgres() -> Iterator[None]:
    """Give each node that is configured a database of its own on one server."""
    configure = Network.configure

    def configure_with_servers(self: Network, rpc_url: str, deployment_file: Path, **changes: Any) -> None:
        configure(self, rpc_url, deployment_file, **changes)
        for index in self.indexes:
            where = server.new_database()
            self.change(index, database=where.url, database_password_file=str(where.password_file))

    with PostgresServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, "configure", configure_with_servers)
        yield
