"""What is unusual about a report: pure functions of the report, its bundle, and what was finalized before.

None of it is wrong by the rules, or the report would not have been built. It is what a steward's mistake, a
stolen gateway key or a lying endpoint look like from here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

from usufruct_protocol.bundle import LANES, ROSTERS, split_rosters, unpack_lanes
from usufruct_protocol.chain_state import LicenseState
from usufruct_protocol.report_types import EpochReport, ReportLine
from usufruct_protocol.roster import NO_ADDRESS, skim

from usufruct_oracle.context import EpochContext
from usufruct_oracle.guards.limits import GuardLimits

_SLACK_PERCENT: Final = 110


class Guard(StrEnum):
    """What a node looks at before it signs."""

    CHARGE_JUMP = "charge_jump"
    UNITS_JUMP = "units_jump"
    NEW_LANES = "new_lanes"
    ROSTER_CHANGE = "roster_change"
    PRICE_CHANGE = "price_change"
    CLOCK_SKEW = "clock_skew"
    CHAIN_ID = "chain_id"

    @property
    def is_approvable(self) -> bool:
        """Whether a person may let it pass: nobody signs what was read from another chain."""
        return self is not Guard.CHAIN_ID

    @property
    def is_of_others_making(self) -> bool:
        """Whether buyers or stewards can bring it about; they must not be able to stop all nodes for good."""
        return self not in (Guard.PRICE_CHANGE, Guard.CLOCK_SKEW, Guard.CHAIN_ID)


@dataclass(frozen=True, slots=True)
class Concern:
    """One unusual thing: which guard, about what, how much of it, how much passes, and a sentence."""

    guard: Guard
    subject: str
    value: int
    limit: int
    detail: str

    def __str__(self) -> str:
        return f"{self.guard}, {self.subject}: {self.detail}"

    @property
    def key(self) -> tuple[Guard, str]:
        """Which concern it is, whatever its size."""
        return self.guard, self.subject

    def is_covered_by(self, seen: Concern | None) -> bool:
        """Tell whether a person who looked at `seen` has seen this: the same, at most a tenth larger.

        The next attempt counts what other nodes held, which may be a little more.
        """
        return seen is not None and seen.key == self.key and self.value * 100 <= seen.value * _SLACK_PERCENT


@dataclass(frozen=True, slots=True)
class Before:
    """What a report is compared with.

    lines: license id → line, of each of the last finalized reports that this node holds, oldest first
    terms: license id → `terms_text` when this node last signed
    """

    lines: Sequence[Mapping[int, ReportLine]]
    terms: Mapping[int, str]


def report_concerns(
    limits: GuardLimits,
    context: EpochContext,
    report: EpochReport,
    files: Mapping[str, bytes],
    before: Before,
) -> list[Concern]:
    """Return all that passes a limit. `files` is the report's bundle."""
    found = [
        *_charge_jumps(limits, report, before.lines),
        *_units_jumps(limits, context, report, before.lines),
        *_new_lanes(limits, context, files),
        *_roster_changes(limits, context, report, files),
        *_changed_terms(limits, context, before.terms),
    ]
    return sorted(found, key=lambda concern: (concern.guard, concern.subject))


def terms_text(state: LicenseState) -> str:
    """Return what a contract never changes of a license, as one text."""
    split = state.split_bps
    bps = (split.contributors, split.community, split.steward, split.platform, split.operators)
    price, cap = state.price_per_million_units, state.max_charge_per_epoch
    return (
        f"{state.meter_kind.name}, {price} base units per million, at most {cap} per epoch, "
        f"split {'/'.join(map(str, bps))}, collection 0x{state.collection_hash.hex()}"
    )


def moved_percent(old: bytes, new: bytes, *, by_records: bool) -> int:
    """Return what share of a roster's weight, in percent, is with purses or wallets that did not have it.

    A purse that has its first wallet keeps what it had; one whose wallet was replaced counts as new.
    old, new:   canonical bytes of two rosters, checked before
    by_records: weigh purses by their records, as licenses that pay by use do
    """

    old_rows = {
        purse: (records if by_records else weight, payout) for purse, weight, payout, records in skim(old)
    }
    new_rows = [
        (purse, records if by_records else weight, payout) for purse, weight, payout, records in skim(new)
    ]
    old_total, new_total = sum(had for had, _ in old_rows.values()), sum(has for _, has, _ in new_rows)
    if not old_total or not new_total:
        return 0
    gained = 0
    for purse, has, payout in new_rows:
        had, old_payout = old_rows.get(purse, (0, NO_ADDRESS))
        kept = had if old_payout in (NO_ADDRESS, payout) else 0
        gained += max(0, has * old_total - kept * new_total)
    return gained * 100 // (old_total * new_total)


