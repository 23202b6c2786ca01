"""The store on a real PostgreSQL server: the tests of the SQLite store again, and what only a server does."""

from __future__ import annotations

import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest
from usufruct_oracle.intake.admission import Intake
from usufruct_oracle.intake.writer import IntakeWriter
from usufruct_oracle.storage import lane_store, postgres_engine
from usufruct_oracle.storage.database import Connection, PostgresUrl
from usufruct_oracle.storage.store import Store, schema_version
from usufruct_protocol.errors import ConfigInvalid, Incompatible, InvariantBroken, Transient

from tests.postgres_server import PostgresServer
from tests.unit.oracle.conftest import NewStore, lane, store, take  # noqa: F401  fixtures
from tests.unit.oracle.lane_kit import DOMAIN, KitLane, record_tag
from tests.unit.oracle.test_crash import *  # noqa: F403
from tests.unit.oracle.test_epoch_store import *  # noqa: F403
from tests.unit.oracle.test_hold_store import *  # noqa: F403
from tests.unit.oracle.test_intake import *  # noqa: F403
from tests.unit.oracle.test_intake_writer import *  # noqa: F403
from tests.unit.oracle.test_retention import *  # noqa: F403
from tests.unit.oracle.test_voting import *  # noqa: F403


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
def opened(database: PostgresUrl) -> Iterator[Store]:
    """A store on that database."""
    made = Store(database, exclusive=True)
    yield made
    made.close()


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


def rows(server: PostgresServer, where: PostgresUrl, query: bytes) -> list[tuple[object, ...]]:
    """Look into a database from outside."""
    with server.connect(where) as db:
        return db.execute(query).fetchall()


def add_name(db: Connection, name: str) -> None:
    db.execute("INSERT INTO identity VALUES (?, ?)", (name, "x"))


def write_name(opened: Store, name: str) -> None:
    with opened.write() as db:
        add_name(db, name)


def names(opened: Store) -> list[str]:
    with opened.read() as db:
        return [row[0] for row in db.execute("SELECT name FROM identity ORDER BY name")]


def test_both_schemas_have_the_same_tables_and_columns(
    server: PostgresServer, database: PostgresUrl, tmp_path: Path
) -> None:
    Store(database, exclusive=True).close()
    Store(tmp_path / "node.sqlite", exclusive=True).close()
    types = {"bigint": "INTEGER", "bytea": "BLOB", "text": "TEXT"}
    found = rows(
        server,
        database,
        b"SELECT table_name, column_name, data_type, is_nullable = 'NO' FROM information_schema.columns "
        b"JOIN pg_class ON relname = table_name WHERE table_schema = 'public' AND NOT relispartition "
        b"AND relkind IN ('r', 'p') ORDER BY table_name, ordinal_position",
    )
    on_server = [
        (table, column, types[str(kind)], not_null)
        for table, column, kind, not_null in found
        if table != "schema_version"
    ]
    with closing(sqlite3.connect(tmp_path / "node.sqlite")) as db:
        tables = [
            row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")
        ]
        in_file = [
            # A primary key's columns cannot be null in either.
            (table, column, kind, bool(not_null or key))
            for table in tables
            for _, column, kind, not_null, _, key in db.execute(f"PRAGMA table_info({table})")
        ]
    assert on_server == in_file


def test_receipts_of_a_lane_lie_in_one_partition(
    server: PostgresServer, database: PostgresUrl, opened: Store
) -> None:
    kits = [KitLane(number) for number in range(6)]
    with opened.write() as db:
        lane_store.put_lanes(db, [kit.state() for kit in kits])
        for kit in kits:
            kit.meter(*range(30), usage=[(record_tag(1), 1)])
            assert Intake(DOMAIN).admit(db, kit.batch()).new_receipts == 30
    spread = rows(server, database, b"SELECT lane_id, tableoid, count(*) FROM receipts GROUP BY 1, 2")
    lists = rows(server, database, b"SELECT lane_id, tableoid, count(*) FROM openings GROUP BY 1, 2")
    assert [count for _, _, count in spread] == [count for _, _, count in lists] == [30] * 6
    assert len({partition for _, partition, _ in spread}) > 1


def write_while_sessions_drop(server: PostgresServer, database: PostgresUrl, opened: Store) -> None:
    with opened.write() as db:
        add_name(db, "c")
        server.drop_sessions(database)
        with opened.write() as inner:  # a block inside a block never becomes a transaction of its own
            add_name(inner, "d")


def read_while_sessions_drop(server: PostgresServer, database: PostgresUrl, opened: Store) -> None:
    with opened.read() as db:
        server.drop_sessions(database)
        db.execute("SELECT 1")


def test_a_session_that_is_lost_costs_a_retry_and_no_more(
    server: PostgresServer, database: PostgresUrl, opened: Store
) -> None:
    write_name(opened, "a")
    assert names(opened) == ["a"]
    assert server.drop_sessions(database) == 2
    # Nothing was going on: nobody notices.
    assert names(opened) == ["a"]
    write_name(opened, "b")
    # In the middle of a transaction: not durable, and said so; trying again works.
    with pytest.raises(Transient):
        write_while_sessions_drop(server, database, opened)
    with pytest.raises(Transient):
        read_while_sessions_drop(server, database, opened)
    assert names(opened) == ["a", "b"]
    write_name(opened, "c")
    assert names(opened) == ["a", "b", "c"]


