"""The report of an epoch: a pure function that every node computes to the same bytes.

Order within an epoch: charge, split, accrue, issue, reserve (docs/spec.md, agreement 17). Inputs are the last
finalized report's state, the lane vector, the chain at the cut-off block, the rosters; nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from usufruct_protocol import bundle
from usufruct_protocol.accruals import EMPTY, Accruals
from usufruct_protocol.allocation import allocate
from usufruct_protocol.chain_state import ChainState, LaneState, LicenseState
from usufruct_protocol.eip712 import epoch_report_hash
from usufruct_protocol.errors import Incompatible, InputRejected, InvariantBroken
from usufruct_protocol.income import pack_income, unallocated_income
from usufruct_protocol.issue import Issue, after_reserve, issue_notes, reserve_tree
from usufruct_protocol.merkle import padded_root
from usufruct_protocol.money import (
    ACCRUAL_SCALE,
    Split,
    charge_base_units,
    due_base_units,
    split_charge,
)
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.report_types import EpochReport, ReportLine
from usufruct_protocol.roster import Roster, rosters_hash
from usufruct_protocol.sumtree import NoteTree, SumTree, pack_words
from usufruct_protocol.usage import Usage, add_usage, pack_usage
from usufruct_protocol.weights import charge_weights, income_weights

RULE_VERSION: Final = 2
MAX_LINES: Final = 100


@dataclass(frozen=True, slots=True)
class ReportInputs:
    """Everything the report of one (epoch, attempt) is computed from.

    heads:    one gateway-signed checkpoint per lane number, None for a lane that counts nothing yet
    usage:    record weights of the receipts newly counted this epoch, by license
    rosters:  by license; each must have the root that the chain names. One that nobody can get is left out,
              and its license is not charged: a steward who withholds a roster must not hold up everybody else
    accruals: state after the last finalized report
    carried:  record weights that the last finalized report left for later (`BuiltReport.carried`)
    allocated_income: contributors' income by license that reports up to the last finalized one have allocated
    last_rosters: rosters of the last finalized report; used only where its reserve was issued
    """

    chain: ChainState
    attempt: int
    heads: tuple[Checkpoint | None, ...]
    usage: Usage
    rosters: Mapping[int, Roster]
    accruals: Accruals = EMPTY
    carried: Usage = field(default_factory=dict)
    allocated_income: Mapping[int, int] = field(default_factory=dict)
    last_rosters: Mapping[int, Roster] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LineResult:
    """How one license came out. Units are metered units, money is base units, `split` divides `charge`.

    `carried_due` is what stays due because the escrow, the cap or a missing roster did not allow more.
    """

    license_id: int
    cumulative_units: int
    new_units: int
    due: int
    charge: int
    carried_due: int
    split: Split
    allocated_by: str
    unknown_tags: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class BuiltReport:
    """A report and everything behind it: `bundle` holds the files that its bundle hash commits to.

    `allocated_income` is the contributors' income by license that is allocated now, in base units; the rest
    of what arrived is in the pool, declared as `unallocated`.
    """

    report: EpochReport
    report_hash: bytes
    words: tuple[int, ...]
    notes: NoteTree
    reserve: SumTree
    accruals: Accruals
    carried: Usage
    allocated_income: Mapping[int, int]
    unallocated: int
    lines: tuple[LineResult, ...]
    bundle: Mapping[str, bytes]


def build_report(inputs: ReportInputs) -> BuiltReport:
    """Compute the report of an epoch.

    Raises: InputRejected if the inputs do not fit together (a lane count below the committed one, a roster
            that is not the one on chain); InvariantBroken if money would not add up.
    Source: docs/spec.md, report
    """
    _check_rosters(inputs)
    units = _units_by_license(inputs)
    usage = add_usage(inputs.usage, inputs.carried)
    start = _start(inputs)
    settled = _pick_lines(inputs, [_settle(inputs, state, units, usage) for state in inputs.chain.licenses])
    paid_in = _income_pots(inputs, start, usage)
    accrued = _accrue(inputs, start.accruals, [*(line.pot for line in settled), *paid_in])
    issued = issue_notes(accrued, inputs.rosters, inputs.chain.note_minimum)
    reserve = reserve_tree(issued.accruals, inputs.rosters, inputs.chain)
    results = tuple(line.result for line in settled)
    carried = _carry(inputs, results, usage)
    allocated_income = _add_income(inputs.allocated_income, paid_in)
    lines = tuple(ReportLine(line.license_id, line.cumulative_units, line.charge) for line in results)
    files = {
        bundle.LANES: bundle.pack_lanes(inputs.heads),
        bundle.LINES: bundle.pack_lines(lines),
        bundle.WORDS: pack_words(issued.words),
        bundle.INCOME: pack_income(allocated_income),
        bundle.ACCRUALS: issued.accruals.to_bytes(),
        bundle.CARRIED: pack_usage(carried),
        bundle.ROSTERS: bundle.pack_rosters(inputs.rosters),
        bundle.USAGE: pack_usage(usage),
    }
    notes = NoteTree.from_packed(files[bundle.WORDS])
    unallocated = sum(start.income.values()) - sum(pot.base_units for pot in paid_in)
    _check_conservation(start, results, unallocated, issued, notes, reserve)
    report = _report(inputs, lines, notes, reserve, files)
    return BuiltReport(
        report,
        epoch_report_hash(report),
        issued.words,
        notes,
        reserve,
        issued.accruals,
        carried,
        allocated_income,
        unallocated,
        results,
        files,
    )


def _check_rosters(inputs: ReportInputs) -> None:
    on_chain = {state.license_id: state.roster_root for state in inputs.chain.licenses}
    for license_id, roster in inputs.rosters.items():
        if roster.root != on_chain.get(license_id):
            raise InputRejected(
                f"license {license_id}: roster {roster.root.hex()} is not the one on chain at the cut-off",
                hint="fetch the roster by its root from the steward or a peer",
            )


def _units_by_license(inputs: ReportInputs) -> dict[int, int]:
    """Sum each license's lanes. Raises InputRejected for a vector that does not fit the registry."""
    lanes = inputs.chain.lanes
    if len(inputs.heads) != len(lanes):
        raise InputRejected(f"the lane vector has {len(inputs.heads)} lanes, the registry {len(lanes)}")
    units = {state.license_id: 0 for state in inputs.chain.licenses}
    for lane, head in zip(lanes, inputs.heads, strict=True):
        _check_anchor(lane, head)
        if head is None:
            continue
        if head.lane != lane.lane:
            raise InputRejected(
                f"lane {lane.number} is {lane.lane.hex()}, the vector names {head.lane.hex()}"
            )
        if head.cumulative_units > lane.unit_cap:
            raise InputRejected(
                f"lane {lane.number} counts {head.cumulative_units} units, its cap is {lane.unit_cap}"
            )
        units[lane.license_id] += head.cumulative_units
    for state in inputs.chain.licenses:
        if units[state.license_id] < state.cumulative_units:
            raise InputRejected(
                f"license {state.license_id} fell from {state.cumulative_units} committed units to "
                f"{units[state.license_id]}",
                hint="a lane count may never fall; use a vector that holds what was committed",
            )
    return units


