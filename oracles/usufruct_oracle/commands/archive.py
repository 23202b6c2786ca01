"""usufruct-oracle archive: Parquet files of finalized epochs, and exact sums over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from usufruct_protocol.errors import ConfigInvalid, InputRejected

from usufruct_oracle.archive import clickhouse
from usufruct_oracle.archive.counted import check_complete
from usufruct_oracle.archive.files import RECEIPTS, USAGE, Archive, ArchiveFile, Table
from usufruct_oracle.archive.sums import Engine, PythonEngine, lane_sums, record_sums
from usufruct_oracle.archive.writing import write_archive
from usufruct_oracle.commands.console import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    print_json,
    reported,
    say,
)
from usufruct_oracle.settings import Settings
from usufruct_oracle.storage.store import Store, schema_version
from usufruct_oracle.wire_json import hexed

archive_app = typer.Typer(
    help="Receipts of finalized epochs as Parquet files, and sums over them.", no_args_is_help=True
)
FolderArgument = Annotated[Path, typer.Argument(help="The archive's folder.")]
_MAX_EPOCH: Final = 2**48


class EngineName(StrEnum):
    """What `archive sums` counts with when it is given no server."""

    CLICKHOUSE = "clickhouse"
    PYTHON = "python"


class Grouping(StrEnum):
    """What `archive sums` shows a line for."""

    LANE = "lane"
    LICENSE = "license"
    RECORD = "record"


@archive_app.command("write")
def write(
    folder: FolderArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    usage: Annotated[
        bool, typer.Option("--usage", help="Usage lists, too. Restricted: `write` deletes them in time.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Read files that are there whole; make damaged ones again.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write what finalized epochs count and the archive lacks; also while the node runs."""
    with reported():
        settings = Settings.load(config)
        if not schema_version(settings.database):
            raise ConfigInvalid(f"{settings.database}: no such database", hint="run the node once")
        content: list[dict[str, Any]] = []
        kept = 0
        store = Store(settings.database, exclusive=False)
        try:
            for each in write_archive(
                store,
                Archive(folder),
                keep_restricted_epochs=settings.keep_restricted_epochs,
                with_usage=usage,
                check=check,
            ):
                kept += each.is_kept
                if as_json:
                    content.append({**asdict(each), "path": str(each.path)})
                elif each.left_out:
                    say(f"LEFT OUT {each.path}: {each.left_out}")
                elif not each.is_kept:
                    say(f"wrote {each.path}: {each.row_count} rows")
        finally:
            store.close()
        if as_json:
            print_json(content)
        elif kept:
            say(f"{kept} files were there already")


@archive_app.command("sums")
def sums(
    folder: FolderArgument,
    by: Annotated[
        Grouping, typer.Option(help="One line per lane and epoch, license, or record.")
    ] = Grouping.LANE,
    first: Annotated[int, typer.Option("--from", min=0, max=_MAX_EPOCH, help="First epoch.")] = 0,
    last: Annotated[int, typer.Option("--to", min=0, max=_MAX_EPOCH, help="Last epoch.")] = _MAX_EPOCH,
    engine: Annotated[EngineName, typer.Option(help="ClickHouse in this process, or plain Python.")] = (
        EngineName.CLICKHOUSE
    ),
    server: Annotated[
        str | None, typer.Option(help="A ClickHouse server instead: https://user@host:8443/database.")
    ] = None,
    password_file: Annotated[Path | None, typer.Option(help="Holds the server's password.")] = None,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Sum up what there is, although a file is missing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Sum units or weights up, exactly, and check them against what the reports count. Needs no node."""
    with reported():
        archive = Archive(folder)
        table = USAGE if by is Grouping.RECORD else RECEIPTS
        files = archive.files(table, first, last)
        if not files:
            raise InputRejected(
                f"{folder} holds no {table.name} of these epochs", hint="usufruct-oracle archive write"
            )
        if not incomplete:
            check_complete(archive, table, files, first, last)
        with _opened(engine, server, password_file, archive, table, files) as opened:
            if by is Grouping.RECORD:
                rows = [asdict(each) for each in record_sums(opened, files, first, last)]
            else:
                rows = [asdict(each) for each in lane_sums(opened, files, first, last)]
        if by is Grouping.LICENSE:
            rows = _by_license(rows)
        # As elsewhere: bytes in hex, and what may pass 2^53 as a decimal text.
        shown = [{name: _shown(name, value) for name, value in row.items()} for row in rows]
        if as_json:
            print_json(shown)
        else:
            for row in shown:
                say("  ".join(f"{name} {value}" for name, value in row.items()))


@contextmanager
def _opened(
    engine: EngineName,
    server: str | None,
    password_file: Path | None,
    archive: Archive,
    table: Table,
    files: Sequence[ArchiveFile],
) -> Iterator[Engine]:
    if server is not None:
        with clickhouse.server(server, password_file, archive, [table]) as opened:
            yield opened
    elif engine is EngineName.CLICKHOUSE:
        with clickhouse.embedded(table, files) as opened:
            yield opened
    else:
        yield PythonEngine()


def _by_license(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    totals: dict[int, dict[str, Any]] = {}
    for row in rows:
        license_id = row["license_id"]
        total = totals.setdefault(license_id, {"license_id": license_id, "receipt_count": 0, "units": 0})
        total["receipt_count"] += row["receipt_count"]
        total["units"] += row["units"]
    return [totals[license_id] for license_id in sorted(totals)]


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return hexed(value)
    return str(value) if name in ("units", "units_after", "weight") else value
