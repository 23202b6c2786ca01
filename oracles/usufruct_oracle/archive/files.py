"""The archive's files: Parquet, one per lane and finalized epoch, and what each says about itself.

    receipts/epoch-<number>/<lane>.parquet    every receipt that the epoch's report newly counts
    usage/epoch-<number>/<lane>.parquet       the records behind them: restricted, goes as usage lists go

No column is wider than 64 bits: cumulative units are three limbs of 32 bits, the lowest first, since engines
wrap wide integers silently or make doubles of them. pyarrow is in the extra `scale` and imported when it is
used.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from usufruct_protocol.errors import ConfigInvalid, InputRejected, Transient, UsufructError

FORMAT: Final = 1
_FOOTER_KEY: Final = b"usufruct"
_TOTALS_KEY: Final = b"usufruct_totals"
_FIXED: Final = re.compile(r"FixedString\((\d+)\)")


@dataclass(frozen=True, slots=True)
class Table:
    """A kind of file: its folder's name, and (column, ClickHouse type) in order."""

    name: str
    columns: tuple[tuple[str, str], ...]
    is_restricted: bool = False

    @property
    def sql_name(self) -> str:
        """How SQL calls it."""
        return f"usufruct_{self.name}"

    @property
    def structure(self) -> str:
        """The columns as SQL declares them."""
        return ", ".join(f"{name} {kind}" for name, kind in self.columns)

    def schema(self) -> Any:
        """Return the same columns for Arrow."""
        pyarrow = load_pyarrow()
        plain = {"UInt32": pyarrow.uint32(), "UInt64": pyarrow.uint64()}
        fields = []
        for name, kind in self.columns:
            fixed = _FIXED.fullmatch(kind)
            arrow = pyarrow.binary(int(fixed[1])) if fixed else plain[kind]
            fields.append(pyarrow.field(name, arrow, nullable=False))
        return pyarrow.schema(fields)


_KEYS: Final = (("epoch", "UInt64"), ("lane", "FixedString(20)"), ("license_id", "UInt32"), ("seq", "UInt64"))
RECEIPTS: Final = Table(
    "receipts",
    (
        *_KEYS,
        ("units", "UInt64"),
        ("cumulative_0", "UInt32"),
        ("cumulative_1", "UInt32"),
        ("cumulative_2", "UInt32"),
        ("usage_root", "FixedString(32)"),
        ("request_hash", "FixedString(32)"),
        ("issued_at_ms", "UInt64"),
    ),
)
USAGE: Final = Table(
    "usage", (*_KEYS, ("record_tag", "FixedString(32)"), ("weight", "UInt32")), is_restricted=True
)


@dataclass(frozen=True, slots=True)
class Span:
    """The receipts [from_seq, to_seq) of a lane that one epoch's report newly counts.

    deployment:   chain id and settlement contract that the lane belongs to
    units_before: cumulative units at from_seq, as the report before counts them
    units_after:  cumulative units at to_seq, as this report counts them
    """

    deployment: str
    epoch: int
    lane: bytes
    license_id: int
    from_seq: int
    to_seq: int
    units_before: int
    units_after: int


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """A file as its footer describes it. `weight` is the sum of its weights; 0 in files of receipts."""

    path: Path
    span: Span
    row_count: int
    weight: int


