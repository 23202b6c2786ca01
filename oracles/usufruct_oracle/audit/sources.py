"""Where an audit takes its bundles from: a folder, this node's database, or a peer."""

from __future__ import annotations

from dataclasses import dataclass

from usufruct_protocol.bundle import RESTRICTED_FILES, bundle_hash
from usufruct_protocol.errors import InputRejected, Policy, Transient, UsufructError
from usufruct_protocol.report import check_rule_version
from usufruct_protocol.report_types import EpochReport

from usufruct_oracle.audit.rebuild import AuditInputs, Difference, altered_file, first_difference
from usufruct_oracle.bundles.folder import Bundle, BundleFolder
from usufruct_oracle.chain.client import Chain
from usufruct_oracle.context import Base
from usufruct_oracle.peers.client import Peers, fetch_bundle
from usufruct_oracle.storage import epoch_store
from usufruct_oracle.storage.store import Store
from usufruct_oracle.wire_json import hexed


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an audit of an epoch came to; without a difference the report matches."""

    report: EpochReport
    report_hash: bytes
    difference: Difference | None


class BundleForgotten(UsufructError):
    """An epoch is too old to be audited from what nodes keep."""

    code = "bundle_forgotten"
    policy = Policy.WAIT_OR_EXIT

    def __init__(self, epoch: int) -> None:
        super().__init__(
            f"usage lists, rosters and accruals of epoch {epoch} were deleted some epochs after its dispute "
            "window, as on every node; lines, notes and lane heads are still here",
            hint="audit with --bundle from a folder that it was exported to in time",
        )


class BundleSources:
    """Finds bundles: in a folder, else the database, else at a peer. Any of them may be missing."""

    def __init__(
        self, store: Store | None = None, peers: Peers | None = None, folder: BundleFolder | None = None
    ) -> None:
        self._store = store
        self._peers = peers
        self._folder = folder

    def holds(self, epoch: int, wanted: bytes) -> bool:
        """Tell whether the database has a bundle whole."""
        return self._stored(epoch, wanted) is not None

    def find(self, epoch: int, wanted: bytes) -> Bundle:
        """Return a bundle, as found in a folder, checked against its hash from elsewhere.

        Raises: Transient if nobody has it whole; BundleForgotten; the errors of a folder.
        """
        found = None if self._folder is None else self._folder.find(wanted)
        found = found or self._stored(epoch, wanted)
        if found is not None:
            return found
        fetched = (
            None if self._peers is None else self._peers.first(lambda peer: fetch_bundle(peer, epoch, wanted))
        )
        if fetched is not None:
            return Bundle(*fetched)
        if self._is_forgotten(epoch, wanted):
            raise BundleForgotten(epoch)
        raise Transient(
            f"nobody reachable holds the whole bundle of epoch {epoch}, {hexed(wanted)}",
            hint="restricted files are deleted some epochs later; audit an exported copy: --bundle",
        )

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


def examine(chain: Chain, epoch: int, sources: BundleSources) -> Verdict:
    """Audit an epoch: find its bundle and the one before, compute the report again, compare.

    Raises: InputRejected if there is no report; Incompatible if it follows other rules than are known here;
    Transient if a bundle is nowhere to be had; as `BundleSources.find`.
    """
    report, report_hash = _posted(chain, epoch)
    check_rule_version(report)
    found = sources.find(epoch, report.bundle_hash)
    # First, because the epoch before may have the same file: then this one could not be checked.
    difference = altered_file(report, found.files, found.manifest)
    if difference is None:
        state = chain.read(report.cutoff_block_hash)
        base = _base(chain, epoch - 1, sources)
        difference = first_difference(AuditInputs(report, state, base, found.files, found.manifest))
    return Verdict(report, report_hash, difference)


def _base(chain: Chain, epoch: int, sources: BundleSources) -> Base:
    """Return the state after an epoch from a bundle that hashes to its report on chain."""
    if epoch == 0:
        return Base.genesis()
    report, report_hash = _posted(chain, epoch)
    check_rule_version(report)
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
