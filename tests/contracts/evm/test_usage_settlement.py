"""What ends a pending report besides time, the reserve, and the end of all reports.

Neighbors are played by senders at their addresses: whatever a flawed dispute or wind-down contract would
call, the settlement holds. Order and signatures of reports are in test_quorum.py, charges in test_charges.py.

Every way a call reverts, besides submit's there: reject, rejectByCouncil, setDisputeWindow, setNoteMinimum:
AccessManagedUnauthorized · rejects: NothingPending, WrongReport, GuardianSpent · rejectProven: OnlyProof ·
holdFinalization, releaseFinalization: OnlyDisputes, NothingPending, WrongReport, NoDisputeOpen · finalize:
NothingPending, WrongReport, WindowOpen, DisputeOpen · issueReserve: ReportPending, WrongEpoch, WrongReport,
ReserveAlreadyIssued, ReserveNotDue · stop: OnlyWindDown · submit: Stopped · requirePending: NothingPending,
WrongReport · requireFinalized: NotFinalized, WrongReport · setDisputeWindow: BadDisputeWindow · constructor:
ZeroAddress, BadClock, BadDisputeWindow, Miswired. A re-entered call: ReentrancyGuardReentrantCall.
"""

from __future__ import annotations

from typing import Any

import pytest
from usufruct_protocol.report_types import EpochReport

from tests.contracts.evm.chain import Contract, Evm, Receipt, Reverted
from tests.contracts.evm.world import DISPUTE_SECONDS, EPOCH_SECONDS, World, committee_of
from tests.contracts.wire import ZERO_ADDRESS, account

NEXT_COMMITTEE = committee_of(4, "next")
RESERVE = {"reserve_root": b"\5" * 32, "reserve_total": 40, "reserve_count": 2}


def finalize(world: World, report: EpochReport) -> Receipt:
    world.until(world.settlement.state().finalizableAt)
    receipt: Receipt = world.settlement.finalize(report, sender=world.people.stranger)
    return receipt


def prove(world: World, report: EpochReport, by: Contract | None = None) -> Receipt:
    receipt: Receipt = world.settlement.rejectProven(report, "proof", sender=by or world.disputes)
    return receipt


def hold(world: World, report: EpochReport) -> None:
    world.settlement.holdFinalization(world.settlement.hashReport(report), sender=world.disputes)


def release(world: World, report: EpochReport) -> None:
    world.settlement.releaseFinalization(world.settlement.hashReport(report), sender=world.disputes)


def rotate_all(world: World, from_epoch: int) -> None:
    version = world.committee.rotate(NEXT_COMMITTEE, from_epoch, sender=world.people.council).value
    world.signers[version] = NEXT_COMMITTEE


def funded(world: World, amount: int = 1_000) -> int:
    license_id = world.accept()
    world.deposit(license_id, amount)
    return license_id


@pytest.fixture
def reserved(world: World) -> tuple[World, EpochReport]:
    """A last report with a reserve of 40 from a pool of 100, and a next committee that must issue it."""
    world.fill_pool(100)
    rotate_all(world, 3)
    return world, world.settle(**RESERVE)


# -- proven wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["disputes", "wind_down"])
def test_inv_15_a_report_proven_wrong_restores_every_account_exactly(world: World, place: str) -> None:
    licenses = [funded(world), funded(world), funded(world)]
    world.settle([(licenses[0], 10, 10)])
    before = [world.escrow.account(license_id) for license_id in licenses]
    report = world.post([(licenses[0], 500, 400), (licenses[1], 50, 0), (licenses[2], 1_000, 1_000)])
    receipt = prove(world, report, getattr(world, place))
    assert [world.escrow.account(license_id) for license_id in licenses] == before
    (event,) = receipt.named("ReportRejected")
    assert (event.by, event.reason, event.attempt) == (getattr(world, place).address, "proof", 0)
    assert world.settlement.reportHash(2) == bytes(32)
    assert world.settle([(licenses[0], 500, 490)]).attempt == 1


