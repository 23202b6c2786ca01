"""Attacks on issued notes: trees that lie, proofs that lie, wallets that refuse, callers that starve.

Every tree here is issued through a report that a quorum signed: the attacker may be the committee itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.contracts.evm.chain import GAS_LIMIT, Reverted
from tests.contracts.evm.world import World
from tests.contracts.trees import EMPTY, Node, RawTree, leaf, parent, word
from tests.contracts.wire import Account, account, keccak

MAX_UINT96 = 2**96 - 1
BEARER = "0x" + "be" * 20


def wallets(count: int) -> list[Account]:
    """People who are paid, named by number."""
    return [account(f"payee {number}") for number in range(count)]


@dataclass
class Issued:
    """A tree on chain and the people in it."""

    world: World
    tree: RawTree
    tree_id: int
    payees: list[Account]

    def claim(
        self, index: int, note: int | None = None, proof: bytes | None = None, gas: int = GAS_LIMIT
    ) -> None:
        note = self.tree.words[index] if note is None else note
        proof = self.tree.proof(index) if proof is None else proof
        self.world.splitter.claim(
            self.tree_id, index, note, proof, sender=self.world.people.stranger, gas=gas
        )

    def pay(self, start: int, log2: int, words: tuple[int, ...] | None = None, gas: int = GAS_LIMIT) -> int:
        words = self.tree.range_words(start, log2) if words is None else words
        proof = self.tree.range_proof(start, log2)
        receipt = self.world.splitter.payRange(
            self.tree_id, start, log2, words, proof, sender=self.world.people.stranger, gas=gas
        )
        return int(receipt.value)

    def balance(self, index: int) -> int:
        return int(self.world.token.balanceOf(self.payees[index]))

    @property
    def paid(self) -> int:
        return int(self.world.splitter.tree(self.tree_id).paid)

    def is_paid(self, index: int) -> bool:
        return bool(self.world.splitter.isPaid(self.tree_id, index))


def issue(world: World, amounts: list[int]) -> Issued:
    """Fund the pool and issue one note of each amount, to a wallet of its own."""
    payees = wallets(len(amounts))
    tree = RawTree([word(payee.address, amount) for payee, amount in zip(payees, amounts, strict=True)])
    return issue_tree(world, tree, payees)


def issue_tree(world: World, tree: RawTree, payees: list[Account], **changes: int) -> Issued:
    """Issue a tree of any shape; the pool gets ten times its total, so that funding never stops it."""
    world.fill_pool(max(10 * tree.total, 10))
    return Issued(world, tree, world.issue(tree, **changes), payees)


# -- each note once ------------------------------------------------------------------------------------------


def test_inv_03_a_claimed_note_cannot_be_claimed_again(world: World) -> None:
    issued = issue(world, [5, 7, 9])
    issued.claim(1)
    with pytest.raises(Reverted, match="RoyaltySplitter_AlreadyPaid"):
        issued.claim(1)
    assert (issued.balance(1), issued.paid) == (7, 7)


def test_inv_03_ranges_skip_what_a_claim_or_a_smaller_range_paid(world: World) -> None:
    issued = issue(world, [1, 2, 4, 8, 16])
    issued.claim(0)
    assert issued.pay(2, 1) == 4 + 8
    assert issued.pay(0, 3) == 2 + 16
    assert issued.pay(0, 3) == 0
    assert [issued.balance(i) for i in range(5)] == [1, 2, 4, 8, 16]
    assert issued.paid == 31


def test_inv_02_should_a_bit_ever_be_lost_the_trees_total_still_holds(world: World) -> None:
    """Nothing that can be called comes here: each proof ends in the tree's root and total, so that notes of
    different indices cannot add up to more, and each index is paid once. The bits are wiped by hand.
    """
    issued = issue(world, [5, 7])
    issued.pay(0, 1)
    wipe_bits(world, issued.tree_id)
    assert not issued.is_paid(0)
    with pytest.raises(Reverted, match="RoyaltySplitter_OverTotal") as refused:
        issued.claim(0)
    assert refused.value.arguments == (issued.tree_id, 17, 12)
    with pytest.raises(Reverted, match="RoyaltySplitter_OverTotal"):
        issued.pay(0, 1)
    assert [issued.balance(0), issued.balance(1), issued.paid] == [5, 7, 12]


def wipe_bits(world: World, tree_id: int) -> None:
    """Set the first 256 paid bits of a tree to 0, in storage."""
    bits = world.splitter.paidBits(tree_id, 0)
    for base in range(32):
        inner = keccak(tree_id.to_bytes(32, "big") + base.to_bytes(32, "big"))
        slot = int.from_bytes(keccak(bytes(32) + inner), "big")
        if world.evm.storage(world.splitter.address, slot) == bits:
            world.evm.set_storage(world.splitter.address, slot, 0)
            return
    pytest.fail("the bits are not where they were")


def test_inv_03_a_note_paid_by_a_range_cannot_be_claimed_or_redirected(world: World) -> None:
    issued = issue(world, [5, 7])
    issued.pay(0, 1)
    with pytest.raises(Reverted, match="RoyaltySplitter_AlreadyPaid"):
        issued.claim(0)
    assert issued.balance(0) == 5


def test_inv_03_bits_of_the_same_root_in_two_trees_are_separate(world: World) -> None:
    """Identical roots recur; keyed by root, the second payment would find the first one's bits."""
    issued = issue(world, [5, 7])
    issued.pay(0, 1)
    again = Issued(world, issued.tree, world.issue(issued.tree), issued.payees)
    assert again.pay(0, 1) == 12
    assert issued.balance(0) == 10


