"""The deploy command: its file of settings, what it writes, and how it goes on after it was killed."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from usufruct_chain import artifacts, contract_set, deploy_file
from usufruct_chain import deploy as deploying
from usufruct_chain.deploy_file import read_config
from usufruct_chain.deployment import Deployment
from usufruct_chain.deployment_check import open_contracts
from usufruct_chain.rpc import Rpc
from usufruct_chain.sender import Sender
from usufruct_protocol.errors import ConfigInvalid
from usufruct_protocol.signing import LocalSigner, address_of, checksum_address

from scripts import deploy as command
from scripts.devchain import Anvil, dev_key

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "scripts" / "deploy.example.toml"
DEPLOYER = dev_key(0, "deployer")
STEPS = len(contract_set.chosen(read_config(EXAMPLE))) + 1
"""Transactions of the example: every contract, and the hand-over."""


class Killed(BaseException):
    """The process is gone: nothing in the code under test catches this."""


@pytest.fixture(scope="module")
def shared_chain() -> Iterator[Anvil]:
    with Anvil(timestamp=1_800_000_000) as chain:
        chain.set_balance([checksum_address(address_of(DEPLOYER))])
        yield chain


@pytest.fixture
def chain(shared_chain: Anvil) -> Iterator[Anvil]:
    snapshot = shared_chain.snapshot()
    yield shared_chain
    shared_chain.set_automine(True)
    shared_chain.revert(snapshot)


@pytest.fixture
def arguments(chain: Anvil, tmp_path: Path) -> list[str]:
    """The command line that deploys the example."""
    (tmp_path / "deployer.key").write_text(DEPLOYER.hex() + "\n")
    (tmp_path / "deploy.toml").write_text(EXAMPLE.read_text())
    return [
        *("--rpc", chain.rpc_url, "--key-file", str(tmp_path / "deployer.key")),
        *("--config", str(tmp_path / "deploy.toml"), "--out", str(tmp_path / "out.json")),
    ]


def sent_by(chain: Anvil) -> int:
    """Transactions that the chain has taken from the deployer, mined or about to be."""
    return int(
        chain.rpc("eth_getTransactionCount", Sender(chain.w3, LocalSigner(DEPLOYER)).address, "pending"), 16
    )


def assert_deployed(chain: Anvil, folder: Path) -> Deployment:
    """All is there and as asked, exactly once, and nothing else is left behind."""
    made = Deployment.load(folder / "out.json")
    open_contracts(chain.w3, made)
    assert sent_by(chain) == STEPS
    assert {path.name for path in folder.iterdir()} == {"deployer.key", "deploy.toml", "out.json"}
    return made


def test_the_command_deploys_writes_the_file_and_says_where(
    chain: Anvil, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 0
    made = assert_deployed(chain, tmp_path)
    said = capsys.readouterr().out
    for name, place in contract_set.chosen(read_config(EXAMPLE)).items():
        assert f"{getattr(made, place)}  {name}\n" in said


def test_json_is_what_the_file_holds(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out.json").read_text())


def test_a_deployment_is_not_replaced(
    chain: Anvil, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.json").write_text("somebody's")
    assert command.main(arguments) == 1
    assert "out.json exists" in capsys.readouterr().err
    assert (tmp_path / "out.json").read_text() == "somebody's"
    assert sent_by(chain) == 0


def test_a_bad_key_is_reported_without_showing_it(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deployer.key").write_text("c0ffee" * 3)
    assert command.main(arguments) == 1
    said = capsys.readouterr().err
    assert "does not hold 64 hex digits" in said
    assert "c0ffee" not in said
    assert not (tmp_path / "out.json").exists()


def test_another_chain_than_the_config_names_is_refused(
    chain: Anvil, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "deploy.toml"
    config.write_text(config.read_text().replace("chain_id = 31337", "chain_id = 1"))
    assert command.main(arguments) == 1
    assert "serves chain 31337, the deployment is on chain 1" in capsys.readouterr().err
    assert sent_by(chain) == 0


def inside_brownie(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Have it look as if Brownie ran the script, connected to a chain."""
    brownie = SimpleNamespace(
        network=SimpleNamespace(is_connected=lambda: True),
        web3=SimpleNamespace(provider=SimpleNamespace(endpoint_uri=endpoint)),
    )
    monkeypatch.setitem(sys.modules, "brownie", brownie)


