"""UsageChallenges: wiring, commit and reveal, proofs that need no answer, and what a slash costs whom.

Challenges that can be answered: test_challenge_answers.py. Honest buyers: test_honest_buyer.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from usufruct_chain import contract_set
from usufruct_chain.artifacts import CONTRACTS
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.receipts import Checkpoint, UsageReceipt, settlement_domain

from tests.contracts.evm.chain import Contract, Evm, Reverted
from tests.contracts.evm.gateway import (
    SALT,
    Gateway,
    LaneVector,
    bonded_license,
    commitment,
    contradiction,
    fund_challenger,
    promise,
    reveal,
    signed,
)
from tests.contracts.evm.world import World
from tests.contracts.system import system_config
from tests.contracts.wire import CURVE_ORDER, ZERO_ADDRESS, ZERO_HASH, account, sign
from tests.reference.bonds import lane_slash

BOND = 1_000_000_003  # no multiple of what divides it
DAY = 86_400
HORIZON = 90 * DAY
FINDER = account("finder")
THIEF = account("thief")


@pytest.fixture
def gateway(world: World) -> Gateway:
    """A lane with five receipts of ten units, and a bond behind it."""
    made = Gateway(world, bonded_license(world, BOND), "gateway")
    for _ in range(5):
        made.serve(10)
    fund_challenger(world, FINDER, bonds=9)
    return made


def two_receipts(gateway: Gateway, seq: int = 1) -> Any:
    """Proof that a lane gave one seq twice."""
    return contradiction(gateway.signed(gateway.receipts[seq]), gateway.signed(gateway.forged(seq)))


def short_receipt(gateway: Gateway) -> Any:
    """Proof that a lane's receipts add up to more than a later one says."""
    short = replace(gateway.receipts[4], cumulative_units=19)
    return contradiction(gateway.signed(gateway.receipts[0]), gateway.signed(short))


def less_than_its_own(gateway: Gateway) -> Any:
    """Proof that a receipt says less than its own units; given twice, for it is all there is."""
    short = gateway.signed(replace(gateway.receipts[0], cumulative_units=9))
    return contradiction(short, short)


def fewer_units(gateway: Gateway) -> Any:
    """Proof that a lane counted fewer units under a higher count."""
    fewer = replace(gateway.checkpoint(4), cumulative_units=29)
    return contradiction(gateway.signed(gateway.checkpoint(3)), gateway.signed(fewer))


def other_units(gateway: Gateway) -> Any:
    """Proof that a lane signed two checkpoints of one count."""
    other = replace(gateway.checkpoint(4), cumulative_units=41)
    return contradiction(gateway.signed(other), gateway.signed(gateway.checkpoint(4)))


def short_checkpoint(gateway: Gateway) -> Any:
    """Proof that a checkpoint over true receipts says less than one of them: an anchor could hide it."""
    short = replace(gateway.checkpoint(), cumulative_units=29)
    return contradiction(gateway.signed(gateway.receipts[2]), gateway.signed(short))


def short_after_checkpoint(gateway: Gateway) -> Any:
    """Proof that a receipt starts from less than a checkpoint before it had."""
    short = replace(gateway.receipts[3], cumulative_units=39)
    return contradiction(gateway.signed(short), gateway.signed(gateway.checkpoint(3)))


def two_histories(gateway: Gateway) -> Any:
    """Proof that two checkpoints of different counts cover different receipts."""
    return contradiction(fork=gateway.fork(1, gateway.rewritten(1), (3, 5)))


def far_future(gateway: Gateway) -> Any:
    """A receipt dated two hours ahead."""
    ahead = gateway.serve(issued_at_ms=(gateway.world.evm.timestamp + 7_200) * 1_000)
    return gateway.signed(ahead)


CONTRADICTIONS = (
    two_receipts,
    short_receipt,
    less_than_its_own,
    fewer_units,
    other_units,
    short_checkpoint,
    short_after_checkpoint,
    two_histories,
)
SHOW = "challengeContradiction"
PROOFS = dict.fromkeys(CONTRADICTIONS, SHOW) | {far_future: "challengeFutureDate"}
proofs = pytest.mark.parametrize(("make", "function"), PROOFS.items())


