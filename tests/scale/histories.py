"""Receipts of any number, laid out in bulk, with the values that engines get wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy
from usufruct_oracle.archive.columns import receipt_columns, usage_columns
from usufruct_oracle.archive.files import RECEIPTS, USAGE, Archive, Span
from usufruct_oracle.archive.sums import LaneSum, RecordSum
from usufruct_protocol.receipts import MAX_CUMULATIVE_UNITS, MAX_RECEIPT_UNITS
from usufruct_protocol.receipts.encoding import record_columns
from usufruct_protocol.receipts.usage_list import UsageEntry
from usufruct_protocol.usage import count_usage

DEPLOYMENT = "31337/0x" + "5e" * 20
_RECORD = numpy.dtype(
    [
        ("seq", ">u8"),
        ("units", ">u8"),
        ("cumulative", ">u4", 4),
        ("usage_root", "V32"),
        ("request_hash", "V32"),
        ("issued_at_ms", ">u8"),
    ]
)
_MASK = numpy.uint64(2**32 - 1)
_PIECE = 100_000


@dataclass
class Expected:
    """What plain Python integers say while the files are written: the node's own path."""

    lanes: list[LaneSum] = field(default_factory=list)
    records: dict[tuple[int, bytes], list[int]] = field(default_factory=dict)

    def record_sums(self) -> list[RecordSum]:
        return sorted(RecordSum(*key, *counts) for key, counts in self.records.items())


def write_receipts(
    archive: Archive, expected: Expected, rows: int, lanes: int, epochs: int, seed: int
) -> None:
    """Write `rows` receipts, shared out evenly; the last lane's cumulative units end at 2^96 − 1."""
    random = numpy.random.default_rng(seed)
    each = rows // (lanes * epochs)
    for number in range(lanes):
        # Addresses that are text, zero, or end in zeros must come back as they are.
        lane = (b"a" * 20, bytes(20), b"\xff" * 19 + b"\x00")[number] if number < 3 else random.bytes(20)
        pieces = [_units(random, each, number) for _ in range(epochs)]
        total = sum(_exact(part) for part in pieces)
        before = MAX_CUMULATIVE_UNITS - total if number == lanes - 1 else 0
        for epoch, units in enumerate(pieces, 1):
            from_seq = (epoch - 1) * each
            after = before + _exact(units)
            span = Span(DEPLOYMENT, epoch, lane, 1 + number % 3, from_seq, from_seq + each, before, after)
            counted = last = 0
            with archive.write(RECEIPTS, span) as file:
                for records in _records(random, span, units):
                    file.add(receipt_columns(span, records))
                    _, piece_units, cumulative, _ = record_columns(records)
                    counted += sum(piece_units)
                    last = cumulative[-1]
            expected.lanes.append(
                LaneSum(epoch, lane, span.license_id, each, from_seq, from_seq + each - 1, counted, last)
            )
            before = after
    expected.lanes.sort()


def write_usage(archive: Archive, expected: Expected, rows: int, tags: int, seed: int) -> None:
    """Write `rows` entries of usage lists in two lanes of two licenses; one tag always weighs 2^32 − 1."""
    random = numpy.random.default_rng(seed)
    names = [bytes(32), *(random.bytes(32) for _ in range(tags - 1))]
    for number in (1, 2):
        lane = bytes([number]) * 20
        count = rows // 2
        span = Span(DEPLOYMENT, 1, lane, number, 0, count, 0, 0)
        with archive.write(USAGE, span) as file:
            for start in range(0, count, _PIECE):
                size = min(_PIECE, count - start)
                chosen = (random.integers(0, tags, size) * (random.random(size) < 0.9)).tolist()
                weights = random.integers(1, 2**32, size).tolist()
                entries = [
                    UsageEntry(names[tag], weight if tag else 2**32 - 1)
                    for tag, weight in zip(chosen, weights, strict=True)
                ]
                columns, weight = usage_columns(
                    span, ((start + at, [entry]) for at, entry in enumerate(entries))
                )
                file.add(columns, weight=weight)
                _count(expected, number, entries)


def _count(expected: Expected, license_id: int, entries: Sequence[UsageEntry]) -> None:
    weights = count_usage([entries])
    counts = count_usage([[(tag, 1) for tag, _ in entries]])
    for tag, weight in weights.items():
        at = expected.records.setdefault((license_id, tag), [0, 0])
        at[0] += counts[tag]
        at[1] += weight


def _units(random: numpy.random.Generator, count: int, number: int) -> numpy.ndarray:
    if number % 2:
        return numpy.full(count, MAX_RECEIPT_UNITS, dtype=numpy.uint64)
    return random.integers(0, MAX_RECEIPT_UNITS, count, dtype=numpy.uint64, endpoint=True)


def _exact(units: numpy.ndarray) -> int:
    low, high = int((units & _MASK).sum()), int((units >> numpy.uint64(32)).sum())
    return (high << 32) + low


def _records(random: numpy.random.Generator, span: Span, units: numpy.ndarray) -> Iterator[bytes]:
    before = span.units_before
    for start in range(0, len(units), _PIECE):
        piece = units[start : start + _PIECE]
        low = (piece & _MASK).cumsum() + numpy.uint64(before & 0xFFFFFFFF)
        middle = (
            (piece >> numpy.uint64(32)).cumsum()
            + numpy.uint64(before >> 32 & 0xFFFFFFFF)
            + (low >> numpy.uint64(32))
        )
        high = numpy.uint64(before >> 64) + (middle >> numpy.uint64(32))
        rows = numpy.zeros(len(piece), dtype=_RECORD)
        rows["seq"] = numpy.arange(span.from_seq + start, span.from_seq + start + len(piece))
        rows["units"] = piece
        rows["cumulative"][:, 1], rows["cumulative"][:, 2], rows["cumulative"][:, 3] = (
            high,
            middle & _MASK,
            low & _MASK,
        )
        rows["request_hash"] = numpy.frombuffer(random.bytes(32 * len(piece)), dtype="V32")
        rows["issued_at_ms"] = 1_700_000_000_000 + rows["seq"]
        before += _exact(piece)
        yield rows.tobytes()
