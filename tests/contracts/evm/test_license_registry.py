"""What a license costs at acceptance and what the registry remembers of it afterwards.

Fees and bonds are the deployed ones: a license whose fee or bond was not paid must not exist. Offers, lanes
and their signatures are in test_licenses.py.

Every way a call reverts: accept: WrongBuyer, OfferExpired, SettlementStopped (test_last_money.py),
TemplateNotApproved, WrongToken, UnknownMeterKind, SplitNotWhole, BelowFloor, BadTerm, ZeroCap, BondTooSmall,
OfferUsed, BadStewardSignature, and what fees, bonds or the token refuse · cancelOffer: OfferUsed ·
registerLane: UnknownLicense, NotBuyer, LicenseEnded, LicenseSuspended, BadLaneValidity, ZeroUnitCap,
LaneTaken, BadLaneSignature · setRoster: UnknownLicense, NotSteward, ZeroRosterRoot · giveNotice:
UnknownLicense, NotParty, LicenseEnded · coolOff: UnknownLicense, NotBuyer, CoolingOffOver, AlreadyCooledOff ·
setSuspended: UnknownLicense, NotSteward · revokeLane: OnlyChallenges, panic · setTemplate, setFloors,
setCommunity, setBondEpochs: AccessManagedUnauthorized · setFloors: BadFloors · setCommunity and the
constructor: ZeroAddress · license, pricing, communityOf: UnknownLicense · laneAt, rosterAt: panic.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.evm.chain import Evm, Receipt, Reverted
from tests.contracts.evm.world import World
from tests.contracts.wire import ZERO_ADDRESS, Account, account

FEE, BOND = 700, 300
DAY = 86_400
MAX_UINT96 = 2**96 - 1
LANE = account("lane")


def approve(world: World, fee: int, bond: int, *, funds: int | None = None) -> None:
    """The buyer allows fees and bonds to pull so much, and has it (or `funds`)."""
    buyer = world.people.buyer
    world.token.mint(buyer, fee + bond if funds is None else funds, sender=buyer)
    world.token.approve(world.fees, fee, sender=buyer)
    world.token.approve(world.license_bonds, bond, sender=buyer)


def accept_paid(world: World, **changes: Any) -> int:
    """Accept a license with fee and bond, everything approved."""
    approve(world, FEE, BOND)
    return world.accept(upfront_fee=FEE, usage_bond=BOND, **changes)


def register(world: World, license_id: int, key: Account = LANE) -> int:
    registration = world.lane(license_id, key)
    signature = world.sign_lane(registration, key)
    return int(world.registry.registerLane(registration, signature, sender=world.people.buyer).value)


# -- paid, or no license -------------------------------------------------------------------------------------


def test_fee_and_bond_are_paid_in_the_moment_of_acceptance(world: World) -> None:
    license_id = accept_paid(world)
    assert world.token.balanceOf(world.people.buyer) == 0
    assert world.token.balanceOf(world.fees) == FEE
    assert world.token.balanceOf(world.license_bonds) == BOND
    assert world.license_bonds.bond(license_id) == world.license_bonds.agreedBond(license_id) == BOND
    assert world.fees.upfront(license_id)[0] == FEE


def untouched(world: World, nonce: int) -> bool:
    """Whether no license came to be, and the offer can still be accepted."""
    nothing_held = world.token.balanceOf(world.fees) == world.token.balanceOf(world.license_bonds) == 0
    used = world.registry.offerUsed(world.people.steward, nonce)
    return bool(world.registry.licenseCount() == 0 and not used and nothing_held)


@pytest.mark.parametrize(
    ("fee", "bond", "funds"),
    [
        (FEE - 1, BOND, FEE + BOND),
        (FEE, BOND - 1, FEE + BOND),
        (FEE, BOND, FEE + BOND - 1),
        (FEE, BOND, FEE),
        (0, 0, FEE + BOND),
    ],
)
def test_whatever_is_not_paid_undoes_everything(world: World, fee: int, bond: int, funds: int) -> None:
    """The bond is pulled second: with the fee gone already, nothing of it may stay paid."""
    approve(world, fee, bond, funds=funds)
    offer = world.offer(upfront_fee=FEE, usage_bond=BOND)
    signature = world.sign_offer(offer)
    with pytest.raises(Reverted, match="ERC20Insufficient"):
        world.registry.accept(offer, signature, sender=world.people.buyer)
    assert untouched(world, offer.nonce)
    assert world.token.balanceOf(world.people.buyer) == funds
    approve(world, FEE, BOND)
    assert world.registry.accept(offer, signature, sender=world.people.buyer).value == 1


def test_a_paused_token_makes_no_license(world: World) -> None:
    approve(world, FEE, BOND)
    offer = world.offer(upfront_fee=FEE, usage_bond=BOND)
    world.token.setPaused(True, sender=world.people.stranger)
    with pytest.raises(Reverted, match="TestUSDC_Paused"):
        world.registry.accept(offer, world.sign_offer(offer), sender=world.people.buyer)
    assert untouched(world, offer.nonce)


@pytest.mark.parametrize("terms", [{"upfront_fee": FEE}, {"usage_bond": BOND}], ids=["fee", "bond"])
def test_a_token_that_keeps_a_part_makes_no_license(terms: dict[str, int]) -> None:
    world = World(Evm(), "FeeToken", (1,))
    buyer = world.people.buyer
    world.token.mint(buyer, 10_000, sender=buyer)
    for collector in (world.fees, world.license_bonds):
        world.token.approve(collector, 10_000, sender=buyer)
    offer = world.offer(**terms)
    with pytest.raises(Reverted, match=r"License(Fees|Bonds)_WrongDelta"):
        world.registry.accept(offer, world.sign_offer(offer), sender=buyer)
    assert untouched(world, offer.nonce)


def test_a_free_offer_asks_neither_fees_nor_bonds(world: World) -> None:
    license_id = world.accept()
    assert world.license_bonds.agreedBond(license_id) == 0
    assert world.fees.upfront(license_id)[0] == 0


def test_inv_31_only_the_buyer_who_accepts_pays(world: World) -> None:
    """Somebody with money and generous approvals cannot be made to pay for another's license."""
    approve(world, 10_000, 10_000)
    attacker = world.people.stranger
    offer = world.offer(buyer=bytes.fromhex(attacker.address[2:]), upfront_fee=FEE, usage_bond=BOND)
    with pytest.raises(Reverted, match="ERC20Insufficient"):
        world.registry.accept(offer, world.sign_offer(offer), sender=attacker)
    for victims in (world.offer(upfront_fee=FEE), world.offer(usage_bond=BOND)):
        with pytest.raises(Reverted, match="LicenseRegistry_WrongBuyer"):
            world.registry.accept(victims, world.sign_offer(victims), sender=attacker)
    assert world.token.balanceOf(world.people.buyer) == 20_000


