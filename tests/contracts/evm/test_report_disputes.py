"""ReportDisputes, the proofs that stand by themselves: what they do, each refusal, and forgeries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from usufruct_chain import contract_set
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.report_types import EpochReport

from tests.contracts.evm import world as world_module
from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.disputes import (
    ANSWERER,
    CHALLENGER,
    SIGNER_BOND,
    Scene,
    bonds,
    is_dead,
    post,
    refuses,
    reveal,
    settle,
    shown,
    shown_by,
    window_over,
)
from tests.contracts.evm.gateway import NO_CHECKPOINT, SALT, Gateway, LaneVector, commitment
from tests.contracts.evm.world import World, committee_of
from tests.contracts.wire import ZERO_ADDRESS, ZERO_HASH, account, quorum_blob

SETTINGS = (100_000_000, 10_000_000, 1_800)
SLASHED_THREE = [0, 0, 0, SIGNER_BOND]
UNTOUCHED = [SIGNER_BOND] * 4


@pytest.fixture
def scene(world: World) -> Scene:
    """Lanes with five receipts of 10 units each; the first anchored with four of them."""
    return Scene.build(world)


# -- deployment ----------------------------------------------------------------------------------------------


ARGUMENTS = ["token", "settlement", "registry", "anchors", "consentLog", "operatorBonds"]


def deploy_with(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> World:
    """A world whose disputes were told something else."""
    usual = contract_set.constructor_arguments

    def changed(name: str, *rest: Any) -> dict[str, Any]:
        arguments = usual(name, *rest)
        return arguments | changes if name == "ReportDisputes" else arguments

    monkeypatch.setattr(contract_set, "constructor_arguments", changed)
    return World(Evm())


@pytest.mark.parametrize("missing", ARGUMENTS)
def test_constructor_refuses_zero_addresses(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    with refuses("ReportDisputes_ZeroAddress", missing):
        deploy_with(monkeypatch, **{missing: ZERO_ADDRESS})


@pytest.mark.parametrize("zero", range(3))
def test_constructor_refuses_free_questions_and_no_time_to_answer(
    monkeypatch: pytest.MonkeyPatch, zero: int
) -> None:
    settings = tuple(0 if position == zero else value for position, value in enumerate(SETTINGS))
    with refuses("ReportDisputes_BadSettings", *settings):
        deploy_with(monkeypatch, settings=settings)


def test_constructor_refuses_a_token_that_is_not_the_registrys(monkeypatch: pytest.MonkeyPatch) -> None:
    with refuses("ReportDisputes_Miswired") as refused:
        deploy_with(monkeypatch, token=account("another token").address)
    assert refused.value.arguments[0] == "registry.token"


def test_constructor_refuses_neighbors_that_name_another(shared_world: World) -> None:
    world = shared_world
    addresses = [getattr(world, place) for place in PLACES]
    with refuses("ReportDisputes_Miswired") as refused:
        world.evm.deploy("ReportDisputes", *addresses, SETTINGS, sender=world.people.admin)
    assert refused.value.arguments[0] == "settlement.disputes"


def test_constructor_refuses_bonds_that_answer_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    other = World(Evm()).operator_bonds
    assert other.disputes() != account("admin").address
    usual = contract_set.constructor_arguments

    def changed(name: str, *rest: Any) -> dict[str, Any]:
        arguments = usual(name, *rest)
        return arguments | {"disputes": account("another").address} if name == "OperatorBonds" else arguments

    monkeypatch.setattr(contract_set, "constructor_arguments", changed)
    with refuses("ReportDisputes_Miswired") as refused:
        World(Evm())
    assert refused.value.arguments[0] == "operatorBonds.disputes"


PLACES = ["token", "settlement", "registry", "anchors", "consent_log", "operator_bonds"]


def test_it_names_its_neighbors(shared_world: World) -> None:
    disputes = shared_world.disputes
    for name, place in zip(ARGUMENTS, PLACES, strict=True):
        assert getattr(disputes, name)() == getattr(shared_world, place).address
    assert disputes.committee() == shared_world.committee.address
    assert disputes.settings() == SETTINGS


# -- a lane's count fell -------------------------------------------------------------------------------------


@dataclass
class Fall:
    """A finalized report over all receipts, and a pending one that counts fewer of some lane."""

    scene: Scene
    finalized: EpochReport
    counted: LaneVector
    pending: EpochReport
    vector: LaneVector

    def evidence(self, number: int = 0) -> list[Any]:
        lane, world = self.scene.lanes[number], self.scene.world
        return [
            self.pending,
            world.sign_report(self.pending),
            self.finalized,
            shown_by(lane, self.counted),
            self.vector.head(number),
        ]


def fallen(scene: Scene, vector: LaneVector | None = None) -> Fall:
    counted = scene.vector()
    finalized = settle(scene.world, counted, scene.lines)
    vector = vector or scene.vector(4, 5, 5)
    return Fall(scene, finalized, counted, post(scene.world, vector, scene.lines), vector)


def test_a_report_in_which_a_lane_fell_dies_and_its_signers_pay(scene: Scene) -> None:
    world, fall = scene.world, fallen(scene)
    report_hash = world.settlement.hashReport(fall.pending)
    receipt = reveal(world, "laneFell", *fall.evidence())
    assert bonds(world) == SLASHED_THREE
    assert not world.settlement.state().pending
    assert world.settlement.state().nextAttempt == fall.pending.attempt + 1
    assert world.settlement.state().rejections == 0
    (rejected,) = receipt.named("ReportRejected")
    assert (rejected.by, rejected.reason) == (world.disputes.address, "lane fell")
    (condemned,) = receipt.named("ReportCondemned")
    assert (condemned.reportHash, condemned.reporter) == (report_hash, CHALLENGER.address)
    assert world.disputes.condemnedBy(report_hash) == CHALLENGER.address
    assert world.operator_bonds.credit(CHALLENGER) == 3 * (SIGNER_BOND // 10)
    fund = world.operator_bonds.credit(world.people.remediation_fund)
    assert fund == 3 * (SIGNER_BOND - SIGNER_BOND // 10)


@pytest.mark.parametrize(
    ("counts", "number"), [((None, 5, 5), 0), ((5, 5, None), 2), ((5, 5), 2), ((5,), 1), ((5, 0, 5), 1)]
)
def test_a_lane_falls_too_when_its_leaf_or_its_number_is_gone(
    scene: Scene, counts: tuple[int | None, ...], number: int
) -> None:
    fall = fallen(scene, scene.vector(*counts))
    reveal(scene.world, "laneFell", *fall.evidence(number))
    assert bonds(scene.world) == SLASHED_THREE


@pytest.mark.parametrize("counts", [(5, 5, 5), (6, 5, 5)])
def test_inv_24_a_lane_that_did_not_fall_shows_nothing(scene: Scene, counts: tuple[int, ...]) -> None:
    counted = scene.vector()
    finalized = settle(scene.world, counted, scene.lines)
    scene.lanes[0].serve(10)
    vector = scene.vector(*counts)
    fall = Fall(scene, finalized, counted, post(scene.world, vector, scene.lines), vector)
    with refuses("ReportDisputes_CountDidNotFall", 5, counts[0]):
        reveal(scene.world, "laneFell", *fall.evidence())
    assert bonds(scene.world) == UNTOUCHED


def test_inv_24_a_fall_needs_the_report_just_before_and_the_pending_one(scene: Scene) -> None:
    world = scene.world
    older = settle(world, scene.vector(), scene.lines)
    settle(world, scene.vector(4, 5, 5))
    pending, vector = scene.pending(scene.vector(4, 5, 5))
    counted = scene.vector()
    evidence = [pending, world.sign_report(pending), older, shown_by(scene.lanes[0], counted), vector.head(0)]
    with refuses("ReportDisputes_OtherReport"):
        reveal(world, "laneFell", *evidence)
    another = replace(pending, bundle_hash=b"\1" * 32)
    with refuses("ReportDisputes_OtherReport"):
        reveal(world, "laneFell", another, world.sign_report(another), *evidence[2:])
    world.settlement.reject(pending, "a test", sender=world.people.guardian)
    with refuses("ReportDisputes_OtherReport"):
        reveal(world, "laneFell", *evidence)


def test_inv_24_nothing_can_fall_in_the_first_report(scene: Scene) -> None:
    world = scene.world
    pending, vector = scene.pending(scene.vector(4, 5, 5))
    forged = replace(pending, **scene.vector().in_report, epoch=0)
    evidence = (pending, world.sign_report(pending), forged, shown_by(scene.lanes[0], scene.vector()))
    with refuses("ReportDisputes_OtherReport"):
        reveal(world, "laneFell", *evidence, vector.head(0))


def test_inv_24_a_head_that_signers_of_the_past_invented_binds_nobody(scene: Scene) -> None:
    """Else one false finalized head would make every honest report after it provably wrong."""
    world = scene.world
    invented = replace(scene.lanes[2].checkpoint(), count=10**9)
    counted = LaneVector([scene.lanes[0].checkpoint(), scene.lanes[1].checkpoint(), invented])
    finalized = settle(world, counted)
    pending, vector = scene.pending()
    genuine = scene.lanes[2].signed(scene.lanes[2].checkpoint())[1]
    for signature in (genuine, scene.lanes[0].signed(invented)[1]):
        evidence = (pending, world.sign_report(pending), finalized, shown(counted, 2, signature))
        with refuses("LaneEvidence_WrongSigner"):
            reveal(world, "laneFell", *evidence, vector.head(2))
    with refuses("LaneEvidence_BadSignature"):
        reveal(
            world,
            "laneFell",
            pending,
            world.sign_report(pending),
            finalized,
            shown(counted, 2),
            vector.head(2),
        )
    assert bonds(world) == UNTOUCHED


def test_inv_24_a_head_of_a_key_that_is_not_the_lane_binds_nobody(scene: Scene) -> None:
    """A false report may have put a foreign key where the lane stands that nobody used yet."""
    world = scene.world
    unused = Gateway(world, scene.second, "lane d")
    foreign = Gateway(world, scene.second, "lane e")
    for _ in range(3):
        foreign.serve(1)
    counted = LaneVector([*scene.vector().heads, foreign.checkpoint()])
    finalized = settle(world, counted)
    pending, vector = scene.pending(LaneVector([*scene.vector().heads, None, None]))
    for shown_head in (
        shown(counted, unused.number, foreign.signed(foreign.checkpoint())[1]),
        shown(counted, unused.number, unused.signed(foreign.checkpoint())[1]),
    ):
        with refuses("LaneEvidence_WrongLane", unused.key.address, foreign.key.address):
            reveal(
                world, "laneFell", pending, world.sign_report(pending), finalized, shown_head, vector.head(3)
            )


def test_inv_24_forged_openings_of_either_report_prove_no_fall(scene: Scene) -> None:
    """The true report, attacked with wrong numbers, depths, inner nodes and other lanes' leaves."""
    world = scene.world
    counted = scene.vector()
    finalized = settle(world, counted, scene.lines)
    pending, vector = scene.pending()
    signatures = world.sign_report(pending)
    true_head, true_proof = vector.head(0)
    lane = scene.lanes[0]
    signed = lane.signed(lane.checkpoint())[1]
    low = lane.checkpoint(1)
    late = Gateway(world, scene.second, "lane d")
    late.serve(1)
    for error, claim in (
        ("LaneTree_NoSuchLeaf", (3, (late.checkpoint(), true_proof), late.signed(late.checkpoint())[1])),
        ("LaneTree_WrongProof", (0, (low, true_proof), lane.signed(low)[1])),
        ("LaneTree_WrongProofLength", (0, (true_head, true_proof[:1]), signed)),
        ("LaneEvidence_WrongLane", (1, vector.head(0), signed)),
    ):
        with refuses(error):
            reveal(world, "laneFell", pending, signatures, finalized, claim, vector.head(0))
    inner = vector.leaves[2], keccak256(vector.leaves[0] + vector.leaves[1])
    openings = {
        "LaneTree_WrongProofLength": [
            (NO_CHECKPOINT, ()),
            (true_head, true_proof[1:]),
            (low, (*true_proof, ZERO_HASH)),
        ],
        "LaneTree_WrongProof": [(NO_CHECKPOINT, true_proof), (low, true_proof), (NO_CHECKPOINT, inner)],
        "LaneEvidence_WrongLane": [vector.head(1)],
    }
    for error, forged_openings in openings.items():
        for opening in forged_openings:
            with refuses(error):
                reveal(world, "laneFell", pending, signatures, finalized, shown_by(lane, counted), opening)
    assert bonds(world) == UNTOUCHED
    assert not is_dead(world, pending)