def test_inv_03_bits_do_not_leak_between_bitmap_words(world: World) -> None:
    issued = issue(world, list(range(1, 301)))
    issued.claim(3)
    issued.claim(259)
    assert issued.is_paid(3)
    assert issued.is_paid(259)
    assert not issued.is_paid(2)
    assert not issued.is_paid(258)
    assert issued.world.splitter.paidBits(issued.tree_id, 0) == 1 << 3
    assert issued.world.splitter.paidBits(issued.tree_id, 1) == 1 << 3
    assert issued.pay(0, 8) == sum(range(1, 257)) - 4
    assert issued.pay(256, 8) == sum(range(257, 301)) - 260
    assert issued.paid == sum(range(1, 301))


@pytest.mark.parametrize("start", [0, 8, 248, 256, 264])
def test_inv_03_a_range_marks_its_own_notes_wherever_it_begins(world: World, start: int) -> None:
    issued = issue(world, list(range(1, 273)))
    paid = issued.pay(start, 3)
    assert paid == sum(range(start + 1, start + 9))
    assert [index for index in range(272) if issued.is_paid(index)] == list(range(start, start + 8))
    assert issued.pay(start, 3) == 0
    assert issued.paid == paid


def test_notes_of_a_shared_payee_are_all_paid(world: World) -> None:
    payee = account("payee with three notes")
    same = word(payee.address, 5)
    issued = issue_tree(world, RawTree([same, same, word(payee.address, 6)]), [payee] * 3)
    issued.claim(1)
    assert issued.pay(0, 2) == 11
    assert issued.balance(0) == 16


# -- no tree pays more than it was funded with ---------------------------------------------------------------


def test_inv_06_a_wrapped_sum_never_pays(world: World) -> None:
    """Two notes that wrap to 7: an unchecked contract verified them and paid 2^95."""
    payees = wallets(2)
    tree = RawTree([word(payees[0].address, 2**95 + 7), word(payees[1].address, 2**95)])
    assert tree.total == 7
    issued = issue_tree(world, tree, payees)
    for attack in (lambda: issued.pay(0, 1), lambda: issued.claim(0), lambda: issued.claim(1)):
        with pytest.raises(Reverted, match="SumOverflow"):
            attack()
    assert issued.paid == 0


def test_inv_02_a_root_with_a_smaller_total_than_its_notes_pays_nothing(world: World) -> None:
    payees = wallets(2)
    tree = RawTree([word(payee.address, 10**6) for payee in payees])
    issued = issue_tree(world, tree, payees, notes_total=10)
    for attack in (lambda: issued.pay(0, 1), lambda: issued.claim(0)):
        with pytest.raises(Reverted, match="RoyaltySplitter_ProofMismatch"):
            attack()


