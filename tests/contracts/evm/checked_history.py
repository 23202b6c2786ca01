"""What must hold after every move of a random history; each `inv_NN_…` is a promise of docs/INVARIANTS.md."""

from __future__ import annotations

from hypothesis.stateful import RuleBasedStateMachine, invariant
from usufruct_protocol.report_types import EpochReport

from tests.contracts.evm.chain import Contract
from tests.contracts.evm.model import Model
from tests.contracts.evm.world import DISPUTE_SECONDS, World
from tests.contracts.wire import Account, account

PAYEES = [account(f"payee {number}") for number in range(5)]
GOAL = account("where payees want it")


class CheckedHistory(RuleBasedStateMachine):
    """A world and its model, compared after every move; a test adds the moves."""

    world: World
    model: Model
    pending: EpochReport | None
    submitted_at: int
    gifts: dict[str, int]

    @property
    def parties(self) -> tuple[Account, Account, Account, Account]:
        """Who pulls the parties' shares of every license here, by party number."""
        people = self.world.people
        return people.community, people.steward, people.platform, people.operators

    def balance(self, who: Account | Contract) -> int:
        """A wallet's tokens, in base units."""
        return int(self.world.token.balanceOf(who))

    @invariant()
    def inv_01_the_splitter_holds_what_it_owes(self) -> None:
        splitter = self.world.splitter
        trees = [splitter.tree(tree_id) for tree_id in self.model.trees]
        credits = [
            splitter.shareCredit(number, party) for number in self.model.licenses for party in range(4)
        ]
        owed = sum(tree.total - tree.paid for tree in trees) + splitter.pool() + sum(credits)
        balance = self.balance(splitter)
        assert owed <= balance
        dust = sum(terms.dust for terms in self.model.licenses.values())
        assert owed + dust + self.gifts["splitter"] == balance

    @invariant()
    def inv_02_03_04_08_trees_paid_exactly_what_the_model_paid(self) -> None:
        for tree_id, issued in self.model.trees.items():
            found = self.world.splitter.tree(tree_id)
            assert tuple(found)[:4] == (issued.tree.root, issued.tree.total, issued.paid, issued.tree.count)
            assert found.paid <= found.total
            bits = self.world.splitter.paidBits(tree_id, 0)
            assert bits == sum(1 << index for index in issued.paid_indices)

    @invariant()
    def inv_03_31_everybody_got_exactly_what_was_theirs(self) -> None:
        for who in (*PAYEES, GOAL, *self.parties):
            assert self.balance(who) == self.model.received.get(who.address, 0)

    @invariant()
    def inv_09_the_pool_is_what_contributors_earned_and_were_not_issued(self) -> None:
        assert self.world.splitter.pool() == self.model.pool
        earned = sum(terms.contributors(terms.charged) for terms in self.model.licenses.values())
        assert self.model.pool + sum(issued.tree.total for issued in self.model.trees.values()) == earned
        if self.pending is not None:
            lines = [(line.license_id, line.cumulative_units, line.charge) for line in self.pending.lines]
            promised = self.pending.notes_total + self.pending.reserve_total
            assert promised <= self.model.pool + self.model.contributors_share(lines)

    @invariant()
    def inv_11_12_14_15_accounts_add_up(self) -> None:
        total = 0
        for license_id, terms in self.model.licenses.items():
            acct = self.world.escrow.account(license_id)
            assert acct.deposited == acct.available + acct.reserved + acct.charged + acct.withdrawn
            assert acct.charged * 10**6 <= acct.cumulativeUnits * terms.price
            expected = (terms.available, terms.reserved, terms.charged, terms.units)
            assert (acct.available, acct.reserved, acct.charged, acct.cumulativeUnits) == expected
            assert (acct.deposited, acct.withdrawn) == (terms.deposited, terms.withdrawn)
            assert self.world.splitter.charged(license_id) == acct.charged
            total += acct.available + acct.reserved
        assert self.balance(self.world.escrow) == total + self.gifts["escrow"]

    @invariant()
    def inv_21_29_committees_are_the_announced_ones_and_reserves_are_issued_once(self) -> None:
        committee, settlement = self.world.committee, self.world.settlement
        for epoch in range(self.model.last_epoch + 1, self.model.last_epoch + 5):
            version = self.model.version_for(epoch)
            assert committee.versionFor(epoch) == version.number
            is_first = version.reserve_first and version.from_epoch == epoch
            assert committee.issuesReserveFirst(epoch) is is_first
        assert settlement.reserveIssuedEpoch() == self.model.reserve_issued

    @invariant()
    def inv_16_17_18_20_the_settlement_is_where_the_model_is(self) -> None:
        state = self.world.settlement.state()
        assert (state.lastEpoch, state.lastPeriodEnd) == (self.model.last_epoch, self.model.last_period_end)
        assert (state.nextAttempt, state.rejections) == (self.model.next_attempt, self.model.rejections)
        assert state.pending is (self.pending is not None)
        assert self.world.settlement.openDisputes() == self.model.open_disputes
        assert self.world.settlement.reportHash(self.model.last_epoch) == self.model.last_hash
        if self.pending is not None:
            assert state.finalizableAt == self.submitted_at + DISPUTE_SECONDS
        else:
            assert self.world.settlement.reportHash(self.model.last_epoch + 1) == bytes(32)
