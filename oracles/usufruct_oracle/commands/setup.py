"""usufruct-oracle init and preflight: from nothing to a node that is ready."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from usufruct_protocol.errors import ConfigInvalid
from usufruct_protocol.signing import address_of, checksum_address, parse_address

from usufruct_oracle.bootstrap import open_access
from usufruct_oracle.commands.console import (
    DEFAULT_CONFIG,
    FOUND_WRONG,
    ConfigOption,
    JsonOption,
    print_json,
    reported,
    say,
)
from usufruct_oracle.keys.keystore import new_private_key, write_plain_key
from usufruct_oracle.keys.node_key import close_signer, keep_new_key
from usufruct_oracle.preflight.checks import Readiness, preflight
from usufruct_oracle.preflight.findings import FAIL, OK, WARN
from usufruct_oracle.preflight.peers import probe_peers
from usufruct_oracle.settings import Settings

_CONFIG = "node.json"
_KEYSTORE = "signer.json"
_PASSPHRASE = "passphrase"
_PLAIN_KEY = "signer.key"


def init(
    deployment: Annotated[Path, typer.Option(help="The deployment file.")],
    rpc_url: Annotated[list[str], typer.Option(help="JSON-RPC endpoint of the chain; repeat for more.")],
    folder: Annotated[Path, typer.Option(help="Where the node's files go.")] = Path(),
    port: Annotated[int, typer.Option(help="Port to serve on.")] = 8645,
    attempt_seconds: Annotated[
        int, typer.Option(help="Chain seconds per attempt; equal on all nodes.")
    ] = 300,
    grace_s: Annotated[
        int, typer.Option(help="Chain seconds from a period's end to its cut-off; equal on all nodes.")
    ] = 60,
    finality_depth: Annotated[
        int, typer.Option(help="Blocks on top of a final one; equal on all nodes.")
    ] = 0,
    peer: Annotated[list[str] | None, typer.Option(help="ADDRESS=URL of a signer; repeat.")] = None,
    plain_key: Annotated[bool, typer.Option(help="Keep the key unencrypted, for development.")] = False,
) -> None:
    """Write node.json, a new key in a keystore, and its passphrase. Never overwrites any of them."""
    with reported():
        names = [_CONFIG, *([_PLAIN_KEY] if plain_key else [_KEYSTORE, _PASSPHRASE])]
        for path in (folder / name for name in names):
            if path.exists():
                raise ConfigInvalid(f"{path} exists already", hint="choose another --folder")
        peers = dict(_peer_entry(text) for text in peer or [])
        folder.mkdir(parents=True, exist_ok=True)
        key = new_private_key()
        content: dict[str, Any] = {
            "rpc_url": rpc_url if len(rpc_url) > 1 else rpc_url[0],
            "deployment": os.path.relpath(deployment, folder),
            "database": "node.sqlite",
            "port": port,
            "peers": peers,
            "attempt_seconds": attempt_seconds,
            "grace_s": grace_s,
            "finality_depth": finality_depth,
        }
        if plain_key:
            write_plain_key(folder / _PLAIN_KEY, key)
            content["key_file"] = _PLAIN_KEY
        else:
            keep_new_key(key, folder / _KEYSTORE, folder / _PASSPHRASE)
            content["keystore_file"], content["passphrase_file"] = _KEYSTORE, _PASSPHRASE
        (folder / _CONFIG).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        say(f"wrote {', '.join(names)} in {folder}; the signer is {checksum_address(address_of(key))}")


def preflight_command(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Check chain, key, gas, clock, peers, settings and database; exit 1 unless this node is ready."""
    with reported():
        settings = Settings.load(config)
        access = open_access(settings)
        try:
            found = preflight(settings, access)
        finally:
            close_signer(access.signer)
        if as_json:
            print_json(
                {
                    "is_ready": found.is_ready,
                    "is_at_risk": found.is_at_risk,
                    "epoch": found.epoch,
                    "signers": found.signer_count,
                    "signers_up": found.signers_up,
                    "findings": [asdict(finding) for finding in found.findings],
                }
            )
        else:
            _say_findings(found)
        if not found.is_ready:
            raise typer.Exit(FOUND_WRONG)


def peers_command(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Ask every other signer's node how it is; exit 1 if one is not well."""
    with reported():
        settings = Settings.load(config)
        answers = probe_peers(settings.peers, settings.peer_timeout_seconds)
        if as_json:
            print_json(
                [
                    {
                        "address": checksum_address(answer.address),
                        "url": answer.url,
                        "problem": answer.problem,
                        "own_clock_ahead_seconds": answer.own_clock_ahead_s,
                        "settings": answer.agreed,
                    }
                    for answer in answers
                ]
            )
        else:
            for answer in answers:
                level = OK if answer.is_well else FAIL
                say(f"{level:<5} {checksum_address(answer.address)} {answer.url} {answer.problem}".rstrip())
        if not all(answer.is_well for answer in answers):
            raise typer.Exit(FOUND_WRONG)


def _say_findings(found: Readiness) -> None:
    for finding in found.findings:
        say(f"{finding.level:<5} {finding.what:<14} {finding.detail}")
        if finding.hint:
            say(f"{'':<20} hint: {finding.hint}")
    warnings, failures = (sum(each.level == level for each in found.findings) for level in (WARN, FAIL))
    counts = f"{warnings} warning{'s' * (warnings != 1)}, {failures} failure{'s' * (failures != 1)}"
    risk = f"Epoch {found.epoch} is {'' if found.is_at_risk else 'not '}at risk." if found.epoch else ""
    say(f"{'Ready' if found.is_ready else 'Not ready'} with {counts}. {risk}".rstrip())


def _peer_entry(text: str) -> tuple[str, str]:
    address, separator, url = text.partition("=")
    if not separator:
        raise ConfigInvalid(f"--peer {text!r} is not ADDRESS=URL")
    return checksum_address(parse_address(address)), url
