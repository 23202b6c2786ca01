"""ReportDisputes: a pending report proven wrong, or asked to show what is behind it."""

import pytest
from brownie import ZERO_ADDRESS

from tests.contracts.functional.scene import later, reveal, reverts
from tests.contracts.lanes import LaneVector
from tests.contracts.wire import as_abi, keccak, sign

SIGNER_BOND = 1_000
HEAD, UNITS = 0, 1
CONDEMNED, VOID = 3, 4


@pytest.fixture
def bonds(operator_bonds, allow, operators, signers):
    """A bond behind each signer."""
    allow(operators, operator_bonds, SIGNER_BOND * len(signers))
    for signer in signers:
        operator_bonds.deposit(signer.address, SIGNER_BOND, {"from": operators})


@pytest.fixture
def stake(disputes, allow, challenger):
    """The challenger can pay for some disputes; returns how much that was."""
    amount = 10 * disputes.settings()["bond"]
    allow(challenger, disputes, amount)
    return amount


@pytest.fixture
def lanes(license_id, gateway):
    """Two lanes of one license with three receipts of ten units each."""
    made = [gateway(license_id, f"lane {number}") for number in range(2)]
    for lane in made:
        for _ in range(3):
            lane.serve(10)
    return made


@pytest.fixture
def vector(lanes):
    """What a true report says of them."""
    return LaneVector([lane.checkpoint() for lane in lanes])


@pytest.fixture
def pending(nodes, license_id, vector, bonds, consent_log):
    """That report, in its dispute window."""
    root = bytes(consent_log.accumulator())
    return nodes.post([(license_id, 60, 0)], consent_root=root, **vector.in_report)


@pytest.fixture
def ask(disputes, pending, challenger, stake):
    """Asks for a lane's head, or for the units of the first line; returns the dispute."""

    def asked(question, subject=0):
        function = disputes.disputeHead if question == HEAD else disputes.disputeUnits
        return function(as_abi(pending), subject, {"from": challenger}).events["DisputeOpened"]["disputeId"]

    return asked


@pytest.fixture
def show(lanes, vector):
    """The opening of a lane in the report, signed by the lane."""

    def shown(number):
        _, signature = lanes[number].signed(vector.heads[number])
        return as_abi((number, vector.head(number), signature))

    return shown


@pytest.fixture
def condemn(disputes, pending, nodes, stranger):
    """Ends a dispute that nobody answered."""

    def condemned(dispute_id):
        return disputes.condemn(dispute_id, as_abi(pending), nodes.signatures(pending), {"from": stranger})

    return condemned


def slashed(operator_bonds, signers):
    """Which signers have no bond any more."""
    return [number for number, signer in enumerate(signers) if operator_bonds.bonded(signer.address) == 0]


# -- questions and answers ----------------------------------------------------------------------------------


def test_inv_24_a_head_that_is_shown_pays_who_shows_it(
    disputes, operator_bonds, nodes, pending, ask, show, token, answerer, signers
):
    dispute_id = ask(HEAD)
    nodes.wait_for_window()
    with reverts("UsageSettlement_DisputeOpen"):
        nodes.finalize(pending)
    disputes.answerHead(dispute_id, show(0), {"from": answerer})
    disputes.payCredit(answerer, {"from": answerer})
    assert token.balanceOf(answerer) == disputes.settings()["bond"]
    nodes.finalize(pending)
    assert slashed(operator_bonds, signers) == []


