"""Reverts in words: every custom error of every contract, by its selector.

web3 hands out raw revert data only. Here it becomes the error's name and arguments, the same text that the
Solidity sources use.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import get_abi_input_types
from usufruct_protocol.errors import ContractRejected
from usufruct_protocol.signing import checksum_address

from usufruct_chain import artifacts
from usufruct_chain.abi import selector_of

_MAX_SHOWN = 200

_BUILT_IN: list[dict[str, Any]] = [
    {"type": "error", "name": "Error", "inputs": [{"name": "message", "type": "string"}]},
    {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]},
]
_PANICS = {
    0x01: "assertion failed",
    0x11: "arithmetic overflow",
    0x12: "division by zero",
    0x21: "not a member of the enum",
    0x32: "index out of bounds",
    0x41: "out of memory",
}


class CallReverted(ContractRejected):
    """A contract reverted, decoded.

    `error_name` is the Solidity error ("" when the revert carried no reason, or an unknown one), `error_args`
    its arguments by name: ints, bytes, EIP-55 text for addresses. `data` is the raw revert data.
    """

    def __init__(self, error_name: str, error_args: dict[str, Any], data: bytes, where: str = "") -> None:
        if error_name:
            arguments = ", ".join(f"{name}={_shown(value)}" for name, value in error_args.items())
            reason = f"{error_name}({arguments})"
        else:
            reason = (
                f"reverted with unknown data 0x{data.hex()[:_MAX_SHOWN]}"
                if data
                else "reverted without a reason"
            )
        super().__init__(f"{reason} in {where}" if where else reason)
        self.error_name = error_name
        self.error_args = error_args
        self.data = data

    def located(self, where: str) -> CallReverted:
        """Return the same error with the call it came from in its message."""
        return CallReverted(self.error_name, self.error_args, self.data, where)


def decode_revert(data: bytes) -> CallReverted:
    """Return the error that revert data stands for; unknown data keeps an empty name."""
    known = _errors_by_selector().get(data[:4])
    if known is None:
        return CallReverted("", {}, data)
    name, input_names, input_types = known
    try:
        values = decode(input_types, data[4:])
    except DecodingError:
        return CallReverted("", {}, data)
    arguments = {
        input_name: checksum_address(bytes.fromhex(value[2:])) if input_type == "address" else value
        for input_name, input_type, value in zip(input_names, input_types, values, strict=True)
    }
    if name == "Panic" and arguments["code"] in _PANICS:
        arguments["meaning"] = _PANICS[arguments["code"]]
    return CallReverted(name, arguments, data)


@cache
def _errors_by_selector() -> dict[bytes, tuple[str, tuple[str, ...], tuple[str, ...]]]:
    shipped = [artifacts.of_place(name) for name in artifacts.PLACES]
    entries = [
        *_BUILT_IN,
        *(entry for artifact in shipped for entry in artifact.abi if entry["type"] == "error"),
    ]
    table = {}
    for entry in entries:
        names = tuple(item["name"] or f"argument{index}" for index, item in enumerate(entry["inputs"]))
        types = tuple(get_abi_input_types(entry))  # type: ignore[arg-type]
        table[selector_of(entry)] = (entry["name"], names, types)
    return table


def _shown(value: Any) -> str:
    text = f"0x{value.hex()}" if isinstance(value, bytes) else repr(value) if _is_text(value) else str(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _is_text(value: Any) -> bool:
    """Strings from a chain are quoted, addresses (EIP-55 text by now) are not."""
    return isinstance(value, str) and not (value.startswith("0x") and len(value) == 42)
