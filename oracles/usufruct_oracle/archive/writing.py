"""From a node's database to archive files: what each finalized epoch counts, lane by lane."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from usufruct_protocol.bundle import LANES, unpack_lanes
from usufruct_protocol.errors import InputRejected, Transient
from usufruct_protocol.receipts import Checkpoint, unpack_usage_list
from usufruct_protocol.receipts.encoding import RECORD_SIZE

from usufruct_oracle.archive.columns import receipt_columns, usage_columns
from usufruct_oracle.archive.counted import put_counted
from usufruct_oracle.archive.files import (
    RECEIPTS,
    USAGE,
    Archive,
    ArchiveFile,
    Span,
    Table,
    check_whole,
)
from usufruct_oracle.storage import epoch_store, lane_store
from usufruct_oracle.storage.database import NO_USAGE, Connection
from usufruct_oracle.storage.epoch_store import Finalized
from usufruct_oracle.storage.lane_store import Lane
from usufruct_oracle.storage.store import Store

_RECEIPTS_PER_GROUP: Final = 100_000
_LISTS_PER_GROUP: Final = 1_000
_OWN_FOLDER: Final = "use a folder of its own for each deployment"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file: it is written now, `is_kept` from before, or not there, with the reason.

    path: where it belongs, but for its end, if it is not there
    """

    path: Path
    row_count: int
    is_kept: bool = False
    left_out: str = ""


class NotHeld(Exception):
    """This node does not hold what a file needs; the message says what is missing."""


def write_archive(
    store: Store,
    archive: Archive,
    *,
    keep_restricted_epochs: int,
    with_usage: bool = False,
    check: bool = False,
) -> Iterator[Outcome]:
    """Write what finalized epochs count and the archive lacks; works while the node runs, and after a crash.

    keep_restricted_epochs: usage files of older epochs are deleted, as the node's own usage lists are
    with_usage:             write usage files, too
    check:                  read files that are there whole, and make those again that are damaged
    Raises: InputRejected if the archive belongs to another deployment; Transient if disk or database refuse.
    """
    with store.read() as db:
        deployment = _deployment(db)
        last = epoch_store.last_finalized(db, 2**62)
        known = {lane.lane: lane for lane in lane_store.all_lanes(db)}
    belongs_to = archive.deployment()
    if belongs_to not in (None, deployment):
        raise InputRejected(
            f"{archive.root} belongs to {belongs_to}, the node to {deployment}", hint=_OWN_FOLDER
        )
    newest = 0 if last is None else last.epoch
    oldest_kept = newest - keep_restricted_epochs + 1
    for epoch in archive.epochs(USAGE):
        if epoch < oldest_kept:
            archive.delete(USAGE, epoch)
    tables = (RECEIPTS, USAGE) if with_usage else (RECEIPTS,)
    heads: Mapping[bytes, Checkpoint] | None = {}
    for epoch in range(1, newest + 1):
        before, heads = heads, _heads(store, epoch)
        if heads is None or before is None:
            missing = epoch if heads is None else epoch - 1
            reason = f"this node does not hold the lanes of epoch {missing}"
            yield Outcome(archive.root / RECEIPTS.name / f"epoch-{epoch}", 0, left_out=reason)
            continue
        spans = [
            _span(deployment, epoch, known.get(head.lane), before.get(head.lane), head)
            for head in heads.values()
        ]
        counted = [span for span in spans if span.from_seq < span.to_seq]
        for span in counted:
            for table in tables:
                if table is RECEIPTS or epoch >= oldest_kept:
                    held = _kept(archive, table, span, check=check)
                    if held is not None:
                        yield Outcome(held.path, held.row_count, is_kept=True)
                    else:
                        yield _made(store, archive, table, span, known.get(span.lane))
        put_counted(archive, epoch, counted)


