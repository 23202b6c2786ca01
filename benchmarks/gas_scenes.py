"""Gas of what happens around the money path: evidence, bonds, fees, votes, the end.

The stories of the contract tests are told on a throw-away anvil; a figure is the most that a call of the
function used in any of them. Most storage slots are written for the first time there, which is the dear case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from usufruct_protocol.considerations import CreditGrant, CreditLeaf
from usufruct_protocol.keccak import keccak256

from scripts.devchain import Anvil
from tests.contracts.evm import disputes, fees, gateway, reserves, stories
from tests.contracts.evm.anvil import DevChain
from tests.contracts.evm.cooperative import AGENT, MEMBERS, SHARES, Coop
from tests.contracts.evm.council import Council
from tests.contracts.evm.world import MERGE_DELAY_SECONDS, World
from tests.contracts.wire import account, keccak, sign

GENESIS_S = 1_800_000_000
SIGNERS = 7
CREDIT_HOLDERS = 1_000
CHALLENGER = stories.CHALLENGER
STORIES_TOLD = ("against reports", "against buyers", "considerations", "removals", "the end")


@dataclass(frozen=True)
class Row:
    """One function, and what a call of it did."""

    contract: str
    function: str
    label: str

    @property
    def key(self) -> str:
        """The name under which its figure is pinned."""
        return f"{self.contract}.{self.function}"


ROWS = (
    Row("LicenseRegistry", "accept", "with an upfront fee and a usage bond"),
    Row("LicenseRegistry", "registerLane", ""),
    Row("LicenseRegistry", "setRoster", ""),
    Row("CheckpointAnchors", "anchor", "each writes two new slots"),
    Row("ConsentLog", "publish", "a batch of any size"),
    Row("ConsentLog", "forceRevoke", ""),
    Row("OracleCommittee", "rotate", "to 7 signers"),
    Row("UsageSettlement", "issueReserve", ""),
    Row("RoyaltySplitter", "claimReserve", "of 3 leaves"),
    Row("UsageChallenges", "commit", "before a proof"),
    Row("UsageChallenges", "challengeContradiction", "two receipts"),
    Row("UsageChallenges", "openBeyondCount", ""),
    Row("UsageChallenges", "answerByAcks", "3 acknowledgements"),
    Row("UsageChallenges", "slashAckers", "3 signers, 5 signatures of 7"),
    Row("UsageChallenges", "openSwapped", ""),
    Row("UsageChallenges", "answerByInclusion", "of 4 receipts"),
    Row("UsageChallenges", "uphold", ""),
    Row("LicenseBonds", "withdraw", ""),
    Row("OperatorBonds", "deposit", ""),
    Row("OperatorBonds", "thaw", ""),
    Row("OperatorBonds", "withdraw", ""),
    Row("ReportDisputes", "disputeHead", ""),
    Row("ReportDisputes", "answerHead", "of 3 lanes"),
    Row("ReportDisputes", "disputeUnits", ""),
    Row("ReportDisputes", "answerUnits", "2 lanes at once"),
    Row("ReportDisputes", "condemn", "5 signatures of 7, 5 bonds"),
    Row("ReportDisputes", "wrongConsent", "5 signatures of 7, no bonds"),
    Row("ReportDisputes", "doubleSigned", ""),
    Row("LicenseFees", "releaseUpfront", ""),
    Row("LicenseFees", "refundUpfront", ""),
    Row("LicenseFees", "openMilestones", "2 milestones, 3 attesters"),
    Row("LicenseFees", "fundMilestone", ""),
    Row("LicenseFees", "releaseMilestone", "2 attestations"),
    Row("LicenseFees", "openRoyalty", ""),
    Row("LicenseFees", "stateRevenue", ""),
    Row("LicenseFees", "payRoyalty", ""),
    Row("RemovalDuties", "openDuty", ""),
    Row("RemovalDuties", "attestRemoval", ""),
    Row("RemovalDuties", "enforceDuty", ""),
    Row("RemovalDuties", "penalizeUse", "one roster, of one row"),
    Row("CreditLedger", "openProgram", ""),
    Row("CreditLedger", "grant", "1,000 holders"),
    Row("CreditLedger", "redeem", "one of 1,000"),
    Row("CreditLedger", "confirm", ""),
    Row("StewardCooperative", "approveOffer", "by the agent"),
    Row("StewardCooperative", "pay", "one member, with the share"),
    Row("PatientCouncil", "propose", "one call"),
    Row("PatientCouncil", "castVote", ""),
    Row("PatientCouncil", "queue", ""),
    Row("PatientCouncil", "execute", "setFloors"),
    Row("WindDown", "announce", ""),
    Row("WindDown", "close", "issues the reserve"),
    Row("WindDown", "settleLate", "one lane"),
    Row("WindDown", "claimSupplement", "the first also fetches the pool"),
)


def measure() -> dict[str, int]:
    """Tell the stories once, each to the same world; gas by `Row.key`."""
    with Anvil(timestamp=GENESIS_S, base_fee=0) as anvil:
        chain = DevChain(anvil)
        world = World(chain, "PlainToken", signer_count=SIGNERS)
        told: list[Callable[[World], None]] = [stories.STORIES[name] for name in STORIES_TOLD]
        for story in (
            *told,
            acknowledged,
            bonds,
            last_reserve,
            wrong_reports,
            credits,
            consent,
            cooperative,
            council,
        ):
            with chain.undone():
                story(world)
        return {row.key: chain.gas_of[row.contract, row.function] for row in ROWS}


def table(figures: dict[str, int]) -> str:
    """Return the figures as a Markdown table."""
    rows = ["| contract | function | | measured |", "|---|---|---|---:|"]
    for row in ROWS:
        rows.append(f"| {row.contract} | `{row.function}` | {row.label} | {figures[row.key]:,} |")
    return "\n".join(rows)


# -- scenes that no story of the tests tells ----------------------------------------------------------------


def acknowledged(world: World) -> None:
    """Signers acknowledged what their report then left out."""
    lane = gateway.Gateway(world, gateway.bonded_license(world, 10**9), "a lane")
    for _ in range(4):
        lane.serve(5)
    gateway.fund_challenger(world, CHALLENGER)
    world.evm.warp(MERGE_DELAY_SECONDS)
    vector = gateway.LaneVector([lane.checkpoint(2)])
    report = world.settle(**vector.in_report)
    hidden = lane.signed(lane.receipts[3])
    gateway.reveal(world, CHALLENGER, "openBeyondCount", hidden, report, vector.head(0))
    number, ackers = world.challenges.challengeCount(), world.signers[1][:3]
    acks = gateway.acks(world, lane.checkpoint(), ackers, report.period_end)
    world.challenges.answerByAcks(number, lane.signed(lane.checkpoint()), acks, sender=world.people.buyer)
    disputes.bond_signers(world)
    world.until(world.challenges.accusation(number).slashableFrom)
    signatures = world.sign_report(report)
    world.challenges.slashAckers(number, report, signatures, ackers, sender=world.people.stranger)


def bonds(world: World) -> None:
    """A signer's bond thaws, a buyer's comes back after the last day on which it could be slashed."""
    disputes.bond_signers(world)
    signer = world.signers[1][0]
    world.operator_bonds.thaw(1_000, sender=signer)
    world.evm.warp(world.operator_bonds.thawSeconds())
    world.operator_bonds.withdraw(signer, sender=signer)
    fees.approve(world, world.people.buyer, 5_000)
    terms = {"upfront_fee": 5_000, "ends_at": world.evm.timestamp + 86_400}
    license_id = gateway.bonded_license(world, 10**9, **terms)
    world.until(world.license_bonds.releasableAt(license_id))
    world.settle(period_end=world.evm.timestamp)
    world.license_bonds.withdraw(license_id, world.people.buyer, sender=world.people.buyer)


def last_reserve(world: World) -> None:
    """A new committee takes over: everything before it is paid out first."""
    reserve = reserves.Reserve([40, 50, 60])
    world.fill_pool(1_000)
    new = [account(f"new signer {number}") for number in range(SIGNERS)]
    new.sort(key=lambda signer: int(signer.address, 16))
    world.committee.rotate(new, world.settlement.state().lastEpoch + 2, sender=world.people.council)
    last = reserves.settle_with(world, reserve)
    reserves.issue_reserve(world, last)
    reserves.claim_reserve(world, 2 * last.epoch + 1, reserve, 0)


def wrong_reports(world: World) -> None:
    """A report with a wrong consent root, and a signer of two reports for one attempt."""
    wrong = world.post(consent_root=keccak(b"wrong"))
    world.disputes.wrongConsent(wrong, world.sign_report(wrong), sender=world.people.stranger)
    disputes.bond_signers(world)
    signer = world.signers[1][0]
    one, other = (world.report(bundle_hash=keccak(name)) for name in (b"one", b"other"))
    first, second = (sign(signer.key, world.report_digest(report)).full for report in (one, other))
    disputes.reveal(world, "doubleSigned", one, first, other, second)


def credits(world: World) -> None:
    """A buyer grants credits to many; one of them spends some."""
    holder, buyer = account("a holder"), world.people.buyer
    leaves = [
        CreditLeaf(
            bytes.fromhex((holder if number == 0 else account(f"holder {number}")).address[2:]),
            10,
            keccak256(b"salt %d" % number),
        )
        for number in range(CREDIT_HOLDERS)
    ]
    grant = CreditGrant(tuple(leaves))
    expires_at = world.evm.timestamp + 86_400
    world.credits.openProgram(world.accept(), 1_000_000, expires_at, keccak(b"document"), sender=buyer)
    world.credits.grant(1, grant.root, CREDIT_HOLDERS, grant.total, sender=buyer)
    opening = (1, 0, 10, leaves[0].salt, grant.proof(0))
    world.credits.redeem(*opening, 4, keccak(b"request"), sender=holder)
    world.credits.confirm(1, keccak(b"given"), b"", sender=buyer)


def consent(world: World) -> None:
    """Consent is published in a batch, and revoked."""
    world.consent_log.publish(keccak(b"batch"), 1_000, sender=world.people.stranger)
    world.consent_log.forceRevoke(keccak(b"secret"), sender=world.people.stranger)


def cooperative(world: World) -> None:
    """The agent makes a deal; a member is paid its part."""
    coop = Coop(world, zip(MEMBERS, SHARES, strict=True))
    license_id = coop.deal(coop.grant())
    world.settle([(license_id, 10**6, 10**6)])
    coop.contract.pay(license_id, MEMBERS[0], sender=AGENT)


def council(world: World) -> None:
    """Five seats take one decision the whole way."""
    seats = Council(world.evm)
    seats.take_over(world)
    seats.decide((world.registry, "setFloors", (6_000, 500)))
