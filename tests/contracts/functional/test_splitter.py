"""RoyaltySplitter: shares, notes in ranges, claims, redirects."""

import pytest
from brownie import ZERO_ADDRESS, TestUSDC, chain

from tests.contracts.functional.scene import FOREVER, now, reverts
from tests.contracts.trees import RawTree, word
from tests.contracts.wire import SPLITTER, account, sign, typed_digest

PAYEES = [account(f"payee {number}") for number in range(5)]
AMOUNTS = (10, 20, 40, 80, 160)
TREE = RawTree([word(payee.address, amount) for payee, amount in zip(PAYEES, AMOUNTS, strict=True)])
TREE_ID = 2
COMMUNITY, STEWARD, PLATFORM, OPERATORS = range(4)


@pytest.fixture
def charged(license_id, fund, nodes):
    """A license charged 1,001 base units in epoch 1, and five notes issued from it."""
    fund(license_id, 2_000)
    nodes.settle([(license_id, 1_001, 1_001)], TREE)
    return license_id


@pytest.fixture
def pay_range(splitter, charged, stranger):
    """Pays a range, perhaps with something wrong; returns the transaction."""

    def paid(start=0, log2=3, words=None, proof=None, tree_id=TREE_ID):
        words = TREE.range_words(start, log2) if words is None else words
        proof = TREE.range_proof(start, log2) if proof is None else proof
        return splitter.payRange(tree_id, start, log2, words, proof, {"from": stranger})

    return paid


@pytest.fixture
def claim(splitter, charged, stranger):
    """Claims a note, perhaps with something wrong; returns the transaction."""

    def claimed(index, note=None, proof=None, tree_id=TREE_ID):
        note = TREE.words[index] if note is None else note
        proof = TREE.proof(index) if proof is None else proof
        return splitter.claim(tree_id, index, note, proof, {"from": stranger})

    return claimed


@pytest.fixture
def redirect(splitter, charged, stranger, custodian):
    """Redirects note 1 to the custodian as its payee signed, perhaps with something changed."""

    def redirected(to=custodian.address, deadline=FOREVER, key=PAYEES[1].key, signed_to=custodian.address):
        terms = (TREE_ID, 1, PAYEES[1].address, AMOUNTS[1], signed_to, deadline)
        digest = typed_digest(SPLITTER, chain.id, splitter.address, "NoteRedirect", terms)
        given = (TREE_ID, 1, TREE.words[1], to, deadline, sign(key, digest).full, TREE.proof(1))
        return splitter.redirect(*given, {"from": stranger})

    return redirected


# -- shares -------------------------------------------------------------------------------------------------


def test_a_charge_is_divided_by_the_licenses_shares(splitter, charged):
    """1,001 at 70, 10, 10, 5 and 5 percent: contributors round up, the others down; 1 is left as dust."""
    assert splitter.charged(charged) == 1_001
    assert splitter.pool() + TREE.total == 701
    assert [splitter.shareCredit(charged, party) for party in range(4)] == [100, 100, 50, 50]


def test_a_charge_tells_its_parts(splitter, license_id, fund, nodes):
    fund(license_id, 1_000)
    report = nodes.post([(license_id, 1_000, 1_000)])
    nodes.wait_for_window()
    event = nodes.finalize(report).events["Accrued"]
    assert [event[name] for name in ("contributors", "community", "steward")] == [700, 100, 100]
    assert [event[name] for name in ("platform", "operators")] == [50, 50]


@pytest.mark.parametrize(
    ("party", "name"), [(0, "community"), (1, "steward"), (2, "platform"), (3, "operators")]
)
def test_anyone_sends_a_party_its_share(splitter, token, charged, stranger, accounts, party, name):
    to = account(name).address
    before, credit = token.balanceOf(to), splitter.shareCredit(charged, party)
    event = splitter.payShare(charged, party, {"from": stranger}).events["SharePaid"]
    assert (event["licenseId"], event["party"], event["to"], event["amount"]) == (charged, party, to, credit)
    assert token.balanceOf(to) - before == credit
    assert splitter.shareCredit(charged, party) == 0
    assert splitter.beneficiary(charged, party) == to


def test_a_share_is_paid_once(splitter, charged, stranger):
    splitter.payShare(charged, COMMUNITY, {"from": stranger})
    with reverts("RoyaltySplitter_NothingToPay"):
        splitter.payShare(charged, COMMUNITY, {"from": stranger})


