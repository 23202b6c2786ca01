"""Duties to remove, and penalties for use after consent: by proof, within the grace, never for the honest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from usufruct_protocol import forbidden_use
from usufruct_protocol.forbidden_use import RowOpening, use_penalty

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.gateway import signed
from tests.contracts.evm.removal import (
    BOND,
    DAY,
    EMBEDDING,
    FOREVER_MS,
    OTHER_RECORD,
    RECORDS,
    Evidence,
    Intervals,
    Scene,
    Use,
    revoke_tag,
    row,
)
from tests.contracts.evm.world import World
from tests.contracts.wire import ZERO_ADDRESS, ZERO_HASH, account, keccak
from tests.reference import considerations as reference

HORIZON = 90 * DAY
RETRIEVAL_DUTY, TRAINING_DUTY = 0, 1
TERMS = {RETRIEVAL_DUTY: 30 * DAY, TRAINING_DUTY: 180 * DAY}
DECLARATION = keccak(b"declaration")
RECORD = RECORDS[0]
ALWAYS: Intervals = [(0, FOREVER_MS, revoke_tag(0))]
kinds = pytest.mark.parametrize("kind", [RETRIEVAL_DUTY, TRAINING_DUTY], ids=["retrieval", "training"])


@pytest.fixture
def scene(world: World) -> Scene:
    """One roster, in which the record's consent carries tag 0; the tag is revoked at once."""
    made = Scene(world)
    made.set_roster({RECORD: ALWAYS, OTHER_RECORD: [(0, FOREVER_MS, revoke_tag(9))]})
    made.revoke(0)
    return made


# -- duties --------------------------------------------------------------------------------------------------


def open_duty(scene: Scene, kind: int, number: int) -> int:
    steward = scene.world.people.steward
    return int(scene.world.duties.openDuty(scene.license_id, kind, revoke_tag(number), sender=steward).value)


def attest(scene: Scene, kind: int, up_to: int, declaration: bytes = DECLARATION) -> None:
    buyer = scene.world.people.buyer
    scene.world.duties.attestRemoval(scene.license_id, kind, up_to, declaration, sender=buyer)


def enforce(scene: Scene, kind: int, up_to: int) -> int:
    stranger = scene.world.people.stranger
    return int(scene.world.duties.enforceDuty(scene.license_id, kind, up_to, sender=stranger).value)


def open_count(scene: Scene) -> int:
    return int(scene.world.duties.openFor(scene.license_id))


@kinds
def test_a_duty_is_closed_by_the_buyers_word(scene: Scene, kind: int) -> None:
    assert open_duty(scene, kind, 0) == 0
    due_by = scene.world.evm.timestamp + TERMS[kind]
    assert scene.world.duties.duty(scene.license_id, kind, 0) == (revoke_tag(0), due_by)
    assert open_count(scene) == 1
    scene.world.evm.at(due_by)
    attest(scene, kind, 1)
    assert (open_count(scene), scene.bond) == (0, BOND)
    scene.world.evm.warp(1)
    with pytest.raises(Reverted, match="RemovalDuties_BadRange"):
        enforce(scene, kind, 1)


@kinds
def test_a_missed_duty_costs_the_bond(scene: Scene, kind: int) -> None:
    open_duty(scene, kind, 0)
    scene.world.evm.warp(TERMS[kind])
    with pytest.raises(Reverted, match="RemovalDuties_NotDue"):
        enforce(scene, kind, 1)
    scene.world.evm.warp(1)
    with pytest.raises(Reverted, match="RemovalDuties_Overdue"):
        attest(scene, kind, 1)
    assert enforce(scene, kind, 1) == BOND
    assert (scene.bond, scene.remediation, open_count(scene)) == (0, BOND, 0)
    with pytest.raises(Reverted, match="RemovalDuties_BadRange"):
        enforce(scene, kind, 1)


def test_one_call_answers_any_number_of_duties(scene: Scene) -> None:
    """A steward can make tags and revoke them as it likes; to answer takes the buyer one call."""
    for number in range(20):
        scene.revoke(number)
        assert open_duty(scene, RETRIEVAL_DUTY, number) == number
    assert open_count(scene) == 20
    attest(scene, RETRIEVAL_DUTY, 20)
    assert (open_count(scene), scene.world.duties.closedCount(scene.license_id, RETRIEVAL_DUTY)) == (0, 20)