def test_inv_31_only_those_who_judge_proofs_reject_by_proof(world: World) -> None:
    report = world.post()
    people = world.people
    outsiders = [people.admin, people.council, people.guardian, people.stranger]
    outsiders += [world.escrow, world.splitter, world.committee, world.challenges]
    for caller in outsiders:
        with pytest.raises(Reverted, match="UsageSettlement_OnlyProof"):
            world.settlement.rejectProven(report, "", sender=caller)


def test_a_proof_is_about_the_pending_report_and_no_other(world: World) -> None:
    with pytest.raises(Reverted, match="UsageSettlement_NothingPending"):
        prove(world, world.report())
    final = world.settle()
    with pytest.raises(Reverted, match="UsageSettlement_NothingPending"):
        prove(world, final)
    pending = world.post()
    for other in (final, world.report(bundle_hash=b"\1" * 32)):
        with pytest.raises(Reverted, match="UsageSettlement_WrongReport"):
            prove(world, other)
    prove(world, pending)
    with pytest.raises(Reverted, match="UsageSettlement_NothingPending"):
        prove(world, pending)


def test_proofs_do_not_use_up_the_guardian(world: World) -> None:
    for _ in range(5):
        prove(world, world.post())
    for _ in range(3):
        world.settlement.reject(world.post(), "a test", sender=world.people.guardian)
    with pytest.raises(Reverted, match="UsageSettlement_GuardianSpent"):
        world.settlement.reject(world.post(), "a test", sender=world.people.guardian)


def test_inv_18_a_report_proven_wrong_cannot_come_back(world: World) -> None:
    report = world.post(attempt=7)
    prove(world, report)
    with pytest.raises(Reverted, match="UsageSettlement_AttemptTooLow"):
        world.submit(report)
    assert world.settlement.state().nextAttempt == 8


def test_a_report_can_be_proven_wrong_after_its_window_until_somebody_finalizes_it(world: World) -> None:
    report = world.post()
    world.until(world.settlement.state().finalizableAt + 86_400)
    prove(world, report)
    with pytest.raises(Reverted, match="UsageSettlement_NothingPending"):
        world.settlement.finalize(report, sender=world.people.stranger)


# -- disputes that wait for an answer ------------------------------------------------------------------------


def test_inv_20_nothing_is_finalized_while_a_dispute_is_open(world: World) -> None:
    report = world.post()
    hold(world, report)
    hold(world, report)
    for still_open in (2, 1):
        world.until(world.settlement.state().finalizableAt)
        with pytest.raises(Reverted, match="UsageSettlement_DisputeOpen") as refused:
            world.settlement.finalize(report, sender=world.people.stranger)
        assert refused.value.arguments == (still_open,) == (world.settlement.openDisputes(),)
        release(world, report)
    world.settlement.finalize(report, sender=world.people.stranger)


def test_inv_19_an_answered_dispute_costs_no_time(world: World) -> None:
    report = world.post()
    hold(world, report)
    release(world, report)
    finalize(world, report)


@pytest.mark.parametrize("how", ["guardian", "council", "proof", "wind-down"])
def test_a_rejection_by_anyone_ends_every_dispute_and_the_next_report_starts_free(
    world: World, how: str
) -> None:
    report = world.post()
    hold(world, report)
    hold(world, report)
    people = world.people
    if how == "guardian":
        world.settlement.reject(report, how, sender=people.guardian)
    elif how == "council":
        world.settlement.rejectByCouncil(report, how, sender=people.council)
    else:
        prove(world, report, world.disputes if how == "proof" else world.wind_down)
    assert world.settlement.openDisputes() == 0
    world.settle()


