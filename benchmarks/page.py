"""docs/benchmarks.md, written from benchmarks/results.json alone: `python -m benchmarks.page`.

`make bench-record` measures, keeps each figure in the results file with the circumstances it was taken under,
and writes the page. A figure that is not measured again stays, with its own circumstances.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "benchmarks.md"
BUSY_LOAD_PER_CORE = 0.6
"""A benchmark by itself keeps one core busy; from so much on, something else ran before it began."""

DESIGN_ROWS: Mapping[str, tuple[str, ...]] = {
    "Verify and count receipts": ("verify_150", "verify_1000", "verify_150_hashing", "verify_1000_hashing"),
    "Durable intake, end to end over HTTP": ("intake", "intake_postgres"),
    "Note tree, all proofs addressable": ("note_tree", "note_tree_peer"),
    "Allocate a pot to a million purses, exactly": ("allocation_time", "allocation_memory", "allocation"),
    "Close an epoch": ("epoch", "epoch_receive", "epoch_close", "epoch_close_time"),
    "What metering adds to a call": (
        "asgi_alone",
        "asgi_alone_turn",
        "asgi_p99",
        "asgi_each",
        "asgi_latency",
        "meter_call",
        "meter_call_with_id",
        "meter_many",
    ),
    "One proof over HTTP": ("proof", "proof_floor"),
    "Soak": ("soak_memory", "soak_growth", "soak_speed"),
}
"""The rows of the design's section on speed and the soak, and the figures that answer each."""


@dataclass(frozen=True)
class Circumstances:
    """load: the machine's average load just before, in processes; that of a quiet machine is near zero."""

    size: str
    load: float
    cores: int
    memory_gb: int
    python: str

    @classmethod
    def here(cls, size: str) -> Circumstances:
        """Return what matters of this machine, and nothing that names it."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        load = round(os.getloadavg()[0], 1)
        return cls(size, load, os.cpu_count() or 1, round(memory), platform.python_version())

    @property
    def is_quiet(self) -> bool:
        """Whether nothing else kept the machine busy."""
        return self.load <= BUSY_LOAD_PER_CORE * self.cores

    def __str__(self) -> str:
        return f"{self.size}, {'quiet' if self.is_quiet else f'load {self.load:g}'}"


Results = dict[str, tuple[Figure, Circumstances]]


def load(path: Path = RESULTS) -> Results:
    """Read the results file."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {
        key: (Figure(key=key, **entry["figure"]), Circumstances(**entry["taken"]))
        for key, entry in found.items()
    }


def record(figures: Sequence[Figure], taken: Circumstances) -> None:
    """Keep figures in the results file, in place of older ones of the same name, and write the page."""
    results = load() | {each.key: (each, taken) for each in figures}
    written = {}
    for key in sorted(results):
        figure, circumstances = results[key]
        fields = asdict(figure)
        del fields["key"]
        written[key] = {"figure": fields | {"value": _rounded(figure.value)}, "taken": asdict(circumstances)}
    RESULTS.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write()


def write() -> None:
    """Write the page from the results file."""
    PAGE.write_text(page(load()), encoding="utf-8")


def page(results: Results) -> str:
    """Return the page."""
    machines = sorted({(taken.cores, taken.memory_gb, taken.python) for _, taken in results.values()})
    named = "; ".join(f"{cores} cores, {memory} GB, Python {python}" for cores, memory, python in machines)
    parts = [_HEAD.format(machines=named)]
    for title, keys in DESIGN_ROWS.items():
        rows = [results[key] for key in keys if key in results]
        parts += [f"\n## {title}\n\n", _table(rows) if rows else "Not recorded yet.\n"]
    return "".join([*parts, _TAIL])


def _table(rows: Sequence[tuple[Figure, Circumstances]]) -> str:
    lines = [
        "| work | floor or peer, in the same run | measured | goal | | taken |",
        "|---|---|---:|---:|---|---|",
    ]
    lines += [f"| {' | '.join(figure.cells)} | {taken} |" for figure, taken in rows]
    return "\n".join(lines) + "\n"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


_HEAD = """# Benchmarks

Written by `make bench-record` from `benchmarks/results.json`; do not edit. Machine: {machines}.

A ratio holds what we do against a floor that cannot be avoided, or against a peer, both measured in one
run, so it says the same on any machine. *Taken* says at which size (`full` is that of the goal) and under
which load: a figure that was not taken on a quiet machine is marked with its load and is no verdict, least
of all for absolute times and tails.

- `make bench` measures small sizes in a few minutes, prints every row with goal and verdict, and records
  nothing;
- `make bench-record` measures the sizes of the goals (an hour, 8 GB of memory) and writes this page;
- `BENCH_ARGS="--only epoch"` takes one group: protocol, intake, meter, proofs, epoch, gas.

What transactions cost is in [gas.md](gas.md).
"""

_TAIL = """
## What is measured

- **Verify and count**: a whole batch under one signed checkpoint, against recovering one ECDSA signature
  per receipt with libsecp256k1, which is what systems with a signature per receipt do.
- **Durable intake**: eight lanes, one sender each, over HTTP; a node answers when the receipts are on disk.
  The floor is the bare database with the same rows and as many syncs: SQLite, or a PostgreSQL server that is
  given ready-made COPY data. With PostgreSQL, senders, node and server share the cores.
- **Note tree**: the peer is built from the same number of notes by `StandardMerkleTree.of`, in Node.
- **Close an epoch**: from the first receipt to the stored report and bundle, without HTTP. The floors are
  hashing every receipt, inserting it, hashing every note into its tree and dividing every pot; bundle,
  reserve and sorting have no floor of their own and count against us. Rosters were put before, as stewards
  do, and all licenses are paid by them.
- **Metering**: the middleware around an app that answers at once. The floor hashes the request, signs a
  receipt and commits one row with a sync. A loop must not wait for a disk itself, so a call alone is also
  held against that and a thread's turn: on a fast disk the turn is most of what is added. With many calls
  under way they share turns and syncs. The tail is taken at 100 calls a second, less the time the disk
  was writing, against a bare turn of a thread and 2 ms.
- **One proof over HTTP**: a bare route over the tree in memory.
- **Soak**: `make soak` sends 3,000,000 receipts in the shape of recorded usage through the HTTP intake of one
  node, checks that every one was counted, and fails if memory passes its limit or is higher in the second
  half than in the first. Ten million, and the curve drawn anew:
  `make soak SOAK_ARGS="--receipts 10000000 --record"`. Shape: calls and tokens of 43 clients of one model in
  order of time, the largest with 29.9 % of all calls; a batch per lane and minute. Memory is the node
  process's own, without the file cache; it rises until the database's page cache of 64 MB is full.

![A node's memory while receipts arrive](img/soak-memory.svg)
"""


if __name__ == "__main__":
    write()
