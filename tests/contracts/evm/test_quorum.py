"""Attacks on the committee's signatures and on the order of reports."""

from __future__ import annotations

import pytest
from usufruct_protocol.report_types import EpochReport

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.world import EPOCH_SECONDS, World, committee_of
from tests.contracts.wire import SETTLEMENT, quorum_blob, sign, typed_digest


def next_report(world: World) -> EpochReport:
    """The next report, ready to be signed and submitted now."""
    world.until(world.settlement.state().lastPeriodEnd + EPOCH_SECONDS)
    return world.report()


def submit(world: World, report: EpochReport, signatures: bytes) -> None:
    world.settlement.submit(report, signatures, sender=world.people.stranger)


# -- who signed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("indices", [(0, 1, 2), (1, 2, 3), (0, 1, 3), (0, 1, 2, 3)])
def test_inv_22_any_k_distinct_signers_suffice(world: World, indices: tuple[int, ...]) -> None:
    report = next_report(world)
    submit(world, report, world.sign_report(report, indices))
    assert world.settlement.state().pending


@pytest.mark.parametrize(
    ("indices", "error"),
    [
        ((), "OracleCommittee_NotEnoughSignatures"),
        ((0, 1), "OracleCommittee_NotEnoughSignatures"),
        ((0, 0, 0), "OracleCommittee_SignatureOutOfOrder"),
        ((0, 1, 1), "OracleCommittee_SignatureOutOfOrder"),
        ((0, 0, 1), "OracleCommittee_SignatureOutOfOrder"),
        ((2, 1, 0), "OracleCommittee_SignatureOutOfOrder"),
        ((0, 2, 1), "OracleCommittee_SignatureOutOfOrder"),
        ((0, 1, 2, 2), "OracleCommittee_SignatureOutOfOrder"),
    ],
)
def test_inv_22_too_few_repeated_or_unordered_signers_are_refused(
    world: World, indices: tuple[int, ...], error: str
) -> None:
    report = next_report(world)
    with pytest.raises(Reverted, match=error):
        submit(world, report, world.sign_report(report, indices))


def test_inv_22_one_signer_cannot_sign_in_the_name_of_another(world: World) -> None:
    report = next_report(world)
    digest = world.report_digest(report)
    own = sign(world.signers[1][0].key, digest).compact
    blob = b"".join(bytes((index,)) + own for index in range(3))
    with pytest.raises(Reverted, match="OracleCommittee_WrongSignature") as refused:
        submit(world, report, blob)
    assert refused.value.arguments[0] == 1


def test_inv_22_an_index_beyond_the_table_is_refused(world: World) -> None:
    """Beyond the table lie zero bytes, and ecrecover answers zero for a broken signature."""
    report = next_report(world)
    good = world.sign_report(report, (0, 1))
    for index in (4, 5, 255):
        with pytest.raises(Reverted, match="OracleCommittee_UnknownSigner"):
            submit(world, report, good + bytes((index,)) + bytes(64))


@pytest.mark.parametrize("broken", [bytes(64), b"\xff" * 64, bytes(32) + b"\1" * 32, b"\1" * 32 + bytes(32)])
def test_inv_22_a_signature_that_recovers_to_nobody_is_refused(world: World, broken: bytes) -> None:
    report = next_report(world)
    with pytest.raises(Reverted, match=r"OracleCommittee_(WrongSignature|MalleableSignature)"):
        submit(world, report, world.sign_report(report, (0, 1)) + b"\2" + broken)


def test_inv_22_the_high_s_twin_of_a_signature_is_refused(world: World) -> None:
    report = next_report(world)
    digest = world.report_digest(report)
    twin = sign(world.signers[1][2].key, digest).high_s
    # r ‖ vs has no room for a high s: its top bit is the parity. What fits is tried with either parity.
    for parity in (0, 1):
        s = int.from_bytes(twin.s, "big") & ~(1 << 255)
        vs = (s | parity << 255).to_bytes(32, "big")
        with pytest.raises(Reverted, match=r"OracleCommittee_(MalleableSignature|WrongSignature)"):
            submit(world, report, world.sign_report(report, (0, 1)) + b"\2" + twin.r + vs)


@pytest.mark.parametrize("cut", [1, 64])
def test_signatures_must_be_whole(world: World, cut: int) -> None:
    report = next_report(world)
    blob = world.sign_report(report)
    for wrong in (blob[:-cut], blob + bytes(cut)):
        with pytest.raises(Reverted, match="OracleCommittee_BadSignatureLength"):
            submit(world, report, wrong)


