"""How nodes prove to each other that they are signers: a signed request header.

    Usufruct-Peer: <unix seconds> <signer address> <signature>

The signature covers chain, contract, the node it is meant for, method, path with query, and time. A header
that is overheard is good for one minute and for the same request to the same node, no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.signing import Signer, recover

HEADER: Final = "Usufruct-Peer"
MAX_AGE_S: Final = 60
# A text that no EIP-712 digest (0x19 0x01 …) can begin with: a request signature is never a report signature.
_PURPOSE: Final = b"Usufruct peer request v1\n"


class NotAPeer(InputRejected):
    """The request carries no valid signature of a current signer."""

    code = "not_a_peer"


class PeerAuth:
    """Signs requests to peers and checks those of peers.

    signers: returns the addresses that count as peers right now
    clock:   unix seconds; both sides' clocks may differ by a minute
    """

    def __init__(
        self,
        domain_separator: bytes,
        own_address: bytes,
        signer: Signer | None,
        signers: Callable[[], Collection[bytes]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._domain = domain_separator
        self._own_address = own_address
        self._signer = signer
        self._signers = signers
        self._clock = clock

    def header(self, to: bytes, method: str, path: str, ahead_s: float = 0.0) -> dict[str, str]:
        """Return the header for a request to the node of signer `to`; none without a key.

        ahead_s: by how much that node's clock is ahead of ours. What is signed in its time is good for it
                 alone, so a node that lies about its clock gains nothing.
        """
        if self._signer is None:
            return {}
        at_s = int(self._clock() + ahead_s)
        signature = self._signer.sign_digest(self._digest(to, method, path, at_s))
        return {HEADER: f"{at_s} 0x{self._signer.address.hex()} 0x{signature.hex()}"}

    def check(self, header: str | None, method: str, path: str) -> bytes:
        """Return the signer that made a request to this node. Raises: NotAPeer."""
        if header is None:
            raise NotAPeer(f"{path} is for peers only", hint=f"sign the request: header {HEADER}")
        try:
            at_text, address_text, signature_text = header.split(" ")
            at_s = int(at_text)
            address = bytes.fromhex(address_text.removeprefix("0x"))
            signature = bytes.fromhex(signature_text.removeprefix("0x"))
        except ValueError as error:
            raise NotAPeer(f"header {HEADER} is malformed") from error
        if abs(int(self._clock()) - at_s) > MAX_AGE_S:
            raise NotAPeer(f"header {HEADER} is of another time", hint="set the clock of both machines")
        if address not in self._signers():
            raise NotAPeer(f"0x{address.hex()} is not a signer of this committee")
        try:
            signer = recover(self._digest(self._own_address, method, path, at_s), signature)
        except InputRejected as error:
            raise NotAPeer(f"header {HEADER}: {error}") from error
        if signer != address:
            raise NotAPeer(f"header {HEADER} is signed for another request or by another key")
        return address

    def _digest(self, to: bytes, method: str, path: str, at_s: int) -> bytes:
        return keccak256(b"".join((_PURPOSE, self._domain, to, f"{method} {path}\n{at_s}".encode())))
