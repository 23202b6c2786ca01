"""The quick codec of the tests agrees with eth-abi, on what it takes and on what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError, EncodingError
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.evm.words import WORD, words_decoder, words_encoder

KINDS = ("address", "bool", "uint8", "uint64", "uint96", "uint256", "int8", "int256", "bytes4", "bytes32")
MORE_THAN_A_WORD = ("bytes", "string", "uint96[]", "bytes32[2]", "(uint64,bytes32)")

kinds = st.lists(st.sampled_from(KINDS), max_size=4)
values = st.one_of(
    st.booleans(),
    st.integers(-(2**255) - 1, 2**256),
    st.sampled_from([0, 255, 256, -128, -129, 2**96 - 1, 2**96]),
    st.binary(max_size=33),
    st.binary(min_size=20, max_size=20).map(lambda raw: f"0x{raw.hex()}"),
)


@given(kinds=kinds, data=st.data())
def test_arguments_become_the_same_bytes(kinds: list[str], data: st.DataObject) -> None:
    given_values = [data.draw(values) for _ in kinds]
    ours = words_encoder(kinds)
    assert ours is not None
    try:
        expected = encode(kinds, given_values)
    except EncodingError:
        with pytest.raises(ValueError, match="is no"):
            ours(given_values)
    else:
        assert ours(given_values) == expected


@given(
    kinds=kinds,
    words=st.lists(
        st.one_of(
            st.binary(min_size=WORD, max_size=WORD),
            st.integers(0, 2).map(lambda value: value.to_bytes(WORD, "big")),
            st.binary(min_size=20, max_size=20).map(lambda raw: raw.rjust(WORD, b"\0")),
            st.binary(min_size=4, max_size=4).map(lambda raw: raw.ljust(WORD, b"\0")),
            st.just(b"\xff" * WORD),
        ),
        max_size=4,
    ),
)
def test_answers_are_read_alike(kinds: list[str], words: list[bytes]) -> None:
    ours = words_decoder(kinds)
    assert ours is not None
    answer = b"".join(words)
    try:
        expected: tuple[Any, ...] = decode(kinds, answer)
    except DecodingError:
        with pytest.raises(ValueError, match=r"bytes|is no"):
            ours(answer)
    else:
        read = ours(answer)
        assert [value.lower() if isinstance(value, str) else value for value in read] == list(expected)


@pytest.mark.parametrize("kind", MORE_THAN_A_WORD)
def test_what_is_more_than_a_word_is_left_to_eth_abi(kind: str) -> None:
    assert words_encoder(["uint8", kind]) is None
    assert words_decoder([kind]) is None
