"""An epoch from its first receipt to its stored report, against the sum of the floors.

    python -m benchmarks.epoch --receipts 10000000 --purses 1000000

Ten licenses, one lane and one roster each. Node and floors take turns batch by batch, so that a change of the
machine's pace meets them alike. The floors are what no node can avoid: hashing every receipt (a node does it
to check a checkpoint), inserting it durably, hashing every note into its tree, dividing every pot.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from time import perf_counter

from usufruct_oracle.context import Base, EpochContext
from usufruct_oracle.epochs.freezing import freeze, frozen_view
from usufruct_oracle.epochs.reporting import Reporting
from usufruct_oracle.intake.admission import Intake
from usufruct_oracle.peers.auth import PeerAuth
from usufruct_oracle.peers.client import Peers
from usufruct_oracle.peers.rosters import Rosters
from usufruct_oracle.storage import epoch_store, lane_store
from usufruct_oracle.storage.epoch_store import Cutoff, StoredReport
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import Vector
from usufruct_protocol.batches import Batch
from usufruct_protocol.chain_state import ChainState, LaneState, LicenseState, MeterKind
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.money import ACCRUAL_SCALE, SplitBps
from usufruct_protocol.receipts import Checkpoint, LaneFrontier, receipt_hashes
from usufruct_protocol.roster import Roster, RosterRow
from usufruct_protocol.signing import address_of, sign_digest

from benchmarks.figure import Figure, seconds, table
from benchmarks.intake import insert_batch, open_floor, records_of
from benchmarks.node_server import DOMAIN, key_of
from benchmarks.size import QUICK, Size

LICENSES = 10
PER_BATCH = 1_000
PRICE_PER_MILLION_UNITS = 10**12
"""A unit costs a dollar: so every purse gets a note."""
START_S, EPOCH_S = 1_700_000_000, 86_400


@dataclass
class Taken:
    """Seconds by step, of the node and of the floors."""

    node: dict[str, float] = field(default_factory=dict)
    floor: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Node against the sum of the floors."""
        return sum(self.node.values()) / sum(self.floor.values())

    def of(self, *steps: str) -> float:
        """Node against floors in some of the steps."""
        return sum(self.node.get(step, 0.0) for step in steps) / sum(self.floor[step] for step in steps)


def measure(receipts: int, purses: int) -> Taken:
    """Take in so many receipts, close the epoch, and do the unavoidable part of it beside."""
    taken = Taken()
    with tempfile.TemporaryDirectory(prefix="usufruct-bench-") as folder:
        store = Store(Path(folder) / "node.sqlite", exclusive=True)
        rosters = Rosters(store, Peers({}, bytes(20), PeerAuth(DOMAIN, bytes(20), None, frozenset), 1.0))
        chain = _chain(store, rosters, receipts, purses)
        _take_in(store, Path(folder) / "floor.sqlite", receipts, taken)
        report, taken.node["close"] = _close(store, rosters, chain)
        store.close()
    if report.report.note_count != purses:
        raise RuntimeError(f"{report.report.note_count} notes for {purses} purses")
    _closing_floors(receipts, purses, taken)
    return taken


