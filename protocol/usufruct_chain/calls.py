"""Contract calls out of this project's types, for `Sender.send`.

Each function returns a call that nothing has been sent of yet. Signatures are 65 bytes, r ‖ s ‖ v;
`signatures` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from usufruct_protocol.eip712 import domain_separator
from usufruct_protocol.errors import ConfigInvalid, InputRejected
from usufruct_protocol.report_types import EpochReport
from usufruct_protocol.signing import address_of, checksum_address, parse_address, sign_digest, to_compact
from usufruct_protocol.sumtree import note_word
from usufruct_protocol.terms import LaneRegistration, LicenseOffer, NoteRedirect
from web3.contract.contract import ContractFunction

from usufruct_chain.contracts import Contracts
from usufruct_chain.reader import Reader
from usufruct_chain.signatures import authorization_digest, authorization_nonce

RANGE_GAS_BASE: Final = 300_000
RANGE_GAS_PER_NOTE: Final = 50_000
"""Gas limit of range payments. A first one takes some 27,000; the contract wants 100,000 left for each."""

ADDRESS_BYTES: Final = 20


def report_tuple(report: EpochReport) -> tuple[Any, ...]:
    """Return a report in the order of its ABI struct."""
    scalars = (getattr(report, field.name) for field in fields(report) if field.name != "lines")
    return (*scalars, [(line.license_id, line.cumulative_units, line.charge) for line in report.lines])


def signatures_blob(signatures: Mapping[int, bytes]) -> bytes:
    """Return signatures by signer index as the committee reads them.

    Per signer 65 bytes, index ascending: index (1) ‖ r (32) ‖ vs (32), as EIP-2098.
    Raises: InputRejected for an index above 255 or a signature that is not low-s with v of 27 or 28.
    """
    blob = b""
    for index in sorted(signatures):
        if not 0 <= index <= 255:
            raise InputRejected(f"signer index must be in 0 … 255, got {index}")
        blob += bytes((index,)) + to_compact(signatures[index])
    return blob


def submit_report(
    contracts: Contracts, report: EpochReport, signatures: Mapping[int, bytes]
) -> ContractFunction:
    """Post a report with its signatures by signer index."""
    return contracts.settlement.functions.submit(report_tuple(report), signatures_blob(signatures))


def reject_report(contracts: Contracts, report: EpochReport, reason: str) -> ContractFunction:
    """Guardian: reject the pending report."""
    return contracts.settlement.functions.reject(report_tuple(report), reason)


def finalize_report(contracts: Contracts, report: EpochReport) -> ContractFunction:
    """Make the pending report final; anyone may, once its window has passed."""
    return contracts.settlement.functions.finalize(report_tuple(report))


def issue_reserve(contracts: Contracts, report: EpochReport) -> ContractFunction:
    """Issue the reserve of the last finalized report, where a new committee may report only after that."""
    return contracts.settlement.functions.issueReserve(report_tuple(report))


def accept_offer(contracts: Contracts, offer: LicenseOffer, steward_signature: bytes) -> ContractFunction:
    """Accept a steward's offer; the buyer it names sends. The LicenseAccepted event has its number."""
    return contracts.registry.functions.accept(_struct(offer), steward_signature)


def register_lane(
    contracts: Contracts, registration: LaneRegistration, lane_signature: bytes
) -> ContractFunction:
    """Bind a gateway key to a license; the license's buyer sends.

    `valid_from` and `valid_to` are milliseconds, compared with the `issued_at_ms` of receipts.
    """
    return contracts.registry.functions.registerLane(_struct(registration), lane_signature)


def set_roster(contracts: Contracts, license_id: int, roster_root: bytes) -> ContractFunction:
    """Publish the roster that governs receipts counted from the next cut-off on; the steward sends."""
    return contracts.registry.functions.setRoster(license_id, roster_root)


