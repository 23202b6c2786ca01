"""usufruct-meter: the buyer's and the caller's commands.

Exit codes: 0 ok, 1 found wrong, 2 usage or settings, 3 try again, 4 needs a person. Results go to stdout
(with --json one document), progress and errors to stderr; errors end with a hint and a code.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from usufruct_protocol.errors import InputRejected, Policy, UsufructError
from usufruct_protocol.receipts import settlement_domain
from usufruct_protocol.signing import checksum_address, parse_address

from usufruct_meter.cli_formats import add_format_commands
from usufruct_meter.http_request import request_sha256
from usufruct_meter.lane import Lane, now_ms
from usufruct_meter.lane_file import LaneFile, lane_files
from usufruct_meter.new_lane import (
    FOREVER_MS,
    LaneOptions,
    create_lane,
    describe_registration,
    sign_registration,
)
from usufruct_meter.shipper import Shipper
from usufruct_meter.spool_check import FAIL, WARN, check_lane, is_in_use
from usufruct_meter.spool_reader import SpoolReader
from usufruct_meter.verify import KeptReceipt, ReceiptBook, Verdict, check_counted, check_signatures

FOUND_WRONG: Final = 1
TRY_AGAIN: Final = 3
NEEDS_A_PERSON: Final = 4
_EXIT: Final = {Policy.NEVER_RETRY: 2, Policy.EXIT: 2, Policy.RETRY: TRY_AGAIN}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s")
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except UsufructError as error:
        _complain(str(error), error.hint or "see the message", error.code)
        return _EXIT.get(error.policy, NEEDS_A_PERSON)
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}", "is the path right, and may you use it?", "os_error")
        return 2
    except KeyboardInterrupt:
        _complain("interrupted", "run it again: nothing is half done", "interrupted")
        return TRY_AGAIN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="usufruct-meter", description="Meter calls and check receipts.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    lane = commands.add_parser("lane", help="make and show lanes").add_subparsers(
        required=True, metavar="COMMAND"
    )
    _add_lane_new(lane.add_parser("new", help="make a key, a spool and a lane file"))
    show = _add(lane, "show", _lane_show, "show a lane file, and its registration", location=True)
    show.add_argument("--registry", type=_address, help="LicenseRegistry: print what registerLane takes")
    _add(commands, "check", _check, "verify key, spool and every receipt of a lane", location=True)
    _add(commands, "status", _status, "how far a lane and its nodes are", location=True)
    ship = _add(commands, "ship", _ship, "bring what lies in spools to the nodes", location=True)
    ship.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="per lane (30)")
    _add_verify(commands)
    add_format_commands(commands)
    return parser


def _add(commands: Any, name: str, run: Any, text: str, *, location: bool = False) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    if location:
        parser.add_argument("lane", type=Path, help="a lane file, or a folder of them")
    return parser


def _add_lane_new(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_lane_new)
    parser.add_argument("folder", type=Path, help="where the lane's files go")
    parser.add_argument("--name", help="name of the files (default: by the lane's address)")
    parser.add_argument("--license", type=int, required=True, metavar="ID")
    parser.add_argument("--chain-id", type=int, required=True)
    parser.add_argument("--settlement", type=_address, required=True, help="address of UsageSettlement")
    parser.add_argument(
        "--genesis", type=int, required=True, metavar="SECONDS", help="as the contract has it"
    )
    parser.add_argument("--epoch-seconds", type=int, required=True, help="of the contract")
    parser.add_argument("--valid-from", type=int, default=0, metavar="MS")
    parser.add_argument("--valid-to", type=int, default=FOREVER_MS, metavar="MS")
    parser.add_argument("--unit-cap", type=int, default=2**96 - 1)
    parser.add_argument("--node", action="append", default=[], metavar="URL", help="repeat for each node")
    parser.add_argument("--registry", type=_address, help="LicenseRegistry: print what registerLane takes")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def _add_verify(commands: Any) -> None:
    parser = _add(commands, "verify-receipt", _verify_receipt, "check receipts: signed, yours, and counted")
    parser.add_argument("receipt", nargs="*", help="text of a Usage-Receipt header")
    parser.add_argument("--book", type=Path, help="file of kept receipts, one JSON object per line")
    parser.add_argument("--chain-id", type=int, required=True)
    parser.add_argument("--settlement", type=_address, required=True, help="address of UsageSettlement")
    parser.add_argument("--node", action="append", default=[], metavar="URL", help="ask these nodes; repeat")
    parser.add_argument("--epoch", type=int, help="the finalized epoch that should count the receipts")
    parser.add_argument("--report-hash", type=_bytes32, help="of that epoch, as the contract has it")
    parser.add_argument("--salt", help="the Usage-Receipt-Salt header of a single receipt")
    parser.add_argument("--request", metavar="'METHOD TARGET'", help="the request of a single receipt")
    parser.add_argument("--body", type=Path, help="file with the request's body")
    parser.add_argument("--idempotency-key", default="", help="the request's Idempotency-Key")


def _lane_new(options: argparse.Namespace) -> int:
    file = create_lane(
        options.folder,
        LaneOptions(
            license_id=options.license,
            chain_id=options.chain_id,
            settlement=options.settlement,
            genesis_s=options.genesis,
            epoch_seconds=options.epoch_seconds,
            nodes=options.node,
            valid_from_ms=options.valid_from,
            valid_to_ms=options.valid_to,
            unit_cap=options.unit_cap,
        ),
        name=options.name,
    )
    return _show(options, [_described(file, options.registry)])


def _lane_show(options: argparse.Namespace) -> int:
    return _show(options, [_described(file, options.registry) for file in _files(options)])


def _check(options: argparse.Namespace) -> int:
    found = [(file, line) for file in _files(options) for line in check_lane(file)]
    if options.json:
        _print_json([{"lane_file": str(file.path), **asdict(line)} for file, line in found])
    else:
        for file, line in found:
            print(f"{line.level:<5} {file.path.name}  {line.what:<8} {line.detail}")
            if line.hint:
                print(f"      hint: {line.hint}")
        failures, warnings = (sum(line.level == level for _, line in found) for level in (FAIL, WARN))
        print(f"{'Not ready' if failures else 'Ready'} with {warnings} warnings, {failures} failures.")
    return FOUND_WRONG if any(line.level == FAIL for _, line in found) else 0


def _status(options: argparse.Namespace) -> int:
    return _show(options, [_lane_status(file) for file in _files(options)])


def _ship(options: argparse.Namespace) -> int:
    shipped, is_behind = [], False
    for file in _files(options):
        if is_in_use(file):
            print(f"{file.path}: in use, its meter ships by itself", file=sys.stderr)
            continue
        with Lane.open(file) as lane, Shipper(lane) as shipper:
            shipper.settle(options.timeout)
            nodes = [asdict(node) for node in shipper.status()]
            is_behind |= any(node["acked_count"] != lane.count for node in nodes)
            shipped.append({"lane_file": str(file.path), "count": lane.count, "nodes": nodes})
    _show(options, shipped)
    return TRY_AGAIN if is_behind else 0


def _verify_receipt(options: argparse.Namespace) -> int:
    kept = [KeptReceipt(text) for text in options.receipt]
    if options.salt is not None or options.request is not None:
        kept = [_with_request(options, kept)]
    if options.book is not None:
        kept += ReceiptBook(options.book).receipts()
    if not kept:
        raise InputRejected(
            "no receipt given", hint="give the text of a Usage-Receipt header, or --book FILE"
        )
    if bool(options.node) != (options.epoch is not None):
        raise InputRejected(
            "--node and --epoch go together", hint="without both, only signatures are checked"
        )
    domain = settlement_domain(options.chain_id, options.settlement)
    if options.node:
        findings = check_counted(kept, options.node, options.epoch, domain, options.report_hash)
    else:
        findings = check_signatures(kept, domain)
    _show(options, [asdict(finding) for finding in findings])
    verdicts = {finding.verdict for finding in findings}
    if verdicts & {Verdict.DIFFERS, Verdict.NOT_COUNTED}:
        return FOUND_WRONG
    return TRY_AGAIN if verdicts - {Verdict.COUNTED, Verdict.SIGNED} else 0


def _with_request(options: argparse.Namespace, kept: Sequence[KeptReceipt]) -> KeptReceipt:
    if len(kept) != 1 or options.salt is None or options.request is None:
        raise InputRejected("--salt and --request go together, with one receipt")
    method, _, target = options.request.partition(" ")
    body = options.body.read_bytes() if options.body else b""
    digest = request_sha256(method, target, body, options.idempotency_key)
    return KeptReceipt(kept[0].text, options.salt, digest.hex())


def _files(options: argparse.Namespace) -> list[LaneFile]:
    return [LaneFile.load(path) for path in lane_files(options.lane)]


def _described(file: LaneFile, registry: bytes | None) -> dict[str, Any]:
    described: dict[str, Any] = {
        "lane_file": str(file.path),
        "lane": checksum_address(file.lane),
        "license_id": file.license_id,
        "chain_id": file.chain_id,
        "settlement": checksum_address(file.settlement),
        "valid_from_ms": file.valid_from_ms,
        "valid_to_ms": file.valid_to_ms,
        "unit_cap": str(file.unit_cap),
        "nodes": list(file.nodes),
    }
    if registry is not None:
        described["registration"] = describe_registration(*sign_registration(file, registry))
    return described


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
            "nodes": [{"url": url, "acked_count": acks.get(url)} for url in file.nodes],
        }
    finally:
        reader.close()


def _show(options: argparse.Namespace, documents: Sequence[dict[str, Any]]) -> int:
    if options.json:
        _print_json(documents)
        return 0
    for number, document in enumerate(documents):
        if number:
            print()
        for name, value in document.items():
            print(f"{name:<20} {_plain(value)}")
    return 0


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, list):
        return "\n                     ".join(_plain(item) for item in value) or "none"
    return "-" if value is None else str(value)


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=2))


def _complain(message: str, hint: str, code: str) -> None:
    print(f"error: {message}\nhint: {hint} [{code}]", file=sys.stderr)


def _address(text: str) -> bytes:
    try:
        return parse_address(text)
    except InputRejected as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _bytes32(text: str) -> bytes:
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != 32:
        raise argparse.ArgumentTypeError(f"expected 0x and 64 hex digits, got {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