def _check_anchor(lane: LaneState, head: Checkpoint | None) -> None:
    """Raise InputRejected if a lane counts less than what its gateway had put on chain in time."""
    if not lane.keeps_anchor(head):
        count, anchored = 0 if head is None else head.count, 0 if lane.anchor is None else lane.anchor.count
        raise InputRejected(
            f"lane {lane.number} counts {count} receipts, {anchored} were anchored in time",
            hint="whoever signs this can be slashed; get the receipts, or adopt the anchored checkpoint",
        )


@dataclass(frozen=True, slots=True)
class _Pot:
    """Contributors' money of one license in this epoch, and the weights, in roster order, to divide it by."""

    license_id: int
    base_units: int
    weights: list[int]


@dataclass(frozen=True, slots=True)
class _Settled:
    """A license's result and its contributors' part of the charge."""

    result: LineResult
    pot: _Pot


@dataclass(frozen=True, slots=True)
class _Start:
    """What the epoch starts from: accruals, income that waits by license, and the pool that holds both."""

    accruals: Accruals
    income: Mapping[int, int]
    pool: int


def _start(inputs: ReportInputs) -> _Start:
    """Take over what the last finalized report left, less its reserve if that is issued before this report.

    Raises InvariantBroken unless accruals and waiting income are exactly the pool.
    """
    chain, accruals, pool = inputs.chain, inputs.accruals, inputs.chain.pool
    if chain.starts_after_reserve:
        accruals = after_reserve(inputs.accruals, inputs.last_rosters)
        if not chain.is_reserve_issued:
            pool -= (inputs.accruals.total - accruals.total) // ACCRUAL_SCALE
    income = unallocated_income(chain.licenses, inputs.allocated_income)
    if accruals.total + sum(income.values()) * ACCRUAL_SCALE != pool * ACCRUAL_SCALE:
        raise InvariantBroken(
            f"the pool holds {pool} base units, accruals are {accruals.total} billionths and waiting income "
            f"{sum(income.values())} base units",
            hint="these are not the accruals of the last finalized report; fetch them by its bundle hash",
        )
    return _Start(accruals, income, pool)