@pytest.fixture
def called_back() -> World:
    """A token that calls back while fee and bond are pulled, and that is itself the buyer."""
    world = World(Evm(), "CallbackToken")
    token = world.token
    token.mint(token, 10_000, sender=world.people.stranger)
    for collector in (world.fees, world.license_bonds):
        token.act(token, token.calldata("approve", collector, 10_000), sender=world.people.stranger)
    return world


def test_inv_35_a_license_accepted_within_anothers_acceptance_is_whole_or_not_at_all(
    called_back: World,
) -> None:
    world, token = called_back, called_back.token
    buyer = bytes.fromhex(token.address[2:])
    free, paid = world.offer(buyer=buyer), world.offer(buyer=buyer, upfront_fee=FEE)
    for inner, goes in ((free, True), (paid, False)):
        call = world.registry.calldata("accept", inner, world.sign_offer(inner))
        token.arm(world.registry, call, 1, sender=world.people.stranger)
        outer = world.accept(buyer=token, upfront_fee=FEE, usage_bond=BOND)
        assert token.callsLeft() == 0
        assert world.registry.offerUsed(world.people.steward, inner.nonce) is goes
        assert world.registry.licenseCount() == outer + goes
        assert world.license_bonds.bond(outer) == BOND
    assert (token.callbacksSucceeded(), token.callbacksFailed()) == (1, 1)
    assert token.balanceOf(world.fees) == 2 * FEE
    assert token.balanceOf(world.license_bonds) == 2 * BOND


def test_inv_35_a_buyer_who_leaves_before_the_bond_is_pulled_has_paid_it(called_back: World) -> None:
    world, token = called_back, called_back.token
    token.arm(world.registry, world.registry.calldata("coolOff", 1), 1, sender=world.people.stranger)
    license_id = world.accept(buyer=token, upfront_fee=FEE, usage_bond=BOND)
    assert (license_id, token.callbacksSucceeded()) == (1, 1)
    assert world.registry.cooledOff(license_id)
    assert world.license_bonds.bond(license_id) == BOND
    assert world.fees.upfront(license_id)[0] == FEE


@pytest.mark.parametrize(("fee", "bond"), [(MAX_UINT96, MAX_UINT96)])
def test_the_largest_fee_and_bond_are_collected_whole(world: World, fee: int, bond: int) -> None:
    approve(world, fee, bond)
    license_id = world.accept(upfront_fee=fee, usage_bond=bond)
    assert world.license_bonds.bond(license_id) == bond
    assert world.token.balanceOf(world.fees) == fee


