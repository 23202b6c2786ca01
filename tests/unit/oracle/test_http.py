"""The HTTP surface without a network: limits, problems, and a chain or node that is out of order."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from usufruct_chain.onchain import Block
from usufruct_oracle.chain.registry import Registry
from usufruct_oracle.http.app import NodeHttp
from usufruct_oracle.http.health import Health
from usufruct_oracle.intake.acknowledging import Acknowledging
from usufruct_oracle.intake.admission import Intake
from usufruct_oracle.intake.writer import IntakeWriter
from usufruct_oracle.limits import Rate, Shares
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.peers.auth import PeerAuth
from usufruct_oracle.peers.client import MAX_ROSTER_BYTES, Peers
from usufruct_oracle.peers.rosters import Rosters
from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.store import Store
from usufruct_protocol.batches import MAX_BATCH_BYTES
from usufruct_protocol.chain_state import ChainState, LicenseState, MeterKind
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.errors import Transient
from usufruct_protocol.money import SplitBps
from usufruct_protocol.receipts import CheckpointAck
from usufruct_protocol.roster import Roster, RosterRow
from usufruct_protocol.signing import LocalSigner, address_of, recover

from tests.unit.oracle.lane_kit import DOMAIN, KitLane, record_tag
from tests.unit.oracle.test_voting import context as epoch_context

OWN = b"\x0a" * 20
KEY = b"\x0b" * 32


class NoChain:
    """A chain that cannot be reached, until it is given a state; counts how often it was tried."""

    def __init__(self) -> None:
        self.tried = 0
        self.state: ChainState | None = None

    def head(self) -> Block:
        self.tried += 1
        if self.state is None:
            raise Transient("the endpoint did not answer")
        return Block(self.tried, bytes([self.tried]) * 32, bytes(32), 1)

    def read(self, _block_hash: bytes) -> ChainState:
        assert self.state is not None
        return self.state


class Client:
    """Asks an ASGI application, one event loop per question."""

    def __init__(self, app: Any, host: str = "127.0.0.1") -> None:
        self._app = app
        self._host = host

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, raise_app_exceptions=False, client=(self._host, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
                return await client.request(method, path, **more)

        return asyncio.run(once())

    def get(self, path: str) -> httpx.Response:
        return self.ask("GET", path)

    def post(self, path: str, content: Any) -> httpx.Response:
        return self.ask("POST", path, content=content)


class Parts:
    """A node's HTTP side with its parts at hand."""

    def __init__(
        self,
        store: Store,
        key: bytes | None = None,
        of_lane: Rate | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metrics = Metrics()
        self.free_bytes: int | None = None
        self.chain = NoChain()
        self.status = NodeStatus()
        self.writer = IntakeWriter(store, Intake(DOMAIN), self.metrics)
        self.registry = Registry(store, self.chain, clock)  # type: ignore[arg-type]
        auth = PeerAuth(DOMAIN, OWN, None, frozenset)
        rosters = Rosters(store, Peers({}, OWN, auth, 1.0))
        signer = None if key is None else LocalSigner(key)
        acks = Acknowledging(store, DOMAIN, signer, self.status.head_time_s, lambda _lane: None)
        self.app = NodeHttp(
            store,
            self.writer,
            self.registry,
            rosters,
            auth,
            self.status,
            acks,
            OWN,
            {"signer": "me"},
            health=Health(self.status, store, lambda: self.free_bytes),
            metrics=self.metrics,
            shares=Shares(of_lane=of_lane or Shares().of_lane),
        ).app()
        self.client = Client(self.app)


@pytest.fixture
def node(store: Store, lane: KitLane) -> Iterator[Parts]:
    parts = Parts(store)
    yield parts
    parts.writer.close()


@pytest.fixture
def timeless_node(store: Store) -> Iterator[Parts]:
    """A node for which no time passes, so that nobody gets a new share."""
    parts = Parts(store, clock=lambda: 1.0)
    yield parts
    parts.writer.close()


def test_a_batch_is_answered_after_it_is_stored(node: Parts, lane: KitLane, store: Store) -> None:
    lane.meter(1, 2, 3)
    answer = node.client.post("/v1/batches", content=lane.batch().encode())
    assert (answer.status_code, answer.json()) == (200, {"lane": "0x" + lane.address.hex(), "count": 3})
    with store.read() as db:
        held = lane_store.frontier(db, 1)
    assert held.count == 3
    shown = node.client.get(f"/v1/lanes/0x{lane.address.hex()}").json()
    assert (shown["count"], shown["cumulative_units"], shown["checkpoint"]["count"]) == (3, "6", 3)
    assert node.client.post("/v1/batches", content=lane.batch().encode()).json()["count"] == 3
    assert node.chain.tried == 0


def test_a_signer_answers_with_its_acknowledgement(store: Store, lane: KitLane) -> None:
    node = Parts(store, KEY)
    node.status.looked(head_time_s=1_800_000_000)
    lane.meter(1, 2, 3)
    ack = node.client.post("/v1/batches", content=lane.batch().encode()).json()["ack"]
    assert (ack["count"], ack["received_at"]) == (3, 1_800_000_000)
    said = CheckpointAck(lane.batch().checkpoint.struct_hash(), ack["received_at"])
    signer = recover(typed_digest(DOMAIN, said.struct_hash()), bytes.fromhex(ack["signature"][2:]))
    assert signer == address_of(KEY)
    node.writer.close()


def test_faults_name_code_and_seq(node: Parts, lane: KitLane) -> None:
    lane.meter(1, 2)
    lane.meter(1, at_ms=5)
    answer = node.client.post("/v1/batches", content=lane.batch().encode())
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["code"], problem["seq"]) == (422, "receipt_time_went_back", 2)
    assert problem["status"] == 422


