"""The report function against its slow twin, and the promises that are about the report."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.accruals import EMPTY, Accruals
from usufruct_protocol.bundle import PUBLIC_FILES, RESTRICTED_FILES, bundle_hash, unpack_lanes, unpack_rosters
from usufruct_protocol.chain_state import ChainState, LaneState, LicenseState, MeterKind
from usufruct_protocol.errors import InputRejected, InvariantBroken
from usufruct_protocol.income import unpack_income
from usufruct_protocol.issue import after_reserve, reserve_salt, reserve_tree, rows_by_purse
from usufruct_protocol.money import ACCRUAL_SCALE, SplitBps, due_base_units, split_total
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.report import MAX_LINES, BuiltReport, LineResult, ReportInputs, build_report
from usufruct_protocol.roster import NO_ADDRESS, ConsentInterval, Roster, RosterRow
from usufruct_protocol.sumtree import split_word

from tests.reference import report as reference
from tests.vectors import make_report

CUSTODIAN = b"\xcc" * 20
BIG = 2**96 - 1
DAY_MS = 86_400_000
START_S, PERIOD_S = 10**6, 100_000
END_MS = (START_S + PERIOD_S) * 1000


def tag(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


@st.composite
def split_bps(draw: st.DrawFn) -> SplitBps:
    cuts = sorted(draw(st.lists(st.integers(0, 10_000), min_size=4, max_size=4)))
    edges = [0, *cuts, 10_000]
    return SplitBps(*(high - low for low, high in pairwise(edges)))


@st.composite
def consents(draw: st.DrawFn) -> tuple[ConsentInterval, ...]:
    """Intervals before, around and after the period, with its edges."""
    start_ms = START_S * 1000
    edges = [0, start_ms - DAY_MS - 1, start_ms - DAY_MS, start_ms - DAY_MS + 1, start_ms, END_MS - 1]
    times = draw(st.lists(st.sampled_from([*edges, END_MS, END_MS + 1, 2**64 - 1]), unique=True, max_size=4))
    return tuple(
        ConsentInterval(low, high, tag(900))
        for low, high in zip(sorted(times)[::2], sorted(times)[1::2], strict=False)
    )


@st.composite
def rosters(draw: st.DrawFn, license_id: int) -> Roster:
    purses = draw(st.lists(st.integers(1, 12), unique=True, max_size=8))
    rows = []
    for purse in purses:
        records = draw(st.sets(st.integers(0, 5), max_size=4))
        rows.append(
            RosterRow(
                purse=tag(purse),
                weight=draw(st.integers(0, 5) | st.integers(0, 2**64 - 1)),
                payout=draw(st.sampled_from([NO_ADDRESS, bytes([purse]) * 20, b"\x77" * 20])),
                threshold_base_units=draw(st.sampled_from([0, 0, 1, 1000])),
                salt=tag(1000 + purse),
                record_tags=tuple(
                    sorted(tag(license_id * 10_000 + purse * 100 + record) for record in records)
                ),
                intervals=draw(consents()),
            )
        )
    return Roster.build(rows)


@st.composite
def inputs(draw: st.DrawFn) -> ReportInputs:
    licenses, lanes, heads, held, usage, allocated = [], [], [], {}, {}, {}
    for license_id in range(1, 1 + draw(st.integers(0, 4))):
        roster = draw(rosters(license_id)) if draw(st.booleans()) else None
        price = draw(st.integers(0, 10**6) | st.integers(0, BIG // 2**40))
        committed = draw(st.integers(0, 10**6))
        charged = min(draw(st.integers(0, 10**9)), due_base_units(committed, price, 0))
        own = [committed + draw(st.integers(0, 10**6) | st.integers(0, 2**40)), draw(st.integers(0, 100))]
        for units in own:
            lane = bytes([len(lanes) + 1]) * 20
            anchored = draw(st.integers(0, units))
            anchor = Checkpoint(lane, anchored, anchored, tag(8000)) if anchored else None
            lanes.append(LaneState(len(lanes), lane, license_id, 0, 2**63, 2**100, anchor))
            heads.append(Checkpoint(lane, units + 1, units, tag(7000 + len(lanes))) if units else None)
        split, income = draw(split_bps()), draw(st.sampled_from([0, 0, 1, 10**9, 2**80]))
        licenses.append(
            LicenseState(
                license_id=license_id,
                meter_kind=draw(st.sampled_from(MeterKind)),
                price_per_million_units=price,
                max_charge_per_epoch=draw(st.sampled_from([1, 10**6, BIG])),
                split_bps=split,
                collection_hash=tag(license_id),
                roster_root=roster.root if roster else bytes(32),
                available=draw(st.sampled_from([0, 7, 10**9, 2**80])),
                charged=charged,
                cumulative_units=committed,
                income=income,
            )
        )
        allocated[license_id] = draw(st.integers(0, split_total(income, split).contributors))
        if roster is not None:
            held[license_id] = roster
        known = [one for row in (roster.rows if roster else ()) for one in row.record_tags] + [tag(999_999)]
        usage[license_id] = draw(st.dictionaries(st.sampled_from(known), st.integers(1, 5), max_size=6))
    before = Accruals(draw(st.dictionaries(st.integers(1, 14).map(tag), st.integers(0, 10**15), max_size=5)))
    short = -before.total % ACCRUAL_SCALE  # the pool is whole base units
    before = Accruals({**before, tag(77): short})
    epoch = draw(st.integers(2, 9))
    reserve_first, is_issued = draw(st.sampled_from([(False, False), (True, False), (True, True)]))
    last_rosters = {1: draw(rosters(1)), 2: draw(rosters(2))} if reserve_first else {}
    waiting = sum(split_total(one.income, one.split_bps).contributors for one in licenses)
    waiting -= sum(allocated.values())
    left = after_reserve(before, last_rosters) if is_issued else before
    chain = ChainState(
        chain_id=31337, settlement=b"\x01" * 20, epoch=epoch, previous_report_hash=tag(5),
        previous_period_end_s=START_S, epoch_seconds=PERIOD_S, cutoff_block=7, cutoff_block_hash=tag(6),
        cutoff_time_s=START_S + PERIOD_S + 1, next_attempt=0, signer_set_version=1, signers=(),
        pool=left.total // ACCRUAL_SCALE + waiting,
        note_minimum=draw(st.sampled_from([0, 1, 500])), custodian=CUSTODIAN, consent_root=bytes(32),
        licenses=tuple(licenses), lanes=tuple(lanes), reserve_first=reserve_first,
        reserve_issued_epoch=epoch - 1 if is_issued else draw(st.integers(0, epoch - 2)),
    )  # fmt: skip
    return ReportInputs(
        chain, draw(st.integers(0, 3)), tuple(heads), usage, held, before,
        allocated_income=allocated, last_rosters=last_rosters,
    )  # fmt: skip


def start_of(case: ReportInputs) -> tuple[Accruals, int]:
    """What an epoch starts from: accruals, and the pool as if the last reserve had been issued by now."""
    if not case.chain.reserve_first:
        return case.accruals, case.chain.pool
    left = after_reserve(case.accruals, case.last_rosters)
    reserve = reserve_tree(case.accruals, case.last_rosters, case.chain).total
    return left, case.chain.pool - (0 if case.chain.is_reserve_issued else reserve)


def plain(case: ReportInputs):
    """The same case as the reference takes it."""
    units = {state.license_id: 0 for state in case.chain.licenses}
    for lane, head in zip(case.chain.lanes, case.heads, strict=True):
        units[lane.license_id] += head.cumulative_units if head else 0
    licenses = [
        {
            "id": state.license_id,
            "by_use": state.meter_kind in (MeterKind.RETRIEVAL, MeterKind.EMBEDDING),
            "model": state.meter_kind in (MeterKind.INFERENCE, MeterKind.TOKENS),
            "income": state.income,
            "allocated": case.allocated_income[state.license_id],
            "price": state.price_per_million_units,
            "cap": state.max_charge_per_epoch,
            "bps": dataclasses.astuple(state.split_bps),
            "available": state.available,
            "charged": state.charged,
            "committed": state.cumulative_units,
            "units": units[state.license_id],
        }
        for state in case.chain.licenses
    ]
    accruals = {purse: amount * reference.BILLIONTH for purse, amount in case.accruals.items()}
    if case.chain.reserve_first:
        accruals = reference.after_reserve(accruals, plain_rosters(case.last_rosters))
    period = START_S * 1000, END_MS
    held = plain_rosters(case.rosters)
    return licenses, held, case.usage, accruals, case.chain.note_minimum, period


def plain_rosters(held):
    """Rosters as the reference takes them, in any order."""
    return {
        license_id: [
            {
                "purse": row.purse,
                "weight": row.weight,
                "payout": row.payout,
                "threshold": row.threshold_base_units,
                "records": set(row.record_tags),
                "consent": [(interval.from_ms, interval.to_ms) for interval in row.intervals],
            }
            for row in random.Random(1).sample(roster.rows, len(roster.rows))
        ]
        for license_id, roster in held.items()
    }


def line_of(line: LineResult):
    """A line as the reference gives it."""
    split = list(dataclasses.astuple(line.split))
    return line.license_id, line.cumulative_units, line.charge, line.carried_due, split, line.allocated_by


@given(inputs())
def test_report_equals_the_slow_reference(case: ReportInputs) -> None:
    built = build_report(case)
    lines, accruals, notes, reserve, allocated = reference.settle_epoch(*plain(case))
    assert [line_of(one) for one in built.lines] == lines
    assert {purse: amount * reference.BILLIONTH for purse, amount in built.accruals.items()} == accruals
    assert [split_word(word) for word in built.words] == notes
    assert built.report.reserve_total == sum(amount for _, amount in reserve)
    assert built.report.reserve_count == len(reserve)
    assert built.allocated_income == allocated


@given(inputs())
def test_inv_09_notes_and_reserve_stay_within_the_pool(case: ReportInputs) -> None:
    built = build_report(case)
    share = sum(line.split.contributors for line in built.lines)
    assert built.report.notes_total + built.report.reserve_total <= start_of(case)[1] + share


@given(inputs())
def test_inv_10_what_is_neither_note_nor_reserve_is_dust_or_declared(case: ReportInputs) -> None:
    built = build_report(case)
    pool = start_of(case)[1] + sum(line.split.contributors for line in built.lines)
    rest = pool - built.report.notes_total - built.report.reserve_total
    assert 0 <= rest - built.unallocated <= len(built.accruals)


@given(inputs())
def test_inv_12_and_13_charges_stay_within_units_balance_and_cap(case: ReportInputs) -> None:
    states = {state.license_id: state for state in case.chain.licenses}
    for line in build_report(case).lines:
        state = states[line.license_id]
        assert state.charged + line.charge <= line.cumulative_units * state.price_per_million_units // 10**6
        assert line.charge <= min(state.available, state.max_charge_per_epoch)


@given(inputs())
def test_inv_36_accruals_and_notes_equal_the_contributors_share(case: ReportInputs) -> None:
    built = build_report(case)
    share = sum(line.split.contributors for line in built.lines)
    share += sum(built.allocated_income.values()) - sum(case.allocated_income.values())
    assert built.accruals.total + built.report.notes_total * ACCRUAL_SCALE == (
        start_of(case)[0].total + share * ACCRUAL_SCALE
    )


@given(inputs(), st.randoms(use_true_random=False))
def test_inv_37_the_order_of_inputs_changes_nothing(case: ReportInputs, shuffle: random.Random) -> None:
    def shuffled(items):
        return dict(shuffle.sample(list(items), len(items)))

    other = dataclasses.replace(
        case,
        usage=shuffled({k: shuffled(v.items()) for k, v in case.usage.items()}.items()),
        rosters=shuffled(
            {k: Roster.build(shuffle.sample(r.rows, len(r.rows))) for k, r in case.rosters.items()}.items()
        ),
        accruals=Accruals(shuffled(case.accruals.items())),
    )
    assert build_report(other).report == build_report(case).report


@given(inputs())
def test_inv_38_same_inputs_same_bytes(case: ReportInputs) -> None:
    first, second = build_report(case), build_report(case)
    assert first.report_hash == second.report_hash
    assert first.bundle == second.bundle
    assert bundle_hash(first.bundle) == first.report.bundle_hash


@given(inputs())
def test_inv_41_public_files_hold_no_purse_tag_or_salt(case: ReportInputs) -> None:
    files = build_report(case).bundle
    public = b"".join(files[name] for name in PUBLIC_FILES)
    for row in (row for roster in case.rosters.values() for row in roster.rows):
        assert not any(secret in public for secret in (row.purse, row.salt, *row.record_tags))
    assert set(files) == {*PUBLIC_FILES, *RESTRICTED_FILES}


@given(inputs())
def test_bundle_and_roots_do_not_depend_on_the_attempt(case: ReportInputs) -> None:
    first = build_report(case).report
    other = build_report(dataclasses.replace(case, attempt=case.attempt + 1)).report
    assert dataclasses.replace(other, attempt=case.attempt) == first


@given(inputs())
def test_bundle_files_read_back(case: ReportInputs) -> None:
    files = build_report(case).bundle
    assert unpack_lanes(files["lanes.bin"]) == case.heads
    assert unpack_rosters(files["rosters.bin"]) == case.rosters
    assert unpack_income(files["income.bin"]) == {
        license_id: amount for license_id, amount in build_report(case).allocated_income.items() if amount
    }


def one_license(**changes) -> ReportInputs:
    """100 calls at one base unit, three equal purses, ample escrow."""
    rows = [
        RosterRow(tag(purse), 1, bytes([purse]) * 20, 0, tag(50 + purse), (tag(500 + purse),))
        for purse in (1, 2, 3)
    ]
    roster = Roster.build(rows)
    state = LicenseState(
        1,
        MeterKind.RETRIEVAL,
        10**6,
        BIG,
        SplitBps(7000, 500, 1500, 600, 400),
        tag(1),
        roster.root,
        10**9,
        0,
        0,
    )
    chain = ChainState(
        31337, b"\x01" * 20, 1, bytes(32), 1000, 100, 7, tag(6), 1101, 0, 1, (), 0, 0, CUSTODIAN, bytes(32),
        (dataclasses.replace(state, **changes),), (LaneState(0, b"\x09" * 20, 1, 0, 2**63, 10**6),),
    )  # fmt: skip
    head = Checkpoint(b"\x09" * 20, 100, 100, tag(8))
    return ReportInputs(chain, 0, (head,), {}, {1: roster})


def test_use_decides_who_is_paid() -> None:
    built = build_report(dataclasses.replace(one_license(), usage={1: {tag(501): 3, tag(502): 1}}))
    assert sorted(split_word(word) for word in built.words) == [(b"\x01" * 20, 52), (b"\x02" * 20, 17)]
    assert built.lines[0].allocated_by == "use"


def test_an_unknown_record_is_reported_and_pays_nobody() -> None:
    built = build_report(dataclasses.replace(one_license(), usage={1: {tag(4): 9}}))
    assert built.lines[0].unknown_tags == (tag(4),)
    assert built.lines[0].allocated_by == "roster"


def test_a_withheld_roster_holds_up_nobody_and_keeps_its_use() -> None:
    case = one_license()
    used = {1: {tag(501): 3, tag(502): 1}}
    withheld = build_report(dataclasses.replace(case, rosters={}, usage=used))
    assert (withheld.lines[0].charge, withheld.lines[0].carried_due) == (0, 100)
    assert withheld.carried == used
    state = dataclasses.replace(case.chain.licenses[0], cumulative_units=100)
    chain = dataclasses.replace(case.chain, epoch=2, licenses=(state,))
    found = build_report(
        ReportInputs(chain, 0, case.heads, {}, case.rosters, withheld.accruals, withheld.carried)
    )
    assert sorted(split_word(word) for word in found.words) == [(b"\x01" * 20, 52), (b"\x02" * 20, 17)]


def test_what_is_paid_late_goes_to_those_whose_use_made_it_due() -> None:
    case = one_license(available=30)
    first = build_report(dataclasses.replace(case, usage={1: {tag(501): 1, tag(4): 7}}))
    assert first.carried == {1: {tag(501): 1}}
    state = dataclasses.replace(case.chain.licenses[0], cumulative_units=100, charged=30, available=500)
    pool = first.lines[0].split.contributors - first.report.notes_total
    chain = dataclasses.replace(case.chain, epoch=2, licenses=(state,), pool=pool)
    second = build_report(ReportInputs(chain, 0, case.heads, {}, case.rosters, first.accruals, first.carried))
    assert [split_word(word) for word in second.words] == [(b"\x01" * 20, 49)]
    assert not second.carried


def test_without_a_roster_units_are_committed_and_stay_due() -> None:
    built = build_report(dataclasses.replace(one_license(roster_root=bytes(32)), rosters={}))
    line = built.lines[0]
    assert (line.cumulative_units, line.charge, line.carried_due, line.allocated_by) == (
        100,
        0,
        100,
        "nobody",
    )


def test_a_small_escrow_carries_the_due() -> None:
    line = build_report(one_license(available=30)).lines[0]
    assert (line.due, line.charge, line.carried_due) == (100, 30, 70)


def test_a_roster_that_is_not_the_one_on_chain_is_refused() -> None:
    with pytest.raises(InputRejected, match="license 1: roster"):
        build_report(one_license(roster_root=tag(1)))


def test_inv_14_units_that_fell_are_refused() -> None:
    with pytest.raises(InputRejected, match="fell from 101 committed units to 100"):
        build_report(one_license(cumulative_units=101))


def test_a_vector_with_a_foreign_lane_is_refused() -> None:
    case = one_license()
    with pytest.raises(InputRejected, match="lane 0 is"):
        build_report(dataclasses.replace(case, heads=(Checkpoint(b"\x08" * 20, 1, 1, tag(1)),)))


def test_a_lane_past_its_unit_cap_is_refused() -> None:
    case = one_license()
    with pytest.raises(InputRejected, match="its cap is 1000000"):
        build_report(dataclasses.replace(case, heads=(Checkpoint(b"\x09" * 20, 9, 10**6 + 1, tag(1)),)))


def test_accruals_that_do_not_match_the_pool_are_refused() -> None:
    case = one_license()
    with pytest.raises(InvariantBroken, match="the pool holds 0 base units"):
        build_report(dataclasses.replace(case, accruals=Accruals({tag(1): ACCRUAL_SCALE})))


def test_a_purse_without_a_wallet_accrues_for_the_custodian() -> None:
    case = one_license()
    rows = [dataclasses.replace(row, payout=NO_ADDRESS) for row in case.rosters[1].rows]
    roster = Roster.build(rows)
    chain = dataclasses.replace(
        case.chain, licenses=(dataclasses.replace(case.chain.licenses[0], roster_root=roster.root),)
    )
    built = build_report(dataclasses.replace(case, chain=chain, rosters={1: roster}))
    assert built.words == ()
    assert (built.report.reserve_count, built.report.reserve_total) == (1, 70)


def test_reserve_leaves_change_with_every_epoch() -> None:
    salt = tag(3)
    assert reserve_salt(salt, 1) != reserve_salt(salt, 2) != salt


def test_the_first_row_with_a_wallet_speaks_for_a_purse() -> None:
    def roster(payout: bytes) -> Roster:
        return Roster.build([RosterRow(tag(1), 1, payout, 0, tag(2))])

    rows = rows_by_purse({2: roster(b"\x02" * 20), 1: roster(NO_ADDRESS), 3: roster(b"\x03" * 20)})
    assert rows[tag(1)].payout == b"\x02" * 20


def test_at_most_100_lines_and_the_rest_is_carried_with_its_use() -> None:
    base = one_license()
    count = MAX_LINES + 5
    roster = base.rosters[1]
    licenses = tuple(dataclasses.replace(base.chain.licenses[0], license_id=n) for n in range(1, count + 1))
    lanes = tuple(LaneState(n, n.to_bytes(20, "big"), n + 1, 0, 2**63, 10**6) for n in range(count))
    heads = tuple(Checkpoint(lane.lane, 1, 1_000, tag(1)) for lane in lanes)
    rosters_held = dict.fromkeys(range(1, count + 1), roster)
    chain = dataclasses.replace(base.chain, licenses=licenses, lanes=lanes)
    used = {n: {tag(501): 1} for n in range(1, count + 1)}
    first = build_report(ReportInputs(chain, 0, heads, used, rosters_held))
    assert len(first.lines) == MAX_LINES
    waiting = set(range(1, count + 1)) - {line.license_id for line in first.lines}
    assert set(first.carried) == waiting
    assert not any(line.carried_due for line in first.lines)

    paid = {line.license_id: line for line in first.lines}
    share = sum(line.split.contributors for line in first.lines) - first.report.notes_total
    after = tuple(
        dataclasses.replace(state, cumulative_units=1_000, charged=paid[state.license_id].charge)
        if state.license_id in paid
        else state
        for state in licenses
    )
    chain = dataclasses.replace(chain, epoch=2, licenses=after, pool=share)
    second = build_report(ReportInputs(chain, 0, heads, {}, rosters_held, first.accruals, first.carried))
    assert {line.license_id for line in second.lines} == waiting
    assert all(line.allocated_by == "use" for line in second.lines)
    assert not second.carried


def test_an_empty_epoch_is_a_report_too() -> None:
    case = one_license()
    empty = build_report(dataclasses.replace(case, heads=(None,)))
    assert empty.report.lines == ()
    assert (empty.report.notes_root, empty.report.note_count, empty.report.notes_total) == (bytes(32), 0, 0)
    assert empty.accruals == EMPTY


def restarting(case: ReportInputs, **changes) -> ReportInputs:
    """The same case as the next epoch of a committee that reports only after the reserve was issued."""
    return dataclasses.replace(case, chain=dataclasses.replace(case.chain, reserve_first=True, **changes))


def following(first: BuiltReport, case: ReportInputs, **changes) -> ReportInputs:
    """The empty epoch after a report of `one_license`."""
    (state,) = case.chain.licenses
    (line,) = first.lines
    state = dataclasses.replace(state, cumulative_units=line.cumulative_units, charged=line.charge)
    pool = line.split.contributors + sum(case.allocated_income.values()) - first.report.notes_total
    chain = dataclasses.replace(case.chain, epoch=2, licenses=(state,), pool=pool)
    chain = dataclasses.replace(chain, **changes)
    return ReportInputs(
        chain, 0, case.heads, {}, case.rosters, first.accruals, first.carried,
        allocated_income=first.allocated_income, last_rosters=case.rosters,
    )  # fmt: skip


@given(inputs())
def test_inv_30_after_the_reserve_purses_keep_exactly_what_it_left(case: ReportInputs) -> None:
    left = after_reserve(case.accruals, case.last_rosters)
    reserve = reserve_tree(case.accruals, case.last_rosters, case.chain)
    assert left.total + reserve.total * ACCRUAL_SCALE == case.accruals.total
    expected = reference.after_reserve(
        {purse: amount * reference.BILLIONTH for purse, amount in case.accruals.items()},
        plain_rosters(case.last_rosters),
    )
    assert {purse: amount * reference.BILLIONTH for purse, amount in left.items()} == expected
    rows = rows_by_purse(case.last_rosters)
    homeless = [p for p in left if p not in rows or rows[p].payout == NO_ADDRESS]
    assert all(amount < ACCRUAL_SCALE for purse, amount in left.items() if purse not in homeless)
    assert sum(left[purse] for purse in homeless) < ACCRUAL_SCALE


def test_inv_30_reserve_and_notes_pay_each_accrual_once() -> None:
    """Thirds of 70 base units: 23 each and a third that stays, through notes or through the reserve."""
    case = one_license()
    held_back = dataclasses.replace(case, chain=dataclasses.replace(case.chain, note_minimum=1_000))
    first = build_report(held_back)
    assert (first.report.notes_total, first.report.reserve_total) == (0, 69)
    before = build_report(restarting(following(first, held_back, note_minimum=0)))
    issued = following(first, held_back, note_minimum=0, pool=1, reserve_issued_epoch=1)
    after = build_report(restarting(issued))
    assert before.report_hash == after.report_hash, "issued before the cut-off or after it: the same report"
    assert (after.report.note_count, after.accruals.total) == (0, ACCRUAL_SCALE)
    assert build_report(following(first, held_back, note_minimum=0)).report.notes_total == 69


def test_a_reserve_issued_by_anybody_is_never_paid_again() -> None:
    """The chain says that the reserve is out, whatever the committee's version asks for."""
    held_back = dataclasses.replace(
        one_license(), chain=dataclasses.replace(one_license().chain, note_minimum=99)
    )
    first = build_report(held_back)
    case = following(first, held_back, reserve_issued_epoch=1, pool=1, note_minimum=0)
    assert build_report(case).accruals == after_reserve(first.accruals, case.last_rosters)
    assert build_report(case).accruals.total == ACCRUAL_SCALE


