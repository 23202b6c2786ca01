"""A note goes to its payee, or to where exactly that payee signed, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from usufruct_protocol.terms import NoteRedirect

from tests.contracts.evm.chain import Contract, Evm, Reverted
from tests.contracts.evm.world import FOREVER, World
from tests.contracts.trees import RawTree, word
from tests.contracts.wire import SPLITTER, ZERO_ADDRESS, Account, account, sign, typed_digest

PAYEE, OTHER_PAYEE = account("payee"), account("other payee")
GOAL = account("where the payee wants it")
AMOUNT = 1_000


@dataclass
class Note:
    """Note 0 of an issued tree of two notes of the same amount."""

    world: World
    tree: RawTree
    tree_id: int
    payee: str

    def terms(self, **changes: Any) -> NoteRedirect:
        payee, to = bytes.fromhex(self.payee[2:]), bytes.fromhex(GOAL.address[2:])
        return replace(NoteRedirect(self.tree_id, 0, payee, AMOUNT, to, FOREVER), **changes)

    def signed(self, by: Account, terms: NoteRedirect) -> bytes:
        chain_id, splitter = self.world.evm.chain_id, self.world.splitter.address
        return sign(by.key, typed_digest(SPLITTER, chain_id, splitter, "NoteRedirect", terms)).full

    def redirect(
        self,
        signature: bytes,
        *,
        index: int = 0,
        to: Account | str = GOAL,
        deadline: int = FOREVER,
    ) -> None:
        note, proof = self.tree.words[index], self.tree.proof(index)
        carrier = self.world.people.stranger
        self.world.splitter.redirect(
            self.tree_id, index, note, to, deadline, signature, proof, sender=carrier
        )

    def balance(self, who: Account | str) -> int:
        return int(self.world.token.balanceOf(who))


@pytest.fixture
def note(world: World) -> Note:
    return issue_to(world, PAYEE)


def issue_to(world: World, payee: Account | Contract) -> Note:
    tree = RawTree([word(payee.address, AMOUNT), word(OTHER_PAYEE.address, AMOUNT)])
    world.fill_pool(10 * AMOUNT)
    return Note(world, tree, world.issue(tree), payee.address)


def test_inv_32_a_redirect_pays_where_the_payee_signed(note: Note) -> None:
    note.redirect(note.signed(PAYEE, note.terms()))
    assert (note.balance(GOAL), note.balance(PAYEE)) == (AMOUNT, 0)
    assert note.world.splitter.isPaid(note.tree_id, 0)


def test_inv_32_a_redirect_pays_once(note: Note) -> None:
    signature = note.signed(PAYEE, note.terms())
    note.redirect(signature)
    with pytest.raises(Reverted, match="RoyaltySplitter_AlreadyPaid"):
        note.redirect(signature)
    assert note.balance(GOAL) == AMOUNT


def test_inv_32_a_carrier_cannot_change_where_it_goes(note: Note) -> None:
    signature = note.signed(PAYEE, note.terms())
    for to in (note.world.people.stranger, OTHER_PAYEE, note.world.splitter.address):
        with pytest.raises(Reverted, match="RoyaltySplitter_BadRedirectSignature"):
            note.redirect(signature, to=to)


def test_inv_32_a_carrier_cannot_change_when_it_ends(note: Note) -> None:
    signature = note.signed(PAYEE, note.terms(deadline=note.world.evm.timestamp))
    note.world.evm.warp(1)
    with pytest.raises(Reverted, match="RoyaltySplitter_RedirectExpired"):
        note.redirect(signature, deadline=note.world.evm.timestamp - 1)
    with pytest.raises(Reverted, match="RoyaltySplitter_BadRedirectSignature"):
        note.redirect(signature)


def test_a_redirect_works_in_the_second_of_its_deadline(note: Note) -> None:
    deadline = note.world.evm.timestamp
    note.redirect(note.signed(PAYEE, note.terms(deadline=deadline)), deadline=deadline)
    assert note.balance(GOAL) == AMOUNT


def test_inv_32_only_the_payee_can_sign(note: Note) -> None:
    people = note.world.people
    for thief in (people.stranger, people.admin, people.council, people.steward, OTHER_PAYEE):
        with pytest.raises(Reverted, match="RoyaltySplitter_BadRedirectSignature"):
            note.redirect(note.signed(thief, note.terms()))


def test_inv_32_a_signature_for_one_note_moves_no_other(world: World) -> None:
    """Two notes of the same payee and amount: the index and the tree are signed too."""
    same = word(PAYEE.address, AMOUNT)
    world.fill_pool(10 * AMOUNT)
    tree = RawTree([same, same])
    first = Note(world, tree, world.issue(tree), PAYEE.address)
    second = Note(world, tree, world.issue(tree), PAYEE.address)
    signature = first.signed(PAYEE, first.terms())
    with pytest.raises(Reverted, match="RoyaltySplitter_BadRedirectSignature"):
        first.redirect(signature, index=1)
    with pytest.raises(Reverted, match="RoyaltySplitter_BadRedirectSignature"):
        second.redirect(signature)


def test_inv_32_the_signed_amount_must_be_the_notes(note: Note) -> None:
    for amount in (AMOUNT - 1, AMOUNT + 1, 0):
        with pytest.raises(Reverted, match="RoyaltySplitter_BadRedirectSignature"):
            note.redirect(note.signed(PAYEE, note.terms(amount=amount)))


def test_inv_32_a_word_of_the_thiefs_making_is_not_in_the_tree(note: Note) -> None:
    """The thief is the payee of a word of their own, and signs for it: the proof does not hold it."""
    thief = note.world.people.stranger
    terms = note.terms(payee=bytes.fromhex(thief.address[2:]))
    forged = word(thief.address, AMOUNT)
    signature, proof = note.signed(thief, terms), note.tree.proof(0)
    with pytest.raises(Reverted, match="RoyaltySplitter_ProofMismatch"):
        note.world.splitter.redirect(note.tree_id, 0, forged, GOAL, FOREVER, signature, proof, sender=thief)


def test_inv_32_a_redirect_to_nobody_is_refused(note: Note) -> None:
    signature = note.signed(PAYEE, note.terms(to=bytes(20)))
    with pytest.raises(Reverted, match="RoyaltySplitter_ZeroAddress"):
        note.redirect(signature, to=ZERO_ADDRESS)


def test_inv_04_a_redirect_to_a_blocked_wallet_leaves_the_note_payable(note: Note) -> None:
    note.world.token.setBlocked(GOAL, True, sender=note.world.people.stranger)
    with pytest.raises(Reverted, match="RoyaltySplitter_TransferFailed"):
        note.redirect(note.signed(PAYEE, note.terms()))
    assert not note.world.splitter.isPaid(note.tree_id, 0)
    note.world.splitter.claim(note.tree_id, 0, note.tree.words[0], note.tree.proof(0), sender=PAYEE)
    assert note.balance(PAYEE) == AMOUNT


def test_a_blocked_payee_can_redirect_a_note(note: Note) -> None:
    """Being refused by the token does not cost the money: the key still decides where it goes."""
    note.world.token.setBlocked(PAYEE, True, sender=note.world.people.stranger)
    note.redirect(note.signed(PAYEE, note.terms()))
    assert note.balance(GOAL) == AMOUNT


@pytest.mark.parametrize("twist", ["high s", "compact", "empty", "no v", "zero"])
def test_inv_33_a_redirect_signature_has_one_form(note: Note, twist: str) -> None:
    digest = typed_digest(
        SPLITTER, note.world.evm.chain_id, note.world.splitter.address, "NoteRedirect", note.terms()
    )
    made = sign(PAYEE.key, digest)
    forms = {
        "high s": made.high_s.full,
        "compact": made.compact,
        "empty": b"",
        "no v": made.full[:64] + b"\0",
        "zero": bytes(65),
    }
    with pytest.raises(Reverted, match="RoyaltySplitter_BadRedirectSignature"):
        note.redirect(forms[twist])


def test_inv_33_a_redirect_of_another_chain_is_refused(note: Note) -> None:
    elsewhere = issue_to(World(Evm(chain_id=note.world.evm.chain_id + 1)), PAYEE)
    assert (elsewhere.world.splitter.address, elsewhere.tree_id) == (
        note.world.splitter.address,
        note.tree_id,
    )
    with pytest.raises(Reverted, match="RoyaltySplitter_BadRedirectSignature"):
        note.redirect(elsewhere.signed(PAYEE, elsewhere.terms()))


def test_inv_33_a_redirect_for_another_contract_is_refused(note: Note) -> None:
    for contract in (note.world.settlement, note.world.registry, note.world.token):
        digest = typed_digest(
            SPLITTER, note.world.evm.chain_id, contract.address, "NoteRedirect", note.terms()
        )
        with pytest.raises(Reverted, match="RoyaltySplitter_BadRedirectSignature"):
            note.redirect(sign(PAYEE.key, digest).full)


# -- payees that are contracts -------------------------------------------------------------------------------


def wallet_of(world: World, owner: Account) -> Contract:
    return world.evm.deploy("ContractWallet", owner, sender=owner)


def test_inv_32_a_contract_wallet_redirects_by_erc_1271(world: World) -> None:
    owner = account("owner of a wallet")
    note = issue_to(world, wallet_of(world, owner))
    note.redirect(note.signed(owner, note.terms()))
    assert note.balance(GOAL) == AMOUNT


def test_inv_32_a_contract_wallet_that_says_no_is_heard(world: World) -> None:
    owner = account("owner of a wallet")
    wallet = wallet_of(world, owner)
    note = issue_to(world, wallet)
    wallet.setLocked(True, sender=owner)
    with pytest.raises(Reverted, match="RoyaltySplitter_BadRedirectSignature"):
        note.redirect(note.signed(owner, note.terms()))


def test_inv_32_a_contract_that_knows_no_signatures_cannot_be_spoken_for(world: World) -> None:
    note = issue_to(world, world.token)
    with pytest.raises(Reverted, match="RoyaltySplitter_BadRedirectSignature"):
        note.redirect(note.signed(world.people.stranger, note.terms()))
