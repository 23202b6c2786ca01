"""What a deployment has begun, in a file until it is done: a run that was killed is continued by the next.

Nonces make this enough: each creation belongs to one nonce of the deployer, so the chain itself tells which
of them happened, and none can happen twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from usufruct_protocol.errors import ConfigInvalid

from usufruct_chain.deploy_config import DeployConfig


@dataclass(frozen=True, slots=True)
class Beginning:
    """What cannot change between the runs of one deployment.

    `first_nonce` is the deployer's when it began, `first_block` the newest block then; `config` is what
    `described` makes of it, `code_hash` the hash of all creation code.
    """

    chain_id: int
    genesis_block_hash: str
    deployer: str
    first_nonce: int
    first_block: int
    config: dict[str, Any]
    code_hash: str


class Journal:
    """The state file of one deployment; without a path it remembers nothing.

    Raises: ConfigInvalid when the file is another deployment's or cannot be read or written.
    """

    def __init__(self, path: Path | None, now: Beginning) -> None:
        self._path = path
        self.resumed = path is not None and path.exists()
        self.beginning = _continued(path, now) if path is not None and self.resumed else now

    def about_to(self, step: str) -> None:
        """Write down which step comes next, durably, before anything of it is sent."""
        if self._path is None:
            return
        content = {"unfinished_deployment": asdict(self.beginning), "about_to": step}
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            with draft.open("w", encoding="utf-8") as file:
                file.write(json.dumps(content, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise ConfigInvalid(f"cannot write the state file {self._path}: {error.strerror}") from error


def described(config: DeployConfig) -> dict[str, Any]:
    """A config as JSON keeps it."""
    content: dict[str, Any] = json.loads(json.dumps(asdict(config), default=bytes.hex))
    return content


def _continued(path: Path, now: Beginning) -> Beginning:
    """The beginning that the file tells of, once it is sure that this run continues it."""
    try:
        then = Beginning(**json.loads(path.read_text(encoding="utf-8"))["unfinished_deployment"])
    except OSError as error:
        raise ConfigInvalid(f"cannot read the state file {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigInvalid(f"{path} is no state file of a deployment: {error!r}") from error
    same = replace(now, first_nonce=then.first_nonce, first_block=then.first_block)
    differences = _differences(asdict(then), asdict(same))
    if differences:
        raise ConfigInvalid(
            f"{path} is of another deployment: {'; '.join(differences)}",
            hint="name another --out to deploy anew; the contracts of the unfinished one stay unused",
        )
    return then


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = []
    for name in sorted(then.keys() | now.keys()):
        old, new = then.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{name}.{text}" for text in _differences(old, new)]
        elif old != new:
            found.append(f"{name} was {old!r}, is {new!r}")
    return found
