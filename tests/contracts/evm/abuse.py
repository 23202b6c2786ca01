"""Calls that nobody should make: recorded good ones, bent byte by byte and word by word, by anyone.

A story plays good calls on a fresh world and records them, also such that it then undoes, so that they still
wait to be made. An `Abuser` sends them again: as they were, by somebody else, to another contract, with words
exchanged, lengths cut, selectors swapped, at other times, with little gas. Whatever goes through, `Books`
must hold.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.contracts.evm.books import Books
from tests.contracts.evm.chain import GAS_LIMIT, Contract, Evm, Reverted
from tests.contracts.evm.world import World
from tests.contracts.wire import Account

WORD = 32
CALLS_PER_HISTORY = 500
NUMBERS = (0, 1, 2, 3, 4, 31, 32, 255, 256, 2**32 - 1, 2**64 - 1, 2**96 - 1, 2**96, 2**128 - 1, 2**256 - 1)
WAITS_S = (1, 60, 600, 3_600, 86_400, 8 * 86_400, 40 * 86_400, 200 * 86_400)
CHANGE_WEIGHTS = (55, 30, 7, 4, 4)
WIDTHS = (8, 32, 96, 160, 256)
LITTLE_GAS = (30_000, 90_000, 150_000, 400_000)


def width(number: int) -> int:
    """The narrowest of a few types that holds a number, in bits."""
    return next(bits for bits in WIDTHS if number < 2**bits)


@dataclass(frozen=True)
class Call:
    """One call that went through once."""

    sender: str
    to: str
    data: bytes


class RecordingEvm(Evm):
    """A chain that remembers every call that changed something, by whom and to what."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def raw_call(
        self,
        sender: Account | Contract | None,
        to: str,
        data: bytes,
        *,
        gas: int = GAS_LIMIT,
        value: int = 0,
        is_static: bool = False,
    ) -> bytes:
        answer = super().raw_call(sender, to, data, gas=gas, value=value, is_static=is_static)
        if not is_static and isinstance(sender, Account):
            self.calls.append(Call(sender.address, to, data))
        return answer


@dataclass
class Abuser:
    """Random calls on one world.

    people:  who sends, and whose wallets are watched; contracts never send
    own:     good calls of the story that led here; most calls are made of these
    corpus:  good calls of all stories; all worlds have the same addresses
    """

    world: World
    people: list[Account]
    own: Iterable[Call]
    corpus: Iterable[Call]
    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.changes = (self.keep, self.exchange_word, self.bend_bytes, self.cut, self.swap)
        self.targets = [contract.address for contract in self.world.contracts.values()]
        corpus = [call for call in self.corpus if call.to in self.targets]
        self.from_own = by_selector(call for call in self.own if call.to in self.targets)
        self.from_all = by_selector(corpus)
        self.by_address = {who.address: who for who in self.people}
        self.words = sorted(
            {call.data[at : at + WORD] for call in corpus for at in range(4, len(call.data), WORD)}
        )
        self.words += [int(who.address, 16).to_bytes(WORD, "big") for who in self.people]
        self.words += [int(address, 16).to_bytes(WORD, "big") for address in self.targets]
        self.words += [number.to_bytes(WORD, "big") for number in NUMBERS]
        self.words_by_width = {
            bits: [word for word in self.words if width(int.from_bytes(word, "big")) == bits]
            for bits in WIDTHS
        }

    def run(self, calls: int) -> None:
        """Make that many calls, in histories of a few hundred that all begin at the story's end."""
        while calls > 0:
            with self.world.evm.undone():
                books = Books(self.world, self.people)
                for _ in range(min(calls, CALLS_PER_HISTORY)):
                    self.call(books)
            calls -= CALLS_PER_HISTORY

    def call(self, books: Books) -> None:
        """One call, and if it went through, a look at the books."""
        pick = self.random
        if pick.random() < 0.02:
            self.world.evm.warp(pick.choice(WAITS_S))
        made = pick.choice(pick.choice(self.from_own if pick.random() < 0.7 else self.from_all))
        sender, to, data = self.by_address.get(made.sender, pick.choice(self.people)), made.to, made.data
        (change,) = pick.choices(self.changes, CHANGE_WEIGHTS)
        data = change(data)
        if pick.random() < 0.3:
            sender = pick.choice(self.people)
        if pick.random() < 0.02:
            to = pick.choice(self.targets)
        gas = pick.choice(LITTLE_GAS) if pick.random() < 0.05 else GAS_LIMIT
        value = 1 if pick.random() < 0.02 else 0
        if value:
            self.world.evm.fund_ether(sender.address, value)
        try:
            self.world.evm.raw_call(sender, to, data, gas=gas, value=value)
        except Reverted as refusal:
            self.outcomes[refusal.name] += 1
            return
        self.outcomes["went through"] += 1
        books.check(sender, by_signature=data[:4] == self.world.escrow.selector("depositWithAuthorization"))

    # -- what is done to call data --------------------------------------------------------------------------

    def keep(self, data: bytes) -> bytes:
        return data

    def exchange_word(self, data: bytes) -> bytes:
        """Put another word somewhere, mostly one of the same width: others are hardly ever read."""
        if len(data) < 4 + WORD:
            return data
        at = 4 + WORD * self.random.randrange((len(data) - 4) // WORD)
        old = int.from_bytes(data[at : at + WORD], "big")
        words = self.words if self.random.random() < 0.1 else self.words_by_width[width(old)]
        near = ((old + self.random.choice((-1, 1))) % 2**256).to_bytes(WORD, "big")
        return data[:at] + self.random.choice((near, self.random.choice(words))) + data[at + WORD :]

    def bend_bytes(self, data: bytes) -> bytes:
        """Change one to three single bytes behind the selector."""
        bent = bytearray(data)
        for _ in range(self.random.randint(1, 3)):
            if len(bent) > 4:
                bent[self.random.randrange(4, len(bent))] = self.random.randrange(256)
        return bytes(bent)

    def cut(self, data: bytes) -> bytes:
        """End early, or go on with nonsense."""
        if self.random.random() < 0.5:
            return data[: self.random.randrange(len(data) + 1)]
        return data + self.random.randbytes(self.random.choice((1, WORD, 44, 3 * WORD)))

    def swap(self, data: bytes) -> bytes:
        """The same arguments for another function."""
        (other, *_) = self.random.choice(self.from_all)
        return other.data[:4] + data[4:]


def by_selector(calls: Iterable[Call]) -> list[list[Call]]:
    """The calls of each function together, so that a function called once is tried as often as any."""
    found: dict[bytes, list[Call]] = {}
    for call in calls:
        found.setdefault(call.data[:4], []).append(call)
    return list(found.values())


def recorded(story: Callable[[World], None]) -> tuple[World, list[Call]]:
    """Play a story on a fresh world; the world at its end, and the calls it made."""
    evm = RecordingEvm()
    world = World(evm)
    story(world)
    return world, list(evm.calls)