def _charge_jumps(
    limits: GuardLimits, report: EpochReport, before: Sequence[Mapping[int, ReportLine]]
) -> Iterator[Concern]:
    if limits.charge_jump_percent is None:
        return
    for line in report.lines:
        highest = max(
            (lines[line.license_id].charge for lines in before if line.license_id in lines), default=0
        )
        limit = max(limits.charge_floor_base_units, highest * limits.charge_jump_percent // 100)
        if line.charge > limit:
            detail = f"charge of {line.charge:,} base units; the highest of the last reports is {highest:,}"
            yield Concern(Guard.CHARGE_JUMP, f"license {line.license_id}", line.charge, limit, detail)


def _units_jumps(
    limits: GuardLimits,
    context: EpochContext,
    report: EpochReport,
    before: Sequence[Mapping[int, ReportLine]],
) -> Iterator[Concern]:
    if limits.units_jump_percent is None:
        return
    committed = {state.license_id: state.cumulative_units for state in context.chain.licenses}
    for line in report.lines:
        known = [lines[line.license_id].cumulative_units for lines in before if line.license_id in lines]
        highest = max((later - earlier for earlier, later in pairwise(known)), default=0)
        if not highest:
            continue  # nothing to compare with; what it costs is looked at as a charge
        units = line.cumulative_units - committed.get(line.license_id, 0)
        limit = max(limits.units_floor, highest * limits.units_jump_percent // 100)
        if units > limit:
            detail = f"{units:,} new units; the highest of the last reports is {highest:,}"
            yield Concern(Guard.UNITS_JUMP, f"license {line.license_id}", units, limit, detail)


def _new_lanes(limits: GuardLimits, context: EpochContext, files: Mapping[str, bytes]) -> Iterator[Concern]:
    if limits.new_lanes is None:
        return
    heads = unpack_lanes(files[LANES])
    count = sum(head is not None and head.lane not in context.base.heads for head in heads)
    if count > limits.new_lanes:
        detail = f"{count:,} lanes count for the first time"
        yield Concern(Guard.NEW_LANES, "all licenses", count, limits.new_lanes, detail)


def _roster_changes(
    limits: GuardLimits, context: EpochContext, report: EpochReport, files: Mapping[str, bytes]
) -> Iterator[Concern]:
    """Rosters through which money flows in this report, against those of the report before."""
    if limits.roster_change_percent is None or not context.base.epoch:
        return
    charged = {line.license_id for line in report.lines if line.charge}
    old, new = split_rosters(context.base.rosters_file), split_rosters(files[ROSTERS])
    for state in context.chain.licenses:
        number = state.license_id
        has_income = state.income > context.base.allocated_income.get(number, 0)
        if not (number in charged or has_income) or old.get(number, b"") in (b"", new.get(number)):
            continue
        if number not in new:
            continue  # withheld: nothing is charged, or it would have stopped the report
        percent = moved_percent(old[number], new[number], by_records=state.meter_kind.pays_by_use)
        if percent > limits.roster_change_percent:
            detail = f"{percent} % of the roster's weight went to other purses or wallets"
            yield Concern(
                Guard.ROSTER_CHANGE, f"license {number}", percent, limits.roster_change_percent, detail
            )


def _changed_terms(
    limits: GuardLimits, context: EpochContext, signed_terms: Mapping[int, str]
) -> Iterator[Concern]:
    now = {state.license_id: terms_text(state) for state in context.chain.licenses}
    changed = [number for number, text in now.items() if signed_terms.get(number, text) != text]
    if limits.price_changes is None or len(changed) <= limits.price_changes:
        return
    for number in changed:
        # Named by the new terms, so that approving these approves no others.
        mark = hashlib.sha256(now[number].encode("utf-8")).hexdigest()[:8]
        detail = f"the chain says {now[number]}; it said {signed_terms[number]} when this node last signed"
        yield Concern(
            Guard.PRICE_CHANGE, f"license {number}, terms {mark}", len(changed), limits.price_changes, detail
        )