def _settle(
    inputs: ReportInputs, state: LicenseState, units_by_license: Mapping[int, int], usage: Usage
) -> _Settled:
    """Charge one license: what is due, as far as balance, cap and somebody to pay allow."""
    license_id = state.license_id
    units = units_by_license[license_id]
    due = due_base_units(units, state.price_per_million_units, state.charged)
    used = usage.get(license_id, {})
    roster = inputs.rosters.get(license_id)
    weights, allocated_by = charge_weights(inputs.chain, state, used, roster)
    charge = charge_base_units(due, state.available, state.max_charge_per_epoch) if weights else 0
    split = split_charge(state.charged, state.charged + charge, state.split_bps)
    unknown = tuple(sorted(tag for tag in used if roster is None or tag not in roster.row_of_tag))
    new_units = units - state.cumulative_units
    result = LineResult(license_id, units, new_units, due, charge, due - charge, split, allocated_by, unknown)
    return _Settled(result, _Pot(license_id, split.contributors, weights))


def _income_pots(inputs: ReportInputs, start: _Start, usage: Usage) -> list[_Pot]:
    """Return the income that can be allocated now, by license; the rest waits."""
    states = {state.license_id: state for state in inputs.chain.licenses}
    pots = []
    for license_id, amount in start.income.items():
        used, roster = usage.get(license_id, {}), inputs.rosters.get(license_id)
        weights = income_weights(inputs.chain, states[license_id], used, roster)
        if weights:
            pots.append(_Pot(license_id, amount, weights))
    return pots


def _add_income(allocated: Mapping[int, int], pots: list[_Pot]) -> dict[int, int]:
    after = dict(allocated)
    for pot in pots:
        after[pot.license_id] = after.get(pot.license_id, 0) + pot.base_units
    return after


def _pick_lines(inputs: ReportInputs, settled: list[_Settled]) -> list[_Settled]:
    """Keep the licenses that changed, at most 100.

    Which ones wait turns with the epoch, so that no license waits for ever. Everything is cumulative: what
    waits is charged later, with its record weights carried.
    """
    changed = [line for line in settled if line.result.new_units or line.result.charge]
    if len(changed) <= MAX_LINES:
        return changed
    first = inputs.chain.epoch * MAX_LINES % len(changed)
    turned = changed[first:] + changed[:first]
    return sorted(turned[:MAX_LINES], key=lambda line: line.result.license_id)


