"""A license's money that is not for usage: upfront fees, reached milestones, declared royalties.

The splitter divides it on arrival, by the license's basis points on its own cumulative total; the
contributors' part enters the pool at once, before any report knows whose it is. Reports allocate its growth,
and record how much of it they have allocated: what no roster can take yet stays in the pool, declared and
unallocated.
Source: docs/spec.md, money and report; RoyaltySplitter.sol
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from usufruct_protocol.chain_state import LicenseState
from usufruct_protocol.errors import InputRejected, InvariantBroken
from usufruct_protocol.money import check_uint, split_total
from usufruct_protocol.wire import Cursor

_MAGIC: Final = b"UFI1"


def unallocated_income(licenses: Iterable[LicenseState], allocated: Mapping[int, int]) -> dict[int, int]:
    """Return the contributors' income that no report has allocated yet, by license, zeros left out.

    Units:    base units; `allocated` is cumulative per license, as the last finalized report left it.
    Rounding: contributors' cumulative part up, as the splitter does.
    Raises:   InvariantBroken if more was allocated than ever arrived.
    """
    waiting = {}
    arrived = {
        state.license_id: split_total(state.income, state.split_bps).contributors for state in licenses
    }
    for license_id in sorted(arrived.keys() | allocated.keys()):
        rest = arrived.get(license_id, 0) - allocated.get(license_id, 0)
        if rest < 0:
            raise InvariantBroken(
                f"license {license_id}: {allocated[license_id]} base units of income were allocated, "
                f"{arrived.get(license_id, 0)} arrived",
                hint="this is not the bundle of the last finalized report; fetch it by its hash",
            )
        if rest:
            waiting[license_id] = rest
    return waiting


def pack_income(allocated: Mapping[int, int]) -> bytes:
    """Return canonical bytes: mark, count u32, then license id u32 ‖ base units u96; ascending, no zeros."""
    rows = [
        license_id.to_bytes(4, "big") + check_uint(allocated[license_id], 96, "income").to_bytes(12, "big")
        for license_id in sorted(allocated)
        if allocated[license_id]
    ]
    return _MAGIC + len(rows).to_bytes(4, "big") + b"".join(rows)


def unpack_income(data: bytes) -> dict[int, int]:
    """Read what `pack_income` wrote. Raises InputRejected for any other bytes."""
    cursor = Cursor(data, "income")
    cursor.expect(_MAGIC)
    allocated: dict[int, int] = {}
    last = -1
    for _ in range(cursor.uint(4, "license count")):
        license_id, amount = cursor.uint(4, "license id"), cursor.uint(12, "base units")
        if license_id <= last or amount == 0:
            raise InputRejected(f"income: license {license_id} is out of order, repeated or zero")
        allocated[license_id] = amount
        last = license_id
    cursor.finish()
    return allocated
