"""What a report says: the fields that the committee signs, named as in the EIP-712 types.

Values are bytes for `bytes32` and `address`, ints for unsigned integers. Ranges are checked where they are
encoded (`eip712.epoch_report_hash`), so that a report cannot be hashed with a field that would be truncated.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReportLine:
    """One license in one epoch: units counted since it began, and base units drawn by this report."""

    license_id: int
    cumulative_units: int
    charge: int


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What k of n signers sign for one (epoch, attempt). Lines ascend by license id."""

    epoch: int
    attempt: int
    previous_report_hash: bytes
    period_end: int
    cutoff_block: int
    cutoff_block_hash: bytes
    signer_set_version: int
    rule_version: int
    lanes_root: bytes
    lane_count: int
    notes_root: bytes
    notes_total: int
    note_count: int
    reserve_root: bytes
    reserve_total: int
    reserve_count: int
    consent_root: bytes
    roster_hash: bytes
    bundle_hash: bytes
    lines: tuple[ReportLine, ...]
