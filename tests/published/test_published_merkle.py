"""keccak and tree folding against roots that others published: Uniswap's airdrop, OpenZeppelin's dumps.

Their trees differ from ours (pairs are sorted, odd nodes move up), so the tree code is here; only the hash is
ours.
"""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.signing import checksum_address, parse_address


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def sorted_pair_hash(one: bytes, other: bytes) -> bytes:
    return keccak256(min(one, other) + max(one, other))


def claim_leaf(index: int, account: bytes, amount: int) -> bytes:
    """uint256 ‖ address ‖ uint256, packed."""
    return keccak256(index.to_bytes(32, "big") + account + amount.to_bytes(32, "big"))


@pytest.fixture(scope="module")
def uniswap_root(shared_data: Path) -> bytes:
    return unhex(json.loads((shared_data / "EXPECTED.json").read_text())["uni_root"])


def test_252_803_airdrop_claims_hash_to_the_root_on_mainnet(shared_data: Path, uniswap_root: bytes) -> None:
    with gzip.open(shared_data / "merkle" / "uni_airdrop_2020_all.csv.gz", "rt", newline="") as file:
        level = sorted(
            claim_leaf(int(row["index"]), unhex(row["account"]), int(row["amount_wei"]))
            for row in csv.DictReader(file)
        )
    assert len(level) == 252_803
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        level = [*map(sorted_pair_hash, level[::2], level[1::2]), *odd]
    assert level == [uniswap_root]


def test_101_published_airdrop_proofs_fold_to_the_root(shared_data: Path, uniswap_root: bytes) -> None:
    claims = json.loads((shared_data / "merkle" / "uni_airdrop_2020_proofs_101.json").read_text())
    assert len(claims) == 101
    for account, claim in claims.items():
        assert checksum_address(parse_address(account)) == account  # 101 published EIP-55 checksums
        node = claim_leaf(claim["index"], parse_address(account), int(claim["amount"], 16))
        for sibling in claim["proof"]:
            node = sorted_pair_hash(node, unhex(sibling))
        assert node == uniswap_root


@pytest.mark.parametrize("order", ["sorted", "unsorted"])
def test_openzeppelin_dumps_hash_up_to_their_roots(shared_data: Path, order: str) -> None:
    dump = json.loads((shared_data / "merkle" / f"oz_standard-v1.{order}.1_0_6.json").read_text())
    tree = [unhex(node) for node in dump["tree"]]
    for entry in dump["values"]:
        leaf = keccak256(keccak256(encode(dump["leafEncoding"], entry["value"])))
        assert tree[entry["treeIndex"]] == leaf
    inner = range(len(tree) // 2)
    assert len(inner) == 5
    for parent in inner:
        assert tree[parent] == sorted_pair_hash(tree[2 * parent + 1], tree[2 * parent + 2])


def test_keccak_of_packed_values_of_any_length(shared_data: Path) -> None:
    """ethers' vectors: 504 byte strings, from none to many blocks of the hash."""
    vectors = json.loads((shared_data / "eip712" / "ethers_solidity_packed_keccak.json").read_text())
    lengths = set()
    for vector in vectors:
        packed = b"".join(map(solidity_packed, vector["types"], vector["values"]))
        assert keccak256(packed) == unhex(vector["keccak256"]), vector["name"]
        lengths.add(len(packed))
    assert len(vectors) == 504
    assert min(lengths) == 0
    assert max(lengths) > 3 * 136


def solidity_packed(kind: str, value: Any, width: int = 0) -> bytes:
    """abi.encodePacked of one value: its own width alone, whole words (`width` 32) inside an array."""
    if kind.endswith("]"):
        inner = kind[: kind.rindex("[")]
        return b"".join(solidity_packed(inner, item, 32) for item in value)
    if kind == "string":
        return value.encode()
    if kind.startswith("bytes"):
        return unhex(value) if kind == "bytes" else unhex(value).ljust(width, b"\0")
    if kind == "address":
        return unhex(value).rjust(width, b"\0")
    if kind == "bool":
        return int(value).to_bytes(width or 1, "big")
    bits = int(kind.lstrip("uint") or "256")
    number = int(value, 0) if isinstance(value, str) else value
    return (number % 2 ** (8 * (width or bits // 8))).to_bytes(width or bits // 8, "big")