def test_the_kinds_of_duty_are_counted_apart(scene: Scene) -> None:
    open_duty(scene, RETRIEVAL_DUTY, 0)
    open_duty(scene, TRAINING_DUTY, 0)
    assert open_count(scene) == 2
    attest(scene, RETRIEVAL_DUTY, 1)
    assert open_count(scene) == 1
    scene.world.evm.warp(TERMS[TRAINING_DUTY] + 1)
    assert enforce(scene, TRAINING_DUTY, 1) == BOND


def test_duties_close_in_order_and_only_overdue_ones_are_enforced(scene: Scene) -> None:
    scene.revoke(1)
    scene.revoke(2)
    open_duty(scene, RETRIEVAL_DUTY, 0)
    scene.world.evm.warp(10 * DAY)
    open_duty(scene, RETRIEVAL_DUTY, 1)
    open_duty(scene, RETRIEVAL_DUTY, 2)
    scene.world.evm.warp(20 * DAY + 1)
    with pytest.raises(Reverted, match="RemovalDuties_NotDue"):
        enforce(scene, RETRIEVAL_DUTY, 2)
    with pytest.raises(Reverted, match="RemovalDuties_Overdue"):
        attest(scene, RETRIEVAL_DUTY, 3)
    enforce(scene, RETRIEVAL_DUTY, 1)
    for up_to in (0, 1, 4):
        with pytest.raises(Reverted, match="RemovalDuties_BadRange"):
            attest(scene, RETRIEVAL_DUTY, up_to)
    attest(scene, RETRIEVAL_DUTY, 3)
    assert open_count(scene) == 0


def test_a_duty_needs_a_revocation_and_is_opened_once(scene: Scene) -> None:
    with pytest.raises(Reverted, match="RemovalDuties_NotRevoked"):
        open_duty(scene, RETRIEVAL_DUTY, 1)
    open_duty(scene, RETRIEVAL_DUTY, 0)
    with pytest.raises(Reverted, match="RemovalDuties_AlreadyOpened"):
        open_duty(scene, RETRIEVAL_DUTY, 0)
    attest(scene, RETRIEVAL_DUTY, 1)
    with pytest.raises(Reverted, match="RemovalDuties_AlreadyOpened"):
        open_duty(scene, RETRIEVAL_DUTY, 0)


def test_only_the_steward_opens_and_only_the_buyer_attests(scene: Scene) -> None:
    duties, people = scene.world.duties, scene.world.people
    for other in (people.stranger, people.buyer, people.council, people.admin):
        with pytest.raises(Reverted, match="RemovalDuties_NotSteward"):
            duties.openDuty(scene.license_id, 0, revoke_tag(0), sender=other)
    open_duty(scene, RETRIEVAL_DUTY, 0)
    for other in (people.stranger, people.steward, people.council, people.admin):
        with pytest.raises(Reverted, match="RemovalDuties_NotBuyer"):
            duties.attestRemoval(scene.license_id, 0, 1, DECLARATION, sender=other)
    with pytest.raises(Reverted, match="RemovalDuties_ZeroAttestation"):
        attest(scene, RETRIEVAL_DUTY, 1, ZERO_HASH)


def test_a_duty_can_be_opened_until_the_horizon(scene: Scene) -> None:
    """Later the bond may be gone, and a steward must not keep a buyer from it by ever new duties."""
    ends_at = scene.world.registry.license(scene.license_id).endsAt
    scene.world.evm.at(ends_at + HORIZON)
    with scene.world.evm.undone():
        open_duty(scene, RETRIEVAL_DUTY, 0)
    scene.world.evm.warp(1)
    with pytest.raises(Reverted, match="RemovalDuties_TooLate"):
        open_duty(scene, RETRIEVAL_DUTY, 0)


def test_what_does_not_exist_has_no_duties(scene: Scene) -> None:
    duties, people = scene.world.duties, scene.world.people
    for call in (
        lambda: duties.openDuty(99, 0, revoke_tag(0), sender=people.steward),
        lambda: duties.attestRemoval(99, 0, 1, DECLARATION, sender=people.buyer),
    ):
        with pytest.raises(Reverted, match="LicenseRegistry_UnknownLicense"):
            call()
    with pytest.raises(Reverted, match="RemovalDuties_BadRange"):
        duties.enforceDuty(99, 0, 1, sender=people.stranger)
    with pytest.raises(Reverted, match="RemovalDuties_BadRange"):
        enforce(scene, RETRIEVAL_DUTY, 0)
    with pytest.raises(Reverted, match="Panic"):
        duties.duty(scene.license_id, 0, 0)
    assert (duties.openFor(99), duties.dutyCount(99, 0)) == (0, 0)


