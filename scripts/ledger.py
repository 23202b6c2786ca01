"""Every base unit, read back from the chain at one block, and the sums that must come out even.

Nothing here trusts a node: figures come from the contracts, wallets and events of the chain alone, except the
accruals, which exist off chain only and are compared with the pool they must add up to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from usufruct_chain.onchain import AccountState, TreeState
from usufruct_chain.reader import Reader
from usufruct_protocol.chain_state import LicenseState
from usufruct_protocol.money import (
    ACCRUAL_SCALE,
    UNITS_PER_PRICE,
    Split,
    mul_div_down,
    split_dust,
    split_total,
)
from usufruct_protocol.signing import parse_address

PARTIES: Final = ("community", "steward", "platform", "operators")
"""In the order of the contracts' enum Party."""


@dataclass(frozen=True, slots=True)
class LicenseBooks:
    """One license's money. `credits` and `taken` are the four parties' unpaid and paid shares, by PARTIES;
    `bond` is what its buyer posted against under-reporting."""

    terms: LicenseState
    account: AccountState
    due: int
    charged_in_splitter: int
    accrued: Split
    credits: tuple[int, ...]
    taken: tuple[int, ...]
    bond: int

    @property
    def dust(self) -> int:
        """What no party's share reaches: 0 to 3 base units."""
        return split_dust(self.account.charged, self.terms.split_bps)


@dataclass(frozen=True, slots=True)
class Books:
    """The whole deployment's money at one block. `trees` by tree id, `wallets` by address.

    `operator_bonds` are the committee's, by index; balances are of the contracts that hold money.
    """

    block_number: int
    licenses: tuple[LicenseBooks, ...]
    trees: dict[int, TreeState]
    pool: int
    escrow_balance: int
    splitter_balance: int
    license_bonds_balance: int
    operator_bonds_balance: int
    operator_bonds: tuple[int, ...]
    wallets: dict[bytes, int]

    @property
    def notes_total(self) -> int:
        """Everything ever issued as notes."""
        return sum(tree.total for tree in self.trees.values())

    @property
    def notes_paid(self) -> int:
        """Everything ever paid on notes."""
        return sum(tree.paid for tree in self.trees.values())


@dataclass(frozen=True, slots=True)
class Sum:
    """Two ways to the same figure. Both sides in `unit`s."""

    name: str
    left: int
    right: int
    unit: str = "base units"

    @property
    def holds(self) -> bool:
        """Whether both sides are equal."""
        return self.left == self.right


def read_books(reader: Reader, wallets: Sequence[bytes]) -> Books:
    """Read everything at the newest block. `wallets` are all that notes may have paid."""
    head = reader.head()
    views, deployment = reader.contracts.views, reader.contracts.deployment
    state = reader.read(head.hash)
    last_epoch = reader.settlement_state(head.hash).last_epoch
    tree_ids = [2 * epoch for epoch in range(1, last_epoch + 1)]
    trees = (
        reader.query([views.splitter.tree(tree_id) for tree_id in tree_ids], head.hash) if tree_ids else []
    )
    contracts = [
        parse_address(each)
        for each in (
            deployment.escrow,
            deployment.splitter,
            deployment.license_bonds,
            deployment.operator_bonds,
        )
    ]
    escrow, splitter, license_bonds, operator_bonds, *held = reader.token_balances(
        [*contracts, *wallets], head.hash
    )
    ((signers, _),) = reader.query([views.committee.signersOf(1)], head.hash)
    bonded = reader.query([views.operator_bonds.bonded(signer) for signer in signers], head.hash)
    return Books(
        block_number=head.number,
        licenses=tuple(_license_books(reader, terms, head.number, head.hash) for terms in state.licenses),
        trees={tree_id: TreeState(*fields) for tree_id, fields in zip(tree_ids, trees, strict=True)},
        pool=state.pool,
        escrow_balance=escrow,
        splitter_balance=splitter,
        license_bonds_balance=license_bonds,
        operator_bonds_balance=operator_bonds,
        operator_bonds=tuple(bonded),
        wallets=dict(zip(wallets, held, strict=True)),
    )


