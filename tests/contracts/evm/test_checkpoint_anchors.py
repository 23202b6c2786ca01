"""CheckpointAnchors: every refusal, and what anchorAt says of any moment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.receipts import settlement_domain

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.gateway import Gateway, bonded_license, contradiction, reveal, signed
from tests.contracts.evm.world import World
from tests.contracts.wire import CURVE_ORDER, ZERO_ADDRESS, ZERO_HASH, account, sign

BOND = 10**9


@pytest.fixture
def gateway(world: World) -> Gateway:
    """A registered lane with nine receipts."""
    made = Gateway(world, bonded_license(world, BOND), "gateway", unit_cap=100)
    for _ in range(9):
        made.serve(10)
    return made


def anchor(world: World, *arguments: Any) -> Any:
    return world.anchors.anchor(*arguments, sender=world.people.stranger)


def test_anyone_anchors_what_the_lane_signed(world: World, gateway: Gateway) -> None:
    point, signature = gateway.signed(gateway.checkpoint(5))
    receipt = anchor(world, point, signature)
    now = world.evm.timestamp
    (event,) = receipt.named("CheckpointAnchored")
    assert event.lane == gateway.key.address
    assert (event.count, event.cumulativeUnits, event.receiptsRoot) == (5, 50, point.receipts_root)
    assert (event.anchoredAt, event.laneSignature) == (now, signature)
    assert world.anchors.anchorAt(gateway.key, now) == (now, 5, 50, point.receipts_root)
    assert world.anchors.anchorAt(gateway.key, now - 1) == (0, 0, 0, ZERO_HASH)
    assert world.anchors.anchorAt(gateway.key, 2**256 - 1).count == 5


def test_anchors_know_their_neighbors(world: World) -> None:
    assert world.anchors.settlement() == world.settlement.address
    assert world.anchors.registry() == world.registry.address


@pytest.mark.parametrize(("position", "name"), [(0, "settlement"), (1, "registry")])
def test_constructor_refuses_zero_addresses(world: World, position: int, name: str) -> None:
    arguments: list[Any] = [world.settlement, world.registry]
    arguments[position] = ZERO_ADDRESS
    with pytest.raises(Reverted) as refused:
        world.evm.deploy("CheckpointAnchors", *arguments, sender=world.people.admin)
    assert (refused.value.name, refused.value.arguments) == ("CheckpointAnchors_ZeroAddress", (name,))


def test_a_key_that_is_no_lane_is_refused(world: World, gateway: Gateway) -> None:
    stranger = account("no lane")
    point = replace(gateway.checkpoint(), lane=bytes.fromhex(stranger.address[2:]))
    with pytest.raises(Reverted, match="CheckpointAnchors_UnknownLane"):
        anchor(world, *signed(world, point, stranger))


def test_another_lanes_signature_is_refused(world: World, gateway: Gateway) -> None:
    other = Gateway(world, gateway.license_id, "other gateway")
    with pytest.raises(Reverted, match="LaneEvidence_WrongSigner"):
        anchor(world, gateway.checkpoint(), other.signed(gateway.checkpoint())[1])


def test_a_changed_checkpoint_is_refused(world: World, gateway: Gateway) -> None:
    signature = gateway.signed(gateway.checkpoint())[1]
    for change in ({"count": 8}, {"cumulative_units": 89}, {"receipts_root": b"\1" * 32}):
        with pytest.raises(Reverted, match="LaneEvidence_WrongSigner"):
            anchor(world, replace(gateway.checkpoint(), **change), signature)


@pytest.mark.parametrize("flaw", ["empty", "short", "long", "high s", "v 0", "v 29", "zeros"])
def test_inv_33_a_malformed_signature_is_refused(world: World, gateway: Gateway, flaw: str) -> None:
    point, good = gateway.signed(gateway.checkpoint())
    high = (CURVE_ORDER - int.from_bytes(good[32:64], "big")).to_bytes(32, "big")
    bad = {
        "empty": b"",
        "short": good[:64],
        "long": good + b"\0",
        "high s": good[:32] + high + bytes((55 - good[64],)),
        "v 0": good[:64] + bytes((good[64] - 27,)),
        "v 29": good[:64] + b"\x1d",
        "zeros": bytes(65),
    }[flaw]
    with pytest.raises(Reverted, match="LaneEvidence_BadSignature"):
        anchor(world, point, bad)
    anchor(world, point, good)


@pytest.mark.parametrize("elsewhere", ["chain", "contract"])
def test_inv_33_a_signature_for_elsewhere_is_refused(world: World, gateway: Gateway, elsewhere: str) -> None:
    is_chain = elsewhere == "chain"
    contract = world.settlement if is_chain else world.registry
    domain = settlement_domain(1 if is_chain else world.evm.chain_id, bytes.fromhex(contract.address[2:]))
    point = gateway.checkpoint()
    signature = sign(gateway.key.key, typed_digest(domain, point.struct_hash())).full
    with pytest.raises(Reverted, match="LaneEvidence_WrongSigner"):
        anchor(world, point, signature)


@pytest.mark.parametrize("count", [0, 4, 5])
def test_counts_must_rise(world: World, gateway: Gateway, count: int) -> None:
    if count:
        gateway.anchor(5)
    with pytest.raises(Reverted) as refused:
        gateway.anchor(count)
    assert refused.value.name == "CheckpointAnchors_CountNotHigher"
    assert refused.value.arguments == (gateway.key.address, count, 5 if count else 0)


def test_units_never_fall(world: World, gateway: Gateway) -> None:
    gateway.anchor(5)
    fewer = replace(gateway.checkpoint(6), cumulative_units=49)
    with pytest.raises(Reverted) as refused:
        anchor(world, *gateway.signed(fewer))
    assert refused.value.name == "CheckpointAnchors_UnitsFell"
    assert refused.value.arguments == (gateway.key.address, 49, 50)
    anchor(world, *gateway.signed(replace(fewer, cumulative_units=50)))


def test_units_past_the_lanes_cap_are_refused(world: World, gateway: Gateway) -> None:
    at_cap = replace(gateway.checkpoint(), cumulative_units=100)
    with pytest.raises(Reverted) as refused:
        anchor(world, *gateway.signed(replace(at_cap, cumulative_units=101)))
    assert refused.value.name == "CheckpointAnchors_OverUnitCap"
    assert refused.value.arguments == (gateway.key.address, 101, 100)
    anchor(world, *gateway.signed(at_cap))


def test_units_that_no_report_could_sum_are_refused_whatever_the_cap(world: World, gateway: Gateway) -> None:
    vast = Gateway(world, gateway.license_id, "vast gateway", unit_cap=2**128 - 1)
    vast.serve()
    point = replace(vast.checkpoint(), cumulative_units=2**96)
    with pytest.raises(Reverted) as refused:
        anchor(world, *vast.signed(point))
    assert refused.value.name == "CheckpointAnchors_OverUnitCap"
    assert refused.value.arguments == (vast.key.address, 2**96, 2**96 - 1)
    anchor(world, *vast.signed(replace(point, cumulative_units=2**96 - 1)))


def test_a_lane_that_cheated_anchors_nothing_more_and_keeps_what_it_anchored(
    world: World, gateway: Gateway
) -> None:
    gateway.anchor(5)
    anchored_at = world.evm.timestamp
    evidence = contradiction(gateway.signed(gateway.receipts[0]), gateway.signed(gateway.forged(0)))
    reveal(world, world.people.stranger, "challengeContradiction", evidence)
    with pytest.raises(Reverted) as refused:
        gateway.anchor(9)
    assert refused.value.name == "CheckpointAnchors_LaneRevoked"
    assert refused.value.arguments == (gateway.key.address, world.evm.timestamp)
    assert world.anchors.anchorAt(gateway.key, anchored_at).count == 5


def test_ether_is_refused(world: World, gateway: Gateway) -> None:
    sender = world.people.stranger
    world.evm.fund_ether(sender.address, 10)
    with pytest.raises(Reverted):
        world.anchors.anchor(*gateway.signed(gateway.checkpoint()), sender=sender, value=1)
    with pytest.raises(Reverted):
        world.evm.raw_call(sender, world.anchors.address, b"", value=1)


@given(steps=st.lists(st.integers(0, 3), max_size=9), asked=st.lists(st.integers(-1, 30), max_size=9))
def test_anchor_at_finds_what_a_walk_over_all_anchors_finds(steps: list[int], asked: list[int]) -> None:
    """Several in one second included: the last of them counts."""
    world = World(Evm())
    gateway = Gateway(world, world.accept(), "gateway")
    start = world.evm.timestamp
    placed = []
    for step in steps:
        world.evm.warp(step)
        gateway.serve()
        gateway.anchor()
        placed.append((world.evm.timestamp, len(gateway.receipts)))
    for offset in asked:
        until = [count for at, count in placed if at <= start + offset]
        assert world.anchors.anchorAt(gateway.key, start + offset).count == max(until, default=0)
