"""UsageChallenges: what can be answered, its answers, and signers who acknowledged and then left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.receipts import UsageReceipt
from usufruct_protocol.report_types import EpochReport

from tests.contracts.evm.chain import Evm, Receipt, Reverted
from tests.contracts.evm.gateway import (
    NO_CHECKPOINT,
    SALT,
    Gateway,
    LaneVector,
    acks,
    bonded_license,
    contradiction,
    fund_challenger,
    promise,
    reveal,
)
from tests.contracts.evm.honest_buyer import BEYOND_COUNT, SWAPPED
from tests.contracts.evm.world import EPOCH_SECONDS, MERGE_DELAY_SECONDS, World, committee_of
from tests.contracts.wire import ZERO_HASH, account
from tests.reference.bonds import lane_slash

BOND = 1_000_000_003
OPERATOR_BOND = 500_000_007
DAY = 86_400
FINDER = account("finder")
ANSWERER = account("answerer")
EMPTY = LaneVector([])
RE_ENTERED = keccak256(b"ReentrancyGuardReentrantCall()")[:4]


@pytest.fixture
def gateway(world: World) -> Gateway:
    """A lane with five receipts of ten units, and a bond behind it."""
    made = Gateway(world, bonded_license(world, BOND), "gateway")
    for _ in range(5):
        made.serve(10)
    fund_challenger(world, FINDER, bonds=9)
    return made


@pytest.fixture
def left_out(world: World, gateway: Gateway) -> EpochReport:
    """A finalized report that counts nothing of the lane, whose receipts are older than the merge delay."""
    return world.settle(**EMPTY.in_report)


def open_beyond(world: World, gateway: Gateway, report: EpochReport, seq: int = 2) -> int:
    """Challenge a receipt that a report without lanes does not count."""
    evidence = gateway.signed(gateway.receipts[seq]), report, EMPTY.head(gateway.number)
    return int(reveal(world, FINDER, "openBeyondCount", *evidence).value)


def open_swapped(world: World, gateway: Gateway, seq: int = 2, count: int = 5) -> int:
    """Challenge a receipt under a checkpoint."""
    evidence = gateway.signed(gateway.receipts[seq]), gateway.signed(gateway.checkpoint(count))
    return int(reveal(world, FINDER, "openSwapped", *evidence).value)


# -- opening ------------------------------------------------------------------------------------------------


def test_beyond_count_is_recorded_and_costs_a_bond(
    world: World, gateway: Gateway, left_out: EpochReport
) -> None:
    before = world.token.balanceOf(FINDER)
    evidence = gateway.signed(gateway.receipts[2]), left_out, EMPTY.head(gateway.number)
    receipt = reveal(world, FINDER, "openBeyondCount", *evidence)
    until = world.evm.timestamp + world.challenges.answerSeconds()
    found = world.challenges.challenge(receipt.value)
    assert receipt.value == world.challenges.challengeCount() == 1
    assert (found.challenger, found.answerableUntil, found.laneNumber) == (
        FINDER.address,
        until,
        gateway.number,
    )
    assert (found.kind, found.seq, found.epoch) == (BEYOND_COUNT, 2, left_out.epoch)
    assert (found.periodEnd, found.signerSetVersion) == (left_out.period_end, left_out.signer_set_version)
    (event,) = receipt.named("ChallengeOpened")
    assert (event.challengeId, event.licenseId, event.laneNumber) == (1, gateway.license_id, gateway.number)
    assert (event.kind, event.seq, event.epoch) == (BEYOND_COUNT, 2, left_out.epoch)
    assert (event.challenger, event.answerableUntil) == (FINDER.address, until)
    bond = world.challenges.challengeBond()
    assert world.token.balanceOf(FINDER) == before - bond
    assert world.token.balanceOf(world.challenges) == bond
    assert world.challenges.openAgainst(gateway.license_id) == 1


def test_swapped_is_recorded_and_costs_a_bond(world: World, gateway: Gateway) -> None:
    number = open_swapped(world, gateway, 2, 4)
    found = world.challenges.challenge(number)
    assert (found.kind, found.seq, found.count) == (SWAPPED, 2, 4)
    assert found.receiptHash == gateway.receipts[2].struct_hash()
    assert found.receiptsRoot == gateway.checkpoint(4).receipts_root
    assert world.token.balanceOf(world.challenges) == world.challenges.challengeBond()
    assert world.challenges.openAgainst(gateway.license_id) == 1


def refused_beyond(world: World, *evidence: Any) -> Reverted:
    with pytest.raises(Reverted) as refused:
        reveal(world, FINDER, "openBeyondCount", *evidence)
    return refused.value


def test_beyond_count_needs_a_finalized_report(world: World, gateway: Gateway, left_out: EpochReport) -> None:
    receipt, head = gateway.signed(gateway.receipts[0]), EMPTY.head(0)
    changed = replace(left_out, lanes_root=b"\1" * 32)
    assert refused_beyond(world, receipt, changed, head).name == "UsageSettlement_WrongReport"
    pending = world.post(**EMPTY.in_report)
    assert refused_beyond(world, receipt, pending, head).name == "UsageSettlement_NotFinalized"
    never = replace(left_out, epoch=9)
    assert refused_beyond(world, receipt, never, head).name == "UsageSettlement_NotFinalized"
    zero = replace(left_out, epoch=0)
    assert refused_beyond(world, receipt, zero, head).name.startswith("UsageSettlement_")


def test_beyond_count_needs_the_lanes_signature(
    world: World, gateway: Gateway, left_out: EpochReport
) -> None:
    other = Gateway(world, gateway.license_id, "other gateway")
    forged = gateway.receipts[0], other.signed(gateway.receipts[0])[1]
    assert refused_beyond(world, forged, left_out, EMPTY.head(0)).name == "LaneEvidence_WrongSigner"


def test_beyond_count_needs_the_merge_delay_to_have_passed(world: World, gateway: Gateway) -> None:
    """To the millisecond: merged by the period's end or after it."""
    period_end = world.settlement.state().lastPeriodEnd + EPOCH_SECONDS
    limit_ms = (period_end - MERGE_DELAY_SECONDS) * 1_000
    just, late = gateway.serve(issued_at_ms=limit_ms), gateway.serve(issued_at_ms=limit_ms + 1)
    report = world.settle(**EMPTY.in_report)
    refused = refused_beyond(world, gateway.signed(late), report, EMPTY.head(0))
    assert refused.name == "UsageChallenges_NotMergeable"
    assert refused.arguments == (period_end * 1_000 + 1, period_end * 1_000)
    reveal(world, FINDER, "openBeyondCount", gateway.signed(just), report, EMPTY.head(0))