def test_a_kind_that_does_not_exist_is_refused(scene: Scene) -> None:
    with pytest.raises(Reverted):
        open_duty(scene, 2, 0)


def test_a_missed_duty_of_a_license_without_a_bond_is_closed_for_nothing(world: World) -> None:
    scene = Scene(world, bond=0)
    scene.revoke(0)
    open_duty(scene, RETRIEVAL_DUTY, 0)
    world.evm.warp(TERMS[RETRIEVAL_DUTY] + 1)
    assert enforce(scene, RETRIEVAL_DUTY, 1) == 0
    assert open_count(scene) == 0


# -- penalties -----------------------------------------------------------------------------------------------


def test_a_use_after_the_grace_costs_three_times_its_price(scene: Scene) -> None:
    scene.world.evm.warp(DAY)
    use = scene.use(OTHER_RECORD, RECORD, units=7)
    made = scene.penalize(scene.evidence(use, RECORD))
    assert (made.value, scene.bond, scene.remediation) == (21, BOND - 21, 21)
    event = made.named("ForbiddenUsePenalized")[0]
    assert (event.licenseId, event.recordTag, event.penalty, event.slashed) == (
        scene.license_id,
        RECORD,
        21,
        21,
    )
    assert event.receiptHash == use.receipt.struct_hash()


def test_who_reports_and_who_revoked_get_nothing(scene: Scene) -> None:
    scene.world.evm.warp(DAY)
    scene.penalize(scene.evidence(scene.use(RECORD, units=1_000), RECORD))
    people = scene.world.people
    for other in (people.stranger, people.steward, people.community, people.council):
        assert scene.world.license_bonds.credit(other) == 0
        assert scene.world.token.balanceOf(other) == 0
    assert scene.remediation == 3_000


@pytest.mark.parametrize("early_ms", [1, 1_000, DAY * 1_000])
def test_a_use_within_the_grace_is_free(scene: Scene, early_ms: int) -> None:
    """The roster is a day older than the revocation: the grace runs from the revocation."""
    world = scene.world
    later = Scene(world)
    later.set_roster({RECORD: [(0, FOREVER_MS, revoke_tag(1))]})
    world.evm.warp(5 * DAY)
    later.revoke(1)
    grace_over_ms = later.now_ms + DAY * 1_000
    world.evm.warp(DAY)
    use = later.use(RECORD, issued_at_ms=grace_over_ms - early_ms)
    with pytest.raises(Reverted, match=r"RemovalDuties_NotForbidden\(0\)"):
        later.penalize(later.evidence(use, RECORD))
    later.penalize(later.evidence(later.use(RECORD, issued_at_ms=grace_over_ms), RECORD))


def test_a_late_roster_gives_its_own_grace(world: World) -> None:
    """The tag was revoked long ago, and only now does the steward say which record it stands for."""
    scene = Scene(world)
    scene.revoke(0)
    world.evm.warp(100 * DAY)
    scene.set_roster({RECORD: ALWAYS})
    known_ms = scene.now_ms + DAY * 1_000
    world.evm.warp(DAY)
    use = scene.use(RECORD, issued_at_ms=known_ms - 1)
    with pytest.raises(Reverted, match="RemovalDuties_RosterTooNew"):
        scene.penalize(scene.evidence(use, RECORD, [0]))
    scene.penalize(scene.evidence(scene.use(RECORD, issued_at_ms=known_ms), RECORD))


def test_an_old_roster_does_not_frame_who_follows_the_new_one(scene: Scene) -> None:
    """Consent was given again under a new tag: the row that shows the old one is true, and past."""
    scene.world.evm.warp(10 * DAY)
    scene.set_roster({RECORD: [*[(0, 5, revoke_tag(0))], (5, FOREVER_MS, revoke_tag(1))]})
    scene.world.evm.warp(3 * DAY)
    use = scene.use(RECORD)
    with pytest.raises(Reverted, match="RemovalDuties_RosterMissing"):
        scene.penalize(scene.evidence(use, RECORD, [0]))
    for numbers in ([0, 1], [1]):
        with pytest.raises(Reverted, match=r"RemovalDuties_NotForbidden\(1\)"):
            scene.penalize(scene.evidence(use, RECORD, numbers))


