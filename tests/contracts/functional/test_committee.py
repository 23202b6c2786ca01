"""OracleCommittee: signer tables, thresholds, quorums."""

import pytest
from brownie import ZERO_ADDRESS

from tests.contracts.functional.scene import reverts
from tests.contracts.wire import account, keccak, quorum_blob

DIGEST = keccak(b"anything that may be signed")


def table(count, tag="new signer"):
    """That many new signers' addresses, ascending."""
    made = (account(f"{tag} {number}").address for number in range(count))
    return sorted(made, key=lambda address: int(address, 16))


@pytest.fixture
def rotate(committee, council):
    """Rotates to new signers, as the council."""

    def rotated(from_epoch, signers=None):
        return committee.rotate(signers or table(5), from_epoch, {"from": council})

    return rotated


@pytest.fixture
def check(committee, stranger):
    """Checks a quorum of epoch 1 as a transaction, so that its error is decoded."""

    def checked(signatures, epoch=1, version=1):
        committee.requireQuorum.transact(epoch, version, DIGEST, signatures, {"from": stranger})

    return checked


def test_the_first_table_governs_from_the_first_epoch(committee, signers):
    found, from_epoch = committee.signersOf(1)
    assert (list(found), from_epoch) == ([who.address for who in signers], 1)
    assert (committee.latestVersion(), committee.versionFor(1), committee.versionFor(1_000)) == (1, 1, 1)


def test_nobody_reports_epoch_zero(committee):
    assert committee.versionFor(0) == 0


@pytest.mark.parametrize(("count", "k"), [(4, 3), (5, 4), (6, 4), (7, 5), (10, 7), (100, 67)])
def test_threshold(committee, count, k):
    assert committee.threshold(count) == k


# -- rotate -------------------------------------------------------------------------------------------------


def test_rotate_adds_a_version(committee, rotate):
    event = rotate(2).events["SignersRotated"]
    assert (event["version"], event["fromEpoch"], list(event["signers"])) == (2, 2, table(5))
    assert (committee.versionFor(1), committee.versionFor(2), committee.latestVersion()) == (1, 2, 2)


def test_rotate_is_for_the_council(committee, guardian):
    with reverts("AccessManagedUnauthorized"):
        committee.rotate(table(5), 2, {"from": guardian})


def test_rotate_leaves_the_open_epoch_alone(rotate):
    with reverts("OracleCommittee_EpochNotInFuture"):
        rotate(1)


def test_rotate_replaces_versions_that_have_not_begun(committee, rotate):
    rotate(3)
    event = rotate(2).events["SignersRotated"]
    assert event["version"] == 3
    assert [committee.versionFor(epoch) for epoch in (1, 2, 3, 4)] == [1, 3, 3, 3]


def test_rotate_reaches_a_year_ahead_and_no_further(rotate):
    with reverts("OracleCommittee_EpochTooFar"):
        rotate(368)
    rotate(367)


def test_a_table_has_at_least_four_signers(rotate):
    with reverts("OracleCommittee_TooFewSigners"):
        rotate(2, table(3))


def test_a_table_has_at_most_255_signers(rotate):
    """Whether or not all of it fits one block, the 256th is named as the reason."""
    with reverts("OracleCommittee_TooManySigners"):
        rotate(2, ["0x" + f"{number + 1:040x}" for number in range(256)])


@pytest.mark.parametrize("twist", ["repeated", "unordered", "zero"])
def test_a_table_ascends(rotate, twist):
    addresses = table(5)
    twisted = {
        "repeated": [addresses[0], *addresses],
        "unordered": addresses[::-1],
        "zero": [ZERO_ADDRESS, *addresses],
    }
    with reverts("OracleCommittee_SignersNotAscending"):
        rotate(2, twisted[twist])