def test_a_time_that_overflows_no_counter_is_refused(
    world: World, gateway: Gateway, left_out: EpochReport
) -> None:
    never = gateway.serve(issued_at_ms=2**64 - 1)
    refused = refused_beyond(world, gateway.signed(never), left_out, EMPTY.head(0))
    assert refused.name == "UsageChallenges_NotMergeable"


def test_what_a_report_counts_is_not_beyond_it(world: World, gateway: Gateway) -> None:
    """Wherever the lane stands, and however many lanes there are."""
    others = [Gateway(world, gateway.license_id, f"gateway {number}") for number in range(4)]
    for other in others:
        for _ in range(3):
            other.serve()
    vector = LaneVector([gateway.checkpoint(3), None, *(other.checkpoint() for other in others[1:3])])
    report = world.settle(**vector.in_report)
    for lane, counted in ((gateway, 3), (others[0], 0), (others[1], 3), (others[3], 0)):
        head = vector.head(lane.number)
        for seq in range(3):
            evidence = lane.signed(lane.receipts[seq]), report, head
            if seq < counted:
                refused = refused_beyond(world, *evidence)
                assert (refused.name, refused.arguments) == ("UsageChallenges_Counted", (seq, counted))
            else:
                with world.evm.undone():
                    reveal(world, FINDER, "openBeyondCount", *evidence)
    reveal(world, FINDER, "openBeyondCount", gateway.signed(gateway.receipts[3]), report, vector.head(0))


def test_a_lanes_head_is_opened_at_its_own_number(world: World, gateway: Gateway) -> None:
    """Neither another lane's head nor an empty leaf nor padding stands for one's own."""
    other = Gateway(world, gateway.license_id, "other gateway")
    other.serve()
    vector = LaneVector([gateway.checkpoint(), other.checkpoint(), None])
    report, receipt = world.settle(**vector.in_report), gateway.signed(gateway.receipts[4])
    assert refused_beyond(world, receipt, report, vector.head(1)).name == "LaneEvidence_WrongLane"
    assert refused_beyond(world, receipt, report, vector.head(2)).name == "LaneTree_WrongProof"
    older = gateway.checkpoint(4), vector.head(0)[1]
    assert refused_beyond(world, receipt, report, older).name == "LaneTree_WrongProof"
    bare = NO_CHECKPOINT, ()
    assert refused_beyond(world, receipt, report, bare).name == "LaneTree_WrongProofLength"
    padding = NO_CHECKPOINT, LaneVector([*vector.heads, None]).head(3)[1]
    assert refused_beyond(world, receipt, report, padding).name == "LaneTree_WrongProof"


