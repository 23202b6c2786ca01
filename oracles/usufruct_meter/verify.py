"""The caller's side: keep receipts, check them at once, and later that each one was counted.

    book = ReceiptBook("receipts.jsonl")
    client = httpx.Client(event_hooks={"response": [book.keep_response]})
    ...
    findings = check_counted(book.receipts(), nodes, epoch=3, domain=settlement_domain(chain_id, settlement))

A receipt proves that a call was counted, not what it used; and only the caller can tell that a receipt is for
its own request and not the copy of another call's.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import httpx
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.receipts import UsageReceipt, decode_signed_receipt, verify_receipt_signature

from usufruct_meter.errors import NodeRefused, NodeUnavailable
from usufruct_meter.http import request as http_request
from usufruct_meter.nodes.finalized import FinalizedLanes, fetch_finalized_lanes, fetch_receipt_hashes
from usufruct_meter.nodes.node_client import NodeClient
from usufruct_meter.signed_receipt import request_hash

_logger = logging.getLogger(__name__)


class Verdict(StrEnum):
    """What became of a receipt."""

    SIGNED = "signed"
    """Signed by its lane; whether it was counted was not asked."""
    COUNTED = "counted"
    NOT_COUNTED = "not_counted"
    """Issued within the period, but not counted with it. A late receipt is counted with the next epoch; one
    that is never counted proves under-reporting."""
    HIDDEN = "hidden"
    """Not counted, although its merge delay had passed when the period ended: show it to an auditor, or post
    it (`UsageChallenges.openBeyondCount`)."""
    NOT_DUE = "not_due"
    """Issued after the period, or so late in it that a later epoch may count it."""
    DIFFERS = "differs"
    """Forged, for another request, or not the receipt that was counted at its seq."""
    COULD_NOT_CHECK = "could_not_check"


@dataclass(frozen=True, slots=True)
class KeptReceipt:
    """What a caller keeps of one answer. Salt and request digest in hex; without them the receipt may be for
    any request."""

    text: str
    salt: str | None = None
    request_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One kept receipt and its verdict; lane and seq are None if the text is no receipt."""

    text: str
    lane: str | None
    seq: int | None
    verdict: Verdict
    detail: str


