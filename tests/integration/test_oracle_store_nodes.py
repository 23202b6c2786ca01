"""Whole nodes on PostgreSQL, in one committee with nodes on SQLite: they agree, and forget alike."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner
from usufruct_oracle.cli import app
from usufruct_oracle.storage.database import PostgresUrl
from usufruct_protocol.chain_state import MeterKind

from tests.integration.oracle_world import ATTEMPT_S, PACE, Committee, committee, record_tag
from tests.postgres_server import PostgresServer

ON_SERVER = (0, 1)  # the others are on SQLite; reports need three of four
LATE = 3  # comes when the first epochs' lists are deleted everywhere
KEPT = 2


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture(scope="module")
def databases(server: PostgresServer) -> list[PostgresUrl]:
    return [server.new_database() for _ in ON_SERVER]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, databases: list[PostgresUrl]) -> Iterator[Committee]:
    pace = dataclasses.replace(PACE, keep_restricted_epochs=KEPT)
    with committee(tmp_path_factory.mktemp("engines"), away=(*ON_SERVER, LATE), pace=pace) as made:
        for index, where in zip(ON_SERVER, databases, strict=True):
            made.network.change(index, database=where.url, database_password_file=str(where.password_file))
        made.network.start(*ON_SERVER)
        made.lane(made.license(MeterKind.RETRIEVAL, 3))
        made.put_rosters()
        yield made


def meter(here: Committee, epoch: int) -> None:
    """Three calls that used somebody's record, sent to all running nodes."""
    lane = here.lanes[0]
    before = lane.count
    lane.meter(*[1_000] * 3, at_ms=here.at_ms(epoch), usage=[(record_tag(1, epoch % 3), 1)])
    for answer in here.post(lane.batch(before)):
        assert answer.status_code == 200, answer.text


def command(here: Committee, index: int, *arguments: str) -> tuple[int, str]:
    """Run a command with a node's settings; returns its exit code and what it said."""
    done = CliRunner().invoke(app, [*arguments, "--config", str(here.network.config_file(index))])
    return done.exit_code, done.stdout + done.stderr


def lists_on_server(server: PostgresServer, where: PostgresUrl) -> list[int]:
    with server.connect(where) as db:
        return [int(str(row[0])) for row in db.execute("SELECT seq FROM openings ORDER BY seq")]


def test_inv_38_nodes_on_both_engines_sign_the_same_reports(here: Committee) -> None:
    meter(here, 1)
    final = here.settle(1)
    assert final.report.lines[0].cumulative_units == 3_000
    for index in (0, 2):
        here.wait_known_final(index, 1)
        assert command(here, index, "audit", "--epoch", "1")[0] == 0
        assert command(here, index, "quarantine", "list") == (0, "nothing was refused\n")
    here.wait_paid(1)


def test_inv_39_a_node_and_its_server_are_killed_and_go_on(here: Committee, server: PostgresServer) -> None:
    meter(here, 2)
    here.network.kill(0)
    server.stop(signal.SIGKILL)
    here.close_period(2)
    server.start()
    here.network.start(0)
    assert here.wait_final(2).report.lines[0].cumulative_units == 6_000
    for index in (0, 1, 2):
        here.wait_known_final(index, 2)
        assert "CRITICAL" not in here.log_of(index)
    lane = f"/v1/lanes/0x{here.lanes[0].address.hex()}"
    assert here.network.get(0, lane).json()["count"] == 6


def test_inv_45_lists_are_deleted_on_all_nodes_and_a_new_one_needs_none_of_them(
    here: Committee, server: PostgresServer, databases: list[PostgresUrl]
) -> None:
    meter(here, 3)
    here.close_period(3)
    here.wait_frozen(3)
    here.pass_time(ATTEMPT_S)  # the first proposer is the one that is not there yet
    here.wait_final(3)
    meter(here, 4)
    here.settle(4)
    for index in (0, 1, 2):
        here.wait_known_final(index, 4)
    for where in databases:
        here.network.wait_until(
            "old lists are deleted",
            lambda where=where: lists_on_server(server, where) == list(range(6, 12)),
        )
    for index in (0, 2):
        code, said = command(here, index, "audit", "--epoch", "2")
        assert code == 4, said
        assert "could not check" in said
        assert "code: bundle_forgotten" in said
        assert command(here, index, "audit", "--epoch", "4")[0] == 0
    here.network.start(LATE)
    here.wait_known_final(LATE, 4)
    lane = f"/v1/lanes/0x{here.lanes[0].address.hex()}"
    here.network.wait_until(
        "the new node holds all receipts", lambda: here.network.get(LATE, lane).json()["count"] == 12
    )
    meter(here, 5)
    here.network.kill(2)  # so that the new node's signature is needed
    final = here.settle(5)
    assert final.report.lines[0].cumulative_units == 15_000
    here.wait_known_final(LATE, 5)
    assert command(here, LATE, "audit", "--epoch", "5")[0] == 0
