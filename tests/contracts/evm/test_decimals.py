"""Tokens of 0, 6, 8 and 18 decimals: everything is in base units, up to what uint96 holds."""

from __future__ import annotations

import pytest
from usufruct_protocol.money import mul_div_down, mul_div_up

from tests.contracts.evm.books import Books
from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.stories import PAYEES, everybody
from tests.contracts.evm.world import World
from tests.contracts.trees import RawTree, word

BPS = 10_000
MAX_UINT96 = 2**96 - 1


@pytest.mark.parametrize("decimals", [0, 6, 8, 18])
def test_inv_01_11_12_a_license_is_charged_and_paid_out_whatever_the_decimals(decimals: int) -> None:
    """1,000,001 calls at 12.50 per thousand, in a token whose smallest part may be a whole coin."""
    world = World(Evm(), "DecimalsToken", (decimals,))
    coin = 10**decimals
    price = 12_500 * coin
    units = 1_000_001
    due = mul_div_down(units, price, 10**6)
    license_id = world.accept(price_per_million_units=price, max_charge_per_epoch=MAX_UINT96)
    world.deposit(license_id, 20_000 * coin)
    world.settle([(license_id, units, due)])
    assert world.escrow.account(license_id).available == 20_000 * coin - due
    pool = world.splitter.pool()
    assert pool == mul_div_up(due, 7_000, BPS)

    amounts = [pool // 4, pool // 4, pool // 4, pool - 3 * (pool // 4)]
    tree = RawTree([word(who.address, amount) for who, amount in zip(PAYEES, amounts, strict=True)])
    tree_id = world.issue(tree)
    paid = world.splitter.payRange(tree_id, 0, 2, tree.range_words(0, 2), b"", sender=world.people.stranger)
    assert paid.value == pool
    shares = [world.splitter.payShare(license_id, party, sender=world.people.stranger) for party in range(4)]
    assert sum(share.value for share in shares) + pool in range(due - 3, due + 1)
    Books(world, everybody(world))


def test_inv_11_18_decimals_reach_the_end_of_uint96_and_not_beyond() -> None:
    """Some 79 billion coins of 18 decimals: the last one fits, the next is refused and nothing is taken."""
    world = World(Evm(), "DecimalsToken", (18,))
    license_id = world.accept(price_per_million_units=MAX_UINT96, max_charge_per_epoch=MAX_UINT96)
    world.deposit(license_id, MAX_UINT96)
    with pytest.raises(Reverted, match="RoyaltyEscrow_BalanceTooLarge"):
        world.deposit(license_id, 1)
    world.settle([(license_id, 10**6, MAX_UINT96)])
    assert world.splitter.charged(license_id) == MAX_UINT96
    assert world.splitter.pool() == mul_div_up(MAX_UINT96, 7_000, BPS)
    Books(world, everybody(world))
