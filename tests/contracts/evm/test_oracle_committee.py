"""Rotations: which version governs what, who may be in it, and when the last reserve is issued first.

The council is the attacker here as often as the signers are. Signatures themselves are in test_quorum.py.

Every way a call reverts: rotate: AccessManagedUnauthorized, EpochNotInFuture, EpochTooFar, TooFewSigners,
TooManySigners, SignersNotAscending, BondTooSmall · requireQuorum: StaleVersion, BadSignatureLength,
NotEnoughSignatures, SignatureOutOfOrder, UnknownSigner, WrongSignature, MalleableSignature,
ReserveNotIssued · quorumSigners: the same without the last · signersOf: UnknownVersion · threshold:
TooFewSigners · constructor: ZeroAddress and those of a table · both: TableNotStored, where creating it takes
the last gas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.report_types import EpochReport

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.world import EPOCH_SECONDS, World, committee_of
from tests.contracts.wire import ZERO_ADDRESS, Account, account, quorum_blob

PAID_OUT = {"reserve_root": b"\5" * 32, "reserve_total": 40, "reserve_count": 1}


def ascending(signers: Sequence[Account]) -> list[Account]:
    return sorted(signers, key=lambda signer: int(signer.address, 16))


def newcomers(count: int, tag: str = "newcomer") -> list[Account]:
    return [account(f"{tag} {number}") for number in range(count)]


def rotate(world: World, from_epoch: int, signers: Sequence[Account]) -> int:
    """The council announces a version; returns its number."""
    table = ascending(signers)
    version = int(world.committee.rotate(table, from_epoch, sender=world.people.council).value)
    world.signers[version] = table
    return version


def replace_some(signers: Sequence[Account], count: int, tag: str = "newcomer") -> list[Account]:
    """The table with its first `count` signers replaced by newcomers."""
    return ascending([*newcomers(count, tag), *signers[count:]])


def governing(world: World, last: int) -> list[int]:
    return [world.committee.versionFor(epoch) for epoch in range(1, last + 1)]


def issue_reserve(world: World, report: EpochReport) -> None:
    world.settlement.issueReserve(report, sender=world.people.stranger)


@pytest.fixture
def seven(evm: Evm) -> World:
    """A committee that tolerates two faulty signers."""
    return World(evm, signer_count=7)


# -- which version governs -----------------------------------------------------------------------------------


def test_a_later_rotation_replaces_what_has_not_opened(world: World) -> None:
    """One announced too far ahead, or with a signer who left since, must not shut out the better one."""
    first = committee_of(4)
    far = rotate(world, 300, first)
    near = rotate(world, 5, first)
    assert governing(world, 6) == [1, 1, 1, 1, near, near]
    assert world.committee.versionFor(300) == near
    nearer = rotate(world, 3, first)
    assert governing(world, 6) == [1, 1, nearer, nearer, nearer, nearer]
    assert nearer > near > far


def test_a_rotation_beyond_an_announced_one_leaves_that_in_place(world: World) -> None:
    first = committee_of(4)
    near, far = rotate(world, 3, first), rotate(world, 5, first)
    assert governing(world, 6) == [1, 1, near, near, far, far]
    middle = rotate(world, 4, first)
    assert governing(world, 6) == [1, 1, near, middle, middle, middle]


def test_a_replaced_version_says_so_and_cannot_sign(world: World) -> None:
    mistaken = rotate(world, 2, committee_of(4, "mistaken"))
    receipt = world.committee.rotate(committee_of(4), 2, sender=world.people.council)
    assert [event.version for event in receipt.named("VersionReplaced")] == [mistaken]
    world.signers[receipt.value] = committee_of(4)
    world.settle()
    world.until(world.settlement.state().lastPeriodEnd + EPOCH_SECONDS)
    report = world.report(signer_set_version=mistaken)
    with pytest.raises(Reverted, match="OracleCommittee_StaleVersion"):
        world.submit(report)
    assert world.settle().signer_set_version == receipt.value


def test_inv_21_a_replacement_leaves_the_open_epoch_and_its_pending_report_alone(world: World) -> None:
    rotate(world, 2, committee_of(4))
    world.settle()
    pending = world.post()
    with pytest.raises(Reverted, match="OracleCommittee_EpochNotInFuture"):
        rotate(world, 2, committee_of(4, "usurper"))
    rotate(world, 3, committee_of(4, "usurper"))
    world.until(world.settlement.state().finalizableAt)
    world.settlement.finalize(pending, sender=world.people.stranger)
    assert governing(world, 3) == [1, 2, 3]


@pytest.mark.parametrize(("ahead", "goes"), [(366, True), (367, False), (2**48 - 3, False)])
def test_a_rotation_has_a_horizon(world: World, ahead: int, goes: bool) -> None:
    if goes:
        rotate(world, 1 + ahead, committee_of(4))
    else:
        with pytest.raises(Reverted, match="OracleCommittee_EpochTooFar"):
            rotate(world, 1 + ahead, committee_of(4))


@pytest.mark.parametrize(
    ("table", "error"),
    [
        (committee_of(3), "TooFewSigners"),
        (committee_of(256), "TooManySigners"),
        (committee_of(4)[::-1], "SignersNotAscending"),
        ([committee_of(4)[0], *committee_of(4)], "SignersNotAscending"),
        ([Account("nobody", b"", ZERO_ADDRESS), *committee_of(4)], "SignersNotAscending"),
    ],
)
def test_a_table_that_is_none_is_refused(world: World, table: list[Account], error: str) -> None:
    with pytest.raises(Reverted, match=f"OracleCommittee_{error}"):
        world.committee.rotate(table, 2, sender=world.people.council)
    with pytest.raises(Reverted, match=f"OracleCommittee_{error}"):
        build(world, initialSigners=table)


def build(world: World, **changes: Any) -> Any:
    """One more committee, with constructor arguments changed by name."""
    plain = {
        "authority": world.manager,
        "settlement": world.settlement,
        "operatorBonds": world.operator_bonds,
        "initialSigners": committee_of(4),
    }
    return world.evm.deploy("OracleCommittee", *(plain | changes).values(), sender=world.people.admin)


@pytest.mark.parametrize("missing", ["authority", "settlement", "operatorBonds"])
def test_a_committee_without_a_neighbor_is_refused(world: World, missing: str) -> None:
    with pytest.raises(Reverted, match="OracleCommittee_ZeroAddress") as refused:
        build(world, **{missing: ZERO_ADDRESS})
    assert refused.value.arguments == (missing,)


def test_a_version_that_does_not_exist_has_no_signers(world: World) -> None:
    for version in (0, 2):
        with pytest.raises(Reverted, match="OracleCommittee_UnknownVersion"):
            world.committee.signersOf(version)


# -- bonds ---------------------------------------------------------------------------------------------------


def put_up(world: World, signer: Account, amount: int) -> None:
    payer = world.people.operators
    world.token.mint(payer, amount, sender=payer)
    world.token.approve(world.operator_bonds, amount, sender=payer)
    world.operator_bonds.deposit(signer, amount, sender=payer)


def test_every_signer_of_a_new_version_has_bonded_enough(world: World) -> None:
    table = committee_of(4)
    world.operator_bonds.setMinimumBond(500, sender=world.people.council)
    for signer in table:
        put_up(world, signer, 500)
    late = replace_some(table, 1)
    with pytest.raises(Reverted, match="OracleCommittee_BondTooSmall") as refused:
        rotate(world, 2, late)
    assert refused.value.arguments == (newcomers(1)[0].address, 0, 500)
    put_up(world, newcomers(1)[0], 499)
    with pytest.raises(Reverted, match="OracleCommittee_BondTooSmall"):
        rotate(world, 2, late)
    put_up(world, newcomers(1)[0], 1)
    rotate(world, 2, late)


def test_a_bond_that_is_on_its_way_out_does_not_count(world: World) -> None:
    table = committee_of(4)
    world.operator_bonds.setMinimumBond(500, sender=world.people.council)
    for signer in table:
        put_up(world, signer, 500)
    world.operator_bonds.thaw(1, sender=table[3])
    with pytest.raises(Reverted, match="OracleCommittee_BondTooSmall"):
        rotate(world, 2, table)


def test_without_a_minimum_nobody_is_asked_for_a_bond(world: World) -> None:
    assert world.operator_bonds.minimumBond() == 0
    rotate(world, 2, committee_of(4, "other"))


def test_a_refused_rotation_replaces_nothing(world: World) -> None:
    announced = rotate(world, 5, committee_of(4))
    world.operator_bonds.setMinimumBond(1, sender=world.people.council)
    with pytest.raises(Reverted, match="OracleCommittee_BondTooSmall"):
        rotate(world, 3, committee_of(4))
    assert governing(world, 6) == [1, 1, 1, 1, announced, announced]


# -- the last reserve first ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("changed", "first"), [(0, False), (1, False), (2, False), (3, True), (7, True)])
def test_more_than_f_new_signers_issue_the_reserve_first(seven: World, changed: int, first: bool) -> None:
    rotate(seven, 2, replace_some(committee_of(7), changed))
    assert seven.committee.issuesReserveFirst(2) is first
    assert not seven.committee.issuesReserveFirst(1)
    assert not seven.committee.issuesReserveFirst(3)


@pytest.mark.parametrize(
    ("count", "first"),
    [(4, True), (5, True), (6, False), (8, False), (9, False), (10, True), (14, True)],
)
def test_growing_or_shrinking_by_more_than_f_does_too(seven: World, count: int, first: bool) -> None:
    """Four left of seven tolerate one faulty signer, and two of the seven may have been."""
    old = committee_of(7)
    rotate(seven, 2, old[:count] if count < 7 else [*old, *newcomers(count - 7)])
    assert seven.committee.issuesReserveFirst(2) is first


def test_inv_29_a_new_committee_reports_nothing_before_the_old_ones_reserve_is_issued(world: World) -> None:
    world.fill_pool(100)
    rotate(world, 3, committee_of(4, "new"))
    last = world.settle(**PAID_OUT)
    world.until(world.settlement.state().lastPeriodEnd + EPOCH_SECONDS)
    report = world.report()
    with pytest.raises(Reverted, match="OracleCommittee_ReserveNotIssued") as refused:
        world.submit(report)
    assert refused.value.arguments == (2,)
    issue_reserve(world, last)
    world.submit(report)
    assert world.splitter.tree(2 * last.epoch + 1).total == 40
    assert world.splitter.pool() == 60


def test_inv_29_the_reserve_of_an_earlier_report_does_not_do(world: World) -> None:
    """Versions that both differ, one epoch after the other: each needs its own predecessor's."""
    rotate(world, 2, committee_of(4, "second"))
    rotate(world, 3, committee_of(4, "third"))
    issue_reserve(world, world.settle())
    second = world.settle()
    world.until(world.settlement.state().lastPeriodEnd + EPOCH_SECONDS)
    with pytest.raises(Reverted, match="OracleCommittee_ReserveNotIssued"):
        world.submit(world.report())
    issue_reserve(world, second)
    assert world.settle().epoch == 3


