"""Processes die at every step between a call and its receipt; then nothing is lost and nothing is twice.

Each child is a real process with a real lane. It reports every receipt that it returned on a pipe before it
goes on, so the test knows what a caller may hold.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_protocol.receipts import (
    SIGNED_RECEIPT_TEXT_SIZE,
    LaneFrontier,
    decode_signed_receipt,
    verify_batch,
)

from tests.unit.meter.lane_kit import new_lane

ROOT = Path(__file__).resolve().parents[2]

CHILD = """
import os, sqlite3, sys
from usufruct_meter.lanes import idempotency, lane_writer, spool
from usufruct_meter.lanes.lane import Lane

location, crash_at, calls = sys.argv[1], sys.argv[2], sys.argv[3:]
armed = False

def die_around(owner, name, moment):
    original = getattr(owner, name)
    def wrapped(*arguments, **options):
        if armed and moment == "before":
            os._exit(9)
        result = original(*arguments, **options)
        if armed and moment == "after":
            os._exit(9)
        return result
    setattr(owner, name, wrapped)

class DyingAtCommit:
    def __init__(self, connection):
        self.connection = connection
    def execute(self, statement, *arguments):
        if armed and statement == "COMMIT":
            os._exit(9)
        return self.connection.execute(statement, *arguments)
    def __getattr__(self, name):
        return getattr(self.connection, name)

POINTS = {
    "before claim": (idempotency.ResponseIndex, "claim", "before"),
    "after claim": (idempotency.ResponseIndex, "claim", "after"),
    "before write": (spool.Spool, "append", "before"),
    "after write": (spool.Spool, "append", "after"),
}
lane = Lane.open(location)
if crash_at in POINTS:
    die_around(*POINTS[crash_at])
elif crash_at == "at spool commit":
    lane._writer._spool._db = DyingAtCommit(lane._writer._spool._db)
elif crash_at == "at index commit":
    lane._writer._index._db = DyingAtCommit(lane._writer._index._db)
for number, response_id in enumerate(calls):
    armed = number == len(calls) - 1
    print(lane.meter(1, response_id=response_id or None).text, flush=True)
os._exit(9)
"""

WORKER = """
import sys
from usufruct_meter.lanes.lane import Lane
lane = Lane.open(sys.argv[1])
print("open", flush=True)
for line in sys.stdin:
    print(line.strip(), lane.meter(1, response_id=line.strip()).text, flush=True)
