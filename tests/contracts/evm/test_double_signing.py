"""Two reports of one signer for one (epoch, attempt): what proves it, and what does not."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.report_types import EpochReport, ReportLine

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.disputes import (
    CHALLENGER,
    SIGNER_BOND,
    Scene,
    bond_signers,
    bonds,
    next_period,
    refuses,
    reveal,
    sign_alone,
)
from tests.contracts.evm.gateway import SALT, commitment
from tests.contracts.evm.world import World, committee_of
from tests.contracts.wire import CURVE_ORDER, SETTLEMENT, Account, account, sign, typed_digest

OTHER_BUNDLE = b"\1" * 32


@pytest.fixture
def scene(world: World) -> Scene:
    """Bonded signers, and a first report to sign."""
    made = Scene.build(world)
    next_period(world)
    return made


def pair(world: World, signer: Account, **changes: Any) -> list[Any]:
    """Two reports that differ by these changes (the bundle by default), both signed by the signer."""
    one = world.report()
    other = replace(one, **(changes or {"bundle_hash": OTHER_BUNDLE}))
    return [one, sign_alone(world, one, signer), other, sign_alone(world, other, signer)]


def test_who_signs_two_reports_of_one_attempt_loses_the_bond(scene: Scene) -> None:
    world, signer = scene.world, scene.world.signers[1][2]
    evidence = pair(world, signer)
    receipt = reveal(world, "doubleSigned", *evidence)
    assert bonds(world) == [SIGNER_BOND, SIGNER_BOND, 0, SIGNER_BOND]
    assert receipt.value == signer.address
    (event,) = receipt.named("DoubleSigned")
    assert (event.signer, event.epoch, event.attempt) == (signer.address, 1, 0)
    assert [event.one, event.other] == [world.settlement.hashReport(evidence[at]) for at in (0, 2)]
    assert world.operator_bonds.credit(CHALLENGER) == SIGNER_BOND // 10


@pytest.mark.parametrize(
    "changes",
    [
        {"period_end": 1},
        {"cutoff_block": 5},
        {"signer_set_version": 7},
        {"rule_version": 9},
        {"lanes_root": OTHER_BUNDLE},
        {"lane_count": 2},
        {"notes_root": OTHER_BUNDLE},
        {"reserve_total": 1},
        {"consent_root": OTHER_BUNDLE},
        {"lines": (ReportLine(1, 1, 0),)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_any_difference_makes_two_reports(scene: Scene, changes: dict[str, Any]) -> None:
    """Under whatever version of the committee, and whether or not either could ever be submitted."""
    reveal(scene.world, "doubleSigned", *pair(scene.world, scene.world.signers[1][0], **changes))
    assert bonds(scene.world)[0] == 0


@pytest.mark.parametrize("stage", ["pending", "finalized", "removed"])
def test_it_is_provable_at_any_time_and_touches_no_report(scene: Scene, stage: str) -> None:
    world, signer = scene.world, scene.world.signers[1][0]
    evidence = pair(world, signer)
    world.submit(evidence[0])
    if stage != "pending":
        world.until(world.settlement.state().finalizableAt)
        world.settlement.finalize(evidence[0], sender=CHALLENGER)
    if stage == "removed":
        world.committee.rotate(committee_of(4, "new"), 3, sender=world.people.council)
        world.operator_bonds.thaw(SIGNER_BOND, sender=signer)
        world.evm.warp(80 * 86_400)
    reveal(world, "doubleSigned", *evidence)
    assert world.operator_bonds.bond(signer) == (0, 0, 0)
    assert world.settlement.reportHash(1) == world.settlement.hashReport(evidence[0])


def test_a_signer_with_nothing_left_is_still_put_on_record(scene: Scene) -> None:
    world, signer = scene.world, scene.world.signers[1][0]
    reveal(world, "doubleSigned", *pair(world, signer))
    again = reveal(world, "doubleSigned", *pair(world, signer))
    assert [event.signer for event in again.named("DoubleSigned")] == [signer.address]
    assert not again.named("BondSlashed")


def test_money_put_behind_a_key_that_signed_twice_can_be_lost_to_the_same_proof(scene: Scene) -> None:
    world, signer = scene.world, scene.world.signers[1][0]
    evidence = pair(world, signer)
    reveal(world, "doubleSigned", *evidence)
    bond_signers(world, 500)
    reveal(world, "doubleSigned", *evidence)
    assert bonds(world) == [0] + [SIGNER_BOND + 500] * 3


# -- what proves nothing -------------------------------------------------------------------------------------


def test_inv_24_one_report_signed_twice_is_one_report(scene: Scene) -> None:
    world, signer = scene.world, scene.world.signers[1][0]
    one = world.report()
    signature = sign_alone(world, one, signer)
    with refuses("ReportDisputes_SameReport", world.settlement.hashReport(one)):
        reveal(world, "doubleSigned", one, signature, one, signature)


@pytest.mark.parametrize("changes", [{"attempt": 1}, {"epoch": 2}, {"epoch": 2, "attempt": 3}])
def test_inv_24_another_epoch_or_attempt_is_another_report(scene: Scene, changes: dict[str, Any]) -> None:
    evidence = pair(scene.world, scene.world.signers[1][0], **changes)
    epoch, attempt = changes.get("epoch", 1), changes.get("attempt", 0)
    with refuses("ReportDisputes_DifferentAttempts", 1, 0, epoch, attempt):
        reveal(scene.world, "doubleSigned", *evidence)


def test_inv_24_two_signers_signed_one_each(scene: Scene) -> None:
    world = scene.world
    first, second = world.signers[1][:2]
    evidence = pair(world, first)
    evidence[3] = sign_alone(world, evidence[2], second)
    with refuses("ReportDisputes_DifferentSigners", first.address, second.address):
        reveal(world, "doubleSigned", *evidence)


@pytest.mark.parametrize("where", ["another chain", "another contract", "a bare hash"])
def test_inv_24_and_33_what_was_signed_elsewhere_proves_nothing_here(scene: Scene, where: str) -> None:
    """A signer serves several deployments with one key; each has its own epochs and attempts."""
    world, signer = scene.world, scene.world.signers[1][0]
    one, signature, other, _ = pair(world, signer)
    chain_id, contract = world.evm.chain_id, world.settlement.address
    if where == "another chain":
        chain_id += 1
    if where == "another contract":
        contract = world.escrow.address
    digest = typed_digest(SETTLEMENT, chain_id, contract, "EpochReport", other)
    if where == "a bare hash":
        digest = world.settlement.hashReport(other)
    with refuses("ReportDisputes_DifferentSigners", signer.address):
        reveal(world, "doubleSigned", one, signature, other, sign(signer.key, digest).full)
    assert bonds(world) == [SIGNER_BOND] * 4


def test_inv_24_both_signatures_from_elsewhere_slash_nobody_here(scene: Scene) -> None:
    """Recovered over the wrong digest, each gives some key; hardly the same one, and none with a bond."""
    world, signer = scene.world, scene.world.signers[1][0]
    one, _, other, _ = pair(world, signer)
    signatures = [
        sign(signer.key, typed_digest(SETTLEMENT, 1, world.settlement.address, "EpochReport", report)).full
        for report in (one, other)
    ]
    with refuses("ReportDisputes_DifferentSigners"):
        reveal(world, "doubleSigned", one, signatures[0], other, signatures[1])


def test_inv_24_malformed_signatures_are_refused(scene: Scene) -> None:
    world, signer = scene.world, scene.world.signers[1][0]
    one, signature, other, second = pair(world, signer)
    s = int.from_bytes(second[32:64], "big")
    high = second[:32] + (CURVE_ORDER - s).to_bytes(32, "big") + bytes((55 - second[64],))
    compact = sign(signer.key, world.report_digest(other)).compact
    for broken in (b"", second[:-1], second + b"\0", bytes(65), high, second[:64] + b"\x1d", compact):
        for evidence in ([one, signature, other, broken], [other, broken, one, signature]):
            with refuses("LaneEvidence_BadSignature"):
                reveal(world, "doubleSigned", *evidence)


def test_inv_24_dirty_bits_make_no_second_report(scene: Scene) -> None:
    """The hash is over call data as given: a padded copy has another one, which nobody signed."""
    world, signer = scene.world, scene.world.signers[1][0]
    one, signature, _, _ = pair(world, signer)
    call = bytearray(world.disputes.calldata("doubleSigned", one, signature, one, signature, SALT))
    second = 4 + int.from_bytes(call[4 + 64 : 4 + 96], "big")
    for member in (0, 1, 6, 7, 9):  # epoch, attempt, versions, lane count
        dirty = bytearray(call)
        dirty[second + 32 * member] = 1
        commit_to = commitment(CHALLENGER, bytes(dirty))
        world.disputes.commit(commit_to, sender=CHALLENGER)
        world.evm.warp(60)
        with pytest.raises(Reverted):
            world.evm.raw_call(CHALLENGER, world.disputes.address, bytes(dirty))
    assert bonds(world) == [SIGNER_BOND] * 4


def test_who_copies_a_proof_takes_no_reward(scene: Scene) -> None:
    world, thief = scene.world, account("thief")
    evidence = pair(world, world.signers[1][0])
    call = world.disputes.calldata("doubleSigned", *evidence, SALT)
    world.disputes.commit(commitment(CHALLENGER, call), sender=CHALLENGER)
    world.evm.warp(60)
    world.disputes.commit(commitment(thief, call), sender=thief)
    with refuses("CommitReveal_TooEarly"):
        world.disputes.doubleSigned(*evidence, SALT, sender=thief)
    world.disputes.commit(commitment(CHALLENGER, call), sender=thief)
    with refuses("CommitReveal_TooEarly"):
        world.disputes.doubleSigned(*evidence, SALT, sender=thief)
    world.disputes.doubleSigned(*evidence, SALT, sender=CHALLENGER)
    assert world.operator_bonds.credit(CHALLENGER) == SIGNER_BOND // 10


# -- a signer that obeys its own order -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def open_scene() -> Scene:
    """One scene for many signers' histories: nothing in them changes the chain but a slash."""
    made = Scene.build(World(Evm()))
    next_period(made.world)
    return made


