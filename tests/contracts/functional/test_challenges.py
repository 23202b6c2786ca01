"""UsageChallenges and LicenseBonds: what is proven against a buyer, and what it costs whom."""

import pytest
from brownie import ZERO_ADDRESS
from usufruct_protocol.receipts import CheckpointAck

from tests.contracts.functional.scene import (
    now,
    reveal,
    reverts,
    until,
)
from tests.contracts.lanes import SALT, LaneVector, contradiction, signed_by
from tests.contracts.wire import account, as_abi

BOND = 1_000_003
HALF = 500_002
"""Half of the bond, rounded up: what one lane can lose."""


@pytest.fixture
def license_id(accept_bonded):
    """A license with a bond."""
    return accept_bonded(BOND)


@pytest.fixture
def lane(license_id, gateway):
    """Its lane, with four receipts."""
    made = gateway(license_id)
    for _ in range(4):
        made.serve(10)
    return made


@pytest.fixture
def stake(challenges, allow, challenger):
    """The challenger can pay for two challenges."""
    allow(challenger, challenges, 2 * challenges.challengeBond())


@pytest.fixture
def two_faces(lane):
    """Two receipts of one number."""
    return contradiction(lane.signed(lane.receipts[1]), lane.signed(lane.forged(1)))


@pytest.fixture
def short_count(lane, nodes):
    """A final report that counts half of the receipts; returns it and its lanes."""
    vector = LaneVector([lane.checkpoint(2)])
    return nodes.settle(**vector.in_report), vector


@pytest.fixture
def hidden(lane, short_count, challenges, challenger, stake):
    """A challenge for a receipt that the report left out; returns its number."""
    report, vector = short_count
    reveal(
        challenges, "openBeyondCount", lane.signed(lane.receipts[3]), report, vector.head(0), by=challenger
    )
    return challenges.challengeCount()


@pytest.fixture
def swapped(lane, challenges, challenger, stake):
    """A challenge of a receipt that is in its checkpoint after all; returns its number."""
    evidence = lane.signed(lane.receipts[1]), lane.signed(lane.checkpoint())
    reveal(challenges, "openSwapped", *evidence, by=challenger)
    return challenges.challengeCount()


@pytest.fixture
def acked(lane, challenges, hidden, short_count, signers, answerer):
    """The challenge answered by acknowledgements of two signers; returns them, and the transaction."""
    ackers, at = signers[:2], int(short_count[0].period_end)
    ack = CheckpointAck(lane.checkpoint().struct_hash(), at)
    shown = [(at, signed_by(lane.domain, ack, acker)[1]) for acker in ackers]
    covering = as_abi(lane.signed(lane.checkpoint()))
    return ackers, challenges.answerByAcks(hidden, covering, shown, {"from": answerer})


# -- what is proven at once ---------------------------------------------------------------------------------


def test_inv_27_a_contradiction_costs_half_the_bond(
    challenges, registry, license_bonds, license_id, lane, two_faces, challenger, config
):
    event = reveal(challenges, "challengeContradiction", two_faces, by=challenger).events["LaneSlashed"]
    assert (event["licenseId"], event["laneNumber"], event["slashed"]) == (license_id, lane.number, HALF)
    assert registry.laneRevokedAt(lane.number) == now()
    assert challenges.laneSlashed(lane.number)
    assert license_bonds.bond(license_id) == BOND - HALF
    assert license_bonds.credit(challenger) == HALF // 10
    assert license_bonds.credit(config.remediation_fund) == HALF - HALF // 10


def test_a_lane_is_slashed_once(challenges, lane, two_faces, challenger):
    reveal(challenges, "challengeContradiction", two_faces, by=challenger)
    again = contradiction(lane.signed(lane.receipts[2]), lane.signed(lane.forged(2)))
    with reverts("UsageChallenges_AlreadySlashed"):
        reveal(challenges, "challengeContradiction", again, by=challenger)


def test_a_fork_is_a_contradiction(challenges, lane, challenger):
    shown = contradiction(fork=lane.fork(2, lane.rewritten(2)))
    reveal(challenges, "challengeContradiction", shown, by=challenger)
    assert challenges.laneSlashed(lane.number)


def test_true_receipts_contradict_nothing(challenges, lane, challenger):
    shown = contradiction(lane.signed(lane.receipts[0]), lane.signed(lane.receipts[1]))
    with reverts("LaneEvidence_NoConflict"):
        reveal(challenges, "challengeContradiction", shown, by=challenger)


def test_a_receipt_dated_ahead_costs_the_same(challenges, license_bonds, license_id, lane, challenger):
    ahead = lane.serve(10, (now() + 3_600 + 120) * 1_000)
    reveal(challenges, "challengeFutureDate", lane.signed(ahead), by=challenger)
    assert license_bonds.bond(license_id) == BOND - HALF