def test_rotate_asks_for_the_minimum_bond(deployed, committee, council, rotate, signers, token, stranger):
    bonds = deployed["operator_bonds"]
    bonds.setMinimumBond(100, {"from": council})
    with reverts("OracleCommittee_BondTooSmall"):
        rotate(2)
    token.mint(stranger, 400, {"from": stranger})
    token.approve(bonds, 400, {"from": stranger})
    for signer in signers:
        bonds.deposit(signer.address, 100, {"from": stranger})
    rotate(2, [signer.address for signer in signers])
    assert committee.versionFor(2) == 2


def test_more_than_f_new_signers_issue_the_reserve_first(committee, rotate, signers):
    rotate(2, [signer.address for signer in signers])
    assert not committee.issuesReserveFirst(2)
    rotate(2)
    assert committee.issuesReserveFirst(2)
    assert not committee.issuesReserveFirst(3)


# -- requireQuorum ------------------------------------------------------------------------------------------


def test_a_quorum_is_accepted_from_anyone(committee, signers, stranger):
    committee.requireQuorum(1, 1, DIGEST, quorum_blob(DIGEST, signers, (0, 2, 3)), {"from": stranger})


def test_a_quorum_names_the_version_that_governs(check, signers):
    for version in (0, 2):
        with reverts("OracleCommittee_StaleVersion"):
            check(quorum_blob(DIGEST, signers, (0, 1, 2)), version=version)


def test_a_quorum_comes_in_whole_signatures(check, signers):
    with reverts("OracleCommittee_BadSignatureLength"):
        check(quorum_blob(DIGEST, signers, (0, 1, 2)) + b"\0")


def test_a_quorum_has_k_signatures(check, signers):
    with reverts("OracleCommittee_NotEnoughSignatures"):
        check(quorum_blob(DIGEST, signers, (0, 1)))


@pytest.mark.parametrize("indices", [(0, 0, 1), (0, 2, 1), (2, 1, 0)])
def test_a_quorum_ascends(check, signers, indices):
    with reverts("OracleCommittee_SignatureOutOfOrder"):
        check(quorum_blob(DIGEST, signers, indices))


def test_a_quorum_is_of_members(check, signers):
    with reverts("OracleCommittee_UnknownSigner"):
        check(quorum_blob(DIGEST, signers, (0, 1)) + b"\4" + bytes(64))


def test_a_quorum_signs_this_digest(check, signers):
    with reverts("OracleCommittee_WrongSignature"):
        check(quorum_blob(keccak(b"something else"), signers, (0, 1, 2)))


def test_a_quorum_has_low_s(check, signers):
    with reverts("OracleCommittee_MalleableSignature"):
        check(quorum_blob(DIGEST, signers, (0, 1)) + b"\2" + b"\1" * 32 + b"\x7f" + b"\xff" * 31)


# -- quorumSigners ------------------------------------------------------------------------------------------


def test_the_signers_of_a_quorum_are_named(committee, signers):
    named = committee.quorumSigners(1, 1, DIGEST, quorum_blob(DIGEST, signers, (0, 2, 3)))
    assert list(named) == [signers[index].address for index in (0, 2, 3)]


def test_nobody_is_named_without_a_quorum(committee, signers, stranger):
    with reverts("OracleCommittee_NotEnoughSignatures"):
        blob = quorum_blob(DIGEST, signers, (0, 1))
        committee.quorumSigners.transact(1, 1, DIGEST, blob, {"from": stranger})


# -- reading and building -----------------------------------------------------------------------------------


def test_a_version_that_does_not_exist_is_not_read_as_empty(committee, stranger):
    with reverts("OracleCommittee_UnknownVersion"):
        committee.signersOf.transact(2, {"from": stranger})


@pytest.mark.parametrize("missing", ["authority", "settlement", "operatorBonds"])
def test_a_committee_needs_its_neighbors(build, missing):
    with reverts("OracleCommittee_ZeroAddress"):
        build("OracleCommittee", **{missing: ZERO_ADDRESS})