def test_an_anchor_settles_it_before_it_is_opened(world: World, gateway: Gateway) -> None:
    """In the last second of the period; a receipt that it does not cover is another matter."""
    period_end = world.settlement.state().lastPeriodEnd + EPOCH_SECONDS
    world.evm.at(period_end)
    gateway.anchor(3)
    world.evm.warp(1)
    gateway.anchor(4)
    report = world.settle(**EMPTY.in_report)
    for seq in range(3):
        refused = refused_beyond(world, gateway.signed(gateway.receipts[seq]), report, EMPTY.head(0))
        assert (refused.name, refused.arguments) == ("UsageChallenges_Anchored", (seq, 3))
    open_beyond(world, gateway, report, seq=3)


def test_swapped_needs_a_checkpoint_of_the_lane_that_covers_it(world: World, gateway: Gateway) -> None:
    other = Gateway(world, gateway.license_id, "other gateway")
    for _ in range(5):
        other.serve()
    receipt = gateway.signed(gateway.receipts[3])

    def refused(covering: Any, signed: Any = receipt) -> Reverted:
        with pytest.raises(Reverted) as caught:
            reveal(world, FINDER, "openSwapped", signed, covering)
        return caught.value

    short = refused(gateway.signed(gateway.checkpoint(3)))
    assert (short.name, short.arguments) == ("UsageChallenges_NotCovered", (3, 3))
    assert refused(other.signed(other.checkpoint())).name == "UsageChallenges_WrongLane"
    invented = replace(gateway.checkpoint(), receipts_root=b"\1" * 32)
    assert refused((invented, gateway.signed(gateway.checkpoint())[1])).name == "LaneEvidence_WrongSigner"
    forged = gateway.forged(3), receipt[1]
    assert refused(gateway.signed(gateway.checkpoint()), forged).name == "LaneEvidence_WrongSigner"
    reveal(world, FINDER, "openSwapped", receipt, gateway.signed(gateway.checkpoint(4)))


@pytest.mark.parametrize("function", ["openBeyondCount", "openSwapped"])
def test_opening_asks_the_same_of_every_lane(
    world: World, gateway: Gateway, left_out: EpochReport, function: str
) -> None:
    """A lane that exists, was not slashed, and whose evidence horizon is not over."""

    def evidence(of: Gateway) -> tuple[Any, ...]:
        signed = of.signed(of.receipts[0])
        if function == "openSwapped":
            return signed, of.signed(of.checkpoint())
        return signed, left_out, EMPTY.head(0)

    world.registry.giveNotice(gateway.license_id, sender=world.people.buyer)
    until = world.registry.license(gateway.license_id).endsAt + 90 * DAY
    with world.evm.undone():
        pair = gateway.signed(gateway.receipts[0]), gateway.signed(gateway.forged(0))
        reveal(world, FINDER, "challengeContradiction", contradiction(*pair))
        with pytest.raises(Reverted, match="UsageChallenges_AlreadySlashed"):
            reveal(world, FINDER, function, *evidence(gateway))
    with world.evm.undone():
        world.evm.at(until - 60)
        reveal(world, FINDER, function, *evidence(gateway))
    with world.evm.undone():
        world.evm.at(until - 59)
        with pytest.raises(Reverted, match="UsageChallenges_PastHorizon"):
            reveal(world, FINDER, function, *evidence(gateway))
    with world.evm.undone():
        world.token.approve(world.challenges, world.challenges.challengeBond() - 1, sender=FINDER)
        with pytest.raises(Reverted):
            reveal(world, FINDER, function, *evidence(gateway))
        assert world.challenges.challengeCount() == 0
    stranger = account("no lane")
    gateway.key, gateway.address = stranger, bytes.fromhex(stranger.address[2:])
    gateway.receipts = [UsageReceipt(gateway.address, 0, 1, 1, ZERO_HASH, ZERO_HASH, 1)]
    with pytest.raises(Reverted, match="UsageChallenges_UnknownLane"):
        reveal(world, FINDER, function, *evidence(gateway))


def test_a_token_that_keeps_a_fee_opens_nothing(evm: Any) -> None:
    world = World(evm, "FeeToken", (100,))
    lane = Gateway(world, world.accept(), "gateway")
    lane.serve()
    fund_challenger(world, FINDER, bonds=2)
    with pytest.raises(Reverted, match="UsageChallenges_WrongDelta"):
        open_swapped(world, lane, 0, 1)


# -- answers ------------------------------------------------------------------------------------------------


def answered(world: World, number: int, receipt: Receipt) -> None:
    """The bond is the answerer's, nothing is open, nobody was slashed."""
    (event,) = receipt.named("ChallengeAnswered")
    assert (event.challengeId, event.answerer) == (number, ANSWERER.address)
    assert world.challenges.credit(ANSWERER) == world.challenges.challengeBond()
    assert world.challenges.credit(FINDER) == 0
    assert world.challenges.challenge(number).kind == 0
    assert world.challenges.openAgainst(1) == 0
    assert world.license_bonds.bond(1) == BOND


