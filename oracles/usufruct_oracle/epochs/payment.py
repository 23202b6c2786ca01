"""Paying issued notes in aligned ranges, each range by the node whose turn it is, and only what is unpaid."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from usufruct_chain.reverts import CallReverted
from usufruct_protocol.bundle import WORDS
from usufruct_protocol.sumtree import NoteTree, range_plan, unpack_words

from usufruct_oracle.chain.client import Chain
from usufruct_oracle.epochs.submission import Stagger
from usufruct_oracle.storage import epoch_store
from usufruct_oracle.storage.epoch_store import Finalized
from usufruct_oracle.storage.store import Store

_log = logging.getLogger(__name__)

RANGES_PER_STEP: Final = 4
_FIRST_LOOK_AGAIN_S: Final = 600.0
_LONGEST_LOOK_AGAIN_S: Final = 86_400.0
# A reorganization took the finalization back; it is made again, and with it the tree.
_NO_TREE_NOW: Final = "RoyaltySplitter_UnknownTree"


@dataclass(slots=True)
class _Work:
    """One epoch's notes being paid. `refused` are ranges in which nothing could be moved just now."""

    words: tuple[int, ...]
    tree: NoteTree
    refused: set[int]


class Payment:
    """Pays epochs oldest first. Keeps one epoch's tree in memory.

    A wallet that refuses money (blocked, paused) leaves its note unpaid; it is tried again after ten minutes,
    then less and less often, and can be claimed by its owner at any time.
    """

    def __init__(
        self,
        store: Store,
        chain: Chain,
        stagger: Stagger,
        finality_depth: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._finality_depth = finality_depth
        self._store = store
        self._chain = chain
        self._stagger = stagger
        self._clock = clock
        self._work: tuple[int, _Work] | None = None
        self._look_again: dict[int, tuple[float, float]] = {}

    def step(self, own_index: int | None, signer_count: int) -> bool:
        """Pay a few ranges; return whether there is more to do soon."""
        if own_index is None:
            return False
        with self._store.read() as db:
            due = [final for final in epoch_store.unpaid(db) if not self._rests(final.epoch)]
        if not due:
            self._work = None
            return False
        return self._pay(due[0], own_index, signer_count)

    def _pay(self, final: Finalized, own_index: int, signer_count: int) -> bool:
        tree_id = 2 * final.epoch
        paid = self._chain.paid_bits(tree_id, final.note_count)
        ranges = range_plan(final.note_count)
        open_ranges = [
            (number, start, log2)
            for number, (start, log2) in enumerate(ranges)
            if not _all_paid(paid, start, min(1 << log2, final.note_count - start))
        ]
        if not open_ranges:
            return self._close(final, tree_id)
        work = self._load(final)
        if all(number in work.refused for number, _, _ in open_ranges):
            self._rest(final.epoch)
            return True
        sent = 0
        for number, start, log2 in open_ranges:
            rank = (own_index - final.epoch - number) % signer_count
            is_mine = self._stagger.is_my_turn(("pay", final.epoch, number), rank)
            if sent == RANGES_PER_STEP or number in work.refused or not is_mine:
                continue
            self._pay_range(tree_id, number, start, log2, work)
            sent += 1
        return True

    def _close(self, final: Finalized, tree_id: int) -> bool:
        """Be done with an epoch, once no reorganization can take its payments back."""
        is_final = not self._finality_depth or _all_paid(
            self._chain.paid_bits(tree_id, final.note_count, self._finality_depth), 0, final.note_count
        )
        if is_final:
            with self._store.write() as db:
                epoch_store.set_paid(db, final.epoch)
            _log.info("epoch %d: all %d notes are paid", final.epoch, final.note_count)
        return is_final

    def _pay_range(self, tree_id: int, number: int, start: int, log2: int, work: _Work) -> None:
        """Pay one range if that moves anything; a range that moves nothing costs no gas."""
        size = 1 << log2
        words = [*work.words[start : start + size], *([0] * max(0, start + size - len(work.words)))]
        proof = work.tree.range_proof(start, log2)
        try:
            if self._chain.payable(tree_id, start, log2, words, proof):
                self._chain.pay_range(tree_id, start, log2, words, proof)
            else:
                work.refused.add(number)
        except CallReverted as error:
            _log.warning("notes from %d on of tree %d not paid: %s", start, tree_id, error)
            if error.error_name != _NO_TREE_NOW:
                work.refused.add(number)

    def _load(self, final: Finalized) -> _Work:
        if self._work is None or self._work[0] != final.epoch:
            with self._store.read() as db:
                body = epoch_store.bundle_file(db, final.epoch, final.bundle_hash, WORDS)
            packed = body or b""
            self._work = (final.epoch, _Work(unpack_words(packed), NoteTree.from_packed(packed), set()))
        return self._work[1]

    def _rests(self, epoch: int) -> bool:
        return self._clock() < self._look_again.get(epoch, (0.0, 0.0))[0]

    def _rest(self, epoch: int) -> None:
        _, last_pause = self._look_again.get(epoch, (0.0, 0.0))
        pause = min(2 * last_pause or _FIRST_LOOK_AGAIN_S, _LONGEST_LOOK_AGAIN_S)
        self._look_again[epoch] = (self._clock() + pause, pause)
        self._work = None
        _log.warning("epoch %d has notes that wallets refuse; next try in %d s", epoch, pause)


def _all_paid(paid: int, start: int, count: int) -> bool:
    mask = (1 << count) - 1
    return paid >> start & mask == mask
