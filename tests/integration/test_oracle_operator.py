"""Four nodes and the people who run them: keys of every kind, held signatures, preflight.

The tests are one story, told in order. n = 4, so k = 3: one node more or less decides.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from usufruct_chain.onchain import SubmittedReport
from usufruct_chain.sender import Sender
from usufruct_oracle.cli import app
from usufruct_oracle.keys.keystore import make_passphrase, read_passphrase, write_keystore, write_plain_key
from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.signing import LocalSigner, address_of, checksum_address

from scripts.devchain import Anvil, dev_key
from tests.integration import signing_program
from tests.integration.oracle_world import Committee, committee

FAST_N = 2**10
HELD, WITH_PROGRAM = 0, 1


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Committee]:
    """Node 0 has a keystore, node 1 asks a program, the others have plain files."""
    with committee(tmp_path_factory.mktemp("committee"), away=(HELD, WITH_PROGRAM)) as made:
        keys = made.network.keys
        folder = made.network.config_file(HELD).parent
        make_passphrase(folder / "passphrase")
        passphrase = read_passphrase(folder / "passphrase")
        write_keystore(folder / "signer.json", keys[HELD], passphrase, scrypt_n=FAST_N)
        (folder / "signer.key").unlink()
        change(
            made, HELD, key_file=None, keystore_file="signer.json", passphrase_file="passphrase",
            guards={"clock_skew_seconds": None, "new_lanes": 0},
        )  # fmt: skip
        secret = made.folder / "program.key"
        secret.write_text(keys[WITH_PROGRAM].hex())
        change(
            made, WITH_PROGRAM, key_file=None,
            signer_address=checksum_address(address_of(keys[WITH_PROGRAM])),
            signer_command=[sys.executable, signing_program.__file__, str(secret)],
        )  # fmt: skip
        made.network.start()
        made.license(MeterKind.TOKENS, 3)
        made.put_rosters()
        yield made


def change(here: Committee, index: int, **settings: Any) -> Path:
    """Change some settings of a node, from its next start on."""
    config = here.network.config_file(index)
    config.write_text(json.dumps({**json.loads(config.read_text()), **settings}))
    return config


def command(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout + done.stderr


def preflight(config: Path) -> tuple[int, dict[str, Any], dict[str, dict[str, Any]]]:
    """Exit code, verdict, findings by what they are about."""
    code, printed = command("preflight", "--json", "--config", config)
    found = json.loads(printed)
    return code, found, {finding["what"]: finding for finding in found.pop("findings")}


def meter(here: Committee, epoch: int) -> None:
    """A new lane with some receipts in an epoch."""
    here.lane(1).meter(*([1_000] * 4), at_ms=here.at_ms(epoch))
    here.ship()


def signers_of(here: Committee, submitted: SubmittedReport) -> set[int]:
    """Who signed a posted report: 65 bytes each, the signer's number first."""
    return {submitted.signatures[start] for start in range(0, len(submitted.signatures), 65)}


def wait_held(here: Committee, index: int) -> None:
    here.network.wait_until("it is held", lambda: bool(here.network.status(index).get("held")))


def vote_of(here: Committee, index: int, epoch: int) -> dict[str, Any]:
    vote: dict[str, Any] = here.network.get(index, f"/v1/epochs/{epoch}/attempts/0/vote").json()
    return vote


def test_preflight_finds_every_kind_of_key_ready(here: Committee) -> None:
    for index, level in ((HELD, "ok"), (WITH_PROGRAM, "ok"), (2, "warn")):
        code, verdict, found = preflight(here.network.config_file(index))
        assert code == 0, found
        assert (verdict["is_ready"], verdict["is_at_risk"], verdict["signers_up"]) == (True, False, 4)
        assert found["keys"]["level"] == level
        assert found["settings"]["level"] == found["clock"]["level"] == found["signer"]["level"] == "ok"
        assert sum(name.startswith("peer ") for name in found) == 3
    code, printed = command("preflight", "--config", here.network.config_file(2))
    assert code == 0
    assert printed.splitlines()[-1].endswith("Epoch 1 is not at risk.")


