"""Where the compiled contracts of the tests come from."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "protocol" / "usufruct_chain" / "artifacts"


@dataclass(frozen=True)
class Artifact:
    """One compiled contract."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes


@cache
def load_artifact(name: str) -> Artifact:
    """Return the artifact of a contract, a test token or a harness.

    USUFRUCT_TEST_ARTIFACTS names a folder that is asked first: mutated contracts are tested that way.
    """
    override = os.environ.get("USUFRUCT_TEST_ARTIFACTS")
    folders = ([Path(override)] if override else []) + [SHIPPED, SHIPPED / "test"]
    for folder in folders:
        path = folder / f"{name}.json"
        if path.is_file():
            loaded = json.loads(path.read_text())
            return Artifact(name, loaded["abi"], bytes.fromhex(loaded["bytecode"].removeprefix("0x")))
    raise FileNotFoundError(f"no artifact of {name} in {', '.join(map(str, folders))}; run `make artifacts`")