# -- wiring -------------------------------------------------------------------------------------------------


def deploy_set(evm: Evm, changes: dict[tuple[str, str], Any], token: Contract | None = None) -> None:
    """Deploy the set up to UsageChallenges, with some constructor arguments changed."""
    admin, signers = account("another admin"), [account(f"signer {number}") for number in range(4)]
    token = token or evm.deploy("TestUSDC", sender=admin)
    config = system_config(token.address, signers, evm.timestamp).checked(admin.address)
    at = contract_set.predicted(config, lambda ahead: evm.next_address(admin, ahead))
    for name in CONTRACTS:
        arguments = contract_set.constructor_arguments(name, config, at, admin.address)
        for (contract, parameter), value in changes.items():
            if contract == name:
                assert parameter in arguments
                arguments[parameter] = value
        evm.deploy(name, *arguments.values(), sender=admin)
        if name == "UsageChallenges":
            break


def test_it_knows_its_neighbors_and_settings(world: World) -> None:
    challenges = world.challenges
    for place in ("token", "settlement", "registry", "anchors", "license_bonds", "operator_bonds"):
        head, *tail = place.split("_")
        name = head + "".join(part.title() for part in tail)
        assert getattr(challenges, name)() == getattr(world, place).address
    settings = world.config.challenges_settings
    assert challenges.laneSlashBps() == settings.lane_slash_bps
    assert challenges.answerSeconds() == settings.answer_seconds >= 7 * DAY
    assert challenges.challengeBond() == settings.challenge_bond
    assert challenges.maxMergeDelaySeconds() == world.escrow.maxMergeDelaySeconds()
    assert challenges.evidenceHorizonSeconds() == HORIZON


@pytest.mark.parametrize("name", ["settlement", "registry", "anchors", "licenseBonds", "operatorBonds"])
def test_constructor_refuses_zero_addresses(evm: Evm, name: str) -> None:
    evm.know("UsageChallenges")
    with pytest.raises(Reverted) as refused:
        deploy_set(evm, {("UsageChallenges", name): ZERO_ADDRESS})
    assert (refused.value.name, refused.value.arguments) == ("UsageChallenges_ZeroAddress", (name,))


@pytest.mark.parametrize(
    "settings", [(0, 7 * DAY, 1), (10_001, 7 * DAY, 1), (1, 7 * DAY - 1, 1), (1, 7 * DAY, 0)]
)
def test_constructor_refuses_bad_settings(evm: Evm, settings: tuple[int, int, int]) -> None:
    with pytest.raises(Reverted, match="UsageChallenges_BadSettings"):
        deploy_set(evm, {("UsageChallenges", "settings"): settings})


def test_constructor_takes_settings_at_their_limits(evm: Evm) -> None:
    deploy_set(evm, {("UsageChallenges", "settings"): (10_000, 7 * DAY, 1)})


@pytest.mark.parametrize(
    "what",
    [
        "registry.challenges",
        "registry.bonds",
        "anchors.settlement",
        "anchors.registry",
        "licenseBonds.challenges",
        "licenseBonds.settlement",
        "escrow.registry",
        "escrow.challenges",
        "operatorBonds.challenges",
    ],
)
def test_constructor_refuses_neighbors_that_were_built_for_another(evm: Evm, what: str) -> None:
    other = account("another contract").address
    place, name = what.split(".")
    contract = {
        "registry": "LicenseRegistry",
        "anchors": "CheckpointAnchors",
        "licenseBonds": "LicenseBonds",
        "escrow": "RoyaltyEscrow",
        "operatorBonds": "OperatorBonds",
    }[place]
    changes: dict[tuple[str, str], Any] = {(contract, name): other}
    somebody = account("somebody else")
    token = evm.deploy("TestUSDC", sender=somebody)
    if what == "escrow.registry":  # with a splitter to match, or the settlement refuses them already
        registry = evm.deploy("LicenseRegistry", other, token, other, other, other, other, sender=somebody)
        changes = {("RoyaltyEscrow", "registry"): registry, ("RoyaltySplitter", "registry"): registry}
    with pytest.raises(Reverted) as refused:
        deploy_set(evm, changes, token)
    assert (refused.value.name, refused.value.arguments[0]) == ("UsageChallenges_Miswired", what)


