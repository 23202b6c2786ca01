"""What an account asks of the chain for a transaction: simulate, sign, hand over, look for an outcome."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from usufruct_protocol.errors import Incompatible, Transient, UsufructError
from usufruct_protocol.signing import Signer, checksum_address, parse_address
from usufruct_protocol.transaction import Transaction
from web3 import Web3
from web3.types import TxReceipt

from usufruct_chain.fees import FEE_REFUSALS, Fees, MarketFees, market_fees
from usufruct_chain.outstanding import Outgoing, Outstanding, Version
from usufruct_chain.reverts import CallReverted
from usufruct_chain.rpc import Request, Rpc, hexed, quantity


class CannotPayGas(Transient):
    """The account has too little to pay gas with. Nothing was sent."""

    code = "cannot_pay_gas"


class Pool:
    """The chain and its pools, as one account sees them. Every method but `sign` may raise Transient.

    chain_id: the chain to sign for; without it the endpoint is asked, and believed
    """

    def __init__(self, w3: Web3, signer: Signer, chain_id: int | None) -> None:
        self.w3 = w3
        self.address = checksum_address(signer.address)
        self._rpc = Rpc(w3)
        self._signer = signer
        self._known_chain_id = chain_id

    def counts(self) -> tuple[int, int]:
        """Return how many transactions are mined, and how many with those that wait."""
        mined, pending = self._rpc.batch(
            [("eth_getTransactionCount", (self.address, tag)) for tag in ("latest", "pending")]
        )
        return quantity(mined), quantity(pending)

    def receipt(self, transaction_hash: str) -> TxReceipt:
        """Return a receipt in web3's format."""
        with self._rpc.translated("eth_getTransactionReceipt"):
            return self.w3.eth.get_transaction_receipt(transaction_hash)  # type: ignore[arg-type]

    def hand_over(self, version: Version) -> Transient | None:
        """Give a transaction to the pool; returns why it was not taken."""
        try:
            self._rpc.request("eth_sendRawTransaction", hexed(version.raw))
        except Transient as error:
            return error
        return None

    def simulate(self, outgoing: Outgoing, tag: str) -> tuple[int, MarketFees]:
        """Execute without sending; returns the gas to allow, and fees. Raises: CallReverted."""
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
            if isinstance(outcome, Transient) and "insufficient funds" in str(outcome).lower():
                raise CannotPayGas(f"{self.address} cannot pay for gas: {outcome}", hint="top up the account")
            if isinstance(outcome, UsufructError):
                raise outcome
        if isinstance(tip, UsufructError) and not isinstance(tip, Incompatible):
            raise tip
        gas = outgoing.gas if outgoing.gas is not None else quantity(estimate[0]) * 5 // 4
        return gas, market_fees(block, None if isinstance(tip, Incompatible) else tip)

    def sign(self, outgoing: Outgoing, gas: int, fees: Fees, nonce: int) -> Version:
        raw = Transaction(
            chain_id=self.chain_id(),
            nonce=nonce,
            tip_per_gas_wei=fees.tip_wei,
            max_fee_per_gas_wei=fees.max_fee_wei,
            gas=gas,
            to=None if outgoing.to is None else parse_address(outgoing.to),
            value_wei=outgoing.value_wei,
            data=bytes.fromhex(outgoing.call_data.removeprefix("0x")),
        ).signed(self._signer)
        return Version(raw, fees.tip_wei, fees.max_fee_wei)

    def look(self, standing: Outstanding) -> dict[str, Any] | bool:
        """Return the receipt of one of its versions, else whether its nonce is used up without one.

        An endpoint that fails for a moment says neither.
        """
        versions = (*standing.versions, *standing.replaced)
        # The count comes first: what is mined in between then has a receipt.
        mined, *receipts = self._rpc.outcomes(
            [
                ("eth_getTransactionCount", (self.address, "latest")),
                *(("eth_getTransactionReceipt", (hexed(each.transaction_hash),)) for each in versions),
            ]
        )
        for receipt in receipts:
            if isinstance(receipt, dict):
                return receipt
        if any(isinstance(outcome, UsufructError) for outcome in (mined, *receipts)):
            return False
        return quantity(mined) > standing.nonce

    def why(self, outgoing: Outgoing, receipt: dict[str, Any]) -> CallReverted:
        """The reason of a mined revert: what it met is gone, but most of it still stands after its block."""
        block_number, gas_used = quantity(receipt["blockNumber"]), quantity(receipt["gasUsed"])
        where = f"{outgoing.where}, mined in block {block_number} ({receipt['transactionHash']})"
        block = {"blockHash": receipt["blockHash"]}
        (replayed,) = self._rpc.outcomes([("eth_call", (self._call_object(outgoing), block))])
        if isinstance(replayed, CallReverted):
            return replayed.located(where)
        return CallReverted("", {}, b"", f"{where}, after {gas_used} gas")

    def _call_object(self, outgoing: Outgoing) -> dict[str, str]:
        call = {"from": self.address, "data": outgoing.call_data, "value": hex(outgoing.value_wei)}
        if outgoing.to is not None:
            call["to"] = outgoing.to
        if outgoing.gas is not None:
            call["gas"] = hex(outgoing.gas)
        return call

    def chain_id(self) -> int:
        if self._known_chain_id is None:
            self._known_chain_id = quantity(self._rpc.request("eth_chainId"))
        return self._known_chain_id


def is_known(refusal: Transient) -> bool:
    return _says(refusal, ("already known", "already imported"))


def is_about_fees(refusal: Transient) -> bool:
    return _says(refusal, FEE_REFUSALS)


def _says(refusal: Transient, texts: Sequence[str]) -> bool:
    said = str(refusal).lower()
    return any(text in said for text in texts)
