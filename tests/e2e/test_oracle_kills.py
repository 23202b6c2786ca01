"""kill -9 at every step that a node takes: what comes out is what comes out without, and nothing comes twice.

`crash_points` finds the steps by what they touch, so this test needs no list of them; the one below only says
what must be among them.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import pytest
from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.errors import Transient

from tests.e2e.outcome import check_logs, check_signatures
from tests.e2e.twin import Twin
from tests.integration.chain_world import USDC, WINDOW_S
from tests.integration.oracle_world import ATTEMPT_S, PACE, Committee, committee, payout, proposer, record_tag
from tests.unit.oracle.lane_kit import KitLane

SIZE, PEOPLE = 4, 300  # two ranges of notes
EPOCH_TIMEOUT_S = 200.0
LOOKS_PER_ATTEMPT = 200  # without another death
# Nobody does the first one's work: three of four are there, all of them must sign, and turns are long.
SLOW_TURNS = replace(PACE, stagger_seconds=60.0)
# Not started yet, stopped in order, killed, or no answer of the chain at the start.
DEATHS = (None, 0, -signal.SIGKILL, 3)
PLACES = ["the proposer", "another", *(["everyone"] if os.environ.get("USUFRUCT_E2E") == "long" else [])]
AROUND = (
    "asking for frozen",
    "asking for batches",
    "asking for vote",
    "writing epochs frozen_heads",
    "writing receipts checkpoints",
    "writing vectors",
    "writing reports",
    "writing votes",
    "writing signed",
    "writing finalized",
    "sending submit",
    "sending finalize",
    "sending payRange",
)
"""Steps of the proposer, who has the first turn to submit and finalize, too."""
ALONE = ("after finding the cut-off", "before answering POST batches", "before answering GET vote")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Committee]:
    with committee(tmp_path_factory.mktemp("kills"), pace=SLOW_TURNS) as made:
        made.license(MeterKind.RETRIEVAL, PEOPLE)
        for _ in range(3):
            made.lane(1)
        made.put_rosters()
        yield made


@pytest.fixture(scope="module")
def twin(here: Committee) -> Twin:
    return Twin(here.kinds, here.rosters, {1: 1_000 * USDC})


class Victims:
    """Nodes that die at every step, and are started again each time."""

    def __init__(self, here: Committee, folder: Path, *indexes: int) -> None:
        self.here = here
        self.journals = {index: folder / f"journal-{index}" for index in indexes}
        for index, journal in self.journals.items():
            here.nursery.setup[index] = {"tests.e2e.crash_points": {"journal": str(journal)}}
            here.network.stop(index)

    def revive(self) -> None:
        """Start those that have died. They may die again before they serve."""
        for index in self.journals:
            if not self.here.network.is_running(index):
                assert self.here.network.exit_code(index) in DEATHS
                try:
                    self.here.network.start(index)
                except Transient:
                    assert self.here.network.exit_code(index) in DEATHS, self.here.log_of(index)

    def wait_until(self, what: str, is_true: Callable[[], bool]) -> None:
        """Wait for something while nodes die; an answer that a dying node owes is not there yet."""
        deadline = time.monotonic() + EPOCH_TIMEOUT_S
        while True:
            self.revive()
            try:
                if is_true():
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, f"{what}: {self.deaths()}"
            time.sleep(0.02)

    def ship(self, lane: KitLane, from_seq: int, index: int) -> None:
        """Send receipts as a meter does: again and again until they are acknowledged."""
        body = lane.batch(from_seq).encode()
        url = f"{self.here.network.urls[index]}/v1/batches"
        self.wait_until("a batch is taken", lambda: self.here.http.post(url, content=body).status_code == 200)

    def deaths(self) -> dict[int, list[str]]:
        """Where each has died so far, in order."""
        return {
            index: journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
            for index, journal in self.journals.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let them live."""
        for index in self.journals:
            self.here.nursery.setup.pop(index)
            self.here.network.stop(index)
            self.here.network.start(index)


def play(here: Committee, twin: Twin, victims: Victims, away: int) -> None:
    """One epoch, without one node: receipts that all get, some that only victims get, some they fetch."""
    epoch = here.last_final() + 1
    here.network.stop(away)
    there = [index for index in range(SIZE) if index != away]
    dying = list(victims.journals)
    others = [index for index in there if index not in dying] or dying[-1:]
    for lane, receivers in zip(here.lanes, (there, dying, others), strict=True):
        for units in (1_000_000, 700_001):
            from_seq = lane.count
            usage = [(record_tag(1, person), 1 + person % 3) for person in range(lane.number, PEOPLE)]
            lane.meter(units, at_ms=here.at_ms(epoch), usage=usage)
            for index in receivers:
                victims.ship(lane, from_seq, index)
    here.close_period(epoch)
    looks_since: Counter[int] = Counter()

    def is_posted() -> bool:
        # Who was dead while a vector was put together does not sign it if it had acknowledged more.
        deaths = sum(map(len, victims.deaths().values()))
        looks_since[deaths] += 1
        if looks_since[deaths] % LOOKS_PER_ATTEMPT == 0:
            here.pass_time(ATTEMPT_S)
        return here.world.reader.report_hash(epoch) != bytes(32)

    victims.wait_until("a report", is_posted)
    here.pass_time(WINDOW_S)
    victims.wait_until("finality", lambda: here.last_final() == epoch)
    victims.wait_until("payment", lambda: is_paid(here, epoch))
    expected = twin.settle(here.lanes)
    final = here.world.reader.report_calldata(epoch)
    assert final is not None
    here.network.start(away)
    for index in range(SIZE):
        victims.wait_until(f"node {index} is done", lambda index=index: is_done(here, index, epoch))
        victims.wait_until(f"node {index} shows", lambda index=index: bool(here.manifest(index, epoch)))
        expected.check(final.report, here.manifest(index, epoch))
    wallets = [payout(1, person) for person in range(PEOPLE)]
    assert list(here.world.reader.token_balances(wallets)) == [twin.paid[wallet] for wallet in wallets]


def is_paid(here: Committee, epoch: int) -> bool:
    tree = here.world.reader.tree(2 * epoch)
    return tree.paid == tree.total


def is_done(here: Committee, index: int, epoch: int) -> bool:
    """Tell whether a node has taken over an epoch and knows that its notes are paid."""
    answer = here.network.get(index, f"/v1/epochs/{epoch}")
    return answer.status_code == 200 and bool(answer.json()["is_paid"])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("place", PLACES)
def test_inv_38_39_and_40_a_node_killed_at_every_step_finishes_the_epoch(
    here: Committee, twin: Twin, tmp_path: Path, place: str
) -> None:
    epoch = here.last_final() + 1
    first, second, third, away = (proposer(epoch, attempt) for attempt in range(SIZE))
    chosen = {"the proposer": [first], "another": [third], "everyone": [first, second, third]}[place]
    with Victims(here, tmp_path, *chosen) as victims:
        play(here, twin, victims, away)
        deaths = victims.deaths()
    for index in chosen:
        assert len(deaths[index]) == len(set(deaths[index])), "every step passes the second time"
    if first in chosen:
        check_steps(deaths[first])
    assert check_signatures(here) >= 3
    check_logs(here)


def check_steps(deaths: list[str]) -> None:
    """The proposer died at every step, before and after. A write may concern more tables than are named."""
    died_at = [set(death.split()) for death in deaths]
    for step in (*ALONE, *(f"{side} {step}" for side in ("before", "after") for step in AROUND)):
        assert any(set(step.split()) <= words for words in died_at), (step, deaths)
