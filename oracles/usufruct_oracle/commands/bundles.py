"""usufruct-oracle bundle: bundles as files, out of a node and back into one."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from usufruct_protocol.bundle import bundle_hash
from usufruct_protocol.errors import InputRejected, Transient
from usufruct_protocol.signing import ZERO_ADDRESS, checksum_address

from usufruct_oracle.bootstrap import Reading, open_access, open_reading
from usufruct_oracle.bundles.folder import BundleFolder, Problem
from usufruct_oracle.bundles.sealing import SealingKey, check_recipient
from usufruct_oracle.chain.client import ChainClient
from usufruct_oracle.commands.audit import BundleKeyOption, folder_key
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
from usufruct_oracle.keys.node_key import close_signer
from usufruct_oracle.settings import Settings
from usufruct_oracle.storage import epoch_store
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import hexed

bundle_app = typer.Typer(help="Bundles as files named by hash.", no_args_is_help=True)
FolderArgument = Annotated[Path, typer.Argument(help="Folder of exported bundles.")]


@bundle_app.command("export")
def export(
    epoch: EpochOption,
    folder: FolderArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    recipient: Annotated[
        list[str] | None, typer.Option(help="Seal to this age key, too, an auditor's say; repeat for more.")
    ] = None,
    public_only: Annotated[bool, typer.Option(help="Leave restricted files out.")] = False,
) -> None:
    """Add an epoch's bundle to a folder; restricted files are encrypted to the committee's nodes."""
    with reported():
        others = [check_recipient(text) for text in recipient or []]
        settings = Settings.load(config)
        with open_reading(settings) as reading:
            submitted = reading.chain.submitted(epoch)
            if submitted is None:
                raise InputRejected(f"epoch {epoch} has no report on chain", hint="wait until it is reported")
            wanted = submitted.report.bundle_hash
            bundle = reading.bundles.find(epoch, wanted)
            readers = {} if public_only else _readers(reading, settings)
            if not public_only:
                signers = reading.chain.read(submitted.report.cutoff_block_hash).signers
                missing = [checksum_address(signer) for signer in signers if signer not in readers]
                if missing:
                    say(f"not sealed to {', '.join(missing)}: no answer; export again when they are up")
            BundleFolder(folder).add(epoch, wanted, bundle, {*readers.values(), *others})
            parts = f"sealed to {len(readers)} signers" if readers else "public files only"
            say(f"wrote the bundle {hexed(wanted)} of epoch {epoch} to {folder}, {parts}")


@bundle_app.command("import")
def import_(
    epoch: EpochOption,
    folder: FolderArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    bundle_key: BundleKeyOption = None,
) -> None:
    """Put an epoch's bundle into this node's database, if it is the one on chain. Stop the node first."""
    with reported():
        settings = Settings.load(config)
        key = folder_key(settings, bundle_key)
        access = open_access(settings)
        try:
            submitted = ChainClient(access.contracts, None).submitted(epoch)
        finally:
            close_signer(access.signer)
        if submitted is None:
            raise InputRejected(f"epoch {epoch} has no report on chain", hint="is it the right deployment?")
        wanted = submitted.report.bundle_hash
        found = BundleFolder(folder, key).find(wanted)
        if found is None:
            raise Transient(f"{folder} does not hold the bundle of epoch {epoch}, {hexed(wanted)}")
        if bundle_hash(found.files) != wanted:
            raise InputRejected(
                f"the bundle of epoch {epoch} in {folder} is damaged",
                hint=f"usufruct-oracle bundle verify {folder}",
            )
        store = Store(settings.database, exclusive=True)
        try:
            store.bind_identity(access.identity)
            with store.write() as db:
                epoch_store.put_bundle(db, epoch, wanted, found.files)
        finally:
            store.close()
        say(f"took the bundle {hexed(wanted)} of epoch {epoch} into {store.name}")


@bundle_app.command("verify")
def verify(folder: FolderArgument, bundle_key: BundleKeyOption = None, as_json: JsonOption = False) -> None:
    """Compare every file in a folder with the hash of its bundle; exit 1 if one differs. Needs no chain.

    Whether a bundle is the one that was signed is for `audit` to say.
    """
    with reported():
        key = None if bundle_key is None else SealingKey.load(bundle_key)
        found = BundleFolder(folder, key)
        content = []
        for each in found.hashes():
            problems = _problems(found, each)
            wrong = any(problem.is_wrong for problem in problems)
            content.append(
                {
                    "bundle_hash": hexed(each),
                    "is_wrong": wrong,
                    "problems": [asdict(problem) for problem in problems],
                }
            )
            if not as_json:
                verdict = "WRONG" if wrong else "ok as far as it was looked at" if problems else "ok"
                say(f"{hexed(each)} {verdict}")
                for problem in problems:
                    say(f"    {problem.reason}")
        if as_json:
            print_json(content)
        if any(checked["is_wrong"] for checked in content):
            raise typer.Exit(FOUND_WRONG)


@bundle_app.command("prune")
def prune(
    folder: FolderArgument,
    keep_epochs: Annotated[int, typer.Option(min=2, help="Newest epochs whose restricted files stay.")] = 3,
) -> None:
    """Delete restricted files of all but the newest epochs in a folder. Public files stay."""
    with reported():
        pruned = BundleFolder(folder).prune(keep_epochs)
        say(f"deleted the restricted files of epochs {', '.join(map(str, pruned)) or 'none'}")


def _problems(folder: BundleFolder, wanted: bytes) -> list[Problem]:
    try:
        listed = folder.listed(wanted)
        return [] if listed is None else list(folder.check(listed))
    except InputRejected as error:
        return [Problem("the list", str(error), True)]


def _readers(reading: Reading, settings: Settings) -> dict[bytes, str]:
    """Return to which keys signers want bundles sealed, as they announce it now; the own one among them."""
    access = reading.access
    now_s = time.time()

    answers = reading.peers.ask_all(
        lambda peer: (
            None
            if (announced := peer.bundle_key()) is None
            else announced.check(access.domain_separator, peer.address, now_s)
        )
    )
    readers = {address: recipient for address, recipient in answers.items() if recipient is not None}
    if access.own_address != ZERO_ADDRESS:
        readers[access.own_address] = SealingKey.load_or_make(settings.bundle_key_file).recipient
    return readers
