"""The sender against a real chain: reverts, nonces, restarts, races, lost endpoints."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from eth_account import Account
from usufruct_chain import calls
from usufruct_chain.artifacts import load_test
from usufruct_chain.connection import close, connect
from usufruct_chain.reverts import CallReverted
from usufruct_chain.sender import Sender
from usufruct_protocol.errors import ContractRejected, Transient
from usufruct_protocol.signing import LocalSigner, address_of

from scripts.devchain import Anvil, dev_key
from tests.integration.chain_world import USDC, World, unchanged, world


@pytest.fixture(scope="module")
def shared_world() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def here(shared_world: World) -> Iterator[World]:
    with unchanged(shared_world) as made:
        yield made


@contextmanager
def mining_stopped(chain: Anvil) -> Iterator[None]:
    """Transactions stay pending until something mines."""
    chain.set_automine(False)
    try:
        yield
    finally:
        chain.rpc("anvil_dropAllTransactions")
        chain.set_automine(True)


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Start work; the list holds its result, or the error it raised, once the thread has ended."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as error:  # noqa: BLE001  (handed to the test, which looks at it)
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def wait_for_pending(chain: Anvil, count: int) -> None:
    deadline = time.monotonic() + 10
    while int(chain.rpc("txpool_status")["pending"], 16) < count:
        assert time.monotonic() < deadline, "the transaction never reached the pool"
        time.sleep(0.01)


def cancel_offer(here: World, nonce: int) -> Any:
    """A call that succeeds once per account and nonce."""
    return here.contracts.registry.functions.cancelOffer(nonce)


def offer_used(here: World, nonce: int) -> bool:
    views = here.contracts.views.registry
    (used,) = here.reader.query([views.offerUsed(here.sender("steward").address, nonce)])
    return bool(used)


def test_a_call_is_mined_once_and_its_receipt_returned(here: World) -> None:
    receipt = here.sender("steward").send(cancel_offer(here, 1))
    assert (receipt["status"], receipt["from"]) == (1, here.sender("steward").address)
    assert receipt["gasUsed"] > 21_000
    assert offer_used(here, 1)


def test_a_revert_is_decoded_and_costs_nothing(here: World) -> None:
    steward = here.sender("steward")
    steward.send(cancel_offer(here, 1))
    nonce = steward.next_nonce()
    with pytest.raises(ContractRejected) as refused:
        steward.send(cancel_offer(here, 1))
    assert isinstance(refused.value, CallReverted)
    assert refused.value.error_name == "LicenseRegistry_OfferUsed"
    assert refused.value.error_args == {"steward": steward.address, "nonce": 1}
    assert (
        str(refused.value) == f"LicenseRegistry_OfferUsed(steward={steward.address}, nonce=1) in cancelOffer"
    )
    assert steward.next_nonce() == nonce


def test_a_panic_and_a_foreign_error_are_decoded(here: World) -> None:
    with pytest.raises(CallReverted) as refused:
        here.reader.query([here.contracts.views.registry.laneAt(5)])
    assert refused.value.error_args == {"code": 0x32, "meaning": "index out of bounds"}
    with pytest.raises(CallReverted) as refused:
        here.sender("anyone").send(here.contracts.settlement.functions.setNoteMinimum(1))
    assert refused.value.error_name == "AccessManagedUnauthorized"


def test_what_reverts_only_when_mined_is_decoded_too(here: World) -> None:
    """Two accounts carry the same authorization at once; the simulation of each still succeeds."""
    license_id = here.accept()
    here.sender("anyone").send(here.contracts.token.functions.mint(here.sender("buyer").address, 2 * USDC))
    call = calls.deposit_with_authorization(
        here.contracts, license_id, dev_key(0, "buyer"), USDC, bytes([5] * 32)
    )
    with mining_stopped(here.chain):
        loser, outcome = in_thread(lambda: here.sender("anyone").send(call))
        wait_for_pending(here.chain, 1)
        send_over_the_head(here, dev_key(0, "council"), call)
        wait_for_pending(here.chain, 2)
        here.chain.mine()
        loser.join(20)
    (error,) = outcome
    assert isinstance(error, CallReverted)
    assert error.error_name == "TestUSDC_AuthorizationUsed"
    assert "depositWithAuthorization, mined in block" in str(error)
    assert here.reader.account(license_id).deposited == USDC


def test_what_somebody_else_is_about_to_do_is_not_sent_again(here: World) -> None:
    """Nodes that submit the same report find a peer's transaction in the pool before they pay for one."""
    license_id = here.accept()
    here.sender("anyone").send(here.contracts.token.functions.mint(here.sender("buyer").address, 2 * USDC))
    call = calls.deposit_with_authorization(
        here.contracts, license_id, dev_key(0, "buyer"), USDC, bytes([5] * 32)
    )
    with mining_stopped(here.chain):
        first, outcome = in_thread(lambda: here.sender("anyone").send(call))
        wait_for_pending(here.chain, 1)
        with pytest.raises(CallReverted, match="TestUSDC_AuthorizationUsed"):
            here.sender("council").send(call)
        assert here.chain.rpc("txpool_status")["pending"] == "0x1"
        here.chain.mine()
        first.join(20)
    assert outcome[0]["status"] == 1


