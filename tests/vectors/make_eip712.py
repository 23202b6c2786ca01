"""Make eip712.json: golden type hashes, struct hashes, digests and signatures of every signed struct.

    python -m tests.vectors.make_eip712

Hashes come from eth-account alone, so the file checks `usufruct_protocol` and the contracts alike. Values are
derived from the names of the members; the second case of each struct has every member at its maximum.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_hash.auto import keccak

from tests.reference import typed_data

CHAIN_ID = 31337
CONTRACT = bytes.fromhex("c0ffee254729296a45a3885639ac7e10f9d54979")
PRIVATE_KEY = keccak(b"usufruct golden vectors")


def derived(kind: str, seed: str) -> Any:
    """Return a value that is fixed by the name it is for."""
    noise = keccak(seed.encode())
    if kind == "address":
        return noise[:20]
    if kind == "bytes32":
        return noise
    if kind.startswith("uint"):
        return int.from_bytes(noise, "big") >> 256 - int(kind[4:])
    return [message(kind.removesuffix("[]"), f"{seed}[{index}]") for index in range(2)]


def largest(kind: str) -> Any:
    """Return the largest value of a type; an empty list for arrays."""
    if kind == "address":
        return b"\xff" * 20
    if kind == "bytes32":
        return b"\xff" * 32
    return 2 ** int(kind[4:]) - 1 if kind.startswith("uint") else []


def message(struct: str, seed: str) -> dict[str, Any]:
    """Return a struct with derived values."""
    return {name: derived(kind, f"{seed}.{name}") for name, kind in typed_data.members(struct)}


def case(struct: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return one golden case: values as JSON, and what they hash and sign to."""
    hashes = typed_data.hash_typed(typed_data.DOMAINS[struct], CHAIN_ID, CONTRACT, struct, values)
    signed = Account.unsafe_sign_hash(hashes.digest, PRIVATE_KEY)
    return {
        "message": as_json(values),
        "structHash": as_json(hashes.struct_hash),
        "digest": as_json(hashes.digest),
        "signature": as_json(bytes(signed.signature)),
    }


def as_json(value: Any) -> Any:
    """Return bytes as hex and integers as decimal strings, which no JSON parser rounds."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return [as_json(item) for item in value]
    return {name: as_json(item) for name, item in value.items()}


def vectors() -> dict[str, Any]:
    """Return the whole file."""
    structs = {}
    for struct, domain in typed_data.DOMAINS.items():
        type_string = typed_data.type_string(struct)
        derived_values = message(struct, struct)
        hashes = typed_data.hash_typed(domain, CHAIN_ID, CONTRACT, struct, derived_values)
        highest = {name: largest(kind) for name, kind in typed_data.members(struct)}
        structs[struct] = {
            "domain": domain,
            "domainSeparator": as_json(hashes.domain_separator),
            "type": type_string,
            "typeHash": as_json(keccak(type_string.encode())),
            "cases": [case(struct, derived_values), case(struct, highest)],
        }
    return {
        "description": "Every signed struct hashed and signed by eth-account; integers are decimal strings.",
        "version": "1",
        "chainId": str(CHAIN_ID),
        "verifyingContract": as_json(CONTRACT),
        "privateKey": as_json(PRIVATE_KEY),
        "signer": as_json(bytes.fromhex(Account.from_key(PRIVATE_KEY).address[2:])),
        "structs": structs,
    }


if __name__ == "__main__":
    Path(__file__).with_name("eip712.json").write_text(json.dumps(vectors(), indent=1) + "\n")
