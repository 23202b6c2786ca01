"""What a node counts about itself, for Prometheus.

One `Metrics` per node with a registry of its own; bootstrap makes it and hands it to the parts, which count
what they do. Label values come from fixed sets (error codes, routes, configured peers), never from input, so
that nobody outside can make the number of series grow. Nothing here names a person, a lane or a wallet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol, runtime_checkable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_FAST_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SUFFIXES: Final = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
_SLOW_S: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)


@runtime_checkable
class Describing(Protocol):
    """A collector that can name what it may have to say."""

    def describe(self) -> Iterable[Metric]: ...


class Metrics:
    """Every counter of a node, by part. Safe to use from any thread; nothing here blocks or raises."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._described: list[Metric] = []
        self._intake()
        self._http()
        self._epochs()
        self._chain()
        self._guards()

    def text(self) -> bytes:
        """Return all series in the text format that Prometheus scrapes."""
        return generate_latest(self.registry)

    def watch(self, collector: Collector) -> None:
        """Ask a collector for its values at every scrape."""
        self.registry.register(collector)
        self._described += collector.describe() if isinstance(collector, Describing) else ()

    def names(self) -> frozenset[str]:
        """Return the names that a query can use, with the suffixes of counters and histograms."""
        return frozenset(
            family.name + suffix
            for family in (*self.registry.collect(), *self._described)
            for suffix in _SUFFIXES.get(family.type, ("",))
        )

    def _known(self, counter: Counter, *values: str) -> Counter:
        """Show a label's values from the start: an increase from nothing is none to Prometheus."""
        for value in values:
            counter.labels(value)
        return counter

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(name, about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(name, about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, about, labels, buckets=buckets, registry=self.registry)

    def _intake(self) -> None:
        self.receipts = self._counter("usufruct_receipts_total", "Receipts made durable.")
        self.batches = self._counter(
            "usufruct_batches_total",
            "Batches by outcome: taken, known (nothing new in it), or the code of the refusal.",
            "outcome",
        )
        self.quarantined = self._counter(
            "usufruct_quarantined_batches_total", "Refused batches kept with their reason.", "code"
        )
        self.intake_seconds = self._histogram(
            "usufruct_intake_seconds", "From a decoded batch to its commit on disk.", _FAST_S
        )
        self.intake_waiting_bytes = self._gauge(
            "usufruct_intake_waiting_bytes", "Receipts that wait to be committed."
        )
        self.store_errors = self._counter(
            "usufruct_store_errors_total", "Transactions of the store that failed, by error code.", "code"
        )
        self._known(self.store_errors, "transient", "invariant_broken", "internal_error")

    def _http(self) -> None:
        self.http_requests = self._counter(
            "usufruct_http_requests_total", "Answered requests by route and status.", "route", "status"
        )
        self.http_seconds = self._histogram(
            "usufruct_http_request_seconds", "Time to answer, by route.", _FAST_S, "route"
        )
        self.http_connections = self._gauge("usufruct_http_connections", "Open connections.")
        self.http_refused = self._counter(
            "usufruct_http_refused_connections_total",
            "Connections closed by a limit: too_many, too_many_of_one, too_slow.",
            "limit",
        )
        self._known(self.http_refused, "too_many", "too_many_of_one", "too_slow")
        self.limited = self._counter(
            "usufruct_limited_requests_total", "Requests answered 429: sender, lane.", "limit"
        )
        self._known(self.limited, "sender", "lane")

    def _epochs(self) -> None:
        self.looks = self._counter(
            "usufruct_looks_total",
            "Looks of the epoch loop at the chain: done, waiting, failed, unexpected, halted.",
            "outcome",
        )
        self._known(self.looks, "done", "waiting", "failed", "unexpected", "halted")
        self.look_seconds = self._histogram(
            "usufruct_look_seconds", "Duration of one look with all it led to.", _SLOW_S
        )
        self.peer_requests = self._counter(
            "usufruct_peer_requests_total",
            "Questions to a peer: answered, slow, unreachable, refused (nonsense or too large).",
            "peer",
            "outcome",
        )
        self.peer_answered_at = self._gauge(
            "usufruct_peer_last_answer_timestamp_seconds", "When a peer last answered.", "peer"
        )

    def _chain(self) -> None:
        self.transactions = self._counter(
            "usufruct_transactions_total",
            "Transactions by kind (submit, finalize, issue_reserve, pay_range, answer) and outcome "
            "(sent, included, bumped, lost, reverted, refused).",
            "kind",
            "outcome",
        )
        self.transaction_fees = self._counter(
            "usufruct_transaction_fees_wei_total", "Gas paid for included transactions.", "kind"
        )
        self.oldest_pending_at = self._gauge(
            "usufruct_oldest_pending_transaction_timestamp_seconds",
            "When the oldest transaction without an outcome was first sent; 0 if there is none.",
        )
        self.balance = self._gauge(
            "usufruct_signer_balance_wei", "Native coins of the account that pays for gas.", "account"
        )
        self.rpc_requests = self._counter(
            "usufruct_rpc_requests_total",
            "Requests per chain endpoint (by its place in the settings): answered, failed, disagreed.",
            "endpoint",
            "outcome",
        )
        self.reorganizations = self._counter(
            "usufruct_reorganizations_total", "Times a block this node had built on was replaced."
        )
        self.disputes_open = self._gauge(
            "usufruct_disputes_open", "Open disputes about the pending report that nobody answered yet."
        )
        self.disputes_answered = self._counter(
            "usufruct_disputes_answered_total", "Disputes that this node answered on chain."
        )

    def _guards(self) -> None:
        self.signer_failures = self._counter(
            "usufruct_signer_failures_total", "Times the signer command gave no signature of its address."
        )
        self.guards_held = self._gauge(
            "usufruct_guards_held",
            "1 while this guard keeps the node from signing until a person says so.",
            "guard",
        )
