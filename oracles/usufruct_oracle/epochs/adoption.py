"""Taking over finalized epochs: what the chain calls final becomes the base of the next report.

A node that took part has the bundle; one that was away fetches it from peers, and believes it because it
hashes to what the report on chain commits to.
"""

from __future__ import annotations

import logging

from usufruct_protocol.bundle import (
    ACCRUALS,
    CARRIED,
    INCOME,
    LANES,
    ROSTERS,
    WORDS,
    unpack_lanes,
)
from usufruct_protocol.errors import InvariantBroken, Transient
from usufruct_protocol.merkle import padded_root
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.report import check_rule_version
from usufruct_protocol.report_types import EpochReport
from usufruct_protocol.sumtree import NoteTree

from usufruct_oracle.chain.client import Chain
from usufruct_oracle.context import Base
from usufruct_oracle.peers.client import Peers, fetch_bundle
from usufruct_oracle.storage import epoch_store, lane_store
from usufruct_oracle.storage.retention import forget
from usufruct_oracle.storage.store import Store

_log = logging.getLogger(__name__)


class Adoption:
    """Keeps the base: the state after the last finalized report."""

    def __init__(self, store: Store, chain: Chain, peers: Peers, keep_restricted_epochs: int) -> None:
        self._store = store
        self._chain = chain
        self._peers = peers
        self._keep_restricted_epochs = keep_restricted_epochs
        self._base = Base.genesis()

    def base(self, epoch: int, report_hash: bytes) -> Base:
        """Return the state after a finalized epoch, fetching its bundle if need be; epoch 0 is the beginning.

        Raises: Transient while no reachable peer has the bundle.
        """
        if (self._base.epoch, self._base.report_hash) != (epoch, report_hash):
            self._base = self._adopt(epoch, report_hash) if epoch else Base.genesis()
        return self._base

    def finalized_head(self, lane: bytes) -> Checkpoint | None:
        """Return how far the last epoch that was taken over counts a lane; None before the first."""
        return self._base.heads.get(lane)

    def _adopt(self, epoch: int, report_hash: bytes) -> Base:
        submitted = self._chain.submitted(epoch)
        if submitted is None or submitted.report_hash != report_hash:
            raise Transient(f"the report of epoch {epoch} is not on chain as it was a moment ago")
        report = submitted.report
        check_rule_version(report)
        files = self._files(epoch, report.bundle_hash)
        _check_bundle(report, files)
        base = Base.from_bundle(epoch, report_hash, files)
        with self._store.write() as db:
            epoch_store.put_finalized(db, report_hash, report)
            lane_store.set_finalized(db, base.heads.values())
        forget(self._store, epoch, self._keep_restricted_epochs)
        _log.info("epoch %d is final: attempt %d, %d notes", epoch, report.attempt, report.note_count)
        return base

    def _files(self, epoch: int, bundle_hash: bytes) -> dict[str, bytes]:
        with self._store.read() as db:
            entries = epoch_store.bundle_entries(db, epoch, bundle_hash)
            files = epoch_store.bundle_files(db, epoch, bundle_hash)
        if entries and files.keys() == entries.keys():
            return files
        fetched = self._peers.first(lambda peer: fetch_bundle(peer, epoch, bundle_hash))
        if fetched is None:
            raise Transient(
                f"no peer has the bundle of epoch {epoch}, 0x{bundle_hash.hex()}",
                hint="start another node that signed it, or restore the database",
            )
        files, _ = fetched
        with self._store.write() as db:
            epoch_store.put_bundle(db, epoch, bundle_hash, files)
        _log.info("fetched the bundle of epoch %d from peers", epoch)
        return files


def _check_bundle(report: EpochReport, files: dict[str, bytes]) -> None:
    """Hold the parts of a bundle that the next report starts from against the report itself."""
    missing = {LANES, WORDS, INCOME, ACCRUALS, CARRIED, ROSTERS} - files.keys()
    if missing:
        raise InvariantBroken(f"the finalized bundle of epoch {report.epoch} has no {sorted(missing)[0]}")
    heads = unpack_lanes(files[LANES])
    lanes_root = padded_root([head.struct_hash() if head else bytes(32) for head in heads])
    notes = NoteTree.from_packed(files[WORDS])
    if (lanes_root, len(heads)) != (report.lanes_root, report.lane_count):
        raise InvariantBroken(
            f"epoch {report.epoch} was finalized with a lane vector that its bundle does not hold"
        )
    if (notes.root, notes.total, notes.count) != (report.notes_root, report.notes_total, report.note_count):
        raise InvariantBroken(f"epoch {report.epoch} was finalized with notes that its bundle does not hold")
