"""ReportDisputes, what it asks signers to show: answers, ends, each refusal, and attacks on both sides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.receipts import Checkpoint

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.disputes import (
    ANSWERED,
    ANSWERER,
    CHALLENGER,
    CONDEMNED,
    HEAD,
    OPEN,
    SIGNER_BOND,
    UNITS,
    VOID,
    Scene,
    Shown,
    ask_head,
    ask_units,
    bonds,
    condemn,
    dispute_id,
    fund_challenger,
    is_dead,
    post,
    refuses,
    settle,
    shown,
    shown_by,
    window_over,
)
from tests.contracts.evm.gateway import NO_CHECKPOINT, Gateway, LaneVector, contradiction, signed
from tests.contracts.evm.world import EPOCH_SECONDS, World
from tests.contracts.wire import ZERO_HASH, Account, account
from tests.reference.shown_lanes import settle_shows

BOND = 100_000_000
PER_LANE = 10_000_000
ANSWER_SECONDS = 1_800
SLASHED_THREE = [0, 0, 0, SIGNER_BOND]
UNTOUCHED = [SIGNER_BOND] * 4
MAX_UINT128 = 2**128 - 1
NOTHING = bytes(32)


@pytest.fixture
def scene(world: World) -> Scene:
    """Lanes with five receipts of 10 units each; the first anchored with four of them."""
    return Scene.build(world)


def answer(scene: Scene, asked: bytes, *shown_heads: Any, by: Account = ANSWERER) -> Any:
    return scene.world.disputes.answerHead(asked, *shown_heads, sender=by)


def answer_units(scene: Scene, asked: bytes, *heads: Shown, by: Account = ANSWERER) -> Any:
    return scene.world.disputes.answerUnits(asked, heads, sender=by)


def finalize(world: World, report: Any) -> None:
    world.settlement.finalize(report, sender=world.people.stranger)


# -- asking --------------------------------------------------------------------------------------------------


def test_a_question_takes_a_bond_and_holds_the_report(scene: Scene) -> None:
    world = scene.world
    report, _ = scene.pending()
    before = world.token.balanceOf(CHALLENGER)
    receipt = world.disputes.disputeHead(report, 0, sender=CHALLENGER)
    asked = receipt.value
    assert asked == dispute_id(world, report, HEAD, 0)
    assert before - world.token.balanceOf(CHALLENGER) == BOND == world.token.balanceOf(world.disputes)
    (event,) = receipt.named("DisputeOpened")
    assert (event.disputeId, event.challenger, event.question) == (asked, CHALLENGER.address, HEAD)
    assert (event.subject, event.needed, event.bond) == (0, 4, BOND)
    found = world.disputes.dispute(asked)
    assert found == (
        world.settlement.hashReport(report), report.lanes_root, CHALLENGER.address, BOND, HEAD, OPEN, 0, 3,
        report.epoch, 0, 4, 0,
    )  # fmt: skip
    window_over(world)
    with refuses("UsageSettlement_DisputeOpen"):
        finalize(world, report)


def test_a_line_is_asked_for_at_a_price_that_grows_with_its_lanes(scene: Scene) -> None:
    world = scene.world
    report, _ = scene.pending()
    assert world.disputes.unitsBond(scene.first) == BOND + 2 * PER_LANE
    assert world.disputes.unitsBond(scene.second) == BOND + PER_LANE
    asked = ask_units(world, report, 1)
    assert asked == dispute_id(world, report, UNITS, scene.second)
    assert world.token.balanceOf(world.disputes) == BOND + PER_LANE
    found = world.disputes.dispute(asked)
    assert (found.question, found.subject, found.needed) == (UNITS, scene.second, 50)


def test_asking_needs_the_bond_in_money(scene: Scene) -> None:
    world = scene.world
    report, _ = scene.pending()
    with pytest.raises(Reverted, match="ERC20Insufficient"):
        ask_head(world, report, 0, by=account("pauper"))
    with refuses("ReportDisputes_NotOpen", dispute_id(world, report, HEAD, 0), 0):
        answer(scene, dispute_id(world, report, HEAD, 0), (0, (NO_CHECKPOINT, ()), b""))


def test_a_fee_on_the_bond_is_refused() -> None:
    world = World(Evm(), "FeeToken", (100,))
    fund_challenger(world)
    lane = Gateway(world, world.accept(), "lane a")
    report = post(world, LaneVector([None]))
    with refuses("ReportDisputes_WrongDelta", BOND, BOND - BOND // 100):
        ask_head(world, report, lane.number)


def test_one_lane_and_one_line_are_asked_for_once(scene: Scene) -> None:
    world = scene.world
    report, vector = scene.pending()
    head, units = ask_head(world, report, 2), ask_units(world, report, 1)
    for _ in range(2):
        with refuses("ReportDisputes_AlreadyAsked", head):
            ask_head(world, report, 2, by=ANSWERER)
        with refuses("ReportDisputes_AlreadyAsked", units):
            ask_units(world, report, 1, by=ANSWERER)
        if world.disputes.dispute(head).status == OPEN:
            answer(scene, head, shown_by(scene.lanes[2], vector))
            answer_units(scene, units, shown_by(scene.lanes[2], vector))


def test_inv_24_a_question_leaves_the_time_to_answer_it(scene: Scene) -> None:
    world = scene.world
    report, _ = scene.pending()
    finalizable_at = world.settlement.state().finalizableAt
    world.evm.at(finalizable_at - ANSWER_SECONDS)
    ask_head(world, report, 0)
    world.evm.warp(1)
    with refuses("ReportDisputes_TooLateToAsk", finalizable_at, finalizable_at - ANSWER_SECONDS + 1):
        ask_head(world, report, 1)
    with refuses("ReportDisputes_TooLateToAsk"):
        ask_units(world, report)


@pytest.mark.parametrize("window", [1, 60, ANSWER_SECONDS - 1])
def test_inv_24_a_tiny_window_switches_questions_off(scene: Scene, window: int) -> None:
    """A council that shortens it cannot have honest signers condemned before they answer."""
    world = scene.world
    world.settlement.setDisputeWindow(window, sender=world.people.council)
    report, _ = scene.pending()
    for ask in (lambda: ask_head(world, report, 0), lambda: ask_units(world, report)):
        with refuses("ReportDisputes_TooLateToAsk"):
            ask()


def test_only_the_pending_report_is_asked_about(scene: Scene) -> None:
    world = scene.world
    final = settle(world, scene.vector(), scene.lines)
    for report in (final, replace(final, epoch=2)):
        with refuses("ReportDisputes_OtherReport"):
            ask_head(world, report, 0)
    pending, _ = scene.pending()
    for report in (final, replace(pending, bundle_hash=b"\1" * 32)):
        with refuses("ReportDisputes_OtherReport"):
            ask_units(world, report)


def test_lanes_and_lines_that_do_not_exist_are_not_asked_for(scene: Scene) -> None:
    world = scene.world
    report, _ = scene.pending()
    with refuses("ReportDisputes_NoSuchLane", 3, 3):
        ask_head(world, report, 3)
    with refuses("ReportDisputes_NoSuchLine", 2, 2):
        ask_units(world, report, 2)
    Gateway(world, scene.second, "registered after the cut-off")
    with refuses("ReportDisputes_NothingToShow"):
        ask_head(world, report, 3)


def test_a_line_without_units_has_nothing_to_show(scene: Scene) -> None:
    report = post(scene.world, scene.vector(), [(scene.first, 0, 0)])
    with refuses("ReportDisputes_NothingToShow"):
        ask_units(scene.world, report)


def test_while_the_token_is_paused_nobody_asks(scene: Scene) -> None:
    report, _ = scene.pending()
    scene.world.token.setPaused(True, sender=CHALLENGER)
    with pytest.raises(Reverted, match="TestUSDC_Paused"):
        ask_head(scene.world, report, 0)


# -- heads: answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 2])
def test_inv_24_a_true_head_answers_and_earns_the_bond(scene: Scene, number: int) -> None:
    world = scene.world
    report, vector = scene.pending()
    asked = ask_head(world, report, number)
    receipt = answer(scene, asked, shown_by(scene.lanes[number], vector))
    assert [event.by for event in receipt.named("DisputeAnswered")] == [ANSWERER.address]
    assert world.disputes.dispute(asked).status == ANSWERED
    assert world.disputes.credit(ANSWERER) == BOND
    window_over(world)
    finalize(world, report)
    assert bonds(world) == UNTOUCHED


def test_inv_24_a_lane_of_which_nothing_is_counted_is_answered_by_its_zero_leaf(scene: Scene) -> None:
    world = scene.world
    report, vector = scene.pending(scene.vector(5, None, 5))
    asked = ask_head(world, report, 1)
    answer(scene, asked, shown(vector, 1))
    assert world.disputes.dispute(asked).status == ANSWERED


def test_inv_24_the_anchored_count_itself_suffices(scene: Scene) -> None:
    report, vector = scene.pending(scene.vector(4, 5, 5))
    answer(scene, ask_head(scene.world, report, 0), shown_by(scene.lanes[0], vector))


@pytest.mark.parametrize("ahead", [0, 1])
def test_inv_24_an_anchor_of_the_periods_last_moment_binds_nobody(scene: Scene, ahead: int) -> None:
    """Where a second has several blocks, the cut-off may come before such an anchor."""
    world = scene.world
    world.evm.at(world.settlement.state().lastPeriodEnd + EPOCH_SECONDS + ahead)
    scene.lanes[1].anchor(5)
    vector = scene.vector(5, 2, 5)
    report = world.report(scene.lines, **vector.in_report, consent_root=NOTHING)
    if ahead == 0:
        world.submit(report)
    else:
        report = post(world, vector, scene.lines)
    asked = ask_head(world, report, 1)
    assert world.disputes.dispute(asked).needed == 0
    answer(scene, asked, shown_by(scene.lanes[1], vector))


def test_an_anchor_a_second_before_the_periods_end_binds(scene: Scene) -> None:
    world = scene.world
    world.evm.at(world.settlement.state().lastPeriodEnd + EPOCH_SECONDS - 1)
    scene.lanes[1].anchor(5)
    report, vector = scene.pending(scene.vector(5, 2, 5))
    asked = ask_head(world, report, 1)
    with refuses("ReportDisputes_HeadTooLow", 2, 5):
        answer(scene, asked, shown_by(scene.lanes[1], vector))


def test_forged_heads_answer_nothing(scene: Scene) -> None:
    """Of a report that ignores an anchor: nothing that its signers could make up passes."""
    world = scene.world
    report, vector = scene.pending(scene.vector(2, 5, 5))
    asked = ask_head(world, report, 0)
    lane, other = scene.lanes[0], scene.lanes[1]
    (head, proof), full = vector.head(0), lane.checkpoint()
    signature, of_full = lane.signed(head)[1], lane.signed(full)[1]
    forged: list[tuple[str, Shown]] = [
        ("ReportDisputes_HeadTooLow", (0, (head, proof), signature)),
        ("LaneTree_WrongProof", (0, (full, proof), of_full)),
        ("LaneEvidence_WrongSigner", (0, (replace(full, count=9), proof), of_full)),
        ("LaneEvidence_WrongSigner", (0, (full, proof), signed(world, full, other.key)[1])),
        ("LaneEvidence_BadSignature", (0, (full, proof), b"")),
        ("LaneEvidence_WrongLane", (0, vector.head(1), other.signed(other.checkpoint())[1])),
        ("ReportDisputes_WrongLane", (1, vector.head(1), other.signed(other.checkpoint())[1])),
        ("LaneTree_WrongProof", (0, (NO_CHECKPOINT, proof), b"")),
        ("LaneTree_WrongProofLength", (0, (NO_CHECKPOINT, proof[:1]), b"")),
        ("LaneTree_WrongProofLength", (0, (full, (*proof, ZERO_HASH)), of_full)),
    ]
    for error, claim in forged:
        with refuses(error):
            answer(scene, asked, claim)
    window_over(world)
    condemn(world, asked, report)
    assert bonds(world) == SLASHED_THREE


def test_an_invented_head_dies_though_it_counts_more(scene: Scene) -> None:
    """Counts that a lane never signed would spoil every later proof about it."""
    world = scene.world
    invented = replace(scene.lanes[0].checkpoint(), count=10**6)
    vector = LaneVector([invented, *scene.vector().heads[1:]])
    report, _ = scene.pending(vector)
    asked = ask_head(world, report, 0)
    for signature in (b"", scene.lanes[0].signed(scene.lanes[0].checkpoint())[1], bytes(65)):
        with pytest.raises(Reverted, match=r"LaneEvidence_(BadSignature|WrongSigner)"):
            answer(scene, asked, shown(vector, 0, signature))
    window_over(world)
    condemn(world, asked, report)
    assert is_dead(world, report)


@pytest.mark.parametrize("lane_count", [0, 1, 3, 2**32 - 1])
def test_a_root_that_nobody_can_open_dies(scene: Scene, lane_count: int) -> None:
    world = scene.world
    report, vector = scene.pending(lanes_root=b"\1" * 32, lane_count=lane_count)
    asked = ask_head(world, report, 0)
    with pytest.raises(Reverted, match=r"LaneTree_|ReportDisputes_HeadTooLow"):
        answer(scene, asked, shown_by(scene.lanes[0], vector))
    window_over(world)
    condemn(world, asked, report)
    assert bonds(world) == SLASHED_THREE


def test_an_anchored_lane_that_the_report_does_not_know_dies(scene: Scene) -> None:
    world = scene.world
    late = Gateway(world, scene.second, "lane d")
    late.serve(1)
    late.anchor()
    report, vector = scene.pending()
    asked = ask_head(world, report, late.number)
    with refuses("ReportDisputes_HeadTooLow", 0, 1):
        answer(scene, asked, shown(vector, late.number))
    window_over(world)
    condemn(world, asked, report)


# -- heads: contradictions excuse a lower count --------------------------------------------------------------


def excuse(scene: Scene, asked: bytes, head: Shown, *shown_twice: Any, fork: Any = None) -> None:
    """Answer with a head and what the lane signed in contradiction to itself."""
    evidence = contradiction(*shown_twice, fork=fork)
    scene.world.disputes.answerHeadByContradiction(asked, head, evidence, sender=ANSWERER)


def two_receipts(scene: Scene, seq: int = 1) -> tuple[Any, Any]:
    lane = scene.lanes[0]
    return lane.signed(lane.receipts[seq]), lane.signed(lane.forged(seq))


def test_inv_24_a_contradiction_of_receipts_below_the_anchor_excuses_a_lower_count(scene: Scene) -> None:
    world = scene.world
    report, vector = scene.pending(scene.vector(1, 5, 5))
    asked = ask_head(world, report, 0)
    head = shown_by(scene.lanes[0], vector)
    excuse(scene, asked, head, *two_receipts(scene, 3))
    assert world.disputes.dispute(asked).status == ANSWERED
    assert world.disputes.credit(ANSWERER) == BOND


def test_a_contradiction_of_receipts_at_or_above_the_anchored_count_excuses_nothing(scene: Scene) -> None:
    world = scene.world
    report, vector = scene.pending(scene.vector(1, 5, 5))
    asked = ask_head(world, report, 0)
    with refuses("ReportDisputes_ContradictionTooHigh", 5, 4):
        excuse(scene, asked, shown_by(scene.lanes[0], vector), *two_receipts(scene, 4))


@pytest.mark.parametrize("seq", [0, 3])
def test_inv_24_a_fork_below_the_anchor_excuses_a_lower_count(scene: Scene, seq: int) -> None:
    """What a node holds that was sent two histories: it needs no signature of a single receipt."""
    lane = scene.lanes[0]
    report, vector = scene.pending(scene.vector(1, 5, 5))
    asked = ask_head(scene.world, report, 0)
    other = lane.rewritten(seq)
    excuse(scene, asked, shown_by(lane, vector), fork=lane.fork(seq, other, (5, seq + 1)))
    assert scene.world.disputes.dispute(asked).status == ANSWERED


def test_forks_that_are_none_or_part_too_high_excuse_nothing(scene: Scene) -> None:
    lane, other = scene.lanes[:2]
    report, vector = scene.pending(scene.vector(1, 5, 5))
    asked, head = ask_head(scene.world, report, 0), shown_by(lane, vector)
    late, early = lane.rewritten(4), lane.rewritten(1)
    genuine = lane.fork(1, early)
    foreign = other.rewritten(1)
    forks: list[tuple[str, Any]] = [
        ("ReportDisputes_ContradictionTooHigh", lane.fork(4, late)),
        ("LaneEvidence_NoConflict", lane.fork(0, early)),
        ("LaneEvidence_WrongLane", other.fork(1, foreign)),
        ("LaneTree_WrongProof", (*genuine[:5], b"\1" * 32, genuine[6])),
        ("LaneEvidence_WrongSigner", (genuine[0], (genuine[1][0], genuine[0][1]), *genuine[2:])),
    ]
    for error, fork in forks:
        with refuses(error):
            excuse(scene, asked, head, fork=fork)


def test_contradictions_are_shown_in_one_of_three_ways(scene: Scene) -> None:
    """One receipt too few, three, none, and sums that are short but give no second history."""
    lane = scene.lanes[0]
    report, vector = scene.pending(scene.vector(1, 5, 5))
    asked, head = ask_head(scene.world, report, 0), shown_by(lane, vector)
    true, false = two_receipts(scene)
    short = lane.signed(replace(lane.checkpoint(3), cumulative_units=1))
    for shown_once in ((), (true,), (true, false, true), (true, short), (short,)):
        with refuses("LaneEvidence_NoConflict"):
            excuse(scene, asked, head, *shown_once)


def test_what_does_not_contradict_excuses_nothing(scene: Scene) -> None:
    world, lane, other = scene.world, scene.lanes[0], scene.lanes[1]
    report, vector = scene.pending(scene.vector(1, 5, 5))
    asked, head = ask_head(world, report, 0), shown_by(lane, vector)
    true, false = two_receipts(scene)
    pairs: list[tuple[str, Any, Any]] = [
        ("LaneEvidence_NoConflict", true, true),
        ("LaneEvidence_NoConflict", true, lane.signed(lane.receipts[2])),
        ("LaneEvidence_NoConflict", true, (true[0], signed(world, true[0], lane.key)[1])),
        ("LaneEvidence_WrongSigner", true, (false[0], true[1])),
        ("LaneEvidence_WrongSigner", true, signed(world, false[0], other.key)),
        ("LaneEvidence_WrongLane", true, other.signed(other.receipts[1])),
        ("LaneEvidence_WrongLane", other.signed(other.receipts[1]), other.signed(other.forged(1))),
    ]
    for error, first, second in pairs:
        with refuses(error):
            excuse(scene, asked, head, first, second)
    points: list[tuple[str, Any, Any]] = [
        ("LaneEvidence_NoConflict", lane.signed(lane.checkpoint(2)), lane.signed(lane.checkpoint(3))),
        ("LaneEvidence_NoConflict", lane.signed(lane.checkpoint(2)), lane.signed(lane.checkpoint(2))),
        ("LaneEvidence_WrongLane", lane.signed(lane.checkpoint(2)), other.signed(other.checkpoint(2))),
        ("LaneEvidence_WrongLane", other.signed(other.checkpoint(2)), other.signed(fork(other, 2))),
        ("ReportDisputes_ContradictionTooHigh", lane.signed(lane.checkpoint(5)), lane.signed(fork(lane, 5))),
    ]
    for error, first, second in points:
        with refuses(error):
            excuse(scene, asked, head, first, second)


def fork(lane: Gateway, count: int, **changes: Any) -> Checkpoint:
    """A checkpoint that contradicts the true one of this count."""
    return replace(lane.checkpoint(count), **({"receipts_root": b"\1" * 32} | changes))


@pytest.mark.parametrize(("low", "high"), [(4, 4), (2, 2), (1, 5), (4, 5), (0, 3)])
def test_inv_24_a_contradiction_of_checkpoints_excuses_in_either_order(
    scene: Scene, low: int, high: int
) -> None:
    world, lane = scene.world, scene.lanes[0]
    report, vector = scene.pending(scene.vector(1, 5, 5))
    asked, head = ask_head(world, report, 0), shown_by(lane, vector)
    lower = lane.checkpoint(low) if low == high else replace(lane.checkpoint(low), cumulative_units=10**6)
    pair = (lane.signed(lower), lane.signed(fork(lane, high)))
    for first, second in (pair, pair[::-1]):
        with world.evm.undone():
            excuse(scene, asked, head, first, second)
            assert world.disputes.dispute(asked).status == ANSWERED


def test_a_contradiction_excuses_neither_an_invented_head_nor_a_closed_root(scene: Scene) -> None:
    world, lane = scene.world, scene.lanes[0]
    invented = replace(lane.checkpoint(1), receipts_root=b"\1" * 32)
    vector = LaneVector([invented, *scene.vector().heads[1:]])
    report, _ = scene.pending(vector)
    asked = ask_head(world, report, 0)
    first, second = two_receipts(scene)
    for head in (
        shown(vector, 0, lane.signed(lane.checkpoint(1))[1]),
        (0, (lane.checkpoint(1), vector.head(0)[1]), lane.signed(lane.checkpoint(1))[1]),
        (0, (NO_CHECKPOINT, vector.head(0)[1]), b""),
    ):
        with pytest.raises(Reverted, match=r"LaneEvidence_WrongSigner|LaneTree_WrongProof"):
            excuse(scene, asked, head, first, second)


# -- units ---------------------------------------------------------------------------------------------------


def test_inv_24_the_heads_of_a_line_answer_for_its_units(scene: Scene) -> None:
    world = scene.world
    report, vector = scene.pending()
    asked = ask_units(world, report)
    heads = [shown_by(lane, vector) for lane in scene.lanes[:2]]
    receipt = answer_units(scene, asked, *heads)
    assert [(e.heads, e.unitsShown) for e in receipt.named("HeadsShown")] == [(2, 100)]
    assert world.disputes.dispute(asked).status == ANSWERED
    assert world.disputes.credit(ANSWERER) == BOND + 2 * PER_LANE
    window_over(world)
    finalize(world, report)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_lanes_may_be_shown_over_several_calls_and_by_several_people(
    scene: Scene, order: tuple[int, int]
) -> None:
    world = scene.world
    report, vector = scene.pending()
    asked = ask_units(world, report)
    early, late = account("early"), account("late")
    answer_units(scene, asked, shown_by(scene.lanes[order[0]], vector), by=early)
    assert world.disputes.dispute(asked).status == OPEN
    assert world.disputes.lanesShownBy(asked, early) == 1
    with refuses("ReportDisputes_NotOpen", asked, OPEN):
        world.disputes.creditShown(asked, early, sender=early)
    answer_units(scene, asked, shown_by(scene.lanes[order[1]], vector), by=late)
    world.disputes.creditShown(asked, early, sender=late)
    assert (world.disputes.credit(early), world.disputes.credit(late)) == (PER_LANE, BOND + PER_LANE)
    for who in (early, late):
        with refuses("ReportDisputes_NothingShown", asked, who.address):
            world.disputes.creditShown(asked, who, sender=who)


def test_one_lane_counts_once_however_often_it_is_shown(scene: Scene) -> None:
    world = scene.world
    report, vector = scene.pending()
    asked = ask_units(world, report)
    head = shown_by(scene.lanes[0], vector)
    answer_units(scene, asked, head, head, head)
    answer_units(scene, asked, head, by=CHALLENGER)
    found = world.disputes.dispute(asked)
    assert (found.status, found.unitsShown, found.lanesShown) == (OPEN, 50, 1)
    assert world.disputes.lanesShownBy(asked, CHALLENGER) == 0


def test_inv_24_who_shows_a_part_of_an_answer_first_does_not_spoil_it(scene: Scene) -> None:
    """Neither by the highest lane, nor by a lane of the very call that comes next."""
    world = scene.world
    report, vector = scene.pending()
    asked = ask_units(world, report)
    answer_units(scene, asked, shown_by(scene.lanes[1], vector), by=CHALLENGER)
    answer_units(scene, asked, *(shown_by(lane, vector) for lane in scene.lanes[:2]))
    assert world.disputes.dispute(asked).status == ANSWERED
    assert world.disputes.credit(ANSWERER) == BOND + PER_LANE


def test_forged_lanes_answer_for_no_units(scene: Scene) -> None:
    world = scene.world
    report, vector = scene.pending()
    asked = ask_units(world, report)
    lane, other, foreign = scene.lanes
    (head, proof), signature = vector.head(0), lane.signed(lane.checkpoint())[1]
    rich = replace(head, cumulative_units=10**9)
    forged: list[tuple[str, Shown]] = [
        ("ReportDisputes_LaneOfAnother", shown_by(foreign, vector)),
        ("LaneEvidence_WrongLane", (1, (head, proof), signature)),
        ("LaneEvidence_WrongLane", (0, vector.head(2), foreign.signed(foreign.checkpoint())[1])),
        ("LaneEvidence_WrongSigner", (0, (rich, proof), signature)),
        ("LaneTree_WrongProof", (0, (rich, proof), lane.signed(rich)[1])),
        ("LaneTree_WrongProofLength", (0, (head, proof[:1]), signature)),
        ("LaneEvidence_BadSignature", (0, (head, proof), signature[:64])),
        ("LaneEvidence_WrongLane", (0, (NO_CHECKPOINT, proof), b"")),
        ("Panic", (3, (head, proof), signature)),
    ]
    for error, claim in forged:
        with refuses(error):
            answer_units(scene, asked, claim, shown_by(other, vector))
    assert world.disputes.dispute(asked).lanesShown == 0


def test_units_beyond_what_lanes_signed_kill_the_report(scene: Scene) -> None:
    world = scene.world
    report = post(world, scene.vector(), [(scene.first, 101, 0)])
    asked = ask_units(world, report)
    answer_units(scene, asked, *(shown_by(lane, scene.vector()) for lane in scene.lanes[:2]))
    window_over(world)
    condemn(world, asked, report)
    assert bonds(world) == SLASHED_THREE
    assert world.disputes.credit(CHALLENGER) == BOND + 2 * PER_LANE
    assert world.operator_bonds.credit(CHALLENGER) == 3 * (SIGNER_BOND // 10)
    with refuses("ReportDisputes_NotOpen", asked, CONDEMNED):
        world.disputes.creditShown(asked, ANSWERER, sender=ANSWERER)


@pytest.mark.parametrize(("one", "two", "needed"), [(2**127, 2**127 - 1, MAX_UINT128), (MAX_UINT128,) * 3])
def test_inv_24_sums_are_not_truncated(scene: Scene, one: int, two: int, needed: int) -> None:
    """No lane is registered for so many units, but a signature is a signature."""
    world = scene.world
    points = [
        replace(lane.checkpoint(), cumulative_units=units)
        for lane, units in zip(scene.lanes[:2], (one, two), strict=True)
    ]
    vector = LaneVector([*points, None])
    report = post(world, vector, [(scene.first, needed, 0)])
    asked = ask_units(world, report)
    answer_units(scene, asked, *(shown_by(lane, vector) for lane in scene.lanes[:2]))
    found = world.disputes.dispute(asked)
    assert (found.status, found.unitsShown) == (ANSWERED, one + two)


def test_lanes_registered_after_the_question_cannot_outnumber_its_bond(scene: Scene) -> None:
    """A false report can know lanes that come later; what they earned would be nobody's money."""
    world = scene.world
    keys = [account(f"late lane {number}") for number in range(12)]
    points = [Checkpoint(bytes.fromhex(key.address[2:]), 1, 1, b"\1" * 32) for key in keys]
    vector = LaneVector([*scene.vector().heads, *points])
    report = post(world, vector, [(scene.second, 62, 0)])
    asked = ask_units(world, report)
    late = [Gateway(world, scene.second, key.name) for key in keys]
    answer_units(scene, asked, *(shown_by(lane, vector) for lane in late), by=account("early"))
    with pytest.raises(Reverted, match="Panic"):
        answer_units(scene, asked, shown_by(scene.lanes[2], vector))