def test_an_answer_to_a_dead_report_does_not_free_the_next_one(world: World) -> None:
    """The trap: dispute a bad report, see it rejected, dispute its successor too, and let the first answer
    come late. It must not open the door for the second."""
    dead = world.post()
    hold(world, dead)
    world.settlement.reject(dead, "a test", sender=world.people.guardian)
    with pytest.raises(Reverted, match="UsageSettlement_NothingPending"):
        release(world, dead)
    successor = world.post()
    hold(world, successor)
    with pytest.raises(Reverted, match="UsageSettlement_WrongReport"):
        release(world, dead)
    world.until(world.settlement.state().finalizableAt)
    with pytest.raises(Reverted, match="UsageSettlement_DisputeOpen"):
        world.settlement.finalize(successor, sender=world.people.stranger)


def test_only_disputes_hold_and_only_what_is_pending(world: World) -> None:
    settlement = world.settlement
    report = world.report()
    with pytest.raises(Reverted, match="UsageSettlement_NothingPending"):
        hold(world, report)
    with pytest.raises(Reverted, match="UsageSettlement_NothingPending"):
        release(world, report)
    report = world.post()
    with pytest.raises(Reverted, match="UsageSettlement_WrongReport"):
        settlement.holdFinalization(b"\1" * 32, sender=world.disputes)
    with pytest.raises(Reverted, match="UsageSettlement_NoDisputeOpen"):
        release(world, report)
    people = world.people
    for caller in (people.guardian, people.council, people.stranger, world.wind_down):
        for name in ("holdFinalization", "releaseFinalization"):
            with pytest.raises(Reverted, match="UsageSettlement_OnlyDisputes"):
                getattr(settlement, name)(settlement.hashReport(report), sender=caller)
    assert settlement.openDisputes() == 0


# -- which report is which -----------------------------------------------------------------------------------


def test_pending_and_finalized_reports_are_told_apart(world: World) -> None:
    settlement = world.settlement
    first = world.settle()
    with pytest.raises(Reverted, match="UsageSettlement_NothingPending"):
        settlement.requirePending(first)
    second = world.post()
    assert settlement.requireFinalized(first) == settlement.reportHash(1) == settlement.hashReport(first)
    assert settlement.requirePending(second) == settlement.reportHash(2) == settlement.hashReport(second)
    with pytest.raises(Reverted, match="UsageSettlement_NotFinalized"):
        settlement.requireFinalized(second)
    with pytest.raises(Reverted, match="UsageSettlement_WrongReport"):
        settlement.requirePending(first)
    finalize(world, second)
    assert settlement.requireFinalized(first) == settlement.reportHash(1)
    assert settlement.requireFinalized(second) == settlement.reportHash(2)


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_report_that_nobody_finalized_is_none(world: World, epoch: int) -> None:
    """Epoch 0 has the hash 0: no report may pass for it, before the first or after."""
    world.settle()
    forged = world.report(epoch=epoch, bundle_hash=b"\1" * 32)
    with pytest.raises(Reverted, match="UsageSettlement_WrongReport"):
        world.settlement.requireFinalized(forged)


def test_epoch_numbers_at_the_top_of_their_type_are_not_finalized(world: World) -> None:
    world.settle()
    for epoch in (2, 2**32 + 1, 2**64 - 1):
        with pytest.raises(Reverted, match="UsageSettlement_NotFinalized"):
            world.settlement.requireFinalized(world.report(epoch=epoch))


# -- the reserve ---------------------------------------------------------------------------------------------


def test_inv_29_a_reserve_is_issued_once_and_debits_the_pool(reserved: tuple[World, EpochReport]) -> None:
    world, report = reserved
    receipt = world.settlement.issueReserve(report, sender=world.people.stranger)
    (event,) = receipt.named("ReserveIssued")
    assert (event.epoch, event.total, event.count) == (report.epoch, 40, 2)
    tree = world.splitter.tree(2 * report.epoch + 1)
    assert (tree.root, tree.total, tree.paid, tree.count) == (b"\5" * 32, 40, 0, 2)
    assert world.splitter.pool() == 60
    assert world.settlement.reserveIssuedEpoch() == report.epoch
    for caller in (world.people.stranger, world.wind_down):
        with pytest.raises(Reverted, match="UsageSettlement_ReserveAlreadyIssued"):
            world.settlement.issueReserve(report, sender=caller)