def send_over_the_head(here: World, key: bytes, call: Any, nonce: int | None = None) -> None:
    """Put a transaction into the pool without simulation, at a fee that gets it mined first."""
    account = Account.from_key(key)
    w3 = here.chain.w3
    fields = call.build_transaction(
        {
            "from": account.address,
            "chainId": here.chain.chain_id,
            "nonce": w3.eth.get_transaction_count(account.address) if nonce is None else nonce,
            "gas": 1_000_000,
            "maxFeePerGas": 900 * 10**9,
            "maxPriorityFeePerGas": 900 * 10**9,
            "value": 0,
        }
    )
    w3.eth.send_raw_transaction(account.sign_transaction(fields).raw_transaction)


def test_a_sender_restarted_mid_way_waits_for_what_its_predecessor_left(here: World) -> None:
    key = dev_key(0, "steward")
    before = Sender(here.chain.w3, LocalSigner(key), receipt_timeout_s=0.3)
    with mining_stopped(here.chain):
        with pytest.raises(Transient, match=r"no receipt for cancelOffer within 0\.3 s"):
            before.send(cancel_offer(here, 1))
        after = Sender(here.chain.w3, LocalSigner(key), receipt_timeout_s=20)
        first_nonce = here.chain.w3.eth.get_transaction_count(after.address)
        sending, outcome = in_thread(lambda: after.send(cancel_offer(here, 2)))
        time.sleep(0.2)
        assert here.chain.rpc("txpool_status")["pending"] == "0x1", "it must not send over the pending one"
        here.chain.mine()
        wait_for_pending(here.chain, 1)
        here.chain.mine()
        sending.join(20)
    (receipt,) = outcome
    assert receipt["status"] == 1
    assert offer_used(here, 1)
    assert offer_used(here, 2)
    assert after.next_nonce() == first_nonce + 2


def test_a_restarted_sender_does_not_do_the_same_thing_twice(here: World) -> None:
    """What the predecessor did is found by simulation once it is mined."""
    key = dev_key(0, "steward")
    with mining_stopped(here.chain):
        with pytest.raises(Transient):
            Sender(here.chain.w3, LocalSigner(key), receipt_timeout_s=0.2).send(cancel_offer(here, 1))
        sending, outcome = in_thread(
            lambda: Sender(here.chain.w3, LocalSigner(key)).send(cancel_offer(here, 1))
        )
        time.sleep(0.1)
        here.chain.mine()
        sending.join(20)
    (error,) = outcome
    assert isinstance(error, CallReverted)
    assert error.error_name == "LicenseRegistry_OfferUsed"


