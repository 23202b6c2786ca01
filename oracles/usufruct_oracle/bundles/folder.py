"""Bundles as plain files named by hash, for disks, object storage and web servers.

    bundles/<bundle hash>.json         what belongs to a bundle: names, digests, sizes
    files/<sha256>                     public files, shared between bundles
    sealed/<bundle hash>/<name>.age    restricted files, encrypted to the committee; go when they are old

Nothing in a folder is believed: a bundle is what hashes to the bundle hash that a report on chain commits to.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from usufruct_protocol.bundle import PUBLIC_FILES, RESTRICTED_FILES, manifest_hash
from usufruct_protocol.errors import Incompatible, InputRejected, Policy, Transient, UsufructError

from usufruct_oracle.bundles.sealing import NotOpened, SealingKey, seal, sealed_size
from usufruct_oracle.wire_json import Fields, FileEntry, hexed, manifest_from, manifest_json, parse_object

FORMAT: Final = 1
_MAX_MANIFEST_BYTES: Final = 1024 * 1024
_NAMES: Final = (*PUBLIC_FILES, *RESTRICTED_FILES)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle as found, and the file list it should match, if there is one."""

    files: Mapping[str, bytes]
    manifest: Mapping[str, FileEntry]


class BundleUnreadable(UsufructError):
    """A bundle is there in part, and the rest is deleted, sealed to others, or (`is_damage`) spoiled."""

    code = "bundle_unreadable"
    policy = Policy.WAIT_OR_EXIT

    def __init__(self, message: str, *, hint: str = "", is_damage: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.is_damage = is_damage


@dataclass(frozen=True, slots=True)
class Listed:
    """What a folder says about one bundle. `recipients` are the keys that restricted files are sealed to."""

    epoch: int
    bundle_hash: bytes
    entries: Mapping[str, FileEntry]
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps a file from being good; not `is_wrong`: from being looked at."""

    name: str
    reason: str
    is_wrong: bool


class BundleFolder:
    """A folder of bundles. Any number of processes may read and add to it at once.

    key: opens restricted files; without one only what is public can be read
    """

    def __init__(self, root: Path, key: SealingKey | None = None) -> None:
        self.root = root
        self._key = key

    def add(self, epoch: int, bundle_hash: bytes, bundle: Bundle, recipients: Collection[str]) -> None:
        """Write a bundle that was checked against its hash; what is there already is not written again.

        recipients: age1… keys that restricted files are sealed to; none leaves those files out
        Raises: Transient if the disk refuses.
        """
        for name in PUBLIC_FILES:
            body = bundle.files[name]
            path = self._public(hashlib.sha256(body).digest())
            if _read(path, len(body)) != body:
                _write(path, body)
        if recipients:
            for name in RESTRICTED_FILES:
                sealed = seal(bundle.files[name], recipients)
                _write(self._sealed(bundle_hash) / f"{name}.age", sealed)
        content = {
            "format": FORMAT,
            "epoch": epoch,
            **manifest_json(bundle_hash, dict(bundle.manifest)),
            "sealed_to": sorted(recipients),
        }
        # Last, so that what is listed is there.
        _write(self._manifest(bundle_hash), json.dumps(content, indent=2).encode("ascii") + b"\n")

    def listed(self, bundle_hash: bytes) -> Listed | None:
        """Return what the folder says about a bundle; its file list hashes to the bundle hash.

        Raises: InputRejected for a list that does not, Incompatible for one of another format.
        """
        path = self._manifest(bundle_hash)
        body = _read(path, _MAX_MANIFEST_BYTES)
        if body is None:
            return None
        content = parse_object(body, str(path))
        found = content.uint("format", 32)
        if found != FORMAT:
            raise Incompatible(
                f"{path} has format {found}, this program reads {FORMAT}",
                hint="use the release that wrote it",
            )
        entries = manifest_from(content)
        if entries.keys() != set(_NAMES):
            raise InputRejected(f"{path}: lists {', '.join(sorted(entries))}, not the files of a bundle")
        if (
            manifest_hash({name: (entry.sha256, entry.size) for name, entry in entries.items()})
            != bundle_hash
        ):
            raise InputRejected(f"{path}: damaged, not the file list of this bundle", hint="fetch it again")
        recipients = tuple(str(text) for text in content.sequence("sealed_to"))
        return Listed(content.uint("epoch", 48), bundle_hash, entries, recipients)

    def hashes(self) -> list[bytes]:
        """Return the hash of every bundle that is listed. Raises: InputRejected for a name that is none."""
        return [_bundle_hash(path.stem) for path in sorted((self.root / "bundles").glob("0x*.json"))]

    def all(self) -> Iterator[Listed]:
        """Return every bundle in the folder, oldest epoch first. Raises: as `listed`."""
        found = [self.listed(bundle_hash) for bundle_hash in self.hashes()]
        yield from sorted((each for each in found if each is not None), key=lambda each: each.epoch)

    def find(self, bundle_hash: bytes) -> Bundle | None:
        """Return a whole bundle, or None if it is not listed. Its files are as found: not checked.

        Raises: BundleUnreadable if a file is missing, or restricted and not to be opened; as `listed`.
        """
        listed = self.listed(bundle_hash)
        if listed is None:
            return None
        return Bundle({name: self._body(listed, name) for name in _NAMES}, listed.entries)

    def prune(self, keep_epochs: int) -> list[int]:
        """Delete the restricted files of all but the newest epochs; returns whose went. The rest stays."""
        listed = list(self.all())
        oldest_kept = max((each.epoch for each in listed), default=0) - keep_epochs + 1
        pruned = []
        for each in listed:
            folder = self._sealed(each.bundle_hash)
            if each.epoch < oldest_kept and folder.exists():
                shutil.rmtree(folder)
                pruned.append(each.epoch)
        return pruned

    def check(self, listed: Listed) -> Iterator[Problem]:
        """Compare each file of a bundle with its list; yields nothing for a good file."""
        for name, entry in listed.entries.items():
            try:
                body = self._body(listed, name)
            except BundleUnreadable as error:
                yield Problem(name, str(error), error.is_damage)
                continue
            digest = hashlib.sha256(body).digest()
            if FileEntry(digest, len(body)) != entry:
                wrong = f"expected sha256 {entry.sha256.hex()}, found {digest.hex()}"
                yield Problem(name, f"{name} of epoch {listed.epoch}: {wrong}", True)

    def _body(self, listed: Listed, name: str) -> bytes:
        entry = listed.entries[name]
        where = f"{name} of epoch {listed.epoch}"
        if name in PUBLIC_FILES:
            path = self._public(entry.sha256)
            body = _read(path, entry.size)
            if body is None:
                raise BundleUnreadable(f"{where}: no file {path}", is_damage=True)
            return body
        path = self._sealed(listed.bundle_hash) / f"{name}.age"
        sealed = _read(path, sealed_size(entry.size, len(listed.recipients)))
        if sealed is None:
            hint = "restricted files are kept some epochs only"
            raise BundleUnreadable(f"{where} was deleted, or never here", hint=hint)
        if self._key is None:
            raise BundleUnreadable(f"{where} is sealed", hint="name a key that opens it: --bundle-key")
        try:
            return self._key.open(sealed, str(path))
        except NotOpened as error:
            is_damage = self._key.recipient in listed.recipients
            reason = "damaged" if is_damage else f"sealed to {len(listed.recipients)} keys, not to this one"
            raise BundleUnreadable(f"{where} is {reason}", is_damage=is_damage) from error

    def _manifest(self, bundle_hash: bytes) -> Path:
        return self.root / "bundles" / f"{hexed(bundle_hash)}.json"

    def _public(self, digest: bytes) -> Path:
        return self.root / "files" / digest.hex()

    def _sealed(self, bundle_hash: bytes) -> Path:
        return self.root / "sealed" / hexed(bundle_hash)


def _read(path: Path, max_bytes: int) -> bytes | None:
    """Return a file's content, None if there is none; one byte more than `max_bytes` at most is read."""
    try:
        with path.open("rb") as file:
            return file.read(max_bytes + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputRejected(f"{path}: {error.strerror}") from error


def _write(path: Path, body: bytes) -> None:
    """Write a file whole, or not at all; on disk when this returns."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            try:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o644)
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Transient(f"{path}: {error.strerror}", hint="check free space and permissions") from error


def _bundle_hash(name: str) -> bytes:
    return Fields({"bundle_hash": name}, "name of a bundle's list").data("bundle_hash", 32)
