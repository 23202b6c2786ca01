"""The money of one epoch, the slow and obvious way: fractions of a base unit, dictionaries, no shortcuts.

Imports nothing from the package under test. Licenses, rosters and usage are plain dictionaries:

license: {"id", "price", "cap", "bps": (contributors, community, steward, platform, operators), "available",
          "charged", "committed", "units",
          "by_use": whether uses are counted, "model": whether units are answers of a trained model,
          "income": all that ever came for the license besides charges,
          "allocated": how much of the contributors' part of that earlier reports gave out}
roster:  list of {"purse", "weight", "payout", "threshold", "records": set of tags,
          "consent": [(from, to)] in ms}
period:  (from, to) in ms
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from math import ceil, floor

BILLIONTH = Fraction(1, 10**9)
NO_WALLET = bytes(20)


def settle_epoch(licenses, rosters, usage, accruals, minimum, period):
    """Return what an epoch pays: lines, accruals after, notes, reserve amounts by payee (None: no wallet),
    and how much of each license's income is allocated afterwards."""
    accruals = {purse: Fraction(amount) for purse, amount in accruals.items()}
    lines, allocated = [], {}
    for terms in sorted(licenses, key=lambda one: one["id"]):
        roster = in_order(rosters.get(terms["id"], []))
        used = usage.get(terms["id"], {})
        by_use, by_roster = weights_by_use(terms, roster, used), weights_by_roster(terms, roster, period)
        weights, reason = first_with_weight((by_use, "use"), (by_roster, "roster"))
        due = floor(Fraction(terms["units"] * terms["price"], 10**6)) - terms["charged"]
        charge = min(due, terms["available"], terms["cap"]) if weights else 0
        shares = growth(terms["bps"], terms["charged"], terms["charged"] + charge)
        pay(accruals, roster, shares[0], weights)
        if charge or terms["units"] != terms["committed"]:
            lines.append((terms["id"], terms["units"], charge, due - charge, shares, reason))

        earned = growth(terms["bps"], 0, terms["income"])[0]
        weights, _ = first_with_weight((by_roster, "roster"), (by_use, "use"))
        pay(accruals, roster, earned - terms["allocated"], weights)
        allocated[terms["id"]] = earned if weights else terms["allocated"]
    wallets = wallets_of(rosters)
    notes = []
    for purse, amount in list(accruals.items()):
        payout, threshold = wallets.get(purse, (NO_WALLET, 0))
        whole = floor(amount)
        if payout != NO_WALLET and whole >= max(1, minimum, threshold):
            notes.append((payout, whole))
            accruals[purse] -= whole
    left = {purse: amount for purse, amount in accruals.items() if amount}
    return lines, left, sorted(notes), reserve_of(accruals, wallets), allocated


def pay(accruals, roster, pot, weights):
    """Divide a pot among a roster and add it to what its purses have earned."""
    for row, part in zip(roster, divide(pot, weights), strict=False):
        accruals[row["purse"]] = accruals.get(row["purse"], Fraction(0)) + part


def first_with_weight(*choices):
    """The first way of dividing that gives anybody anything."""
    for weights, reason in choices:
        if sum(weights):
            return weights, reason
    return [], "nobody"


def weights_by_use(terms, roster, used):
    """A record that was used is paid for, whoever consented to what."""
    if not terms["by_use"]:
        return []
    return [sum(weight for tag, weight in used.items() if tag in row["records"]) for row in roster]


def weights_by_roster(terms, roster, period):
    """Those with consent or compensation due; nobody left: everybody is compensated."""
    chosen = [row["weight"] if may_have_been_used(terms, row["consent"], period) else 0 for row in roster]
    return chosen if sum(chosen) else [row["weight"] for row in roster]


def may_have_been_used(terms, consent, period):
    """Listed without consent: compensation. In a model: for ever once consented. Else a day's grace."""
    start, end = period
    if not consent:
        return True
    if terms["model"]:
        return min(since for since, _ in consent) < end
    return any(since < end and until + 86_400_000 > start for since, until in consent)


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


def after_reserve(accruals, rosters):
    """What is left when the reserve was paid out: fractions; those of the homeless divided by size."""
    wallets = wallets_of(rosters)
    left, homeless = {}, []
    for purse, amount in accruals.items():
        if wallets.get(purse, (NO_WALLET, 0))[0] == NO_WALLET:
            homeless.append(purse)
        else:
            left[purse] = amount - floor(amount)
    homeless.sort()
    together = sum((accruals[purse] for purse in homeless), Fraction(0))
    sizes = [int(accruals[purse] / BILLIONTH) for purse in homeless]
    left |= dict(zip(homeless, divide(together - floor(together), sizes), strict=True))
    return {purse: amount for purse, amount in left.items() if amount}
