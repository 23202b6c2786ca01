"""How unusual a report, or this machine, may be before a node asks a person: the `guards` of node.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from usufruct_protocol.errors import InputRejected

_LARGEST = 2**96 - 1


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """What passes without a person. None switches a guard off; floors are never held, whatever the jump.

    hold_seconds:            chain time after the cut-off until which a person has; None waits for ever
    charge_jump_percent:     a license's charge, against its highest of the last 8 finalized reports
    charge_floor_base_units: charges up to this are never held; a license's first one is held above it
    units_jump_percent:      a license's newly counted units, against its highest of the last 8
    units_floor:             fewer new units are never held
    new_lanes:               lanes that count for the first time in one report
    roster_change_percent:   share of a charged license's weight that went to other purses or other wallets
    price_changes:           licenses whose terms differ from when this node last signed; none ever should
    clock_skew_seconds:      this machine's clock against the newest block's time
    low_gas_wei:             below it the node warns; it signs all the same, since that costs no gas
    """

    hold_seconds: int | None = 21_600
    charge_jump_percent: int | None = 1_000
    charge_floor_base_units: int = 10_000_000_000
    units_jump_percent: int | None = 1_000
    units_floor: int = 1_000_000
    new_lanes: int | None = 200
    roster_change_percent: int | None = 50
    price_changes: int | None = 0
    clock_skew_seconds: int | None = 900
    low_gas_wei: int | None = 10**17

    @classmethod
    def off(cls) -> GuardLimits:
        """Return limits that hold nothing: for a chain of one's own, where there is nobody to ask."""
        nothing: Any = dict.fromkeys(_optional())
        return cls(**nothing)

    @classmethod
    def from_json(cls, value: Any) -> GuardLimits:
        """Return the limits that a settings file names; null is none at all, what it leaves out the default.

        Raises: InputRejected naming what is wrong.
        """
        if value is None:
            return cls.off()
        if not isinstance(value, Mapping):
            raise InputRejected("guards must be an object of limits, or null")
        known = [each.name for each in fields(cls)]
        for name, limit in value.items():
            if name not in known:
                raise InputRejected(f"unknown guard {name!r}", hint=f"there are {', '.join(known)}")
            if limit is None and name in _optional():
                continue
            if type(limit) is not int or not 0 <= limit <= _LARGEST:
                raise InputRejected(f"{name} must be a whole number, got {limit!r}")
        return cls(**value)


def _optional() -> list[str]:
    """Names of the limits that can be switched off. The floors cannot: they only ever allow more."""
    return [each.name for each in fields(GuardLimits) if "floor" not in each.name]
