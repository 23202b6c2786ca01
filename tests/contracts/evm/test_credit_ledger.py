"""Credits: granted under a root that names nobody, burned by their holder, confirmed by the buyer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.considerations import CreditGrant, CreditLeaf, RedemptionReceipt, credits_domain
from usufruct_protocol.eip712 import typed_digest as hand_laid_digest
from usufruct_protocol.errors import InputRejected

from tests.contracts.evm.chain import Evm, Reverted
from tests.contracts.evm.fees import DAY, raw
from tests.contracts.evm.world import World
from tests.contracts.wire import ZERO_ADDRESS, ZERO_HASH, Account, account, keccak, sign, typed_digest
from tests.reference import considerations as reference
from tests.reference.receipts import padded_root

CREDITS = "Usufruct Credits"
HOLDERS = [account(f"holder {number}") for number in range(5)]
AMOUNTS = (10, 20, 30, 40, 50)
FAIR_VALUE = 2_000_000
DOCUMENT, REQUEST, GIVEN = keccak(b"promise"), keccak(b"request"), keccak(b"given")
UNKNOWN = 99


def leaf(number: int, amount: int) -> CreditLeaf:
    return CreditLeaf(raw(HOLDERS[number]), amount, keccak(b"salt" + bytes([number])))


@dataclass
class Book:
    """One program with one grant to five holders."""

    world: World
    license_id: int
    expires_at: int
    program_id: int
    grant: CreditGrant
    grant_id: int

    def redeem(self, number: int, amount: int, by: Account | None = None, **changes: Any) -> int:
        """A holder burns credits; arguments may be changed by name. Returns the redemption's number."""
        own = self.grant.leaves[number]
        plain: dict[str, Any] = {
            "grant_id": self.grant_id,
            "index": number,
            "granted": own.amount,
            "salt": own.salt,
            "proof": self.grant.proof(number),
            "amount": amount,
            "request": REQUEST,
        }
        arguments = {**plain, **changes}.values()
        return int(self.world.credits.redeem(*arguments, sender=by or HOLDERS[number]).value)

    def signed(self, receipt: RedemptionReceipt, by: Account | None = None) -> bytes:
        """The buyer's signature of what was given."""
        chain_id, contract = self.world.evm.chain_id, self.world.credits.address
        digest = typed_digest(CREDITS, chain_id, contract, "RedemptionReceipt", receipt)
        return sign((by or self.world.people.buyer).key, digest).full

    def receipt(self, redemption_id: int, number: int, amount: int) -> RedemptionReceipt:
        return RedemptionReceipt(redemption_id, self.grant_id, raw(HOLDERS[number]), amount, REQUEST, GIVEN)


def open_book(world: World, amounts: Sequence[int] = AMOUNTS, **changes: int) -> Book:
    license_id = world.accept()
    expires_at = world.evm.timestamp + 90 * DAY
    buyer = world.people.buyer
    program_id = world.credits.openProgram(license_id, FAIR_VALUE, expires_at, DOCUMENT, sender=buyer).value
    grant = CreditGrant(tuple(leaf(number, amount) for number, amount in enumerate(amounts)))
    total = changes.get("total", grant.total)
    grant_id = world.credits.grant(program_id, grant.root, len(grant.leaves), total, sender=buyer).value
    return Book(world, license_id, expires_at, program_id, grant, grant_id)


@pytest.fixture
def book(world: World) -> Book:
    return open_book(world)


# -- the life of a credit ------------------------------------------------------------------------------------


def test_a_program_says_what_was_promised(book: Book) -> None:
    assert book.world.credits.program(book.program_id) == (
        book.license_id,
        FAIR_VALUE,
        book.expires_at,
        DOCUMENT,
    )
    assert book.world.credits.grantOf(book.grant_id) == (book.program_id, book.grant.root, 5, sum(AMOUNTS), 0)


def test_holders_burn_their_credits_in_parts(book: Book) -> None:
    assert [book.redeem(1, 5), book.redeem(1, 15), book.redeem(4, 50)] == [1, 2, 3]
    assert [book.world.credits.redeemedOf(book.grant_id, number) for number in range(5)] == [0, 20, 0, 0, 50]
    assert book.world.credits.grantOf(book.grant_id).redeemed == 70
    assert book.world.credits.redemption(2) == (book.grant_id, HOLDERS[1].address, 15, REQUEST, False)


