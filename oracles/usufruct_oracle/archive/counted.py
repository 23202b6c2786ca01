"""What each epoch's report newly counts, lane by lane, kept beside the files: one that is gone is missed.

receipts/epoch-<number>/lanes-<sha256>.json
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from usufruct_protocol.errors import InputRejected, Transient

from usufruct_oracle.archive.files import FORMAT, RECEIPTS, Archive, ArchiveFile, Span, Table

Counts = tuple[int, int, int, int]
_STEM: Final = "lanes"
_INCOMPLETE: Final = "; or sum up what there is: --incomplete"


def put_counted(archive: Archive, epoch: int, spans: Iterable[Span]) -> None:
    """Keep what an epoch's report newly counts, whether there is a file for it or not.

    Raises: Transient if the disk refuses.
    """
    lanes = {f"0x{span.lane.hex()}": list(map(str, _counts(span))) for span in spans}
    body = json.dumps({"format": FORMAT, "epoch": epoch, "lanes": lanes}, indent=1, sort_keys=True).encode()
    place = archive.folder(RECEIPTS, epoch) / _STEM
    held = {path.name: _read(path) for path in place.parent.glob(f"{_STEM}-*.json")}
    if held != {_name(body): body}:
        with archive.placed(place, ".json") as file:
            file.write(body)


def check_complete(
    archive: Archive, table: Table, files: Sequence[ArchiveFile], first: int, last: int
) -> None:
    """Refuse files of epochs first … last among which one is missing that the reports count.

    From the first epoch that the archive holds to its last: that it begins late or ends early is not missed.
    An epoch that another process is still writing is refused, too.
    Raises: InputRejected naming the first that is missing; Transient if the disk refuses.
    """
    found = {(file.span.epoch, file.span.lane): file for file in files}
    held = [epoch for epoch in archive.epochs(table) if first <= epoch <= last]
    for epoch in range(held[0], held[-1] + 1) if held else ():
        for lane, counts in _counted(archive, epoch).items():
            file = found.get((epoch, lane))
            if file is None or _counts(file.span) != counts:
                place = archive.place(table, epoch, lane)
                raise InputRejected(
                    f"{place}: {'missing' if file is None else 'another count than the report has'};"
                    f" the report counts receipts {counts[0]} to {counts[1]}",
                    hint=archive.write_again(table) + _INCOMPLETE,
                )


def _counted(archive: Archive, epoch: int) -> dict[bytes, Counts]:
    folder = archive.folder(RECEIPTS, epoch)
    again = archive.write_again(RECEIPTS) + _INCOMPLETE
    paths = sorted(folder.glob(f"{_STEM}-*.json"))
    if len(paths) != 1:
        raise InputRejected(f"{folder}: {len(paths) or 'no'} lists of what the report counts", hint=again)
    body = _read(paths[0])
    if paths[0].name != _name(body):
        raise InputRejected(f"damaged since written, by its SHA-256: {paths[0]}", hint=again)
    try:
        return _unpacked(body, epoch)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputRejected(f"{paths[0]}: not a file of this archive: {error}", hint=again) from error


def _unpacked(body: bytes, epoch: int) -> dict[bytes, Counts]:
    content = json.loads(body)
    if (content["format"], content["epoch"]) != (FORMAT, epoch):
        raise ValueError(f"is of epoch {content['epoch']}, format {content['format']}")
    found: dict[bytes, Counts] = {}
    for lane, (from_seq, to_seq, before, after) in content["lanes"].items():
        counts = int(from_seq), int(to_seq), int(before), int(after)
        found[bytes.fromhex(lane.removeprefix("0x"))] = counts
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise Transient(f"{path}: {error.strerror}") from error


def _name(body: bytes) -> str:
    return f"{_STEM}-{sha256(body).hexdigest()}.json"


def _counts(span: Span) -> Counts:
    return span.from_seq, span.to_seq, span.units_before, span.units_after
