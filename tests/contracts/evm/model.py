"""What the contracts should hold after any history, in plain integers and none of their code.

The state machine plays every move on the chain and on this model; whatever a contract says must equal
what the model says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.contracts.trees import RawTree

BPS = 10_000

Line = tuple[int, int, int]
"""License, cumulative units, charge."""


@dataclass
class ModelLicense:
    """Terms and account of one license. Party shares in bps: community, steward, platform, operators."""

    price: int
    cap: int
    party_bps: tuple[int, int, int, int]
    ends_at: int
    cooling_off_until: int
    cooled_off: bool = False
    deposited: int = 0
    available: int = 0
    reserved: int = 0
    charged: int = 0
    withdrawn: int = 0
    units: int = 0
    taken: list[int] = field(default_factory=lambda: [0, 0, 0, 0])

    @property
    def contributors_bps(self) -> int:
        return BPS - sum(self.party_bps)

    def due(self, units: int | None = None) -> int:
        """What these (or the committed) units cost and was not charged, in base units."""
        return (self.units if units is None else units) * self.price // 10**6 - self.charged

    def contributors(self, charged: int) -> int:
        """Contributors' part of a total charge: rounded up."""
        return -(-charged * self.contributors_bps // BPS)

    def party_total(self, party: int) -> int:
        """What a party has earned so far: rounded down."""
        return self.charged * self.party_bps[party] // BPS

    def credit(self, party: int) -> int:
        """What a party has earned and not received."""
        return self.party_total(party) - self.taken[party]

    @property
    def dust(self) -> int:
        """What no share reaches."""
        parties = sum(self.party_total(party) for party in range(4))
        return self.charged - self.contributors(self.charged) - parties


@dataclass
class ModelTree:
    """An issued tree and which of its notes were paid."""

    tree: RawTree
    paid_indices: set[int] = field(default_factory=set)

    def amount(self, index: int) -> int:
        return self.tree.words[index] & (2**96 - 1)

    def payee(self, index: int) -> int:
        return self.tree.words[index] >> 96

    @property
    def paid(self) -> int:
        return sum(map(self.amount, self.paid_indices))

    @property
    def unpaid(self) -> int:
        return self.tree.total - self.paid


@dataclass(frozen=True)
class ModelVersion:
    """A committee from an epoch on, by addresses; whether the last reserve is issued before it reports."""

    number: int
    from_epoch: int
    signers: frozenset[str]
    reserve_first: bool = False


@dataclass
class Model:
    """Everything that the five contracts keep, and who got what."""

    versions: list[ModelVersion]
    licenses: dict[int, ModelLicense] = field(default_factory=dict)
    trees: dict[int, ModelTree] = field(default_factory=dict)
    pool: int = 0
    received: dict[str, int] = field(default_factory=dict)
    last_epoch: int = 0
    last_period_end: int = 0
    last_hash: bytes = bytes(32)
    next_attempt: int = 0
    rejections: int = 0
    open_disputes: int = 0
    reserve_issued: int = 0

    def rotate(self, number: int, from_epoch: int, signers: frozenset[str]) -> None:
        """A version replaces those that would begin at its epoch or later. It waits for the reserve if more
        than f signers differ from the last committee that did, or else from the first of all."""
        self.versions = [version for version in self.versions if version.from_epoch < from_epoch]
        paid_out = [version.signers for version in self.versions if version.reserve_first]
        baseline = paid_out[-1] if paid_out else self.versions[0].signers
        changed = max(len(signers - baseline), len(baseline - signers))
        is_too_much = changed > (min(len(signers), len(baseline)) - 1) // 3
        self.versions.append(ModelVersion(number, from_epoch, signers, is_too_much))

    def version_for(self, epoch: int) -> ModelVersion:
        """The version that governs an epoch."""
        return [version for version in self.versions if version.from_epoch <= epoch][-1]

    @property
    def asks_for_reserve(self) -> bool:
        """Whether the open epoch's committee is one that reports after the reserve was issued."""
        version = self.version_for(self.last_epoch + 1)
        return version.reserve_first and version.from_epoch == self.last_epoch + 1

    @property
    def waits_for_reserve(self) -> bool:
        """Whether no report is accepted before somebody issues it."""
        return self.asks_for_reserve and self.reserve_issued != self.last_epoch

    def pay(self, address: str, amount: int) -> None:
        """Somebody's wallet grows."""
        self.received[address] = self.received.get(address, 0) + amount

    def lines(self, used: Iterable[tuple[bool, int, int]]) -> list[Line]:
        """Acceptable report lines; per license: whether it has one, new units, thirds of the most."""
        found = []
        for (license_id, terms), (is_in, more, thirds) in zip(self.licenses.items(), used, strict=False):
            if is_in:
                units = terms.units + more
                charge = min(terms.due(units), terms.available, terms.cap) * thirds // 3
                found.append((license_id, units, charge))
        return found

    def contributors_share(self, lines: Iterable[Line]) -> int:
        """What the charges of these lines add to the pool."""
        share = 0
        for license_id, _, charge in lines:
            terms = self.licenses[license_id]
            share += terms.contributors(terms.charged + charge) - terms.contributors(terms.charged)
        return share
