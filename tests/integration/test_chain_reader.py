"""Reads at named blocks: the whole state of a deployment, old states, cut-off blocks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from usufruct_chain import calls
from usufruct_chain.signatures import settlement_domain
from usufruct_protocol.chain_state import LaneState, LicenseState, MeterKind
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.errors import ConfigInvalid, Transient
from usufruct_protocol.money import SplitBps
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.report_types import ReportLine
from usufruct_protocol.signing import address_of, checksum_address, parse_address, sign_digest

from scripts.devchain import dev_key
from tests.integration.chain_world import (
    EPOCH_S,
    GENESIS_S,
    MERGE_DELAY_S,
    NOTE_MINIMUM,
    SIGNER_KEYS,
    USDC,
    World,
    unchanged,
    world,
)


@pytest.fixture(scope="module")
def shared_world() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def here(shared_world: World) -> Iterator[World]:
    with unchanged(shared_world) as made:
        yield made


def test_everything_a_report_needs_is_read_at_one_block(here: World) -> None:
    first = here.accept()
    second = here.accept(
        here.offer(
            meter_kind=int(MeterKind.RETRIEVAL),
            price_per_million_units=5 * USDC,
            max_charge_per_epoch=3 * USDC,
            collection_hash=bytes([3] * 32),
            contributors_bps=6_000,
            community_bps=500,
            steward_bps=2_000,
            platform_bps=0,
            operators_bps=1_500,
        )
    )
    lanes = [
        here.register_lane(second, 0, unit_cap=77),
        here.register_lane(first, 1, valid_from=GENESIS_S * 1000 + 1, valid_to=GENESIS_S * 1000 + 999),
        here.register_lane(second, 2),
    ]
    here.deposit(second, 2 * USDC)
    here.sender("steward").send(calls.set_roster(here.contracts, second, bytes([6] * 32)))
    head = here.reader.head()
    state = here.reader.read(head.hash)

    assert (state.chain_id, state.settlement) == (31337, parse_address(here.contracts.deployment.settlement))
    assert (state.epoch, state.previous_report_hash) == (1, bytes(32))
    assert (state.previous_period_end_s, state.epoch_seconds) == (GENESIS_S, EPOCH_S)
    assert (state.cutoff_block, state.cutoff_block_hash) == (head.number, head.hash)
    assert (state.cutoff_time_s, state.next_attempt) == (here.chain.now(), 0)
    assert state.signer_set_version == 1
    assert state.signers == tuple(sorted(address_of(key) for key in SIGNER_KEYS))
    assert (state.pool, state.note_minimum, state.consent_root) == (0, NOTE_MINIMUM, bytes(32))
    assert state.custodian == parse_address(here.config.custodian)
    assert state.licenses == (
        LicenseState(
            license_id=first,
            meter_kind=MeterKind.INFERENCE,
            price_per_million_units=2 * USDC,
            max_charge_per_epoch=100 * USDC,
            split_bps=SplitBps(7_000, 1_000, 1_000, 500, 500),
            collection_hash=bytes([2] * 32),
            roster_root=bytes(32),
            available=0,
            charged=0,
            cumulative_units=0,
        ),
        LicenseState(
            license_id=second,
            meter_kind=MeterKind.RETRIEVAL,
            price_per_million_units=5 * USDC,
            max_charge_per_epoch=3 * USDC,
            split_bps=SplitBps(6_000, 500, 2_000, 0, 1_500),
            collection_hash=bytes([3] * 32),
            roster_root=bytes([6] * 32),
            available=2 * USDC,
            charged=0,
            cumulative_units=0,
        ),
    )
    assert state.lanes == tuple(
        LaneState(number, lane.lane, lane.license_id, lane.valid_from, lane.valid_to, lane.unit_cap)
        for number, lane in enumerate(lanes)
    )


def test_an_old_block_keeps_its_state(here: World) -> None:
    license_id = here.accept()
    here.deposit(license_id, 30 * USDC, salt=bytes([1] * 32))
    old = here.reader.head()
    before = here.reader.read(old.hash)
    here.deposit(license_id, 5 * USDC, salt=bytes([2] * 32))
    here.register_lane(license_id, 0)
    line = ReportLine(license_id, 1_000_000, 2 * USDC)
    here.settle(here.report(here.close_epoch(1), lines=(line,)))
    here.chain.mine(600)

    assert here.reader.read(old.hash) == before
    assert here.reader.account(license_id, old.hash).available == 30 * USDC
    assert here.reader.report_hash(1, old.hash) == bytes(32)
    now = here.reader.read(here.reader.head().hash)
    assert (now.epoch, now.licenses[0].charged, now.licenses[0].cumulative_units) == (2, 2 * USDC, 1_000_000)
    assert (now.licenses[0].available, now.pool) == (33 * USDC, 1_400_000)
    assert len(now.lanes) == 1


def test_what_a_buyer_may_withdraw_is_not_available_to_a_report(here: World) -> None:
    """The license has ended and is covered: a charge could be undercut between cut-off and submit."""
    license_id = here.accept(here.offer(ends_at=GENESIS_S + EPOCH_S - MERGE_DELAY_S))
    here.deposit(license_id, 3 * USDC)
    before = here.reader.read(here.reader.head().hash)
    assert before.licenses[0].available == 3 * USDC
    here.settle(here.report(here.close_epoch(1)))
    after = here.reader.read(here.reader.head().hash)
    assert after.licenses[0].available == 0
    assert here.reader.account(license_id).available == 3 * USDC


def test_many_licenses_and_lanes_are_read_in_more_batches(here: World) -> None:
    """30 licenses and 5 lanes are 158 reads at once: more than one batch carries."""
    ids = [here.accept(here.offer(max_charge_per_epoch=number + 1)) for number in range(30)]
    lanes = [here.register_lane(ids[-1], number) for number in range(5)]
    state = here.reader.read(here.reader.head().hash)
    assert [(found.license_id, found.max_charge_per_epoch) for found in state.licenses] == [
        (license_id, number + 1) for number, license_id in enumerate(ids)
    ]
    assert [found.lane for found in state.lanes] == [lane.lane for lane in lanes]


def test_an_unknown_block_is_transient(here: World) -> None:
    with pytest.raises(Transient):
        here.reader.read(bytes([1] * 32))
    with pytest.raises(Transient):
        here.reader.settlement_state(bytes([1] * 32))
    with pytest.raises(Transient, match="does not know block"):
        here.reader.block_by_hash(bytes([1] * 32))
    with pytest.raises(Transient, match="does not know block"):
        here.reader.block(10**9)


def test_a_block_before_the_contracts_is_refused_by_name(here: World) -> None:
    with pytest.raises(ConfigInvalid, match="no contract answers state at"):
        here.reader.settlement_state(here.reader.block(1).hash)


def test_cutoff_is_the_first_block_after_period_grace_and_finalization(here: World) -> None:
    period_end_s = GENESIS_S + EPOCH_S
    assert here.reader.find_cutoff(period_end_s, 0, 0, 0) is None
    here.chain.advance_to(period_end_s - 1)
    assert here.reader.find_cutoff(period_end_s, 0, 0, 0) is None
    here.chain.mine(10)
    first = here.reader.block(here.reader.head().number - 9)
    assert first.timestamp_s == period_end_s
    assert here.reader.find_cutoff(period_end_s, 0, 0, 0) == first
    assert here.reader.find_cutoff(period_end_s, 4, 0, 0) == here.reader.block(first.number + 4)
    assert here.reader.find_cutoff(period_end_s, 0, first.number + 2, 0) == here.reader.block(
        first.number + 3
    )
    assert here.reader.find_cutoff(period_end_s, 0, here.reader.head().number, 0) is None
    assert here.reader.find_cutoff(period_end_s, 0, 0, 9) == first
    assert here.reader.find_cutoff(period_end_s, 0, 0, 10) is None
    assert here.reader.find_cutoff(period_end_s, 10, 0, 0) is None


def test_cutoff_never_precedes_the_deployment(here: World) -> None:
    found = here.reader.find_cutoff(GENESIS_S - 100, 0, 0, 0)
    assert found is not None
    assert found.number == here.contracts.deployment.deployed_block
    assert here.reader.read(found.hash).epoch == 1


def test_token_balances_keep_their_order(here: World) -> None:
    token = here.contracts.token.functions
    people = [address_of(dev_key(number, "holder")) for number in range(150)]
    for number in (3, 149):
        here.sender("anyone").send(token.mint(checksum_address(people[number]), number))
    expected = [0] * 150
    expected[3], expected[149] = 3, 149
    assert here.reader.token_balances(people) == tuple(expected)


def test_polling_asks_for_the_head_only(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes poll many times per second: the state at a block that was read already costs no request."""
    reader = here.reader
    state = reader.settlement_state(reader.head().hash)
    requests: list[bytes] = []
    (provider,) = reader.contracts.w3.provider.providers  # type: ignore[attr-defined]
    original = provider._make_request
    monkeypatch.setattr(
        provider, "_make_request", lambda *given: requests.append(given[1]) or original(*given)
    )
    assert reader.settlement_state(reader.head().hash) == state
    assert len(requests) == 1


