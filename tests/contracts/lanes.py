"""What lanes sign, and what is shown of it: receipts, checkpoints, proofs, and the lanes of a report.

Shared by the in-process and the Brownie tests, hence only packages that both environments have.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Self

from eth_abi.abi import encode
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.merkle import padded_proof, padded_root
from usufruct_protocol.receipts import Checkpoint, CheckpointAck, UsageReceipt, lane_inclusion_proof

from tests.contracts.wire import ZERO_HASH, Account, sign

SALT = keccak256(b"salt")
NO_CHECKPOINT = Checkpoint(bytes(20), 0, 0, ZERO_HASH)

Struct = UsageReceipt | Checkpoint | CheckpointAck
Signed = tuple[Any, bytes]


def signed_by(domain: bytes, struct: Struct, key: Account) -> Signed:
    """A struct with a signature of 65 bytes, as contracts take it."""
    return struct, sign(key.key, typed_digest(domain, struct.struct_hash())).full


class LaneBook:
    """One lane's receipts. Everything it offers is true; tests that need a cheat change a receipt first."""

    def __init__(self, key: Account, domain: bytes) -> None:
        self.key = key
        self.address = bytes.fromhex(key.address[2:])
        self.domain = domain
        self.receipts: list[UsageReceipt] = []

    @property
    def leaves(self) -> list[bytes]:
        """The struct hashes of all receipts."""
        return [receipt.struct_hash() for receipt in self.receipts]

    def serve(self, units: int, issued_at_ms: int) -> UsageReceipt:
        """Meter one call: the lane's next receipt."""
        seq = len(self.receipts)
        before = self.receipts[-1] if seq else None
        receipt = UsageReceipt(
            lane=self.address,
            seq=seq,
            units=units,
            cumulative_units=(before.cumulative_units if before else 0) + units,
            usage_root=ZERO_HASH,
            request_hash=keccak256(self.address + seq.to_bytes(8, "big")),
            issued_at_ms=issued_at_ms,
        )
        self.receipts.append(receipt)
        return receipt

    def signed(self, struct: Struct) -> Signed:
        """What the lane key makes of a struct."""
        return signed_by(self.domain, struct, self.key)

    def forged(self, seq: int, **changes: Any) -> UsageReceipt:
        """A receipt that contradicts the one of the same seq."""
        return replace(self.receipts[seq], **({"request_hash": keccak256(b"other")} | changes))

    def checkpoint(self, count: int | None = None) -> Checkpoint:
        """A true checkpoint of the first receipts, all by default."""
        count = len(self.receipts) if count is None else count
        units = self.receipts[count - 1].cumulative_units if count else 0
        return Checkpoint(self.address, count, units, padded_root(self.leaves[:count]))

    def proof(self, seq: int, count: int | None = None) -> tuple[bytes, ...]:
        """Siblings that show a receipt under the checkpoint of a count."""
        return split(lane_inclusion_proof(self.leaves[:count], seq))

    def fork(self, seq: int, other: LaneBook, counts: tuple[int, int] | None = None) -> tuple[Any, ...]:
        """Two checkpoints, this book's and another's of the same key, with their leaves of one seq."""
        first, second = counts or (len(self.receipts), len(other.receipts))
        return (
            self.signed(self.checkpoint(first)),
            other.signed(other.checkpoint(second)),
            seq,
            self.leaves[seq],
            self.proof(seq, first),
            other.leaves[seq],
            other.proof(seq, second),
        )

    def rewritten(self, seq: int) -> Self:
        """A second book of the same key that differs in one receipt."""
        other = copy(self)
        other.receipts = [*self.receipts]
        other.receipts[seq] = self.forged(seq)
        return other


class LaneVector:
    """The lanes of a report: one checkpoint or nothing per lane number."""

    def __init__(self, heads: Sequence[Checkpoint | None]) -> None:
        self.heads = list(heads)
        self.leaves = [head.struct_hash() if head else ZERO_HASH for head in heads]

    @property
    def in_report(self) -> dict[str, Any]:
        """What a report says of them."""
        return {"lanes_root": padded_root(self.leaves), "lane_count": len(self.leaves)}

    def head(self, number: int) -> tuple[Checkpoint, tuple[bytes, ...]]:
        """The opening of one lane; an empty one beyond the count."""
        if number >= len(self.leaves):
            return NO_CHECKPOINT, ()
        return self.heads[number] or NO_CHECKPOINT, split(padded_proof(self.leaves, number))


def contradiction(*shown: Signed, fork: Any = None) -> tuple[list[Signed], list[Signed], list[Any]]:
    """What contracts take as proof that a lane contradicted itself: receipts, checkpoints, forks."""
    receipts = [one for one in shown if isinstance(one[0], UsageReceipt)]
    checkpoints = [one for one in shown if isinstance(one[0], Checkpoint)]
    return receipts, checkpoints, [fork] if fork else []


def split(proof: bytes) -> tuple[bytes, ...]:
    """A proof's siblings one by one."""
    return tuple(proof[at : at + 32] for at in range(0, len(proof), 32))


def commitment(challenger: Account, calldata: bytes) -> bytes:
    """What a challenger commits to before it sends these bytes."""
    return keccak256(encode(["address", "bytes32"], [challenger.address, keccak256(calldata)]))
