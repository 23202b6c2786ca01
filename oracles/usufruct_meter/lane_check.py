"""Checking a lane from outside, without disturbing it: its files, every receipt, and what the chain says."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Final

from usufruct_protocol.batches import Batch, check_openings
from usufruct_protocol.errors import UsufructError
from usufruct_protocol.receipts import (
    LaneFrontier,
    settlement_domain,
    verify_batch,
    verify_receipt_signature,
)
from usufruct_protocol.signing import checksum_address

from usufruct_meter.chain.anchoring import lane_coverage
from usufruct_meter.chain.lane_chain import LaneChain
from usufruct_meter.chain.registration import check_registered
from usufruct_meter.clock.watch import MAX_AHEAD_S, WORTH_SAYING_S, ClockWatch
from usufruct_meter.errors import NEW_LANE_HINT, LaneLocked
from usufruct_meter.lanes.chain_file import CHAIN_FILE_NAME
from usufruct_meter.lanes.lane import now_ms
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.lane_key import read_key_file
from usufruct_meter.lanes.lane_lock import LaneLock
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.nodes.node_client import NodeClient

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"
_ANCHOR_GAS: Final = 130_000
_ENOUGH_ANCHORS: Final = 10


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One line of `usufruct-meter check`."""

    level: str
    what: str
    detail: str
    hint: str = ""


def check_lane(file: LaneFile) -> Iterator[CheckLine]:
    """Yield what is right and wrong with a lane. Reads only; the lane may be in use."""
    yield _checked("key", lambda: _check_key(file))
    if not file.spool.is_file():
        yield CheckLine(
            FAIL, "spool", f"{file.spool} is missing", "start a new lane: usufruct-meter lane new"
        )
        return
    yield _checked("spool", lambda: _check_receipts(file))
    yield _checked("in use", lambda: "by a running meter" if is_in_use(file) else "by nobody")
    if not file.nodes:
        yield CheckLine(WARN, "nodes", "none in the lane file", "add them, or nothing is counted")
    error_s = _clock_error_s(file)
    if error_s is not None:
        yield _clock(error_s, "what nodes show", MAX_AHEAD_S, "set this machine's clock (NTP)")
    yield from _check_chain(file, is_clock_known=error_s is not None)


def is_in_use(file: LaneFile) -> bool:
    """Whether a process has the lane open."""
    try:
        LaneLock.acquire(file.spool).release()
    except LaneLocked:
        return True
    return False


def _clock_error_s(file: LaneFile) -> int | None:
    """Return how far the clock is off by what nodes show, whatever else they answer; None if too few do."""
    clock = ClockWatch(now_ms, len(file.nodes))
    if len(file.nodes) < clock.nodes_needed:
        return None

    def ask(url: str) -> None:
        with NodeClient(url, clock.heard) as node, suppress(UsufructError):
            node.json("/health")

    with ThreadPoolExecutor(len(file.nodes)) as pool:
        list(pool.map(ask, file.nodes))
    return clock.error_s()


def _check_chain(file: LaneFile, *, is_clock_known: bool) -> Iterator[CheckLine]:
    try:
        chain = LaneChain.beside(file)
    except UsufructError as error:
        yield CheckLine(FAIL, "chain", str(error), error.hint)
        return
    if chain is None:
        hint = f"put {CHAIN_FILE_NAME} beside the lane file (docs/buyer.md)"
        yield CheckLine(WARN, "chain", "no chain file: nobody anchors when nodes do not answer", hint)
        return
    with chain, closing(SpoolReader.open(file.spool)) as reader:
        yield _checked("lane", lambda: f"number {check_registered(file, chain)} on chain")
        yield _checked("covered", lambda: _covered(file, chain, reader))
        if not is_clock_known:
            yield _checked_line("clock", lambda: _clock_by_head(chain))
        yield from _check_payer(chain)


