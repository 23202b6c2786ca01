"""secp256k1 signatures as contracts accept them: recoverable, low-s, v of 27 or 28.

Whoever signs holds a `Signer`: something with an address that signs digests, wherever its key lives. A key
itself is 32 bytes; nothing here prints one.
"""

import re
from typing import Final, Protocol

from coincurve import PrivateKey, PublicKey

from usufruct_protocol.eip712 import check_bytes
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256

CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
HALF_CURVE_ORDER: Final = CURVE_ORDER // 2
ZERO_ADDRESS: Final = bytes(20)

_ADDRESS_TEXT: Final = re.compile(r"0x[0-9a-fA-F]{40}")


class Signer(Protocol):
    """An account that signs: a key in memory, an external command, a device."""

    @property
    def address(self) -> bytes:
        """The account, 20 bytes."""

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes; returns r ‖ s ‖ v (65 bytes), s in the lower half, v of 27 or 28.

        Raises: InputRejected if the digest is not 32 bytes; Transient if the key cannot be reached now.
        """


class LocalSigner:
    """A key in memory: never shown, never copied into a pickle, its point computed once.

    Raises: InputRejected if the 32 bytes are no valid key.
    """

    __slots__ = ("_address", "_key")

    def __init__(self, private_key: bytes) -> None:
        self._key = _private_key(private_key)
        self._address = _address_of_point(self._key.public_key)

    @property
    def address(self) -> bytes:
        """The account, 20 bytes."""
        return self._address

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes: the bytes of `sign_digest`, in less time. Raises: InputRejected."""
        return _signed(self._key, digest)

    def __repr__(self) -> str:
        return f"LocalSigner({checksum_address(self._address)})"

    def __reduce__(self) -> str:
        raise InputRejected("a signer is not serialized: its key stays where it is")


def address_of(private_key: bytes) -> bytes:
    """Return the 20-byte address of a private key. Raises: InputRejected if it is no valid key."""
    return _address_of_point(_private_key(private_key).public_key)


def sign_digest(private_key: bytes, digest: bytes) -> bytes:
    """Sign 32 bytes; returns r ‖ s ‖ v (65 bytes), deterministic (RFC 6979), s in the lower half.

    Raises: InputRejected if the key is invalid or the digest is not 32 bytes.
    """
    return _signed(_private_key(private_key), digest)


def recover(digest: bytes, signature: bytes) -> bytes:
    """Return the address that signed a digest.

    Refuses what OpenZeppelin's ECDSA refuses, so that Python and contracts accept the same signatures: any
    length but 65, v other than 27 or 28, s in the upper half, and whatever recovers to no address.
    Raises: InputRejected.
    """
    check_bytes(digest, 32, "digest")
    check_bytes(signature, 65, "signature")
    r = int.from_bytes(signature[:32], "big")
    s = int.from_bytes(signature[32:64], "big")
    v = signature[64]
    if v not in (27, 28):
        raise InputRejected(f"signature v must be 27 or 28, got {v}")
    if not 0 < r < CURVE_ORDER:
        raise InputRejected("signature r is outside the curve order")
    if not 0 < s <= HALF_CURVE_ORDER:
        raise InputRejected("signature s is zero or in the upper half of the curve order")
    try:
        point = PublicKey.from_signature_and_message(signature[:64] + bytes((v - 27,)), digest, hasher=None)
    except ValueError as error:
        raise InputRejected("signature recovers to no public key") from error
    signer = _address_of_point(point)
    if signer == ZERO_ADDRESS:
        raise InputRejected("signature recovers to the zero address")
    return signer


def to_compact(signature: bytes) -> bytes:
    """Return r ‖ vs (64 bytes, EIP-2098): the parity of v moves into the top bit of s.

    Raises: InputRejected for a signature that is not 65 bytes, low-s and v 27 or 28.
    """
    check_bytes(signature, 65, "signature")
    v = signature[64]
    if v not in (27, 28):
        raise InputRejected(f"signature v must be 27 or 28, got {v}")
    if int.from_bytes(signature[32:64], "big") > HALF_CURVE_ORDER:
        raise InputRejected("signature s is in the upper half of the curve order")
    return signature[:32] + bytes((signature[32] | (v - 27) << 7,)) + signature[33:64]


def checksum_address(address: bytes) -> str:
    """Return the EIP-55 text of a 20-byte address: mixed case is the checksum. Raises: InputRejected."""
    text = check_bytes(address, 20, "address").hex()
    digits = keccak256(text.encode("ascii")).hex()
    return "0x" + "".join(
        char.upper() if digit >= "8" else char for char, digit in zip(text, digits, strict=False)
    )


def parse_address(text: str) -> bytes:
    """Return the 20 bytes of an address; mixed case must carry a correct EIP-55 checksum.

    Raises: InputRejected if it is not 0x and 40 hex digits, or the checksum is wrong.
    """
    if not _ADDRESS_TEXT.fullmatch(text):
        raise InputRejected(f"not an address: {text!r}", hint="expected 0x and 40 hex digits")
    address = bytes.fromhex(text[2:])
    is_mixed_case = text[2:] not in (text[2:].lower(), text[2:].upper())
    if is_mixed_case and checksum_address(address) != text:
        raise InputRejected(
            f"address {text} has a wrong checksum", hint="a digit or its case was mistyped; copy it again"
        )
    return address


def _signed(key: PrivateKey, digest: bytes) -> bytes:
    check_bytes(digest, 32, "digest")
    signature: bytes = key.sign_recoverable(digest, hasher=None)
    return signature[:64] + bytes((27 + signature[64],))


def _private_key(private_key: bytes) -> PrivateKey:
    check_bytes(private_key, 32, "private key")
    try:
        return PrivateKey(private_key)
    except ValueError as error:
        raise InputRejected("private key is zero or not below the curve order") from error


def _address_of_point(point: PublicKey) -> bytes:
    return keccak256(point.format(compressed=False)[1:])[12:]
