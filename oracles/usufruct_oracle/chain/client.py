"""The chain as a node needs it: reads at named blocks, and the transactions it sends.

Everything a node asks of the chain goes through here, so that the steps of an epoch can be tested against a
chain made of plain data.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from usufruct_chain.calls import finalize_report, issue_reserve, pay_range, range_gas, submit_report
from usufruct_chain.connection import compare_endpoints, require_agreement
from usufruct_chain.contracts import Contracts
from usufruct_chain.onchain import Block, SettlementState, SubmittedReport
from usufruct_chain.reader import Reader
from usufruct_chain.sender import Sender
from usufruct_chain.views import ViewCall
from usufruct_protocol.chain_state import ChainState
from usufruct_protocol.errors import ConfigInvalid
from usufruct_protocol.report_types import EpochReport

COMPARE_EVERY_S: Final = 30.0
_BITS: Final = 256
_log = logging.getLogger(__name__)


class Chain(Protocol):
    """What the steps of an epoch use. Reads raise Transient; sends also ContractRejected."""

    def head(self) -> Block: ...
    def is_canonical(self, number: int, block_hash: bytes) -> bool: ...
    def settlement_state(self, block_hash: bytes) -> SettlementState: ...
    def read(self, block_hash: bytes) -> ChainState: ...
    def find_cutoff(
        self, period_end_s: int, grace_s: int, after_block: int, finality_depth: int
    ) -> Block | None: ...
    def report_hash(self, epoch: int) -> bytes: ...
    def submitted(self, epoch: int) -> SubmittedReport | None: ...
    def paid_bits(self, tree_id: int, count: int, depth: int = 0) -> int: ...
    def submit(self, report: EpochReport, signatures: Mapping[int, bytes]) -> None: ...
    def finalize(self, report: EpochReport) -> None: ...
    def issue_reserve(self, report: EpochReport) -> None: ...
    def payable(self, tree_id: int, start: int, log2: int, words: Sequence[int], proof: bytes) -> int: ...
    def pay_range(self, tree_id: int, start: int, log2: int, words: Sequence[int], proof: bytes) -> None: ...


class ChainClient:
    """`Chain` over a deployment's contracts. Without a sender it only reads."""

    def __init__(
        self, contracts: Contracts, sender: Sender | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._contracts = contracts
        self._clock = clock
        self._compare_at = 0.0
        self._reader = Reader(contracts)
        self._sender = sender

    def head(self) -> Block:
        """Return the newest block: the one request of a look at a chain where nothing happened.

        Now and then an older block is compared between endpoints first, so that one that lies about the chain
        is soon left alone, and what became of the last transaction is seen to.
        """
        if self._clock() >= self._compare_at:
            self._compare_at = self._clock() + COMPARE_EVERY_S
            compare_endpoints(self._contracts.w3)
            if self._sender is not None:
                self._sender.look_back()
        return self._reader.head()

    def is_canonical(self, number: int, block_hash: bytes) -> bool:
        """Tell whether a block is still the one of its number."""
        return self._reader.block(number).hash == block_hash

    def settlement_state(self, block_hash: bytes) -> SettlementState:
        """Return where reporting stood at a block."""
        return self._reader.settlement_state(block_hash)

    def read(self, block_hash: bytes) -> ChainState:
        """Return all that a report takes from the chain at a block."""
        return self._reader.read(block_hash)

    def find_cutoff(
        self, period_end_s: int, grace_s: int, after_block: int, finality_depth: int
    ) -> Block | None:
        """Return the cut-off block of a period, or None if it does not exist yet.

        Everything is computed from it, so most endpoints must have it. Raises: Transient if they do not.
        """
        found = self._reader.find_cutoff(period_end_s, grace_s, after_block, finality_depth)
        if found is not None:
            require_agreement(self._contracts.w3, found.number, found.hash)
        return found

    def report_hash(self, epoch: int) -> bytes:
        """Return the hash of the pending or finalized report of an epoch; zeros if there is none."""
        return self._reader.report_hash(epoch)

    def submitted(self, epoch: int) -> SubmittedReport | None:
        """Return the pending or finalized report of an epoch as it was posted, checked against its hash."""
        return self._reader.report_calldata(epoch)

    def paid_bits(self, tree_id: int, count: int, depth: int = 0) -> int:
        """Return which of a tree's notes were paid so many blocks ago, as one number: bit i is note i."""
        at = self._reader.head()
        if depth:
            at = self._reader.block(max(at.number - depth, 0))
        words = self._reader.paid_bits(tree_id, -(-count // _BITS), at.hash)
        return int.from_bytes(b"".join(word.to_bytes(_BITS // 8, "little") for word in words), "little")

    def submit(self, report: EpochReport, signatures: Mapping[int, bytes]) -> None:
        """Post a report; simulated first."""
        self._require_sender().send(submit_report(self._contracts, report, signatures))
        _log.info("submitted the report of epoch %d, attempt %d", report.epoch, report.attempt)

    def finalize(self, report: EpochReport) -> None:
        """Make the pending report final; simulated first."""
        self._require_sender().send(finalize_report(self._contracts, report))
        _log.info("finalized epoch %d", report.epoch)

    def issue_reserve(self, report: EpochReport) -> None:
        """Issue the reserve of the last finalized report; simulated first."""
        self._require_sender().send(issue_reserve(self._contracts, report))
        _log.info("issued the reserve of epoch %d", report.epoch)

    def payable(self, tree_id: int, start: int, log2: int, words: Sequence[int], proof: bytes) -> int:
        """Return how many base units paying a range would move now; notes paid or refused move nothing."""
        call = pay_range(self._contracts, tree_id, start, log2, words, proof)
        data = bytes.fromhex(call._encode_transaction_data().removeprefix("0x"))
        simulated = ViewCall(self._contracts.deployment.splitter, "payRange", data, ("uint96",))
        (amount,) = self._reader.query([simulated], self.head().hash)
        return int(amount)

    def pay_range(self, tree_id: int, start: int, log2: int, words: Sequence[int], proof: bytes) -> None:
        """Pay a range of notes."""
        call = pay_range(self._contracts, tree_id, start, log2, words, proof)
        self._require_sender().send(call, gas=range_gas(log2))
        _log.info("paid notes %d to %d of tree %d", start, start + (1 << log2), tree_id)

    def _require_sender(self) -> Sender:
        if self._sender is None:
            raise ConfigInvalid("this node has no key and sends nothing", hint="set key_file in node.json")
        return self._sender
