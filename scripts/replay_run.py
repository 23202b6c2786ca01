"""One replay: chain time follows the trace, epoch by epoch, through the same nodes and contracts as live."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from rich.markup import escape
from usufruct_meter.importer import PlannedCall, ReplayPlan, without_retries
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.money import UNITS_PER_PRICE, check_uint, mul_div_down
from usufruct_protocol.periods import attempt_at, epoch_of_ms, period_end_s, proposer_index

from scripts.devchain import Anvil
from scripts.network import Network, Pace
from scripts.people import Collection
from scripts.processes import patiently
from scripts.replay_calls import Gateways
from scripts.world import FIRST_SIGNER, NODES, SECONDS_PER_DAY, Clock, LicensePlan, World, found_world

MS_PER_DAY: Final = SECONDS_PER_DAY * 1_000
LANES_PER_LICENSE: Final = 2
# Ten cents: on days with little use most people's earnings carry over.
NOTE_MINIMUM: Final = 100_000
FUNDING_MARGIN: Final = 1_000_000
CHAIN_LEAD_SECONDS: Final = 3_600
# An epoch takes a second or two: a trace of a year is the most that anybody wants to sit through.
MAX_EPOCHS: Final = 366

# Chain seconds: the driver moves time, so these cost no waiting.
DISPUTE_WINDOW_SECONDS: Final = 3_600
PACE: Final = Pace(
    grace_s=60, attempt_seconds=600, stagger_seconds=0.3, poll_seconds=0.1, peer_timeout_seconds=3.0
)
STEP_TIMEOUT_S: Final = 120.0
PATIENCE_S: Final = 20.0

DEAD_NODE: Final = 2
KILLED_IN: Final = 2
BACK_IN: Final = 4
SINGLE_NODE: Final = 0
FAULT_EPOCH: Final = 2


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong in a run.

    kill:        the third node is killed at the start of the second epoch and restarted in the fourth, or
                 when all calls are counted
    single_node: the lowest license's last receipt of the second epoch reaches one node only in time
    late:        that receipt reaches nobody before the cut-off
    """

    kill: bool = False
    single_node: bool = False
    late: bool = False


