"""What is personal is deleted in time, what proves something stays, and nobody needs what is gone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from usufruct_oracle.audit.sources import BundleForgotten, BundleSources
from usufruct_oracle.epochs.freezing import frozen_view
from usufruct_oracle.peers.auth import PeerAuth
from usufruct_oracle.peers.client import Peers
from usufruct_oracle.storage import epoch_store, lane_store, retention
from usufruct_oracle.storage.epoch_store import Cutoff
from usufruct_oracle.storage.lane_store import Lane
from usufruct_oracle.storage.retention import forget
from usufruct_oracle.storage.store import Store
from usufruct_protocol.bundle import LANES, PUBLIC_FILES, RESTRICTED_FILES, pack_lanes
from usufruct_protocol.errors import InputRejected, Transient
from usufruct_protocol.receipts import Checkpoint

from tests.unit.oracle.conftest import NewStore, Take, taking
from tests.unit.oracle.lane_kit import DOMAIN, KitLane, record_tag
from tests.unit.oracle.test_epoch_store import H, report

KEEP = 3
PER_EPOCH = 10


def meter_epoch(lane: KitLane) -> None:
    lane.meter(*range(PER_EPOCH), usage=[(record_tag(1), 1), (record_tag(2), 2)])


def finalize(store: Store, epoch: int, heads: Iterable[Checkpoint]) -> bytes:
    """Record a finalized epoch that counts so far; return its bundle hash."""
    points = list(heads)
    bundle_hash = bytes([epoch]) * 32
    files = {name: f"{name} {epoch}".encode() for name in (*PUBLIC_FILES, *RESTRICTED_FILES)}
    with store.write() as db:
        epoch_store.put_bundle(db, epoch, bundle_hash, {**files, LANES: pack_lanes(points)})
        epoch_store.put_finalized(db, H, report(epoch, bundle_hash))
        lane_store.set_finalized(db, points)
    return bundle_hash


def known(store: Store, lane: KitLane) -> Lane:
    with store.read() as db:
        found = lane_store.lane_by_address(db, lane.address)
    assert found is not None
    return found


def lists_held(store: Store, lane: KitLane) -> list[int]:
    lane_id = known(store, lane).lane_id
    with store.read() as db:
        rows = db.execute("SELECT seq FROM openings WHERE lane_id = ? ORDER BY seq", (lane_id,)).fetchall()
    return [row[0] for row in rows]


@pytest.fixture
def five_epochs(store: Store, lane: KitLane, take: Take) -> Store:
    """Epochs 1 … 5 final, and receipts of the sixth; each has ten receipts with usage lists."""
    for epoch in range(1, 7):
        meter_epoch(lane)
        take(lane.batch((epoch - 1) * PER_EPOCH))
        if epoch <= 5:
            finalize(store, epoch, [lane.checkpoint(epoch * PER_EPOCH)])
    return store


def test_inv_45_usage_lists_go_with_their_epoch(five_epochs: Store, lane: KitLane) -> None:
    assert forget(five_epochs, 2, KEEP) == 0
    assert forget(five_epochs, 3, KEEP) == 0
    assert forget(five_epochs, 4, KEEP) == PER_EPOCH
    assert lists_held(five_epochs, lane)[0] == PER_EPOCH
    assert forget(five_epochs, 5, KEEP) == PER_EPOCH
    assert forget(five_epochs, 5, KEEP) == 0
    assert lists_held(five_epochs, lane) == list(range(2 * PER_EPOCH, 6 * PER_EPOCH))
    with five_epochs.read() as db:
        for epoch in range(1, 6):
            held = epoch_store.bundle_files(db, epoch, bytes([epoch]) * 32).keys()
            assert held == ({*PUBLIC_FILES, *RESTRICTED_FILES} if epoch > 2 else set(PUBLIC_FILES))


def test_a_large_epoch_is_forgotten_in_small_steps(
    five_epochs: Store, lane: KitLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_LISTS_PER_TRANSACTION", 4)
    assert forget(five_epochs, 5, KEEP) == 2 * PER_EPOCH
    assert lists_held(five_epochs, lane)[0] == 2 * PER_EPOCH


def test_inv_45_what_is_deleted_is_not_left_in_the_file(tmp_path: Path, lane: KitLane) -> None:
    store = Store(tmp_path / "node.sqlite", exclusive=True)
    with store.write() as db:
        lane_store.put_lanes(db, [lane.state()])
    lane_id = known(store, lane).lane_id
    with store.write() as db:
        db.insert_receipts(lane_id, b"", {seq: b"personal %04d" % seq for seq in range(1_000)})
    for epoch in (1, 2, 3, 4):
        finalize(store, epoch, [Checkpoint(lane.address, 999, 999, H)])
    assert forget(store, 4, KEEP) == 999
    store.close()
    content = (tmp_path / "node.sqlite").read_bytes()
    assert not (tmp_path / "node.sqlite-wal").exists()
    assert content.count(b"personal ") == 1
    assert b"personal 0999" in content


def test_what_disputes_and_challenges_ask_for_stays(five_epochs: Store, lane: KitLane) -> None:
    with five_epochs.write() as db:
        epoch_store.freeze(db, 6, Cutoff(9, H, 9), {known(five_epochs, lane).lane_id: 60})
    forget(five_epochs, 5, KEEP)
    held = known(five_epochs, lane)
    with five_epochs.read() as db:
        frozen = frozen_view(db, 6)
        assert frozen is not None
        assert [head.checkpoint for head in frozen.heads] == [lane.checkpoint(60)]
        assert lane_store.records(db, held.lane_id, 0, 60) == lane.records
        for epoch in range(1, 7):
            point = lane_store.checkpoint_at(db, held, epoch * PER_EPOCH)
            assert point is not None
            assert point.signature == lane.sign(lane.checkpoint(epoch * PER_EPOCH))
        for epoch in range(1, 6):
            assert epoch_store.bundle_file(db, epoch, bytes([epoch]) * 32, LANES) is not None


def test_a_new_node_takes_old_receipts_without_their_lists(
    five_epochs: Store, lane: KitLane, new_store: NewStore
) -> None:
    """It knows from the finalized report that they are counted; of newer ones it wants every list."""
    forget(five_epochs, 5, KEEP)
    held = known(five_epochs, lane)
    with five_epochs.read() as db:
        cuts = [lane_store.cut_batch(db, held, first) for first in range(0, 60, PER_EPOCH)]
    batches = [cut for cut in cuts if cut is not None]
    assert [len(batch.openings) for batch in batches] == [0, 0, 10, 10, 10, 10]
    fresh, behind = new_store(), new_store()
    for each, epoch in ((fresh, 5), (behind, 1)):
        finalize(each, epoch, [lane.checkpoint(epoch * PER_EPOCH)])  # before it has heard of the lane
        with each.write() as db:
            lane_store.put_lanes(db, [lane.state()])
    for batch in batches:
        taking(fresh)(batch)
    assert lists_held(fresh, lane) == list(range(20, 60))
    taking(behind)(batches[0])
    with pytest.raises(InputRejected, match="the usage list is missing"):
        taking(behind)(batches[1])


def test_an_audit_says_what_is_gone(five_epochs: Store) -> None:
    auth = PeerAuth(DOMAIN, bytes(20), None, frozenset)
    sources = BundleSources(five_epochs, Peers({}, bytes(20), auth, 1.0))
    assert sources.find(2, b"\x02" * 32).files.keys() == {*PUBLIC_FILES, *RESTRICTED_FILES}
    forget(five_epochs, 5, KEEP)
    with pytest.raises(BundleForgotten, match="of epoch 2 were deleted") as caught:
        sources.find(2, b"\x02" * 32)
    assert "--bundle" in caught.value.hint
    assert sources.find(3, b"\x03" * 32).files
    with pytest.raises(Transient, match="nobody reachable"):
        sources.find(9, b"\x09" * 32)
