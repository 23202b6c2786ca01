"""Gateways and challengers: evidence made of real receipts, checkpoints, acknowledgements and lane trees."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from usufruct_protocol.receipts import Checkpoint, CheckpointAck, UsageReceipt, settlement_domain

from tests.contracts.evm.chain import Receipt
from tests.contracts.evm.world import World
from tests.contracts.lanes import (
    NO_CHECKPOINT,
    SALT,
    LaneBook,
    LaneVector,
    Signed,
    Struct,
    commitment,
    contradiction,
    signed_by,
    split,
)
from tests.contracts.wire import Account, account

__all__ = [
    "NO_CHECKPOINT",
    "SALT",
    "Gateway",
    "LaneVector",
    "Signed",
    "acks",
    "bonded_license",
    "commitment",
    "contradiction",
    "domain_of",
    "fund_challenger",
    "promise",
    "reveal",
    "signed",
    "split",
]


def domain_of(world: World) -> bytes:
    """The separator under which receipts, checkpoints, acknowledgements and reports are signed."""
    return settlement_domain(world.evm.chain_id, bytes.fromhex(world.settlement.address[2:]))


def signed(world: World, struct: Struct, key: Account) -> Signed:
    """A struct with a signature of 65 bytes, as contracts take it."""
    return signed_by(domain_of(world), struct, key)


def bonded_license(world: World, bond: int, **changes: Any) -> int:
    """Accept a license whose buyer puts up a usage bond."""
    buyer = changes.get("buyer", world.people.buyer)
    world.token.mint(buyer, bond, sender=buyer)
    world.token.approve(world.license_bonds, bond, sender=buyer)
    return world.accept(usage_bond=bond, **changes)


class Gateway(LaneBook):
    """One registered lane and its book."""

    def __init__(self, world: World, license_id: int, name: str, **registration: Any) -> None:
        super().__init__(account(name), domain_of(world))
        self.world = world
        self.license_id = license_id
        made = world.lane(license_id, self.key, **registration)
        buyer = world.registry.license(license_id).buyer
        owner = Account("its buyer", b"", buyer)
        self.number: int = world.registry.registerLane(
            made, world.sign_lane(made, self.key), sender=owner
        ).value

    def serve(self, units: int = 1, issued_at_ms: int | None = None) -> UsageReceipt:
        """Meter one call: the lane's next receipt, issued now unless told otherwise."""
        return super().serve(
            units, self.world.evm.timestamp * 1_000 if issued_at_ms is None else issued_at_ms
        )

    def anchor(self, count: int | None = None) -> Receipt:
        """Put a checkpoint on chain."""
        receipt: Receipt = self.world.anchors.anchor(
            *self.signed(self.checkpoint(count)), sender=self.world.people.stranger
        )
        return receipt


def acks(
    world: World, checkpoint: Checkpoint, signers: Iterable[Account], received_at: int | None = None
) -> list[tuple[int, bytes]]:
    """Acknowledgements of a checkpoint, as answerByAcks takes them if the signers ascend."""
    at = world.evm.timestamp if received_at is None else received_at
    ack = CheckpointAck(checkpoint.struct_hash(), at)
    return [(at, signed(world, ack, signer)[1]) for signer in signers]


def promise(world: World, challenger: Account, function: str, *evidence: Any) -> None:
    """Commit to a challenge, and let the delay pass."""
    calldata = world.challenges.calldata(function, *evidence, SALT)
    world.challenges.commit(commitment(challenger, calldata), sender=challenger)
    world.evm.warp(60)


def reveal(world: World, challenger: Account, function: str, *evidence: Any) -> Receipt:
    """Commit to a challenge, wait, and show its evidence."""
    promise(world, challenger, function, *evidence)
    receipt: Receipt = getattr(world.challenges, function)(*evidence, SALT, sender=challenger)
    return receipt


def fund_challenger(world: World, challenger: Account, bonds: int = 1) -> None:
    """Give somebody the money for this many challenge bonds, and approve it."""
    amount = world.challenges.challengeBond() * bonds
    world.token.mint(challenger, amount, sender=challenger)
    world.token.approve(world.challenges, 2**255, sender=challenger)
