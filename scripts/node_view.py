"""What a signer may ask of another node: bundle files and receipts. Everything is checked by its hash."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from usufruct_chain.signatures import settlement_domain
from usufruct_oracle.peers.auth import PeerAuth
from usufruct_oracle.peers.client import Peer, fetch_bundle
from usufruct_protocol.bundle import LANES, WORDS, unpack_lanes
from usufruct_protocol.errors import Transient
from usufruct_protocol.merkle import padded_root
from usufruct_protocol.receipts import RECORD_SIZE, Checkpoint
from usufruct_protocol.signing import LocalSigner, address_of
from usufruct_protocol.sumtree import unpack_words

from scripts.network import Network
from scripts.world import World

TIMEOUT_S: Final = 10.0


class NodeView:
    """One node, seen by a fellow signer. Use it in a `with` statement."""

    def __init__(self, world: World, network: Network, index: int = 0) -> None:
        asker = network.keys[(index + 1) % len(network.keys)]
        signers = tuple(address_of(key) for key in network.keys)
        auth = PeerAuth(
            settlement_domain(world.deployment), address_of(asker), LocalSigner(asker), lambda: signers
        )
        self._reader = world.reader
        self._peer = Peer(address_of(network.keys[index]), network.urls[index], auth, TIMEOUT_S)

    def bundle(self, epoch: int) -> dict[str, bytes]:
        """Return the files behind an epoch's report on chain. Raises: Transient if the node lacks them."""
        submitted = self._reader.report_calldata(epoch)
        found = None if submitted is None else fetch_bundle(self._peer, epoch, submitted.report.bundle_hash)
        if found is None:
            raise Transient(f"{self._peer} does not hold the bundle of epoch {epoch}")
        return found[0]

    def words(self, epoch: int) -> tuple[int, ...]:
        """Return an epoch's note words, in the order of their tree."""
        return unpack_words(self.bundle(epoch)[WORDS])

    def heads(self, epoch: int) -> tuple[Checkpoint | None, ...]:
        """Return the lane vector that an epoch's report committed to, by lane number."""
        heads = unpack_lanes(self.bundle(epoch)[LANES])
        submitted = self._reader.report_calldata(epoch)
        root = padded_root([head.struct_hash() if head else bytes(32) for head in heads])
        if submitted is None or submitted.report.lanes_root != root:
            raise Transient(f"{self._peer} holds other lanes for epoch {epoch} than the report on chain")
        return heads

    def records(self, head: Checkpoint) -> bytes:
        """Return the 104-byte records of a lane's first `head.count` receipts."""
        records = b""
        while (held := len(records) // RECORD_SIZE) < head.count:
            batches = self._peer.batches(head.lane, held, head.count)
            if not batches:
                raise Transient(f"{self._peer} does not hold lane 0x{head.lane.hex()} up to {head.count}")
            records += b"".join(batch.records for batch in batches)
        return records

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._peer.close()