def test_a_committee_that_began_reports_on_without_further_reserves(world: World) -> None:
    rotate(world, 2, committee_of(4, "new"))
    issue_reserve(world, world.settle())
    for _ in range(3):
        world.settle()
    assert world.settlement.reserveIssuedEpoch() == 1


def test_an_empty_reserve_is_issued_too_and_nobody_waits_for_ever(world: World) -> None:
    """No money was ever earned, and the whole committee changes before its second report."""
    rotate(world, 2, committee_of(4, "new"))
    last = world.settle()
    assert last.reserve_count == 0
    issue_reserve(world, last)
    assert world.settlement.reserveIssuedEpoch() == 1
    assert world.settle().epoch == 2


def test_a_rejected_first_report_of_new_signers_needs_no_second_reserve(world: World) -> None:
    rotate(world, 2, committee_of(4, "new"))
    issue_reserve(world, world.settle())
    world.settlement.reject(world.post(), "a test", sender=world.people.guardian)
    assert world.settle().epoch == 2


def test_before_the_first_report_nothing_has_to_be_issued(world: World) -> None:
    """Epoch 1 cannot be rotated away from, so there is always a report whose reserve can be issued."""
    with pytest.raises(Reverted, match="OracleCommittee_EpochNotInFuture"):
        rotate(world, 1, committee_of(4, "new"))
    rotate(world, 2, committee_of(4, "new"))
    assert not world.committee.issuesReserveFirst(1)
    world.settle()


