"""Values of fixed size as the words that calls carry: what nearly every call of a random history needs.

eth-abi does the same for any type, some ten times slower; it serves the types that are not here, and
`test_words` holds the two against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from eth_utils.address import to_checksum_address

WORD = 32
_INTEGER = re.compile(r"(u?)int(\d+)")
_BYTES = re.compile(r"bytes(\d+)")

Encoder = Callable[[Any], bytes]
Decoder = Callable[[bytes], Any]


def word_codec(kind: str) -> tuple[Encoder, Decoder] | None:
    """How a value of a type becomes one word and back; None for a type that is more than a word."""
    if kind == "address":
        return _encode_address, _decode_address
    if kind == "bool":
        return _encode_bool, _decode_bool
    if found := _INTEGER.fullmatch(kind):
        return _integer(int(found[2]), is_signed=not found[1])
    if found := _BYTES.fullmatch(kind):
        return _bytes(int(found[1]))
    return None


def words_encoder(kinds: Sequence[str]) -> Callable[[Sequence[Any]], bytes] | None:
    """How arguments of these types become call data; None if one of them is more than a word."""
    codecs = [word_codec(kind) for kind in kinds]
    if not all(codecs):
        return None
    encoders = [codec[0] for codec in codecs if codec]

    def encode(values: Sequence[Any]) -> bytes:
        return b"".join([encoder(value) for encoder, value in zip(encoders, values, strict=True)])

    return encode


def words_decoder(kinds: Sequence[str]) -> Callable[[bytes], list[Any]] | None:
    """How an answer of these types is read; None if one of them is more than a word."""
    codecs = [word_codec(kind) for kind in kinds]
    if not all(codecs):
        return None
    decoders = [(codec[1], WORD * at) for at, codec in enumerate(codecs) if codec]

    def decode(data: bytes) -> list[Any]:
        if len(data) < WORD * len(decoders):
            raise ValueError(f"{len(data)} bytes, expected {WORD} for each of {kinds}")
        return [decoder(data[at : at + WORD]) for decoder, at in decoders]

    return decode


def _integer(bits: int, *, is_signed: bool) -> tuple[Encoder, Decoder]:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)

    def encode(value: Any) -> bytes:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"{value!r} is no integer from {low} to {high}")
        return value.to_bytes(WORD, "big", signed=is_signed)

    def decode(word: bytes) -> int:
        value = int.from_bytes(word, "big", signed=is_signed)
        if not low <= value <= high:
            raise ValueError(f"0x{word.hex()} is no integer from {low} to {high}")
        return value

    return encode, decode


def _bytes(size: int) -> tuple[Encoder, Decoder]:
    padding = bytes(WORD - size)

    def encode(value: Any) -> bytes:
        if not isinstance(value, bytes) or len(value) > size:
            raise ValueError(f"{value!r} is not {size} bytes")
        return value.ljust(WORD, b"\0")

    def decode(word: bytes) -> bytes:
        if word[size:] != padding:
            raise ValueError(f"0x{word.hex()} is more than {size} bytes")
        return word[:size]

    return encode, decode


def _encode_bool(value: Any) -> bytes:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is no bool")
    return value.to_bytes(WORD, "big")


def _decode_bool(word: bytes) -> bool:
    value = int.from_bytes(word, "big")
    if value > 1:
        raise ValueError(f"0x{word.hex()} is no bool")
    return bool(value)


@cache
def _encode_address(value: Any) -> bytes:
    raw = bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else value
    if not isinstance(raw, bytes) or len(raw) != 20:
        raise ValueError(f"{value!r} is no address")
    return raw.rjust(WORD, b"\0")


@cache
def _decode_address(word: bytes) -> str:
    if word[:12] != bytes(12):
        raise ValueError(f"0x{word.hex()} is no address")
    return str(to_checksum_address(word[12:]))
