"""The caller's check at the end: is every receipt that I kept counted, under a root that is on chain?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from usufruct_protocol.errors import InvariantBroken
from usufruct_protocol.receipts import (
    LaneFrontier,
    decode_signed_receipt,
    receipt_hashes,
    verify_receipt_signature,
)

from scripts.demo_client import KeptReceipt
from scripts.node_view import NodeView


@dataclass(frozen=True, slots=True)
class CountedReceipts:
    """What a caller found: own receipts that are counted, and how many the report counts in all."""

    kept: int
    counted: int
    counted_by_report: int
    per_license: dict[int, int]


def check_receipts(kept: Sequence[KeptReceipt], node: NodeView, epoch: int, domain: bytes) -> CountedReceipts:
    """Check every kept receipt against the lanes that a finalized report committed to.

    A receipt is counted if its lane signed it and its hash is the leaf at its seq of a lane tree whose root
    and count the report's lanes root commits to.
    Raises: InvariantBroken naming the first receipt that is not.
    """
    leaves: dict[bytes, list[bytes]] = {}
    for head in node.heads(epoch):
        if head is None:
            continue
        hashes = receipt_hashes(head.lane, node.records(head))
        frontier = LaneFrontier()
        frontier.extend(hashes)
        if (frontier.count, frontier.root()) != (head.count, head.receipts_root):
            raise InvariantBroken(f"the receipts of lane 0x{head.lane.hex()} are not those of its checkpoint")
        leaves[head.lane] = hashes
    found: set[tuple[bytes, int]] = set()
    per_license: dict[int, int] = {}
    for one in kept:
        receipt, signature = decode_signed_receipt(one.text)
        verify_receipt_signature(receipt, signature, domain)
        counted = leaves.get(receipt.lane, [])
        if receipt.seq >= len(counted) or counted[receipt.seq] != receipt.struct_hash():
            raise InvariantBroken(f"the receipt of {one.key} is not among those that epoch {epoch} counts")
        if (receipt.lane, receipt.seq) in found:
            raise InvariantBroken(f"{one.key} was given a receipt that another call has as well")
        found.add((receipt.lane, receipt.seq))
        per_license[one.license_id] = per_license.get(one.license_id, 0) + 1
    return CountedReceipts(len(kept), len(found), sum(map(len, leaves.values())), per_license)
