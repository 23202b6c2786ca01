"""What people and nodes sign and send to the contracts, built without the code under test.

Digests come from eth-account's general EIP-712 encoder and the type strings of the specification, so that a
slip in `usufruct_protocol` cannot hide the same slip in a contract. Shared by the in-process and the Brownie
tests, hence only packages that both environments have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak
from eth_keys.datatypes import PrivateKey
from eth_utils.address import to_checksum_address

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
ZERO_ADDRESS = "0x" + "00" * 20
ZERO_HASH = bytes(32)

SETTLEMENT = "Usufruct Settlement"
LICENSES = "Usufruct Licenses"
SPLITTER = "Usufruct Splitter"

STRUCTS: Mapping[str, str] = {
    "ReportLine": "uint32 licenseId,uint128 cumulativeUnits,uint96 charge",
    "EpochReport": (
        "uint64 epoch,uint32 attempt,bytes32 previousReportHash,uint64 periodEnd,uint64 cutoffBlock,"
        "bytes32 cutoffBlockHash,uint32 signerSetVersion,uint32 ruleVersion,bytes32 lanesRoot,"
        "uint32 laneCount,bytes32 notesRoot,uint96 notesTotal,uint32 noteCount,bytes32 reserveRoot,"
        "uint96 reserveTotal,uint32 reserveCount,bytes32 consentRoot,bytes32 rosterHash,bytes32 bundleHash,"
        "ReportLine[] lines"
    ),
    "UsageReceipt": (
        "address lane,uint64 seq,uint64 units,uint128 cumulativeUnits,bytes32 usageRoot,bytes32 requestHash,"
        "uint64 issuedAtMs"
    ),
    "Checkpoint": "address lane,uint64 count,uint128 cumulativeUnits,bytes32 receiptsRoot",
    "CheckpointAck": "bytes32 checkpointHash,uint64 receivedAt",
    "LicenseOffer": (
        "address steward,address buyer,bytes32 templateHash,bytes32 documentHash,bytes32 collectionHash,"
        "address token,uint8 meterKind,uint96 pricePerMillionUnits,uint96 upfrontFee,"
        "uint96 maxChargePerEpoch,uint96 usageBond,uint16 contributorsBps,uint16 communityBps,"
        "uint16 stewardBps,uint16 platformBps,uint16 operatorsBps,bytes32 milestonesHash,"
        "bytes32 royaltyHash,uint64 startsAt,uint64 endsAt,uint32 coolingOffSeconds,uint32 noticeSeconds,"
        "uint256 nonce,uint64 deadline"
    ),
    "LaneRegistration": "address lane,uint32 licenseId,uint64 validFrom,uint64 validTo,uint128 unitCap",
    "NoteRedirect": "uint64 treeId,uint32 index,address payee,uint96 amount,address to,uint64 deadline",
    "Permit": "address owner,address spender,uint256 value,uint256 nonce,uint256 deadline",
    "ReceiveWithAuthorization": (
        "address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce"
    ),
    "TransferWithAuthorization": (
        "address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce"
    ),
    "CancelAuthorization": "address authorizer,bytes32 nonce",
    "MilestoneReached": "uint32 licenseId,uint8 index,bytes32 evidenceHash",
    "RevenueStatement": "uint32 licenseId,uint32 period,uint96 revenue,bytes32 documentHash",
    "AuditCorrection": ("uint32 licenseId,uint32 period,uint96 revenue,uint32 revision,bytes32 findingHash"),
    "RedemptionReceipt": (
        "uint64 redemptionId,uint64 grantId,address holder,uint96 amount,bytes32 requestHash,"
        "bytes32 documentHash"
    ),
    "Delegation": "address delegatee,uint256 nonce,uint256 expiry",
    "Ballot": "uint256 proposalId,uint8 support,address voter,uint256 nonce",
    "AuditFinding": "address auditor,bytes32 subject,bytes32 findingHash,uint64 foundAt",
}


@dataclass(frozen=True)
class Account:
    """A private key with a name to read in failures."""

    name: str
    key: bytes
    address: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Signature:
    """One secp256k1 signature; v is 27 or 28."""

    v: int
    r: bytes
    s: bytes

    @property
    def full(self) -> bytes:
        """65 bytes, r ‖ s ‖ v."""
        return self.r + self.s + bytes((self.v,))

    @property
    def compact(self) -> bytes:
        """64 bytes, r ‖ vs (EIP-2098)."""
        return self.r + bytes((self.s[0] | (self.v - 27) << 7,)) + self.s[1:]

    @property
    def high_s(self) -> Signature:
        """The twin that recovers to the same key, with s in the upper half: what contracts must refuse."""
        twin = CURVE_ORDER - int.from_bytes(self.s, "big")
        return Signature(55 - self.v, self.r, twin.to_bytes(32, "big"))


def account(name: str) -> Account:
    """Return the account of a name; the same name has the same key everywhere."""
    key = keccak(b"usufruct test account " + name.encode())
    return Account(name, key, PrivateKey(key).public_key.to_checksum_address())


def sign(key: bytes, digest: bytes) -> Signature:
    """Sign 32 bytes, deterministically and with s in the lower half."""
    made = PrivateKey(key).sign_msg_hash(digest)
    return Signature(27 + made.v, made.r.to_bytes(32, "big"), made.s.to_bytes(32, "big"))


def as_abi(value: Any) -> Any:
    """Turn dataclasses into tuples and 20-byte strings into addresses, as ABI encoders want them."""
    if is_dataclass(value) and not isinstance(value, type):
        return tuple(as_abi(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, (tuple, list)):
        return tuple(as_abi(item) for item in value)
    if isinstance(value, bytes) and len(value) == 20:
        return to_checksum_address(value)
    return value


def typed_digest(
    domain: str, chain_id: int, contract: str, struct: str, values: Any, *, version: str = "1"
) -> bytes:
    """Return the EIP-712 digest of one struct, its values given in field order (dataclass or sequence)."""
    body = encode_typed_data(
        full_message={
            "types": {
                "EIP712Domain": _members(
                    "string name,string version,uint256 chainId,address verifyingContract"
                ),
                struct: _members(STRUCTS[struct]),
                **_nested(struct),
            },
            "primaryType": struct,
            "domain": {
                "name": domain,
                "version": version,
                "chainId": chain_id,
                "verifyingContract": contract,
            },
            "message": _message(struct, as_abi(values)),
        }
    )
    return keccak(b"\x19" + body.version + body.header + body.body)


def struct_hash(struct: str, values: Any) -> bytes:
    """Return the EIP-712 hash of one struct alone, without a domain."""
    types = {struct: _members(STRUCTS[struct]), **_nested(struct)}
    return encode_typed_data({}, types, _message(struct, as_abi(values))).body


def quorum_blob(digest: bytes, signers: Sequence[Account], indices: Sequence[int]) -> bytes:
    """Return what `requireQuorum` reads: index(1) ‖ r(32) ‖ vs(32) for each index, in the order given."""
    return b"".join(bytes((index,)) + sign(signers[index].key, digest).compact for index in indices)


def authorization_nonce(license_id: int, salt: bytes) -> bytes:
    """Return the EIP-3009 nonce that ties an authorization to one license."""
    return keccak(license_id.to_bytes(32, "big") + salt)


def _members(text: str) -> list[dict[str, str]]:
    return [dict(zip(("type", "name"), member.split(" "), strict=True)) for member in text.split(",")]


def _nested(struct: str) -> dict[str, list[dict[str, str]]]:
    return {"ReportLine": _members(STRUCTS["ReportLine"])} if struct == "EpochReport" else {}


def _message(struct: str, values: Sequence[Any]) -> dict[str, Any]:
    message: dict[str, Any] = {}
    for member, value in zip(_members(STRUCTS[struct]), values, strict=True):
        is_lines = member["type"] == "ReportLine[]"
        message[member["name"]] = [_message("ReportLine", line) for line in value] if is_lines else value
    return message
