"""What a deployment is asked to be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from usufruct_protocol.errors import ConfigInvalid, InputRejected
from usufruct_protocol.signing import ZERO_ADDRESS, checksum_address, parse_address

SECONDS_PER_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class DeployConfig:
    """What a deployment is asked to be. Addresses are text; money in base units; times in seconds.

    `council` gets every administrative role (a timelock, in production), `guardian` may reject pending
    reports; the deployer keeps nothing, so it can be neither. `signers` are the first committee, in any
    order: the table on chain is ascending, and a signer's index is its place there. `remediation_fund` gets
    what bonds lose, less the rewards. Without `token` a test token that anyone can mint is deployed, on dev
    chains only. `checks_cutoff_block` is off only where block numbers are another chain's. `templates`, the
    floors and `bond_epochs` are the council's first settings, made before the hand-over.

    `thaw_seconds` is how long an operator's bond stays slashable after it was asked for, and `minimum_bond`
    the least of each signer of a new committee. With `bond_epochs` above 0 a usage bond covers at least that
    many epochs at the license's cap.
    """

    council: str
    guardian: str
    signers: tuple[str, ...]
    community: str
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
    checks_cutoff_block: bool = True
    floor_contributors_bps: int = 0
    floor_community_bps: int = 0
    templates: tuple[bytes, ...] = ()
    bond_epochs: int = 0
    thaw_seconds: int = 90 * SECONDS_PER_DAY
    minimum_bond: int = 0

    def checked(self, deployer: str) -> DeployConfig:
        """Return it with EIP-55 addresses and ascending signers. Raises: ConfigInvalid naming the field."""
        names = ["council", "guardian", "community", "platform", "operators", "custodian", "remediation_fund"]
        if self.token is not None:
            names.append("token")
        addresses: dict[str, Any] = {name: _address(name, getattr(self, name)) for name in names}
        for name in ("council", "guardian"):
            if addresses[name] == deployer:
                raise ConfigInvalid(f"{name} is the deployer {deployer}, which must not keep any role")
        signers = sorted({_address("signers", signer) for signer in self.signers}, key=str.lower)
        if len(signers) != len(self.signers):
            raise ConfigInvalid(f"signers name {len(self.signers) - len(signers)} address(es) twice")
        return replace(self, signers=tuple(signers), **addresses)


def _address(name: str, text: str) -> str:
    try:
        address = parse_address(text)
    except (InputRejected, TypeError) as error:
        raise ConfigInvalid(f"{name}: {error}") from error
    if address == ZERO_ADDRESS:
        raise ConfigInvalid(f"{name} is the zero address")
    return checksum_address(address)