def test_credits_are_burned_once(book: Book) -> None:
    book.redeem(0, 10)
    with pytest.raises(Reverted, match="CreditLedger_OverGranted"):
        book.redeem(0, 1)
    book.redeem(1, 19)
    with pytest.raises(Reverted, match="CreditLedger_OverGranted"):
        book.redeem(1, 2)
    with pytest.raises(Reverted, match="CreditLedger_OverGranted"):
        book.redeem(2, 2**96 - 1)


def test_a_credit_ends_with_its_program(book: Book) -> None:
    book.world.evm.at(book.expires_at - 1)
    book.redeem(0, 1)
    book.world.evm.warp(1)
    with pytest.raises(Reverted, match="CreditLedger_Expired"):
        book.redeem(0, 1)
    with pytest.raises(Reverted, match="CreditLedger_Expired"):
        book.world.credits.grant(book.program_id, book.grant.root, 5, 1, sender=book.world.people.buyer)


def test_a_redemption_is_confirmed_by_the_buyer_or_by_what_the_buyer_signed(book: Book) -> None:
    world = book.world
    first, second = book.redeem(1, 7), book.redeem(2, 3)
    world.credits.confirm(first, GIVEN, b"", sender=world.people.buyer)
    signature = book.signed(book.receipt(second, 2, 3))
    made = world.credits.confirm(second, GIVEN, signature, sender=HOLDERS[2])
    assert made.named("RedemptionConfirmed")[0].documentHash == GIVEN
    assert all(world.credits.redemption(number).confirmed for number in (first, second))
    with pytest.raises(Reverted, match="CreditLedger_AlreadyConfirmed"):
        world.credits.confirm(second, GIVEN, signature, sender=HOLDERS[2])


def test_a_redemption_is_confirmed_after_expiry_too(book: Book) -> None:
    redemption_id = book.redeem(0, 1)
    book.world.evm.at(book.expires_at + 365 * DAY)
    book.world.credits.confirm(redemption_id, GIVEN, b"", sender=book.world.people.buyer)


def test_a_buyer_that_is_a_contract_confirms_by_erc_1271(world: World) -> None:
    owner = account("owner of a buying wallet")
    wallet = world.evm.deploy("ContractWallet", owner, sender=owner)
    offer = world.offer(buyer=raw(wallet))

    def act(contract: Any, name: str, *arguments: Any) -> None:
        wallet.act(contract, contract.calldata(name, *arguments), sender=owner)

    act(world.registry, "accept", offer, world.sign_offer(offer))
    act(world.credits, "openProgram", 1, 1, world.evm.timestamp + DAY, DOCUMENT)
    grant = CreditGrant((leaf(0, 5),))
    act(world.credits, "grant", 1, grant.root, 1, 5)
    book = Book(world, 1, 0, 1, grant, 1)
    receipt = book.receipt(book.redeem(0, 5), 0, 5)
    with pytest.raises(Reverted, match="CreditLedger_BadReceipt"):
        world.credits.confirm(1, GIVEN, book.signed(receipt), sender=HOLDERS[0])
    world.credits.confirm(1, GIVEN, book.signed(receipt, owner), sender=HOLDERS[0])


def test_a_grant_to_one_holder_has_its_leaf_as_root(world: World) -> None:
    book = open_book(world, (7,))
    book.redeem(0, 7)
    assert world.credits.redeemedOf(book.grant_id, 0) == 7


def test_nothing_moves_a_credit_to_somebody_else(shared_world: World) -> None:
    """The whole list of what the ledger can do."""
    writing = {name for name, function in shared_world.credits.functions.items() if not function.is_view}
    assert writing == {"openProgram", "grant", "redeem", "confirm"}


# -- refused -------------------------------------------------------------------------------------------------


def test_only_the_leafs_holder_redeems_it(book: Book) -> None:
    people = book.world.people
    for thief in (people.stranger, people.buyer, people.council, HOLDERS[1]):
        with pytest.raises(Reverted, match="LaneTree_WrongProof"):
            book.redeem(0, 1, by=thief)