def test_inv_29_many_small_steps_are_as_large_as_one(seven: World) -> None:
    """The council replaces two of seven per epoch: each step alone would need nothing."""
    table, needed = committee_of(7), []
    for step in range(4):
        table = ascending([*table[2:], *newcomers(2, f"step {step}")])
        rotate(seven, 2 + step, table)
        needed.append(seven.committee.issuesReserveFirst(2 + step))
    strangers = {signer.address for signer in table} - {signer.address for signer in committee_of(7)}
    assert len(strangers) > 2
    assert True in needed[:3]


def test_inv_29_small_steps_over_many_epochs_count_as_well(world: World) -> None:
    """However slowly: what the reserve protects is what the old committee knew, not how fast it went."""
    table = committee_of(4)
    kept, first, second = table[2:], account("first newcomer"), account("second newcomer")
    rotate(world, 2, [table[1], *kept, first])
    for _ in range(40):
        world.settle()
    rotate(world, 42, [*kept, first, second])
    assert world.committee.issuesReserveFirst(42)


def test_inv_29_a_detour_back_to_the_old_signers_needs_no_reserve(world: World) -> None:
    """A mistaken rotation that never opened is no baseline for the one that replaces it."""
    rotate(world, 3, committee_of(4, "mistaken"))
    assert world.committee.issuesReserveFirst(3)
    rotate(world, 3, committee_of(4))
    assert not world.committee.issuesReserveFirst(3)
    rotate(world, 2, committee_of(4, "mistaken"))
    rotate(world, 3, committee_of(4))
    assert world.committee.issuesReserveFirst(2)
    assert world.committee.issuesReserveFirst(3)


@dataclass(frozen=True)
class TwinVersion:
    """What the reference knows of a version."""

    number: int
    from_epoch: int
    signers: frozenset[str]
    reserve_first: bool


