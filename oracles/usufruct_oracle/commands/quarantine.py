"""usufruct-oracle quarantine: what was refused of registered lanes, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from usufruct_protocol.batches import batch_span
from usufruct_protocol.errors import ConfigInvalid, InputRejected
from usufruct_protocol.signing import parse_address

from usufruct_oracle.commands.console import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    print_json,
    reported,
    say,
)
from usufruct_oracle.settings import Settings
from usufruct_oracle.storage.database import Connection
from usufruct_oracle.storage.quarantine_store import Refused, latest_refused, refused
from usufruct_oracle.storage.store import Store, schema_version
from usufruct_oracle.wire_json import hexed

quarantine_app = typer.Typer(help="Refused input of registered lanes, and why.", no_args_is_help=True)


@quarantine_app.command("list")
def quarantine_list(
    config: ConfigOption = DEFAULT_CONFIG,
    lane: Annotated[str | None, typer.Option(help="Address of one lane.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, newest first.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Show what was refused lately, newest first; also while the node runs."""
    with reported():
        address = None if lane is None else parse_address(lane)
        with _database(config) as db:
            found = latest_refused(db, limit, address)
        if as_json:
            print_json([_json(each) for each in found])
            return
        for each in found:
            lane_text = f"lane {hexed(each.lane)}"
            reason = each.reason.removeprefix(lane_text).lstrip(": ")
            say(f"{each.number:>6}  {_time(each)}  {lane_text}  {each.code}: {reason}")
        if not found:
            say("nothing was refused" if address is None else f"nothing of lane {hexed(address)} was refused")


@quarantine_app.command("show")
def quarantine_show(
    number: Annotated[int, typer.Argument(min=1, max=2**63 - 1, help="As `list` shows it.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show one refused input: who, when, why, and how it begins."""
    with reported():
        with _database(config) as db:
            found = refused(db, number)
        if found is None:
            raise InputRejected(
                f"nothing in quarantine has number {number}",
                hint="older ones make room; see `quarantine list`",
            )
        content = {**_json(found), "head": found.head.hex()}
        if as_json:
            print_json(content)
            return
        for name, value in content.items():
            if value is not None:
                say(f"{name:<12} {value}")


@contextmanager
def _database(config: Path) -> Iterator[Connection]:
    settings = Settings.load(config)
    if not schema_version(settings.database):
        raise ConfigInvalid(f"{settings.database}: no such database", hint="run the node once")
    store = Store(settings.database, exclusive=False)
    try:
        with store.read() as db:
            yield db
    finally:
        store.close()


def _json(each: Refused) -> dict[str, Any]:
    span = batch_span(each.head)
    return {
        "number": each.number,
        "received_at": _time(each),
        "lane": hexed(each.lane),
        "first_seq": None if span is None else span[0],
        "end_seq": None if span is None else span[1],
        "seq": each.seq,
        "code": each.code,
        "reason": each.reason,
        "size": each.size,
        "sha256": each.sha256.hex(),
    }


def _time(each: Refused) -> str:
    return datetime.fromtimestamp(each.received_at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
