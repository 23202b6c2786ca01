"""What a license costs besides its use, as its parties sign and compute it: milestones, royalty, credits.

An offer carries milestones and royalty as hashes; what these stand for is agreed beside it and shown to the
contract later. Amounts are base units, times seconds. Source: docs/spec.md section 10; LicenseFees.sol,
CreditLedger.sol.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from usufruct_protocol.eip712 import (
    DOMAIN_VERSION,
    address_word,
    check_bytes,
    domain_separator,
    type_hash,
    uint_word,
)
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.merkle import padded_root, padded_siblings
from usufruct_protocol.money import BPS, check_uint, mul_div_up

FEES_DOMAIN_NAME: Final = "Usufruct Fees"
CREDITS_DOMAIN_NAME: Final = "Usufruct Credits"

MILESTONE_REACHED_TYPE: Final = "MilestoneReached(uint32 licenseId,uint8 index,bytes32 evidenceHash)"
REVENUE_STATEMENT_TYPE: Final = (
    "RevenueStatement(uint32 licenseId,uint32 period,uint96 revenue,bytes32 documentHash)"
)
AUDIT_CORRECTION_TYPE: Final = (
    "AuditCorrection(uint32 licenseId,uint32 period,uint96 revenue,uint32 revision,bytes32 findingHash)"
)
REDEMPTION_RECEIPT_TYPE: Final = (
    "RedemptionReceipt(uint64 redemptionId,uint64 grantId,address holder,uint96 amount,bytes32 requestHash,"
    "bytes32 documentHash)"
)
MILESTONE_REACHED_TYPE_HASH: Final = type_hash(MILESTONE_REACHED_TYPE)
REVENUE_STATEMENT_TYPE_HASH: Final = type_hash(REVENUE_STATEMENT_TYPE)
AUDIT_CORRECTION_TYPE_HASH: Final = type_hash(AUDIT_CORRECTION_TYPE)
REDEMPTION_RECEIPT_TYPE_HASH: Final = type_hash(REDEMPTION_RECEIPT_TYPE)

MAX_MILESTONES: Final = 255
MIN_ROYALTY_PERIOD_SECONDS: Final = 86_400
_CREDIT_TAG: Final = b"\x08"


def fees_domain(chain_id: int, contract: bytes) -> bytes:
    """Return the domain separator under which milestones, statements and corrections are signed."""
    return domain_separator(FEES_DOMAIN_NAME, DOMAIN_VERSION, chain_id, contract)


def credits_domain(chain_id: int, contract: bytes) -> bytes:
    """Return the domain separator under which redemption receipts are signed."""
    return domain_separator(CREDITS_DOMAIN_NAME, DOMAIN_VERSION, chain_id, contract)


# -- milestones ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Milestone:
    """A payment for something that attesters can see, if they do so by the deadline."""

    amount: int
    deadline_s: int
    description_hash: bytes

    def __post_init__(self) -> None:
        if check_uint(self.amount, 96, "milestone amount") == 0:
            raise InputRejected("a milestone of amount 0 can never be opened")
        check_uint(self.deadline_s, 48, "milestone deadline")
        check_bytes(self.description_hash, 32, "milestone description")


@dataclass(frozen=True, slots=True)
class MilestoneTerms:
    """What an offer's `milestones_hash` stands for. Raises: InputRejected for what no contract would open."""

    milestones: tuple[Milestone, ...]
    attesters: tuple[bytes, ...]
    quorum: int

    def __post_init__(self) -> None:
        if not 0 < len(self.milestones) <= MAX_MILESTONES:
            raise InputRejected(f"1 to {MAX_MILESTONES} milestones, got {len(self.milestones)}")
        for attester in self.attesters:
            check_bytes(attester, 20, "attester")
        if any(a >= b for a, b in pairwise((bytes(20), *self.attesters))):
            raise InputRejected("attesters must ascend without repeats, and none is the zero address")
        if not 0 < self.quorum <= len(self.attesters):
            raise InputRejected(f"quorum {self.quorum} of {len(self.attesters)} attesters")

    def hash(self) -> bytes:
        """Return keccak256(abi.encode(milestones, attesters, quorum))."""
        milestones = uint_word(len(self.milestones), 256, "count") + b"".join(
            uint_word(one.amount, 96, "amount")
            + uint_word(one.deadline_s, 48, "deadline")
            + one.description_hash
            for one in self.milestones
        )
        attesters = uint_word(len(self.attesters), 256, "count") + b"".join(
            address_word(attester, "attester") for attester in self.attesters
        )
        head = (
            uint_word(96, 256, "offset of milestones")
            + uint_word(96 + len(milestones), 256, "offset of attesters")
            + uint_word(self.quorum, 8, "quorum")
        )
        return keccak256(head + milestones + attesters)


