"""What an operator can say to a buyer whose receipts were refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner
from usufruct_oracle.cli import app
from usufruct_oracle.intake.admission import Intake
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.store import Store
from usufruct_protocol.errors import UsufructError

from tests.unit.oracle.lane_kit import DOMAIN, T0_MS, KitLane


def run(config: Path, *arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["quarantine", *arguments, "--config", str(config)])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def config(tmp_path: Path) -> Path:
    settings = {
        "rpc_url": "http://127.0.0.1:1",
        "deployment": "deployment.json",
        "database": "node.sqlite",
        "peers": {},
        "attempt_seconds": 60,
    }
    path = tmp_path / "node.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


@pytest.fixture
def lanes(config: Path) -> list[KitLane]:
    """Two lanes of a running node; each has had one batch refused."""
    kits = [KitLane(number) for number in range(2)]
    store = Store(config.with_name("node.sqlite"), exclusive=True)
    intake = Intake(DOMAIN, lambda: T0_MS / 1000)
    with store.write() as db:
        lane_store.put_lanes(db, [kit.state() for kit in kits])
        for kit in kits:
            kit.meter(1, 2, 3, at_ms=T0_MS)
            with pytest.raises(UsufructError):
                intake.admit(db, dataclasses.replace(kit.batch(), signature=bytes(65)))
    store.close()
    return kits


def test_it_lists_what_was_refused_newest_first(config: Path, lanes: list[KitLane]) -> None:
    code, printed, _ = run(config, "list", "--json")
    listed = json.loads(printed)
    assert code == 0
    assert [each["lane"] for each in listed] == ["0x" + lane.address.hex() for lane in reversed(lanes)]
    assert {each["code"] for each in listed} == {"checkpoint_signature_wrong"}
    assert {(each["first_seq"], each["end_seq"]) for each in listed} == {(0, 3)}
    only = json.loads(run(config, "list", "--json", "--lane", "0x" + lanes[0].address.hex())[1])
    assert only == listed[1:]
    assert json.loads(run(config, "list", "--json", "--limit", "1")[1]) == listed[:1]
    code, printed, _ = run(config, "list")
    assert [line.split()[0] for line in printed.splitlines()] == ["2", "1"]


def test_it_shows_how_a_refused_input_begins(config: Path, lanes: list[KitLane]) -> None:
    code, printed, _ = run(config, "show", "1", "--json")
    shown = json.loads(printed)
    whole = dataclasses.replace(lanes[0].batch(), signature=bytes(65)).encode()
    assert code == 0
    assert bytes.fromhex(shown["head"]) == whole[:512]
    assert (shown["size"], shown["received_at"]) == (len(whole), "2023-11-14T22:13:20Z")
    assert "checkpoint_signature_wrong" in run(config, "show", "1")[1]
    code, _, errors = run(config, "show", "9")
    assert code == 2
    assert "code: input_rejected" in errors


def test_it_says_when_there_is_nothing(config: Path) -> None:
    code, _, errors = run(config, "list")
    assert code == 2
    assert "no such database" in errors
    Store(config.with_name("node.sqlite"), exclusive=True).close()
    assert run(config, "list")[:2] == (0, "nothing was refused\n")