class ReceiptBook:
    """Receipts in a file, one JSON object per line."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)

    def keep(self, text: str, salt: str | None = None, request_sha256: bytes | None = None) -> None:
        """Add a receipt. Raises: InputRejected if the text is none."""
        decode_signed_receipt(text)
        kept = KeptReceipt(text, salt, None if request_sha256 is None else request_sha256.hex())
        line = json.dumps({name: value for name, value in asdict(kept).items() if value is not None})
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, (b"\n" if is_torn else b"") + f"{line}\n".encode("ascii"))
        finally:
            os.close(descriptor)

    def keep_response(self, response: httpx.Response) -> None:
        """Keep the receipt of an answer, if it has one, with what ties it to its request.

        As an event hook it does so for all: `httpx.Client(event_hooks={"response": [book.keep_response]})`.
        A request whose body was streamed cannot be read again: its receipt is kept without that tie.
        Raises: InputRejected if the header is no receipt.
        """
        text = response.headers.get("usage-receipt")
        if text is None:
            return
        request = response.request
        try:
            digest = http_request.request_sha256(
                request.method,
                request.url.raw_path,
                request.content,
                request.headers.get("idempotency-key", ""),
            )
        except httpx.RequestNotRead:
            digest = None
        self.keep(text, response.headers.get("usage-receipt-salt"), digest)

    def receipts(self) -> list[KeptReceipt]:
        """Return all receipts; one that a crash cut short at the end of a line is passed over.

        Raises: InputRejected naming file and line for anything else.
        """
        kept = []
        for number, line in enumerate(self._path.read_text(encoding="utf-8").splitlines(), start=1):
            if line.startswith("{") and not line.endswith("}"):
                _logger.warning("%s:%d: a receipt was cut short and is lost", self._path, number)
                continue
            try:
                kept.append(_kept_from(line))
            except (ValueError, TypeError) as error:
                raise InputRejected(f"{self._path}:{number}: not a kept receipt: {error}") from error
        return kept


def check_signed(kept: KeptReceipt, domain: bytes) -> UsageReceipt:
    """Return the receipt if its lane signed it, for this request as far as that is known.

    Raises: InputRejected.
    """
    receipt, signature = decode_signed_receipt(kept.text)
    verify_receipt_signature(receipt, signature, domain)
    if kept.salt is not None and kept.request_sha256 is not None:
        expected = request_hash(_hex32(kept.salt, "salt"), _hex32(kept.request_sha256, "request_sha256"))
        if receipt.request_hash != expected:
            raise InputRejected(
                f"receipt of lane 0x{receipt.lane.hex()} seq {receipt.seq} is for another request",
                hint="it may be the receipt of somebody else's call: show both to an auditor",
            )
    return receipt


def check_signatures(kept: Iterable[KeptReceipt], domain: bytes) -> list[Finding]:
    """Say of each receipt whether its lane signed it, for this request as far as that is known."""
    findings = []
    for one in kept:
        try:
            check_signed(one, domain)
            findings.append(_finding(one, Verdict.SIGNED, "signed by its lane"))
        except InputRejected as error:
            findings.append(_finding(one, Verdict.DIFFERS, str(error)))
    return findings


def check_counted(
    kept: Iterable[KeptReceipt],
    node_urls: Sequence[str],
    epoch: int,
    domain: bytes,
    report_hash: bytes | None = None,
    merge_delay_s: int | None = None,
) -> list[Finding]:
    """Say of each receipt whether the finalized report of an epoch counts it.

    report_hash:   the one that the contract stores; without it this trusts the nodes asked, who must agree
    merge_delay_s: how late a receipt may be counted; without it none is called hidden
    """
    with ExitStack() as stack:
        nodes = [stack.enter_context(NodeClient(url.rstrip("/"))) for url in node_urls]
        receipts = list(kept)
        checker = _Checker(nodes, epoch, domain, report_hash, merge_delay_s)
        checker.look_for(receipts)
        return [checker.check(one) for one in receipts]


class _Checker:
    """Fetches the lanes of an epoch once, and the hashes of each lane once."""

    def __init__(
        self,
        nodes: Sequence[NodeClient],
        epoch: int,
        domain: bytes,
        report_hash: bytes | None,
        merge_delay_s: int | None,
    ) -> None:
        self._nodes = nodes
        self._epoch = epoch
        self._domain = domain
        self._merge_delay_s = merge_delay_s
        self._wanted: defaultdict[bytes, set[int]] = defaultdict(set)
        self._hashes: dict[bytes, dict[int, bytes] | str] = {}
        self._lanes: FinalizedLanes | str
        try:
            self._lanes = fetch_finalized_lanes(nodes, epoch, report_hash)
        except (NodeUnavailable, NodeRefused) as error:
            self._lanes = str(error)

    def look_for(self, kept: Iterable[KeptReceipt]) -> None:
        """Say which receipts will be asked about: no other hashes are kept."""
        for one in kept:
            with suppress(InputRejected):
                receipt, _ = decode_signed_receipt(one.text)
                self._wanted[receipt.lane].add(receipt.seq)

    def check(self, kept: KeptReceipt) -> Finding:
        try:
            receipt = check_signed(kept, self._domain)
        except InputRejected as error:
            return _finding(kept, Verdict.DIFFERS, str(error))
        if isinstance(self._lanes, str):
            return _finding(kept, Verdict.COULD_NOT_CHECK, self._lanes)
        head = self._lanes.heads.get(receipt.lane)
        count = head.count if head else 0
        if head is None or receipt.seq >= count:
            verdict = self._verdict_uncounted(receipt, self._lanes.period_end_s)
            return _finding(kept, verdict, f"epoch {self._epoch} counts {count} receipts of the lane")
        hashes = self._hashes_of(receipt.lane)
        if isinstance(hashes, str):
            return _finding(kept, Verdict.COULD_NOT_CHECK, hashes)
        if hashes[receipt.seq] != receipt.struct_hash():
            return _finding(
                kept, Verdict.DIFFERS, f"epoch {self._epoch} counts another receipt as seq {receipt.seq}"
            )
        return _finding(kept, Verdict.COUNTED, f"epoch {self._epoch} counts it")

    def _verdict_uncounted(self, receipt: UsageReceipt, period_end_s: int) -> Verdict:
        if receipt.issued_at_ms >= period_end_s * 1000:
            return Verdict.NOT_DUE
        if self._merge_delay_s is None:
            return Verdict.NOT_COUNTED
        merged_by_ms = receipt.issued_at_ms + self._merge_delay_s * 1000
        return Verdict.HIDDEN if merged_by_ms <= period_end_s * 1000 else Verdict.NOT_DUE

    def _hashes_of(self, lane: bytes) -> dict[int, bytes] | str:
        if lane not in self._hashes and not isinstance(self._lanes, str):
            try:
                head = self._lanes.heads[lane]
                self._hashes[lane] = fetch_receipt_hashes(self._nodes, head, self._wanted[lane])
            except NodeUnavailable as error:
                self._hashes[lane] = str(error)
        return self._hashes[lane]


def _finding(kept: KeptReceipt, verdict: Verdict, detail: str) -> Finding:
    try:
        receipt, _ = decode_signed_receipt(kept.text)
    except InputRejected:
        return Finding(kept.text, None, None, verdict, detail)
    return Finding(kept.text, f"0x{receipt.lane.hex()}", receipt.seq, verdict, detail)


def _kept_from(line: str) -> KeptReceipt:
    fields = json.loads(line)
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise ValueError("expected an object of texts")
    return KeptReceipt(**fields)


def _hex32(text: str, name: str) -> bytes:
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != 32:
        raise InputRejected(f"{name} must be 64 hex digits")
    return value
