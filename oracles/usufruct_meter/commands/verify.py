"""usufruct-meter verify: what callers do with the receipts that they kept."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.receipts import settlement_domain

from usufruct_meter.chain.rpc import Endpoint
from usufruct_meter.chain.views import ChainView
from usufruct_meter.commands.console import FOUND_WRONG, TRY_AGAIN, add_command, address, bytes32, say, show
from usufruct_meter.http.request import request_sha256
from usufruct_meter.verify import (
    Finding,
    KeptReceipt,
    ReceiptBook,
    Verdict,
    check_counted,
    check_signatures,
)
from usufruct_meter.verify_chain import check_on_chain

_WRONG = {Verdict.DIFFERS, Verdict.NOT_COUNTED, Verdict.HIDDEN}
_GOOD = {Verdict.COUNTED, Verdict.SIGNED}


def add_to(commands: Any) -> None:
    """Add the command, also under its older name."""
    for name in ("verify", "verify-receipt"):
        _add(commands, name)


def _add(commands: Any, name: str) -> None:
    parser = add_command(commands, name, _verify, "check receipts: signed, yours, and counted")
    parser.add_argument("receipt", nargs="*", help="text of a Usage-Receipt header")
    parser.add_argument("--book", type=Path, help="file of kept receipts, one JSON object per line")
    parser.add_argument("--chain-id", type=int, required=True)
    parser.add_argument("--settlement", type=address, required=True, help="address of UsageSettlement")
    parser.add_argument("--node", action="append", default=[], metavar="URL", help="ask these nodes; repeat")
    parser.add_argument(
        "--rpc-url", action="append", default=[], metavar="URL", help="take the last report from the chain"
    )
    parser.add_argument("--epoch", type=int, help="without --rpc-url: the finalized epoch to look at")
    parser.add_argument("--report-hash", type=bytes32, help="of that epoch, as the contract has it")
    parser.add_argument("--salt", help="the Usage-Receipt-Salt header of a single receipt")
    parser.add_argument("--request", metavar="'METHOD TARGET'", help="the request of a single receipt")
    parser.add_argument("--body", type=Path, help="file with the request's body")
    parser.add_argument("--idempotency-key", default="", help="the request's Idempotency-Key")


def _verify(options: argparse.Namespace) -> int:
    findings = _findings(options, _kept(options))
    found = Counter(finding.verdict for finding in findings)
    say(", ".join(f"{count} {verdict}" for verdict, count in found.most_common()))
    show(options, [asdict(finding) for finding in findings])
    if found.keys() & _WRONG:
        return FOUND_WRONG
    return TRY_AGAIN if found.keys() - _GOOD else 0


def _findings(options: argparse.Namespace, kept: Sequence[KeptReceipt]) -> list[Finding]:
    if options.rpc_url and (options.epoch is not None or options.report_hash is not None):
        raise InputRejected("--rpc-url finds epoch and report hash itself", hint="leave those two out")
    if bool(options.node) != (options.epoch is not None or bool(options.rpc_url)):
        raise InputRejected(
            "--node and --rpc-url (or --epoch) go together", hint="without them, only signatures are checked"
        )
    domain = settlement_domain(options.chain_id, options.settlement)
    if options.rpc_url:
        with ExitStack() as stack:
            endpoints = [stack.enter_context(Endpoint(url, options.chain_id)) for url in options.rpc_url]
            views = [ChainView(endpoint, options.settlement) for endpoint in endpoints]
            return check_on_chain(kept, options.node, views, domain)
    if options.node:
        return check_counted(kept, options.node, options.epoch, domain, options.report_hash)
    return check_signatures(kept, domain)


def _kept(options: argparse.Namespace) -> list[KeptReceipt]:
    kept = [KeptReceipt(text) for text in options.receipt]
    if options.salt is not None or options.request is not None:
        kept = [_with_request(options, kept)]
    if options.book is not None:
        kept += ReceiptBook(options.book).receipts()
    if not kept:
        raise InputRejected(
            "no receipt given", hint="give the text of a Usage-Receipt header, or --book FILE"
        )
    return kept


def _with_request(options: argparse.Namespace, kept: Sequence[KeptReceipt]) -> KeptReceipt:
    if len(kept) != 1 or options.salt is None or options.request is None:
        raise InputRejected("--salt and --request go together, with one receipt")
    method, _, target = options.request.partition(" ")
    body = options.body.read_bytes() if options.body else b""
    digest = request_sha256(method, target, body, options.idempotency_key)
    return KeptReceipt(kept[0].text, options.salt, digest.hex())
