"""What was held is remembered as last seen, with numbers larger than a database's own."""

from __future__ import annotations

from dataclasses import replace

from usufruct_oracle.guards import hold_store
from usufruct_oracle.guards.concerns import Concern, Guard
from usufruct_oracle.storage.store import Store

HELD = Concern(Guard.CHARGE_JUMP, "license 1", 2**96 - 1, 2**95, "charge of a lot")


def test_holds_are_kept_by_epoch_and_replaced_by_what_was_seen_last(store: Store) -> None:
    other = replace(HELD, guard=Guard.NEW_LANES, subject="all licenses", value=7)
    with store.read() as db:
        assert hold_store.last_held_epoch(db) is None
    for epoch, concerns in ((3, [HELD, other]), (4, [HELD]), (3, [replace(HELD, value=5, detail="less")])):
        with store.write() as db:
            hold_store.put_holds(db, epoch, concerns)
    with store.read() as db:
        assert hold_store.last_held_epoch(db) == 4
        assert hold_store.holds(db, 4) == [HELD]
        assert hold_store.holds(db, 3) == [replace(HELD, value=5, detail="less"), other]
        assert hold_store.holds(db, 5) == []


def test_terms_are_those_of_the_last_signature(store: Store) -> None:
    for signed, expected in (
        ({1: "a", 2: "b"}, {1: "a", 2: "b"}),
        ({1: "a"}, {1: "a", 2: "b"}),
        ({2: "c", 3: "d"}, {1: "a", 2: "c", 3: "d"}),
    ):
        with store.write() as db:
            hold_store.put_terms(db, signed)
        with store.read() as db:
            assert hold_store.terms(db) == expected
