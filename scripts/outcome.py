"""What came of a run: epochs, licenses, payees and gas, each figure read back from the chain.

The words of a tree come from a node and are believed only because they hash to the root on chain; accruals,
which no contract holds, only because they add up to the pool to the billionth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hexbytes import HexBytes
from usufruct_chain.onchain import SubmittedReport
from usufruct_chain.reader import Reader
from usufruct_protocol.errors import InvariantBroken
from usufruct_protocol.money import ACCRUAL_SCALE
from usufruct_protocol.periods import proposer_index, quorum
from usufruct_protocol.sumtree import NoteTree, split_word
from web3.logs import DISCARD

SIGNATURE_BYTES: Final = 65
BITS_PER_WORD: Final = 256
FULL_RANGE: Final = 251


@dataclass(frozen=True, slots=True)
class Payee:
    """Somebody with a wallet. `purses` are the pseudonyms that earn for them, one per collection."""

    name: str
    wallet: bytes
    purses: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class EpochOutcome:
    """One finalized report. Gas in gas units, money in base units."""

    epoch: int
    attempt: int
    proposer: int
    signed_by: tuple[int, ...]
    signers: int
    threshold: int
    charge: int
    notes: int
    notes_total: int
    lanes_root: bytes
    notes_root: bytes
    reserve_root: bytes
    submit_gas: int
    finalize_gas: int


@dataclass(frozen=True, slots=True)
class PayeeOutcome:
    """What one payee earned, was issued and was paid. `accrued` in billionths, money in base units."""

    name: str
    wallet: bytes
    accrued_billionths: int
    issued: int
    paid: int
    balance: int


@dataclass(frozen=True, slots=True)
class PaidNotes:
    """One tree: its words, and which of them are paid."""

    tree_id: int
    notes: NoteTree
    words: tuple[int, ...]
    is_paid: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class RangeGas:
    """What range payments cost in transactions of one kind. `first` is money into wallets that held none."""

    first: bool
    full: bool
    payees: int
    gas: int

    @property
    def gas_per_payee(self) -> int:
        """Gas per paid note, everything included, rounded up; 0 if there was no such transaction."""
        return -(-self.gas // self.payees) if self.payees else 0


def read_epochs(reader: Reader, last_epoch: int) -> tuple[EpochOutcome, ...]:
    """Read every finalized report back from the calldata that carried it."""
    return tuple(_epoch_outcome(reader, epoch) for epoch in range(1, last_epoch + 1))


def read_notes(
    reader: Reader, last_epoch: int, words_of: Callable[[int], Sequence[int]]
) -> tuple[PaidNotes, ...]:
    """Return the trees of all epochs that issued notes. `words_of` gives an epoch's words, from any node.

    Raises: InvariantBroken if the words are not those the contract committed to.
    """
    head = reader.head().hash
    trees = []
    for epoch in range(1, last_epoch + 1):
        tree = reader.tree(2 * epoch, head)
        if not tree.count:
            continue
        words = tuple(words_of(epoch))
        notes = NoteTree(words)
        if (notes.root, notes.total, notes.count) != (tree.root, tree.total, tree.count):
            raise InvariantBroken(f"the words of epoch {epoch} are not those of tree {2 * epoch} on chain")
        bits = reader.paid_bits(2 * epoch, -(-tree.count // BITS_PER_WORD), head)
        is_paid = tuple(bool(bits[i // BITS_PER_WORD] >> i % BITS_PER_WORD & 1) for i in range(tree.count))
        trees.append(PaidNotes(2 * epoch, notes, words, is_paid))
    return tuple(trees)


def read_payees(
    reader: Reader, payees: Sequence[Payee], trees: Sequence[PaidNotes], accruals: Mapping[bytes, int]
) -> tuple[PayeeOutcome, ...]:
    """Return what became of each payee's money: earned = issued + still accruing."""
    issued: Counter[bytes] = Counter()
    paid: Counter[bytes] = Counter()
    for tree in trees:
        for word, is_paid in zip(tree.words, tree.is_paid, strict=True):
            wallet, amount = split_word(word)
            issued[wallet] += amount
            paid[wallet] += amount if is_paid else 0
    balances = reader.token_balances([payee.wallet for payee in payees])
    return tuple(
        PayeeOutcome(
            name=payee.name,
            wallet=payee.wallet,
            accrued_billionths=issued[payee.wallet] * ACCRUAL_SCALE
            + sum(accruals.get(purse, 0) for purse in payee.purses),
            issued=issued[payee.wallet],
            paid=paid[payee.wallet],
            balance=balance,
        )
        for payee, balance in zip(payees, balances, strict=True)
    )


def signer_indexes(signatures: bytes) -> tuple[int, ...]:
    """Return who signed, from the blob that the committee checked: index(1) ‖ r ‖ vs each."""
    return tuple(signatures[start] for start in range(0, len(signatures), SIGNATURE_BYTES))


def _epoch_outcome(reader: Reader, epoch: int) -> EpochOutcome:
    submitted = reader.report_calldata(epoch)
    if submitted is None:
        raise InvariantBroken(f"epoch {epoch} is finalized, but nothing on chain carries its report")
    report = submitted.report
    head = reader.head().hash
    (signers,) = reader.query([reader.contracts.views.committee.signersOf(report.signer_set_version)], head)
    count = len(signers[0])
    return EpochOutcome(
        epoch=epoch,
        attempt=report.attempt,
        proposer=proposer_index(epoch, report.attempt, count),
        signed_by=signer_indexes(submitted.signatures),
        signers=count,
        threshold=quorum(count),
        charge=sum(line.charge for line in report.lines),
        notes=report.note_count,
        notes_total=report.notes_total,
        lanes_root=report.lanes_root,
        notes_root=report.notes_root,
        reserve_root=report.reserve_root,
        submit_gas=_gas_of(reader, submitted.transaction_hash),
        finalize_gas=_gas_of(reader, _finalization(reader, submitted)),
    )


def _finalization(reader: Reader, submitted: SubmittedReport) -> bytes:
    event = reader.contracts.settlement.events.ReportFinalized()
    (log,) = event.get_logs(
        from_block=submitted.block_number, argument_filters={"reportHash": submitted.report_hash}
    )
    return bytes(log["transactionHash"])


def _gas_of(reader: Reader, transaction_hash: bytes) -> int:
    return int(reader.contracts.w3.eth.get_transaction_receipt(HexBytes(transaction_hash))["gasUsed"])


def read_range_gas(reader: Reader) -> tuple[RangeGas, ...]:
    """Add up what range payments cost: first and later payments, full ranges apart from smaller ones.

    A full range paid 256 notes, or would have but for refused ones (at most 2 %). A range that reached both
    new and known wallets is left out.
    """
    totals = {(first, full): [0, 0] for first in (True, False) for full in (True, False)}
    seen: set[str] = set()
    splitter, token = reader.contracts.splitter, reader.contracts.token
    for log in splitter.events.RangePaid().get_logs(from_block=reader.contracts.deployment.deployed_block):
        receipt = reader.contracts.w3.eth.get_transaction_receipt(log["transactionHash"])
        transfers = token.events.Transfer().process_receipt(receipt, errors=DISCARD)
        paid = [event["args"]["to"] for event in transfers]
        is_first, is_later = seen.isdisjoint(paid), seen.issuperset(paid)
        seen.update(paid)
        if paid and (is_first or is_later):
            total = totals[is_first, len(paid) >= FULL_RANGE]
            total[0] += len(paid)
            total[1] += int(receipt["gasUsed"])
    return tuple(RangeGas(first, full, *total) for (first, full), total in totals.items())
