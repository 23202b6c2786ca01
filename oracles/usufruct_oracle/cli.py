"""usufruct-oracle: the operator's commands.

Exit codes: 0 ok, 1 found wrong, 2 usage or settings, 3 try again, 4 needs a person. Results go to stdout,
with --json as one document; progress and errors go to stderr; errors end with a hint and a code.
"""

from __future__ import annotations

from typing import Annotated

import httpx
import typer
from usufruct_chain.onchain import SubmittedReport
from usufruct_protocol.errors import ConfigInvalid, InputRejected

from usufruct_oracle.bootstrap import Reading, bootstrap, open_reading
from usufruct_oracle.commands.archive import archive_app
from usufruct_oracle.commands.audit import audit
from usufruct_oracle.commands.bundles import bundle_app
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
from usufruct_oracle.commands.disputes import dispute_app
from usufruct_oracle.commands.guards import approve, guards
from usufruct_oracle.commands.keys import key_app
from usufruct_oracle.commands.quarantine import quarantine_app
from usufruct_oracle.commands.setup import init, peers_command, preflight_command
from usufruct_oracle.logs import LogFormat, Redactor, secrets_of
from usufruct_oracle.logs import configure as configure_logs
from usufruct_oracle.runner import run as run_node
from usufruct_oracle.settings import Settings
from usufruct_oracle.storage import epoch_store
from usufruct_oracle.storage.epoch_store import StoredReport
from usufruct_oracle.wire_json import hexed, report_json

app = typer.Typer(
    name="usufruct-oracle",
    help="A node that counts usage and signs one report per epoch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
epoch_app = typer.Typer(help="Look at epochs and their bundles.", no_args_is_help=True)
app.add_typer(epoch_app, name="epoch")
app.add_typer(key_app, name="keys")
app.add_typer(dispute_app, name="disputes")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(bundle_app, name="bundle")
app.add_typer(archive_app, name="archive")
app.command()(audit)
app.command()(guards)
epoch_app.command()(approve)
app.command()(init)
app.command("preflight")(preflight_command)
app.command("peers")(peers_command)


@app.command()
def run(
    config: ConfigOption = DEFAULT_CONFIG,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_format: Annotated[
        LogFormat, typer.Option(help="One JSON object per line, or text.")
    ] = LogFormat.TEXT,
    sign_from: Annotated[
        int | None,
        typer.Option(
            help="First epoch to sign with a NEW database, if this key signed nothing of it before."
        ),
    ] = None,
) -> None:
    """Run the node until it is told to stop."""
    with reported():
        settings = Settings.load(config)
        configure_logs(log_level, log_format, Redactor(secrets_of(settings)))
        node = bootstrap(settings)
        if sign_from is not None:
            with node.store.write() as db:
                epoch_store.set_signing_floor(db, sign_from)
        run_node(node)


@app.command()
def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Ask the running node what it is doing."""
    with reported():
        settings = Settings.load(config)
        url = f"{settings.operator_url}/v1/status"
        try:
            with httpx.Client(timeout=settings.peer_timeout_seconds, trust_env=False) as client:
                content = client.get(url).json()
        except (httpx.HTTPError, ValueError) as error:
            raise ConfigInvalid(f"no node answers at {url}: {error}", hint="usufruct-oracle run") from error
        if as_json:
            print_json(content)
        else:
            for name, value in content.items():
                if name != "lanes":
                    say(f"{name:<22} {value}")
            for lane, held in content["lanes"].items():
                stopped = "" if held["conflict_seq"] is None else f", STOPPED at {held['conflict_seq']}"
                say(f"lane {lane} {held['count']} receipts{stopped}")
        if content.get("halted"):
            raise typer.Exit(NEEDS_A_PERSON)


@epoch_app.command("show")
def epoch_show(
    epoch: EpochOption, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Show an epoch's report as posted on chain, or before that, as this node computed it last."""
    with reported(), open_reading(Settings.load(config)) as reading:
        shown = reading.chain.submitted(epoch) or _computed(reading, epoch)
        report = report_json(shown.report)
        transaction = hexed(shown.transaction_hash) if isinstance(shown, SubmittedReport) else None
        content = {
            "report_hash": hexed(shown.report_hash),
            "transaction": transaction,
            "settlement": reading.access.deployment.settlement,
            "is_bundle_held": reading.bundles.holds(epoch, shown.report.bundle_hash),
            "report": report,
        }
        if as_json:
            print_json(content)
        else:
            for name, value in {**content, **report}.items():
                if name not in ("lines", "report"):
                    say(f"{name:<22} {value}")
            for line in report["lines"]:
                say(
                    f"license {line['license_id']}: {line['cumulative_units']} units, charge {line['charge']}"
                )


def main() -> None:
    """Entry point of the command."""
    app()


def _computed(reading: Reading, epoch: int) -> StoredReport:
    """Return the report that this node computed for the latest attempt of an epoch that is not posted."""
    found = None
    if reading.store is not None:
        with reading.store.read() as db:
            attempts = epoch_store.attempts(db, epoch)
            found = epoch_store.report(db, epoch, attempts[-1]) if attempts else None
    if found is None:
        hint = "wait until it is reported"
        raise InputRejected(f"epoch {epoch} has no report, neither on chain nor here", hint=hint)
    return found
