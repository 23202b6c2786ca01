"""Sums by ClickHouse: inside this process (chdb) on the files as they lie, or on a server that is given them.

Both run the same SQL text and hand back the same integers. chdb and clickhouse-connect are in the extra
`scale` and imported when they are used.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files as resources
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from usufruct_protocol.errors import ConfigInvalid, InputRejected, Transient, UsufructError

from usufruct_oracle.archive.files import Archive, ArchiveFile, Table, check_whole
from usufruct_oracle.archive.sums import LaneSum, RecordSum, whole
from usufruct_oracle.secret_file import read_secret

_HERE: Final = resources("usufruct_oracle.archive")
LANE_SUMS_SQL: Final = _HERE.joinpath("lane_sums.sql").read_text(encoding="utf-8")
RECORD_SUMS_SQL: Final = _HERE.joinpath("record_sums.sql").read_text(encoding="utf-8")
_CONNECT_S: Final = 10
_ANSWER_S: Final = 600
_DEPLOYMENT: Final = re.compile(r"[0-9]+/0x[0-9a-fA-F]{40}")
# A replica would drop rows that it was given before and that were deleted since.
_INSERT_SETTINGS: Final = {"insert_deduplicate": 0, "async_insert": 0, "wait_end_of_query": 1}


class ClickHouse:
    """Runs the sums where the tables are; `embedded` and `server` make them."""

    def __init__(self, client: Any, on_error: type[UsufructError]) -> None:
        self._client = client
        self._on_error = on_error

    def lane_sums(self, files: Sequence[ArchiveFile], first: int, last: int) -> list[LaneSum]:
        """Return the sums over the receipts of epochs first … last. Raises: as `rows`."""
        return [
            LaneSum(*(*row[:6], whole(*row[6:8]), whole(*row[8:])))
            for row in self.rows(LANE_SUMS_SQL, first=first, last=last)
        ]

    def record_sums(self, files: Sequence[ArchiveFile], first: int, last: int) -> list[RecordSum]:
        """Return the sums over the usage of epochs first … last. Raises: as `rows`."""
        return [RecordSum(*row) for row in self.rows(RECORD_SUMS_SQL, first=first, last=last)]

    def rows(self, sql: str, **parameters: Any) -> Sequence[Sequence[Any]]:
        """Return the rows of a query; FixedString columns as bytes.

        Raises: Transient if no server answers; InputRejected (embedded) or ConfigInvalid (server) for what it
        refuses.
        """
        with self._typed_errors():
            found = self._client.query(sql, parameters=parameters, query_formats={"FixedString": "bytes"})
            rows: Sequence[Sequence[Any]] = found.result_rows
            return rows

    def run(self, sql: str, **parameters: Any) -> None:
        """Run a statement without an answer. Raises: as `rows`."""
        with self._typed_errors():
            self._client.command(sql, parameters=parameters)

    def insert(self, table: Table, file: ArchiveFile) -> None:
        """Give a file's rows to a table. Raises: as `rows` and `check_whole`."""
        check_whole([file])
        try:
            with self._typed_errors(), file.path.open("rb") as content:
                self._client.raw_insert(
                    table.sql_name, insert_block=content, fmt="Parquet", settings=dict(_INSERT_SETTINGS)
                )
        except OSError as error:
            raise Transient(f"{file.path}: {error.strerror}") from error

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        from clickhouse_connect.driver import exceptions

        try:
            yield
        except exceptions.OperationalError as error:
            raise Transient(f"ClickHouse: {_first_line(error)}") from error
        except exceptions.ClickHouseError as error:
            raise self._on_error(f"ClickHouse: {_first_line(error)}") from error


@contextmanager
def embedded(table: Table, files: Sequence[ArchiveFile]) -> Iterator[ClickHouse]:
    """Open ClickHouse in this process, over files that are checked to be whole and no others. One at a time.

    Raises: ConfigInvalid if chdb is not installed; as `check_whole`.
    """
    check_whole(files)
    client = _connect(InputRejected, interface="chdb")
    try:
        engine = ClickHouse(client, InputRejected)
        # Links, since a pattern over the archive would match files that nobody has checked.
        with tempfile.TemporaryDirectory(prefix="usufruct-archive-") as folder:
            for number, file in enumerate(files):
                Path(folder, f"{number}.parquet").symlink_to(file.path.resolve())
            source = f"file('{folder}/*.parquet', 'Parquet', '{table.structure}')"
            engine.run(f"CREATE OR REPLACE VIEW {table.sql_name} AS SELECT * FROM {source}")
            yield engine
    finally:
        client.close()


