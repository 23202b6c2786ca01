"""The whole money path, live: `make demo`.

A real model answers calls behind the meter, four oracle nodes agree on reports, contracts charge a buyer's
escrow, and 426 people's wallets are paid. Every figure at the end is read back from the chain.

Exit status: 0 if every sum comes out even, 1 if one is broken, 3 if something did not answer in time.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from rich.console import Console
from usufruct_protocol.errors import Policy, UsufructError

from scripts.demo_report import Report, make_report
from scripts.demo_stage import PREDICT, SIMILAR, stage
from scripts.demo_story import ROUTES, Story
from scripts.tables import progress_console, result_console, write_json

DEFAULT_CALLS: Final = 3_000
BROKEN, TRY_AGAIN, INTERRUPTED = 1, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit status."""
    options = _options(arguments)
    progress = progress_console()
    try:
        report = _play(options.calls, progress)
    except KeyboardInterrupt:
        progress.print("[yellow]stopped; everything it had started is stopped too[/]")
        return INTERRUPTED
    except UsufructError as error:
        progress.print(f"error: {error}", markup=False)
        if error.hint:
            progress.print(f"hint: {error.hint}", markup=False)
        return TRY_AGAIN if error.policy is Policy.RETRY else BROKEN
    report.print(result_console())
    if options.json is not None:
        write_json(options.json, report.document())
    return 0 if report.holds else BROKEN


def _play(total_calls: int, progress: Console) -> Report:
    started = time.monotonic()
    asked = {PREDICT: 0, SIMILAR: 0}
    for number in range(total_calls):
        asked[ROUTES[number % len(ROUTES)][0]] += 1
    with tempfile.TemporaryDirectory(prefix="usufruct-demo-") as folder:
        progress.print("starting a chain, contracts, four oracle nodes and the clinic's API …")
        with stage(Path(folder), asked) as set_up:
            up_s, epoch_s = time.monotonic() - started, set_up.world.deployment.epoch_seconds
            progress.print(f"everything is up after {up_s:.1f} s; an epoch takes {epoch_s} s")
            story = Story(set_up, total_calls, progress)
            story.play()
            return make_report(set_up, story.seen, started)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__, formatter_class=_Plain)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the same figures as one JSON document"
    )
    parser.add_argument(
        "--calls",
        type=_calls,
        default=DEFAULT_CALLS,
        metavar="N",
        help=f"HTTP calls to make ({DEFAULT_CALLS})",
    )
    return parser.parse_args(arguments)


def _calls(text: str) -> int:
    if not text.isdecimal() or not 60 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 60 to 1000000")
    return int(text)


def _end(_signal: int, _frame: object) -> NoReturn:
    """Turn SIGTERM into the same orderly end as Ctrl-C."""
    raise KeyboardInterrupt


class _Plain(argparse.RawDescriptionHelpFormatter):
    """Keeps the paragraphs of the module's docstring."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