def test_constructor_refuses_another_token_and_another_merge_delay(evm: Evm) -> None:
    token = evm.deploy("TestUSDC", sender=account("somebody else"))
    with pytest.raises(Reverted, match="UsageChallenges_WrongToken"):
        deploy_set(evm, {("UsageChallenges", "token"): token})
    with pytest.raises(Reverted, match="UsageChallenges_WrongMergeDelay"):
        deploy_set(Evm(), {("UsageChallenges", "maxMergeDelaySeconds"): 7_201})


# -- commit and reveal --------------------------------------------------------------------------------------


def test_evidence_is_promised_a_minute_to_a_day_before(world: World, gateway: Gateway) -> None:
    evidence = (two_receipts(gateway),)
    show = lambda: world.challenges.challengeContradiction(*evidence, SALT, sender=FINDER)  # noqa: E731
    with pytest.raises(Reverted, match="CommitReveal_NotCommitted"):
        show()
    promised = commitment(FINDER, world.challenges.calldata(SHOW, *evidence, SALT))
    receipt = world.challenges.commit(promised, sender=FINDER)
    made_at = world.evm.timestamp
    assert receipt.named("Committed")[0].commitment == promised
    assert world.challenges.committedAt(FINDER, promised) == made_at
    for wait, error in ((59, "CommitReveal_TooEarly"), (DAY + 1, "CommitReveal_TooLate")):
        with world.evm.undone():
            world.evm.at(made_at + wait)
            with pytest.raises(Reverted, match=error):
                show()
    for wait in (60, DAY):
        with world.evm.undone():
            world.evm.at(made_at + wait)
            show()
            assert world.challenges.committedAt(FINDER, promised) == 0
            with pytest.raises(Reverted, match="CommitReveal_NotCommitted"):
                show()


def test_committing_again_starts_the_time_anew(world: World, gateway: Gateway) -> None:
    evidence = (two_receipts(gateway),)
    promise(world, FINDER, SHOW, *evidence)
    promised = commitment(FINDER, world.challenges.calldata(SHOW, *evidence, SALT))
    world.challenges.commit(promised, sender=FINDER)
    with pytest.raises(Reverted, match="CommitReveal_TooEarly"):
        world.challenges.challengeContradiction(*evidence, SALT, sender=FINDER)


def test_whoever_copies_a_reveal_comes_too_late(world: World, gateway: Gateway) -> None:
    """Neither the call, nor the commitment, nor a commitment of one's own made now, is of use to a thief."""
    evidence = (two_receipts(gateway),)
    calldata = world.challenges.calldata(SHOW, *evidence, SALT)
    world.challenges.commit(commitment(FINDER, calldata), sender=FINDER)
    world.challenges.commit(commitment(FINDER, calldata), sender=THIEF)
    world.evm.warp(60)
    world.challenges.commit(commitment(THIEF, calldata), sender=THIEF)
    with pytest.raises(Reverted, match="CommitReveal_TooEarly"):
        world.challenges.challengeContradiction(*evidence, SALT, sender=THIEF)
    world.challenges.challengeContradiction(*evidence, SALT, sender=FINDER)
    assert world.license_bonds.credit(FINDER) > 0 == world.license_bonds.credit(THIEF)


def test_a_commitment_binds_every_byte_of_the_call(world: World, gateway: Gateway) -> None:
    promise(world, FINDER, SHOW, two_receipts(gateway))
    with pytest.raises(Reverted, match="CommitReveal_NotCommitted"):
        world.challenges.challengeContradiction(two_receipts(gateway), b"\1" * 32, sender=FINDER)
    with pytest.raises(Reverted, match="CommitReveal_NotCommitted"):
        world.challenges.challengeContradiction(two_receipts(gateway, 2), SALT, sender=FINDER)
    calldata = world.challenges.calldata(SHOW, two_receipts(gateway), SALT)
    with pytest.raises(Reverted, match="CommitReveal_NotCommitted"):
        world.evm.raw_call(FINDER, world.challenges.address, calldata + b"\0")
    world.evm.raw_call(FINDER, world.challenges.address, calldata)


