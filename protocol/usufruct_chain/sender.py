"""Transactions of one account: simulated first, sent one at a time, followed until their outcome is known.

What may be in a pool is in the journal before any pool has it. Fees of a transaction that waits are raised;
one that is dropped is sent again; whatever is sent before an outcome is known has the same nonce, so nothing
is paid for twice. Callers read from the chain what is to be done: a receipt that a reorganization takes away
needs no memory here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from usufruct_protocol.errors import InvariantBroken, Transient
from usufruct_protocol.signing import Signer
from web3 import Web3
from web3.contract.contract import ContractConstructor, ContractFunction
from web3.types import TxParams, TxReceipt

from usufruct_chain.artifacts import Artifact
from usufruct_chain.fees import Fees
from usufruct_chain.outstanding import Journal, Outgoing, Outstanding, Version, require_account
from usufruct_chain.pool import CannotPayGas, Pool, is_about_fees, is_known
from usufruct_chain.reverts import CallReverted
from usufruct_chain.rpc import data, hexed, quantity

_log = logging.getLogger(__name__)

RECEIPT_TIMEOUT_S: Final = 120.0
BUMP_AFTER_S: Final = 30.0
FIRST_PAUSE_S: Final = 0.01
LONGEST_PAUSE_S: Final = 1.0
MAX_TRIES: Final = 20
"""Tries to get one transaction into the pool: enough for fees to grow some seventyfold."""
PASSED_OVER_LOOKS: Final = 3
"""Looks in a row that find a nonce used up and no receipt for it, before that is believed."""

Observer = Callable[[str, str, int], None]
"""Told of a transaction: function; sent, bumped, included, reverted, lost or refused; the fee in wei."""

_ENCODING_ONLY: Final[TxParams] = {
    "chainId": 0,
    "nonce": 0,  # type: ignore[typeddict-item]
    "gas": 0,
    "maxFeePerGas": 0,  # type: ignore[typeddict-item]
    "maxPriorityFeePerGas": 0,  # type: ignore[typeddict-item]
    "value": 0,  # type: ignore[typeddict-item]
}
"""Every field that web3 would otherwise ask the endpoint for."""


class Sender:
    """Sends transactions of one account, one at a time; threads take turns.

    chain_id:          the chain to sign for; without it the endpoint is asked, and believed
    receipt_timeout_s: how long one call waits for an outcome, and for what an earlier run left pending
    bump_after_s:      how long a transaction waits before it is sent again at higher fees
    """

    def __init__(
        self,
        w3: Web3,
        signer: Signer,
        *,
        chain_id: int | None = None,
        journal: Journal | None = None,
        receipt_timeout_s: float = RECEIPT_TIMEOUT_S,
        bump_after_s: float = BUMP_AFTER_S,
        observer: Observer | None = None,
    ) -> None:
        self._pool = Pool(w3, signer, chain_id)
        self._journal = journal or Journal()
        self._receipt_timeout_s = receipt_timeout_s
        self._bump_after_s = bump_after_s
        self._observe = observer or (lambda *_: None)
        self._turn = threading.Lock()

    @property
    def w3(self) -> Web3:
        """The connection it sends over."""
        return self._pool.w3

    @property
    def address(self) -> str:
        """The account, as EIP-55 text."""
        return self._pool.address

    @property
    def pending_since(self) -> float | None:
        """When the transaction without an outcome was first sent, by this machine's clock, or None."""
        standing = self._journal.standing
        return None if standing is None else standing.first_sent_at

    def look_back(self) -> None:
        """Close the books on what an earlier call or run left, if its outcome is there by now. Never waits.

        Raises: Transient.
        """
        if not self._turn.acquire(blocking=False):
            return
        try:
            standing = self._journal.standing
            found = False if standing is None else self._pool.look(standing)
            if standing is not None and isinstance(found, dict):
                try:
                    self._outcome(found)
                except CallReverted as error:
                    _log.warning("%s of an earlier run: %s", standing.outgoing.where, error)
        finally:
            self._turn.release()

    def close(self) -> None:
        """Let another process send with this account."""
        self._journal.close()

    def __repr__(self) -> str:
        return f"Sender({self.address})"

    def send(self, call: ContractFunction, value: int = 0, gas: int | None = None) -> TxReceipt:
        """Send a call of a contract function and return its receipt once it is mined.

        The call is simulated on the pending state first, so what would revert (also because somebody else
        just did it) costs nothing. `value` in wei. Without `gas`, the estimate and a quarter more; name it
        for calls that do less when they have less (RoyaltySplitter.payRange skips what it cannot pay for).

        What an earlier call or run left without an outcome comes first: it is waited for, and if it was this
        very call, its receipt is returned. If it stays pending past the timeout, this call replaces it.
        Raises: CallReverted (a ContractRejected) if it reverts, in simulation or mined; CannotPayGas;
        Transient when the endpoint fails or no receipt comes in time: look at the chain before sending again.
        """
        encoded = call.build_transaction(_ENCODING_ONLY)
        return self._send(Outgoing(call.address, str(encoded["data"]), value, gas, call.fn_name))

    def deploy(self, artifact: Artifact, *arguments: Any) -> TxReceipt:
        """Deploy a contract and return the receipt, whose `contractAddress` it is. Raises as `send` does."""
        factory = self.w3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        constructor: ContractConstructor = factory.constructor(*arguments)
        where = f"the constructor of {artifact.name}"
        return self._send(Outgoing(None, str(constructor.data_in_transaction), 0, None, where))

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

    def _send(self, outgoing: Outgoing) -> TxReceipt:
        with self._turn:
            require_account(self._journal.standing, self._pool.chain_id(), self.address)
            standing = self._journal.standing
            if standing is not None:
                found = self._finish(standing, outgoing)
                if found is not None:
                    return found
            standing = self._put_in_pool(outgoing)
            receipt = self._follow(standing)
            if receipt is None:
                self._journal.put(None)
                raise Transient(
                    f"another transaction of {self.address} took nonce {standing.nonce} of {outgoing.where}",
                    hint="does another process use the same key?",
                )
            return self._outcome(receipt)

    def _finish(self, standing: Outstanding, wanted: Outgoing) -> TxReceipt | None:
        """Find out what became of the transaction before; return its receipt if it did what is wanted now.

        One that stays without an outcome is left for the wanted one to replace, unless it is the same.
        """
        is_same = standing.outgoing.does_the_same(wanted)
        try:
            if self._pool.look(standing) is False:
                if self._is_out_of_reach(standing):
                    self._journal.put(None)
                    return None
                self._revive(standing)
            receipt = self._follow(standing)
            if receipt is not None:
                accepted = self._outcome(receipt)
                return accepted if is_same else None
        except (CallReverted, Transient) as error:
            if is_same and self._journal.standing is not None:
                raise
            _log.warning("%s is followed by %s: %s", standing.outgoing.where, wanted.where, error)
            return None
        _log.warning("%s at nonce %d was lost", standing.outgoing.where, standing.nonce)
        self._observe(standing.outgoing.where, "lost", 0)
        self._journal.put(None)
        return None

    def _revive(self, standing: Outstanding) -> None:
        """Send it once more, in case no pool has it (any more). Raises: CallReverted if it came too late."""
        self._pool.simulate(standing.outgoing, "latest")
        self._pool.hand_over(standing.last)

    def _is_out_of_reach(self, standing: Outstanding) -> bool:
        """Tell whether transactions before it are gone, in a reorganization: then it can never be mined."""
        mined, _ = self._pool.counts()
        if mined < standing.nonce:
            _log.warning("nonce %d of %s is out of reach: the chain is at %d", standing.nonce, self, mined)
        return mined < standing.nonce

    def _put_in_pool(self, outgoing: Outgoing) -> Outstanding:
        """Simulate, sign, write down and hand over."""
        before = self._journal.standing
        nonce, stuck = (before.nonce, 1) if before is not None else self._free_nonce()
        fees: Fees | None = None
        if before is not None:
            fees = Fees(before.last.tip_wei, before.last.max_fee_wei)
        is_refused = before is not None
        for _ in range(MAX_TRIES):
            # A replacement runs where the stuck one would have: right after what is mined.
            gas, market = self._pool.simulate(outgoing, "latest" if stuck else "pending")
            fees = market.asked() if fees is None else market.raised(fees) if is_refused else fees
            standing = self._standing(outgoing, nonce, self._pool.sign(outgoing, gas, fees, nonce))
            self._journal.put(standing)
            refusal = self._pool.hand_over(standing.last)
            if refusal is None:
                self._observe(outgoing.where, "sent", 0)
                return standing
            is_refused = False
            if is_about_fees(refusal) or (is_known(refusal) and stuck):
                is_refused = True  # the stuck one may be this very one: only a higher fee makes it another
            elif "nonce too low" in str(refusal).lower():
                self._journal.put(None)
                nonce, stuck = self._free_nonce()
            elif not is_known(refusal):
                self._refused(outgoing, before, refusal)
            else:
                return standing
        self._journal.put(before)
        raise Transient(f"{outgoing.where} was refused {MAX_TRIES} times, last at {fees}")

    def _refused(self, outgoing: Outgoing, before: Outstanding | None, refusal: Transient) -> None:
        """Raise what the pool said. Only a clear refusal means that nothing was sent."""
        if "insufficient funds" in str(refusal).lower():
            self._journal.put(before)
            self._observe(outgoing.where, "refused", 0)
            raise CannotPayGas(f"{self.address} cannot pay for gas: {refusal}", hint="top up the account")
        raise refusal

    def _standing(self, outgoing: Outgoing, nonce: int, version: Version) -> Outstanding:
        """What the journal is to hold: all that may be mined at this nonce is among it."""
        before = self._journal.standing
        if before is None or before.nonce != nonce:
            return Outstanding(
                self._pool.chain_id(), self.address, nonce, outgoing, (version,), first_sent_at=time.time()
            )
        if before.outgoing.does_the_same(outgoing):
            return before.bumped(version)
        replaced = (*before.replaced, *before.versions)
        return replace(before, outgoing=outgoing, versions=(version,), replaced=replaced)

    def _free_nonce(self) -> tuple[int, int]:
        """The lowest nonce not mined, and how many transactions still stand at it or above after the wait."""
        for _ in self._pauses():
            mined, pending = self._pool.counts()
            if pending <= mined:
                return mined, 0
        return mined, pending - mined

    def _follow(self, standing: Outstanding) -> dict[str, Any] | None:
        """Wait for the outcome: the receipt of one of its versions, or None if another took its nonce.

        Raises: Transient if there is none in time; CallReverted if it waits in vain, because somebody else
        has done it: whatever is sent next takes its place.
        """
        bump_at = time.monotonic() + self._bump_after_s
        times_passed_over = 0
        for _ in self._pauses():
            found = self._pool.look(standing)
            if isinstance(found, dict):
                return found
            times_passed_over += found
            if times_passed_over >= PASSED_OVER_LOOKS:
                return None
            if time.monotonic() >= bump_at and not found:
                bump_at = time.monotonic() + self._bump_after_s
                try:
                    standing = self._bump(standing)
                except CallReverted:
                    found = self._pool.look(standing)  # what it now runs into may be its own effect
                    if isinstance(found, dict):
                        return found
                    raise
        timeout_s = self._receipt_timeout_s
        raise Transient(
            f"no receipt for {standing.outgoing.where} within {timeout_s:g} s "
            f"({hexed(standing.last.transaction_hash)})",
            hint="it may still be mined: the next send waits for it",
        )

    def _bump(self, standing: Outstanding) -> Outstanding:
        """Send it again, at a higher fee where there is room; an endpoint may also just have dropped it."""
        outgoing = standing.outgoing
        try:
            gas, market = self._pool.simulate(outgoing, "latest")
        except Transient as error:
            _log.debug("fees of %s not raised: %s", outgoing.where, error)
            return standing
        last = Fees(standing.last.tip_wei, standing.last.max_fee_wei)
        fees = market.raised(last)
        if fees == last:
            self._pool.hand_over(standing.last)
            return standing
        bumped = standing.bumped(self._pool.sign(outgoing, gas, fees, standing.nonce))
        self._journal.put(bumped)
        refusal = self._pool.hand_over(bumped.last)
        self._observe(outgoing.where, "bumped", 0)
        _log.info("raised the fees of %s to %s%s", outgoing.where, fees, f": {refusal}" if refusal else "")
        return bumped

    def _outcome(self, receipt: dict[str, Any]) -> TxReceipt:
        """Close the books on the outstanding transaction, and return its receipt in web3's format.

        Raises: CallReverted if it was mined and reverted; Transient if the endpoint has lost it again.
        """
        standing = self._journal.standing
        if standing is None:
            raise InvariantBroken(f"a receipt of {self.address} for a transaction that nobody wrote down")
        outgoing, transaction_hash = standing.outgoing, receipt["transactionHash"]
        fee_wei = quantity(receipt["gasUsed"]) * quantity(receipt.get("effectiveGasPrice", "0x0"))
        if data(transaction_hash, 32) not in {version.transaction_hash for version in standing.versions}:
            self._journal.put(None)
            raise Transient(
                f"what {outgoing.where} was to replace was mined instead of it: {transaction_hash}",
                hint="send again",
            )
        if quantity(receipt["status"]) != 1:
            error = self._pool.why(outgoing, receipt)
            self._journal.put(None)
            self._observe(outgoing.where, "reverted", fee_wei)
            raise error
        accepted = self._pool.receipt(transaction_hash)
        self._journal.put(None)
        self._observe(outgoing.where, "included", fee_wei)
        return accepted

    def _pauses(self) -> Iterator[None]:
        """Yield at once, then after longer and longer pauses, and a last time when the time is up."""
        deadline = time.monotonic() + self._receipt_timeout_s
        pause_s = FIRST_PAUSE_S
        yield
        while (left_s := deadline - time.monotonic()) > 0:
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
            yield
