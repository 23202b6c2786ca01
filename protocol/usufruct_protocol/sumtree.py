"""Merkle-sum trees: every node carries the sum below it, so a root can never promise more than its total.

Note:  word = payee (20 bytes) ‖ amount (uint96); leaf hash = keccak256(0x00 ‖ word), leaf sum = amount.
Node:  keccak256(leftHash ‖ leftSum ‖ rightHash ‖ rightSum): 88 bytes, as a sum is 12, so it is never a leaf,
       whose preimage is 33 bytes (65 in the reserve).
Shape: padded to a power of two; the index fixes the path. A missing leaf is the zero word, whose hash and sum
       are both zero; nodes above it hash normally. No leaves: root zero, total zero.
Proof: siblings bottom up, 44 bytes each: hash ‖ sum.
Source: docs/spec.md, notes; RoyaltySplitter.sol
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from operator import add
from struct import pack, unpack
from typing import Final

from usufruct_protocol.eip712 import check_bytes
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.merkle import HASH_SIZE, ZERO_HASH, depth_of
from usufruct_protocol.money import MAX_UINT96, check_uint

SUM_SIZE: Final = 12
ENTRY_SIZE: Final = HASH_SIZE + SUM_SIZE
WORD_SIZE: Final = 32
MAX_COUNT: Final = 2**32 - 1
MAX_RANGE_LOG2: Final = 8
"""A range payment covers at most 256 notes: one word of paid bits on chain."""

_PAIR_SIZE: Final = 2 * ENTRY_SIZE
_PIECE: Final = 512  # entries handled at once: few enough to stay in the processor's cache
_LOWEST_WITH_PAYEE: Final = (1 << 96).to_bytes(WORD_SIZE, "big")
_NOBODY: Final = bytes(20)
_MASK64: Final = 2**64 - 1
_IS_LITTLE_ENDIAN: Final = pack("=H", 1) == pack("<H", 1)


def _zero_tower(depth: int) -> tuple[bytes, ...]:
    tower = [bytes(ENTRY_SIZE)]
    for _ in range(depth):
        tower.append(keccak256(tower[-1] * 2) + bytes(SUM_SIZE))
    return tuple(tower)


_ZERO_TOWER: Final = _zero_tower(MAX_COUNT.bit_length())


def note_word(payee: bytes, amount: int) -> int:
    """Return payee ‖ amount as a 256-bit integer.

    Units:  amount in base units, 1 … 2⁹⁶ − 1.
    Raises: InputRejected for a zero payee, which nobody could be paid at, or a zero amount.
    """
    is_payable = type(payee) is bytes and len(payee) == 20 and payee != _NOBODY
    if not is_payable or type(amount) is not int or not 0 < amount <= MAX_UINT96:
        _refuse_note(payee, amount)
    return int.from_bytes(payee, "big") << 96 | amount


def _refuse_note(payee: bytes, amount: int) -> None:
    if check_bytes(payee, 20, "payee") == _NOBODY:
        raise InputRejected("payee of a note is the zero address")
    if check_uint(amount, 96, "note amount") == 0:
        raise InputRejected(f"note of 0x{payee.hex()} has amount 0")
    raise InputRejected("payee of a note must be plain bytes")


def split_word(word: int) -> tuple[bytes, int]:
    """Return the payee and the amount in base units of a note's word. Raises: InputRejected."""
    check_uint(word, 256, "note word")
    return (word >> 96).to_bytes(20, "big"), word & MAX_UINT96


def pack_words(words: Sequence[int]) -> bytes:
    """Return note words one after another, 32 bytes each. Raises: InputRejected if one is no uint256."""
    try:
        return b"".join([word.to_bytes(WORD_SIZE, "big") for word in words])
    except OverflowError as error:
        raise InputRejected("a note word is no uint256") from error


def unpack_words(packed: bytes) -> tuple[int, ...]:
    """Return the words that `pack_words` laid out. Raises: InputRejected if they are not whole."""
    _check_whole(packed)
    starts = range(0, len(packed), WORD_SIZE)
    return tuple([int.from_bytes(packed[start : start + WORD_SIZE], "big") for start in starts])


def _check_whole(packed: bytes) -> None:
    if len(packed) % WORD_SIZE:
        raise InputRejected(f"{len(packed)} bytes are not whole note words of {WORD_SIZE}")


