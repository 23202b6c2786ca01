"""The key of a lane: it signs, it derives salts, and it is never shown."""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from coincurve import PrivateKey
from usufruct_protocol.errors import ConfigInvalid, InputRejected
from usufruct_protocol.receipts import derive_salt
from usufruct_protocol.signing import CURVE_ORDER, address_of, checksum_address

_SECRET_LABEL: Final = b"usufruct lane secret"
_MAX_KEY_FILE_BYTES: Final = 256


class LaneKey:
    """A 32-byte secp256k1 key with its point and salt secret computed once.

    Raises: InputRejected if it is no valid key.
    """

    __slots__ = ("_key", "_salt_secret", "address")

    def __init__(self, private_key: bytes) -> None:
        self.address = address_of(private_key)
        self._key = PrivateKey(private_key)
        self._salt_secret = hmac.digest(private_key, _SECRET_LABEL, "sha256")

    def __repr__(self) -> str:
        return f"LaneKey({checksum_address(self.address)})"

    def sign(self, digest: bytes) -> bytes:
        """Return r ‖ s ‖ v of a 32-byte digest: the bytes of `signing.sign_digest`, in half the time."""
        signature = self._key.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes((27 + signature[64],))

    def salt(self, purpose: bytes, seq: int) -> bytes:
        """Return the 32-byte salt of one receipt, the same whenever it is derived again."""
        return derive_salt(self._salt_secret, purpose, seq)


def new_private_key() -> bytes:
    """Draw a private key from the operating system."""
    while True:
        candidate = secrets.token_bytes(32)
        if 0 < int.from_bytes(candidate, "big") < CURVE_ORDER:
            return candidate


def write_key_file(path: Path, private_key: bytes) -> None:
    """Write a new key file that only its owner can read. Raises: ConfigInvalid if the file exists."""
    LaneKey(private_key)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConfigInvalid(
            f"{path} exists", hint="a key is never overwritten; choose another name"
        ) from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"0x{private_key.hex()}\n")
        file.flush()
        os.fsync(file.fileno())


def read_key_file(path: Path) -> LaneKey:
    """Read the key file of a lane. Raises: as `read_private_key`."""
    return LaneKey(read_private_key(path))


def read_private_key(path: Path) -> bytes:
    """Read a key file: 64 hex digits, with or without 0x, in a file that nobody but its owner can read.

    No error repeats what the file holds.
    Raises: ConfigInvalid for a missing or open file, a malformed key, or a placeholder.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigInvalid(f"key file {path}: {error.strerror}", hint="is key_file right?") from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigInvalid(
            f"key file {path} can be read by others (mode {stat.S_IMODE(mode):o})", hint=f"chmod 600 {path}"
        )
    try:
        private_key = bytes.fromhex(content.decode("ascii").strip().removeprefix("0x"))
        LaneKey(private_key)
    except (ValueError, InputRejected) as error:
        raise ConfigInvalid(
            f"key file {path} does not hold a key", hint="expected 64 hex digits, below the curve order"
        ) from error
    if len(set(private_key)) < 8 or private_key[:16] == bytes(16):
        raise ConfigInvalid(
            f"key file {path} holds a placeholder, not a random key", hint="usufruct-meter lane new draws one"
        )
    return private_key
