"""What a disputed report says of its lanes, opened for the contract: leaf, path, and the lane's signature.

Reports commit to checkpoints without their signatures, so these come from wherever one is: the vector that
was accepted, this node's checkpoints, the chain where the lane was anchored, or a peer. None is believed
before it recovers to the lane.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import cached_property

from usufruct_chain.disputes import ShownHead
from usufruct_protocol.bundle import LANES, unpack_lanes
from usufruct_protocol.errors import InvariantBroken, Transient, UsufructError
from usufruct_protocol.merkle import padded_levels, padded_root, siblings_in
from usufruct_protocol.receipts import Checkpoint, verify_checkpoint_signature
from usufruct_protocol.report_types import EpochReport

from usufruct_oracle.peers.client import Peer, Peers
from usufruct_oracle.storage import epoch_store, lane_store
from usufruct_oracle.storage.store import Store

_log = logging.getLogger(__name__)


class ShownHeads:
    """The lanes of one report. `store` may be missing: then peers and the chain have to know everything.

    anchored: what finds the lane's signature of an anchored checkpoint, or None if it never was anchored
    Raises: Transient if nobody reachable has the report's lanes; InvariantBroken if they are not its own.
    """

    def __init__(
        self,
        report: EpochReport,
        store: Store | None,
        peers: Peers,
        domain_separator: bytes,
        anchored: Callable[[Checkpoint], bytes | None],
    ) -> None:
        self._report = report
        self._store = store
        self._peers = peers
        self._domain = domain_separator
        self._anchored = anchored
        self.heads = unpack_lanes(self._lanes_file())
        self._leaves = [bytes(32) if head is None else head.struct_hash() for head in self.heads]
        if (padded_root(self._leaves), len(self._leaves)) != (report.lanes_root, report.lane_count):
            raise InvariantBroken(f"the bundle of epoch {report.epoch} holds other lanes than its report")

    def open(self, lane_number: int) -> ShownHead:
        """Return the opening of a lane that the report knows, signed unless its leaf is zero.

        Raises: Transient if the signature is nowhere to be had.
        """
        head = self.heads[lane_number]
        signature = b"" if head is None else self._signature(lane_number, head)
        return ShownHead(lane_number, head, siblings_in(self._levels, lane_number), signature)

    @cached_property
    def _levels(self) -> list[list[bytes]]:
        return padded_levels(self._leaves)

    def _lanes_file(self) -> bytes:
        epoch, bundle_hash = self._report.epoch, self._report.bundle_hash
        found = None
        if self._store is not None:
            with self._store.read() as db:
                found = epoch_store.bundle_file(db, epoch, bundle_hash, LANES)
        if found is None:
            found = self._peers.first(lambda peer: _lanes_of(peer, epoch, bundle_hash))
        if found is None:
            raise Transient(
                f"nobody reachable has {LANES} of epoch {epoch}, 0x{bundle_hash.hex()}",
                hint="start a node that signed the report",
            )
        return found

    def _signature(self, lane_number: int, head: Checkpoint) -> bytes:
        for signature in self._candidates(lane_number, head):
            try:
                verify_checkpoint_signature(head, signature, self._domain)
            except UsufructError as error:
                _log.debug("not the signature of lane %d: %s", lane_number, error)
            else:
                return signature
        raise Transient(
            f"nobody reachable has the signature of lane {lane_number} over {head.count} receipts",
            hint="start the nodes that held this lane: one of them has it",
        )

    def _candidates(self, lane_number: int, head: Checkpoint) -> Iterator[bytes]:
        """Yield what may be the lane's signature, cheapest source first."""
        if self._store is not None:
            yield from self._stored(self._store, lane_number, head)
        anchored = self._anchored(head)
        if anchored is not None:
            yield anchored
        for peer in self._peers:
            found = self._peers.ask(peer, lambda asked: _signature_of(asked, head))
            if found is not None:
                yield found

    def _stored(self, store: Store, lane_number: int, head: Checkpoint) -> Iterator[bytes]:
        with store.read() as db:
            vector = epoch_store.vector(db, self._report.epoch, self._report.attempt)
            lane = lane_store.lane_by_address(db, head.lane)
            held = None if lane is None else lane_store.checkpoint_at(db, lane, head.count)
        accepted = (
            vector.heads[lane_number] if vector is not None and lane_number < len(vector.heads) else None
        )
        for signed in (accepted, held):
            if signed is not None and signed.checkpoint == head and signed.signature:
                yield signed.signature


def _lanes_of(peer: Peer, epoch: int, bundle_hash: bytes) -> bytes | None:
    entries = peer.manifest(epoch, bundle_hash)
    if entries is None or LANES not in entries:
        return None
    return peer.file(epoch, bundle_hash, LANES, entries[LANES])


def _signature_of(peer: Peer, head: Checkpoint) -> bytes | None:
    """Ask for the batch that ends at a checkpoint; only a peer that holds this very cut has one."""
    batches = peer.batches(head.lane, head.count - 1, head.count)
    return next((batch.signature for batch in batches if batch.checkpoint == head), None)
