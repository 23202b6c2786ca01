"""Operators' bonds, the slow and obvious way: every deposit is a coin with an owner and a time.

Imports nothing from the package under test.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FUND = "fund"


@dataclass
class Coin:
    """Money behind one key; `free_at` is when it may leave, None while nobody asked for it."""

    signer: str
    amount: int
    free_at: int | None = None


@dataclass
class Book:
    """Who has what behind which key, what slashes gave to whom, and what has left."""

    thaw_seconds: int
    coins: list[Coin] = field(default_factory=list)
    credits: dict[str, int] = field(default_factory=dict)
    paid: dict[str, int] = field(default_factory=dict)

    def of(self, signer: str, *, thawing: bool) -> int:
        return sum(
            coin.amount
            for coin in self.coins
            if coin.signer == signer and (coin.free_at is not None) == thawing
        )

    def deposit(self, signer, amount):
        self.coins.append(Coin(signer, amount))

    def thaw(self, signer, amount, now):
        if amount <= 0 or amount > self.of(signer, thawing=False):
            return False
        idle = self.of(signer, thawing=False) - amount
        moving = self.of(signer, thawing=True) + amount
        self._forget(signer)
        self.coins += [Coin(signer, idle), Coin(signer, moving, now + self.thaw_seconds)]
        return True

    def cancel(self, signer):
        everything = self.of(signer, thawing=False) + self.of(signer, thawing=True)
        if not self.of(signer, thawing=True):
            return False
        self._forget(signer)
        self.coins.append(Coin(signer, everything))
        return True

    def withdraw(self, signer, to, now):
        leaving = [coin for coin in self.coins if coin.signer == signer and coin.free_at is not None]
        if not leaving or any(coin.free_at > now for coin in leaving):
            return False
        self.coins = [coin for coin in self.coins if coin not in leaving]
        self._pay(to, sum(coin.amount for coin in leaving))
        return True

    def slash(self, signer, reporter):
        """Return what was taken; one tenth, rounded down, to the reporter if there is one."""
        taken = self.of(signer, thawing=False) + self.of(signer, thawing=True)
        self._forget(signer)
        reward = taken // 10 if reporter else 0
        if reporter:
            self.credits[reporter] = self.credits.get(reporter, 0) + reward
        self.credits[FUND] = self.credits.get(FUND, 0) + taken - reward
        return taken

    def collect(self, account):
        amount = self.credits.pop(account, 0)
        self._pay(account, amount)
        return amount

    def held(self):
        """What must lie in the contract."""
        return sum(coin.amount for coin in self.coins) + sum(self.credits.values())

    def _forget(self, signer):
        self.coins = [coin for coin in self.coins if coin.signer != signer]

    def _pay(self, to, amount):
        self.paid[to] = self.paid.get(to, 0) + amount
