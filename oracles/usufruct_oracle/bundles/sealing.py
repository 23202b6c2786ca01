"""Restricted bytes outside a node's database: encrypted, in the age format, to those who may read them.

On the way between nodes they are sealed to a key that the asking process made for itself and forgets; at
rest, in exported bundles, to one lasting key per signer, which `age -d -i bundle.key` takes as well.
Source: https://age-encryption.org/v1; docs/spec.md section 9
"""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path

import pyrage
from pyrage.x25519 import Identity, Recipient
from usufruct_protocol.errors import ConfigInvalid, InputRejected

from usufruct_oracle.secret_file import read_secret, write_secret

_CHUNK_BYTES, _TAG_BYTES, _HEADER_BYTES = 65_536, 16, 1_024


class NotOpened(InputRejected):
    """Sealed bytes are damaged, or sealed to others."""

    code = "not_opened"


class _InParts(io.BytesIO):
    """Bytes read by Python, which gives other threads their turns; the cipher alone keeps them waiting."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(size)


class SealingKey:
    """A key that opens what is sealed to its `recipient`. Never shows itself."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self.recipient = str(identity.to_public())

    def __repr__(self) -> str:
        return f"SealingKey({self.recipient})"

    @classmethod
    def generate(cls) -> SealingKey:
        """Return a new key that is in memory only."""
        return cls(Identity.generate())

    @classmethod
    def load(cls, path: Path) -> SealingKey:
        """Read a key file. Raises: ConfigInvalid, never showing its content."""
        lines = read_secret(path, "bundle key").decode("utf-8", "replace").splitlines()
        try:
            (text,) = (line.strip() for line in lines if line.strip() and not line.startswith("#"))
            return cls(Identity.from_str(text))
        except (ValueError, pyrage.IdentityError):
            # Not chained: the exception from above may quote what it could not read.
            raise ConfigInvalid(
                f"bundle key {path}: not one age identity",
                hint="one line AGE-SECRET-KEY-1…, as age-keygen writes",
            ) from None

    @classmethod
    def load_or_make(cls, path: Path) -> SealingKey:
        """Read a key file, which is made if there is none. Raises: ConfigInvalid."""
        if not path.exists():
            write_secret(path, f"{Identity.generate()}\n".encode("ascii"), "bundle key")
        return cls.load(path)

    def open(self, sealed: bytes, what: str) -> bytes:
        """Return what was sealed; `what` names it in errors. Raises: NotOpened."""
        opened = io.BytesIO()
        try:
            pyrage.decrypt_io(_InParts(sealed), opened, [self._identity])
        except (pyrage.DecryptError, OSError) as error:
            raise NotOpened(f"{what}: damaged, or sealed to others ({error})") from error
        return opened.getvalue()


def seal(body: bytes, recipients: Collection[str]) -> bytes:
    """Encrypt to each of some recipients (age1…); any one of them opens it. Raises: InputRejected."""
    sealed = io.BytesIO()
    pyrage.encrypt_io(_InParts(body), sealed, [_recipient(text) for text in recipients])
    return sealed.getvalue()


def check_recipient(text: str) -> str:
    """Return a recipient if it is one. Raises: InputRejected."""
    _recipient(text)
    return text


def sealed_size(size: int, recipients: int = 1) -> int:
    """Return how many bytes `size` bytes have at most when they are sealed."""
    return size + (size // _CHUNK_BYTES + 1) * _TAG_BYTES + _HEADER_BYTES * (recipients + 1)


def _recipient(text: str) -> Recipient:
    try:
        return Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise InputRejected(
            f"{text!r:.80} is no age recipient", hint="age1 and 58 letters and digits"
        ) from error
