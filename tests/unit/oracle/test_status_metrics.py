"""What a scrape reads off a node, and the settings of what the outside gets."""

from __future__ import annotations

from typing import Any

import pytest
from usufruct_oracle.http.serving import Serving
from usufruct_oracle.http.status_metrics import StatusCollector
from usufruct_oracle.limits import Rate
from usufruct_oracle.logs import Redactor
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage import epoch_store, lane_store
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import Vote
from usufruct_protocol.errors import InputRejected

from tests.unit.oracle.lane_kit import KitLane


def watched(store: Store, status: NodeStatus, free: int | None = None) -> Metrics:
    metrics = Metrics()
    metrics.watch(StatusCollector(status, store, lambda: free))
    return metrics


def test_only_what_is_known_is_shown(store: Store) -> None:
    status = NodeStatus()
    metrics = watched(store, status)
    shown = metrics.text().decode()
    assert "usufruct_last_look_timestamp_seconds 0.0\n" in shown
    assert "usufruct_head_block" not in shown
    assert "usufruct_disk_free_bytes" not in shown
    assert {
        "usufruct_head_block",
        "usufruct_disk_free_bytes",
        "usufruct_collected_signatures",
    } <= metrics.names()


def test_a_scrape_shows_where_the_node_stands(store: Store, lane: KitLane) -> None:
    status = NodeStatus(clock=lambda: 1_000.0)
    metrics = watched(store, status, free=5)
    status.looked(head=7, head_time_s=900, epoch=3, last_finalized_epoch=2, is_frozen=True, is_pending=False)
    status.looked(attempt=1, quorum=3, finalizable_at_s=0, is_pending_mine=True)
    with store.write() as db:
        lane_store.put_lanes(db, [KitLane(1).state()])
        for index, (report, signature) in enumerate(
            [(b"\x01", bytes(65)), (b"\x01", bytes(65)), (b"\x02", bytes(65)), (b"\x01", None)]
        ):
            vote = Vote(index, report * 32, report * 32, signature, bytes(32))
            epoch_store.put_vote(db, 3, 1, bytes([index]) * 20, vote)
    shown = metrics.text().decode()
    for line in (
        "usufruct_head_block 7.0",
        "usufruct_head_timestamp_seconds 900.0",
        "usufruct_last_look_timestamp_seconds 1000.0",
        "usufruct_epoch_number 3.0",
        "usufruct_finalized_epoch_number 2.0",
        "usufruct_epoch_frozen 1.0",
        "usufruct_report_pending 0.0",
        "usufruct_report_pending_known 1.0",
        "usufruct_quorum_signers 3.0",
        "usufruct_collected_signatures 2.0",
        "usufruct_lanes 2.0",
        "usufruct_lanes_stopped 0.0",
        "usufruct_unpaid_epochs 0.0",
        "usufruct_disk_free_bytes 5.0",
        "usufruct_halted 0.0",
        "usufruct_in_trouble 0.0",
    ):
        assert f"{line}\n" in shown
    status.in_trouble("the endpoint did not answer")
    status.halt("the pool does not match")
    assert "usufruct_halted 1.0\n" in metrics.text().decode()
    assert "usufruct_in_trouble 1.0\n" in metrics.text().decode()


def test_a_store_that_is_gone_takes_only_its_own_figures_along(store: Store) -> None:
    status = NodeStatus()
    status.looked(head=7)
    metrics = watched(store, status)
    store.close()
    shown = metrics.text().decode()
    assert "usufruct_head_block 7.0\n" in shown
    assert "usufruct_lanes" not in shown


def test_what_everybody_may_read_holds_no_secret() -> None:
    status = NodeStatus(redact=Redactor(["0123456789abcdef"]))
    status.in_trouble("https://chain.example/v3/0123456789abcdef failed")
    status.halt("0123456789abcdef")
    assert "0123456789abcdef" not in str(status.facts())
    assert status.halted == "***"


def test_the_present_is_the_later_of_both_clocks() -> None:
    status = NodeStatus(clock=lambda: 1_000.0)
    assert status.present_s() == 1_000
    status.looked(head_time_s=2_000)
    assert status.present_s() == 2_000


def test_serving_has_defaults_and_shares_follow_from_it() -> None:
    assert Serving.from_json({}) == Serving()
    given = Serving.from_json(
        {"metrics_port": 9645, "requests_per_second": 10, "trusted_proxies": ["10.0.0.9", "2001:db8::1"]}
    )
    assert given.shares.of_sender == Rate(10, 40)
    assert given.shares.of_lane == Rate(50, 3_000)
    assert given.shares.trusted_proxies == ("10.0.0.9", "2001:db8::1")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ([], "an object"),
        ({"port": 1}, "'port'"),
        ({"metrics_port": 0}, "metrics_port"),
        ({"metrics_port": "9645"}, "metrics_port"),
        ({"metrics_port": True}, "metrics_port"),
        ({"max_connections": 3}, "max_connections"),
        ({"requests_per_second": None}, "requests_per_second"),
        ({"trusted_proxies": "10.0.0.9"}, "trusted_proxies"),
        ({"trusted_proxies": ["proxy.example"]}, "'proxy.example'"),
        ({"trusted_proxies": [1]}, "1 is no IP"),
        ({"metrics_host": "localhost"}, "'localhost'"),
    ],
)
def test_serving_names_what_is_wrong(value: Any, named: str) -> None:
    with pytest.raises(InputRejected, match=named):
        Serving.from_json(value)
