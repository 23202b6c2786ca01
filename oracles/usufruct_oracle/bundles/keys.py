"""The lasting key to which a signer's exported bundles are sealed, announced under the signer's signature.

An announcement is good for a week and renewed every day, so that one for a key that was given up cannot be
shown for long, and a signer behind another program is not asked for more.
Source: docs/spec.md section 9
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from usufruct_protocol.errors import InputRejected, Transient, UsufructError
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.signing import Signer, recover

from usufruct_oracle.bundles.sealing import check_recipient
from usufruct_oracle.wire_json import Fields, hexed

_PURPOSE: Final = b"Usufruct bundle key v1\n"
VALID_S: Final = 7 * 86_400
_RENEWED_S: Final = 86_400
_PAUSE_S: Final = 60.0
_CLOCKS_DIFFER_S: Final = 7_200


@dataclass(frozen=True, slots=True)
class Announcement:
    """Who seals something for a signer seals it to `recipient`, until a time in unix seconds."""

    recipient: str
    valid_until_s: int
    signature: bytes

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "recipient": self.recipient,
            "valid_until_s": self.valid_until_s,
            "signature": hexed(self.signature),
        }

    @classmethod
    def from_json(cls, content: Fields) -> Announcement:
        """Read what `to_json` wrote. Raises: InputRejected."""
        recipient = content.value("recipient")
        if not isinstance(recipient, str):
            raise InputRejected("bundle key: recipient must be a text")
        return cls(
            check_recipient(recipient), content.uint("valid_until_s", 48), content.data("signature", 65)
        )

    def check(self, domain: bytes, signer: bytes, now_s: float) -> str:
        """Return the recipient if the signer announces it now. Raises: InputRejected."""
        found = recover(_digest(domain, self.recipient, self.valid_until_s), self.signature)
        if found != signer:
            raise InputRejected(f"bundle key of {hexed(signer)} is signed by {hexed(found)}")
        if not now_s - _CLOCKS_DIFFER_S < self.valid_until_s < now_s + VALID_S + _CLOCKS_DIFFER_S:
            raise InputRejected(
                f"bundle key of {hexed(signer)} is announced for another time", hint="set both clocks"
            )
        return self.recipient


class Announcing:
    """Announces this node's bundle key. Safe to share between threads."""

    def __init__(
        self, domain: bytes, signer: Signer, recipient: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._domain = domain
        self._signer = signer
        self._recipient = recipient
        self._clock = clock
        self._lock = threading.Lock()
        self._current: Announcement | None = None
        self._not_before_s = 0.0

    def current(self) -> Announcement:
        """Return an announcement good for days. Raises: Transient while the signer does not answer."""
        with self._lock:
            now_s = self._clock()
            current = self._current
            if current is not None and now_s < current.valid_until_s - VALID_S + _RENEWED_S:
                return current
            if now_s < self._not_before_s:
                raise Transient("the signer did not answer a moment ago", hint="ask again in a minute")
            valid_until_s = int(now_s) + VALID_S
            try:
                signature = self._signer.sign_digest(_digest(self._domain, self._recipient, valid_until_s))
            except UsufructError:
                self._not_before_s = now_s + _PAUSE_S
                raise
            self._current = Announcement(self._recipient, valid_until_s, signature)
            return self._current


def _digest(domain: bytes, recipient: str, valid_until_s: int) -> bytes:
    return keccak256(
        b"".join((_PURPOSE, domain, valid_until_s.to_bytes(8, "big"), recipient.encode("ascii")))
    )
