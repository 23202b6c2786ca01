"""From the two histories that a node keeps of a lane to the proof that contracts take."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from usufruct_chain.challenges import ConflictingPoints, Fork
from usufruct_protocol.batches import Batch
from usufruct_protocol.receipts import lane_inclusion_proof_of, receipt_hashes
from usufruct_protocol.receipts.encoding import RECORD_SIZE

from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.database import Connection
from usufruct_oracle.storage.lane_store import Lane

_PAGE = 50_000


def contradiction_of(db: Connection, lane: Lane) -> Fork | ConflictingPoints | None:
    """Return what proves on chain that a lane signed two histories; None if nothing held does.

    Two checkpoints over different receipts prove it only together with a receipt of each; who has only the
    other checkpoint knows, and cannot show it.
    """
    for evidence in lane_store.evidence_of(db, lane.lane_id):
        ours, theirs = evidence.ours.checkpoint, evidence.theirs.checkpoint
        other = theirs, evidence.theirs.signature
        points = (ours, evidence.ours.signature), other
        held = lane_store.contradicted_by(db, lane, theirs)
        if held is not None:
            return ConflictingPoints(((held.checkpoint, held.signature), other))
        leaves = _leaf(evidence.ours, evidence.seq), _leaf(evidence.theirs, evidence.seq)
        if leaves[0] is None or leaves[1] is None or leaves[0] == leaves[1]:
            continue
        proofs = tuple(
            lane_inclusion_proof_of(_leaves(db, lane, batch), batch.checkpoint.count, evidence.seq)
            for batch in (evidence.ours, evidence.theirs)
        )
        return Fork(points, evidence.seq, (leaves[0], leaves[1]), (proofs[0], proofs[1]))
    return None


def _leaf(batch: Batch, seq: int) -> bytes | None:
    """Return the struct hash of a receipt in a batch, if it is there."""
    start = (seq - batch.first_seq) * RECORD_SIZE
    record = batch.records[start : start + RECORD_SIZE] if start >= 0 else b""
    return next(iter(receipt_hashes(batch.lane, record)), None)


def _leaves(db: Connection, lane: Lane, batch: Batch) -> Iterator[list[bytes]]:
    """Yield the struct hashes under a batch's checkpoint: ours up to the batch, then its own."""
    ours = (
        lane_store.records(db, lane.lane_id, start, min(start + _PAGE, batch.first_seq))
        for start in range(0, batch.first_seq, _PAGE)
    )
    return (list(receipt_hashes(lane.lane, records)) for records in chain(ours, (batch.records,)))
