"""Damaged archive files: refused by name, with what to do, before an engine reads them."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("clickhouse_connect", reason="NOT TESTED: ClickHouse is not there; make test-scale")

from click.testing import Result
from typer.testing import CliRunner
from usufruct_oracle.archive.counted import put_counted
from usufruct_oracle.archive.files import RECEIPTS, Archive, ArchiveFile
from usufruct_oracle.cli import app

from tests.scale.damage import named_by_content, rotted
from tests.scale.histories import Expected, write_receipts

LANES, EPOCHS, ROWS = 2, 3, 3_000
ALL = (0, 2**48)

pytestmark = pytest.mark.timeout(120)
each_engine = pytest.mark.parametrize("engine", ["clickhouse", "python"])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    archive = Archive(tmp_path_factory.mktemp("written"))
    write_receipts(archive, Expected(), ROWS, LANES, EPOCHS, seed=3)
    for epoch in range(1, EPOCHS + 1):
        put_counted(archive, epoch, [file.span for file in archive.files(RECEIPTS, epoch, epoch)])
    return archive


@pytest.fixture
def archive(written: Archive, tmp_path: Path) -> Archive:
    """A copy to damage."""
    shutil.copytree(written.root, tmp_path / "archive")
    return Archive(tmp_path / "archive")


@pytest.fixture
def files(archive: Archive) -> list[ArchiveFile]:
    """Epoch by epoch, lane by lane."""
    return archive.files(RECEIPTS, *ALL)


def sums(archive: Archive, engine: str, *options: str) -> Result:
    return CliRunner().invoke(app, ["archive", "sums", str(archive.root), "--engine", engine, *options])


def refused(archive: Archive, engine: str, *options: str) -> str:
    """Return why `archive sums` gives no sums."""
    done = sums(archive, engine, *options)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert f"usufruct-oracle archive write {archive.root} --check" in done.stderr
    return done.stderr


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a bit among the values": rotted,
    "a bit of the first page's header": lambda body: body[:6] + bytes([body[6] ^ 1]) + body[7:],
    "a bit of the footer": lambda body: body[:-40] + bytes([body[-40] ^ 1]) + body[-39:],
    "a bit of the footer's length": lambda body: body[:-8] + bytes([body[-8] ^ 1]) + body[-7:],
    "a block of zeros": lambda body: body[:4096] + bytes(4096) + body[8192:],
    "half of it copied": lambda body: body[: len(body) // 2],
    "half of it zeros": lambda body: body[: len(body) // 2] + bytes(len(body) - len(body) // 2),
    "its last byte missing": lambda body: body[:-1],
    "a byte too many": lambda body: body + b"\n",
    "empty": lambda body: b"",
}


@each_engine
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_inv_48_no_sum_over_a_damaged_file(
    archive: Archive, files: list[ArchiveFile], damage: Callable[[bytes], bytes], engine: str
) -> None:
    path = files[3].path
    path.write_bytes(damage(path.read_bytes()))
    assert path.name in refused(archive, engine)
    # It does not stand in the way of others.
    assert sums(archive, engine, "--to", "1").exit_code == 0


@each_engine
def test_inv_48_every_damaged_file_is_named(archive: Archive, files: list[ArchiveFile], engine: str) -> None:
    for file in files[1:3]:
        file.path.write_bytes(rotted(file.path.read_bytes()))
    said = refused(archive, engine)
    assert [file.path.name in said for file in files] == [False, True, True, False, False, False]


@each_engine
@pytest.mark.parametrize(("one", "other"), [(0, 1), (0, 2)], ids=["two lanes", "two epochs"])
def test_inv_48_files_that_changed_places_are_found(
    archive: Archive, files: list[ArchiveFile], one: int, other: int, engine: str
) -> None:
    first, second = files[one].path, files[other].path
    bodies = first.read_bytes(), second.read_bytes()
    first.write_bytes(bodies[1])
    second.write_bytes(bodies[0])
    assert "not a file of this archive: holds epoch" in refused(archive, engine)
    for path in (first, second):  # by somebody who knows how they are named
        named_by_content(path)
    assert "not a file of this archive: holds epoch" in refused(archive, engine)


@pytest.mark.parametrize("gone", range(LANES * EPOCHS))
def test_inv_48_a_file_that_is_gone_is_missed(archive: Archive, files: list[ArchiveFile], gone: int) -> None:
    span = files[gone].span
    files[gone].path.unlink()
    place = archive.place(RECEIPTS, span.epoch, span.lane)
    assert f"{place}: missing; the report counts receipts {span.from_seq} to" in refused(archive, "python")
    for epoch in range(1, EPOCHS + 1):
        alone = ("--from", str(epoch), "--to", str(epoch))
        assert (sums(archive, "python", *alone).exit_code == 0) == (epoch != span.epoch)
    assert sums(archive, "python", "--incomplete").exit_code == 0


def test_inv_48_an_epoch_that_is_gone_between_others_is_missed(archive: Archive) -> None:
    shutil.rmtree(archive.folder(RECEIPTS, 2))
    assert "epoch-2: no lists of what the report counts" in refused(archive, "python")


def test_inv_48_what_reports_count_is_not_believed_when_damaged(archive: Archive) -> None:
    (path,) = archive.folder(RECEIPTS, 2).glob("lanes-*.json")
    whole = path.read_bytes()
    for body in (rotted(whole), whole[:-1], b"", b"{}"):
        path.write_bytes(body)
        assert f"damaged since written, by its SHA-256: {path}" in refused(archive, "python")
    path.unlink()
    assert "epoch-2: no lists of what the report counts" in refused(archive, "python")
    (other,) = archive.folder(RECEIPTS, 1).glob("lanes-*.json")
    shutil.copy(other, path.parent)
    done = sums(archive, "python")
    assert done.exit_code == 2
    assert "is of epoch 1" in done.stderr


def test_inv_48_a_file_that_counts_otherwise_than_the_report_is_refused(
    archive: Archive, files: list[ArchiveFile]
) -> None:
    spans = [dataclasses.replace(file.span, to_seq=file.span.to_seq + 1) for file in files[2:4]]
    put_counted(archive, 2, spans)
    assert "another count than the report has" in refused(archive, "python")


@each_engine
def test_inv_48_two_files_of_one_lane_are_not_both_counted(
    archive: Archive, files: list[ArchiveFile], engine: str
) -> None:
    twin = files[0].path.with_name(f"0x{files[0].span.lane.hex()}-{'0' * 64}.parquet")
    twin.write_bytes(files[0].path.read_bytes())
    assert "is of the same lane" in refused(archive, engine)


@each_engine
def test_inv_48_what_is_no_file_is_not_waited_for(
    archive: Archive, files: list[ArchiveFile], engine: str
) -> None:
    path = files[0].path
    path.unlink()
    os.mkfifo(path)
    assert "not a regular file" in refused(archive, engine)
    path.unlink()
    path.mkdir()
    assert "not a regular file" in refused(archive, engine)
