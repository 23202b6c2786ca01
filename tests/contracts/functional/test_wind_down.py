"""WindDown: the committee is gone; what lanes have signed is settled, and everybody takes their money out."""

import pytest
from brownie import ZERO_ADDRESS

from tests.contracts.functional.scene import FOREVER, later, reverts, until
from tests.contracts.trees import Reserve
from tests.contracts.wire import as_abi

DAY = 86_400
SUBMIT_CLOCK, NOTICE, SETTLING = 90 * DAY, 30 * DAY, 30 * DAY
AMOUNTS = (100, 250)


@pytest.fixture
def reserve():
    """Who gets what if nobody ever reports again."""
    return Reserve(AMOUNTS)


@pytest.fixture
def last(license_id, fund, nodes, reserve):
    """The last report: 1,000 of 10,000 are charged, and it carries the reserve."""
    fund(license_id, 10_000)
    return nodes.settle([(license_id, 1_000, 1_000)], **reserve.in_report)


@pytest.fixture
def lane(license_id, gateway):
    """A lane that goes on serving: 1,500 units."""
    made = gateway(license_id)
    made.serve(1_500)
    return made


@pytest.fixture
def silence(settlement, last):
    """Nobody reports for ninety days."""
    until(settlement.lastSubmittedAt() + SUBMIT_CLOCK)


@pytest.fixture
def close(wind_down, last, stranger):
    """Closes the settlement; the pending report is read only where there is one."""

    def closed(pending=None):
        return wind_down.close(as_abi(last), as_abi(pending or last), {"from": stranger})

    return closed


@pytest.fixture
def closed(wind_down, lane, silence, close, stranger):
    """Announced by anyone, and closed after its notice."""
    wind_down.announce({"from": stranger})
    later(NOTICE)
    return close()


@pytest.fixture
def settle(wind_down, license_id, lane, stranger):
    """Shows what the lane has signed; returns what was charged for it."""

    def settled():
        checkpoint, signature = lane.signed(lane.checkpoint())
        made = wind_down.settleLate(license_id, [as_abi(checkpoint)], signature, {"from": stranger})
        return made.events["LateSettled"]["charge"]

    return settled


# -- the end ------------------------------------------------------------------------------------------------


def test_nobody_announces_the_end_while_reports_come(wind_down, settlement, last, stranger):
    until(settlement.lastSubmittedAt() + SUBMIT_CLOCK - 60)
    with reverts("WindDown_ReportsRunning"):
        wind_down.announce({"from": stranger})


def test_the_end_has_a_notice(wind_down, settlement, silence, close, stranger):
    with reverts("WindDown_NotAnnounced"):
        close()
    wind_down.announce({"from": stranger})
    with reverts("WindDown_AlreadyAnnounced"):
        wind_down.announce({"from": stranger})
    with reverts("WindDown_NoticeRunning"):
        close()
    later(NOTICE)
    close()
    assert settlement.stopped()


def test_a_committee_that_comes_back_goes_on(wind_down, nodes, silence, close, stranger):
    wind_down.announce({"from": stranger})
    nodes.post()
    later(NOTICE)
    assert wind_down.announcedAt() == 0
    with reverts("WindDown_NotAnnounced"):
        close()


def test_the_council_announces_and_calls_off(wind_down, last, council, stranger):
    with reverts("AccessManagedUnauthorized"):
        wind_down.announceByCouncil({"from": stranger})
    wind_down.announceByCouncil({"from": council})
    with reverts("WindDown_AlreadyAnnounced"):
        wind_down.announceByCouncil({"from": council})
    wind_down.cancelByCouncil({"from": council})
    with reverts("WindDown_NotAnnounced"):
        wind_down.cancelByCouncil({"from": council})


def test_inv_15_closing_drops_what_was_pending(wind_down, escrow, nodes, license_id, last, close, council):
    pending = nodes.post([(license_id, 3_000, 2_000)])
    assert escrow.account(license_id)["reserved"] == 2_000
    wind_down.announceByCouncil({"from": council})
    later(NOTICE)
    event = close(pending).events["ReportRejected"]
    assert event["reason"] == "wind-down"
    assert escrow.account(license_id)["available"] == 9_000


