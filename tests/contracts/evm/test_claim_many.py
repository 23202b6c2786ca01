"""Several notes in one call: all of them, or none and the reason names which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from tests.contracts.evm.chain import Evm, Receipt, Reverted
from tests.contracts.evm.world import World
from tests.contracts.trees import RawTree, word
from tests.contracts.wire import account

PAYEE, OTHER = account("payee"), account("somebody else")
Claim = tuple[int, int, int, bytes]


@dataclass
class Epochs:
    """Trees of three epochs, in each a note of the payee and one of somebody else."""

    world: World
    trees: dict[int, RawTree]

    @classmethod
    def issued(cls, world: World) -> Epochs:
        world.fill_pool(10_000)
        made = [RawTree([word(OTHER.address, 7), word(PAYEE.address, 10 + epoch)]) for epoch in range(3)]
        return cls(world, {world.issue(tree): tree for tree in made})

    def note(self, epoch: int, index: int = 1) -> Claim:
        tree_id = list(self.trees)[epoch]
        tree = self.trees[tree_id]
        return tree_id, index, tree.words[index], tree.proof(index)

    def claim(self, notes: Sequence[Claim]) -> Receipt:
        receipt: Receipt = self.world.splitter.claimMany(list(notes), sender=self.world.people.stranger)
        return receipt

    def balance(self, who: object) -> int:
        return int(self.world.token.balanceOf(who))


@pytest.fixture
def epochs(world: World) -> Epochs:
    return Epochs.issued(world)


def test_notes_of_several_epochs_are_paid_in_one_call(epochs: Epochs) -> None:
    receipt = epochs.claim([epochs.note(2), epochs.note(0), epochs.note(1), epochs.note(1, 0)])
    assert [event.amount for event in receipt.named("NotePaid")] == [12, 10, 11, 7]
    assert (epochs.balance(PAYEE), epochs.balance(OTHER)) == (33, 7)
    assert [epochs.world.splitter.tree(tree_id).paid for tree_id in epochs.trees] == [10, 18, 12]


def test_no_notes_are_nothing(epochs: Epochs) -> None:
    assert epochs.claim([]).events == ()


def test_inv_03_the_same_note_twice_in_one_call_pays_nothing(epochs: Epochs) -> None:
    with pytest.raises(Reverted, match="RoyaltySplitter_AlreadyPaid") as refused:
        epochs.claim([epochs.note(0), epochs.note(1), epochs.note(0)])
    assert refused.value.arguments == epochs.note(0)[:2]
    assert epochs.balance(PAYEE) == 0


def test_one_bad_note_stops_all_and_is_named(epochs: Epochs) -> None:
    tree_id, index, note, proof = epochs.note(1)
    bad = {
        "RoyaltySplitter_AlreadyPaid": (tree_id, 0, epochs.trees[tree_id].words[0], epochs.note(1, 0)[3]),
        "RoyaltySplitter_IndexOutOfRange": (tree_id, 2, note, proof),
        "RoyaltySplitter_BadProofLength": (tree_id, index, note, b""),
        "RoyaltySplitter_ProofMismatch": (tree_id, index, note + 1, proof),
        "RoyaltySplitter_ZeroWord": (tree_id, index, 0, proof),
        "RoyaltySplitter_UnknownTree": (tree_id + 1, index, note, proof),
    }
    epochs.claim([epochs.note(1, 0)])
    for name, claim in bad.items():
        with pytest.raises(Reverted, match=name) as refused:
            epochs.claim([epochs.note(0), claim, epochs.note(2)])
        assert refused.value.arguments[0] == claim[0]
    assert epochs.balance(PAYEE) == 0
    assert not epochs.world.splitter.isPaid(next(iter(epochs.trees)), 1)


def test_inv_04_a_refused_wallet_stops_the_call_and_costs_nobody_a_note(epochs: Epochs) -> None:
    epochs.world.token.setBlocked(OTHER, True, sender=OTHER)
    with pytest.raises(Reverted, match="RoyaltySplitter_TransferFailed") as refused:
        epochs.claim([epochs.note(0), epochs.note(1, 0)])
    assert refused.value.arguments[0] == OTHER.address
    assert epochs.balance(PAYEE) == 0
    epochs.claim([epochs.note(0)])


def test_inv_35_a_callback_claims_none_of_them_again() -> None:
    epochs = Epochs.issued(World(Evm(), "CallbackToken"))
    token, splitter = epochs.world.token, epochs.world.splitter
    notes = [epochs.note(epoch) for epoch in range(3)]
    for inner in ("claimMany", "claim"):
        with epochs.world.evm.undone():
            arguments = ([notes[1], notes[2]],) if inner == "claimMany" else notes[2]
            token.arm(splitter, splitter.calldata(inner, *arguments), 3, sender=PAYEE)
            epochs.claim(notes)
            assert (token.callbacksSucceeded(), token.callbacksFailed()) == (0, 3)
            assert epochs.balance(PAYEE) == 33