def test_a_quorum_does_not_cover_another_report(world: World) -> None:
    """Every field is under the signatures: whichever is changed, the quorum falls."""
    report = next_report(world)
    signatures = world.sign_report(report)
    for changes in (
        {"lanes_root": b"\1" * 32},
        {"rule_version": 2},
        {"consent_root": b"\1" * 32},
        {"bundle_hash": b"\1" * 32},
        {"reserve_root": b"\1" * 32, "reserve_total": 0, "reserve_count": 0},
        {"attempt": report.attempt + 1},
        {"lane_count": 2},
    ):
        forged = world.report(**changes)
        with pytest.raises(Reverted, match=r"OracleCommittee_WrongSignature|UsageSettlement_BadTree"):
            submit(world, forged, signatures)


# -- which chain, which contract, which signers --------------------------------------------------------------


def test_inv_33_a_quorum_of_another_chain_is_refused(world: World) -> None:
    """The same people deploy the same contracts at the same addresses on two chains."""
    other = World(Evm(chain_id=world.evm.chain_id + 1))
    assert other.settlement.address == world.settlement.address
    there, here = next_report(other), next_report(world)
    assert there == here
    with pytest.raises(Reverted, match="OracleCommittee_WrongSignature"):
        submit(world, here, other.sign_report(there))


def test_inv_33_a_quorum_for_another_settlement_is_refused(world: World) -> None:
    report = next_report(world)
    elsewhere = typed_digest(SETTLEMENT, world.evm.chain_id, world.escrow.address, "EpochReport", report)
    with pytest.raises(Reverted, match="OracleCommittee_WrongSignature"):
        submit(world, report, quorum_blob(elsewhere, world.signers[1], range(3)))


def test_inv_33_a_quorum_over_the_bare_struct_hash_is_refused(world: World) -> None:
    report = next_report(world)
    bare = world.settlement.hashReport(report)
    with pytest.raises(Reverted, match="OracleCommittee_WrongSignature"):
        submit(world, report, quorum_blob(bare, world.signers[1], range(3)))


def rotate(world: World, from_epoch: int, tag: str = "new signer") -> int:
    """The council replaces all signers from an epoch on."""
    signers = committee_of(4, tag)
    version = int(world.committee.rotate(signers, from_epoch, sender=world.people.council).value)
    world.signers[version] = signers
    return version


def test_inv_21_a_rotation_leaves_the_pending_report_valid(world: World) -> None:
    pending = world.post()
    rotate(world, 2)
    world.until(world.settlement.state().finalizableAt)
    world.settlement.finalize(pending, sender=world.people.stranger)
    assert world.settlement.state().lastEpoch == 1


def test_inv_21_a_rotation_leaves_signatures_for_the_open_epoch_valid(world: World) -> None:
    report = next_report(world)
    signatures = world.sign_report(report)
    rotate(world, 2)
    submit(world, report, signatures)


def test_inv_21_a_rotation_cannot_reach_the_open_epoch(world: World) -> None:
    world.settle()
    for epoch in (0, 1, 2):
        with pytest.raises(Reverted, match="OracleCommittee_EpochNotInFuture"):
            rotate(world, epoch)
    rotate(world, 3)


def test_inv_22_old_signers_are_refused_once_the_new_ones_govern(world: World) -> None:
    rotate(world, 2)
    world.settlement.issueReserve(world.settle(), sender=world.people.stranger)
    world.until(world.settlement.state().lastPeriodEnd + EPOCH_SECONDS)
    for version in (1, 3, 0):
        report = world.report(signer_set_version=version)
        signatures = quorum_blob(world.report_digest(report), world.signers[1], range(3))
        with pytest.raises(Reverted, match="OracleCommittee_StaleVersion"):
            submit(world, report, signatures)
    current = world.report()
    with pytest.raises(Reverted, match="OracleCommittee_WrongSignature"):
        submit(world, current, quorum_blob(world.report_digest(current), world.signers[1], range(3)))
    submit(world, current, world.sign_report(current))


def test_inv_22_new_signers_are_refused_before_they_govern(world: World) -> None:
    version = rotate(world, 2)
    world.until(world.settlement.state().lastPeriodEnd + EPOCH_SECONDS)
    report = world.report(signer_set_version=version)
    with pytest.raises(Reverted, match="OracleCommittee_StaleVersion"):
        submit(world, report, world.sign_report(report))


