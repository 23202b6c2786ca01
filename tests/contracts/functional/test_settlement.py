"""UsageSettlement: submit, reject, finalize, issue the reserve."""

import pytest
from brownie import ZERO_ADDRESS

from tests.contracts.functional.scene import (
    DISPUTE_SECONDS,
    EPOCH_SECONDS,
    NOTE_MINIMUM,
    now,
    reverts,
    until,
)
from tests.contracts.trees import RawTree, word
from tests.contracts.wire import account, as_abi, struct_hash


@pytest.fixture
def refuse(nodes):
    """Expects an error when the next report is submitted with something changed."""

    def refused(error, lines=(), **changes):
        nodes.wait()
        with reverts(error):
            nodes.submit(nodes.report(lines, **changes))

    return refused


@pytest.fixture
def pending(nodes):
    """A report in its dispute window."""
    return nodes.post()


# -- submit -------------------------------------------------------------------------------------------------


def test_submit_makes_a_report_pending(settlement, nodes):
    nodes.wait()
    report = nodes.report()
    tx = nodes.submit(report)
    event, state = tx.events["ReportSubmitted"], settlement.state()
    assert (event["epoch"], event["attempt"]) == (1, 0)
    assert bytes(event["reportHash"]) == struct_hash("EpochReport", report)
    assert event["finalizableAt"] == tx.timestamp + DISPUTE_SECONDS == state["finalizableAt"]
    assert state["pending"]
    assert bytes(settlement.reportHash(1)) == struct_hash("EpochReport", report)


def test_submit_accepts_an_epoch_that_lasted_longer(settlement, nodes):
    until(settlement.state()["lastPeriodEnd"] + 3 * EPOCH_SECONDS)
    nodes.submit(nodes.report(period_end=now()))


def test_submit_accepts_a_gap_in_attempts(nodes):
    nodes.post(attempt=7)


def test_submit_waits_for_the_pending_report(pending, refuse):
    refuse("UsageSettlement_ReportPending")


@pytest.mark.parametrize("epoch", [0, 2])
def test_submit_takes_epochs_in_order(refuse, epoch):
    refuse("UsageSettlement_WrongEpoch", epoch=epoch)


def test_submit_takes_attempts_in_order(settlement, nodes, guardian, refuse):
    settlement.reject(as_abi(nodes.post(attempt=3)), "a test", {"from": guardian})
    refuse("UsageSettlement_AttemptTooLow", attempt=3)


def test_submit_leaves_room_for_a_next_attempt(refuse):
    refuse("UsageSettlement_AttemptTooHigh", attempt=2**32 - 1)


def test_submit_binds_the_report_before(nodes, refuse):
    nodes.settle()
    refuse("UsageSettlement_WrongPrevious", previous_report_hash=bytes(32))


def test_submit_waits_for_the_period_to_end(settlement, nodes):
    until(settlement.state()["lastPeriodEnd"] + EPOCH_SECONDS - 60)
    with reverts("UsageSettlement_PeriodNotOver"):
        nodes.submit(nodes.report())


def test_submit_needs_a_whole_epoch(settlement, refuse):
    refuse(
        "UsageSettlement_EpochTooShort", period_end=settlement.state()["lastPeriodEnd"] + EPOCH_SECONDS - 1
    )


def test_submit_needs_a_cutoff_in_the_past(refuse):
    refuse("UsageSettlement_BadCutoffBlock", cutoff_block=2**63)


def test_submit_needs_the_cutoffs_hash(refuse):
    refuse("UsageSettlement_WrongCutoffHash", cutoff_block_hash=b"\1" * 32)


def test_submit_takes_a_hundred_lines_and_no_more(refuse):
    refuse("UsageSettlement_TooManyLines", [(number + 1, 0, 0) for number in range(101)])


@pytest.mark.parametrize("ids", [(0,), (1, 1), (2, 1)])
def test_submit_needs_ascending_lines(refuse, ids):
    refuse("UsageSettlement_LinesNotAscending", [(license_id, 0, 0) for license_id in ids])


