"""usufruct-meter: the buyer's and the caller's commands.

Exit codes: 0 ok, 1 found wrong, 2 usage or settings, 3 try again, 4 needs a person.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from usufruct_protocol.errors import Policy, UsufructError
from usufruct_protocol.signing import checksum_address

from usufruct_meter.chain.anchoring import lane_coverage
from usufruct_meter.chain.errands import anchor_errand
from usufruct_meter.chain.lane_chain import LaneChain
from usufruct_meter.chain.registration import check_before_signing
from usufruct_meter.commands import challenges as challenge_commands
from usufruct_meter.commands import formats as format_commands
from usufruct_meter.commands import lanes as lane_commands
from usufruct_meter.commands import verify as verify_commands
from usufruct_meter.commands.console import (
    FOUND_WRONG,
    NEEDS_A_PERSON,
    TRY_AGAIN,
    add_command,
    complain,
    print_json,
    say,
    show,
)
from usufruct_meter.lane_check import FAIL, WARN, check_lane, is_in_use
from usufruct_meter.lanes.lane import Lane, now_ms
from usufruct_meter.lanes.lane_file import LaneFile, lane_files
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.shipping.shipper import Shipper

_EXIT: Final = {Policy.NEVER_RETRY: 2, Policy.EXIT: 2, Policy.RETRY: TRY_AGAIN}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s")
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except UsufructError as error:
        complain(str(error), error.hint or "see the message", error.code)
        return _EXIT.get(error.policy, NEEDS_A_PERSON)
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}", "is the path right, and may you use it?", "os_error")
        return 2
    except KeyboardInterrupt:
        complain("interrupted", "run it again: nothing is half done", "interrupted")
        return TRY_AGAIN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="usufruct-meter", description="Meter calls and check receipts.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    lane_commands.add_to(commands)
    text = "verify key, spool and every receipt of a lane, and hold it against the chain"
    add_command(commands, "check", _check, text, location=True)
    add_command(commands, "status", _status, "how far a lane and its nodes are", location=True)
    ship = add_command(commands, "ship", _ship, "bring what lies in spools to the nodes", location=True)
    ship.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="per lane (30)")
    text = "anchor a lane's last checkpoint on chain, without waiting until it has to be"
    anchor = add_command(commands, "anchor", _anchor, text, location=True)
    anchor.add_argument("--timeout", type=float, default=240.0, metavar="SECONDS", help="per lane (240)")
    anchor.add_argument("--if-due", action="store_true", help="only lanes that a running meter would anchor")
    challenge_commands.add_to(commands)
    verify_commands.add_to(commands)
    format_commands.add_to(commands)
    return parser


def _check(options: argparse.Namespace) -> int:
    found = [(file, line) for file in _files(options) for line in check_lane(file)]
    if options.json:
        print_json([{"lane_file": str(file.path), **asdict(line)} for file, line in found])
    else:
        for file, line in found:
            print(f"{line.level:<5} {file.path.name}  {line.what:<8} {line.detail}")
            if line.hint:
                print(f"      hint: {line.hint}")
        failures, warnings = (sum(line.level == level for _, line in found) for level in (FAIL, WARN))
        print(f"{'Not ready' if failures else 'Ready'} with {warnings} warnings, {failures} failures.")
    return FOUND_WRONG if any(line.level == FAIL for _, line in found) else 0


def _status(options: argparse.Namespace) -> int:
    return show(options, [_lane_status(file) for file in _files(options)])


def _ship(options: argparse.Namespace) -> int:
    shipped, is_behind = [], False
    for file in _files(options):
        if is_in_use(file):
            say(f"{file.path}: in use, its meter ships by itself")
            continue
        with Lane.open(file, check=check_before_signing) as lane, Shipper(lane) as shipper:
            shipper.settle(options.timeout)
            nodes = [asdict(node) for node in shipper.status()]
            is_behind |= any(node["acked_count"] != lane.count for node in nodes)
            shipped.append({"lane_file": str(file.path), "count": lane.count, "nodes": nodes})
    show(options, shipped)
    return TRY_AGAIN if is_behind else 0


def _anchor(options: argparse.Namespace) -> int:
    """Anchor lanes, in use or not: a running meter has signed the checkpoints of its lane already."""
    anchored = []
    for file in _files(options):
        chain = LaneChain.of(file)
        if not is_in_use(file):
            with Lane.open(file, check=check_before_signing) as lane:
                lane.checkpoint()
        with chain:
            anchored.append(_anchor_one(options, file, chain))
    return show(options, anchored)


def _anchor_one(options: argparse.Namespace, file: LaneFile, chain: LaneChain) -> dict[str, Any]:
    reader = SpoolReader.open(file.spool)
    try:
        point = reader.last_checkpoint()
        found, act_at_s = lane_coverage(file, chain, reader)
    finally:
        reader.close()
    is_due = act_at_s is not None and act_at_s * 1000 <= now_ms()
    if point is not None and (is_due or not options.if_due):
        chain.payer().run(anchor_errand(point.checkpoint, point.signature), wait_s=options.timeout)
        anchored_count = max(found.anchored_count, point.checkpoint.count)
    else:
        anchored_count = found.anchored_count
    return {"lane_file": str(file.path), "anchored_count": anchored_count, "was_due": is_due}


def _files(options: argparse.Namespace) -> list[LaneFile]:
    return [LaneFile.load(path) for path in lane_files(options.lane)]


def _lane_status(file: LaneFile) -> dict[str, Any]:
    reader = SpoolReader.open(file.spool)
    try:
        count = reader.count()
        last = reader.receipt(count - 1) if count else None
        point = reader.last_checkpoint()
        acks = reader.acks()
        units = last.receipt.cumulative_units if last else 0
        return {
            "lane_file": str(file.path),
            "lane": checksum_address(file.lane),
            "license_id": file.license_id,
            "is_in_use": is_in_use(file),
            "stopped_because": reader.stopped_because(),
            "is_valid_now": file.valid_from_ms <= now_ms() < file.valid_to_ms,
            "count": count,
            "cumulative_units": str(units),
            "units_left": str(max(0, file.max_cumulative_units - units)),
            "last_issued_at_ms": last.receipt.issued_at_ms if last else None,
            "checkpointed_count": point.checkpoint.count if point else 0,
            "usage_pruned_below": reader.usage_pruned_below(),
            "nodes": [{"url": url, "acked_count": acks.get(url)} for url in file.nodes],
            "chain": _chain_status(file, reader),
        }
    finally:
        reader.close()


def _chain_status(file: LaneFile, reader: SpoolReader) -> dict[str, Any] | None:
    """What the chain says; None without a chain file. A chain that does not answer is no failure here."""
    chain = LaneChain.beside(file)
    if chain is None:
        return None
    with chain:
        try:
            found, act_at_s = lane_coverage(file, chain, reader)
        except UsufructError as error:
            return {"error": str(error)}
    return {
        "covered_count": found.covered_count,
        "anchored_count": found.anchored_count,
        "anchor_from_s": act_at_s,
        "anchor_due_s": found.due_s,
    }


if __name__ == "__main__":
    sys.exit(main())