@pytest.mark.parametrize("function", [SHOW, "challengeFutureDate", "openBeyondCount", "openSwapped"])
def test_every_rewarded_proof_must_be_promised(world: World, gateway: Gateway, function: str) -> None:
    receipt = gateway.signed(gateway.receipts[0])
    evidence: dict[str, tuple[Any, ...]] = {
        SHOW: (two_receipts(gateway),),
        "challengeFutureDate": (far_future(gateway),),
        "openBeyondCount": (receipt, world.report(), LaneVector([]).head(0)),
        "openSwapped": (receipt, gateway.signed(gateway.checkpoint())),
    }
    with pytest.raises(Reverted, match="CommitReveal_NotCommitted"):
        getattr(world.challenges, function)(*evidence[function], SALT, sender=FINDER)


# -- proofs that need no answer -----------------------------------------------------------------------------


@proofs
def test_a_proof_slashes_and_revokes_its_lane(
    world: World, gateway: Gateway, make: Any, function: str
) -> None:
    receipt = reveal(world, FINDER, function, make(gateway))
    expected = lane_slash(BOND, BOND, world.challenges.laneSlashBps())
    assert receipt.value == expected.slashed
    (event,) = receipt.named("LaneSlashed")
    assert (event.licenseId, event.laneNumber) == (gateway.license_id, gateway.number)
    assert (event.challenger, event.slashed) == (FINDER.address, expected.slashed)
    assert world.license_bonds.bond(gateway.license_id) == BOND - expected.slashed
    assert world.license_bonds.credit(FINDER) == expected.reward
    assert world.license_bonds.credit(world.people.remediation_fund) == expected.fund
    assert world.registry.laneRevokedAt(gateway.number) == world.evm.timestamp
    assert world.challenges.laneSlashed(gateway.number)
    assert world.challenges.openAgainst(gateway.license_id) == 0


@proofs
def test_a_lane_is_slashed_once(world: World, gateway: Gateway, make: Any, function: str) -> None:
    reveal(world, FINDER, SHOW, two_receipts(gateway))
    evidence = make(gateway)
    with pytest.raises(Reverted) as refused:
        reveal(world, FINDER, function, evidence)
    assert refused.value.name == "UsageChallenges_AlreadySlashed"
    assert refused.value.arguments == (gateway.number,)


@proofs
def test_what_a_key_that_is_no_lane_signed_is_refused(
    world: World, gateway: Gateway, make: Any, function: str
) -> None:
    stranger = account("no lane")
    gateway.key, gateway.address = stranger, bytes.fromhex(stranger.address[2:])
    gateway.receipts = [replace(receipt, lane=gateway.address) for receipt in gateway.receipts]
    with pytest.raises(Reverted) as refused:
        reveal(world, FINDER, function, make(gateway))
    assert refused.value.name == "UsageChallenges_UnknownLane"
    assert refused.value.arguments == (stranger.address,)


@proofs
def test_evidence_is_heard_until_the_horizon(
    world: World, gateway: Gateway, make: Any, function: str
) -> None:
    world.registry.giveNotice(gateway.license_id, sender=world.people.buyer)
    until = world.registry.license(gateway.license_id).endsAt + HORIZON
    world.evm.at(until - 61)
    evidence = make(gateway)
    promise(world, FINDER, function, evidence)
    show = getattr(world.challenges, function)
    with world.evm.undone():
        world.evm.at(until)
        show(evidence, SALT, sender=FINDER)
    world.evm.at(until + 1)
    with pytest.raises(Reverted) as refused:
        show(evidence, SALT, sender=FINDER)
    assert refused.value.name == "UsageChallenges_PastHorizon"
    assert refused.value.arguments == (gateway.license_id, until, until + 1)