class Replay:
    """Plays a plan on a world of its own, with faults. Use `replaying` to make one."""

    def __init__(
        self, plan: ReplayPlan, faults: Faults, world: World, network: Network, say: Callable[[str], None]
    ) -> None:
        self.plan = plan
        self.world = world
        self.network = network
        self._faults = faults
        self._say = say
        self._calls = calls_by_epoch(plan)
        self._first_answers = {
            (call.license_index, call.response_id): call for call in without_retries(plan.calls)
        }
        self.epochs = max(self._calls)
        self._gateways = Gateways(world.licenses)
        self._withheld: PlannedCall | None = None

    def play(self) -> None:
        """Play every day of the trace, and one more if a receipt was late on the last one.

        Raises: Transient if nodes do not move on; InvariantBroken and others as they raise.
        """
        try:
            for epoch in range(1, self.epochs + 1):
                self._play_epoch(epoch)
            if self._withheld is not None:
                self.epochs += 1
                self._play_epoch(self.epochs)
            if not self.network.is_running(DEAD_NODE):
                self.network.start(DEAD_NODE)
        finally:
            self._gateways.close()

    def _play_epoch(self, epoch: int) -> None:
        began = time.monotonic()
        if self._faults.kill and epoch == min(KILLED_IN, self.epochs):
            self.network.kill(DEAD_NODE)
        if self._faults.kill and epoch == BACK_IN:
            self.network.start(DEAD_NODE)
        calls = self._calls.get(epoch, ())
        self._meter_and_ship(epoch, calls)
        self._close_period(epoch)
        self._wait_posted(epoch)
        self._settle(epoch)
        day, took_s = day_of(self.world.deployment.genesis_s, epoch), time.monotonic() - began
        self._say(f"epoch {epoch} ({day}): {len(calls):,} calls metered, final and paid after {took_s:.1f} s")

    def _meter_and_ship(self, epoch: int, calls: Sequence[PlannedCall]) -> None:
        """Meter an epoch's calls and bring them to the nodes, or not all of them, as the faults have it."""
        self._withheld = None
        held = self._held_back(epoch, calls)
        self._gateways.meter(call for call in calls if held is None or not _is_same_answer(call, held))
        end_ms = 1_000 * period_end_s(self.world.deployment.genesis_s, SECONDS_PER_DAY, epoch)
        self._gateways.now_ms = max(self._gateways.now_ms, end_ms - 1)
        self._gateways.ship(self._running())
        if held is None:
            return
        self._gateways.meter(call for call in calls if _is_same_answer(call, held))
        name = escape(self.plan.licenses[held.license_index].name)
        if self._faults.late:
            self._withheld = held
            self._say(f"epoch {epoch}: the last receipt of {name} reaches nobody in time")
        else:
            self._gateways.ship_to_one(self.network.urls[SINGLE_NODE])
            self._say(f"epoch {epoch}: the last receipt of {name} reaches node {SINGLE_NODE + 1} alone")

    def _held_back(self, epoch: int, calls: Sequence[PlannedCall]) -> PlannedCall | None:
        """Return the call whose receipt is not shipped with the others.

        It is the last one of the lowest license in the epoch that is no retry, so its lane has none after it.
        """
        if epoch != min(FAULT_EPOCH, self.epochs) or not (self._faults.single_node or self._faults.late):
            return None
        answers = [
            call for call in calls if self._first_answers[call.license_index, call.response_id] is call
        ]
        return max(reversed(answers), key=lambda call: -call.license_index, default=None)

    def _close_period(self, epoch: int) -> None:
        """Move chain time past the period and its grace; every node then freezes what it holds."""
        end_s = period_end_s(self.world.deployment.genesis_s, SECONDS_PER_DAY, epoch)
        self.world.chain.advance_to(end_s + PACE.grace_s)
        for index in self._running_nodes():
            self._wait(
                f"node {index + 1} freezing epoch {epoch}", partial(self.network.has_frozen, index, epoch)
            )

    def _wait_posted(self, epoch: int) -> None:
        """Wait for the report; if the proposer is dead, time has to pass until the next one's turn."""
        reader, chain = self.world.reader, self.world.chain
        cutoff_s = reader.head().timestamp_s
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while reader.report_hash(epoch) == bytes(32):
            attempt = attempt_at(reader.head().timestamp_s, cutoff_s, PACE.attempt_seconds, 0)
            proposer = proposer_index(epoch, attempt, NODES)
            patience_s = PATIENCE_S if self.network.is_running(proposer) else 0.0
            if self._appears_within(epoch, patience_s):
                return
            if time.monotonic() > deadline:
                self.network.wait_until(f"a report of epoch {epoch}", lambda: False, 0.0)
            chain.advance_to(chain.now() + PACE.attempt_seconds)

    def _appears_within(self, epoch: int, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.world.reader.report_hash(epoch) != bytes(32):
                return True
            time.sleep(0.05)
        return False

    def _settle(self, epoch: int) -> None:
        """Let the dispute window pass, and wait until the report is final and its notes are paid."""
        reader = self.world.reader
        self.world.chain.advance_to(self.world.chain.now() + DISPUTE_WINDOW_SECONDS)
        self._wait(
            f"epoch {epoch} final", lambda: reader.settlement_state(reader.head().hash).last_epoch >= epoch
        )
        self._wait(f"the notes of epoch {epoch} paid", lambda: self._is_paid(epoch))

    def _is_paid(self, epoch: int) -> bool:
        tree = self.world.reader.tree(2 * epoch)
        return tree.paid == tree.total

    def _running_nodes(self) -> list[int]:
        return [index for index in range(NODES) if self.network.is_running(index)]

    def _running(self) -> int:
        return len(self._running_nodes())

    def _wait(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait for something; what is not answered for once is asked again."""
        self.network.wait_until(what, patiently(is_so), STEP_TIMEOUT_S)


def _is_same_answer(call: PlannedCall, other: PlannedCall) -> bool:
    """Whether one of the two is the other or a retry of it."""
    return (call.license_index, call.response_id) == (other.license_index, other.response_id)


def calls_by_epoch(plan: ReplayPlan) -> dict[int, tuple[PlannedCall, ...]]:
    """Return the calls of each epoch that has any. An epoch is a day, in UTC; that of the first call is 1."""
    genesis_s = genesis_of(plan)
    found: dict[int, list[PlannedCall]] = {}
    for call in plan.calls:
        found.setdefault(epoch_of_ms(genesis_s, SECONDS_PER_DAY, call.at_ms), []).append(call)
    return {epoch: tuple(calls) for epoch, calls in found.items()}


def check_plan(plan: ReplayPlan) -> None:
    """Refuse what could only fail half way. Raises: InputRejected."""
    first_day, last_day = plan.first_call_ms // MS_PER_DAY, plan.last_call_ms // MS_PER_DAY
    if first_day < 2:
        raise InputRejected("the first call is of January 1970", hint="check the clock that wrote it")
    if last_day - first_day >= MAX_EPOCHS:
        raise InputRejected(
            f"the calls span {last_day - first_day + 1:,} days, the limit is {MAX_EPOCHS}",
            hint="check the years in the file, or split it by time",
        )
    for offer in license_plans(plan):
        check_uint(offer.deposit_base_units, 96, f"the cost of {offer.name!r}")


def genesis_of(plan: ReplayPlan) -> int:
    """Return the start of the first call's day, in seconds since 1970."""
    return plan.first_call_ms // MS_PER_DAY * SECONDS_PER_DAY


def day_of(genesis_s: int, epoch: int) -> str:
    """Return the day that an epoch reports, as people write it."""
    start_s = period_end_s(genesis_s, SECONDS_PER_DAY, epoch - 1)
    return datetime.fromtimestamp(start_s, UTC).strftime("%-d %B %Y")


@contextmanager
def replaying(plan: ReplayPlan, faults: Faults, folder: Path, say: Callable[[str], None]) -> Iterator[Replay]:
    """Start a chain whose time begins just before the trace, contracts and nodes; stop them again."""
    genesis_s, offers = genesis_of(plan), license_plans(plan)
    with ExitStack() as running:
        chain = running.enter_context(Anvil(timestamp=genesis_s - CHAIN_LEAD_SECONDS))
        network = Network(folder, chain.keys[FIRST_SIGNER : FIRST_SIGNER + NODES], PACE)
        running.enter_context(network)
        clock = Clock(genesis_s, SECONDS_PER_DAY, DISPUTE_WINDOW_SECONDS)
        world = found_world(chain, clock, offers, NOTE_MINIMUM, network.urls, folder)
        network.configure(chain.rpc_url, world.deployment_file)
        network.start()
        for license_ in world.licenses:
            network.put_roster(license_.license_id, license_.roster)
        yield Replay(plan, faults, world, network, say)


def license_plans(plan: ReplayPlan) -> list[LicensePlan]:
    """Turn planned licenses into offers, each with enough money in escrow for all its calls."""
    units = [0] * len(plan.licenses)
    for call in without_retries(plan.calls):
        units[call.license_index] += call.units
    offers = []
    for index, license_ in enumerate(plan.licenses):
        cost = mul_div_down(units[index], license_.price_per_million_units, UNITS_PER_PRICE)
        offers.append(
            LicensePlan(
                name=license_.name,
                meter=license_.meter,
                price_per_million_units=license_.price_per_million_units,
                max_charge_per_epoch=cost + FUNDING_MARGIN,
                split_bps=license_.split_bps,
                collection=Collection(license_.collection, license_.contributors),
                lanes=LANES_PER_LICENSE,
                deposit_base_units=cost + FUNDING_MARGIN,
            )
        )
    return offers
