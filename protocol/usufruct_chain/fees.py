"""What to pay for gas: what the chain asks, more for a replacement, and never past a limit.

Suggestions come from an endpoint, which may be wrong or lie: a tip is money for the block's producer, so it
has a limit of its own. A maximum fee is only ever paid as far as the base fee asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from usufruct_protocol.errors import Incompatible

from usufruct_chain.rpc import quantity

GWEI: Final = 10**9
DEFAULT_TIP_WEI: Final = GWEI
"""Tip where the endpoint does not suggest one."""
MAX_SUGGESTED_TIP_WEI: Final = 50 * GWEI
MAX_TIP_WEI: Final = 500 * GWEI
MAX_FEE_WEI: Final = 10_000 * GWEI
FEE_STEP_PERCENT: Final = 125
"""Growth of the fees of a replacement; pools ask for at least 110."""
FEE_REFUSALS: Final = ("underpriced", "fee too low", "less than block base fee")
"""What pools say of a fee that will not do."""


@dataclass(frozen=True, slots=True)
class Fees:
    """Per gas, in wei."""

    tip_wei: int
    max_fee_wei: int

    def __str__(self) -> str:
        return f"{self.max_fee_wei / GWEI:.3g} gwei, tip {self.tip_wei / GWEI:.3g}"


@dataclass(frozen=True, slots=True)
class MarketFees:
    """What the chain asks now, in wei per gas."""

    base_fee_wei: int
    tip_wei: int

    def asked(self) -> Fees:
        """Return fees for a first version: its maximum lasts for a doubling of the base fee."""
        tip_wei = min(self.tip_wei, MAX_SUGGESTED_TIP_WEI)
        return Fees(tip_wei, min(2 * self.base_fee_wei + tip_wei, MAX_FEE_WEI))

    def raised(self, last: Fees) -> Fees:
        """Return fees that replace a version, never below what a first one would pay now.

        The same as before when the limits leave no room for a step that pools accept.
        """
        now = self.asked()
        tip_wei = max(now.tip_wei, _step(last.tip_wei))
        max_fee_wei = max(now.max_fee_wei, _step(last.max_fee_wei), tip_wei)
        if tip_wei > MAX_TIP_WEI or max_fee_wei > MAX_FEE_WEI:
            return last
        return Fees(tip_wei, max_fee_wei)


def market_fees(latest_block: Any, suggested_tip: Any) -> MarketFees:
    """Return what a block header and a suggestion (None if there is none) say, as JSON-RPC has them.

    Raises: Incompatible if the chain takes no EIP-1559 transactions.
    """
    if not isinstance(latest_block, dict) or "baseFeePerGas" not in latest_block:
        raise Incompatible("the chain's blocks name no base fee: it does not take EIP-1559 transactions")
    tip_wei = DEFAULT_TIP_WEI if suggested_tip is None else quantity(suggested_tip)
    return MarketFees(quantity(latest_block["baseFeePerGas"]), tip_wei)


def _step(wei: int) -> int:
    return wei * FEE_STEP_PERCENT // 100 + 1