@pytest.mark.parametrize("wanted", [1, 2], ids=["the same again", "something else"])
def test_a_transaction_that_stays_pending_is_replaced_at_a_higher_fee(here: World, wanted: int) -> None:
    key = dev_key(0, "steward")
    with mining_stopped(here.chain):
        with pytest.raises(Transient):
            Sender(here.chain.w3, LocalSigner(key), receipt_timeout_s=0.2).send(cancel_offer(here, 1))
        stuck = here.chain.rpc("txpool_content")["pending"]
        after = Sender(here.chain.w3, LocalSigner(key), receipt_timeout_s=1.0)
        sending, outcome = in_thread(lambda: after.send(cancel_offer(here, wanted)))
        deadline = time.monotonic() + 10
        while here.chain.rpc("txpool_content")["pending"] == stuck:
            assert time.monotonic() < deadline, "the stuck transaction was never replaced"
            time.sleep(0.01)
        here.chain.mine()
        sending.join(20)
    (receipt,) = outcome
    assert receipt["status"] == 1
    assert [offer_used(here, number) for number in (1, 2)] == [wanted == 1, wanted == 2]


def test_a_second_process_with_the_same_key_is_noticed(here: World) -> None:
    key = dev_key(0, "steward")
    sender = Sender(here.chain.w3, LocalSigner(key), receipt_timeout_s=10)
    nonce = sender.next_nonce()
    with mining_stopped(here.chain):
        sending, outcome = in_thread(lambda: sender.send(cancel_offer(here, 1)))
        wait_for_pending(here.chain, 1)
        send_over_the_head(here, key, cancel_offer(here, 2), nonce)
        here.chain.mine()
        sending.join(20)
    (error,) = outcome
    assert isinstance(error, Transient)
    assert f"took nonce {nonce} of cancelOffer" in str(error)
    assert not offer_used(here, 1)


def test_threads_of_one_sender_take_turns(here: World) -> None:
    steward = here.sender("steward")
    started = [
        in_thread(lambda number=number: steward.send(cancel_offer(here, number))) for number in range(8)
    ]
    for thread, _ in started:
        thread.join(20)
    nonces = {
        here.chain.w3.eth.get_transaction(outcome[0]["transactionHash"])["nonce"] for _, outcome in started
    }
    assert len(nonces) == 8
    assert all(offer_used(here, number) for number in range(8))


def test_an_account_that_cannot_pay_gas_says_so(here: World) -> None:
    poor = Sender(here.chain.w3, LocalSigner(dev_key(0, "poor")))
    with pytest.raises(Transient, match=f"{poor.address} cannot pay for gas") as refused:
        poor.send(cancel_offer(here, 1))
    assert refused.value.hint == "top up the account"
    assert here.reader.gas_balance_wei(address_of(dev_key(0, "poor"))) == 0


def test_keys_are_not_shown(here: World) -> None:
    sender = Sender(here.chain.w3, LocalSigner(dev_key(0, "steward")))
    assert dev_key(0, "steward").hex() not in f"{sender!r} {sender}"
    assert sender.address in repr(sender)


def test_an_endpoint_that_went_away_is_transient() -> None:
    with Anvil() as chain:
        w3 = connect(chain.rpc_url, timeout_s=2)
        sender = Sender(w3, LocalSigner(chain.keys[0]))
        assert sender.next_nonce() == 0
    with pytest.raises(Transient, match=r"127\.0\.0\.1 did not answer"):
        sender.next_nonce()
    close(w3)


@pytest.mark.parametrize(
    "options", [{"base_fee": 0}, {"base_fee": 25 * 10**9}, {"block_time": 1, "instant": False}]
)
def test_fees_suit_any_base_fee_and_interval_mining(options: dict[str, Any]) -> None:
    with Anvil(**options) as chain:
        sender = Sender(chain.w3, LocalSigner(chain.keys[0]), receipt_timeout_s=20)
        deployed = sender.deploy(load_test("TestUSDC"))
        token = chain.w3.eth.contract(address=deployed["contractAddress"], abi=load_test("TestUSDC").abi)
        receipt = sender.send(token.functions.mint(sender.address, 5))
        base_fee = chain.w3.eth.get_block(receipt["blockNumber"])["baseFeePerGas"]
        assert receipt["effectiveGasPrice"] >= base_fee
        assert token.functions.balanceOf(sender.address).call() == 5
        if options.get("base_fee") == 0:
            assert base_fee == 0