def test_a_server_that_crashes_keeps_what_was_acknowledged(
    server: PostgresServer, database: PostgresUrl, opened: Store
) -> None:
    kit = KitLane(3)
    kit.meter(*range(40))
    with opened.write() as db:
        lane_store.put_lanes(db, [kit.state()])
    writer = IntakeWriter(opened, Intake(DOMAIN))
    assert writer.submit(kit.batch(0, 20)).result(30).count == 20
    server.stop(signal.SIGKILL)
    with pytest.raises(Transient):
        writer.submit(kit.batch(20)).result(30)
    with pytest.raises(Transient), opened.read():
        pass
    server.start()
    assert writer.submit(kit.batch(20)).result(30).count == 40  # the node goes on by itself
    writer.close()
    with opened.read() as db:
        (lane,) = lane_store.all_lanes(db)
        assert lane_store.records(db, lane.lane_id, 0, 40) == kit.records


def test_a_node_whose_session_was_lost_cannot_write_beside_the_next_one(
    server: PostgresServer, database: PostgresUrl, opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_engine, "_LOCK_PATIENCE_S", 0.3)
    write_name(opened, "first")
    server.drop_sessions(database)
    second = Store(database, exclusive=True)
    write_name(second, "second")
    with pytest.raises(Transient, match="another session holds the node's lock"):
        write_name(opened, "late")
    second.close()
    write_name(opened, "free")
    assert names(opened) == ["first", "free", "second"]


def swallow_a_failure(opened: Store) -> None:
    with opened.write() as db:
        add_name(db, "a")
        with suppress(psycopg.Error):
            add_name(db, "a")


def test_a_failed_statement_cannot_be_committed(opened: Store) -> None:
    """PostgreSQL answers COMMIT with a silent ROLLBACK then; nothing may be acknowledged on it."""
    with pytest.raises(InvariantBroken, match="commit undid"):
        swallow_a_failure(opened)
    assert names(opened) == []


def test_commits_wait_for_the_disk_whatever_the_server_defaults_to(
    server: PostgresServer, database: PostgresUrl
) -> None:
    with server.connect(database) as db:
        db.execute(f"ALTER DATABASE {db.info.dbname} SET synchronous_commit = off".encode())
    made = Store(database, exclusive=True)
    with made.write() as db:
        assert db.execute("SHOW synchronous_commit").fetchone() == ("on",)
    made.close()


def test_a_server_that_can_lose_commits_is_refused(server: PostgresServer, database: PostgresUrl) -> None:
    server.stop()
    server.start("-c", "fsync=off")
    try:
        with pytest.raises(ConfigInvalid, match="fsync = off"):
            Store(database, exclusive=True)
    finally:
        server.stop()
        server.start()


def test_what_is_wrong_with_the_way_to_the_server_is_said(
    server: PostgresServer, database: PostgresUrl, tmp_path: Path
) -> None:
    assert schema_version(database) == 0
    with pytest.raises(ConfigInvalid, match="no database of this node"):
        Store(database, exclusive=False)
    wrong = tmp_path / "password"
    wrong.touch(mode=0o600)
    wrong.write_text("not-this-one", encoding="ascii")
    with pytest.raises(Transient, match="password authentication failed") as caught:
        Store(PostgresUrl(database.url, wrong), exclusive=True)
    assert "not-this-one" not in str(caught.value)
    wrong.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigInvalid, match="not text in UTF-8"):
        Store(PostgresUrl(database.url, wrong), exclusive=True)
    nowhere = PostgresUrl(f"postgresql://node@/node?host={tmp_path}")
    with pytest.raises(Transient, match="No such file"):
        Store(nowhere, exclusive=True)
    with pytest.raises(ConfigInvalid, match="invalid"):
        Store(PostgresUrl("postgresql://node@/node?no_such_option=1"), exclusive=True)


def test_a_schema_of_a_later_version_is_left_alone(server: PostgresServer, database: PostgresUrl) -> None:
    Store(database, exclusive=True).close()
    with server.connect(database) as db:
        db.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(Incompatible, match="schema version 99"):
        Store(database, exclusive=True)


def test_what_the_database_fails_is_counted_and_nothing_else(
    server: PostgresServer, database: PostgresUrl
) -> None:
    codes: list[str] = []
    made = Store(database, exclusive=True, on_error=codes.append)
    write_name(made, "a")
    with pytest.raises(InvariantBroken):
        write_name(made, "a")
    with pytest.raises(Transient):
        read_while_sessions_drop(server, database, made)
    with pytest.raises(Incompatible):
        made.bind_identity({"b": "x"})
    made.close()
    assert codes == ["invariant_broken", "transient"]


def test_a_role_that_may_not_make_tables_is_told_so(server: PostgresServer, database: PostgresUrl) -> None:
    password = server.password_file.read_text(encoding="ascii").strip()
    with server.connect(database) as db:
        db.execute(f"CREATE ROLE guest LOGIN PASSWORD '{password}'".encode())
    with pytest.raises(ConfigInvalid, match="permission denied") as caught:
        Store(PostgresUrl(database.url.replace("node@", "guest@"), server.password_file), exclusive=True)
    assert "owner" in caught.value.hint


def test_a_server_that_swallows_connections_holds_up_one_caller_not_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_engine._CONNECT, "connect_timeout", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        location = PostgresUrl(f"postgresql://node@127.0.0.1:{silent.getsockname()[1]}/node")
        engine = postgres_engine.PostgresEngine(location)
        with pytest.raises(Transient, match="timeout"), engine.typed_errors():
            engine.open_reader()
        started = time.monotonic()
        for _ in range(20):
            with pytest.raises(Transient, match="a moment ago"), engine.typed_errors():
                engine.open_reader()
        assert time.monotonic() - started < 1.0