def test_inv_29_a_reserve_nobody_asks_for_is_not_issued(world: World) -> None:
    """Else anyone could force everybody's small change out, each epoch."""
    world.fill_pool(100)
    report = world.settle(**RESERVE)
    people = world.people
    for caller in (people.stranger, people.council, people.guardian, world.disputes):
        with pytest.raises(Reverted, match="UsageSettlement_ReserveNotDue"):
            world.settlement.issueReserve(report, sender=caller)
    world.settlement.issueReserve(report, sender=world.wind_down)
    assert world.splitter.pool() == 60


def test_inv_29_only_the_last_reports_reserve_is_issued(world: World) -> None:
    world.fill_pool(100)
    old = world.settle(**RESERVE)
    rotate_all(world, 4)
    last = world.settle(**RESERVE)
    with pytest.raises(Reverted, match="UsageSettlement_WrongEpoch"):
        world.settlement.issueReserve(old, sender=world.wind_down)
    forged = world.report(epoch=last.epoch, reserve_root=b"\6" * 32, reserve_total=100, reserve_count=1)
    with pytest.raises(Reverted, match="UsageSettlement_WrongReport"):
        world.settlement.issueReserve(forged, sender=world.people.stranger)
    world.settlement.issueReserve(last, sender=world.people.stranger)


def test_inv_19_a_reserve_is_never_taken_from_under_a_pending_report(world: World) -> None:
    """The pending report promised the same money again: with the reserve gone it could not be finalized."""
    world.fill_pool(100)
    last = world.settle(**RESERVE)
    pending = world.post(reserve_root=b"\6" * 32, reserve_total=100, reserve_count=3)
    with pytest.raises(Reverted, match="UsageSettlement_ReportPending"):
        world.settlement.issueReserve(last, sender=world.wind_down)
    finalize(world, pending)
    world.settlement.issueReserve(pending, sender=world.wind_down)
    assert world.splitter.pool() == 0


def test_inv_29_before_the_first_final_report_there_is_no_reserve(world: World) -> None:
    for epoch, error in ((0, "WrongReport"), (1, "WrongEpoch")):
        with pytest.raises(Reverted, match=f"UsageSettlement_{error}"):
            world.settlement.issueReserve(world.report(epoch=epoch), sender=world.wind_down)


def test_inv_09_a_report_after_the_reserve_promises_only_what_is_left(
    reserved: tuple[World, EpochReport],
) -> None:
    world, last = reserved
    world.settlement.issueReserve(last, sender=world.people.stranger)
    with pytest.raises(Reverted, match="UsageSettlement_OverPool"):
        world.post(reserve_root=b"\6" * 32, reserve_total=61, reserve_count=1)
    world.settle(reserve_root=b"\6" * 32, reserve_total=60, reserve_count=1)


def test_inv_29_after_a_wind_down_of_an_issued_reserve_nothing_is_issued_twice(
    reserved: tuple[World, EpochReport],
) -> None:
    """A rotation issued it, and then the new committee never came: the wind-down finds it issued."""
    world, last = reserved
    world.settlement.issueReserve(last, sender=world.people.stranger)
    world.settlement.stop(sender=world.wind_down)
    assert world.settlement.reserveIssuedEpoch() == world.settlement.state().lastEpoch
    with pytest.raises(Reverted, match="UsageSettlement_ReserveAlreadyIssued"):
        world.settlement.issueReserve(last, sender=world.wind_down)


# -- the end, and the clocks that lead to it -----------------------------------------------------------------


def test_a_stopped_settlement_takes_no_report(world: World) -> None:
    world.settle()
    assert not world.settlement.stopped()
    world.settlement.stop(sender=world.wind_down)
    world.settlement.stop(sender=world.wind_down)
    assert world.settlement.stopped()
    with pytest.raises(Reverted, match="UsageSettlement_Stopped"):
        world.post()


