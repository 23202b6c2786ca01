"""Reserves: salted Merkle-sum trees, reports that carry one, and the ways in which one is issued."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from eth_hash.auto import keccak
from usufruct_protocol.report_types import EpochReport

from tests.contracts.evm.chain import Receipt
from tests.contracts.evm.world import World, committee_of
from tests.contracts.trees import Node, RawTree, word
from tests.contracts.wire import Account, account


def reserve_leaf(note: int, salt: bytes) -> Node:
    """Return the leaf of a reserve: keccak(0x02 ‖ word ‖ salt), with the word's amount as its sum."""
    return Node(keccak(b"\2" + note.to_bytes(32, "big") + salt), note & (2**96 - 1))


class Reserve(RawTree):
    """A reserve over (payee, amount), each leaf with a salt of its own."""

    def __init__(self, amounts: Sequence[int], payees: Sequence[Account] | None = None) -> None:
        self.payees = list(payees or (account(f"payee {number}") for number in range(len(amounts))))
        words = [word(who.address, amount) for who, amount in zip(self.payees, amounts, strict=True)]
        self.amounts = tuple(amounts)
        self.salts = [keccak(b"salt %d" % number) for number in range(len(amounts))]
        super().__init__(words, leaves=list(map(reserve_leaf, words, self.salts)))

    @property
    def in_report(self) -> dict[str, Any]:
        """The fields of a report that carries this reserve."""
        return {"reserve_root": self.root, "reserve_total": self.total, "reserve_count": self.count}

    def opening(self, index: int) -> tuple[int, int, bytes, bytes]:
        """Index, word, salt and proof: what its payee must show."""
        return index, self.words[index], self.salts[index], self.proof(index)


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