def _made(store: Store, archive: Archive, table: Table, span: Span, lane: Lane | None) -> Outcome:
    place = archive.place(table, span.epoch, span.lane)
    try:
        if lane is None:
            raise NotHeld("this node does not know the lane")
        if table is RECEIPTS:
            _write_receipts(store, archive, span, lane)
        else:
            _write_usage(store, archive, span, lane)
    except NotHeld as error:
        is_damaged = any(place.parent.glob(f"{place.name}*"))
        return Outcome(place, 0, left_out=f"{error}{'; the damaged file stays' if is_damaged else ''}")
    made = archive.find(table, span.epoch, span.lane)
    if made is None:
        raise Transient(f"{place}: gone as soon as it was written")
    return Outcome(made.path, made.row_count)


def _kept(archive: Archive, table: Table, span: Span, *, check: bool) -> ArchiveFile | None:
    """Return the file that is there, if it is whole and says what it should."""
    try:
        held = archive.find(table, span.epoch, span.lane)
        if check and held is not None:
            check_whole([held])
    except InputRejected:
        return None  # damaged: it is made again
    if held is not None and held.span != span:
        raise InputRejected(
            f"{held.path} is of another history: {held.span}, the node counts {span}",
            hint=_OWN_FOLDER,
        )
    return held


def _write_receipts(store: Store, archive: Archive, span: Span, lane: Lane) -> None:
    units = span.units_before
    with archive.write(RECEIPTS, span) as file:
        for start in range(span.from_seq, span.to_seq, _RECEIPTS_PER_GROUP):
            end = min(start + _RECEIPTS_PER_GROUP, span.to_seq)
            with store.read() as db:
                records = lane_store.records(db, lane.lane_id, start, end)
            if len(records) != (end - start) * RECORD_SIZE:
                raise NotHeld("this node does not hold all of its receipts")
            units = int.from_bytes(records[-RECORD_SIZE:][16:32], "big")
            file.add(receipt_columns(span, records))
        if units != span.units_after:
            raise NotHeld("the receipts that this node holds are not those that the report counts")


def _write_usage(store: Store, archive: Archive, span: Span, lane: Lane) -> None:
    with archive.write(USAGE, span) as file:
        for start in range(span.from_seq, span.to_seq, _LISTS_PER_GROUP):
            end = min(start + _LISTS_PER_GROUP, span.to_seq)
            with store.read() as db:
                lists = lane_store.openings(db, lane.lane_id, start, end)
                records = lane_store.records(db, lane.lane_id, start, end)
            roots = (records[at + 32 : at + 64] for at in range(0, len(records), RECORD_SIZE))
            if len(records) != (end - start) * RECORD_SIZE or len(lists) != sum(
                root != NO_USAGE for root in roots
            ):
                raise NotHeld("this node does not hold all of its usage lists (any more)")
            columns, weight = usage_columns(
                span, ((seq, unpack_usage_list(body).entries) for seq, body in lists)
            )
            if len(columns[0]):
                file.add(columns, weight=weight)


def _span(deployment: str, epoch: int, lane: Lane | None, start: Checkpoint | None, head: Checkpoint) -> Span:
    return Span(
        deployment,
        epoch,
        head.lane,
        0 if lane is None else lane.license_id,
        0 if start is None else start.count,
        head.count,
        0 if start is None else start.cumulative_units,
        head.cumulative_units,
    )


def _heads(store: Store, epoch: int) -> dict[bytes, Checkpoint] | None:
    """Return how far a finalized report counts each lane, or None if this node does not hold it."""
    with store.read() as db:
        final: Finalized | None = epoch_store.finalized(db, epoch)
        body = None if final is None else epoch_store.bundle_file(db, epoch, final.bundle_hash, LANES)
    return None if body is None else {head.lane: head for head in unpack_lanes(body) if head is not None}


def _deployment(db: Connection) -> str:
    identity: dict[str, str] = dict(db.execute("SELECT name, value FROM identity").fetchall())
    if "chain_id" not in identity or "settlement" not in identity:
        raise InputRejected("the database names no deployment", hint="run the node once")
    return f"{identity['chain_id']}/{identity['settlement']}"
