"""What must hold after any run of a committee, whatever went wrong in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from usufruct_protocol.signing import address_of

from tests.integration.oracle_world import Committee


def check_signatures(here: Committee) -> int:
    """Hold all signatures that any node has seen against each other; returns how many there are.

    Whatever a node had forgotten or was told: one report per signer and (epoch, attempt).
    """
    signed: dict[tuple[int, int, bytes], set[bytes]] = {}
    for index in here.network.indexes:
        own = address_of(here.network.keys[index])
        with closing(sqlite3.connect(f"file:{here.network.database(index)}?mode=ro", uri=True)) as db:
            seen = "SELECT epoch, attempt, signer, report_hash FROM votes WHERE signature IS NOT NULL"
            for epoch, attempt, signer, report_hash in db.execute(seen):
                signed.setdefault((epoch, attempt, signer), set()).add(report_hash)
            for epoch, attempt, report_hash in db.execute("SELECT epoch, attempt, report_hash FROM signed"):
                signed.setdefault((epoch, attempt, own), set()).add(report_hash)
    for (epoch, attempt, _), hashes in signed.items():
        final = here.world.reader.report_calldata(epoch)
        assert len(hashes) == 1
        if final is not None and final.report.attempt == attempt:
            assert hashes == {final.report_hash}
    return len(signed)


def check_logs(here: Committee) -> None:
    """No node met anything that it has no word for, and none found its books wrong."""
    for index in here.network.indexes:
        log = here.log_of(index) if here.network.log_file(index).exists() else ""
        assert "Traceback" not in log, log[log.index("Traceback") :][:3000]
        assert "CRITICAL" not in log