def check_books(books: Books, accrued_billionths: int, minted: int) -> tuple[Sum, ...]:
    """Return every sum that must come out even.

    accrued_billionths: what all purses together have earned and not been issued, by the nodes' books
    minted:             all of the token that ever existed and is not the buyer's any more
    """
    licenses = books.licenses
    sums: list[Sum] = []
    for book in licenses:
        sums += _license_sums(book)
    contributors = sum(book.accrued.contributors for book in licenses)
    credits = sum(sum(book.credits) for book in licenses)
    dust = sum(book.dust for book in licenses)
    return (
        *sums,
        Sum(
            "escrow balance = available + reserved",
            books.escrow_balance,
            sum(book.account.available + book.account.reserved for book in licenses),
        ),
        Sum("contributors' shares = notes issued + pool", contributors, books.notes_total + books.pool),
        Sum("accruals of all purses = pool", accrued_billionths, books.pool * ACCRUAL_SCALE, "billionths"),
        Sum(
            "splitter balance = unpaid notes + pool + unpaid shares + dust",
            books.splitter_balance,
            books.notes_total - books.notes_paid + books.pool + credits + dust,
        ),
        Sum("notes paid = wallet balances", books.notes_paid, sum(books.wallets.values())),
        Sum(
            "bonds held = bonds of licenses", books.license_bonds_balance, sum(book.bond for book in licenses)
        ),
        Sum("bonds held = bonds of operators", books.operator_bonds_balance, sum(books.operator_bonds)),
        Sum(
            "money put in = escrow + splitter + bonds + wallets + shares paid + withdrawn",
            minted,
            books.escrow_balance
            + books.splitter_balance
            + books.license_bonds_balance
            + books.operator_bonds_balance
            + sum(books.wallets.values())
            + sum(sum(book.taken) + book.account.withdrawn for book in licenses),
        ),
    )


def _license_sums(book: LicenseBooks) -> Iterable[Sum]:
    account, number = book.account, book.terms.license_id
    owed = mul_div_down(account.cumulative_units, book.terms.price_per_million_units, UNITS_PER_PRICE)
    yield Sum(
        f"license {number}: deposited = available + reserved + charged + withdrawn",
        account.deposited,
        account.available + account.reserved + account.charged + account.withdrawn,
    )
    yield Sum(f"license {number}: units × price = charged + due", owed, account.charged + book.due)
    yield Sum(
        f"license {number}: charged by escrow = received by splitter",
        account.charged,
        book.charged_in_splitter,
    )
    yield Sum(f"license {number}: charged = split + dust", account.charged, book.accrued.total + book.dust)
    expected = split_total(account.charged, book.terms.split_bps)
    for place, party in enumerate(PARTIES):
        yield Sum(
            f"license {number}: share of {party} = paid + unpaid",
            getattr(expected, party),
            book.taken[place] + book.credits[place],
        )


def _license_books(reader: Reader, terms: LicenseState, block_number: int, block_hash: bytes) -> LicenseBooks:
    views, number = reader.contracts.views, terms.license_id
    due, charged, bond, *credits = reader.query(
        [
            views.escrow.due(number),
            views.splitter.charged(number),
            views.license_bonds.bond(number),
            *(views.splitter.shareCredit(number, party) for party in range(len(PARTIES))),
        ],
        block_hash,
    )
    paid = _events(reader, "SharePaid", number, block_number)
    return LicenseBooks(
        terms=terms,
        account=reader.account(number, block_hash),
        due=due,
        charged_in_splitter=charged,
        accrued=_accrued(_events(reader, "Accrued", number, block_number)),
        credits=tuple(credits),
        taken=tuple(
            sum(event["amount"] for event in paid if event["party"] == party) for party in range(len(PARTIES))
        ),
        bond=bond,
    )


def _accrued(events: Sequence[dict[str, Any]]) -> Split:
    """Add up what the splitter itself said it divided."""
    names = ("contributors", *PARTIES)
    return Split(*(sum(event[name] for event in events) for name in names))


def _events(reader: Reader, name: str, license_id: int, to_block: int) -> list[dict[str, Any]]:
    """Return the arguments of the splitter's events about one license, oldest first."""
    event = reader.contracts.splitter.events[name]()
    logs = event.get_logs(
        from_block=reader.contracts.deployment.deployed_block,
        to_block=to_block,
        argument_filters={"licenseId": license_id},
    )
    return [dict(log["args"]) for log in logs]
