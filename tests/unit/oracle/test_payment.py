"""Payment: every open range once, by the node whose turn it is; wallets that refuse cost no gas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from usufruct_chain.reverts import CallReverted
from usufruct_oracle.epochs.payment import RANGES_PER_STEP, Payment
from usufruct_oracle.epochs.submission import Stagger
from usufruct_oracle.storage import epoch_store
from usufruct_oracle.storage.store import Store
from usufruct_protocol.bundle import WORDS
from usufruct_protocol.sumtree import NoteTree, note_word, pack_words, range_plan

from tests.unit.oracle.test_epoch_store import H, report

SIGNERS = 4
EPOCH = 3
STAGGER_S = 10.0


@dataclass
class Ledger:
    """A splitter made of plain data: which notes are paid, which wallets refuse."""

    words: tuple[int, ...]
    refusing: set[int] = field(default_factory=set)
    paid: int = 0
    sent: list[tuple[int, int]] = field(default_factory=list)
    looks: int = 0
    is_taken_back: bool = False

    def paid_bits(self, tree_id: int, count: int) -> int:
        assert (tree_id, count) == (2 * EPOCH, len(self.words))
        self.looks += 1
        return self.paid

    def _payable(self, start: int, log2: int, words: Sequence[int], proof: bytes) -> list[int]:
        assert list(words) == [*self.words, *[0] * 1000][start : start + (1 << log2)]
        assert proof == NoteTree(self.words).range_proof(start, log2)
        end = min(start + (1 << log2), len(self.words))
        return [
            index for index in range(start, end) if not self.paid >> index & 1 and index not in self.refusing
        ]

    def payable(self, tree_id: int, start: int, log2: int, words: Sequence[int], proof: bytes) -> int:
        if self.is_taken_back:
            raise CallReverted("RoyaltySplitter_UnknownTree", {"treeId": tree_id}, b"")
        return sum(self.words[index] % 2**96 for index in self._payable(start, log2, words, proof))

    def pay_range(self, _tree: int, start: int, log2: int, words: Sequence[int], proof: bytes) -> None:
        self.sent.append((start, log2))
        for index in self._payable(start, log2, words, proof):
            self.paid |= 1 << index


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def ledger_of(store: Store, count: int) -> Ledger:
    words = tuple(sorted(note_word(number.to_bytes(20, "big"), 5 + number) for number in range(1, count + 1)))
    bundle_hash = b"\x02" * 32
    final = report(EPOCH, bundle_hash)
    with store.write() as db:
        epoch_store.put_bundle(db, EPOCH, bundle_hash, {WORDS: pack_words(words)})
        epoch_store.put_finalized(db, H, final)
        db.execute("UPDATE finalized SET note_count = ?", (count,))
    return Ledger(words)


def payer(store: Store, ledger: Ledger, clock: Clock) -> Payment:
    return Payment(store, ledger, Stagger(STAGGER_S, clock), clock=clock)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 1500])
def test_all_ranges_are_paid_once(store: Store, clock: Clock, count: int) -> None:
    ledger = ledger_of(store, count)
    payment = payer(store, ledger, clock)
    for _ in range(2 * SIGNERS):
        payment.step(0, SIGNERS)
        clock.now += STAGGER_S
    assert sorted(ledger.sent) == range_plan(count)
    assert ledger.paid == (1 << count) - 1
    assert payment.step(0, SIGNERS) is False
    with store.read() as db:
        assert epoch_store.unpaid(db) == []


def test_nodes_take_turns_by_range(store: Store, clock: Clock) -> None:
    ledger = ledger_of(store, 256 * 4)
    payment = payer(store, ledger, clock)
    payment.step(1, SIGNERS)
    assert ledger.sent == [(256 * number, 8) for number in range(4) if (1 - EPOCH - number) % SIGNERS == 0]
    clock.now += STAGGER_S
    payment.step(1, SIGNERS)
    assert len(ledger.sent) == 2


def test_a_step_sends_a_few_ranges_only(store: Store, clock: Clock) -> None:
    ledger = ledger_of(store, 256 * (RANGES_PER_STEP + 2))
    payment = payer(store, ledger, clock)
    payment.step(0, 1)
    assert len(ledger.sent) == RANGES_PER_STEP


def test_a_wallet_that_refuses_does_not_stop_the_others_and_burns_nothing(store: Store, clock: Clock) -> None:
    ledger = ledger_of(store, 10)
    ledger.refusing = {4}
    payment = payer(store, ledger, clock)
    for _ in range(5):
        payment.step(0, 1)
    assert ledger.paid == (1 << 10) - 1 - (1 << 4)
    assert len(ledger.sent) == 1
    looks = ledger.looks
    assert payment.step(0, 1) is False
    assert ledger.looks == looks  # it rests
    clock.now += 601
    assert payment.step(0, 1) is True
    assert len(ledger.sent) == 1  # simulated, still nothing to move
    payment.step(0, 1)
    clock.now += 601
    assert payment.step(0, 1) is False  # longer this time
    clock.now += 601
    ledger.refusing = set()
    payment.step(0, 1)
    payment.step(0, 1)
    assert ledger.paid == (1 << 10) - 1
    with store.read() as db:
        assert epoch_store.unpaid(db) == []


def test_a_tree_that_was_taken_back_is_paid_as_soon_as_it_is_there_again(store: Store, clock: Clock) -> None:
    ledger = ledger_of(store, 10)
    payment = payer(store, ledger, clock)
    ledger.is_taken_back = True
    for _ in range(3):
        assert payment.step(0, 1) is True
    assert ledger.sent == []
    ledger.is_taken_back = False
    payment.step(0, 1)
    assert ledger.paid == (1 << 10) - 1


def test_who_is_no_signer_pays_nothing(store: Store, clock: Clock) -> None:
    ledger = ledger_of(store, 10)
    assert payer(store, ledger, clock).step(None, SIGNERS) is False
    assert ledger.sent == []