def test_inv_21_each_version_governs_exactly_its_epochs(world: World) -> None:
    second, third = rotate(world, 2), rotate(world, 5, "third signer")
    governing = [world.committee.versionFor(epoch) for epoch in range(8)]
    assert governing == [0, 1, second, second, second, third, third, third]


def test_inv_23_any_two_quorums_share_an_honest_signer_and_honest_signers_suffice(
    shared_world: World,
) -> None:
    for count in range(4, 256):
        k = shared_world.committee.threshold(count)
        faulty = (count - 1) // 3
        assert 2 * k - count > faulty
        assert k <= count - faulty


@pytest.mark.parametrize(("count", "k"), [(4, 3), (5, 4), (7, 5), (10, 7)])
def test_inv_22_every_committee_size_needs_exactly_k(count: int, k: int) -> None:
    world = World(Evm(), signer_count=count)
    report = next_report(world)
    with pytest.raises(Reverted, match="OracleCommittee_NotEnoughSignatures"):
        submit(world, report, world.sign_report(report, range(k - 1)))
    submit(world, report, world.sign_report(report, range(count - k, count)))


# -- the order of reports ------------------------------------------------------------------------------------


def test_inv_16_a_second_report_is_refused_while_one_is_pending(world: World) -> None:
    world.post()
    with pytest.raises(Reverted, match="UsageSettlement_ReportPending"):
        world.submit(world.report(attempt=1))


def test_inv_17_a_finalized_report_cannot_be_submitted_again(world: World) -> None:
    report = world.settle()
    world.until(world.settlement.state().lastPeriodEnd + EPOCH_SECONDS)
    with pytest.raises(Reverted, match="UsageSettlement_WrongEpoch"):
        world.submit(report)


@pytest.mark.parametrize("epoch", [0, 1, 3, 2**64 - 1])
def test_inv_17_an_epoch_is_neither_skipped_nor_repeated(world: World, epoch: int) -> None:
    world.settle()
    world.until(world.settlement.state().lastPeriodEnd + EPOCH_SECONDS)
    report = world.report(epoch=epoch)
    with pytest.raises(Reverted, match="UsageSettlement_WrongEpoch"):
        world.submit(report)


def test_inv_17_a_report_names_the_last_finalized_one(world: World) -> None:
    first = world.settle()
    world.until(world.settlement.state().lastPeriodEnd + EPOCH_SECONDS)
    for previous in (bytes(32), b"\1" * 32, world.settlement.hashReport(world.report())):
        with pytest.raises(Reverted, match="UsageSettlement_WrongPrevious"):
            world.submit(world.report(previous_report_hash=previous))
    assert world.settle().previous_report_hash == world.settlement.hashReport(first)


def test_inv_17_a_rejected_report_is_nobodys_predecessor(world: World) -> None:
    rejected = world.post()
    world.settlement.reject(rejected, "a test", sender=world.people.guardian)
    stale = world.settlement.hashReport(rejected)
    with pytest.raises(Reverted, match="UsageSettlement_WrongPrevious"):
        world.submit(world.report(previous_report_hash=stale))
    assert world.settle().previous_report_hash == bytes(32)


def test_inv_18_an_attempt_is_above_the_last_rejected_one(world: World) -> None:
    report = world.post(attempt=5)
    world.settlement.reject(report, "a test", sender=world.people.guardian)
    for attempt in (0, 4, 5):
        with pytest.raises(Reverted, match="UsageSettlement_AttemptTooLow"):
            world.submit(world.report(attempt=attempt))
    world.submit(world.report(attempt=9))


def test_inv_18_a_rejected_report_cannot_come_back(world: World) -> None:
    report = world.post()
    world.settlement.reject(report, "a test", sender=world.people.guardian)
    with pytest.raises(Reverted, match="UsageSettlement_AttemptTooLow"):
        world.submit(report)


def test_inv_18_the_last_attempt_leaves_room_for_a_rejection(world: World) -> None:
    with pytest.raises(Reverted, match="UsageSettlement_AttemptTooHigh"):
        world.post(attempt=2**32 - 1)
    report = world.post(attempt=2**32 - 2)
    world.settlement.reject(report, "a test", sender=world.people.guardian)
    assert world.settlement.state().nextAttempt == 2**32 - 1