def test_a_lane_that_nobody_registered_has_not_fallen(scene: Scene) -> None:
    fall = fallen(scene)
    evidence = fall.evidence()
    evidence[3] = (3, *evidence[3][1:])
    with pytest.raises(Reverted, match="Panic"):
        reveal(scene.world, "laneFell", *evidence)


def test_a_proof_carries_a_quorum_of_the_very_report(scene: Scene) -> None:
    fall = fallen(scene)
    world = scene.world
    other = replace(fall.pending, bundle_hash=b"\1" * 32)
    for signatures, error in (
        (world.sign_report(other), "OracleCommittee_WrongSignature"),
        (world.sign_report(fall.finalized), "OracleCommittee_WrongSignature"),
        (world.sign_report(fall.pending, (0, 1)), "OracleCommittee_NotEnoughSignatures"),
        (b"", "OracleCommittee_NotEnoughSignatures"),
        (world.sign_report(fall.pending)[:-1], "OracleCommittee_BadSignatureLength"),
        (world.sign_report(fall.pending, (0, 0, 1)), "OracleCommittee_SignatureOutOfOrder"),
    ):
        evidence = fall.evidence()
        evidence[1] = signatures
        with refuses(error):
            reveal(world, "laneFell", *evidence)
    assert bonds(world) == UNTOUCHED


