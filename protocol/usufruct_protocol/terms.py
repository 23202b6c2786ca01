"""What people sign before usage and after payment: license offers, lane registrations, note redirects.

Values are bytes for `bytes32` and `address`, ints for unsigned integers. Ranges are checked where they are
encoded (`eip712`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LicenseOffer:
    """Signed by the steward, accepted by the buyer; immutable afterwards. Prices and fees in base units."""

    steward: bytes
    buyer: bytes
    template_hash: bytes
    document_hash: bytes
    collection_hash: bytes
    token: bytes
    meter_kind: int
    price_per_million_units: int
    upfront_fee: int
    max_charge_per_epoch: int
    usage_bond: int
    contributors_bps: int
    community_bps: int
    steward_bps: int
    platform_bps: int
    operators_bps: int
    milestones_hash: bytes
    royalty_hash: bytes
    starts_at: int
    ends_at: int
    cooling_off_seconds: int
    notice_seconds: int
    nonce: int
    deadline: int


@dataclass(frozen=True, slots=True)
class LaneRegistration:
    """Signed by the lane key itself: the license it meters, from when to when, up to how many units."""

    lane: bytes
    license_id: int
    valid_from: int
    valid_to: int
    unit_cap: int


@dataclass(frozen=True, slots=True)
class NoteRedirect:
    """Signed by the payee of a note: pay exactly this amount to `to`, until the deadline."""

    tree_id: int
    index: int
    payee: bytes
    amount: int
    to: bytes
    deadline: int
