"""Fees, credits and proofs of forbidden use in Python: refused as contracts refuse, and hashed alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol import considerations, forbidden_use
from usufruct_protocol.considerations import (
    AuditCorrection,
    CreditGrant,
    CreditLeaf,
    Milestone,
    MilestoneReached,
    MilestoneTerms,
    RedemptionReceipt,
    RevenueStatement,
    RoyaltyTerms,
)
from usufruct_protocol.eip712 import type_hash
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.merkle import verify_padded_proof
from usufruct_protocol.receipts import UsageList, merge_usage
from usufruct_protocol.roster import Roster, RosterRow

from tests.contracts.wire import STRUCTS, struct_hash

HASH = b"\7" * 32
ADDRESS = b"\1" * 20
DAY = 86_400
hashes = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=20, max_size=20)
SIGNED: dict[str, Any] = {
    "MilestoneReached": MilestoneReached,
    "RevenueStatement": RevenueStatement,
    "AuditCorrection": AuditCorrection,
    "RedemptionReceipt": RedemptionReceipt,
}


def value_of(kind: str) -> st.SearchStrategy[Any]:
    if kind == "address":
        return addresses
    if kind == "bytes32":
        return hashes
    return st.integers(0, 2 ** int(kind.removeprefix("uint")) - 1)


@given(st.data())
@pytest.mark.parametrize("struct", SIGNED)
def test_signed_structs_hash_as_the_general_encoder_does(struct: str, data: st.DataObject) -> None:
    members = [member.split(" ")[0] for member in STRUCTS[struct].split(",")]
    made = SIGNED[struct](*(data.draw(value_of(kind)) for kind in members))
    assert made.struct_hash() == struct_hash(struct, made)


@pytest.mark.parametrize("struct", SIGNED)
def test_type_strings_are_the_specifications(struct: str) -> None:
    name = "".join(f"_{char}" if char.isupper() else char.upper() for char in struct).lstrip("_")
    assert type_hash(f"{struct}({STRUCTS[struct]})") == getattr(considerations, f"{name}_TYPE_HASH")


def milestone_terms(**changes: Any) -> MilestoneTerms:
    plain: dict[str, Any] = {"milestones": (Milestone(1, 2, HASH),), "attesters": (ADDRESS,), "quorum": 1}
    return MilestoneTerms(**(plain | changes))


def royalty_terms(**changes: Any) -> RoyaltyTerms:
    plain: dict[str, Any] = {
        "revenue_bps": 500,
        "first_period_end_s": 10 * DAY,
        "period_seconds": DAY,
        "grace_seconds": 0,
        "late_penalty_bps": 100,
        "auditor": ADDRESS,
    }
    return RoyaltyTerms(**(plain | changes))


REFUSED: list[Callable[[], object]] = [
    lambda: Milestone(0, 1, HASH),
    lambda: Milestone(2**96, 1, HASH),
    lambda: Milestone(1, 2**48, HASH),
    lambda: Milestone(1, 1, b""),
    lambda: milestone_terms(milestones=()),
    lambda: milestone_terms(milestones=(Milestone(1, 2, HASH),) * 256),
    lambda: milestone_terms(attesters=()),
    lambda: milestone_terms(attesters=(bytes(20),)),
    lambda: milestone_terms(attesters=(ADDRESS, ADDRESS)),
    lambda: milestone_terms(attesters=(b"\2" * 20, ADDRESS)),
    lambda: milestone_terms(attesters=(b"\1" * 19,)),
    lambda: milestone_terms(quorum=0),
    lambda: milestone_terms(quorum=2),
    lambda: royalty_terms(revenue_bps=0),
    lambda: royalty_terms(revenue_bps=10_001),
    lambda: royalty_terms(period_seconds=DAY - 1),
    lambda: royalty_terms(period_seconds=2**32),
    lambda: royalty_terms(auditor=b""),
    lambda: royalty_terms().royalty(2**96),
    lambda: royalty_terms().royalty(-1),
    lambda: MilestoneReached(2**32, 0, HASH).struct_hash(),
    lambda: MilestoneReached(0, 256, HASH).struct_hash(),
    lambda: RevenueStatement(0, 0, 2**96, HASH).struct_hash(),
    lambda: AuditCorrection(0, 0, 0, 2**32, HASH).struct_hash(),
    lambda: RedemptionReceipt(0, 0, ADDRESS, 0, HASH, b"").struct_hash(),
    lambda: CreditLeaf(ADDRESS, 2**96, HASH).hash(),
    lambda: CreditGrant((CreditLeaf(ADDRESS, 0, HASH),)),
    lambda: CreditGrant((CreditLeaf(ADDRESS, 1, HASH),)).proof(1),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_no_contract_would_take_is_refused(number: int) -> None:
    with pytest.raises(InputRejected):
        REFUSED[number]()


def test_a_penalty_begins_after_the_grace_and_stops_at_the_whole() -> None:
    terms = royalty_terms(grace_seconds=5)
    until = terms.payable_until_s(2)
    assert until == 12 * DAY + 5
    lateness = (0, 1, DAY, DAY + 1, 99 * DAY + 1, 10_000 * DAY)
    assert [terms.penalty(2, 1_000, until + late) for late in lateness] == [0, 10, 10, 20, 1_000, 1_000]
    assert terms.penalty(2, 1, until + 1) == 1


@given(st.lists(hashes, min_size=1, max_size=9, unique=True), st.data())
def test_opened_records_and_rows_prove_their_place(tags: list[bytes], data: st.DataObject) -> None:
    tag = data.draw(st.sampled_from(tags))
    usage = UsageList(merge_usage((one, 1 + index) for index, one in enumerate(tags)), HASH)
    used = forbidden_use.open_used_record(usage, tag)
    leaf = keccak256(b"\4" + used.record_tag + used.weight.to_bytes(4, "big") + used.salt)
    assert verify_padded_proof(usage.root(), used.count, used.index, leaf, b"".join(used.proof))

    roster = Roster.build(
        RosterRow(keccak256(one), 1, bytes(20), 0, HASH, tuple(sorted((one, keccak256(b"2" + one)))))
        for one in tags
    )
    opening = forbidden_use.open_row(roster, tag)
    leaf = keccak256(b"\5" + opening.row)
    assert verify_padded_proof(roster.root, opening.count, opening.index, leaf, b"".join(opening.proof))
    assert roster.rows[opening.index].record_tags[opening.tag_position] == tag


def test_a_record_that_is_not_there_cannot_be_opened() -> None:
    with pytest.raises(InputRejected):
        forbidden_use.open_used_record(UsageList((), HASH), HASH)
    with pytest.raises(InputRejected):
        forbidden_use.open_row(Roster.build(()), HASH)
