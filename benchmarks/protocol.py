"""Speed of the pure rules against their floors: the hashes and signatures that cannot be avoided.

`python -m benchmarks.protocol`
"""

from __future__ import annotations

import random
from collections.abc import Callable
from statistics import median
from time import perf_counter

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
BATCHES = (150, 1_000)
TURNS = 200


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
    rows = []
    for size in BATCHES:
        lane, domain, records, point, signature = _batch(size)
        digest = typed_digest(domain, point.struct_hash())
        batch, ecdsa, hashing = _medians(
            lambda: verify_batch(LaneFrontier(), records, point, signature, domain),  # noqa: B023
            lambda: recover(digest, signature),  # noqa: B023
            lambda: receipt_hashes(lane, records),  # noqa: B023
        )
        work = f"verify and count receipts, {size:,} per checkpoint"
        rows.append(Ratio(work, "ECDSA recovery per receipt", ecdsa * size / batch, 20, "higher"))
        rows.append(Ratio(work, "hashing the receipts alone", batch / hashing, 4))
    return rows


def _batch(size: int) -> tuple[bytes, bytes, bytes, Checkpoint, bytes]:
    """Return lane, domain separator, records, checkpoint and signature of a lane's first receipts."""
    key = keccak256(b"benchmark lane")
    lane, domain = address_of(key), settlement_domain(31337, bytes(20))
    frontier, records, total = LaneFrontier(), [], 0
    for seq in range(size):
        total += seq
        request = keccak256(seq.to_bytes(8, "big"))
        receipt = UsageReceipt(lane, seq, seq, total, bytes(32), request, 1_000 + seq)
        frontier.append(receipt)
        records.append(pack_receipt(receipt))
    point = Checkpoint(lane, size, total, frontier.root())
    return lane, domain, b"".join(records), point, sign_digest(key, typed_digest(domain, point.struct_hash()))


def _medians(*works: Callable[[], object]) -> list[float]:
    """Return the median time of each, taken in turns, so that a change of pace meets them all alike."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(TURNS):
        for work, taken in zip(works, times, strict=True):
            started = perf_counter()
            work()
            taken.append(perf_counter() - started)
    return [median(taken) for taken in times]


def run() -> list[Ratio]:
    """Measure every row."""
    return [note_tree(), allocation(), *verification()]


if __name__ == "__main__":
    print(table(run()))