@given(
    signed=st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=3
    )
)
def test_inv_24_only_a_signer_that_breaks_its_order_can_be_shown_to(
    open_scene: Scene, signed: list[tuple[int, int, int]]
) -> None:
    """(epoch, attempt, content) in any order: every pair is tried; exactly those that conflict slash."""
    world, signer = open_scene.world, open_scene.world.signers[1][0]
    plain = world.report()
    reports = [
        replace(plain, epoch=epoch, attempt=attempt, bundle_hash=bytes((content,)) * 32)
        for epoch, attempt, content in signed
    ]
    for one, other in combinations(reports, 2):
        conflicts = (one.epoch, one.attempt) == (other.epoch, other.attempt) and one != other
        assert slashes(world, signer, one, other) == conflicts


def slashes(world: World, signer: Account, one: EpochReport, other: EpochReport) -> bool:
    """Whether these two reports, signed by the signer, take its bond."""
    with world.evm.undone():
        evidence = (one, sign_alone(world, one, signer), other, sign_alone(world, other, signer))
        try:
            reveal(world, "doubleSigned", *evidence)
        except Reverted as refused:
            if refused.name not in ("ReportDisputes_SameReport", "ReportDisputes_DifferentAttempts"):
                raise
        return bool(world.operator_bonds.bonded(signer) == 0)
