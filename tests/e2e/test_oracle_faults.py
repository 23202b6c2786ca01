"""Seven signers of which any two fail, wrong clocks, a bad network and a spiteful buyer, for twenty epochs.

Two at a time lie, are dead, come back stale, or abuse their turns to propose: every pair of these, two epochs
each. Of the others one's clock is an hour ahead and one's an hour behind. All links drop, lose, delay and
repeat, those to the chain too, and once the committee is split in two. What comes out is, to the bit, what
the slow reference makes of the receipts.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from usufruct_chain.signatures import settlement_domain
from usufruct_protocol.bundle import LANES, unpack_lanes
from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.errors import Transient
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.report_types import EpochReport

from tests.e2e.bad_network import BadNetwork, Faults
from tests.e2e.liar import Liar
from tests.e2e.outcome import check_logs, check_signatures
from tests.e2e.twin import Twin
from tests.integration.chain_world import USDC, WINDOW_S
from tests.integration.oracle_world import ATTEMPT_S, Committee, committee, proposer, record_tag
from tests.unit.oracle.lane_kit import KitLane

SIZE = 7
LIAR, DEAD, STALE, ABUSER = "liar", "dead", "stale", "abuser"
PAIRS = list(itertools.combinations_with_replacement((LIAR, DEAD, STALE, ABUSER), 2))
EPOCHS_PER_PAIR = 4 if os.environ.get("USUFRUCT_E2E") == "long" else 2
TRY_AGAIN = 3
SEED = int(os.environ.get("USUFRUCT_SEED", "1"))
FAULTS = Faults(drop=0.05, lose=0.03, duplicate=0.1, delay=0.2, delay_s=0.1)
CHAIN_FAULTS = Faults(drop=0.005, lose=0.005, duplicate=0.02, delay=0.02, delay_s=0.1)
CLOCKS = {2: 3_600.0, 5: -3_600.0}
# With an honest proposer, longer and longer; with a faulty one just long enough to be asked and refused.
FIRST_PATIENCE_S, LONGEST_PATIENCE_S, FAULTY_PATIENCE_S, EPOCH_TIMEOUT_S = 6.0, 15.0, 1.0, 180.0


@pytest.fixture
def bad() -> Iterator[BadNetwork]:
    with BadNetwork(SEED, FAULTS) as made:
        yield made


@pytest.fixture
def here(tmp_path: Path, bad: BadNetwork) -> Iterator[Committee]:
    with committee(tmp_path, size=SIZE, away=range(SIZE)) as made:
        network = made.network
        chain_port = int(made.world.chain.rpc_url.rsplit(":", 1)[1])
        for index in network.indexes:
            network.change(
                index,
                rpc_url=bad.link(chain_port, CHAIN_FAULTS),
                peers={
                    signer: bad.link(network.ports[at], ends=(index, at))
                    for at, signer in enumerate(network.signers)
                },
            )
        for index, ahead_s in CLOCKS.items():
            made.nursery.setup[index] = {"tests.integration.node_clock": {"ahead_s": ahead_s}}
        start(made)
        yield made


def start(here: Committee, *indexes: int) -> None:
    """Start some nodes, or all, as a supervisor does: again where the chain did not answer (exit code 3)."""
    while True:
        try:
            here.network.start(*indexes)
        except Transient:
            codes = {here.network.exit_code(index) for index in here.network.indexes}
            assert codes <= {None, TRY_AGAIN, -signal.SIGKILL}, codes
        else:
            return


class Buyer:
    """Meters on five lanes, two honestly and three in every way that could make nodes disagree.

    uneven:  one history, but each node is sent another part of it
    late:    a fresh receipt for each node that has just frozen
    forked:  two histories, each sent to half of the nodes
    """

    def __init__(self, here: Committee, bad: BadNetwork) -> None:
        self.here = here
        self.urls = [bad.link(port) for port in here.network.ports]
        self.plain, self.used, self.uneven, self.late = (here.lane(number) for number in (1, 2, 1, 2))
        self.forks: list[tuple[KitLane, KitLane]] = []

    def lanes(self, heads: tuple[Checkpoint | None, ...] = ()) -> list[KitLane]:
        """All lanes in order; of a forked one the history that a finalized head belongs to."""
        whole = [self.plain, self.used, self.uneven, self.late]
        for ours, theirs in self.forks:
            head = heads[ours.number] if ours.number < len(heads) else None
            is_theirs = (
                head is not None and head.count <= theirs.count and theirs.checkpoint(head.count) == head
            )
            whole.append(theirs if is_theirs else ours)
        return sorted(whole, key=lambda lane: lane.number)

    def meter(self, epoch: int, receivers: list[int]) -> None:
        """One epoch's calls."""
        at_ms = self.here.at_ms(epoch)
        self.plain.meter(*([100] * 12), at_ms=at_ms)
        self.used.meter(*([100] * 5), at_ms=at_ms, usage=[(record_tag(2, epoch % 4), 1 + epoch % 3)])
        self.uneven.meter(*([10] * SIZE), at_ms=at_ms)
        for index in receivers:
            self.send(self.plain, index)
            self.send(self.used, index)
            self.send(self.uneven, index, self.uneven.count - (index + epoch) % SIZE)
        if epoch % 5 == 1:
            self.fork(at_ms, receivers)

    def fork(self, at_ms: int, receivers: list[int]) -> None:
        """Sign two histories on a new lane."""
        ours = self.here.lane(1)
        ours.meter(7, 7, at_ms=at_ms)
        theirs = ours.fork()
        self.forks.append((ours, theirs))
        for index in receivers:
            self.send(ours, index)
        ours.meter(7, at_ms=at_ms)
        theirs.meter(8, at_ms=at_ms + 1)
        for index in receivers:
            self.send((ours, theirs)[index % 2], index)

    def tease(self, epoch: int, index: int) -> None:
        """A fresh receipt, dated within the period that a node has just closed."""
        self.late.meter(1, at_ms=self.here.at_ms(epoch, 900))
        self.send(self.late, index)

    def send(self, lane: KitLane, index: int, count: int | None = None) -> None:
        """Send receipts until they are taken, as a meter does; the node says from where on it needs them."""
        from_seq = max(0, (count or lane.count) - 20)
        for _ in range(200):
            body = lane.batch(from_seq, count).encode()
            try:
                answer = self.here.http.post(f"{self.urls[index]}/v1/batches", content=body)
            except httpx.TransportError:
                continue
            if answer.status_code == 200 or answer.json()["code"] == "lane_conflict":
                return
            if answer.json()["code"] == "gap":
                from_seq = answer.json()["expected_seq"]
            else:
                assert answer.status_code in (429, 503), answer.text
                time.sleep(0.1)
        raise AssertionError(f"lane {lane.number} never reached node {index}")