def test_a_steward_that_flaps_does_not_frame(scene: Scene) -> None:
    """Forbidden, allowed for an hour, forbidden again: whoever saw that hour has a day to see the end."""
    world = scene.world
    world.evm.warp(10 * DAY)
    scene.set_roster({RECORD: [(0, FOREVER_MS, revoke_tag(1))]})
    world.evm.warp(3_600)
    scene.set_roster({RECORD: ALWAYS})
    world.evm.warp(DAY - 3_600)
    use = scene.use(RECORD)
    for numbers, error in (
        ([0, 1, 2], r"RemovalDuties_NotForbidden\(1\)"),
        ([1, 2], r"RemovalDuties_NotForbidden\(1\)"),
        ([2], "RemovalDuties_RosterTooNew"),
        ([0], "RemovalDuties_RosterMissing"),
        ([0, 1], r"RemovalDuties_NotForbidden\(1\)"),
    ):
        with pytest.raises(Reverted, match=error):
            scene.penalize(scene.evidence(use, RECORD, numbers))
    world.evm.warp(3_600)
    scene.penalize(scene.evidence(scene.use(RECORD), RECORD))


def test_rosters_set_after_the_use_change_nothing(scene: Scene) -> None:
    """No roster set later saves a buyer, and none counts against one."""
    scene.world.evm.warp(DAY)
    use = scene.use(RECORD)
    scene.world.evm.warp(1)
    scene.set_roster({RECORD: [(0, FOREVER_MS, revoke_tag(1))]})
    with pytest.raises(Reverted, match="RemovalDuties_RosterLater"):
        scene.penalize(scene.evidence(use, RECORD, [0, 1]))
    scene.penalize(scene.evidence(use, RECORD))


def test_daily_rosters_do_not_shield_a_careless_gateway(scene: Scene) -> None:
    for _ in range(40):
        scene.world.evm.warp(3_600)
        scene.set_roster({RECORD: ALWAYS, OTHER_RECORD: []})
    use = scene.use(RECORD)
    evidence = scene.evidence(use, RECORD)
    assert len(evidence[3]) == 25
    scene.penalize(evidence)


def test_an_expired_consent_has_no_grace_of_its_own(world: World) -> None:
    scene = Scene(world)
    ends_ms = scene.now_ms + 10 * DAY * 1_000
    scene.set_roster({RECORD: [(0, ends_ms, revoke_tag(1))]})
    world.evm.warp(10 * DAY)
    with pytest.raises(Reverted, match="RemovalDuties_NotForbidden"):
        scene.penalize(scene.evidence(scene.use(RECORD, issued_at_ms=ends_ms - 1), RECORD))
    scene.penalize(scene.evidence(scene.use(RECORD, issued_at_ms=ends_ms), RECORD))


def test_a_record_that_never_had_a_consent_is_the_stewards_fault(world: World) -> None:
    scene = Scene(world)
    scene.set_roster({RECORD: [], RECORDS[1]: [(FOREVER_MS - 1, FOREVER_MS, revoke_tag(0))]})
    world.evm.warp(2 * DAY)
    for record in RECORDS[:2]:
        with pytest.raises(Reverted, match="RemovalDuties_NotForbidden"):
            scene.penalize(scene.evidence(scene.use(record), record))


def test_a_use_is_penalized_once_per_record(scene: Scene) -> None:
    scene.set_roster({RECORD: ALWAYS, RECORDS[1]: ALWAYS})
    scene.world.evm.warp(DAY)
    use = scene.use(RECORD, RECORDS[1], units=2)
    scene.penalize(scene.evidence(use, RECORD))
    with pytest.raises(Reverted, match="RemovalDuties_AlreadyPenalized"):
        scene.penalize(scene.evidence(use, RECORD))
    scene.penalize(scene.evidence(use, RECORDS[1]))
    assert scene.remediation == 12
    assert scene.world.duties.penalized(use.receipt.struct_hash(), RECORD)


