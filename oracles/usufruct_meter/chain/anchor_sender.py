"""Carrying a checkpoint to the chain: one transaction, paid by an account that does nothing else.

The chain is the only memory. The nonce is always the next one to be mined, so whatever this process, or one
that was killed, has left in the pool is replaced and never paid beside it; and success is what the contract
says afterwards, not what became of a particular transaction.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from usufruct_protocol.errors import ConfigInvalid, ContractRejected, Transient
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.signing import Signer, checksum_address
from usufruct_protocol.transaction import Transaction

from usufruct_meter.chain.rpc import CallReverted, ChainUnavailable, quantity
from usufruct_meter.chain.views import ChainView, anchor_call, each

_logger = logging.getLogger(__name__)

_GWEI: Final = 10**9
_DEFAULT_TIP_WEI: Final = 10**9
_FEE_STEP_PERCENT: Final = 125
"""Growth of the fees of a replacement; pools ask for at least 110."""
_MAX_GAS: Final = 400_000
"""Several times what an anchor takes: an endpoint that names more is wrong."""
_FIRST_POLL_S: Final = 0.05
_LAST_POLL_S: Final = 4.0
_BUMP_AFTER_S: Final = 45.0
_FEE_TOO_LOW: Final = ("underpriced", "fee too low", "less than block base fee")
_KNOWN: Final = ("already known", "already imported", "known transaction")
_NONCE_USED: Final = ("nonce too low", "nonce is too low", "oldnonce")

_REFUSALS: Final = {
    keccak256(text.encode("ascii"))[:4]: (text.partition("(")[0], hint)
    for text, hint in (
        ("CheckpointAnchors_UnknownLane(address)", "register the lane, or is it another deployment's?"),
        ("CheckpointAnchors_LaneRevoked(address,uint48)", "start a new lane: usufruct-meter lane new"),
        ("CheckpointAnchors_CountNotHigher(address,uint64,uint64)", "a higher one is anchored already"),
        ("CheckpointAnchors_UnitsFell(address,uint128,uint128)", "the spool is not what the lane signed"),
        ("CheckpointAnchors_OverUnitCap(address,uint128,uint128)", "start a new lane with a higher cap"),
    )
}
_COUNT_NOT_HIGHER: Final = keccak256(b"CheckpointAnchors_CountNotHigher(address,uint64,uint64)")[:4]


class AnchorRefused(ContractRejected):
    """The contract would refuse this anchor."""

    code = "anchor_refused"


class AnchorPending(Transient):
    """The anchor is on its way, or the payer is busy with another one: look again soon."""

    code = "anchor_pending"


class PayerBroke(Transient):
    """The paying account cannot pay for the gas."""

    code = "payer_broke"


class AnchorSender:
    """Sends anchors from one account. Lanes of several processes may share it: they take turns.

    lock_path:   a file that processes on this machine lock while they send; on another machine use another
                 account
    """

    def __init__(
        self,
        views: Sequence[ChainView],
        payer: Signer,
        lock_path: Path,
        *,
        max_fee_per_gas_gwei: int,
        bump_after_s: float = _BUMP_AFTER_S,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._views = views
        self._payer = payer
        self._lock_path = lock_path
        self._max_fee_wei = max_fee_per_gas_gwei * _GWEI
        self._bump_after_s = bump_after_s
        self._is_stopping = is_stopping

    def send(self, point: Checkpoint, lane_signature: bytes, *, wait_s: float) -> None:
        """Have a checkpoint, or a higher one of its lane, anchored; returns once it is in a block.

        Raises: AnchorRefused; AnchorPending after `wait_s`; PayerBroke; ChainUnavailable; ConfigInvalid if an
        endpoint serves another chain.
        """
        call_data = anchor_call(point, lane_signature)
        deadline = time.monotonic() + wait_s
        with self._turn():
            if self._is_anchored(point):
                return
            gas = self._gas(point, call_data)
            if gas is None:
                return
            nonce, fee_percent = self._next_nonce(), 100
            while True:
                fee_percent = self._put_in_pool(call_data, gas, nonce, fee_percent)
                if self._wait(point, nonce, min(self._bump_after_s, deadline - time.monotonic())):
                    return
                if time.monotonic() >= deadline or self._is_stopping():
                    raise AnchorPending(f"the anchor of {point.count} receipts is not in a block yet")
                mined = self._next_nonce()
                if mined > nonce:  # what was in the pool before went through in place of this one
                    nonce, fee_percent = mined, 100
                else:
                    fee_percent = fee_percent * _FEE_STEP_PERCENT // 100

    def balance_wei(self) -> int:
        """Return what the payer has, in wei."""
        return max(self._ask_each("eth_getBalance", checksum_address(self._payer.address), "latest"))

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
                raise AnchorPending("the payer is busy with the anchor of another lane") from error
            yield
        finally:
            os.close(descriptor)

    def _is_anchored(self, point: Checkpoint) -> bool:
        """Whether every endpoint that answers says so: one that lies or sees a fork must not end it."""
        return min(each(self._views, lambda view: view.anchor(point.lane, view.head()).count)) >= point.count

    def _gas(self, point: Checkpoint, call_data: bytes) -> int | None:
        """Simulate; returns the gas to offer, or None if a higher checkpoint is anchored already."""
        request = {"from": checksum_address(self._payer.address), "data": "0x" + call_data.hex()}

        def estimate(view: ChainView) -> int | CallReverted:
            to = checksum_address(view.neighbors().anchors)
            try:
                return quantity(view.endpoint.request("eth_estimateGas", request | {"to": to}))
            except CallReverted as error:
                return error

        found = each(self._views, estimate)
        offers = [gas for gas in found if isinstance(gas, int) and gas <= _MAX_GAS]
        if offers:
            return min(_MAX_GAS, max(offers) * 5 // 4)
        refused = next((one for one in found if isinstance(one, CallReverted)), None)
        if refused is None:
            raise ChainUnavailable(f"endpoints say that an anchor takes more than {_MAX_GAS} gas")
        if refused.data[:4] == _COUNT_NOT_HIGHER:
            _logger.warning("an endpoint lags: the anchor of %d receipts is there already", point.count)
            return None
        name, hint = _REFUSALS.get(refused.data[:4], ("unknown refusal", "is the lane file right?"))
        raise AnchorRefused(f"anchoring {point.count} receipts: {name}", hint=hint) from refused

    def _next_nonce(self) -> int:
        return max(self._ask_each("eth_getTransactionCount", checksum_address(self._payer.address), "latest"))

    def _put_in_pool(self, call_data: bytes, gas: int, nonce: int, fee_percent: int) -> int:
        """Hand the transaction to every endpoint, at higher fees if pools ask; returns the last percent."""
        while True:
            raw = self._signed(call_data, gas, nonce, fee_percent)
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

    def _signed(self, call_data: bytes, gas: int, nonce: int, fee_percent: int) -> bytes:
        base_wei = max(each(self._views, lambda view: view.head().base_fee_wei))
        tip_wei = min(self._ask_each("eth_maxPriorityFeePerGas", default=_DEFAULT_TIP_WEI))
        fee_wei = (2 * base_wei + tip_wei) * fee_percent // 100
        was_at_most = fee_percent > 100 and fee_wei * 100 // _FEE_STEP_PERCENT >= self._max_fee_wei
        if base_wei >= self._max_fee_wei or was_at_most:
            raise ChainUnavailable(
                f"an anchor takes {base_wei // _GWEI} gwei per gas or more; max_fee_per_gas_gwei is lower",
                hint="raise it in chain.json if receipts are about to fall due",
            )
        fee_wei = min(fee_wei, self._max_fee_wei)
        anchors = set(each(self._views, lambda view: view.neighbors().anchors))
        if len(anchors) > 1:
            raise ChainUnavailable("endpoints name different anchor contracts: one of them lies")
        return Transaction(
            chain_id=self._views[0].endpoint.chain_id,
            nonce=nonce,
            tip_per_gas_wei=min(tip_wei * fee_percent // 100, fee_wei),
            max_fee_per_gas_wei=fee_wei,
            gas=gas,
            to=anchors.pop(),
            value_wei=0,
            data=call_data,
        ).signed(self._payer)

    def _wait(self, point: Checkpoint, nonce: int, seconds: float) -> bool:
        """Wait until the checkpoint is anchored, or the nonce is used up by something else."""
        until, pause = time.monotonic() + seconds, _FIRST_POLL_S
        while True:
            if self._is_anchored(point):
                return True
            if self._next_nonce() > nonce:
                return self._is_anchored(point)
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
