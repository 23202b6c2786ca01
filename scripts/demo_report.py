"""What the demo shows at the end: tables for people, one JSON document for machines, and the verdict."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from usufruct_protocol.accruals import Accruals
from usufruct_protocol.bundle import ACCRUALS

from scripts.demo_receipts import CountedReceipts, check_receipts
from scripts.demo_stage import Stage
from scripts.demo_story import DEAD_NODE, Happenings
from scripts.ledger import Books, Sum, check_books, read_books
from scripts.node_view import NodeView
from scripts.outcome import (
    EpochOutcome,
    Payee,
    PayeeOutcome,
    RangeGas,
    read_epochs,
    read_notes,
    read_payees,
    read_range_gas,
)
from scripts.tables import (
    epoch_json,
    epochs_table,
    facts_table,
    license_json,
    licenses_table,
    payee_json,
    payees_table,
    range_gas_json,
    sum_json,
    sums_table,
    usdc,
    write_heading,
)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the demo found out."""

    names: dict[int, str]
    seen: Happenings
    books: Books
    epochs: tuple[EpochOutcome, ...]
    payees: tuple[PayeeOutcome, ...]
    gas: tuple[RangeGas, ...]
    receipts: CountedReceipts
    sums: tuple[Sum, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether every sum comes out even."""
        return all(entry.holds for entry in self.sums)

    def print(self, console: Console) -> None:
        """Show the tables and the verdict."""
        calls = self.receipts.per_license
        for title, table in (
            ("Licenses (USDC)", licenses_table(self.books.licenses, self.names, calls)),
            ("Reports (USDC)", epochs_table(self.epochs)),
            ("Payees (USDC)", payees_table(self.payees)),
            ("What happened", facts_table(self._facts())),
            ("Conservation", sums_table(self.sums)),
        ):
            write_heading(console, title)
            console.print(table)
        broken = sum(not entry.holds for entry in self.sums)
        verdict = (
            f"[bold red]{broken} sums are broken[/]"
            if broken
            else "[bold green]every base unit is accounted for[/]"
        )
        console.print(f"\n{verdict}, {len(self.sums)} sums checked, {self.seconds:.1f} s in all")

    def document(self) -> dict[str, Any]:
        """Return the same figures as JSON values; amounts are decimal strings of base units."""
        seen, counted = self.seen, self.receipts
        return {
            "holds": self.holds,
            "seconds": round(self.seconds, 1),
            "licenses": [
                license_json(
                    book, self.names[book.terms.license_id], counted.per_license[book.terms.license_id]
                )
                for book in self.books.licenses
            ],
            "epochs": [epoch_json(epoch) for epoch in self.epochs],
            "payees": [payee_json(payee) for payee in self.payees],
            "gas": {
                "ranges": [range_gas_json(group) for group in self.gas],
                "claim": seen.claim_gas,
                "redirect": seen.redirect_gas,
            },
            "receipts": {
                "kept": counted.kept,
                "counted": counted.counted,
                "retries": seen.retries,
                "refused": seen.refused,
            },
            "events": {
                "killed_node": DEAD_NODE + 1,
                "killed_in_epoch": seen.killed_in,
                "back_in_epoch": seen.back_in,
                "carried_due": str(seen.carried_due),
                "carried_in_epoch": seen.carried_in_epoch,
                "topped_up": str(seen.topped_up),
                "claimed": seen.claimed,
                "redirected": seen.redirected,
                "redirected_to": f"0x{seen.redirected_to.hex()}",
            },
            "sums": [sum_json(entry) for entry in self.sums],
        }

    def _facts(self) -> list[tuple[str, str]]:
        seen, counted = self.seen, self.receipts
        absent = [epoch.epoch for epoch in self.epochs if DEAD_NODE not in epoch.signed_by]
        return [
            ("receipts", f"{counted.counted:,} of {counted.kept:,} kept by the caller are counted on chain"),
            (
                "retries",
                f"{seen.retries} calls asked twice, metered once; {seen.refused} bad calls cost nothing",
            ),
            (
                f"node {DEAD_NODE + 1}",
                f"killed in epoch {seen.killed_in}, back in epoch {seen.back_in}; not in reports {absent}",
            ),
            (
                "bonds",
                f"{usdc(self.books.license_bonds_balance)} USDC of the buyer and "
                f"{usdc(self.books.operator_bonds_balance)} of the operators stand behind what they sign",
            ),
            (
                "short escrow",
                f"{usdc(seen.carried_due)} USDC carried from epoch {seen.carried_in_epoch}, then drawn",
            ),
            *(
                (f"gas per payee, {_kind(group)}", f"{group.gas_per_payee:,}")
                for group in self.gas
                if group.payees
            ),
            ("token", "as USDC: every transfer checks a pause and a blocklist, which the gas includes"),
            ("single claim", f"{seen.claimed}: {seen.claim_gas:,} gas"),
            ("redirected claim", f"{seen.redirected}: {seen.redirect_gas:,} gas"),
        ]


def _kind(group: RangeGas) -> str:
    return f"{'first' if group.first else 'later'} payment, {'full' if group.full else 'smaller'} ranges"


def make_report(stage: Stage, seen: Happenings, started: float) -> Report:
    """Read everything back and check every sum. Raises: InvariantBroken if a receipt is not counted."""
    world, reader = stage.world, stage.world.reader
    last_epoch = reader.settlement_state(reader.head().hash).last_epoch
    people = (*stage.collection.payees(), Payee(f"new wallet of {seen.redirected}", seen.redirected_to, ()))
    books = read_books(reader, [payee.wallet for payee in people])
    with NodeView(world, stage.network) as node:
        accruals = Accruals.from_bytes(node.bundle(last_epoch)[ACCRUALS])
        trees = read_notes(reader, last_epoch, node.words)
        in_report = sum(head.count for head in node.heads(last_epoch) if head is not None)
    counted = check_receipts(seen.receipts, reader, stage.network.urls, last_epoch)
    payees = read_payees(reader, people, trees, accruals)
    return Report(
        names={license_.license_id: license_.plan.name for license_ in world.licenses},
        seen=seen,
        books=books,
        epochs=read_epochs(reader, last_epoch),
        payees=payees,
        gas=read_range_gas(reader),
        receipts=counted,
        sums=(
            *check_books(books, accruals.total, world.minted_base_units),
            *_people_sums(payees, books),
            *_receipt_sums(counted, in_report, books),
        ),
        seconds=time.monotonic() - started,
    )


def _people_sums(payees: tuple[PayeeOutcome, ...], books: Books) -> tuple[Sum, ...]:
    return (
        Sum("notes issued = notes of all payees", books.notes_total, sum(payee.issued for payee in payees)),
        Sum("notes issued = notes paid", books.notes_total, books.notes_paid),
    )


def _receipt_sums(counted: CountedReceipts, in_report: int, books: Books) -> tuple[Sum, ...]:
    return (
        Sum("receipts kept = receipts counted", counted.kept, counted.counted, "receipts"),
        Sum("receipts in the last report = receipts kept", in_report, counted.kept, "receipts"),
        *(
            Sum(
                f"license {book.terms.license_id}: calls answered = units charged for",
                counted.per_license[book.terms.license_id],
                book.account.cumulative_units,
                "calls",
            )
            for book in books.licenses
        ),
    )