def deposit_with_authorization(
    contracts: Contracts,
    license_id: int,
    payer_key: bytes,
    amount_base_units: int,
    salt: bytes,
    *,
    valid_after_s: int = 0,
    valid_before_s: int = 2**64 - 1,
) -> ContractFunction:
    """Sign an EIP-3009 deposit into a license's account; anyone may send it, and pays the gas.

    The payer's key signs for this token, escrow, license and salt alone; a salt is used once. The token's
    signing domain is computed from its name and version and must be the one that the token states.
    Raises: ConfigInvalid if the token takes no such authorizations, InputRejected for a field out of range.
    """
    payer = address_of(payer_key)
    digest = authorization_digest(
        token_domain(contracts),
        payer=payer,
        payee=contracts.deployment.escrow,
        amount_base_units=amount_base_units,
        valid_after_s=valid_after_s,
        valid_before_s=valid_before_s,
        nonce=authorization_nonce(license_id, salt),
    )
    signature = sign_digest(payer_key, digest)
    r, s, v = signature[:32], signature[32:64], signature[64]
    return contracts.escrow.functions.depositWithAuthorization(
        license_id, checksum_address(payer), amount_base_units, valid_after_s, valid_before_s, salt, v, r, s
    )


def token_domain(contracts: Contracts) -> bytes:
    """Return the EIP-712 domain separator of the deployment's token.

    Computed here, never taken from the endpoint: a payer's signature must be for this token and this chain.
    Raises: ConfigInvalid if the token states another.
    """
    token = contracts.views.token
    name, version, stated = Reader(contracts).query([token.name(), token.version(), token.DOMAIN_SEPARATOR()])
    deployment = contracts.deployment
    computed = domain_separator(name, version, deployment.chain_id, parse_address(deployment.token))
    if computed != stated:
        raise ConfigInvalid(
            f"token {deployment.token} signs under another domain than (name {name!r}, version {version!r}, "
            f"chain {deployment.chain_id}): deposits by authorization would fail",
            hint="deposit by approval or permit",
        )
    return computed


def pay_range(
    contracts: Contracts, tree_id: int, start: int, log2_count: int, words: Sequence[int], proof: bytes
) -> ContractFunction:
    """Offer an aligned range of notes for payment; send it with `gas=range_gas(log2_count)`."""
    return contracts.splitter.functions.payRange(tree_id, start, log2_count, list(words), proof)


def range_gas(log2_count: int) -> int:
    """Return a gas limit under which every note of a range can be paid.

    An estimate will not do: notes that a transfer has no gas for are skipped, which looks like success.
    """
    return RANGE_GAS_BASE + (RANGE_GAS_PER_NOTE << log2_count)


def claim_note(contracts: Contracts, tree_id: int, index: int, word: int, proof: bytes) -> ContractFunction:
    """Pay one note to its payee; anyone may send."""
    return contracts.splitter.functions.claim(tree_id, index, word, proof)


def claim_notes(contracts: Contracts, claims: Sequence[tuple[int, int, int, bytes]]) -> ContractFunction:
    """Pay several notes, of any trees, to their payees, all or none; (tree id, index, word, proof) each."""
    return contracts.splitter.functions.claimMany(list(claims))


def redirect_note(
    contracts: Contracts, redirect: NoteRedirect, payee_signature: bytes, proof: bytes
) -> ContractFunction:
    """Pay one note to where its payee signed; anyone may send."""
    word = note_word(redirect.payee, redirect.amount)
    return contracts.splitter.functions.redirect(
        redirect.tree_id,
        redirect.index,
        word,
        checksum_address(redirect.to),
        redirect.deadline,
        payee_signature,
        proof,
    )


def pay_share(contracts: Contracts, license_id: int, party: int) -> ContractFunction:
    """Send a party (0 community, 1 steward, 2 platform, 3 operators) its share of a license so far."""
    return contracts.splitter.functions.payShare(license_id, party)


def _struct(terms: LicenseOffer | LaneRegistration) -> tuple[Any, ...]:
    """Terms in the order of their ABI struct; 20 bytes become the address text that web3 wants."""
    values = (getattr(terms, field.name) for field in fields(terms))
    return tuple(
        checksum_address(value) if isinstance(value, bytes) and len(value) == ADDRESS_BYTES else value
        for value in values
    )
