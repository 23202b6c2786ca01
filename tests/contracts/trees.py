"""Merkle-sum trees of notes without any of the checks that honest builders make.

Slow and obvious on purpose. An attacker may give sums that wrap, leaves beyond the count or inner nodes of
their choice; `usufruct_protocol.sumtree` refuses to build those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_hash.auto import keccak

from tests.contracts.wire import Account, account

MAX_UINT96 = 2**96 - 1
EMPTY_ROOT = bytes(32)


@dataclass(frozen=True)
class Node:
    """A node of a tree: what a proof item carries."""

    hash: bytes
    sum: int

    @property
    def item(self) -> bytes:
        """44 bytes, hash ‖ sum."""
        return self.hash + (self.sum & MAX_UINT96).to_bytes(12, "big")


EMPTY = Node(bytes(32), 0)


def word(payee: str, amount: int) -> int:
    """Return the word of a note: payee(20) ‖ amount(12)."""
    return int(payee, 16) << 96 | amount


def leaf(note: int) -> Node:
    """Return the leaf of a word; the zero word is a missing leaf."""
    return Node(keccak(b"\0" + note.to_bytes(32, "big")), note & MAX_UINT96) if note else EMPTY


def parent(left: Node, right: Node) -> Node:
    """Return the node above two; the sum wraps at 2^96 as an unchecked contract's would."""
    return Node(keccak(left.item + right.item), (left.sum + right.sum) & MAX_UINT96)


class RawTree:
    """A tree over words, or over any leaf nodes at all."""

    def __init__(self, words: Sequence[int], *, leaves: Sequence[Node] | None = None) -> None:
        self.words = tuple(words)
        bottom = list(leaves if leaves is not None else map(leaf, words))
        self.count = len(bottom)
        self.depth = max(self.count - 1, 0).bit_length()
        bottom += [EMPTY] * ((1 << self.depth) - self.count)
        self.levels = [bottom]
        while len(self.levels[-1]) > 1:
            row = self.levels[-1]
            self.levels.append([parent(row[i], row[i + 1]) for i in range(0, len(row), 2)])

    @property
    def root(self) -> bytes:
        """The root hash; zero for an empty tree."""
        return self.levels[-1][0].hash if self.count else EMPTY_ROOT

    @property
    def total(self) -> int:
        """The sum that the root carries (wrapped, if the words' amounts wrap)."""
        return self.levels[-1][0].sum if self.count else 0

    def proof(self, index: int) -> bytes:
        """Return the proof of one note."""
        return self.range_proof(index, 0)

    def range_proof(self, start: int, log2_count: int) -> bytes:
        """Return the proof of the aligned range of 2**log2_count notes at `start`."""
        position, items = start >> log2_count, b""
        for level in self.levels[log2_count : self.depth]:
            items += level[position ^ 1].item
            position >>= 1
        return items

    def range_words(self, start: int, log2_count: int) -> tuple[int, ...]:
        """Return the words of a range, zero-padded beyond the count."""
        found = self.words[start : start + (1 << log2_count)]
        return found + (0,) * ((1 << log2_count) - len(found))

    def range_plan(self) -> list[tuple[int, int]]:
        """Return (start, log2) of the ranges that cover all notes: blocks of 256, or the whole small tree."""
        log2 = min(8, self.depth)
        return [(start, log2) for start in range(0, self.count, 1 << log2)]


def reserve_leaf(note: int, salt: bytes) -> Node:
    """Return the leaf of a reserve: keccak(0x02 ‖ word ‖ salt), with the word's amount as its sum."""
    return Node(keccak(b"\2" + note.to_bytes(32, "big") + salt), note & (2**96 - 1))


class Reserve(RawTree):
    """A reserve over (payee, amount), each leaf with a salt of its own."""

    def __init__(self, amounts: Sequence[int], payees: Sequence[Account] | None = None) -> None:
        self.payees = list(payees or (account(f"payee {number}") for number in range(len(amounts))))
        words = [word(who.address, amount) for who, amount in zip(self.payees, amounts, strict=True)]
        self.amounts = tuple(amounts)
        self.salts = [keccak(b"salt %d" % number) for number in range(len(amounts))]
        super().__init__(words, leaves=list(map(reserve_leaf, words, self.salts)))

    @property
    def in_report(self) -> dict[str, Any]:
        """The fields of a report that carries this reserve."""
        return {"reserve_root": self.root, "reserve_total": self.total, "reserve_count": self.count}

    def opening(self, index: int) -> tuple[int, int, bytes, bytes]:
        """Index, word, salt and proof: what its payee must show."""
        return index, self.words[index], self.salts[index], self.proof(index)