def test_evidence_is_shown_only_by_who_committed_to_it(scene: Scene) -> None:
    fall = fallen(scene)
    world, evidence = scene.world, fall.evidence()
    with refuses("CommitReveal_NotCommitted"):
        world.disputes.laneFell(*evidence, SALT, sender=CHALLENGER)
    call = world.disputes.calldata("laneFell", *evidence, SALT)
    world.disputes.commit(commitment(CHALLENGER, call), sender=CHALLENGER)
    with refuses("CommitReveal_TooEarly"):
        world.disputes.laneFell(*evidence, SALT, sender=CHALLENGER)
    world.evm.warp(60)
    with refuses("CommitReveal_NotCommitted"):
        world.disputes.laneFell(*evidence, SALT, sender=ANSWERER)
    world.disputes.laneFell(*evidence, SALT, sender=CHALLENGER)


def test_a_commitment_is_good_for_a_day(scene: Scene) -> None:
    world = scene.world
    fall = fallen(scene)
    call = world.disputes.calldata("laneFell", *fall.evidence(), SALT)
    world.disputes.commit(commitment(CHALLENGER, call), sender=CHALLENGER)
    world.evm.warp(86_401)
    with refuses("CommitReveal_TooLate"):
        world.disputes.laneFell(*fall.evidence(), SALT, sender=CHALLENGER)


