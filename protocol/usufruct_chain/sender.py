"""Transactions of one account: simulated first, sent once, waited for.

The chain is the only memory: nothing is kept between runs. A restarted sender asks for the account's counts
and so finds what the run before left in the pool.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from usufruct_protocol.errors import Incompatible, Transient, UsufructError
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.signing import Signer, checksum_address, parse_address
from usufruct_protocol.transaction import Transaction
from web3 import Web3
from web3.contract.contract import ContractConstructor, ContractFunction
from web3.types import TxParams, TxReceipt

from usufruct_chain.artifacts import Artifact
from usufruct_chain.reverts import CallReverted
from usufruct_chain.rpc import Request, Rpc, hexed, quantity

RECEIPT_TIMEOUT_S: Final = 120.0
FIRST_PAUSE_S: Final = 0.01
LONGEST_PAUSE_S: Final = 1.0
DEFAULT_TIP_WEI: Final = 10**9
"""Tip where the endpoint does not suggest one."""
FEE_STEP_PERCENT: Final = 125
"""Growth of the fees of a replacement; pools ask for at least 110."""
FEE_REFUSALS: Final = ("underpriced", "fee too low", "less than block base fee")
"""What pools say of a fee that will not do."""
MAX_TRIES: Final = 20
"""Tries to get one transaction into the pool: enough for fees to grow some seventyfold."""

_ENCODING_ONLY: Final[TxParams] = {
    "chainId": 0,
    "nonce": 0,  # type: ignore[typeddict-item]
    "gas": 0,
    "maxFeePerGas": 0,  # type: ignore[typeddict-item]
    "maxPriorityFeePerGas": 0,  # type: ignore[typeddict-item]
    "value": 0,  # type: ignore[typeddict-item]
}
"""Every field that web3 would otherwise ask the endpoint for."""


@dataclass(frozen=True, slots=True)
class _Outgoing:
    """What to execute. `to` is None for a deployment; `where` names it in errors."""

    to: str | None
    call_data: str
    value_wei: int
    gas: int | None
    where: str


@dataclass(frozen=True, slots=True)
class _Terms:
    """What the chain asks for it now."""

    gas: int
    base_fee_wei: int
    tip_wei: int


class Sender:
    """Sends transactions of one account, one at a time; threads take turns.

    `receipt_timeout_s` bounds the wait for a receipt, and the wait for transactions that an earlier run left
    pending.
    """

    def __init__(self, w3: Web3, signer: Signer, *, receipt_timeout_s: float = RECEIPT_TIMEOUT_S) -> None:
        self._w3 = w3
        self._rpc = Rpc(w3)
        self._signer = signer
        self._address = checksum_address(signer.address)
        self._receipt_timeout_s = receipt_timeout_s
        self._known_chain_id: int | None = None
        self._turn = threading.Lock()

    @property
    def w3(self) -> Web3:
        """The connection it sends over."""
        return self._w3

    @property
    def address(self) -> str:
        """The account, as EIP-55 text."""
        return self._address

    def __repr__(self) -> str:
        return f"Sender({self.address})"

    def send(self, call: ContractFunction, value: int = 0, gas: int | None = None) -> TxReceipt:
        """Send a call of a contract function and return its receipt once it is mined.

        The call is simulated on the pending state first, so what would revert (also because somebody else
        just did it) costs nothing. `value` in wei. Without `gas`, the estimate and a quarter more; name it
        for calls that do less when they have less (RoyaltySplitter.payRange skips what it cannot pay for).

        A transaction that an earlier run left pending is waited for; one that stays pending past the timeout
        is replaced by this one, at a higher fee.
        Raises: CallReverted (a ContractRejected) if it reverts, in simulation or mined; Transient when the
        endpoint fails or no receipt comes in time: look at the chain before sending again.
        """
        encoded = call.build_transaction(_ENCODING_ONLY)
        return self._send(_Outgoing(call.address, str(encoded["data"]), value, gas, call.fn_name))

    def deploy(self, artifact: Artifact, *arguments: Any) -> TxReceipt:
        """Deploy a contract and return the receipt, whose `contractAddress` it is. Raises as `send` does."""
        factory = self._w3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        constructor: ContractConstructor = factory.constructor(*arguments)
        where = f"the constructor of {artifact.name}"
        return self._send(_Outgoing(None, str(constructor.data_in_transaction), 0, None, where))

    def next_nonce(self) -> int:
        """Return the nonce that the next transaction will have, once none is pending.

        Raises: Transient if some stay pending past the timeout.
        """
        nonce, stuck = self._free_nonce()
        if stuck:
            raise Transient(
                f"{stuck} transactions of {self.address} stay pending from nonce {nonce} on",
                hint="wait for them, or replace them at a higher fee",
            )
        return nonce

    def _send(self, outgoing: _Outgoing) -> TxReceipt:
        with self._turn:
            nonce, transaction_hash = self._put_in_pool(outgoing)
            return self._wait(outgoing, nonce, transaction_hash)

    def _put_in_pool(self, outgoing: _Outgoing) -> tuple[int, bytes]:
        """Simulate, sign and hand over; returns the nonce used and the transaction hash."""
        nonce, stuck = self._free_nonce()
        fee_percent = 100
        for _ in range(MAX_TRIES):
            # A replacement runs where the stuck one would have: right after what is mined.
            terms = self._simulate(outgoing, "latest" if stuck else "pending")
            raw = self._sign(outgoing, terms, nonce, fee_percent)
            try:
                self._rpc.request("eth_sendRawTransaction", hexed(raw))
            except Transient as error:
                refusal = str(error).lower()
                is_known = "already known" in refusal or "already imported" in refusal
                # The stuck transaction may be this very one: only a higher fee makes it another.
                if any(text in refusal for text in FEE_REFUSALS) or (is_known and stuck):
                    fee_percent = fee_percent * FEE_STEP_PERCENT // 100
                    continue
                if "nonce too low" in refusal:
                    nonce, stuck = self._free_nonce()
                    continue
                if "insufficient funds" in refusal:
                    raise Transient(
                        f"{self.address} cannot pay for gas: {error}", hint="top up the account"
                    ) from error
                if not is_known:
                    raise
            return nonce, keccak256(raw)
        raise Transient(
            f"{outgoing.where} was refused {MAX_TRIES} times, last at {fee_percent} % of the usual fee"
        )

    def _free_nonce(self) -> tuple[int, int]:
        """The lowest nonce not mined, and how many transactions still stand at it or above after the wait."""
        counts: list[Request] = [
            ("eth_getTransactionCount", (self.address, tag)) for tag in ("latest", "pending")
        ]
        for _ in self._pauses():
            mined, pending = (quantity(count) for count in self._rpc.batch(counts))
            if pending <= mined:
                return mined, 0
        return mined, pending - mined

    def _simulate(self, outgoing: _Outgoing, tag: str) -> _Terms:
        """Execute without sending. Raises: CallReverted when it would revert."""
        call = self._call_object(outgoing)
        wanted: list[Request] = [
            ("eth_call", (call, tag)),
            ("eth_getBlockByNumber", ("latest", False)),
            ("eth_maxPriorityFeePerGas", ()),
        ]
        if outgoing.gas is None:
            wanted.append(("eth_estimateGas", (call, tag)))
        simulated, block, tip, *estimate = self._rpc.outcomes(wanted)
        for outcome in (simulated, block, *estimate):
            if isinstance(outcome, CallReverted):
                raise outcome.located(outgoing.where)
            if isinstance(outcome, UsufructError):
                raise outcome
        if not isinstance(block, dict) or "baseFeePerGas" not in block:
            raise Incompatible("the chain's blocks name no base fee: it does not take EIP-1559 transactions")
        if isinstance(tip, UsufructError) and not isinstance(tip, Incompatible):
            raise tip
        return _Terms(
            gas=outgoing.gas if outgoing.gas is not None else quantity(estimate[0]) * 5 // 4,
            base_fee_wei=quantity(block["baseFeePerGas"]),
            tip_wei=DEFAULT_TIP_WEI if isinstance(tip, Incompatible) else quantity(tip),
        )

    def _sign(self, outgoing: _Outgoing, terms: _Terms, nonce: int, fee_percent: int) -> bytes:
        """The signed transaction. Its fee cap lasts for a doubling of the base fee."""
        tip_wei = terms.tip_wei * fee_percent // 100
        return Transaction(
            chain_id=self._chain_id(),
            nonce=nonce,
            tip_per_gas_wei=tip_wei,
            max_fee_per_gas_wei=2 * terms.base_fee_wei * fee_percent // 100 + tip_wei,
            gas=terms.gas,
            to=None if outgoing.to is None else parse_address(outgoing.to),
            value_wei=outgoing.value_wei,
            data=bytes.fromhex(outgoing.call_data.removeprefix("0x")),
        ).signed(self._signer)

    def _wait(self, outgoing: _Outgoing, nonce: int, transaction_hash: bytes) -> TxReceipt:
        wanted: list[Request] = [
            ("eth_getTransactionReceipt", (hexed(transaction_hash),)),
            ("eth_getTransactionCount", (self.address, "latest")),
        ]
        times_passed_over = 0
        for _ in self._pauses():
            receipt, mined = self._rpc.outcomes(wanted)
            if isinstance(receipt, dict):
                return self._accepted(outgoing, receipt, transaction_hash)
            # An endpoint that fails for a moment ends the wait only when the time is up.
            if not isinstance(mined, UsufructError) and quantity(mined) > nonce:
                times_passed_over += 1
            if times_passed_over > 2:
                raise Transient(
                    f"another transaction of {self.address} took nonce {nonce} of {outgoing.where}",
                    hint="does another process use the same key?",
                )
        timeout_s = self._receipt_timeout_s
        raise Transient(
            f"no receipt for {outgoing.where} within {timeout_s:g} s ({hexed(transaction_hash)})",
            hint="it may still be mined: the next send waits for it",
        )

    def _accepted(self, outgoing: _Outgoing, receipt: dict[str, Any], transaction_hash: bytes) -> TxReceipt:
        """The receipt in web3's format. Raises: CallReverted if the transaction was mined and reverted."""
        if quantity(receipt["status"]) == 1:
            with self._rpc.translated("eth_getTransactionReceipt"):
                return self._w3.eth.get_transaction_receipt(hexed(transaction_hash))  # type: ignore[arg-type]
        block_number = quantity(receipt["blockNumber"])
        where = f"{outgoing.where}, mined in block {block_number} ({hexed(transaction_hash)})"
        gas_used = quantity(receipt["gasUsed"])
        # The state after it is not quite the state it met, but most reasons are still there.
        block = {"blockHash": receipt["blockHash"]}
        (replayed,) = self._rpc.outcomes([("eth_call", (self._call_object(outgoing), block))])
        if isinstance(replayed, CallReverted):
            raise replayed.located(where)
        raise CallReverted("", {}, b"", f"{where}, after {gas_used} gas")

    def _call_object(self, outgoing: _Outgoing) -> dict[str, str]:
        call = {"from": self.address, "data": outgoing.call_data, "value": hex(outgoing.value_wei)}
        if outgoing.to is not None:
            call["to"] = outgoing.to
        if outgoing.gas is not None:
            call["gas"] = hex(outgoing.gas)
        return call

    def _chain_id(self) -> int:
        if self._known_chain_id is None:
            self._known_chain_id = quantity(self._rpc.request("eth_chainId"))
        return self._known_chain_id

    def _pauses(self) -> Iterator[None]:
        """Yield at once, then after longer and longer pauses, and a last time when the time is up."""
        deadline = time.monotonic() + self._receipt_timeout_s
        pause_s = FIRST_PAUSE_S
        yield
        while (left_s := deadline - time.monotonic()) > 0:
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
            yield
