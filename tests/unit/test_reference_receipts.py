"""Receipt hashes, lane roots, faults and usage roots against the slow re-implementation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.merkle import padded_root
from usufruct_protocol.receipts import (
    Checkpoint,
    LaneFault,
    LaneFrontier,
    UsageReceipt,
    derive_salt,
    pack_receipt,
    receipt_hashes,
    settlement_domain,
    usage_root,
    verify_batch,
)
from usufruct_protocol.signing import address_of, sign_digest

from tests.reference import receipts as reference

KEY = b"\x07" * 32
LANE = address_of(KEY)
DOMAIN = settlement_domain(31337, b"\x11" * 20)

hashes = st.binary(min_size=32, max_size=32)
uint64 = st.integers(0, 2**64 - 1)
fields = st.tuples(uint64, uint64, st.integers(0, 2**128 - 1), hashes, hashes, uint64)


@given(st.binary(min_size=20, max_size=20), st.lists(fields, max_size=6))
def test_receipt_hashes(lane: bytes, rows: list[tuple[int, int, int, bytes, bytes, int]]) -> None:
    receipts = [UsageReceipt(lane, *row) for row in rows]
    expected = [reference.receipt_hash(lane, *row) for row in rows]
    assert receipt_hashes(lane, b"".join(map(pack_receipt, receipts))) == expected
    assert [receipt.struct_hash() for receipt in receipts] == expected


@given(st.lists(hashes, max_size=70), st.integers(0, 70))
def test_lane_roots(leaves: list[bytes], cut: int) -> None:
    frontier = LaneFrontier()
    frontier.extend(leaves[:cut])
    assert frontier.root() == reference.padded_root(leaves[:cut])
    frontier.extend(leaves[cut:])
    assert frontier.root() == padded_root(leaves) == reference.padded_root(leaves)
    assert frontier.last_struct_hash == (leaves[-1] if leaves else bytes(32))


@given(st.dictionaries(hashes, st.integers(1, 2**32 - 1), max_size=20), hashes)
def test_usage_roots(weights: dict[bytes, int], salt: bytes) -> None:
    assert usage_root(weights.items(), salt) == reference.usage_root(weights, salt)


@given(st.binary(min_size=1), st.binary(), uint64)
def test_salts(secret: bytes, purpose: bytes, seq: int) -> None:
    assert derive_salt(secret, purpose, seq) == reference.salt_of(secret, purpose, seq)


@st.composite
def nearly_honest_rows(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    """A lane's (seq, units, cumulative, ms), with up to two numbers off by little or by much."""
    rows, total, at_ms = [], 0, 0
    for seq in range(draw(st.integers(1, 9))):
        units = draw(st.sampled_from([0, 1, 5, 2**48 - 1, 2**48]))
        total, at_ms = total + units, at_ms + draw(st.integers(0, 2))
        rows.append([seq, units, total, at_ms])
    for _ in range(draw(st.integers(0, 2))):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        column = draw(st.integers(0, 3))
        row[column] = max(0, row[column] + draw(st.sampled_from([-1, 1, 2**48, 2**63])))
        if column == 2:
            row[column] += draw(st.sampled_from([0, 2**64, 2**96]))
    return [tuple(row) for row in rows]


@given(nearly_honest_rows(), st.integers(0, 9))
def test_the_first_fault_of_a_batch(rows: list[tuple[int, int, int, int]], cut: int) -> None:
    """Batch after batch, the same receipt is refused for the same reason as when each is looked at alone."""
    fault = reference.first_fault(rows)
    cut = min(cut, len(rows))
    if fault is None:
        assert count_in_batches(rows, cut).count == len(rows)
        return
    with pytest.raises(LaneFault) as refusal:
        count_in_batches(rows, cut)
    assert (refusal.value.seq, refusal.value.code) == fault


def count_in_batches(rows: list[tuple[int, int, int, int]], cut: int) -> LaneFrontier:
    """Verify two batches whose checkpoints the lane signs over whatever it sends."""
    receipts = [UsageReceipt(LANE, *row[:3], bytes(32), bytes(32), row[3]) for row in rows]
    frontier, tree = LaneFrontier(), LaneFrontier()
    for batch in (receipts[:cut], receipts[cut:]):
        tree.extend([receipt.struct_hash() for receipt in batch])
        total = batch[-1].cumulative_units if batch else frontier.cumulative_units
        checkpoint = Checkpoint(LANE, tree.count, total, tree.root())
        signature = sign_digest(KEY, typed_digest(DOMAIN, checkpoint.struct_hash()))
        blob = b"".join(map(pack_receipt, batch))
        frontier = verify_batch(frontier, blob, checkpoint, signature, DOMAIN)
    return frontier