class Play:
    """Epoch after epoch, with faulty nodes that change."""

    def __init__(self, here: Committee, bad: BadNetwork) -> None:
        self.here = here
        self.bad = bad
        here.license(MeterKind.INFERENCE, 5)
        here.license(MeterKind.RETRIEVAL, 4)
        self.buyer = Buyer(here, bad)
        here.put_rosters()
        self.twin = Twin(here.kinds, here.rosters, {1: 1_000 * USDC, 2: 1_000 * USDC})
        self.domain = settlement_domain(here.world.contracts.deployment)
        self.faulty: tuple[int, ...] = ()
        self.attempts: list[int] = []
        self.lies = 0
        self.abuses = 0

    def run(self, epochs: int, kinds: tuple[str, str], faulty: tuple[int, int]) -> None:
        """So many epochs in which two nodes fail; afterwards they are as good as any other."""
        network, setup = self.here.network, self.here.nursery.setup
        with ExitStack() as stack:
            liars = []
            for kind, index in zip(kinds, faulty, strict=True):
                network.kill(index)
                if kind == LIAR:
                    honest = next(network.urls[at] for at in network.indexes if at not in faulty)
                    liar = Liar(network.ports[index], network.keys[index], index, self.domain, honest)
                    liar.lanes = [lane.address for lane in self.buyer.lanes()]
                    liars.append(stack.enter_context(liar))
                elif kind == ABUSER:
                    abuse = {"index": index, "size": SIZE, "url": network.urls[index], "first": self.abuses}
                    self.abuses += 2  # so many turns does it get
                    setup[index] = {**setup.get(index, {}), "tests.e2e.abuse": abuse}
                    start(self.here, index)
            self.faulty = faulty
            for number in range(epochs):
                back = [
                    index
                    for kind, index in zip(kinds, faulty, strict=True)
                    if kind == STALE and number == epochs - 1
                ]
                self.epoch(back)
            self.lies += sum(liar.told.total() for liar in liars)
        self.faulty = ()
        for index in faulty:
            setup.pop(index, None)
            if index in CLOCKS:
                setup[index] = {"tests.integration.node_clock": {"ahead_s": CLOCKS[index]}}
            if network.is_running(index):
                network.kill(index)
        start(self.here)

    def epoch(self, back: list[int], *, is_teased: bool = True) -> EpochReport:
        """One epoch; nodes that come `back` do so when all others have frozen it."""
        network = self.here.network
        epoch = self.here.last_final() + 1
        there = [index for index in network.indexes if network.is_running(index)]
        self.buyer.meter(epoch, there)
        self.here.close_period(epoch)
        self.wait_posted(epoch, there if is_teased else [], back)
        self.here.pass_time(WINDOW_S)
        final = self.here.wait_final(epoch)
        self.here.wait_paid(epoch, EPOCH_TIMEOUT_S)
        self.attempts.append(final.report.attempt)
        self.check(final.report, there[0])
        return final.report

    def wait_posted(self, epoch: int, there: list[int], back: list[int]) -> None:
        """Let attempts pass until one succeeds. The buyer teases each node that freezes."""
        network = self.here.network
        waiting, patience_s, attempt = set(there), FIRST_PATIENCE_S, 0
        started = attempt_began = time.monotonic()
        while self.here.world.reader.report_hash(epoch) == bytes(32):
            for index in list(waiting):
                if network.has_frozen(index, epoch):
                    waiting.remove(index)
                    self.buyer.tease(epoch, index)
            if not waiting and back:
                start(self.here, *back)
                waiting, back = set(back), []
            if waiting and attempt == 0:
                attempt_began = time.monotonic()  # nobody proposes before it has frozen
            is_faulty = proposer(epoch, attempt, SIZE) in self.faulty
            if time.monotonic() > attempt_began + (FAULTY_PATIENCE_S if is_faulty else patience_s):
                if not is_faulty:
                    patience_s = min(patience_s * 1.5, LONGEST_PATIENCE_S)
                attempt, attempt_began = attempt + 1, time.monotonic()
                self.bad.split()
                self.here.pass_time(ATTEMPT_S)
            logs = {index: self.here.log_of(index)[-2000:] for index in there}
            assert time.monotonic() - started < EPOCH_TIMEOUT_S, logs
            time.sleep(0.02)
        assert not self.bad.is_split, "neither side may agree without the other"

    def check(self, report: EpochReport, index: int) -> None:
        """Hold the report against the twin; how far lanes are counted is in bounds."""
        self.here.network.wait_until(
            "the bundle is there", lambda: self.here.knows_final(index, report.epoch), 60.0
        )
        answer = self.here.network.get(index, f"/v1/epochs/{report.epoch}/bundle/{LANES}")
        heads = unpack_lanes(answer.content)
        lanes = self.buyer.lanes(heads)
        counts = {lane.number: head.count if head else 0 for lane, head in zip(lanes, heads, strict=True)}
        # What all honest nodes had acknowledged is counted at once, whoever proposed.
        for lane in (self.buyer.plain, self.buyer.used):
            assert counts[lane.number] == lane.count
        assert counts[self.buyer.uneven.number] > self.buyer.uneven.count - SIZE
        for ours, _ in self.buyer.forks:
            assert counts[ours.number] in (0, 2, 3)
        self.twin.settle(lanes, counts).check(report, self.here.manifest(index, report.epoch))


