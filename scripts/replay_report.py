"""What a replay shows at the end, and how two runs of the same trace compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from usufruct_meter.importer import without_retries
from usufruct_protocol.accruals import Accruals
from usufruct_protocol.bundle import ACCRUALS

from scripts.ledger import PARTIES, Books, LicenseBooks, Sum, check_books, read_books
from scripts.node_view import NodeView
from scripts.outcome import EpochOutcome, PayeeOutcome, read_epochs, read_notes, read_payees
from scripts.people import all_payees
from scripts.replay_run import Replay, day_of
from scripts.tables import (
    epoch_json,
    epochs_table,
    facts_table,
    license_json,
    licenses_table,
    payee_json,
    payees_table,
    sum_json,
    sums_table,
    write_heading,
)


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run's outcome, read back from its chain."""

    title: str
    names: dict[int, str]
    calls: dict[int, int]
    days: tuple[str, ...]
    books: Books
    epochs: tuple[EpochOutcome, ...]
    payees: tuple[PayeeOutcome, ...]
    sums: tuple[Sum, ...]

    @property
    def holds(self) -> bool:
        """Whether every sum comes out even."""
        return all(entry.holds for entry in self.sums)

    def print(self, console: Console) -> None:
        """Show the tables."""
        for title, table in (
            ("Licenses (USDC)", licenses_table(self.books.licenses, self.names, self.calls)),
            ("Reports (USDC)", epochs_table(self.epochs, self.days)),
            ("Payees (USDC)", payees_table(self.payees)),
            ("Conservation", sums_table(self.sums)),
        ):
            write_heading(console, f"{self.title}: {title}")
            console.print(table)

    def document(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        return {
            "run": self.title,
            "holds": self.holds,
            "licenses": [
                license_json(book, self.names[book.terms.license_id], self.calls[book.terms.license_id])
                for book in self.books.licenses
            ],
            "epochs": [
                {"day": day, **epoch_json(epoch)} for day, epoch in zip(self.days, self.epochs, strict=True)
            ],
            "payees": [payee_json(payee) for payee in self.payees],
            "sums": [sum_json(entry) for entry in self.sums],
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing that must be equal in two runs."""

    what: str
    plain: str
    other: str

    @property
    def is_equal(self) -> bool:
        """Whether it is."""
        return self.plain == self.other


def make_run_report(replay: Replay, title: str) -> RunReport:
    """Read a finished run back from its chain and check every sum."""
    world = replay.world
    reader = world.reader
    collections = [license_.plan.collection for license_ in world.licenses]
    people = all_payees(collections)
    books = read_books(reader, [payee.wallet for payee in people])
    with NodeView(world, replay.network) as node:
        trees = read_notes(reader, replay.epochs, node.words)
        accruals = Accruals.from_bytes(node.bundle(replay.epochs)[ACCRUALS])
        in_report = sum(head.count for head in node.heads(replay.epochs) if head is not None)
    distinct = without_retries(replay.plan.calls)
    calls = Counter(call.license_index + 1 for call in distinct)
    return RunReport(
        title=title,
        names={license_.license_id: license_.plan.name for license_ in world.licenses},
        calls={license_.license_id: calls[license_.license_id] for license_ in world.licenses},
        days=tuple(day_of(world.deployment.genesis_s, epoch) for epoch in range(1, replay.epochs + 1)),
        books=books,
        epochs=read_epochs(reader, replay.epochs),
        payees=read_payees(reader, people, trees, accruals),
        sums=(
            *check_books(books, accruals.total, world.minted_base_units),
            Sum("calls without retries = receipts in the last report", len(distinct), in_report, "calls"),
            *(
                Sum(
                    f"license {book.terms.license_id}: units in the files = units charged for",
                    sum(call.units for call in distinct if call.license_index + 1 == book.terms.license_id),
                    book.account.cumulative_units,
                    "units",
                )
                for book in books.licenses
            ),
            Sum("notes issued = notes paid", books.notes_total, books.notes_paid),
        ),
    )


def compare_roots(plain: RunReport, other: RunReport) -> list[Comparison]:
    """Compare every root of every epoch: what was killed or reached one node only must not show."""
    found = [Comparison("number of epochs", str(len(plain.epochs)), str(len(other.epochs)))]
    for left, right in zip(plain.epochs, other.epochs, strict=False):
        for name in ("lanes_root", "notes_root", "reserve_root"):
            ours, theirs = getattr(left, name).hex(), getattr(right, name).hex()
            found.append(Comparison(f"epoch {left.epoch}: {name}", ours, theirs))
    return found


def compare_totals(plain: RunReport, other: RunReport) -> list[Comparison]:
    """Compare what each license came to in the end: a late receipt changes no total."""
    found = []
    for left, right in zip(plain.books.licenses, other.books.licenses, strict=True):
        ours, theirs = _totals(left), _totals(right)
        number = left.terms.license_id
        found += [
            Comparison(f"license {number}: {name}", str(ours[name]), str(theirs[name])) for name in ours
        ]
    return found


def comparison_table(entries: Sequence[Comparison]) -> Table:
    """Show what was compared, hashes cut short."""
    facts = [
        (entry.what, f"{_short(entry.plain)} [green]equal[/]")
        if entry.is_equal
        else (entry.what, f"{_short(entry.plain)} [bold red]DIFFERS from[/] {_short(entry.other)}")
        for entry in entries
    ]
    return facts_table(facts)


def comparison_json(entries: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return what was compared as JSON values."""
    return [
        {"what": entry.what, "plain": entry.plain, "other": entry.other, "equal": entry.is_equal}
        for entry in entries
    ]


def _totals(book: LicenseBooks) -> dict[str, int]:
    shares = {f"share of {name}": getattr(book.accrued, name) for name in ("contributors", *PARTIES)}
    return {"units": book.account.cumulative_units, "charged": book.account.charged, **shares}


def _short(text: str) -> str:
    return text if len(text) <= 20 else f"{text[:16]}…"