def test_income_of_a_license_is_read(here: World) -> None:
    buyer, contracts = here.sender("buyer"), here.contracts
    buyer.send(contracts.token.functions.mint(buyer.address, 10 * USDC))
    buyer.send(contracts.token.functions.approve(contracts.deployment.fees, 10 * USDC))
    license_id = here.accept(here.offer(upfront_fee=10 * USDC, cooling_off_seconds=60))
    before = here.reader.head()
    here.chain.advance_to(here.chain.now() + 60)
    here.sender("anyone").send(contracts.fees.functions.releaseUpfront(license_id))
    state = here.reader.read(here.reader.head().hash)
    assert (state.licenses[0].income, state.pool) == (10 * USDC, 7 * USDC)
    assert state.licenses[0].charged == 0
    held = here.reader.read(before.hash)
    assert (held.licenses[0].income, held.pool) == (0, 0)


def test_what_is_anchored_by_the_period_s_end_is_read(here: World) -> None:
    """An anchor of the last second binds; one of the second after it is for the next report."""
    license_id = here.accept()
    lanes = [here.register_lane(license_id, number) for number in range(3)]

    def anchor(number: int, count: int) -> Checkpoint:
        point = Checkpoint(lanes[number].lane, count, 2 * count, bytes([count] * 32))
        digest = typed_digest(settlement_domain(here.contracts.deployment), point.struct_hash())
        signature = sign_digest(dev_key(number, "lane"), digest)
        fields = (checksum_address(point.lane), point.count, point.cumulative_units, point.receipts_root)
        here.sender("anyone").send(here.contracts.anchors.functions.anchor(fields, signature))
        return point

    anchor(0, 5)
    here.chain.advance_to(GENESIS_S + EPOCH_S - 1)
    in_time = anchor(0, 9)
    assert here.reader.head().timestamp_s == GENESIS_S + EPOCH_S
    late = [anchor(0, 11), anchor(2, 1)]
    cutoff = here.close_epoch(1)
    here.chain.mine(3)
    for block in (cutoff, here.reader.head()):
        assert [lane.anchor for lane in here.reader.read(block.hash).lanes] == [in_time, None, None]
    here.settle(here.report(cutoff))
    following = here.reader.read(here.reader.head().hash)
    assert [lane.anchor for lane in following.lanes] == [late[0], None, late[1]]


