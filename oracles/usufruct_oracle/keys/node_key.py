"""Where a node's key is: an encrypted keystore, another program, or a plain file for development."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from usufruct_protocol.keccak import keccak256
from usufruct_protocol.signing import LocalSigner, Signer

from usufruct_oracle.keys.external_signer import ExternalSigner
from usufruct_oracle.keys.keystore import (
    make_passphrase,
    open_keystore,
    read_passphrase,
    read_plain_key,
    write_keystore,
)
from usufruct_oracle.settings import ExternalKey, Key, KeystoreKey, PlainKey, Settings

_log = logging.getLogger(__name__)
_TRIAL: Final = keccak256(b"Usufruct key trial: signs nothing else\n")


def open_signer(settings: Settings, on_failure: Callable[[], None] | None = None) -> Signer | None:
    """Return the node's signer, or None for a dry run. An external one is not asked anything yet.

    on_failure: called whenever an external one gives no signature
    Raises: ConfigInvalid if a file is missing, damaged, or readable by others; never showing its content.
    """
    match settings.key:
        case None:
            return None
        case KeystoreKey(keystore_file, passphrase_file):
            return open_keystore(keystore_file, passphrase_file)
        case ExternalKey(command, address, timeout_s):
            return ExternalSigner(command, address, timeout_s, on_failure)
        case PlainKey(path):
            signer = LocalSigner(read_plain_key(path))
            _log.warning("%s holds the key unencrypted: for development only (runbook#keys)", path)
            return signer


def close_signer(signer: Signer | None) -> None:
    """Release what a signer holds; a key in memory holds nothing."""
    if isinstance(signer, ExternalSigner):
        signer.close()


def keep_new_key(private_key: bytes, keystore: Path, passphrase_file: Path) -> None:
    """Write a key into a new keystore; a passphrase file that is not there yet is made first.

    The key is on disk when this returns. Raises: ConfigInvalid if the keystore exists.
    """
    if not passphrase_file.exists():
        make_passphrase(passphrase_file)
    write_keystore(keystore, private_key, read_passphrase(passphrase_file))


def try_out(signer: Signer) -> None:
    """Let a signer sign a digest that no contract and no peer takes. Raises: what the signer raises."""
    signer.sign_digest(_TRIAL)


def kind_of(key: Key) -> str:
    """Return how a key is kept, in a few words."""
    if isinstance(key, KeystoreKey):
        return f"keystore {key.keystore_file}"
    if isinstance(key, ExternalKey):
        return f"signer command {key.command[0]}"
    return f"plain file {key.key_file}, for development only"