lane.close()
"""


def spawn(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )


def run(script: str, *arguments: str) -> list[str]:
    with spawn(script, *arguments) as child:
        output, _ = child.communicate(timeout=60)
    return output.split()


def receipts(*files: LaneFile) -> list[str]:
    """Every receipt text in some spools, after checking each spool as a node would."""
    texts = []
    for file in files:
        with Lane.open(file) as lane:
            lane.checkpoint()
            domain, count = lane.domain, lane.count
        reader = SpoolReader.open(file.spool)
        frontier = LaneFrontier()
        for row in reader.checkpoints_after(0, 10**6):
            records = reader.records(frontier.count, row.checkpoint.count)
            frontier = verify_batch(frontier, records, row.checkpoint, row.signature, domain)
        assert frontier.count == count
        texts += [stored.signed(is_repeat=False).text for stored, _ in reader.receipts_from(file.lane, 0)]
        reader.close()
    return texts


CRASH_POINTS = [
    "before claim",
    "at index commit",
    "after claim",
    "before write",
    "at spool commit",
    "after write",
    "after return",
]


@pytest.fixture
def files(tmp_path: Path) -> list[LaneFile]:
    return [new_lane(tmp_path, number) for number in range(2)]


@pytest.mark.parametrize("crash_at", CRASH_POINTS)
def test_inv_39_what_was_returned_survives_a_crash(files: list[LaneFile], crash_at: str) -> None:
    returned = run(CHILD, str(files[0].path), crash_at, "a", "", "b")
    assert len(returned) == (3 if crash_at == "after return" else 2)
    kept = receipts(files[0])
    assert kept[: len(returned)] == returned
    assert len(kept) == (3 if crash_at in ("after write", "after return") else 2)


@pytest.mark.parametrize("crash_at", CRASH_POINTS)
@pytest.mark.parametrize("retried_at", [0, 1])
def test_inv_40_a_retry_after_a_crash_is_metered_once(
    files: list[LaneFile], crash_at: str, retried_at: int
) -> None:
    """At the lane that crashed, and at another worker while the crashed one stays dead."""
    returned = run(CHILD, str(files[0].path), crash_at, "a", "b")
    with Lane.open(files[retried_at]) as lane:
        retried = [lane.meter(1, response_id=name).text for name in ("a", "b")]
        assert [lane.meter(1, response_id=name).text for name in ("a", "b")] == retried
    assert retried[: len(returned)] == returned
    kept = receipts(*files)
    assert sorted(kept) == sorted(retried)
    assert len(set(kept)) == 2


@pytest.fixture
def workers(files: list[LaneFile]) -> Iterator[list[subprocess.Popen[str]]]:
    started = [spawn(WORKER, str(file.path)) for file in files]
    yield started
    for worker in started:
        worker.kill()
        worker.communicate()


def say(worker: subprocess.Popen[str], name: str) -> None:
    assert worker.stdin is not None
    worker.stdin.write(f"{name}\n")
    worker.stdin.flush()


def hear(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


def test_inv_40_two_processes_race_for_every_response_id(
    files: list[LaneFile], workers: list[subprocess.Popen[str]]
) -> None:
    assert [hear(worker) for worker in workers] == ["open", "open"]
    for number in range(200):
        for worker in workers:
            say(worker, f"id-{number}")
        first, second = (hear(worker) for worker in workers)
        assert first == second != ""
    for worker in workers:
        worker.communicate(timeout=30)
    kept = receipts(*files)
    assert len(kept) == len(set(kept)) == 200
    lanes = {decode_signed_receipt(text)[0].lane for text in kept}
    assert lanes == {file.lane for file in files}, "one worker won every race: this raced nothing"


def test_inv_40_kill_9_at_random_moments(files: list[LaneFile]) -> None:
    """Two workers are killed and restarted under load; every id is sent to both until it is answered."""
    chance = random.Random(20260101)
    answered: dict[str, str] = {}
    names = [f"id-{number}" for number in range(400)]
    for _ in range(8):
        workers = [spawn(WORKER, str(file.path)) for file in files]
        assert [hear(worker) for worker in workers] == ["open", "open"]
        for name in [name for name in names if name not in answered][:100]:
            for worker in workers:
                say(worker, name)
        for worker in chance.sample(workers, 2):
            time.sleep(chance.uniform(0.0, 0.1))
            worker.send_signal(signal.SIGKILL)
        for worker in workers:
            output, _ = worker.communicate()
            for line in output.splitlines():
                name, _, text = line.partition(" ")
                if len(text) == SIGNED_RECEIPT_TEXT_SIZE:
                    assert answered.setdefault(name, text) == text, f"{name} was metered twice"
    assert answered
    with Lane.open(files[0]) as lane:
        for name in names:
            text = lane.meter(1, response_id=name).text
            assert answered.setdefault(name, text) == text, f"{name} was metered twice"
    kept = receipts(*files)
    assert sorted(kept) == sorted(answered.values())


def test_a_lane_is_never_shared_between_processes(
    files: list[LaneFile], workers: list[subprocess.Popen[Any]]
) -> None:
    assert [hear(worker) for worker in workers] == ["open", "open"]
    third = subprocess.run(
        [sys.executable, "-c", WORKER, str(files[0].path.parent)],
        capture_output=True,
        text=True,
        input="",
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert third.returncode == 1
    assert "in use by other processes" in third.stderr
    workers[0].kill()
    workers[0].communicate()
    assert run(WORKER, str(files[0].path.parent)) == ["open"]