def test_a_penalty_takes_what_is_left_and_an_empty_bond_uses_no_proof_up(world: World) -> None:
    scene = Scene(world, bond=10)
    scene.set_roster({RECORD: ALWAYS})
    scene.revoke(0)
    world.evm.warp(DAY)
    first, second = scene.use(RECORD, units=4), scene.use(RECORD, units=5, issued_at_ms=scene.now_ms)
    made = scene.penalize(scene.evidence(first, RECORD))
    assert (made.value, made.named("ForbiddenUsePenalized")[0].penalty) == (10, 12)
    with pytest.raises(Reverted, match="RemovalDuties_NothingToTake"):
        scene.penalize(scene.evidence(second, RECORD))
    assert not world.duties.penalized(second.receipt.struct_hash(), RECORD)
    assert world.duties.penalizedUnits(scene.gateway.key) == 4


def test_a_void_receipt_costs_nothing(scene: Scene) -> None:
    scene.world.evm.warp(DAY)
    with pytest.raises(Reverted, match="RemovalDuties_NothingToTake"):
        scene.penalize(scene.evidence(scene.use(RECORD, units=0), RECORD))


def test_a_stolen_lane_key_costs_no_more_than_its_unit_cap(world: World) -> None:
    """The thief signs whatever it likes, as large as a receipt can be."""
    scene = Scene(world, unit_cap=100)
    scene.set_roster({RECORD: ALWAYS, RECORDS[1]: ALWAYS})
    scene.revoke(0)
    world.evm.warp(DAY)
    use = scene.use(RECORD, RECORDS[1], units=60)
    assert scene.penalize(scene.evidence(use, RECORD)).value == 180
    huge = replace(use.receipt, units=2**64 - 1, cumulative_units=2**128 - 1)
    stolen = Use(signed(world, huge, scene.gateway.key), use.usage)
    assert scene.penalize(scene.evidence(stolen, RECORD)).value == 120
    with pytest.raises(Reverted, match="RemovalDuties_NothingToTake"):
        scene.penalize(scene.evidence(stolen, RECORDS[1]))
    assert scene.bond == BOND - 300


@given(st.integers(1, 2**64 - 1), st.integers(1, 2**96 - 1))
def test_the_penalty_equals_the_reference_for_any_price(shared_world: World, units: int, price: int) -> None:
    expected = min(reference.use_penalty(units, price), 2**96 - 1)
    assert use_penalty(units, price) == expected
    with shared_world.evm.undone():
        scene = Scene(shared_world, price=price, unit_cap=2**128 - 1)
        scene.set_roster({RECORD: ALWAYS})
        scene.revoke(0)
        shared_world.evm.warp(DAY)
        made = scene.penalize(scene.evidence(scene.use(RECORD, units=units), RECORD))
        event = made.named("ForbiddenUsePenalized")[0]
        assert (event.penalty, event.slashed) == (expected, min(expected, BOND))


# -- proofs that are none ------------------------------------------------------------------------------------


def evidence_of(scene: Scene, **changes: Any) -> Evidence:
    """A proof that would do, with one member changed."""
    scene.world.evm.warp(DAY)
    signed_receipt, used, first, rows = scene.evidence(scene.use(OTHER_RECORD, RECORD), RECORD)
    parts = {"signed": signed_receipt, "used": used, "first": first, "rows": rows}
    parts |= {name: change(parts[name]) for name, change in changes.items()}
    return tuple(parts.values())  # type: ignore[return-value]


def each_row(change: Callable[[RowOpening], RowOpening]) -> Callable[[list[RowOpening]], list[RowOpening]]:
    return lambda rows: [change(one) for one in rows]


def without_revocation(opening: RowOpening) -> RowOpening:
    return replace(opening, row=opening.row[:-32] + revoke_tag(5))


