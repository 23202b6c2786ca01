"""The outcome of a run as tables for people and as one JSON document for machines. Same figures in both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from usufruct_protocol.money import ACCRUAL_SCALE

from scripts.ledger import PARTIES, LicenseBooks, Sum
from scripts.outcome import EpochOutcome, PayeeOutcome, RangeGas

PAYEES_SHOWN: Final = 8
DECIMALS: Final = 6
PLAIN_WIDTH: Final = 150


def usdc(base_units: int) -> str:
    """Return an amount of a 6-decimals token as people write it; exact."""
    whole, rest = divmod(abs(base_units), 10**DECIMALS)
    return f"{'-' if base_units < 0 else ''}{whole:,}.{rest:0{DECIMALS}d}"


def licenses_table(
    books: Sequence[LicenseBooks], names: Mapping[int, str], calls: Mapping[int, int]
) -> Table:
    """Per license: calls, units, charge, what stays due, and who got which share."""
    table = _table("License", "what is paid for", ">calls", ">units", ">charged", ">due", ">contributors")
    for party in PARTIES:
        table.add_column(party, justify="right")
    table.add_column("dust", justify="right")
    for book in books:
        number = book.terms.license_id
        table.add_row(
            str(number),
            escape(names[number]),
            f"{calls[number]:,}",
            f"{book.account.cumulative_units:,}",
            usdc(book.account.charged),
            usdc(book.due),
            usdc(book.accrued.contributors),
            *(usdc(getattr(book.accrued, party)) for party in PARTIES),
            str(book.dust),
        )
    return table


def epochs_table(epochs: Sequence[EpochOutcome], days: Sequence[str] | None = None) -> Table:
    """Per epoch (and day, if it has one): who signed, what was charged and issued, what posting took."""
    table = _table(
        "Epoch", "signatures", "by nodes", ">charged", ">notes", ">issued", ">submit gas", ">finalize gas"
    )
    for epoch in epochs:
        table.add_row(
            f"{epoch.epoch}"
            + (f", {days[epoch.epoch - 1]}" if days else "")
            + (f" (attempt {epoch.attempt})" if epoch.attempt else ""),
            f"{len(epoch.signed_by)} of {epoch.signers} (need {epoch.threshold})",
            ", ".join(str(index + 1) for index in epoch.signed_by),
            usdc(epoch.charge),
            f"{epoch.notes:,}",
            usdc(epoch.notes_total),
            f"{epoch.submit_gas:,}",
            f"{epoch.finalize_gas:,}",
        )
    return table


def payees_table(payees: Sequence[PayeeOutcome], shown: int = PAYEES_SHOWN) -> Table:
    """The payees who earned most, and everyone together."""
    table = _table("Payee", "wallet", ">accrued", ">issued", ">paid", ">wallet balance")
    ranked = sorted(payees, key=lambda payee: (-payee.accrued_billionths, payee.name))
    for payee in ranked[:shown]:
        table.add_row(
            escape(payee.name),
            f"0x{payee.wallet.hex()[:8]}…",
            _accrued(payee.accrued_billionths),
            usdc(payee.issued),
            usdc(payee.paid),
            usdc(payee.balance),
        )
    if len(ranked) > shown:
        table.add_row(f"… and {len(ranked) - shown:,} more", "", "", "", "", "", end_section=True)
    table.add_row(
        f"all {len(payees):,}",
        "",
        _accrued(sum(payee.accrued_billionths for payee in payees)),
        usdc(sum(payee.issued for payee in payees)),
        usdc(sum(payee.paid for payee in payees)),
        usdc(sum(payee.balance for payee in payees)),
        style="bold",
    )
    return table


def sums_table(sums: Sequence[Sum]) -> Table:
    """The conservation sums, each with its verdict."""
    table = _table("sum", ">left side", ">right side", "verdict")
    for entry in sums:
        verdict = "[green]holds[/]" if entry.holds else f"[bold red]BROKEN by {entry.left - entry.right:,}[/]"
        table.add_row(escape(entry.name), f"{entry.left:,}", f"{entry.right:,} {entry.unit}", verdict)
    return table


def facts_table(facts: Sequence[tuple[str, str]]) -> Table:
    """A plain list of what was seen."""
    table = _table("what", "how it went")
    for name, value in facts:
        table.add_row(escape(name), value)
    return table


def license_json(book: LicenseBooks, name: str, calls: int) -> dict[str, Any]:
    """One license for --json: amounts in base units as decimal strings."""
    account = book.account
    return {
        "license_id": book.terms.license_id,
        "name": name,
        "meter": book.terms.meter_kind.name.lower(),
        "price_per_million_units": str(book.terms.price_per_million_units),
        "calls": calls,
        "units": str(account.cumulative_units),
        "deposited": str(account.deposited),
        "available": str(account.available),
        "reserved": str(account.reserved),
        "charged": str(account.charged),
        "withdrawn": str(account.withdrawn),
        "due": str(book.due),
        "bond": str(book.bond),
        "split": {name: str(getattr(book.accrued, name)) for name in ("contributors", *PARTIES)},
        "dust": str(book.dust),
    }


def epoch_json(epoch: EpochOutcome) -> dict[str, Any]:
    """One epoch for --json."""
    return {
        "epoch": epoch.epoch,
        "attempt": epoch.attempt,
        "proposer": epoch.proposer,
        "signed_by": list(epoch.signed_by),
        "signatures": len(epoch.signed_by),
        "threshold": epoch.threshold,
        "signers": epoch.signers,
        "charge": str(epoch.charge),
        "notes": epoch.notes,
        "notes_total": str(epoch.notes_total),
        "lanes_root": f"0x{epoch.lanes_root.hex()}",
        "notes_root": f"0x{epoch.notes_root.hex()}",
        "reserve_root": f"0x{epoch.reserve_root.hex()}",
        "submit_gas": epoch.submit_gas,
        "finalize_gas": epoch.finalize_gas,
    }


def payee_json(payee: PayeeOutcome) -> dict[str, Any]:
    """One payee for --json."""
    return {
        "name": payee.name,
        "wallet": f"0x{payee.wallet.hex()}",
        "accrued_billionths": str(payee.accrued_billionths),
        "issued": str(payee.issued),
        "paid": str(payee.paid),
        "wallet_balance": str(payee.balance),
    }


def range_gas_json(group: RangeGas) -> dict[str, Any]:
    """What one kind of range payment cost, for --json."""
    return {
        "payment": "first" if group.first else "later",
        "range": "full" if group.full else "smaller",
        "payees": group.payees,
        "gas": group.gas,
        "gas_per_payee": group.gas_per_payee,
    }


def sum_json(entry: Sum) -> dict[str, Any]:
    """One conservation sum for --json."""
    return {
        "name": entry.name,
        "left": str(entry.left),
        "right": str(entry.right),
        "unit": entry.unit,
        "holds": entry.holds,
    }


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write one JSON document; a reader sees it whole or not at all."""
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


def write_heading(console: Console, title: str) -> None:
    """Set a title above the next table."""
    console.print(f"\n[bold]{title}[/]")


def result_console() -> Console:
    """Where the result goes: standard output, wide enough for the tables when it is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def progress_console() -> Console:
    """Where progress goes: standard error, so that standard output holds the result alone."""
    return Console(stderr=True, highlight=False)


def _accrued(billionths: int) -> str:
    whole, rest = divmod(billionths, ACCRUAL_SCALE)
    return f"{usdc(whole)}{f' +{rest:09d}e-9' if rest else ''}"


def _table(*columns: str) -> Table:
    """A table; a leading > aligns a column right."""
    table = Table(header_style="bold", title_justify="left", expand=False)
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return table
