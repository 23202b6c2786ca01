"""What a meter sends a node: receipts without gaps, the checkpoint that signs them, the lists behind them.

One signature covers the whole batch, so a node pays one recovery per batch and one hash per receipt.
Source: docs/spec.md, batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from struct import Struct
from typing import Final

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.receipts import RECORD_SIZE, Checkpoint, UsageList, unpack_usage_list
from usufruct_protocol.wire import Cursor

_MAGIC: Final = b"UFB1"
MAX_BATCH_RECEIPTS: Final = 10_000
MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
_USAGE_ROOT: Final = Struct("32x32s40x")  # of a record
_NO_USAGE: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Batch:
    """Receipts `first_seq` … `checkpoint.count − 1` of one lane.

    records:   104 bytes per receipt (`receipts.pack_receipt`), in seq order; may be empty when a checkpoint
               only confirms what is known
    signature: the lane's, over the checkpoint
    openings:  seq → packed `UsageList`, one for every receipt whose usage root is not zero
    """

    lane: bytes
    first_seq: int
    records: bytes
    checkpoint: Checkpoint
    signature: bytes
    openings: Mapping[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.records) % RECORD_SIZE:
            raise InputRejected(
                f"batch of lane {self.lane.hex()}: {len(self.records)} bytes are not whole receipts"
            )
        if self.lane != self.checkpoint.lane:
            raise InputRejected(
                f"batch of lane {self.lane.hex()} carries a checkpoint of {self.checkpoint.lane.hex()}"
            )
        if self.first_seq + self.receipt_count != self.checkpoint.count:
            raise InputRejected(
                f"batch of lane {self.lane.hex()}: {self.receipt_count} receipts from {self.first_seq} on "
                f"do not end at the checkpoint's count {self.checkpoint.count}"
            )
        if self.receipt_count > MAX_BATCH_RECEIPTS:
            raise InputRejected(
                f"batch of {self.receipt_count} receipts; at most {MAX_BATCH_RECEIPTS}", hint="send less"
            )

    @property
    def receipt_count(self) -> int:
        """How many receipts the batch carries."""
        return len(self.records) // RECORD_SIZE

    def record(self, seq: int) -> bytes:
        """Return the 104 bytes of one receipt."""
        start = (seq - self.first_seq) * RECORD_SIZE
        return self.records[start : start + RECORD_SIZE]

    def usage_roots(self) -> Iterator[tuple[int, bytes]]:
        """Yield (seq, usage root) of receipts that used something."""
        roots = tuple(chain.from_iterable(_USAGE_ROOT.iter_unpack(self.records)))
        if roots.count(_NO_USAGE) < len(roots):  # most batches use something everywhere or nowhere
            yield from ((seq, root) for seq, root in enumerate(roots, self.first_seq) if root != _NO_USAGE)

    def encode(self) -> bytes:
        """Return the bytes on the wire."""
        point = self.checkpoint
        parts = [
            _MAGIC,
            self.lane,
            self.first_seq.to_bytes(8, "big"),
            self.receipt_count.to_bytes(4, "big"),
            self.records,
            point.count.to_bytes(8, "big"),
            point.cumulative_units.to_bytes(16, "big"),
            point.receipts_root,
            self.signature,
            len(self.openings).to_bytes(4, "big"),
        ]
        for seq in sorted(self.openings):
            opening = self.openings[seq]
            parts += (seq.to_bytes(8, "big"), len(opening).to_bytes(4, "big"), opening)
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> Batch:
        """Read a batch. Raises InputRejected for anything too large, cut short, too long or out of order."""
        if len(data) > MAX_BATCH_BYTES:
            raise InputRejected(
                f"batch of {len(data)} bytes; at most {MAX_BATCH_BYTES}", hint="send smaller batches"
            )
        cursor = Cursor(data, "batch")
        cursor.expect(_MAGIC)
        lane, first_seq = cursor.take(20, "lane"), cursor.uint(8, "first seq")
        count = cursor.uint(4, "receipt count")
        records = cursor.take(count * RECORD_SIZE, "receipts")
        point = Checkpoint(
            lane,
            cursor.uint(8, "count"),
            cursor.uint(16, "cumulative units"),
            cursor.take(32, "receipts root"),
        )
        signature = cursor.take(65, "signature")
        openings: dict[int, bytes] = {}
        last = -1
        for _ in range(cursor.uint(4, "opening count")):
            seq = cursor.uint(8, "opening seq")
            if seq <= last:
                raise InputRejected(f"batch of lane {lane.hex()}: opening of seq {seq} is out of order")
            openings[seq] = cursor.take(cursor.uint(4, "opening length"), "opening")
            last = seq
        cursor.finish()
        return cls(lane, first_seq, records, point, signature, openings)


def batch_span(head: bytes) -> tuple[int, int] | None:
    """Return (first seq, end seq) as the first bytes of an encoded batch say; None if they are no batch."""
    cursor = Cursor(head, "batch")
    try:
        cursor.expect(_MAGIC)
        cursor.take(20, "lane")
        first_seq = cursor.uint(8, "first seq")
        return first_seq, first_seq + cursor.uint(4, "receipt count")
    except InputRejected:
        return None


def check_openings(batch: Batch, needed_from: int = 0) -> dict[int, UsageList]:
    """Open every usage list of a batch and hold it against its receipt's usage root.

    Receipts below seq `needed_from` may come without: they are in a finalized report, and nodes delete their
    lists after a while.
    Raises: InputRejected naming lane and seq for a list that is missing, does not match, or has no receipt.
    """
    opened: dict[int, UsageList] = {}
    where = f"lane {batch.lane.hex()}"
    for seq, root in batch.usage_roots():
        packed = batch.openings.get(seq)
        if packed is None and seq < needed_from:
            continue
        if packed is None:
            raise InputRejected(
                f"{where} seq {seq}: the usage list is missing", hint="send the batch with its openings"
            )
        usage = unpack_usage_list(packed)
        if usage.root() != root:
            raise InputRejected(f"{where} seq {seq}: the usage list does not match the receipt's usage root")
        opened[seq] = usage
    for seq in batch.openings:
        if seq not in opened:
            raise InputRejected(f"{where} seq {seq}: a usage list without a receipt that commits to one")
    return opened
