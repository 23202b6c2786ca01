"""Many lane keys from one seed, by hardened derivation: a stolen lane key tells nothing of its siblings.

    m / purpose' / license' / draw' / worker'       BIP-32, hardened steps only

`draw` is random and new each time lanes are made. A seed that is restored somewhere else therefore never
makes the same lane again: two histories of one lane would cost the buyer's bond.
"""

from __future__ import annotations

import hmac
import secrets
from pathlib import Path
from typing import Final

from usufruct_protocol.errors import ConfigInvalid, InputRejected
from usufruct_protocol.signing import CURVE_ORDER

from usufruct_meter.lanes.lane_key import new_private_key, read_private_key, write_key_file

PURPOSE: Final = 0x55465255
"""This use of a seed, apart from every other."""
_HARDENED: Final = 2**31


def draw_branch(license_id: int) -> tuple[int, int, int]:
    """Return the path to a new branch of lanes of a license. Raises: InputRejected for an id over 2³¹."""
    if not 0 < license_id < _HARDENED:
        raise InputRejected(f"license id {license_id} cannot be a step of a derivation path")
    return PURPOSE, license_id, secrets.randbelow(_HARDENED)


def derive_key(seed: bytes, path: tuple[int, ...]) -> bytes:
    """Return the private key at a path of hardened steps, each below 2³¹.

    Source: BIP-32, private parent key → private child key, i ≥ 2³¹.
    Raises: InputRejected for a step out of range, or (once in 2¹²⁷ seeds) a path without a key.
    """
    digest = hmac.digest(b"Bitcoin seed", seed, "sha512")
    key, chain_code = digest[:32], digest[32:]
    for step in path:
        if not 0 <= step < _HARDENED:
            raise InputRejected(f"step {step} of a derivation path is not below 2^31")
        material = b"\0" + key + (step + _HARDENED).to_bytes(4, "big")
        digest = hmac.digest(chain_code, material, "sha512")
        left = int.from_bytes(digest[:32], "big")
        child = (left + int.from_bytes(key, "big")) % CURVE_ORDER
        if left >= CURVE_ORDER or child == 0:
            raise InputRejected("this path has no key", hint="draw another one")
        key, chain_code = child.to_bytes(32, "big"), digest[32:]
    return key


def open_seed(path: Path) -> bytes:
    """Read a seed file (as a key file: 64 hex digits, for its owner only), or make one.

    Raises: ConfigInvalid.
    """
    if not path.exists():
        try:
            write_key_file(path, new_private_key())
        except OSError as error:
            raise ConfigInvalid(f"seed file {path}: {error.strerror}") from error
    return read_private_key(path)
