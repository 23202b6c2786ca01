"""Contracts, `usufruct_protocol.eip712` and eth-account agree on every digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol import eip712
from usufruct_protocol.report_types import EpochReport, ReportLine
from usufruct_protocol.terms import LaneRegistration, LicenseOffer, NoteRedirect

from tests.contracts.evm.chain import CHAIN_ID, Contract, Reverted
from tests.contracts.evm.world import World
from tests.contracts.wire import LICENSES, SETTLEMENT, SPLITTER, STRUCTS, struct_hash, typed_digest


def values_of(struct: str) -> st.SearchStrategy[tuple[Any, ...]]:
    """Any values of a struct's fields, in order, corners included."""
    return st.tuples(*(_value(member.split(" ")[0]) for member in STRUCTS[struct].split(",")))


def _value(kind: str) -> st.SearchStrategy[Any]:
    if kind == "address":
        return st.binary(min_size=20, max_size=20)
    if kind == "bytes32":
        return st.binary(min_size=32, max_size=32)
    if kind == "ReportLine[]":
        return st.lists(values_of("ReportLine").map(lambda line: ReportLine(*line)), max_size=5).map(tuple)
    bits = int(kind.removeprefix("uint"))
    return st.one_of(st.integers(0, 2**bits - 1), st.just(2**bits - 1))


def on_python(domain: str, contract: Contract, struct_hash: bytes) -> bytes:
    separator = eip712.domain_separator(domain, "1", CHAIN_ID, bytes.fromhex(contract.address[2:]))
    return eip712.typed_digest(separator, struct_hash)


@given(values_of("EpochReport"))
def test_report_hash_is_the_same_four_ways(report_hash: Contract, values: Sequence[Any]) -> None:
    report = EpochReport(*values)
    expected = struct_hash("EpochReport", report)
    assert eip712.epoch_report_hash(report) == expected
    assert report_hash.hash(report) == expected
    assert report_hash.hashByEncoder(report) == expected


@given(values_of("EpochReport"))
def test_report_digest_binds_the_settlement_and_chain(shared_world: World, values: Sequence[Any]) -> None:
    report = EpochReport(*values)
    digest = typed_digest(SETTLEMENT, CHAIN_ID, shared_world.settlement.address, "EpochReport", report)
    assert shared_world.report_digest(report) == digest
    assert on_python(SETTLEMENT, shared_world.settlement, eip712.epoch_report_hash(report)) == digest


@given(values_of("LicenseOffer"))
def test_offer_digest_is_the_same_three_ways(shared_world: World, values: Sequence[Any]) -> None:
    offer = LicenseOffer(*values)
    digest = typed_digest(LICENSES, CHAIN_ID, shared_world.registry.address, "LicenseOffer", offer)
    assert shared_world.registry.hashOffer(offer) == digest
    assert on_python(LICENSES, shared_world.registry, eip712.license_offer_hash(offer)) == digest


@given(values_of("LaneRegistration"))
def test_lane_digest_is_the_same_three_ways(shared_world: World, values: Sequence[Any]) -> None:
    registration = LaneRegistration(*values)
    digest = typed_digest(LICENSES, CHAIN_ID, shared_world.registry.address, "LaneRegistration", registration)
    assert shared_world.registry.hashLane(registration) == digest
    assert on_python(LICENSES, shared_world.registry, eip712.lane_registration_hash(registration)) == digest


@given(values_of("NoteRedirect"))
def test_redirect_digest_is_the_same_three_ways(shared_world: World, values: Sequence[Any]) -> None:
    redirect = NoteRedirect(*values)
    digest = typed_digest(SPLITTER, CHAIN_ID, shared_world.splitter.address, "NoteRedirect", redirect)
    word = int.from_bytes(redirect.payee, "big") << 96 | redirect.amount
    hashed = shared_world.splitter.hashRedirect(
        redirect.tree_id, redirect.index, word, redirect.to, redirect.deadline
    )
    assert hashed == digest
    assert on_python(SPLITTER, shared_world.splitter, eip712.note_redirect_hash(redirect)) == digest


@given(values_of("EpochReport"), st.data())
def test_report_fields_with_dirty_high_bits_never_hash_as_clean(
    report_hash: Contract, values: Sequence[Any], data: st.DataObject
) -> None:
    """The hash copies call data: bits above a field's type must change the hash or revert, never vanish."""
    report = EpochReport(*values)
    narrow = [
        (position, member.split(" ")[0])
        for position, member in enumerate(STRUCTS["EpochReport"].split(","))
        if member.startswith("uint")
    ]
    position, kind = data.draw(st.sampled_from(narrow))
    bits = int(kind.removeprefix("uint"))
    call = bytearray(report_hash.calldata("hash", report))
    head = 4 + 32 + 32 * position
    word = int.from_bytes(call[head : head + 32], "big") | 1 << data.draw(st.integers(bits, 255))
    call[head : head + 32] = word.to_bytes(32, "big")
    try:
        answer = report_hash.chain.raw_call(None, report_hash.address, bytes(call), is_static=True)
    except Reverted:
        return
    assert answer != eip712.epoch_report_hash(report)


@given(values_of("EpochReport"))
def test_lines_moved_in_call_data_hash_by_content(report_hash: Contract, values: Sequence[Any]) -> None:
    """The offset of `lines` is the sender's choice; the hash is of what it points to."""
    report = EpochReport(*values)
    head_words = len(fields(EpochReport))
    call = report_hash.calldata("hash", report)
    head, tail = call[: 4 + 32 + 32 * (head_words - 1)], call[4 + 32 + 32 * head_words :]
    padding = encode(["uint256", "uint256"], [7, 9])
    moved = head + (32 * head_words + len(padding)).to_bytes(32, "big") + padding + tail
    answer = report_hash.chain.raw_call(None, report_hash.address, moved, is_static=True)
    assert answer == eip712.epoch_report_hash(report)
