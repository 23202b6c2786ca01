"""Names of ABI entries as the chain sees them: selectors and topics."""

from __future__ import annotations

from typing import Any

from eth_utils.abi import abi_to_signature
from usufruct_protocol.keccak import keccak256


def selector_of(entry: dict[str, Any]) -> bytes:
    """Return the four bytes that name a function or an error of an ABI."""
    return topic_of(entry)[:4]


def topic_of(entry: dict[str, Any]) -> bytes:
    """Return the hash of an ABI entry's signature; for an event, the first topic of its logs."""
    return keccak256(abi_to_signature(entry).encode("ascii"))  # type: ignore[arg-type]
