"""LicenseRegistry: offers, licenses, lanes, rosters."""

from dataclasses import replace

import pytest
from brownie import ZERO_ADDRESS

from tests.contracts.functional.scene import FLOORS, TEMPLATE, now, reverts, until
from tests.contracts.wire import account, as_abi, keccak

NOBODYS_LICENSE = 99


@pytest.fixture
def refuse(registry, offer, signed_offer, buyer):
    """Expects an error when the offer is accepted with changed terms."""

    def refused(error, **changes):
        terms = replace(offer, **changes)
        with reverts(error):
            registry.accept(as_abi(terms), signed_offer(terms), {"from": buyer})

    return refused


# -- accept -------------------------------------------------------------------------------------------------


def test_accept_numbers_licenses_from_one(accept, registry):
    assert [accept(nonce=nonce).return_value for nonce in (1, 2, 3)] == [1, 2, 3]
    assert registry.licenseCount() == 3


def test_accept_stores_the_terms(accept, registry, offer, steward, buyer):
    accept()
    found = registry.license(1)
    assert (found["buyer"], found["steward"]) == (buyer, steward)
    assert (found["startsAt"], found["endsAt"], found["acceptedAt"]) == (
        offer.starts_at,
        offer.ends_at,
        now(),
    )
    assert (found["meterKind"], found["suspended"]) == (offer.meter_kind, False)
    assert found["coolingOffSeconds"] == offer.cooling_off_seconds
    assert found["noticeSeconds"] == offer.notice_seconds
    assert bytes(found["collectionHash"]) == offer.collection_hash
    assert bytes(found["documentHash"]) == offer.document_hash
    assert bytes(found["offerHash"]) == bytes(registry.hashOffer(as_abi(offer)))
    assert bytes(found["rosterRoot"]) == bytes(32)


def test_accept_stores_the_pricing(accept, registry, offer):
    accept()
    found = registry.pricing(1)
    assert found["pricePerMillionUnits"] == offer.price_per_million_units
    assert found["maxChargePerEpoch"] == offer.max_charge_per_epoch
    shares = (offer.community_bps, offer.steward_bps, offer.platform_bps, offer.operators_bps)
    assert (found["communityBps"], found["stewardBps"], found["platformBps"], found["operatorsBps"]) == shares


def test_accept_tells_the_whole_offer(accept, registry, offer, steward, buyer):
    event = accept().events["LicenseAccepted"]
    assert (event["licenseId"], event["steward"], event["buyer"]) == (1, steward, buyer)
    assert event["offerHash"] == registry.hashOffer(as_abi(offer))
    assert event["offer"][7] == offer.price_per_million_units


def test_accept_marks_the_offer_used(accept, registry, offer, steward):
    accept()
    assert registry.offerUsed(steward, offer.nonce)


def test_accept_is_for_the_named_buyer(registry, offer, signed_offer, stranger):
    with reverts("LicenseRegistry_WrongBuyer"):
        registry.accept(as_abi(offer), signed_offer(offer), {"from": stranger})


def test_accept_refuses_an_expired_offer(refuse):
    refuse("LicenseRegistry_OfferExpired", deadline=now() - 1)


def test_accept_refuses_a_used_offer(accept, refuse):
    accept()
    refuse("LicenseRegistry_OfferUsed")


def test_accept_refuses_a_template_without_approval(refuse):
    refuse("LicenseRegistry_TemplateNotApproved", template_hash=keccak(b"another"))


def test_accept_refuses_another_token(refuse):
    refuse("LicenseRegistry_WrongToken", token=b"\1" * 20)


def test_accept_refuses_an_unknown_meter_kind(refuse):
    refuse("LicenseRegistry_UnknownMeterKind", meter_kind=6)


@pytest.mark.parametrize("contributors_bps", [6_999, 7_001])
def test_accept_refuses_shares_that_are_not_a_whole(refuse, contributors_bps):
    refuse("LicenseRegistry_SplitNotWhole", contributors_bps=contributors_bps)


def test_accept_refuses_too_little_for_contributors(refuse):
    refuse("LicenseRegistry_BelowFloor", contributors_bps=FLOORS[0] - 1, steward_bps=3_001)


def test_accept_refuses_too_little_for_the_community(refuse):
    refuse("LicenseRegistry_BelowFloor", community_bps=FLOORS[1] - 1, steward_bps=1_501)


def test_accept_refuses_a_term_that_ends_before_it_starts(refuse, offer):
    refuse("LicenseRegistry_BadTerm", starts_at=offer.ends_at)


