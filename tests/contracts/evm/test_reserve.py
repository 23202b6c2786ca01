"""A reserve that was issued pays each leaf once, by word, salt and proof; and it pays what no note pays."""

from __future__ import annotations

import pytest
from usufruct_protocol import sumtree

from tests.contracts.evm.chain import Reverted
from tests.contracts.evm.reserves import (
    Reserve,
    claim_reserve,
    issue_reserve,
    replace_committee,
    settle_with,
)
from tests.contracts.evm.world import World
from tests.contracts.trees import RawTree, word
from tests.contracts.wire import account

AMOUNTS = (100, 250, 7)


@pytest.fixture
def reserve() -> Reserve:
    return Reserve(AMOUNTS)


def issued(world: World, reserve: Reserve) -> int:
    """Fund the pool, finalize a report with this reserve, and have a new committee ask for it; the tree."""
    world.fill_pool(1_000)
    report = settle_with(world, reserve)
    replace_committee(world, report.epoch + 2)
    last = world.settle(**reserve.in_report)
    issue_reserve(world, last)
    return 2 * last.epoch + 1


def test_a_leaf_is_paid_by_word_salt_and_proof(world: World, reserve: Reserve) -> None:
    tree_id = issued(world, reserve)
    assert world.splitter.tree(tree_id).total == sum(AMOUNTS)
    for index in range(3):
        (event,) = claim_reserve(world, tree_id, reserve, index).named("NotePaid")
        assert (event.treeId, event.index, event.amount) == (tree_id, index, AMOUNTS[index])
    assert [world.token.balanceOf(payee) for payee in reserve.payees] == list(AMOUNTS)
    tree = world.splitter.tree(tree_id)
    assert tree.paid == tree.total


def test_inv_29_the_reserve_debits_the_pool_once(world: World, reserve: Reserve) -> None:
    world.fill_pool(1_000)
    report = settle_with(world, reserve)
    replace_committee(world, report.epoch + 2)
    last = world.settle(**reserve.in_report)
    assert world.splitter.pool() == 1_000
    issue_reserve(world, last)
    assert world.splitter.pool() == 1_000 - sum(AMOUNTS)
    with pytest.raises(Reverted, match="UsageSettlement_ReserveAlreadyIssued"):
        issue_reserve(world, last)
    # wound down at the same report, its reserve is not issued again either
    world.wind_down.announceByCouncil(sender=world.people.council)
    world.evm.warp(30 * 86_400)
    world.wind_down.close(last, last, sender=world.people.stranger)
    assert world.splitter.pool() == 1_000 - sum(AMOUNTS)
    assert world.wind_down.reserveTree() == 2 * last.epoch + 1


def test_inv_29_a_reserve_is_not_issued_under_a_pending_report(world: World, reserve: Reserve) -> None:
    """The pending report was measured against a pool that still holds it: its notes would lack cover."""
    world.fill_pool(1_000)
    last = settle_with(world, reserve)
    pending = world.post(notes=RawTree([word(account("a").address, 900)]))
    with pytest.raises(Reverted, match="UsageSettlement_ReportPending"):
        issue_reserve(world, last)
    world.until(world.settlement.state().finalizableAt)
    world.settlement.finalize(pending, sender=world.people.stranger)
    assert world.splitter.pool() == 100


def test_inv_29_no_other_reserve_is_issued(world: World, reserve: Reserve) -> None:
    world.fill_pool(1_000)
    earlier = settle_with(world, reserve)
    replace_committee(world, earlier.epoch + 2)
    last = world.settle(**reserve.in_report)
    with pytest.raises(Reverted, match="UsageSettlement_WrongEpoch"):
        issue_reserve(world, earlier)
    forged = world.report(epoch=last.epoch, reserve_root=b"\1" * 32, reserve_total=1_000, reserve_count=1)
    with pytest.raises(Reverted, match="UsageSettlement_"):
        issue_reserve(world, forged)


def test_inv_30_reserve_and_later_notes_pay_each_accrual_once(world: World, reserve: Reserve) -> None:
    """After the reserve 643 of 1,000 are left: the new committee can issue those, and no more."""
    tree_id = issued(world, reserve)
    rest = 1_000 - sum(AMOUNTS)
    over = RawTree([word(reserve.payees[0].address, rest + 1)])
    with pytest.raises(Reverted, match="UsageSettlement_OverPool"):
        world.post(notes=over)
    notes = RawTree([word(reserve.payees[0].address, rest)])
    note_tree = 2 * world.settle(notes=notes).epoch
    for index in range(3):
        claim_reserve(world, tree_id, reserve, index)
    world.splitter.claim(note_tree, 0, notes.words[0], b"", sender=world.people.stranger)
    received = sum(world.token.balanceOf(payee) for payee in reserve.payees)
    assert received == 1_000
    assert world.splitter.pool() == 0
    assert world.token.balanceOf(world.splitter) == 0


def test_inv_03_a_leaf_is_paid_once(world: World, reserve: Reserve) -> None:
    tree_id = issued(world, reserve)
    claim_reserve(world, tree_id, reserve, 1)
    with pytest.raises(Reverted, match="RoyaltySplitter_AlreadyPaid"):
        claim_reserve(world, tree_id, reserve, 1)
    assert world.token.balanceOf(reserve.payees[1]) == AMOUNTS[1]


