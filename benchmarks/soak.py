"""Recorded usage through a node's HTTP intake, with its memory watched: `make soak`.

    python -m benchmarks.soak --receipts 10000000

Fails if a receipt is not counted, if memory passes its limit, or if it grows with what has been received.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from time import perf_counter

import httpx

from benchmarks import curve, page
from benchmarks.figure import Figure, table
from benchmarks.recorded_load import CALLS, LaneWriter, RecordedLoad, send
from benchmarks.server import Server, serving

RECEIPTS = 3_000_000
"""Enough to see the curve flat: the page cache of the database is full after the first million."""
SENDERS = 2
LIMIT_MB = 300
GROWTH = 1.1
SAMPLE_S = 0.2
DRAFT = page.ROOT / "build" / "soak-memory.svg"
PICTURE = page.ROOT / "docs" / "img" / "soak-memory.svg"

Samples = list[tuple[float, float]]
"""Receipts acknowledged so far, and the node's own memory then, in MB."""


def recorded_usage() -> Path:
    """Return the folder of recorded usage: beside the repository, or where USUFRUCT_SHARED says."""
    shared = Path(os.environ.get("USUFRUCT_SHARED") or page.ROOT.parent / "shared")
    return shared / "data" / "usage"


def soak(load: RecordedLoad, receipts: int) -> tuple[Samples, float]:
    """Send so many receipts; return the memory curve and the seconds it took.

    Raises: RuntimeError if a sender failed, or the node does not hold exactly what was sent.
    """
    with (
        tempfile.TemporaryDirectory(prefix="usufruct-soak-") as folder,
        serving("benchmarks.node_server", Path(folder) / "node.sqlite", None, load.lanes) as node,
    ):
        context = multiprocessing.get_context("spawn")
        sent = context.Value("Q", 0)
        senders = [
            context.Process(target=_send, args=(load, receipts, lanes, node.url, sent))
            for lanes in load.shares(receipts, SENDERS)
        ]
        samples: Samples = []
        is_over = threading.Event()
        watcher = threading.Thread(target=_watch, args=(node, sent, samples, is_over))
        watcher.start()
        started = perf_counter()
        try:
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
            taken = perf_counter() - started
        finally:
            is_over.set()
            watcher.join()
            for sender in senders:
                sender.kill()
        if any(sender.exitcode for sender in senders):
            raise RuntimeError("a sender failed")
        _check_counts(load, receipts, node)
    return samples, taken


def _send(
    load: RecordedLoad, receipts: int, lanes: frozenset[int], url: str, sent: Synchronized[int]
) -> None:
    for calls in send(load, receipts, lanes, url):
        with sent.get_lock():
            sent.value += calls


def _watch(node: Server, sent: Synchronized[int], samples: Samples, is_over: threading.Event) -> None:
    reported_at = time.monotonic()
    while not is_over.wait(SAMPLE_S):
        samples.append((sent.value, memory_mb(node.pid)))
        if time.monotonic() - reported_at > 10:
            reported_at = time.monotonic()
            print(f"{samples[-1][0]:>12,} receipts, {samples[-1][1]:.1f} MB", file=sys.stderr)


def memory_mb(pid: int) -> float:
    """Return what a process holds of its own, in MB: without the files that the system keeps for it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no RssAnon of process {pid}")


def _check_counts(load: RecordedLoad, receipts: int, node: Server) -> None:
    with httpx.Client(base_url=node.url, timeout=60.0, trust_env=False) as client:
        for lane, count in load.counts(receipts).items():
            units = load.tokens[lane]
            held = (
                client.get(f"/v1/lanes/0x{LaneWriter(lane, units).address.hex()}").raise_for_status().json()
            )
            if (held["count"], int(held["cumulative_units"])) != (count, count * units):
                raise RuntimeError(f"lane {lane}: sent {count} receipts, the node holds {held['count']}")


def figures(receipts: int, samples: Samples, taken: float) -> list[Figure]:
    """Return the verdict: how much memory, how much of it came with time, and how fast it was."""
    work = f"soak: {receipts:,} receipts of recorded shape over HTTP"
    first = max(memory for count, memory in samples if count <= receipts / 2)
    last = max(memory for count, memory in samples if count > receipts / 2)
    goal = GROWTH if receipts >= RECEIPTS else None  # before that the page cache is still filling
    return [
        Figure("soak_memory", f"{work}, most memory", "", max(first, last), LIMIT_MB, unit="MB"),
        Figure("soak_growth", f"{work}, memory in the second half", "in the first half", last / first, goal),
        Figure("soak_speed", f"{work}, senders on the same cores", "", receipts / taken, None, unit="/s"),
    ]


def picture(receipts: int, samples: Samples, taken: page.Circumstances) -> str:
    """Return the memory curve as SVG."""
    most = max(memory for _, memory in samples)
    described = f"The node's own memory while it took in {receipts:,} receipts: at most {most:.0f} MB."
    title = f"A node's memory over {receipts:,} receipts ({taken})"
    return curve.svg(title, described, samples, LIMIT_MB, ("receipts acknowledged", "MB, limit dashed"))


def main() -> int:
    """Run the soak; exit 1 if memory was not bounded."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--receipts", type=int, default=RECEIPTS)
    parser.add_argument("--record", action="store_true", help="keep figures and picture in docs")
    arguments = parser.parse_args()
    receipts: int = arguments.receipts
    if not (recorded_usage() / CALLS).is_file():
        parser.error(f"no {CALLS} in {recorded_usage()}: set USUFRUCT_SHARED to the folder that holds data/")
    here = page.Circumstances.here("full" if receipts >= 10_000_000 else f"{receipts:,} receipts")
    samples, taken = soak(RecordedLoad.read(recorded_usage()), receipts)
    rows = figures(receipts, samples, taken)
    target = PICTURE if arguments.record else DRAFT
    target.parent.mkdir(exist_ok=True)
    target.write_text(picture(receipts, samples, here), encoding="utf-8")
    if arguments.record:
        page.record(rows, here)
    print(table(rows), f"memory curve: {target.relative_to(page.ROOT)}", sep="\n")
    return 0 if all(row.is_met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
