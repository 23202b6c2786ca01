"""Receipt records and usage lists as Arrow columns, laid out in bulk: no Python object per receipt."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable
from typing import Any, Final

from usufruct_protocol.receipts.encoding import RECORD_SIZE
from usufruct_protocol.receipts.usage_list import UsageEntry

from usufruct_oracle.archive.files import Span, load_pyarrow

# A record is 26 limbs of 32 bits, big endian: see usufruct_protocol.receipts.encoding. The highest limb of
# the cumulative units (4) is zero, since they stay below 2^96.
_LIMBS: Final = RECORD_SIZE // 4
_SEQ, _UNITS, _ISSUED_AT_MS = 0, 2, 24
_CUMULATIVE_LOW_FIRST: Final = (7, 6, 5)
_USAGE_ROOT, _REQUEST_HASH = 8, 16
_IS_LITTLE_ENDIAN: Final = sys.byteorder == "little"


def receipt_columns(span: Span, records: bytes) -> list[Any]:
    """Return the columns of `files.RECEIPTS` for whole 104-byte records of a span's lane."""
    pyarrow = load_pyarrow()
    count = len(records) // RECORD_SIZE
    limbs = memoryview(records).cast("I")
    return [
        *_keys(span, count),
        _wide(pyarrow, limbs, _SEQ),
        _wide(pyarrow, limbs, _UNITS),
        *(_narrow(pyarrow, limbs, limb) for limb in _CUMULATIVE_LOW_FIRST),
        _hashes(pyarrow, limbs, _USAGE_ROOT),
        _hashes(pyarrow, limbs, _REQUEST_HASH),
        _wide(pyarrow, limbs, _ISSUED_AT_MS),
    ]


def usage_columns(span: Span, lists: Iterable[tuple[int, Iterable[UsageEntry]]]) -> tuple[list[Any], int]:
    """Return the columns of `files.USAGE` for (seq, entries) of a span's lane, and the weights' sum."""
    pyarrow = load_pyarrow()
    seqs, tags, weights = array("Q"), bytearray(), array("I")
    for seq, entries in lists:
        for tag, weight in entries:
            seqs.append(seq)
            tags += tag
            weights.append(weight)
    count = len(seqs)
    columns = [
        *_keys(span, count),
        _array(pyarrow, pyarrow.uint64(), count, seqs),
        _array(pyarrow, pyarrow.binary(32), count, tags),
        _array(pyarrow, pyarrow.uint32(), count, weights),
    ]
    return columns, sum(weights)


def _keys(span: Span, count: int) -> list[Any]:
    pyarrow = load_pyarrow()
    return [
        pyarrow.repeat(pyarrow.scalar(span.epoch, pyarrow.uint64()), count),
        pyarrow.repeat(pyarrow.scalar(span.lane, pyarrow.binary(20)), count),
        pyarrow.repeat(pyarrow.scalar(span.license_id, pyarrow.uint32()), count),
    ]


def _narrow(pyarrow: Any, limbs: memoryview, limb: int) -> Any:
    values = array("I", bytes(_gathered(limbs, limb, 1)))
    if _IS_LITTLE_ENDIAN:
        values.byteswap()
    return _array(pyarrow, pyarrow.uint32(), len(values), values)


def _wide(pyarrow: Any, limbs: memoryview, limb: int) -> Any:
    values = array("Q", bytes(_gathered(limbs, limb, 2)))
    if _IS_LITTLE_ENDIAN:
        values.byteswap()
    return _array(pyarrow, pyarrow.uint64(), len(values), values)


def _hashes(pyarrow: Any, limbs: memoryview, limb: int) -> Any:
    gathered = _gathered(limbs, limb, 8)
    return _array(pyarrow, pyarrow.binary(32), len(gathered) // 32, gathered)


def _gathered(limbs: memoryview, first: int, width: int) -> bytearray:
    """Return `width` limbs of every record, one record after the other, as they stand there."""
    gathered = bytearray(len(limbs) // _LIMBS * width * 4)
    with memoryview(gathered) as view, view.cast("I") as target:
        for limb in range(width):
            target[limb::width] = limbs[first + limb :: _LIMBS]
    return gathered


def _array(pyarrow: Any, kind: Any, count: int, content: Any) -> Any:
    return pyarrow.Array.from_buffers(kind, count, [None, pyarrow.py_buffer(content)])
