"""The archive of a node: what it counts, nothing else, whole or not there, and forgotten in time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="NOT TESTED: pyarrow is not there; make test-scale")

import pyarrow.parquet
from typer.testing import CliRunner
from usufruct_oracle.archive.files import RECEIPTS, USAGE, Archive
from usufruct_oracle.archive.sums import PythonEngine, lane_sums, record_sums
from usufruct_oracle.archive.writing import Outcome, write_archive
from usufruct_oracle.commands.archive import archive_app
from usufruct_oracle.storage import epoch_store, lane_store
from usufruct_oracle.storage.store import Store
from usufruct_protocol.bundle import LANES, PUBLIC_FILES, RESTRICTED_FILES, pack_lanes
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.receipts import MAX_RECEIPT_UNITS, Checkpoint

from tests.scale.damage import named_by_content, rotted
from tests.unit.oracle.conftest import NewStore, taking
from tests.unit.oracle.lane_kit import KitLane, record_tag
from tests.unit.oracle.test_epoch_store import H, report

KEEP = 3
PER_EPOCH = 4
DEPLOYMENT = {"chain_id": "31337", "settlement": "0x" + "5e" * 20, "signer": "0x" + "aa" * 20}
ALL = (0, 2**48)


@pytest.fixture
def lane() -> KitLane:
    return KitLane(0)


@pytest.fixture
def store(new_store: NewStore, lane: KitLane) -> Store:
    """Epochs 1 … 5 final, and receipts of the sixth; each has four receipts with usage lists."""
    opened = new_store()
    opened.bind_identity(DEPLOYMENT)
    with opened.write() as db:
        lane_store.put_lanes(db, [lane.state(), KitLane(1).state()])
    take = taking(opened)
    for epoch in range(1, 7):
        lane.meter(7, MAX_RECEIPT_UNITS, 0, 1, usage=[(record_tag(1), 1), (record_tag(epoch), 2**32 - 1)])
        take(lane.batch((epoch - 1) * PER_EPOCH))
        if epoch <= 5:
            finalize(opened, epoch, [lane.checkpoint(epoch * PER_EPOCH)])
    return opened


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive")


def finalize(store: Store, epoch: int, heads: Iterable[Checkpoint]) -> None:
    bundle_hash = bytes([epoch]) * 32
    files = {name: f"{name} {epoch}".encode() for name in (*PUBLIC_FILES, *RESTRICTED_FILES)}
    with store.write() as db:
        epoch_store.put_bundle(db, epoch, bundle_hash, {**files, LANES: pack_lanes(list(heads))})
        epoch_store.put_finalized(db, H, report(epoch, bundle_hash))


def written(store: Store, archive: Archive, *, usage: bool = False, check: bool = False) -> list[Outcome]:
    return list(write_archive(store, archive, keep_restricted_epochs=KEEP, with_usage=usage, check=check))


def test_every_counted_receipt_is_there_bit_for_bit(store: Store, archive: Archive, lane: KitLane) -> None:
    assert [each.row_count for each in written(store, archive)] == [PER_EPOCH] * 5
    records = b""
    for file in archive.files(RECEIPTS, *ALL):
        for row in pyarrow.parquet.read_table(file.path).to_pylist():
            assert (row["epoch"], row["lane"], row["license_id"]) == (file.span.epoch, lane.address, 1)
            limbs = (row["cumulative_2"], row["cumulative_1"], row["cumulative_0"])
            records += b"".join(
                [
                    row["seq"].to_bytes(8, "big"),
                    row["units"].to_bytes(8, "big"),
                    bytes(4) + b"".join(limb.to_bytes(4, "big") for limb in limbs),
                    row["usage_root"],
                    row["request_hash"],
                    row["issued_at_ms"].to_bytes(8, "big"),
                ]
            )
    assert records == lane.records[: len(records)]
    assert len(records) == 5 * PER_EPOCH * 104


def test_sums_are_those_of_the_checkpoints(store: Store, archive: Archive, lane: KitLane) -> None:
    written(store, archive, usage=True)
    sums = lane_sums(PythonEngine(), archive.files(RECEIPTS, *ALL), *ALL)
    assert [each.units for each in sums] == [MAX_RECEIPT_UNITS + 8] * 5
    assert sums[-1].units_after == lane.checkpoint(5 * PER_EPOCH).cumulative_units
    weights = {
        each.record_tag: each.weight for each in record_sums(PythonEngine(), archive.files(USAGE, *ALL), *ALL)
    }
    assert weights == {
        record_tag(1): 3 * PER_EPOCH,
        **{record_tag(epoch): PER_EPOCH * (2**32 - 1) for epoch in (3, 4, 5)},
    }


def test_what_is_there_is_kept_and_what_is_damaged_is_made_again(store: Store, archive: Archive) -> None:
    paths = [each.path for each in written(store, archive)]
    before = [path.read_bytes() for path in paths]
    paths[1].write_bytes(before[1][:-10])
    (paths[2].parent / ".left-by-a-crash.part").write_bytes(b"half")
    with pytest.raises(InputRejected, match="not a file of this archive"):
        archive.files(RECEIPTS, *ALL)
    assert [each.is_kept for each in written(store, archive)] == [True, False, True, True, True]
    assert [path.read_bytes() for path in paths] == before
    assert [each.path for each in archive.files(RECEIPTS, *ALL)] == paths


def test_what_reports_count_is_written_anew_when_damaged(
    store: Store, archive: Archive, lane: KitLane
) -> None:
    finalize(store, 6, [lane.checkpoint(5 * PER_EPOCH)])  # an epoch without calls is none that is missing
    written(store, archive)
    lists = [path for epoch in range(1, 7) for path in archive.folder(RECEIPTS, epoch).glob("lanes-*.json")]
    before = [path.read_bytes() for path in lists]
    lists[1].write_bytes(rotted(before[1]))
    lists[2].unlink()
    (lists[3].parent / f"lanes-{'0' * 64}.json").write_bytes(b"of an older release")
    sums = ["sums", str(archive.root), "--engine", "python", "--json"]
    assert CliRunner().invoke(archive_app, sums).exit_code == 2
    written(store, archive)
    assert [path.read_bytes() for path in lists] == before
    assert len(list(archive.root.glob("receipts/epoch-*/lanes-*.json"))) == len(lists) == 6
    assert len(_run(*sums)) == 5


def test_what_has_rotted_is_made_again_when_asked_to_look(store: Store, archive: Archive) -> None:
    paths = [each.path for each in written(store, archive, usage=True)]
    before = [path.read_bytes() for path in paths]
    for path in (paths[1], paths[-1]):
        path.write_bytes(rotted(path.read_bytes()))
    assert all(each.is_kept for each in written(store, archive, usage=True))
    made = [each.path for each in written(store, archive, usage=True, check=True) if not each.is_kept]
    assert made == [paths[1], paths[-1]]
    assert [path.read_bytes() for path in paths] == before


def test_a_damaged_file_stays_until_there_is_a_better_one(store: Store, archive: Archive) -> None:
    path = written(store, archive)[4].path
    path.write_bytes(rotted(path.read_bytes()))
    with store.write() as db:
        db.execute("DELETE FROM receipts WHERE seq = 18")
    left_out = [each.left_out for each in written(store, archive, check=True) if not each.is_kept]
    assert left_out == ["this node does not hold all of its receipts; the damaged file stays"]
    assert path.exists()


def test_a_file_of_an_older_release_gives_way(store: Store, archive: Archive, lane: KitLane) -> None:
    paths = [each.path for each in written(store, archive)]
    old = paths[2].rename(paths[2].with_name(f"0x{lane.address.hex()}.parquet"))
    with pytest.raises(
        InputRejected, match="no SHA-256 in its name; it may be of an older release"
    ) as refused:
        archive.files(RECEIPTS, *ALL)
    assert f"`usufruct-oracle archive write {archive.root} --check` makes it again" in str(refused.value.hint)
    assert [each.path for each in written(store, archive) if not each.is_kept] == [paths[2]]
    assert not old.exists()
    old.write_bytes(paths[2].read_bytes())  # as after a crash before the old one went
    assert [each.path for each in written(store, archive) if not each.is_kept] == [paths[2]]
    assert not old.exists()
    assert [each.path for each in archive.files(RECEIPTS, *ALL)] == paths


def test_a_row_too_few_too_many_or_bent_is_found(store: Store, archive: Archive) -> None:
    path = written(store, archive)[0].path
    table = pyarrow.parquet.read_table(path)
    units = table.column_names.index("units")
    bent = pyarrow.array([8, MAX_RECEIPT_UNITS, 0, 1], pyarrow.uint64())
    metadata = pyarrow.parquet.read_metadata(path).metadata
    for other in (
        table.slice(0, 3),
        pyarrow.concat_tables([table, table.slice(3, 1)]),
        table.set_column(units, table.schema.field("units"), bent),
    ):
        with pyarrow.parquet.ParquetWriter(path, other.schema) as writer:
            writer.write_table(other)
            writer.add_key_value_metadata({key: metadata[key] for key in (b"usufruct", b"usufruct_totals")})
        path = named_by_content(path)
        with pytest.raises(InputRejected, match="reports count"):
            lane_sums(PythonEngine(), archive.files(RECEIPTS, *ALL), *ALL)


def test_inv_45_usage_files_go_as_usage_lists_go(store: Store, archive: Archive, lane: KitLane) -> None:
    written(store, archive, usage=True)
    assert archive.epochs(RECEIPTS) == [1, 2, 3, 4, 5]
    assert archive.epochs(USAGE) == [3, 4, 5]
    assert {path.stat().st_mode & 0o077 for path in archive.root.glob("usage/**/*")} == {0}
    finalize(store, 6, [lane.checkpoint(6 * PER_EPOCH)])
    written(store, archive)
    assert archive.epochs(RECEIPTS) == [1, 2, 3, 4, 5, 6]
    assert archive.epochs(USAGE) == [4, 5]


def test_what_the_node_does_not_hold_is_left_out_and_said(
    store: Store, archive: Archive, lane: KitLane
) -> None:
    other = KitLane(1)
    other.meter(1, 2, 3)  # counted by others; this node never got them
    finalize(store, 6, [lane.checkpoint(6 * PER_EPOCH), other.checkpoint(3)])
    with store.write() as db:
        db.execute("DELETE FROM openings WHERE seq = 18")
    found = {each.path: each.left_out for each in written(store, archive, usage=True) if each.left_out}
    assert found == {
        archive.place(RECEIPTS, 6, other.address): "this node does not hold all of its receipts",
        archive.place(USAGE, 6, other.address): "this node does not hold all of its usage lists (any more)",
        archive.place(USAGE, 5, lane.address): "this node does not hold all of its usage lists (any more)",
    }
    assert not any(list(path.parent.glob(f"{path.name}*")) for path in found)
    assert not list(archive.root.glob("**/.*"))
    with store.write() as db:
        db.execute("DELETE FROM finalized WHERE epoch = 2")
    again = [each for each in written(store, Archive(archive.root / "new")) if each.left_out]
    assert [each.path.name for each in again][:2] == ["epoch-2", "epoch-3"]


def test_other_receipts_than_the_report_counts_are_refused(
    store: Store, archive: Archive, lane: KitLane
) -> None:
    head = lane.checkpoint(6 * PER_EPOCH)
    finalize(store, 6, [Checkpoint(head.lane, head.count, head.cumulative_units + 1, head.receipts_root)])
    left_out = [each.left_out for each in written(store, archive) if each.left_out]
    assert left_out == ["the receipts that this node holds are not those that the report counts"]


def test_another_deployment_needs_a_folder_of_its_own(store: Store, archive: Archive, lane: KitLane) -> None:
    written(store, archive)
    with store.write() as db:
        db.execute("UPDATE identity SET value = '1' WHERE name = 'chain_id'")
    with pytest.raises(InputRejected, match="belongs to 31337/0x5e"):
        written(store, archive)


def test_a_file_of_another_history_is_not_passed_over(store: Store, archive: Archive, lane: KitLane) -> None:
    written(store, archive)
    with store.write() as db:
        db.execute("DELETE FROM finalized WHERE epoch = 1")
        db.execute("DELETE FROM bundles WHERE epoch = 1")
    finalize(store, 1, [lane.checkpoint(PER_EPOCH - 1)])
    with pytest.raises(InputRejected, match="of another history"):
        written(store, archive)


@pytest.mark.parametrize("name", ["all*", "a{1,2}", "it's", "a :: b"])
def test_a_folder_may_be_named_as_sql_names_patterns(store: Store, tmp_path: Path, name: str) -> None:
    written(store, Archive(tmp_path / name))
    assert len(_run("sums", str(tmp_path / name), "--json")) == 5


def test_the_command_sums_up_with_either_engine(store: Store, archive: Archive) -> None:
    written(store, archive, usage=True)
    for by in ("lane", "license", "record"):
        shown = [
            _run("sums", str(archive.root), "--by", by, "--engine", engine, "--json") for engine in ENGINES
        ]
        assert shown[0] == shown[1]
    assert _run("sums", str(archive.root), "--by", "license", "--from", "2", "--to", "3", "--json") == [
        {"license_id": 1, "receipt_count": 8, "units": str(2 * (MAX_RECEIPT_UNITS + 8))}
    ]
    missing = CliRunner().invoke(archive_app, ["sums", str(archive.root / "none")])
    assert missing.exit_code == 2
    assert "holds no receipts" in missing.output


ENGINES = ("clickhouse", "python")


def _run(*arguments: str) -> list[dict[str, object]]:
    result = CliRunner().invoke(archive_app, arguments)
    assert result.exit_code == 0, result.output
    content: list[dict[str, object]] = json.loads(result.output)
    return content
