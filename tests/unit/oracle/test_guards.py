"""What a node asks a person about before it signs, and what an approval lets pass."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner
from usufruct_oracle.cli import app
from usufruct_oracle.context import Base, EpochContext
from usufruct_oracle.guards import hold_store
from usufruct_oracle.guards.approvals import Approvals
from usufruct_oracle.guards.concerns import (
    Before,
    Concern,
    Guard,
    moved_percent,
    report_concerns,
    terms_text,
)
from usufruct_oracle.guards.gate import EPOCHS_COMPARED
from usufruct_oracle.guards.limits import GuardLimits
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage import epoch_store
from usufruct_oracle.storage.epoch_store import StoredReport
from usufruct_oracle.storage.store import Store
from usufruct_protocol.bundle import LANES, LINES, ROSTERS, bundle_hash, pack_lanes, pack_lines, pack_rosters
from usufruct_protocol.chain_state import LicenseState, MeterKind
from usufruct_protocol.eip712 import epoch_report_hash
from usufruct_protocol.errors import ConfigInvalid, InputRejected
from usufruct_protocol.money import SplitBps
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.report_types import EpochReport, ReportLine
from usufruct_protocol.roster import Roster, RosterRow

from tests.unit.oracle import test_voting
from tests.unit.oracle.guard_kit import Machine, guards
from tests.unit.oracle.test_epoch_store import report

EPOCH = 5
LIMITS = GuardLimits(charge_floor_base_units=1_000, units_floor=100, new_lanes=2)
LICENSE = LicenseState(
    license_id=1,
    meter_kind=MeterKind.TOKENS,
    price_per_million_units=7,
    max_charge_per_epoch=10**9,
    split_bps=SplitBps(7_000, 1_000, 1_000, 500, 500),
    collection_hash=b"\xc0" * 32,
    roster_root=b"\x20" * 32,
    available=10**9,
    charged=500,
    cumulative_units=1_000,
)


def row(person: int, weight: int = 1, payout: int = 0, records: int = 0) -> RosterRow:
    tags = tuple(bytes([person, number]) * 16 for number in range(records))
    return RosterRow(bytes([person]) * 32, weight, bytes([payout]) * 20, 0, b"\x5a" * 32, tags)


def head(lane: int) -> Checkpoint:
    return Checkpoint(bytes([lane]) * 20, 3, 30, b"\x77" * 32)


OLD = Roster.build([row(1, 40, 1, 1), row(2, 40, 2, 1), row(3, 20, 0, 2)])


def context(license: LicenseState = LICENSE, lanes: tuple[int, ...] = (1, 2)) -> EpochContext:
    chain = replace(test_voting.context().chain, epoch=EPOCH, licenses=(license,))
    base = replace(
        Base.genesis(),
        epoch=EPOCH - 1,
        heads={head(lane).lane: head(lane) for lane in lanes},
        rosters_file=pack_rosters({1: OLD}),
    )
    return EpochContext(chain, base, 1)


def made(
    line: ReportLine, roster: Roster = OLD, lanes: tuple[int, ...] = (1, 2)
) -> tuple[EpochReport, dict[str, bytes]]:
    files = {
        LINES: pack_lines([line]),
        LANES: pack_lanes([head(lane) for lane in lanes]),
        ROSTERS: pack_rosters({1: roster}),
    }
    return replace(report(EPOCH, bundle_hash(files)), lines=(line,)), files


def lines(*pairs: tuple[int, int]) -> list[Mapping[int, ReportLine]]:
    """One line of license 1 per finalized epoch: cumulative units, charge."""
    return [{1: ReportLine(1, units, charge)} for units, charge in pairs]


USUAL = Before(lines((500, 200), (600, 100), (1_000, 200)), {1: terms_text(LICENSE)})


def found(
    line: ReportLine,
    before: Before = USUAL,
    limits: GuardLimits = LIMITS,
    license: LicenseState = LICENSE,
    **of_report: Any,
) -> dict[Guard, Concern]:
    built, files = made(line, **of_report)
    return {
        concern.guard: concern for concern in report_concerns(limits, context(license), built, files, before)
    }


def test_a_usual_report_raises_nothing() -> None:
    assert found(ReportLine(1, 1_400, 220)) == {}


@pytest.mark.parametrize(
    ("charge", "before", "limit"),
    [
        (2_000, USUAL, None),
        (2_001, USUAL, 2_000),
        (1_000, Before([], {}), None),
        (1_001, Before([], {}), 1_000),  # a first charge has nothing to compare with but the floor
        (1_000, Before(lines((1, 1)), {}), None),
    ],
)
def test_a_charge_is_held_above_ten_times_the_highest_and_the_floor(
    charge: int, before: Before, limit: int | None
) -> None:
    concern = found(ReportLine(1, 1_001, charge), before).get(Guard.CHARGE_JUMP)
    assert (concern and (concern.value, concern.limit)) == (limit and (charge, limit))


@pytest.mark.parametrize(
    ("units", "before", "is_held"),
    [
        (1_000 + 4_000, USUAL, False),
        (1_000 + 4_001, USUAL, True),
        (10**15, Before(lines((1_000, 5)), {}), False),  # nothing to compare with: the charge guard looks
        (1_000 + 100, Before(lines((999, 0), (1_000, 0)), {}), False),
        (1_000 + 101, Before(lines((999, 0), (1_000, 0)), {}), True),
    ],
)
def test_new_units_are_held_above_ten_times_the_highest_and_the_floor(
    units: int, before: Before, is_held: bool
) -> None:
    assert (Guard.UNITS_JUMP in found(ReportLine(1, units, 0), before)) is is_held


def test_lanes_that_count_for_the_first_time_are_counted() -> None:
    line = ReportLine(1, 1_001, 1)
    assert found(line, lanes=(1, 2, 3, 4)) == {}
    concern = found(line, lanes=(1, 2, 3, 4, 5))[Guard.NEW_LANES]
    assert (concern.value, concern.limit) == (3, 2)


def test_terms_that_changed_are_held_under_their_own_name() -> None:
    line = ReportLine(1, 1_001, 1)
    subjects = set()
    for change in (
        {"price_per_million_units": 8},
        {"max_charge_per_epoch": 1},
        {"split_bps": SplitBps(6_999, 1_001, 1_000, 500, 500)},
        {"meter_kind": MeterKind.INFERENCE},
        {"collection_hash": bytes(32)},
    ):
        concern = found(line, license=replace(LICENSE, **change))[Guard.PRICE_CHANGE]  # type: ignore[arg-type]
        subjects.add(concern.subject)
    assert len(subjects) == 5
    assert found(line, license=replace(LICENSE, available=1, roster_root=bytes(32))) == {}
    assert found(line, replace(USUAL, terms={})) == {}  # not seen before


@pytest.mark.parametrize(
    ("new", "percent"),
    [
        (OLD, None),
        (Roster.build([row(1, 40, 1, 1), row(2, 40, 2, 1), row(3, 20, 9, 2)]), None),  # a first wallet
        (Roster.build([row(1, 80, 1, 1), row(2, 80, 2, 1), row(3, 40, 0, 2)]), None),  # another scale
        (Roster.build([row(1, 40, 9, 1), row(2, 40, 9, 1), row(3, 20, 0, 2)]), 80),  # wallets replaced
        (Roster.build([row(7, 40, 1, 1), row(8, 40, 2, 1), row(9, 20, 0, 2)]), 100),  # people replaced
        (Roster.build([row(1, 40, 1, 1), row(2, 40, 2, 1), row(3, 320, 0, 2)]), 60),  # one made heavy
        (Roster.build([row(1, 40, 1, 1)]), 60),  # everybody else left out
    ],
)
def test_a_roster_that_moves_more_than_half_is_held(new: Roster, percent: int | None) -> None:
    concern = found(ReportLine(1, 1_001, 1), roster=new).get(Guard.ROSTER_CHANGE)
    assert (concern and concern.value) == percent


def test_a_roster_through_which_no_money_flows_holds_nobody_up() -> None:
    other = Roster.build([row(7, 1)])
    assert found(ReportLine(1, 1_001, 0), roster=other) == {}
    assert found(ReportLine(1, 1_001, 1), roster=other).keys() == {Guard.ROSTER_CHANGE}
    with_income = replace(LICENSE, income=5)
    assert found(ReportLine(1, 1_001, 0), roster=other, license=with_income).keys() == {Guard.ROSTER_CHANGE}


def test_licenses_that_pay_by_use_are_weighed_by_records() -> None:
    moved = Roster.build([row(1, 40, 9, 1), row(2, 40, 2, 1), row(3, 20, 0, 2)])
    assert moved_percent(OLD.to_bytes(), moved.to_bytes(), by_records=False) == 40
    assert moved_percent(OLD.to_bytes(), moved.to_bytes(), by_records=True) == 25


weights = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6)


@given(weights, weights)
def test_moved_weight_is_a_share(old: list[int], new: list[int]) -> None:
    before, after = (
        Roster.build([row(number + 1, weight) for number, weight in enumerate(each)]).to_bytes()
        for each in (old, new)
    )
    assert 0 <= moved_percent(before, after, by_records=False) <= 100
    assert moved_percent(before, before, by_records=False) == 0


@pytest.mark.parametrize("guard", ["charge_jump_percent", "units_jump_percent", "new_lanes", "price_changes"])
def test_each_guard_can_be_switched_off_alone(guard: str) -> None:
    line, changed = ReportLine(1, 10**12, 10**12), replace(LICENSE, price_per_million_units=8)
    everything = found(line, lanes=(1, 2, 3, 4, 5), license=changed)
    without = found(line, lanes=(1, 2, 3, 4, 5), license=changed, limits=replace(LIMITS, **{guard: None}))
    assert len(everything) == 4
    assert len(without) == 3
    assert found(line, lanes=(1, 2, 3, 4, 5), license=changed, limits=GuardLimits.off()) == {}


def test_limits_from_settings_name_what_is_wrong() -> None:
    assert GuardLimits.from_json({}) == GuardLimits()
    assert GuardLimits.from_json({"new_lanes": None, "units_floor": 5}) == GuardLimits(
        new_lanes=None, units_floor=5
    )
    assert all(
        getattr(GuardLimits.from_json(None), each.name) is None
        for each in dataclasses.fields(GuardLimits)
        if "floor" not in each.name
    )
    for wrong, complaint in (
        ([], "must be an object"),
        ({"newlanes": 1}, "unknown guard 'newlanes'"),
        ({"new_lanes": -1}, "new_lanes must be"),
        ({"new_lanes": True}, "new_lanes must be"),
        ({"units_floor": None}, "units_floor must be"),
        ({"low_gas_wei": 0.1}, "low_gas_wei must be"),
    ):
        with pytest.raises(InputRejected, match=complaint):
            GuardLimits.from_json(wrong)


def stored(store: Store, line: ReportLine, epoch: int = EPOCH, **of_report: Any) -> StoredReport:
    built, files = made(line, **of_report)
    built = replace(built, epoch=epoch)
    one = StoredReport(built, epoch_report_hash(built), built.bundle_hash)
    with store.write() as db:
        epoch_store.put_report(db, one, files)
    return one


def test_the_last_finalized_reports_are_what_it_compares_with(store: Store, tmp_path: Path) -> None:
    for epoch in range(1, EPOCHS_COMPARED + 4):
        past, files = made(ReportLine(1, 100 * epoch, 10**9 if epoch == 3 else 10))
        past = replace(past, epoch=epoch)
        with store.write() as db:
            epoch_store.put_report(db, StoredReport(past, epoch_report_hash(past), past.bundle_hash), files)
            epoch_store.put_finalized(db, epoch_report_hash(past), past)
    kept = guards(store, tmp_path, replace(LIMITS, units_jump_percent=None))
    for epoch, expected in ((EPOCHS_COMPARED + 3, []), (EPOCHS_COMPARED + 4, [Guard.CHARGE_JUMP])):
        one = stored(store, ReportLine(1, 5_000, 5_000), epoch=epoch)
        at = replace(context(), chain=replace(context().chain, epoch=epoch))
        assert [concern.guard for concern in kept.held(at, one)] == expected


def test_an_approval_covers_what_was_shown_up_to_a_tenth_more_and_nothing_else(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    status, metrics = NodeStatus(), Metrics()
    kept = guards(store, tmp_path, LIMITS, status=status, metrics=metrics)
    first = stored(store, ReportLine(1, 1_001, 5_000))
    (held,) = kept.held(context(), first)
    assert held.guard is Guard.CHARGE_JUMP
    assert kept.held(context(), first) == (held,)
    assert caplog.text.count("NOT SIGNING epoch 5 until 6 h after its cut-off") == 1  # not at every look
    assert "epoch approve --epoch 5" in caplog.text
    assert status.facts()["held"] == [f"epoch {EPOCH}: {held}"]
    assert 'usufruct_guards_held{guard="charge_jump"} 1.0' in metrics.text().decode()

    approvals = Approvals(tmp_path / "approvals")
    with store.read() as db:
        approvals.approve(EPOCH, hold_store.holds(db, EPOCH))
    for charge, lanes, is_signed in (
        (5_000, (1, 2), True),
        (5_500, (1, 2), True),
        (5_501, (1, 2), False),
        (4_000, (1, 2), True),
        (5_000, (1, 2, 3, 4, 5), False),
    ):
        one = stored(store, ReportLine(1, 1_001, charge), lanes=lanes)
        assert (kept.held(context(), one) == ()) is is_signed
    next_context = replace(context(), chain=replace(context().chain, epoch=EPOCH + 1))
    next_report = stored(store, ReportLine(1, 1_001, 5_000), epoch=EPOCH + 1)
    assert kept.held(next_context, next_report) != ()
    assert kept.held(context(), first) == ()
    assert status.facts()["held"] == []
    assert 'usufruct_guards_held{guard="charge_jump"} 0.0' in metrics.text().decode()
    assert "signing epoch 5 as approved: charge_jump" in caplog.text


def test_what_was_held_is_over_when_the_epoch_is(store: Store, tmp_path: Path) -> None:
    status = NodeStatus()
    kept = guards(store, tmp_path, LIMITS, status=status)
    kept.held(context(), stored(store, ReportLine(1, 1_001, 5_000)))
    kept.begin(EPOCH)
    assert status.facts()["held"]
    kept.begin(EPOCH + 1)
    assert status.facts()["held"] == []


def test_the_machine_and_its_endpoint_are_looked_at_each_time(store: Store, tmp_path: Path) -> None:
    machine = Machine()
    kept, one = guards(store, tmp_path, LIMITS, machine), stored(store, ReportLine(1, 1_001, 1))
    assert kept.held(context(), one) == ()
    for clock_s, is_held in ((10_900, False), (10_901, True), (9_099, True), (9_100, False)):
        machine.clock_s = clock_s
        assert [concern.guard for concern in kept.held(context(), one)] == [Guard.CLOCK_SKEW] * is_held
    machine.chain_id = 1
    assert [concern.guard for concern in kept.held(context(), one)] == [Guard.CHAIN_ID]


def test_what_others_can_bring_about_is_held_for_some_hours_only(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A spiteful buyer, who holds all nodes at once, delays one report, and stops none."""
    line = ReportLine(1, 1_000_000, 5_000)
    other = Roster.build([row(7, 1)])
    one = stored(store, line, lanes=(1, 2, 3, 4, 5), roster=other)
    machine = Machine()
    kept = guards(store, tmp_path, replace(LIMITS, clock_skew_seconds=None), machine)
    until_s = context().chain.cutoff_time_s + 21_600
    machine.head_s = until_s - 1
    assert len(kept.held(context(), one)) == 3
    machine.head_s = until_s
    assert kept.held(context(), one) == ()
    assert "though nobody has looked: roster_change" in caplog.text
    for_ever = guards(store, tmp_path, replace(LIMITS, clock_skew_seconds=None, hold_seconds=None), machine)
    assert len(for_ever.held(context(), one)) == 3

    changed = context(replace(LICENSE, price_per_million_units=8))
    with store.write() as db:
        kept.remember(db, context())
    kept = guards(store, tmp_path, LIMITS, machine)
    machine.clock_s, machine.chain_id = machine.head_s + 901, 7
    held = {concern.guard for concern in kept.held(changed, one)}
    assert held == {Guard.PRICE_CHANGE, Guard.CLOCK_SKEW, Guard.CHAIN_ID}


