"""Merkle trees padded to a power of two with zero leaves, where the index fixes the path.

A missing leaf is 32 zero bytes; a node is keccak256(left ‖ right), also when both children are zero, so an
empty subtree has a known hash at every height. Leaves must be hashes of something that is not 64 bytes long,
or an inner node could pass for a leaf. No leaves: root zero. One leaf: the leaf is the root.
"""

from collections.abc import Iterable, Sequence
from itertools import starmap
from struct import Struct
from typing import Final

from usufruct_protocol.eip712 import check_bytes
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256

HASH_SIZE: Final = 32
ZERO_HASH: Final = bytes(HASH_SIZE)
MAX_DEPTH: Final = 64

_PAIR: Final = Struct("64s")


def _zero_tower(depth: int) -> tuple[bytes, ...]:
    tower = [ZERO_HASH]
    for _ in range(depth):
        tower.append(keccak256(tower[-1] + tower[-1]))
    return tuple(tower)


ZERO_TOWER: Final = _zero_tower(MAX_DEPTH)
"""Root of an empty subtree, by height."""


def depth_of(count: int) -> int:
    """Return ⌈log2(count)⌉, the height of the smallest padded tree over `count` leaves; 0 for 0 and 1."""
    return (count - 1).bit_length() if count else 0


def parents(level: Sequence[bytes]) -> list[bytes]:
    """Return the hashes of neighboring pairs; the level must be even. One C loop over the joined bytes."""
    return list(starmap(keccak256, _PAIR.iter_unpack(b"".join(level))))


def padded_root(leaves: Iterable[bytes]) -> bytes:
    """Return the root over 32-byte leaf hashes in the given order."""
    level = list(leaves)
    if not level:
        return ZERO_HASH
    for height in range(depth_of(len(level))):
        level = parents(_even(level, height))
    return level[0]


def padded_levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Return the levels of the tree below its root, bottom up, each padded to an even length.

    What many proofs of one tree have in common: hashing it once serves them all.
    """
    level = list(leaves)
    levels = []
    for height in range(depth_of(len(leaves))):
        levels.append(_even(level, height))
        level = parents(levels[-1])
    return levels


def siblings_in(levels: Sequence[Sequence[bytes]], index: int) -> tuple[bytes, ...]:
    """Return the siblings on the path of leaf `index`, bottom up, out of `padded_levels`."""
    return tuple(level[(index >> height) ^ 1] for height, level in enumerate(levels))


def padded_proof(leaves: Sequence[bytes], index: int) -> bytes:
    """Return the siblings on the path of leaf `index`, bottom up, 32 bytes each.

    Raises: InputRejected if there is no such leaf.
    """
    return b"".join(padded_siblings(leaves, index))


def padded_siblings(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the same siblings one by one, as contracts take them. Raises: InputRejected."""
    if not 0 <= index < len(leaves):
        raise InputRejected(f"leaf {index} is not among {len(leaves)}")
    return siblings_in(padded_levels(leaves), index)


def verify_padded_proof(root: bytes, count: int, index: int, leaf: bytes, proof: bytes) -> bool:
    """Tell whether `leaf` is leaf number `index` of the tree of `count` leaves with this root.

    The proof must have exactly one sibling per level, so neither a shorter path nor an inner node passes.
    """
    check_bytes(leaf, HASH_SIZE, "leaf")
    if not 0 <= index < count or len(proof) != HASH_SIZE * depth_of(count):
        return False
    node = leaf
    for height in range(depth_of(count)):
        sibling = proof[HASH_SIZE * height : HASH_SIZE * (height + 1)]
        node = keccak256(sibling + node if index >> height & 1 else node + sibling)
    return node == root


def _even(level: list[bytes], height: int) -> list[bytes]:
    return [*level, ZERO_TOWER[height]] if len(level) & 1 else level