def test_accept_refuses_a_term_that_is_over(refuse):
    refuse("LicenseRegistry_BadTerm", starts_at=now() - 10, ends_at=now())


def test_accept_refuses_an_end_beyond_its_type(refuse):
    refuse("LicenseRegistry_BadTerm", ends_at=2**48)


def test_accept_refuses_a_cap_of_nothing(refuse):
    refuse("LicenseRegistry_ZeroCap", max_charge_per_epoch=0)


def test_accept_takes_milestones_and_royalty_by_their_hashes(accept, registry):
    accept(milestones_hash=b"\1" * 32, royalty_hash=b"\2" * 32)
    assert registry.licenseCount() == 1


@pytest.fixture
def collectors(deployed, token, buyer):
    """Fees and bonds, which may pull 1,000 each of the buyer's 1,000."""
    found = deployed["fees"], deployed["license_bonds"]
    token.mint(buyer, 1_000, {"from": buyer})
    for collector in found:
        token.approve(collector, 1_000, {"from": buyer})
    return found


def test_accept_collects_fee_and_bond(accept, token, collectors):
    accept(upfront_fee=700, usage_bond=300)
    assert [token.balanceOf(collector) for collector in collectors] == [700, 300]


def test_accept_leaves_nothing_behind_if_the_bond_cannot_be_paid(refuse, registry, token, collectors):
    refuse("ERC20InsufficientBalance", upfront_fee=700, usage_bond=301)
    assert [token.balanceOf(collector) for collector in collectors] == [0, 0]
    assert registry.licenseCount() == 0


def test_accept_refuses_another_signer(registry, offer, signed_offer, buyer):
    with reverts("LicenseRegistry_BadStewardSignature"):
        registry.accept(as_abi(offer), signed_offer(offer, by="stranger"), {"from": buyer})


def test_cancel_offer_spends_its_nonce(registry, offer, steward, refuse):
    event = registry.cancelOffer(offer.nonce, {"from": steward}).events["OfferCanceled"]
    assert (event["steward"], event["nonce"]) == (steward, offer.nonce)
    refuse("LicenseRegistry_OfferUsed")


def test_cancel_offer_refuses_a_spent_nonce(accept, registry, offer, steward):
    accept()
    with reverts("LicenseRegistry_OfferUsed"):
        registry.cancelOffer(offer.nonce, {"from": steward})


# -- lanes --------------------------------------------------------------------------------------------------


def test_register_lane_numbers_lanes_from_zero(registry, license_id, register_lane):
    assert register_lane(license_id).return_value == 0
    assert registry.laneCount() == registry.laneCountOf(license_id) == 1
    assert tuple(registry.laneNumberOf(account("lane").address)) == (True, 0)


def test_register_lane_stores_and_tells_its_terms(registry, license_id, register_lane):
    event = register_lane(license_id).events["LaneRegistered"]
    terms = (event["lane"], event["licenseId"], event["validFrom"], event["validTo"], event["unitCap"])
    assert terms == (account("lane").address, license_id, 1_000, 2_000, 500)
    assert tuple(registry.laneAt(0)) == terms


def test_a_key_that_is_no_lane_is_said_to_be_none(registry, stranger):
    assert registry.laneNumberOf(stranger)[0] is False


def test_register_lane_needs_a_license(license_id, register_lane):
    with reverts("LicenseRegistry_UnknownLicense"):
        register_lane(NOBODYS_LICENSE)


def test_register_lane_is_for_the_buyer(license_id, register_lane, steward):
    with reverts("LicenseRegistry_NotBuyer"):
        register_lane(license_id, caller=steward)


def test_register_lane_needs_the_keys_own_signature(license_id, register_lane):
    with reverts("LicenseRegistry_BadLaneSignature"):
        register_lane(license_id, key=account("buyer").key)


def test_register_lane_refuses_a_registered_key(license_id, register_lane):
    register_lane(license_id)
    with reverts("LicenseRegistry_LaneTaken"):
        register_lane(license_id)


def test_register_lane_refuses_an_empty_validity(license_id, register_lane):
    with reverts("LicenseRegistry_BadLaneValidity"):
        register_lane(license_id, valid_to=1_000)


def test_register_lane_refuses_a_cap_of_nothing(license_id, register_lane):
    with reverts("LicenseRegistry_ZeroUnitCap"):
        register_lane(license_id, unit_cap=0)