def test_an_hour_ahead_is_a_clock(challenges, lane, challenger):
    with reverts("UsageChallenges_NotInFuture"):
        reveal(challenges, "challengeFutureDate", lane.signed(lane.serve(1, now() * 1_000)), by=challenger)


def test_evidence_is_promised_first(challenges, two_faces, challenger, stranger):
    with reverts("CommitReveal_NotCommitted"):
        challenges.challengeContradiction(as_abi(two_faces), SALT, {"from": challenger})
    reveal(challenges, "challengeContradiction", two_faces, by=challenger)


def test_a_key_that_is_no_lane_owes_nothing(challenges, lane, challenger):
    key = account("no lane")
    stray = type(lane)(key, lane.domain, None)
    stray.serve(1)
    shown = contradiction(stray.signed(stray.receipts[0]), stray.signed(stray.forged(0)))
    with reverts("UsageChallenges_UnknownLane"):
        reveal(challenges, "challengeContradiction", shown, by=challenger)


def test_a_contradiction_revokes_a_lane_whose_bond_is_out_of_reach(
    challenges, registry, lane, two_faces, stranger
):
    challenges.revokeByContradiction(as_abi(two_faces), {"from": stranger})
    assert registry.laneRevokedAt(lane.number) == now()
    assert not challenges.laneSlashed(lane.number)


# -- what can be answered -----------------------------------------------------------------------------------


def test_a_receipt_left_out_costs_half_the_bond(
    challenges, license_bonds, license_id, token, hidden, challenger, stranger
):
    until(challenges.challenge(hidden)["answerableUntil"] + 1)
    challenges.uphold(hidden, {"from": stranger})
    assert license_bonds.bond(license_id) == BOND - HALF
    assert challenges.openAgainst(license_id) == 0
    bond = challenges.challengeBond()
    challenges.withdrawCredit(challenger, {"from": challenger})
    assert token.balanceOf(challenger) == 2 * bond
    with reverts("UsageChallenges_NoCredit"):
        challenges.withdrawCredit(challenger, {"from": challenger})


def test_nothing_is_upheld_while_it_can_be_answered(challenges, hidden, stranger):
    until(challenges.challenge(hidden)["answerableUntil"] - 1)
    with reverts("UsageChallenges_StillAnswerable"):
        challenges.uphold(hidden, {"from": stranger})


def test_a_counted_receipt_was_not_left_out(challenges, lane, short_count, challenger, stake):
    report, vector = short_count
    with reverts("UsageChallenges_Counted"):
        reveal(
            challenges,
            "openBeyondCount",
            lane.signed(lane.receipts[1]),
            report,
            vector.head(0),
            by=challenger,
        )


def test_a_receipt_within_the_merge_delay_is_not_late(challenges, lane, nodes, challenger, stake):
    nodes.wait()
    fresh = lane.serve(10, (nodes.settlement.state()["lastPeriodEnd"] + 86_400 - 60) * 1_000)
    vector = LaneVector([lane.checkpoint(4)])
    report = nodes.settle(**vector.in_report)
    with reverts("UsageChallenges_NotMergeable"):
        reveal(challenges, "openBeyondCount", lane.signed(fresh), report, vector.head(0), by=challenger)


def test_inv_25_an_anchored_receipt_was_not_left_out(
    challenges, anchors, lane, nodes, challenger, stake, stranger
):
    anchors.anchor(*as_abi(lane.signed(lane.checkpoint())), {"from": stranger})
    vector = LaneVector([lane.checkpoint(2)])
    report = nodes.settle(**vector.in_report)
    with reverts("UsageChallenges_Anchored"):
        reveal(
            challenges,
            "openBeyondCount",
            lane.signed(lane.receipts[3]),
            report,
            vector.head(0),
            by=challenger,
        )


def test_inv_25_a_swap_that_was_none_pays_who_shows_it(
    challenges, license_bonds, license_id, lane, swapped, answerer
):
    event = challenges.answerByInclusion(swapped, lane.proof(1), {"from": answerer}).events[
        "ChallengeAnswered"
    ]
    assert (event["challengeId"], event["answerer"]) == (swapped, answerer)
    assert challenges.credit(answerer) == challenges.challengeBond()
    assert license_bonds.bond(license_id) == BOND


def test_another_receipt_is_no_answer(challenges, lane, swapped, answerer):
    with reverts("LaneTree_WrongProof"):
        challenges.answerByInclusion(swapped, lane.proof(2), {"from": answerer})


def test_a_challenge_needs_its_bond(challenges, lane, challenger):
    evidence = lane.signed(lane.receipts[1]), lane.signed(lane.checkpoint())
    with reverts("ERC20InsufficientAllowance"):
        reveal(challenges, "openSwapped", *evidence, by=challenger)


