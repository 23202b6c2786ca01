"""RoyaltySplitter's second line of defense: what it refuses even from its own neighbors.

Wired as it should be it is never asked for these; here somebody stands in for the escrow and the settlement.
"""

import pytest

from tests.contracts.functional.scene import reverts

TOP = 2**96 - 1
ROOT = b"\1" * 32


@pytest.fixture
def lone(build, stranger):
    """A splitter whose escrow and settlement is the stranger."""
    return build("RoyaltySplitter", escrow=stranger.address, settlement=stranger.address)


@pytest.fixture
def pool(lone, license_id, stranger):
    """700 base units of contributors' money."""
    lone.accrue([(license_id, 1_000, 1_000)], {"from": stranger})
    return lone.pool()


def test_a_tree_is_issued_from_the_pool(lone, pool, stranger):
    event = lone.issue(2, ROOT, 300, 2, {"from": stranger}).events["NotesIssued"]
    assert (event["treeId"], bytes(event["root"]), event["total"], event["count"]) == (2, ROOT, 300, 2)
    assert lone.pool() == pool - 300


def test_a_tree_is_issued_once(lone, pool, stranger):
    lone.issue(2, ROOT, 300, 2, {"from": stranger})
    with reverts("RoyaltySplitter_TreeExists"):
        lone.issue(2, ROOT, 300, 2, {"from": stranger})


def test_a_tree_beyond_the_pool_is_refused(lone, pool, stranger):
    with reverts("RoyaltySplitter_Unfunded"):
        lone.issue(2, ROOT, pool + 1, 2, {"from": stranger})


def test_no_notes_issue_nothing(lone, pool, stranger):
    lone.issue(2, bytes(32), 0, 0, {"from": stranger})
    assert lone.pool() == pool


@pytest.mark.parametrize(("root", "total"), [(ROOT, 0), (bytes(32), 1)])
def test_no_notes_have_one_form(lone, pool, stranger, root, total):
    with reverts("RoyaltySplitter_BadEmptyTree"):
        lone.issue(2, root, total, 0, {"from": stranger})


def test_a_pool_holds_more_than_any_single_amount(lone, accept, stranger):
    """Charges never fail for what the pool holds already: a report could not be finalized otherwise."""
    accept(nonce=1)
    accept(nonce=2)
    lone.accrue([(1, 1, TOP)], {"from": stranger})
    lone.accrue([(2, 1, TOP)], {"from": stranger})
    assert lone.pool() > TOP


def test_income_joins_the_pool_in_a_total_of_its_own(build, license_id, stranger):
    lone = build("RoyaltySplitter", fees=stranger.address)
    event = lone.accrueIncome(license_id, 1_001, {"from": stranger}).events["IncomeAccrued"]
    assert (event["contributors"], event["community"], event["operators"]) == (701, 100, 50)
    assert (lone.pool(), lone.income(license_id), lone.charged(license_id)) == (701, 1_001, 0)
    assert lone.shareEarned(license_id, 0) == lone.shareCredit(license_id, 0) == 100
