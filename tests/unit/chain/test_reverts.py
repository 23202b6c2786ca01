"""Every custom error that a contract can raise is told by name and arguments."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.abi import get_abi_input_types
from hypothesis import given
from hypothesis import strategies as st
from usufruct_chain import artifacts
from usufruct_chain.reverts import CallReverted, decode_revert
from usufruct_protocol.errors import ContractRejected, Policy
from usufruct_protocol.signing import checksum_address
from web3 import Web3

SAMPLES: dict[str, Any] = {
    "address": checksum_address(bytes(range(20))),
    "bytes32": bytes(range(32)),
    "bytes4": b"\x01\x02\x03\x04",
    "string": 'it\'s "quoted"\n',
    "bool": True,
}


def sample(kind: str, number: int) -> Any:
    """A value of a type, another one at each place; structs of numbers are tuples."""
    if kind.startswith("("):
        return tuple(sample(part, number + place) for place, part in enumerate(kind[1:-1].split(",")))
    return SAMPLES.get(kind, number + 1)


def every_error() -> list[tuple[str, dict[str, Any]]]:
    return [
        (name, entry)
        for name in artifacts.PLACES
        for entry in artifacts.of_place(name).abi
        if entry["type"] == "error"
    ]


@pytest.mark.parametrize(
    ("contract", "entry"), every_error(), ids=lambda value: value if isinstance(value, str) else value["name"]
)
def test_every_error_is_decoded(contract: str, entry: dict[str, Any]) -> None:
    kinds = get_abi_input_types(entry)
    values = [sample(kind, number) for number, kind in enumerate(kinds)]
    selector = Web3.keccak(text=f"{entry['name']}({','.join(kinds)})")[:4]
    decoded = decode_revert(selector + encode(kinds, values))
    assert decoded.error_name == entry["name"]
    assert list(decoded.error_args.values()) == values
    assert list(decoded.error_args) == [item["name"] for item in entry["inputs"]]
    assert str(decoded).startswith(f"{entry['name']}(")
    assert "\n" not in str(decoded)


def test_the_message_reads_like_the_source() -> None:
    selector = Web3.keccak(text="UsageSettlement_WrongEpoch(uint64,uint64)")[:4]
    decoded = decode_revert(selector + encode(["uint64", "uint64"], [2, 3]))
    assert str(decoded) == "UsageSettlement_WrongEpoch(given=2, expected=3)"
    assert str(decoded.located("submit")) == "UsageSettlement_WrongEpoch(given=2, expected=3) in submit"
    assert isinstance(decoded, ContractRejected)
    assert (decoded.code, decoded.policy) == ("contract_rejected", Policy.NO_BLIND_RESEND)


def test_require_strings_and_panics_are_decoded() -> None:
    text = bytes.fromhex("08c379a0") + encode(["string"], ["not today"])
    assert str(decode_revert(text)) == "Error(message='not today')"
    panic = bytes.fromhex("4e487b71") + encode(["uint256"], [0x12])
    assert str(decode_revert(panic)) == "Panic(code=18, meaning='division by zero')"
    odd = bytes.fromhex("4e487b71") + encode(["uint256"], [0x99])
    assert str(decode_revert(odd)) == "Panic(code=153)"


def test_long_strings_from_a_chain_are_cut() -> None:
    text = bytes.fromhex("08c379a0") + encode(["string"], ["x" * 5_000])
    assert len(str(decode_revert(text))) < 300


@given(st.binary(max_size=200))
def test_any_data_gives_an_error_and_never_another_exception(data: bytes) -> None:
    assert isinstance(decode_revert(data), CallReverted)


@given(st.sampled_from(every_error()), st.binary(max_size=200))
def test_a_known_selector_with_any_arguments_gives_an_error(
    error: tuple[str, dict[str, Any]], tail: bytes
) -> None:
    entry = error[1]
    kinds = ",".join(get_abi_input_types(entry))
    data = Web3.keccak(text=f"{entry['name']}({kinds})")[:4] + tail
    assert decode_revert(data).data == data


def test_unknown_and_empty_data_keep_an_empty_name() -> None:
    unknown = decode_revert(b"\xde\xad\xbe\xef\x01")
    assert (unknown.error_name, unknown.error_args, unknown.data) == ("", {}, b"\xde\xad\xbe\xef\x01")
    assert str(unknown) == "reverted with unknown data 0xdeadbeef01"
    assert str(decode_revert(b"").located("submit")) == "reverted without a reason in submit"
