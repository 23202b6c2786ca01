"""usufruct-oracle guards and epoch approve: what the node would not sign by itself, and letting it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from usufruct_protocol.errors import InputRejected

from usufruct_oracle.commands.console import (
    DEFAULT_CONFIG,
    NEEDS_A_PERSON,
    ConfigOption,
    EpochOption,
    JsonOption,
    print_json,
    reported,
    say,
)
from usufruct_oracle.guards import hold_store
from usufruct_oracle.guards.approvals import Approvals
from usufruct_oracle.guards.concerns import Concern
from usufruct_oracle.settings import Settings
from usufruct_oracle.storage.store import Store


def guards(
    epoch: Annotated[
        int | None, typer.Option("--epoch", "-e", min=1, help="Default: the last epoch that was held.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show the limits, and what was held; exit 4 while something waits for you."""
    with reported():
        settings = Settings.load(config)
        number, concerns = _held(settings, epoch)
        approvals = Approvals(settings.approvals)
        waiting = [concern for concern in concerns if not approvals.covers(number, concern)]
        if as_json:
            print_json(
                {
                    "limits": asdict(settings.guards),
                    "epoch": number or None,
                    "held": [_json(concern, is_waiting=concern in waiting) for concern in concerns],
                }
            )
        else:
            for name, limit in asdict(settings.guards).items():
                say(f"{name:<24} {'off' if limit is None else f'{limit:,}'}")
            for concern in concerns:
                say(f"{'HELD' if concern in waiting else 'approved'} epoch {number}: {concern}")
        if waiting:
            raise typer.Exit(NEEDS_A_PERSON)


def approve(epoch: EpochOption, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Let the node sign an epoch in spite of what it holds against it, as `guards` shows it now.

    It covers the same things at most a tenth larger, in any attempt of this epoch, and nothing else.
    """
    with reported():
        settings = Settings.load(config)
        _, concerns = _held(settings, epoch)
        approvable = [concern for concern in concerns if concern.guard.is_approvable]
        if not approvable:
            what = "; ".join(map(str, concerns)) or "nothing is held"
            raise InputRejected(
                f"epoch {epoch}: there is nothing to approve: {what}",
                hint="usufruct-oracle guards shows what is",
            )
        path = Approvals(settings.approvals).approve(epoch, approvable)
        if as_json:
            print_json({"epoch": epoch, "file": str(path), "approved": [_json(each) for each in approvable]})
        else:
            for concern in approvable:
                say(f"approved epoch {epoch}: {concern}")
            say(f"{path} says so; the node goes on at its next look")


def _held(settings: Settings, epoch: int | None) -> tuple[int, list[Concern]]:
    """Return an epoch and what is held against it; (0, nothing) when nothing ever was."""
    store = Store(settings.database, exclusive=False)
    try:
        with store.read() as db:
            number = hold_store.last_held_epoch(db) if epoch is None else epoch
            return (0, []) if number is None else (number, hold_store.holds(db, number))
    finally:
        store.close()


def _json(concern: Concern, **more: Any) -> dict[str, Any]:
    return {
        "guard": concern.guard,
        "subject": concern.subject,
        "value": str(concern.value),
        "limit": str(concern.limit),
        "detail": concern.detail,
        **more,
    }
