"""Speed of the pure rules against their floors: the hashes and signatures that cannot be avoided.

`python -m benchmarks.protocol`
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

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
from usufruct_protocol.sumtree import NoteTree, pack_words

from benchmarks.figure import Figure, best_seconds, seconds, table
from benchmarks.size import QUICK, Size
from toolchain.node import node_and_npm

PURSES = 1_000_000
BATCHES = (150, 1_000)
TURNS = 200
PEER_TIMEOUT_S = 3_600


def note_tree() -> Figure:
    """Build the tree of a million notes against a bare loop over the same number of hashes."""
    packed = pack_words(words_of(PURSES))
    leaf, node = bytes(33), bytes(88)

    def bare_hashes() -> None:
        for _ in range(PURSES):
            keccak256(leaf)
        for _ in range(PURSES):
            keccak256(node)

    tree, floor = [], []
    for _ in range(3):
        tree.append(best_seconds(lambda: NoteTree.from_packed(packed), 1))
        floor.append(best_seconds(bare_hashes, 1))
    work = f"note tree, {PURSES:,} notes, all proofs addressable"
    return Figure("note_tree", work, "bare keccak loop, same hashes", min(tree) / min(floor), 1.6)


def peer_tree(notes: int) -> Figure:
    """Build a tree of as many notes as npm's @openzeppelin/merkle-tree does."""
    packed = pack_words(words_of(notes))
    ours = best_seconds(lambda: NoteTree.from_packed(packed))
    node, _ = node_and_npm()
    script = Path(__file__).with_name("peer_tree.mjs")
    # Its million notes take more memory than Node allows itself.
    command = [str(node), "--max-old-space-size=6144", str(script), str(notes)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PEER_TIMEOUT_S)
    theirs = json.loads(answer.stdout)["seconds"]
    work, against = f"note tree, {notes:,} notes", "npm @openzeppelin/merkle-tree"
    return Figure("note_tree_peer", work, against, theirs / ours, 50, "higher")


def words_of(count: int) -> list[int]:
    """Return sorted words of notes to random payees."""
    draw = random.Random(1)
    return sorted(draw.getrandbits(160) << 96 | draw.randrange(1, 2**40) for _ in range(count))


def allocation() -> list[Figure]:
    """Divide a pot among a million purses, in a process of its own, whose memory can be told."""
    command = [sys.executable, "-m", "benchmarks.protocol", "allocation"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PEER_TIMEOUT_S)
    found = json.loads(answer.stdout)
    work = f"allocate to {PURSES:,} purses, exactly"
    return [
        Figure("allocation", work, "the floor division alone", found["exact"] / found["floor"], 6),
        Figure("allocation_time", work, "", found["exact"], 1.5, unit="s"),
        Figure("allocation_memory", work, "the whole process", found["peak_mb"], 500, unit="MB"),
    ]


def _allocation() -> dict[str, float]:
    """Seconds of the exact division and of the floor division alone, and the peak of this process."""
    draw = random.Random(2)
    weights = [draw.randrange(1, 10**6) for _ in range(PURSES)]
    pot, total = 10**12 * ACCRUAL_SCALE + 7, sum(weights)
    exact = best_seconds(lambda: allocate(pot, weights))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    floor = best_seconds(lambda: [pot * weight // total for weight in weights])
    return {"exact": exact, "floor": floor, "peak_mb": peak_mb}


def verification() -> list[Figure]:
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
        recovered = ecdsa * size / batch
        rows += [
            Figure(f"verify_{size}", work, "ECDSA recovery per receipt", recovered, 20, "higher"),
            Figure(f"verify_{size}_hashing", work, "hashing the receipts alone", batch / hashing, 4),
        ]
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
            taken.append(seconds(work))
    return [median(taken) for taken in times]


def run(size: Size = QUICK) -> list[Figure]:
    """Measure every row."""
    return [*verification(), note_tree(), peer_tree(size.peer_notes), *allocation()]


if __name__ == "__main__":
    print(json.dumps(_allocation()) if sys.argv[1:] == ["allocation"] else table(run()))