def _covered(file: LaneFile, chain: LaneChain, reader: SpoolReader) -> str:
    chain.check_not_ahead(reader, chain.facts())
    found, _ = lane_coverage(file, chain, reader)
    said = f"{found.covered_count} of {reader.count()} receipts, {found.anchored_count} by an anchor"
    if found.due_s is not None and found.due_s <= time.time():
        raise UsufructError(
            f"{said}; the merge delay of the next one has passed",
            hint="usufruct-meter ship, then usufruct-meter anchor",
        )
    return said


def _clock_by_head(chain: LaneChain) -> CheckLine:
    """Hold the clock against the newest block. That may be an old one: a person can tell."""
    error_s = int(time.time()) - max(one.head.time_s for one in chain.facts())
    hint = "is this machine's clock right, and does the chain move?"
    return _clock(error_s, "the last block", WORTH_SAYING_S, hint)


def _clock(error_s: int, other: str, fails_from_s: int, hint: str) -> CheckLine:
    said = f"{abs(error_s)} s {'behind' if error_s < 0 else 'ahead of'} {other}"
    if abs(error_s) <= WORTH_SAYING_S:
        return CheckLine(OK, "clock", said)
    return CheckLine(FAIL if error_s > fails_from_s else WARN, "clock", said, hint)


def _check_payer(chain: LaneChain) -> Iterator[CheckLine]:
    try:
        account = chain.payer()
        payer, balance_wei = checksum_address(account.address), account.balance_wei()
        price_wei = max(one.head.base_fee_wei for one in chain.facts()) * 2 * _ANCHOR_GAS
    except UsufructError as error:
        yield CheckLine(FAIL, "payer", str(error), error.hint)
        return
    anchors = balance_wei // price_wei if price_wei else None
    said = f"{payer} has {balance_wei / 10**18:.4f} ether"
    if anchors is None or anchors >= _ENOUGH_ANCHORS:
        yield CheckLine(OK, "payer", said)
    else:
        level = WARN if anchors else FAIL
        yield CheckLine(level, "payer", f"{said}, enough for {anchors} anchors", "send it some ether")


def _checked(what: str, check: Callable[[], str]) -> CheckLine:
    return _checked_line(what, lambda: CheckLine(OK, what, check()))


def _checked_line(what: str, check: Callable[[], CheckLine]) -> CheckLine:
    try:
        return check()
    except UsufructError as error:
        return CheckLine(FAIL, what, str(error), error.hint)
    except sqlite3.DatabaseError as error:
        return CheckLine(FAIL, what, f"{error}", NEW_LANE_HINT)


def _check_key(file: LaneFile) -> str:
    key = read_key_file(file.key_file)
    if key.address != file.lane:
        raise UsufructError(f"{file.key_file} is the key of {checksum_address(key.address)}, another lane")
    return f"signs for {checksum_address(file.lane)}"


def _check_receipts(file: LaneFile) -> str:
    """Verify every receipt, opening and checkpoint that there is."""
    domain = settlement_domain(file.chain_id, file.settlement)
    with closing(SpoolReader.open(file.spool)) as reader:
        reader.check_integrity()
        reason = reader.stopped_because()
        if reason is not None:
            raise UsufructError(f"the lane was stopped: {reason}", hint=NEW_LANE_HINT)
        if reader.lane() != file.lane:
            raise UsufructError(f"the spool is of lane {checksum_address(reader.lane())}")
        pruned_below = reader.usage_pruned_below()
        frontier = LaneFrontier()
        for row in reader.checkpoints_after(0, -1):
            first, end = frontier.count, row.checkpoint.count
            batch = Batch(
                file.lane,
                first,
                reader.records(first, end),
                row.checkpoint,
                row.signature,
                reader.openings(first, end),
            )
            frontier = verify_batch(frontier, batch.records, row.checkpoint, row.signature, domain)
            if first >= pruned_below:
                check_openings(batch)
        checkpointed = frontier.count
        for stored, _ in reader.receipts_from(file.lane, 0):
            verify_receipt_signature(stored.receipt, stored.signature, domain)
            if stored.receipt.seq >= checkpointed:
                frontier.append(stored.receipt)
    return f"{frontier.count} receipts, {frontier.cumulative_units} units, {checkpointed} under checkpoints"
