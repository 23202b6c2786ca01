"""CommunityFund: whose the community's share is, and that each part can be pulled."""

import pytest
from brownie import ZERO_ADDRESS, CommunityFund

from tests.contracts.functional.scene import reverts


@pytest.fixture
def deploy(admin):
    """Deploys a fund of these parts."""

    def deployed(*parts):
        return CommunityFund.deploy(
            [(who, bps, f"part {n}") for n, (who, bps) in enumerate(parts)], {"from": admin}
        )

    return deployed


@pytest.fixture
def community_fund(deploy, community, payee):
    """A third of everything for the community, the rest for the payee."""
    return deploy((community, 3_333), (payee, 6_667))


def test_each_beneficiary_is_paid_its_part(community_fund, token, community, payee, stranger):
    token.mint(community_fund, 100, {"from": stranger})
    assert (community_fund.owed(token, 0), community_fund.owed(token, 1)) == (33, 66)
    community_fund.pay(token, 0, {"from": stranger})
    token.mint(community_fund, 100, {"from": stranger})
    for index in (0, 1):
        community_fund.pay(token, index, {"from": stranger})
    assert (token.balanceOf(community), token.balanceOf(payee)) == (66, 133)
    assert community_fund.received(token) == 200
    with reverts("CommunityFund_NothingToPay"):
        community_fund.pay(token, 0, {"from": stranger})


def test_a_fund_takes_the_communitys_share_of_a_license(
    community_fund, registry, splitter, token, council, accept, fund, nodes, stranger, payee
):
    registry.setCommunity(community_fund, {"from": council})
    accept()
    license_id = registry.licenseCount()
    fund(license_id, 1_000)
    nodes.settle([(license_id, 1_000, 1_000)])
    splitter.payShare(license_id, 0, {"from": stranger})
    community_fund.pay(token, 1, {"from": stranger})
    assert token.balanceOf(payee) == 66


def test_beneficiaries_have_names(community_fund, community):
    found = community_fund.beneficiary(0)
    assert (found["account"], found["bps"], found["name"]) == (community, 3_333, "part 0")
    assert community_fund.beneficiaryCount() == 2


def test_a_fund_is_whole(deploy, community, payee):
    with reverts("CommunityFund_NoBeneficiaries"):
        deploy()
    with reverts("CommunityFund_PartsNotWhole"):
        deploy((community, 3_333), (payee, 6_666))
    with reverts("CommunityFund_BeneficiaryTwice"):
        deploy((community, 5_000), (community, 5_000))
    with reverts("CommunityFund_BadBeneficiary"):
        deploy((ZERO_ADDRESS, 10_000))


def test_nobody_else_is_paid(community_fund, token, stranger):
    with reverts("CommunityFund_UnknownBeneficiary"):
        community_fund.pay(token, 2, {"from": stranger})
