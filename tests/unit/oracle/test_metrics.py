"""What a node counts, and that nobody outside can make the series grow."""

from __future__ import annotations

import re

from usufruct_oracle.metrics import Metrics

NAME = re.compile(r"usufruct_[a-z_]+")


def test_two_nodes_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.receipts.inc(3)
    one.batches.labels("gap").inc()
    assert b"usufruct_receipts_total 3.0\n" in one.text()
    assert b'usufruct_batches_total{outcome="gap"} 1.0\n' in one.text()
    assert b"usufruct_receipts_total 0.0\n" in other.text()
    assert b"gap" not in other.text().split(b"# TYPE usufruct_batches_total")[1].split(b"#")[0]


def test_names_are_those_that_a_scrape_shows() -> None:
    metrics = Metrics()
    metrics.http_seconds.labels("x").observe(1)
    shown = {
        match[0]
        for line in metrics.text().decode().splitlines()
        if not line.startswith("#") and (match := NAME.match(line))
    }
    assert {name for name in shown if not name.endswith("_created")} <= metrics.names()
    assert {"usufruct_http_request_seconds_bucket", "usufruct_receipts_total"} <= metrics.names()
    assert "usufruct_receipts" not in metrics.names()
