"""The signed structs through eth-account's general EIP-712 encoder.

Types are stated again here, from the specification, so that a slip in `usufruct_protocol` cannot hide.
Messages are plain dictionaries with the names of the types: ints, bytes, and lists of such dictionaries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak

SETTLEMENT = "Usufruct Settlement"
LICENSES = "Usufruct Licenses"
SPLITTER = "Usufruct Splitter"
FEES = "Usufruct Fees"
CREDITS = "Usufruct Credits"
REGISTER = "Usufruct Register"

MEMBERS: Mapping[str, str] = {
    "UsageReceipt": """address lane, uint64 seq, uint64 units, uint128 cumulativeUnits, bytes32 usageRoot,
        bytes32 requestHash, uint64 issuedAtMs""",
    "Checkpoint": "address lane, uint64 count, uint128 cumulativeUnits, bytes32 receiptsRoot",
    "CheckpointAck": "bytes32 checkpointHash, uint64 receivedAt",
    "ReportLine": "uint32 licenseId, uint128 cumulativeUnits, uint96 charge",
    "EpochReport": """uint64 epoch, uint32 attempt, bytes32 previousReportHash, uint64 periodEnd,
        uint64 cutoffBlock, bytes32 cutoffBlockHash, uint32 signerSetVersion, uint32 ruleVersion,
        bytes32 lanesRoot, uint32 laneCount, bytes32 notesRoot, uint96 notesTotal, uint32 noteCount,
        bytes32 reserveRoot, uint96 reserveTotal, uint32 reserveCount, bytes32 consentRoot,
        bytes32 rosterHash, bytes32 bundleHash, ReportLine[] lines""",
    "LicenseOffer": """address steward, address buyer, bytes32 templateHash, bytes32 documentHash,
        bytes32 collectionHash, address token, uint8 meterKind, uint96 pricePerMillionUnits,
        uint96 upfrontFee, uint96 maxChargePerEpoch, uint96 usageBond, uint16 contributorsBps,
        uint16 communityBps, uint16 stewardBps, uint16 platformBps, uint16 operatorsBps,
        bytes32 milestonesHash, bytes32 royaltyHash, uint64 startsAt, uint64 endsAt,
        uint32 coolingOffSeconds, uint32 noticeSeconds, uint256 nonce, uint64 deadline""",
    "LaneRegistration": "address lane, uint32 licenseId, uint64 validFrom, uint64 validTo, uint128 unitCap",
    "NoteRedirect": "uint64 treeId, uint32 index, address payee, uint96 amount, address to, uint64 deadline",
    "MilestoneReached": "uint32 licenseId, uint8 index, bytes32 evidenceHash",
    "RevenueStatement": "uint32 licenseId, uint32 period, uint96 revenue, bytes32 documentHash",
    "AuditCorrection": """uint32 licenseId, uint32 period, uint96 revenue, uint32 revision,
        bytes32 findingHash""",
    "RedemptionReceipt": """uint64 redemptionId, uint64 grantId, address holder, uint96 amount,
        bytes32 requestHash, bytes32 documentHash""",
    "AuditFinding": "address auditor, bytes32 subject, bytes32 findingHash, uint64 foundAt",
}
DOMAINS: Mapping[str, str] = {
    "UsageReceipt": SETTLEMENT,
    "Checkpoint": SETTLEMENT,
    "CheckpointAck": SETTLEMENT,
    "EpochReport": SETTLEMENT,
    "LicenseOffer": LICENSES,
    "LaneRegistration": LICENSES,
    "NoteRedirect": SPLITTER,
    "MilestoneReached": FEES,
    "RevenueStatement": FEES,
    "AuditCorrection": FEES,
    "RedemptionReceipt": CREDITS,
    "AuditFinding": REGISTER,
}
"""Structs that are signed by themselves, with the domain they are signed under."""


@dataclass(frozen=True)
class Hashes:
    """What signing one struct hashes to."""

    domain_separator: bytes
    struct_hash: bytes
    digest: bytes


def members(struct: str) -> list[tuple[str, str]]:
    """Return (name, type) of each member, in order."""
    pairs = (part.split() for part in MEMBERS[struct].split(","))
    return [(name, kind) for kind, name in pairs]


def type_string(struct: str) -> str:
    """Return the string whose hash is the type hash: the struct, then the structs it refers to."""
    own = f"{struct}({','.join(f'{kind} {name}' for name, kind in members(struct))})"
    return own + "".join(map(type_string, _nested(struct)))


def hash_typed(
    domain: str, chain_id: int, contract: bytes, struct: str, message: Mapping[str, Any]
) -> Hashes:
    """Return the hashes of one struct as eth-account computes them."""
    types = {
        name: [{"name": member, "type": kind} for member, kind in members(name)]
        for name in (struct, *_nested(struct))
    }
    domain_data = {"name": domain, "version": "1", "chainId": chain_id, "verifyingContract": contract}
    signable = encode_typed_data(domain_data, types, dict(message))
    digest = keccak(b"\x19" + signable.version + signable.header + signable.body)
    return Hashes(signable.header, signable.body, digest)


def snake_case(name: str) -> str:
    """Return the Python name of a Solidity member: issuedAtMs is issued_at_ms."""
    return re.sub(r"(?<=[a-z])[A-Z]", lambda found: "_" + found[0], name).lower()


def _nested(struct: str) -> list[str]:
    return sorted({kind.removesuffix("[]") for _, kind in members(struct)} & MEMBERS.keys())
