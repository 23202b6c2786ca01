"""Notes unpaid for five years: the one exception to "no role moves money", and how narrow it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.contracts.evm.chain import Receipt, Reverted
from tests.contracts.evm.reserves import Reserve, claim_reserve
from tests.contracts.evm.world import World
from tests.contracts.trees import RawTree, word
from tests.contracts.wire import ZERO_HASH, account

FIVE_YEARS = 157_788_000
NOTICE = 90 * 86_400
GENERATION = 2**40
LOST, ALIVE, HEIR = account("lost wallet"), account("a wallet that works"), account("an heir")


@dataclass
class Old:
    """A tree of a lost wallet's note of 60 and another's of 40; and what the council wants in its place."""

    world: World
    tree: RawTree
    tree_id: int
    successor: RawTree

    def schedule(self, successor: RawTree | None = None, **changes: Any) -> Receipt:
        tree = successor or self.successor
        terms = {"root": tree.root, "total": tree.total, "count": tree.count} | changes
        council = self.world.people.council
        receipt: Receipt = self.world.splitter.scheduleReissue(self.tree_id, *terms.values(), sender=council)
        return receipt

    def execute(self) -> int:
        stranger = self.world.people.stranger
        return int(self.world.splitter.executeReissue(self.tree_id, sender=stranger).value)

    def claim(self, index: int, tree: RawTree | None = None, tree_id: int | None = None) -> None:
        tree = tree or self.tree
        self.world.splitter.claim(
            tree_id or self.tree_id, index, tree.words[index], tree.proof(index), sender=account("anyone")
        )

    def balance(self, who: Any) -> int:
        return int(self.world.token.balanceOf(who))


def notes(*parts: tuple[Any, int]) -> RawTree:
    return RawTree([word(who.address, amount) for who, amount in parts])


@pytest.fixture
def young(world: World) -> Old:
    world.fill_pool(1_000)
    tree = notes((LOST, 60), (ALIVE, 40))
    return Old(world, tree, world.issue(tree), notes((HEIR, 60), (ALIVE, 40)))


@pytest.fixture
def old(young: Old) -> Old:
    young.world.evm.warp(FIVE_YEARS)
    return young


def test_what_was_unpaid_for_five_years_can_go_to_others_after_ninety_days(old: Old) -> None:
    (event,) = old.schedule().named("ReissueScheduled")
    assert (event.treeId, event.total, event.count) == (old.tree_id, 100, 2)
    assert event.executableAt == old.world.evm.timestamp + NOTICE
    scheduled = old.world.splitter.reissue(old.tree_id)
    assert tuple(scheduled) == (old.successor.root, 100, 2, event.executableAt)
    old.world.evm.warp(NOTICE)
    new_id = old.execute()
    assert new_id == old.tree_id + GENERATION
    old.claim(0, old.successor, new_id)
    old.claim(1, old.successor, new_id)
    assert (old.balance(HEIR), old.balance(ALIVE), old.balance(LOST)) == (60, 40, 0)


def test_inv_31_only_the_council_can_schedule_and_anyone_executes(old: Old) -> None:
    people = old.world.people
    terms = (old.tree_id, old.successor.root, 100, 2)
    for outsider in (people.guardian, people.stranger, people.steward, LOST):
        with pytest.raises(Reverted, match="AccessManagedUnauthorized"):
            old.world.splitter.scheduleReissue(*terms, sender=outsider)


def test_inv_31_a_note_younger_than_five_years_is_out_of_reach(young: Old) -> None:
    young.world.until(young.world.splitter.tree(young.tree_id).issuedAt + FIVE_YEARS - 1)
    with pytest.raises(Reverted, match="RoyaltySplitter_TooYoung"):
        young.schedule()
    young.world.evm.warp(1)
    young.schedule()


def test_inv_31_a_payment_makes_no_tree_older(young: Old) -> None:
    """Time of issue and paid sum share a slot, which each payment writes whole."""
    splitter = young.world.splitter
    before = splitter.tree(young.tree_id)
    young.claim(0)
    assert splitter.tree(young.tree_id) == before._replace(paid=60)
    with pytest.raises(Reverted, match="RoyaltySplitter_TooYoung"):
        young.schedule(notes((HEIR, 40)))
    splitter.payRange(young.tree_id, 0, 1, young.tree.words, b"", sender=ALIVE)
    assert splitter.tree(young.tree_id) == before._replace(paid=100)


def test_inv_31_the_notice_takes_ninety_days(old: Old) -> None:
    with pytest.raises(Reverted, match="RoyaltySplitter_NothingScheduled"):
        old.execute()
    old.schedule()
    old.world.evm.warp(NOTICE - 1)
    with pytest.raises(Reverted, match="RoyaltySplitter_NoticeRunning"):
        old.execute()
    # changing what is scheduled starts it again
    old.schedule(notes((ALIVE, 100)))
    old.world.evm.warp(1)
    with pytest.raises(Reverted, match="RoyaltySplitter_NoticeRunning"):
        old.execute()
    old.world.evm.warp(NOTICE - 1)
    old.execute()
    with pytest.raises(Reverted, match="RoyaltySplitter_NothingScheduled"):
        old.execute()


def test_inv_31_the_original_payee_can_claim_until_it_is_executed_and_that_ends_it(old: Old) -> None:
    old.schedule()
    old.world.evm.warp(10 * NOTICE)
    old.claim(0)
    assert old.balance(LOST) == 60
    with pytest.raises(Reverted, match="RoyaltySplitter_NotAllUnpaid"):
        old.execute()
    with pytest.raises(Reverted, match="RoyaltySplitter_NotAllUnpaid"):
        old.schedule()
    old.claim(1)
    assert old.balance(ALIVE) == 40


def test_inv_31_a_re_issue_holds_all_that_is_unpaid_and_nothing_else(old: Old) -> None:
    """Less would leave somebody's money to nobody; more is somebody else's money."""
    old.claim(1)
    for part in (59, 61, 100, 0):
        with pytest.raises(Reverted, match="RoyaltySplitter_NotAllUnpaid"):
            old.schedule(total=part)
    old.schedule(notes((HEIR, 60)))
    old.claim(0)
    with pytest.raises(Reverted, match="RoyaltySplitter_NotAllUnpaid"):
        old.schedule(total=0)


def test_a_re_issue_has_notes_and_an_old_tree(old: Old) -> None:
    for changes in ({"root": ZERO_HASH}, {"count": 0}):
        with pytest.raises(Reverted, match="RoyaltySplitter_BadEmptyTree"):
            old.schedule(**changes)
    old.tree_id += 1
    with pytest.raises(Reverted, match="RoyaltySplitter_UnknownTree"):
        old.schedule()


def test_inv_03_a_re_issued_note_is_not_paid_in_its_old_tree(old: Old) -> None:
    before = old.world.splitter.pool(), old.balance(old.world.splitter)
    old.schedule()
    old.world.evm.warp(NOTICE)
    new_id = old.execute()
    assert (old.world.splitter.pool(), old.balance(old.world.splitter)) == before
    for index in (0, 1):
        with pytest.raises(Reverted, match="RoyaltySplitter_TreeReissued"):
            old.claim(index)
    with pytest.raises(Reverted, match="RoyaltySplitter_TreeReissued"):
        old.world.splitter.payRange(old.tree_id, 0, 1, old.tree.words, b"", sender=LOST)
    assert old.balance(LOST) == old.balance(ALIVE) == 0
    assert old.world.splitter.payRange(new_id, 0, 1, old.successor.words, b"", sender=LOST).value == 100


def test_inv_08_roots_of_both_trees_stay_what_they_were(old: Old) -> None:
    old.schedule()
    old.world.evm.warp(NOTICE)
    new_id = old.execute()
    found, new = old.world.splitter.tree(old.tree_id), old.world.splitter.tree(new_id)
    assert (found.root, found.total, found.paid, found.count) == (old.tree.root, 100, 100, 2)
    assert (new.root, new.total, new.paid, new.count) == (old.successor.root, 100, 0, 2)
    assert new.issuedAt == old.world.evm.timestamp


def test_inv_02_a_successor_that_promises_more_than_its_total_pays_no_more(old: Old) -> None:
    old.schedule(notes((HEIR, 2**96 - 1)), total=100, count=1)
    old.world.evm.warp(NOTICE)
    new_id = old.execute()
    with pytest.raises(Reverted, match="RoyaltySplitter_ProofMismatch"):
        old.claim(0, notes((HEIR, 2**96 - 1)), new_id)
    assert old.balance(HEIR) == 0


def test_inv_31_a_successor_is_out_of_reach_for_another_five_years(old: Old) -> None:
    old.schedule()
    old.world.evm.warp(NOTICE)
    old.tree_id = old.execute()
    with pytest.raises(Reverted, match="RoyaltySplitter_TooYoung"):
        old.schedule()
    old.world.evm.warp(FIVE_YEARS)
    old.schedule()
    old.world.evm.warp(NOTICE)
    assert old.execute() % GENERATION == old.tree_id % GENERATION


def test_an_issued_reserve_is_re_issued_as_a_reserve(world: World) -> None:
    """Its id stays odd, so its leaves stay salted."""
    world.fill_pool(1_000)
    reserve, successor = Reserve((60,), [LOST]), Reserve((60,), [HEIR])
    last = world.settle(**reserve.in_report)
    world.wind_down.announceByCouncil(sender=world.people.council)
    world.evm.warp(30 * 86_400)
    world.wind_down.close(last, last, sender=world.people.stranger)
    world.evm.warp(FIVE_YEARS)
    old = Old(world, reserve, 2 * last.epoch + 1, successor)
    old.schedule()
    world.evm.warp(NOTICE)
    new_id = old.execute()
    claim_reserve(world, new_id, successor, 0)
    with pytest.raises(Reverted, match="RoyaltySplitter_TreeReissued"):
        claim_reserve(world, old.tree_id, reserve, 0)
    assert (old.balance(HEIR), old.balance(LOST)) == (60, 0)


def test_trees_are_not_re_issued_once_their_time_does_not_fit(old: Old) -> None:
    """From 7 February 2106 on a tree's age would be read wrongly: a new one would look old."""
    old.world.until(2**32)
    with pytest.raises(Reverted, match="RoyaltySplitter_TooYoung"):
        old.schedule()