def test_register_lane_refuses_an_ended_license(registry, license_id, register_lane, offer):
    until(offer.ends_at)
    with reverts("LicenseRegistry_LicenseEnded"):
        register_lane(license_id)


def test_register_lane_refuses_a_suspended_license(registry, license_id, register_lane, steward):
    registry.setSuspended(license_id, True, {"from": steward})
    with reverts("LicenseRegistry_LicenseSuspended"):
        register_lane(license_id)


def test_revoke_lane_is_for_challenges(registry, license_id, register_lane, council):
    register_lane(license_id)
    with reverts("LicenseRegistry_OnlyChallenges"):
        registry.revokeLane(0, {"from": council})
    assert registry.laneRevokedAt(0) == 0


# -- what steward and buyer may do with a license -----------------------------------------------------------


def test_set_roster_publishes_its_root(registry, license_id, steward):
    event = registry.setRoster(license_id, b"\1" * 32, {"from": steward}).events["RosterSet"]
    assert (event["licenseId"], bytes(event["rosterRoot"])) == (license_id, b"\1" * 32)
    assert bytes(registry.license(license_id)["rosterRoot"]) == b"\1" * 32


def test_set_roster_keeps_the_earlier_ones(registry, license_id, steward):
    made = [registry.setRoster(license_id, root * 32, {"from": steward}) for root in (b"\1", b"\2")]
    assert registry.rosterCount(license_id) == 2
    found = [registry.rosterAt(license_id, index) for index in range(2)]
    assert [bytes(root) for root, _ in found] == [b"\1" * 32, b"\2" * 32]
    assert [set_at for _, set_at in found] == [tx.timestamp for tx in made]


def test_set_roster_is_for_the_steward(registry, license_id, buyer):
    with reverts("LicenseRegistry_NotSteward"):
        registry.setRoster(license_id, b"\1" * 32, {"from": buyer})


def test_set_roster_refuses_zero(registry, license_id, steward):
    with reverts("LicenseRegistry_ZeroRosterRoot"):
        registry.setRoster(license_id, bytes(32), {"from": steward})


def test_set_roster_needs_a_license(registry, steward):
    with reverts("LicenseRegistry_UnknownLicense"):
        registry.setRoster(NOBODYS_LICENSE, b"\1" * 32, {"from": steward})


@pytest.mark.parametrize("party", ["buyer", "steward"])
def test_give_notice_ends_the_license_after_its_notice(registry, license_id, offer, accounts, party):
    tx = registry.giveNotice(license_id, {"from": account(party).address})
    end = tx.timestamp + offer.notice_seconds
    event = tx.events["LicenseEndSet"]
    assert (event["licenseId"], event["endsAt"], event["by"]) == (license_id, end, account(party).address)
    assert registry.license(license_id)["endsAt"] == end


def test_give_notice_is_for_the_parties(registry, license_id, council):
    with reverts("LicenseRegistry_NotParty"):
        registry.giveNotice(license_id, {"from": council})


def test_give_notice_refuses_an_ended_license(registry, license_id, offer, buyer):
    until(offer.ends_at)
    with reverts("LicenseRegistry_LicenseEnded"):
        registry.giveNotice(license_id, {"from": buyer})


def test_give_notice_needs_a_license(registry, buyer):
    with reverts("LicenseRegistry_UnknownLicense"):
        registry.giveNotice(NOBODYS_LICENSE, {"from": buyer})


def test_cool_off_ends_the_license_at_once(registry, license_id, buyer):
    tx = registry.coolOff(license_id, {"from": buyer})
    assert tx.events["LicenseEndSet"]["endsAt"] == tx.timestamp
    assert registry.license(license_id)["endsAt"] == tx.timestamp


def test_cool_off_is_for_the_buyer(registry, license_id, steward):
    with reverts("LicenseRegistry_NotBuyer"):
        registry.coolOff(license_id, {"from": steward})


def test_cool_off_has_a_limit(registry, license_id, offer, buyer):
    until(registry.license(license_id)["acceptedAt"] + offer.cooling_off_seconds)
    with reverts("LicenseRegistry_CoolingOffOver"):
        registry.coolOff(license_id, {"from": buyer})


def test_cool_off_happens_once(registry, license_id, buyer):
    assert not registry.cooledOff(license_id)
    registry.coolOff(license_id, {"from": buyer})
    assert registry.cooledOff(license_id)
    with reverts("LicenseRegistry_AlreadyCooledOff"):
        registry.coolOff(license_id, {"from": buyer})


