"""The Merkle tree over a lane's receipts, kept as a frontier so that it grows in O(1) per receipt.

Leaf = struct hash of receipt number seq; padded with zero hashes (see `merkle`). A struct hash has a 256-byte
preimage and a node a 64-byte one, so neither passes for the other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.merkle import (
    HASH_SIZE,
    ZERO_HASH,
    ZERO_TOWER,
    depth_of,
    padded_proof,
    parents,
    verify_padded_proof,
)
from usufruct_protocol.receipts.faults import (
    CumulativeUnitsWrong,
    ReceiptGap,
    ReceiptTimeWentBack,
    ReceiptUnitsTooLarge,
)
from usufruct_protocol.receipts.structs import MAX_CUMULATIVE_UNITS, MAX_RECEIPT_UNITS, UsageReceipt

_HEAD_SIZE: Final = 8 + 16 + 8 + HASH_SIZE


@dataclass(slots=True)
class LaneFrontier:
    """How far a lane was counted, and what is needed to count on from there.

    `nodes[h]` is the root of the complete subtree of height h that waits for its right neighbor, or empty
    bytes; it is there exactly if bit h of `count` is set.
    """

    count: int = 0
    cumulative_units: int = 0
    last_issued_at_ms: int = 0
    last_struct_hash: bytes = ZERO_HASH
    nodes: list[bytes] = field(default_factory=list)

    def append(self, receipt: UsageReceipt) -> None:
        """Count the next receipt.

        Raises: LaneFault (ReceiptGap, ReceiptUnitsTooLarge, CumulativeUnitsWrong, ReceiptTimeWentBack); the
        frontier is then unchanged.
        """
        lane, seq = receipt.lane, receipt.seq
        if seq != self.count:
            raise ReceiptGap(f"expected seq {self.count}", lane=lane, seq=seq)
        check_units(lane, seq, receipt.units, receipt.cumulative_units, self.cumulative_units)
        check_time(lane, seq, receipt.issued_at_ms, self.last_issued_at_ms)
        self.extend([receipt.struct_hash()])
        self.cumulative_units = receipt.cumulative_units
        self.last_issued_at_ms = receipt.issued_at_ms

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add the struct hashes of the next receipts to the tree; the caller has checked their fields."""
        if not leaves:
            return
        self.last_struct_hash = leaves[-1]
        self.count += len(leaves)
        level, height = list(leaves), 0
        while level:
            if height == len(self.nodes):
                self.nodes.append(b"")
            if self.nodes[height]:
                level.insert(0, self.nodes[height])
            self.nodes[height] = level.pop() if len(level) & 1 else b""
            level, height = parents(level), height + 1

    def root(self) -> bytes:
        """Return the root of the padded tree over all receipts so far; zero if there are none."""
        if not self.count:
            return ZERO_HASH
        depth = depth_of(self.count)
        if self.count == 1 << depth:
            return self.nodes[depth]
        right = b""  # the incomplete right edge, once the lowest waiting subtree has been met
        for height in range(depth):
            if self.nodes[height]:
                right = keccak256(self.nodes[height] + (right or ZERO_TOWER[height]))
            elif right:
                right = keccak256(right + ZERO_TOWER[height])
        return right

    def copy(self) -> Self:
        """Return an independent copy."""
        return type(self)(
            self.count,
            self.cumulative_units,
            self.last_issued_at_ms,
            self.last_struct_hash,
            self.nodes.copy(),
        )

    def to_bytes(self) -> bytes:
        """Return count u64 ‖ cumulativeUnits u128 ‖ lastIssuedAtMs u64 ‖ last struct hash ‖ waiting nodes."""
        return b"".join(
            (
                self.count.to_bytes(8, "big"),
                self.cumulative_units.to_bytes(16, "big"),
                self.last_issued_at_ms.to_bytes(8, "big"),
                self.last_struct_hash,
                *self.nodes,
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the frontier that `to_bytes` wrote. Raises: InputRejected if the length does not fit."""
        count = int.from_bytes(data[:8], "big")
        if len(data) != _HEAD_SIZE + HASH_SIZE * count.bit_count():
            raise InputRejected(
                f"lane frontier of {len(data)} bytes does not fit its count {count}",
                hint="the stored frontier is cut off or not a frontier; rebuild it from the receipts",
            )
        waiting = (data[at : at + HASH_SIZE] for at in range(_HEAD_SIZE, len(data), HASH_SIZE))
        nodes = [next(waiting) if count >> height & 1 else b"" for height in range(count.bit_length())]
        return cls(
            count,
            int.from_bytes(data[8:24], "big"),
            int.from_bytes(data[24:32], "big"),
            data[32:_HEAD_SIZE],
            nodes,
        )


def check_units(lane: bytes, seq: int, units: int, cumulative_units: int, previous_units: int) -> None:
    """Check one receipt's units against the lane's running total. Raises: LaneFault."""
    if units > MAX_RECEIPT_UNITS:
        raise ReceiptUnitsTooLarge(f"units {units} >= 2^48", lane=lane, seq=seq)
    if cumulative_units > MAX_CUMULATIVE_UNITS:
        raise ReceiptUnitsTooLarge(f"cumulative units {cumulative_units} >= 2^96", lane=lane, seq=seq)
    if cumulative_units != previous_units + units:
        raise CumulativeUnitsWrong(
            f"cumulative units {cumulative_units}, but {previous_units} + {units} were counted",
            lane=lane,
            seq=seq,
        )


def check_time(lane: bytes, seq: int, issued_at_ms: int, previous_ms: int) -> None:
    """Check that a lane's time does not go back. Raises: ReceiptTimeWentBack."""
    if issued_at_ms < previous_ms:
        raise ReceiptTimeWentBack(f"issued at {issued_at_ms} ms, after {previous_ms} ms", lane=lane, seq=seq)


def lane_inclusion_proof(leaves: Sequence[bytes], index: int) -> bytes:
    """Return the proof that receipt `index` is among the receipts with these struct hashes.

    Shapes: 32-byte siblings bottom up, ⌈log2(len(leaves))⌉ of them.
    Raises: InputRejected if there is no such receipt.
    """
    return padded_proof(leaves, index)


def lane_inclusion_proof_of(chunks: Iterable[Sequence[bytes]], count: int, index: int) -> tuple[bytes, ...]:
    """Return the same siblings from struct hashes that come in parts; its memory does not grow with them.

    Raises: InputRejected if there is no such receipt, or not so many hashes as `count`.
    """
    if not 0 <= index < count:
        raise InputRejected(f"receipt {index} is not among {count}")
    siblings = [LaneFrontier() for _ in range(depth_of(count))]
    seen = 0
    for chunk in chunks:
        for height, sibling in enumerate(siblings):
            first = ((index >> height) ^ 1) << height
            sibling.extend(chunk[max(first - seen, 0) : max(first + (1 << height) - seen, 0)])
        seen += len(chunk)
    if seen != count:
        raise InputRejected(f"{seen} struct hashes where {count} were promised")
    return tuple(_padded_to(sibling, height) for height, sibling in enumerate(siblings))


def _padded_to(subtree: LaneFrontier, height: int) -> bytes:
    """Return the root of a subtree of a given height, of which the right side may be empty."""
    if not subtree.count:
        return ZERO_TOWER[height]
    root = subtree.root()
    for level in range(depth_of(subtree.count), height):
        root = keccak256(root + ZERO_TOWER[level])
    return root


def verify_lane_inclusion(root: bytes, count: int, index: int, leaf: bytes, proof: bytes) -> bool:
    """Tell whether a checkpoint (root, count) includes the struct hash `leaf` as receipt `index`."""
    return verify_padded_proof(root, count, index, leaf, proof)
