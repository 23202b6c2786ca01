"""ClickHouse, embedded and over a URL, says what Python integers say, to the last unit, whatever the values.

`make test-scale` runs this on 60,000 receipts, `make nightly` on 20 million (USUFRUCT_ARCHIVE_ROWS).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

pytest.importorskip("clickhouse_connect", reason="NOT TESTED: ClickHouse is not there; make test-scale")

from usufruct_oracle.archive import clickhouse
from usufruct_oracle.archive.files import RECEIPTS, USAGE, Archive
from usufruct_oracle.archive.sums import PythonEngine, lane_sums, record_sums
from usufruct_protocol.errors import ConfigInvalid, InputRejected, Transient
from usufruct_protocol.receipts import MAX_CUMULATIVE_UNITS

from tests.integration.meter_node import free_port
from tests.scale.clickhouse_front import DATABASE, PASSWORD, USER
from tests.scale.damage import rotted
from tests.scale.histories import Expected, write_receipts, write_usage

ROOT = Path(__file__).resolve().parents[2]
ROWS = int(os.environ.get("USUFRUCT_ARCHIVE_ROWS", "60000"))
LANES, EPOCHS = 10, 2
ALL = (0, 2**48)

pytestmark = pytest.mark.timeout(3_000)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, Expected]:
    archive, expected = Archive(tmp_path_factory.mktemp("archive")), Expected()
    start = time.perf_counter()
    write_receipts(archive, expected, ROWS, LANES, EPOCHS, seed=1)
    write_usage(archive, expected, ROWS // 4, max(ROWS // 20, 10), seed=2)
    _tell("generated, summed in Python and written", ROWS + ROWS // 4, start)
    return archive, expected


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.scale.clickhouse_front", str(port)], cwd=ROOT)
    wait_until_open(port)
    yield f"http://{USER}@127.0.0.1:{port}/{DATABASE}"
    process.terminate()
    process.wait(10)


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return path


def test_the_values_reach_the_limits(filled: tuple[Archive, Expected]) -> None:
    _, expected = filled
    assert max(each.units_after for each in expected.lanes) == MAX_CUMULATIVE_UNITS
    assert max(each.units for each in expected.lanes) == ROWS // (LANES * EPOCHS) * (2**48 - 1)
    assert max(each.weight for each in expected.record_sums()) > 2**32


def test_embedded_sums_equal_python_integers(filled: tuple[Archive, Expected]) -> None:
    archive, expected = filled
    start = time.perf_counter()
    files = archive.files(RECEIPTS, *ALL)
    with clickhouse.embedded(RECEIPTS, files) as engine:
        _tell("receipts checked to be whole, ClickHouse opened", ROWS, start)
        start = time.perf_counter()
        lanes = lane_sums(engine, files, *ALL)
        _tell("lane sums, embedded ClickHouse", ROWS, start)
    start = time.perf_counter()
    files = archive.files(USAGE, *ALL)
    with clickhouse.embedded(USAGE, files) as engine:
        _tell("usage checked to be whole, ClickHouse opened", ROWS // 4, start)
        start = time.perf_counter()
        records = record_sums(engine, files, *ALL)
        _tell("record sums, embedded ClickHouse", ROWS // 4, start)
    assert lanes == expected.lanes
    assert records == expected.record_sums()


def test_python_over_the_files_agrees(filled: tuple[Archive, Expected]) -> None:
    archive, expected = filled
    start = time.perf_counter()
    assert lane_sums(PythonEngine(), archive.files(RECEIPTS, *ALL), *ALL) == expected.lanes
    _tell("lane sums, Python", ROWS, start)
    start = time.perf_counter()
    assert record_sums(PythonEngine(), archive.files(USAGE, *ALL), *ALL) == expected.record_sums()
    _tell("record sums, Python", ROWS // 4, start)


def test_a_server_says_the_same(filled: tuple[Archive, Expected], server: str, password: Path) -> None:
    archive, expected = filled
    start = time.perf_counter()
    with _serving(server, password, archive) as engine:
        _tell("given to the server", ROWS + ROWS // 4, start)
        start = time.perf_counter()
        assert lane_sums(engine, archive.files(RECEIPTS, *ALL), *ALL) == expected.lanes
        assert record_sums(engine, archive.files(USAGE, *ALL), *ALL) == expected.record_sums()
        _tell("both sums, over HTTP", ROWS + ROWS // 4, start)


def test_a_server_is_given_each_file_once_and_mended(
    filled: tuple[Archive, Expected], server: str, password: Path
) -> None:
    archive, expected = filled
    files = archive.files(RECEIPTS, *ALL)
    with _serving(server, password, archive) as engine:
        # What an insert whose answer was lost, or half of one, leaves behind.
        engine.insert(RECEIPTS, files[0])
        engine.run(
            f"ALTER TABLE {RECEIPTS.sql_name} DELETE WHERE epoch = 2 AND seq % 2 = 0"
            " SETTINGS mutations_sync = 2"
        )
        with pytest.raises(InputRejected, match="reports count"):
            lane_sums(engine, files, *ALL)
    with _serving(server, password, archive) as engine:
        assert lane_sums(engine, files, *ALL) == expected.lanes


def test_inv_48_a_server_is_given_no_damaged_file(
    filled: tuple[Archive, Expected], server: str, password: Path, tmp_path: Path
) -> None:
    archive, expected = filled
    copy = Archive(tmp_path / "copy")
    shutil.copytree(archive.root, copy.root)
    file = copy.files(RECEIPTS, *ALL)[3]
    file.path.write_bytes(rotted(file.path.read_bytes()))
    with _serving(server, password, archive) as engine:
        engine.run(
            f"ALTER TABLE {RECEIPTS.sql_name} DELETE WHERE epoch = {file.span.epoch}"
            f" AND lane = unhex('{file.span.lane.hex()}') SETTINGS mutations_sync = 2"
        )
        with pytest.raises(InputRejected, match=file.path.name), _serving(server, password, copy):
            pass
        (left,) = engine.rows(f"SELECT count() FROM {RECEIPTS.sql_name}")
        assert left[0] == sum(each.receipt_count for each in expected.lanes) - file.row_count


def test_some_epochs_only(filled: tuple[Archive, Expected]) -> None:
    archive, expected = filled
    files = archive.files(RECEIPTS, 2, 2)
    with clickhouse.embedded(RECEIPTS, files) as engine:
        found = lane_sums(engine, files, 2, 2)
    assert found == [each for each in expected.lanes if each.epoch == 2]
    assert lane_sums(PythonEngine(), archive.files(RECEIPTS, 3, 9), 3, 9) == []


def test_a_server_is_named_without_a_password(
    filled: tuple[Archive, Expected], server: str, tmp_path: Path
) -> None:
    archive, _ = filled
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    wrong.chmod(0o600)
    with (
        pytest.raises(InputRejected, match="password in the server's URL"),
        clickhouse.server("http://a:b@127.0.0.1/db", None, archive, []),
    ):
        pass
    with pytest.raises(ConfigInvalid, match="516"), clickhouse.server(server, wrong, archive, []):
        pass
    with (
        pytest.raises(Transient),
        clickhouse.server(f"http://a@127.0.0.1:{free_port()}/db", None, archive, []),
    ):
        pass


def wait_until_open(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("ClickHouse's front does not start")


def _serving(server: str, password: Path, archive: Archive) -> AbstractContextManager[clickhouse.ClickHouse]:
    return clickhouse.server(server, password, archive, [RECEIPTS, USAGE])


def _tell(what: str, rows: int, start: float) -> None:
    took_s = time.perf_counter() - start
    print(f"{what}: {rows} rows in {took_s:.1f} s, {rows / took_s / 1e6:.2f} M rows/s")  # noqa: T201 - `-s` shows it
