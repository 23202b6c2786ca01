"""NoteTree.sol hashes and sums as `usufruct_protocol.sumtree`, the golden vectors and a naive tree do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.sumtree import NoteTree

from tests.contracts.evm.chain import Contract, Reverted
from tests.contracts.trees import EMPTY, Node, RawTree, leaf, parent

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "sumtree.json"
MAX_UINT96 = 2**96 - 1

amounts = st.integers(1, 2**64)
words = st.builds(lambda payee, amount: payee << 96 | amount, st.integers(1, 2**160 - 1), amounts)
note_lists = st.lists(words, min_size=1, max_size=40).map(sorted)
nodes = st.builds(Node, st.binary(min_size=32, max_size=32), st.integers(0, 2**90))


def cases() -> list[dict[str, Any]]:
    loaded: dict[str, list[dict[str, Any]]] = json.loads(VECTORS.read_text())
    return loaded["cases"]


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case['count']} notes")
def test_golden_trees_fold_to_their_roots(note_tree: Contract, case: dict[str, Any]) -> None:
    root, total = unhex(case["root"]), int(case["total"])
    notes = [int(text, 16) for text in case["words"]]
    assert note_tree.depth(case["count"]) == case["depth"]
    for index, proof in case["proofs"].items():
        assert note_tree.foldNote(notes[int(index)], int(index), unhex(proof)) == (root, total)
    for part in case["ranges"]:
        padded = [int(text, 16) for text in part["words"]]
        position = part["start"] >> part["log2"]
        assert note_tree.foldRange(padded, position, unhex(part["proof"])) == (root, total)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 255, 256, 257, 2**31, 2**31 + 1, 2**32 - 1])
def test_depth_is_the_least_that_holds_the_count(note_tree: Contract, count: int) -> None:
    depth = note_tree.depth(count)
    assert 2**depth >= count
    assert depth == 0 or 2 ** (depth - 1) < count


@given(note_lists, st.data())
def test_every_note_and_range_folds_to_the_root_that_python_built(
    note_tree: Contract, notes: list[int], data: st.DataObject
) -> None:
    built, naive = NoteTree(notes), RawTree(notes)
    assert (built.root, built.total) == (naive.root, naive.total)
    assert (built.count, built.depth) == (naive.count, naive.depth)
    index = data.draw(st.integers(0, len(notes) - 1))
    assert built.proof(index) == naive.proof(index)
    assert note_tree.foldNote(notes[index], index, built.proof(index)) == (built.root, built.total)
    log2 = data.draw(st.integers(0, built.depth))
    start = index >> log2 << log2
    proof = built.range_proof(start, log2)
    assert proof == naive.range_proof(start, log2)
    folded = note_tree.foldRange(naive.range_words(start, log2), start >> log2, proof)
    assert folded == (built.root, built.total)


@given(nodes, nodes)
def test_a_node_hashes_as_python_does(note_tree: Contract, left: Node, right: Node) -> None:
    assert note_tree.node(left.hash, left.sum, right.hash, right.sum) == parent(left, right).hash


@given(st.one_of(words, st.integers(0, 2**256 - 1)))
def test_a_leaf_hashes_as_python_does(note_tree: Contract, word: int) -> None:
    assert note_tree.leaf(word) == leaf(word).hash


def test_a_missing_leaf_is_zero_in_hash_and_sum(note_tree: Contract) -> None:
    assert note_tree.leaf(0) == bytes(32)
    assert note_tree.foldRange([0], 0, b"") == (bytes(32), 0)
    assert note_tree.foldRange([0, 0], 0, b"") == (parent(EMPTY, EMPTY).hash, 0)


@given(st.integers(1, 2**160 - 1), st.integers(0, 7), st.data())
def test_inv_06_a_sum_past_96_bits_reverts_wherever_it_arises(
    note_tree: Contract, payee: int, place: int, data: st.DataObject
) -> None:
    """Eight notes that wrap to a total of 7: unchecked, the small root would verify against large notes."""
    filler = [payee << 96 | 1] * 8
    filler[place] = payee << 96 | MAX_UINT96
    tree = RawTree(filler)
    assert tree.total == 6
    with pytest.raises(Reverted, match="SumOverflow"):
        note_tree.foldNote(filler[place], place, tree.proof(place))
    log2 = data.draw(st.integers(0, 3))
    start = place >> log2 << log2
    with pytest.raises(Reverted, match="SumOverflow"):
        note_tree.foldRange(tree.range_words(start, log2), start >> log2, tree.range_proof(start, log2))


def test_inv_06_the_largest_total_that_fits_is_accepted(note_tree: Contract) -> None:
    notes = [1 << 96 | (MAX_UINT96 - 3), 2 << 96 | 1, 3 << 96 | 1, 4 << 96 | 1]
    tree = RawTree(notes)
    assert note_tree.foldRange(notes, 0, b"") == (tree.root, MAX_UINT96)
    assert note_tree.foldNote(notes[0], 0, tree.proof(0)) == (tree.root, MAX_UINT96)


@given(note_lists, st.integers(0, 2**16), st.integers(0, 351))
def test_a_changed_bit_of_a_proof_gives_another_root(
    note_tree: Contract, notes: list[int], which: int, bit: int
) -> None:
    tree = RawTree([*notes, *notes])
    index = which % tree.count
    proof = bytearray(tree.proof(index))
    proof[(bit // 8) % len(proof)] ^= 1 << bit % 8
    try:
        folded = note_tree.foldNote(tree.words[index], index, bytes(proof))
    except Reverted:
        return  # the flipped bit made a sum too large
    assert folded != (tree.root, tree.total)
