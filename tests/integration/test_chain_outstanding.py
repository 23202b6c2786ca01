"""Transactions that wait, vanish, or outlive their process: one nonce, one payment, no outcome forgotten."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from usufruct_chain import calls
from usufruct_chain.outstanding import Journal
from usufruct_chain.reverts import CallReverted
from usufruct_chain.sender import Sender
from usufruct_protocol.errors import ConfigInvalid, InvariantBroken, Transient
from usufruct_protocol.signing import LocalSigner

from scripts.devchain import Anvil, dev_key
from tests.integration.chain_world import USDC, World, unchanged, world
from tests.integration.test_chain_sender import (
    cancel_offer,
    in_thread,
    mining_stopped,
    offer_used,
    send_over_the_head,
    wait_for_pending,
)

STEWARD = LocalSigner(dev_key(0, "steward"))


@pytest.fixture(scope="module")
def shared_world() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def here(shared_world: World) -> Iterator[World]:
    with unchanged(shared_world) as made:
        yield made


def nonce_of(here: World) -> int:
    return int(here.chain.w3.eth.get_transaction_count(here.sender("steward").address))


def pooled(chain: Anvil) -> list[dict[str, Any]]:
    content = chain.rpc("txpool_content")["pending"]
    return [transaction for by_nonce in content.values() for transaction in by_nonce.values()]


def wait_until(what: str, is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def left_pending(here: World, path: Path, number: int = 1) -> Journal:
    """A run that ended while its transaction was pending; what it wrote down is all that is left of it."""
    journal = Journal(path)
    sender = Sender(here.chain.w3, STEWARD, journal=journal, receipt_timeout_s=0.2)
    with pytest.raises(Transient, match="no receipt for cancelOffer"):
        sender.send(cancel_offer(here, number))
    journal.close()
    return journal


def test_fees_of_a_transaction_that_waits_are_raised(here: World) -> None:
    seen: list[str] = []
    sender = Sender(
        here.chain.w3, STEWARD, bump_after_s=0.3, observer=lambda _what, outcome, _fee: seen.append(outcome)
    )
    before = nonce_of(here)
    with mining_stopped(here.chain):
        sending, outcome = in_thread(lambda: sender.send(cancel_offer(here, 1)))
        wait_for_pending(here.chain, 1)
        (first,) = pooled(here.chain)
        wait_until("the fees were never raised", lambda: pooled(here.chain)[0]["hash"] != first["hash"])
        (second,) = pooled(here.chain)
        assert second["nonce"] == first["nonce"]
        for name in ("maxFeePerGas", "maxPriorityFeePerGas"):
            assert int(second[name], 16) >= int(first[name], 16) * 11 // 10
        here.chain.mine()
        sending.join(20)
    (receipt,) = outcome
    assert receipt["transactionHash"].hex() != first["hash"][2:]
    assert (seen[0], seen[1], seen[-1]) == ("sent", "bumped", "included")
    assert nonce_of(here) == before + 1
    assert sender.pending_since is None


def test_a_transaction_that_every_pool_dropped_is_sent_again(here: World) -> None:
    sender = Sender(here.chain.w3, STEWARD, bump_after_s=0.3)
    with mining_stopped(here.chain):
        sending, outcome = in_thread(lambda: sender.send(cancel_offer(here, 1)))
        wait_for_pending(here.chain, 1)
        here.chain.rpc("anvil_dropAllTransactions")
        wait_for_pending(here.chain, 1)
        here.chain.mine()
        sending.join(20)
    assert outcome[0]["status"] == 1


def test_what_somebody_else_did_meanwhile_is_neither_waited_for_nor_sent_again(here: World) -> None:
    """A deposit that another account carried: the waiting one would revert, and gives its nonce away."""
    license_id = here.accept()
    anyone = here.sender("anyone")
    anyone.send(here.contracts.token.functions.mint(here.sender("buyer").address, 2 * USDC))
    call = calls.deposit_with_authorization(
        here.contracts, license_id, dev_key(0, "buyer"), USDC, bytes([5] * 32)
    )
    sender = Sender(here.chain.w3, LocalSigner(dev_key(0, "anyone")), bump_after_s=0.3)
    nonce = sender.next_nonce()
    with mining_stopped(here.chain):
        sending, outcome = in_thread(lambda: sender.send(call))
        wait_for_pending(here.chain, 1)
        here.chain.rpc("anvil_dropAllTransactions")
        send_over_the_head(here, dev_key(0, "council"), call)
        here.chain.mine()
        sending.join(20)
    (error,) = outcome
    assert isinstance(error, CallReverted)
    assert error.error_name == "TestUSDC_AuthorizationUsed"
    assert sender.send(here.contracts.token.functions.mint(sender.address, 1))["status"] == 1
    assert sender.next_nonce() == nonce + 1


SEND_AND_WAIT = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from usufruct_chain.connection import connect
    from usufruct_chain.contracts import Contracts
    from usufruct_chain.deployment import Deployment
    from usufruct_chain.outstanding import Journal
    from usufruct_chain.sender import Sender
    from usufruct_protocol.signing import LocalSigner
    from scripts.devchain import dev_key

    url, deployment, journal = sys.argv[1:]
    contracts = Contracts(connect(url), Deployment.load(deployment))
    signer = LocalSigner(dev_key(0, "steward"))
    Sender(contracts.w3, signer, journal=Journal(Path(journal))).send(
        contracts.registry.functions.cancelOffer(1)
    )
    """
)


