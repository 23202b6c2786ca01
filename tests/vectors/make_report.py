"""Make report.json: one whole epoch and the bytes it must become.

    python -m tests.vectors.make_report

Uses, roster weights with and without consent, income, a lane counted by its anchor, a roster that nobody has,
and a committee that starts after a reserve, in one report. What pins the numbers is `tests/reference`; this
pins the bytes: another implementation, or a later version of this one, has the same rules exactly if it gets
the same hashes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from usufruct_protocol.accruals import Accruals
from usufruct_protocol.chain_state import ChainState, LaneState, LicenseState, MeterKind
from usufruct_protocol.issue import after_reserve
from usufruct_protocol.money import ACCRUAL_SCALE, SplitBps
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.report import ReportInputs, build_report
from usufruct_protocol.roster import NO_ADDRESS, ConsentInterval, Roster, RosterRow

FILE = Path(__file__).with_name("report.json")
DAY_S = 86_400
START_S = 1_700_006_400
START_MS = START_S * 1000
SPLIT = SplitBps(7_000, 1_000, 1_000, 500, 500)


def named(text: str) -> bytes:
    """32 bytes that are fixed by what they are for."""
    return hashlib.sha256(text.encode()).digest()


def row(person: int, weight: int, *days: tuple[int, int], housed: bool = True) -> RosterRow:
    """A person with one record; consent in days from the period's start."""
    return RosterRow(
        purse=named(f"purse {person}"),
        weight=weight,
        payout=named(f"wallet {person}")[:20] if housed else NO_ADDRESS,
        threshold_base_units=0,
        salt=named(f"row salt {person}"),
        record_tags=(named(f"record {person}"),),
        intervals=tuple(
            ConsentInterval(START_MS + since * DAY_S * 1000, START_MS + until * DAY_S * 1000, named("tag"))
            for since, until in days
        ),
    )


def golden_inputs() -> ReportInputs:
    """Return the epoch of the vector."""
    rosters = {
        1: Roster.build([row(1, 1), row(2, 2), row(3, 3, housed=False)]),
        2: Roster.build([row(4, 5, (-9, -3)), row(5, 7, (-9, 9)), row(6, 11, (1, 9))]),
        3: Roster.build([row(7, 5, (-9, -3)), row(8, 7, (-9, 9)), row(9, 11)]),
    }
    kinds = (MeterKind.RETRIEVAL, MeterKind.INFERENCE, MeterKind.TRAINING, MeterKind.TOKENS)
    licenses = tuple(
        LicenseState(
            license_id=number,
            meter_kind=kind,
            price_per_million_units=1_234_567 * number,
            max_charge_per_epoch=5_000_000,
            split_bps=SPLIT,
            collection_hash=named(f"collection {number}"),
            roster_root=rosters[number].root if number in rosters else named("withheld roster"),
            available=4_000_000,
            charged=0,
            cumulative_units=0,
            income=1_000_001 * number,
        )
        for number, kind in enumerate(kinds, start=1)
    )
    lanes, heads = [], []
    for number in range(5):
        lane = named(f"lane {number}")[:20]
        point = Checkpoint(lane, 10 + number, 900_000 + number, named(f"root {number}"))
        anchor = point if number == 4 else None
        lanes.append(LaneState(number, lane, number % 4 + 1, 0, 2**63, 2**90, anchor))
        heads.append(None if number == 1 else point)
    before = Accruals(
        {named(f"purse {person}"): person * 1_333_333_333 for person in range(1, 9)}
        | {named("purse 0"): -36 * 1_333_333_333 % ACCRUAL_SCALE}
    )
    allocated = {1: 600_000, 3: 1}
    waiting = sum(-(-state.income * 7 // 10) for state in licenses) - sum(allocated.values())
    chain = ChainState(
        chain_id=31337,
        settlement=named("settlement")[:20],
        epoch=7,
        previous_report_hash=named("previous report"),
        previous_period_end_s=START_S,
        epoch_seconds=DAY_S,
        cutoff_block=777,
        cutoff_block_hash=named("cut-off"),
        cutoff_time_s=START_S + DAY_S + 60,
        next_attempt=0,
        signer_set_version=2,
        signers=(),
        pool=after_reserve(before, rosters).total // ACCRUAL_SCALE + waiting,
        note_minimum=1_000,
        custodian=named("custodian")[:20],
        consent_root=named("consent log"),
        licenses=licenses,
        lanes=tuple(lanes),
        reserve_first=True,
        reserve_issued_epoch=6,
    )
    usage = {1: {named("record 1"): 3, named("record 3"): 2, named("nobody's record"): 9}}
    carried = {1: {named("record 2"): 1}}
    return ReportInputs(
        chain,
        1,
        tuple(heads),
        usage,
        rosters,
        before,
        carried,
        allocated_income=allocated,
        last_rosters=rosters,
    )


def golden_output() -> dict[str, Any]:
    """Return what the epoch of the vector becomes."""
    built = build_report(golden_inputs())
    report = built.report
    return {
        "rule_version": report.rule_version,
        "report_hash": built.report_hash.hex(),
        "bundle_hash": report.bundle_hash.hex(),
        "lines": [[line.license_id, str(line.cumulative_units), str(line.charge)] for line in report.lines],
        "allocated_by": [line.allocated_by for line in built.lines],
        "notes": [report.notes_root.hex(), str(report.notes_total), report.note_count],
        "reserve": [report.reserve_root.hex(), str(report.reserve_total), report.reserve_count],
        "unallocated": str(built.unallocated),
        "roster_hash": report.roster_hash.hex(),
        "files": {name: hashlib.sha256(built.bundle[name]).hexdigest() for name in sorted(built.bundle)},
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(golden_output(), indent=2) + "\n", encoding="utf-8")