def note_leaf(word: int) -> bytes:
    """Return the leaf hash of a note: keccak256(0x00 ‖ word). Raises: InputRejected if it is no uint256."""
    return keccak256(b"\x00" + check_uint(word, 256, "note word").to_bytes(32, "big"))


def reserve_leaf(word: int, salt: bytes) -> bytes:
    """Return the leaf hash of a reserve entry: keccak256(0x02 ‖ word ‖ salt).

    The salt is 32 secret bytes: without it, the sibling in a neighbor's proof would give away wallet and
    amount to anyone who tries likely values.
    """
    check_bytes(salt, 32, "reserve salt")
    return keccak256(b"\x02" + check_uint(word, 256, "reserve word").to_bytes(32, "big") + salt)


def range_plan(count: int) -> list[tuple[int, int]]:
    """Return the (start, log2) ranges that pay a tree of `count` notes: blocks of 256, or one smaller block.

    The last block is padded with zero words, so all have the same size min(256, 2^depth).
    """
    log2 = min(MAX_RANGE_LOG2, depth_of(count))
    return [(start, log2) for start in range(0, count, 1 << log2)]


def range_words(words: Sequence[int], start: int, log2: int) -> list[int]:
    """Return the words of an aligned range, zero beyond the last note, as `verify_range` takes them."""
    part = list(words[start : start + (1 << log2)])
    return part + [0] * ((1 << log2) - len(part))


class SumTree:
    """A padded Merkle-sum tree over given leaf hashes and sums; every proof is read off, none recomputed.

    Levels are flat byte strings of 44-byte entries: 1,000,000 leaves hold 88 MB.
    """

    __slots__ = ("_count", "_levels", "_total")

    def __init__(self, hashes: Sequence[bytes], sums: Sequence[int]) -> None:
        """Build all levels over leaf hashes and their sums in base units, in the given order.

        Raises: InputRejected if there are more than 2³² − 1 leaves, their number is not that of the sums, a
                hash is not 32 bytes, a leaf is empty (sum 0), or the total passes uint96.
        """
        if len(hashes) != len(sums) or not {HASH_SIZE}.issuperset(map(len, hashes)):
            raise InputRejected(f"{len(sums)} sums need as many 32-byte leaf hashes, got {len(hashes)}")
        spans = (slice(at, at + _PIECE) for at in range(0, len(hashes), _PIECE))
        self._build(len(sums), ((b"".join(hashes[span]), sums[span]) for span in spans))

    @staticmethod
    def from_leaves(hashes: Sequence[bytes], sums: Sequence[int]) -> "SumTree":
        """Return the tree over these leaf hashes and sums; see the constructor."""
        return SumTree(hashes, sums)

    def _build(self, count: int, pieces: Iterable[tuple[bytes, Sequence[int]]]) -> None:
        """Fill in all levels from (joined leaf hashes, sums), piece by piece.

        Checks what every kind of leaf must keep to. Each sum is touched once per level, while its piece is in
        the processor's cache.
        """
        if count > MAX_COUNT:
            raise InputRejected(f"a tree holds at most 2^32 - 1 leaves, got {count}")
        self._count, self._total = count, 0
        level = bytearray()
        sums_above: list[int] = []
        for hashes, sums in pieces:
            if min(sums) <= 0:
                raise InputRejected(f"a leaf has an amount of {min(sums)}", hint="leave it out")
            self._total += sum(sums)
            if self._total > MAX_UINT96:
                raise InputRejected("leaves sum to more than a uint96 holds")
            level += _interleave(hashes, sums)
            sums_above += _pair_sums(sums)
        self._levels = [level]
        for height in range(depth_of(count)):
            if len(level) % _PAIR_SIZE:
                level += _ZERO_TOWER[height]
            level, sums_above = _level_above(level, sums_above)
            self._levels.append(level)

    @property
    def root(self) -> bytes:
        """Root hash, 32 bytes; zero if there are no leaves."""
        return bytes(self._levels[-1][:HASH_SIZE]) if self._count else ZERO_HASH

    @property
    def total(self) -> int:
        """Sum of all leaves, in base units."""
        return self._total

    @property
    def count(self) -> int:
        """Number of leaves, without padding."""
        return self._count

    @property
    def depth(self) -> int:
        """⌈log2(count)⌉: how many siblings a proof has."""
        return depth_of(self._count)

    def proof(self, index: int) -> bytes:
        """Return the siblings of leaf `index`: 44 × depth bytes. Raises: InputRejected if there is none."""
        return self.range_proof(index, 0)

    def range_proof(self, start: int, log2: int) -> bytes:
        """Return the siblings of the aligned range of 2^log2 leaves at `start`: 44 × (depth − log2) bytes.

        Raises: InputRejected if the range is wider than 256 or than the tree, not aligned, or past the end.
        """
        if not 0 <= log2 <= min(MAX_RANGE_LOG2, self.depth):
            raise InputRejected(f"range of 2^{log2} leaves does not fit a tree of depth {self.depth}")
        if not 0 <= start < self._count or start & ((1 << log2) - 1):
            raise InputRejected(f"no range of 2^{log2} leaves starts at {start} among {self._count}")
        return b"".join(self._entry(height, (start >> height) ^ 1) for height in range(log2, self.depth))

    def _entry(self, height: int, position: int) -> bytes:
        """Return a node's hash ‖ sum. Levels hold an even number of entries, so a sibling is always there."""
        return bytes(self._levels[height][ENTRY_SIZE * position : ENTRY_SIZE * (position + 1)])


