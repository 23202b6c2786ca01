"""Exact sums over the archive, and the Python that they must agree with.

Engines get limbs of 32 bits and give back sums of limbs; Python puts them together. No sum is believed as it
is: what a lane's receipts sum to must be what the heads of the two reports around them say, and nothing may
be missing or counted twice. Before it is read, a file must be what was written, to the last byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final, Protocol

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.usage import count_usage

from usufruct_oracle.archive.files import ArchiveFile, check_whole, write_again

_MAX_ROWS: Final = 2**32  # from here on a sum of 32-bit limbs may leave 64 bits


@dataclass(frozen=True, slots=True, order=True)
class LaneSum:
    """What one lane's receipts of one epoch sum to. `units_after` are the last receipt's cumulative units."""

    epoch: int
    lane: bytes
    license_id: int
    receipt_count: int
    first_seq: int
    last_seq: int
    units: int
    units_after: int


@dataclass(frozen=True, slots=True, order=True)
class RecordSum:
    """How much the calls of one license used one record, and in how many entries of usage lists."""

    license_id: int
    record_tag: bytes
    entry_count: int
    weight: int


class Engine(Protocol):
    """What sums archive files up: `PythonEngine` or a `clickhouse.ClickHouse`. Reads only whole files."""

    def lane_sums(self, files: Sequence[ArchiveFile], first: int, last: int) -> list[LaneSum]:
        """Return the sums over files of receipts, ascending; first … last are the epochs they belong to."""

    def record_sums(self, files: Sequence[ArchiveFile], first: int, last: int) -> list[RecordSum]:
        """Return the sums over files of usage, ascending; first … last are the epochs they belong to."""


def whole(*limbs: int) -> int:
    """Put sums of 32-bit limbs together, the lowest first; each may have more than 32 bits."""
    return sum(limb << 32 * place for place, limb in enumerate(limbs))


def lane_sums(engine: Engine, files: Sequence[ArchiveFile], first: int, last: int) -> list[LaneSum]:
    """Return what each lane's receipts sum to, checked against the heads that reports count.

    Raises: InputRejected naming the first lane and epoch that differs; as the engine.
    """
    _check_size(files)
    sums = engine.lane_sums(files, first, last) if files else []
    found = {(each.epoch, each.lane): each for each in sums}
    if len(found) != len(sums):
        raise InputRejected("a lane has receipts of two licenses in one epoch", hint=_LOADED)
    for file in files:
        span = file.span
        each = found.pop((span.epoch, span.lane), None)
        expected = LaneSum(
            span.epoch,
            span.lane,
            span.license_id,
            span.to_seq - span.from_seq,
            span.from_seq,
            span.to_seq - 1,
            span.units_after - span.units_before,
            span.units_after,
        )
        if each != expected:
            raise InputRejected(
                f"{file.path}: reports count {expected}, found {each}", hint=write_again(file.path)
            )
    for each in found.values():
        raise InputRejected(f"no file holds epoch {each.epoch} of lane 0x{each.lane.hex()}", hint=_LOADED)
    return sums


def record_sums(engine: Engine, files: Sequence[ArchiveFile], first: int, last: int) -> list[RecordSum]:
    """Return how much each license's calls used each record, checked against the files' totals.

    Raises: InputRejected if entries are missing or counted twice; as the engine.
    """
    _check_size(files)
    sums = engine.record_sums(files, first, last) if files else []
    expected = sum(file.row_count for file in files), sum(file.weight for file in files)
    found = sum(each.entry_count for each in sums), sum(each.weight for each in sums)
    if found != expected:
        raise InputRejected(
            f"usage files hold {expected[0]} entries of weight {expected[1]}, found {found[0]} of {found[1]}",
            hint=_LOADED,
        )
    return sums


class PythonEngine:
    """Sums up with Python integers, row by row: slow, and what engines are held against."""

    def lane_sums(self, files: Sequence[ArchiveFile], first: int, last: int) -> list[LaneSum]:
        """Return the sums over files of receipts, ascending. Raises: as `check_whole`."""
        check_whole(files)
        sums: dict[tuple[int, bytes, int], list[int]] = {}
        for file in files:
            for epochs, lanes, licenses, seqs, units, *limbs in _batches(file, _LANE_COLUMNS):
                rows = zip(epochs, lanes, licenses, seqs, units, *limbs, strict=True)
                for epoch, lane, license_id, seq, each, low, middle, high in rows:
                    at = sums.setdefault((epoch, lane, license_id), [0, seq, seq, 0, 0])
                    at[0] += 1
                    at[1] = min(at[1], seq)
                    at[3] += each
                    if seq >= at[2]:
                        at[2], at[4] = seq, whole(low, middle, high)
        return sorted(LaneSum(*key, *values) for key, values in sums.items() if first <= key[0] <= last)

    def record_sums(self, files: Sequence[ArchiveFile], first: int, last: int) -> list[RecordSum]:
        """Return the sums over files of usage, ascending, by the rule that reports count by.

        Raises: as `check_whole`.
        """
        check_whole(files)
        by_license: dict[int, list[ArchiveFile]] = {}
        for file in files:
            by_license.setdefault(file.span.license_id, []).append(file)
        sums = []
        for license_id, own in by_license.items():
            entries = count_usage(zip(tags, repeat(1)) for tags, _ in _usage(own))
            weights = count_usage(zip(tags, each, strict=True) for tags, each in _usage(own))
            sums += [RecordSum(license_id, tag, entries[tag], weights[tag]) for tag in weights]
        return sorted(sums)


_LANE_COLUMNS: Final = (
    "epoch",
    "lane",
    "license_id",
    "seq",
    "units",
    "cumulative_0",
    "cumulative_1",
    "cumulative_2",
)
_LOADED: Final = "try again: a server is loaded again by itself; if it stays, the archive is of two nodes"


def _usage(files: Iterable[ArchiveFile]) -> Iterator[list[list[Any]]]:
    for file in files:
        yield from _batches(file, ("record_tag", "weight"))


def _batches(file: ArchiveFile, columns: Sequence[str]) -> Iterator[list[list[Any]]]:
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file.path, page_checksum_verification=True) as opened:
            for batch in opened.iter_batches(columns=list(columns)):
                yield [batch.column(name).to_pylist() for name in columns]
    except (OSError, pyarrow.ArrowException) as error:
        raise InputRejected(f"{file.path}: {error}", hint=write_again(file.path)) from error


def _check_size(files: Sequence[ArchiveFile]) -> None:
    rows = sum(file.row_count for file in files)
    if rows >= _MAX_ROWS:
        raise InputRejected(
            f"{rows} rows at once; sums are exact below {_MAX_ROWS}", hint="take fewer epochs"
        )
