"""Type hashes, domain separators and digests against ethers' published EIP-712 vectors.

No general encoder is kept, so the encoded struct is taken from the vector; what is hashed and how the digest
is put together is ours.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from usufruct_protocol.eip712 import domain_separator, type_hash, typed_digest
from usufruct_protocol.keccak import keccak256

FULL_DOMAIN = {"name", "version", "chainId", "verifyingContract"}


@pytest.fixture(scope="module")
def vectors(shared_data: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((shared_data / "eip712" / "ethers_eip712.json").read_text())
    assert len(found) == 513
    return found


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def type_string(types: dict[str, list[dict[str, str]]], primary: str) -> str:
    """The primary struct, then every struct it refers to, by name."""
    nested, waiting = set(), [primary]
    while waiting:
        for member in types[waiting.pop()]:
            name = re.sub(r"\[.*", "", member["type"])
            if name in types and name not in nested:
                nested.add(name)
                waiting.append(name)
    return "".join(struct_string(name, types[name]) for name in [primary, *sorted(nested - {primary})])


def struct_string(name: str, members: list[dict[str, str]]) -> str:
    inside = ",".join("{type} {name}".format_map(member) for member in members)
    return f"{name}({inside})"


def test_type_hashes(vectors: list[dict[str, Any]]) -> None:
    for vector in vectors:
        expected = unhex(vector["encoded"])[:32]
        assert type_hash(type_string(vector["types"], vector["primaryType"])) == expected, vector["name"]


def test_digests_under_a_full_domain(vectors: list[dict[str, Any]]) -> None:
    full = [vector for vector in vectors if vector["domain"].keys() == FULL_DOMAIN]
    assert len(full) > 10
    for vector in full:
        domain = vector["domain"]
        separator = domain_separator(
            domain["name"], domain["version"], domain["chainId"], unhex(domain["verifyingContract"])
        )
        digest = typed_digest(separator, keccak256(unhex(vector["encoded"])))
        assert digest == unhex(vector["digest"]), vector["name"]
