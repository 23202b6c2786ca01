"""Note trees: golden cases, limits, and everything that a forger might try against a proof."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.money import MAX_UINT96
from usufruct_protocol.sumtree import (
    ENTRY_SIZE,
    NoteTree,
    SumTree,
    note_leaf,
    note_word,
    pack_words,
    range_plan,
    range_words,
    reserve_leaf,
    split_word,
    verify_proof,
    verify_range,
)

GOLDEN = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "sumtree.json").read_text())["cases"]
payees = st.binary(min_size=20, max_size=20).filter(any)
words = st.builds(note_word, payees, st.integers(1, 2**64) | st.integers(1, 2**88))
note_lists = st.lists(words, min_size=1, max_size=40)


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['count']} notes")
def test_golden_trees_proofs_and_ranges(case: dict[str, Any]) -> None:
    notes = [int(word, 16) for word in case["words"]]
    tree = NoteTree(notes)
    assert (tree.root, tree.total) == (unhex(case["root"]), int(case["total"]))
    assert (tree.count, tree.depth) == (case["count"], case["depth"])
    for index, expected in case["proofs"].items():
        proof = tree.proof(int(index))
        assert proof == unhex(expected)
        assert verify_proof(tree.root, tree.total, tree.count, int(index), notes[int(index)], proof)
    for part in case["ranges"]:
        start, log2 = part["start"], part["log2"]
        expected_words = [int(word, 16) for word in part["words"]]
        assert range_words(notes, start, log2) == expected_words
        assert tree.range_proof(start, log2) == unhex(part["proof"])
        assert verify_range(tree.root, tree.total, tree.count, start, expected_words, unhex(part["proof"]))


def test_an_empty_tree_has_root_zero_and_proves_nothing() -> None:
    tree = NoteTree([])
    assert (tree.root, tree.total, tree.count, tree.depth) == (bytes(32), 0, 0, 0)
    with pytest.raises(InputRejected):
        tree.proof(0)
    assert not verify_proof(tree.root, 0, 0, 0, note_word(b"\1" * 20, 1), b"")
    assert not verify_range(tree.root, 0, 0, 0, [0], b"")


@given(payees, st.integers(1, MAX_UINT96))
def test_words_are_payee_then_amount(payee: bytes, amount: int) -> None:
    word = note_word(payee, amount)
    assert word.to_bytes(32, "big") == payee + amount.to_bytes(12, "big")
    assert split_word(word) == (payee, amount)


@pytest.mark.parametrize(
    ("payee", "amount"),
    [(bytes(20), 1), (b"\1" * 20, 0), (b"\1" * 20, 2**96), (b"\1" * 20, -1), (b"\1" * 19, 1)],
)
def test_a_note_to_nobody_or_of_nothing_is_refused(payee: bytes, amount: int) -> None:
    with pytest.raises(InputRejected):
        note_word(payee, amount)


@pytest.mark.parametrize("bad", [0, 1, MAX_UINT96, 5 << 96, 2**256 | 5, -(5 << 96) + 1])
def test_inv_07_a_tree_holds_no_zero_word_no_payee_zero_no_amount_zero(bad: int) -> None:
    good = note_word(b"\7" * 20, 9)
    with pytest.raises(InputRejected):
        NoteTree([good, bad, good])


def test_inv_06_a_total_past_uint96_is_refused_and_the_largest_is_kept() -> None:
    payee = b"\7" * 20
    full = NoteTree([note_word(payee, MAX_UINT96 - 2**64), note_word(payee, 2**64 - 1), note_word(payee, 1)])
    assert full.total == MAX_UINT96
    for index, word in enumerate(
        [note_word(payee, MAX_UINT96 - 2**64), note_word(payee, 2**64 - 1), note_word(payee, 1)]
    ):
        assert verify_proof(full.root, full.total, full.count, index, word, full.proof(index))
    with pytest.raises(InputRejected, match="uint96"):
        NoteTree([note_word(payee, MAX_UINT96), note_word(payee, 1)])


@given(note_lists, st.data())
def test_inv_05_only_the_right_index_count_and_length_verify(notes: list[int], data: st.DataObject) -> None:
    tree = NoteTree(notes)
    index = data.draw(st.integers(0, len(notes) - 1))
    word, proof = notes[index], tree.proof(index)
    assert verify_proof(tree.root, tree.total, tree.count, index, word, proof)
    other = data.draw(st.integers(-2, 2 * len(notes) + 2))
    assume(other != index and (not 0 <= other < len(notes) or notes[other] != word))
    assert not verify_proof(tree.root, tree.total, tree.count, other, word, proof)
    # The same path spelled with a bit above the depth.
    assert not verify_proof(tree.root, tree.total, tree.count, index + (1 << tree.depth), word, proof)
    assert not verify_proof(tree.root, tree.total, tree.count, index, word, proof + bytes(ENTRY_SIZE))
    assert not proof or not verify_proof(tree.root, tree.total, tree.count, index, word, proof[:-1])
    assert not verify_proof(tree.root, tree.total, 4 * tree.count, index, word, proof)
    assert not verify_proof(tree.root, tree.total, index, index, word, proof)


@given(note_lists, words, st.data())
def test_another_word_root_or_total_never_verifies(notes: list[int], other: int, data: st.DataObject) -> None:
    tree = NoteTree(notes)
    index = data.draw(st.integers(0, len(notes) - 1))
    word, proof = notes[index], tree.proof(index)
    assume(other != word)
    assert not verify_proof(tree.root, tree.total, tree.count, index, other, proof)
    assert not verify_proof(keccak256(tree.root), tree.total, tree.count, index, word, proof)
    assert not verify_proof(tree.root, tree.total + 1, tree.count, index, word, proof)


@given(note_lists.filter(lambda notes: len(notes) > 1), st.data())
def test_a_changed_bit_of_a_proof_never_verifies(notes: list[int], data: st.DataObject) -> None:
    tree = NoteTree(notes)
    index = data.draw(st.integers(0, len(notes) - 1))
    proof = bytearray(tree.proof(index))
    bit = data.draw(st.integers(0, 8 * len(proof) - 1))
    proof[bit // 8] ^= 1 << bit % 8
    assert not verify_proof(tree.root, tree.total, tree.count, index, notes[index], bytes(proof))


@given(note_lists.filter(lambda notes: len(notes) > 2))
def test_inv_05_an_inner_node_is_no_note(notes: list[int]) -> None:
    """A node's 88 bytes can never be a leaf's 33, and its 32-byte hash is no word that hashes to itself."""
    tree = NoteTree(notes)
    upper = tree.range_proof(0, 1)
    node = tree._entry(1, 0)
    forged = int.from_bytes(node[:32], "big")
    assert not verify_proof(tree.root, tree.total, tree.count, 0, forged, upper)
    assert not verify_proof(tree.root, tree.total, (tree.count + 1) // 2, 0, forged, upper)


def test_inv_07_a_zero_word_never_verifies_as_a_note() -> None:
    """A forged tree with a hole inside: the hole folds to the root, and is still not a note."""
    good = note_word(b"\7" * 20, 9)
    leaf = note_leaf(good) + (9).to_bytes(12, "big")
    hole = bytes(ENTRY_SIZE)
    root = keccak256(
        keccak256(leaf + hole) + (9).to_bytes(12, "big") + keccak256(leaf + leaf) + (18).to_bytes(12, "big")
    )
    proof = leaf + keccak256(leaf + leaf) + (18).to_bytes(12, "big")
    assert verify_range(root, 27, 4, 1, [0], proof)  # a range may hold it; nothing is paid for it
    assert not verify_proof(root, 27, 4, 1, 0, proof)


def test_inv_06_amounts_that_wrap_never_verify() -> None:
    """Two notes of 2^95 and one of 7 wrap to a total of 7; the small root must not vouch for them."""
    payee = b"\7" * 20
    big, small = note_word(payee, 2**95), note_word(payee, 7)
    leaf = {word: note_leaf(word) + (word & MAX_UINT96).to_bytes(12, "big") for word in (big, small)}
    left = keccak256(leaf[big] + leaf[big]) + bytes(12)  # 2^96 wrapped to 0
    right = keccak256(leaf[small] + bytes(ENTRY_SIZE)) + (7).to_bytes(12, "big")
    root = keccak256(left + right)
    assert not verify_proof(root, 7, 3, 0, big, leaf[big] + right)
    assert not verify_range(root, 7, 3, 0, [big, big, small, 0], b"")
    assert not verify_proof(root, 2**96 + 7, 3, 0, big, leaf[big] + right)
    assert verify_proof(root, 7, 3, 2, small, bytes(ENTRY_SIZE) + left)  # this path has an honest sum


@given(note_lists, words, st.data())
def test_words_beyond_the_count_never_verify(notes: list[int], extra: int, data: st.DataObject) -> None:
    """A tree that was really built over more leaves than its count says."""
    tree = NoteTree([*notes, extra])
    count = len(notes)
    assume(tree.depth == NoteTree(notes).depth)
    assert not verify_proof(tree.root, tree.total, count, count, extra, tree.proof(count))
    log2 = data.draw(st.integers(0, min(8, tree.depth)))
    start = count >> log2 << log2
    padded = range_words([*notes, extra], start, log2)
    assert verify_range(tree.root, tree.total, count + 1, start, padded, tree.range_proof(start, log2))
    assert not verify_range(tree.root, tree.total, count, start, padded, tree.range_proof(start, log2))


@given(note_lists, st.data())
def test_ranges_must_be_aligned_powers_of_two_within_the_tree(notes: list[int], data: st.DataObject) -> None:
    tree = NoteTree(notes)
    log2 = data.draw(st.integers(0, tree.depth))
    start = data.draw(st.integers(0, len(notes) - 1)) >> log2 << log2
    part, proof = range_words(notes, start, log2), tree.range_proof(start, log2)
    assert verify_range(tree.root, tree.total, tree.count, start, part, proof)
    assert not verify_range(tree.root, tree.total, tree.count, start, part[:-1], proof)
    assert not verify_range(tree.root, tree.total, tree.count, start, [*part, 0], proof)
    assert not verify_range(tree.root, tree.total, tree.count, start + (1 << tree.depth), part, proof)
    for bad_start, bad_log2 in [(start, tree.depth + 1), (start, -1), (len(notes), log2), (-1, log2)]:
        with pytest.raises(InputRejected):
            tree.range_proof(bad_start, bad_log2)
    if log2:
        with pytest.raises(InputRejected):
            tree.range_proof(start + 1, log2)


def test_a_range_that_starts_inside_a_block_never_verifies() -> None:
    """The path above a block is the same from each of its places; only the right one may be named."""
    notes = [note_word(b"\7" * 20, amount) for amount in range(1, 17)]
    tree = NoteTree(notes)
    proof = tree.range_proof(4, 2)
    assert verify_range(tree.root, tree.total, 16, 4, notes[4:8], proof)
    for inside in (5, 6, 7):
        assert not verify_range(tree.root, tree.total, 16, inside, notes[4:8], proof)


def test_no_range_is_wider_than_256() -> None:
    notes = [note_word(b"\7" * 20, amount) for amount in range(1, 513)]
    tree = NoteTree(notes)
    assert verify_range(tree.root, tree.total, 512, 256, notes[256:], tree.range_proof(256, 8))
    assert not verify_range(tree.root, tree.total, 512, 0, notes, b"")
    with pytest.raises(InputRejected):
        tree.range_proof(0, 9)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 255, 256, 257, 300, 512, 70_000])
def test_the_range_plan_covers_every_note_once(count: int) -> None:
    plan = range_plan(count)
    covered = [note for start, log2 in plan for note in range(start, start + (1 << log2)) if note < count]
    assert covered == list(range(count))
    assert len({log2 for _, log2 in plan}) <= 1
    if count > 256:
        assert {log2 for _, log2 in plan} == {8}


def test_every_planned_range_of_a_large_tree_verifies() -> None:
    notes = [note_word(b"\7" * 20, amount) for amount in range(1, 1_301)]
    tree = NoteTree(notes)
    for start, log2 in range_plan(tree.count):
        part = range_words(notes, start, log2)
        assert verify_range(tree.root, tree.total, tree.count, start, part, tree.range_proof(start, log2))


@pytest.mark.parametrize("bad", [-1, 2**256, 2**256 | 9, 2**264])
def test_a_word_of_more_than_256_bits_is_no_note(bad: int) -> None:
    """One bit more would turn the 0x00 that sets a leaf apart into another prefix."""
    root = keccak256((abs(bad) % 2**264).to_bytes(33, "big"))
    assert not verify_proof(root, abs(bad) & MAX_UINT96, 1, 0, bad, b"")
    for function in (note_leaf, split_word, lambda word: reserve_leaf(word, bytes(32))):
        with pytest.raises(InputRejected):
            function(bad)


def test_a_reserve_leaf_is_salted_and_set_apart_from_a_note() -> None:
    word, salt = note_word(b"\7" * 20, 9), b"\5" * 32
    assert reserve_leaf(word, salt) == keccak256(b"\x02" + word.to_bytes(32, "big") + salt)
    assert reserve_leaf(word, salt) != reserve_leaf(word, b"\6" * 32)
    for bad in (b"", bytes(31), bytes(33)):
        with pytest.raises(InputRejected):
            reserve_leaf(word, bad)


def test_a_tree_over_given_leaves_equals_the_note_tree_over_their_words() -> None:
    notes = [note_word(b"\7" * 20, amount) for amount in range(1, 600)]
    tree = SumTree.from_leaves([note_leaf(word) for word in notes], list(range(1, 600)))
    assert (tree.root, tree.total) == (NoteTree(notes).root, NoteTree(notes).total)
    assert tree.proof(598) == NoteTree(notes).proof(598)


@given(note_lists)
def test_a_tree_over_packed_words_equals_the_one_over_the_words(notes: list[int]) -> None:
    packed, tree = NoteTree.from_packed(pack_words(notes)), NoteTree(notes)
    assert (packed.root, packed.total, packed.count) == (tree.root, tree.total, tree.count)


@pytest.mark.parametrize("packed", [bytes(31), bytes(32), b"\7" * 32 + bytes(20) + b"\1" * 12, b"\7" * 33])
def test_packed_words_that_are_no_notes_are_refused(packed: bytes) -> None:
    with pytest.raises(InputRejected):
        NoteTree.from_packed(packed)


@pytest.mark.parametrize(
    ("hashes", "sums"),
    [
        ([bytes(32)], []),
        ([], [1]),
        ([bytes(31)], [1]),
        ([bytes(31), bytes(33)], [1, 1]),
        ([bytes(32)], [0]),
        ([bytes(32), bytes(32)], [1, -1]),
        ([bytes(32), bytes(32)], [MAX_UINT96, 1]),
    ],
)
def test_malformed_leaves_are_refused(hashes: list[bytes], sums: list[int]) -> None:
    with pytest.raises(InputRejected):
        SumTree.from_leaves(hashes, sums)


class Uncountable(list):
    """Claims more elements than a uint32 counts, without having them."""

    def __len__(self) -> int:
        return 2**32


def test_more_than_a_uint32_of_notes_is_refused_before_any_work() -> None:
    with pytest.raises(InputRejected, match="at most"):
        SumTree.from_leaves(Uncountable([bytes(32)]), Uncountable([1]))
