"""Rosters: read when they are put, and not once more when the report is due."""

from __future__ import annotations

import pytest
from usufruct_oracle.peers import rosters as rosters_module
from usufruct_oracle.peers.auth import PeerAuth
from usufruct_oracle.peers.client import Peers
from usufruct_oracle.peers.rosters import Rosters, WrongRoster
from usufruct_oracle.storage.store import Store
from usufruct_protocol.roster import Roster

from tests.unit.oracle.test_http import licensed, roster_of


@pytest.fixture
def rosters(store: Store) -> Rosters:
    auth = PeerAuth(bytes(32), bytes(20), None, frozenset)
    return Rosters(store, Peers({}, bytes(20), auth, 1.0))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every body that was read."""
    found: list[bytes] = []

    def read(body: bytes) -> Roster:
        found.append(body)
        return Roster.from_bytes(body)

    monkeypatch.setattr(rosters_module, "_read", read)
    return found


def test_a_roster_that_was_put_is_not_read_again(rosters: Rosters, reads: list[bytes]) -> None:
    roster = roster_of(3)
    rosters.put(3, roster.to_bytes(), roster.root)
    for _ in range(2):
        assert list(rosters.load(licensed(roster.root)).values()) == [roster]
    assert len(reads) == 1


def test_only_the_last_one_put_for_a_license_waits_in_memory(rosters: Rosters, reads: list[bytes]) -> None:
    first, last = roster_of(3), roster_of(4)
    for roster in (first, last):
        rosters.put(3, roster.to_bytes(), roster.root)
    assert list(rosters.load(licensed(first.root)).values()) == [first]
    assert len(reads) == 3


def test_a_roster_of_another_root_is_neither_kept_nor_remembered(rosters: Rosters) -> None:
    roster = roster_of(3)
    with pytest.raises(WrongRoster):
        rosters.put(3, roster.to_bytes(), bytes(32))
    assert rosters.load(licensed(roster.root)) == {}
