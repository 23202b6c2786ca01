"""What a report needs to know of the chain, read at one block hash.

Plain data: `usufruct_chain` fills it from a node, an audit from a bundle, a test by hand. The report is
computed from this and nothing else of the chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from usufruct_protocol.money import SplitBps


class MeterKind(IntEnum):
    """What one unit of a license is; the numbers are those of contracts/types/License.sol."""

    INFERENCE = 0
    TOKENS = 1
    FINE_TUNE = 2
    TRAINING = 3
    EMBEDDING = 4
    RETRIEVAL = 5

    @property
    def pays_by_use(self) -> bool:
        """Whether the contributors' part follows the records each call used, not the roster's weights."""
        return self in (MeterKind.RETRIEVAL, MeterKind.EMBEDDING)


@dataclass(frozen=True, slots=True)
class LicenseState:
    """One license and its escrow account at the cut-off block. Money in base units."""

    license_id: int
    meter_kind: MeterKind
    price_per_million_units: int
    max_charge_per_epoch: int
    split_bps: SplitBps
    collection_hash: bytes
    roster_root: bytes
    available: int
    charged: int
    cumulative_units: int


@dataclass(frozen=True, slots=True)
class LaneState:
    """One registered lane: a gateway key bound to a license, with its validity in ms and its unit cap."""

    number: int
    lane: bytes
    license_id: int
    valid_from_ms: int
    valid_to_ms: int
    unit_cap: int


@dataclass(frozen=True, slots=True)
class ChainState:
    """Everything the report reads from the chain at the cut-off block.

    `licenses` ascend by id, `lanes` by number (0 … n−1); `signers` is the table of `signer_set_version`, the
    one that governs `epoch`.
    """

    chain_id: int
    settlement: bytes
    epoch: int
    previous_report_hash: bytes
    previous_period_end_s: int
    epoch_seconds: int
    cutoff_block: int
    cutoff_block_hash: bytes
    cutoff_time_s: int
    next_attempt: int
    signer_set_version: int
    signers: tuple[bytes, ...]
    pool: int
    note_minimum: int
    custodian: bytes
    consent_root: bytes
    licenses: tuple[LicenseState, ...]
    lanes: tuple[LaneState, ...]

    @property
    def period_end_s(self) -> int:
        """End of the period this epoch reports, in seconds of chain time."""
        return self.previous_period_end_s + self.epoch_seconds