@contextmanager
def server(
    url: str, password_file: Path | None, archive: Archive, tables: Sequence[Table]
) -> Iterator[ClickHouse]:
    """Open a ClickHouse server's database and bring its tables up to the archive.

    url: http(s)://user@host:port/database, without a password
    Files are loaded once, each checked to be whole just before. One that arrived in part, or twice because an
    answer was lost, is loaded again; usage that the archive has forgotten goes from the server, too.
    Raises: InputRejected for a password in the URL; ConfigInvalid if the server refuses or holds another
    deployment; Transient if it does not answer; as `check_whole`.
    """
    client = _connect(ConfigInvalid, **_address(url, password_file))
    try:
        engine = ClickHouse(client, ConfigInvalid)
        for table in tables:
            _load(engine, archive, table)
        yield engine
    finally:
        client.close()


def _address(url: str, password_file: Path | None) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.password is not None or any("password" in name for name, _ in parse_qsl(parts.query)):
        raise InputRejected("a password in the server's URL", hint="put it into a file: --password-file")
    database = parts.path.strip("/")
    if parts.scheme not in ("http", "https") or not parts.hostname or not database or parts.query:
        raise InputRejected("not a server's address", hint="https://user@host:8443/database")
    password = (
        b"" if password_file is None else read_secret(password_file, "password of ClickHouse").rstrip(b"\r\n")
    )
    return {
        "interface": parts.scheme,
        "host": parts.hostname,
        "port": parts.port or (8443 if parts.scheme == "https" else 8123),
        "username": parts.username or "default",
        "password": password.decode("utf-8"),
        "database": database,
        "connect_timeout": _CONNECT_S,
        "send_receive_timeout": _ANSWER_S,
        "autogenerate_session_id": False,
    }


def _connect(on_error: type[UsufructError], **address: Any) -> Any:
    try:
        import clickhouse_connect
        from clickhouse_connect.driver import exceptions
    except ImportError as error:
        raise _not_installed(error) from error
    try:
        return clickhouse_connect.get_client(**address)
    except ImportError as error:
        raise _not_installed(error) from error
    except exceptions.OperationalError as error:
        raise Transient(f"ClickHouse: {_first_line(error)}") from error
    except exceptions.ClickHouseError as error:
        raise on_error(f"ClickHouse: {_first_line(error)}") from error


def _not_installed(error: ImportError) -> ConfigInvalid:
    return ConfigInvalid(
        f"no ClickHouse: {error}", hint="pip install 'usufruct[scale]', or --engine python, which is slow"
    )


def _load(engine: ClickHouse, archive: Archive, table: Table) -> None:
    """Make a table hold the rows of an archive's files, each once."""
    files = archive.files(table, 0, 2**64 - 1)
    if files:
        deployment = files[0].span.deployment
        if not _DEPLOYMENT.fullmatch(deployment):
            raise InputRejected(f"{files[0].path}: belongs to {deployment!r}, which names no deployment")
        engine.run(
            f"CREATE TABLE IF NOT EXISTS {table.sql_name} ({table.structure}) ENGINE = MergeTree"
            f" ORDER BY (epoch, lane, seq) COMMENT '{deployment}'"
        )
    about = engine.rows(
        "SELECT comment FROM system.tables WHERE database = currentDatabase() AND name = {name:String}",
        name=table.sql_name,
    )
    if not about:
        return
    if files and about[0][0] != files[0].span.deployment:
        raise ConfigInvalid(
            f"{table.sql_name} belongs to {about[0][0]!r}, the archive to {files[0].span.deployment}",
            hint="use one database per deployment",
        )
    counted = engine.rows(f"SELECT epoch, lane, count() FROM {table.sql_name} GROUP BY epoch, lane")
    held = {(epoch, lane): count for epoch, lane, count in counted}
    for file in files:
        count = held.pop((file.span.epoch, file.span.lane), 0)
        if count != file.row_count:
            if count:
                _delete(engine, table, file.span.epoch, file.span.lane)
            engine.insert(table, file)
    if table.is_restricted:
        for epoch, lane in held:
            _delete(engine, table, epoch, lane)


def _delete(engine: ClickHouse, table: Table, epoch: int, lane: bytes) -> None:
    # A mutation and not a lightweight delete: what is forgotten is gone from the server's disk, too.
    engine.run(
        f"ALTER TABLE {table.sql_name} DELETE"
        " WHERE epoch = {epoch:UInt64} AND lane = unhex({lane:String}) SETTINGS mutations_sync = 2",
        epoch=epoch,
        lane=lane.hex(),
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:500]
