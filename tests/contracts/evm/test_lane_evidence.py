"""ReceiptHash, LaneTree and LaneEvidence against eth-account, the protocol's trees and a slow twin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given, settings
from hypothesis import strategies as st
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.merkle import ZERO_TOWER, padded_proof, padded_root
from usufruct_protocol.receipts import (
    Checkpoint,
    CheckpointAck,
    CheckpointConflict,
    Equivocation,
    UsageReceipt,
)
from usufruct_protocol.report_types import EpochReport

from tests.contracts.evm.chain import Contract, Evm, Reverted
from tests.contracts.evm.gateway import NO_CHECKPOINT, LaneVector, contradiction, split
from tests.contracts.evm.world import World
from tests.contracts.wire import SETTLEMENT, ZERO_HASH, Account, account, sign, struct_hash, typed_digest
from tests.reference.contradictions import checkpoint_is_short, receipts_contradict
from tests.reference.receipts import padded_root as reference_root

LANE = account("lane")
OTHER_LANE = account("other lane")
ADDRESS = bytes.fromhex(LANE.address[2:])

hashes = st.binary(min_size=32, max_size=32)
u64 = st.integers(0, 2**64 - 1)
u128 = st.integers(0, 2**128 - 1)
receipts = st.builds(UsageReceipt, st.just(ADDRESS), u64, u64, u128, hashes, hashes, u64)
checkpoints = st.builds(Checkpoint, st.just(ADDRESS), u64, u128, hashes)
acks = st.builds(CheckpointAck, hashes, u64)
# Values that meet each other often, so that conflicts and repeats both occur.
near = st.integers(0, 3)
near_receipts = st.builds(
    UsageReceipt, st.just(ADDRESS), near, near, near, st.just(ZERO_HASH), st.just(ZERO_HASH), near
)
near_checkpoints = st.builds(
    Checkpoint, st.just(ADDRESS), near, near, st.sampled_from([ZERO_HASH, b"\1" * 32])
)
leaf_lists = st.lists(hashes, min_size=1, max_size=70)
# Each is up to 200 questions to the library.
FEWER = settings(max_examples=max(10, (settings.default or settings()).max_examples // 4))


@pytest.fixture(scope="module")
def library() -> Contract:
    """The libraries behind their harness."""
    return Evm().deploy("LaneEvidenceHarness", sender=account("deployer"))


@pytest.fixture(scope="module")
def domain() -> bytes:
    return keccak256(b"any domain")


@pytest.fixture(scope="module")
def plain_report() -> EpochReport:
    """A report whose lanes are still to be said."""
    return World(Evm()).report()


def put(domain: bytes, struct: Any, key: Account = LANE) -> tuple[Any, bytes]:
    return struct, sign(key.key, keccak256(b"\x19\x01" + domain + struct.struct_hash())).full


@given(receipt=receipts, checkpoint=checkpoints, ack=acks)
def test_struct_hashes_are_eth_accounts(
    library: Contract, receipt: UsageReceipt, checkpoint: Checkpoint, ack: CheckpointAck
) -> None:
    for function, name, struct in (
        ("hashReceipt", "UsageReceipt", receipt),
        ("hashCheckpoint", "Checkpoint", checkpoint),
        ("hashAck", "CheckpointAck", ack),
    ):
        expected = struct_hash(name, struct)
        assert getattr(library, function)(struct) == expected == struct.struct_hash()


@given(checkpoint=checkpoints)
def test_a_signature_of_eth_accounts_digest_is_accepted(library: Contract, checkpoint: Checkpoint) -> None:
    contract = account("settlement").address
    digest = typed_digest(SETTLEMENT, 31337, contract, "Checkpoint", checkpoint)
    kinds = ["bytes32", "bytes32", "bytes32", "uint256", "address"]
    domain_type = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    values = [keccak256(domain_type), keccak256(SETTLEMENT.encode()), keccak256(b"1"), 31337, contract]
    domain = keccak256(encode(kinds, values))
    signed = checkpoint, sign(LANE.key, digest).full
    assert library.requireSignedCheckpoint(domain, signed) == checkpoint.struct_hash()


def test_a_member_with_bits_outside_of_its_type_is_refused(library: Contract) -> None:
    plain = library.calldata("hashCheckpoint", NO_CHECKPOINT)
    for position in (0, 1, 2):
        dirty = bytearray(plain)
        dirty[4 + 32 * position] = 1
        with pytest.raises(Reverted, match="Empty"):
            library.chain.raw_call(LANE, library.address, bytes(dirty))


@given(leaves=leaf_lists, pick=st.integers(0, 2**16), flip=st.integers(0, 2**16))
def test_a_leaf_is_proven_at_its_place_and_nowhere_else(
    library: Contract, leaves: list[bytes], pick: int, flip: int
) -> None:
    root, index, count = padded_root(leaves), pick % len(leaves), len(leaves)
    assert root == reference_root(leaves)
    proof = split(padded_proof(leaves, index))
    library.requireLeaf(root, count, index, leaves[index], proof)
    other = flip % count
    if leaves[other] != leaves[index]:
        with pytest.raises(Reverted, match="LaneTree_WrongProof"):
            library.requireLeaf(root, count, other, leaves[index], proof)
        with pytest.raises(Reverted, match="LaneTree_WrongProof"):
            library.requireLeaf(root, count, index, leaves[other], proof)


@given(leaves=leaf_lists, pick=st.integers(0, 2**16), lie=st.integers(0, 200))
def test_another_count_proves_only_at_the_same_depth(
    library: Contract, leaves: list[bytes], pick: int, lie: int
) -> None:
    """The count is the report's or the checkpoint's own; a wrong one is refused by length or by index."""
    index, count = pick % len(leaves), len(leaves)
    proof = split(padded_proof(leaves, index))
    same_depth = index < lie and max(lie - 1, 0).bit_length() == (count - 1).bit_length()
    call = (padded_root(leaves), lie, index, leaves[index], proof)
    if same_depth:
        library.requireLeaf(*call)
    else:
        with pytest.raises(Reverted, match=r"LaneTree_(NoSuchLeaf|WrongProofLength)"):
            library.requireLeaf(*call)


def test_neither_padding_nor_an_inner_node_is_a_leaf(library: Contract) -> None:
    leaves = [keccak256(bytes((number,))) for number in range(5)]
    root = padded_root(leaves)
    level = [*leaves, ZERO_HASH, ZERO_HASH, ZERO_HASH]
    padded = split(padded_proof(level, 6))
    with pytest.raises(Reverted) as refused:
        library.requireLeaf(root, 5, 6, ZERO_HASH, padded)
    assert (refused.value.name, refused.value.arguments) == ("LaneTree_NoSuchLeaf", (6, 5))
    node = keccak256(leaves[0] + leaves[1])
    short = (
        keccak256(leaves[2] + leaves[3]),
        keccak256(keccak256(leaves[4] + ZERO_TOWER[0]) + ZERO_TOWER[1]),
    )
    with pytest.raises(Reverted) as refused:
        library.requireLeaf(root, 5, 0, node, short)
    assert (refused.value.name, refused.value.arguments) == ("LaneTree_WrongProofLength", (2, 3))
    with pytest.raises(Reverted, match="LaneTree_NoSuchLeaf"):
        library.requireLeaf(ZERO_HASH, 0, 0, ZERO_HASH, ())
    with pytest.raises(Reverted) as wrong:
        library.requireLeaf(root, 1, 0, node, ())
    assert (wrong.value.name, wrong.value.arguments) == ("LaneTree_WrongProof", (root, node))


@given(first=near_receipts, second=near_receipts)
def test_receipts_conflict_where_the_protocol_says_so(
    library: Contract, domain: bytes, first: UsageReceipt, second: UsageReceipt
) -> None:
    evidence = put(domain, first), put(domain, second)
    if Equivocation.between(first, second):
        assert library.requireReceiptConflict(domain, *evidence) == LANE.address
    else:
        with pytest.raises(Reverted, match="LaneEvidence_NoConflict"):
            library.requireReceiptConflict(domain, *evidence)


@given(first=near_checkpoints, second=near_checkpoints)
def test_checkpoints_conflict_where_the_protocol_says_so(
    library: Contract, domain: bytes, first: Checkpoint, second: Checkpoint
) -> None:
    evidence = put(domain, first), put(domain, second)
    if CheckpointConflict.between(first, second):
        assert library.requireCheckpointConflict(domain, *evidence) == LANE.address
    else:
        with pytest.raises(Reverted, match="LaneEvidence_NoConflict"):
            library.requireCheckpointConflict(domain, *evidence)


@given(first=near_receipts, second=near_receipts)
def test_sums_of_receipts_fall_short_where_the_twin_says_so(
    library: Contract, domain: bytes, first: UsageReceipt, second: UsageReceipt
) -> None:
    expected = receipts_contradict(first, second)
    _expect(library, expected, contradiction(put(domain, first), put(domain, second)), domain)


@given(receipt=near_receipts, checkpoint=near_checkpoints)
def test_a_receipt_and_a_checkpoint_contradict_where_the_twin_says_so(
    library: Contract, domain: bytes, receipt: UsageReceipt, checkpoint: Checkpoint
) -> None:
    expected = checkpoint_is_short(receipt, checkpoint)
    _expect(library, expected, contradiction(put(domain, receipt), put(domain, checkpoint)), domain)


@given(receipt=receipts, other=receipts, checkpoint=checkpoints)
def test_sums_of_any_size_are_taken_whole(
    library: Contract, domain: bytes, receipt: UsageReceipt, other: UsageReceipt, checkpoint: Checkpoint
) -> None:
    one, two, point = put(domain, receipt), put(domain, other), put(domain, checkpoint)
    _expect(library, receipts_contradict(receipt, other), contradiction(one, two), domain)
    _expect(library, checkpoint_is_short(receipt, checkpoint), contradiction(one, point), domain)


@FEWER
@given(
    units=st.lists(st.integers(0, 3), min_size=1, max_size=9),
    rewritten=st.integers(0, 8),
    counts=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_no_honest_book_contradicts_itself_and_every_fork_does(
    library: Contract, domain: bytes, units: list[int], rewritten: int, counts: tuple[int, int]
) -> None:
    """All pairs of what one book signs; and two books that part at one receipt, under any two counts."""
    book, total = [], 0
    for seq, more in enumerate(units):
        total += more
        book.append(UsageReceipt(ADDRESS, seq, more, total, ZERO_HASH, ZERO_HASH, seq))
    leaves = [receipt.struct_hash() for receipt in book]
    sums = [0, *(receipt.cumulative_units for receipt in book)]
    points = [Checkpoint(ADDRESS, n, sums[n], padded_root(leaves[:n])) for n in range(len(book) + 1)]
    things = [put(domain, struct) for struct in (*book, *points)]
    for one in things:
        for other in things:
            is_ordered = not isinstance(one[0], UsageReceipt) or getattr(other[0], "seq", 9) >= one[0].seq
            if is_ordered:
                _expect(library, False, contradiction(one, other), domain)

    seq, (first, second) = rewritten % len(book), (1 + count % len(book) for count in counts)
    others = [*leaves[:seq], keccak256(leaves[seq]), *leaves[seq + 1 :]]
    forked = Checkpoint(ADDRESS, second, 0, padded_root(others[:second]))
    for at in range(min(first, second)):
        fork = (
            put(domain, points[first]),
            put(domain, forked),
            at,
            leaves[at],
            split(padded_proof(leaves[:first], at)),
            others[at],
            split(padded_proof(others[:second], at)),
        )
        _expect(library, at == seq, contradiction(fork=fork), domain)


def test_a_fork_needs_both_signatures_and_both_places(library: Contract, domain: bytes) -> None:
    leaves = [keccak256(bytes((number,))) for number in range(5)]
    others = [*leaves[:3], keccak256(b"other"), leaves[4]]
    one = Checkpoint(ADDRESS, 5, 5, padded_root(leaves))
    two = Checkpoint(ADDRESS, 4, 4, padded_root(others[:4]))
    proofs = split(padded_proof(leaves, 3)), split(padded_proof(others[:4], 3))
    good = (put(domain, one), put(domain, two), 3, leaves[3], proofs[0], others[3], proofs[1])
    assert library.requireFork(domain, good) == LANE.address
    theirs = replace(two, lane=bytes.fromhex(OTHER_LANE.address[2:]))
    flawed = {
        (1, "LaneEvidence_WrongLane"): put(domain, theirs, OTHER_LANE),
        (0, "LaneEvidence_WrongSigner"): put(domain, one, OTHER_LANE),
        (1, "LaneEvidence_WrongSigner"): put(keccak256(b"another domain"), two),
        (2, "LaneTree_NoSuchLeaf"): 4,  # below one count only: beyond the other there is no leaf
        (3, "LaneTree_WrongProof"): others[3],
        (5, "LaneTree_WrongProof"): leaves[3],
        (4, "LaneTree_WrongProofLength"): proofs[1],
        (6, "LaneTree_WrongProofLength"): (),
    }
    for (position, error), value in flawed.items():
        evidence = [*good]
        evidence[position] = value
        if position == 2:
            evidence[3], evidence[4] = leaves[4], split(padded_proof(leaves, 4))
        with pytest.raises(Reverted, match=error):
            library.requireFork(domain, tuple(evidence))


def _expect(library: Contract, expected: bool, evidence: Any, domain: bytes) -> None:
    if expected:
        assert library.requireContradiction(domain, evidence) == LANE.address
    else:
        with pytest.raises(Reverted, match="LaneEvidence_NoConflict"):
            library.requireContradiction(domain, evidence)


def test_evidence_of_two_lanes_or_another_key_is_none(library: Contract, domain: bytes) -> None:
    mine = Checkpoint(ADDRESS, 1, 1, ZERO_HASH)
    theirs = replace(mine, lane=bytes.fromhex(OTHER_LANE.address[2:]), cumulative_units=2)
    with pytest.raises(Reverted, match="LaneEvidence_WrongLane"):
        library.requireCheckpointConflict(domain, put(domain, mine), put(domain, theirs, OTHER_LANE))
    changed = replace(mine, cumulative_units=2)
    for evidence in (
        (put(domain, mine), put(domain, changed, OTHER_LANE)),
        (put(domain, mine, OTHER_LANE), put(domain, changed)),
        (put(keccak256(b"another domain"), mine), put(domain, changed)),
    ):
        with pytest.raises(Reverted, match="LaneEvidence_WrongSigner"):
            library.requireCheckpointConflict(domain, *evidence)
    receipt = UsageReceipt(ADDRESS, 0, 1, 1, ZERO_HASH, ZERO_HASH, 1)
    foreign = replace(receipt, lane=bytes.fromhex(OTHER_LANE.address[2:]))
    with pytest.raises(Reverted, match="LaneEvidence_WrongLane"):
        library.requireReceiptConflict(domain, put(domain, receipt), put(domain, foreign, OTHER_LANE))
    with pytest.raises(Reverted, match="LaneEvidence_WrongSigner"):
        library.requireSignedReceipt(domain, put(domain, receipt, OTHER_LANE))


def test_one_struct_signed_twice_is_no_conflict(library: Contract, domain: bytes) -> None:
    """A second, different signature of the same receipt proves nothing, with either s."""
    receipt = UsageReceipt(ADDRESS, 0, 1, 1, ZERO_HASH, ZERO_HASH, 1)
    good = sign(LANE.key, keccak256(b"\x19\x01" + domain + receipt.struct_hash()))
    with pytest.raises(Reverted, match="LaneEvidence_NoConflict"):
        library.requireReceiptConflict(domain, (receipt, good.full), (receipt, good.full))
    with pytest.raises(Reverted, match="LaneEvidence_BadSignature"):
        library.requireReceiptConflict(domain, (receipt, good.full), (receipt, good.high_s.full))


def test_the_zero_lane_signs_nothing(library: Contract, domain: bytes) -> None:
    with pytest.raises(Reverted, match="LaneEvidence_BadSignature"):
        library.requireSignedCheckpoint(domain, (NO_CHECKPOINT, bytes(64) + b"\x1b"))


@given(
    counts=st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=1, max_size=9), asked=st.integers(0, 12)
)
def test_a_report_counts_what_its_leaf_says(
    library: Contract, plain_report: EpochReport, counts: list[int | None], asked: int
) -> None:
    keys = [account(f"lane {number}") for number in range(13)]
    heads = [
        None if count is None else Checkpoint(bytes.fromhex(key.address[2:]), count, 0, ZERO_HASH)
        for key, count in zip(keys, counts, strict=False)
    ]
    vector = LaneVector(heads)
    report = replace(plain_report, **vector.in_report)
    expected = counts[asked] if asked < len(counts) else None
    assert library.countIn(report, asked, keys[asked], vector.head(asked)) == (expected or 0)


def test_a_head_of_another_lane_or_place_is_refused(library: Contract, plain_report: EpochReport) -> None:
    keys = [account(f"lane {number}") for number in range(3)]
    points = [Checkpoint(bytes.fromhex(key.address[2:]), 5, 5, ZERO_HASH) for key in keys]
    vector = LaneVector([points[0], None, points[2]])
    report = replace(plain_report, **vector.in_report)
    with pytest.raises(Reverted) as refused:
        library.countIn(report, 0, keys[0], vector.head(2))
    assert refused.value.name == "LaneEvidence_WrongLane"
    assert refused.value.arguments == (keys[0].address, keys[2].address)
    for head in (
        (points[2], vector.head(0)[1]),  # right lane, wrong path
        (replace(points[2], count=4), vector.head(2)[1]),  # another count
        (NO_CHECKPOINT, vector.head(2)[1]),  # the empty leaf, which stands elsewhere
        (NO_CHECKPOINT, vector.head(1)[1]),
    ):
        with pytest.raises(Reverted, match="LaneTree_WrongProof"):
            library.countIn(report, 2, keys[2], head)
    with pytest.raises(Reverted, match="LaneTree_WrongProofLength"):
        library.countIn(report, 2, keys[2], (points[2], ()))
