"""CouncilRegister: declared interests, auditors in office, findings that they signed.

Revert paths. Constructor: ZeroAddress. declareInterests: ZeroHash. appointAuditor: AccessManagedUnauthorized,
ZeroAddress, ZeroHash, BadTerm. removeAuditor: AccessManagedUnauthorized, NotAuditor. resign: NotAuditor.
publishFinding: NotAuditor, ZeroHash, FindingPublished, BadFindingSignature. Ether: refused.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.evm.chain import Contract, Evm, Reverted
from tests.contracts.evm.world import World
from tests.contracts.wire import ZERO_ADDRESS, Account, account, keccak, sign, typed_digest

AUDITOR = account("auditor")
STRANGER = account("stranger")
YEAR = 365 * 86_400
MANDATE = keccak(b"terms of reference")
DOCUMENT = keccak(b"I sit on the board of a hospital")
SUBJECT = keccak(b"report 12")
FINDING = keccak(b"no deviation was found")
REASON = keccak(b"conflict of interest")


@pytest.fixture
def register(world: World) -> Contract:
    return world.council_register


@pytest.fixture
def appointed(world: World, register: Contract) -> Contract:
    """The register, with an auditor in office for a year."""
    register.appointAuditor(AUDITOR, world.evm.timestamp + YEAR, MANDATE, sender=world.people.council)
    return register


def finding(register: Contract, **changes: Any) -> tuple[Any, ...]:
    plain = {
        "auditor": AUDITOR.address,
        "subject": SUBJECT,
        "finding": FINDING,
        "at": register.chain.timestamp,
    } | changes
    return (plain["auditor"], plain["subject"], plain["finding"], plain["at"])


def signed(register: Contract, values: tuple[Any, ...], signer: Account = AUDITOR, **where: Any) -> bytes:
    domain = {"chain_id": register.chain.chain_id, "contract": register.address} | where
    digest = typed_digest("Usufruct Register", domain["chain_id"], domain["contract"], "AuditFinding", values)
    return sign(signer.key, digest).full


def test_a_register_needs_an_authority(evm: Evm) -> None:
    with pytest.raises(Reverted, match="CouncilRegister_ZeroAddress"):
        evm.deploy("CouncilRegister", ZERO_ADDRESS, sender=STRANGER)


def test_anyone_declares_for_themself_and_the_newest_counts(world: World, register: Contract) -> None:
    steward = world.people.steward
    assert tuple(register.declaration(steward)) == (bytes(32), 0, 0)
    register.declareInterests(DOCUMENT, sender=steward)
    world.evm.warp(60)
    later = keccak(b"not any more")
    receipt = register.declareInterests(later, sender=steward)
    (event,) = receipt.named("InterestsDeclared")
    assert (event.account, event.number, event.declarationHash) == (steward.address, 2, later)
    assert tuple(register.declaration(steward)) == (later, world.evm.timestamp, 2)
    assert register.declaration(STRANGER).number == 0
    with pytest.raises(Reverted, match="CouncilRegister_ZeroHash"):
        register.declareInterests(bytes(32), sender=steward)


def test_the_council_appoints_and_removes(world: World, appointed: Contract) -> None:
    council, evm = world.people.council, world.evm
    assert appointed.isAuditor(AUDITOR)
    assert tuple(appointed.auditor(AUDITOR)) == (evm.timestamp, evm.timestamp + YEAR, MANDATE)
    receipt = appointed.removeAuditor(AUDITOR, REASON, sender=council)
    (event,) = receipt.named("AuditorRemoved")
    assert (event.auditor, event.by, event.reasonHash) == (AUDITOR.address, council.address, REASON)
    assert not appointed.isAuditor(AUDITOR)
    with pytest.raises(Reverted, match="CouncilRegister_NotAuditor"):
        appointed.removeAuditor(AUDITOR, REASON, sender=council)


def test_a_term_ends_by_itself_and_can_be_given_anew(world: World, appointed: Contract) -> None:
    world.evm.warp(YEAR - 1)
    assert appointed.isAuditor(AUDITOR)
    world.evm.warp(1)
    assert not appointed.isAuditor(AUDITOR)
    with pytest.raises(Reverted, match="CouncilRegister_NotAuditor"):
        appointed.resign(REASON, sender=AUDITOR)
    again = world.evm.timestamp + YEAR
    appointed.appointAuditor(AUDITOR, again, MANDATE, sender=world.people.council)
    assert appointed.auditor(AUDITOR).termEndsAt == again


def test_an_auditor_steps_down(appointed: Contract) -> None:
    with pytest.raises(Reverted, match="CouncilRegister_NotAuditor"):
        appointed.resign(REASON, sender=STRANGER)
    receipt = appointed.resign(REASON, sender=AUDITOR)
    assert receipt.named("AuditorRemoved")[0].by == AUDITOR.address
    assert not appointed.isAuditor(AUDITOR)


def test_nobody_else_appoints_or_removes(world: World, appointed: Contract) -> None:
    people = world.people
    term = world.evm.timestamp + YEAR
    for caller in (people.guardian, people.steward, AUDITOR, STRANGER):
        with pytest.raises(Reverted, match="AccessManagedUnauthorized"):
            appointed.appointAuditor(caller, term, MANDATE, sender=caller)
        with pytest.raises(Reverted, match="AccessManagedUnauthorized"):
            appointed.removeAuditor(AUDITOR, REASON, sender=caller)


@pytest.mark.parametrize(
    ("auditor", "term", "mandate", "error"),
    [
        (ZERO_ADDRESS, YEAR, MANDATE, "CouncilRegister_ZeroAddress"),
        (AUDITOR.address, YEAR, bytes(32), "CouncilRegister_ZeroHash"),
        (AUDITOR.address, 0, MANDATE, "CouncilRegister_BadTerm"),
    ],
)
def test_what_an_appointment_must_have(
    world: World, register: Contract, auditor: str, term: int, mandate: bytes, error: str
) -> None:
    with pytest.raises(Reverted, match=error):
        register.appointAuditor(auditor, world.evm.timestamp + term, mandate, sender=world.people.council)


def test_anyone_publishes_what_an_auditor_signed_once(world: World, appointed: Contract) -> None:
    values = finding(appointed)
    digest = appointed.hashFinding(values)
    signature = signed(appointed, values)
    assert appointed.findingPublishedAt(digest) == 0
    (event,) = appointed.publishFinding(values, signature, sender=STRANGER).named("FindingPublished")
    assert (event.auditor, event.subject, event.findingHash, event.digest) == (*values[:3], digest)
    assert appointed.findingPublishedAt(digest) == world.evm.timestamp
    with pytest.raises(Reverted, match="CouncilRegister_FindingPublished"):
        appointed.publishFinding(values, signature, sender=STRANGER)


def test_inv_33_a_finding_needs_its_auditor_s_signature_for_this_chain_and_register(
    appointed: Contract,
) -> None:
    values = finding(appointed)
    for wrong in (
        signed(appointed, values, STRANGER),
        signed(appointed, values, chain_id=1),
        signed(appointed, values, contract=STRANGER.address),
        signed(appointed, finding(appointed, finding=REASON)),
        signed(appointed, finding(appointed, subject=REASON)),
        signed(appointed, finding(appointed, at=1)),
        b"",
    ):
        with pytest.raises(Reverted, match="CouncilRegister_BadFindingSignature"):
            appointed.publishFinding(values, wrong, sender=STRANGER)


def test_a_finding_of_nobody_in_office_is_refused(world: World, appointed: Contract) -> None:
    stranger = finding(appointed, auditor=STRANGER.address)
    with pytest.raises(Reverted, match="CouncilRegister_NotAuditor"):
        appointed.publishFinding(stranger, signed(appointed, stranger, STRANGER), sender=STRANGER)
    nothing = finding(appointed, finding=bytes(32))
    with pytest.raises(Reverted, match="CouncilRegister_ZeroHash"):
        appointed.publishFinding(nothing, signed(appointed, nothing), sender=STRANGER)
    values = finding(appointed)
    world.evm.warp(YEAR)
    with pytest.raises(Reverted, match="CouncilRegister_NotAuditor"):
        appointed.publishFinding(values, signed(appointed, values), sender=STRANGER)


def test_an_auditor_may_be_a_contract(world: World, register: Contract) -> None:
    owner = account("auditing firm")
    firm = world.evm.deploy("ContractWallet", owner, sender=owner)
    register.appointAuditor(firm, world.evm.timestamp + YEAR, MANDATE, sender=world.people.council)
    values = finding(register, auditor=firm.address)
    register.publishFinding(values, signed(register, values, owner), sender=STRANGER)
    with pytest.raises(Reverted, match="CouncilRegister_BadFindingSignature"):
        register.publishFinding(changed_at(values, 1), signed(register, values, owner), sender=STRANGER)


def changed_at(values: tuple[Any, ...], at: int) -> tuple[Any, ...]:
    return (*values[:3], at)


def test_ether_is_refused(world: World, register: Contract) -> None:
    world.evm.fund_ether(STRANGER.address, 10)
    for call in (b"", register.calldata("declareInterests", DOCUMENT)):
        with pytest.raises(Reverted):
            world.evm.raw_call(STRANGER, register.address, call, value=1)
    assert world.evm.ether(register.address) == 0
