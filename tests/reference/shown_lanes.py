"""Who earns what by showing the lanes behind a line, the slow and obvious way.

Imports nothing from the package under test. Shows are (who, [(lane number, units)]) in order.
"""

from __future__ import annotations


def settle_shows(shows, needed, bond, per_lane):
    """Return whether the line was reached, and what each answerer earned (nothing unless it was).

    A lane counts for whoever showed it first. Once reached, the line pays per_lane for each lane that
    anybody else had shown, and what is left of the bond to the one who reached it.
    """
    owner, units = {}, {}
    for who, lanes in shows:
        for number, amount in lanes:
            owner.setdefault(number, who)
            units.setdefault(number, amount)
        if sum(units.values()) >= needed:
            earned = dict.fromkeys(owner.values(), 0) | {who: 0}
            for other in owner.values():
                if other != who:
                    earned[other] += per_lane
            earned[who] = bond - sum(earned.values())
            return True, earned
    return False, {}