def test_preflight_says_what_stands_behind_the_key(here: Committee) -> None:
    signer = checksum_address(address_of(here.network.keys[HELD]))
    contracts, anyone = here.world.contracts, here.world.sender("anyone")
    bonds = contracts.operator_bonds
    config = here.network.config_file(HELD)
    assert preflight(config)[2]["bond"] == {
        "level": "ok",
        "what": "bond",
        "detail": "0 base units are bonded, 0 are asked for",
        "hint": "",
        "is_blocking": False,
    }
    here.world.sender("council").send(bonds.functions.setMinimumBond(5_000_000))
    code, _, found = preflight(config)
    assert (code, found["bond"]["level"]) == (0, "warn")
    assert f"deposit({signer}, 5000000)" in found["bond"]["hint"]
    anyone.send(contracts.token.functions.mint(anyone.address, 5_000_000))
    anyone.send(contracts.token.functions.approve(contracts.deployment.operator_bonds, 5_000_000))
    anyone.send(bonds.functions.deposit(signer, 5_000_000))
    assert preflight(config)[2]["bond"]["level"] == "ok"
    own = Sender(contracts.w3, LocalSigner(here.network.keys[HELD]))
    own.send(bonds.functions.thaw(1))
    found = preflight(config)[2]
    assert found["bond"]["level"] == "warn"
    assert "1 more are thawing and can leave on" in found["bond"]["detail"]
    own.send(bonds.functions.cancelThaw())


def test_inv_44_a_held_node_costs_one_signature_and_nobody_waits(here: Committee) -> None:
    meter(here, 1)
    final = here.settle(1)
    assert signers_of(here, final) == {WITH_PROGRAM, 2, 3}
    here.wait_known_final(HELD, 1)
    assert "NOT SIGNING epoch 1 until 6 h after its cut-off: new_lanes" in here.log_of(HELD)


def test_two_held_nodes_wait_for_a_person_and_one_word_is_enough(here: Committee) -> None:
    change(here, WITH_PROGRAM, guards={"clock_skew_seconds": None, "new_lanes": 0})
    here.network.stop(WITH_PROGRAM)
    here.network.start(WITH_PROGRAM)
    meter(here, 2)
    here.close_period(2)
    for index in (HELD, WITH_PROGRAM):
        wait_held(here, index)
        vote = vote_of(here, index, 2)
        assert vote["signature"] is None  # it shows what it holds, and does not sign it
    assert here.world.reader.report_hash(2) == bytes(32)

    config = here.network.config_file(HELD)
    code, printed = command("guards", "--config", config)
    assert code == 4
    assert "HELD epoch 2: new_lanes, all licenses: 1 lanes count for the first time" in printed
    assert preflight(config)[2]["held"]["level"] == "warn"
    shown = json.loads(command("epoch", "show", "--epoch", 2, "--json", "--config", config)[1])
    assert (shown["transaction"], shown["report_hash"]) == (None, vote_of(here, HELD, 2)["report_hash"])
    code, printed = command("epoch", "approve", "--epoch", 2, "--config", config)
    assert code == 0
    final = here.wait_final(2)
    assert signers_of(here, final) == {HELD, 2, 3}
    assert command("guards", "--config", config)[0] == 0
    assert "signing epoch 2 as approved: new_lanes" in here.log_of(HELD)
    here.network.wait_until("it is over", lambda: here.network.status(WITH_PROGRAM)["held"] == [])


def test_an_approval_outlives_a_crash_and_the_epoch_not(here: Committee) -> None:
    meter(here, 3)
    here.close_period(3)
    wait_held(here, HELD)
    here.network.kill(HELD)
    assert command("epoch", "approve", "--epoch", 3, "--config", here.network.config_file(HELD))[0] == 0
    here.network.start(HELD)
    assert HELD in signers_of(here, here.wait_final(3))
    meter(here, 4)
    here.close_period(4)
    wait_held(here, HELD)
    assert command("epoch", "approve", "--epoch", 4, "--config", here.network.config_file(HELD))[0] == 0
    here.wait_final(4)


def test_without_a_key_a_node_computes_the_same_and_neither_signs_nor_sends(here: Committee) -> None:
    config = change(here, 3, key_file=None)
    here.network.stop(3)
    here.network.start(3)
    before = here.log_of(3)
    assert preflight(config)[2]["keys"]["detail"].startswith("no key: dry run")
    here.lanes[0].meter(7, at_ms=here.at_ms(5))
    here.ship()
    final = here.settle(5)
    assert signers_of(here, final) == {HELD, WITH_PROGRAM, 2}
    here.wait_known_final(3, 5)
    shown = here.network.get(3, "/v1/epochs/5").json()
    assert shown["report_hash"] == "0x" + final.report_hash.hex()
    assert shown["report"] is not None  # its own, not only what the others had
    assert here.network.get(3, "/v1/epochs/5/attempts/0/vote").status_code == 404
    said = here.log_of(3).removeprefix(before)
    assert "built epoch 5" in said
    assert "signed epoch" not in said
    change(here, 3, key_file="signer.key")
    here.network.stop(3)
    here.network.start(3)
    here.wait_known_final(3, 5)


