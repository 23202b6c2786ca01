"""Four node processes where money comes as a fee, counts come from the chain, and a new committee takes over.

The tests are one story, told in order: each goes on from the epoch that the one before has left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner
from usufruct_chain import calls
from usufruct_oracle.cli import app
from usufruct_protocol.bundle import INCOME, LANES, unpack_lanes
from usufruct_protocol.income import unpack_income
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.roster import NO_ADDRESS, Roster
from usufruct_protocol.signing import address_of, checksum_address, parse_address
from usufruct_protocol.terms import LicenseOffer

from scripts.devchain import dev_key
from tests.integration.chain_world import USDC
from tests.integration.oracle_world import Committee, committee, payout, roster

FEE = 10 * USDC


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Committee]:
    with committee(tmp_path_factory.mktemp("committee")) as made:
        yield made


def accept_with_fee(here: Committee, offer: LicenseOffer) -> int:
    """The buyer pays an upfront fee; without a cooling-off period anybody may pass it on at once."""
    contracts, buyer = here.world.contracts, here.world.sender("buyer")
    buyer.send(contracts.token.functions.mint(buyer.address, offer.upfront_fee))
    buyer.send(contracts.token.functions.approve(contracts.deployment.fees, offer.upfront_fee))
    license_id = here.world.accept(offer)
    here.world.sender("anyone").send(contracts.fees.functions.releaseUpfront(license_id))
    return license_id


def anchor(here: Committee, lane: int, point: Checkpoint) -> None:
    """The gateway posts a checkpoint on chain; anybody may carry it."""
    fields = (checksum_address(point.lane), point.count, point.cumulative_units, point.receipts_root)
    signature = here.lanes[lane].sign(point)
    here.world.sender("anyone").send(here.world.contracts.anchors.functions.anchor(fields, signature))


def audit(here: Committee, epoch: int) -> str:
    """The verdict of the audit command over an epoch, from node 0's bundle and the chain."""
    config = str(here.network.config_file(0))
    done = CliRunner().invoke(app, ["audit", "--json", "--epoch", str(epoch), "--config", config])
    assert done.exit_code == 0, done.stdout
    return str(json.loads(done.stdout)["verdict"])


def test_a_fee_waits_for_its_roster_and_then_reaches_the_people(here: Committee) -> None:
    license_id = accept_with_fee(here, here.world.offer(upfront_fee=FEE))
    assert here.world.reader.read(here.world.reader.head().hash).licenses[0].income == FEE
    waiting = here.settle(1)
    here.wait_known_final(0, 1)
    assert (waiting.report.note_count, waiting.report.reserve_total) == (0, 0)
    assert unpack_income(here.network.get(0, f"/v1/epochs/1/bundle/{INCOME}").content) == {}

    rows = roster(license_id, 3).rows  # weights 1 to 3; the first person has no wallet yet
    people = Roster.build(
        row if row.weight > 1 else type(row)(row.purse, 1, NO_ADDRESS, 0, row.salt, row.record_tags)
        for row in rows
    )
    here.rosters[license_id] = people
    steward = here.world.sender("steward")
    steward.send(calls.set_roster(here.world.contracts, license_id, people.root))
    here.put_rosters()
    here.settle(2)
    here.wait_paid(2)
    here.wait_known_final(0, 2)
    share = FEE * 7 // 10
    paid = here.world.reader.token_balances([payout(license_id, 1), payout(license_id, 2)])
    assert paid == (share * 2 // 6, share * 3 // 6)
    assert unpack_income(here.network.get(0, f"/v1/epochs/2/bundle/{INCOME}").content) == {1: share}
    assert audit(here, 1) == audit(here, 2) == "matches"


def test_a_gateway_that_only_anchors_pays_and_holds_up_nobody(here: Committee) -> None:
    here.world.deposit(1, USDC)
    lane = here.lane(1)
    lane.meter(*[1_000] * 5, at_ms=here.at_ms(3))
    anchor(here, 0, lane.checkpoint())
    final = here.settle(3)
    assert [(line.cumulative_units, line.charge) for line in final.report.lines] == [(5_000, 10_000)]
    here.wait_known_final(0, 3)
    heads = unpack_lanes(here.network.get(0, f"/v1/epochs/3/bundle/{LANES}").content)
    assert heads == (lane.checkpoint(),)
    assert audit(here, 3) == "matches"


def test_receipts_that_follow_an_adopted_anchor_are_counted(here: Committee) -> None:
    lane = here.lanes[0]
    lane.meter(*[1_000] * 3, at_ms=here.at_ms(4))
    here.ship()
    final = here.settle(4)
    assert [(line.cumulative_units, line.charge) for line in final.report.lines] == [(8_000, 6_000)]
    here.wait_known_final(0, 4)
    assert audit(here, 4) == "matches"


def test_a_new_committee_issues_the_last_reserve_and_starts_from_what_it_left(here: Committee) -> None:
    """Two strangers among six are more than the one fault that the old four allowed for."""
    world = here.world
    strangers = [checksum_address(address_of(dev_key(number, "stranger"))) for number in range(2)]
    signers = sorted([*here.world.config.signers, *strangers], key=parse_address)
    world.sender("council").send(world.contracts.committee.functions.rotate(signers, 6))
    last = here.settle(5).report
    assert last.reserve_total > 0
    first = here.settle(6).report
    assert (first.signer_set_version, first.reserve_total) == (2, 0)
    issued = world.reader.tree(2 * 5 + 1)
    assert (issued.root, issued.total, issued.count) == (
        last.reserve_root,
        last.reserve_total,
        last.reserve_count,
    )
    here.wait_known_final(0, 6)
    here.network.wait_until(
        "node 0 has ended that look", lambda: here.network.status(0)["last_finalized_epoch"] == 6
    )
    assert audit(here, 6) == "matches"
    assert world.reader.read(world.reader.head().hash).pool < 2, "fractions of three purses"
    for index in here.network.indexes:
        assert "CRITICAL" not in here.log_of(index)
