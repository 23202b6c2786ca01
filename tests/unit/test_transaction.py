"""Transactions as bytes: equal to eth-account's, for every shape that this project sends."""

from __future__ import annotations

import pickle

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.signing import CURVE_ORDER, LocalSigner, address_of, checksum_address, sign_digest
from usufruct_protocol.transaction import Transaction

KEY = b"\x07" * 32
u64, u256 = st.integers(0, 2**64 - 1), st.integers(0, 2**256 - 1)
small = st.integers(0, 300)


@given(
    key=st.integers(1, CURVE_ORDER - 1).map(lambda number: number.to_bytes(32, "big")),
    numbers=st.tuples(u64 | small, u64 | small, u64 | small),
    amounts=st.tuples(u256 | small, u256 | small, u256 | small),
    to=st.binary(min_size=20, max_size=20) | st.none(),
    data=st.binary(max_size=400)
    | st.sampled_from([b"", b"\x7f", b"\x80", bytes(55), bytes(56), bytes(70_000)]),
)
def test_signed_bytes_equal_eth_accounts(
    key: bytes, numbers: tuple[int, int, int], amounts: tuple[int, int, int], to: bytes | None, data: bytes
) -> None:
    (chain_id, nonce, gas), (one, other, value) = numbers, amounts
    tip, cap = sorted((one, other))
    raw = Transaction(chain_id, nonce, tip, cap, gas, to, value, data).signed(LocalSigner(key))
    theirs = Account.from_key(key).sign_transaction(
        {
            "type": 2,
            "chainId": chain_id,
            "nonce": nonce,
            "gas": gas,
            "maxFeePerGas": cap,
            "maxPriorityFeePerGas": tip,
            "value": value,
            "data": data,
            **({} if to is None else {"to": checksum_address(to)}),
        }
    )
    assert raw == bytes(theirs.raw_transaction)
    assert keccak256(raw) == bytes(theirs.hash)


@pytest.mark.parametrize(
    "change", [{"nonce": -1}, {"gas": 2**64}, {"value_wei": 2**256}, {"to": bytes(19)}, {"chain_id": True}]
)
def test_fields_out_of_range_are_refused(change: dict[str, object]) -> None:
    good = {
        "chain_id": 1,
        "nonce": 0,
        "tip_per_gas_wei": 1,
        "max_fee_per_gas_wei": 2,
        "gas": 21_000,
        "to": bytes(20),
        "value_wei": 0,
        "data": b"",
    }
    with pytest.raises(InputRejected, match=next(iter(change))):
        Transaction(**{**good, **change})  # type: ignore[arg-type]


def test_a_local_signer_signs_as_its_key_and_never_shows_it() -> None:
    signer = LocalSigner(KEY)
    assert (signer.address, signer.sign_digest(bytes(32))) == (address_of(KEY), sign_digest(KEY, bytes(32)))
    assert KEY.hex() not in repr(signer) + str(signer)
    assert repr(KEY) not in repr(signer)
    with pytest.raises(InputRejected, match="not serialized"):
        pickle.dumps(signer)
    with pytest.raises(InputRejected, match="32 bytes"):
        signer.sign_digest(b"short")