# -- the consent root ----------------------------------------------------------------------------------------


def test_a_consent_root_that_is_not_the_logs_kills_the_report(scene: Scene) -> None:
    world = scene.world
    report, _ = scene.pending(consent_root=b"\1" * 32)
    receipt = world.disputes.wrongConsent(report, world.sign_report(report), sender=CHALLENGER)
    assert [event.reason for event in receipt.named("ReportRejected")] == ["wrong consent root"]
    assert bonds(world) == SLASHED_THREE


def test_inv_24_the_logs_root_at_the_cut_off_stays_right_whatever_is_logged_later(scene: Scene) -> None:
    world = scene.world
    world.consent_log.publish(b"\1" * 32, 1, sender=world.people.steward)
    root = world.consent_log.accumulator()
    report, _ = scene.pending()
    world.consent_log.publish(b"\2" * 32, 1, sender=world.people.stranger)
    world.consent_log.forceRevoke(b"\3" * 32, sender=world.people.stranger)
    world.evm.mine(3)
    with refuses("ReportDisputes_ConsentRootIsRight", root):
        world.disputes.wrongConsent(report, world.sign_report(report), sender=CHALLENGER)
    assert not is_dead(world, report)


def test_a_stale_consent_root_is_wrong(scene: Scene) -> None:
    world = scene.world
    stale = world.consent_log.accumulator()
    world.consent_log.publish(b"\1" * 32, 1, sender=world.people.steward)
    world.evm.warp(1)
    report, _ = scene.pending(consent_root=stale)
    world.disputes.wrongConsent(report, world.sign_report(report), sender=CHALLENGER)
    assert is_dead(world, report)


def test_inv_24_consent_roots_are_not_judged_where_block_numbers_are_another_chains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = world_module.system_config
    monkeypatch.setattr(
        world_module, "system_config", lambda *given: replace(usual(*given), checks_cutoff_block=False)
    )
    world = World(Evm())
    report = world.post(cutoff_block=2**40)
    with refuses("ReportDisputes_CutoffsUnchecked"):
        world.disputes.wrongConsent(report, world.sign_report(report), sender=CHALLENGER)


