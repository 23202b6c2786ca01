"""CreditLedger: credits that are granted by root, spent by their holder, and never move."""

import pytest
from brownie import ZERO_ADDRESS, chain
from usufruct_protocol.considerations import CreditGrant, CreditLeaf, RedemptionReceipt

from tests.contracts.functional.scene import now, raw, reverts, until
from tests.contracts.wire import ZERO_HASH, account, keccak, sign, typed_digest

REQUEST, DOCUMENT = keccak(b"request"), keccak(b"document")


@pytest.fixture
def program(credits, license_id, buyer):
    """A program of the license's buyer, one base unit per credit, for 1,000 seconds."""
    credits.openProgram(license_id, 1, now() + 1_000, DOCUMENT, {"from": buyer})
    return credits.programCount()


@pytest.fixture
def leaves(payee, stranger):
    """Ten credits for the payee, twenty for the stranger."""
    salts = keccak(b"salt 0"), keccak(b"salt 1")
    holders = (payee, 10), (stranger, 20)
    return CreditGrant(
        tuple(CreditLeaf(raw(who), amount, salt) for (who, amount), salt in zip(holders, salts, strict=True))
    )


@pytest.fixture
def grant(credits, program, leaves, buyer):
    """They are granted; returns the grant."""
    credits.grant(program, leaves.root, 2, leaves.total, {"from": buyer})
    return credits.grantCount()


@pytest.fixture
def redeem(credits, grant, leaves, payee):
    """The payee, or somebody else, spends credits of a leaf."""

    def redeemed(amount, index=0, by=payee):
        leaf = leaves.leaves[index]
        opening = (grant, index, leaf.amount, leaf.salt, leaves.proof(index))
        return credits.redeem(*opening, amount, REQUEST, {"from": by})

    return redeemed


def test_a_holder_spends_credits(credits, grant, redeem, payee):
    event = redeem(4).events["CreditsRedeemed"]
    assert (event["grantId"], event["holder"], event["amount"]) == (grant, payee, 4)
    redeem(6)
    assert credits.redeemedOf(grant, 0) == 10
    with reverts("CreditLedger_OverGranted"):
        redeem(1)


def test_credits_belong_to_their_holder(redeem, stranger):
    with reverts("LaneTree_WrongProof"):
        redeem(1, index=0, by=stranger)


def test_credits_expire(credits, program, redeem):
    until(credits.program(program)["expiresAt"])
    with reverts("CreditLedger_Expired"):
        redeem(1)


def test_nothing_is_not_spent(redeem):
    with reverts("CreditLedger_ZeroAmount"):
        redeem(0)


def test_a_root_over_more_than_it_says_buys_no_more(credits, program, leaves, buyer, payee):
    credits.grant(program, leaves.root, 2, 3, {"from": buyer})
    leaf = leaves.leaves[0]
    opening = (credits.grantCount(), 0, leaf.amount, leaf.salt, leaves.proof(0))
    with reverts("CreditLedger_OverTotal"):
        credits.redeem(*opening, 4, REQUEST, {"from": payee})


def test_the_buyer_confirms_what_was_given(credits, redeem, buyer, stranger):
    redeem(4)
    with reverts("CreditLedger_BadReceipt"):
        credits.confirm(1, DOCUMENT, b"", {"from": stranger})
    credits.confirm(1, DOCUMENT, b"", {"from": buyer})
    assert credits.redemption(1)["confirmed"]
    with reverts("CreditLedger_AlreadyConfirmed"):
        credits.confirm(1, DOCUMENT, b"", {"from": buyer})


def test_the_buyers_signature_confirms_too(credits, grant, redeem, payee, stranger):
    redeem(4)
    receipt = RedemptionReceipt(1, grant, raw(payee), 4, REQUEST, DOCUMENT)
    digest = typed_digest("Usufruct Credits", chain.id, credits.address, "RedemptionReceipt", receipt)
    credits.confirm(1, DOCUMENT, sign(account("buyer").key, digest).full, {"from": stranger})
    assert credits.redemption(1)["confirmed"]


def test_only_the_buyer_opens_and_grants(credits, license_id, program, leaves, stranger):
    with reverts("CreditLedger_NotBuyer"):
        credits.openProgram(license_id, 1, now() + 1_000, DOCUMENT, {"from": stranger})
    with reverts("CreditLedger_NotBuyer"):
        credits.grant(program, leaves.root, 2, leaves.total, {"from": stranger})


def test_a_program_and_a_grant_are_of_something(credits, license_id, program, buyer):
    with reverts("CreditLedger_ZeroFairValue"):
        credits.openProgram(license_id, 0, now() + 1_000, DOCUMENT, {"from": buyer})
    with reverts("CreditLedger_BadExpiry"):
        credits.openProgram(license_id, 1, now(), DOCUMENT, {"from": buyer})
    with reverts("CreditLedger_EmptyGrant"):
        credits.grant(program, ZERO_HASH, 1, 1, {"from": buyer})
    with reverts("CreditLedger_UnknownProgram"):
        credits.grant(program + 1, REQUEST, 1, 1, {"from": buyer})


def test_a_ledger_knows_its_registry(build):
    with reverts("CreditLedger_ZeroAddress"):
        build("CreditLedger", registry=ZERO_ADDRESS)
