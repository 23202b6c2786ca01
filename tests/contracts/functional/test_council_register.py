"""CouncilRegister: interests, auditors, signed findings."""

import pytest
from brownie import ZERO_ADDRESS, chain

from tests.contracts.functional.scene import now, raw, reverts, until
from tests.contracts.wire import ZERO_HASH, account, as_abi, keccak, sign, typed_digest

HASH = keccak(b"document")


@pytest.fixture
def auditor(accounts, council_register, council):
    """An auditor for a thousand seconds."""
    person = accounts.add(account("auditor").key)
    council_register.appointAuditor(person, now() + 1_000, HASH, {"from": council})
    return person


@pytest.fixture
def publish(council_register, auditor, stranger):
    """Somebody publishes a finding; returns the transaction."""

    def published(by="auditor", finding_hash=HASH):
        finding = (raw(auditor), keccak(b"subject"), finding_hash, now())
        digest = typed_digest(
            "Usufruct Register", chain.id, council_register.address, "AuditFinding", finding
        )
        signature = sign(account(by).key, digest).full
        return council_register.publishFinding(as_abi(finding), signature, {"from": stranger})

    return published


def test_people_declare_their_interests(council_register, steward):
    council_register.declareInterests(HASH, {"from": steward})
    event = council_register.declareInterests(keccak(b"more"), {"from": steward}).events["InterestsDeclared"]
    assert (event["account"], event["number"]) == (steward, 2)
    assert bytes(council_register.declaration(steward)["declarationHash"]) == keccak(b"more")
    with reverts("CouncilRegister_ZeroHash"):
        council_register.declareInterests(ZERO_HASH, {"from": steward})


def test_a_finding_is_published_with_its_hash(council_register, publish, auditor):
    made = publish()
    event = made.events["FindingPublished"]
    assert event["auditor"] == auditor
    assert council_register.findingPublishedAt(event["digest"]) == made.timestamp


def test_a_finding_is_an_auditors(publish):
    with reverts("CouncilRegister_BadFindingSignature"):
        publish(by="stranger")
    with reverts("CouncilRegister_ZeroHash"):
        publish(finding_hash=ZERO_HASH)


@pytest.mark.parametrize("end", ["term", "removal", "resignation"])
def test_an_auditors_term_ends(council_register, publish, auditor, council, end):
    if end == "term":
        until(council_register.auditor(auditor)["termEndsAt"])
    elif end == "removal":
        council_register.removeAuditor(auditor, HASH, {"from": council})
    else:
        council_register.resign(HASH, {"from": auditor})
    assert not council_register.isAuditor(auditor)
    with reverts("CouncilRegister_NotAuditor"):
        publish()


def test_only_the_council_appoints_and_removes(council_register, auditor, stranger, council):
    for call in (
        lambda: council_register.appointAuditor(stranger, now() + 1_000, HASH, {"from": stranger}),
        lambda: council_register.removeAuditor(auditor, HASH, {"from": stranger}),
    ):
        with reverts("AccessManagedUnauthorized"):
            call()
    with reverts("CouncilRegister_BadTerm"):
        council_register.appointAuditor(stranger, now(), HASH, {"from": council})
    with reverts("CouncilRegister_ZeroAddress"):
        council_register.appointAuditor(ZERO_ADDRESS, now() + 1_000, HASH, {"from": council})
