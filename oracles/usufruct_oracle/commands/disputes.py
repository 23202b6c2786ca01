"""usufruct-oracle disputes: see what is asked about the pending report, answer by hand, collect bonds.

A running node answers by itself; these are for when it does not run, or cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from usufruct_chain.disputes import Dispute, Question
from usufruct_chain.onchain import Block, SubmittedReport
from usufruct_protocol.errors import InputRejected, UsufructError
from usufruct_protocol.signing import checksum_address

from usufruct_oracle.bootstrap import Reading, open_reading
from usufruct_oracle.chain.disputes import DisputeClient
from usufruct_oracle.commands.console import (
    DEFAULT_CONFIG,
    FOUND_WRONG,
    ConfigOption,
    JsonOption,
    print_json,
    reported,
    say,
)
from usufruct_oracle.disputes.answers import Answers
from usufruct_oracle.disputes.shown_heads import ShownHeads
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.settings import Settings
from usufruct_oracle.wire_json import hexed

dispute_app = typer.Typer(help="Questions about the pending report, and their answers.", no_args_is_help=True)
DisputeOption = Annotated[list[str] | None, typer.Option("--dispute", help="Id of one dispute; repeat.")]


@dataclass(frozen=True, slots=True)
class _Pending:
    """The pending report and what is asked about it. `submitted` is None when none is pending."""

    head: Block
    submitted: SubmittedReport | None
    opened: Sequence[Dispute]
    answerable_until_s: int


@dispute_app.command("list")
def dispute_list(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show open disputes, until when they can be answered, and what this node's answers have earned."""
    with reported(), open_reading(Settings.load(config)) as reading:
        client = DisputeClient(reading.access.contracts, None)
        pending = _look(reading, client)
        credit = client.credit(reading.access.own_address)
        if as_json:
            print_json(
                {
                    "pending_report": pending.submitted and hexed(pending.submitted.report_hash),
                    "answerable_until_s": pending.answerable_until_s,
                    "head_time_s": pending.head.timestamp_s,
                    "credit_base_units": str(credit),
                    "disputes": [_content(asked) for asked in pending.opened],
                }
            )
            return
        left_s = pending.answerable_until_s - pending.head.timestamp_s
        for asked in pending.opened:
            say(f"{hexed(asked.dispute_id)} {_words(asked)}, {left_s} s left, bond {asked.bond}")
        say(f"{len(pending.opened)} open; {credit} base units earned by answers and not collected")


@dispute_app.command("answer")
def dispute_answer(dispute: DisputeOption = None, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Answer open disputes now, whosever turn it is: all, or those named. Stop the node first.

    Exit code 1 if one could not be answered.
    """
    with reported(), _sending(config) as (reading, client):
        pending = _look(reading, client)
        wanted = [asked for asked in pending.opened if not dispute or hexed(asked.dispute_id) in dispute]
        unknown = sorted(set(dispute or ()) - {hexed(asked.dispute_id) for asked in wanted})
        if unknown:
            raise InputRejected(f"no open dispute {unknown[0]}", hint="usufruct-oracle disputes list")
        failed = 0
        if wanted and pending.submitted is not None:
            answers = _answers(reading, client, pending.submitted, pending.head)
            for asked in wanted:
                try:
                    answers.answer(asked, pending.head)
                except UsufructError as error:
                    failed += 1
                    typer.echo(f"{hexed(asked.dispute_id)} not answered: {error}", err=True)
        say(f"{len(wanted) - failed} answered, {failed} not")
        if failed:
            raise typer.Exit(FOUND_WRONG)


@dispute_app.command("collect")
def dispute_collect(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Have this node's account paid what its answers have earned."""
    with reported(), _sending(config) as (reading, client):
        own_address = reading.access.own_address
        credit = client.credit(own_address)
        if credit:
            client.collect(own_address)
        say(f"{credit} base units paid to {checksum_address(own_address)}")


@contextmanager
def _sending(config: Path) -> Iterator[tuple[Reading, DisputeClient]]:
    """Open what reads and, with the node's key, what answers. Raises: ConfigInvalid while the node runs."""
    settings = Settings.load(config)
    with open_reading(settings) as reading:
        sender = reading.access.open_sender(settings.pending_transaction, Metrics())
        try:
            yield reading, DisputeClient(reading.access.contracts, sender)
        finally:
            if sender is not None:
                sender.close()


def _look(reading: Reading, client: DisputeClient) -> _Pending:
    head = reading.chain.head()
    state = reading.chain.settlement_state(head.hash)
    submitted = reading.chain.submitted(state.last_epoch + 1) if state.pending else None
    opened: Sequence[Dispute] = ()
    if submitted is not None and client.is_held(head.hash):
        license_ids = [line.license_id for line in submitted.report.lines]
        opened = client.open_disputes(submitted.report_hash, license_ids, head.hash)
    return _Pending(head, submitted, opened, state.finalizable_at_s)


def _answers(reading: Reading, client: DisputeClient, submitted: SubmittedReport, head: Block) -> Answers:
    report = submitted.report
    heads = ShownHeads(
        report,
        reading.store,
        reading.peers,
        reading.access.domain_separator,
        lambda point: client.anchor_signature(point, head),
    )
    return Answers(client, heads, report, reading.chain.read(report.cutoff_block_hash).lanes)


def _content(asked: Dispute) -> dict[str, Any]:
    return {
        "dispute_id": hexed(asked.dispute_id),
        "question": asked.question.name.lower(),
        "subject": asked.subject,
        "needed": str(asked.needed),
        "bond_base_units": str(asked.bond),
        "challenger": checksum_address(asked.challenger),
        "lanes_shown": asked.lanes_shown,
        "units_shown": str(asked.units_shown),
    }


def _words(asked: Dispute) -> str:
    if asked.question is Question.HEAD:
        return f"asks for the head of lane {asked.subject}, at least {asked.needed} receipts"
    return f"asks for the heads behind license {asked.subject}, {asked.needed} units"