@pytest.mark.parametrize("kind", ["notes", "reserve"])
@pytest.mark.parametrize(
    "wrong", [(b"\1" * 32, 0, 0), (bytes(32), 1, 1), (b"\1" * 32, 0, 1), (b"\1" * 32, 1, 0)]
)
def test_submit_knows_one_form_of_an_empty_tree(refuse, kind, wrong):
    names = {"notes": ("notes_root", "notes_total", "note_count")}
    fields = names.get(kind, ("reserve_root", "reserve_total", "reserve_count"))
    refuse("UsageSettlement_BadTree", **dict(zip(fields, wrong, strict=True)))


def test_submit_promises_no_more_than_the_pool(refuse):
    refuse("UsageSettlement_OverPool", notes_root=b"\1" * 32, notes_total=1, note_count=1)


def test_submit_counts_the_reserve_against_the_pool(license_id, fund, refuse):
    fund(license_id, 1_000)
    promise = {"reserve_root": b"\1" * 32, "reserve_total": 701, "reserve_count": 1}
    refuse("UsageSettlement_OverPool", [(license_id, 1_000, 1_000)], **promise)


def test_submit_needs_a_quorum(nodes):
    nodes.wait()
    with reverts("OracleCommittee_NotEnoughSignatures"):
        nodes.submit(nodes.report(), (0, 1))


# -- reject -------------------------------------------------------------------------------------------------


def test_the_guardian_rejects_a_pending_report(settlement, guardian, pending):
    event = settlement.reject(as_abi(pending), "charge jump", {"from": guardian}).events["ReportRejected"]
    assert (event["epoch"], event["attempt"], event["by"], event["reason"]) == (1, 0, guardian, "charge jump")
    state = settlement.state()
    assert (state["pending"], state["nextAttempt"], state["rejections"]) == (False, 1, 1)
    assert bytes(settlement.reportHash(1)) == bytes(32)


def test_a_rejected_epoch_can_be_reported_again(settlement, guardian, pending, nodes):
    settlement.reject(as_abi(pending), "a test", {"from": guardian})
    nodes.settle()
    assert settlement.state()["lastEpoch"] == 1


def test_a_rejection_frees_what_was_held(settlement, escrow, guardian, license_id, fund, nodes):
    fund(license_id, 1_000)
    report = nodes.post([(license_id, 600, 600)])
    settlement.reject(as_abi(report), "a test", {"from": guardian})
    found = escrow.account(license_id)
    assert (found["available"], found["reserved"]) == (1_000, 0)


def test_the_guardian_rejects_three_times_per_epoch(settlement, guardian, nodes):
    for _ in range(3):
        settlement.reject(as_abi(nodes.post()), "a test", {"from": guardian})
    fourth = nodes.post()
    with reverts("UsageSettlement_GuardianSpent"):
        settlement.reject(as_abi(fourth), "a test", {"from": guardian})


def test_the_council_rejects_without_a_limit(settlement, council, nodes):
    for _ in range(4):
        settlement.rejectByCouncil(as_abi(nodes.post()), "a test", {"from": council})
    assert settlement.state()["rejections"] == 0


@pytest.mark.parametrize(("function", "who"), [("reject", "council"), ("rejectByCouncil", "guardian")])
def test_guardian_and_council_have_a_function_each(settlement, pending, request, function, who):
    with reverts("AccessManagedUnauthorized"):
        getattr(settlement, function)(as_abi(pending), "a test", {"from": request.getfixturevalue(who)})


def test_a_rejection_names_the_pending_report(settlement, guardian, pending, nodes):
    with reverts("UsageSettlement_WrongReport"):
        settlement.reject(as_abi(nodes.report(attempt=5)), "a test", {"from": guardian})


def test_a_rejection_needs_a_pending_report(settlement, guardian, nodes):
    with reverts("UsageSettlement_NothingPending"):
        settlement.reject(as_abi(nodes.report()), "a test", {"from": guardian})


# -- finalize -----------------------------------------------------------------------------------------------


def test_finalize_moves_to_the_next_epoch(settlement, pending, nodes):
    nodes.wait_for_window()
    tx = nodes.finalize(pending)
    event, state = tx.events["ReportFinalized"], settlement.state()
    assert (event["epoch"], event["notesTotal"], event["noteCount"]) == (1, 0, 0)
    assert (state["lastEpoch"], state["lastPeriodEnd"]) == (1, pending.period_end)
    assert (state["lastFinalizedBlock"], state["pending"]) == (tx.block_number, False)


