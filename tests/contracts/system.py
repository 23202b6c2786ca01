"""What the in-process and the Brownie chains are deployed with: people, times, and floors."""

from __future__ import annotations

from collections.abc import Sequence

from usufruct_chain.deploy_config import DeployConfig

from tests.contracts.wire import Account, account, keccak

EPOCH_SECONDS = 86_400
DISPUTE_SECONDS = 3_600
MERGE_DELAY_SECONDS = 7_200
NOTE_MINIMUM = 1_000
FLOORS = (5_000, 500)
TEMPLATE = keccak(b"template")
FOREVER = 2**64 - 1


class People:
    """Who acts, by role."""

    admin: Account = account("admin")
    council: Account = account("council")
    guardian: Account = account("guardian")
    steward: Account = account("steward")
    buyer: Account = account("buyer")
    stranger: Account = account("stranger")
    community: Account = account("community")
    platform: Account = account("platform")
    operators: Account = account("operators")
    custodian: Account = account("custodian")
    remediation_fund: Account = account("remediation fund")


def committee_of(count: int, tag: str = "signer") -> list[Account]:
    """Return that many signers, by ascending address as the committee wants them."""
    made = (account(f"{tag} {number}") for number in range(count))
    return sorted(made, key=lambda signer: int(signer.address, 16))


def system_config(token: str, signers: Sequence[Account], genesis_s: int) -> DeployConfig:
    """What a chain of the tests is deployed with; the admin deploys, and keeps that role."""
    config = DeployConfig(
        council=People.council.address,
        guardian=People.guardian.address,
        signers=tuple(signer.address for signer in signers),
        community=People.community.address,
        platform=People.platform.address,
        operators=People.operators.address,
        custodian=People.custodian.address,
        remediation_fund=People.remediation_fund.address,
        genesis_s=genesis_s,
        epoch_seconds=EPOCH_SECONDS,
        dispute_window_seconds=DISPUTE_SECONDS,
        note_minimum=NOTE_MINIMUM,
        max_merge_delay_seconds=MERGE_DELAY_SECONDS,
        token=token,
        floor_contributors_bps=FLOORS[0],
        floor_community_bps=FLOORS[1],
        templates=(TEMPLATE,),
    )
    return config.checked(People.admin.address)
