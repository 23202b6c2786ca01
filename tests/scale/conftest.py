"""Stores of a node: on SQLite here, on PostgreSQL in `test_archive_postgres.py`."""

from __future__ import annotations

from tests.unit.oracle.conftest import new_store  # noqa: F401