def test_brownie_runs_the_same_on_the_chain_it_is_connected_to(
    chain: Anvil, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside_brownie(monkeypatch, chain.rpc_url)
    monkeypatch.setenv("USUFRUCT_DEPLOY", shlex.join(arguments[2:]))
    assert command.main() == 0
    assert_deployed(chain, tmp_path)
    with pytest.raises(SystemExit):
        command.main()


def test_brownie_without_settings_gets_a_throw_away_deployment(
    chain: Anvil, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inside_brownie(monkeypatch, chain.rpc_url)
    monkeypatch.delenv("USUFRUCT_DEPLOY", raising=False)
    assert command.main() == 0
    made = Deployment(**json.loads(capsys.readouterr().out))
    assert open_contracts(chain.w3, made).deployment == made


# -- killed, and started again ------------------------------------------------------------------------------


def killed_at(arguments: list[str], which: int, *, is_sent: bool) -> None:
    """Run, and die at the n-th transaction, just before or just after the endpoint has it."""
    genuine: Callable[..., Any] = Rpc.request
    seen = 0

    def mortal(self: Rpc, method: str, *params: Any) -> Any:
        nonlocal seen
        seen += method == "eth_sendRawTransaction"
        is_last = method == "eth_sendRawTransaction" and seen == which
        if is_last and not is_sent:
            raise Killed
        answer = genuine(self, method, *params)
        if is_last:
            raise Killed
        return answer

    killed_by(arguments, Rpc, "request", mortal)


def killed_by(arguments: list[str], target: Any, name: str, replacement: Callable[..., Any]) -> None:
    """Run with something replaced that kills it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, name, replacement)
        with pytest.raises(Killed):
            command.main(arguments)


@pytest.mark.parametrize("is_sent", [False, True], ids=["before sending", "after sending"])
def test_a_run_killed_at_every_step_is_continued_and_deploys_nothing_twice(
    chain: Anvil, arguments: list[str], tmp_path: Path, is_sent: bool
) -> None:
    """Every run gets one transaction further, whichever side of the endpoint it dies on."""
    for step in range(STEPS):
        killed_at(arguments, 1 if is_sent or step == 0 else 2, is_sent=is_sent)
        assert sent_by(chain) == (step + 1 if is_sent else step)
        assert not (tmp_path / "out.json").exists()
        state = json.loads((tmp_path / "out.json.state").read_text())
        names = list(contract_set.chosen(read_config(EXAMPLE)))
        assert state["about_to"] == (f"create {names[step]}" if step < len(names) else "hand over")
    assert command.main(arguments) == 0
    assert_deployed(chain, tmp_path)


def test_a_run_killed_while_its_transaction_waits_is_continued(
    chain: Anvil, arguments: list[str], tmp_path: Path
) -> None:
    chain.set_automine(False)
    killed_at(arguments, 1, is_sent=True)
    assert sent_by(chain) == 1
    chain.set_automine(True)
    chain.mine()
    assert command.main(arguments) == 0
    assert_deployed(chain, tmp_path)


def test_a_run_killed_after_the_last_transaction_only_verifies_and_writes(
    chain: Anvil, arguments: list[str], tmp_path: Path
) -> None:
    def die(*_: object, **__: object) -> None:
        raise Killed

    killed_by(arguments, deploying, "verify", die)
    assert sent_by(chain) == STEPS
    killed_by(arguments, Path, "unlink", die)
    assert (tmp_path / "out.json").exists()
    assert command.main(arguments) == 0
    assert_deployed(chain, tmp_path)


@pytest.fixture
def begun(chain: Anvil, arguments: list[str]) -> Anvil:
    """A deployment that was killed at its third transaction."""
    killed_at(arguments, 3, is_sent=False)
    return chain


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert command.main(arguments) == 1
    return capsys.readouterr().err


def test_another_config_does_not_continue_it(
    begun: Anvil, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "deploy.toml"
    config.write_text(config.read_text().replace("note_minimum = 1000000", "note_minimum = 7"))
    said = refusal(arguments, capsys)
    assert "out.json.state is of another deployment: config.note_minimum was 1000000, is 7" in said
    assert sent_by(begun) == 2


@pytest.mark.parametrize("field", ["chain_id", "genesis_block_hash", "deployer", "code_hash"])
def test_another_chain_key_or_version_does_not_continue_it(
    begun: Anvil, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], field: str
) -> None:
    state = tmp_path / "out.json.state"
    content = json.loads(state.read_text())
    content["unfinished_deployment"][field] = "another"
    state.write_text(json.dumps(content))
    assert f"of another deployment: {field} was 'another', is " in refusal(arguments, capsys)
    assert sent_by(begun) == 2


@pytest.mark.parametrize("text", ["", "{}", '{"unfinished_deployment": {}}', "[]"])
def test_a_state_file_that_is_none_is_refused(
    begun: Anvil, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "out.json.state").write_text(text)
    assert "is no state file of a deployment" in refusal(arguments, capsys)
    assert sent_by(begun) == 2


def test_a_nonce_that_somebody_else_used_is_noticed(
    begun: Anvil, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    thief = Sender(begun.w3, LocalSigner(DEPLOYER))
    thief.deploy(artifacts.load_test("PlainToken"))
    said = refusal(arguments, capsys)
    assert "transaction 2 of the deployer did not create LicenseRegistry" in said
    assert sent_by(begun) == 3


def test_a_chain_that_went_back_is_noticed(
    chain: Anvil, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Sender(chain.w3, LocalSigner(DEPLOYER)).deploy(artifacts.load_test("PlainToken"))
    killed_at(arguments, 2, is_sent=False)
    chain.rpc("anvil_setNonce", Sender(chain.w3, LocalSigner(DEPLOYER)).address, "0x0")
    assert "fewer than the state file tells of" in refusal(arguments, capsys)


# -- the file of settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "changed", "message"),
    [
        ("note_minimum = 1000000", "", r"missing fields \['note_minimum'\]"),
        ("note_minimum = 1000000", "note_minimum = 1\nextra = 1", r"unknown fields \['extra'\]"),
        ("note_minimum = 1000000", 'note_minimum = "1"', "note_minimum must be an integer >= 0"),
        ("note_minimum = 1000000", "note_minimum = -1", "note_minimum must be an integer >= 0"),
        ("note_minimum = 1000000", "note_minimum = true", "note_minimum must be an integer >= 0"),
        ("note_minimum = 1000000", "note_minimum = 1.5", "note_minimum must be an integer >= 0"),
        ("note_minimum = 1000000", "note_minimum = ", "is not TOML"),
        ('guardian = "0x11', 'guardian = 7 # "', "guardian must be text"),
        ('templates = ["0xab', 'templates = ["0x', r"templates\[0\] must be 64 hex digits"),
        ("bps = 6000", 'bps = "6000"', r"community\[0\]: bps must be an integer"),
        ("term_ends_at_s = 1900000000", "", r"council: seats\[0\]: missing fields \['term_ends_at_s'\]"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(
    tmp_path: Path, line: str, changed: str, message: str
) -> None:
    path = tmp_path / "deploy.toml"
    assert line in EXAMPLE.read_text()
    path.write_text(EXAMPLE.read_text().replace(line, changed, 1))
    with pytest.raises(ConfigInvalid, match=message) as refused:
        read_config(path)
    assert str(path) in str(refused.value)


def test_a_missing_file_of_settings_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot read"):
        deploy_file.read_config(tmp_path / "none.toml")


def test_the_defaults_that_the_example_shows_are_the_defaults(tmp_path: Path) -> None:
    """What is commented out, with a value, says the same when it is not."""
    shown = EXAMPLE.read_text()
    for line in ("checks_cutoff_block", "thaw_seconds", "delay_seconds", "quorum_percent", "voting_delay"):
        assert f"# {line}" in shown
    uncommented = "\n".join(
        text[2:] if text.startswith(("# [", "# ")) and (" = " in text or text.startswith("# [")) else text
        for text in shown.splitlines()
        if "…" not in text and not text.startswith(("# Epoch", "# The first"))
    )
    path = tmp_path / "deploy.toml"
    path.write_text(uncommented)
    nobody = checksum_address(bytes(20))
    assert read_config(path).checked(nobody) == read_config(EXAMPLE).checked(nobody)