@pytest.mark.parametrize(("seq", "count"), [(0, 1), (0, 5), (2, 3), (4, 5), (3, 4), (2, 5)])
def test_inclusion_answers_swapped(world: World, gateway: Gateway, seq: int, count: int) -> None:
    number = open_swapped(world, gateway, seq, count)
    proof = gateway.proof(seq, count)
    answered(world, number, world.challenges.answerByInclusion(number, proof, sender=ANSWERER))


def test_only_the_receipts_own_path_answers_swapped(world: World, gateway: Gateway) -> None:
    given_away = gateway.signed(gateway.receipts[2])
    gateway.receipts[2] = gateway.forged(2)
    covering = gateway.signed(gateway.checkpoint())
    number = reveal(world, FINDER, "openSwapped", given_away, covering).value
    for seq in range(5):
        with pytest.raises(Reverted, match="LaneTree_WrongProof"):
            world.challenges.answerByInclusion(number, gateway.proof(seq), sender=ANSWERER)
    for proof in ((), gateway.proof(2)[1:], (*gateway.proof(2), ZERO_HASH)):
        with pytest.raises(Reverted, match="LaneTree_WrongProofLength"):
            world.challenges.answerByInclusion(number, proof, sender=ANSWERER)


def test_acknowledgements_of_f_plus_one_answer_beyond_count(
    world: World, gateway: Gateway, left_out: EpochReport
) -> None:
    """In the last second of the period, and for an older report too."""
    world.settle(**EMPTY.in_report)
    number = open_beyond(world, gateway, left_out)
    ackers = world.signers[1][1:3]
    shown = acks(world, gateway.checkpoint(3), ackers, left_out.period_end)
    receipt = world.challenges.answerByAcks(
        number, gateway.signed(gateway.checkpoint(3)), shown, sender=ANSWERER
    )
    answered(world, number, receipt)
    (event,) = receipt.named("SignersAccused")
    addresses = tuple(acker.address for acker in ackers)
    from_ = world.evm.timestamp + world.challenges.answerSeconds()
    assert (event.challengeId, event.epoch, event.ackers) == (number, left_out.epoch, addresses)
    assert event.slashableFrom == from_
    found = world.challenges.accusation(number)
    assert (found.challenger, found.slashableFrom, found.epoch) == (FINDER.address, from_, left_out.epoch)


def test_acknowledgements_are_counted_once_and_from_signers_alone(
    world: World, gateway: Gateway, left_out: EpochReport
) -> None:
    number, signers = open_beyond(world, gateway, left_out), world.signers[1]
    point, period_end = gateway.checkpoint(), left_out.period_end

    def refused(shown: Any) -> Reverted:
        with pytest.raises(Reverted) as caught:
            world.challenges.answerByAcks(number, gateway.signed(point), shown, sender=ANSWERER)
        return caught.value

    good = acks(world, point, signers, period_end)
    few = refused(good[:1])
    assert (few.name, few.arguments) == ("CheckpointAcks_TooFew", (1, 2))
    assert refused([]).name == "CheckpointAcks_TooFew"
    assert refused([good[0], good[0]]).name == "CheckpointAcks_NotAscending"
    assert refused([good[1], good[0]]).name == "CheckpointAcks_NotAscending"
    again = acks(world, point, signers[:1], period_end - 1)
    assert refused([good[0], *again]).name == "CheckpointAcks_NotAscending"
    late = refused([good[0], *acks(world, point, signers[1:2], period_end + 1)])
    assert (late.name, late.arguments) == ("CheckpointAcks_TooLate", (period_end + 1, period_end))
    strangers = committee_of(2, "stranger")
    assert refused(acks(world, point, strangers, period_end)).name == "CheckpointAcks_NotSigner"
    mixed = sorted([signers[0], strangers[0]], key=lambda one: one.address.lower())
    outsider = refused(acks(world, point, mixed, period_end))
    assert (outsider.name, outsider.arguments) == ("CheckpointAcks_NotSigner", (strangers[0].address,))
    for broken in (b"", good[0][1][:64], good[0][1][:64] + b"\x1d"):
        assert refused([(period_end, broken), good[1]]).name == "LaneEvidence_BadSignature"


