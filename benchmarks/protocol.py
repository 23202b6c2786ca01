"""Speed of the pure rules against their floors: the hashes and signatures that cannot be avoided.

`python -m benchmarks.protocol`
"""

from __future__ import annotations

import random

from usufruct_protocol.allocation import allocate
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.money import ACCRUAL_SCALE
from usufruct_protocol.receipts import (
    Checkpoint,
    LaneFrontier,
    UsageReceipt,
    pack_receipt,
    receipt_hashes,
    settlement_domain,
    verify_batch,
)
from usufruct_protocol.signing import address_of, recover, sign_digest
from usufruct_protocol.sumtree import NoteTree

from benchmarks.ratio import Ratio, best_seconds, table

PURSES = 1_000_000
BATCH = 150
RECOVERIES = 500


def note_tree() -> Ratio:
    """Build the tree of a million notes against a bare loop over the same number of hashes."""
    draw = random.Random(1)
    words = sorted(draw.getrandbits(160) << 96 | draw.randrange(1, 2**40) for _ in range(PURSES))
    leaf, node = bytes(33), bytes(88)

    def bare_hashes() -> None:
        for _ in range(PURSES):
            keccak256(leaf)
        for _ in range(PURSES):
            keccak256(node)

    tree = best_seconds(lambda: NoteTree(words), repeats=2)
    return Ratio(
        "note tree, 1,000,000 notes",
        "bare keccak loop, same hashes",
        tree / best_seconds(bare_hashes, 2),
        1.6,
    )


def allocation() -> Ratio:
    """Divide a pot among a million purses against one multiplication and one division each."""
    draw = random.Random(2)
    weights = [draw.randrange(1, 10**6) for _ in range(PURSES)]
    pot, total = 10**12 * ACCRUAL_SCALE + 7, sum(weights)
    exact = best_seconds(lambda: allocate(pot, weights), repeats=2)
    floor = best_seconds(lambda: [pot * weight // total for weight in weights], repeats=2)
    return Ratio("allocate to 1,000,000 purses, exactly", "the floor division alone", exact / floor, 6)


def verification() -> list[Ratio]:
    """Count a batch of receipts under one checkpoint against one signature recovery per receipt."""
    key = keccak256(b"benchmark lane")
    lane = address_of(key)
    domain = settlement_domain(31337, bytes(20))
    receipts, total = [], 0
    for seq in range(BATCH):
        total += seq
        receipts.append(UsageReceipt(lane, seq, seq, total, bytes(32), keccak256(bytes([seq])), 1_000 + seq))
    records = b"".join(map(pack_receipt, receipts))
    frontier = LaneFrontier()
    for receipt in receipts:
        frontier.append(receipt)
    point = Checkpoint(lane, BATCH, total, frontier.root())
    signature = sign_digest(key, typed_digest(domain, point.struct_hash()))
    digest = typed_digest(domain, receipts[0].struct_hash())
    one = sign_digest(key, digest)

    batch = best_seconds(lambda: verify_batch(LaneFrontier(), records, point, signature, domain), repeats=30)
    ecdsa = best_seconds(lambda: [recover(digest, one) for _ in range(RECOVERIES)]) / RECOVERIES
    hashing = best_seconds(lambda: receipt_hashes(lane, records), repeats=30)
    return [
        Ratio(
            f"verify and count receipts, {BATCH} per checkpoint",
            "ECDSA recovery per receipt",
            ecdsa * BATCH / batch,
            20,
            "higher",
        ),
        Ratio("the same", "hashing the receipts alone", batch / hashing, 4),
    ]


def run() -> list[Ratio]:
    """Measure every row."""
    return [note_tree(), allocation(), *verification()]


if __name__ == "__main__":
    print(table(run()))
