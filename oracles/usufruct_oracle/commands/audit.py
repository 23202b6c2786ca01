"""usufruct-oracle audit: rebuild a report, from a node or from nothing but files and a chain."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from usufruct_chain.deployment import Deployment
from usufruct_protocol.errors import ConfigInvalid, UsufructError

from usufruct_oracle.audit.sources import BundleSources, Verdict, examine
from usufruct_oracle.bootstrap import open_chain, open_reading
from usufruct_oracle.bundles.folder import BundleFolder
from usufruct_oracle.bundles.sealing import SealingKey
from usufruct_oracle.chain.client import Chain, ChainClient
from usufruct_oracle.commands.console import (
    DEFAULT_CONFIG,
    FOUND_WRONG,
    ConfigOption,
    EpochOption,
    JsonOption,
    print_json,
    reported,
    say,
)
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.settings import Settings
from usufruct_oracle.wire_json import hexed

BundleKeyOption = Annotated[
    Path | None,
    typer.Option("--bundle-key", help="Key that opens restricted files; the node's own if left out."),
]


def audit(
    epoch: EpochOption,
    config: ConfigOption = DEFAULT_CONFIG,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Folder that bundles were exported to: of this epoch and the one before."),
    ] = None,
    bundle_key: BundleKeyOption = None,
    deployment: Annotated[
        Path | None, typer.Option(help="Deployment file: audit without a node, with --rpc-url and --bundle.")
    ] = None,
    rpc_url: Annotated[
        list[str] | None, typer.Option(help="JSON-RPC endpoint of the chain; repeat for more.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild a report from its bundle and the chain: it matches (0), differs (1) or cannot be checked."""
    with reported():
        started = time.monotonic()
        try:
            with _sources(config, bundle, bundle_key, deployment, rpc_url) as (chain, sources):
                verdict = examine(chain, epoch, sources)
        except UsufructError as error:
            if as_json:
                print_json(
                    {"epoch": epoch, "verdict": "could not check", "reason": str(error), "code": error.code}
                )
            else:
                typer.echo(f"could not check epoch {epoch}", err=True)
            raise
        _say_verdict(verdict, time.monotonic() - started, as_json)


@contextmanager
def _sources(
    config: Path,
    bundle: Path | None,
    bundle_key: Path | None,
    deployment: Path | None,
    rpc_url: list[str] | None,
) -> Iterator[tuple[Chain, BundleSources]]:
    """Open the chain and the places where bundles are. Raises: ConfigInvalid, Transient."""
    if deployment is None:
        if rpc_url:
            raise ConfigInvalid(
                "--rpc-url needs --deployment", hint="both are in node.json for a node's audit"
            )
        settings = Settings.load(config)
        folder = None if bundle is None else BundleFolder(bundle, folder_key(settings, bundle_key))
        with open_reading(settings) as reading:
            yield reading.chain, BundleSources(reading.store, reading.peers, folder)
        return
    if not rpc_url or bundle is None:
        raise ConfigInvalid("--deployment needs --rpc-url and --bundle", hint="there is no node to ask")
    key = None if bundle_key is None else SealingKey.load(bundle_key)
    contracts = open_chain(Deployment.load(deployment), rpc_url, Metrics())
    yield ChainClient(contracts, None), BundleSources(folder=BundleFolder(bundle, key))


def folder_key(settings: Settings, bundle_key: Path | None) -> SealingKey | None:
    """Return the key named, else that of the node if it has one. Raises: ConfigInvalid."""
    if bundle_key is not None:
        return SealingKey.load(bundle_key)
    return SealingKey.load(settings.bundle_key_file) if settings.bundle_key_file.exists() else None


def _say_verdict(verdict: Verdict, took_s: float, as_json: bool) -> None:
    report, difference = verdict.report, verdict.difference
    content: dict[str, Any] = {
        "epoch": report.epoch,
        "report_hash": hexed(verdict.report_hash),
        "verdict": "matches" if difference is None else "differs",
        "difference": None
        if difference is None
        else {"where": difference.where, "expected": difference.expected, "found": difference.found},
    }
    if as_json:
        print_json(content)
    elif difference is None:
        say(
            f"matches: epoch {report.epoch}, attempt {report.attempt}, report {hexed(verdict.report_hash)}\n"
            f"{len(report.lines)} lines, {report.note_count} notes, {report.notes_total} base units, "
            f"rebuilt in {took_s:.2f} s"
        )
    else:
        say(f"differs at {difference}")
    if difference is not None:
        raise typer.Exit(FOUND_WRONG)