def test_acknowledgements_of_something_else_answer_nothing(
    world: World, gateway: Gateway, left_out: EpochReport
) -> None:
    number, signers = open_beyond(world, gateway, left_out), world.signers[1]
    other = Gateway(world, gateway.license_id, "other gateway")
    for _ in range(5):
        other.serve()
    period_end = left_out.period_end

    def refused(covering: Any, shown: Any) -> Reverted:
        with pytest.raises(Reverted) as caught:
            world.challenges.answerByAcks(number, covering, shown, sender=ANSWERER)
        return caught.value

    short = gateway.checkpoint(2)
    assert refused(gateway.signed(short), acks(world, short, signers, period_end)).arguments == (2, 2)
    foreign = other.checkpoint()
    wrong = refused(other.signed(foreign), acks(world, foreign, signers, period_end))
    assert wrong.name == "UsageChallenges_WrongLane"
    assert wrong.arguments == (gateway.key.address, other.key.address)
    mine = gateway.checkpoint()
    unsigned = mine, other.signed(mine)[1]
    assert refused(unsigned, acks(world, mine, signers, period_end)).name == "LaneEvidence_WrongSigner"
    # Acknowledged was an older checkpoint: these signatures recover to nobody.
    stale = acks(world, short, signers, period_end)[:2]
    assert refused(gateway.signed(mine), stale).name.startswith("CheckpointAcks_Not")


def test_acknowledgements_of_another_committee_answer_nothing(world: World, gateway: Gateway) -> None:
    first = world.settle(**EMPTY.in_report)
    later = committee_of(4, "later signer")
    world.signers[2] = later
    world.committee.rotate(later, first.epoch + 2, sender=world.people.council)
    second = world.settle(**EMPTY.in_report)
    world.settlement.issueReserve(second, sender=FINDER)
    report = world.settle(**EMPTY.in_report)
    assert report.signer_set_version == 2
    number, point = open_beyond(world, gateway, report), gateway.checkpoint()
    with pytest.raises(Reverted, match="CheckpointAcks_NotSigner"):
        world.challenges.answerByAcks(
            number, gateway.signed(point), acks(world, point, world.signers[1], 1), sender=ANSWERER
        )
    world.challenges.answerByAcks(
        number, gateway.signed(point), acks(world, point, later[:2], 1), sender=ANSWERER
    )


def test_an_answer_is_for_its_own_challenge(world: World, gateway: Gateway, left_out: EpochReport) -> None:
    beyond, swapped = open_beyond(world, gateway, left_out), open_swapped(world, gateway, 1)
    point = gateway.checkpoint()
    shown = gateway.signed(point), acks(world, point, world.signers[1], left_out.period_end)
    for number, kind in ((swapped, SWAPPED), (0, 0), (9, 0)):
        with pytest.raises(Reverted) as refused:
            world.challenges.answerByAcks(number, *shown, sender=ANSWERER)
        assert (refused.value.name, refused.value.arguments) == ("UsageChallenges_WrongKind", (number, kind))
    for number, kind in ((beyond, BEYOND_COUNT), (0, 0), (9, 0)):
        with pytest.raises(Reverted) as refused:
            world.challenges.answerByInclusion(number, gateway.proof(1), sender=ANSWERER)
        assert (refused.value.name, refused.value.arguments) == ("UsageChallenges_WrongKind", (number, kind))
    world.challenges.answerByAcks(beyond, *shown, sender=ANSWERER)
    world.challenges.answerByInclusion(swapped, gateway.proof(1), sender=ANSWERER)
    with pytest.raises(Reverted, match="UsageChallenges_WrongKind"):
        world.challenges.answerByAcks(beyond, *shown, sender=ANSWERER)
    with pytest.raises(Reverted, match="UsageChallenges_WrongKind"):
        world.challenges.answerByInclusion(swapped, gateway.proof(1), sender=ANSWERER)
    assert world.challenges.credit(ANSWERER) == 2 * world.challenges.challengeBond()


def test_a_challenger_who_answers_itself_gets_its_own_bond_back(world: World, gateway: Gateway) -> None:
    number = open_swapped(world, gateway)
    world.challenges.answerByInclusion(number, gateway.proof(2), sender=FINDER)
    assert world.challenges.credit(FINDER) == world.challenges.challengeBond()
    assert world.license_bonds.bond(gateway.license_id) == BOND


# -- no answer ----------------------------------------------------------------------------------------------


def test_what_nobody_answers_slashes_the_lane(world: World, gateway: Gateway, left_out: EpochReport) -> None:
    for number in (open_beyond(world, gateway, left_out), open_swapped(world, gateway)):
        with world.evm.undone():
            until = world.challenges.challenge(number).answerableUntil
            world.evm.at(until)
            with pytest.raises(Reverted) as early:
                world.challenges.uphold(number, sender=ANSWERER)
            assert early.value.name == "UsageChallenges_StillAnswerable"
            assert early.value.arguments == (until, until)
            world.evm.warp(1)
            receipt = world.challenges.uphold(number, sender=ANSWERER)
            assert receipt.named("ChallengeUpheld")[0].challengeId == number
            expected = lane_slash(BOND, BOND, world.challenges.laneSlashBps())
            assert receipt.named("LaneSlashed")[0].slashed == expected.slashed
            assert world.challenges.credit(FINDER) == world.challenges.challengeBond()
            assert world.license_bonds.credit(FINDER) == expected.reward
            assert world.challenges.openAgainst(gateway.license_id) == 1  # the other one
            assert world.registry.laneRevokedAt(gateway.number) == world.evm.timestamp