@pytest.mark.parametrize("ending", ["finalize", "reject", "rejectByCouncil", "rejectProven"])
def test_inv_19_a_report_pending_at_the_stop_can_still_be_finalized_or_rejected(
    world: World, ending: str
) -> None:
    license_id = funded(world)
    report = world.post([(license_id, 600, 600)])
    world.settlement.stop(sender=world.wind_down)
    people = world.people
    if ending == "finalize":
        finalize(world, report)
        assert world.escrow.account(license_id).charged == 600
        return
    by = {"reject": people.guardian, "rejectByCouncil": people.council}.get(ending, world.wind_down)
    getattr(world.settlement, ending)(report, "the end", sender=by)
    assert world.escrow.account(license_id).available == 1_000


def test_inv_31_only_the_wind_down_stops(world: World) -> None:
    people = world.people
    for caller in (people.admin, people.council, people.guardian, people.stranger, world.disputes):
        with pytest.raises(Reverted, match="UsageSettlement_OnlyWindDown"):
            world.settlement.stop(sender=caller)


def test_the_clocks_show_the_last_submit_and_the_last_finalize(world: World) -> None:
    settlement, evm = world.settlement, world.evm
    assert settlement.lastSubmittedAt() == settlement.lastFinalizedAt() == world.genesis
    report = world.post()
    submitted = evm.timestamp
    assert (settlement.lastSubmittedAt(), settlement.lastFinalizedAt()) == (submitted, world.genesis)
    evm.warp(DISPUTE_SECONDS)
    settlement.finalize(report, sender=world.people.stranger)
    assert (settlement.lastSubmittedAt(), settlement.lastFinalizedAt()) == (submitted, evm.timestamp)


def test_a_rejected_report_counts_as_a_sign_of_life_but_not_as_a_final_one(world: World) -> None:
    report = world.post()
    submitted = world.evm.timestamp
    world.evm.warp(60)
    prove(world, report)
    assert world.settlement.lastSubmittedAt() == submitted
    assert world.settlement.lastFinalizedAt() == world.genesis


def test_the_council_s_note_minimum_is_kept_and_told(world: World) -> None:
    for minimum in (1, 0, 2**96 - 1):
        done = world.settlement.setNoteMinimum(minimum, sender=world.people.council)
        assert world.settlement.noteMinimum() == minimum
        assert [told.amount for told in done.named("NoteMinimumSet")] == [minimum]


# -- construction --------------------------------------------------------------------------------------------


def build(world: World, **changes: Any) -> Contract:
    """One more settlement, with constructor arguments changed by name."""
    plain = {
        "authority": world.manager,
        "committee": world.committee,
        "escrow": world.escrow,
        "splitter": world.splitter,
        "disputes": world.disputes,
        "windDown": world.wind_down,
        "genesis": world.genesis,
        "epochSeconds": EPOCH_SECONDS,
        "disputeWindowSeconds": DISPUTE_SECONDS,
        "noteMinimum": 0,
        "checkCutoffHash": True,
    }
    made = world.evm.deploy("UsageSettlement", *(plain | changes).values(), sender=account("builder"))
    assert isinstance(made, Contract)
    return made


@pytest.mark.parametrize("missing", ["authority", "committee", "escrow", "splitter", "disputes", "windDown"])
def test_a_settlement_without_a_neighbor_is_refused(world: World, missing: str) -> None:
    with pytest.raises(Reverted, match="UsageSettlement_ZeroAddress") as refused:
        build(world, **{missing: ZERO_ADDRESS})
    assert refused.value.arguments == (missing,)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"genesis": 0}, "BadClock"),
        ({"genesis": 2**40}, "BadClock"),
        ({"epochSeconds": 0}, "BadClock"),
        ({"disputeWindowSeconds": 0}, "BadDisputeWindow"),
        ({"disputeWindowSeconds": EPOCH_SECONDS}, "BadDisputeWindow"),
    ],
)
def test_a_clock_that_cannot_run_is_refused(world: World, changes: dict[str, Any], error: str) -> None:
    with pytest.raises(Reverted, match=f"UsageSettlement_{error}"):
        build(world, **changes)


