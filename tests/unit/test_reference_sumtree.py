"""Note trees against the recursive definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.sumtree import NoteTree, SumTree, note_word, range_words, verify_range

from tests.reference import sumtree as reference

payees = st.binary(min_size=20, max_size=20).filter(any)
amounts = st.one_of(st.integers(1, 9), st.integers(1, 2**64), st.integers(2**64, 2**89))
words = st.builds(note_word, payees, amounts)


@given(st.lists(words, max_size=70), st.data())
def test_roots_and_proofs(notes: list[int], data: st.DataObject) -> None:
    tree, leaves = NoteTree(notes), [reference.note(word) for word in notes]
    expected = reference.root(leaves)
    assert (tree.root, tree.total, tree.depth) == (expected.hash, expected.sum, reference.depth(len(notes)))
    if not notes:
        return
    log2 = data.draw(st.integers(0, tree.depth))
    start = data.draw(st.integers(0, len(notes) - 1)) >> log2 << log2
    proof = reference.proof(leaves, start, log2)
    assert tree.range_proof(start, log2) == proof
    part = range_words(notes, start, log2)
    assert verify_range(expected.hash, expected.sum, len(notes), start, part, proof)


@given(st.lists(st.tuples(st.binary(min_size=32, max_size=32), amounts), max_size=40))
def test_trees_over_any_leaves(leaves: list[tuple[bytes, int]]) -> None:
    tree = SumTree.from_leaves([leaf for leaf, _ in leaves], [amount for _, amount in leaves])
    expected = reference.root([reference.Node(*leaf) for leaf in leaves])
    assert (tree.root, tree.total) == (expected.hash, expected.sum)


@pytest.mark.parametrize("count", [511, 512, 513, 1025, 1536])
@pytest.mark.parametrize("unit", [1, 2**70])
def test_trees_around_the_size_of_the_pieces_they_are_built_in(count: int, unit: int) -> None:
    notes = [note_word(b"\3" * 20, unit * amount) for amount in range(1, count + 1)]
    tree, leaves = NoteTree(notes), [reference.note(word) for word in notes]
    assert (tree.root, tree.total) == (reference.root(leaves).hash, reference.root(leaves).sum)
    for start in (0, 510, count - 1):
        assert tree.proof(start) == reference.proof(leaves, start, 0)