def test_the_node_can_read_what_another_user_approved(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        path = Approvals(tmp_path / "approvals").approve(EPOCH, [])
    finally:
        os.umask(before)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o644, 0o755)


def test_nobody_can_approve_another_chain(store: Store, tmp_path: Path) -> None:
    machine = Machine(chain_id=1)
    kept, one = guards(store, tmp_path, GuardLimits.off(), machine), stored(store, ReportLine(1, 1_001, 1))
    held = kept.held(context(), one)
    assert [concern.guard for concern in held] == [Guard.CHAIN_ID]
    Approvals(tmp_path / "approvals").approve(EPOCH, held)
    assert kept.held(context(), one) == held


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "7", '{"epoch": 6, "approved": []}', '{"epoch": 5, "approved": [{}]}']
)
def test_a_bent_approval_approves_nothing_and_is_named(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    approvals = Approvals(tmp_path / "approvals")
    kept, one = guards(store, tmp_path, LIMITS), stored(store, ReportLine(1, 1_001, 5_000))
    path = approvals.approve(EPOCH, kept.held(context(), one))
    assert kept.held(context(), one) == ()
    path.write_text(content)
    assert kept.held(context(), one) != ()
    assert "epoch-5.json: not an approval of epoch 5" in caplog.text
    with pytest.raises(ConfigInvalid):
        approvals.approve(EPOCH, [])


def settings(folder: Path) -> Path:
    path = folder / "node.json"
    content = {"rpc_url": "http://127.0.0.1:1", "deployment": "d.json", "database": "node.sqlite"}
    path.write_text(json.dumps({**content, "peers": {}, "attempt_seconds": 60}), encoding="utf-8")
    return path


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


def test_a_person_sees_what_is_held_and_approves_it_while_the_node_runs(tmp_path: Path) -> None:
    config = settings(tmp_path)
    running = Store(tmp_path / "node.sqlite", exclusive=True)
    try:
        kept, one = guards(running, tmp_path, LIMITS), stored(running, ReportLine(1, 1_001, 5_000))
        code, said, _ = run("guards", "--config", config)
        assert (code, "HELD" in said, "new_lanes                200" in said) == (0, False, True)
        code, _, errors = run("epoch", "approve", "--epoch", EPOCH, "--config", config)
        assert (code, "nothing is held" in errors) == (2, True)

        assert kept.held(context(), one) != ()
        code, said, _ = run("guards", "--config", config)
        assert code == 4
        assert "HELD epoch 5: charge_jump, license 1: charge of 5,000 base units" in said
        code, said, _ = run("epoch", "approve", "--epoch", EPOCH, "--config", config, "--json")
        assert code == 0
        assert [each["value"] for each in json.loads(said)["approved"]] == ["5000"]
        assert kept.held(context(), one) == ()
        code, said, _ = run("guards", "--config", config, "--json")
        assert code == 0
        assert [each["is_waiting"] for each in json.loads(said)["held"]] == [False]
    finally:
        running.close()