def test_what_is_no_contradiction_slashes_nobody(world: World, gateway: Gateway) -> None:
    """Neither true things of one lane, nor fewer or more things than a contradiction has."""
    receipts = [gateway.signed(receipt) for receipt in gateway.receipts]
    points = [gateway.signed(gateway.checkpoint(count)) for count in range(6)]
    true_fork, false_fork = gateway.fork(1, gateway, (3, 5)), gateway.fork(1, gateway.rewritten(1))
    shapes = [contradiction(one, other) for one in receipts[:3] for other in receipts[:3]]
    shapes += [contradiction(one, other) for one in points for other in points]
    shapes += [contradiction(receipt, point) for receipt in receipts for point in points]
    shapes += [
        contradiction(fork=true_fork),
        contradiction(),
        contradiction(receipts[0]),
        contradiction(points[0]),
    ]
    pair = receipts[1], gateway.signed(gateway.forged(1))
    shapes += [contradiction(*pair, receipts[2]), contradiction(*pair, fork=false_fork)]
    shapes += [contradiction(*pair, points[0]), ([], [], [false_fork, false_fork])]
    for evidence in shapes:
        with pytest.raises(Reverted, match="LaneEvidence_NoConflict"):
            world.challenges.revokeByContradiction(evidence, sender=FINDER)
    for evidence in shapes[:3]:
        with pytest.raises(Reverted, match="LaneEvidence_NoConflict"):
            reveal(world, FINDER, SHOW, evidence)


def test_two_signatures_of_one_receipt_slash_nobody(world: World, gateway: Gateway) -> None:
    receipt, good = gateway.signed(gateway.receipts[1])
    high = (CURVE_ORDER - int.from_bytes(good[32:64], "big")).to_bytes(32, "big")
    twin = good[:32] + high + bytes((55 - good[64],))
    with pytest.raises(Reverted, match="LaneEvidence_BadSignature"):
        reveal(world, FINDER, SHOW, contradiction((receipt, good), (receipt, twin)))


@pytest.mark.parametrize("elsewhere_", ["chain", "contract"])
def test_inv_33_what_was_signed_for_elsewhere_slashes_nobody(
    world: World, gateway: Gateway, elsewhere_: str
) -> None:
    """One key may serve several deployments; it gives seq 1 in each of them."""
    is_chain = elsewhere_ == "chain"
    contract = world.settlement if is_chain else world.registry
    domain = settlement_domain(1 if is_chain else world.evm.chain_id, bytes.fromhex(contract.address[2:]))
    forged = gateway.forged(1)
    there = forged, sign(gateway.key.key, typed_digest(domain, forged.struct_hash())).full
    with pytest.raises(Reverted, match="LaneEvidence_WrongSigner"):
        reveal(world, FINDER, SHOW, contradiction(gateway.signed(gateway.receipts[1]), there))


def test_receipts_of_two_lanes_slash_neither(world: World, gateway: Gateway) -> None:
    other = Gateway(world, bonded_license(world, BOND), "other gateway")
    for _ in range(2):
        other.serve()
    pair = gateway.signed(gateway.receipts[1]), other.signed(other.receipts[1])
    with pytest.raises(Reverted, match="LaneEvidence_WrongLane"):
        reveal(world, FINDER, SHOW, contradiction(*pair))


def test_only_the_lanes_own_license_pays(world: World, gateway: Gateway) -> None:
    neighbor = bonded_license(world, BOND)
    reveal(world, FINDER, SHOW, two_receipts(gateway))
    assert world.license_bonds.bond(neighbor) == BOND > world.license_bonds.bond(gateway.license_id)


def test_a_receipt_counts_outside_of_its_lanes_validity_too(world: World, gateway: Gateway) -> None:
    now_ms = world.evm.timestamp * 1_000
    brief = Gateway(world, gateway.license_id, "brief gateway", valid_from=now_ms, valid_to=now_ms + 1)
    brief.serve(issued_at_ms=now_ms + 5_000)
    reveal(world, FINDER, SHOW, two_receipts(brief, 0))
    assert world.challenges.laneSlashed(brief.number)


def test_lanes_together_take_no_more_than_there_is(world: World, gateway: Gateway) -> None:
    held, bps = BOND, world.challenges.laneSlashBps()
    for number in range(4):
        lane = Gateway(world, gateway.license_id, f"gateway {number}")
        lane.serve()
        expected = lane_slash(held, BOND, bps)
        assert reveal(world, FINDER, SHOW, two_receipts(lane, 0)).value == expected.slashed
        held -= expected.slashed
        assert world.registry.laneRevokedAt(lane.number) != 0
    assert held == world.license_bonds.bond(gateway.license_id) == 0


