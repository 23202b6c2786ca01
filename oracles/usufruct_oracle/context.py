"""What the steps of one epoch share: the chain at its cut-off, and what the last finalized report left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from usufruct_protocol.accruals import EMPTY, Accruals
from usufruct_protocol.bundle import (
    ACCRUALS,
    CARRIED,
    INCOME,
    LANES,
    ROSTERS,
    pack_rosters,
    unpack_lanes,
    unpack_rosters,
)
from usufruct_protocol.chain_state import ChainState
from usufruct_protocol.income import unpack_income
from usufruct_protocol.periods import proposer_index, quorum
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.roster import Roster
from usufruct_protocol.usage import Usage, unpack_usage


@dataclass(frozen=True, slots=True)
class Base:
    """What a finalized report hands on: accruals, weights that wait, and how far each lane was counted.

    allocated_income: contributors' income by license that reports up to this one have allocated
    rosters_file:     its rosters as in the bundle; they are many, and read only after a reserve was issued
    """

    epoch: int
    report_hash: bytes
    accruals: Accruals
    carried: Usage
    heads: Mapping[bytes, Checkpoint]
    allocated_income: Mapping[int, int] = field(default_factory=dict)
    rosters_file: bytes = pack_rosters({})

    @classmethod
    def genesis(cls) -> Base:
        """Return the state before the first report."""
        return cls(0, bytes(32), EMPTY, {}, {})

    @classmethod
    def from_bundle(cls, epoch: int, report_hash: bytes, files: Mapping[str, bytes]) -> Base:
        """Return the state that a finalized report's bundle describes; the caller has checked its hash."""
        heads = {head.lane: head for head in unpack_lanes(files[LANES]) if head is not None}
        accruals, carried = Accruals.from_bytes(files[ACCRUALS]), unpack_usage(files[CARRIED])
        income = unpack_income(files[INCOME])
        return cls(epoch, report_hash, accruals, carried, heads, income, files[ROSTERS])

    def rosters_for(self, chain: ChainState) -> dict[int, Roster]:
        """Return the rosters behind this report's reserve if the next one starts after it, else none."""
        return unpack_rosters(self.rosters_file) if chain.starts_after_reserve else {}


@dataclass(frozen=True)
class EpochContext:
    """One epoch being reported. `own_index` is None for a node that is no signer."""

    chain: ChainState
    base: Base
    own_index: int | None

    @property
    def epoch(self) -> int:
        """The epoch's number."""
        return self.chain.epoch

    @property
    def period_end_ms(self) -> int:
        """End of the period in ms: receipts from then on belong to later epochs."""
        return self.chain.period_end_s * 1000

    @cached_property
    def quorum(self) -> int:
        """How many signers must agree."""
        return quorum(len(self.chain.signers))

    def proposer(self, attempt: int) -> bytes:
        """Return the address of the signer who proposes in an attempt."""
        return self.chain.signers[proposer_index(self.epoch, attempt, len(self.chain.signers))]

    def rank(self, turn: int) -> int:
        """Return how many signers come before this node when the order starts at signer `turn` mod n.

        A node that is no signer comes after all of them.
        """
        count = len(self.chain.signers)
        return count if self.own_index is None else (self.own_index - turn) % count
