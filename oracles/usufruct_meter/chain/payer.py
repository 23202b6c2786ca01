"""Sending transactions that anyone may send, paid by an account that does nothing else.

The chain is the only memory. The nonce is always the next one to be mined, so whatever this process, or one
that was killed, has left in the pool is replaced and never paid beside it; and success is what the contract
says afterwards, not what became of a particular transaction.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from usufruct_protocol.errors import ConfigInvalid, ContractRejected, Transient
from usufruct_protocol.signing import Signer, checksum_address
from usufruct_protocol.transaction import Transaction

from usufruct_meter.chain.rpc import CallReverted, ChainUnavailable, quantity
from usufruct_meter.chain.views import ChainView, each

_logger = logging.getLogger(__name__)

_GWEI: Final = 10**9
_DEFAULT_TIP_WEI: Final = 10**9
_FEE_STEP_PERCENT: Final = 125
"""Growth of the fees of a replacement; pools ask for at least 110."""
_FIRST_POLL_S: Final = 0.05
_LAST_POLL_S: Final = 4.0
_BUMP_AFTER_S: Final = 45.0
_FEE_TOO_LOW: Final = ("underpriced", "fee too low", "less than block base fee")
_KNOWN: Final = ("already known", "already imported", "known transaction")
_NONCE_USED: Final = ("nonce too low", "nonce is too low", "oldnonce")


class ErrandRefused(ContractRejected):
    """The contract would refuse this call."""

    code = "errand_refused"


class ErrandPending(Transient):
    """The call is on its way, or the payer is busy with another one: look again soon."""

    code = "errand_pending"


class PayerBroke(Transient):
    """The paying account cannot pay for the gas."""

    code = "payer_broke"


@dataclass(frozen=True, slots=True)
class Errand:
    """Something to bring about on chain.

    what:     said in messages
    to:       the contract, as an endpoint knows it
    is_done:  whether it is so already, as an endpoint knows it
    max_gas:  several times what it takes: an endpoint that names more is wrong
    refusals: what the contract may say, by selector: name, and what to do about it; None for a hint says that
              the errand is then done already
    """

    what: str
    to: Callable[[ChainView], bytes]
    call_data: bytes
    is_done: Callable[[ChainView], bool]
    max_gas: int
    refusals: Mapping[bytes, tuple[str, str | None]]


class Payer:
    """Runs errands from one account. Processes may share it: they take turns.

    lock_path:   a file that processes on this machine lock while they send; on another machine use another
                 account
    """

    def __init__(
        self,
        views: Sequence[ChainView],
        signer: Signer,
        lock_path: Path,
        *,
        max_fee_per_gas_gwei: int,
        bump_after_s: float = _BUMP_AFTER_S,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._views = views
        self._signer = signer
        self._lock_path = lock_path
        self._max_fee_wei = max_fee_per_gas_gwei * _GWEI
        self._bump_after_s = bump_after_s
        self._is_stopping = is_stopping

    @property
    def address(self) -> bytes:
        """The account."""
        return self._signer.address

    def run(self, errand: Errand, *, wait_s: float) -> None:
        """Bring something about; returns once it is in a block.

        Raises: ErrandRefused; ErrandPending after `wait_s`; PayerBroke; ChainUnavailable; ConfigInvalid if an
        endpoint serves another chain.
        """
        deadline = time.monotonic() + wait_s
        with self._turn():
            if self._is_done(errand):
                return
            gas = self._gas(errand)
            if gas is None:
                return
            nonce, fee_percent = self._next_nonce(), 100
            while True:
                fee_percent = self._put_in_pool(errand, gas, nonce, fee_percent)
                if self._wait(errand, nonce, min(self._bump_after_s, deadline - time.monotonic())):
                    return
                if time.monotonic() >= deadline or self._is_stopping():
                    raise ErrandPending(f"{errand.what}: not in a block yet")
                mined = self._next_nonce()
                if mined > nonce:  # what was in the pool before went through in place of this one
                    nonce, fee_percent = mined, 100
                else:
                    fee_percent = fee_percent * _FEE_STEP_PERCENT // 100

    def balance_wei(self) -> int:
        """Return what the payer has, in wei."""
        return max(self._ask_each("eth_getBalance", checksum_address(self.address), "latest"))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        try:
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigInvalid(f"lock {self._lock_path}: {error.strerror}") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ErrandPending("the payer is busy with another errand") from error
            yield
        finally:
            os.close(descriptor)

    def _is_done(self, errand: Errand) -> bool:
        """Whether every endpoint that answers says so: one that lies or sees a fork must not end it."""
        return all(each(self._views, errand.is_done))

    def _gas(self, errand: Errand) -> int | None:
        """Simulate; returns the gas to offer, or None if it is done already."""
        request = {"from": checksum_address(self.address), "data": "0x" + errand.call_data.hex()}

        def estimate(view: ChainView) -> int | CallReverted:
            to = checksum_address(errand.to(view))
            try:
                return quantity(view.endpoint.request("eth_estimateGas", request | {"to": to}))
            except CallReverted as error:
                return error

        found = each(self._views, estimate)
        offers = [gas for gas in found if isinstance(gas, int) and gas <= errand.max_gas]
        if offers:
            return min(errand.max_gas, max(offers) * 5 // 4)
        refused = next((one for one in found if isinstance(one, CallReverted)), None)
        if refused is None:
            raise ChainUnavailable(f"{errand.what}: endpoints ask for more than {errand.max_gas} gas")
        name, hint = errand.refusals.get(refused.data[:4], ("unknown refusal", "is the lane file right?"))
        if hint is None:
            _logger.warning("%s: done already, as one endpoint knows and another does not", errand.what)
            return None
        raise ErrandRefused(f"{errand.what}: {name}", hint=hint) from refused

    def _next_nonce(self) -> int:
        return max(self._ask_each("eth_getTransactionCount", checksum_address(self.address), "latest"))

    def _put_in_pool(self, errand: Errand, gas: int, nonce: int, fee_percent: int) -> int:
        """Hand the transaction to every endpoint, at higher fees if pools ask; returns the last percent."""
        while True:
            raw = self._signed(errand, gas, nonce, fee_percent)
            refusals: list[ChainUnavailable] = []
            for view in self._views:
                try:
                    view.endpoint.request("eth_sendRawTransaction", "0x" + raw.hex())
                except ChainUnavailable as error:
                    if not _says(error, _KNOWN):
                        refusals.append(error)
            if len(refusals) < len(self._views) or any(_says(one, _NONCE_USED) for one in refusals):
                return fee_percent  # a nonce that is used up shows when its effect is waited for
            if not any(_says(one, _FEE_TOO_LOW) for one in refusals):
                raise _understood(refusals[0])
            fee_percent = fee_percent * _FEE_STEP_PERCENT // 100

    def _signed(self, errand: Errand, gas: int, nonce: int, fee_percent: int) -> bytes:
        base_wei = max(each(self._views, lambda view: view.head().base_fee_wei))
        tip_wei = min(self._ask_each("eth_maxPriorityFeePerGas", default=_DEFAULT_TIP_WEI))
        fee_wei = (2 * base_wei + tip_wei) * fee_percent // 100
        was_at_most = fee_percent > 100 and fee_wei * 100 // _FEE_STEP_PERCENT >= self._max_fee_wei
        if base_wei >= self._max_fee_wei or was_at_most:
            raise ChainUnavailable(
                f"{errand.what}: gas costs {base_wei // _GWEI} gwei or more, max_fee_per_gas_gwei is less",
                hint="raise it in chain.json if receipts are about to fall due",
            )
        fee_wei = min(fee_wei, self._max_fee_wei)
        contracts = set(each(self._views, errand.to))
        if len(contracts) > 1:
            raise ChainUnavailable("endpoints name different contracts: one of them lies")
        return Transaction(
            chain_id=self._views[0].endpoint.chain_id,
            nonce=nonce,
            tip_per_gas_wei=min(tip_wei * fee_percent // 100, fee_wei),
            max_fee_per_gas_wei=fee_wei,
            gas=gas,
            to=contracts.pop(),
            value_wei=0,
            data=errand.call_data,
        ).signed(self._signer)

    def _wait(self, errand: Errand, nonce: int, seconds: float) -> bool:
        """Wait until it is done, or the nonce is used up by something else."""
        until, pause = time.monotonic() + seconds, _FIRST_POLL_S
        while True:
            if self._is_done(errand):
                return True
            if self._next_nonce() > nonce:
                return self._is_done(errand)
            left = until - time.monotonic()
            if left <= 0 or self._is_stopping():
                return False
            time.sleep(min(pause, left))
            pause = min(_LAST_POLL_S, pause * 1.5)

    def _ask_each(self, method: str, *params: object, default: int | None = None) -> list[int]:
        """Return the numbers that endpoints give; the default where none does."""
        try:
            return each(self._views, lambda view: quantity(view.endpoint.request(method, *params)))
        except ChainUnavailable:
            if default is None:
                raise
            return [default]


def _says(error: ChainUnavailable, words: Sequence[str]) -> bool:
    text = str(error).lower()
    return any(word in text for word in words)


def _understood(error: ChainUnavailable) -> Transient:
    if _says(error, ("insufficient funds", "insufficient balance")):
        return PayerBroke(str(error), hint="send ether to the payer: usufruct-meter check shows its address")
    return error
