"""Who may call what: every state-changing function of every contract, as a table.

What can be asked of the contracts is asked: a function that refuses strangers by a gate (a role, a neighbor,
the timelock) says so when a stranger calls it with nothing in hand. Who stands behind every other function is
written below; a new function fails until somebody has said it.

`python -m tests.contracts.evm.powers` prints the table into docs/powers.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from eth_abi.abi import encode
from usufruct_chain.roles import ROLE_NAMES

from tests.contracts.evm.artifacts import load_artifact
from tests.contracts.evm.chain import Contract, Evm, Function, Reverted
from tests.contracts.evm.council import Council
from tests.contracts.evm.world import World
from tests.contracts.wire import ZERO_ADDRESS, Account, account

MARK: Final = "<!-- printed from here on: python -m tests.contracts.evm.powers -->"
PAGE: Final = Path(__file__).resolve().parents[3] / "docs" / "powers.md"
NOBODY: Final = account("nobody in particular")
COOPERATIVE_RULES: Final = (7 * 86_400, 50)

GATES: Final[dict[str, str]] = {
    "AccessManagerUnauthorizedAccount": "admin",
    "LicenseRegistry_OnlyChallenges": "UsageChallenges",
    "RoyaltyEscrow_OnlySettlement": "UsageSettlement",
    "RoyaltyEscrow_OnlyWindDown": "WindDown",
    "RoyaltySplitter_OnlyEscrow": "RoyaltyEscrow",
    "RoyaltySplitter_OnlyFees": "LicenseFees",
    "RoyaltySplitter_OnlySettlement": "UsageSettlement",
    "RoyaltySplitter_OnlyWindDown": "WindDown",
    "UsageSettlement_OnlyDisputes": "ReportDisputes",
    "UsageSettlement_OnlyProof": "ReportDisputes, WindDown",
    "UsageSettlement_OnlyWindDown": "WindDown",
    "LicenseBonds_OnlyRegistry": "LicenseRegistry",
    "LicenseBonds_OnlySlashers": "RemovalDuties, UsageChallenges",
    "OperatorBonds_OnlyProofs": "ReportDisputes, UsageChallenges",
    "LicenseFees_OnlyRegistry": "LicenseRegistry",
    "CouncilSeat_OnlyTimelock": "CouncilTimelock",
    "AccessControlUnauthorizedAccount": "PatientCouncil",
    "TimelockUnauthorizedCaller": "CouncilTimelock",
    "StewardCooperative_OnlyByVote": "StewardCooperative",
    "PatientCouncil_Fixed": "nobody",
    "GovernorDisabledDeposit": "nobody",
    "CouncilSeat_DelegationOff": "nobody",
}
"""Refusals that tell who would not have been refused: a contract by its name, a role, or nobody."""

MEANINGS: Final[dict[str, str]] = {
    "UsageSettlement": "the settlement",
    "RoyaltyEscrow": "the escrow",
    "WindDown": "the wind-down",
    "LicenseFees": "the fees",
    "LicenseRegistry": "the registry",
    "UsageChallenges": "the challenges",
    "ReportDisputes": "the disputes",
    "RemovalDuties, UsageChallenges": "the challenges and the duties, by a proof",
    "ReportDisputes, UsageChallenges": "the disputes and the challenges, by a proof",
    "ReportDisputes, WindDown": "the disputes by a proof, the wind-down when it closes",
    "CouncilTimelock": "the council's timelock",
    "PatientCouncil": "the council, by a vote",
    "StewardCooperative": "its members, by a vote",
    "AccessManager": "the AccessManager, for admin",
}

ANYONE: Final = "anyone"
STEWARD: Final = "the license's steward"
BUYER: Final = "the license's buyer"
MANDATED: Final = "its members by a vote, or an agent within a mandate"

PARTIES: Final[dict[str, dict[str, str]]] = {
    "AccessManager": {
        "cancel": "who scheduled the call, or admin",
        "consumeScheduledOp": "a managed contract, of calls to itself",
        "execute": "who may make the call itself",
        "schedule": "who may make the call itself",
        "multicall": "anyone, each call as oneself",
        "renounceRole": "who has the role",
    },
    "LicenseRegistry": {
        "accept": "the buyer that the offer names, with the steward's signature",
        "cancelOffer": "a steward, of its own offers",
        "coolOff": BUYER,
        "giveNotice": "the license's buyer or steward",
        "registerLane": "the license's buyer, with the lane key's signature",
        "setRoster": STEWARD,
        "setSuspended": STEWARD,
    },
    "RoyaltyEscrow": {
        "deposit": "anyone, own money",
        "depositWithAuthorization": "anyone, money that the payer's signature sends here for this license",
        "depositWithPermit": "anyone, own money",
        "withdraw": "the license's buyer, once everything is covered",
    },
    "RoyaltySplitter": {
        "claim": "anyone, to the payee",
        "claimMany": "anyone, to the payees",
        "claimReserve": "anyone who knows word and salt, to the payee",
        "payRange": "anyone, to the payees",
        "payShare": "anyone, to the party",
        "redirect": "anyone, with the payee's signature",
        "executeReissue": "anyone, 90 days after the council scheduled it",
        "rescue": "anyone, other tokens, to the custodian",
    },
    "UsageSettlement": {
        "submit": "anyone, with a quorum's signatures",
        "finalize": "anyone, after the dispute window",
        "issueReserve": "anyone, before a new committee's first report; the wind-down",
    },
    "WindDown": {
        "announce": "anyone, once reports have stopped for long enough",
        "close": "anyone, 30 days after the announcement",
        "recordPause": ANYONE,
        "settleLate": "anyone, with the lanes' signatures",
        "claimSupplement": "anyone who knows word and salt, to the payee",
        "payCustodian": "anyone, to the custodian, where no reserve was ever reported",
    },
    "ConsentLog": {"publish": ANYONE, "forceRevoke": "anyone who knows the secret"},
    "CheckpointAnchors": {"anchor": "anyone, with the lane's signature"},
    "LicenseBonds": {
        "withdraw": "the license's buyer, once nothing can be proven any more",
        "withdrawCredit": "whose credit it is",
        "payCredit": "anyone, to whose credit it is",
    },
    "OperatorBonds": {
        "deposit": "anyone, own money, for a signer",
        "thaw": "the signer",
        "cancelThaw": "the signer",
        "withdraw": "the signer, after the thaw",
        "payCredit": "anyone, to whose credit it is",
    },
    "UsageChallenges": {
        "commit": ANYONE,
        "challengeContradiction": "anyone, with what the lane signed",
        "challengeFutureDate": "anyone, with the lane's signature",
        "openBeyondCount": "anyone, with the lane's signature and a bond",
        "openSwapped": "anyone, with the lane's signatures and a bond",
        "answerByAcks": "anyone, with signers' acknowledgements",
        "answerByInclusion": "anyone, with a proof",
        "uphold": "anyone, when the time to answer is over",
        "slashAckers": "anyone, signers whose report left out what they had acknowledged",
        "revokeByContradiction": "anyone, with what the lane signed",
        "withdrawCredit": "whose credit it is",
    },
    "ReportDisputes": {
        "commit": ANYONE,
        "doubleSigned": "anyone, with the signer's two signatures",
        "laneFell": "anyone, with the lane's signature and two proofs",
        "wrongConsent": "anyone, with the report's signatures",
        "disputeHead": "anyone, with a bond",
        "disputeUnits": "anyone, with a bond",
        "answerHead": "anyone, with the lane's signature and a proof",
        "answerHeadByContradiction": "anyone, with what the lane signed",
        "answerUnits": "anyone, with the lanes' signatures and proofs",
        "condemn": "anyone, when the time to answer is over",
        "slashSigners": "anyone, signers of a condemned report",
        "voidDispute": "anyone, once the report died otherwise",
        "creditShown": "anyone, to whose credit it is",
        "payCredit": "anyone, to whose credit it is",
    },
    "LicenseFees": {
        "openMilestones": "anyone who knows the terms",
        "openRoyalty": "anyone who knows the terms",
        "fundMilestone": "anyone, own money",
        "releaseMilestone": "anyone, with a quorum of attesters' signatures",
        "refundMilestone": "the license's buyer, after the deadline or cooling off",
        "releaseUpfront": "anyone, after the cooling-off time",
        "refundUpfront": "the license's buyer who cooled off",
        "stateRevenue": "the license's buyer, or anyone with its signature",
        "correctRevenue": "anyone, with the signature of the terms' auditor",
        "payRoyalty": "anyone, own money",
    },
    "RemovalDuties": {
        "openDuty": STEWARD,
        "attestRemoval": BUYER,
        "enforceDuty": "anyone, after the deadline",
        "penalizeUse": "anyone, with the lane's signature and proofs",
    },
    "CreditLedger": {
        "openProgram": BUYER,
        "grant": BUYER,
        "redeem": "the holder whom a grant names",
        "confirm": "the license's buyer, or anyone with its signature",
    },
    "CouncilRegister": {
        "declareInterests": "anyone, about oneself",
        "publishFinding": "anyone, with the signature of an auditor in office",
        "resign": "an auditor in office",
    },
    "CommunityFund": {"pay": "anyone, to a named beneficiary"},
    "CouncilTimelock": {
        "onERC721Received": "anyone, who sends it a token",
        "onERC1155Received": "anyone, who sends it a token",
        "onERC1155BatchReceived": "anyone, who sends it tokens",
        "renounceRole": "who has the role",
    },
    "CouncilSeat": {
        "resign": "the seat's holder",
        "vacate": "anyone, after the term",
        "transferFrom": "nobody",
        "safeTransferFrom": "nobody",
        "delegateBySig": "nobody",
    },
    "PatientCouncil": {
        "propose": "a seat's holder",
        "castVote": "a seat's holder",
        "castVoteWithReason": "a seat's holder",
        "castVoteWithReasonAndParams": "a seat's holder",
        "castVoteBySig": "anyone, with the holder's signature",
        "castVoteWithReasonAndParamsBySig": "anyone, with the holder's signature",
        "cancel": "who proposed, before the vote opens",
        "queue": "anyone, what has passed",
        "execute": "anyone, what has passed and waited",
    },
    "StewardCooperative": {
        "join": "who was invited by a vote",
        "leave": "a member",
        "joinByMerger": "a member of a cooperative that merged into this one",
        "propose": "a member",
        "vote": "a member since before the ballot",
        "execute": "anyone, what has passed",
        "revokeMandate": "its members by a vote, or the agent",
        "withdrawApproval": "its members by a vote, or the agent who approved",
        "approveOffer": MANDATED,
        "cancelOffer": MANDATED,
        "setRoster": MANDATED,
        "giveNotice": MANDATED,
        "setSuspended": MANDATED,
        "openDuty": MANDATED,
        "pay": "anyone, to a member",
    },
}
"""Who may call what no gate tells; of the cooperative, also what its gate does not tell."""


def empty(parameter: dict[str, Any]) -> Any:
    """Nothing, of a parameter's type."""
    kind = parameter["type"]
    if kind.endswith("[]"):
        return []
    if kind.endswith("]"):
        inner = {**parameter, "type": kind[: kind.rindex("[")]}
        return [empty(inner)] * int(kind[kind.rindex("[") + 1 : -1])
    if kind == "tuple":
        return tuple(empty(member) for member in parameter["components"])
    if kind == "address":
        return ZERO_ADDRESS
    if kind.startswith("bytes"):
        return bytes(int(kind[5:] or 0))
    return {"bool": False, "string": ""}.get(kind, 0)


