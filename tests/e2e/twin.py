"""What an epoch must come to, by `tests/reference` alone, from what a test has metered.

Follows one committee through its epochs. Nothing here is taken from a node: how far each lane must be counted
is said by the test, and everything else is computed again by the slow and obvious way.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from struct import Struct

from eth_hash.auto import keccak
from usufruct_protocol.bundle import ACCRUALS, manifest_hash
from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.receipts import unpack_usage_list
from usufruct_protocol.report_types import EpochReport
from usufruct_protocol.roster import Roster

from tests.integration.chain_world import EPOCH_S, GENESIS_S, NOTE_MINIMUM
from tests.reference import receipts as receipts_by_hand
from tests.reference import sumtree
from tests.reference.report import BILLIONTH, settle_epoch
from tests.reference.typed_data import hash_typed
from tests.unit.oracle.lane_kit import KitLane

RECORD = Struct(">QQ16s32s32sQ")
RESERVE, RESERVE_SALT, ACCRUALS_MARK = b"\x02", b"\x06", b"UFA1"
TERMS = {"price": 2_000_000, "cap": 100_000_000, "bps": (7_000, 1_000, 1_000, 500, 500)}


@dataclass(frozen=True)
class Expected:
    """An epoch as it must be: report lines, notes in order, roots, accruals to the byte."""

    lines: list[tuple[int, int, int]]
    notes: list[tuple[bytes, int]]
    lanes_root: bytes
    notes_root: bytes
    reserve_root: bytes
    reserve_total: int
    accruals: bytes

    def check(self, report: EpochReport, manifest: Mapping[str, tuple[bytes, int]]) -> None:
        """Hold a finalized report, and the digests of its bundle's files, against this."""
        assert [(line.license_id, line.cumulative_units, line.charge) for line in report.lines] == self.lines
        notes_total = sum(amount for _, amount in self.notes)
        assert (report.note_count, report.notes_total) == (len(self.notes), notes_total)
        assert report.lanes_root == self.lanes_root
        assert report.notes_root == self.notes_root
        assert (report.reserve_total, report.reserve_root) == (self.reserve_total, self.reserve_root)
        assert manifest_hash(manifest) == report.bundle_hash
        assert manifest[ACCRUALS] == (hashlib.sha256(self.accruals).digest(), len(self.accruals))