def test_a_lane_that_cannot_be_looked_up_may_try_again(node: Parts) -> None:
    stranger = KitLane(50)
    stranger.meter(1)
    answer = node.client.post("/v1/batches", content=stranger.batch().encode())
    assert (answer.status_code, answer.json()["code"]) == (503, "transient")
    assert answer.headers["retry-after"] == "1"
    assert node.chain.tried == 1


def test_strangers_cannot_make_a_node_ask_its_endpoint_without_end(timeless_node: Parts) -> None:
    node = timeless_node
    node.chain.state = epoch_context().chain
    paths = [f"/v1/lanes/0x{number.to_bytes(20, 'big').hex()}" for number in range(80)]
    answers = [node.client.get(path) for path in paths]
    assert {answer.status_code for answer in answers[:50]} == {404}
    assert answers[-1].status_code == 503
    assert node.chain.tried < 70
    node.registry.signers()  # peers are still told from strangers


def test_a_revoked_lane_is_told_so_until_a_reorganization_takes_the_proof_back(
    node: Parts, lane: KitLane
) -> None:
    lane.meter(1)
    state = dataclasses.replace(lane.state(), revoked_at_s=9)
    chain = epoch_context().chain
    node.registry.learn(dataclasses.replace(chain, lanes=(state,)))
    answer = node.client.post("/v1/batches", content=lane.batch().encode())
    assert (answer.status_code, answer.json()["code"]) == (422, "lane_revoked")
    node.registry.learn(dataclasses.replace(chain, lanes=(lane.state(),)))
    assert node.client.post("/v1/batches", content=lane.batch().encode()).status_code == 200


