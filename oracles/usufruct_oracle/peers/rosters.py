"""Rosters by root: put by stewards, fetched from peers, kept by what the chain names them."""

from __future__ import annotations

import gc
import threading

from usufruct_protocol.chain_state import ChainState
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.roster import Roster

from usufruct_oracle.peers.client import Peers
from usufruct_oracle.storage import epoch_store
from usufruct_oracle.storage.store import Store

_NO_ROSTER = bytes(32)


class WrongRoster(InputRejected):
    """The roster is not the one whose root the steward set on chain."""

    code = "wrong_roster"


class Rosters:
    """The rosters this node holds or can get."""

    def __init__(self, store: Store, peers: Peers) -> None:
        self._store = store
        self._peers = peers
        self._parsed: dict[bytes, Roster] = {}
        # The last one put per license, read already: the next report will want it when time is short.
        self._put: dict[int, Roster] = {}
        self._lock = threading.Lock()

    def named(self, license_id: int, chain: ChainState) -> bytes:
        """Return the root of a license's roster on chain. `chain` is the state at the head.

        Raises: WrongRoster if the chain knows of none.
        """
        root = next((each.roster_root for each in chain.licenses if each.license_id == license_id), None)
        if root is None:
            raise WrongRoster(f"license {license_id} does not exist", hint="check the number in the path")
        if root == _NO_ROSTER:
            raise WrongRoster(f"license {license_id} has no roster on chain", hint="set it on chain first")
        return root

    def holds(self, root: bytes) -> bool:
        """Tell whether the roster with a root is here."""
        with self._store.read() as db:
            return epoch_store.has_roster(db, root)

    def put(self, license_id: int, body: bytes, root: bytes) -> None:
        """Keep a roster that a steward sends; `root` is the one on chain.

        Raises: InputRejected for bytes that are no roster; WrongRoster unless it has this root.
        """
        roster = _read(body)
        if roster.root != root:
            raise WrongRoster(
                f"license {license_id} has roster 0x{root.hex()} on chain, this is 0x{roster.root.hex()}",
                hint="set the roster on chain first, then send the same bytes here",
            )
        self._keep(root, body)
        with self._lock:
            self._put[license_id] = roster

    def missing(self, chain: ChainState) -> tuple[int, ...]:
        """Return the licenses, ascending, whose roster neither this node nor a reachable peer has."""
        return tuple(
            state.license_id
            for state in chain.licenses
            if state.roster_root != _NO_ROSTER and not self._fetch(state.roster_root)
        )

    def load(self, chain: ChainState) -> dict[int, Roster]:
        """Return the rosters at hand that govern at a block, by license."""
        wanted = {
            state.license_id: state.roster_root for state in chain.licenses if state.roster_root != _NO_ROSTER
        }
        found = {license_id: self._roster(root) for license_id, root in wanted.items()}
        self._parsed = {root: roster for root, roster in self._parsed.items() if root in wanted.values()}
        return {license_id: roster for license_id, roster in found.items() if roster is not None}

    def forget_others(self, *states: ChainState) -> None:
        """Delete the rosters that none of these states of the chain names; bundles keep their own copies."""
        named = {state.roster_root for chain in states for state in chain.licenses}
        with self._store.write() as db:
            epoch_store.keep_rosters(db, named)

    def _roster(self, root: bytes) -> Roster | None:
        if root not in self._parsed:
            roster = self._take_put(root)
            if roster is None:
                with self._store.read() as db:
                    body = epoch_store.roster(db, root)
                if body is None:
                    return None
                roster = _read(body)
            self._parsed[root] = roster
        return self._parsed[root]

    def _take_put(self, root: bytes) -> Roster | None:
        with self._lock:
            found = next((each for each, roster in self._put.items() if roster.root == root), None)
            return None if found is None else self._put.pop(found)

    def _fetch(self, root: bytes) -> bool:
        with self._store.read() as db:
            if epoch_store.has_roster(db, root):
                return True
        body = self._peers.first(lambda peer: peer.roster(root))
        if body is None:
            return False
        self._keep(root, body)
        return True

    def _keep(self, root: bytes, body: bytes) -> None:
        with self._store.write() as db:
            epoch_store.put_roster(db, root, body)


def _read(body: bytes) -> Roster:
    """Read a roster, without the garbage collector walking over its rows meanwhile: they stay."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        return Roster.from_bytes(body)
    finally:
        if was_on:
            gc.enable()
