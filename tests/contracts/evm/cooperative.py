"""A cooperative as steward: its members, its agent, and what they do as one-liners."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eth_hash.auto import keccak
from usufruct_protocol.terms import LicenseOffer

from tests.contracts.evm.world import World
from tests.contracts.wire import Account, account, typed_digest

DAY = 86_400
VOTING_SECONDS = 7 * DAY
RULES = (VOTING_SECONDS, 50)
SHARES = (5, 3, 2)
MAGIC = bytes.fromhex("1626ba7e")
STRANGER = account("stranger")
AGENT = account("bargaining agent")
MEMBERS = [account(f"member {number}") for number in range(3)]
COLLECTION = keccak(b"collection")


class Coop:
    """A cooperative on a world, and what its people do as one-liners."""

    def __init__(self, world: World, members: Iterable[tuple[Account, int]], rules: Any = RULES) -> None:
        self.world, self.evm = world, world.evm
        founders = list(members)
        self.people = [member for member, _ in founders]
        self.contract = world.evm.deploy(
            "StewardCooperative",
            world.registry,
            world.splitter,
            world.duties,
            world.council_register,
            rules,
            founders,
            sender=STRANGER,
        )

    @property
    def bytes_address(self) -> bytes:
        return bytes.fromhex(self.contract.address[2:])

    def propose(self, name: str, *arguments: Any, by: Account | None = None) -> tuple[int, bytes]:
        """Open a ballot; its number and the call."""
        call = self.contract.calldata(name, *arguments)
        return int(self.contract.propose(call, sender=by or self.people[0]).value), call

    def decide(self, name: str, *arguments: Any) -> Any:
        """Have everybody who may vote for a call, and make it."""
        sitting = [member for member in self.people if self.contract.isMember(member)]
        ballot, call = self.propose(name, *arguments, by=sitting[0])
        for member in sitting:
            self.contract.vote(ballot, True, sender=member)
        return self.contract.execute(ballot, call, sender=STRANGER)

    def admit(self, who: Account, shares: int) -> None:
        """Invite and join."""
        self.decide("invite", [(who, shares)])
        self.contract.join(sender=who)
        if who not in self.people:
            self.people.append(who)

    def mandate(self, **changes: Any) -> tuple[Any, ...]:
        """A mandate under which the world's usual offer can be approved."""
        plain = {
            "agent": AGENT.address,
            "expires_at": self.evm.timestamp + 30 * DAY,
            "meter_kind": 0,
            "administers": True,
            "floor_price": 900_000,
            "least_cap": 10**9,
            "deals_left": 3,
            "least_bond": 0,
            "least_fee": 0,
            "least_contributors": 6_000,
            "least_steward": 800,
            "latest_end": self.evm.timestamp + 400 * DAY,
            "most_cooling_off": 3 * DAY,
            "collection": COLLECTION,
        }
        return tuple((plain | changes).values())

    def grant(self, **changes: Any) -> int:
        """Vote for a mandate; its number."""
        receipt = self.decide("grantMandate", self.mandate(**changes))
        return int(receipt.named("MandateGranted")[0].mandateId)

    def offer(self, **changes: Any) -> LicenseOffer:
        return self.world.offer(**({"steward": self.bytes_address} | changes))

    def digest(self, offer: LicenseOffer) -> bytes:
        return typed_digest(
            "Usufruct Licenses", self.evm.chain_id, self.world.registry.address, "LicenseOffer", offer
        )

    def accept(self, offer: LicenseOffer, signature: bytes = b"") -> int:
        """The buyer accepts on the word of this contract."""
        buyer = self.world.people.buyer
        return int(self.world.registry.accept(offer, signature, sender=buyer).value)

    def deal(self, mandate_id: int, **changes: Any) -> int:
        """Approve an offer and have it accepted; the license."""
        offer = self.offer(**changes)
        self.contract.approveOffer(mandate_id, offer, sender=AGENT)
        license_id = self.accept(offer)
        self.world.deposit(license_id, 10**9)
        return license_id

    def signs(self, digest: bytes) -> bool:
        return bool(self.contract.isValidSignature(digest, b"") == MAGIC)

    def balance(self) -> int:
        return int(self.world.token.balanceOf(self.contract))
