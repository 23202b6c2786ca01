"""Offers and lanes: signed by whom they bind, for this registry, within the floors, fixed from then on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.evm.chain import Contract, Evm, Reverted
from tests.contracts.evm.world import FLOORS, TEMPLATE, World
from tests.contracts.wire import LICENSES, Account, account, sign, typed_digest

LANE = account("lane")
BPS = 10_000


# -- terms ---------------------------------------------------------------------------------------------------


def split(contributors: int, community: int, steward: int) -> dict[str, Any]:
    """Terms of an offer that divides among three parties."""
    return {
        "contributors_bps": contributors,
        "community_bps": community,
        "steward_bps": steward,
        "platform_bps": 0,
        "operators_bps": 0,
    }


@pytest.mark.parametrize(("contributors", "community"), [(4_999, 500), (5_000, 499), (0, BPS), (BPS, 0)])
def test_inv_34_an_offer_below_a_floor_is_refused(world: World, contributors: int, community: int) -> None:
    rest = BPS - contributors - community
    with pytest.raises(Reverted, match="LicenseRegistry_BelowFloor"):
        world.accept(**split(contributors, community, rest))


def test_inv_34_an_offer_at_the_floors_is_accepted(world: World) -> None:
    contributors, community = FLOORS
    rest = BPS - contributors - community
    license_id = world.accept(**split(contributors, community, rest))
    assert world.registry.pricing(license_id).stewardBps == rest


def test_inv_34_floors_bind_offers_signed_before_they_rose(world: World) -> None:
    offer = world.offer()
    signature = world.sign_offer(offer)
    world.registry.setFloors(8_000, 500, sender=world.people.council)
    with pytest.raises(Reverted, match="LicenseRegistry_BelowFloor"):
        world.registry.accept(offer, signature, sender=world.people.buyer)


@given(st.lists(st.integers(0, 2**16 - 1), min_size=5, max_size=5))
def test_inv_34_a_split_that_is_not_whole_is_refused(shared_world: World, parts: list[int]) -> None:
    """Sums past 2^16 included: 16-bit arithmetic would let them wrap to 10,000."""
    names = ("contributors_bps", "community_bps", "steward_bps", "platform_bps", "operators_bps")
    terms: dict[str, Any] = dict(zip(names, parts, strict=True))
    if sum(parts) == BPS:
        return
    with shared_world.evm.undone(), pytest.raises(Reverted, match="LicenseRegistry_SplitNotWhole"):
        shared_world.accept(**terms)


def test_inv_34_shares_that_wrap_16_bits_to_a_whole_are_refused(world: World) -> None:
    with pytest.raises(Reverted, match="LicenseRegistry_SplitNotWhole"):
        world.accept(**split(2**16 - 1, BPS + 1, 0))


def test_inv_34_nothing_changes_the_terms_of_an_accepted_license(world: World) -> None:
    license_id = world.accept()
    pricing, before = world.registry.pricing(license_id), world.registry.license(license_id)
    people = world.people
    world.registry.setFloors(BPS, 0, sender=people.council)
    world.registry.setTemplate(TEMPLATE, False, sender=people.council)
    world.registry.setRoster(license_id, b"\1" * 32, sender=people.steward)
    world.registry.setSuspended(license_id, True, sender=people.steward)
    world.registry.giveNotice(license_id, sender=people.steward)
    assert world.registry.pricing(license_id) == pricing
    after = world.registry.license(license_id)
    changed = {name for name in after._fields if getattr(after, name) != getattr(before, name)}
    assert changed == {"rosterRoot", "suspended", "endsAt"}


def test_an_end_only_ever_comes_closer(world: World) -> None:
    license_id = world.accept(ends_at=world.evm.timestamp + 40 * 86_400, notice_seconds=30 * 86_400)
    world.registry.giveNotice(license_id, sender=world.people.buyer)
    end = world.registry.license(license_id).endsAt
    assert end == world.evm.timestamp + 30 * 86_400
    world.evm.warp(86_400)
    world.registry.giveNotice(license_id, sender=world.people.steward)
    assert world.registry.license(license_id).endsAt == end
    world.evm.at(end)
    with pytest.raises(Reverted, match="LicenseRegistry_LicenseEnded"):
        world.registry.giveNotice(license_id, sender=world.people.buyer)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"meter_kind": 6}, "LicenseRegistry_UnknownMeterKind"),
        ({"meter_kind": 255}, "LicenseRegistry_UnknownMeterKind"),
        ({"max_charge_per_epoch": 0}, "LicenseRegistry_ZeroCap"),
        ({"ends_at": 2**48}, "LicenseRegistry_BadTerm"),
        ({"starts_at": 2**64 - 1, "ends_at": 2**64 - 1}, "LicenseRegistry_BadTerm"),
        ({"template_hash": b"\1" * 32}, "LicenseRegistry_TemplateNotApproved"),
        ({"token": b"\1" * 20}, "LicenseRegistry_WrongToken"),
    ],
)
def test_an_offer_nobody_could_honor_is_refused(world: World, changes: dict[str, Any], error: str) -> None:
    with pytest.raises(Reverted, match=error):
        world.accept(**changes)


# -- signatures ----------------------------------------------------------------------------------------------


def test_inv_33_an_offer_of_another_chain_is_refused(world: World) -> None:
    other = World(Evm(chain_id=world.evm.chain_id + 1))
    offer = other.offer()
    with pytest.raises(Reverted, match="LicenseRegistry_BadStewardSignature"):
        world.registry.accept(offer, other.sign_offer(offer), sender=world.people.buyer)


def test_inv_33_an_offer_for_another_registry_is_refused(world: World) -> None:
    offer = world.offer()
    digest = typed_digest(LICENSES, world.evm.chain_id, world.escrow.address, "LicenseOffer", offer)
    with pytest.raises(Reverted, match="LicenseRegistry_BadStewardSignature"):
        world.registry.accept(offer, sign(world.people.steward.key, digest).full, sender=world.people.buyer)


def test_an_offer_is_signed_by_its_steward(world: World) -> None:
    offer = world.offer()
    for forger in (world.people.buyer, world.people.council, world.people.admin):
        with pytest.raises(Reverted, match="LicenseRegistry_BadStewardSignature"):
            world.registry.accept(offer, world.sign_offer(offer, forger), sender=world.people.buyer)


@pytest.mark.parametrize(
    "changes",
    [
        {"price_per_million_units": 1},
        {"max_charge_per_epoch": 2},
        {"contributors_bps": 6_999, "steward_bps": 1_001},
        {"ends_at": 2**48 - 1},
        {"collection_hash": bytes(32)},
        {"nonce": 10**6},
        {"notice_seconds": 0},
        {"meter_kind": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_buyer_cannot_change_an_offer(world: World, changes: dict[str, Any]) -> None:
    offer = world.offer()
    signature = world.sign_offer(offer)
    with pytest.raises(Reverted, match="LicenseRegistry_BadStewardSignature"):
        world.registry.accept(replace(offer, **changes), signature, sender=world.people.buyer)


def test_an_offer_is_accepted_once_and_only_by_its_buyer(world: World) -> None:
    offer = world.offer()
    signature = world.sign_offer(offer)
    with pytest.raises(Reverted, match="LicenseRegistry_WrongBuyer"):
        world.registry.accept(offer, signature, sender=world.people.stranger)
    world.registry.accept(offer, signature, sender=world.people.buyer)
    with pytest.raises(Reverted, match="LicenseRegistry_OfferUsed"):
        world.registry.accept(offer, signature, sender=world.people.buyer)


def test_a_canceled_offer_cannot_be_accepted(world: World) -> None:
    offer = world.offer()
    world.registry.cancelOffer(offer.nonce, sender=world.people.stranger)
    signature = world.sign_offer(offer)
    with world.evm.undone():
        world.registry.accept(offer, signature, sender=world.people.buyer)
    world.registry.cancelOffer(offer.nonce, sender=world.people.steward)
    with pytest.raises(Reverted, match="LicenseRegistry_OfferUsed"):
        world.registry.accept(offer, signature, sender=world.people.buyer)


def test_a_steward_that_is_a_contract_signs_by_erc_1271(world: World) -> None:
    owner = account("owner of a wallet")
    wallet = world.evm.deploy("ContractWallet", owner, sender=owner)
    offer = world.offer(steward=bytes.fromhex(wallet.address[2:]))
    with pytest.raises(Reverted, match="LicenseRegistry_BadStewardSignature"):
        world.registry.accept(offer, world.sign_offer(offer, world.people.steward), sender=world.people.buyer)
    world.registry.accept(offer, world.sign_offer(offer, owner), sender=world.people.buyer)


# -- lanes ---------------------------------------------------------------------------------------------------


def register(world: World, license_id: int, signer: Account = LANE, **changes: Any) -> int:
    registration = world.lane(license_id, LANE, **changes)
    signature = world.sign_lane(registration, signer)
    return int(world.registry.registerLane(registration, signature, sender=world.people.buyer).value)


def test_a_lane_is_registered_by_its_own_key(world: World) -> None:
    license_id = world.accept()
    with pytest.raises(Reverted, match="LicenseRegistry_BadLaneSignature"):
        register(world, license_id, signer=world.people.buyer)
    assert register(world, license_id) == 0
    assert world.registry.laneNumberOf(LANE) == (True, 0)


def test_a_lane_of_nobody_is_refused(world: World) -> None:
    """A broken signature recovers to the zero address: it must not register the zero address."""
    license_id = world.accept()
    registration = world.lane(license_id, LANE, lane=bytes(20))
    for signature in (bytes(65), b"", b"\xff" * 65):
        with pytest.raises(Reverted, match="LicenseRegistry_BadLaneSignature"):
            world.registry.registerLane(registration, signature, sender=world.people.buyer)


def test_a_key_is_the_lane_of_one_license_for_ever(world: World) -> None:
    first, second = world.accept(), world.accept()
    register(world, first)
    for license_id in (first, second):
        with pytest.raises(Reverted, match="LicenseRegistry_LaneTaken"):
            register(world, license_id)


def test_inv_33_a_lane_signature_of_another_chain_or_contract_is_refused(world: World) -> None:
    license_id = world.accept()
    registration = world.lane(license_id, LANE)
    for chain_id, contract in (
        (world.evm.chain_id + 1, world.registry.address),
        (world.evm.chain_id, world.settlement.address),
    ):
        digest = typed_digest(LICENSES, chain_id, contract, "LaneRegistration", registration)
        with pytest.raises(Reverted, match="LicenseRegistry_BadLaneSignature"):
            world.registry.registerLane(registration, sign(LANE.key, digest).full, sender=world.people.buyer)


def test_a_stranger_cannot_use_up_anothers_lane_key(world: World) -> None:
    """The key's signature is public once sent; carried by somebody else it must not count."""
    license_id = world.accept()
    registration = world.lane(license_id, LANE)
    signature = world.sign_lane(registration, LANE)
    with pytest.raises(Reverted, match="LicenseRegistry_NotBuyer"):
        world.registry.registerLane(registration, signature, sender=world.people.stranger)
    attackers = world.accept(buyer=world.people.stranger)
    with pytest.raises(Reverted, match="LicenseRegistry_BadLaneSignature"):
        world.registry.registerLane(
            replace(registration, license_id=attackers), signature, sender=world.people.stranger
        )