@pytest.mark.parametrize("change", ["granted", "salt", "index", "high index", "short", "long", "other grant"])
def test_a_leaf_is_what_was_granted(book: Book, change: str) -> None:
    proof = book.grant.proof(0)
    richer = CreditGrant(tuple(leaf(number, amount + 1) for number, amount in enumerate(AMOUNTS)))
    buyer = book.world.people.buyer
    other = book.world.credits.grant(book.program_id, richer.root, 5, richer.total, sender=buyer).value
    changes: dict[str, dict[str, Any]] = {
        "granted": {"granted": 11},
        "salt": {"salt": ZERO_HASH},
        "index": {"index": 1},
        "high index": {"index": 8},
        "short": {"proof": proof[:-1]},
        "long": {"proof": (*proof, ZERO_HASH)},
        "other grant": {"grant_id": other},
    }
    with pytest.raises(Reverted, match=r"LaneTree_(WrongProof|WrongProofLength|NoSuchLeaf)"):
        book.redeem(0, 1, **changes[change])


def test_a_padding_leaf_belongs_to_nobody(book: Book) -> None:
    for number in (5, 6, 7):
        with pytest.raises(Reverted, match="LaneTree_NoSuchLeaf"):
            book.redeem(0, 1, index=number)


def test_a_node_is_no_leaf(world: World) -> None:
    """A buyer who grants a root over two levels cannot be tricked by a proof that stops one level early."""
    book = open_book(world, (1, 2, 3, 4))
    for number in range(4):
        with pytest.raises(Reverted, match="LaneTree_WrongProofLength"):
            book.redeem(number, 1, proof=book.grant.proof(number)[1:], index=number // 2)


def test_a_root_over_more_than_its_total_buys_no_more(world: World) -> None:
    book = open_book(world, (10, 20), total=25)
    book.redeem(1, 20)
    with pytest.raises(Reverted, match="CreditLedger_OverTotal"):
        book.redeem(0, 6)
    book.redeem(0, 5)


def test_only_the_licenses_buyer_promises_and_grants(book: Book) -> None:
    world, people = book.world, book.world.people
    for other in (people.stranger, people.steward, people.council, HOLDERS[0]):
        with pytest.raises(Reverted, match="CreditLedger_NotBuyer"):
            world.credits.openProgram(book.license_id, 1, book.expires_at, DOCUMENT, sender=other)
        with pytest.raises(Reverted, match="CreditLedger_NotBuyer"):
            world.credits.grant(book.program_id, book.grant.root, 5, 1, sender=other)
    with pytest.raises(Reverted, match="LicenseRegistry_UnknownLicense"):
        world.credits.openProgram(UNKNOWN, 1, book.expires_at, DOCUMENT, sender=people.buyer)


def test_a_promise_of_nothing_is_refused(book: Book) -> None:
    credits, buyer, now = book.world.credits, book.world.people.buyer, book.world.evm.timestamp
    with pytest.raises(Reverted, match="CreditLedger_ZeroFairValue"):
        credits.openProgram(book.license_id, 0, now + 1, DOCUMENT, sender=buyer)
    with pytest.raises(Reverted, match="CreditLedger_BadExpiry"):
        credits.openProgram(book.license_id, 1, now, DOCUMENT, sender=buyer)
    for root, count, total in ((ZERO_HASH, 1, 1), (DOCUMENT, 0, 1), (DOCUMENT, 1, 0)):
        with pytest.raises(Reverted, match="CreditLedger_EmptyGrant"):
            credits.grant(book.program_id, root, count, total, sender=buyer)
    with pytest.raises(Reverted, match="CreditLedger_ZeroAmount"):
        book.redeem(0, 0)


def test_what_does_not_exist_is_refused(book: Book) -> None:
    credits, buyer = book.world.credits, book.world.people.buyer
    for call, error in (
        (lambda number: credits.program(number), "UnknownProgram"),
        (lambda number: credits.grant(number, DOCUMENT, 1, 1, sender=buyer), "UnknownProgram"),
        (lambda number: credits.grantOf(number), "UnknownGrant"),
        (lambda number: book.redeem(0, 1, grant_id=number), "UnknownGrant"),
        (lambda number: credits.redemption(number), "UnknownRedemption"),
        (lambda number: credits.confirm(number, GIVEN, b"", sender=buyer), "UnknownRedemption"),
        (lambda number: credits.hashReceipt(number, GIVEN), "UnknownRedemption"),
    ):
        for number in (0, UNKNOWN):
            with pytest.raises(Reverted, match=f"CreditLedger_{error}"):
                call(number)


def test_a_registry_that_is_nobody_is_refused(world: World) -> None:
    with pytest.raises(Reverted, match="CreditLedger_ZeroAddress"):
        world.evm.deploy("CreditLedger", ZERO_ADDRESS, sender=world.people.stranger)
    assert world.credits.registry() == world.registry.address


@pytest.mark.parametrize("change", ["redemption", "document", "signer", "empty"])
def test_a_receipt_counts_for_what_it_says(book: Book, change: str) -> None:
    """Two redemptions alike in everything but their number."""
    world = book.world
    first, second = book.redeem(1, 7), book.redeem(1, 7)
    receipt = book.receipt(first, 1, 7)
    signature = book.signed(receipt, HOLDERS[1] if change == "signer" else None)
    target = second if change == "redemption" else first
    document = ZERO_HASH if change == "document" else GIVEN
    with pytest.raises(Reverted, match="CreditLedger_BadReceipt"):
        world.credits.confirm(target, document, b"" if change == "empty" else signature, sender=HOLDERS[1])
    assert not world.credits.redemption(target).confirmed


def test_inv_33_a_receipt_counts_on_one_chain_and_contract(book: Book) -> None:
    receipt = book.receipt(book.redeem(0, 1), 0, 1)
    elsewhere = replace(book, world=World(Evm(chain_id=book.world.evm.chain_id + 1)))
    with pytest.raises(Reverted, match="CreditLedger_BadReceipt"):
        book.world.credits.confirm(1, GIVEN, elsewhere.signed(receipt), sender=HOLDERS[0])
    chain_id, other = book.world.evm.chain_id, book.world.fees.address
    digest = typed_digest(CREDITS, chain_id, other, "RedemptionReceipt", receipt)
    with pytest.raises(Reverted, match="CreditLedger_BadReceipt"):
        book.world.credits.confirm(
            1, GIVEN, sign(book.world.people.buyer.key, digest).full, sender=HOLDERS[0]
        )


# -- any history ---------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.integers(1, 150),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 45)), max_size=12),
)
def test_what_is_burned_never_exceeds_leaf_or_total(
    shared_world: World, amounts: list[int], total: int, wishes: list[tuple[int, int]]
) -> None:
    with shared_world.evm.undone():
        book = open_book(shared_world, amounts, total=total)
        burned = [0] * len(amounts)
        for pick, amount in wishes:
            number = pick % len(amounts)
            fits = burned[number] + amount <= amounts[number] and sum(burned) + amount <= total
            if fits:
                book.redeem(number, amount)
                burned[number] += amount
            else:
                with pytest.raises(Reverted, match=r"CreditLedger_Over(Granted|Total)"):
                    book.redeem(number, amount)
        found = [shared_world.credits.redeemedOf(book.grant_id, number) for number in range(len(amounts))]
        assert found == burned
        assert shared_world.credits.grantOf(book.grant_id).redeemed == sum(burned)


