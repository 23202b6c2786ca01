"""From accruals to money: the notes an epoch issues, and the reserve it leaves behind.

Source: docs/spec.md, agreement 19 and 20.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from usufruct_protocol.accruals import Accruals
from usufruct_protocol.allocation import allocate
from usufruct_protocol.chain_state import ChainState
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.money import ACCRUAL_SCALE, MAX_UINT96
from usufruct_protocol.roster import NO_ADDRESS, Roster, RosterRow
from usufruct_protocol.sumtree import SumTree, note_word, reserve_leaf

RESERVE_SALT_TAG: Final = b"\x06"


@dataclass(frozen=True, slots=True)
class Issue:
    """Notes as sorted words, and the accruals that stay."""

    words: tuple[int, ...]
    accruals: Accruals


def issue_notes(accrued: Mapping[bytes, int], rosters: Mapping[int, Roster], note_minimum: int) -> Issue:
    """Issue whole base units to every purse that has a wallet and has reached its minimum.

    Units:    `accrued` in billionths per purse, `note_minimum` in base units.
    Rounding: whole base units are issued, the fraction stays accrued.
    """
    rows = rows_by_purse(rosters)
    words: list[int] = []
    left = dict(accrued.items())
    least = max(1, note_minimum) * ACCRUAL_SCALE
    for purse, billionths in accrued.items():
        if billionths < least:
            continue
        row = rows.get(purse)
        if row is None or row.payout == NO_ADDRESS:
            continue
        amount = _whole(billionths)
        if amount >= row.threshold_base_units:
            words.append(note_word(row.payout, amount))
            left[purse] = billionths - amount * ACCRUAL_SCALE
    return Issue(tuple(sorted(words)), Accruals(left))


def reserve_tree(accruals: Accruals, rosters: Mapping[int, Roster], chain: ChainState) -> SumTree:
    """Build the tree of who would get what if nobody ever reported again.

    One leaf per purse with a wallet, floored to whole base units; purses without one share the custodian's
    leaf. Leaves are salted and sorted by hash, so that neither order nor a guess gives a wallet away.
    """
    rows = rows_by_purse(rosters)
    leaves: list[tuple[bytes, int]] = []
    homeless = 0
    for purse, billionths in accruals.items():
        row = rows.get(purse)
        if row is None or row.payout == NO_ADDRESS:
            homeless += billionths
        elif amount := _whole(billionths):
            salt = reserve_salt(row.salt, chain.epoch)
            leaves.append((reserve_leaf(note_word(row.payout, amount), salt), amount))
    if amount := _whole(homeless):
        salt = _custodian_salt(rows, chain.epoch)
        leaves.append((reserve_leaf(note_word(chain.custodian, amount), salt), amount))
    leaves.sort()
    return SumTree.from_leaves([leaf for leaf, _ in leaves], [amount for _, amount in leaves])


def after_reserve(accruals: Accruals, rosters: Mapping[int, Roster]) -> Accruals:
    """Return what the purses keep when the reserve of these accruals and rosters has been issued.

    Each purse with a wallet keeps what its leaf did not carry, a fraction of a base unit. What the
    custodian's leaf did not carry, a fraction too, is divided among the purses without a wallet by what they
    had accrued, largest remainder first, ties to the lower purse.
    Units: billionths. The sum falls by exactly the reserve's total.
    """
    housed, homeless = _by_home(accruals, rows_by_purse(rosters))
    left = {purse: _rest(billionths) for purse, billionths in housed.items()}
    if homeless:
        parts = allocate(_rest(sum(homeless.values())), list(homeless.values()))
        left |= dict(zip(homeless, parts, strict=True))
    return Accruals(left)


def rows_by_purse(rosters: Mapping[int, Roster]) -> dict[bytes, RosterRow]:
    """Return the row that speaks for each purse: the lowest license's, of those the first with a wallet."""
    rows: dict[bytes, RosterRow] = {}
    for license_id in sorted(rosters):
        for row in rosters[license_id].rows:
            known = rows.get(row.purse)
            if known is None or (known.payout == NO_ADDRESS and row.payout != NO_ADDRESS):
                rows[row.purse] = row
    return rows


def reserve_salt(row_salt: bytes, epoch: int) -> bytes:
    """Return the salt of a purse's reserve leaf; it changes every epoch, so leaves cannot be matched."""
    return keccak256(RESERVE_SALT_TAG + row_salt + epoch.to_bytes(8, "big"))


def _custodian_salt(rows: Mapping[bytes, RosterRow], epoch: int) -> bytes:
    """As unguessable as the rows' salts together, and the same on every node."""
    return reserve_salt(keccak256(b"".join(rows[purse].salt for purse in sorted(rows))), epoch)


def _by_home(
    accruals: Accruals, rows: Mapping[bytes, RosterRow]
) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """Accruals of purses with a wallet, and of those without, both in purse order."""
    housed: dict[bytes, int] = {}
    homeless: dict[bytes, int] = {}
    for purse, billionths in accruals.items():
        row = rows.get(purse)
        home = homeless if row is None or row.payout == NO_ADDRESS else housed
        home[purse] = billionths
    return housed, homeless


def _whole(billionths: int) -> int:
    """What one leaf carries of an amount, in base units."""
    return min(billionths // ACCRUAL_SCALE, MAX_UINT96)


def _rest(billionths: int) -> int:
    """What one leaf leaves of an amount, in billionths."""
    return billionths - _whole(billionths) * ACCRUAL_SCALE
