"""Contributors of a run on a dev chain: their wallets, their purses and the rosters that name them.

Wallet keys are computed from names, so that everyone can act for everyone: for dev chains only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from usufruct_meter.importer import Contributor
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.roster import Roster, RosterRow, derive_purse, derive_record_tag, derive_row_salt
from usufruct_protocol.signing import address_of

from scripts.devchain import dev_key
from scripts.outcome import Payee

STEWARD_SECRET = dev_key(0, "steward's roster secret")
"""What purses and record tags derive from; a steward's alone, shown here because it guards nobody real."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Contributors as a steward bundles them: the thing that licenses cover."""

    name: str
    contributors: tuple[Contributor, ...]

    @property
    def hash(self) -> bytes:
        """What the offer says of the collection, and what purses and tags derive from."""
        return keccak256(self.name.encode("utf-8"))

    def roster(self) -> Roster:
        """Return the roster of everyone in the collection, each with a wallet of their own."""
        return Roster.build(self._row(contributor) for contributor in self.contributors)

    def payees(self) -> tuple[Payee, ...]:
        """Return the same people as the accounts list them."""
        return tuple(
            Payee(
                contributor.reference,
                address_of(wallet_key(contributor.reference)),
                (self.purse(contributor.reference),),
            )
            for contributor in self.contributors
        )

    def purse(self, name: str) -> bytes:
        """Return a contributor's pseudonym."""
        return derive_purse(STEWARD_SECRET, self.hash, name.encode("utf-8"))

    def record_tag(self, record: str) -> bytes:
        """Return the tag that gateways report the use of a record under."""
        return derive_record_tag(STEWARD_SECRET, self.hash, record.encode("utf-8"))

    def _row(self, contributor: Contributor) -> RosterRow:
        return RosterRow(
            purse=self.purse(contributor.reference),
            weight=contributor.weight,
            payout=address_of(wallet_key(contributor.reference)),
            threshold_base_units=0,
            salt=derive_row_salt(STEWARD_SECRET, self.hash, contributor.reference.encode("utf-8")),
            record_tags=tuple(sorted(map(self.record_tag, contributor.records))),
        )


def wallet_key(name: str) -> bytes:
    """Return the private key of a contributor's wallet."""
    return dev_key(0, f"wallet of {name}")


def all_payees(collections: Iterable[Collection]) -> tuple[Payee, ...]:
    """Return everyone once, by wallet, with the purses of all collections they are in."""
    purses: dict[bytes, tuple[str, list[bytes]]] = {}
    for payee in (payee for collection in collections for payee in collection.payees()):
        purses.setdefault(payee.wallet, (payee.name, []))[1].extend(payee.purses)
    return tuple(Payee(name, wallet, tuple(dict.fromkeys(found))) for wallet, (name, found) in purses.items())