def test_only_the_pending_report_can_be_wrong_about_consent(scene: Scene) -> None:
    world = scene.world
    wrong = {"consent_root": b"\1" * 32}
    finalized = world.settle(**scene.vector().in_report, **wrong)
    with refuses("ReportDisputes_OtherReport"):
        world.disputes.wrongConsent(finalized, world.sign_report(finalized), sender=CHALLENGER)
    scene.pending()
    with refuses("ReportDisputes_OtherReport"):
        world.disputes.wrongConsent(finalized, world.sign_report(finalized), sender=CHALLENGER)


# -- signers of a condemned report ---------------------------------------------------------------------------


def test_all_who_signed_pay_though_a_proof_named_only_a_quorum(scene: Scene) -> None:
    world = scene.world
    report, _ = scene.pending(consent_root=b"\1" * 32)
    world.disputes.wrongConsent(report, world.sign_report(report), sender=CHALLENGER)
    world.disputes.slashSigners(report, world.sign_report(report, (0, 1, 2, 3)), sender=ANSWERER)
    assert bonds(world) == [0] * 4
    assert world.operator_bonds.credit(CHALLENGER) == 4 * (SIGNER_BOND // 10)
    assert world.operator_bonds.credit(ANSWERER) == 0


def test_a_blob_of_all_signers_slashes_all_at_once(scene: Scene) -> None:
    world = scene.world
    report, _ = scene.pending(consent_root=b"\1" * 32)
    world.disputes.wrongConsent(report, world.sign_report(report, (0, 1, 2, 3)), sender=CHALLENGER)
    assert bonds(world) == [0] * 4


def test_a_signer_without_a_bond_protects_no_other(scene: Scene) -> None:
    world = scene.world
    for attempt in range(2):
        report, _ = scene.pending(consent_root=b"\1" * 32)
        indices = ((0, 1, 2), (0, 1, 3))[attempt]
        world.disputes.wrongConsent(report, world.sign_report(report, indices), sender=CHALLENGER)
    assert bonds(world) == [0] * 4


@pytest.mark.parametrize("condition", ["pending", "rejected", "finalized"])
def test_inv_24_signers_of_a_report_that_was_not_condemned_keep_their_bonds(
    scene: Scene, condition: str
) -> None:
    world = scene.world
    report, _ = scene.pending()
    if condition == "rejected":
        world.settlement.reject(report, "a test", sender=world.people.guardian)
    if condition == "finalized":
        window_over(world)
        world.settlement.finalize(report, sender=ANSWERER)
    with refuses("ReportDisputes_NotCondemned", world.settlement.hashReport(report)):
        world.disputes.slashSigners(report, world.sign_report(report), sender=ANSWERER)


def test_inv_24_a_condemned_report_slashes_nobody_who_did_not_sign_it(scene: Scene) -> None:
    world = scene.world
    report, _ = scene.pending(consent_root=b"\1" * 32)
    world.disputes.wrongConsent(report, world.sign_report(report), sender=CHALLENGER)
    honest = replace(report, attempt=report.attempt + 1, consent_root=ZERO_HASH)
    digest = world.report_digest(report)
    borrowed = quorum_blob(digest, world.signers[1], (0, 1)) + world.sign_report(honest, (3,))
    with refuses("OracleCommittee_WrongSignature"):
        world.disputes.slashSigners(report, borrowed, sender=ANSWERER)
    assert bonds(world) == SLASHED_THREE


def test_who_condemns_a_report_it_signed_pays_like_the_others(scene: Scene) -> None:
    world = scene.world
    signer = world.signers[1][0]
    report, _ = scene.pending(consent_root=b"\1" * 32)
    world.disputes.wrongConsent(report, world.sign_report(report), sender=signer)
    assert bonds(world) == SLASHED_THREE
    assert world.operator_bonds.credit(signer) == 3 * (SIGNER_BOND // 10) < SIGNER_BOND


def test_removed_signers_pay_for_what_they_signed_while_they_governed(scene: Scene) -> None:
    world = scene.world
    world.committee.rotate(committee_of(4, "new"), 3, sender=world.people.council)
    report, _ = scene.pending(consent_root=b"\1" * 32)
    for signer in world.signers[1]:
        world.operator_bonds.thaw(SIGNER_BOND, sender=signer)
    world.disputes.wrongConsent(report, world.sign_report(report), sender=CHALLENGER)
    assert [world.operator_bonds.bond(signer).thawing for signer in world.signers[1]] == SLASHED_THREE
