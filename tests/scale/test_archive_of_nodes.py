"""Nodes on a real chain: their archive, written while they run, sums to what the reports on chain say.

One node's store is SQLite, another's a PostgreSQL server: their archives are the same, byte by byte.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("clickhouse_connect", reason="NOT TESTED: ClickHouse is not there; make test-scale")

from typer.testing import CliRunner
from usufruct_oracle.cli import app
from usufruct_protocol.chain_state import MeterKind

from tests.integration.oracle_world import committee, record_tag
from tests.postgres_server import PostgresServer

ON_SQLITE, ON_SERVER = 0, 1
TAGS = [record_tag(2, person) for person in range(4)]


def test_sums_of_the_archive_are_those_of_the_reports(tmp_path: Path) -> None:
    folder = str(tmp_path / "archive")
    (tmp_path / "committee").mkdir()
    with PostgresServer() as server, committee(tmp_path / "committee", away=[ON_SERVER]) as here:
        where = server.new_database()
        here.network.change(ON_SERVER, database=where.url, database_password_file=str(where.password_file))
        here.network.start(ON_SERVER)
        here.license(MeterKind.TOKENS, 3)
        here.license(MeterKind.RETRIEVAL, 4)
        here.put_rosters()
        tokens, retrieval = here.lane(1), here.lane(2)
        reported = []
        for epoch in (1, 2):
            tokens.meter(2**20, 3, 0, 2**20, at_ms=here.at_ms(epoch))
            retrieval.meter(2, 2, at_ms=here.at_ms(epoch), usage=[(TAGS[0], 1), (TAGS[epoch], 1)])
            here.ship()
            final = here.settle(epoch)
            here.wait_known_final(ON_SQLITE, epoch)
            here.wait_known_final(ON_SERVER, epoch)
            reported.append({str(line.license_id): line.cumulative_units for line in final.report.lines})
        config = str(here.network.config_file(ON_SERVER))
        written = run("write", folder, "--usage", "--config", config)
        again = run("write", folder, "--usage", "--check", "--config", config)
        # Nodes agree, so their archives do, file by file.
        other = str(here.network.config_file(ON_SQLITE))
        run("write", str(tmp_path / "other"), "--usage", "--config", other)
    assert len(written) == 2 * 2 * 2
    assert not any(each["left_out"] for each in written)
    assert all(each["is_kept"] for each in again)
    for each in written:
        relative = Path(each["path"]).relative_to(folder)
        assert (tmp_path / "other" / relative).read_bytes() == Path(each["path"]).read_bytes()

    for last, report in enumerate(reported, 1):
        sums = run("sums", folder, "--by", "license", "--to", str(last))
        assert {str(each["license_id"]): int(each["units"]) for each in sums} == report
    records = run("sums", folder, "--by", "record")
    weights = {each["record_tag"]: (each["license_id"], int(each["weight"])) for each in records}
    assert weights == {f"0x{tag.hex()}": (2, used) for tag, used in zip(TAGS, (4, 2, 2), strict=False)}


def run(*arguments: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["archive", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    content: list[dict[str, Any]] = json.loads(done.stdout)
    return content
