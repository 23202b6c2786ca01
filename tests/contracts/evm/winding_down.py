"""A committee that vanished, and what everybody else does then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_hash.auto import keccak
from usufruct_protocol.report_types import EpochReport

from tests.contracts.evm.chain import Evm, Receipt
from tests.contracts.evm.reserves import Reserve, settle_with
from tests.contracts.evm.world import World
from tests.contracts.wire import Account, account, sign
from tests.reference import wind_down as reference
from tests.reference.typed_data import SETTLEMENT, hash_typed

DAY = 86_400
SUBMIT_CLOCK, FINALIZE_CLOCK, NOTICE, SETTLING = 90 * DAY, 180 * DAY, 30 * DAY, 30 * DAY
AMOUNTS = (100, 250, 7)


@dataclass(frozen=True)
class Shown:
    """A checkpoint as somebody shows it."""

    lane: Account
    units: int
    count: int = 1
    root: bytes = keccak(b"receipts")

    @property
    def struct(self) -> tuple[str, int, int, bytes]:
        return self.lane.address, self.count, self.units, self.root


@dataclass
class Ending:
    """A world with one finalized report, whose reserve holds part of the pool, and a license with lanes."""

    world: World
    reserve: Reserve
    last: EpochReport
    license_id: int
    lanes: list[Account] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        reserve: Reserve,
        world: World | None = None,
        *,
        deposit: int = 10_000,
        charge: int = 1_000,
        lanes: int = 2,
        **terms: Any,
    ) -> Ending:
        """A report charges 1 per unit, 70 % of it the contributors', and carries the reserve."""
        world = world or World(Evm())
        license_id = world.accept(**terms)
        keys = [account(f"lane {number}") for number in range(lanes)]
        for key in keys:
            registration = world.lane(license_id, key)
            world.registry.registerLane(
                registration, world.sign_lane(registration, key), sender=world.people.buyer
            )
        if deposit:
            world.deposit(license_id, deposit)
        last = settle_with(world, reserve, [(license_id, charge, charge)])
        return cls(world, reserve, last, license_id, keys)

    @property
    def end(self) -> Any:
        return self.world.wind_down

    @property
    def tree_id(self) -> int:
        return 2 * self.last.epoch + 1

    @property
    def submitted_at(self) -> int:
        """Time of the last submit."""
        return int(self.world.settlement.lastSubmittedAt())

    def announce(self) -> Receipt:
        receipt: Receipt = self.end.announce(sender=self.world.people.stranger)
        return receipt

    def close(self, pending: EpochReport | None = None, last: EpochReport | None = None) -> Receipt:
        receipt: Receipt = self.end.close(
            last or self.last, pending or self.last, sender=self.world.people.stranger
        )
        return receipt

    def vanish(self) -> None:
        """Nobody reports for 90 days; somebody announces it, and closes 30 days later."""
        self.world.evm.warp(SUBMIT_CLOCK)
        self.announce()
        self.world.evm.warp(NOTICE)
        self.close()

    def signed(self, shown: Sequence[Shown], by: Account | None = None) -> bytes:
        """The lanes' signatures, one after the other."""
        return b"".join(sign((by or each.lane).key, self.digest(each)).full for each in shown)

    def digest(self, shown: Shown, chain_id: int | None = None, contract: str | None = None) -> bytes:
        names = ("lane", "count", "cumulativeUnits", "receiptsRoot")
        return hash_typed(
            SETTLEMENT,
            chain_id or self.world.evm.chain_id,
            bytes.fromhex((contract or self.world.settlement.address)[2:]),
            "Checkpoint",
            dict(zip(names, shown.struct, strict=True)),
        ).digest

    def settle_late(
        self, *shown: Shown, license_id: int | None = None, signatures: bytes | None = None
    ) -> int:
        """Show checkpoints; what the license was charged for them."""
        return int(
            self.end.settleLate(
                license_id or self.license_id,
                [each.struct for each in shown],
                self.signed(shown) if signatures is None else signatures,
                sender=self.world.people.stranger,
            ).value
        )

    def open_refunds(self) -> None:
        self.world.evm.warp(SETTLING)

    def withdraw(self, amount: int, license_id: int | None = None) -> None:
        buyer = self.world.people.buyer
        self.world.escrow.withdraw(license_id or self.license_id, amount, buyer, sender=buyer)

    def claim(self, index: int) -> None:
        self.world.splitter.claimReserve(
            self.tree_id, *self.reserve.opening(index), sender=self.world.people.stranger
        )

    def supplement(self, index: int) -> int:
        opening = self.reserve.opening(index)
        return int(self.end.claimSupplement(*opening, sender=self.world.people.stranger).value)

    def pay_parties(self) -> None:
        """Every party pulls what it has earned."""
        for party in range(4):
            if self.world.splitter.shareCredit(self.license_id, party):
                self.world.splitter.payShare(self.license_id, party, sender=self.world.people.stranger)

    def account(self, license_id: int | None = None) -> Any:
        return self.world.escrow.account(license_id or self.license_id)

    def balance(self, who: Any) -> int:
        return int(self.world.token.balanceOf(who))


def pause(ending: Ending, is_paused: bool) -> None:
    ending.world.token.setPaused(is_paused, sender=ending.world.people.stranger)
    assert ending.end.recordPause(sender=ending.world.people.stranger).value is is_paused


def everything_leaves(ending: Ending, refund: int) -> None:
    """All is paid out; less than one base unit per leaf, and the dust of one license, stay."""
    world = ending.world
    ending.open_refunds()
    if refund:
        ending.withdraw(refund)
    for index in range(ending.reserve.count):
        ending.claim(index)
    ending.pay_parties()
    left = world.splitter.pool()
    paid = [ending.supplement(index) for index in range(ending.reserve.count)]
    assert paid == reference.supplements(ending.reserve.amounts, left)
    received = [ending.balance(payee) for payee in ending.reserve.payees]
    assert received == [amount + more for amount, more in zip(ending.reserve.amounts, paid, strict=True)]
    assert ending.balance(world.escrow) == 0
    assert ending.balance(world.splitter) <= 3
    assert ending.balance(ending.end) < ending.reserve.count