def test_lanes_keep_their_numbers(world: World) -> None:
    license_id = world.accept()
    keys = [account(f"lane {number}") for number in range(3)]
    for number, key in enumerate(keys):
        registration = world.lane(license_id, key)
        signature = world.sign_lane(registration, key)
        assert world.registry.registerLane(registration, signature, sender=world.people.buyer).value == number
    assert [world.registry.laneAt(number).lane for number in range(3)] == [key.address for key in keys]
    with pytest.raises(Reverted, match="Panic"):
        world.registry.laneAt(3)


@pytest.fixture(scope="module")
def refusing_contracts(shared_world: World) -> list[Contract]:
    world = shared_world
    return [world.registry, world.committee, world.escrow, world.splitter, world.settlement]


@pytest.mark.parametrize("data", [b"", b"\1\2\3\4"], ids=["plain", "with data"])
def test_ether_is_refused_by_every_contract(
    shared_world: World, refusing_contracts: list[Contract], data: bytes
) -> None:
    """None of them can give it back."""
    sender = shared_world.people.stranger
    for contract in refusing_contracts:
        with shared_world.evm.undone():
            shared_world.evm.fund_ether(sender.address, 10**18)
            with pytest.raises(Reverted):
                shared_world.evm.raw_call(sender, contract.address, data, value=1)
            assert "payable" not in {function.mutability for function in contract.functions.values()}