# -- hashes --------------------------------------------------------------------------------------------------

hashes = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=20, max_size=20)


@given(st.integers(1, 50), hashes, hashes)
def test_the_digest_of_a_receipt_is_the_same_three_ways(
    shared_world: World, amount: int, request: bytes, document: bytes
) -> None:
    with shared_world.evm.undone():
        book = open_book(shared_world)
        redemption_id = book.redeem(4, amount, request=request)
        receipt = RedemptionReceipt(redemption_id, book.grant_id, raw(HOLDERS[4]), amount, request, document)
        credits, chain_id = shared_world.credits, shared_world.evm.chain_id
        expected = typed_digest(CREDITS, chain_id, credits.address, "RedemptionReceipt", receipt)
        assert credits.hashReceipt(redemption_id, document) == expected
        assert hand_laid_digest(credits_domain(chain_id, raw(credits)), receipt.struct_hash()) == expected


@given(st.lists(st.builds(CreditLeaf, addresses, st.integers(1, 2**90), hashes), min_size=1, max_size=9))
def test_a_grants_root_equals_the_reference(leaves: list[CreditLeaf]) -> None:
    grant = CreditGrant(tuple(leaves))
    assert grant.root == padded_root(
        [reference.credit_leaf(one.holder, one.amount, one.salt) for one in leaves]
    )
    assert grant.total == sum(one.amount for one in leaves)


@pytest.mark.parametrize("amounts", [(), (0,), (2**96 - 1, 1), (2**96,)])
def test_python_refuses_a_grant_that_no_ledger_would_keep(amounts: tuple[int, ...]) -> None:
    leaves = tuple(leaf(number, amount) for number, amount in enumerate(amounts))
    with pytest.raises(InputRejected):
        CreditGrant(leaves)
