"""What a deployment is asked to be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from usufruct_protocol.errors import ConfigInvalid, InputRejected
from usufruct_protocol.signing import ZERO_ADDRESS, checksum_address, parse_address

SECONDS_PER_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Seat:
    """One seat of the first council: who sits, until when, and the hash of the mandate that says for whom."""

    holder: str
    term_ends_at_s: int
    mandate_hash: bytes


@dataclass(frozen=True, slots=True)
class Council:
    """A council of seats that acts through a timelock. At least three seats; quorum in percent of all seats.

    `delay_seconds` pass between a vote that carried and its execution, so that whoever disagrees can act.
    """

    seats: tuple[Seat, ...]
    delay_seconds: int = 2 * SECONDS_PER_DAY
    voting_delay_seconds: int = SECONDS_PER_DAY
    voting_period_seconds: int = 7 * SECONDS_PER_DAY
    quorum_percent: int = 40


@dataclass(frozen=True, slots=True)
class Beneficiary:
    """Who gets which part of the community's share; the parts sum to 10,000."""

    account: str
    bps: int
    name: str


@dataclass(frozen=True, slots=True)
class ChallengeSettings:
    """UsageChallenges: which part of the agreed bond a proof against one lane takes, the time to answer, and
    a challenger's bond in base units, which must be at least three times what an answer costs."""

    lane_slash_bps: int = 5_000
    answer_seconds: int = 7 * SECONDS_PER_DAY
    challenge_bond: int = 20_000_000


@dataclass(frozen=True, slots=True)
class DisputeSettings:
    """ReportDisputes: a disputer's bond in base units, what each lane of a disputed license adds to it, and
    how much of the dispute window must be left for an answer: half of it, unless it is named."""

    bond: int = 100_000_000
    bond_per_lane: int = 10_000_000
    answer_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class DeployConfig:
    """What a deployment is asked to be. Addresses are text; money in base units; times in seconds.

    `council` gets every administrative role: an address, or seats, for which council and timelock are
    deployed too. `guardian` may reject pending reports. The deployer keeps nothing, so it can be neither.
    `signers` are the first committee, in any order: the table on chain is ascending, and a signer's index is
    its place there. `community` gets the community's share: an address, or beneficiaries, for whom a fund is
    deployed. `remediation_fund` gets what bonds lose, less the rewards. Without `token` a test token that
    anyone can mint is deployed, on dev chains only. With `chain_id` any other chain is refused.
    `checks_cutoff_block` is off only where block numbers are another chain's. `templates`, the floors and
    `bond_epochs` are the council's first settings, made before the hand-over.

    `thaw_seconds` is how long an operator's bond stays slashable after it was asked for, and `minimum_bond`
    the least of each signer of a new committee. With `bond_epochs` above 0 a usage bond covers at least that
    many epochs at the license's cap.
    """

    council: str | Council
    guardian: str
    signers: tuple[str, ...]
    community: str | tuple[Beneficiary, ...]
    platform: str
    operators: str
    custodian: str
    remediation_fund: str
    genesis_s: int
    epoch_seconds: int
    dispute_window_seconds: int
    note_minimum: int
    max_merge_delay_seconds: int
    token: str | None = None
    chain_id: int | None = None
    checks_cutoff_block: bool = True
    floor_contributors_bps: int = 0
    floor_community_bps: int = 0
    templates: tuple[bytes, ...] = ()
    bond_epochs: int = 0
    thaw_seconds: int = 90 * SECONDS_PER_DAY
    minimum_bond: int = 0
    challenges_settings: ChallengeSettings = ChallengeSettings()
    disputes_settings: DisputeSettings = DisputeSettings()

    def checked(self, deployer: str) -> DeployConfig:
        """Return it with EIP-55 addresses and ascending signers. Raises: ConfigInvalid naming the field."""
        names = ["guardian", "platform", "operators", "custodian", "remediation_fund"]
        names += [name for name in ("council", "community", "token") if isinstance(getattr(self, name), str)]
        changed: dict[str, Any] = {name: _address(name, getattr(self, name)) for name in names}
        for name in ("council", "guardian"):
            if changed.get(name) == deployer:
                raise ConfigInvalid(f"{name} is the deployer {deployer}, which must not keep any role")
        signers = sorted({_address("signers", signer) for signer in self.signers}, key=str.lower)
        if len(signers) != len(self.signers):
            raise ConfigInvalid(f"signers name {len(self.signers) - len(signers)} address(es) twice")
        if isinstance(self.council, Council):
            seats = (
                replace(seat, holder=_address("council.seats", seat.holder)) for seat in self.council.seats
            )
            changed["council"] = replace(self.council, seats=tuple(seats))
        if not isinstance(self.community, str):
            changed["community"] = tuple(
                replace(each, account=_address("community", each.account)) for each in self.community
            )
        if self.disputes_settings.answer_seconds is None:
            half_window = self.dispute_window_seconds // 2
            changed["disputes_settings"] = replace(self.disputes_settings, answer_seconds=half_window)
        return replace(self, signers=tuple(signers), **changed)


def _address(name: str, text: str) -> str:
    try:
        address = parse_address(text)
    except (InputRejected, TypeError) as error:
        raise ConfigInvalid(f"{name}: {error}") from error
    if address == ZERO_ADDRESS:
        raise ConfigInvalid(f"{name} is the zero address")
    return checksum_address(address)
