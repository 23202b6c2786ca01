"""Receipts in the shape of recorded usage, and their way to a node.

Recorded: how many calls each of 43 clients of one model made in every ten minutes, and their mean tokens.
Each client is a lane; its calls are spread evenly over the minutes; a batch holds a minute of one lane, which
is what a meter that is behind ships at once (64 checkpoints, one a second).
"""

from __future__ import annotations

import csv
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from struct import Struct

import httpx
from usufruct_protocol.batches import MAX_BATCH_RECEIPTS, Batch
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.receipts import Checkpoint, LaneFrontier, receipt_hashes
from usufruct_protocol.signing import address_of, sign_digest

from benchmarks.node_server import DOMAIN, key_of

CALLS = "servegen_m-small_calls.csv"
TOKENS = "servegen_m-small_tokens.csv"
WINDOW_MINUTES = 10
START_MS = 1_700_000_000_000
MINUTE_MS = 60_000
PATIENCE_S = 300.0
_RECORD = Struct(">QQ16s32s32sQ")


@dataclass(frozen=True, slots=True)
class Minute:
    """What one lane does in one minute."""

    lane: int
    start_ms: int
    calls: int


@dataclass(frozen=True)
class RecordedLoad:
    """`windows`: per ten minutes, calls by lane; `tokens`: mean tokens of a call by lane."""

    windows: tuple[Mapping[int, int], ...]
    tokens: tuple[int, ...]

    @classmethod
    def read(cls, usage: Path) -> RecordedLoad:
        """Read the recorded tables. Lanes are clients in the order of their numbers."""
        calls: defaultdict[int, dict[int, int]] = defaultdict(dict)
        with (usage / CALLS).open(newline="") as file:
            for row in csv.DictReader(file):
                calls[int(row["window_start_s"])][int(row["client_id"])] = int(row["calls_in_600s"])
        tokens: dict[int, float] = {}
        with (usage / TOKENS).open(newline="") as file:
            for row in csv.DictReader(file):
                if row["mean_input_tokens"]:
                    mean = float(row["mean_input_tokens"]) + float(row["mean_output_tokens"])
                    tokens.setdefault(int(row["client_id"]), mean)
        clients = sorted({client for window in calls.values() for client in window})
        windows = tuple(
            {clients.index(client): count for client, count in calls[start].items()}
            for start in sorted(calls)
        )
        # Of a few clients no tokens are published: one unit a call.
        return cls(windows, tuple(max(1, round(tokens.get(client, 1))) for client in clients))

    @property
    def lanes(self) -> int:
        """How many lanes there are."""
        return len(self.tokens)

    def minutes(self, receipts: int) -> Iterator[Minute]:
        """Yield what happened in order of time, until there are so many receipts."""
        left = receipts
        for number, window in enumerate(self.windows):
            for minute in range(WINDOW_MINUTES):
                start_ms = START_MS + (number * WINDOW_MINUTES + minute) * MINUTE_MS
                for lane in sorted(window):
                    so_far = window[lane] * minute // WINDOW_MINUTES
                    calls = min(left, window[lane] * (minute + 1) // WINDOW_MINUTES - so_far)
                    left -= calls
                    if calls:
                        yield Minute(lane, start_ms, calls)
                    if not left:
                        return
        raise ValueError(f"{receipts} receipts are {left} more than were recorded")

    def counts(self, receipts: int) -> dict[int, int]:
        """Return the receipts of each lane that has any."""
        counts: defaultdict[int, int] = defaultdict(int)
        for minute in self.minutes(receipts):
            counts[minute.lane] += minute.calls
        return dict(counts)

    def shares(self, receipts: int, senders: int) -> list[frozenset[int]]:
        """Divide the lanes among senders, so that each has about as many receipts."""
        loads = [0] * senders
        shares: list[set[int]] = [set() for _ in range(senders)]
        for lane, count in sorted(self.counts(receipts).items(), key=lambda each: -each[1]):
            lightest = loads.index(min(loads))
            loads[lightest] += count
            shares[lightest].add(lane)
        return [frozenset(share) for share in shares]


class LaneWriter:
    """Signs one lane's batches, each going on from the last."""

    def __init__(self, lane: int, units: int) -> None:
        self._key = key_of(lane)
        self._units = units
        self._frontier = LaneFrontier()
        self._random = random.Random(lane)
        self.address = address_of(self._key)

    def batches(self, minute: Minute) -> Iterator[bytes]:
        """Yield the encoded batches of a minute: one, unless it has more calls than a batch may hold."""
        for first in range(0, minute.calls, MAX_BATCH_RECEIPTS):
            yield self._batch(minute, first, min(MAX_BATCH_RECEIPTS, minute.calls - first))

    def _batch(self, minute: Minute, first: int, calls: int) -> bytes:
        at, hashes = self._frontier.count, self._random.randbytes(32 * calls)
        units = self._units
        totals = list(accumulate([units] * calls, initial=self._frontier.cumulative_units))[1:]
        records = b"".join(
            _RECORD.pack(
                at + each,
                units,
                totals[each].to_bytes(16, "big"),
                bytes(32),
                hashes[32 * each : 32 * each + 32],
                minute.start_ms + (first + each) * MINUTE_MS // minute.calls,
            )
            for each in range(calls)
        )
        self._frontier.extend(receipt_hashes(self.address, records))
        self._frontier.cumulative_units = totals[-1]
        point = Checkpoint(self.address, at + calls, totals[-1], self._frontier.root())
        signature = sign_digest(self._key, typed_digest(DOMAIN, point.struct_hash()))
        return Batch(self.address, at, records, point, signature).encode()


def send(load: RecordedLoad, receipts: int, lanes: frozenset[int], url: str) -> Iterator[int]:
    """Send the batches of some lanes in order of time; yield how many receipts each acknowledged one held.

    Waits as long as the node asks for. Raises: httpx.HTTPError for any other refusal.
    """
    writers = {lane: LaneWriter(lane, load.tokens[lane]) for lane in lanes}
    with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as client:
        for minute in load.minutes(receipts):
            if minute.lane not in lanes:
                continue
            for body in writers[minute.lane].batches(minute):
                while (answer := client.post("/v1/batches", content=body)).status_code in (429, 503):
                    time.sleep(float(answer.headers.get("Retry-After", 1)))
                answer.raise_for_status()
            yield minute.calls
