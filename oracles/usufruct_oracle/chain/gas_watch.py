"""How much the signer's account has left for gas: asked now and then, for the metrics only."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from usufruct_protocol.errors import UsufructError
from usufruct_protocol.signing import checksum_address

from usufruct_oracle.metrics import Metrics

_log = logging.getLogger(__name__)
_EVERY_S: Final = 60.0


class GasWatch:
    """Shows the balance of an account, a minute old at most while the chain answers.

    balance_wei: asks the chain for an address' balance; may raise what reading the chain raises
    """

    def __init__(
        self,
        address: bytes,
        balance_wei: Callable[[bytes], int],
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._balance_wei = balance_wei
        self._shown = metrics.balance
        self._clock = clock
        self._next_at = 0.0

    def look(self) -> None:
        """Ask if it is time to. What cannot be asked now is asked at the next look."""
        if self._clock() < self._next_at:
            return
        try:
            wei = self._balance_wei(self._address)
        except UsufructError as error:
            _log.debug("the balance is not known: %s", error)
            return
        self._shown.labels(checksum_address(self._address)).set(wei)
        self._next_at = self._clock() + _EVERY_S
