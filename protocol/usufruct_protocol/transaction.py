"""EIP-1559 transactions as bytes: what is signed, and what goes to the pool.

Any `Signer` can send with it, also one whose key is elsewhere; and the meter needs no chain package for it.
Source: EIP-1559, EIP-2718; the Ethereum yellow paper, appendix B (RLP).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from usufruct_protocol.eip712 import check_bytes
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.money import check_uint
from usufruct_protocol.signing import Signer

_TYPE: Final = b"\x02"
_SHORT: Final = 55


@dataclass(frozen=True, slots=True)
class Transaction:
    """An unsigned EIP-1559 transaction without an access list; amounts in wei, `to` None for a deployment.

    Raises: InputRejected for a number that is negative or too large, or an address that is not 20 bytes.
    """

    chain_id: int
    nonce: int
    tip_per_gas_wei: int
    max_fee_per_gas_wei: int
    gas: int
    to: bytes | None
    value_wei: int
    data: bytes

    def __post_init__(self) -> None:
        for name in ("chain_id", "nonce", "gas"):
            check_uint(getattr(self, name), 64, name)
        for name in ("tip_per_gas_wei", "max_fee_per_gas_wei", "value_wei"):
            check_uint(getattr(self, name), 256, name)
        if self.to is not None:
            check_bytes(self.to, 20, "to")

    def digest(self) -> bytes:
        """Return the 32 bytes that the sender signs."""
        return keccak256(_TYPE + _rlp_list(self._fields()))

    def signed(self, signer: Signer) -> bytes:
        """Return the signed transaction, as `eth_sendRawTransaction` takes it; its keccak-256 is its hash.

        Raises: what the signer raises.
        """
        signature = signer.sign_digest(self.digest())
        r, s = (int.from_bytes(signature[at : at + 32], "big") for at in (0, 32))
        return _TYPE + _rlp_list([*self._fields(), *map(_rlp_uint, (signature[64] - 27, r, s))])

    def _fields(self) -> list[bytes]:
        numbers = (self.chain_id, self.nonce, self.tip_per_gas_wei, self.max_fee_per_gas_wei, self.gas)
        no_access_list = _rlp_list(())
        return [
            *map(_rlp_uint, numbers),
            _rlp_bytes(self.to or b""),
            _rlp_uint(self.value_wei),
            _rlp_bytes(self.data),
            no_access_list,
        ]


def _rlp_uint(value: int) -> bytes:
    return _rlp_bytes(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _rlp_bytes(value: bytes) -> bytes:
    return value if len(value) == 1 and value[0] < 0x80 else _rlp_prefix(0x80, len(value)) + value


def _rlp_list(encoded_items: Sequence[bytes]) -> bytes:
    body = b"".join(encoded_items)
    return _rlp_prefix(0xC0, len(body)) + body


def _rlp_prefix(kind: int, length: int) -> bytes:
    if length <= _SHORT:
        return bytes((kind + length,))
    encoded = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((kind + _SHORT + len(encoded),)) + encoded