def test_a_process_that_is_killed_while_it_waits_pays_once(here: World, tmp_path: Path) -> None:
    """The next process finds the transaction of the killed one, and its receipt is the answer."""
    path, deployment = tmp_path / "pending.json", tmp_path / "deployment.json"
    here.contracts.deployment.save(deployment)
    nonce = nonce_of(here)
    with mining_stopped(here.chain):
        killed = subprocess.Popen(
            [sys.executable, "-c", SEND_AND_WAIT, here.chain.rpc_url, str(deployment), str(path)],
            cwd=Path(__file__).resolve().parents[2],
        )
        try:
            wait_for_pending(here.chain, 1)
        finally:
            killed.send_signal(signal.SIGKILL)
            killed.wait(10)
        (left,) = pooled(here.chain)
        after = Sender(here.chain.w3, STEWARD, journal=Journal(path))
        assert after.pending_since is not None
        sending, outcome = in_thread(lambda: after.send(cancel_offer(here, 1)))
        time.sleep(0.2)
        here.chain.mine()
        sending.join(20)
    (receipt,) = outcome
    assert receipt["transactionHash"].hex() == left["hash"][2:]
    assert nonce_of(here) == nonce + 1
    assert after.pending_since is None
    with pytest.raises(CallReverted, match="LicenseRegistry_OfferUsed"):
        after.send(cancel_offer(here, 1))


def test_a_transaction_written_down_but_never_handed_over_is_sent_by_the_next_run(
    here: World, tmp_path: Path
) -> None:
    path = tmp_path / "pending.json"
    with mining_stopped(here.chain):
        left_pending(here, path)
        here.chain.rpc("anvil_dropAllTransactions")
    receipt = Sender(here.chain.w3, STEWARD, journal=Journal(path)).send(cancel_offer(here, 1))
    assert receipt["status"] == 1
    assert json.loads(path.read_text())["standing"] is None


def test_what_was_mined_while_nobody_looked_is_the_answer(here: World, tmp_path: Path) -> None:
    path = tmp_path / "pending.json"
    nonce = nonce_of(here)
    with mining_stopped(here.chain):
        left_pending(here, path)
        here.chain.mine()
    after = Sender(here.chain.w3, STEWARD, journal=Journal(path))
    assert after.send(cancel_offer(here, 1))["status"] == 1
    assert nonce_of(here) == nonce + 1
    assert after.send(cancel_offer(here, 2))["status"] == 1


def test_looking_back_closes_the_books_without_sending_or_waiting(here: World, tmp_path: Path) -> None:
    path = tmp_path / "pending.json"
    nonce = nonce_of(here)
    with mining_stopped(here.chain):
        left_pending(here, path)
        after = Sender(here.chain.w3, STEWARD, journal=Journal(path))
        after.look_back()
        assert after.pending_since is not None
        here.chain.mine()
    after.look_back()
    assert (after.pending_since, nonce_of(here)) == (None, nonce + 1)
    after.look_back()
    after.close()
    assert Journal(path).standing is None


