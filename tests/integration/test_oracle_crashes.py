"""kill -9 at every step: who comes back goes on from disk and chain, and signs nothing twice."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner
from usufruct_oracle.bundles.folder import BundleFolder
from usufruct_oracle.bundles.sealing import SealingKey, seal
from usufruct_oracle.cli import app
from usufruct_protocol.bundle import PUBLIC_FILES, RESTRICTED_FILES
from usufruct_protocol.chain_state import MeterKind

from tests.integration.oracle_world import Committee, committee, proposer, record_tag


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Committee]:
    with committee(tmp_path_factory.mktemp("crashes")) as made:
        made.license(MeterKind.RETRIEVAL, 300)  # two ranges of notes
        made.put_rosters()
        yield made


def rows(here: Committee, index: int, query: str) -> list[tuple[int, ...]]:
    """Look into a node's database from outside."""
    with closing(sqlite3.connect(f"file:{here.network.database(index)}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


def meter_everyone(here: Committee, epoch: int) -> None:
    """One call that used every person's record, sent to all running nodes."""
    lane = here.lanes[0]
    lane.meter(
        1_000_000, at_ms=here.at_ms(epoch), usage=[(record_tag(1, person), 1) for person in range(300)]
    )
    for answer in here.post(lane.batch(lane.count - 1)):
        assert answer.status_code == 200, answer.text


def test_nodes_killed_at_every_step_of_an_epoch_finish_it(here: Committee) -> None:
    network, chain = here.network, here.world.chain
    here.lane(1)
    meter_everyone(here, 1)
    first, second = proposer(1, 0), proposer(1, 1)
    others = [index for index in range(4) if index not in (first, second)]

    # Frozen, and a report built and voted for, but too few are there to sign.
    for index in others:
        network.kill(index)
    here.close_period(1)
    here.wait_frozen(1)
    votes = "/v1/epochs/1/attempts/0/vote"
    for index in (first, second):
        network.wait_until(
            f"node {index} votes", lambda index=index: network.get(index, votes).status_code == 200
        )
        assert network.get(index, votes).json()["signature"] is None
    network.kill(first)
    network.kill(second)

    # Signed by three, but no block takes the transaction.
    chain.set_automine(False)
    network.start(first, second, others[0])
    for index in (first, second, others[0]):
        network.wait_until(
            f"node {index} signs", lambda index=index: bool(rows(here, index, "SELECT 1 FROM signed")), 20.0
        )
    network.wait_until("the report is in the pool", lambda: chain.rpc("txpool_status")["pending"] != "0x0")
    for index in (first, second, others[0]):
        network.kill(index)
    assert here.world.reader.report_hash(1) == bytes(32)
    chain.set_automine(True)
    chain.mine()

    # Posted, and everybody who computed it is dead while the dispute window is open: anyone may finalize.
    here.wait_pending(1)
    network.start(others[1])
    final = here.wait_final(1)
    assert final.report.attempt == 0
    assert final.report.note_count == 300
    network.kill(others[1])

    # Final, and nobody was there to take it over or to pay.
    network.start(first, second)
    here.wait_paid(1)
    for index in (first, second):
        assert rows(here, index, "SELECT epoch, attempt FROM signed") == [(1, 0)]
        here.wait_known_final(index, 1)
    network.start()


def test_a_node_killed_in_mid_epoch_gets_what_it_missed(here: Committee) -> None:
    network = here.network
    away = proposer(2, 3)
    meter_everyone(here, 2)
    network.kill(away)
    meter_everyone(here, 2)
    here.close_period(2)
    here.wait_frozen(2)
    network.start(away)
    first = here.wait_final(2)
    here.wait_known_final(away, 2)
    assert first.report.lines[0].cumulative_units == 3_000_000
    lane = f"/v1/lanes/0x{here.lanes[0].address.hex()}"
    network.wait_until("it holds all receipts", lambda: network.get(away, lane).json()["count"] == 3)
    here.wait_paid(2)


@contextmanager
def copying(port: int, honest_url: str, index: int) -> Iterator[list[str]]:
    """Stand for a signer that stores nothing: it shows another's vote, proof and all, as its own."""
    copied: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = httpx.get(honest_url + self.path, trust_env=False) if "/vote" in self.path else None
            is_there = answer is not None and answer.status_code == 200
            body = json.dumps({**answer.json(), "signer_index": index}) if answer and is_there else "{}"
            copied.extend([body] * is_there)
            self.send_response(200 if is_there else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield copied
        finally:
            server.shutdown()
            thread.join()


def test_inv_46_nobody_signs_for_a_signer_that_only_says_it_holds_the_bundle(here: Committee) -> None:
    network, epoch = here.network, 3
    first, second = proposer(epoch, 0), proposer(epoch, 1)
    idle, away = proposer(epoch, 2), proposer(epoch, 3)
    meter_everyone(here, epoch)
    network.stop(idle, away)
    with copying(network.ports[idle], network.urls[first], idle) as copied:
        here.close_period(epoch)
        network.wait_until("votes are copied", lambda: len(copied) >= 10)
        votes = [network.get(index, f"/v1/epochs/{epoch}/attempts/0/vote") for index in (first, second)]
        assert [vote.json()["signature"] for vote in votes] == [None, None]
        assert len({vote.json()["bundle_hash"] for vote in votes}) == 1
        for index in (first, second):
            assert rows(here, index, f"SELECT count(*) FROM signed WHERE epoch = {epoch}") == [(0,)]
            assert here.log_of(index).count("does not prove that it holds its bundle") == 3
    network.start(away)  # the third that does hold it
    assert here.wait_final(epoch).report.attempt == 0
    network.start(idle)
    here.wait_known_final(idle, epoch)


@pytest.fixture
def final_epoch(here: Committee) -> int:
    """The last finalized epoch, held by node 0; an empty one if there is none yet."""
    if not here.last_final():
        here.settle(1)
    here.wait_known_final(0, here.last_final())
    return here.last_final()


def command(*arguments: str) -> tuple[int, str]:
    """Run a command of the node in this process; returns its exit code and what it printed."""
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.stdout


@pytest.fixture
def exported(here: Committee, final_epoch: int, tmp_path: Path) -> Path:
    """A folder with the bundles of all finalized epochs, as node 0 exports them."""
    folder = tmp_path / "bundles"
    for epoch in range(1, final_epoch + 1):
        here.wait_known_final(0, epoch)
        code, printed = command("bundle", "export", "--epoch", str(epoch), str(folder), *config_of(here, 0))
        assert code == 0, printed
        assert "sealed to 4 signers" in printed
    return folder


def config_of(here: Committee, index: int) -> tuple[str, str]:
    return "--config", str(here.network.config_file(index))


def key_of(here: Committee, index: int) -> Path:
    return here.network.database(index).with_name("node.sqlite.bundle.key")


def audit_without_node(here: Committee, epoch: int, folder: Path, key: Path | None) -> tuple[int, Any]:
    """Audit with nothing but a deployment file, an endpoint and a folder."""
    where = ("--deployment", str(here.folder / "deployment.json"), "--rpc-url", here.world.chain.rpc_url)
    keys = () if key is None else ("--bundle-key", str(key))
    code, printed = command("audit", "--json", "--epoch", str(epoch), *where, "--bundle", str(folder), *keys)
    return code, json.loads(printed)


def test_an_exported_bundle_is_audited_anywhere_by_who_may_read_it(
    here: Committee, final_epoch: int, exported: Path
) -> None:
    code, printed = command("audit", "--json", "--epoch", str(final_epoch), *config_of(here, 0))
    assert (code, json.loads(printed)["verdict"]) == (0, "matches")
    for index in (0, 3):
        code, found = audit_without_node(here, final_epoch, exported, key_of(here, index))
        assert (code, found["verdict"]) == (0, "matches")
    code, found = audit_without_node(here, final_epoch, exported, None)
    assert (code, found["verdict"], found["code"]) == (4, "could not check", "bundle_unreadable")
    assert "is sealed" in found["reason"]
    stranger = exported.parent / "stranger.key"
    SealingKey.load_or_make(stranger)
    code, found = audit_without_node(here, final_epoch, exported, stranger)
    assert (code, found["verdict"]) == (4, "could not check")
    assert "sealed to 4 keys, not to this one" in found["reason"]
    secret = here.network.get(0, f"/v1/epochs/{final_epoch}").json()  # nothing restricted is in the open
    whole = BundleFolder(exported, SealingKey.load(key_of(here, 1))).find(
        bytes.fromhex(secret["bundle_hash"][2:])
    )
    assert whole is not None
    for path in (path for path in exported.rglob("*") if path.is_file()):
        body = path.read_bytes()
        assert all(len(whole.files[name]) < 8 or whole.files[name] not in body for name in RESTRICTED_FILES)
    for keys in ((), ("--bundle-key", str(key_of(here, 2)))):
        assert command("bundle", "verify", str(exported), *keys)[0] == 0


@pytest.mark.parametrize("name", [*PUBLIC_FILES, *RESTRICTED_FILES])
def test_a_bent_byte_is_named_by_its_file(
    here: Committee, final_epoch: int, exported: Path, name: str
) -> None:
    key = SealingKey.load(key_of(here, 0))
    bundle_hash = here.network.get(0, f"/v1/epochs/{final_epoch}").json()["bundle_hash"]
    listed = BundleFolder(exported).listed(bytes.fromhex(bundle_hash[2:]))
    assert listed is not None
    if name in PUBLIC_FILES:
        path = exported / "files" / listed.entries[name].sha256.hex()
        path.write_bytes(bent(path.read_bytes()))
    else:
        path = exported / "sealed" / bundle_hash / f"{name}.age"
        good = path.read_bytes()
        path.write_bytes(seal(bent(key.open(good, name)), [key.recipient]))
    code, found = audit_without_node(here, final_epoch, exported, key_of(here, 0))
    assert (code, found["difference"]["where"]) == (1, name)
    assert command("bundle", "verify", str(exported), "--bundle-key", str(key_of(here, 0)))[0] == 1
    if name in RESTRICTED_FILES:
        path.write_bytes(bent(good))
        code, found = audit_without_node(here, final_epoch, exported, key_of(here, 0))
        assert (code, found["verdict"]) == (4, "could not check")
        assert f"{name} of epoch {final_epoch} is damaged" in found["reason"]
        assert command("bundle", "verify", str(exported), "--bundle-key", str(key_of(here, 0)))[0] == 1


def bent(body: bytes) -> bytes:
    """The same with its last byte changed; one byte more where there is none."""
    return body[:-1] + bytes([body[-1] ^ 1]) if body else b"x"


def test_a_bundle_is_taken_back_into_a_database(
    here: Committee, final_epoch: int, exported: Path, tmp_path: Path
) -> None:
    settings = json.loads(here.network.config_file(3).read_text(encoding="utf-8"))
    settings.update(
        database="new.sqlite", peers={}, key_file=str(here.network.config_file(3).with_name("signer.key"))
    )
    config = tmp_path / "node.json"
    config.write_text(json.dumps(settings), encoding="utf-8")
    given = ("--config", str(config), "--bundle-key", str(key_of(here, 3)))
    assert command("audit", "--epoch", str(final_epoch), "--config", str(config))[0] == 3
    for epoch in range(1, final_epoch + 1):
        code, printed = command("bundle", "import", "--epoch", str(epoch), str(exported), *given)
        assert code == 0, printed
    assert command("audit", "--epoch", str(final_epoch), "--config", str(config))[0] == 0
    assert command("bundle", "import", "--epoch", str(final_epoch + 1), str(exported), *given)[0] == 2


def test_commands_that_only_look(here: Committee, final_epoch: int) -> None:
    config = ("--config", str(here.network.config_file(0)))
    code, printed = command("status", "--json", *config)
    assert (code, json.loads(printed)["last_finalized_epoch"]) == (0, final_epoch)
    code, printed = command("epoch", "show", "--json", "--epoch", str(final_epoch), *config)
    shown = json.loads(printed)
    assert (code, shown["report"]["epoch"], shown["is_bundle_held"]) == (0, final_epoch, True)
    assert command("epoch", "show", "--epoch", "99", *config)[0] == 2
    code, printed = command("preflight", "--json", *config)
    found = json.loads(printed)
    findings = {finding["what"]: finding["level"] for finding in found["findings"]}
    assert (code, found["is_ready"], found["is_at_risk"], found["epoch"]) == (0, True, False, final_epoch + 1)
    assert findings["signer"] == findings["gas"] == findings["database"] == findings["settings"] == "ok"


def test_a_chain_that_is_away_is_worth_another_try(here: Committee, tmp_path: Path) -> None:
    settings = json.loads(here.network.config_file(0).read_text(encoding="utf-8"))
    config = tmp_path / "node.json"
    config.write_text(
        json.dumps({**settings, "rpc_url": "http://127.0.0.1:9", "key_file": None}), encoding="utf-8"
    )
    done = CliRunner().invoke(app, ["audit", "--epoch", "1", "--config", str(config)])
    assert done.exit_code == 3
    assert done.stderr.endswith("code: transient\n")


def test_nodes_stop_in_an_orderly_way(here: Committee) -> None:
    here.network.stop()
    for index in range(4):
        assert not here.network.is_running(index)
        assert here.network.exit_code(index) == 0
        assert "Traceback" not in here.log_of(index)
        assert "CRITICAL" not in here.log_of(index)
