"""The money of one epoch, the slow and obvious way: fractions of a base unit, dictionaries, no shortcuts.

Imports nothing from the package under test. Licenses, rosters and usage are plain dictionaries:

license: {"id", "by_use", "price", "cap", "bps": (contributors, community, steward, platform, operators),
          "available", "charged", "committed", "units"}
roster:  list of {"purse", "weight", "payout", "threshold", "records": set of tags}
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from math import ceil, floor

BILLIONTH = Fraction(1, 10**9)
NO_WALLET = bytes(20)


def settle_epoch(licenses, rosters, usage, accruals, minimum):
    """Return what an epoch pays: lines, accruals after, notes, reserve amounts by payee (None: no wallet)."""
    accruals = {purse: Fraction(amount) for purse, amount in accruals.items()}
    lines = []
    for terms in sorted(licenses, key=lambda one: one["id"]):
        roster = in_order(rosters.get(terms["id"], []))
        weights, reason = weights_of(terms, roster, usage.get(terms["id"], {}))
        due = floor(Fraction(terms["units"] * terms["price"], 10**6)) - terms["charged"]
        charge = min(due, terms["available"], terms["cap"]) if weights else 0
        shares = growth(terms["bps"], terms["charged"], terms["charged"] + charge)
        for row, part in zip(roster, divide(shares[0], weights), strict=False):
            accruals[row["purse"]] = accruals.get(row["purse"], Fraction(0)) + part
        if charge or terms["units"] != terms["committed"]:
            lines.append((terms["id"], terms["units"], charge, due - charge, shares, reason))
    wallets = wallets_of(rosters)
    notes = []
    for purse, amount in list(accruals.items()):
        payout, threshold = wallets.get(purse, (NO_WALLET, 0))
        whole = floor(amount)
        if payout != NO_WALLET and whole >= max(1, minimum, threshold):
            notes.append((payout, whole))
            accruals[purse] -= whole
    return lines, {p: a for p, a in accruals.items() if a}, sorted(notes), reserve_of(accruals, wallets)


def weights_of(terms, roster, used):
    """Follow the records used if the license pays by use and any is known; else the roster; else nobody."""
    if terms["by_use"]:
        by_use = [sum(weight for tag, weight in used.items() if tag in row["records"]) for row in roster]
        if sum(by_use):
            return by_use, "use"
    by_roster = [row["weight"] for row in roster]
    return (by_roster, "roster") if sum(by_roster) else ([], "nobody")


def growth(bps, before, after):
    """Contributors' cumulative share is rounded up, everybody else's down."""

    def shares(total):
        exact = [Fraction(total * part, 10**4) for part in bps]
        return [ceil(exact[0]), *(floor(part) for part in exact[1:])]

    return [late - early for early, late in zip(shares(before), shares(after), strict=True)]


def divide(pot, weights):
    """Give each its exact share rounded down to a billionth; hand out what is left, largest loss first."""
    if not sum(weights):
        return [Fraction(0) for _ in weights]
    exact = [Fraction(pot * weight, sum(weights)) for weight in weights]
    parts = [floor(share / BILLIONTH) * BILLIONTH for share in exact]
    losers = sorted(range(len(weights)), key=lambda i: (parts[i] - exact[i], i))
    while sum(parts) < pot:
        parts[losers.pop(0)] += BILLIONTH
    return parts


def in_order(roster):
    """Rosters are sorted by the hash of the purse, so that nobody can choose a lucky place."""
    return sorted(roster, key=lambda row: (hashlib.sha256(row["purse"]).digest(), row["purse"]))


def wallets_of(rosters):
    """The lowest license's row speaks for a purse; one with a wallet before one without."""
    rows = [(row["payout"] == NO_WALLET, license_id, row) for license_id, rs in rosters.items() for row in rs]
    found = {}
    for _, _, row in sorted(rows, key=lambda item: item[:2]):
        found.setdefault(row["purse"], (row["payout"], row["threshold"]))
    return found


def reserve_of(accruals, wallets):
    """Whole base units per purse with a wallet; all others together for the custodian (key None)."""
    amounts = []
    homeless = Fraction(0)
    for purse, amount in accruals.items():
        payout, _ = wallets.get(purse, (NO_WALLET, 0))
        if payout == NO_WALLET:
            homeless += amount
        elif floor(amount):
            amounts.append((payout, floor(amount)))
    if floor(homeless):
        amounts.append((None, floor(homeless)))
    return sorted(amounts, key=lambda item: (item[0] or b"", item[1]))