def test_a_share_of_a_refused_party_stays_its_own(splitter, token, charged, stranger, steward):
    token.setBlocked(steward, True, {"from": stranger})
    with reverts("RoyaltySplitter_TransferFailed"):
        splitter.payShare(charged, STEWARD, {"from": stranger})
    assert splitter.shareCredit(charged, STEWARD) == 100


# -- payRange -----------------------------------------------------------------------------------------------


def test_pay_range_pays_every_note(splitter, token, pay_range):
    event = pay_range().events["RangePaid"]
    assert (event["treeId"], event["start"], event["log2Count"], event["amount"]) == (TREE_ID, 0, 3, 310)
    assert [token.balanceOf(payee.address) for payee in PAYEES] == list(AMOUNTS)
    assert splitter.tree(TREE_ID)["paid"] == 310
    assert splitter.paidBits(TREE_ID, 0) == 0b11111


def test_pay_range_skips_what_is_paid(pay_range, claim):
    claim(1)
    assert pay_range().events["RangePaid"]["amount"] == 290
    assert pay_range().events["RangePaid"]["amount"] == 0


def test_pay_range_skips_a_refused_wallet(splitter, token, pay_range, stranger):
    token.setBlocked(PAYEES[2].address, True, {"from": stranger})
    assert pay_range().events["RangePaid"]["amount"] == 270
    assert not splitter.isPaid(TREE_ID, 2)
    token.setBlocked(PAYEES[2].address, False, {"from": stranger})
    assert pay_range().events["RangePaid"]["amount"] == 40


def test_pay_range_pays_a_part(splitter, pay_range):
    assert pay_range(2, 1).events["RangePaid"]["amount"] == 120
    assert splitter.paidBits(TREE_ID, 0) == 0b01100


def test_pay_range_needs_a_tree(pay_range):
    with reverts("RoyaltySplitter_UnknownTree"):
        pay_range(tree_id=4)


@pytest.mark.parametrize(("start", "log2"), [(1, 1), (0, 4), (0, 9)])
def test_pay_range_needs_an_aligned_range_of_the_tree(pay_range, start, log2):
    with reverts("RoyaltySplitter_BadRange"):
        pay_range(start, log2, words=(0,), proof=b"")


def test_pay_range_needs_a_start_within_the_count(pay_range):
    with reverts("RoyaltySplitter_IndexOutOfRange"):
        pay_range(6, 1)


def test_pay_range_needs_exactly_its_words(pay_range):
    with reverts("RoyaltySplitter_WrongWordCount"):
        pay_range(words=TREE.words)


def test_pay_range_needs_exactly_its_proof(pay_range):
    with reverts("RoyaltySplitter_BadProofLength"):
        pay_range(2, 1, proof=TREE.range_proof(2, 1)[:-1])


def test_pay_range_refuses_words_beyond_the_count(pay_range):
    with reverts("RoyaltySplitter_WordsBeyondCount"):
        pay_range(words=(*TREE.words, TREE.words[0], 0, 0))


def test_pay_range_refuses_another_word(pay_range):
    forged = word(PAYEES[0].address, 11)
    with reverts("RoyaltySplitter_ProofMismatch"):
        pay_range(words=(forged, *TREE.range_words(0, 3)[1:]))


def test_pay_range_refuses_sums_beyond_their_type(pay_range):
    huge = word(PAYEES[0].address, 2**96 - 1)
    with reverts("RoyaltySplitter_SumOverflow"):
        pay_range(words=(huge, *TREE.range_words(0, 3)[1:]))


def test_pay_range_needs_gas_for_each_transfer(splitter, charged, stranger):
    given = (TREE_ID, 0, 3, TREE.range_words(0, 3), b"")
    with reverts("RoyaltySplitter_LowGas"):
        splitter.payRange(*given, {"from": stranger, "gas_limit": 160_000})


# -- claim --------------------------------------------------------------------------------------------------


def test_claim_pays_the_payee(splitter, token, claim):
    event = claim(3).events["NotePaid"]
    assert (event["treeId"], event["index"], event["to"], event["amount"]) == (
        TREE_ID,
        3,
        PAYEES[3].address,
        80,
    )
    assert token.balanceOf(PAYEES[3].address) == 80
    assert splitter.isPaid(TREE_ID, 3)