def _chain(store: Store, rosters: Rosters, receipts: int, purses: int) -> ChainState:
    """Register lanes and rosters with the node, and return the chain that names them."""
    draw = random.Random(4)
    licenses, lanes = [], []
    for number in range(LICENSES):
        license_id = number + 1
        names = [sha256(b"purse %d of %d" % (each, number)).digest() for each in range(purses // LICENSES)]
        roster = Roster.build(
            RosterRow(name, draw.randrange(900, 1_100), name[:20], 0, name) for name in names
        )
        rosters.put(license_id, roster.to_bytes(), roster.root)
        licenses.append(
            LicenseState(
                license_id,
                MeterKind.INFERENCE,
                PRICE_PER_MILLION_UNITS,
                2**90,
                SplitBps(7_000, 1_000, 1_000, 500, 500),
                bytes(32),
                roster.root,
                available=2**90,
                charged=0,
                cumulative_units=0,
            )
        )
        lanes.append(LaneState(number, address_of(key_of(number)), license_id, 0, 2**63, 2**96))
    with store.write() as db:
        lane_store.put_lanes(db, lanes)
    return ChainState(
        chain_id=31337,
        settlement=b"\x5e" * 20,
        epoch=1,
        previous_report_hash=bytes(32),
        previous_period_end_s=START_S,
        epoch_seconds=EPOCH_S,
        cutoff_block=1,
        cutoff_block_hash=b"\x01" * 32,
        cutoff_time_s=START_S + EPOCH_S + 60,
        next_attempt=0,
        signer_set_version=1,
        signers=(b"\x02" * 20,),
        pool=0,
        note_minimum=1,
        custodian=b"\x03" * 20,
        consent_root=bytes(32),
        licenses=tuple(licenses),
        lanes=tuple(lanes),
    )


def _take_in(store: Store, floor: Path, receipts: int, taken: Taken) -> None:
    """Admit batch after batch, a batch of every lane to a transaction; insert and hash the same beside."""
    intake = Intake(DOMAIN)
    frontiers = [LaneFrontier() for _ in range(LICENSES)]
    db = open_floor(floor)
    taken.node["receive"] = taken.floor["receive"] = 0.0

    def admit() -> None:
        with store.write() as writer:
            for batch in batches:
                intake.admit(writer, batch)

    def unavoidable() -> None:
        for batch in batches:
            receipt_hashes(batch.lane, batch.records)
        insert_batch(db, [(number, batch.records) for number, batch in enumerate(batches)])

    for first in range(0, receipts // LICENSES, PER_BATCH):
        batches = [_batch(number, frontiers[number], first) for number in range(LICENSES)]
        taken.node["receive"] += seconds(admit)
        taken.floor["receive"] += seconds(unavoidable)
    db.close()


def _batch(number: int, frontier: LaneFrontier, first: int) -> Batch:
    key = key_of(number)
    lane, records = address_of(key), records_of(first, PER_BATCH)
    frontier.extend(receipt_hashes(lane, records))
    point = Checkpoint(lane, first + PER_BATCH, first + PER_BATCH, frontier.root())
    return Batch(lane, first, records, point, sign_digest(key, typed_digest(DOMAIN, point.struct_hash())))


def _close(store: Store, rosters: Rosters, chain: ChainState) -> tuple[StoredReport, float]:
    """Do what a node alone with itself does after the cut-off, until the report is durable."""
    started = perf_counter()
    cutoff = Cutoff(chain.cutoff_block, chain.cutoff_block_hash, chain.cutoff_time_s)
    freeze(store, chain.epoch, cutoff, chain.period_end_s)
    with store.read() as db:
        view = frozen_view(db, chain.epoch)
    if view is None:
        raise RuntimeError("the epoch was not frozen")
    by_lane = {head.checkpoint.lane: head for head in view.heads}
    heads = tuple(by_lane.get(state.lane) for state in chain.lanes)
    vector = Vector(chain.epoch, 0, chain.cutoff_block_hash, heads)
    with store.write() as db:
        epoch_store.put_vector(db, vector)
    report = Reporting(store, rosters).obtain(EpochContext(chain, Base.genesis(), None), vector)
    return report, perf_counter() - started


def _closing_floors(receipts: int, purses: int, taken: Taken) -> None:
    leaf, node = bytes(33), bytes(88)

    def hashes() -> None:
        for _ in range(purses):
            keccak256(leaf)
        for _ in range(purses):
            keccak256(node)

    weights = [1_000 + each % 7 for each in range(purses // LICENSES)]
    pot, total = receipts // LICENSES * 10**6 * ACCRUAL_SCALE, sum(weights)

    def divisions() -> None:
        for _ in range(LICENSES):
            _ = [pot * weight // total for weight in weights]

    taken.floor["close"] = seconds(hashes) + seconds(divisions)


def run(size: Size = QUICK, receipts: int = 0, purses: int = 0) -> list[Figure]:
    """Measure the whole epoch, and each half of it."""
    receipts, purses = receipts or size.epoch_receipts, purses or size.epoch_purses
    taken = measure(receipts, purses)
    work = f"close an epoch: {receipts:,} receipts, {purses:,} purses, {LICENSES} licenses"
    return [
        Figure("epoch", f"{work}, all of it", "sum of the floors", taken.ratio, 1.5),
        Figure("epoch_receive", f"{work}: receive", "hash and insert alone", taken.of("receive"), None),
        Figure("epoch_close", f"{work}: after the cut-off", "keccak, division", taken.of("close"), None),
        Figure("epoch_close_time", f"{work}: after the cut-off", "", taken.node["close"], None, unit="s"),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure an epoch.")
    parser.add_argument("--receipts", type=int, default=QUICK.epoch_receipts)
    parser.add_argument("--purses", type=int, default=QUICK.epoch_purses)
    print(table(run(**vars(parser.parse_args()))))