def test_a_program_that_is_gone_costs_one_signature_and_no_receipt(here: Committee) -> None:
    change(here, WITH_PROGRAM, guards=None, signer_command=["/nonexistent/signer"])
    here.network.stop(WITH_PROGRAM)
    here.network.start(WITH_PROGRAM)
    code, _, found = preflight(here.network.config_file(WITH_PROGRAM))
    assert (code, found["keys"]["level"]) == (1, "fail")
    assert "No such file" in found["keys"]["detail"]
    kit = here.lanes[0]
    kit.meter(5, at_ms=here.at_ms(6))
    (answer,) = here.post(kit.batch(), WITH_PROGRAM)
    assert (answer.status_code, answer.json()["count"], "ack" in answer.json()) == (200, kit.count, False)
    (answer,) = here.post(kit.batch(), 2)
    assert "ack" in answer.json()
    final = here.settle(6)
    assert signers_of(here, final) == {HELD, 2, 3}
    assert final.report.lines[0].cumulative_units == 4 * 4_000 + 7 + 5


def test_preflight_names_what_is_wrong_and_whether_the_epoch_is_at_risk(
    here: Committee, tmp_path: Path
) -> None:
    here.network.stop(3)
    code, verdict, found = preflight(here.network.config_file(2))
    down = next(finding for finding in found.values() if finding["level"] == "fail")
    assert (code, verdict["is_ready"], verdict["is_at_risk"]) == (0, True, False)
    assert "no answer" in down["detail"]
    assert down["detail"].endswith("quorum still 3 ≥ 3")
    assert down["hint"].endswith("runbook#peers")
    code, printed = command("peers", "--json", "--config", here.network.config_file(2))
    problems = {peer["url"]: peer["problem"] for peer in json.loads(printed)}
    assert (code, [not problems[url] for url in here.network.urls]) == (1, [True, True, True, False])
    here.network.stop(HELD)
    assert preflight(here.network.config_file(2))[1]["is_at_risk"] is True

    good = json.loads(here.network.config_file(2).read_text())
    good.update(deployment=str(here.folder / "deployment.json"), key_file=str(tmp_path / "key"))
    write_plain_key(tmp_path / "key", here.network.keys[2])
    write_plain_key(tmp_path / "stranger", dev_key(99, "signer"))
    poor = checksum_address(address_of(here.network.keys[2]))
    here.world.chain.rpc("anvil_setBalance", poor, hex(10**15))
    for wrong, what, level, expected_code in (
        ({}, "gas", "ok", 0),
        ({"guards": {"clock_skew_seconds": None}}, "gas", "warn", 0),
        ({"grace_s": 77}, "settings", "fail", 1),
        ({"key_file": str(tmp_path / "stranger")}, "signer", "fail", 1),
        ({"key_file": None}, "keys", "warn", 0),
        ({"database": str(here.network.database(WITH_PROGRAM))}, "database", "fail", 1),
        ({"peers": {}}, "peers", "fail", 1),
    ):
        config = tmp_path / "node.json"
        config.write_text(json.dumps({**good, **wrong}))
        code, _, found = preflight(config)
        assert (found[what]["level"], code) == (level, expected_code), (wrong, found)


def test_preflight_compares_the_endpoints_of_the_chain(here: Committee, tmp_path: Path) -> None:
    good = json.loads(here.network.config_file(2).read_text())
    good.update(deployment=str(here.folder / "deployment.json"), key_file=None)
    config, real = tmp_path / "node.json", good["rpc_url"]
    with (
        Anvil(timestamp=here.world.chain.now()) as fork,
        Anvil(chain_id=7, timestamp=here.world.chain.now()) as foreign,
    ):
        for other, level in (
            (real.replace("127.0.0.1", "localhost"), "ok"),
            ("http://127.0.0.1:9", "warn"),
            (foreign.rpc_url, "fail"),
            (fork.rpc_url, "ok"),
        ):
            config.write_text(json.dumps({**good, "rpc_url": [real, other]}))
            code, _, found = preflight(config)
            seen = [finding["level"] for name, finding in found.items() if name.startswith("endpoint ")]
            assert seen == ["ok", level], found
            is_fork = other == fork.rpc_url
            assert code == int(is_fork)
            assert found.get("endpoints", {"level": "ok"})["level"] == ("fail" if is_fork else "ok")


def test_no_key_is_in_any_log_or_answer(here: Committee) -> None:
    for index, key in enumerate(here.network.keys):
        said = here.log_of(index) + here.network.config_file(index).read_text()
        assert key.hex() not in said.lower()
        assert str(int.from_bytes(key, "big")) not in said
    passphrase = read_passphrase(here.network.config_file(HELD).with_name("passphrase")).decode()
    assert passphrase not in here.log_of(HELD)
