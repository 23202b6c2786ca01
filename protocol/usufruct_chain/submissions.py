"""Reports as they were posted: found by their event, decoded from the transaction that carried them.

The contract keeps a report's hash only. Everything else (lanes, reserve, lines) is proven from calldata, and
anyone can check that against the hash.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import get_abi_input_types
from usufruct_protocol.eip712 import epoch_report_hash
from usufruct_protocol.errors import Incompatible, Transient
from usufruct_protocol.report_types import EpochReport, ReportLine

from usufruct_chain import artifacts
from usufruct_chain.abi import selector_of, topic_of
from usufruct_chain.onchain import SubmittedReport
from usufruct_chain.rpc import Rpc, data, hexed, quantity

BLOCKS_PER_SEARCH = 5_000
"""Blocks in one log query; public endpoints refuse much longer ranges."""


def find(
    rpc: Rpc, settlement: str, epoch: int, report_hash: bytes, from_block: int, to_block: int
) -> SubmittedReport | None:
    """Return the newest submission of a report within a range of blocks, searched from its end.

    Raises: Transient, Incompatible; see Reader.report_calldata.
    """
    topics = [
        hexed(topic_of(_abi_entry("event", "ReportSubmitted"))),
        hexed(epoch.to_bytes(32, "big")),
        hexed(report_hash),
    ]
    end = to_block
    while end >= from_block:
        start = max(from_block, end - BLOCKS_PER_SEARCH + 1)
        wanted = {"address": settlement, "topics": topics, "fromBlock": hex(start), "toBlock": hex(end)}
        logs = rpc.request("eth_getLogs", wanted)
        if logs:
            return _submission(rpc, logs[-1], report_hash)
        end = start - 1
    return None


def decode_submit(call_data: bytes, report_hash: bytes) -> tuple[EpochReport, bytes] | None:
    """Return the report of a given hash, and its signatures, out of a transaction's calldata.

    The call may be wrapped (a multi-signature wallet, a relay): every place that looks like a call of
    `submit` is tried, and the hash decides. None when there is none.
    """
    submit = _abi_entry("function", "submit")
    selector, input_types = selector_of(submit), get_abi_input_types(submit)
    at = call_data.find(selector)
    while at >= 0:
        try:
            # Not strict: behind a wrapped call the wrapper's own padding follows.
            values, signatures = decode(input_types, call_data[at + 4 :], strict=False)
        except (DecodingError, OverflowError):
            values = None
        if values is not None:
            report = report_from_tuple(values)
            if epoch_report_hash(report) == report_hash:
                return report, signatures
        at = call_data.find(selector, at + 1)
    return None


def report_from_tuple(values: tuple[Any, ...]) -> EpochReport:
    """Return a report from its ABI tuple; the inverse of `calls.report_tuple`."""
    *scalars, lines = values
    names = [field.name for field in fields(EpochReport)]
    report_lines = tuple(ReportLine(*line) for line in lines)
    return EpochReport(**dict(zip(names, (*scalars, report_lines), strict=True)))


def _submission(rpc: Rpc, log: Any, report_hash: bytes) -> SubmittedReport:
    transaction_hash = data(log["transactionHash"], 32)
    transaction = rpc.request("eth_getTransactionByHash", hexed(transaction_hash))
    if transaction is None:
        raise Transient(f"the endpoint has the event of {hexed(transaction_hash)} but not the transaction")
    found = decode_submit(data(transaction["input"]), report_hash)
    if found is None:
        raise Incompatible(
            f"transaction {hexed(transaction_hash)} posted report {hexed(report_hash)}, "
            "but nothing in its calldata decodes to it"
        )
    report, signatures = found
    _attempt, finalizable_at_s = decode(("uint32", "uint256"), data(log["data"]))
    return SubmittedReport(
        report=report,
        report_hash=report_hash,
        signatures=signatures,
        transaction_hash=transaction_hash,
        block_number=quantity(log["blockNumber"]),
        finalizable_at_s=finalizable_at_s,
    )


@cache
def _abi_entry(kind: str, name: str) -> Any:
    abi = artifacts.load("UsageSettlement").abi
    return next(entry for entry in abi if entry["type"] == kind and entry["name"] == name)