def test_inv_05_a_leaf_needs_its_own_salt_index_and_depth(world: World, reserve: Reserve) -> None:
    tree_id = issued(world, reserve)
    index, note, salt, proof = reserve.opening(1)
    splitter, stranger = world.splitter, world.people.stranger
    for wrong in (
        (index, note, reserve.salts[0], proof),
        (0, note, salt, proof),
        (index, note + 1, salt, proof),
        (index, note, bytes(32), proof),
    ):
        with pytest.raises(Reverted, match="RoyaltySplitter_ProofMismatch"):
            splitter.claimReserve(tree_id, *wrong, sender=stranger)
    with pytest.raises(Reverted, match="RoyaltySplitter_IndexOutOfRange"):
        splitter.claimReserve(tree_id, 3, note, salt, proof, sender=stranger)
    for short in (b"", proof[:-1], proof + proof[:44]):
        with pytest.raises(Reverted, match="RoyaltySplitter_BadProofLength"):
            splitter.claimReserve(tree_id, index, note, salt, short, sender=stranger)


def test_a_leaf_of_a_reserve_is_no_note_and_a_note_no_leaf_of_a_reserve(
    world: World, reserve: Reserve
) -> None:
    tree_id = issued(world, reserve)
    splitter, stranger = world.splitter, world.people.stranger
    with pytest.raises(Reverted, match="RoyaltySplitter_ProofMismatch"):
        splitter.claim(tree_id, 0, reserve.words[0], reserve.proof(0), sender=stranger)
    with pytest.raises(Reverted, match="RoyaltySplitter_ProofMismatch"):
        splitter.payRange(tree_id, 0, 2, (*reserve.words, 0), b"", sender=stranger)
    notes = RawTree(reserve.words)
    note_tree = world.issue(notes)
    with pytest.raises(Reverted, match="RoyaltySplitter_NotReserve"):
        splitter.claimReserve(note_tree, *reserve.opening(0), sender=stranger)
    with pytest.raises(Reverted, match="RoyaltySplitter_UnknownTree"):
        splitter.claimReserve(note_tree + 1, *reserve.opening(0), sender=stranger)


def test_inv_07_the_zero_word_of_a_reserve_pays_nothing(world: World) -> None:
    reserve = Reserve((5, 6))
    nothing = Reserve((5, 6))
    nothing.words = (nothing.words[0], 0)
    tree_id = issued(world, reserve)
    with pytest.raises(Reverted, match="RoyaltySplitter_ZeroWord"):
        claim_reserve(world, tree_id, nothing, 1)


def test_inv_02_a_reserve_whose_leaves_exceed_its_total_pays_no_more_than_that(world: World) -> None:
    """Two leaves whose sums wrap: neither proves."""
    reserve = Reserve((2**95 + 7, 2**95))
    assert reserve.total == 7
    tree_id = issued(world, reserve)
    for index in (0, 1):
        with pytest.raises(Reverted, match="RoyaltySplitter_SumOverflow"):
            claim_reserve(world, tree_id, reserve, index)


def test_inv_04_a_refused_leaf_stays_payable(world: World, reserve: Reserve) -> None:
    tree_id = issued(world, reserve)
    world.token.setBlocked(reserve.payees[0], True, sender=world.people.stranger)
    with pytest.raises(Reverted, match="RoyaltySplitter_TransferFailed"):
        claim_reserve(world, tree_id, reserve, 0)
    assert (world.splitter.isPaid(tree_id, 0), world.splitter.tree(tree_id).paid) == (False, 0)
    world.token.setBlocked(reserve.payees[0], False, sender=world.people.stranger)
    claim_reserve(world, tree_id, reserve, 0)


def test_an_empty_reserve_counts_as_issued_and_has_no_tree(world: World) -> None:
    world.fill_pool(1_000)
    epoch = world.settlement.state().lastEpoch
    replace_committee(world, epoch + 2)
    last = world.settle()
    issue_reserve(world, last)
    assert world.settlement.reserveIssuedEpoch() == last.epoch
    assert world.splitter.pool() == 1_000
    with pytest.raises(Reverted, match="RoyaltySplitter_UnknownTree"):
        world.splitter.claimReserve(2 * last.epoch + 1, 0, 1, bytes(32), b"", sender=world.people.stranger)
    world.settle()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_what_nodes_build_is_what_the_contract_pays(world: World, count: int) -> None:
    """The tree and its proofs are the nodes' own, sorted by leaf as they sort it."""
    payees = [account(f"payee {number}") for number in range(count)]
    entries = [
        (sumtree.note_word(bytes.fromhex(payee.address[2:]), 10 + number), bytes((number,)) * 32)
        for number, payee in enumerate(payees)
    ]
    entries.sort(key=lambda entry: sumtree.reserve_leaf(*entry))
    leaves = [sumtree.reserve_leaf(*entry) for entry in entries]
    tree = sumtree.SumTree.from_leaves(leaves, [word_ % 2**96 for word_, _ in entries])
    world.fill_pool(1_000)
    last = world.settle(reserve_root=tree.root, reserve_total=tree.total, reserve_count=tree.count)
    world.settlement.issueReserve(last, sender=world.wind_down)
    for index, (word_, salt) in enumerate(entries):
        claim = (2 * last.epoch + 1, index, word_, salt, tree.proof(index))
        world.splitter.claimReserve(*claim, sender=world.people.stranger)
    assert [world.token.balanceOf(payee) for payee in payees] == [10 + number for number in range(count)]