def announce(known: list[TwinVersion], number: int, from_epoch: int, signers: frozenset[str]) -> None:
    """The rule of rotation in sets: what begins later goes, and the last paid-out version is the baseline."""
    known[:] = [version for version in known if version.from_epoch < from_epoch]
    baseline = [version for version in known if version.reserve_first or version.number == 1][-1].signers
    changed = max(len(signers - baseline), len(baseline - signers))
    too_many = changed > (min(len(signers), len(baseline)) - 1) // 3
    known.append(TwinVersion(number, from_epoch, signers, too_many))


tables = st.sets(st.integers(0, 11), min_size=4, max_size=10)


@given(st.lists(st.tuples(st.integers(2, 9), tables), min_size=1, max_size=8))
def test_rotations_are_those_of_the_reference(
    shared_world: World, announced: list[tuple[int, set[int]]]
) -> None:
    world, everyone = shared_world, committee_of(12)
    with world.evm.undone():
        known = [TwinVersion(1, 1, frozenset(signer.address for signer in committee_of(4)), False)]
        for from_epoch, chosen in announced:
            table = [everyone[number] for number in sorted(chosen)]
            number = rotate(world, from_epoch, table)
            announce(known, number, from_epoch, frozenset(signer.address for signer in table))
        for epoch in range(1, 12):
            expected = [version for version in known if version.from_epoch <= epoch][-1]
            assert world.committee.versionFor(epoch) == expected.number
            is_first = expected.reserve_first and expected.from_epoch == epoch
            assert world.committee.issuesReserveFirst(epoch) is is_first


# -- who signed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("indices", [(0, 1, 2), (1, 2, 3), (0, 1, 2, 3)])
def test_signers_of_a_quorum_are_named(world: World, indices: tuple[int, ...]) -> None:
    report = world.report()
    digest, blob = world.report_digest(report), world.sign_report(report, indices)
    named = world.committee.quorumSigners(1, 1, digest, blob)
    assert list(named) == [world.signers[1][index].address for index in indices]


def test_inv_24_nobody_is_named_by_less_than_a_quorum_or_by_forged_signatures(world: World) -> None:
    """Whoever is named here loses a bond: the check is that of submit."""
    report = world.report()
    digest, signers = world.report_digest(report), world.signers[1]
    good = quorum_blob(digest, signers, (0, 1))
    impostor = quorum_blob(digest, [account("impostor")] * 4, (2,))
    for blob, error in (
        (good, "NotEnoughSignatures"),
        (good + impostor, "WrongSignature"),
        (good + good[-65:], "SignatureOutOfOrder"),
        (good + b"\4" + bytes(64), "UnknownSigner"),
        (good + b"\2" + b"\xff" * 64, "MalleableSignature"),
        (good + b"\2", "BadSignatureLength"),
    ):
        with pytest.raises(Reverted, match=f"OracleCommittee_{error}"):
            world.committee.quorumSigners(1, 1, digest, blob)
    for epoch, version in ((0, 1), (1, 0), (1, 2)):
        with pytest.raises(Reverted, match="OracleCommittee_StaleVersion"):
            world.committee.quorumSigners(epoch, version, digest, world.sign_report(report))


def test_signers_of_an_old_report_are_named_after_later_reserves(world: World) -> None:
    """Acknowledgements are held against signers long after the report, whatever was issued since."""
    rotate(world, 2, committee_of(4, "second"))
    rotate(world, 4, committee_of(4, "third"))
    issue_reserve(world, world.settle())
    second = world.settle()
    issue_reserve(world, world.settle())
    world.settle()
    blob = world.sign_report(second)
    named = world.committee.quorumSigners(2, 2, world.report_digest(second), blob)
    assert list(named) == [signer.address for signer in world.signers[2][:3]]
    with pytest.raises(Reverted, match="OracleCommittee_ReserveNotIssued"):
        world.committee.requireQuorum(2, 2, world.report_digest(second), blob)


def test_a_rotation_short_of_gas_changes_nothing(world: World) -> None:
    """The table is a contract: where creating it takes the last gas, the rotation fails as a whole."""
    refusals = set()
    table = committee_of(7)
    for gas in range(40_000, 300_000, 100):
        with world.evm.undone():
            try:
                world.committee.rotate(table, 2, sender=world.people.council, gas=gas)
            except Reverted as refused:
                refusals.add(refused.name)
                assert world.committee.latestVersion() == 1
                assert governing(world, 3) == [1, 1, 1]
            else:
                assert world.committee.signersOf(2)[0] == tuple(signer.address for signer in table)
                break
    else:
        pytest.fail("no amount of gas was enough")
    assert refusals <= {"Halt", "OracleCommittee_TableNotStored"}
    assert "OracleCommittee_TableNotStored" in refusals
