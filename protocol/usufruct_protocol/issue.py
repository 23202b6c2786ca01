"""From accruals to money: the notes an epoch issues, and the reserve it leaves behind.

Source: docs/spec.md, agreement 19 and 20.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from usufruct_protocol.accruals import Accruals
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
    left = dict(accrued)
    for purse, billionths in accrued.items():
        row = rows.get(purse)
        if row is None or row.payout == NO_ADDRESS:
            continue
        amount = min(billionths // ACCRUAL_SCALE, MAX_UINT96)
        if amount >= max(1, note_minimum, row.threshold_base_units):
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
        else:
            leaves += _leaf(row.payout, billionths, reserve_salt(row.salt, chain.epoch))
    leaves += _leaf(chain.custodian, homeless, _custodian_salt(rows, chain.epoch))
    leaves.sort()
    return SumTree.from_leaves([leaf for leaf, _ in leaves], [amount for _, amount in leaves])


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


def _leaf(payee: bytes, billionths: int, salt: bytes) -> list[tuple[bytes, int]]:
    amount = min(billionths // ACCRUAL_SCALE, MAX_UINT96)
    if not amount:
        return []
    return [(reserve_leaf(note_word(payee, amount), salt), amount)]
