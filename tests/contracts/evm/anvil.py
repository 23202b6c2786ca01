"""A dev chain behind the face of the in-process one: what it shows of gas is what a chain takes.

Every call is a transaction in a block of its own, a second after the one before. Only good calls belong here:
why one failed is not read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from usufruct_chain import rpc
from usufruct_chain.rpc import Rpc, hexed, quantity

from scripts.devchain import Anvil
from tests.contracts.evm.chain import GAS_LIMIT, Contract, Evm, Reverted
from tests.contracts.wire import Account

RECEIPT_TIMEOUT_S = 10.0


class DevChain(Evm):
    """A running anvil without a base fee; accounts need neither keys nor ether to send."""

    def __init__(self, anvil: Anvil) -> None:
        self.chain_id = anvil.chain_id
        self.gas_of: dict[tuple[str, str], int] = {}
        """By contract and function, the most that a call of it has used."""
        self._anvil = anvil
        self._rpc = Rpc(anvil.w3)
        self._receipt: dict[str, Any] = {}
        self._errors, self._events = {}, {}
        anvil.rpc("anvil_autoImpersonateAccount", True)

    # -- time -----------------------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        """Number of the last block."""
        return quantity(self._latest["number"])

    @property
    def timestamp(self) -> int:
        """Time of the last block, in seconds."""
        return quantity(self._latest["timestamp"])

    def at(self, timestamp_s: int) -> None:
        """Mine a block with this time; a second after the last one, if the time has passed."""
        self._rpc.request("evm_setNextBlockTimestamp", hex(max(timestamp_s, self.timestamp + 1)))
        self._rpc.request("evm_mine")

    def mine(self, blocks: int) -> None:
        """Mine empty blocks."""
        self._rpc.request("anvil_mine", hex(blocks))

    def block_hash(self, number: int) -> bytes:
        """Return the hash of a block."""
        return rpc.data(self._rpc.request("eth_getBlockByNumber", hex(number), False)["hash"])

    def checkpoint(self) -> Callable[[], None]:
        """Remember this moment; the returned function goes back to it (once, innermost first)."""
        snapshot = self._anvil.snapshot()
        return lambda: self._anvil.revert(snapshot)

    # -- calls ----------------------------------------------------------------------------------------------

    def invoke(self, contract: Contract, name: str, args: tuple[Any, ...], **options: Any) -> Any:
        """Call a function, decode what it returns, and remember what it used. Raises: Reverted."""
        result = super().invoke(contract, name, args, **options)
        if not contract.functions[name].is_view:
            key = contract.name, name
            self.gas_of[key] = max(self.gas_of.get(key, 0), result.gas_used)
        return result

    def raw_call(
        self,
        sender: Account | Contract | None,
        to: str,
        data: bytes,
        *,
        gas: int = GAS_LIMIT,
        value: int = 0,
        is_static: bool = False,
    ) -> bytes:
        """Read what the call answers, then send it unless it only reads. Raises: Reverted."""
        caller = sender.address if sender is not None else "0x" + "00" * 20
        call = {"from": caller, "to": to, "data": hexed(data), "gas": hex(gas), "value": hex(value)}
        answer = bytes.fromhex(self._rpc.request("eth_call", call, "latest")[2:])
        if not is_static:
            self._send(call)
        return answer

    # -- inside ---------------------------------------------------------------------------------------------

    @property
    def _latest(self) -> Any:
        return self._rpc.request("eth_getBlockByNumber", "latest", False)

    def _nonce(self, sender: Account) -> int:
        return quantity(self._rpc.request("eth_getTransactionCount", sender.address, "latest"))

    def _create(self, sender: Account, code: bytes) -> str:
        receipt = self._send({"from": sender.address, "data": hexed(code), "gas": hex(GAS_LIMIT)})
        return str(receipt["contractAddress"])

    def _send(self, call: dict[str, str]) -> dict[str, Any]:
        number = self._rpc.request("eth_sendTransaction", call | {"gasPrice": "0x0"})
        deadline = time.monotonic() + RECEIPT_TIMEOUT_S
        while (receipt := self._rpc.request("eth_getTransactionReceipt", number)) is None:
            assert time.monotonic() < deadline, f"transaction {number} was not mined"
            time.sleep(0.005)
        if quantity(receipt["status"]) != 1:
            raise Reverted("Transaction", (number,), b"")
        self._receipt = receipt
        return self._receipt

    def _effects(self) -> tuple[int, Iterable[Any]]:
        logs = (
            SimpleNamespace(
                address=log["address"],
                data=([rpc.data(topic) for topic in log["topics"]], rpc.data(log["data"])),
            )
            for log in self._receipt["logs"]
        )
        return quantity(self._receipt["gasUsed"]), logs
