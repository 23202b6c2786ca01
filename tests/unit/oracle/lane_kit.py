"""Lanes for tests of the node: real keys, real signatures, any history one asks for."""

from __future__ import annotations

from dataclasses import dataclass, field

from usufruct_protocol.batches import Batch
from usufruct_protocol.chain_state import LaneState
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.receipts import (
    Checkpoint,
    LaneFrontier,
    UsageReceipt,
    pack_receipt,
    pack_usage_list,
    receipt_hashes,
    settlement_domain,
    usage_root,
)
from usufruct_protocol.receipts.encoding import RECORD_SIZE
from usufruct_protocol.signing import address_of, sign_digest

DOMAIN = settlement_domain(31337, b"\x5e" * 20)
T0_MS = 1_700_000_000_000
NO_USAGE = bytes(32)


def record_tag(number: int) -> bytes:
    return number.to_bytes(32, "big")


@dataclass
class KitLane:
    """A lane that can sign whatever a test wants, honest or not."""

    number: int = 0
    license_id: int = 1
    key: bytes = b""
    records: bytes = b""
    openings: dict[int, bytes] = field(default_factory=dict)
    domain: bytes = DOMAIN

    def __post_init__(self) -> None:
        self.key = self.key or (0xA0 + self.number).to_bytes(32, "big")

    @property
    def address(self) -> bytes:
        return address_of(self.key)

    @property
    def count(self) -> int:
        return len(self.records) // RECORD_SIZE

    def state(
        self, *, valid_from_ms: int = 0, valid_to_ms: int = 2**64 - 1, unit_cap: int = 2**100
    ) -> LaneState:
        return LaneState(self.number, self.address, self.license_id, valid_from_ms, valid_to_ms, unit_cap)

    def fork(self) -> KitLane:
        """The same lane with the same past, free to sign another future."""
        return KitLane(self.number, self.license_id, self.key, self.records, dict(self.openings), self.domain)

    def meter(
        self,
        *units: int,
        at_ms: int | None = None,
        usage: list[tuple[bytes, int]] | None = None,
        request: bytes = b"r",
    ) -> None:
        """Issue one receipt per number of units."""
        for each in units:
            seq = self.count
            last = self.records[-RECORD_SIZE:]
            before = int.from_bytes(last[16:32], "big") if last else 0
            issued_at_ms = (
                at_ms if at_ms is not None else (int.from_bytes(last[96:], "big") + 1 if last else T0_MS)
            )
            root = NO_USAGE
            if usage:
                salt = seq.to_bytes(32, "big")
                root = usage_root(usage, salt)
                self.openings[seq] = pack_usage_list(usage, salt)
            request_hash = request.rjust(24, b"\0") + seq.to_bytes(8, "big")
            receipt = UsageReceipt(self.address, seq, each, before + each, root, request_hash, issued_at_ms)
            self.records += pack_receipt(receipt)

    def frontier(self, count: int) -> LaneFrontier:
        blob = self.records[: count * RECORD_SIZE]
        frontier = LaneFrontier()
        frontier.extend(receipt_hashes(self.address, blob))
        if count:
            frontier.cumulative_units = int.from_bytes(blob[-RECORD_SIZE:][16:32], "big")
        return frontier

    def checkpoint(self, count: int | None = None) -> Checkpoint:
        frontier = self.frontier(self.count if count is None else count)
        return Checkpoint(self.address, frontier.count, frontier.cumulative_units, frontier.root())

    def sign(self, checkpoint: Checkpoint, domain: bytes | None = None) -> bytes:
        return sign_digest(self.key, typed_digest(domain or self.domain, checkpoint.struct_hash()))

    def batch(self, from_seq: int = 0, to_count: int | None = None, *, domain: bytes | None = None) -> Batch:
        end = self.count if to_count is None else to_count
        point = self.checkpoint(end)
        openings = {seq: opening for seq, opening in self.openings.items() if from_seq <= seq < end}
        blob = self.records[from_seq * RECORD_SIZE : end * RECORD_SIZE]
        return Batch(self.address, from_seq, blob, point, self.sign(point, domain), openings)
