"""Digests and signatures against eth-account's general EIP-712 encoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st
from usufruct_chain import signatures
from usufruct_chain.calls import signatures_blob
from usufruct_protocol.eip712 import domain_separator
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.signing import CURVE_ORDER, address_of, checksum_address, recover, sign_digest
from usufruct_protocol.terms import LaneRegistration, NoteRedirect
from web3 import Web3

from tests.unit.chain.fake_endpoint import some_deployment

KEY = bytes([7] * 32)
HERE = some_deployment()


def typed_digest(
    domain: dict[str, Any], name: str, fields: list[tuple[str, str]], values: list[Any]
) -> bytes:
    message = encode_typed_data(
        full_message={
            "types": {
                "EIP712Domain": [
                    {"name": "name", "type": "string"},
                    {"name": "version", "type": "string"},
                    {"name": "chainId", "type": "uint256"},
                    {"name": "verifyingContract", "type": "address"},
                ],
                name: [{"name": field, "type": kind} for kind, field in fields],
            },
            "primaryType": name,
            "domain": domain,
            "message": {field: value for (_, field), value in zip(fields, values, strict=True)},
        }
    )
    return bytes(Web3.keccak(b"\x19" + message.version + message.header + message.body))


@given(
    license_id=st.integers(0, 2**32 - 1),
    salt=st.binary(min_size=32, max_size=32),
    amount=st.integers(0, 2**96 - 1),
    valid_after_s=st.integers(0, 2**64),
    valid_before_s=st.integers(0, 2**64),
)
def test_a_deposit_authorization_is_what_the_token_hashes(
    license_id: int, salt: bytes, amount: int, valid_after_s: int, valid_before_s: int
) -> None:
    payer, escrow, token = address_of(KEY), HERE.escrow, HERE.token
    nonce = signatures.authorization_nonce(license_id, salt)
    assert nonce == Web3.keccak(encode(["uint32", "bytes32"], [license_id, salt]))
    domain = {"name": "USD Coin", "version": "2", "chainId": 31337, "verifyingContract": token}
    digest = signatures.authorization_digest(
        domain_separator("USD Coin", "2", 31337, bytes.fromhex(token[2:])),
        payer=payer,
        payee=escrow,
        amount_base_units=amount,
        valid_after_s=valid_after_s,
        valid_before_s=valid_before_s,
        nonce=nonce,
    )
    fields = [
        ("address", "from"),
        ("address", "to"),
        ("uint256", "value"),
        ("uint256", "validAfter"),
        ("uint256", "validBefore"),
        ("bytes32", "nonce"),
    ]
    values = [checksum_address(payer), escrow, amount, valid_after_s, valid_before_s, nonce]
    assert digest == typed_digest(domain, "ReceiveWithAuthorization", fields, values)


def test_an_authorization_is_for_one_license_and_salt() -> None:
    salt = bytes([1] * 32)
    nonces = {signatures.authorization_nonce(number, salt) for number in range(50)}
    assert len(nonces) == 50
    assert signatures.authorization_nonce(1, bytes(32)) not in nonces
    with pytest.raises(InputRejected, match="licenseId"):
        signatures.authorization_nonce(2**32, salt)
    with pytest.raises(InputRejected, match="salt"):
        signatures.authorization_nonce(1, b"short")


def test_terms_are_signed_for_their_contract_and_chain() -> None:
    lane = LaneRegistration(address_of(KEY), 3, 1_000, 2_000, 77)
    fields = [
        ("address", "lane"),
        ("uint32", "licenseId"),
        ("uint64", "validFrom"),
        ("uint64", "validTo"),
        ("uint128", "unitCap"),
    ]
    domain = {
        "name": "Usufruct Licenses",
        "version": "1",
        "chainId": 31337,
        "verifyingContract": HERE.registry,
    }
    values = [checksum_address(lane.lane), 3, 1_000, 2_000, 77]
    digest = typed_digest(domain, "LaneRegistration", fields, values)
    assert recover(digest, signatures.sign_lane(HERE, lane, KEY)) == address_of(KEY)

    payee = address_of(KEY)
    redirect = NoteRedirect(4, 5, payee, 6, bytes([9] * 20), 7)
    fields = [
        ("uint64", "treeId"),
        ("uint32", "index"),
        ("address", "payee"),
        ("uint96", "amount"),
        ("address", "to"),
        ("uint64", "deadline"),
    ]
    domain = {
        "name": "Usufruct Splitter",
        "version": "1",
        "chainId": 31337,
        "verifyingContract": HERE.splitter,
    }
    values = [4, 5, checksum_address(payee), 6, checksum_address(redirect.to), 7]
    digest = typed_digest(domain, "NoteRedirect", fields, values)
    assert recover(digest, signatures.sign_redirect(HERE, redirect, KEY)) == payee


@pytest.mark.parametrize(
    "domain", [signatures.settlement_domain, signatures.licenses_domain, signatures.splitter_domain]
)
def test_inv_33_a_domain_differs_by_chain_and_contract(domain: Any) -> None:
    swapped = replace(HERE, settlement=HERE.registry, registry=HERE.splitter, splitter=HERE.settlement)
    assert len({domain(HERE), domain(replace(HERE, chain_id=1)), domain(swapped)}) == 3


def test_the_signatures_of_a_quorum_are_laid_out_ascending() -> None:
    digest = bytes([3] * 32)
    keys = [bytes([number] * 32) for number in range(1, 40)]
    given_signatures = {index: sign_digest(keys[index], digest) for index in (30, 2, 11)}
    blob = signatures_blob(given_signatures)
    assert len(blob) == 3 * 65
    assert [blob[at] for at in (0, 65, 130)] == [2, 11, 30]
    parities = set()
    for place, index in enumerate((2, 11, 30)):
        r, vs = blob[65 * place + 1 : 65 * place + 33], blob[65 * place + 33 : 65 * place + 65]
        parity = vs[0] >> 7
        parities.add(parity)
        s = bytes([vs[0] & 0x7F]) + vs[1:]
        assert given_signatures[index] == r + s + bytes([27 + parity])
        assert Account._recover_hash(digest, signature=r + s + bytes([27 + parity])) == checksum_address(
            address_of(keys[index])
        )
    assert signatures_blob({}) == b""


def test_signatures_that_a_contract_would_refuse_are_refused_before() -> None:
    good = sign_digest(KEY, bytes(32))
    high_s = good[:32] + (CURVE_ORDER - int.from_bytes(good[32:64], "big")).to_bytes(32, "big") + good[64:]
    for index, signature in ((256, good), (-1, good), (0, good[:64]), (0, high_s), (0, good[:64] + b"\x01")):
        with pytest.raises(InputRejected):
            signatures_blob({index: signature})