def test_terms_that_are_opened_later_are_accepted_as_they_are(world: World) -> None:
    """Milestones and royalty are hashes here; LicenseFees holds their opening against the signed offer."""
    offer = world.offer(milestones_hash=b"\1" * 32, royalty_hash=b"\2" * 32)
    made = world.registry.accept(offer, world.sign_offer(offer), sender=world.people.buyer)
    found = world.registry.license(made.value)
    assert found.offerHash == world.registry.hashOffer(offer)


# -- the least bond ------------------------------------------------------------------------------------------


def test_a_bond_covers_the_epochs_that_hiding_can_take(world: World) -> None:
    world.registry.setBondEpochs(3, sender=world.people.council)
    cap = 100
    with pytest.raises(Reverted, match="LicenseRegistry_BondTooSmall") as refused:
        world.accept(max_charge_per_epoch=cap, usage_bond=299)
    assert refused.value.arguments == (299, 300)
    approve(world, 0, 300)
    world.accept(max_charge_per_epoch=cap, usage_bond=300)


@given(
    st.one_of(st.integers(1, 10**6), st.integers(1, MAX_UINT96)),
    st.integers(0, 2**16 - 1),
    st.sampled_from([-1, 0, 1]),
)
def test_the_least_bond_is_cap_times_epochs_without_wrapping(
    shared_world: World, cap: int, epochs: int, off: int
) -> None:
    world, bond = shared_world, cap * epochs + off
    if not 0 <= bond <= MAX_UINT96:
        return
    with world.evm.undone():
        world.registry.setBondEpochs(epochs, sender=world.people.council)
        approve(world, 0, bond)
        if bond >= cap * epochs:
            world.accept(max_charge_per_epoch=cap, usage_bond=bond)
        else:
            with pytest.raises(Reverted, match="LicenseRegistry_BondTooSmall"):
                world.accept(max_charge_per_epoch=cap, usage_bond=bond)


def test_a_cap_whose_least_bond_fits_no_type_is_refused(world: World) -> None:
    world.registry.setBondEpochs(2, sender=world.people.council)
    with pytest.raises(Reverted, match="LicenseRegistry_BondTooSmall"):
        world.accept(max_charge_per_epoch=MAX_UINT96, usage_bond=MAX_UINT96)


def test_inv_34_a_later_rule_asks_nothing_of_licenses_that_exist(world: World) -> None:
    license_id = world.accept()
    before = world.registry.pricing(license_id)
    world.registry.setBondEpochs(100, sender=world.people.council)
    world.deposit(license_id, 10)
    assert world.registry.pricing(license_id) == before
    assert world.registry.bondEpochs() == 100


# -- the community -------------------------------------------------------------------------------------------


def test_inv_34_a_license_keeps_the_community_of_its_acceptance(world: World) -> None:
    first, later = world.accept(), account("later community")
    receipt: Receipt = world.registry.setCommunity(later, sender=world.people.council)
    assert [event.community for event in receipt.named("CommunitySet")] == [later.address]
    second = world.accept()
    assert world.registry.communityOf(first) == world.people.community.address
    assert world.registry.communityOf(second) == world.registry.community() == later.address
    world.deposit(first, 1_000)
    world.settle([(first, 1_000, 1_000)])
    world.splitter.payShare(first, 0, sender=world.people.stranger)
    assert world.token.balanceOf(world.people.community) == 100


def test_nobody_is_no_community(world: World) -> None:
    with pytest.raises(Reverted, match="LicenseRegistry_ZeroAddress"):
        world.registry.setCommunity(ZERO_ADDRESS, sender=world.people.council)
    for license_id in (0, 1):
        with pytest.raises(Reverted, match="LicenseRegistry_UnknownLicense"):
            world.registry.communityOf(license_id)


# -- leaving early -------------------------------------------------------------------------------------------


def test_a_buyer_who_cools_off_ends_the_license_and_is_remembered(world: World) -> None:
    license_id = world.accept()
    assert not world.registry.cooledOff(license_id)
    world.registry.coolOff(license_id, sender=world.people.buyer)
    assert world.registry.cooledOff(license_id)
    assert world.registry.license(license_id).endsAt == world.evm.timestamp
    with pytest.raises(Reverted, match="LicenseRegistry_AlreadyCooledOff"):
        world.registry.coolOff(license_id, sender=world.people.buyer)