def _carry(inputs: ReportInputs, lines: tuple[LineResult, ...], usage: Usage) -> dict[int, dict[bytes, int]]:
    """Keep the record weights that no charge has fully paid, so that what is paid later goes to the people
    whose use made it due. Tags that the roster does not know would never be paid and are dropped."""
    free = {state.license_id for state in inputs.chain.licenses if not state.price_per_million_units}
    paid_up = free | {line.license_id for line in lines if line.charge and not line.carried_due}
    carried = {}
    for license_id, weights in usage.items():
        roster = inputs.rosters.get(license_id)
        kept = {tag: weight for tag, weight in weights.items() if roster is None or tag in roster.row_of_tag}
        if license_id not in paid_up and kept:
            carried[license_id] = kept
    return carried


def _accrue(inputs: ReportInputs, before: Accruals, pots: list[_Pot]) -> dict[bytes, int]:
    """Add each pot to its purses, exactly, in billionths of a base unit."""
    accrued = dict(before.items())
    for pot in pots:
        if not pot.base_units:
            continue
        rows = inputs.rosters[pot.license_id].rows
        for row, part in zip(rows, allocate(pot.base_units * ACCRUAL_SCALE, pot.weights), strict=True):
            if part:
                accrued[row.purse] = accrued.get(row.purse, 0) + part
    return accrued


def check_rule_version(report: EpochReport) -> None:
    """Refuse a report of other rules: its bundle may look the same and mean something else.

    Raises: Incompatible.
    """
    if report.rule_version != RULE_VERSION:
        raise Incompatible(
            f"the report of epoch {report.epoch} follows rule version {report.rule_version}, this program "
            f"knows {RULE_VERSION}",
            hint="use the release that knows it: CHANGELOG.md",
        )


def _check_conservation(
    start: _Start,
    lines: tuple[LineResult, ...],
    unallocated: int,
    issued: Issue,
    notes: NoteTree,
    reserve: SumTree,
) -> None:
    """Raise InvariantBroken unless every billionth of the pool is accounted for and covers the promises."""
    pool = start.pool + sum(line.split.contributors for line in lines)
    after = issued.accruals.total + (notes.total + unallocated) * ACCRUAL_SCALE
    if pool * ACCRUAL_SCALE != after:
        raise InvariantBroken(
            f"pool and share come to {pool} base units, what they became to {after} billionths"
        )
    if notes.total + reserve.total > pool:
        raise InvariantBroken(
            f"notes {notes.total} and reserve {reserve.total} promise more than the pool, {pool}"
        )


def _report(
    inputs: ReportInputs,
    lines: tuple[ReportLine, ...],
    notes: NoteTree,
    reserve: SumTree,
    files: Mapping[str, bytes],
) -> EpochReport:
    chain = inputs.chain
    return EpochReport(
        epoch=chain.epoch,
        attempt=inputs.attempt,
        previous_report_hash=chain.previous_report_hash,
        period_end=chain.period_end_s,
        cutoff_block=chain.cutoff_block,
        cutoff_block_hash=chain.cutoff_block_hash,
        signer_set_version=chain.signer_set_version,
        rule_version=RULE_VERSION,
        lanes_root=padded_root([head.struct_hash() if head else bytes(32) for head in inputs.heads]),
        lane_count=len(inputs.heads),
        notes_root=notes.root,
        notes_total=notes.total,
        note_count=notes.count,
        reserve_root=reserve.root,
        reserve_total=reserve.total,
        reserve_count=reserve.count,
        consent_root=chain.consent_root,
        roster_hash=rosters_hash({license_id: roster.root for license_id, roster in inputs.rosters.items()}),
        bundle_hash=bundle.bundle_hash(files),
        lines=lines,
    )
