"""usufruct-meter export and import: CloudEvents and FOCUS, from and to the spools of a folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.receipts import settlement_domain, verify_receipt_signature

from usufruct_meter.commands.console import add_command, show
from usufruct_meter.formats.cloudevents import UsageMapping, decode_receipts, decode_usage, encode_batches
from usufruct_meter.formats.focus import FocusTerms, focus_rows, usage_by_period, write_csv
from usufruct_meter.lanes.lane import now_ms
from usufruct_meter.lanes.lane_file import LaneFile, lane_files
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.meter import Meter
from usufruct_meter.signed_receipt import SignedReceipt


def add_to(commands: Any) -> None:
    """Add `export cloudevents`, `export focus`, `import usage` and `import receipts`."""
    out = commands.add_parser("export", help="receipts as CloudEvents, or costs as FOCUS, on stdout")
    kinds = out.add_subparsers(required=True, metavar="FORMAT")
    events = add_command(
        kinds, "cloudevents", _export_events, "receipts as a CloudEvents 1.0 batch per line", location=True
    )
    events.add_argument("--from-seq", type=int, default=0, metavar="SEQ", help="of each lane (0)")
    focus = add_command(
        kinds,
        "focus",
        _export_focus,
        "usage and estimated cost per lane and period, FOCUS 1.3 CSV",
        location=True,
    )
    focus.add_argument(
        "--price", type=int, required=True, metavar="BASE_UNITS", help="per million units, as in the license"
    )
    focus.add_argument("--token", default="USDC", help="that the price is in (USDC)")
    focus.add_argument("--token-decimals", type=int, default=6, help="of the token (6)")
    focus.add_argument("--currency", default="USD", help="that a token is booked as (USD)")
    focus.add_argument("--unit", default="Calls", help='of the meter, in the plural (Calls): "Tokens"')
    focus.add_argument("--provider", default="Usufruct", help="name of who sells: the steward")

    into = commands.add_parser("import", help="take CloudEvents in: usage to meter, receipts to check")
    kinds = into.add_subparsers(required=True, metavar="WHAT")
    usage = add_command(
        kinds, "usage", _import_usage, "meter usage events, each (source, id) once", location=True
    )
    usage.add_argument("file", type=Path, help="a CloudEvents batch")
    usage.add_argument("--units", metavar="FIELD", help="integer in data; without it an event is one unit")
    usage.add_argument("--type", metavar="TYPE", help="take only events of this type")
    receipts = add_command(
        kinds, "receipts", _import_receipts, "check the lane's signature on receipt events", location=True
    )
    receipts.add_argument("file", type=Path, help="a CloudEvents batch, as exported")


def _export_events(options: argparse.Namespace) -> int:
    for file in _files(options):
        for batch in encode_batches(_receipts(file, options.from_seq)):
            sys.stdout.write(batch.decode("ascii") + "\n")
    return 0


def _export_focus(options: argparse.Namespace) -> int:
    files = _files(options)
    if len({(file.license_id, file.chain_id, file.settlement) for file in files}) > 1:
        raise InputRejected(
            "these lanes are of several licenses, which have prices of their own",
            hint="export each license by itself: give its lane files a folder",
        )
    terms = FocusTerms(
        price_per_million_units=options.price,
        token=options.token,
        token_decimals=options.token_decimals,
        currency=options.currency,
        unit=options.unit,
        provider=options.provider,
    )
    usage = []
    for file in files:
        with closing(SpoolReader.open(file.spool)) as reader:
            usage += usage_by_period(file, reader)
    write_csv(focus_rows(usage, terms), sys.stdout)
    return 0


def _import_usage(options: argparse.Namespace) -> int:
    mapping = UsageMapping(options.units, options.type)
    calls = decode_usage(options.file.read_bytes(), mapping, now_ms())
    with Meter.open(options.lane) as meter:
        signed = meter.lane.meter_many(calls)
    repeats = sum(one.is_repeat for one in signed)
    units = sum(one.receipt.units for one in signed if not one.is_repeat)
    return show(options, [{"metered": len(signed) - repeats, "units": str(units), "known_before": repeats}])


def _import_receipts(options: argparse.Namespace) -> int:
    domains = {file.lane: settlement_domain(file.chain_id, file.settlement) for file in _files(options)}
    receipts = decode_receipts(options.file.read_bytes())
    for receipt, signature in receipts:
        if receipt.lane not in domains:
            raise InputRejected(f"receipt of lane 0x{receipt.lane.hex()}, which is none of these")
        verify_receipt_signature(receipt, signature, domains[receipt.lane])
    units = sum(receipt.units for receipt, _ in receipts)
    return show(options, [{"signed": len(receipts), "units": str(units)}])


def _receipts(file: LaneFile, from_seq: int) -> Iterator[SignedReceipt]:
    with closing(SpoolReader.open(file.spool)) as reader:
        for stored, _ in reader.receipts_from(file.lane, from_seq):
            yield stored.signed(is_repeat=False)


def _files(options: argparse.Namespace) -> list[LaneFile]:
    return [LaneFile.load(path) for path in lane_files(options.lane)]