def test_an_answer_counts_until_somebody_upholds(world: World, gateway: Gateway) -> None:
    number = open_swapped(world, gateway)
    world.evm.at(world.challenges.challenge(number).answerableUntil + DAY)
    with world.evm.undone():
        world.challenges.answerByInclusion(number, gateway.proof(2), sender=ANSWERER)
        with pytest.raises(Reverted, match="UsageChallenges_WrongKind"):
            world.challenges.uphold(number, sender=FINDER)
    world.challenges.uphold(number, sender=FINDER)
    with pytest.raises(Reverted, match="UsageChallenges_WrongKind"):
        world.challenges.answerByInclusion(number, gateway.proof(2), sender=ANSWERER)
    for settled in (number, 0, 9):
        with pytest.raises(Reverted, match="UsageChallenges_WrongKind"):
            world.challenges.uphold(settled, sender=FINDER)


def test_several_who_are_right_get_their_bonds_back_and_one_gets_the_reward(
    world: World, gateway: Gateway, left_out: EpochReport
) -> None:
    numbers = [open_beyond(world, gateway, left_out, seq) for seq in (1, 1, 2)]
    world.evm.at(world.challenges.challenge(numbers[-1]).answerableUntil + 1)
    for number in numbers:
        world.challenges.uphold(number, sender=FINDER)
    expected = lane_slash(BOND, BOND, world.challenges.laneSlashBps())
    assert world.license_bonds.bond(gateway.license_id) == BOND - expected.slashed
    assert world.license_bonds.credit(FINDER) == expected.reward
    assert world.challenges.credit(FINDER) == 3 * world.challenges.challengeBond()
    assert world.challenges.openAgainst(gateway.license_id) == 0


def test_inv_26_an_unanswered_challenge_against_oneself_nets_a_loss(
    world: World, gateway: Gateway, left_out: EpochReport
) -> None:
    number = open_beyond(world, gateway, left_out)
    world.evm.at(world.challenges.challenge(number).answerableUntil + 1)
    world.challenges.uphold(number, sender=FINDER)
    back = world.challenges.credit(FINDER) - world.challenges.challengeBond()
    back += world.license_bonds.credit(FINDER) + world.license_bonds.bond(gateway.license_id)
    assert back < BOND


def test_open_challenges_hold_the_escrow_and_each_costs_a_bond(world: World, gateway: Gateway) -> None:
    """An honest buyer earns every bond that was put up to delay it, and nothing opens after the horizon."""
    buyer = world.people.buyer
    world.deposit(gateway.license_id, 1_000)
    world.registry.giveNotice(gateway.license_id, sender=buyer)
    ends_at = world.registry.license(gateway.license_id).endsAt
    while world.settlement.state().lastPeriodEnd < ends_at + MERGE_DELAY_SECONDS:
        world.settle(**LaneVector([gateway.checkpoint()]).in_report)
    for delay in range(3):
        number = open_swapped(world, gateway)
        with pytest.raises(Reverted, match="RoyaltyEscrow_ChallengeOpen"):
            world.escrow.withdraw(gateway.license_id, 1, buyer, sender=buyer)
        world.challenges.answerByInclusion(number, gateway.proof(2), sender=buyer)
        assert world.challenges.credit(buyer) == (delay + 1) * world.challenges.challengeBond()
        world.escrow.withdraw(gateway.license_id, 1, buyer, sender=buyer)
    world.evm.at(ends_at + 90 * DAY)
    with pytest.raises(Reverted, match="UsageChallenges_PastHorizon"):
        open_swapped(world, gateway)


# -- signers who acknowledged and left out ------------------------------------------------------------------


@pytest.fixture
def accused(world: World, gateway: Gateway, left_out: EpochReport) -> int:
    """All four signers acknowledged in time; the first three signed the report. Each has a bond."""
    for signer in world.signers[1]:
        world.token.mint(signer, OPERATOR_BOND, sender=signer)
        world.token.approve(world.operator_bonds, OPERATOR_BOND, sender=signer)
        world.operator_bonds.deposit(signer, OPERATOR_BOND, sender=signer)
    number, point = open_beyond(world, gateway, left_out), gateway.checkpoint()
    shown = acks(world, point, world.signers[1], left_out.period_end)
    world.challenges.answerByAcks(number, gateway.signed(point), shown, sender=ANSWERER)
    return number


def slash_ackers(
    world: World, number: int, report: EpochReport, *indices: int, ackers: Any = None
) -> Receipt:
    signatures = world.sign_report(report, indices or (0, 1, 2))
    ackers = world.signers[1] if ackers is None else ackers
    receipt: Receipt = world.challenges.slashAckers(
        number, report, signatures, ackers, sender=world.people.stranger
    )
    return receipt