def test_purses_without_a_wallet_divide_what_the_custodian_did_not_get() -> None:
    """1.5 and 3.0 base units: the custodian holds 4, and a half stays, a third of it with the first."""
    accruals = Accruals({tag(1): 3 * ACCRUAL_SCALE // 2, tag(2): 3 * ACCRUAL_SCALE})
    left = after_reserve(accruals, {})
    assert (left[tag(1)], left[tag(2)]) == (166_666_667, 333_333_333)


def test_a_pool_that_a_reserve_left_too_large_or_small_halts() -> None:
    held_back = dataclasses.replace(
        one_license(), chain=dataclasses.replace(one_license().chain, note_minimum=99)
    )
    case = following(build_report(held_back), held_back, pool=69, reserve_issued_epoch=1)
    with pytest.raises(InvariantBroken, match="the pool holds 69 base units"):
        build_report(case)


def with_income(income: int, allocated: int = 0, **changes) -> ReportInputs:
    """No usage; income of which 70 % is the contributors'."""
    case = one_license(income=income, **changes)
    waiting = -(-income * 7_000 // 10_000) - allocated
    chain = dataclasses.replace(case.chain, pool=waiting)
    return dataclasses.replace(case, chain=chain, heads=(None,), allocated_income={1: allocated})


def test_income_goes_to_the_roster_whoever_was_used() -> None:
    case = dataclasses.replace(with_income(100), usage={1: {tag(501): 3}})
    built = build_report(case)
    assert [split_word(word)[1] for word in built.words] == [23, 23, 23]
    assert (built.allocated_income, built.unallocated) == ({1: 70}, 0)
    assert built.report.lines == ()
    assert unpack_income(built.bundle["income.bin"]) == {1: 70}


def test_only_the_growth_of_income_is_allocated() -> None:
    assert build_report(with_income(100, allocated=67)).accruals.total == 0
    built = build_report(with_income(101, allocated=70))
    assert [split_word(word)[1] for word in built.words] == []
    assert (built.accruals.total, built.allocated_income) == (ACCRUAL_SCALE, {1: 71})


def test_income_without_a_roster_waits_in_the_pool() -> None:
    case = dataclasses.replace(with_income(100, roster_root=bytes(32)), rosters={})
    waiting = build_report(case)
    assert (waiting.unallocated, waiting.accruals, waiting.allocated_income) == (70, EMPTY, {1: 0})
    assert waiting.report.reserve_total == 0
    later = dataclasses.replace(with_income(100), allocated_income=waiting.allocated_income)
    assert build_report(later).report.notes_total == 69


def test_income_follows_uses_only_where_the_roster_weighs_nobody() -> None:
    case = with_income(100)
    roster = Roster.build([dataclasses.replace(row, weight=0) for row in case.rosters[1].rows])
    state = dataclasses.replace(case.chain.licenses[0], roster_root=roster.root)
    case = dataclasses.replace(
        case, chain=dataclasses.replace(case.chain, licenses=(state,)), rosters={1: roster}
    )
    assert build_report(case).unallocated == 70
    used = build_report(dataclasses.replace(case, usage={1: {tag(502): 1}}))
    assert [split_word(word) for word in used.words] == [(b"\x02" * 20, 70)]


def test_more_income_allocated_than_arrived_halts() -> None:
    with pytest.raises(
        InvariantBroken, match="license 1: 71 base units of income were allocated, 70 arrived"
    ):
        build_report(dataclasses.replace(with_income(100), allocated_income={1: 71}))


@pytest.mark.parametrize(
    ("count", "units", "is_kept"),
    [(None, 0, False), (49, 90, False), (50, 90, True), (51, 90, True), (49, 101, True), (49, 100, False)],
)
def test_a_vector_below_an_anchor_is_refused_unless_the_lane_contradicts_itself(
    count: int | None, units: int, is_kept: bool
) -> None:
    """Fewer receipts with more units than anchored: the lane signed both, so the anchor binds nobody."""
    case = one_license()
    lane = b"\x09" * 20
    state = dataclasses.replace(case.chain.lanes[0], anchor=Checkpoint(lane, 50, 100, tag(8)))
    case = dataclasses.replace(case, chain=dataclasses.replace(case.chain, lanes=(state,)))
    case = dataclasses.replace(
        case, heads=(None if count is None else Checkpoint(lane, count, units, tag(9)),)
    )
    if is_kept:
        assert build_report(case).report.lines[0].cumulative_units == units
    else:
        with pytest.raises(InputRejected, match="50 were anchored in time"):
            build_report(case)


def paid_by(kind: MeterKind, **intervals: list[tuple[int, int]]) -> set[int]:
    """Which of purses 1 to 3 are paid where uses are unknown, by consents in days from the period's start."""
    case = one_license(meter_kind=kind)
    chain = dataclasses.replace(case.chain, previous_period_end_s=10**6, epoch_seconds=86_400)
    start_ms = chain.period_start_s * 1000
    rows = []
    for row in case.rosters[1].rows:
        spans = intervals.get(f"purse_{row.payout[0]}", [])
        consents = (
            ConsentInterval(start_ms + since * DAY_MS, start_ms + until * DAY_MS, tag(7))
            for since, until in spans
        )
        rows.append(dataclasses.replace(row, intervals=tuple(consents)))
    roster = Roster.build(rows)
    state = dataclasses.replace(chain.licenses[0], roster_root=roster.root)
    chain = dataclasses.replace(chain, licenses=(state,))
    built = build_report(dataclasses.replace(case, chain=chain, rosters={1: roster}))
    assert sum(amount for _, amount in map(split_word, built.words)) in (69, 70)
    return {payee[0] for payee, _ in map(split_word, built.words)}


RUNNING, EARLIER, LONG_AGO, LATER = [(-9, 9)], [(-9, -1)], [(-9, -2)], [(1, 9)]


@pytest.mark.parametrize("kind", [MeterKind.INFERENCE, MeterKind.TOKENS])
def test_inv_42_a_model_pays_whoever_it_was_trained_on(kind: MeterKind) -> None:
    """A revocation for the future does not take the record out of the model, and pay goes on with its use."""
    assert paid_by(kind, purse_1=RUNNING, purse_2=LONG_AGO, purse_3=LATER) == {1, 2}
    assert paid_by(kind, purse_1=LONG_AGO + LATER, purse_2=LATER, purse_3=LATER) == {1}


@pytest.mark.parametrize("kind", [MeterKind.TRAINING, MeterKind.FINE_TUNE, MeterKind.RETRIEVAL])
def test_inv_42_new_work_pays_those_with_consent_in_the_period_or_a_day_of_grace(kind: MeterKind) -> None:
    assert paid_by(kind, purse_1=RUNNING, purse_2=LONG_AGO, purse_3=LATER) == {1}
    assert paid_by(kind, purse_1=[(-9, 0)], purse_2=EARLIER, purse_3=[(0, 1)]) == {1, 3}
    assert paid_by(kind, purse_1=[(-9, -5), (0, 3)], purse_2=LONG_AGO, purse_3=LONG_AGO) == {1}


@pytest.mark.parametrize("kind", MeterKind)
def test_inv_42_whoever_is_listed_without_consent_is_compensated(kind: MeterKind) -> None:
    assert paid_by(kind, purse_1=RUNNING, purse_2=[], purse_3=LATER) == {1, 2}


@pytest.mark.parametrize("kind", MeterKind)
def test_inv_42_where_nobody_consented_everybody_is_compensated(kind: MeterKind) -> None:
    """Something was used, without consent, and nobody counted what: a buyer does not get it free."""
    assert paid_by(kind, purse_1=LATER, purse_2=LATER, purse_3=LATER) == {1, 2, 3}


def test_inv_42_a_record_used_without_consent_is_paid_for() -> None:
    case = one_license()
    gone = ConsentInterval(0, 1, tag(7))
    roster = Roster.build([dataclasses.replace(row, intervals=(gone,)) for row in case.rosters[1].rows])
    state = dataclasses.replace(case.chain.licenses[0], roster_root=roster.root)
    chain = dataclasses.replace(
        case.chain, previous_period_end_s=10**6, licenses=(state,), cutoff_time_s=10**6 + 101
    )
    built = build_report(
        dataclasses.replace(case, chain=chain, rosters={1: roster}, usage={1: {tag(502): 1}})
    )
    assert [split_word(word) for word in built.words] == [(b"\x02" * 20, 70)]


def test_inv_38_the_golden_epoch_has_the_same_bytes_everywhere() -> None:
    assert make_report.golden_output() == json.loads(make_report.FILE.read_text())