def test_a_license_without_a_bond_loses_the_lane_alone(world: World) -> None:
    lane = Gateway(world, world.accept(), "gateway")
    lane.serve()
    assert reveal(world, FINDER, SHOW, two_receipts(lane, 0)).value == 0
    assert world.registry.laneRevokedAt(lane.number) == world.evm.timestamp


def test_a_stolen_key_costs_one_lanes_slash(world: World, gateway: Gateway) -> None:
    """The thief signs what it likes and takes the reward; the rest of the bond and other lanes are safe."""
    second = Gateway(world, gateway.license_id, "second gateway")
    second.serve()
    reveal(world, THIEF, SHOW, two_receipts(gateway))
    lost = lane_slash(BOND, BOND, world.challenges.laneSlashBps()).slashed
    for make, function in PROOFS.items():
        evidence = make(gateway)
        with pytest.raises(Reverted, match="UsageChallenges_AlreadySlashed"):
            reveal(world, THIEF, function, evidence)
    with pytest.raises(Reverted, match="CheckpointAnchors_LaneRevoked"):
        gateway.anchor()
    assert world.license_bonds.bond(gateway.license_id) == BOND - lost
    second.anchor()


# -- revoking without reward --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", CONTRADICTIONS)
def test_anyone_revokes_a_lane_that_contradicts_itself(world: World, gateway: Gateway, make: Any) -> None:
    challenges, anyone = world.challenges, world.people.stranger
    challenges.revokeByContradiction(make(gateway), sender=anyone)
    first = world.evm.timestamp
    assert world.registry.laneRevokedAt(gateway.number) == first
    assert world.license_bonds.bond(gateway.license_id) == BOND
    assert not challenges.laneSlashed(gateway.number)
    world.evm.warp(1)
    challenges.revokeByContradiction(make(gateway), sender=anyone)
    assert world.registry.laneRevokedAt(gateway.number) == first
    assert reveal(world, FINDER, SHOW, make(gateway)).value > 0


def test_revoking_needs_a_lane(world: World, gateway: Gateway) -> None:
    stranger = account("no lane")
    lane = bytes.fromhex(stranger.address[2:])
    plain = UsageReceipt(lane, 0, 1, 1, ZERO_HASH, ZERO_HASH, 1)
    pair = [signed(world, struct, stranger) for struct in (plain, replace(plain, units=2))]
    points = [signed(world, Checkpoint(lane, 1, units, ZERO_HASH), stranger) for units in (1, 2)]
    for evidence in (contradiction(*pair), contradiction(*points)):
        with pytest.raises(Reverted, match="UsageChallenges_UnknownLane"):
            world.challenges.revokeByContradiction(evidence, sender=world.people.stranger)


# -- what it costs ------------------------------------------------------------------------------------------


@proofs
@pytest.mark.parametrize("bond", [1, 9, 10, 11, BOND])
def test_inv_26_a_challenge_against_oneself_nets_a_loss(
    world: World, bond: int, make: Any, function: str
) -> None:
    """Buyer and challenger in one pocket, and whoever else may take their credits."""
    sybil = account("the buyer's other name")
    lane = Gateway(world, bonded_license(world, bond), "gateway")
    for _ in range(5):
        lane.serve(10)
    reveal(world, sybil, function, make(lane))
    back = world.license_bonds.credit(sybil) + world.license_bonds.bond(lane.license_id)
    assert back < bond
    lost = bond - world.license_bonds.bond(lane.license_id)
    assert world.license_bonds.credit(sybil) * 10 <= lost


def test_ether_is_refused(world: World, gateway: Gateway) -> None:
    world.evm.fund_ether(FINDER.address, 10)
    for function in world.challenges.functions.values():
        if not function.is_view:
            with pytest.raises(Reverted):
                world.evm.raw_call(FINDER, world.challenges.address, function.selector + bytes(512), value=1)
    with pytest.raises(Reverted):
        world.evm.raw_call(FINDER, world.challenges.address, b"", value=1)
    assert world.evm.ether(world.challenges.address) == 0
