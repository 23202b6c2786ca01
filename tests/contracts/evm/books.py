"""What every contract of a set must hold, read from the chain alone: no history, no model."""

from __future__ import annotations

from collections.abc import Iterable

from tests.contracts.evm.world import World
from tests.contracts.wire import Account

PARTIES = range(4)
REISSUED = 1 << 63


class Books:
    """The sums of one world, and what of it may never change.

    people: everybody who may have a wallet or a credit; a wallet may only fall by its owner's own call
    """

    def __init__(self, world: World, people: Iterable[Account]) -> None:
        self.world = world
        self.people = list(people)
        self.wallets = self._wallets()
        self._terms: dict[int, tuple[object, ...]] = {}
        self._trees: dict[int, tuple[bytes, int, int]] = {}
        self._units: dict[int, int] = {}
        self.check(None)

    def check(self, sender: Account | None, *, by_signature: bool = False) -> None:
        """Raise AssertionError if money is missing, or moved against its owner's will."""
        self._covers_what_it_owes()
        self._keeps_terms_and_roots()
        wallets = self._wallets()
        for who in self.people:
            fell = wallets[who.address] < self.wallets[who.address]
            assert not fell or who == sender or by_signature, f"{who.address} paid for a call of {sender}"
        self.wallets = wallets
        for name, contract in self.world.contracts.items():
            assert self.world.evm.ether(contract.address) == 0, f"{name} holds ether"

    def owed(self) -> dict[str, int]:
        """What each contract owes, in base units, by its place in the world."""
        return {
            "escrow": sum(self._account(number) for number in self._licenses),
            "splitter": self._splitter(),
            "license_bonds": sum(self.world.license_bonds.bond(number) for number in self._licenses)
            + self._credits("license_bonds"),
            "operator_bonds": sum(sum(self.world.operator_bonds.bond(who)[:2]) for who in self.people)
            + self._credits("operator_bonds"),
            "challenges": self._open_challenges() * self.world.challenges.challengeBond()
            + self._credits("challenges"),
            "disputes": self._credits("disputes"),
            "fees": sum(self.world.fees.held()),
        }

    def _covers_what_it_owes(self) -> None:
        for place, owed in self.owed().items():
            held = self.world.token.balanceOf(getattr(self.world, place))
            assert held >= owed, f"{place} owes {owed}, holds {held}"

    def _keeps_terms_and_roots(self) -> None:
        world = self.world
        for number in self._licenses:
            terms = (world.registry.pricing(number), world.registry.license(number).offerHash)
            assert self._terms.setdefault(number, terms) == terms, f"terms of license {number} changed"
            units = world.escrow.account(number).cumulativeUnits
            assert units >= self._units.get(number, 0), f"units of license {number} fell"
            self._units[number] = units
        for number, tree in self._issued():
            fixed = (tree.root, tree.total, tree.count)
            assert self._trees.setdefault(number, fixed) == fixed, f"tree {number} changed"
            assert tree.paid <= tree.total

    @property
    def _licenses(self) -> range:
        return range(1, self.world.registry.licenseCount() + 1)

    def _account(self, license_id: int) -> int:
        found = self.world.escrow.account(license_id)
        assert found.deposited == found.available + found.reserved + found.charged + found.withdrawn
        return int(found.available + found.reserved)

    def _issued(self) -> list[tuple[int, object]]:
        last = 2 * self.world.settlement.state().lastEpoch + 1
        numbers = [number | reissued for number in range(2, last + 1) for reissued in (0, REISSUED)]
        trees = ((number, self.world.splitter.tree(number)) for number in numbers)
        return [(number, tree) for number, tree in trees if tree.count]

    def _splitter(self) -> int:
        splitter = self.world.splitter
        unpaid = sum(tree.total - tree.paid for _, tree in self._issued())
        credits = sum(splitter.shareCredit(number, party) for number in self._licenses for party in PARTIES)
        return int(splitter.pool() + unpaid + credits)

    def _open_challenges(self) -> int:
        count = self.world.challenges.challengeCount()
        return sum(self.world.challenges.challenge(number).kind != 0 for number in range(count + 1))

    def _credits(self, place: str) -> int:
        contract = getattr(self.world, place)
        return sum(contract.credit(who) for who in self.people)

    def _wallets(self) -> dict[str, int]:
        return {who.address: self.world.token.balanceOf(who) for who in self.people}
