"""Four nodes accused by a buyer whose own lane signed two histories: the lane is revoked, no bond lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from eth_abi.abi import encode
from usufruct_chain import calls
from usufruct_chain.onchain import SubmittedReport
from usufruct_chain.reverts import CallReverted
from usufruct_protocol.bundle import LANES, unpack_lanes
from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.merkle import padded_siblings
from usufruct_protocol.receipts import RECORD_SIZE, Checkpoint, unpack_receipt
from usufruct_protocol.signing import address_of, checksum_address, sign_digest

from tests.integration.chain_world import EPOCH_S, USDC
from tests.integration.oracle_world import ATTEMPT_S, Committee, committee
from tests.unit.oracle.lane_kit import KitLane

SIGNER_BOND = 1_000 * USDC
SALT = bytes(32)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Committee]:
    with committee(tmp_path_factory.mktemp("committee")) as made:
        made.license(MeterKind.INFERENCE, 3)
        made.put_rosters()
        contracts, anyone = made.world.contracts, made.world.sender("anyone")
        anyone.send(contracts.token.functions.mint(anyone.address, 10_000 * USDC))
        for spender in (contracts.deployment.operator_bonds, contracts.deployment.challenges):
            anyone.send(contracts.token.functions.approve(spender, 5_000 * USDC))
        for signer in made.world.config.signers:
            anyone.send(contracts.operator_bonds.functions.deposit(signer, SIGNER_BOND))
        yield made


def point_tuple(point: Checkpoint) -> tuple[Any, ...]:
    return checksum_address(point.lane), point.count, point.cumulative_units, point.receipts_root


def signed_receipt(lane: KitLane, seq: int) -> tuple[Any, ...]:
    """A receipt of the lane with its signature, as contracts take it."""
    start = seq * RECORD_SIZE
    receipt = unpack_receipt(lane.address, lane.records[start : start + RECORD_SIZE])
    fields = (
        checksum_address(receipt.lane),
        receipt.seq,
        receipt.units,
        receipt.cumulative_units,
        receipt.usage_root,
        receipt.request_hash,
        receipt.issued_at_ms,
    )
    return fields, sign_digest(lane.key, typed_digest(lane.domain, receipt.struct_hash()))


def open_beyond_count(here: Committee, lane: KitLane, seq: int, final: SubmittedReport) -> int:
    """Accuse the lane's buyer of having hidden a receipt; the number of the challenge."""
    heads = unpack_lanes(here.network.get(0, f"/v1/epochs/{final.report.epoch}/bundle/{LANES}").content)
    leaves = [bytes(32) if head is None else head.struct_hash() for head in heads]
    head = heads[lane.number]
    assert head is not None
    shown = point_tuple(head), list(padded_siblings(leaves, lane.number))
    challenges, anyone = here.world.contracts.challenges, here.world.sender("anyone")
    call = challenges.functions.openBeyondCount(
        signed_receipt(lane, seq), calls.report_tuple(final.report), shown, SALT
    )
    data = bytes.fromhex(call._encode_transaction_data()[2:])
    anyone.send(
        challenges.functions.commit(
            keccak256(encode(["address", "bytes32"], [anyone.address, keccak256(data)]))
        )
    )
    here.pass_time(61)
    anyone.send(call)
    head_hash = here.world.reader.head().hash
    (count,) = here.world.reader.query([here.world.contracts.views.challenges.challengeCount()], head_hash)
    return int(count)


def test_inv_24_signers_who_are_accused_by_a_cheating_lane_have_it_revoked(here: Committee) -> None:
    """Acknowledged by two nodes, stopped by its own second history, then used against them."""
    lane = here.lane(1)
    lane.meter(*[10] * 3, at_ms=here.at_ms(1))
    here.ship()
    other = lane.fork()
    lane.meter(10, 10, at_ms=here.at_ms(1, 101))
    # More receipts and more units: nothing but the receipts themselves shows that these are two histories.
    other.meter(1, 100, 1, at_ms=here.at_ms(1, 102))
    answers = here.post(lane.batch(3), 0, 1)
    acks = {index: answer.json()["ack"] for index, answer in enumerate(answers)}
    here.post(other.batch(3), 2, 3)
    here.close_period(1)
    here.wait_frozen(1)
    for _ in range(4):
        if here.world.reader.report_hash(1) != bytes(32):
            break
        time.sleep(1.0)
        here.pass_time(ATTEMPT_S)
    final = here.wait_final(1)
    here.wait_known_final(0, 1)
    assert final.report.lines[0].cumulative_units == 30, "less than was acknowledged, and rightly so"

    challenge = open_beyond_count(here, lane, 4, final)
    challenges, anyone = here.world.contracts.challenges, here.world.sender("anyone")
    covering = point_tuple(lane.checkpoint()), lane.sign(lane.checkpoint())
    shown = [
        (acks[index]["received_at"], bytes.fromhex(acks[index]["signature"][2:]))
        for index in sorted(acks, key=lambda index: address_of(here.network.keys[index]))
    ]
    anyone.send(challenges.functions.answerByAcks(challenge, covering, shown))

    views = here.world.contracts.views

    def is_revoked() -> bool:
        here.pass_time(700)
        (revoked_at,) = here.world.reader.query([views.registry.laneRevokedAt(lane.number)])
        return bool(revoked_at)

    here.network.wait_until("the lane is revoked", is_revoked, 30.0)
    here.pass_time(8 * EPOCH_S)
    ackers = [checksum_address(address_of(here.network.keys[index])) for index in sorted(acks)]
    blob = final.signatures
    with pytest.raises(CallReverted, match="UsageChallenges_LaneCheated"):
        anyone.send(
            challenges.functions.slashAckers(challenge, calls.report_tuple(final.report), blob, ackers)
        )
    bonds = here.world.reader.query(
        [views.operator_bonds.bonded(signer) for signer in here.world.config.signers]
    )
    assert bonds == [SIGNER_BOND] * 4
