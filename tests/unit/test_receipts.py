"""Receipts, lanes and usage lists: what a node must accept, and every way to cheat that it must name."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.errors import Conflict, InputRejected
from usufruct_protocol.receipts import (
    RECORD_SIZE,
    SIGNED_RECEIPT_TEXT_SIZE,
    Checkpoint,
    CheckpointAck,
    CheckpointConflict,
    CheckpointCountWrong,
    CheckpointRootWrong,
    CheckpointSignatureWrong,
    CheckpointUnitsWrong,
    CumulativeUnitsWrong,
    Equivocation,
    LaneFault,
    LaneFrontier,
    ReceiptGap,
    ReceiptTimeWentBack,
    ReceiptUnitsTooLarge,
    UsageReceipt,
    decode_signed_receipt,
    derive_salt,
    encode_signed_receipt,
    find_gaps,
    lane_inclusion_proof,
    merge_usage,
    pack_receipt,
    pack_usage_list,
    receipt_hashes,
    settlement_domain,
    unpack_receipt,
    unpack_usage_list,
    usage_root,
    verify_batch,
    verify_checkpoint_signature,
    verify_lane_inclusion,
    verify_receipt_signature,
)
from usufruct_protocol.signing import address_of, sign_digest

KEY, OTHER_KEY = b"\x07" * 32, b"\x08" * 32
LANE = address_of(KEY)
DOMAIN = settlement_domain(31337, b"\x11" * 20)
SALT = b"\x05" * 32

hashes = st.binary(min_size=32, max_size=32)
uint64 = st.integers(0, 2**64 - 1)
receipts = st.builds(
    UsageReceipt,
    st.binary(min_size=20, max_size=20),
    uint64,
    uint64,
    st.integers(0, 2**128 - 1),
    hashes,
    hashes,
    uint64,
)
usages = st.lists(st.tuples(hashes, st.integers(1, 2**32 - 1)), max_size=12)
unit_lists = st.lists(st.integers(0, 2**48 - 1), max_size=24)


def lane_of(units: list[int], *, start_ms: int = 1_700_000_000_000) -> list[UsageReceipt]:
    """An honest lane with these units."""
    made, total = [], 0
    for seq, unit_count in enumerate(units):
        total += unit_count
        noise = hashlib.sha256(seq.to_bytes(8, "big")).digest()
        made.append(UsageReceipt(LANE, seq, unit_count, total, noise, noise[::-1], start_ms + 3 * seq))
    return made


def blob_of(lane: list[UsageReceipt]) -> bytes:
    return b"".join(map(pack_receipt, lane))


def frontier_of(lane: list[UsageReceipt]) -> LaneFrontier:
    frontier = LaneFrontier()
    for receipt in lane:
        frontier.append(receipt)
    return frontier


def checkpoint_of(frontier: LaneFrontier, lane: bytes = LANE) -> Checkpoint:
    return Checkpoint(lane, frontier.count, frontier.cumulative_units, frontier.root())


def signed(checkpoint: Checkpoint, key: bytes = KEY, domain: bytes = DOMAIN) -> bytes:
    return sign_digest(key, typed_digest(domain, checkpoint.struct_hash()))


def take(frontier: LaneFrontier, lane: list[UsageReceipt], *, whole: list[UsageReceipt]) -> LaneFrontier:
    """Verify a batch against an honestly signed checkpoint over `whole`."""
    checkpoint = checkpoint_of(frontier_of(whole))
    return verify_batch(frontier, blob_of(lane), checkpoint, signed(checkpoint), DOMAIN)


def take_as_signed(receipts_sent: list[UsageReceipt]) -> LaneFrontier:
    """Verify receipts that the lane key itself vouches for, whatever is wrong with them."""
    frontier = LaneFrontier()
    frontier.extend([receipt.struct_hash() for receipt in receipts_sent])
    last_total = receipts_sent[-1].cumulative_units
    checkpoint = Checkpoint(LANE, frontier.count, last_total, frontier.root())
    return verify_batch(LaneFrontier(), blob_of(receipts_sent), checkpoint, signed(checkpoint), DOMAIN)


# Records and header texts


@given(receipts)
def test_records_are_104_bytes_and_round_trip(receipt: UsageReceipt) -> None:
    record = pack_receipt(receipt)
    assert len(record) == RECORD_SIZE == 104
    assert unpack_receipt(receipt.lane, record) == receipt


def test_a_record_is_its_fields_big_endian() -> None:
    receipt = UsageReceipt(LANE, 1, 2, 3, b"\xaa" * 32, b"\xbb" * 32, 4)
    expected = (
        "00000000000000010000000000000002" + "00" * 15 + "03" + "aa" * 32 + "bb" * 32 + "0000000000000004"
    )
    assert pack_receipt(receipt).hex() == expected


@given(st.binary(min_size=20, max_size=20), st.lists(receipts, max_size=5))
def test_bulk_hashes_equal_the_hash_of_each_receipt(lane: bytes, given_receipts: list[UsageReceipt]) -> None:
    own = [replace(receipt, lane=lane) for receipt in given_receipts]
    assert receipt_hashes(lane, blob_of(own)) == [receipt.struct_hash() for receipt in own]


@pytest.mark.parametrize("length", [1, 103, 105, 207])
def test_a_cut_off_record_is_refused(length: int) -> None:
    with pytest.raises(InputRejected, match="whole receipt records"):
        receipt_hashes(LANE, bytes(length))
    with pytest.raises(InputRejected, match="104 bytes"):
        unpack_receipt(LANE, bytes(length))


@given(receipts, st.binary(min_size=65, max_size=65))
def test_header_text_round_trips_in_252_safe_characters(receipt: UsageReceipt, signature: bytes) -> None:
    text = encode_signed_receipt(receipt, signature)
    assert len(text) == SIGNED_RECEIPT_TEXT_SIZE == 252
    assert text.isascii()
    assert not set(text) & set("=+/ ,;\r\n")
    assert decode_signed_receipt(text) == (receipt, signature)


@given(receipts, st.data())
def test_malformed_header_texts_are_refused(receipt: UsageReceipt, data: st.DataObject) -> None:
    text = encode_signed_receipt(receipt, bytes(65))
    place = data.draw(st.integers(0, len(text) - 1))
    wrong_letter = data.draw(st.sampled_from("=+/ \n\0é,"))
    wrong = data.draw(
        st.sampled_from(
            [
                text[:-1],
                text + "A",
                text + "=",
                "",
                text[:place] + wrong_letter + text[place + 1 :],
                text + "\n",
            ]
        )
    )
    with pytest.raises(InputRejected, match="malformed"):
        decode_signed_receipt(wrong)


@given(receipts)
def test_one_receipt_has_one_text(receipt: UsageReceipt) -> None:
    """Another text never decodes to the same receipt and signature: there are no spare bits."""
    text = encode_signed_receipt(receipt, bytes(65))
    last = "B" if text[-1] == "A" else "A"
    assert decode_signed_receipt(text[:-1] + last) != decode_signed_receipt(text)


def test_a_signature_of_another_length_has_no_text() -> None:
    with pytest.raises(InputRejected, match="signature"):
        encode_signed_receipt(lane_of([1])[0], bytes(64))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lane", bytes(19)),
        ("seq", 2**64),
        ("seq", -1),
        ("units", 2**64),
        ("cumulative_units", 2**128),
        ("usage_root", bytes(31)),
        ("request_hash", bytes(33)),
        ("issued_at_ms", 1.5),
    ],
)
def test_receipts_with_fields_out_of_range_cannot_be_made(field: str, value: object) -> None:
    with pytest.raises(InputRejected):
        replace(lane_of([1])[0], **{field: value})


# Signatures


def test_inv_33_a_receipt_counts_for_one_lane_one_contract_one_chain() -> None:
    receipt = lane_of([7])[0]
    signature = sign_digest(KEY, typed_digest(DOMAIN, receipt.struct_hash()))
    verify_receipt_signature(receipt, signature, DOMAIN)
    with pytest.raises(InputRejected, match="seq 0 is signed by"):
        verify_receipt_signature(replace(receipt, units=8), signature, DOMAIN)
    for elsewhere in (settlement_domain(1, b"\x11" * 20), settlement_domain(31337, b"\x12" * 20)):
        with pytest.raises(InputRejected, match="signed by"):
            verify_receipt_signature(receipt, signature, elsewhere)
    with pytest.raises(InputRejected, match="v must be"):
        verify_receipt_signature(receipt, signature[:64] + b"\x00", DOMAIN)


def test_inv_33_a_checkpoint_counts_for_one_lane_one_contract_one_chain() -> None:
    checkpoint = checkpoint_of(frontier_of(lane_of([7, 8])))
    signature = signed(checkpoint)
    verify_checkpoint_signature(checkpoint, signature, DOMAIN)
    for elsewhere in (settlement_domain(1, b"\x11" * 20), settlement_domain(31337, b"\x12" * 20)):
        with pytest.raises(CheckpointSignatureWrong):
            verify_checkpoint_signature(checkpoint, signature, elsewhere)
    with pytest.raises(CheckpointSignatureWrong):
        verify_checkpoint_signature(checkpoint, signed(checkpoint, OTHER_KEY), DOMAIN)


def test_receipt_and_checkpoint_signatures_are_no_substitute_for_each_other() -> None:
    receipt = lane_of([7])[0]
    signature = sign_digest(KEY, typed_digest(DOMAIN, receipt.struct_hash()))
    with pytest.raises(CheckpointSignatureWrong):
        verify_checkpoint_signature(checkpoint_of(frontier_of([receipt])), signature, DOMAIN)


# The lane tree


@given(unit_lists)
def test_a_frontier_grows_the_same_one_by_one_and_in_batches(units: list[int]) -> None:
    lane = lane_of(units)
    whole = frontier_of(lane)
    for cut in range(len(lane) + 1):
        first = take(LaneFrontier(), lane[:cut], whole=lane[:cut])
        assert first == frontier_of(lane[:cut])
        assert take(first, lane[cut:], whole=lane) == whole


@given(unit_lists)
def test_a_frontier_survives_storage(units: list[int]) -> None:
    frontier = frontier_of(lane_of(units))
    restored = LaneFrontier.from_bytes(frontier.to_bytes())
    assert restored == frontier
    assert restored.root() == frontier.root()
    assert restored.to_bytes() == frontier.to_bytes()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_a_stored_frontier_that_is_cut_off_is_refused(count: int) -> None:
    data = frontier_of(lane_of([1] * count)).to_bytes()
    for wrong in (data[:-1], data + b"\0", data[:40], b""):
        with pytest.raises(InputRejected, match="frontier"):
            LaneFrontier.from_bytes(wrong)


def test_a_copy_grows_on_its_own() -> None:
    lane = lane_of([1, 2, 3, 4])
    frontier = frontier_of(lane[:3])
    copy = frontier.copy()
    copy.append(lane[3])
    assert frontier == frontier_of(lane[:3])
    assert copy == frontier_of(lane)


@given(st.lists(hashes, min_size=1, max_size=33), st.data())
def test_inclusion_proofs_verify_for_their_own_index_only(leaves: list[bytes], data: st.DataObject) -> None:
    frontier = LaneFrontier()
    frontier.extend(leaves)
    root, count = frontier.root(), len(leaves)
    index = data.draw(st.integers(0, count - 1))
    proof = lane_inclusion_proof(leaves, index)
    assert verify_lane_inclusion(root, count, index, leaves[index], proof)
    other = data.draw(st.integers(-1, 2 * count))
    if not 0 <= other < count or leaves[other] != leaves[index]:
        assert not verify_lane_inclusion(root, count, other, leaves[index], proof)
    assert not verify_lane_inclusion(root, count, index, leaves[index], proof + bytes(32))
    assert not verify_lane_inclusion(root, count, index + 2 * count, leaves[index], proof)
    if proof:
        assert not verify_lane_inclusion(root, count, index, leaves[index], proof[:-32])


def test_inclusion_of_a_missing_receipt_has_no_proof() -> None:
    leaves = [bytes([n]) * 32 for n in range(3)]
    for index in (-1, 3):
        with pytest.raises(InputRejected):
            lane_inclusion_proof(leaves, index)


# Batches: honest ones pass, each kind of fault is named


def test_an_empty_batch_repeats_a_checkpoint() -> None:
    lane = lane_of([5, 6, 7])
    frontier = frontier_of(lane)
    assert take(frontier, [], whole=lane) == frontier
    assert take(LaneFrontier(), [], whole=[]) == LaneFrontier()


def test_void_receipts_and_equal_times_are_fine() -> None:
    lane = [replace(receipt, issued_at_ms=9) for receipt in lane_of([0, 0, 5, 0])]
    assert take(LaneFrontier(), lane, whole=lane).cumulative_units == 5


@pytest.mark.parametrize(("total", "is_counted"), [(2**96 - 1, True), (2**96, False)])
def test_cumulative_units_are_exact_up_to_their_limit(total: int, is_counted: bool) -> None:
    receipt = UsageReceipt(LANE, 1, 2**48 - 1, total, bytes(32), bytes(32), 5)
    before = LaneFrontier(cumulative_units=total - (2**48 - 1))
    before.extend([bytes(32)])
    after = before.copy()
    after.extend([receipt.struct_hash()])
    after.cumulative_units, after.last_issued_at_ms = total, 5
    checkpoint = Checkpoint(LANE, 2, total, after.root())
    if is_counted:
        counted = verify_batch(before, pack_receipt(receipt), checkpoint, signed(checkpoint), DOMAIN)
        assert counted == after
    else:
        with pytest.raises(ReceiptUnitsTooLarge):
            verify_batch(before, pack_receipt(receipt), checkpoint, signed(checkpoint), DOMAIN)


Spoil = Callable[[list[UsageReceipt]], list[UsageReceipt]]


def spoiled(position: int, **fields: int) -> Spoil:
    def spoil(lane: list[UsageReceipt]) -> list[UsageReceipt]:
        return [replace(one, **fields) if at == position else one for at, one in enumerate(lane)]

    return spoil


FAULTS: dict[str, tuple[Spoil, type[LaneFault], int]] = {
    "one left out": (lambda lane: lane[:2] + lane[3:], ReceiptGap, 3),
    "one repeated": (lambda lane: [*lane[:3], lane[2], *lane[3:]], ReceiptGap, 2),
    "two swapped": (lambda lane: [lane[0], lane[2], lane[1], *lane[3:]], ReceiptGap, 2),
    "not from the start": (lambda lane: lane[1:], ReceiptGap, 1),
    "seq jumps": (spoiled(2, seq=2**63), ReceiptGap, 2**63),
    "units too large": (spoiled(2, units=2**48, cumulative_units=2**48 + 3), ReceiptUnitsTooLarge, 2),
    "cumulative too large": (spoiled(2, cumulative_units=2**96), ReceiptUnitsTooLarge, 2),
    "cumulative wraps 64 bits": (spoiled(2, cumulative_units=2**64 + 6), CumulativeUnitsWrong, 2),
    "cumulative one short": (spoiled(3, cumulative_units=9), CumulativeUnitsWrong, 3),
    "units hidden": (spoiled(2, units=0), CumulativeUnitsWrong, 2),
    "time goes back": (spoiled(2, issued_at_ms=1), ReceiptTimeWentBack, 2),
    "time jumps ahead": (spoiled(2, issued_at_ms=2**63), ReceiptTimeWentBack, 3),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_even_if_the_lane_signed_it(fault: str) -> None:
    spoil, expected, seq = FAULTS[fault]
    lane = spoil(lane_of([1, 2, 3, 4, 5]))
    with pytest.raises(expected) as refusal:
        take_as_signed(lane)
    assert refusal.value.lane == LANE
    assert refusal.value.seq == seq
    assert f"0x{LANE.hex()} seq {seq}" in str(refusal.value)
    with pytest.raises(expected):
        frontier_of(lane)


def test_a_refused_receipt_leaves_the_frontier_as_it_was() -> None:
    lane = lane_of([1, 2, 3])
    frontier = frontier_of(lane[:2])
    before = frontier.copy()
    for bad in (lane[0], replace(lane[2], units=9), replace(lane[2], issued_at_ms=0)):
        with pytest.raises(LaneFault):
            frontier.append(bad)
        assert frontier == before


def test_the_first_receipt_of_a_batch_follows_on_the_last_of_the_one_before() -> None:
    lane = lane_of([1, 2, 3, 4])
    frontier = frontier_of(lane[:2])
    for spoil, expected in [
        (spoiled(2, issued_at_ms=lane[1].issued_at_ms - 1), ReceiptTimeWentBack),
        (spoiled(2, units=4), CumulativeUnitsWrong),
        (spoiled(2, seq=3), ReceiptGap),
    ]:
        bad = spoil(lane)
        whole = LaneFrontier()
        whole.extend([receipt.struct_hash() for receipt in bad])
        checkpoint = Checkpoint(LANE, 4, 10, whole.root())
        with pytest.raises(expected):
            verify_batch(frontier, blob_of(bad[2:]), checkpoint, signed(checkpoint), DOMAIN)


def test_checkpoints_that_do_not_fit_their_receipts_are_refused() -> None:
    lane = lane_of([1, 2, 3])
    good = checkpoint_of(frontier_of(lane))
    for bad, expected in [
        (replace(good, count=2), CheckpointCountWrong),
        (replace(good, count=4), CheckpointCountWrong),
        (replace(good, cumulative_units=5), CheckpointUnitsWrong),
        (replace(good, cumulative_units=2**64 + 6), CheckpointUnitsWrong),
        (replace(good, receipts_root=bytes(32)), CheckpointRootWrong),
    ]:
        with pytest.raises(expected) as refusal:
            verify_batch(LaneFrontier(), blob_of(lane), bad, signed(bad), DOMAIN)
        assert (refusal.value.lane, refusal.value.seq) == (LANE, bad.count)


@given(st.data())
def test_any_changed_bit_of_a_batch_is_refused(data: st.DataObject) -> None:
    """Whatever a relay changes, in the receipts or in the checkpoint, the batch is not counted."""
    lane = lane_of([1, 2, 3])
    checkpoint = checkpoint_of(frontier_of(lane))
    blob, signature = bytearray(blob_of(lane)), bytearray(signed(checkpoint))
    target = data.draw(st.sampled_from([blob, signature]))
    bit = data.draw(st.integers(0, 8 * len(target) - 1))
    target[bit // 8] ^= 1 << bit % 8
    with pytest.raises(LaneFault):
        verify_batch(LaneFrontier(), bytes(blob), checkpoint, bytes(signature), DOMAIN)


def test_receipts_of_one_lane_are_no_receipts_of_another() -> None:
    lane = lane_of([1, 2, 3])
    other = checkpoint_of(frontier_of(lane), address_of(OTHER_KEY))
    with pytest.raises(CheckpointRootWrong):
        verify_batch(LaneFrontier(), blob_of(lane), other, signed(other, OTHER_KEY), DOMAIN)
    with pytest.raises(CheckpointSignatureWrong):
        verify_batch(LaneFrontier(), blob_of(lane), other, signed(other), DOMAIN)


def test_a_cut_off_batch_is_refused() -> None:
    lane = lane_of([1, 2, 3])
    checkpoint = checkpoint_of(frontier_of(lane))
    with pytest.raises(InputRejected, match="whole receipt records"):
        verify_batch(LaneFrontier(), blob_of(lane)[:-1], checkpoint, signed(checkpoint), DOMAIN)


def test_fault_codes_are_stable_and_different() -> None:
    faults = [
        LaneFault,
        *(each for each in LaneFault.__subclasses__() if each.__module__ == LaneFault.__module__),
    ]
    codes = [fault.code for fault in faults]
    assert len(set(codes)) == len(codes) == 9
    assert "receipt_gap" in codes
    assert not any(issubclass(fault, Conflict) for fault in faults)


# Evidence


@given(st.sets(st.integers(0, 60)))
def test_gaps_are_exactly_what_is_missing(seqs: set[int]) -> None:
    gaps = find_gaps(seqs)
    missing = [seq for gap in gaps for seq in gap]
    assert missing == sorted(set(range(max(seqs, default=-1) + 1)) - seqs)
    assert all(gaps)
    assert all(one.stop < later.start for one, later in combinations(gaps, 2))


@given(receipts, receipts)
def test_two_contents_of_one_seq_are_an_equivocation(one: UsageReceipt, other: UsageReceipt) -> None:
    assert Equivocation.between(one, other) is None or (one.lane, one.seq) == (other.lane, other.seq)
    twin = replace(other, lane=one.lane, seq=one.seq)
    assume(twin != one)
    evidence = Equivocation.between(one, twin)
    assert evidence is not None
    assert evidence == Equivocation.between(twin, one)
    assert {evidence.first, evidence.second} == {one, twin}
    assert Equivocation.between(one, replace(one)) is None


def test_what_is_no_equivocation_cannot_be_called_one() -> None:
    one = lane_of([1])[0]
    for other in (one, replace(one, seq=1, units=2), replace(one, lane=bytes(20), units=2)):
        with pytest.raises(InputRejected):
            Equivocation(one, other)


def test_checkpoints_conflict_when_both_cannot_be_true() -> None:
    one = Checkpoint(LANE, 5, 50, b"\1" * 32)
    for other in (
        replace(one, receipts_root=b"\2" * 32),
        replace(one, cumulative_units=51),
        replace(one, count=6, cumulative_units=49),
        replace(one, count=4, cumulative_units=51),
    ):
        evidence = CheckpointConflict.between(one, other)
        assert evidence is not None
        assert evidence == CheckpointConflict.between(other, one)
        assert {evidence.first, evidence.second} == {one, other}
    for other in (
        one,
        replace(one, count=6),
        replace(one, count=6, cumulative_units=60, receipts_root=b"\2" * 32),
        replace(one, lane=bytes(20), receipts_root=b"\2" * 32),
    ):
        assert CheckpointConflict.between(one, other) is None
        with pytest.raises(InputRejected):
            CheckpointConflict(one, other)


def test_an_ack_binds_checkpoint_and_time() -> None:
    ack = CheckpointAck(b"\1" * 32, 5)
    assert (
        len(
            {
                ack.struct_hash(),
                CheckpointAck(b"\2" * 32, 5).struct_hash(),
                CheckpointAck(b"\1" * 32, 6).struct_hash(),
            }
        )
        == 3
    )
    with pytest.raises(InputRejected):
        CheckpointAck(b"\1" * 31, 5)


# Usage lists


@given(usages, hashes, st.randoms(use_true_random=False))
def test_order_and_repeats_change_no_usage_root(usage, salt, shuffle) -> None:
    """One canonical form: however a list is ordered, whichever weights repeat, the highest counts."""
    doubled = [*usage, *((tag, max(1, weight - 1)) for tag, weight in usage)]
    shuffled = shuffle.sample(doubled, len(doubled))
    assert merge_usage(shuffled) == merge_usage(usage)
    assert usage_root(shuffled, salt) == usage_root(usage, salt)
    assert pack_usage_list(shuffled, salt) == pack_usage_list(usage, salt)


@given(usages, hashes)
def test_openings_round_trip_and_match_their_root(usage, salt) -> None:
    opening = unpack_usage_list(pack_usage_list(usage, salt))
    assert opening.entries == merge_usage(usage)
    assert opening.salt == salt
    assert opening.root() == usage_root(usage, salt)


def test_a_list_of_nothing_has_root_zero() -> None:
    assert usage_root([], SALT) == bytes(32)
    assert unpack_usage_list(pack_usage_list([], SALT)).entries == ()


@given(usages.filter(bool), hashes, st.data())
def test_another_tag_weight_or_salt_gives_another_root(usage, salt, data) -> None:
    entries = list(merge_usage(usage))
    at = data.draw(st.integers(0, len(entries) - 1))
    tag, weight = entries[at]
    changed_tag = bytes((tag[0] ^ 1,)) + tag[1:]
    root = usage_root(entries, salt)
    assert root != usage_root(entries, bytes((salt[0] ^ 1,)) + salt[1:])
    assert root != usage_root([*entries[:at], (tag, weight ^ 2**31 | 1), *entries[at + 1 :]], salt)
    assert root != usage_root(entries[:at] + entries[at + 1 :], salt)
    assert root != usage_root([*entries[:at], (changed_tag, weight), *entries[at + 1 :]], salt)


@pytest.mark.parametrize("entry", [(bytes(31), 1), (bytes(32), 0), (bytes(32), 2**32), (bytes(32), -1)])
def test_bad_usage_entries_are_refused(entry: tuple[bytes, int]) -> None:
    for function in (usage_root, pack_usage_list):
        with pytest.raises(InputRejected):
            function([entry], SALT)
        with pytest.raises(InputRejected, match="salt"):
            function([], SALT[:-1])


def test_openings_in_any_but_the_canonical_form_are_refused() -> None:
    """Two encodings of one list would be two bundles with one meaning."""
    entries = [(bytes([n]) * 32, n + 1) for n in range(3)]
    good = pack_usage_list(entries, SALT)
    head, rows = good[:36], [good[at : at + 36] for at in range(36, len(good), 36)]
    unused = rows[0][:32] + bytes(4)
    for wrong in (
        head + rows[1] + rows[0] + rows[2],
        head + rows[0] + rows[0] + rows[2],
        head + unused + rows[1] + rows[2],
        good[:-1],
        good + b"\0",
        good + rows[2],
        good[:35],
        b"",
    ):
        with pytest.raises(InputRejected):
            unpack_usage_list(wrong)


@given(st.binary(min_size=1, max_size=40), st.binary(max_size=40), uint64)
def test_salts_are_hmac_sha256_of_purpose_and_seq(secret: bytes, purpose: bytes, seq: int) -> None:
    message = purpose + seq.to_bytes(8, "big")
    assert derive_salt(secret, purpose, seq) == hmac.new(secret, message, hashlib.sha256).digest()


@pytest.mark.parametrize(("secret", "seq"), [(b"", 0), (b"s", -1), (b"s", 2**64)])
def test_a_salt_needs_a_secret_and_a_seq(secret: bytes, seq: int) -> None:
    with pytest.raises(InputRejected):
        derive_salt(secret, b"usage", seq)
