"""RemovalDuties: what a revocation asks of a buyer, and what a use after consent costs."""

from dataclasses import replace

import pytest
from brownie import ZERO_ADDRESS
from usufruct_protocol.forbidden_use import open_row, open_used_record
from usufruct_protocol.receipts import UsageList, merge_usage, usage_root

from tests.contracts.functional.scene import later, now, reverts, until
from tests.contracts.rosters import FOREVER_MS, RECORDS, revoke_tag, roster_of, secret
from tests.contracts.wire import ZERO_HASH, as_abi, keccak

DAY = 86_400
BOND = 10_000_000
REMOVE_RETRIEVAL, REMOVE_TRAINING = 0, 1
METERED_BY_RETRIEVAL = 5
TERMS = {REMOVE_RETRIEVAL: 30 * DAY, REMOVE_TRAINING: 180 * DAY}
ATTESTATION = keccak(b"we removed it")


@pytest.fixture
def license_id(accept_bonded):
    """A bonded license whose calls name the records that they use."""
    return accept_bonded(BOND, meter_kind=METERED_BY_RETRIEVAL)


@pytest.fixture
def revoked(consent_log, stranger):
    """Consent that somebody has revoked; returns its tag."""
    consent_log.forceRevoke(secret(0), {"from": stranger})
    return revoke_tag(0)


@pytest.fixture
def open_duty(duties, license_id, revoked, steward):
    """The steward asks for removal."""

    def opened(kind=REMOVE_RETRIEVAL, by=steward):
        return duties.openDuty(license_id, kind, revoked, {"from": by})

    return opened


# -- removal by a deadline ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [REMOVE_RETRIEVAL, REMOVE_TRAINING])
def test_a_duty_that_is_done_costs_nothing(duties, license_bonds, license_id, open_duty, buyer, kind):
    made = open_duty(kind)
    assert made.events["DutyOpened"]["dueBy"] == made.timestamp + TERMS[kind]
    assert duties.openFor(license_id) == 1
    with reverts("LicenseBonds_DutyOpen"):
        license_bonds.withdraw(license_id, buyer, {"from": buyer})
    duties.attestRemoval(license_id, kind, 1, ATTESTATION, {"from": buyer})
    assert duties.openFor(license_id) == 0
    assert license_bonds.bond(license_id) == BOND


def test_a_duty_that_is_not_done_costs_the_bond(
    duties, license_bonds, license_id, open_duty, buyer, stranger, config
):
    due_by = open_duty().events["DutyOpened"]["dueBy"]
    with reverts("RemovalDuties_NotDue"):
        duties.enforceDuty(license_id, REMOVE_RETRIEVAL, 1, {"from": stranger})
    until(due_by + 1)
    with reverts("RemovalDuties_Overdue"):
        duties.attestRemoval(license_id, REMOVE_RETRIEVAL, 1, ATTESTATION, {"from": buyer})
    duties.enforceDuty(license_id, REMOVE_RETRIEVAL, 1, {"from": stranger})
    assert license_bonds.bond(license_id) == 0
    assert license_bonds.credit(config.remediation_fund) == BOND


def test_a_duty_is_opened_once_by_the_steward(open_duty, stranger):
    with reverts("RemovalDuties_NotSteward"):
        open_duty(by=stranger)
    open_duty()
    with reverts("RemovalDuties_AlreadyOpened"):
        open_duty()


def test_a_duty_needs_a_revocation(duties, license_id, steward):
    with reverts("RemovalDuties_NotRevoked"):
        duties.openDuty(license_id, REMOVE_RETRIEVAL, revoke_tag(1), {"from": steward})


def test_removal_is_attested_by_the_buyer_and_in_order(duties, license_id, open_duty, buyer, stranger):
    open_duty()
    with reverts("RemovalDuties_NotBuyer"):
        duties.attestRemoval(license_id, REMOVE_RETRIEVAL, 1, ATTESTATION, {"from": stranger})
    with reverts("RemovalDuties_ZeroAttestation"):
        duties.attestRemoval(license_id, REMOVE_RETRIEVAL, 1, ZERO_HASH, {"from": buyer})
    for up_to in (0, 2):
        with reverts("RemovalDuties_BadRange"):
            duties.attestRemoval(license_id, REMOVE_RETRIEVAL, up_to, ATTESTATION, {"from": buyer})


# -- use after consent --------------------------------------------------------------------------------------


class Use:
    """One call with a record, and the proof that it was made."""

    def __init__(self, lane, roster):
        usage = UsageList(merge_usage([(RECORDS[0], 1)]), keccak(b"list"))
        receipt = replace(lane.serve(10), usage_root=usage_root(usage.entries, usage.salt))
        self.evidence = as_abi(
            (
                lane.signed(receipt),
                open_used_record(usage, RECORDS[0]),
                0,
                [open_row(roster, RECORDS[0])],
            )
        )


@pytest.fixture
def serve(registry, license_id, gateway, steward):
    """Sets a roster with these intervals for the record, waits for two days and makes a call with it."""
    lane = gateway(license_id)

    def served(*intervals):
        roster = roster_of({RECORDS[0]: intervals})
        registry.setRoster(license_id, roster.root, {"from": steward})
        later(2 * DAY)
        return Use(lane, roster)

    return served


def test_a_use_after_consent_costs_three_times_its_price(
    duties, license_bonds, license_id, serve, stranger, config
):
    use = serve((0, now() * 1_000, revoke_tag(0)))
    event = duties.penalizeUse(use.evidence, {"from": stranger}).events["ForbiddenUsePenalized"]
    assert (event["licenseId"], event["penalty"], event["slashed"]) == (license_id, 30, 30)
    assert license_bonds.bond(license_id) == BOND - 30
    assert license_bonds.credit(config.remediation_fund) == 30
    with reverts("RemovalDuties_AlreadyPenalized"):
        duties.penalizeUse(use.evidence, {"from": stranger})


def test_a_use_after_a_revocation_costs_the_same(duties, serve, revoked, stranger):
    use = serve((0, FOREVER_MS, revoked))
    assert (
        duties.penalizeUse(use.evidence, {"from": stranger}).events["ForbiddenUsePenalized"]["slashed"] == 30
    )


def test_a_use_with_consent_costs_nothing_more(duties, serve, stranger):
    use = serve((0, FOREVER_MS, revoke_tag(0)))
    with reverts("RemovalDuties_NotForbidden"):
        duties.penalizeUse(use.evidence, {"from": stranger})


def test_a_penalty_needs_a_record_that_was_used(duties, serve, stranger):
    use = serve((0, now() * 1_000, revoke_tag(0)))
    signed, used, first, rows = use.evidence
    other = (RECORDS[1], *used[1:])
    with reverts("LaneTree_WrongProof"):
        duties.penalizeUse((signed, other, first, rows), {"from": stranger})
    with reverts("RemovalDuties_RosterMissing"):
        duties.penalizeUse((signed, used, first, []), {"from": stranger})


@pytest.mark.parametrize("missing", ["registry", "consentLog", "bonds", "settlement"])
def test_duties_know_their_neighbors(build, missing):
    with reverts("RemovalDuties_ZeroAddress"):
        build("RemovalDuties", **{missing: ZERO_ADDRESS})
