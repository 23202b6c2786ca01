"""The archive's files: Parquet, one per lane and finalized epoch, and what each says about itself.

    receipts/epoch-<number>/<lane>-<sha256>.parquet  every receipt that the epoch's report newly counts
    usage/epoch-<number>/<lane>-<sha256>.parquet     the records behind them: restricted, go as usage lists go
    receipts/epoch-<number>/lanes-<sha256>.json      which files there must be: see `counted`

The SHA-256 is the file's own. It stands in the name, so that it comes and goes with the file in one rename.
It finds rot and half copies, not a forger.

No column is wider than 64 bits: cumulative units are three limbs of 32 bits, the lowest first, since engines
wrap wide integers silently or make doubles of them. pyarrow is in the extra `scale` and imported when it is
used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

from usufruct_protocol.errors import ConfigInvalid, InputRejected, Transient, UsufructError

FORMAT: Final = 1
_FOOTER_KEY: Final = b"usufruct"
_TOTALS_KEY: Final = b"usufruct_totals"
_FIXED: Final = re.compile(r"FixedString\((\d+)\)")
_FOLDER: Final = re.compile(r"epoch-(0|[1-9][0-9]*)")
_NAME: Final = re.compile(r"0x[0-9a-f]{40}-([0-9a-f]{64})\.parquet")
_HASHERS: Final = 8  # a core hashes over 1 GB/s: more only wait for the disk
_SHOWN: Final = 5


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
    """A file as its footer describes it: believe it, and give it to an engine, once `check_whole` has passed.

    sha256: of the file when it was written, in hex, as its name says
    weight: the sum of its weights; 0 in files of receipts
    """

    path: Path
    sha256: str
    span: Span
    row_count: int
    weight: int


class Archive:
    """A folder of archive files. Any number of processes may read it and add to it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, table: Table, epoch: int, lane: bytes) -> Path:
        """Return where a file belongs, but for the end of its name, which is known once it is written."""
        return self.folder(table, epoch) / f"0x{lane.hex()}"

    def folder(self, table: Table, epoch: int) -> Path:
        """Return where the files of an epoch belong."""
        return self.root / table.name / f"epoch-{epoch}"

    def write_again(self, table: Table) -> str:
        """Return the hint of what to do about a file that is not as it was written, or not there."""
        command = f"usufruct-oracle archive write {self.root} --check{' --usage' if table is USAGE else ''}"
        return f"`{command}` makes it again from a node's database; or copy it from another node's archive"

    def files(self, table: Table, first: int, last: int) -> list[ArchiveFile]:
        """Return the files of epochs first … last, by epoch and lane.

        Raises: InputRejected for a file whose footer is damaged, that is misplaced, there twice or of another
        deployment than the rest; Transient if the disk refuses.
        """
        found: list[ArchiveFile] = []
        for epoch in self.epochs(table):
            for path in self._paths(table, epoch) if first <= epoch <= last else ():
                file = self._described(table, path)
                if found and (found[-1].span.epoch, found[-1].span.lane) == (epoch, file.span.lane):
                    raise _damaged(path, f"{found[-1].path.name} is of the same lane")
                found.append(file)
        deployments = {each.span.deployment for each in found}
        if len(deployments) > 1:
            raise InputRejected(
                f"{self.root} mixes deployments: {', '.join(sorted(deployments))}",
                hint="keep one folder per deployment",
            )
        return found

    def find(self, table: Table, epoch: int, lane: bytes) -> ArchiveFile | None:
        """Return one file, or None if it is not there. Raises: as `files`."""
        found = [self._described(table, path) for path in self._paths(table, epoch, lane)]
        if len(found) > 1:
            raise _damaged(found[1].path, f"{found[0].path.name} is of the same lane")
        return found[0] if found else None

    def deployment(self) -> str | None:
        """Return which deployment the archive belongs to, as the first whole file says; None without one."""
        for epoch in self.epochs(RECEIPTS):
            for path in self._paths(RECEIPTS, epoch):
                with suppress(InputRejected):
                    return self._described(RECEIPTS, path).span.deployment
        return None

    def epochs(self, table: Table) -> list[int]:
        """Return the epochs that have files, ascending."""
        names = (_FOLDER.fullmatch(path.name) for path in (self.root / table.name).glob("epoch-*"))
        return sorted(int(name[1]) for name in names if name)

    def delete(self, table: Table, epoch: int) -> None:
        """Delete the files of an epoch. Raises: Transient if the disk refuses."""
        folder = self.folder(table, epoch)
        try:
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        except OSError as error:
            raise Transient(f"{folder}: {error.strerror}") from error

    @contextmanager
    def write(self, table: Table, span: Span) -> Iterator[FileWriter]:
        """Write a file: whole and on disk when the block has left, or not there at all.

        What was there of the same lane and epoch goes when the new file is on disk, not before.
        Raises: Transient if the disk refuses.
        """
        place = self.place(table, span.epoch, span.lane)
        with (
            self.placed(place, ".parquet", is_restricted=table.is_restricted) as file,
            FileWriter(table, span, file) as writer,
        ):
            yield writer

    @contextmanager
    def placed(self, place: Path, ending: str, *, is_restricted: bool = False) -> Iterator[IO[bytes]]:
        """Write any file at a place, its SHA-256 between name and ending. Raises: as `write`."""
        former = list(place.parent.glob(f"{place.name}*{ending}"))
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if is_restricted else 0o777)
            # Hidden, and of another ending: nobody reads half a file. Made with mode 600.
            with tempfile.NamedTemporaryFile(
                dir=place.parent, prefix=".", suffix=".part", delete=False
            ) as file:
                try:
                    yield file
                    file.flush()
                    if not is_restricted:
                        os.fchmod(file.fileno(), 0o644)
                    os.fsync(file.fileno())
                    path = place.with_name(f"{place.name}-{_sha256(Path(file.name))}{ending}")
                    os.replace(file.name, path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
            folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            for other in former:
                if other != path:
                    other.unlink(missing_ok=True)
        except OSError as error:
            raise Transient(f"{place}: {error.strerror or error}", hint="check free space") from error

    def _paths(self, table: Table, epoch: int, lane: bytes = b"") -> list[Path]:
        return sorted(self.folder(table, epoch).glob(f"0x{lane.hex()}*.parquet"))

    def _described(self, table: Table, path: Path) -> ArchiveFile:
        name = _NAME.fullmatch(path.name)
        if name is None:
            raise _damaged(path, "no SHA-256 in its name; it may be of an older release")
        try:
            if not path.is_file():  # opening a pipe would wait for ever
                raise _damaged(path, "not a regular file")
            found = _described(table, path, name[1])
        except UsufructError:
            raise
        except Exception as error:  # whatever pyarrow and json make of bytes that they do not know
            # pyarrow calls damage an OSError, too, but without a number of the system's.
            if isinstance(error, OSError) and error.errno is not None:
                raise Transient(f"{path}: {error.strerror}") from error
            raise _damaged(path, str(error)) from error
        place = self.place(table, found.span.epoch, found.span.lane)
        if path != place.with_name(f"{place.name}-{found.sha256}.parquet"):
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


def check_whole(files: Sequence[ArchiveFile]) -> None:
    """Read files whole and hold them against the SHA-256 in their names, before an engine reads them.

    Embedded ClickHouse that is given a damaged file may hang, or crash the process.
    Raises: InputRejected naming what is damaged; Transient if a file cannot be read.
    """
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _HASHERS)) as pool:
        found = pool.map(_sha256, (file.path for file in files))
        damaged = [file.path for file, sha256 in zip(files, found, strict=True) if sha256 != file.sha256]
    if damaged:
        names = ", ".join(str(path) for path in damaged[:_SHOWN])
        more = f" and {len(damaged) - _SHOWN} more" if len(damaged) > _SHOWN else ""
        raise InputRejected(
            f"damaged since written, by their SHA-256: {names}{more}", hint=write_again(damaged[0])
        )


def write_again(path: Path) -> str:
    """Return the hint of what to do about a file that is not as it was written."""
    table = USAGE if path.parents[1].name == USAGE.name else RECEIPTS
    return Archive(path.parents[2]).write_again(table)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Transient(f"{path}: {error.strerror}") from error


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


def _described(table: Table, path: Path, sha256: str) -> ArchiveFile:
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
    weight = int(json.loads(own[_TOTALS_KEY])["weight"])
    return ArchiveFile(path, sha256, Span(**content), row_count, weight)


def _damaged(path: Path, reason: str) -> InputRejected:
    return InputRejected(f"{path}: not a file of this archive: {reason}", hint=write_again(path))