def test_neighbors_that_do_not_name_each_other_are_refused(world: World) -> None:
    """The parts of one deployment in a settlement they were not made for."""
    with pytest.raises(Reverted, match="UsageSettlement_Miswired") as refused:
        build(world)
    assert refused.value.arguments[0] == "committee.settlement"


def test_parts_of_two_deployments_do_not_fit() -> None:
    """Each part names the settlement to come, and one of them another neighbor than the rest."""
    for part, wrong in (
        ("escrow.splitter", {"escrow": {"splitter": "custodian"}}),
        ("escrow.windDown", {"escrow": {"windDown": "custodian"}}),
        ("splitter.escrow", {"splitter": {"escrow": "custodian"}}),
        ("splitter.windDown", {"splitter": {"windDown": "custodian"}}),
        ("splitter.settlement", {"splitter": {"settlement": "custodian"}}),
        ("escrow.settlement", {"escrow": {"settlement": "custodian"}}),
        ("splitter.registry", {"splitter": {"registry": "another registry"}}),
    ):
        with pytest.raises(Reverted, match="UsageSettlement_Miswired") as refused:
            build_with(World(Evm()), wrong)
        assert refused.value.arguments[0] == part


def build_with(world: World, wrong: dict[str, dict[str, str]]) -> None:
    """A committee, escrow, splitter and settlement made for each other but for what is wrong."""
    builder, people = account("builder"), world.people
    settlement, escrow, splitter = (world.evm.next_address(builder, ahead) for ahead in (3, 1, 2))
    token, registry = world.token, world.registry
    other = world.evm.deploy(
        "LicenseRegistry", world.manager, token, *([people.community] * 4), sender=people.admin
    )
    others = {"custodian": people.custodian.address, "another registry": other.address}

    def arguments(part: str, **plain: Any) -> tuple[Any, ...]:
        changes = {name: others[who] for name, who in wrong.get(part, {}).items()}
        return tuple((plain | changes).values())

    deploy = world.evm.deploy
    committee = deploy(
        "OracleCommittee", world.manager, settlement, people.operators, committee_of(4), sender=builder
    )
    wiring = {"token": token, "registry": registry}
    deploy(
        "RoyaltyEscrow",
        *arguments(
            "escrow", **wiring, settlement=settlement, splitter=splitter, challenges=people.buyer,
            windDown=world.wind_down, maxMergeDelaySeconds=1,
        ),
        sender=builder,
    )  # fmt: skip
    deploy(
        "RoyaltySplitter",
        *arguments(
            "splitter", authority=world.manager, **wiring, escrow=escrow, settlement=settlement,
            fees=people.buyer, windDown=world.wind_down, beneficiaries=(people.platform,) * 3,
        ),
        sender=builder,
    )  # fmt: skip
    build(world, committee=committee, escrow=escrow, splitter=splitter)


def test_inv_17_a_period_is_never_shorter_than_an_epoch(world: World) -> None:
    """Else a committee could fit a year of caps into an hour."""
    earliest = world.genesis + EPOCH_SECONDS
    world.until(earliest)
    short = world.report(period_end=earliest - 1)
    with pytest.raises(Reverted, match="UsageSettlement_EpochTooShort") as refusal:
        world.submit(short)
    assert refusal.value.arguments == (earliest - 1, earliest)
    world.submit(world.report(period_end=earliest))


def test_a_report_has_at_most_a_hundred_lines(world: World) -> None:
    for _ in range(101):
        world.accept()
    lines = [(number, 0, 0) for number in range(1, 102)]
    with pytest.raises(Reverted, match="UsageSettlement_TooManyLines") as refusal:
        world.post(lines)
    assert refusal.value.arguments == (101,)
    world.post(lines[:100])
