"""Merkle-sum trees by their recursive definition, every leaf of the padded tree spelled out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eth_hash.auto import keccak


@dataclass(frozen=True)
class Node:
    """Hash and sum of a subtree."""

    hash: bytes
    sum: int

    def to_bytes(self) -> bytes:
        """44 bytes: hash ‖ sum."""
        return self.hash + self.sum.to_bytes(12, "big")


MISSING = Node(bytes(32), 0)


def note(word: int) -> Node:
    """A note's leaf, or the missing leaf."""
    return Node(keccak(b"\x00" + word.to_bytes(32, "big")), word % 2**96) if word else MISSING


def depth(count: int) -> int:
    """Least d with 2^d >= count."""
    levels = 0
    while 2**levels < count:
        levels += 1
    return levels


def subtree(leaves: Sequence[Node], start: int, height: int) -> Node:
    """The node over leaves start … start + 2^height - 1; beyond the last there are missing ones."""
    if height == 0:
        return leaves[start] if start < len(leaves) else MISSING
    left = subtree(leaves, start, height - 1)
    right = subtree(leaves, start + 2 ** (height - 1), height - 1)
    return Node(keccak(left.to_bytes() + right.to_bytes()), left.sum + right.sum)


def root(leaves: Sequence[Node]) -> Node:
    """The whole tree."""
    return subtree(leaves, 0, depth(len(leaves)))


def proof(leaves: Sequence[Node], start: int, height: int) -> bytes:
    """Siblings of the subtree of this height at `start`, bottom up."""
    siblings = b""
    for level in range(height, depth(len(leaves))):
        index = start // 2**level
        neighbor = index + 1 if index % 2 == 0 else index - 1
        siblings += subtree(leaves, neighbor * 2**level, level).to_bytes()
    return siblings
