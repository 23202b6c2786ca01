"""Reports, payments and their reading on a real chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from usufruct_chain import calls, signatures, submissions
from usufruct_chain.reverts import CallReverted
from usufruct_protocol.eip712 import epoch_report_hash
from usufruct_protocol.money import SplitBps, split_charge
from usufruct_protocol.report_types import ReportLine
from usufruct_protocol.signing import address_of, checksum_address
from usufruct_protocol.sumtree import NoteTree, note_word, range_plan, range_words
from usufruct_protocol.terms import NoteRedirect

from scripts.devchain import dev_key
from tests.integration.chain_world import USDC, WINDOW_S, World, unchanged, world


@pytest.fixture(scope="module")
def shared_world() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def here(shared_world: World) -> Iterator[World]:
    with unchanged(shared_world) as made:
        yield made


def test_an_empty_report_is_submitted_rejected_resubmitted_and_finalized(here: World) -> None:
    cutoff = here.close_epoch(1)
    first = here.report(cutoff, attempt=0)
    anyone = here.sender("anyone")
    anyone.send(calls.submit_report(here.contracts, first, here.sign(first, 0, 2, 3)))
    state = here.reader.settlement_state(here.reader.head().hash)
    assert (state.pending, state.last_epoch) == (True, 0)
    assert state.finalizable_at_s == here.chain.now() + WINDOW_S
    assert here.reader.report_hash(1) == epoch_report_hash(first)

    here.sender("guardian").send(calls.reject_report(here.contracts, first, "a peer saw other units"))
    state = here.reader.settlement_state(here.reader.head().hash)
    assert (state.pending, state.next_attempt, state.rejections) == (False, 1, 1)
    assert here.reader.report_hash(1) == bytes(32)
    assert here.reader.report_calldata(1) is None
    with pytest.raises(CallReverted) as refused:
        anyone.send(calls.submit_report(here.contracts, first, here.sign(first, 0, 2, 3)))
    assert refused.value.error_name == "UsageSettlement_AttemptTooLow"
    assert refused.value.error_args == {"given": 0, "lowest": 1}

    second = here.report(cutoff, attempt=1)
    anyone.send(calls.submit_report(here.contracts, second, here.sign(second, 1, 2, 3)))
    with pytest.raises(CallReverted, match="UsageSettlement_WindowOpen"):
        anyone.send(calls.finalize_report(here.contracts, second))
    here.chain.advance_to(here.chain.now() + WINDOW_S)
    anyone.send(calls.finalize_report(here.contracts, second))
    head = here.reader.head()
    state = here.reader.settlement_state(head.hash)
    assert (state.pending, state.last_epoch, state.last_finalized_block) == (False, 1, head.number)
    following = here.reader.read(head.hash)
    assert (following.epoch, following.previous_report_hash) == (2, epoch_report_hash(second))
    assert following.previous_period_end_s == second.period_end


def test_inv_21_a_rotation_leaves_the_pending_report_valid(here: World) -> None:
    report = here.report(here.close_epoch(1))
    anyone = here.sender("anyone")
    anyone.send(calls.submit_report(here.contracts, report, here.sign(report, 1, 2, 3)))
    successors = sorted(address_of(dev_key(number, "successor")) for number in range(5))
    rotate = here.contracts.committee.functions.rotate([checksum_address(signer) for signer in successors], 2)
    here.sender("council").send(rotate)
    state = here.reader.read(here.reader.head().hash)
    assert (state.epoch, state.signer_set_version, len(state.signers)) == (1, 1, 4)
    here.chain.advance_to(here.chain.now() + WINDOW_S)
    anyone.send(calls.finalize_report(here.contracts, report))
    state = here.reader.read(here.reader.head().hash)
    assert (state.epoch, state.signer_set_version, state.signers) == (2, 2, tuple(successors))
    stale = here.report(here.close_epoch(2))
    submit = calls.submit_report(here.contracts, stale, here.sign(stale, 0, 1, 2, 3))
    with pytest.raises(CallReverted, match="OracleCommittee_WrongSignature"):
        anyone.send(submit)


def test_inv_33_signatures_for_another_chain_or_contract_are_refused(here: World) -> None:
    report = here.report(here.close_epoch(1))
    keys, real = here.signer_keys(), here.contracts.deployment
    for other in (replace(real, chain_id=1), replace(real, settlement=real.splitter)):
        forged = {index: signatures.sign_report(other, report, keys[index]) for index in range(3)}
        with pytest.raises(CallReverted, match="OracleCommittee_WrongSignature"):
            here.sender("anyone").send(calls.submit_report(here.contracts, report, forged))
    here.sender("anyone").send(calls.submit_report(here.contracts, report, here.sign(report, 0, 1, 2)))


def test_two_signatures_of_four_are_not_enough(here: World) -> None:
    report = here.report(here.close_epoch(1))
    with pytest.raises(CallReverted) as refused:
        here.sender("anyone").send(calls.submit_report(here.contracts, report, here.sign(report, 0, 3)))
    assert str(refused.value) == "OracleCommittee_NotEnoughSignatures(given=2, threshold=3) in submit"


def test_posted_reports_are_read_back_from_calldata(here: World) -> None:
    cutoff = here.close_epoch(1)
    rejected, posted = here.report(cutoff, attempt=0), here.report(cutoff, attempt=4)
    anyone = here.sender("anyone")
    anyone.send(calls.submit_report(here.contracts, rejected, here.sign(rejected, 0, 1, 2)))
    here.sender("guardian").send(calls.reject_report(here.contracts, rejected, "not this one"))
    assert here.reader.report_calldata(1) is None
    signed = here.sign(posted, 0, 1, 3)
    receipt = anyone.send(calls.submit_report(here.contracts, posted, signed))
    found = here.reader.report_calldata(1)
    assert found is not None
    assert found.report == posted
    assert found.signatures == calls.signatures_blob(signed)
    assert (found.transaction_hash, found.block_number) == (
        bytes(receipt["transactionHash"]),
        receipt["blockNumber"],
    )
    assert found.finalizable_at_s == here.chain.now() + WINDOW_S
    assert here.reader.report_calldata(2) is None
    assert here.reader.report_calldata(1, from_block=found.block_number + 1) is None


def test_old_reports_are_found_across_many_log_queries(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "BLOCKS_PER_SEARCH", 3)
    report = here.report(here.close_epoch(1))
    here.settle(report)
    here.chain.mine(20)
    found = here.reader.report_calldata(1)
    assert found is not None
    assert found.report == report


def test_a_report_posted_through_another_contract_is_read_back(here: World) -> None:
    """The AccessManager carries the call here, as a multi-signature wallet would."""
    report = here.report(here.close_epoch(1))
    blob = calls.signatures_blob(here.sign(report, 0, 1, 2))
    inner = here.contracts.settlement.encode_abi("submit", [calls.report_tuple(report), blob])
    manager = here.contracts.access_manager.functions
    here.sender("council").send(manager.execute(here.contracts.deployment.settlement, inner))
    found = here.reader.report_calldata(1)
    assert found is not None
    assert (found.report, found.signatures) == (report, blob)


def test_a_charge_reaches_payees_by_range_claim_and_redirect(here: World) -> None:
    license_id = here.accept()
    here.deposit(license_id, 50 * USDC)
    charge = 20 * USDC
    bps = SplitBps(contributors=7_000, community=1_000, steward=1_000, platform=500, operators=500)
    split = split_charge(0, charge, bps)
    people = [dev_key(number, "patient") for number in range(5)]
    amounts = [1 * USDC, 2 * USDC, 3 * USDC, 4 * USDC, split.contributors - 10 * USDC]
    words = sorted(note_word(address_of(key), amount) for key, amount in zip(people, amounts, strict=True))
    owner = {address_of(key): (key, amount) for key, amount in zip(people, amounts, strict=True)}
    notes = NoteTree(words)
    here.settle(
        here.report(here.close_epoch(1), lines=(ReportLine(license_id, 10_000_000, charge),), notes=notes)
    )

    account = here.reader.account(license_id)
    assert (account.available, account.reserved, account.charged) == (30 * USDC, 0, charge)
    assert (account.cumulative_units, account.deposited, account.withdrawn) == (10_000_000, 50 * USDC, 0)
    tree = here.reader.tree(2)
    assert (tree.root, tree.total, tree.paid, tree.count) == (notes.root, split.contributors, 0, 5)
    assert here.reader.paid_bits(2, 1) == (0,)

    anyone = here.sender("anyone")
    anyone.send(calls.claim_note(here.contracts, 2, 0, words[0], notes.proof(0)))
    payee = (words[1] >> 96).to_bytes(20, "big")
    new_wallet = address_of(dev_key(0, "new wallet"))
    redirect = NoteRedirect(2, 1, payee, owner[payee][1], new_wallet, here.chain.now() + WINDOW_S)
    signature = signatures.sign_redirect(here.contracts.deployment, redirect, owner[payee][0])
    anyone.send(calls.redirect_note(here.contracts, redirect, signature, notes.proof(1)))
    assert here.reader.paid_bits(2, 1) == (0b11,)
    ((start, log2),) = range_plan(notes.count)
    pay = calls.pay_range(
        here.contracts, 2, start, log2, range_words(words, start, log2), notes.range_proof(start, log2)
    )
    anyone.send(pay, gas=calls.range_gas(log2))
    assert here.reader.paid_bits(2, 1) == (0b11111,)
    assert here.reader.tree(2).paid == split.contributors
    wallets = [address for address in owner if address != payee]
    assert here.reader.token_balances(wallets) == tuple(owner[address][1] for address in wallets)
    assert here.reader.token_balances([payee, new_wallet]) == (0, owner[payee][1])

    for party, expected in enumerate((split.community, split.steward, split.platform, split.operators)):
        views = here.contracts.views.splitter
        credit, receiver = here.reader.query(
            [views.shareCredit(license_id, party), views.beneficiary(license_id, party)]
        )
        assert credit == expected
        anyone.send(calls.pay_share(here.contracts, license_id, party))
        assert here.reader.token_balances([bytes.fromhex(receiver[2:])]) == (expected,)
    splitter = bytes.fromhex(here.contracts.deployment.splitter[2:])
    assert here.reader.token_balances([splitter]) == (0,)


def test_a_full_range_of_first_payments_fits_its_gas_limit(here: World) -> None:
    license_id = here.accept()
    here.deposit(license_id, 50 * USDC)
    payees = sorted(address_of(dev_key(number, "many")) for number in range(256))
    words = [note_word(payee, 1_000) for payee in payees]
    notes = NoteTree(words)
    here.settle(
        here.report(here.close_epoch(1), lines=(ReportLine(license_id, 10_000_000, 20 * USDC),), notes=notes)
    )
    call = calls.pay_range(here.contracts, 2, 0, 8, words, notes.range_proof(0, 8))
    receipt = here.sender("anyone").send(call, gas=calls.range_gas(8))
    assert here.reader.paid_bits(2, 1) == (2**256 - 1,)
    assert receipt["gasUsed"] < calls.range_gas(8) * 3 // 4
    assert here.reader.token_balances(payees) == (1_000,) * 256


def test_a_refused_payee_is_skipped_and_the_rest_is_paid(here: World) -> None:
    license_id = here.accept()
    here.deposit(license_id, 50 * USDC)
    payees = sorted(address_of(dev_key(number, "some")) for number in range(4))
    words = [note_word(payee, 1_000) for payee in payees]
    notes = NoteTree(words)
    here.settle(
        here.report(here.close_epoch(1), lines=(ReportLine(license_id, 10_000_000, 20 * USDC),), notes=notes)
    )
    anyone = here.sender("anyone")
    anyone.send(here.contracts.token.functions.setBlocked(checksum_address(payees[2]), True))
    call = calls.pay_range(here.contracts, 2, 0, 2, words, notes.range_proof(0, 2))
    anyone.send(call, gas=calls.range_gas(2))
    assert here.reader.paid_bits(2, 1) == (0b1011,)
    assert here.reader.tree(2).paid == 3_000