def test_a_stewards_notice_does_not_take_the_cooling_off_away(world: World) -> None:
    """No notice agreed: the steward takes the fee and ends the license in the same block. What the buyer may
    have back for leaving early stays theirs."""
    license_id = accept_paid(world, notice_seconds=0)
    world.registry.giveNotice(license_id, sender=world.people.steward)
    end = world.registry.license(license_id).endsAt
    world.evm.warp(DAY)
    world.registry.coolOff(license_id, sender=world.people.buyer)
    assert world.registry.cooledOff(license_id)
    assert world.registry.license(license_id).endsAt == end
    world.fees.refundUpfront(license_id, world.people.buyer, sender=world.people.buyer)
    assert world.token.balanceOf(world.people.buyer) == FEE


def test_only_the_buyer_cools_off_and_only_in_time(world: World) -> None:
    license_id = world.accept()
    for caller in (world.people.steward, world.people.council, world.people.stranger):
        with pytest.raises(Reverted, match="LicenseRegistry_NotBuyer"):
            world.registry.coolOff(license_id, sender=caller)
    world.evm.warp(3 * DAY - 1)
    with world.evm.undone():
        world.registry.coolOff(license_id, sender=world.people.buyer)
    world.evm.warp(1)
    with pytest.raises(Reverted, match="LicenseRegistry_CoolingOffOver"):
        world.registry.coolOff(license_id, sender=world.people.buyer)
    assert not world.registry.cooledOff(license_id)


# -- rosters -------------------------------------------------------------------------------------------------


def test_every_roster_root_is_kept_with_its_time(world: World) -> None:
    first, second = world.accept(), world.accept()
    expected = []
    for root in (b"\1" * 32, b"\2" * 32, b"\1" * 32):
        world.evm.warp(60)
        world.registry.setRoster(first, root, sender=world.people.steward)
        expected.append((root, world.evm.timestamp))
    assert world.registry.rosterCount(first) == 3
    assert [tuple(world.registry.rosterAt(first, index)) for index in range(3)] == expected
    assert world.registry.rosterCount(second) == 0
    assert world.registry.license(first).rosterRoot == b"\1" * 32
    with pytest.raises(Reverted, match="Panic"):
        world.registry.rosterAt(first, 3)


def test_a_refused_roster_leaves_no_trace(world: World) -> None:
    license_id = world.accept()
    with pytest.raises(Reverted, match="LicenseRegistry_NotSteward"):
        world.registry.setRoster(license_id, b"\1" * 32, sender=world.people.buyer)
    with pytest.raises(Reverted, match="LicenseRegistry_ZeroRosterRoot"):
        world.registry.setRoster(license_id, bytes(32), sender=world.people.steward)
    assert world.registry.rosterCount(license_id) == 0


# -- lanes ---------------------------------------------------------------------------------------------------


def test_lanes_are_counted_by_license(world: World) -> None:
    first, second = world.accept(), world.accept()
    for number in range(3):
        register(world, first, account(f"lane {number}"))
    register(world, second)
    assert [world.registry.laneCountOf(number) for number in (first, second, 3)] == [3, 1, 0]
    assert world.registry.laneCount() == 4
    assert world.registry.communityOf(first) == world.people.community.address


def test_a_lane_is_revoked_once_by_proofs_alone(world: World) -> None:
    number = register(world, world.accept())
    people = world.people
    for caller in (people.steward, people.council, people.guardian, people.buyer, world.disputes):
        with pytest.raises(Reverted, match="LicenseRegistry_OnlyChallenges"):
            world.registry.revokeLane(number, sender=caller)
    assert world.registry.laneRevokedAt(number) == 0
    receipt = world.registry.revokeLane(number, sender=world.challenges)
    assert [(event.laneNumber, event.lane) for event in receipt.named("LaneRevoked")] == [
        (number, LANE.address)
    ]
    revoked = world.evm.timestamp
    world.evm.warp(60)
    assert world.registry.revokeLane(number, sender=world.challenges).events == ()
    assert world.registry.laneRevokedAt(number) == revoked


def test_a_lane_that_does_not_exist_is_not_revoked(world: World) -> None:
    register(world, world.accept())
    with pytest.raises(Reverted, match="Panic"):
        world.registry.revokeLane(1, sender=world.challenges)


# -- construction --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["authority", "token", "fees", "bonds", "challenges", "community"])
def test_a_registry_without_a_neighbor_is_refused(world: World, missing: str) -> None:
    plain = {
        "authority": world.manager,
        "token": world.token,
        "fees": world.fees,
        "bonds": world.license_bonds,
        "challenges": world.challenges,
        "community": world.people.community,
    }
    arguments = (plain | {missing: ZERO_ADDRESS}).values()
    with pytest.raises(Reverted, match="LicenseRegistry_ZeroAddress") as refused:
        world.evm.deploy("LicenseRegistry", *arguments, sender=world.people.admin)
    assert refused.value.arguments == (missing,)