class Archive:
    """A folder of archive files. Any number of processes may read it and add to it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, table: Table, epoch: int, lane: bytes) -> Path:
        """Return where a file belongs."""
        return self.root / table.name / f"epoch-{epoch}" / f"0x{lane.hex()}.parquet"

    def files(self, table: Table, first: int, last: int) -> list[ArchiveFile]:
        """Return the files of epochs first … last, by epoch and lane.

        Raises: InputRejected for a file that is damaged, misplaced or of another deployment than the rest.
        """
        found = [
            self._described(table, path)
            for epoch in self.epochs(table)
            for path in self._paths(table, epoch)
            if first <= epoch <= last
        ]
        deployments = {each.span.deployment for each in found}
        if len(deployments) > 1:
            raise InputRejected(
                f"{self.root} mixes deployments: {', '.join(sorted(deployments))}",
                hint="keep one folder per deployment",
            )
        return found

    def find(self, table: Table, epoch: int, lane: bytes) -> ArchiveFile | None:
        """Return one file, or None if it is not there. Raises: InputRejected if it is damaged."""
        path = self.path(table, epoch, lane)
        return self._described(table, path) if path.exists() else None

    def deployment(self) -> str | None:
        """Return which deployment the archive belongs to, as the first whole file says; None without one."""
        for epoch in self.epochs(RECEIPTS):
            for path in self._paths(RECEIPTS, epoch):
                with suppress(InputRejected):
                    return self._described(RECEIPTS, path).span.deployment
        return None

    def epochs(self, table: Table) -> list[int]:
        """Return the epochs that have files, ascending."""
        names = [path.name.removeprefix("epoch-") for path in (self.root / table.name).glob("epoch-*")]
        return sorted(int(name) for name in names if name.isascii() and name.isdecimal())

    def delete(self, table: Table, epoch: int) -> None:
        """Delete the files of an epoch. Raises: Transient if the disk refuses."""
        folder = self.root / table.name / f"epoch-{epoch}"
        try:
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        except OSError as error:
            raise Transient(f"{folder}: {error.strerror}") from error

    @contextmanager
    def write(self, table: Table, span: Span) -> Iterator[FileWriter]:
        """Write a file: whole and on disk when the block has left, or not there at all.

        Raises: Transient if the disk refuses.
        """
        path = self.path(table, span.epoch, span.lane)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if table.is_restricted else 0o777)
            # Hidden, and of another ending: nobody reads half a file. Made with mode 600.
            with tempfile.NamedTemporaryFile(
                dir=path.parent, prefix=".", suffix=".part", delete=False
            ) as file:
                try:
                    with FileWriter(table, span, file) as writer:
                        yield writer
                    file.flush()
                    if not table.is_restricted:
                        os.fchmod(file.fileno(), 0o644)
                    os.fsync(file.fileno())
                    os.replace(file.name, path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise Transient(f"{path}: {error.strerror or error}", hint="check free space") from error

    def _paths(self, table: Table, epoch: int) -> list[Path]:
        return sorted((self.root / table.name / f"epoch-{epoch}").glob("0x*.parquet"))

    def _described(self, table: Table, path: Path) -> ArchiveFile:
        try:
            found = _described(table, path)
        except UsufructError:
            raise
        except Exception as error:  # whatever pyarrow and json make of bytes that they do not know
            # pyarrow calls damage an OSError, too, but without a number of the system's.
            if isinstance(error, OSError) and error.errno is not None:
                raise Transient(f"{path}: {error.strerror}") from error
            raise _damaged(path, str(error)) from error
        if path != self.path(table, found.span.epoch, found.span.lane):
            raise _damaged(path, f"holds epoch {found.span.epoch} of lane 0x{found.span.lane.hex()}")
        return found


class FileWriter:
    """Adds columns to a file that is being written; a call makes one row group."""

    def __init__(self, table: Table, span: Span, sink: Any) -> None:
        import pyarrow.parquet

        self._schema = table.schema().with_metadata({_FOOTER_KEY: _footer(span)})
        self._weight = 0
        self._writer = pyarrow.parquet.ParquetWriter(
            sink,
            self._schema,
            compression="zstd",
            use_dictionary=["epoch", "lane", "license_id", "usage_root", "record_tag"]
            if table is USAGE
            else ["epoch", "lane", "license_id", "usage_root"],
            write_page_checksum=True,
        )

    def add(self, columns: list[Any], *, weight: int = 0) -> None:
        """Add rows, as one Arrow array per column; `weight` is the sum of their weights."""
        import pyarrow

        self._weight += weight
        self._writer.write_table(pyarrow.Table.from_arrays(columns, schema=self._schema))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Write the footer. After an error, too: what is not closed warns when it is collected."""
        self._writer.add_key_value_metadata({_TOTALS_KEY: json.dumps({"weight": str(self._weight)})})
        self._writer.close()


def load_pyarrow() -> Any:
    """Return pyarrow. Raises: ConfigInvalid if it is not installed."""
    try:
        import pyarrow
    except ImportError as error:
        raise ConfigInvalid(
            f"the archive needs pyarrow: {error}", hint="pip install 'usufruct[scale]'"
        ) from error
    return pyarrow


def _footer(span: Span) -> bytes:
    content = {"format": FORMAT, **asdict(span), "lane": span.lane.hex()}
    # Units have up to 96 bits, more than many readers of JSON keep.
    content.update(units_before=str(span.units_before), units_after=str(span.units_after))
    return json.dumps(content).encode("ascii")


def _described(table: Table, path: Path) -> ArchiveFile:
    load_pyarrow()
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        own = dict(file.metadata.metadata or {})
        content = json.loads(own[_FOOTER_KEY])
        if content.pop("format") != FORMAT:
            raise InputRejected(f"{path}: written by another release", hint="use the release that wrote it")
        if not file.schema_arrow.equals(table.schema(), check_metadata=False):
            raise _damaged(path, f"columns {', '.join(file.schema_arrow.names)}")
        row_count = file.metadata.num_rows
    content["lane"] = bytes.fromhex(content["lane"])
    for name in content.keys() - {"deployment", "lane"}:
        content[name] = int(content[name])
    return ArchiveFile(path, Span(**content), row_count, int(json.loads(own[_TOTALS_KEY])["weight"]))


def _damaged(path: Path, reason: str) -> InputRejected:
    return InputRejected(
        f"{path}: not a file of this archive: {reason}", hint="delete it; `archive write` makes it again"
    )
