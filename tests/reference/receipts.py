"""Receipts, lane trees and usage lists through eth-abi's encoder and by recursive definition."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from eth_abi.abi import encode
from eth_hash.auto import keccak

RECEIPT_TYPE = (
    "UsageReceipt(address lane,uint64 seq,uint64 units,uint128 cumulativeUnits,bytes32 usageRoot,"
    "bytes32 requestHash,uint64 issuedAtMs)"
)


def receipt_hash(
    lane: bytes, seq: int, units: int, cumulative: int, usage_root: bytes, request_hash: bytes, at_ms: int
) -> bytes:
    """EIP-712 struct hash of a receipt."""
    types = ["bytes32", "address", "uint64", "uint64", "uint128", "bytes32", "bytes32", "uint64"]
    values = [keccak(RECEIPT_TYPE.encode()), lane, seq, units, cumulative, usage_root, request_hash, at_ms]
    return keccak(encode(types, values))


def padded_root(leaves: Sequence[bytes]) -> bytes:
    """Root over the leaves, then zero leaves up to a power of two."""
    if not leaves:
        return bytes(32)
    width = 1
    while width < len(leaves):
        width *= 2
    return _subtree([*leaves, *[bytes(32)] * (width - len(leaves))])


def _subtree(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    half = len(leaves) // 2
    return keccak(_subtree(leaves[:half]) + _subtree(leaves[half:]))


def usage_root(weights: Mapping[bytes, int], salt: bytes) -> bytes:
    """Commitment to the records used, each once with its highest weight."""
    leaves = []
    for index, tag in enumerate(sorted(weights)):
        own_salt = keccak(salt + index.to_bytes(4, "big"))
        leaves.append(keccak(b"\x04" + tag + weights[tag].to_bytes(4, "big") + own_salt))
    return padded_root(leaves)


def salt_of(secret: bytes, purpose: bytes, seq: int) -> bytes:
    """The salt that a lane derives for one purpose and seq."""
    return hmac.new(secret, purpose + seq.to_bytes(8, "big"), hashlib.sha256).digest()


def first_fault(rows: Sequence[tuple[int, int, int, int]]) -> tuple[int, str] | None:
    """Return (seq, what is wrong) of the first bad receipt; rows are (seq, units, cumulative, ms)."""
    total = last_ms = 0
    for expected, (seq, units, cumulative, at_ms) in enumerate(rows):
        if seq != expected:
            return seq, "receipt_gap"
        if units >= 2**48 or cumulative >= 2**96:
            return seq, "receipt_units_too_large"
        if cumulative != total + units:
            return seq, "cumulative_units_wrong"
        if at_ms < last_ms:
            return seq, "receipt_time_went_back"
        total, last_ms = cumulative, at_ms
    return None