FORGERIES: dict[str, tuple[dict[str, Callable[[Any], Any]], str]] = {
    "no roster": ({"rows": lambda _: []}, "RemovalDuties_RosterMissing"),
    "roster that was never set": ({"first": lambda _: 1}, "Panic"),
    "signature of another": ({"signed": lambda one: (one[0], one[1][:-1] + b"\x1b")}, "LaneEvidence_"),
    "no signature": ({"signed": lambda one: (one[0], b"")}, "LaneEvidence_BadSignature"),
    "more units": ({"signed": lambda one: (replace(one[0], units=9), one[1])}, "LaneEvidence_WrongSigner"),
    "other record in the list": (
        {"used": lambda used: replace(used, record_tag=RECORDS[1])},
        "LaneTree_WrongProof",
    ),
    "other weight": ({"used": lambda used: replace(used, weight=2)}, "LaneTree_WrongProof"),
    "other entry": ({"used": lambda used: replace(used, index=1 - used.index)}, "LaneTree_WrongProof"),
    "entry beyond the list": ({"used": lambda used: replace(used, index=2)}, "LaneTree_NoSuchLeaf"),
    "list of one": (
        {"used": lambda used: replace(used, count=1, index=0, proof=())},
        "LaneTree_WrongProof",
    ),
    "row of somebody else's making": ({"rows": each_row(without_revocation)}, "LaneTree_WrongProof"),
    "row with a tail": (
        {"rows": each_row(lambda one: replace(one, row=one.row + b"\0"))},
        "LaneTree_WrongProof",
    ),
    "other position in the roster": (
        {"rows": each_row(lambda one: replace(one, index=1 - one.index))},
        "LaneTree_WrongProof",
    ),
    "node as a row": (
        {"rows": each_row(lambda one: replace(one, count=1, index=0, proof=()))},
        "LaneTree_WrongProof",
    ),
    "another of the row's records": (
        {"rows": each_row(lambda one: replace(one, tag_position=1 - one.tag_position))},
        "RemovalDuties_WrongTag",
    ),
    "record beyond the row": (
        {"rows": each_row(lambda one: replace(one, tag_position=2))},
        "RosterRow_NoSuchTag",
    ),
    "row too often": ({"rows": lambda rows: rows * 2}, "Panic"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_proof_with_one_false_member_proves_nothing(scene: Scene, forgery: str) -> None:
    changes, error = FORGERIES[forgery]
    with pytest.raises(Reverted, match=error):
        scene.penalize(evidence_of(scene, **changes))
    assert scene.bond == BOND


def test_the_same_proof_without_a_change_does(scene: Scene) -> None:
    scene.penalize(evidence_of(scene))
    assert scene.bond == BOND - 3


@pytest.mark.parametrize("length", [0, 1, 108, 109, 110, 111, 141, 142, 157, 189])
def test_a_row_of_the_wrong_length_proves_nothing(world: World, length: int) -> None:
    """The steward sets a root over bytes that are no row; here they are cut off or padded ones."""
    scene = Scene(world)
    scene.set_roster({RECORD: ALWAYS})
    good = scene.rosters[0].rows[0].to_bytes()
    assert len(good) == 110 + 2 * 32 + 48
    bad = (good + bytes(200))[:length]
    root = keccak(b"\5" + bad)
    world.registry.setRoster(scene.license_id, root, sender=world.people.steward)
    scene.revoke(0)
    world.evm.warp(DAY)
    use = scene.use(RECORD)
    signed_receipt, used, _, rows = scene.evidence(use, RECORD, [0])
    opening = replace(rows[0], row=bad, index=0, count=1, proof=())
    with pytest.raises(Reverted, match="RosterRow_BadForm"):
        scene.penalize((signed_receipt, used, 1, [opening]))


def test_a_receipt_of_the_future_proves_nothing_yet(scene: Scene) -> None:
    scene.world.evm.warp(DAY)
    use = scene.use(RECORD, issued_at_ms=scene.now_ms + 1)
    with pytest.raises(Reverted, match="RemovalDuties_NotYetIssued"):
        scene.penalize(scene.evidence(use, RECORD))


def test_a_key_that_is_no_lane_proves_nothing(scene: Scene) -> None:
    scene.world.evm.warp(DAY)
    use = scene.use(RECORD)
    key = account("no lane")
    receipt = replace(use.receipt, lane=bytes.fromhex(key.address[2:]))
    with pytest.raises(Reverted, match="RemovalDuties_UnknownLane"):
        scene.penalize(scene.evidence(Use(signed(scene.world, receipt, key), use.usage), RECORD))


@pytest.mark.parametrize(("meter_kind", "counts"), [(0, 0), (1, 0), (2, 0), (3, 0), (EMBEDDING, 1), (5, 1)])
def test_only_licenses_that_pay_by_use_are_penalized_by_use(
    world: World, meter_kind: int, counts: int
) -> None:
    scene = Scene(world, meter_kind=meter_kind)
    scene.set_roster({RECORD: ALWAYS})
    scene.revoke(0)
    world.evm.warp(DAY)
    evidence = scene.evidence(scene.use(RECORD), RECORD)
    if counts:
        assert scene.penalize(evidence).value == 3
        return
    with pytest.raises(Reverted, match="RemovalDuties_NotMeteredByUse"):
        scene.penalize(evidence)


def test_a_record_of_another_licenses_collection_proves_nothing(scene: Scene) -> None:
    """The record is in the other license's roster only."""
    other = Scene(scene.world)
    other.set_roster({RECORDS[2]: ALWAYS})
    scene.world.evm.warp(DAY)
    use = scene.use(RECORDS[2])
    signed_receipt, used, _, _ = scene.evidence(use, RECORDS[2], [])
    rows = other.evidence(Use(use.signed, use.usage), RECORDS[2], [0])[3]
    with pytest.raises(Reverted, match="LaneTree_WrongProof"):
        scene.penalize((signed_receipt, used, 0, rows))


def test_a_use_can_be_reported_until_the_horizon(scene: Scene) -> None:
    scene.world.evm.warp(DAY)
    evidence = scene.evidence(scene.use(RECORD), RECORD)
    ends_at = scene.world.registry.license(scene.license_id).endsAt
    scene.world.evm.at(ends_at + HORIZON)
    with scene.world.evm.undone():
        scene.penalize(evidence)
    scene.world.evm.warp(1)
    with pytest.raises(Reverted, match="RemovalDuties_TooLate"):
        scene.penalize(evidence)


def test_inv_33_a_receipt_of_another_chain_proves_nothing(scene: Scene) -> None:
    elsewhere = Scene(World(Evm(chain_id=scene.world.evm.chain_id + 1)))
    scene.world.evm.warp(DAY)
    use = scene.use(RECORD)
    theirs = Use(signed(elsewhere.world, use.receipt, scene.gateway.key), use.usage)
    with pytest.raises(Reverted, match="LaneEvidence_WrongSigner"):
        scene.penalize(scene.evidence(theirs, RECORD))


@pytest.mark.parametrize("position", range(4))
def test_a_neighbor_that_is_nobody_is_refused(world: World, position: int) -> None:
    arguments: list[Any] = [world.registry, world.consent_log, world.license_bonds, world.settlement]
    arguments[position] = ZERO_ADDRESS
    with pytest.raises(Reverted, match="RemovalDuties_ZeroAddress"):
        world.evm.deploy("RemovalDuties", *arguments, sender=world.people.stranger)


def test_neighbors_are_the_deployments(world: World) -> None:
    duties = world.duties
    assert (duties.registry(), duties.consentLog()) == (world.registry.address, world.consent_log.address)
    assert (duties.bonds(), duties.settlement()) == (world.license_bonds.address, world.settlement.address)


# -- any history ---------------------------------------------------------------------------------------------

# Each example signs a lot: a third of the profile's number, and more of them at night.
EXAMPLES = max(50, (settings.default.max_examples if settings.default else 0) // 3)
hours = st.integers(0, 60)
tags = st.integers(1, 4)


@st.composite
def consents(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Up to three intervals in hours since the beginning, apart, each with the number of its tag."""
    cuts = sorted(draw(st.sets(st.integers(0, 120), min_size=0, max_size=6)))
    pairs = list(zip(cuts[::2], cuts[1::2], strict=False))
    return [(begin, end, draw(tags)) for begin, end in pairs]


def in_ms(start_s: int, found: list[tuple[int, int, int]]) -> Intervals:
    return [
        ((start_s + a * 3_600) * 1_000, (start_s + b * 3_600) * 1_000, revoke_tag(t)) for a, b, t in found
    ]


stale_hours = st.one_of(st.just(24), st.integers(0, 24))
looks_of_a_gateway = st.tuples(st.one_of(st.just(23), st.integers(0, 30)), stale_hours, stale_hours)
long_consents = tags.map(lambda tag: [(0, 500, tag)])


@settings(max_examples=EXAMPLES)
@given(
    st.lists(st.tuples(hours, st.one_of(consents(), long_consents, tags)), min_size=1, max_size=7),
    st.lists(looks_of_a_gateway, min_size=1, max_size=5),
    st.one_of(st.integers(0, 999), st.integers(0, 3_600_000)),
)
def test_inv_25_a_gateway_that_heeds_rosters_within_a_day_is_never_penalized(
    shared_world: World, events: list[Any], looks: list[tuple[int, int, int]], jitter_ms: int
) -> None:
    """Whatever a steward sets and anybody revokes: no choice of rosters proves anything against it.

    The gateway acts on a roster and on revocations that it looked at up to a day ago, each at its own time,
    and serves while that roster's row permits. The adversary tries every run of rosters as proof.
    """
    world = shared_world
    with world.evm.undone():
        scene = Scene(world)
        start_s = world.evm.timestamp
        revoked_at: dict[bytes, int] = {}
        histories: list[Intervals] = []
        for wait, event in events:
            world.evm.warp(wait * 3_600)
            if isinstance(event, int):
                scene.revoke(event)
                revoked_at.setdefault(revoke_tag(event), world.evm.timestamp)
            else:
                histories.append(in_ms(start_s, event))
                scene.set_roster({RECORD: histories[-1]})
            for later_hours, *stale in looks:
                with world.evm.undone():
                    world.evm.warp((later_hours + 1) * 3_600)
                    serve_and_accuse(scene, histories, revoked_at, scene.now_ms - jitter_ms, *stale)


def serve_and_accuse(
    scene: Scene,
    histories: list[Intervals],
    revoked_at: dict[bytes, int],
    at_ms: int,
    roster_hours: int,
    revocation_hours: int,
) -> None:
    """Serve if what the gateway knew so many hours ago permits it; then try to prove that it should not."""
    at_s = -(-at_ms // 1_000)
    known = [number for number, set_at in enumerate(scene.set_at_s) if set_at <= at_s - roster_hours * 3_600]
    heard = {tag for tag, at in revoked_at.items() if at <= at_s - revocation_hours * 3_600}
    row_known = histories[known[-1]] if known else []
    if not any(from_ms <= at_ms < to_ms and tag not in heard for from_ms, to_ms, tag in row_known):
        return
    use = scene.use(RECORD, issued_at_ms=at_ms)
    count = len(scene.rosters)
    for first in range(count):
        for end in range(first + 1, count + 1):
            evidence = scene.evidence(use, RECORD, range(first, end))
            with pytest.raises(Reverted, match="RemovalDuties_"):
                scene.penalize(evidence)
    assert scene.bond == BOND


@settings(max_examples=EXAMPLES)
@given(consents(), st.dictionaries(tags, hours, max_size=4), st.integers(24, 130), st.integers(-1, 1))
def test_what_a_row_forbids_equals_the_reference(
    shared_world: World, found: list[tuple[int, int, int]], revoked: dict[int, int], at_h: int, off_ms: int
) -> None:
    """Contract, Python rules, and the sentence of the specification."""
    world = shared_world
    with world.evm.undone():
        scene = Scene(world)
        start_s = world.evm.timestamp
        intervals = in_ms(start_s, found)
        scene.set_roster({RECORD: intervals})
        for number, at in sorted(revoked.items(), key=lambda one: one[1]):
            world.evm.at(start_s + at * 3_600)
            scene.revoke(number)
        world.evm.at(start_s + 200 * 3_600)
        revoked_at = {revoke_tag(number): start_s + at * 3_600 for number, at in revoked.items()}
        at_ms = (start_s + at_h * 3_600) * 1_000 + max(off_ms, 0 if at_h == 24 else off_ms)
        expected = reference.is_forbidden(intervals, at_ms, revoked_at)
        consent_row = row(RECORD, intervals)
        assert forbidden_use.forbids(consent_row, at_ms, revoked_at) == expected
        evidence = scene.evidence(scene.use(RECORD, issued_at_ms=at_ms), RECORD)
        if expected:
            scene.penalize(evidence)
        else:
            with pytest.raises(Reverted, match="RemovalDuties_NotForbidden"):
                scene.penalize(evidence)


def test_python_opens_the_rosters_that_the_contract_asks_for() -> None:
    day_ms = DAY * 1_000
    assert list(forbidden_use.rosters_to_open([10, 20, 30], 30_000 + day_ms)) == [2]
    assert list(forbidden_use.rosters_to_open([10, 20, 30], 30_000 + day_ms - 1)) == [1, 2]
    assert list(forbidden_use.rosters_to_open([10, 20 + DAY, 30 + DAY], 20_000 + day_ms)) == [0, 1]
    assert list(forbidden_use.rosters_to_open([10], 9_999 + day_ms)) == []