def test_inv_02_an_inner_node_that_understates_its_sum_pays_nothing_below_it(world: World) -> None:
    """The root is whole and funded; one half of the tree lies about what is under it."""
    payees = wallets(4)
    tree = RawTree([word(payee.address, 10) for payee in payees])
    left, right = tree.levels[1]
    liar = Node(right.hash, 0)
    tree.levels[1:] = [[left, liar], [parent(left, liar)]]
    issued = issue_tree(world, tree, payees)
    for index in (2, 3):
        with pytest.raises(Reverted, match="RoyaltySplitter_ProofMismatch"):
            issued.claim(index)
    for start, log2 in ((0, 2), (2, 1)):
        with pytest.raises(Reverted, match="RoyaltySplitter_ProofMismatch"):
            issued.pay(start, log2)
    assert issued.pay(0, 1) == 20
    assert issued.paid == tree.total == 20


def test_inv_02_a_leaf_whose_sum_the_tree_hides_is_not_payable(world: World) -> None:
    """Its sibling carries the whole total; the hidden one would come on top of what was funded."""
    payees = wallets(2)
    shown, hidden = (word(payee.address, 10) for payee in payees)
    tree = RawTree([shown, hidden], leaves=[leaf(shown), Node(leaf(hidden).hash, 0)])
    issued = issue_tree(world, tree, payees)
    with pytest.raises(Reverted, match="RoyaltySplitter_ProofMismatch"):
        issued.claim(1)
    with pytest.raises(Reverted, match="RoyaltySplitter_ProofMismatch"):
        issued.pay(0, 1)
    issued.claim(0)
    assert issued.paid == 10 == issued.tree.total