@dataclass(frozen=True, slots=True)
class MilestoneReached:
    """Signed by an attester: this milestone of this license was reached, and this is the evidence."""

    license_id: int
    index: int
    evidence_hash: bytes

    def struct_hash(self) -> bytes:
        """Return the EIP-712 struct hash. Raises: InputRejected for a field out of range."""
        return keccak256(
            MILESTONE_REACHED_TYPE_HASH
            + uint_word(self.license_id, 32, "licenseId")
            + uint_word(self.index, 8, "index")
            + check_bytes(self.evidence_hash, 32, "evidenceHash")
        )


# -- royalty -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RoyaltyTerms:
    """What an offer's `royalty_hash` stands for. Raises: InputRejected for what no contract would open."""

    revenue_bps: int
    first_period_end_s: int
    period_seconds: int
    grace_seconds: int
    late_penalty_bps: int
    auditor: bytes

    def __post_init__(self) -> None:
        if not 0 < check_uint(self.revenue_bps, 16, "revenue_bps") <= BPS:
            raise InputRejected(f"revenue_bps must be in 1 … {BPS}, got {self.revenue_bps}")
        check_uint(self.first_period_end_s, 48, "first_period_end_s")
        if check_uint(self.period_seconds, 32, "period_seconds") < MIN_ROYALTY_PERIOD_SECONDS:
            raise InputRejected(f"a period is a day or more, got {self.period_seconds} s")
        check_uint(self.grace_seconds, 32, "grace_seconds")
        check_uint(self.late_penalty_bps, 16, "late_penalty_bps")
        check_bytes(self.auditor, 20, "auditor")

    def hash(self) -> bytes:
        """Return keccak256(abi.encode(terms))."""
        return keccak256(
            uint_word(self.revenue_bps, 16, "revenueBps")
            + uint_word(self.first_period_end_s, 48, "firstPeriodEnd")
            + uint_word(self.period_seconds, 32, "periodSeconds")
            + uint_word(self.grace_seconds, 32, "graceSeconds")
            + uint_word(self.late_penalty_bps, 16, "latePenaltyBps")
            + address_word(self.auditor, "auditor")
        )

    def period_end_s(self, period: int) -> int:
        """Return when a period ends."""
        return self.first_period_end_s + period * self.period_seconds

    def payable_until_s(self, period: int) -> int:
        """Return the last second in which a period's royalty can be paid without penalty."""
        return self.period_end_s(period) + self.grace_seconds

    def period_count(self, license_ends_at_s: int) -> int:
        """Return how many periods a license has: those that begin before it ends. Period 0 always does."""
        beyond_first = max(0, license_ends_at_s - self.first_period_end_s)
        return 1 + -(-beyond_first // self.period_seconds)

    def royalty(self, revenue: int) -> int:
        """Return the royalty on a period's revenue, in base units, rounded up. Raises: InputRejected."""
        return mul_div_up(check_uint(revenue, 96, "revenue"), self.revenue_bps, BPS)

    def penalty(self, period: int, royalty: int, at_s: int) -> int:
        """Return what paying this much royalty of a period costs on top at that time, rounded up.

        The late penalty per started period of lateness, never more than what is paid itself.
        """
        late_s = max(0, at_s - self.payable_until_s(period))
        periods_late = -(-late_s // self.period_seconds)
        return mul_div_up(royalty, min(BPS, periods_late * self.late_penalty_bps), BPS)


@dataclass(frozen=True, slots=True)
class RevenueStatement:
    """Signed by the buyer: the revenue of one period, and the hash of the statement's document."""

    license_id: int
    period: int
    revenue: int
    document_hash: bytes

    def struct_hash(self) -> bytes:
        """Return the EIP-712 struct hash. Raises: InputRejected for a field out of range."""
        return keccak256(
            REVENUE_STATEMENT_TYPE_HASH
            + uint_word(self.license_id, 32, "licenseId")
            + uint_word(self.period, 32, "period")
            + uint_word(self.revenue, 96, "revenue")
            + check_bytes(self.document_hash, 32, "documentHash")
        )


@dataclass(frozen=True, slots=True)
class AuditCorrection:
    """Signed by the auditor: the revenue found for one period. A later revision replaces an earlier one."""

    license_id: int
    period: int
    revenue: int
    revision: int
    finding_hash: bytes

    def struct_hash(self) -> bytes:
        """Return the EIP-712 struct hash. Raises: InputRejected for a field out of range."""
        return keccak256(
            AUDIT_CORRECTION_TYPE_HASH
            + uint_word(self.license_id, 32, "licenseId")
            + uint_word(self.period, 32, "period")
            + uint_word(self.revenue, 96, "revenue")
            + uint_word(self.revision, 32, "revision")
            + check_bytes(self.finding_hash, 32, "findingHash")
        )


# -- credits -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CreditLeaf:
    """Credits of one holder under a grant's root. The salt keeps the root from being guessed open."""

    holder: bytes
    amount: int
    salt: bytes

    def hash(self) -> bytes:
        """Return keccak256(0x08 ‖ holder ‖ amount ‖ salt). Raises: InputRejected for a field out of range."""
        return keccak256(
            _CREDIT_TAG
            + check_bytes(self.holder, 20, "holder")
            + check_uint(self.amount, 96, "amount").to_bytes(12, "big")
            + check_bytes(self.salt, 32, "salt")
        )


@dataclass(frozen=True, slots=True)
class CreditGrant:
    """All credits of one grant, in the order of their leaves.

    Raises: InputRejected if their sum is 0 or no uint96.
    """

    leaves: tuple[CreditLeaf, ...]

    def __post_init__(self) -> None:
        if check_uint(sum(leaf.amount for leaf in self.leaves), 96, "total of a grant") == 0:
            raise InputRejected("a grant of no credits can never be granted")

    @property
    def root(self) -> bytes:
        """The root that the buyer grants."""
        return padded_root(leaf.hash() for leaf in self.leaves)

    @property
    def total(self) -> int:
        """The sum of the leaves' amounts."""
        return sum(leaf.amount for leaf in self.leaves)

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Return the siblings of leaf `index`, bottom up. Raises: InputRejected if there is no such leaf."""
        return padded_siblings([leaf.hash() for leaf in self.leaves], index)


@dataclass(frozen=True, slots=True)
class RedemptionReceipt:
    """Signed by the buyer: what a holder asked for with these burned credits was given."""

    redemption_id: int
    grant_id: int
    holder: bytes
    amount: int
    request_hash: bytes
    document_hash: bytes

    def struct_hash(self) -> bytes:
        """Return the EIP-712 struct hash. Raises: InputRejected for a field out of range."""
        return keccak256(
            REDEMPTION_RECEIPT_TYPE_HASH
            + uint_word(self.redemption_id, 64, "redemptionId")
            + uint_word(self.grant_id, 64, "grantId")
            + address_word(self.holder, "holder")
            + uint_word(self.amount, 96, "amount")
            + check_bytes(self.request_hash, 32, "requestHash")
            + check_bytes(self.document_hash, 32, "documentHash")
        )