@dataclass
class Twin:
    """The licenses of a committee and what they have come to. `counts` says how far lanes are counted."""

    kinds: Mapping[int, MeterKind]
    rosters: Mapping[int, Roster]
    deposits: Mapping[int, int]
    epoch: int = 0
    counts: dict[int, int] = field(default_factory=dict)
    charged: Counter[int] = field(default_factory=Counter)
    committed: Counter[int] = field(default_factory=Counter)
    accruals: dict[bytes, Fraction] = field(default_factory=dict)
    paid: Counter[bytes] = field(default_factory=Counter)

    def settle(self, lanes: Sequence[KitLane], counts: Mapping[int, int] | None = None) -> Expected:
        """Settle the next epoch; lane numbers not in `counts` are counted to their end."""
        self.epoch += 1
        now = {lane.number: lane.count for lane in lanes} | dict(counts or {})
        assert all(now[number] >= count for number, count in self.counts.items())
        units, usage = Counter[int](), {license_id: Counter[bytes]() for license_id in self.kinds}
        for lane in lanes:
            units[lane.license_id] += _units(lane, now[lane.number])
            for seq in range(self.counts.get(lane.number, 0), now[lane.number]):
                if seq in lane.openings:
                    entries = unpack_usage_list(lane.openings[seq]).entries
                    usage[lane.license_id].update({entry.record_tag: entry.weight for entry in entries})
        start_s = GENESIS_S + (self.epoch - 1) * EPOCH_S
        lines, accruals, notes, reserve, _ = settle_epoch(
            [self._license(license_id, units[license_id]) for license_id in self.kinds],
            {license_id: _plain(roster) for license_id, roster in self.rosters.items()},
            usage,
            self.accruals,
            NOTE_MINIMUM,
            (start_s * 1000, (start_s + EPOCH_S) * 1000),
        )
        assert not any(carried for _, _, _, carried, *_ in lines), "a twin carries no use: fund it"
        for license_id, _, charge, *_ in lines:
            self.charged[license_id] += charge
        self.counts, self.committed, self.accruals = now, units, accruals
        for payee, amount in notes:
            self.paid[payee] += amount
        return Expected(
            [(license_id, units, charge) for license_id, units, charge, *_ in lines],
            notes,
            receipts_by_hand.padded_root([_head(lane, now[lane.number]) for lane in lanes]),
            sumtree.root([sumtree.note(_word(*note)) for note in notes]).hash if notes else bytes(32),
            self._reserve_root(),
            sum(amount for _, amount in reserve),
            _packed(accruals),
        )

    def _license(self, license_id: int, units: int) -> dict[str, object]:
        kind = self.kinds[license_id]
        return {
            "id": license_id,
            **TERMS,
            "available": self.deposits[license_id] - self.charged[license_id],
            "charged": self.charged[license_id],
            "committed": self.committed[license_id],
            "units": units,
            "by_use": kind in (MeterKind.RETRIEVAL, MeterKind.EMBEDDING),
            "model": kind in (MeterKind.INFERENCE, MeterKind.TOKENS),
            "income": 0,
            "allocated": 0,
        }

    def _reserve_root(self) -> bytes:
        """One salted leaf per purse that is owed a whole base unit, in the order of their hashes."""
        rows = {row.purse: row for roster in self.rosters.values() for row in roster.rows}
        leaves = []
        for purse, amount in self.accruals.items():
            if whole := int(amount):
                salt = keccak(RESERVE_SALT + rows[purse].salt + self.epoch.to_bytes(8, "big"))
                word = _word(rows[purse].payout, whole).to_bytes(32, "big")
                leaves.append(sumtree.Node(keccak(RESERVE + word + salt), whole))
        leaves.sort(key=lambda leaf: leaf.hash)
        return sumtree.root(leaves).hash if leaves else bytes(32)


def _units(lane: KitLane, count: int) -> int:
    return sum(units for _, units, *_ in _receipts(lane, count))


def _head(lane: KitLane, count: int) -> bytes:
    """The leaf of a lane: the hash of its checkpoint, or nothing."""
    if not count:
        return bytes(32)
    hashes = [
        receipts_by_hand.receipt_hash(
            lane.address, seq, units, int.from_bytes(total, "big"), used, asked, at_ms
        )
        for seq, units, total, used, asked, at_ms in _receipts(lane, count)
    ]
    message = {
        "lane": lane.address,
        "count": count,
        "cumulativeUnits": _units(lane, count),
        "receiptsRoot": receipts_by_hand.padded_root(hashes),
    }
    return hash_typed("Usufruct Settlement", 31337, bytes(20), "Checkpoint", message).struct_hash


def _receipts(lane: KitLane, count: int) -> list[tuple[int, int, bytes, bytes, bytes, int]]:
    return list(RECORD.iter_unpack(lane.records[: count * RECORD.size]))


def _word(payee: bytes, amount: int) -> int:
    return int.from_bytes(payee + amount.to_bytes(12, "big"), "big")


def _packed(accruals: Mapping[bytes, Fraction]) -> bytes:
    rows = [purse + int(accruals[purse] / BILLIONTH).to_bytes(16, "big") for purse in sorted(accruals)]
    return ACCRUALS_MARK + len(rows).to_bytes(4, "big") + b"".join(rows)


def _plain(roster: Roster) -> list[dict[str, object]]:
    return [
        {
            "purse": row.purse,
            "weight": row.weight,
            "payout": row.payout,
            "threshold": row.threshold_base_units,
            "records": set(row.record_tags),
            "consent": [],
        }
        for row in roster.rows
    ]
