"""Where an audit takes its bundles from: a folder, this node's database, or a peer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from usufruct_protocol.bundle import RESTRICTED_FILES, bundle_hash
from usufruct_protocol.errors import InputRejected, Policy, Transient, UsufructError
from usufruct_protocol.report_types import EpochReport

from usufruct_oracle import epoch_store
from usufruct_oracle.audit import AuditInputs
from usufruct_oracle.chain_client import Chain
from usufruct_oracle.context import Base
from usufruct_oracle.peers import Peers, fetch_bundle
from usufruct_oracle.store import Store
from usufruct_oracle.wire_json import FileEntry, hexed, manifest_from, manifest_json, parse_object

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle as found, and the file list it should match, if there is one."""

    files: Mapping[str, bytes]
    manifest: Mapping[str, FileEntry]


class BundleForgotten(UsufructError):
    """An epoch is too old to be audited from what nodes keep."""

    code = "bundle_forgotten"
    policy = Policy.WAIT_OR_EXIT

    def __init__(self, epoch: int) -> None:
        super().__init__(
            f"could not check: usage lists, rosters and accruals of epoch {epoch} were deleted some epochs "
            "after its dispute window, as on every node; lines, notes and lane heads are still here",
            hint="audit with --bundle from a copy that was exported in time",
        )


class BundleSources:
    """Finds bundles. The store may be missing: any machine with access to a peer can audit."""

    def __init__(self, store: Store | None, peers: Peers) -> None:
        self._store = store
        self._peers = peers

    def holds(self, epoch: int, wanted: bytes) -> bool:
        """Tell whether the database has a bundle whole."""
        return self._stored(epoch, wanted) is not None

    def find(self, epoch: int, wanted: bytes) -> Bundle:
        """Return a bundle from the database, else from a peer. Raises: Transient if nobody has it whole."""
        stored = self._stored(epoch, wanted)
        if stored is not None:
            return stored
        fetched = self._peers.first(lambda peer: fetch_bundle(peer, epoch, wanted))
        if fetched is None and self._is_forgotten(epoch, wanted):
            raise BundleForgotten(epoch)
        if fetched is None:
            raise Transient(
                f"nobody reachable holds the whole bundle of epoch {epoch}, {hexed(wanted)}",
                hint="restricted files are deleted some epochs later; audit from an archive with --bundle",
            )
        return Bundle(fetched, {})

    def _is_forgotten(self, epoch: int, wanted: bytes) -> bool:
        """Tell whether the database held a bundle whole and has deleted its restricted files since."""
        if self._store is None:
            return False
        with self._store.read() as db:
            missing = (
                epoch_store.bundle_entries(db, epoch, wanted).keys()
                - epoch_store.bundle_files(db, epoch, wanted).keys()
            )
        return bool(missing) and missing <= set(RESTRICTED_FILES)

    def _stored(self, epoch: int, wanted: bytes) -> Bundle | None:
        if self._store is None:
            return None
        with self._store.read() as db:
            manifest = epoch_store.bundle_entries(db, epoch, wanted)
            files = epoch_store.bundle_files(db, epoch, wanted)
        return Bundle(files, manifest) if manifest and files.keys() == manifest.keys() else None


def read_folder(folder: Path) -> Bundle:
    """Read a bundle that `write_folder` wrote. Raises: InputRejected if the folder cannot be read."""
    try:
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != MANIFEST}
        manifest_path = folder / MANIFEST
        text = manifest_path.read_text(encoding="utf-8") if manifest_path.exists() else ""
    except OSError as error:
        raise InputRejected(f"bundle folder {folder}: {error.strerror}") from error
    manifest = manifest_from(parse_object(text, str(manifest_path))) if text else {}
    return Bundle(files, manifest)


def write_folder(folder: Path, wanted: bytes, bundle: Bundle) -> None:
    """Write a bundle's files and manifest into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in bundle.files.items():
        (folder / name).write_bytes(body)
    text = json.dumps(manifest_json(wanted, dict(bundle.manifest)), indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def gather(
    chain: Chain, epoch: int, bundle: Bundle | None, sources: BundleSources
) -> tuple[AuditInputs, bytes]:
    """Collect what an audit of an epoch compares; returns it with the report's hash.

    `bundle` is given, or found by the hash that the report on chain commits to.
    Raises: InputRejected if there is no report; Transient if a bundle is nowhere to be had.
    """
    report, report_hash = _posted(chain, epoch)
    found = sources.find(epoch, report.bundle_hash) if bundle is None else bundle
    state = chain.read(report.cutoff_block_hash)
    return AuditInputs(
        report, state, _base(chain, epoch - 1, sources), found.files, found.manifest
    ), report_hash


def _base(chain: Chain, epoch: int, sources: BundleSources) -> Base:
    """Return the state after an epoch from a bundle that hashes to its report on chain."""
    if epoch == 0:
        return Base.genesis()
    report, report_hash = _posted(chain, epoch)
    files = sources.find(epoch, report.bundle_hash).files
    if bundle_hash(files) != report.bundle_hash:
        raise InputRejected(
            f"the bundle of epoch {epoch} at hand is not the one that was signed",
            hint=f"audit epoch {epoch} first",
        )
    return Base.from_bundle(epoch, report_hash, files)


def _posted(chain: Chain, epoch: int) -> tuple[EpochReport, bytes]:
    submitted = chain.submitted(epoch)
    if submitted is None:
        raise InputRejected(f"epoch {epoch} has no report on chain", hint="wait until it is reported")
    return submitted.report, submitted.report_hash