def test_the_accumulator_of_consent_is_read_at_its_block(here: World) -> None:
    old = here.reader.head()
    here.sender("anyone").send(here.contracts.consent_log.functions.forceRevoke(bytes([3] * 32)))
    revoked = here.reader.head()
    here.sender("anyone").send(here.contracts.consent_log.functions.forceRevoke(bytes([4] * 32)))
    (first,) = here.reader.query([here.contracts.views.consent_log.accumulator()], revoked.hash)
    roots = [here.reader.read(block.hash).consent_root for block in (old, revoked, here.reader.head())]
    assert roots[:2] == [bytes(32), first]
    assert len(set(roots)) == 3


def test_a_reserve_that_goes_before_the_next_report_is_read(here: World) -> None:
    successors = sorted(address_of(dev_key(number, "successor")) for number in range(4))
    rotate = here.contracts.committee.functions.rotate([checksum_address(signer) for signer in successors], 2)
    here.sender("council").send(rotate)
    before = here.reader.read(here.reader.head().hash)
    report = here.report(here.close_epoch(1))
    here.settle(report)
    settled = here.reader.read(here.reader.head().hash)
    here.sender("anyone").send(calls.issue_reserve(here.contracts, report))
    issued = here.reader.read(here.reader.head().hash)
    found = [
        (state.epoch, state.reserve_first, state.reserve_issued_epoch) for state in (before, settled, issued)
    ]
    assert found == [(1, False, 0), (2, True, 0), (2, True, 1)]
    assert [state.is_reserve_issued for state in (before, settled, issued)] == [False, False, True]


def test_a_revoked_lane_is_read_with_its_time(here: World) -> None:
    """Only the contract of challenges revokes; the dev chain lends its address."""
    license_id = here.accept()
    for number in range(3):
        here.register_lane(license_id, number)
    challenges = here.contracts.deployment.challenges
    here.chain.set_balance([challenges])
    here.chain.w3.provider.make_request("anvil_impersonateAccount", [challenges])  # type: ignore[arg-type]
    sent = here.contracts.registry.functions.revokeLane(1).transact({"from": challenges})
    here.chain.w3.eth.wait_for_transaction_receipt(sent)
    head = here.reader.head()
    assert [lane.revoked_at_s for lane in here.reader.read(head.hash).lanes] == [0, head.timestamp_s, 0]