class NoteTree(SumTree):
    """The tree of an epoch's notes. Words are payee ‖ amount as integers; duplicates are separate notes."""

    __slots__ = ()

    def __init__(self, words: Sequence[int]) -> None:
        """Build the tree over words in the given order (the report sorts them).

        Raises: InputRejected if a word is no uint256, has a zero payee or a zero amount, or a limit of
                `SumTree` is passed.
        """
        self._build(len(words), _note_pieces(pack_words(words)))

    @staticmethod
    def from_packed(packed: bytes) -> "NoteTree":
        """Return the tree over words as `pack_words` lays them out: a tenth faster.

        Raises: InputRejected as the constructor does, or if the bytes are not whole words.
        """
        _check_whole(packed)
        tree = NoteTree.__new__(NoteTree)
        tree._build(len(packed) // WORD_SIZE, _note_pieces(packed))
        return tree


def verify_proof(root: bytes, total: int, count: int, index: int, word: int, proof: bytes) -> bool:
    """Tell whether `word` is note number `index` of the tree (root, total, count), by the contract's rules.

    The index must be below the count, the proof exactly as long as the tree is deep, the word not zero, no
    sum may pass uint96, and both root and total must match.
    """
    return verify_range(root, total, count, index, [word], proof) and word != 0


def verify_range(root: bytes, total: int, count: int, start: int, words: Sequence[int], proof: bytes) -> bool:
    """Tell whether `words` are the notes from `start` on, by the contract's rules.

    Shapes: a power of two ≤ 256 words, aligned, zero beyond the tree's count.
    """
    log2 = len(words).bit_length() - 1
    depth = depth_of(count)
    is_aligned_range = 0 <= log2 <= min(MAX_RANGE_LOG2, depth) and len(words) == 1 << log2
    if not is_aligned_range or not 0 <= start < count or start & (len(words) - 1):
        return False
    if len(proof) != ENTRY_SIZE * (depth - log2) or any(words[count - start :]):
        return False
    if min(words) < 0 or max(words) >> 256:
        return False
    level = [(note_leaf(word), word & MAX_UINT96) if word else (ZERO_HASH, 0) for word in words]
    while len(level) > 1:
        level = [_node(*left, *right) for left, right in zip(level[::2], level[1::2], strict=True)]
    node_hash, node_sum = level[0]
    for height in range(log2, depth):
        at = ENTRY_SIZE * (height - log2)
        sibling_hash = proof[at : at + HASH_SIZE]
        sibling_sum = int.from_bytes(proof[at + HASH_SIZE : at + ENTRY_SIZE], "big")
        if start >> height & 1:
            node_hash, node_sum = _node(sibling_hash, sibling_sum, node_hash, node_sum)
        else:
            node_hash, node_sum = _node(node_hash, node_sum, sibling_hash, sibling_sum)
    # Sums only grow on the way up, so a total that fits shows that none on the path was too large.
    return node_hash == root and node_sum == total <= MAX_UINT96


def _node(left_hash: bytes, left_sum: int, right_hash: bytes, right_sum: int) -> tuple[bytes, int]:
    """Return a parent's hash and sum.

    A sum past uint96 is hashed on 12 bytes like any other; the comparison at the root then refuses it.
    """
    preimage = left_hash + _sum_bytes(left_sum) + right_hash + _sum_bytes(right_sum)
    return keccak256(preimage), left_sum + right_sum


def _sum_bytes(value: int) -> bytes:
    return (value & MAX_UINT96).to_bytes(SUM_SIZE, "big")


def _note_pieces(packed: bytes) -> Iterator[tuple[bytes, list[int]]]:
    """Yield joined leaf hashes and amounts of packed notes. Raises: InputRejected for one without a payee."""
    for at in range(0, len(packed), WORD_SIZE * _PIECE):
        piece = packed[at : at + WORD_SIZE * _PIECE]
        count = len(piece) // WORD_SIZE
        words = unpack(f"{WORD_SIZE}s" * count, piece)
        if min(words) < _LOWEST_WITH_PAYEE:
            raise InputRejected("a note word has a zero payee")
        preimages = unpack(f"{1 + WORD_SIZE}s" * count, b"\x00" + b"\x00".join(words))
        limbs = unpack(">" + "20xIQ" * count, piece)
        high, low = limbs[::2], limbs[1::2]
        amounts = [each << 64 | low[index] for index, each in enumerate(high)] if any(high) else list(low)
        yield b"".join(map(keccak256, preimages)), amounts


def _level_above(level: bytearray, sums: Sequence[int]) -> tuple[bytearray, list[int]]:
    """Return the level over one of an even number of entries, given its own sums, and the sums above it."""
    above = bytearray()
    sums_above: list[int] = []
    for at in range(0, len(sums), _PIECE):
        piece = sums[at : at + _PIECE]
        pairs = level[_PAIR_SIZE * at : _PAIR_SIZE * (at + _PIECE)]
        preimages = unpack(f"{_PAIR_SIZE}s" * len(piece), pairs)
        above += _interleave(b"".join(map(keccak256, preimages)), piece)
        sums_above += _pair_sums(piece)
    return above, sums_above


def _pair_sums(sums: Sequence[int]) -> list[int]:
    """Return the sums of neighboring pairs; a last one without a neighbor counts alone."""
    paired = list(map(add, sums[::2], sums[1::2]))
    return [*paired, sums[-1]] if len(sums) & 1 else paired


def _interleave(hashes: bytes, sums: Sequence[int]) -> bytearray:
    """Return hash ‖ sum (12 bytes) of every entry, laid out with strided copies instead of one by one.

    Two entries are 88 bytes, eleven 64-bit limbs. The left hash is limbs 0-3; everything of the right entry
    but the low end of its sum lies four bytes off, so it is written through a view that starts four bytes
    later: there the left sum's low end is limb 4 and the right hash limbs 5-8. The right sum's low end is
    limb 10 of the first view. The four bytes before a low end are zero unless sums may be wide (>= 2^64).
    """
    is_wide = sum(sums) > _MASK64
    odd = len(sums) & 1
    entries = bytearray(ENTRY_SIZE * (len(sums) + odd))
    source = memoryview(hashes + bytes(HASH_SIZE * odd)).cast("Q")
    low = _big_endian("Q", [each & _MASK64 for each in sums] if is_wide else sums, odd)
    with memoryview(entries) as view, view.cast("Q") as limbs, view[4:-4].cast("Q") as shifted:
        for limb in range(4):
            limbs[limb::11] = source[limb::8]
            shifted[limb + 5 :: 11] = source[limb + 4 :: 8]
        shifted[4::11] = low[::2]
        limbs[10::11] = low[1::2]
        if is_wide:
            with view.cast("I") as words:
                words[8::11] = _big_endian("I", [each >> 64 for each in sums], odd)
    return entries[: ENTRY_SIZE * len(sums)]


def _big_endian(typecode: str, values: Sequence[int], odd: int) -> memoryview:
    """Return unsigned integers in big-endian byte order, followed by one zero if their number is odd."""
    row = array(typecode, values)
    if odd:
        row.append(0)
    if _IS_LITTLE_ENDIAN:
        row.byteswap()
    return memoryview(row)