def test_after_the_end_nothing_begins(wind_down, registry, nodes, closed, close, accept, council, stranger):
    for call in (
        lambda: close(),
        lambda: wind_down.announce({"from": stranger}),
        lambda: wind_down.announceByCouncil({"from": council}),
    ):
        with reverts("WindDown_AlreadyClosed"):
            call()
    with reverts("UsageSettlement_Stopped"):
        nodes.submit(nodes.report())
    with reverts("LicenseRegistry_SettlementStopped"):
        accept(nonce=2, deadline=FOREVER)


def test_a_paused_token_stops_the_clock(wind_down, token, settlement, last, stranger):
    until(settlement.lastSubmittedAt() + 30 * DAY)
    token.setPaused(True, {"from": stranger})
    assert "TokenPaused" in wind_down.recordPause({"from": stranger}).events
    later(100 * DAY)
    with reverts("WindDown_ReportsRunning"):
        wind_down.announce({"from": stranger})
    token.setPaused(False, {"from": stranger})
    assert "TokenResumed" in wind_down.recordPause({"from": stranger}).events
    later(60 * DAY)
    wind_down.announce({"from": stranger})


# -- money out ----------------------------------------------------------------------------------------------


def test_inv_43_everybody_takes_their_money_out(
    wind_down, escrow, splitter, token, license_id, closed, settle, reserve, buyer, stranger
):
    """Late usage is charged, deposits go back, the reserve and what lies in the pool to contributors."""
    assert settle() == 500
    assert settle() == 0
    with reverts("WindDown_StillSettling"):
        wind_down.claimSupplement(*reserve.opening(0), {"from": stranger})
    later(SETTLING)
    with reverts("WindDown_SettlingOver"):
        settle()
    escrow.withdraw(license_id, 8_500, buyer, {"from": buyer})
    tree_id = wind_down.reserveTree()
    pool = splitter.pool()
    assert pool == 1_500 * 7 // 10 - sum(AMOUNTS)
    for index in range(len(AMOUNTS)):
        splitter.claimReserve(tree_id, *reserve.opening(index), {"from": stranger})
        wind_down.claimSupplement(*reserve.opening(index), {"from": stranger})
    got = [token.balanceOf(who.address) for who in reserve.payees]
    assert got == [amount + pool * amount // sum(AMOUNTS) for amount in AMOUNTS]
    assert (token.balanceOf(buyer), token.balanceOf(escrow)) == (8_500, 0)
    with reverts("WindDown_NothingToPay"):
        wind_down.claimSupplement(*reserve.opening(0), {"from": stranger})
    with reverts("WindDown_HasReserve"):
        wind_down.payCustodian({"from": stranger})


def test_inv_28_a_deposit_waits_for_the_settling(escrow, license_id, closed, buyer):
    with reverts("RoyaltyEscrow_NotCovered"):
        escrow.withdraw(license_id, 1, buyer, {"from": buyer})


def test_late_usage_is_what_the_lane_signed(wind_down, license_id, closed, lane, stranger):
    checkpoint, _ = lane.signed(lane.checkpoint())
    with reverts("LaneEvidence_BadSignature"):
        wind_down.settleLate(license_id, [as_abi(checkpoint)], bytes(65), {"from": stranger})
    with reverts("WindDown_WrongSignatureCount"):
        wind_down.settleLate(license_id, [as_abi(checkpoint)], b"", {"from": stranger})


def test_nothing_is_settled_late_before_the_end(wind_down, license_id, last, lane, stranger):
    checkpoint, signature = lane.signed(lane.checkpoint())
    with reverts("WindDown_NotClosed"):
        wind_down.settleLate(license_id, [as_abi(checkpoint)], signature, {"from": stranger})


@pytest.mark.parametrize(
    ("missing", "error"), [("authority", "ZeroAddress"), ("settlement", "ZeroAddress"), (None, "Miswired")]
)
def test_a_wind_down_knows_its_neighbors(build, missing, error):
    """A second one is nobody's: the settlement names the first."""
    with reverts(f"WindDown_{error}"):
        build("WindDown", **({missing: ZERO_ADDRESS} if missing else {}))
