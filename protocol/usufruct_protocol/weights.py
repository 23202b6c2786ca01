"""Who a license's money is divided among, and by which weights.

Permitted is not payable. Whose record a call used is paid for it, with consent or without: without, it is
their compensation, and the penalty is another matter. Where nobody counts uses, the steward's roster speaks,
and consent decides which of its rows can have been used at all.
Source: docs/spec.md, weights and consent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from usufruct_protocol.chain_state import ChainState, LicenseState, MeterKind
from usufruct_protocol.roster import Roster, RosterRow

CONSENT_GRACE_MS: Final = 24 * 3600 * 1000
"""How long gateways may still use a record after its consent was revoked."""

BY_USE: Final = "use"
BY_ROSTER: Final = "roster"
BY_NOBODY: Final = "nobody"


def charge_weights(
    chain: ChainState, state: LicenseState, used: Mapping[bytes, int], roster: Roster | None
) -> tuple[list[int], str]:
    """Return the weights that a charge is divided by, in roster order, and what they follow.

    They are empty when there is nobody to pay: then the license is not charged and its units stay due.
    """
    if roster is None:
        return [], BY_NOBODY
    return _first(
        (_use_weights(state, used, roster), BY_USE), (_roster_weights(chain, state, roster), BY_ROSTER)
    )


def income_weights(
    chain: ChainState, state: LicenseState, used: Mapping[bytes, int], roster: Roster | None
) -> list[int]:
    """Return the weights that income is divided by, in roster order; empty when it has to wait.

    Income is for the collection, not for a call: the roster comes first. By uses of one epoch, whoever calls
    first after a large fee has arrived would choose who gets it.
    """
    if roster is None:
        return []
    weights, _ = _first(
        (_roster_weights(chain, state, roster), BY_ROSTER), (_use_weights(state, used, roster), BY_USE)
    )
    return weights


def _first(*choices: tuple[list[int], str]) -> tuple[list[int], str]:
    return next((choice for choice in choices if any(choice[0])), ([], BY_NOBODY))


def _use_weights(state: LicenseState, used: Mapping[bytes, int], roster: Roster) -> list[int]:
    """Weights of the records used, summed per row; consent is not asked, since every use is paid."""
    if not state.meter_kind.pays_by_use:
        return []
    weights = [0] * len(roster.rows)
    for tag, weight in used.items():
        row = roster.row_of_tag.get(tag)
        if row is not None:
            weights[row] += weight
    return weights


def _roster_weights(chain: ChainState, state: LicenseState, roster: Roster) -> list[int]:
    """The roster's weights of the rows that may have been used in the period.

    If that leaves nobody, what was used was used without consent: then the whole roster is compensated.
    """
    start_ms, end_ms = chain.period_start_s * 1000, chain.period_end_s * 1000
    weights = [
        row.weight if _is_payable(row, state.meter_kind, start_ms, end_ms) else 0 for row in roster.rows
    ]
    return weights if any(weights) else list(roster.weights)


def _is_payable(row: RosterRow, kind: MeterKind, start_ms: int, end_ms: int) -> bool:
    """Tell whether a row has consent, or compensation due, in a period where nobody counts uses.

    A row that names no consent at all is one that the steward lists without any: compensation. A model keeps
    what it was trained on under a consent that has ended since, and is paid for while it is used. Anything
    else takes a consent that reaches into the period. A consent that begins later pays nothing for before.
    """
    if not row.intervals:
        return True
    if kind.runs_a_trained_model:
        return row.intervals[0].from_ms < end_ms
    return any(
        interval.from_ms < end_ms and start_ms < interval.to_ms + CONSENT_GRACE_MS
        for interval in row.intervals
    )
