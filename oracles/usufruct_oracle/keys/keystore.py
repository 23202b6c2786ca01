"""Keys at rest: an encrypted keystore file (web3 secret storage, version 3) and the passphrase that opens it.

The format is the one of geth, clef and every wallet, so a key can be moved in and out with their tools.
Source: https://ethereum.org/developers/docs/data-structures-and-encoding/web3-secret-storage
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any, Final

from usufruct_protocol.errors import ConfigInvalid, InputRejected
from usufruct_protocol.signing import LocalSigner, address_of, checksum_address

from usufruct_oracle.secret_file import read_secret, write_secret

SCRYPT_N: Final = 2**18
"""What geth uses: 256 MB and about a second, once at the start of a node and at every guess of a thief."""
_PASSPHRASE_BYTES: Final = 32
_SHORTEST_PASSPHRASE: Final = 12
_BROKEN: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
    InputRejected,
)
"""What the package raises for files that are not of the format, depending on which part of them is not."""


def new_private_key() -> bytes:
    """Return 32 random bytes that are a valid key."""
    while True:
        candidate = secrets.token_bytes(32)
        try:
            address_of(candidate)
        except InputRejected:  # one in 2^128
            continue
        return candidate


def read_plain_key(path: Path) -> bytes:
    """Return the key in a plain file of 64 hex digits. Raises: ConfigInvalid, never showing the content."""
    content = read_secret(path, "key file")
    try:
        key = bytes.fromhex(content.decode("ascii").strip().removeprefix("0x"))
        address_of(key)
    except (ValueError, InputRejected):
        # Not chained: the exception from above quotes the line it could not read.
        raise ConfigInvalid(f"key file {path}: not a private key", hint="64 hex digits on one line") from None
    return key


def write_plain_key(path: Path, private_key: bytes) -> None:
    """Keep a key unencrypted, for development. Raises: ConfigInvalid if the file exists."""
    write_secret(path, f"0x{private_key.hex()}\n".encode("ascii"), "key file")


def read_passphrase(path: Path) -> bytes:
    """Return the passphrase in a file, without the end of its line; UTF-8, as all wallets take it.

    Raises: ConfigInvalid.
    """
    passphrase = read_secret(path, "passphrase file").rstrip(b"\r\n")
    if not passphrase:
        raise ConfigInvalid(f"passphrase file {path}: empty")
    return passphrase


def make_passphrase(path: Path) -> None:
    """Make a passphrase file with 256 random bits. Raises: ConfigInvalid if it exists."""
    write_secret(path, secrets.token_urlsafe(_PASSPHRASE_BYTES).encode("ascii") + b"\n", "passphrase file")


def write_keystore(path: Path, private_key: bytes, passphrase: bytes, *, scrypt_n: int = SCRYPT_N) -> None:
    """Encrypt a key into a new keystore file.

    Raises: ConfigInvalid if the file exists or the passphrase has fewer than 12 bytes.
    """
    # The package costs a tenth of a second to import, and only nodes with a keystore need it.
    from eth_keyfile.keyfile import create_keyfile_json

    if len(passphrase) < _SHORTEST_PASSPHRASE:
        raise ConfigInvalid(
            f"the passphrase has {len(passphrase)} bytes", hint=f"at least {_SHORTEST_PASSPHRASE}"
        )
    make: Any = create_keyfile_json  # its annotation says str, which pbkdf2 cannot take
    content = make(private_key, passphrase, kdf="scrypt", iterations=scrypt_n)
    write_secret(path, json.dumps(content, indent=2).encode("ascii") + b"\n", "keystore")


def open_keystore(path: Path, passphrase_file: Path) -> LocalSigner:
    """Decrypt a keystore file. Raises: ConfigInvalid, never showing key or passphrase."""
    from eth_keyfile.keyfile import decode_keyfile_json

    content = read_secret(path, "keystore")
    passphrase = read_passphrase(passphrase_file)
    try:
        stored = json.loads(content)
        open_it: Any = decode_keyfile_json
        signer = LocalSigner(open_it(stored, passphrase))
    except _BROKEN as error:
        is_wrong_passphrase = isinstance(error, ValueError) and str(error) == "MAC mismatch"
        if is_wrong_passphrase:
            raise ConfigInvalid(
                f"keystore {path}: the passphrase in {passphrase_file} does not open it",
                hint="is it the passphrase of another key?",
            ) from None
        raise ConfigInvalid(
            f"keystore {path}: not a web3 secret storage file of version 3 ({type(error).__name__})",
            hint="usufruct-oracle keys import makes one from a key file",
        ) from None
    _check_stated_address(path, stored, signer)
    return signer


def _check_stated_address(path: Path, stored: Any, signer: LocalSigner) -> None:
    stated = str(stored.get("address", "")).lower().removeprefix("0x")
    if stated and stated != signer.address.hex():
        raise ConfigInvalid(
            f"keystore {path} says address 0x{stated}, its key is {checksum_address(signer.address)}",
            hint="the file was edited or mixed up; take the original",
        )