def test_inv_02_the_largest_total_pays_out_whole(world: World) -> None:
    payees = wallets(3)
    amounts = [MAX_UINT96 // 10 - 2, 1, 1]
    tree = RawTree([word(payee.address, amount) for payee, amount in zip(payees, amounts, strict=True)])
    issued = issue_tree(world, tree, payees)
    assert issued.pay(0, 2) == MAX_UINT96 // 10
    assert issued.paid == issued.tree.total


def test_inv_09_a_report_cannot_promise_more_than_the_pool(world: World) -> None:
    world.fill_pool(100)
    payee = wallets(1)[0]
    over = RawTree([word(payee.address, 101)])
    with pytest.raises(Reverted, match="UsageSettlement_OverPool"):
        world.post(notes=over)
    exact = RawTree([word(payee.address, 60)])
    with pytest.raises(Reverted, match="UsageSettlement_OverPool"):
        world.post(notes=exact, reserve_root=b"\1" * 32, reserve_total=41, reserve_count=1)
    world.settle(notes=exact, reserve_root=b"\1" * 32, reserve_total=40, reserve_count=1)
    assert world.splitter.pool() == 40


def test_inv_09_the_reserve_is_not_counted_twice_by_overflow(world: World) -> None:
    world.fill_pool(100)
    tree = RawTree([word(wallets(1)[0].address, 100)])
    with pytest.raises(Reverted, match="UsageSettlement_OverPool"):
        world.post(notes=tree, reserve_root=b"\1" * 32, reserve_total=MAX_UINT96, reserve_count=1)


# -- which note, at which place ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5, 256, 257])
def test_inv_05_an_index_at_or_beyond_the_count_is_refused(world: World, count: int) -> None:
    issued = issue(world, [1] * count)
    last = issued.tree.words[-1]
    aliases = (count, count + (1 << issued.tree.depth), 1 << 31 | (count - 1), 2**32 - 1)
    for index in aliases:
        with pytest.raises(Reverted, match="RoyaltySplitter_IndexOutOfRange"):
            issued.claim(index, last, issued.tree.proof(count - 1))


def test_inv_05_a_note_at_another_index_is_refused(world: World) -> None:
    issued = issue(world, [1, 2, 3, 4])
    for index in (0, 2, 3):
        with pytest.raises(Reverted, match="RoyaltySplitter_ProofMismatch"):
            issued.claim(index, issued.tree.words[1], issued.tree.proof(1))


def test_inv_05_a_proof_of_another_depth_is_refused(world: World) -> None:
    issued = issue(world, [1, 2, 3, 4])
    proof = issued.tree.proof(0)
    for wrong in (b"", proof[:44], proof[:-1], proof + EMPTY.item, proof + b"\0"):
        with pytest.raises(Reverted, match="RoyaltySplitter_BadProofLength"):
            issued.claim(0, proof=wrong)


def test_inv_05_an_inner_node_is_no_leaf(world: World) -> None:
    """Offer the hash of an inner node, and its hash and sum as a word, in the place of a note."""
    issued = issue(world, [1, 2, 3, 4])
    inner = issued.tree.levels[1][0]
    upper_proof = issued.tree.levels[1][1].item
    forged = (int.from_bytes(inner.hash, "big"), int.from_bytes(inner.hash[:20], "big") << 96 | inner.sum)
    for note in forged:
        with pytest.raises(Reverted, match="RoyaltySplitter_BadProofLength"):
            issued.claim(0, note, upper_proof)
        with pytest.raises(Reverted, match="RoyaltySplitter_ProofMismatch"):
            issued.claim(0, note, issued.tree.proof(0))


def test_inv_05_a_leaf_is_no_inner_node(world: World) -> None:
    """A tree whose leaf level holds inner nodes, with a smaller count: what is below them is out of reach."""
    payees = wallets(4)
    deep = RawTree([word(payee.address, 5) for payee in payees])
    shallow = RawTree(deep.words[:2], leaves=deep.levels[1])
    issued = issue_tree(world, shallow, payees)
    assert (shallow.root, shallow.total) == (deep.root, deep.total)
    with pytest.raises(Reverted, match="RoyaltySplitter_BadProofLength"):
        issued.claim(0, deep.words[0], deep.proof(0))
    with pytest.raises(Reverted, match="RoyaltySplitter_ProofMismatch"):
        issued.claim(0, deep.words[0], shallow.proof(0))
    with pytest.raises(Reverted, match=r"RoyaltySplitter_(BadRange|BadProofLength)"):
        world.splitter.payRange(issued.tree_id, 0, 2, deep.words, b"", sender=world.people.stranger)


def test_inv_05_a_note_beyond_the_count_is_out_of_reach(world: World) -> None:
    """Four leaves, a count of three: the fourth is in the root and in the total, and nobody can draw it."""
    payees = wallets(4)
    tree = RawTree([word(payee.address, 5) for payee in payees])
    issued = issue_tree(world, tree, payees, note_count=3)
    with pytest.raises(Reverted, match="RoyaltySplitter_IndexOutOfRange"):
        issued.claim(3)
    with pytest.raises(Reverted, match="RoyaltySplitter_WordsBeyondCount"):
        issued.pay(0, 2)
    with pytest.raises(Reverted, match="RoyaltySplitter_WordsBeyondCount"):
        issued.pay(2, 1)
    with pytest.raises(Reverted, match="RoyaltySplitter_ProofMismatch"):
        issued.pay(0, 2, (*tree.words[:3], 0))
    assert issued.pay(0, 1) == 10
    issued.claim(2)
    assert issued.paid == 15


def test_inv_05_a_whole_range_beyond_the_count_is_refused(world: World) -> None:
    issued = issue(world, [1, 2, 3, 4, 5])
    with pytest.raises(Reverted, match=r"RoyaltySplitter_(IndexOutOfRange|BadRange)"):
        issued.pay(6, 1)
    with pytest.raises(Reverted, match=r"RoyaltySplitter_(IndexOutOfRange|BadRange)"):
        world.splitter.payRange(issued.tree_id, 8, 3, (0,) * 8, b"", sender=world.people.stranger)


@pytest.mark.parametrize(("start", "log2"), [(1, 1), (2, 2), (0, 3), (0, 9), (0, 255)])
def test_a_range_must_be_aligned_and_lie_within_the_tree(world: World, start: int, log2: int) -> None:
    issued = issue(world, [1, 2, 3, 4])
    with pytest.raises(Reverted, match="RoyaltySplitter_BadRange"):
        world.splitter.payRange(issued.tree_id, start, log2, (0,), b"", sender=world.people.stranger)


def test_a_range_needs_exactly_its_words(world: World) -> None:
    issued = issue(world, [1, 2, 3, 4])
    for words in (issued.tree.words[:3], (*issued.tree.words, 0), ()):
        with pytest.raises(Reverted, match="RoyaltySplitter_WrongWordCount"):
            issued.pay(0, 2, words)


def test_a_range_of_swapped_words_is_refused(world: World) -> None:
    issued = issue(world, [1, 2, 3, 4])
    first, second, *rest = issued.tree.words
    with pytest.raises(Reverted, match="RoyaltySplitter_ProofMismatch"):
        issued.pay(0, 2, (second, first, *rest))


def test_a_range_with_a_proof_of_another_depth_is_refused(world: World) -> None:
    issued = issue(world, [1, 2, 3, 4])
    words = issued.tree.range_words(0, 1)
    for proof in (b"", issued.tree.proof(0), issued.tree.range_proof(0, 1)[:-1]):
        with pytest.raises(Reverted, match="RoyaltySplitter_BadProofLength"):
            world.splitter.payRange(issued.tree_id, 0, 1, words, proof, sender=world.people.stranger)


def test_a_tree_that_was_never_issued_pays_nothing(world: World) -> None:
    issued = issue(world, [5])
    for tree_id in (0, issued.tree_id + 1, issued.tree_id + 2, issued.tree_id - 1, 2**64 - 1):
        with pytest.raises(Reverted, match="RoyaltySplitter_UnknownTree"):
            world.splitter.claim(tree_id, 0, issued.tree.words[0], b"", sender=world.people.stranger)
        with pytest.raises(Reverted, match="RoyaltySplitter_UnknownTree"):
            world.splitter.payRange(tree_id, 0, 0, issued.tree.words, b"", sender=world.people.stranger)


def test_inv_08_a_pending_or_rejected_tree_pays_nothing(world: World) -> None:
    world.fill_pool(100)
    tree = RawTree([word(wallets(1)[0].address, 5)])
    report = world.post(notes=tree)
    claim = (2 * report.epoch, 0, tree.words[0], b"")
    with pytest.raises(Reverted, match="RoyaltySplitter_UnknownTree"):
        world.splitter.claim(*claim, sender=world.people.stranger)
    world.settlement.reject(report, "a test", sender=world.people.guardian)
    with pytest.raises(Reverted, match="RoyaltySplitter_UnknownTree"):
        world.splitter.claim(*claim, sender=world.people.stranger)


def test_inv_08_later_reports_leave_an_issued_tree_as_it_was(world: World) -> None:
    issued = issue(world, [5, 7])
    before = world.splitter.tree(issued.tree_id)
    world.issue(RawTree([word(BEARER, 3)]))
    world.settle()
    assert world.splitter.tree(issued.tree_id) == before
    assert issued.pay(0, 1) == 12


# -- words that must not pay ---------------------------------------------------------------------------------


def test_inv_07_the_zero_word_pays_nothing(world: World) -> None:
    payees = wallets(4)
    tree = RawTree([word(payees[0].address, 5), 0, word(payees[2].address, 5), word(payees[3].address, 5)])
    issued = issue_tree(world, tree, payees)
    with pytest.raises(Reverted, match="RoyaltySplitter_ZeroWord"):
        issued.claim(1)
    assert issued.pay(0, 2) == 15
    assert not issued.is_paid(1)


def test_a_note_to_nobody_stays_unpaid(world: World) -> None:
    """No honest builder makes one. The token refuses the zero address, so it counts as a refused wallet."""
    payees = wallets(2)
    tree = RawTree([word("0x0", 5), word(payees[1].address, 7)])
    issued = issue_tree(world, tree, payees)
    with pytest.raises(Reverted, match="RoyaltySplitter_TransferFailed"):
        issued.claim(0)
    assert issued.pay(0, 1) == 7
    assert not issued.is_paid(0)


def test_a_note_of_nothing_moves_nothing(world: World) -> None:
    payees = wallets(2)
    tree = RawTree([word(payees[0].address, 0), word(payees[1].address, 7)])
    issued = issue_tree(world, tree, payees)
    assert issued.pay(0, 1) == 7
    assert issued.paid == 7
    assert issued.balance(0) == 0


# -- wallets that refuse -------------------------------------------------------------------------------------


def test_inv_04_a_blocked_wallet_in_a_range_is_skipped_and_can_be_paid_later(world: World) -> None:
    issued = issue(world, [1, 2, 4, 8])
    world.token.setBlocked(issued.payees[1], True, sender=world.people.stranger)
    assert issued.pay(0, 2) == 1 + 4 + 8
    assert [issued.is_paid(i) for i in range(4)] == [True, False, True, True]
    assert issued.paid == 13
    assert issued.pay(0, 2) == 0
    with pytest.raises(Reverted, match="RoyaltySplitter_TransferFailed"):
        issued.claim(1)
    assert (issued.is_paid(1), issued.paid) == (False, 13)
    world.token.setBlocked(issued.payees[1], False, sender=world.people.stranger)
    assert issued.pay(0, 2) == 2
    assert (issued.is_paid(1), issued.paid, issued.balance(1)) == (True, 15, 2)


def test_inv_04_a_range_of_blocked_wallets_changes_nothing(world: World) -> None:
    issued = issue(world, [1, 2])
    for payee in issued.payees:
        world.token.setBlocked(payee, True, sender=world.people.stranger)
    assert issued.pay(0, 1) == 0
    assert world.splitter.paidBits(issued.tree_id, 0) == 0
    assert issued.paid == 0


def test_inv_04_a_paused_token_costs_nobody_a_turn(world: World) -> None:
    issued = issue(world, [1, 2])
    world.token.setPaused(True, sender=world.people.stranger)
    assert issued.pay(0, 1) == 0
    with pytest.raises(Reverted, match="RoyaltySplitter_TransferFailed"):
        issued.claim(0)
    world.token.setPaused(False, sender=world.people.stranger)
    assert issued.pay(0, 1) == 3


@pytest.mark.parametrize("by_range", [True, False])
def test_inv_04_a_caller_cannot_burn_a_turn_by_giving_little_gas(world: World, by_range: bool) -> None:
    """Whatever the gas, a call either changes nothing or books exactly what moved; nobody loses a note."""
    issued = issue(world, [1, 2, 4, 8])
    outcomes = set()
    for gas in range(30_000, 330_000, 2_500):
        with world.evm.undone():
            try:
                if by_range:
                    issued.pay(0, 2, gas=gas)
                else:
                    issued.claim(2, gas=gas)
            except Reverted:
                outcomes.add("refused")
                assert (issued.paid, world.splitter.paidBits(issued.tree_id, 0)) == (0, 0)
            else:
                outcomes.add("paid")
                moved = [issued.balance(i) for i in range(4)]
                assert moved == [(1, 2, 4, 8)[i] if issued.is_paid(i) else 0 for i in range(4)]
                assert issued.paid == sum(moved)
                # a wallet that takes money was not skipped for want of gas
                assert moved == [1, 2, 4, 8] if by_range else moved == [0, 0, 4, 0]
    assert outcomes == {"refused", "paid"}


def test_inv_08_a_tree_is_issued_once(world: World) -> None:
    """The settlement never asks twice; the splitter would not do it either."""
    issued = issue(world, [10, 20])
    tree = issued.tree
    with pytest.raises(Reverted, match="RoyaltySplitter_TreeExists"):
        world.splitter.issue(issued.tree_id, tree.root, tree.total, tree.count, sender=world.settlement)


@pytest.mark.parametrize("gas", [90_000, 130_000])
def test_inv_04_a_range_that_is_given_too_little_gas_says_so(world: World, gas: int) -> None:
    issued = issue(world, [10, 20])
    with pytest.raises(Reverted, match="RoyaltySplitter_LowGas"):
        issued.pay(0, 1, gas=gas)
    assert issued.paid == 0


@pytest.mark.parametrize(("root_byte", "total"), [(1, 0), (0, 1), (1, 1)])
def test_inv_08_no_notes_have_neither_root_nor_total(world: World, root_byte: int, total: int) -> None:
    root = bytes([root_byte]) * 32
    with pytest.raises(Reverted, match="RoyaltySplitter_BadEmptyTree") as refused:
        world.splitter.issue(99, root, total, 0, sender=world.settlement)
    assert refused.value.arguments == (root, total, 0)


def test_inv_08_no_notes_open_no_tree(world: World) -> None:
    done = world.splitter.issue(98, bytes(32), 0, 0, sender=world.settlement)
    assert not done.events
    assert world.splitter.tree(98)[-1] == 0
