"""Who in this process wants to hear of receipts that a gateway has signed: tracing, metrics.

Observers are told in the context of the call, after the receipt is durable. What they raise is logged: a
receipt stands whatever becomes of its echo.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from usufruct_meter.signed_receipt import SignedReceipt

_logger = logging.getLogger(__name__)

Observer = Callable[[SignedReceipt], object]

_observers: list[Observer] = []


def observe(observer: Observer) -> Callable[[], None]:
    """Tell an observer of every receipt from now on; returns how to stop that."""
    _observers.append(observer)

    def stop() -> None:
        if observer in _observers:
            _observers.remove(observer)

    return stop


def tell(signed: SignedReceipt) -> SignedReceipt:
    """Tell all observers of a receipt, and return it."""
    for observer in tuple(_observers):
        try:
            observer(signed)
        except Exception:  # an observer must not take an answer away that is paid for
            _logger.exception("an observer of receipts failed")
    return signed