def test_finalize_issues_the_notes(splitter, license_id, fund, nodes, payee):
    fund(license_id, 1_000)
    tree = RawTree([word(payee.address, 700)])
    nodes.settle([(license_id, 1_000, 1_000)], tree)
    found = splitter.tree(2)
    assert (bytes(found["root"]), found["total"], found["paid"], found["count"]) == (tree.root, 700, 0, 1)
    assert splitter.pool() == 0


def test_finalize_waits_for_the_window(pending, nodes):
    with reverts("UsageSettlement_WindowOpen"):
        nodes.finalize(pending)


def test_finalize_needs_a_pending_report(nodes):
    with reverts("UsageSettlement_NothingPending"):
        nodes.finalize(nodes.report())


def test_finalize_names_the_pending_report(pending, nodes):
    nodes.wait_for_window()
    with reverts("UsageSettlement_WrongReport"):
        nodes.finalize(nodes.report(bundle_hash=b"\1" * 32))


def test_finalize_happens_once(pending, nodes):
    nodes.wait_for_window()
    nodes.finalize(pending)
    with reverts("UsageSettlement_NothingPending"):
        nodes.finalize(pending)


def test_pending_and_final_reports_are_told_apart(settlement, pending, nodes, stranger):
    digest = struct_hash("EpochReport", pending)
    assert bytes(settlement.requirePending(as_abi(pending))) == digest
    with reverts("UsageSettlement_NotFinalized"):
        settlement.requireFinalized.transact(as_abi(pending), {"from": stranger})
    nodes.wait_for_window()
    nodes.finalize(pending)
    assert bytes(settlement.requireFinalized(as_abi(pending))) == digest
    with reverts("UsageSettlement_NothingPending"):
        settlement.requirePending.transact(as_abi(pending), {"from": stranger})


def test_the_clocks_start_with_the_deployment_and_follow_reports(settlement, config, nodes):
    assert settlement.lastSubmittedAt() >= config.genesis_s
    report = nodes.post()
    assert settlement.lastSubmittedAt() == now()
    nodes.wait_for_window()
    assert settlement.lastFinalizedAt() < settlement.lastSubmittedAt()
    assert nodes.finalize(report).timestamp == settlement.lastFinalizedAt()


# -- what proofs and the wind-down may do -------------------------------------------------------------------


@pytest.mark.parametrize("who", ["council", "guardian", "stranger"])
def test_a_proof_comes_from_disputes_or_the_wind_down(settlement, pending, request, who):
    with reverts("UsageSettlement_OnlyProof"):
        settlement.rejectProven(as_abi(pending), "a test", {"from": request.getfixturevalue(who)})


@pytest.mark.parametrize("function", ["holdFinalization", "releaseFinalization"])
def test_only_disputes_hold_and_release(settlement, pending, guardian, function):
    with reverts("UsageSettlement_OnlyDisputes"):
        getattr(settlement, function)(struct_hash("EpochReport", pending), {"from": guardian})
    assert settlement.openDisputes() == 0


def test_only_the_wind_down_stops(settlement, council):
    with reverts("UsageSettlement_OnlyWindDown"):
        settlement.stop({"from": council})
    assert not settlement.stopped()


# -- the reserve --------------------------------------------------------------------------------------------


@pytest.fixture
def replaced(committee, council):
    """None of the signers of epoch 2 is an old one."""
    made = [account(f"new signer {number}").address for number in range(4)]
    committee.rotate(sorted(made, key=lambda address: int(address, 16)), 2, {"from": council})


@pytest.fixture
def reserved(license_id, fund, nodes):
    """A final report that reserves 700."""
    fund(license_id, 1_000)
    promise = {"reserve_root": b"\1" * 32, "reserve_total": 700, "reserve_count": 3}
    return nodes.settle([(license_id, 1_000, 1_000)], **promise)


def test_issue_reserve_makes_the_reserve_a_tree(settlement, splitter, replaced, reserved, stranger):
    tx = settlement.issueReserve(as_abi(reserved), {"from": stranger})
    event = tx.events["ReserveIssued"]
    assert (event["epoch"], event["total"], event["count"]) == (1, 700, 3)
    found = splitter.tree(3)
    assert (bytes(found["root"]), found["total"], found["paid"], found["count"]) == (b"\1" * 32, 700, 0, 3)
    assert (splitter.pool(), settlement.reserveIssuedEpoch()) == (0, 1)


