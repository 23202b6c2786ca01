"""A bonded retrieval license, its rosters, and proofs that a call used what it should not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from usufruct_protocol.forbidden_use import (
    RowOpening,
    UsedRecord,
    open_row,
    open_used_record,
    rosters_to_open,
)
from usufruct_protocol.receipts import UsageList, UsageReceipt, merge_usage, usage_root
from usufruct_protocol.roster import Roster

from tests.contracts.evm.chain import Receipt
from tests.contracts.evm.gateway import Gateway, Signed, bonded_license
from tests.contracts.evm.world import World
from tests.contracts.rosters import (
    FOREVER_MS,
    OTHER_RECORD,
    RECORDS,
    Intervals,
    revoke_tag,
    roster_of,
    row,
    secret,
)
from tests.contracts.wire import keccak

__all__ = [
    "BOND",
    "DAY",
    "EMBEDDING",
    "FOREVER_MS",
    "OTHER_RECORD",
    "RECORDS",
    "RETRIEVAL",
    "Evidence",
    "Intervals",
    "Scene",
    "Use",
    "revoke_tag",
    "roster_of",
    "row",
    "secret",
]

DAY = 86_400
BOND = 10_000_000
EMBEDDING, RETRIEVAL = 4, 5

Evidence = tuple[Signed, UsedRecord, int, list[RowOpening]]


@dataclass
class Use:
    """One call: its signed receipt and the list behind it."""

    signed: Signed
    usage: UsageList

    @property
    def receipt(self) -> UsageReceipt:
        receipt: UsageReceipt = self.signed[0]
        return receipt


class Scene:
    """A license whose rosters were set one by one, and a gateway that serves it."""

    def __init__(
        self,
        world: World,
        bond: int = BOND,
        *,
        meter_kind: int = RETRIEVAL,
        price: int = 1_000_000,
        **lane: Any,
    ) -> None:
        self.world = world
        self.license_id = bonded_license(world, bond, meter_kind=meter_kind, price_per_million_units=price)
        self.gateway = Gateway(world, self.license_id, f"lane of {self.license_id}", **lane)
        self.rosters: list[Roster] = []
        self.set_at_s: list[int] = []

    @property
    def now_ms(self) -> int:
        return self.world.evm.timestamp * 1_000

    def set_roster(self, intervals: Mapping[bytes, Intervals]) -> None:
        """The steward sets the next roster."""
        roster = roster_of(intervals)
        self.world.registry.setRoster(self.license_id, roster.root, sender=self.world.people.steward)
        self.rosters.append(roster)
        self.set_at_s.append(self.world.evm.timestamp)

    def revoke(self, number: int) -> None:
        """Somebody who knows the secret shows it."""
        self.world.consent_log.forceRevoke(secret(number), sender=self.world.people.stranger)

    def use(self, *records: bytes, units: int = 1, issued_at_ms: int | None = None) -> Use:
        """Serve a call with these records."""
        at_ms = self.now_ms if issued_at_ms is None else issued_at_ms
        salt = keccak(b"list" + at_ms.to_bytes(8, "big"))
        usage = UsageList(merge_usage((record, 1) for record in records), salt)
        served = self.gateway.serve(units, at_ms)
        receipt = replace(served, usage_root=usage_root(usage.entries, salt))
        self.gateway.receipts[-1] = receipt
        return Use(self.gateway.signed(receipt), usage)

    def evidence(self, use: Use, record: bytes, numbers: Sequence[int] | None = None) -> Evidence:
        """The proof against a use: by the rosters that the contract asks for, or by others."""
        if numbers is None:
            numbers = rosters_to_open(self.set_at_s, use.receipt.issued_at_ms)
        rows = [open_row(self.rosters[number], record) for number in numbers]
        return use.signed, open_used_record(use.usage, record), numbers[0] if numbers else 0, rows

    def penalize(self, evidence: Evidence) -> Receipt:
        """Anybody reports."""
        receipt: Receipt = self.world.duties.penalizeUse(evidence, sender=self.world.people.stranger)
        return receipt

    @property
    def bond(self) -> int:
        return int(self.world.license_bonds.bond(self.license_id))

    @property
    def remediation(self) -> int:
        """What the remediation fund was credited."""
        return int(self.world.license_bonds.credit(self.world.people.remediation_fund))