def test_cool_off_works_after_the_stewards_notice(accept, registry, steward, buyer):
    accept(notice_seconds=0)
    end = registry.giveNotice(1, {"from": steward}).events["LicenseEndSet"]["endsAt"]
    registry.coolOff(1, {"from": buyer})
    assert (registry.cooledOff(1), registry.license(1)["endsAt"]) == (True, end)


def test_set_suspended_stops_and_resumes_lanes(registry, license_id, register_lane, steward):
    registry.setSuspended(license_id, True, {"from": steward})
    assert registry.license(license_id)["suspended"]
    event = registry.setSuspended(license_id, False, {"from": steward}).events["LicenseSuspensionSet"]
    assert (event["licenseId"], event["suspended"]) == (license_id, False)
    register_lane(license_id)


def test_set_suspended_is_for_the_steward(registry, license_id, buyer):
    with reverts("LicenseRegistry_NotSteward"):
        registry.setSuspended(license_id, True, {"from": buyer})


# -- what the council may do --------------------------------------------------------------------------------


def test_set_template_approves_and_withdraws(registry, council, refuse):
    event = registry.setTemplate(TEMPLATE, False, {"from": council}).events["TemplateSet"]
    assert (bytes(event["templateHash"]), event["approved"]) == (TEMPLATE, False)
    assert not registry.templateApproved(TEMPLATE)
    refuse("LicenseRegistry_TemplateNotApproved")


def test_set_template_is_for_the_council(registry, steward):
    with reverts("AccessManagedUnauthorized"):
        registry.setTemplate(TEMPLATE, True, {"from": steward})


def test_set_floors_binds_later_offers(registry, council, refuse):
    event = registry.setFloors(8_000, 0, {"from": council}).events["FloorsSet"]
    assert (event["contributorsBps"], event["communityBps"]) == (8_000, 0)
    assert tuple(registry.floors()) == (8_000, 0)
    refuse("LicenseRegistry_BelowFloor")


def test_set_floors_refuses_more_than_a_whole(registry, council):
    with reverts("LicenseRegistry_BadFloors"):
        registry.setFloors(9_000, 1_001, {"from": council})


def test_set_floors_is_for_the_council(registry, guardian):
    with reverts("AccessManagedUnauthorized"):
        registry.setFloors(0, 0, {"from": guardian})


def test_set_bond_epochs_asks_for_bonds(registry, council, offer, refuse):
    event = registry.setBondEpochs(2, {"from": council}).events["BondEpochsSet"]
    assert event["epochs"] == 2 == registry.bondEpochs()
    refuse("LicenseRegistry_BondTooSmall", usage_bond=2 * offer.max_charge_per_epoch - 1)


def test_set_community_is_for_later_licenses(accept, registry, council, community, stranger):
    accept(nonce=1)
    event = registry.setCommunity(stranger, {"from": council}).events["CommunitySet"]
    assert event["community"] == stranger == registry.community()
    accept(nonce=2)
    assert [registry.communityOf(number) for number in (1, 2)] == [community, stranger]


def test_set_community_refuses_nobody(registry, council):
    with reverts("LicenseRegistry_ZeroAddress"):
        registry.setCommunity(ZERO_ADDRESS, {"from": council})


def test_bond_epochs_and_community_are_for_the_council(registry, guardian):
    with reverts("AccessManagedUnauthorized"):
        registry.setBondEpochs(0, {"from": guardian})
    with reverts("AccessManagedUnauthorized"):
        registry.setCommunity(guardian, {"from": guardian})


# -- reading and building -----------------------------------------------------------------------------------


@pytest.mark.parametrize("license_id", [0, 1])
def test_a_license_that_does_not_exist_is_not_read_as_zeros(registry, stranger, license_id):
    with reverts("LicenseRegistry_UnknownLicense"):
        registry.license.transact(license_id, {"from": stranger})
    with reverts("LicenseRegistry_UnknownLicense"):
        registry.pricing.transact(license_id, {"from": stranger})
    with reverts("LicenseRegistry_UnknownLicense"):
        registry.communityOf.transact(license_id, {"from": stranger})


def test_the_token_is_fixed(registry, token):
    assert registry.token() == token


@pytest.mark.parametrize("missing", ["authority", "token", "fees", "bonds", "challenges", "community"])
def test_a_registry_needs_its_neighbors(build, missing):
    with reverts("LicenseRegistry_ZeroAddress"):
        build("LicenseRegistry", **{missing: ZERO_ADDRESS})