@pytest.mark.timeout(1_200)
def test_inv_38_39_and_40_any_two_of_seven_may_fail_for_twenty_epochs(
    here: Committee, bad: BadNetwork
) -> None:
    play = Play(here, bad)
    for number, kinds in enumerate(PAIRS):
        # The first two proposers of the pair's first epoch; the second of them begins its second epoch, too.
        first = proposer(EPOCHS_PER_PAIR * number + 1, 0, SIZE)
        play.run(EPOCHS_PER_PAIR, kinds, (first, (first + 1) % SIZE))
    bad.split({0, 1, 2})
    play.epoch([])
    bad.calm()
    last = play.epoch([], is_teased=False)  # what came after the freeze before is counted now
    buyer, twin = play.buyer, play.twin

    # Nothing lost, nothing twice.
    for lane in (buyer.plain, buyer.used, buyer.uneven, buyer.late):
        assert twin.counts[lane.number] == lane.count
    wallets = [row.payout for each in here.rosters.values() for row in each.rows]
    assert list(here.world.reader.token_balances(wallets)) == [twin.paid[wallet] for wallet in wallets]
    assert sum(twin.paid.values()) > 0
    for epoch in range(1, last.epoch + 1):
        tree = here.world.reader.tree(2 * epoch)
        assert tree.paid == tree.total
    for index in here.network.indexes:
        here.wait_known_final(index, last.epoch)
        assert here.network.status(index)["halted"] == ""
    assert check_signatures(here) > len(play.attempts) * 5
    check_logs(here)

    # It did go wrong.
    done = bad.done()
    assert all(done[kind] for kind in ("drop", "lose", "duplicate", "delay")), done
    assert play.lies > 0
    assert max(play.attempts) > 0, play.attempts
