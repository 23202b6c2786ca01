"""Signatures that only go up, votes that cannot be taken back, bundles by content."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from usufruct_oracle.storage import epoch_store
from usufruct_oracle.storage.epoch_store import Cutoff
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import Vote
from usufruct_protocol.bundle import PUBLIC_FILES, RESTRICTED_FILES
from usufruct_protocol.errors import InvariantBroken
from usufruct_protocol.report_types import EpochReport

H = b"\x01" * 32
SIGNATURE = b"\x02" * 65


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4)), max_size=12))
def test_inv_24_signed_epoch_and_attempt_strictly_increase(store, wanted) -> None:
    with store.read() as db:
        before = epoch_store.last_signed(db)
    first = 0 if before is None else before[0]  # each example goes on after the one before
    highest = (first, 9)
    for epoch, attempt in wanted:
        pair = (first + epoch, attempt)
        if pair > highest:
            with store.write() as db:
                epoch_store.put_signing(db, *pair, H)
            highest = pair
        else:
            with pytest.raises(InvariantBroken), store.write() as db:
                epoch_store.put_signing(db, *pair, H)
    with store.read() as db:
        last = epoch_store.last_signed(db)
        kept = db.execute("SELECT epoch, attempt FROM signed ORDER BY epoch, attempt").fetchall()
    assert kept == sorted(set(kept))
    if highest == (first, 9):
        assert last == before
    else:
        assert last is not None
        assert last[:2] == highest


def test_the_database_itself_refuses_a_second_signature(store: Store) -> None:
    """Even code that goes around the function cannot write one."""
    with store.write() as db:
        epoch_store.put_signing(db, 2, 3, H)
    for signature in (None, SIGNATURE):
        for pair in ((2, 3), (2, 2), (1, 9)):
            with pytest.raises(InvariantBroken, match="already signed"), store.write() as db:
                db.execute("INSERT INTO signed VALUES (?, ?, ?, ?)", (*pair, b"\x09" * 32, signature))
        with pytest.raises(InvariantBroken, match="not changed"), store.write() as db:
            db.execute("UPDATE signed SET report_hash = ?, signature = ?", (b"\x09" * 32, SIGNATURE))
        if signature is None:
            with store.write() as db:
                epoch_store.put_signature(db, 2, 3, SIGNATURE)
    with pytest.raises(InvariantBroken, match="not changed"), store.write() as db:
        epoch_store.put_signature(db, 2, 3, b"\x09" * 65)
    with store.read() as db:
        assert epoch_store.last_signed(db) == (2, 3, H, SIGNATURE)


def test_a_signed_vote_is_never_replaced(store: Store) -> None:
    signer = b"\x0a" * 20
    unsigned, signed, other = (
        Vote(1, H, H, None, H),
        Vote(1, H, H, SIGNATURE, H),
        Vote(1, b"\x03" * 32, H, SIGNATURE, H),
    )
    for vote, kept in ((unsigned, unsigned), (signed, signed), (other, signed)):
        with store.write() as db:
            epoch_store.put_vote(db, 1, 0, signer, vote)
        with store.read() as db:
            assert epoch_store.votes(db, 1, 0) == {signer: kept}


def report(epoch: int, bundle_hash: bytes) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        attempt=1,
        previous_report_hash=H,
        period_end=10,
        cutoff_block=5,
        cutoff_block_hash=H,
        signer_set_version=1,
        rule_version=1,
        lanes_root=H,
        lane_count=1,
        notes_root=H,
        notes_total=2**96 - 1,
        note_count=3,
        reserve_root=H,
        reserve_total=0,
        reserve_count=0,
        consent_root=H,
        roster_hash=H,
        bundle_hash=bundle_hash,
        lines=(),
    )


def test_restricted_files_go_and_public_ones_stay(store: Store) -> None:
    def files(epoch: int) -> dict[str, bytes]:
        return {name: f"{name} of {epoch // 2}".encode() for name in (*PUBLIC_FILES, *RESTRICTED_FILES)}

    hashes = {epoch: bytes([epoch]) * 32 for epoch in range(1, 7)}
    with store.write() as db:
        for epoch, bundle_hash in hashes.items():
            epoch_store.put_bundle(db, epoch, bundle_hash, files(epoch))
            epoch_store.put_finalized(db, H, report(epoch, bundle_hash))
        epoch_store.prune_restricted(db, before_epoch=5)
    with store.read() as db:
        for epoch, bundle_hash in hashes.items():
            kept = epoch_store.bundle_files(db, epoch, bundle_hash)
            # Files of epoch 4 equal those of epoch 5, which are still needed.
            expected = files(epoch) if epoch >= 4 else {name: files(epoch)[name] for name in PUBLIC_FILES}
            assert kept == expected
            assert len(epoch_store.bundle_entries(db, epoch, bundle_hash)) == 8


def test_finalizing_drops_what_other_attempts_left(store: Store) -> None:
    with store.write() as db:
        epoch_store.put_bundle(db, 1, b"\x01" * 32, {"words.bin": b"one"})
        epoch_store.put_bundle(db, 1, b"\x02" * 32, {"words.bin": b"two"})
        epoch_store.put_finalized(db, H, report(1, b"\x02" * 32))
    with store.read() as db:
        assert epoch_store.bundle_entries(db, 1, b"\x01" * 32) == {}
        assert epoch_store.bundle_file(db, 1, b"\x02" * 32, "words.bin") == b"two"
        final = epoch_store.finalized(db, 1)
    assert final is not None
    assert (final.note_count, final.is_paid) == (3, False)


def test_a_moved_cutoff_keeps_the_freeze_and_drops_what_was_computed(store: Store) -> None:
    with store.write() as db:
        epoch_store.freeze(db, 1, Cutoff(10, H, 100), {1: 5, 2: 6})
        epoch_store.put_vote(db, 1, 0, b"\x0a" * 20, Vote(0, H, H, None, H))
        epoch_store.put_signing(db, 1, 0, H)
        epoch_store.move_cutoff(db, 1, Cutoff(11, b"\x09" * 32, 101))
    with store.read() as db:
        assert epoch_store.cutoff(db, 1) == Cutoff(11, b"\x09" * 32, 101)
        assert epoch_store.frozen_counts(db, 1) == {1: 5, 2: 6}
        assert epoch_store.votes(db, 1, 0) == {}
        assert epoch_store.last_signed(db) is not None  # signed is signed