def test_inv_20_the_window_is_open_to_its_last_second(world: World) -> None:
    report = world.post()
    until = world.settlement.state().finalizableAt
    world.evm.at(until - 1)
    with pytest.raises(Reverted, match="UsageSettlement_WindowOpen"):
        world.settlement.finalize(report, sender=world.people.stranger)
    world.evm.at(until)
    world.settlement.finalize(report, sender=world.people.stranger)


def test_inv_20_a_shorter_window_does_not_reach_a_pending_report(world: World) -> None:
    report = world.post()
    world.settlement.setDisputeWindow(1, sender=world.people.council)
    world.evm.warp(2)
    with pytest.raises(Reverted, match="UsageSettlement_WindowOpen"):
        world.settlement.finalize(report, sender=world.people.stranger)


def test_inv_19_nothing_the_council_sets_stops_a_pending_report(world: World) -> None:
    world.fill_pool(1_000)
    license_id = world.accept()
    world.deposit(license_id, 500)
    report = world.post([(license_id, 500, 500)])
    council = world.people.council
    world.settlement.setDisputeWindow(EPOCH_SECONDS - 1, sender=council)
    world.settlement.setNoteMinimum(2**96 - 1, sender=council)
    world.registry.setFloors(10_000, 0, sender=council)
    world.committee.rotate(committee_of(4, "other"), 3, sender=council)
    world.registry.setSuspended(license_id, True, sender=world.people.steward)
    world.registry.coolOff(license_id, sender=world.people.buyer)
    world.until(world.settlement.state().finalizableAt)
    world.settlement.finalize(report, sender=world.people.stranger)
    assert world.escrow.account(license_id).charged == 500


def test_inv_19_a_paused_token_only_delays_finalization(world: World) -> None:
    license_id = world.accept()
    world.deposit(license_id, 500)
    report = world.post([(license_id, 500, 500)])
    world.until(world.settlement.state().finalizableAt)
    world.token.setPaused(True, sender=world.people.stranger)
    with pytest.raises(Reverted, match="TestUSDC_Paused"):
        world.settlement.finalize(report, sender=world.people.stranger)
    assert world.settlement.state().pending
    world.token.setPaused(False, sender=world.people.stranger)
    world.settlement.finalize(report, sender=world.people.stranger)


def test_inv_19_another_report_with_the_same_epoch_cannot_be_finalized_in_its_place(world: World) -> None:
    world.post()
    world.until(world.settlement.state().finalizableAt)
    other = world.report(bundle_hash=b"\1" * 32)
    with pytest.raises(Reverted, match="UsageSettlement_WrongReport"):
        world.settlement.finalize(other, sender=world.people.stranger)


def test_a_wrong_cutoff_hash_is_refused_while_the_chain_remembers_it(world: World) -> None:
    world.until(world.settlement.state().lastPeriodEnd + EPOCH_SECONDS)
    world.evm.mine(300)
    for back in (1, 255, 256):
        wrong = world.report(cutoff_block=world.evm.number - back, cutoff_block_hash=b"\1" * 32)
        with pytest.raises(Reverted, match="UsageSettlement_WrongCutoffHash"):
            world.submit(wrong)
    forgotten = world.report(cutoff_block=world.evm.number - 257, cutoff_block_hash=b"\1" * 32)
    world.submit(forgotten)


@pytest.mark.parametrize("ahead", [0, 1, 10])
def test_a_cutoff_block_lies_in_the_past(world: World, ahead: int) -> None:
    world.until(world.settlement.state().lastPeriodEnd + EPOCH_SECONDS)
    report = world.report(cutoff_block=world.evm.number + ahead)
    with pytest.raises(Reverted, match="UsageSettlement_BadCutoffBlock"):
        world.submit(report)


def test_a_guardian_rejects_three_times_and_the_council_decides_then(world: World) -> None:
    for _ in range(3):
        world.settlement.reject(world.post(), "a test", sender=world.people.guardian)
    fourth = world.post()
    with pytest.raises(Reverted, match="UsageSettlement_GuardianSpent"):
        world.settlement.reject(fourth, "a test", sender=world.people.guardian)
    world.settlement.rejectByCouncil(fourth, "a test", sender=world.people.council)
    world.settle()
    world.settlement.reject(world.post(), "a test", sender=world.people.guardian)