def test_inv_25_acknowledgements_clear_the_buyer_and_accuse_the_signers(
    challenges, license_bonds, license_id, hidden, acked
):
    ackers, answered = acked
    assert answered.events["SignersAccused"]["ackers"] == [acker.address for acker in ackers]
    assert challenges.openAgainst(license_id) == 0
    assert license_bonds.bond(license_id) == BOND
    assert challenges.accusation(hidden)["slashableFrom"] == answered.timestamp + challenges.answerSeconds()


def test_signers_who_acknowledged_and_left_out_pay(
    challenges,
    operator_bonds,
    hidden,
    acked,
    short_count,
    nodes,
    allow,
    operators,
    signers,
    challenger,
    stranger,
):
    allow(operators, operator_bonds, 700)
    operator_bonds.deposit(signers[0].address, 700, {"from": operators})
    report, _ = short_count
    arguments = (hidden, as_abi(report), nodes.signatures(report), [acker.address for acker in acked[0]])
    with reverts("UsageChallenges_NotSlashableYet"):
        challenges.slashAckers(*arguments, {"from": stranger})
    until(challenges.accusation(hidden)["slashableFrom"])
    events = challenges.slashAckers(*arguments, {"from": stranger}).events["AckerSlashed"]
    assert [(event["signer"], event["slashed"]) for event in events] == [
        (signers[0].address, 700),
        (signers[1].address, 0),
    ]
    assert operator_bonds.credit(challenger) == 70


# -- the bond -----------------------------------------------------------------------------------------------


@pytest.fixture
def ended(accept_bonded, nodes, license_bonds):
    """A license that is over and covered, on the first day on which its bond can be taken back."""
    license_id = accept_bonded(BOND, ends_at=now() + 3_600)
    nodes.settle()
    until(license_bonds.releasableAt(license_id))
    return license_id


def test_a_buyer_takes_the_bond_back(license_bonds, token, ended, buyer, payee):
    event = license_bonds.withdraw(ended, payee, {"from": buyer}).events["BondWithdrawn"]
    assert (event["licenseId"], event["to"], event["amount"]) == (ended, payee, BOND)
    assert token.balanceOf(payee) == BOND
    with reverts("LicenseBonds_NothingLeft"):
        license_bonds.withdraw(ended, payee, {"from": buyer})


def test_only_the_buyer_takes_it(license_bonds, ended, stranger, buyer):
    with reverts("LicenseBonds_NotBuyer"):
        license_bonds.withdraw(ended, stranger, {"from": stranger})
    with reverts("LicenseBonds_ZeroRecipient"):
        license_bonds.withdraw(ended, ZERO_ADDRESS, {"from": buyer})


def test_a_bond_outlives_its_license(license_bonds, license_id, buyer):
    with reverts("LicenseBonds_TooEarly"):
        license_bonds.withdraw(license_id, buyer, {"from": buyer})


def test_inv_28_a_bond_waits_for_the_last_report(accept_bonded, license_bonds, buyer):
    license_id = accept_bonded(BOND, ends_at=now() + 3_600)
    until(license_bonds.releasableAt(license_id))
    with reverts("LicenseBonds_NotCovered"):
        license_bonds.withdraw(license_id, buyer, {"from": buyer})


def test_a_bond_waits_for_an_open_challenge(license_bonds, license_id, swapped, buyer):
    with reverts("LicenseBonds_ChallengeOpen"):
        license_bonds.withdraw(license_id, buyer, {"from": buyer})


def test_only_its_neighbors_collect_and_slash(license_bonds, license_id, buyer, council):
    with reverts("LicenseBonds_OnlyRegistry"):
        license_bonds.collect(license_id, buyer, 1, {"from": council})
    with reverts("LicenseBonds_OnlySlashers"):
        license_bonds.slash(license_id, 1, council, {"from": council})


def test_credits_go_to_whom_they_belong(
    challenges, license_bonds, token, two_faces, challenger, stranger, config
):
    reveal(challenges, "challengeContradiction", two_faces, by=challenger)
    license_bonds.payCredit(challenger, {"from": stranger})
    license_bonds.payCredit(config.remediation_fund, {"from": stranger})
    assert token.balanceOf(challenger) + token.balanceOf(config.remediation_fund) == HALF
    with reverts("LicenseBonds_NoCredit"):
        license_bonds.withdrawCredit(challenger, {"from": challenger})


@pytest.mark.parametrize(
    ("contract", "missing"),
    [
        *(("LicenseBonds", name) for name in ("registry", "settlement", "challenges", "duties")),
        *(("UsageChallenges", name) for name in ("settlement", "anchors", "licenseBonds", "operatorBonds")),
    ],
)
def test_both_know_their_neighbors(build, contract, missing):
    with reverts(f"{contract}_ZeroAddress"):
        build(contract, **{missing: ZERO_ADDRESS})