def test_a_head_that_nobody_shows_kills_the_report_and_its_signers(
    disputes, operator_bonds, nodes, settlement, ask, condemn, challenger, signers
):
    dispute_id = ask(HEAD)
    nodes.wait_for_window()
    event = condemn(dispute_id).events["ReportCondemned"]
    assert (event["reporter"], event["reason"]) == (challenger, "head not shown")
    assert not settlement.state()["pending"]
    assert disputes.dispute(dispute_id)["status"] == CONDEMNED
    assert slashed(operator_bonds, signers) == [0, 1, 2]
    assert disputes.credit(challenger) == disputes.settings()["bond"]
    assert operator_bonds.credit(challenger) == 3 * (SIGNER_BOND // 10)


def test_inv_24_units_are_shown_lane_by_lane(disputes, nodes, pending, ask, show, stranger, answerer):
    dispute_id = ask(UNITS)
    disputes.answerUnits(dispute_id, [show(0)], {"from": stranger})
    disputes.answerUnits(dispute_id, [show(1)], {"from": answerer})
    disputes.creditShown(dispute_id, stranger, {"from": stranger})
    per_lane, bond = disputes.settings()["bondPerLane"], disputes.unitsBond(pending.lines[0].license_id)
    assert (disputes.credit(stranger), disputes.credit(answerer)) == (per_lane, bond - per_lane)
    nodes.wait_for_window()
    nodes.finalize(pending)


def test_units_that_nobody_shows_kill_the_report(operator_bonds, nodes, ask, show, condemn, signers):
    dispute_id = ask(UNITS)
    nodes.wait_for_window()
    assert condemn(dispute_id).events["ReportCondemned"]["reason"] == "units not shown"
    assert slashed(operator_bonds, signers) == [0, 1, 2]


def test_a_lane_below_its_anchor_cannot_be_shown(
    disputes, anchors, nodes, lanes, license_id, consent_log, bonds, stake, challenger, answerer, stranger
):
    anchors.anchor(*as_abi(lanes[0].signed(lanes[0].checkpoint())), {"from": stranger})
    low = LaneVector([lanes[0].checkpoint(2), lanes[1].checkpoint()])
    root = bytes(consent_log.accumulator())
    report = nodes.post([(license_id, 50, 0)], consent_root=root, **low.in_report)
    opened = disputes.disputeHead(as_abi(report), 0, {"from": challenger}).events["DisputeOpened"]
    assert opened["needed"] == 3
    _, signature = lanes[0].signed(low.heads[0])
    with reverts("ReportDisputes_HeadTooLow"):
        disputes.answerHead(opened["disputeId"], as_abi((0, low.head(0), signature)), {"from": answerer})


def test_an_answer_is_signed_by_the_lane(disputes, ask, show, lanes, vector, answerer):
    dispute_id = ask(HEAD)
    _, wrong = lanes[1].signed(vector.heads[0])
    with reverts("LaneEvidence_WrongSigner"):
        disputes.answerHead(dispute_id, as_abi((0, vector.head(0), wrong)), {"from": answerer})
    with reverts("ReportDisputes_WrongLane"):
        disputes.answerHead(dispute_id, show(1), {"from": answerer})
    with reverts("ReportDisputes_WrongQuestion"):
        disputes.answerUnits(dispute_id, [show(0)], {"from": answerer})


def test_a_question_is_asked_once(ask):
    ask(HEAD)
    with reverts("ReportDisputes_AlreadyAsked"):
        ask(HEAD)


@pytest.mark.parametrize(
    ("question", "error"), [(HEAD, "ReportDisputes_NoSuchLane"), (UNITS, "ReportDisputes_NoSuchLine")]
)
def test_a_question_is_about_something(ask, question, error):
    with reverts(error):
        ask(question, 2)


def test_a_question_leaves_time_for_an_answer(disputes, settlement, ask):
    later(settlement.state()["finalizableAt"] - settlement.lastSubmittedAt() - 60)
    with reverts("ReportDisputes_TooLateToAsk"):
        ask(HEAD)


def test_a_question_costs_a_bond(disputes, pending, stranger):
    with reverts("ERC20InsufficientAllowance"):
        disputes.disputeHead(as_abi(pending), 0, {"from": stranger})


def test_nothing_is_condemned_within_the_window(ask, condemn):
    dispute_id = ask(HEAD)
    with reverts("ReportDisputes_WindowOpen"):
        condemn(dispute_id)


def test_a_question_about_a_rejected_report_gives_the_bond_back(
    disputes, settlement, pending, ask, guardian, challenger, token, stake, stranger
):
    dispute_id = ask(HEAD)
    with reverts("ReportDisputes_StillPending"):
        disputes.voidDispute(dispute_id, {"from": stranger})
    settlement.reject(as_abi(pending), "a test", {"from": guardian})
    disputes.voidDispute(dispute_id, {"from": stranger})
    assert disputes.dispute(dispute_id)["status"] == VOID
    disputes.payCredit(challenger, {"from": stranger})
    assert token.balanceOf(challenger) == stake
    with reverts("ReportDisputes_NoCredit"):
        disputes.payCredit(challenger, {"from": stranger})


# -- proofs that stand by themselves ------------------------------------------------------------------------


def test_a_lane_that_fell_kills_the_report(
    disputes,
    operator_bonds,
    nodes,
    license_id,
    lanes,
    vector,
    pending,
    show,
    challenger,
    signers,
    consent_log,
):
    nodes.wait_for_window()
    nodes.finalize(pending)
    fallen = LaneVector([lanes[0].checkpoint(2), lanes[1].checkpoint()])
    root = bytes(consent_log.accumulator())
    second = nodes.post(consent_root=root, **fallen.in_report)
    evidence = (second, nodes.signatures(second), pending, show(0), fallen.head(0))
    event = reveal(disputes, "laneFell", *evidence, by=challenger).events["ReportCondemned"]
    assert event["reason"] == "lane fell"
    assert slashed(operator_bonds, signers) == [0, 1, 2]


def test_inv_24_a_lane_that_stayed_did_not_fall(
    disputes, nodes, vector, pending, show, challenger, consent_log
):
    nodes.wait_for_window()
    nodes.finalize(pending)
    second = nodes.post(consent_root=bytes(consent_log.accumulator()), **vector.in_report)
    evidence = (second, nodes.signatures(second), pending, show(0), vector.head(0))
    with reverts("ReportDisputes_CountDidNotFall"):
        reveal(disputes, "laneFell", *evidence, by=challenger)


def test_a_wrong_consent_root_kills_the_report(disputes, settlement, nodes, bonds, stranger):
    wrong = nodes.post(consent_root=keccak(b"wrong"))
    disputes.wrongConsent(as_abi(wrong), nodes.signatures(wrong), {"from": stranger})
    assert not settlement.state()["pending"]


def test_inv_24_the_right_consent_root_is_no_proof(disputes, nodes, pending, stranger):
    with reverts("ReportDisputes_ConsentRootIsRight"):
        disputes.wrongConsent(as_abi(pending), nodes.signatures(pending), {"from": stranger})


def test_two_signatures_for_one_attempt_cost_the_bond(
    disputes, operator_bonds, nodes, bonds, signers, challenger
):
    one, other = nodes.report(bundle_hash=keccak(b"one")), nodes.report(bundle_hash=keccak(b"other"))
    first, second = (sign(signers[3].key, nodes.digest(report)).full for report in (one, other))
    event = reveal(disputes, "doubleSigned", one, first, other, second, by=challenger).events["DoubleSigned"]
    assert event["signer"] == signers[3].address
    assert slashed(operator_bonds, signers) == [3]


def test_inv_24_signing_the_next_attempt_is_no_offense(disputes, nodes, bonds, signers, challenger):
    one, other = nodes.report(), nodes.report(attempt=1)
    first, second = (sign(signers[3].key, nodes.digest(report)).full for report in (one, other))
    with reverts("ReportDisputes_DifferentAttempts"):
        reveal(disputes, "doubleSigned", one, first, other, second, by=challenger)
    with reverts("ReportDisputes_SameReport"):
        reveal(disputes, "doubleSigned", one, first, one, first, by=challenger)


def test_whoever_signed_a_condemned_report_can_be_named_later(
    disputes, operator_bonds, nodes, bonds, signers, stranger
):
    wrong = nodes.post(consent_root=keccak(b"wrong"))
    with reverts("ReportDisputes_NotCondemned"):
        disputes.slashSigners(as_abi(wrong), nodes.signatures(wrong), {"from": stranger})
    disputes.wrongConsent(as_abi(wrong), nodes.signatures(wrong), {"from": stranger})
    disputes.slashSigners(as_abi(wrong), nodes.signatures(wrong, (1, 2, 3)), {"from": stranger})
    assert slashed(operator_bonds, signers) == [0, 1, 2, 3]


@pytest.mark.parametrize("missing", ["settlement", "registry", "consentLog"])
def test_disputes_know_their_neighbors(build, missing):
    with reverts("ReportDisputes_ZeroAddress"):
        build("ReportDisputes", **{missing: ZERO_ADDRESS})