def test_questions_are_answered_in_kind(scene: Scene) -> None:
    world = scene.world
    report, vector = scene.pending()
    head, units = ask_head(world, report, 0), ask_units(world, report)
    claim = shown_by(scene.lanes[0], vector)
    with refuses("ReportDisputes_WrongQuestion", head, HEAD):
        answer_units(scene, head, claim)
    with refuses("ReportDisputes_WrongQuestion", units, UNITS):
        answer(scene, units, claim)
    first, second = two_receipts(scene)
    with refuses("ReportDisputes_WrongQuestion", units, UNITS):
        excuse(scene, units, claim, first, second)


# -- ends ----------------------------------------------------------------------------------------------------


def test_what_nobody_answered_dies_right_at_the_windows_end(scene: Scene) -> None:
    world = scene.world
    report, _ = scene.pending(scene.vector(2, 5, 5))
    asked = ask_head(world, report, 0)
    finalizable_at = world.settlement.state().finalizableAt
    world.evm.at(finalizable_at - 1)
    with refuses("ReportDisputes_WindowOpen", finalizable_at, finalizable_at - 1):
        condemn(world, asked, report)
    world.evm.at(finalizable_at)
    with refuses("UsageSettlement_DisputeOpen"):
        finalize(world, report)
    receipt = condemn(world, asked, report)
    assert [event.reason for event in receipt.named("ReportRejected")] == ["head not shown"]
    assert world.disputes.dispute(asked).status == CONDEMNED
    assert world.disputes.credit(CHALLENGER) == BOND
    assert world.operator_bonds.credit(CHALLENGER) == 3 * (SIGNER_BOND // 10)
    assert bonds(world) == SLASHED_THREE
    with refuses("ReportDisputes_NotOpen", asked, CONDEMNED):
        condemn(world, asked, report)


def test_inv_24_an_answer_is_good_until_somebody_condemns(scene: Scene) -> None:
    world = scene.world
    report, vector = scene.pending()
    asked = ask_head(world, report, 0)
    window_over(world)
    world.evm.warp(86_400)
    answer(scene, asked, shown_by(scene.lanes[0], vector))
    with refuses("ReportDisputes_NotOpen", asked, ANSWERED):
        condemn(world, asked, report)
    finalize(world, report)


def test_only_the_disputed_report_is_condemned_and_with_its_own_quorum(scene: Scene) -> None:
    world = scene.world
    report, _ = scene.pending(scene.vector(2, 5, 5))
    asked = ask_head(world, report, 0)
    window_over(world)
    other = replace(report, bundle_hash=b"\1" * 32)
    with refuses("ReportDisputes_OtherReport"):
        condemn(world, asked, other)
    with refuses("OracleCommittee_WrongSignature"):
        world.disputes.condemn(asked, report, world.sign_report(other), sender=ANSWERER)
    with refuses("ReportDisputes_NotOpen", NOTHING, 0):
        condemn(world, NOTHING, report)


def test_a_later_attempt_is_not_condemned_for_an_earlier_ones_dispute(scene: Scene) -> None:
    world = scene.world
    first, _ = scene.pending(scene.vector(2, 5, 5))
    asked = ask_head(world, first, 0)
    world.settlement.reject(first, "a test", sender=world.people.guardian)
    second, _ = scene.pending()
    window_over(world)
    for report in (first, second):
        with refuses("ReportDisputes_OtherReport"):
            condemn(world, asked, report)
    finalize(world, second)


def test_inv_24_the_report_is_held_until_the_last_of_many_disputes_and_no_longer(scene: Scene) -> None:
    world = scene.world
    report, vector = scene.pending()
    asked = [ask_head(world, report, number) for number in range(3)]
    units = [ask_units(world, report, line) for line in range(2)]
    window_over(world)
    for number, each in enumerate(asked):
        with refuses("UsageSettlement_DisputeOpen"):
            finalize(world, report)
        answer(scene, each, shown_by(scene.lanes[number], vector))
    answer_units(scene, units[0], *(shown_by(lane, vector) for lane in scene.lanes[:2]))
    with refuses("UsageSettlement_DisputeOpen"):
        finalize(world, report)
    answer_units(scene, units[1], shown_by(scene.lanes[2], vector))
    finalize(world, report)


def test_a_report_that_was_released_is_held_again_by_the_next_question(scene: Scene) -> None:
    world = scene.world
    report, vector = scene.pending()
    for number in range(2):
        asked = ask_head(world, report, number)
        assert world.settlement.openDisputes() == 1
        answer(scene, asked, shown_by(scene.lanes[number], vector))
        assert world.settlement.openDisputes() == 0
    last = [ask_head(world, report, 2), ask_units(world, report)]
    assert world.settlement.openDisputes() == 1
    answer(scene, last[0], shown_by(scene.lanes[2], vector))
    window_over(world)
    with refuses("UsageSettlement_DisputeOpen"):
        finalize(world, report)
    condemn(world, last[1], report)


@pytest.mark.parametrize("killer", ["guardian", "council", "proof", "dispute"])
def test_a_report_killed_otherwise_gives_bonds_back_and_takes_no_answers(scene: Scene, killer: str) -> None:
    world = scene.world
    report, vector = scene.pending(scene.vector(2, 5, 5), consent_root=b"\1" * 32)
    head, units = ask_head(world, report, 0), ask_units(world, report)
    with refuses("ReportDisputes_StillPending", world.settlement.hashReport(report)):
        world.disputes.voidDispute(head, sender=CHALLENGER)
    if killer == "guardian":
        world.settlement.reject(report, "a test", sender=world.people.guardian)
    elif killer == "council":
        world.settlement.rejectByCouncil(report, "a test", sender=world.people.council)
    elif killer == "proof":
        world.disputes.wrongConsent(report, world.sign_report(report), sender=ANSWERER)
    else:
        window_over(world)
        condemn(world, units, report)
    claim = shown_by(scene.lanes[0], vector)
    with refuses("ReportDisputes_ReportIsDead"):
        answer(scene, head, claim)
    receipt = world.disputes.voidDispute(head, sender=world.people.stranger)
    assert [event.disputeId for event in receipt.named("DisputeVoided")] == [head]
    assert world.disputes.dispute(head).status == VOID
    if killer == "dispute":
        with refuses("ReportDisputes_NotOpen", units, CONDEMNED):
            world.disputes.voidDispute(units, sender=CHALLENGER)
    else:
        with refuses("ReportDisputes_ReportIsDead"):
            answer_units(scene, units, claim)
        world.disputes.voidDispute(units, sender=CHALLENGER)
    assert (
        world.disputes.credit(CHALLENGER) == world.token.balanceOf(world.disputes) == 2 * BOND + 2 * PER_LANE
    )
    slashed = killer in ("proof", "dispute")
    assert bonds(world) == (SLASHED_THREE if slashed else UNTOUCHED)
    with refuses("ReportDisputes_NotOpen", head, VOID):
        world.disputes.voidDispute(head, sender=CHALLENGER)


def test_the_same_report_in_its_next_attempt_is_another_and_is_held_anew(scene: Scene) -> None:
    world = scene.world
    first, vector = scene.pending()
    old = ask_head(world, first, 0)
    world.settlement.reject(first, "a test", sender=world.people.guardian)
    second, _ = scene.pending()
    assert replace(first, attempt=second.attempt, cutoff_block=0, cutoff_block_hash=NOTHING) == replace(
        second, cutoff_block=0, cutoff_block_hash=NOTHING
    )
    new = ask_head(world, second, 0)
    assert new != old
    with refuses("ReportDisputes_ReportIsDead"):
        answer(scene, old, shown_by(scene.lanes[0], vector))
    world.disputes.voidDispute(old, sender=CHALLENGER)
    window_over(world)
    with refuses("UsageSettlement_DisputeOpen"):
        finalize(world, second)
    answer(scene, new, shown_by(scene.lanes[0], vector))
    finalize(world, second)


def test_an_answered_dispute_is_never_void(scene: Scene) -> None:
    world = scene.world
    report, vector = scene.pending()
    asked = ask_head(world, report, 0)
    answer(scene, asked, shown_by(scene.lanes[0], vector))
    world.settlement.reject(report, "a test", sender=world.people.guardian)
    with refuses("ReportDisputes_NotOpen", asked, ANSWERED):
        world.disputes.voidDispute(asked, sender=CHALLENGER)


# -- money ---------------------------------------------------------------------------------------------------


def test_credit_is_paid_once_to_its_owner_at_anybodys_call(scene: Scene) -> None:
    world = scene.world
    report, vector = scene.pending()
    answer(scene, ask_head(world, report, 0), shown_by(scene.lanes[0], vector))
    receipt = world.disputes.payCredit(ANSWERER, sender=world.people.stranger)
    assert [(e.account, e.amount) for e in receipt.named("CreditPaid")] == [(ANSWERER.address, BOND)]
    assert world.token.balanceOf(ANSWERER) == BOND
    with refuses("ReportDisputes_NoCredit", ANSWERER.address):
        world.disputes.payCredit(ANSWERER, sender=ANSWERER)


def test_who_asks_and_answers_gains_nothing(scene: Scene) -> None:
    world = scene.world
    before = world.token.balanceOf(CHALLENGER)
    report, vector = scene.pending()
    answer(scene, ask_head(world, report, 0), shown_by(scene.lanes[0], vector), by=CHALLENGER)
    world.disputes.payCredit(CHALLENGER, sender=CHALLENGER)
    assert world.token.balanceOf(CHALLENGER) == before


@pytest.mark.parametrize("inner", ["disputeHead", "payCredit"])
def test_inv_35_a_token_that_calls_back_asks_and_is_paid_once(inner: str) -> None:
    """The token itself is the challenger, and re-enters while its own bond or credit moves."""
    world = World(Evm(), "CallbackToken")
    token, disputes, anyone = world.token, world.disputes, world.people.stranger
    itself = Account("the token", b"", token.address)
    token.mint(itself, 10 * BOND, sender=anyone)
    token.act(token, token.calldata("approve", disputes, 10 * BOND), sender=anyone)
    lane = Gateway(world, world.accept(), "lane a")
    vector = LaneVector([None])
    report = post(world, vector)
    ask = disputes.calldata("disputeHead", report, lane.number)
    again = {"disputeHead": ask, "payCredit": disputes.calldata("payCredit", itself)}[inner]
    token.arm(disputes, again, 1, sender=anyone)
    token.act(disputes, ask, sender=anyone)
    assert (token.callbacksSucceeded(), token.callbacksFailed()) == (0, 1)
    world.settlement.reject(report, "a test", sender=world.people.guardian)
    disputes.voidDispute(dispute_id(world, report, HEAD, 0), sender=anyone)
    token.arm(disputes, disputes.calldata("payCredit", itself), 1, sender=anyone)
    disputes.payCredit(itself, sender=anyone)
    assert token.callbacksSucceeded() == 0
    assert (token.balanceOf(itself), token.balanceOf(disputes)) == (10 * BOND, 0)


def test_a_token_that_returns_nothing_works_throughout() -> None:
    world = World(Evm(), "NoReturnToken")
    scene = Scene.build(world)
    report, vector = scene.pending()
    answer(scene, ask_head(world, report, 0), shown_by(scene.lanes[0], vector))
    assert world.disputes.payCredit(ANSWERER, sender=ANSWERER).value == BOND


# -- who earns what, against the twin ------------------------------------------------------------------------

LANES = 6
PEOPLE = [account(f"answerer {number}") for number in range(3)]
shows = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.integers(0, LANES - 1), min_size=1, max_size=4)),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def many_lanes() -> tuple[World, list[Gateway], LaneVector]:
    """One license with lanes of 1, 2, 4 … units."""
    world = World(Evm())
    fund_challenger(world)
    license_id = world.accept()
    lanes = [Gateway(world, license_id, f"lane {number}") for number in range(LANES)]
    for number, lane in enumerate(lanes):
        lane.serve(2**number)
    return world, lanes, LaneVector([lane.checkpoint() for lane in lanes])


