"""Making a lane: a key, an empty spool, and the lane file that names them. The lane file comes last.

The key then has to be registered: the buyer sends `registerLane` with the registration that the key signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from usufruct_protocol.eip712 import (
    DOMAIN_VERSION,
    LICENSES_DOMAIN_NAME,
    domain_separator,
    lane_registration_hash,
    typed_digest,
)
from usufruct_protocol.receipts import MAX_CUMULATIVE_UNITS
from usufruct_protocol.signing import checksum_address
from usufruct_protocol.terms import LaneRegistration

from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.lane_key import LaneKey, new_private_key, read_key_file, write_key_file
from usufruct_meter.lanes.spool import LaneIdentity, Spool

FOREVER_MS: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOptions:
    """What a new lane is for. Times as in the registration: [valid_from_ms, valid_to_ms)."""

    license_id: int
    chain_id: int
    settlement: bytes
    genesis_s: int
    epoch_seconds: int
    nodes: Sequence[str] = ()
    valid_from_ms: int = 0
    valid_to_ms: int = FOREVER_MS
    unit_cap: int = MAX_CUMULATIVE_UNITS


def create_lane(
    folder: Path | str,
    options: LaneOptions,
    *,
    name: str | None = None,
    private_key: bytes | None = None,
    lane_file: Path | None = None,
    idempotency: Path | None = None,
) -> LaneFile:
    """Make `<name>.json`, `<name>.key` and `<name>.spool` in a folder, and return the lane file.

    Lanes of one license in one folder share the index `license-<id>.responses`, unless another is named.
    Without a name the lane is called by its address; its lane file may have a path of its own. A private key
    is drawn unless one is given (derived from a seed, or for a replay that must repeat).
    Raises: ConfigInvalid if a value is out of range or a file exists; nothing is overwritten.
    """
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    key_bytes = private_key or new_private_key()
    lane = LaneKey(key_bytes).address
    name = name or f"lane-{lane.hex()[:12]}"
    file = LaneFile(
        path=lane_file or folder / f"{name}.json",
        lane=lane,
        license_id=options.license_id,
        chain_id=options.chain_id,
        settlement=options.settlement,
        key_file=folder / f"{name}.key",
        spool=folder / f"{name}.spool",
        idempotency=idempotency or folder / f"license-{options.license_id}.responses",
        nodes=tuple(url.rstrip("/") for url in options.nodes),
        genesis_s=options.genesis_s,
        epoch_seconds=options.epoch_seconds,
        valid_from_ms=options.valid_from_ms,
        valid_to_ms=options.valid_to_ms,
        unit_cap=options.unit_cap,
    )
    file.check()
    write_key_file(file.key_file, key_bytes)
    Spool.create(file.spool, LaneIdentity(file.lane, file.chain_id, file.settlement))
    file.save_new()
    return file


def sign_registration(file: LaneFile, registry: bytes) -> tuple[LaneRegistration, bytes]:
    """Return the registration of a lane and its key's signature, for `LicenseRegistry.registerLane`.

    Raises: ConfigInvalid if the key file cannot be used.
    """
    registration = LaneRegistration(
        file.lane, file.license_id, file.valid_from_ms, file.valid_to_ms, file.unit_cap
    )
    domain = domain_separator(LICENSES_DOMAIN_NAME, DOMAIN_VERSION, file.chain_id, registry)
    digest = typed_digest(domain, lane_registration_hash(registration))
    return registration, read_key_file(file.key_file).sign(digest)


def describe_registration(registration: LaneRegistration, signature: bytes) -> dict[str, object]:
    """Return the arguments of `registerLane` as JSON: large integers as strings."""
    return {
        "lane": checksum_address(registration.lane),
        "licenseId": registration.license_id,
        "validFrom": str(registration.valid_from),
        "validTo": str(registration.valid_to),
        "unitCap": str(registration.unit_cap),
        "laneSignature": "0x" + signature.hex(),
    }
