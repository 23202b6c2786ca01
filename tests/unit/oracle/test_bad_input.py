"""Bad input to a node, over its HTTP surface: a typed answer, a count, the reason kept, and nothing lost.

Every case is sent between two good batches of the same lane: the second one must still be taken.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from usufruct_oracle.http.edge import Edge
from usufruct_oracle.limits import Buckets, Rate
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.store import Store
from usufruct_protocol.batches import MAX_BATCH_BYTES, MAX_BATCH_RECEIPTS, Batch
from usufruct_protocol.receipts.encoding import RECORD_SIZE

from tests.unit.oracle.lane_kit import KitLane, record_tag, settlement_domain
from tests.unit.oracle.test_http import Client, Parts

FIRST, LAST = 4, 8


@pytest.fixture
def node(store: Store, lane: KitLane) -> Iterator[Parts]:
    lane.meter(*range(1, LAST + 1), usage=[(record_tag(1), 2)])
    with store.write() as db:
        lane_store.put_lanes(db, [KitLane(1).state()])
    parts = Parts(store)
    assert parts.client.post("/v1/batches", lane.batch(0, FIRST).encode()).status_code == 200
    yield parts
    parts.writer.close()


def changed(batch: Batch, seq: int, offset: int, value: bytes) -> bytes:
    at = (seq - batch.first_seq) * RECORD_SIZE + offset
    blob = batch.records[:at] + value + batch.records[at + len(value) :]
    return dataclasses.replace(batch, records=blob).encode()


def foreign(lane: KitLane) -> bytes:
    """Receipts of one lane under the name, checkpoint and signature of another."""
    other = KitLane(1)
    other.meter(*range(1, LAST + 1))
    theirs = other.batch()
    return dataclasses.replace(theirs, records=lane.records).encode()


def of_another_key(lane: KitLane) -> bytes:
    """A lane's own receipts, signed by somebody else's key."""
    thief = KitLane(1)
    batch = lane.batch(FIRST)
    return dataclasses.replace(batch, signature=thief.sign(batch.checkpoint)).encode()


def from_the_future(lane: KitLane) -> bytes:
    ahead = lane.fork()
    ahead.meter(1, at_ms=int(time.time() + 7_200) * 1000)
    return ahead.batch(FIRST).encode()


CASES: dict[str, tuple[Callable[[KitLane], bytes], int, str, bool]] = {
    # name: how it is made, status, code, whether it is kept in quarantine
    "empty": (lambda _: b"", 422, "input_rejected", False),
    "not a batch": (lambda _: b"<html>" * 100, 422, "input_rejected", False),
    "oversized": (lambda _: bytes(MAX_BATCH_BYTES + 1), 413, "too_large", False),
    "truncated in the receipts": (
        lambda lane: lane.batch(FIRST).encode()[:200],
        422,
        "input_rejected",
        False,
    ),
    "truncated by a byte": (lambda lane: lane.batch(FIRST).encode()[:-1], 422, "input_rejected", False),
    "a byte too long": (lambda lane: lane.batch(FIRST).encode() + b"\0", 422, "input_rejected", False),
    "more receipts than allowed": (
        lambda lane: b"UFB1" + lane.address + bytes(8) + (MAX_BATCH_RECEIPTS + 1).to_bytes(4, "big"),
        422,
        "input_rejected",
        False,
    ),
    "no such lane": (lambda _: KitLane(50).batch().encode(), 503, "transient", False),  # the chain is away
    "wrong signature": (of_another_key, 422, "checkpoint_signature_wrong", True),
    "signed for another chain": (
        lambda lane: lane.batch(FIRST, domain=settlement_domain(1, b"\x5e" * 20)).encode(),
        422,
        "checkpoint_signature_wrong",
        True,
    ),
    "foreign lane": (foreign, 422, "checkpoint_root_wrong", True),
    "out of order": (lambda lane: lane.batch(FIRST + 1).encode(), 409, "gap", False),
    "seqs out of order": (
        lambda lane: changed(lane.batch(FIRST), FIRST, 0, (LAST).to_bytes(8, "big")),
        422,
        "receipt_gap",
        True,
    ),
    "a seq past 63 bits": (
        lambda lane: changed(lane.batch(FIRST), FIRST, 0, (2**64 - 1).to_bytes(8, "big")),
        422,
        "receipt_gap",
        True,
    ),
    "units past 2^48": (
        lambda lane: changed(lane.batch(FIRST), FIRST, 8, (2**48).to_bytes(8, "big")),
        422,
        "receipt_units_too_large",
        True,
    ),
    "future-dated": (from_the_future, 409, "future_dated", False),
    "without its usage lists": (
        lambda lane: dataclasses.replace(lane.batch(FIRST), openings={}).encode(),
        422,
        "input_rejected",
        True,
    ),
    "replayed": (lambda lane: lane.batch(0, FIRST).encode(), 200, "", False),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_has_a_typed_answer_and_costs_nobody_anything(
    name: str, node: Parts, lane: KitLane, store: Store
) -> None:
    make, status, code, is_kept = CASES[name]
    answer = node.client.post("/v1/batches", make(lane))
    assert (answer.status_code, answer.json().get("code", "")) == (status, code)
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["title"] == HTTPStatus(status).phrase
        assert answer.json()["detail"]
    if code == "future_dated":
        assert int(answer.headers["retry-after"]) in range(3_500, 3_602)
    route = f'usufruct_http_requests_total{{route="/v1/batches",status="{status}"}}'
    assert f"{route} {2.0 if status == 200 else 1.0}\n" in node.metrics.text().decode()
    outcome = f'usufruct_batches_total{{outcome="{code or "known"}"}} 1.0'
    assert f"{outcome}\n" in node.metrics.text().decode()
    with store.read() as db:
        kept = db.execute("SELECT code FROM quarantine").fetchall()
    assert [row[0] for row in kept] == ([code] if is_kept else [])
    taken = node.client.post("/v1/batches", lane.batch(FIRST).encode())
    assert (taken.status_code, taken.json()["count"]) == (200, LAST)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bytes_break_the_door(data: st.DataObject, node: Parts, lane: KitLane) -> None:
    good = bytearray(lane.batch(FIRST).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(good) - 1))
        cut = data.draw(st.integers(0, 40))
        good[at : at + cut] = data.draw(st.binary(max_size=40))
    answer = node.client.post("/v1/batches", bytes(good))
    assert answer.status_code in (200, 409, 413, 422, 503), answer.text
    if answer.status_code != 200:
        assert answer.json()["code"] not in ("error", "internal_error")
    assert node.client.post("/v1/batches", lane.batch(FIRST).encode()).json()["count"] == LAST


PATHS = st.sampled_from(
    [
        "/v1/lanes/{}",
        "/v1/lanes/{}/hashes?from_seq={}&to_count={}",
        "/v1/lanes/{}/batches?from_seq={}&to_count={}",
        "/v1/lanes/{}/evidence",
        "/v1/rosters/{}",
        "/v1/epochs/{}",
        "/v1/epochs/{}/frozen",
        "/v1/epochs/{}/attempts/{}/vector",
        "/v1/epochs/{}/attempts/{}/vote",
        "/v1/epochs/{}/bundle?bundle_hash={}",
        "/v1/epochs/{}/bundle/{}?bundle_hash={}",
    ]
)
PARTS = st.one_of(
    st.integers(-1, 2**70).map(str),
    st.binary(min_size=0, max_size=40).map(lambda value: "0x" + value.hex()),
    st.sampled_from(
        ["0x" + "00" * 20, "0x" + "00" * 32, "words.bin", "..", "%00", "٣", "1e3", "0x" + "zz" * 20]
    ),
    st.text(
        st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="/?#%"), max_size=8
    ),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=PATHS, parts=st.lists(PARTS, min_size=3, max_size=3), header=st.text(max_size=60))
def test_no_question_breaks_the_node(path: str, parts: list[str], header: str, node: Parts) -> None:
    answer = node.client.ask(
        "GET", path.format(*parts), headers={"Usufruct-Peer": header.encode("utf-8", "ignore")}
    )
    assert answer.status_code in (200, 403, 404, 405, 422, 503), answer.text
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json"


def test_who_sends_only_rubbish_is_asked_to_wait_and_others_are_not(node: Parts, lane: KitLane) -> None:
    metrics = Metrics()
    app = Edge(node.app, metrics, Buckets(Rate(per_second=0.01, burst=100)))
    rude, polite = Client(app, "203.0.113.7"), Client(app, "203.0.113.8")
    seen = [rude.post("/v1/batches", b"rubbish").status_code for _ in range(8)]
    assert seen == [422] * 5 + [429] * 3
    waiting = rude.post("/v1/batches", lane.batch(FIRST).encode())
    assert (waiting.status_code, waiting.json()["code"]) == (429, "too_many_requests")
    assert int(waiting.headers["retry-after"]) >= 1
    assert polite.post("/v1/batches", lane.batch(FIRST).encode()).status_code == 200
    assert b'usufruct_limited_requests_total{limit="sender"} 4.0' in metrics.text()


def test_large_answers_cost_their_reader_more(node: Parts, lane: KitLane) -> None:
    app = Edge(node.app, Metrics(), Buckets(Rate(per_second=0.01, burst=3)))
    reader = Client(app, "203.0.113.7")
    lane.meter(*[1] * 2_000)
    assert node.client.post("/v1/batches", lane.batch(FIRST).encode()).status_code == 200
    path = f"/v1/lanes/0x{lane.address.hex()}/hashes?from_seq=0&to_count=2000"
    assert [reader.get(path).status_code for _ in range(2)] == [200, 429]


def test_this_machine_and_named_proxies_are_many_senders(node: Parts) -> None:
    app = Edge(node.app, Metrics(), Buckets(Rate(per_second=0.01, burst=1)), ["10.0.0.9"])
    for host in ("127.0.0.1", "::1", "10.0.0.9"):
        assert [Client(app, host).post("/v1/batches", b"").status_code for _ in range(3)] == [422] * 3
    assert [Client(app, "10.0.0.8").post("/v1/batches", b"").status_code for _ in range(2)] == [422, 429]


def test_a_lane_over_its_share_waits_alone(store: Store, lane: KitLane) -> None:
    other = KitLane(1)
    with store.write() as db:
        lane_store.put_lanes(db, [other.state()])
    node = Parts(store, of_lane=Rate(per_second=0.01, burst=2))
    lane.meter(*range(6))
    other.meter(1)
    for _ in range(5):  # what brings nothing new costs the lane nothing: anybody may send it
        assert node.client.post("/v1/batches", lane.batch(0, 1).encode()).status_code == 200
    answers = [node.client.post("/v1/batches", lane.batch(n, n + 1).encode()) for n in (1, 2)]
    assert [(answer.status_code, answer.json().get("code")) for answer in answers] == [
        (200, None),
        (429, "too_many_requests"),
    ]
    assert node.client.post("/v1/batches", other.batch().encode()).status_code == 200
    assert 'limited_requests_total{limit="lane"} 1.0' in node.metrics.text().decode()
    node.writer.close()


def test_paths_nobody_serves_are_one_series(node: Parts) -> None:
    for number in range(50):
        node.client.get(f"/nothing/{number}")
    shown = node.metrics.text().decode()
    assert 'http_requests_total{route="none",status="404"} 50.0' in shown
    assert "/nothing" not in shown


def test_ready_says_why_not(node: Parts) -> None:
    assert node.client.get("/ready").json() == {"status": "ready", "reason": ""}
    node.free_bytes = 10 * 2**20
    full = node.client.get("/ready")
    assert (full.status_code, full.json()["reason"]) == (503, "10 MB of disk are left")
    node.free_bytes = 10 * 2**30
    node.status.halt("the pool does not match")
    assert node.client.get("/ready").status_code == 503