@given(given_shows=shows, needed=st.integers(1, 2**LANES))
def test_each_lane_is_paid_for_once_and_the_parts_sum_to_the_bond(
    many_lanes: tuple[World, list[Gateway], LaneVector],
    given_shows: list[tuple[int, list[int]]],
    needed: int,
) -> None:
    world, lanes, vector = many_lanes
    with world.evm.undone():
        report = post(world, vector, [(lanes[0].license_id, needed, 0)])
        asked = ask_units(world, report)
        bond = BOND + LANES * PER_LANE
        done: list[tuple[str, list[tuple[int, int]]]] = []
        for who, numbers in given_shows:
            if world.disputes.dispute(asked).status == ANSWERED:
                break
            heads = [shown_by(lanes[number], vector) for number in numbers]
            world.disputes.answerUnits(asked, heads, sender=PEOPLE[who])
            done.append((PEOPLE[who].name, [(number, 2**number) for number in numbers]))
        reached, earned = settle_shows(done, needed, bond, PER_LANE)
        assert (world.disputes.dispute(asked).status == ANSWERED) == reached
        for who in PEOPLE:
            if reached and world.disputes.lanesShownBy(asked, who):
                world.disputes.creditShown(asked, who, sender=who)
            assert world.disputes.credit(who) == earned.get(who.name, 0)
        assert sum(earned.values()) == (bond if reached else 0)
