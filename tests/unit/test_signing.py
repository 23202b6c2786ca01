"""Signatures as contracts accept them, and addresses as people copy them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address
from hypothesis import assume, given
from hypothesis import strategies as st
from usufruct_protocol.eip712 import domain_separator, typed_digest
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.signing import (
    CURVE_ORDER,
    address_of,
    checksum_address,
    parse_address,
    recover,
    sign_digest,
    to_compact,
)

keys = st.integers(1, CURVE_ORDER - 1).map(lambda number: number.to_bytes(32, "big"))
digests = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=20, max_size=20)
KEY, DIGEST = b"\x07" * 32, b"\x21" * 32
SIGNATURE = sign_digest(KEY, DIGEST)


@given(keys, digests)
def test_signatures_and_addresses_equal_eth_accounts(key: bytes, digest: bytes) -> None:
    signature = sign_digest(key, digest)
    assert signature == bytes(Account.unsafe_sign_hash(digest, key).signature)
    assert checksum_address(address_of(key)) == Account.from_key(key).address
    assert recover(digest, signature) == address_of(key)


@given(keys, digests)
def test_every_signature_is_low_s_with_v_of_27_or_28(key: bytes, digest: bytes) -> None:
    signature = sign_digest(key, digest)
    assert len(signature) == 65
    assert 0 < int.from_bytes(signature[32:64], "big") <= CURVE_ORDER // 2
    assert signature[64] in (27, 28)


@given(keys, digests)
def test_the_high_s_twin_recovers_to_the_same_key_elsewhere_and_is_refused_here(
    key: bytes, digest: bytes
) -> None:
    signature = sign_digest(key, digest)
    s = CURVE_ORDER - int.from_bytes(signature[32:64], "big")
    twin = signature[:32] + s.to_bytes(32, "big") + bytes((55 - signature[64],))
    assert Account._recover_hash(digest, signature=twin) == checksum_address(address_of(key))
    with pytest.raises(InputRejected, match="upper half"):
        recover(digest, twin)
    with pytest.raises(InputRejected, match="upper half"):
        to_compact(twin)


@given(keys, digests, st.integers(0, 64 * 8 - 1))
def test_a_changed_bit_never_recovers_to_the_signer(key: bytes, digest: bytes, bit: int) -> None:
    changed = bytearray(sign_digest(key, digest))
    changed[bit // 8] ^= 1 << bit % 8
    with suppress(InputRejected):
        assert recover(digest, bytes(changed)) != address_of(key)


@given(keys, digests, digests)
def test_a_signature_of_another_digest_recovers_to_another_address(
    key: bytes, digest: bytes, other: bytes
) -> None:
    assume(digest != other)
    assert recover(other, sign_digest(key, digest)) != address_of(key)


@given(keys, digests, st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1), addresses, addresses)
def test_inv_33_a_signature_is_void_on_another_chain_or_contract(
    key: bytes, struct_hash: bytes, chain: int, other_chain: int, contract: bytes, other_contract: bytes
) -> None:
    assume((chain, contract) != (other_chain, other_contract))
    here = typed_digest(domain_separator("Usufruct Settlement", "1", chain, contract), struct_hash)
    there = typed_digest(
        domain_separator("Usufruct Settlement", "1", other_chain, other_contract), struct_hash
    )
    signature = sign_digest(key, here)
    assert recover(here, signature) == address_of(key)
    assert recover(there, signature) != address_of(key)


@pytest.mark.parametrize("v", [0, 1, 26, 29, 35, 255])
def test_only_v_of_27_and_28_are_accepted(v: int) -> None:
    with pytest.raises(InputRejected, match="v must be 27 or 28"):
        recover(DIGEST, SIGNATURE[:64] + bytes((v,)))
    with pytest.raises(InputRejected, match="v must be 27 or 28"):
        to_compact(SIGNATURE[:64] + bytes((v,)))


@pytest.mark.parametrize("r", [0, CURVE_ORDER, 2**256 - 1])
def test_r_outside_the_order_is_refused(r: int) -> None:
    with pytest.raises(InputRejected, match="signature r"):
        recover(DIGEST, r.to_bytes(32, "big") + SIGNATURE[32:])


def test_zero_s_is_refused() -> None:
    with pytest.raises(InputRejected, match="signature s"):
        recover(DIGEST, SIGNATURE[:32] + bytes(32) + SIGNATURE[64:])


def test_an_r_that_is_on_no_curve_point_is_refused() -> None:
    with pytest.raises(InputRejected, match="no public key"):
        recover(DIGEST, (5).to_bytes(32, "big") + SIGNATURE[32:])


@pytest.mark.parametrize("length", [0, 64, 66])
def test_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(InputRejected, match="65 bytes"):
        recover(DIGEST, bytes(length))
    with pytest.raises(InputRejected, match="digest"):
        recover(bytes(length), SIGNATURE)
    with pytest.raises(InputRejected, match="digest"):
        sign_digest(KEY, bytes(length))


@pytest.mark.parametrize("key", [bytes(32), CURVE_ORDER.to_bytes(32, "big"), b"\xff" * 32])
def test_impossible_private_keys_are_refused_without_being_shown(key: bytes) -> None:
    with pytest.raises(InputRejected) as refusal:
        address_of(key)
    assert key.hex() not in str(refusal.value)
    assert repr(key) not in str(refusal.value)


@given(keys, digests)
def test_compact_form_keeps_r_and_s_and_moves_v_into_the_top_bit(key: bytes, digest: bytes) -> None:
    signature = sign_digest(key, digest)
    compact = to_compact(signature)
    assert len(compact) == 64
    assert compact[:32] == signature[:32]
    assert int.from_bytes(compact[32:], "big") & (2**255 - 1) == int.from_bytes(signature[32:64], "big")
    assert compact[32] >> 7 == signature[64] - 27


def test_compact_form_equals_the_example_of_eip_2098() -> None:
    r = "68a020a209d3d56c46f38cc50a33f704f4a9a10a59377f8dd762ac66910e9b90"
    s = "7e865ad05c4035ab5792787d4a0297a43617ae897930a6fe4d822b8faea52064"
    assert to_compact(bytes.fromhex(r + s + "1b")).hex() == r + s
    r = "9328da16089fcba9bececa81663203989f2df5fe1faa6291a45381c81bd17f76"
    s = "139c6d6b623b42da56557e5e734a43dc83345ddfadec52cbe24d0cc64f550793"
    compact_s = "939c6d6b623b42da56557e5e734a43dc83345ddfadec52cbe24d0cc64f550793"
    assert to_compact(bytes.fromhex(r + s + "1c")).hex() == r + compact_s


@given(addresses)
def test_checksum_addresses_equal_eth_utils_and_parse_back(address: bytes) -> None:
    text = checksum_address(address)
    assert text == to_checksum_address(address)
    assert parse_address(text) == parse_address(text.lower()) == address
    assert parse_address("0x" + text[2:].upper()) == address


@given(addresses, st.integers(0, 39))
def test_a_letter_in_the_wrong_case_is_refused(address: bytes, place: int) -> None:
    text = checksum_address(address)
    letter = text[2 + place]
    wrong = text[: 2 + place] + letter.swapcase() + text[3 + place :]
    assume(wrong != text and wrong[2:] not in (wrong[2:].lower(), wrong[2:].upper()))
    with pytest.raises(InputRejected, match="checksum"):
        parse_address(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "0x" + "0" * 39,
        "0x" + "0" * 41,
        "0X" + "0" * 40,
        "0" * 40,
        "0x" + "g" * 40,
        "0x" + "0" * 40 + "\n",
    ],
)
def test_what_is_not_an_address_is_refused(text: str) -> None:
    with pytest.raises(InputRejected, match="not an address"):
        parse_address(text)