def test_claim_pays_once(claim):
    claim(3)
    with reverts("RoyaltySplitter_AlreadyPaid"):
        claim(3)


def test_claim_needs_a_tree(claim):
    with reverts("RoyaltySplitter_UnknownTree"):
        claim(3, tree_id=3)


def test_claim_needs_an_index_within_the_count(claim):
    with reverts("RoyaltySplitter_IndexOutOfRange"):
        claim(5, TREE.words[4], TREE.proof(5))


def test_claim_needs_a_word(claim):
    with reverts("RoyaltySplitter_ZeroWord"):
        claim(3, note=0)


def test_claim_needs_exactly_its_proof(claim):
    with reverts("RoyaltySplitter_BadProofLength"):
        claim(3, proof=TREE.proof(3)[44:])


def test_claim_needs_its_own_proof(claim):
    with reverts("RoyaltySplitter_ProofMismatch"):
        claim(3, proof=TREE.proof(2))


def test_claim_for_a_refused_wallet_changes_nothing(splitter, token, claim, stranger):
    token.setBlocked(PAYEES[3].address, True, {"from": stranger})
    with reverts("RoyaltySplitter_TransferFailed"):
        claim(3)
    assert not splitter.isPaid(TREE_ID, 3)


# -- redirect -----------------------------------------------------------------------------------------------


def test_redirect_pays_where_the_payee_signed(splitter, token, redirect, custodian):
    event = redirect().events["NotePaid"]
    assert (event["index"], event["to"], event["amount"]) == (1, custodian, 20)
    assert (token.balanceOf(custodian), token.balanceOf(PAYEES[1].address)) == (20, 0)


def test_redirect_pays_once(redirect):
    redirect()
    with reverts("RoyaltySplitter_AlreadyPaid"):
        redirect()


def test_redirect_goes_nowhere_else(redirect, stranger):
    with reverts("RoyaltySplitter_BadRedirectSignature"):
        redirect(to=stranger.address)


def test_redirect_needs_the_payees_signature(redirect):
    with reverts("RoyaltySplitter_BadRedirectSignature"):
        redirect(key=PAYEES[2].key)


def test_redirect_expires(redirect):
    with reverts("RoyaltySplitter_RedirectExpired"):
        redirect(deadline=now() - 1)


def test_redirect_needs_a_recipient(redirect):
    with reverts("RoyaltySplitter_ZeroAddress"):
        redirect(to=ZERO_ADDRESS, signed_to=ZERO_ADDRESS)


# -- neighbors and building ---------------------------------------------------------------------------------


def test_only_the_escrow_accrues(splitter, license_id, council):
    with reverts("RoyaltySplitter_OnlyEscrow"):
        splitter.accrue([(license_id, 1, 1)], {"from": council})


def test_only_the_settlement_issues(splitter, council):
    with reverts("RoyaltySplitter_OnlySettlement"):
        splitter.issue(2, TREE.root, TREE.total, TREE.count, {"from": council})


@pytest.mark.parametrize("missing", ["registry", "escrow", "settlement", "fees", "windDown"])
def test_a_splitter_needs_its_neighbors(build, missing):
    with reverts("RoyaltySplitter_ZeroAddress"):
        build("RoyaltySplitter", **{missing: ZERO_ADDRESS})


@pytest.mark.parametrize("missing", range(3), ids=["platform", "operators", "custodian"])
def test_a_splitter_needs_its_beneficiaries(build, admin, missing):
    parties = [admin.address] * 3
    parties[missing] = ZERO_ADDRESS
    with reverts("RoyaltySplitter_ZeroAddress"):
        build("RoyaltySplitter", beneficiaries=parties)


def test_a_splitter_and_its_registry_hold_the_same_token(build, admin):
    with reverts("RoyaltySplitter_WrongToken"):
        build("RoyaltySplitter", token=TestUSDC.deploy({"from": admin}).address)


def test_a_splitter_knows_its_neighbors(splitter, token, registry, escrow, settlement, custodian):
    assert (splitter.token(), splitter.registry()) == (token, registry)
    assert (splitter.escrow(), splitter.settlement()) == (escrow, settlement)
    assert splitter.custodian() == custodian