def wait_for(world: World, number: int) -> None:
    world.evm.at(world.challenges.accusation(number).slashableFrom)


def test_signers_who_acknowledged_and_signed_are_slashed(
    world: World, left_out: EpochReport, accused: int
) -> None:
    wait_for(world, accused)
    receipt = slash_ackers(world, accused, left_out)
    guilty = world.signers[1][:3]
    events = receipt.named("AckerSlashed")
    assert [(event.signer, event.slashed) for event in events] == [
        (signer.address, OPERATOR_BOND) for signer in guilty
    ]
    assert [world.operator_bonds.bonded(signer) for signer in world.signers[1]] == [0, 0, 0, OPERATOR_BOND]
    assert world.operator_bonds.credit(FINDER) == 3 * (OPERATOR_BOND // 10)
    assert world.license_bonds.bond(1) == BOND


def test_leaving_a_signature_out_saves_nobody(world: World, left_out: EpochReport, accused: int) -> None:
    """A guilty signer may be first, with signatures of others; its own turn comes with another quorum."""
    wait_for(world, accused)
    slash_ackers(world, accused, left_out, 1, 2, 3)
    assert world.operator_bonds.bonded(world.signers[1][0]) == OPERATOR_BOND
    slash_ackers(world, accused, left_out, 0, 1, 2)
    assert world.operator_bonds.bonded(world.signers[1][0]) == 0


def test_a_signer_is_slashed_once_per_accusation(world: World, left_out: EpochReport, accused: int) -> None:
    """Who bonds again afterwards is safe from the same proof."""
    wait_for(world, accused)
    slash_ackers(world, accused, left_out)
    again = world.signers[1][0]
    assert world.challenges.ackerSlashed(accused, again)
    world.token.mint(again, 5, sender=again)
    world.token.approve(world.operator_bonds, 5, sender=again)
    world.operator_bonds.deposit(again, 5, sender=again)
    assert slash_ackers(world, accused, left_out).named("AckerSlashed") == []
    assert world.operator_bonds.bonded(again) == 5


def test_slashing_ackers_waits_and_checks_everything(
    world: World, left_out: EpochReport, accused: int
) -> None:
    from_ = world.challenges.accusation(accused).slashableFrom
    world.evm.at(from_ - 1)
    with pytest.raises(Reverted) as early:
        slash_ackers(world, accused, left_out)
    assert (early.value.name, early.value.arguments) == (
        "UsageChallenges_NotSlashableYet",
        (from_, from_ - 1),
    )
    world.evm.warp(1)
    with pytest.raises(Reverted, match="UsageChallenges_NotAccused"):
        slash_ackers(world, accused + 1, left_out)
    for ackers in (world.signers[1][:3], world.signers[1][::-1], []):
        with pytest.raises(Reverted, match="UsageChallenges_WrongAckers"):
            slash_ackers(world, accused, left_out, ackers=ackers)
    with pytest.raises(Reverted, match="UsageSettlement_WrongReport"):
        slash_ackers(world, accused, replace(left_out, attempt=7))
    later = world.settle(**EMPTY.in_report)
    with pytest.raises(Reverted) as wrong:
        slash_ackers(world, accused, later)
    assert (wrong.value.name, wrong.value.arguments) == ("UsageChallenges_WrongEpoch", (2, 1))
    with pytest.raises(Reverted, match="OracleCommittee_NotEnoughSignatures"):
        slash_ackers(world, accused, left_out, 0, 1)
    bad = world.sign_report(later, (0, 1, 2))
    with pytest.raises(Reverted, match="OracleCommittee_WrongSignature"):
        world.challenges.slashAckers(accused, left_out, bad, world.signers[1], sender=FINDER)
    slash_ackers(world, accused, left_out)


@pytest.mark.parametrize("by", ["receipts", "checkpoints", "fork", "reward"])
def test_signers_who_left_out_a_lane_that_cheated_are_safe(
    world: World, gateway: Gateway, left_out: EpochReport, accused: int, by: str
) -> None:
    """They had to stop at the contradiction, and have as long to show it as the buyer had to answer.

    What nodes hold of two histories is a fork: batches carry no signatures of single receipts.
    """
    receipts = contradiction(gateway.signed(gateway.receipts[0]), gateway.signed(gateway.forged(0)))
    fewer = replace(gateway.checkpoint(4), cumulative_units=0)
    shown = {
        "receipts": receipts,
        "checkpoints": contradiction(gateway.signed(gateway.checkpoint(3)), gateway.signed(fewer)),
        "fork": contradiction(fork=gateway.fork(1, gateway.rewritten(1), (5, 3))),
    }
    if by == "reward":
        reveal(world, FINDER, "challengeContradiction", receipts)
    else:
        world.challenges.revokeByContradiction(shown[by], sender=world.signers[1][0])
    wait_for(world, accused)
    with pytest.raises(Reverted, match="UsageChallenges_LaneCheated"):
        slash_ackers(world, accused, left_out)


def test_signers_without_a_bond_stop_no_other_slash(
    world: World, left_out: EpochReport, accused: int
) -> None:
    world.operator_bonds.slash(world.signers[1][0], FINDER, sender=world.disputes)
    wait_for(world, accused)
    slash_ackers(world, accused, left_out)
    assert [world.operator_bonds.bonded(signer) for signer in world.signers[1]] == [0, 0, 0, OPERATOR_BOND]


# -- credits ------------------------------------------------------------------------------------------------


def test_credits_are_taken_once_to_any_address(world: World, gateway: Gateway) -> None:
    number, bond = open_swapped(world, gateway), world.challenges.challengeBond()
    world.challenges.answerByInclusion(number, gateway.proof(2), sender=ANSWERER)
    with pytest.raises(Reverted, match="UsageChallenges_ZeroRecipient"):
        world.challenges.withdrawCredit("0x" + "00" * 20, sender=ANSWERER)
    with pytest.raises(Reverted) as nothing:
        world.challenges.withdrawCredit(FINDER, sender=FINDER)
    assert (nothing.value.name, nothing.value.arguments) == ("UsageChallenges_NoCredit", (FINDER.address,))
    goal = account("goal")
    world.token.setBlocked(ANSWERER, True, sender=ANSWERER)
    with pytest.raises(Reverted, match="TestUSDC_Blocked"):
        world.challenges.withdrawCredit(ANSWERER, sender=ANSWERER)
    receipt = world.challenges.withdrawCredit(goal, sender=ANSWERER)
    assert vars(receipt.named("CreditPaid")[0]) == {
        "account": ANSWERER.address,
        "to": goal.address,
        "amount": bond,
    }
    assert world.token.balanceOf(goal) == bond
    assert world.token.balanceOf(world.challenges) == 0
    with pytest.raises(Reverted, match="UsageChallenges_NoCredit"):
        world.challenges.withdrawCredit(goal, sender=ANSWERER)


def test_inv_35_re_entry_takes_no_credit_twice() -> None:
    """The token itself answers, and calls back in the middle of being paid."""
    world = World(Evm(), "CallbackToken")
    token, challenges, anyone = world.token, world.challenges, world.people.stranger
    lane = Gateway(world, bonded_license(world, BOND), "gateway")
    for _ in range(5):
        lane.serve(10)
    fund_challenger(world, FINDER, bonds=2)
    open_swapped(world, lane, 1)
    number = open_swapped(world, lane, 2)
    answer = challenges.calldata("answerByInclusion", number, lane.proof(2))
    token.act(challenges, answer, sender=anyone)
    again = challenges.calldata("withdrawCredit", token)
    token.arm(challenges, again, 9, sender=anyone)
    token.act(challenges, again, sender=anyone)
    assert token.callbacksSucceeded() == 0 < token.callbacksFailed()
    assert token.lastAnswer() == RE_ENTERED
    bond = challenges.challengeBond()
    assert token.balanceOf(token) == token.balanceOf(challenges) == bond


def test_inv_35_a_challenge_cannot_be_answered_before_its_bond_has_arrived() -> None:
    """Called back in the middle of the transfer: nothing is credited that is not there."""
    world = World(Evm(), "CallbackToken")
    token, challenges = world.token, world.challenges
    lane = Gateway(world, bonded_license(world, BOND), "gateway")
    for _ in range(5):
        lane.serve(10)
    fund_challenger(world, FINDER)
    answer = challenges.calldata("answerByInclusion", 1, lane.proof(2))
    token.arm(challenges, answer, 9, sender=world.people.stranger)
    assert open_swapped(world, lane) == 1
    assert token.callbacksSucceeded() == 0 < token.callbacksFailed()
    assert token.lastAnswer() == RE_ENTERED
    assert challenges.openAgainst(lane.license_id) == 1
    assert challenges.credit(token) == 0


def test_a_promise_to_open_is_bound_to_its_evidence(
    world: World, gateway: Gateway, left_out: EpochReport
) -> None:
    """A commitment for one receipt opens no challenge of another."""
    head = EMPTY.head(0)
    promise(world, FINDER, "openBeyondCount", gateway.signed(gateway.receipts[0]), left_out, head)
    with pytest.raises(Reverted, match="CommitReveal_NotCommitted"):
        world.challenges.openBeyondCount(
            gateway.signed(gateway.receipts[1]), left_out, head, SALT, sender=FINDER
        )