def test_another_call_takes_the_nonce_of_one_that_stays_pending(here: World, tmp_path: Path) -> None:
    path = tmp_path / "pending.json"
    nonce = nonce_of(here)
    with mining_stopped(here.chain):
        left_pending(here, path)
        after = Sender(here.chain.w3, STEWARD, journal=Journal(path), receipt_timeout_s=1.0)
        sending, outcome = in_thread(lambda: after.send(cancel_offer(here, 2)))
        (first,) = pooled(here.chain)
        wait_until("it was never replaced", lambda: pooled(here.chain)[0]["hash"] != first["hash"])
        kept = json.loads(path.read_text())["standing"]
        assert (len(kept["versions"]), len(kept["replaced"]), kept["nonce"]) == (1, 1, nonce)
        here.chain.mine()
        sending.join(20)
    assert outcome[0]["status"] == 1
    assert [offer_used(here, number) for number in (1, 2)] == [False, True]
    assert nonce_of(here) == nonce + 1


def test_a_reorganization_that_takes_a_transaction_away_costs_nothing(here: World) -> None:
    sender = Sender(here.chain.w3, STEWARD, receipt_timeout_s=5)
    nonce = nonce_of(here)
    here.chain.mine(3)
    sender.send(cancel_offer(here, 1))
    sender.send(cancel_offer(here, 2))
    here.chain.rpc("anvil_reorg", 2, [])
    here.chain.rpc("anvil_dropAllTransactions")
    assert (nonce_of(here), offer_used(here, 1)) == (nonce, False)
    sender.send(cancel_offer(here, 1))
    sender.send(cancel_offer(here, 2))
    assert [offer_used(here, 1), offer_used(here, 2), nonce_of(here)] == [True, True, nonce + 2]


def test_a_nonce_that_a_reorganization_put_out_of_reach_is_given_up(here: World, tmp_path: Path) -> None:
    path = tmp_path / "pending.json"
    sender = here.sender("steward")
    nonce = nonce_of(here)
    here.chain.mine(3)
    sender.send(cancel_offer(here, 7))
    with mining_stopped(here.chain):
        left_pending(here, path)
        here.chain.rpc("anvil_dropAllTransactions")
    here.chain.rpc("anvil_reorg", 1, [])
    here.chain.rpc("anvil_dropAllTransactions")
    assert nonce_of(here) == nonce
    after = Sender(here.chain.w3, STEWARD, journal=Journal(path), receipt_timeout_s=0.5)
    assert after.send(cancel_offer(here, 1))["status"] == 1
    assert nonce_of(here) == nonce + 1


def test_one_process_per_journal_and_one_account(here: World, tmp_path: Path) -> None:
    path = tmp_path / "pending.json"
    with mining_stopped(here.chain):
        left_pending(here, path)
    journal = Journal(path)
    with pytest.raises(ConfigInvalid, match="another process sends with this key"):
        Journal(path)
    other = Sender(here.chain.w3, LocalSigner(dev_key(0, "buyer")), journal=journal)
    with pytest.raises(InvariantBroken, match="the journal holds a transaction of"):
        other.send(cancel_offer(here, 1))
    journal.close()
    assert oct(os.stat(path).st_mode & 0o777) == "0o600"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1, "standing": {"nonce": 1}}'])
def test_a_damaged_journal_stops_the_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pending.json"
    path.write_text(text)
    with pytest.raises(ConfigInvalid, match=r"pending\.json: not readable") as refused:
        Journal(path)
    assert "delete the file" in refused.value.hint


def test_nothing_is_sent_that_could_not_be_written_down(here: World, tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    journal = Journal(folder / "pending.json")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    nonce = nonce_of(here)
    with pytest.raises(Transient, match="No such file"):
        Sender(here.chain.w3, STEWARD, journal=journal).send(cancel_offer(here, 1))
    assert nonce_of(here) == nonce
