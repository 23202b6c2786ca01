"""What a person let pass: one small file per epoch, written by a command and read by the running node.

A file, because a node's database has one writer. Who may change the node's settings may approve.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from usufruct_protocol.errors import ConfigInvalid

from usufruct_oracle.guards.concerns import Concern, Guard

_MAX_BYTES: Final = 1024 * 1024


class Approvals:
    """The approvals of one node, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, epoch: int) -> Path:
        """Return the file of an epoch."""
        return self._folder / f"epoch-{epoch}.json"

    def covers(self, epoch: int, concern: Concern) -> bool:
        """Tell whether a person approved this, at this size or nearly.

        Raises: ConfigInvalid if the file cannot be read as one.
        """
        if not concern.guard.is_approvable:
            return False
        approved = self._approved(epoch).get(concern.key)
        return approved is not None and concern.is_covered_by(replace(concern, value=approved))

    def approve(self, epoch: int, concerns: Iterable[Concern]) -> Path:
        """Add to what is approved for an epoch; on disk when this returns. Raises: ConfigInvalid."""
        approved = self._approved(epoch)
        for concern in concerns:
            approved[concern.key] = max(approved.get(concern.key, 0), concern.value)
        content = {
            "epoch": epoch,
            "approved": [
                {"guard": guard, "subject": subject, "value": str(value)}
                for (guard, subject), value in sorted(approved.items())
            ],
        }
        path = self.path(epoch)
        try:
            if not self._folder.exists():
                self._folder.mkdir(parents=True)
                self._folder.chmod(0o755)
            _replace(path, json.dumps(content, indent=2).encode("utf-8") + b"\n")
        except OSError as error:
            raise ConfigInvalid(f"{path}: {error.strerror}", hint="may this user write there?") from error
        return path

    def _approved(self, epoch: int) -> dict[tuple[Guard, str], int]:
        path = self.path(epoch)
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_BYTES)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigInvalid(
                f"{path}: {error.strerror}", hint="the node must be able to read it"
            ) from error
        try:
            return _parsed(json.loads(content), epoch)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ConfigInvalid(
                f"{path}: not an approval of epoch {epoch}", hint="remove it, approve again"
            ) from error


def _parsed(content: Any, epoch: int) -> dict[tuple[Guard, str], int]:
    if content["epoch"] != epoch:
        raise ValueError(content["epoch"])
    return {(Guard(item["guard"]), str(item["subject"])): int(item["value"]) for item in content["approved"]}


def _replace(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all. Everybody may read it: the node may be another user."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
