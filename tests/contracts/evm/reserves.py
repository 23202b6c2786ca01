"""Reserves: salted Merkle-sum trees, reports that carry one, and the ways in which one is issued."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from usufruct_protocol.report_types import EpochReport

from tests.contracts.evm.chain import Receipt
from tests.contracts.evm.world import World, committee_of
from tests.contracts.trees import Reserve, reserve_leaf

__all__ = [
    "Reserve",
    "claim_reserve",
    "issue_reserve",
    "replace_committee",
    "reserve_leaf",
    "settle_with",
]


def settle_with(
    world: World, reserve: Reserve, lines: Iterable[tuple[int, int, int]] = (), **changes: Any
) -> EpochReport:
    """Finalize a report that carries this reserve."""
    return world.settle(lines, **reserve.in_report, **changes)


def replace_committee(world: World, from_epoch: int, tag: str = "new signer") -> None:
    """Rotate to signers of whom none is old: the last reserve must be issued before they can report."""
    signers = committee_of(4, tag)
    version = world.committee.rotate(signers, from_epoch, sender=world.people.council).value
    world.signers[version] = signers


def issue_reserve(world: World, report: EpochReport) -> Receipt:
    """Issue a finalized report's reserve, as anybody."""
    receipt: Receipt = world.settlement.issueReserve(report, sender=world.people.stranger)
    return receipt


def claim_reserve(world: World, tree_id: int, reserve: Reserve, index: int, **options: Any) -> Receipt:
    """Pay one leaf of an issued reserve, as anybody."""
    receipt: Receipt = world.splitter.claimReserve(
        tree_id, *reserve.opening(index), sender=world.people.stranger, **options
    )
    return receipt
