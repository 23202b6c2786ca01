"""CheckpointAnchors: what a lane has put on record, and when."""

import pytest
from brownie import ZERO_ADDRESS

from tests.contracts.functional.scene import later, now, reveal, reverts
from tests.contracts.lanes import contradiction, signed_by
from tests.contracts.wire import account


@pytest.fixture
def lane(license_id, gateway):
    """A lane with five receipts of ten units each."""
    made = gateway(license_id)
    for _ in range(5):
        made.serve(10)
    return made


@pytest.fixture
def anchor(anchors, lane, stranger):
    """Anyone puts a checkpoint of the first receipts on record; the signature may be another's."""

    def anchored(count, by=None, **changes):
        checkpoint = lane.checkpoint(count)
        for name, value in changes.items():
            object.__setattr__(checkpoint, name, value)
        signed, signature = signed_by(lane.domain, checkpoint, by or lane.key)
        struct = (lane.key.address, signed.count, signed.cumulative_units, signed.receipts_root)
        return anchors.anchor(struct, signature, {"from": stranger})

    return anchored


def test_anyone_anchors_what_a_lane_signed(anchors, anchor, lane):
    event = anchor(3).events["CheckpointAnchored"]
    assert (event["lane"], event["count"], event["cumulativeUnits"]) == (lane.key.address, 3, 30)
    found = anchors.anchorAt(lane.key.address, now())
    assert (found["count"], found["cumulativeUnits"], found["anchoredAt"]) == (3, 30, now())


def test_an_anchor_is_found_by_its_time(anchors, anchor, lane):
    first = anchor(2).timestamp
    later(100)
    second = anchor(5).timestamp
    counts = [
        anchors.anchorAt(lane.key.address, at)["count"] for at in (first - 1, first, second - 1, second)
    ]
    assert counts == [0, 2, 2, 5]


@pytest.mark.parametrize("count", [2, 3])
def test_an_anchor_is_higher_than_the_last(anchor, count):
    anchor(3)
    with reverts("CheckpointAnchors_CountNotHigher"):
        anchor(count)


def test_units_do_not_fall(anchor):
    anchor(3)
    with reverts("CheckpointAnchors_UnitsFell"):
        anchor(4, cumulative_units=29)


def test_only_the_lane_signs(anchor):
    with reverts("LaneEvidence_WrongSigner"):
        anchor(3, by=account("stranger"))


def test_a_key_that_is_no_lane_anchors_nothing(anchors, lane, stranger):
    nobody = account("no lane")
    checkpoint = lane.checkpoint(3)
    struct = (nobody.address, 3, checkpoint.cumulative_units, checkpoint.receipts_root)
    with reverts("CheckpointAnchors_UnknownLane"):
        anchors.anchor(struct, bytes(65), {"from": stranger})


def test_a_lane_stays_within_its_cap(license_id, gateway, anchors, stranger):
    small = gateway(license_id, "small lane", unit_cap=9)
    small.serve(10)
    checkpoint, signature = small.signed(small.checkpoint())
    struct = (small.key.address, 1, 10, checkpoint.receipts_root)
    with reverts("CheckpointAnchors_OverUnitCap"):
        anchors.anchor(struct, signature, {"from": stranger})


def test_a_lane_that_cheated_anchors_nothing(challenges, anchor, lane, challenger):
    shown = contradiction(lane.signed(lane.receipts[0]), lane.signed(lane.forged(0)))
    reveal(challenges, "challengeContradiction", shown, by=challenger)
    with reverts("CheckpointAnchors_LaneRevoked"):
        anchor(3)


@pytest.mark.parametrize("missing", ["settlement", "registry"])
def test_anchors_know_their_neighbors(build, missing):
    with reverts("CheckpointAnchors_ZeroAddress"):
        build("CheckpointAnchors", **{missing: ZERO_ADDRESS})
