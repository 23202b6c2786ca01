"""What each shipped artifact was compiled from, so that only what has changed is compiled again.

`contracts/artifacts.lock` says for every source which files the compiler read, one digest of them together
with compiler and settings, and the digest of each artifact that came out. A source is up to date when all of
it still holds; whatever else happened to a source or an artifact, it is compiled anew. The lock saves time
and proves nothing by itself: `make nightly` compiles everything.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LOCK = Path("contracts") / "artifacts.lock"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one source.

    reads:     every file that the compiler read for it, itself among them, as paths from the root
    inputs:    SHA-256 of compiler version, settings and those files
    artifacts: SHA-256 of each artifact by its path below the artifacts folder
    """

    reads: list[str]
    inputs: str
    artifacts: dict[str, str]

    def is_current(self, root: Path, artifacts: Path, compiler: dict[str, Any]) -> bool:
        """Tell whether inputs and outputs are what they were when the source was compiled."""
        try:
            return self.inputs == digest_of_inputs(root, self.reads, compiler) and all(
                digest == digest_of((root / artifacts / path).read_bytes())
                for path, digest in self.artifacts.items()
            )
        except FileNotFoundError:
            return False


def entry(root: Path, reads: list[str], compiler: dict[str, Any], artifacts: dict[Path, bytes]) -> Entry:
    """Make the entry of a source that was just compiled."""
    digests = {path.as_posix(): digest_of(content) for path, content in sorted(artifacts.items())}
    return Entry(sorted(reads), digest_of_inputs(root, sorted(reads), compiler), digests)


def digest_of_inputs(root: Path, reads: list[str], compiler: dict[str, Any]) -> str:
    """SHA-256 over compiler and files. Raises: FileNotFoundError."""
    files = {path: digest_of((root / path).read_bytes()) for path in reads}
    return digest_of(json.dumps([compiler, files], sort_keys=True).encode("ascii"))


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_lock(root: Path) -> dict[str, Entry]:
    """Read the lock: an entry by source; nothing where there is none."""
    path = root / LOCK
    if not path.exists():
        return {}
    return {source: Entry(**content) for source, content in json.loads(path.read_bytes()).items()}


def lock_text(entries: dict[str, Entry]) -> bytes:
    """The bytes of a lock file: the same for the same entries."""
    content = {source: asdict(each) for source, each in entries.items()}
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode("ascii")
