"""What a report needs to know of the chain, read at one block hash.

Plain data: `usufruct_chain` fills it from a node, an audit from a bundle, a test by hand. The report is
computed from this and nothing else of the chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from usufruct_protocol.money import SplitBps
from usufruct_protocol.receipts import Checkpoint


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

    @property
    def runs_a_trained_model(self) -> bool:
        """Whether units are answers of a model: data went into it earlier, and stays in it."""
        return self in (MeterKind.INFERENCE, MeterKind.TOKENS)


@dataclass(frozen=True, slots=True)
class LicenseState:
    """One license and its escrow account at the cut-off block. Money in base units.

    `income` is all money that ever reached the splitter for it other than by charges: upfront fee,
    milestones, declared royalties. It is split by the same basis points, on its own cumulative total.
    """

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
    income: int = 0


@dataclass(frozen=True, slots=True)
class LaneState:
    """One registered lane: a gateway key bound to a license, with its validity in ms and its unit cap.

    `anchor` is the highest checkpoint of the lane that was posted on chain by the period's end;
    `revoked_at_s` is when a proof against its key revoked it, 0 if none did.
    """

    number: int
    lane: bytes
    license_id: int
    valid_from_ms: int
    valid_to_ms: int
    unit_cap: int
    anchor: Checkpoint | None = None
    revoked_at_s: int = 0

    def keeps_anchor(self, head: Checkpoint | None) -> bool:
        """Tell whether a report may count this lane through `head`: no less than what was anchored.

        A head of fewer receipts but more units contradicts the anchor: the lane signed both, which is proof
        of two histories, and the anchor binds nobody.
        """
        if self.anchor is None:
            return True
        if head is None:
            return False
        return head.count >= self.anchor.count or head.cumulative_units > self.anchor.cumulative_units


@dataclass(frozen=True, slots=True)
class ChainState:
    """Everything the report reads from the chain at the cut-off block.

    `licenses` ascend by id, `lanes` by number (0 … n−1); `signers` is the table of `signer_set_version`, the
    one that governs `epoch`. `reserve_first`: that version may report only after the last report's reserve
    was issued; `reserve_issued_epoch` is the epoch of the report whose reserve was issued last, 0 if none
    ever was. `pool` is as it was read, with the last reserve in it or not.
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
    reserve_first: bool = False
    reserve_issued_epoch: int = 0

    @property
    def is_reserve_issued(self) -> bool:
        """Whether the last report's reserve had been issued at the cut-off."""
        return 0 < self.reserve_issued_epoch == self.epoch - 1

    @property
    def starts_after_reserve(self) -> bool:
        """Whether this epoch starts from what the last report's reserve leaves.

        Where the committee's version demands it, a report is the same whether somebody issued the reserve
        before the cut-off or only after it.
        """
        return self.reserve_first or self.is_reserve_issued

    @property
    def period_start_s(self) -> int:
        """Start of the period this epoch reports, in seconds of chain time."""
        return self.previous_period_end_s

    @property
    def period_end_s(self) -> int:
        """End of the period this epoch reports, in seconds of chain time."""
        return self.previous_period_end_s + self.epoch_seconds