def test_bodies_are_limited_whether_they_say_their_size_or_not(node: Parts) -> None:
    said = node.client.post("/v1/batches", content=bytes(MAX_BATCH_BYTES + 1))
    assert (said.status_code, said.json()["code"]) == (413, "too_large")

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(MAX_BATCH_BYTES // 2**20 + 5):
            yield bytes(2**20)

    unsaid = node.client.post("/v1/batches", content=endless())
    assert unsaid.status_code == 413


def roster_of(people: int) -> Roster:
    rows = [
        RosterRow(bytes([1 + person]) * 32, 1, b"\x70" * 20, 0, bytes([person]) * 32, (record_tag(person),))
        for person in range(people)
    ]
    return Roster.build(rows)


def licensed(root: bytes) -> ChainState:
    terms = SplitBps(7_000, 1_000, 1_000, 500, 500)
    state = LicenseState(3, MeterKind.INFERENCE, 1, 1, terms, bytes(32), root, 0, 0, 0)
    return dataclasses.replace(epoch_context().chain, licenses=(state,))


def test_a_roster_is_read_only_if_the_chain_asks_for_it(node: Parts) -> None:
    people = roster_of(2)
    too_long = {"content-length": str(MAX_ROSTER_BYTES + 1)}

    def put(content: bytes, license_id: int = 3, **more: Any) -> tuple[int, str | None]:
        answer = node.client.ask("PUT", f"/v1/rosters/{license_id}", content=content, **more)
        return answer.status_code, answer.json().get("code")

    assert put(b"x") == (503, "transient")
    node.chain.state = licensed(bytes(32))
    assert put(b"x", headers=too_long) == (422, "wrong_roster")
    node.chain.state = licensed(people.root)
    assert put(b"x", 77) == (422, "wrong_roster")
    assert put(b"x", headers=too_long) == (413, "too_large")
    assert put(b"x") == (422, "input_rejected")
    assert put(roster_of(1).to_bytes()) == (422, "wrong_roster")
    assert put(people.to_bytes()) == (200, None)
    assert put(b"x", headers=too_long) == (200, None)  # held now: what comes again is not read at all


@pytest.mark.parametrize(("turn_s", "pause_s", "status"), [(0.1, 1.0, 503), (10.0, 0.05, 200)])
def test_rosters_wait_for_their_turn_and_not_for_ever(
    turn_s: float, pause_s: float, status: int, node: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usufruct_oracle.http.rosters._TURN_S", turn_s)
    people = roster_of(2)
    node.chain.state = licensed(people.root)

    async def both() -> list[int]:
        is_read = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            is_read.set()
            await asyncio.sleep(pause_s)
            yield b"x"

        transport = httpx.ASGITransport(node.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            slow = asyncio.create_task(client.put("/v1/rosters/3", content=slowly()))
            await is_read.wait()
            other = await client.put("/v1/rosters/3", content=people.to_bytes())
            return [(await slow).status_code, other.status_code]

    assert asyncio.run(both()) == [422, status]


def test_a_halted_node_takes_nothing_and_still_answers(node: Parts, lane: KitLane) -> None:
    lane.meter(1)
    node.client.post("/v1/batches", content=lane.batch().encode())
    node.status.looked(epoch=3)
    assert node.client.get("/health").status_code == 200
    node.status.halt("the pool does not match")
    refused = node.client.post("/v1/batches", content=lane.batch().encode())
    assert (refused.status_code, "pool" in refused.json()["detail"]) == (503, True)
    assert node.client.ask("PUT", "/v1/rosters/1", content=b"").status_code == 503
    health = node.client.get("/health")
    assert (health.status_code, health.json()["reason"]) == (503, "the pool does not match")
    assert node.client.get("/v1/status").json()["halted"] == "the pool does not match"
    assert node.client.get(f"/v1/lanes/0x{lane.address.hex()}").json()["count"] == 1


def test_health_fails_when_the_chain_was_not_seen_for_long(node: Parts) -> None:
    clock = 1_000.0
    node.status.clock = lambda: clock
    node.status.looked()
    assert node.client.get("/health").status_code == 200
    clock = 1_061.0
    health = node.client.get("/health")
    assert (health.status_code, "61 s" in health.json()["reason"]) == (503, True)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nothing", 404, "not_found"),
        ("/v1/epochs/0/bundle/?bundle_hash=0x", 404, "not_found"),
        ("/v1/batches", 405, "method_not_allowed"),
        ("/v1/lanes/0x12", 422, "input_rejected"),
        (f"/v1/lanes/0x{'zz' * 20}", 422, "input_rejected"),
        ("/v1/epochs/1", 404, "not_found"),
        (f"/v1/epochs/{2**48}", 422, "input_rejected"),
        (f"/v1/epochs/1/attempts/{2**32}/vote", 422, "input_rejected"),
        ("/v1/epochs/1/frozen", 404, "not_found"),
        ("/v1/epochs/1/attempts/0/vector", 404, "not_found"),
        ("/v1/epochs/1/bundle?bundle_hash=0x12", 422, "input_rejected"),
        (f"/v1/epochs/1/bundle/words.bin?bundle_hash=0x{'00' * 32}", 404, "not_found"),
        ("/v1/epochs/1/bundle/accruals.bin", 403, "not_a_peer"),
        (f"/v1/rosters/0x{'00' * 32}", 403, "not_a_peer"),
    ],
)
def test_what_cannot_be_answered_is_a_problem(node: Parts, path: str, status: int, code: str) -> None:
    answer = node.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("query", ["", "?from_seq=1", "?from_seq=-1&to_count=2", "?from_seq=a&to_count=2"])
def test_a_query_that_makes_no_sense_is_a_problem(node: Parts, lane: KitLane, query: str) -> None:
    answer = node.client.get(f"/v1/lanes/0x{lane.address.hex()}/hashes{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "input_rejected")


def test_a_bug_shows_no_inside(node: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node.status, "facts", lambda: 1 // 0)
    answer = node.client.get("/v1/status")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "division" not in answer.text
