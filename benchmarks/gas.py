"""Gas on a throw-away anvil, of the money path and of all around it: `python -m benchmarks.gas [--json]`.

Every figure is the `gasUsed` of a real transaction: keys, hashes, block times and block numbers are fixed,
so two runs agree to the unit. `tests/contracts/test_gas.py` pins them. Gas is never taken from pyrevm, whose
storage slots stay warm between calls.

The setting is that of the design's goals: a 6-decimals OpenZeppelin ERC-20, trees of depth 20, 5 signatures
of 7, and every storage slot of a license written before, as in any epoch but its first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from usufruct_protocol.sumtree import NoteTree

from benchmarks import gas_scenes
from benchmarks.gas_world import GasWorld

DEPTH_20_NOTES = 2**19 + 1
RANGE_LOG2 = 8
EXTRA_LINES = 10


@dataclass(frozen=True)
class Goal:
    """One row of the table: `limit` in gas, and what comparable systems take (DESIGN section 6)."""

    key: str
    label: str
    limit: int | None
    peers: str = ""


GOALS = (
    Goal(
        "pay_range_later_per_payee",
        "range of 256, per payee, later payment",
        9_500,
        "Merkl 50.5k · EigenLayer 43.5k · 0xSplits Push 11.5k, Pull 10.3k · bare push loop 9.06k + base",
    ),
    Goal(
        "pay_range_first_per_payee",
        "range of 256, per payee, first payment",
        26_600,
        "Merkl 101.8k · EigenLayer 60.8k · push loop 26.4k",
    ),
    Goal(
        "claim_first_fresh_word",
        "claim, first payment, fresh bitmap word",
        106_000,
        "EigenLayer 131k · Merkl 162k · Uniswap 98k (no sum proof)",
    ),
    Goal(
        "claim_later_fresh_word",
        "claim, later payment, fresh bitmap word",
        89_000,
        "EigenLayer 94k · Merkl 91k · Uniswap 81k (no sum proof)",
    ),
    Goal("claim_first_shared_word", "claim, first payment, shared bitmap word", 89_000),
    Goal("claim_later_shared_word", "claim, later payment, shared bitmap word", 72_000),
    Goal(
        "claim_many_later_fresh_word",
        "claims of 2 epochs in one call, each, later payment, fresh words",
        None,
    ),
    Goal("redirect_later_shared_word", "redirect by signature, later payment, shared bitmap word", None),
    Goal("submit_1_line", "submit, 5 of 7, 1 line", 120_000, "voucher prototype 131k"),
    Goal("submit_per_extra_line", "submit, each further line", 15_000),
    Goal("finalize_1_line", "finalize, 1 line, 524,289 notes", 175_000),
    Goal("finalize_1_line_1_note", "finalize, 1 line, 1 note", 175_000),
    Goal("finalize_per_extra_line", "finalize, each further line", 26_000),
    Goal("reject_1_line", "reject by the guardian, 1 line", None),
    Goal("deposit", "deposit by approval, later deposit", None),
    Goal("pay_share", "pay a party's share, first payment", None),
)


def measure() -> dict[str, int]:
    """Run the money path once and return gas by `Goal.key`. Per-payee and per-line figures round up."""
    payees = GasWorld.payees(DEPTH_20_NOTES)
    first = Epoch(1, GasWorld.words(payees, epoch=1))
    later = Epoch(2, GasWorld.words(payees, epoch=2))
    more = [Epoch(number, GasWorld.words(payees, epoch=number)) for number in (5, 6)]
    single = NoteTree(GasWorld.words(payees, epoch=3)[:1])
    all_licenses = range(1, 2 + EXTRA_LINES)
    with GasWorld.started(license_count=len(all_licenses)) as world:
        world.report(all_licenses, first.notes)  # writes every slot for the first time: not measured
        submit_one, finalize_one = world.report([1], later.notes)
        reject = world.rejected_report([1])
        _, finalize_one_note = world.report([1], single)
        submit_all, finalize_all = world.report(all_licenses, single)
        for epoch in more:
            world.report([1], epoch.notes)
        return {
            **_payments(world, first, later, to=payees[0]),
            "claim_many_later_fresh_word": _each(_claim_of_several(world, more), len(more)),
            "submit_1_line": submit_one,
            "submit_per_extra_line": _each(submit_all - submit_one, EXTRA_LINES),
            "finalize_1_line": finalize_one,
            "finalize_1_line_1_note": finalize_one_note,
            "finalize_per_extra_line": _each(finalize_all - finalize_one_note, EXTRA_LINES),
            "reject_1_line": reject,
            "deposit": world.deposit(1, 10**6),
            "pay_share": world.pay_share(1),
        }


class Epoch:
    """The notes of one epoch: words and tree."""

    def __init__(self, number: int, words: list[int]) -> None:
        self.number = number
        self.words = words
        self.notes = NoteTree(words)


def _payments(world: GasWorld, first: Epoch, later: Epoch, to: bytes) -> dict[str, int]:
    """Pay block 0 by range and some of block 1 one by one, from the first and then from the later epoch."""
    size = 1 << RANGE_LOG2
    gas: dict[str, int] = {}
    for when, epoch in (("first", first), ("later", later)):
        notes = (epoch.number, epoch.words, epoch.notes)
        gas[f"pay_range_{when}_per_payee"] = _each(world.pay_range(*notes, 0, RANGE_LOG2), size)
        gas[f"claim_{when}_fresh_word"] = world.claim(*notes, size)
        gas[f"claim_{when}_shared_word"] = world.claim(*notes, size + 1)
    gas["redirect_later_shared_word"] = world.redirect(later.number, later.words, later.notes, to)
    return gas


def _claim_of_several(world: GasWorld, epochs: Sequence[Epoch]) -> int:
    """One payee's notes of several epochs at once; notes before it in block 1 have given it a balance."""
    index = 1 << RANGE_LOG2
    return world.claim_many([(epoch.number, epoch.words, epoch.notes, index) for epoch in epochs])


def _each(gas: int, count: int) -> int:
    return -(-gas // count)


def table(figures: dict[str, int]) -> str:
    """Return the figures beside goals and peers as a Markdown table."""
    rows = ["| | measured | goal | peers |", "|---|---:|---:|---|"]
    for goal in GOALS:
        limit = "" if goal.limit is None else f"≤ {goal.limit:,}"
        rows.append(f"| {goal.label} | {figures[goal.key]:,} | {limit} | {goal.peers} |")
    return "\n".join(rows)


def missed(figures: dict[str, int]) -> list[Goal]:
    """Return the goals that the figures do not reach."""
    return [goal for goal in GOALS if goal.limit is not None and figures[goal.key] > goal.limit]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, or JSON by key; exit 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description="Measure gas on a throw-away anvil.")
    parser.add_argument("--json", action="store_true", help="print the figures by key instead of the tables")
    as_json = parser.parse_args(arguments).json
    figures, scenes = measure(), gas_scenes.measure()
    if as_json:
        print(json.dumps(figures | scenes, indent=2))
    else:
        print(table(figures), gas_scenes.table(scenes), sep="\n\n")
    for goal in missed(figures):
        print(f"goal missed: {goal.label}: {figures[goal.key]:,} > {goal.limit:,}", file=sys.stderr)
    return 1 if missed(figures) else 0


if __name__ == "__main__":
    sys.exit(main())
