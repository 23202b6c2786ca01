"""Bent calls by anyone to every contract: nobody's money moves but by its owner, and no sum breaks.

12,000 calls by default; USUFRUCT_ABUSE_CALLS sets another number (`make nightly`: 1,200,000).
"""

from __future__ import annotations

import os
from functools import cache

import pytest

from tests.contracts.evm.abuse import Abuser, Call, recorded
from tests.contracts.evm.books import Books
from tests.contracts.evm.stories import STORIES, everybody
from tests.contracts.evm.world import World

CALLS = int(os.environ.get("USUFRUCT_ABUSE_CALLS", "12000")) // len(STORIES)
SEED = int(os.environ.get("USUFRUCT_ABUSE_SEED", "1"))


@cache
def corpus() -> tuple[Call, ...]:
    """The good calls of all stories."""
    return tuple(call for story in STORIES.values() for call in recorded(story)[1])


@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("name", STORIES)
def test_inv_31_35_bent_calls_move_nobody_elses_money(name: str) -> None:
    world, own = recorded(STORIES[name])
    abuser = Abuser(world, everybody(world), own, corpus(), SEED)
    abuser.run(CALLS)
    assert abuser.outcomes["went through"] > CALLS // 100, abuser.outcomes.most_common(8)
    assert len(abuser.outcomes) > 20, "hardly any refusal was reached"


@pytest.mark.parametrize("place", ["escrow", "splitter", "fees"])
def test_books_notice_money_that_is_missing(place: str) -> None:
    story = {"escrow": "payments", "splitter": "payments", "fees": "considerations"}[place]
    world, _ = recorded(STORIES[story])
    books = Books(world, everybody(world))
    thief = world.people.stranger
    world.token.transfer(thief, world.token.balanceOf(getattr(world, place)), sender=getattr(world, place))
    with pytest.raises(AssertionError, match=f"{place} owes"):
        books.check(thief)


def test_books_notice_a_wallet_that_somebody_else_emptied(world: World) -> None:
    buyer, thief = world.people.buyer, world.people.stranger
    world.token.mint(buyer, 10, sender=buyer)
    books = Books(world, everybody(world))
    world.token.transfer(thief, 1, sender=buyer)
    with pytest.raises(AssertionError, match="paid for a call"):
        books.check(thief)