def test_issue_reserve_happens_once(settlement, replaced, reserved, stranger):
    settlement.issueReserve(as_abi(reserved), {"from": stranger})
    with reverts("UsageSettlement_ReserveAlreadyIssued"):
        settlement.issueReserve(as_abi(reserved), {"from": stranger})


def test_issue_reserve_waits_for_a_committee_that_asks(settlement, reserved, council):
    with reverts("UsageSettlement_ReserveNotDue"):
        settlement.issueReserve(as_abi(reserved), {"from": council})


def test_issue_reserve_is_for_the_last_final_report(settlement, replaced, reserved, nodes, stranger):
    with reverts("UsageSettlement_WrongEpoch"):
        settlement.issueReserve(as_abi(nodes.report()), {"from": stranger})
    with reverts("UsageSettlement_WrongReport"):
        settlement.issueReserve(as_abi(nodes.report(epoch=1)), {"from": stranger})


def test_issue_reserve_waits_for_the_pending_report(settlement, reserved, nodes, stranger):
    nodes.post()
    with reverts("UsageSettlement_ReportPending"):
        settlement.issueReserve(as_abi(reserved), {"from": stranger})


def test_new_signers_wait_for_the_reserve(replaced, reserved, nodes, signers):
    nodes.wait()
    nodes.signers = sorted(
        (account(f"new signer {number}") for number in range(4)), key=lambda who: int(who.address, 16)
    )
    with reverts("OracleCommittee_ReserveNotIssued"):
        nodes.submit(nodes.report())


# -- what the council sets ----------------------------------------------------------------------------------


def test_set_dispute_window_is_for_later_reports(settlement, council, nodes):
    event = settlement.setDisputeWindow(60, {"from": council}).events["DisputeWindowSet"]
    assert event["seconds_"] == 60 == settlement.disputeWindowSeconds()
    nodes.post()
    assert settlement.state()["finalizableAt"] == now() + 60


@pytest.mark.parametrize("seconds", [0, EPOCH_SECONDS])
def test_a_dispute_window_is_above_nothing_and_below_an_epoch(settlement, council, seconds):
    with reverts("UsageSettlement_BadDisputeWindow"):
        settlement.setDisputeWindow(seconds, {"from": council})


def test_set_note_minimum(settlement, council):
    assert settlement.noteMinimum() == NOTE_MINIMUM
    event = settlement.setNoteMinimum(5, {"from": council}).events["NoteMinimumSet"]
    assert event["amount"] == 5 == settlement.noteMinimum()


@pytest.mark.parametrize("function", ["setDisputeWindow", "setNoteMinimum"])
def test_parameters_are_for_the_council(settlement, guardian, function):
    with reverts("AccessManagedUnauthorized"):
        getattr(settlement, function)(5, {"from": guardian})


# -- building -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["authority", "committee", "escrow", "splitter", "disputes", "windDown"])
def test_a_settlement_needs_its_neighbors(build, missing):
    with reverts("UsageSettlement_ZeroAddress"):
        build("UsageSettlement", **{missing: ZERO_ADDRESS})


def test_a_settlement_at_another_address_than_predicted_is_refused(build):
    with reverts("UsageSettlement_Miswired"):
        build("UsageSettlement")


@pytest.mark.parametrize("clock", [{"genesis": 0}, {"epochSeconds": 0}])
def test_a_settlement_needs_a_clock(build, clock):
    with reverts("UsageSettlement_BadClock"):
        build("UsageSettlement", **clock)


def test_a_settlement_needs_a_window_below_its_epoch(build):
    with reverts("UsageSettlement_BadDisputeWindow"):
        build("UsageSettlement", disputeWindowSeconds=EPOCH_SECONDS)


def test_a_settlement_knows_its_neighbors(settlement, committee, escrow, splitter):
    assert (settlement.committee(), settlement.escrow()) == (committee, escrow)
    assert (settlement.splitter(), settlement.epochSeconds()) == (splitter, EPOCH_SECONDS)
    assert settlement.checksCutoffBlock()
