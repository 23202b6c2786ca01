"""Signers with bonds, reports over real lanes, and what it takes to dispute them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from eth_abi.abi import encode
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.report_types import EpochReport

from tests.contracts.evm.chain import Receipt, Reverted
from tests.contracts.evm.gateway import SALT, Gateway, LaneVector, commitment, domain_of
from tests.contracts.evm.world import EPOCH_SECONDS, World
from tests.contracts.wire import Account, account, sign

SIGNER_BOND = 1_000_003
CHALLENGER = account("disputer")
ANSWERER = account("answerer")
HEAD, UNITS = 0, 1
OPEN, ANSWERED, CONDEMNED, VOID = 1, 2, 3, 4

Shown = tuple[int, tuple[Checkpoint, tuple[bytes, ...]], bytes]


def bond_signers(world: World, amount: int = SIGNER_BOND) -> None:
    """Put a bond behind each signer of the first committee."""
    payer = world.people.operators
    for signer in world.signers[1]:
        world.token.mint(payer, amount, sender=payer)
        world.token.approve(world.operator_bonds, amount, sender=payer)
        world.operator_bonds.deposit(signer, amount, sender=payer)


def fund_challenger(world: World, challenger: Account = CHALLENGER, amount: int = 10**12) -> None:
    """Give somebody the money for bonds, and approve it."""
    world.token.mint(challenger, amount, sender=challenger)
    world.token.approve(world.disputes, 2**255, sender=challenger)


def post(
    world: World, vector: LaneVector, lines: Iterable[tuple[int, int, int]] = (), **changes: Any
) -> EpochReport:
    """Submit the next report over these lanes, with the right consent root unless told otherwise."""
    root = {"consent_root": world.consent_log.accumulator()}
    return world.post(lines, **(vector.in_report | root | changes))


def settle(world: World, vector: LaneVector, lines: Iterable[tuple[int, int, int]] = ()) -> EpochReport:
    """Post such a report and finalize it after its window."""
    report = post(world, vector, lines)
    world.until(world.settlement.state().finalizableAt)
    world.settlement.finalize(report, sender=world.people.stranger)
    return report


def next_period(world: World) -> None:
    """Go to where the next report can be built."""
    world.until(world.settlement.state().lastPeriodEnd + EPOCH_SECONDS)


def shown(vector: LaneVector, number: int, signature: bytes = b"") -> Shown:
    """The opening of one lane, with the lane's signature of the checkpoint in it."""
    return number, vector.head(number), signature


def shown_by(gateway: Gateway, vector: LaneVector) -> Shown:
    """The same for a gateway's lane, signed by it; unsigned where the report has nothing of it."""
    head = vector.heads[gateway.number]
    return shown(vector, gateway.number, gateway.signed(head)[1] if head else b"")


def dispute_id(world: World, report: EpochReport, question: int, subject: int) -> bytes:
    """The name of a dispute, as the interface defines it."""
    structure = world.settlement.hashReport(report)
    return keccak256(encode(["bytes32", "uint8", "uint32"], [structure, question, subject]))


def ask_head(world: World, report: EpochReport, number: int, by: Account = CHALLENGER) -> bytes:
    """Dispute a lane's head; the dispute's id."""
    return bytes(world.disputes.disputeHead(report, number, sender=by).value)


def ask_units(world: World, report: EpochReport, line: int = 0, by: Account = CHALLENGER) -> bytes:
    """Dispute a line's units; the dispute's id."""
    return bytes(world.disputes.disputeUnits(report, line, sender=by).value)


def window_over(world: World) -> None:
    """Let the pending report's dispute window end."""
    world.until(world.settlement.state().finalizableAt)


def condemn(world: World, asked: bytes, report: EpochReport, indices: Sequence[int] | None = None) -> Receipt:
    """End a dispute that nobody answered."""
    signatures = world.sign_report(report, indices)
    receipt: Receipt = world.disputes.condemn(asked, report, signatures, sender=world.people.stranger)
    return receipt


def reveal(
    world: World, function: str, *evidence: Any, by: Account = CHALLENGER, salt: bytes = SALT
) -> Receipt:
    """Commit to a proof that stands by itself, wait, and show it."""
    calldata = world.disputes.calldata(function, *evidence, salt)
    world.disputes.commit(commitment(by, calldata), sender=by)
    world.evm.warp(60)
    receipt: Receipt = getattr(world.disputes, function)(*evidence, salt, sender=by)
    return receipt


def sign_alone(world: World, report: EpochReport, signer: Account) -> bytes:
    """One signer's signature of a report, 65 bytes r ‖ s ‖ v."""
    digest = keccak256(b"\x19\x01" + domain_of(world) + world.settlement.hashReport(report))
    return sign(signer.key, digest).full


def bonds(world: World) -> list[int]:
    """What stands behind each signer of the first committee."""
    return [world.operator_bonds.bonded(signer) for signer in world.signers[1]]


def refuses(error: str, *arguments: Any) -> Any:
    """The custom error, with its arguments where they are given."""
    return pytest.raises(Reverted, match=re.escape(f"{error}(" + ", ".join(map(str, arguments))))


def is_dead(world: World, report: EpochReport) -> bool:
    """Whether a report is neither pending nor final."""
    return bool(world.settlement.reportHash(report.epoch) != world.settlement.hashReport(report))


@dataclass
class Scene:
    """Two licenses, the first with lanes 0 and 1, the second with lane 2; four bonded signers."""

    world: World
    first: int
    second: int
    lanes: list[Gateway]

    @classmethod
    def build(cls, world: World) -> Scene:
        """Lanes with five receipts of 10 units each; the first anchored with four of them."""
        bond_signers(world)
        fund_challenger(world)
        first, second = world.accept(), world.accept()
        owners = ((first, "lane a"), (first, "lane b"), (second, "lane c"))
        lanes = [Gateway(world, license_id, name) for license_id, name in owners]
        for lane in lanes:
            for _ in range(5):
                lane.serve(10)
        world.evm.warp(1)
        lanes[0].anchor(4)
        return cls(world, first, second, lanes)

    def vector(self, *counts: int | None) -> LaneVector:
        """What a report says of the lanes: these counts, None for a zero leaf; all receipts by default."""
        wanted = counts or tuple(len(lane.receipts) for lane in self.lanes)
        pairs = zip(self.lanes, wanted, strict=False)
        return LaneVector([None if count is None else lane.checkpoint(count) for lane, count in pairs])

    @property
    def lines(self) -> list[tuple[int, int, int]]:
        """The units of both licenses, nothing charged."""
        a, b, c = (lane.checkpoint().cumulative_units for lane in self.lanes[:3])
        return [(self.first, a + b, 0), (self.second, c, 0)]

    def pending(self, vector: LaneVector | None = None, **changes: Any) -> tuple[EpochReport, LaneVector]:
        """Submit a report over these lanes (the true one by default)."""
        vector = vector or self.vector()
        return post(self.world, vector, self.lines, **changes), vector
