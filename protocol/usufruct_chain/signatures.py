"""What people and keys sign off chain, as digests and signatures of one deployment.

Every signature is bound to chain and contract by its EIP-712 domain (usufruct_protocol.eip712).
"""

from __future__ import annotations

from usufruct_protocol.eip712 import (
    DOMAIN_VERSION,
    LICENSES_DOMAIN_NAME,
    SETTLEMENT_DOMAIN_NAME,
    SPLITTER_DOMAIN_NAME,
    check_bytes,
    domain_separator,
    epoch_report_hash,
    lane_registration_hash,
    license_offer_hash,
    note_redirect_hash,
    typed_digest,
    uint_word,
)
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.report_types import EpochReport
from usufruct_protocol.signing import parse_address, sign_digest
from usufruct_protocol.terms import LaneRegistration, LicenseOffer, NoteRedirect

from usufruct_chain.deployment import Deployment

RECEIVE_WITH_AUTHORIZATION_TYPE_HASH = keccak256(
    b"ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,"
    b"bytes32 nonce)"
)


def settlement_domain(deployment: Deployment) -> bytes:
    """Return the domain separator of receipts, checkpoints and reports."""
    return _domain(SETTLEMENT_DOMAIN_NAME, deployment.chain_id, deployment.settlement)


def licenses_domain(deployment: Deployment) -> bytes:
    """Return the domain separator of license offers and lane registrations."""
    return _domain(LICENSES_DOMAIN_NAME, deployment.chain_id, deployment.registry)


def splitter_domain(deployment: Deployment) -> bytes:
    """Return the domain separator of note redirects."""
    return _domain(SPLITTER_DOMAIN_NAME, deployment.chain_id, deployment.splitter)


def report_digest(deployment: Deployment, report: EpochReport) -> bytes:
    """Return what a committee member signs. Raises: InputRejected for a field out of range."""
    return typed_digest(settlement_domain(deployment), epoch_report_hash(report))


def sign_report(deployment: Deployment, report: EpochReport, signer_key: bytes) -> bytes:
    """Return a committee member's signature of a report (65 bytes)."""
    return sign_digest(signer_key, report_digest(deployment, report))


def sign_offer(deployment: Deployment, offer: LicenseOffer, steward_key: bytes) -> bytes:
    """Return the steward's signature of a license offer (65 bytes)."""
    return sign_digest(steward_key, typed_digest(licenses_domain(deployment), license_offer_hash(offer)))


def sign_lane(deployment: Deployment, registration: LaneRegistration, lane_key: bytes) -> bytes:
    """Return the lane key's signature of its own registration (65 bytes)."""
    return sign_digest(
        lane_key, typed_digest(licenses_domain(deployment), lane_registration_hash(registration))
    )


def sign_redirect(deployment: Deployment, redirect: NoteRedirect, payee_key: bytes) -> bytes:
    """Return the payee's signature that sends one note elsewhere (65 bytes)."""
    return sign_digest(payee_key, typed_digest(splitter_domain(deployment), note_redirect_hash(redirect)))


def authorization_nonce(license_id: int, salt: bytes) -> bytes:
    """Return the EIP-3009 nonce of a deposit: keccak256(abi.encode(uint32 licenseId, bytes32 salt)).

    The license is in the nonce, so nobody who carries the authorization can direct it to another one.
    """
    return keccak256(uint_word(license_id, 32, "licenseId") + check_bytes(salt, 32, "salt"))


def authorization_digest(
    token_domain: bytes,
    *,
    payer: bytes,
    payee: str,
    amount_base_units: int,
    valid_after_s: int,
    valid_before_s: int,
    nonce: bytes,
) -> bytes:
    """Return what a payer signs to let `payee` pull an amount (EIP-3009 ReceiveWithAuthorization)."""
    struct_hash = keccak256(
        RECEIVE_WITH_AUTHORIZATION_TYPE_HASH
        + bytes(12) + check_bytes(payer, 20, "from")
        + bytes(12) + parse_address(payee)
        + uint_word(amount_base_units, 256, "value")
        + uint_word(valid_after_s, 256, "validAfter")
        + uint_word(valid_before_s, 256, "validBefore")
        + check_bytes(nonce, 32, "nonce")
    )  # fmt: skip
    return typed_digest(token_domain, struct_hash)


def _domain(name: str, chain_id: int, contract: str) -> bytes:
    return domain_separator(name, DOMAIN_VERSION, chain_id, parse_address(contract))
