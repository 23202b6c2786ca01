"""What a finalized epoch counted, as a caller without any rights can find it out from nodes.

    report hash (on chain) ← report ← lanes root ← lanes.bin: one checkpoint per lane ← receipt hashes

Each arrow is checked here, so a node can withhold, but not change, what the report of that hash says. Whether
the hash is the one on chain is for the caller to know; without it, all nodes that answer must agree.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from usufruct_protocol.bundle import LANES, unpack_lanes
from usufruct_protocol.eip712 import epoch_report_hash
from usufruct_protocol.errors import InputRejected, UsufructError
from usufruct_protocol.merkle import padded_root
from usufruct_protocol.receipts import Checkpoint, LaneFrontier
from usufruct_protocol.report_types import EpochReport, ReportLine

from usufruct_meter.errors import NodeRefused, NodeUnavailable
from usufruct_meter.nodes.node_client import NodeClient

_HASH_SIZE: Final = 32
_MAX_LANES_BYTES: Final = 64 * 1024 * 1024
_MAX_HASHES_BYTES: Final = 16 * 1024 * 1024
_BYTES_FIELDS: Final = (
    "previous_report_hash",
    "cutoff_block_hash",
    "lanes_root",
    "notes_root",
    "reserve_root",
    "consent_root",
    "roster_hash",
    "bundle_hash",
)
_TOTAL_FIELDS: Final = ("notes_total", "reserve_total")
_NUMBER_FIELDS: Final = (
    "epoch",
    "attempt",
    "period_end",
    "cutoff_block",
    "signer_set_version",
    "rule_version",
    "lane_count",
    "note_count",
    "reserve_count",
)


@dataclass(frozen=True, slots=True)
class FinalizedLanes:
    """Up to where one finalized report counted each lane."""

    epoch: int
    period_end_s: int
    report_hash: bytes
    heads: Mapping[bytes, Checkpoint]


def fetch_finalized_lanes(
    nodes: Sequence[NodeClient], epoch: int, report_hash: bytes | None = None
) -> FinalizedLanes:
    """Return what an epoch counted, from the first node that gives it whole.

    report_hash: the one that the contract stores for the epoch; None trusts the nodes asked
    Raises: NodeUnavailable if no node gives it; NodeRefused if nodes tell different reports apart.
    """
    found: dict[bytes, FinalizedLanes] = {}
    reasons: list[str] = []
    for node in nodes:
        try:
            lanes = _finalized_lanes_of(node, epoch)
        except UsufructError as error:
            reasons.append(str(error))
            continue
        if report_hash is None:
            found[lanes.report_hash] = lanes
        elif lanes.report_hash == report_hash:
            return lanes
        else:
            reasons.append(f"{node.url} has another report for epoch {epoch} than the one asked for")
    if len(found) > 1:
        raise NodeRefused(
            f"nodes hold {len(found)} different reports of epoch {epoch}",
            hint="read the report hash from the contract and give it",
        )
    if not found:
        raise NodeUnavailable(f"no node gives the lanes of epoch {epoch}: {'; '.join(reasons)}")
    return next(iter(found.values()))


def fetch_receipt_hashes(
    nodes: Sequence[NodeClient], head: Checkpoint, wanted: Collection[int]
) -> dict[int, bytes]:
    """Return the struct hashes of wanted receipts under a checkpoint, from the first node that has all.

    All hashes pass by, because only together they give the checkpoint's root; the wanted ones are kept.
    Raises: NodeUnavailable if no node gives hashes that the checkpoint commits to.
    """
    reasons: list[str] = []
    for node in nodes:
        try:
            return _receipt_hashes_of(node, head, wanted)
        except UsufructError as error:
            reasons.append(str(error))
    raise NodeUnavailable(f"no node gives the receipt hashes of the lane: {'; '.join(reasons)}")


def _finalized_lanes_of(node: NodeClient, epoch: int) -> FinalizedLanes:
    content = node.json(f"/v1/epochs/{epoch}")
    if content is None or content.get("report") is None:
        raise NodeUnavailable(f"{node.url} holds no final report of epoch {epoch}")
    try:
        report = _report(content["report"])
        report_hash = epoch_report_hash(report)
        data = node.data(f"/v1/epochs/{epoch}/bundle/{LANES}", _MAX_LANES_BYTES)
        heads = unpack_lanes(data or b"")
    except (InputRejected, KeyError, TypeError, ValueError) as error:
        raise NodeRefused(f"{node.url} gives a malformed report or lanes file: {error}") from error
    root = padded_root([head.struct_hash() if head else bytes(_HASH_SIZE) for head in heads])
    if report.epoch != epoch or root != report.lanes_root or len(heads) != report.lane_count:
        raise NodeRefused(f"{node.url} gives lanes for epoch {epoch} that its report does not commit to")
    return FinalizedLanes(epoch, report.period_end, report_hash, {head.lane: head for head in heads if head})


def _receipt_hashes_of(node: NodeClient, head: Checkpoint, wanted: Collection[int]) -> dict[int, bytes]:
    kept: dict[int, bytes] = {}
    frontier = LaneFrontier()
    while (seen := frontier.count) < head.count:
        path = f"/v1/lanes/0x{head.lane.hex()}/hashes?from_seq={seen}&to_count={head.count}"
        data = node.data(path, _MAX_HASHES_BYTES) or b""
        if not data or len(data) % _HASH_SIZE or seen + len(data) // _HASH_SIZE > head.count:
            raise NodeRefused(f"{node.url} does not give the {head.count} hashes of lane 0x{head.lane.hex()}")
        part = [data[at : at + _HASH_SIZE] for at in range(0, len(data), _HASH_SIZE)]
        frontier.extend(part)
        kept |= {seq: leaf for seq, leaf in enumerate(part, start=seen) if seq in wanted}
    if frontier.root() != head.receipts_root:
        raise NodeRefused(f"{node.url} gives hashes that the checkpoint does not commit to")
    return kept


def _report(content: Mapping[str, Any]) -> EpochReport:
    """Read a report's JSON. Raises: KeyError, TypeError or ValueError; ranges are checked when hashed."""
    values: dict[str, Any] = {name: _bytes32(content[name]) for name in _BYTES_FIELDS}
    values |= {name: int(str(content[name])) for name in (*_TOTAL_FIELDS, *_NUMBER_FIELDS)}
    lines = tuple(
        ReportLine(int(line["license_id"]), int(str(line["cumulative_units"])), int(str(line["charge"])))
        for line in content["lines"]
    )
    return EpochReport(**values, lines=lines)


def _bytes32(text: object) -> bytes:
    value = bytes.fromhex(str(text).removeprefix("0x"))
    if len(value) != _HASH_SIZE:
        raise ValueError(f"expected 32 bytes, got {len(value)}")
    return value