@dataclass(frozen=True)
class Action:
    """A state-changing function of a deployed contract."""

    contract: Contract
    function: Function

    @property
    def name(self) -> str:
        return f"{self.contract.name}.{self.function.name}"

    def calldata(self, values: list[Any] | None = None) -> bytes:
        """A call of it; with nothing in hand unless told otherwise."""
        given = [empty(item) for item in self.function.inputs] if values is None else values
        return self.function.selector + bytes(encode(self.function.input_types, given))

    def refusal(self, caller: Account | Contract) -> Reverted | None:
        """How it refuses somebody with nothing in hand, if it does."""
        with self.contract.chain.undone():
            try:
                self.contract.chain.raw_call(caller, self.contract.address, self.calldata())
            except Reverted as refused:
                return refused
        return None


class WholeSet:
    """Every contract there is, governed by a council: a community fund and a cooperative among them."""

    def __init__(self) -> None:
        self.world = World(Evm())
        self.evm = self.world.evm
        self.council = Council(self.evm)
        self.members = [account(f"member {number}") for number in range(2)]
        self.named = [account(f"beneficiary {number}") for number in range(2)]
        world = self.world
        self.fund = self.evm.deploy(
            "CommunityFund",
            [(self.named[0], 6_000, "Foundation"), (self.named[1], 4_000, "Village")],
            sender=NOBODY,
        )
        self.cooperative = self.evm.deploy(
            "StewardCooperative",
            *(world.registry, world.splitter, world.duties, world.council_register),
            *(COOPERATIVE_RULES, [(self.members[0], 3), (self.members[1], 2)]),
            sender=NOBODY,
        )

    @cached_property
    def contracts(self) -> dict[str, Contract]:
        """All of them by name."""
        council = self.council
        more = (self.fund, council.timelock, council.seat, council.governor, self.cooperative)
        return self.world.contracts | {contract.name: contract for contract in more}

    @cached_property
    def actions(self) -> list[Action]:
        """Every state-changing function of every contract, overloads too."""
        return [
            Action(contract, Function.of(entry))
            for name, contract in self.contracts.items()
            for entry in load_artifact(name).abi
            if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure")
        ]

    def gate(self, action: Action) -> str | None:
        """Who passes a function's gate: a role, contracts by name, or nobody; None where it has no gate."""
        refused = action.refusal(NOBODY)
        if refused is not None and refused.name == "AccessManagedUnauthorized":
            if action.function.name == "setAuthority":
                return "AccessManager"
            selector = action.function.selector
            return ROLE_NAMES[self.world.manager.getTargetFunctionRole(action.contract, selector)]
        return GATES.get(refused.name) if refused is not None else None

    def who(self, action: Action) -> str:
        """Who may call a function, for people to read. Raises: KeyError if nobody has said."""
        told = PARTIES.get(action.contract.name, {}).get(action.function.name)
        if told is not None:
            return told
        gate = self.gate(action)
        if gate is None:
            raise KeyError(f"{action.name}: nobody has said who may call it")
        if action.contract.name == "CouncilTimelock" and gate == "PatientCouncil":
            return self._who_of_timelock(action)
        return MEANINGS.get(gate, gate)

    def _who_of_timelock(self, action: Action) -> str:
        """Roles of the timelock's own: the council proposes and executes, the timelock itself administers."""
        refused = action.refusal(self.council.governor)
        is_council_refused = refused is not None and refused.name == "AccessControlUnauthorizedAccount"
        return MEANINGS["CouncilTimelock" if is_council_refused else "PatientCouncil"]


def table(whole: WholeSet) -> str:
    """The part of docs/powers.md that is printed: one table per contract."""
    return "\n".join([MARK, "", *_sections(whole)])


def _sections(whole: WholeSet) -> Iterator[str]:
    for name in whole.contracts:
        rows = {a.function.name: whole.who(a) for a in whole.actions if a.contract.name == name}
        yield f"## {name}\n| function | who |\n|---|---|"
        yield from (f"| `{function}` | {who} |" for function, who in rows.items())
        yield ""


def main() -> None:
    """Print the table into the page."""
    prose = PAGE.read_text(encoding="utf-8").split(MARK)[0]
    PAGE.write_text(prose + table(WholeSet()), encoding="utf-8")


if __name__ == "__main__":
    main()
