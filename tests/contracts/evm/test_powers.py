"""Who may call what, over the whole contract set; and that no title moves anyone's money.

The page docs/powers.md is held equal to what the contracts answer. Then every gate is tried by everybody, and
titles play random sequences of every function there is, with whatever arguments an insider might think of.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest
from hypothesis import settings
from usufruct_chain.roles import ADMIN_ROLE, COUNCIL_ROLE, FUNCTION_ROLES, GUARDIAN_ROLE, ROLE_NAMES
from usufruct_protocol.report_types import EpochReport

from tests.contracts.evm.chain import Contract, Reverted
from tests.contracts.evm.council import MANDATE
from tests.contracts.evm.powers import GATES, PAGE, PARTIES, Action, WholeSet, table
from tests.contracts.evm.world import DISPUTE_SECONDS, FOREVER, committee_of
from tests.contracts.trees import RawTree, word
from tests.contracts.wire import ZERO_ADDRESS, ZERO_HASH, Account, account, as_abi, keccak, sign

DAY = 86_400
BPS = 10_000
NOTES = (10_000, 20_000, 30_000)
PAYEES = [account(f"payee {number}") for number in range(len(NOTES))]
AUDITOR = account("auditor")
STRANGER = account("stranger")
GATE_NAMES = {*GATES, "AccessManagedUnauthorized"}
EXAMPLES = settings().max_examples  # small in CI, 10,000 at night
SEQUENCES = 40 + EXAMPLES // 5
CALLS_PER_SEQUENCE = 60
TRIES_PER_FUNCTION = 2 + EXAMPLES // 500


@pytest.fixture(scope="module")
def whole() -> WholeSet:
    """Every contract, and no money yet: the timelock has the council's powers, the admin gave all away."""
    made = WholeSet()
    made.council.take_over(made.world)
    return made


# -- the page ---------------------------------------------------------------------------------------------


def test_the_page_says_what_the_contracts_answer() -> None:
    """If this fails: `python -m tests.contracts.evm.powers`, and look at what changed."""
    printed = table(WholeSet())
    assert PAGE.read_text(encoding="utf-8").endswith(printed)


def test_the_page_names_no_function_that_is_gone(whole: WholeSet) -> None:
    known: dict[str, set[str]] = {}
    for action in whole.actions:
        known.setdefault(action.contract.name, set()).add(action.function.name)
    for contract, functions in PARTIES.items():
        assert set(functions) <= known[contract], contract


def test_nothing_but_openzeppelins_own_is_payable(whole: WholeSet) -> None:
    """And those refuse ether or hand it on to a contract of ours, which refuses it (test_council.py)."""
    payable = {action.name for action in whole.actions if action.function.mutability == "payable"}
    assert payable == {
        "AccessManager.execute",
        "CouncilTimelock.execute",
        "CouncilTimelock.executeBatch",
        "PatientCouncil.execute",
        "PatientCouncil.relay",
    }


def everybody(whole: WholeSet) -> list[Account | Contract]:
    """All people with a name, and all contracts."""
    people = [who for who in vars(whole.world.people).values() if isinstance(who, Account)]
    more = [*whole.council.members, *whole.members, *whole.named, AUDITOR, *PAYEES]
    return [*people, *more, *whole.contracts.values()]


def test_inv_31_every_gate_opens_to_exactly_whom_the_page_names(whole: WholeSet) -> None:
    """Everybody tries every gated function; a gate is passed when something else, or nothing, refuses."""
    manager = whole.world.manager
    for action in whole.actions:
        gate = whole.gate(action)
        if gate is None:
            continue
        passed = set()
        for caller in everybody(whole):
            # A sender has no code for the while: no contract can be played towards itself, nor the manager
            # towards those who ask it, except where they need it for nothing else.
            if caller.address == action.contract.address:
                continue
            if caller.address == manager.address and gate != "AccessManager":
                continue
            refused = action.refusal(caller)
            if refused is None or refused.name not in GATE_NAMES:
                passed.add(caller.address)
        assert passed == expected_behind(whole, action, gate), action.name


def expected_behind(whole: WholeSet, action: Action, gate: str) -> set[str]:
    """Who must pass a gate, by address, among those who can be played towards that contract."""
    if gate == "guardian":
        return {whole.world.people.guardian.address}
    if gate in ROLE_NAMES.values():
        return {whole.council.timelock.address}
    if gate == "nobody":
        return set()
    if action.contract is whole.council.timelock and action.function.name in ("grantRole", "revokeRole"):
        return set()  # itself alone
    return {whole.contracts[name].address for name in gate.split(", ")} - {action.contract.address}


def test_inv_31_roles_are_those_that_a_deployment_gives(whole: WholeSet) -> None:
    """What asks the manager is what roles.py lists, besides handing the manager itself on."""
    governed: dict[str, dict[str, str]] = {}
    for action in whole.actions:
        refused = action.refusal(STRANGER)
        if refused is not None and refused.name == "AccessManagedUnauthorized":
            if action.function.name == "setAuthority":
                continue
            gate = whole.gate(action)
            assert gate is not None
            governed.setdefault(action.contract.name, {})[action.function.name] = gate
    listed = {
        contract: {name: ROLE_NAMES[role] for name, role in functions.items()}
        for contract, functions in FUNCTION_ROLES.items()
    }
    assert governed == listed


def test_inv_31_who_holds_money_asks_nobody_with_a_title(whole: WholeSet) -> None:
    for name in (
        "RoyaltyEscrow",
        "LicenseBonds",
        "LicenseFees",
        "UsageChallenges",
        "ReportDisputes",
        "CommunityFund",
    ):
        assert "authority" not in whole.contracts[name].functions
    for name in ("StewardCooperative", "RemovalDuties", "CreditLedger", "ConsentLog", "CheckpointAnchors"):
        assert "authority" not in whole.contracts[name].functions


# -- money ------------------------------------------------------------------------------------------------


@dataclass
class Stage:
    """Money in every place it can be, under a council with every power."""

    whole: WholeSet
    licenses: tuple[int, ...]
    tree: RawTree
    tree_id: int
    report: EpochReport
    charged: dict[int, int] = field(default_factory=dict)

    @cached_property
    def titles(self) -> dict[str, Account | Contract]:
        """Everybody with a title, the seats' and the admins' by whoever has them; two by what they were."""
        people, council = self.whole.world.people, self.whole.council
        return {
            "timelock": council.timelock,
            "former admin": people.admin,
            "former council": people.council,
            "guardian": people.guardian,
            "auditor": AUDITOR,
            "seat": council.members[0],
            "other seat": council.members[1],
            "council contract": council.governor,
        }

    @cached_property
    def live(self) -> dict[str, tuple[Any, ...]]:
        """What works, if only the caller may."""
        return live_arguments(self)

    def wealth(self) -> dict[str, int]:
        """What belongs to whom, wherever it lies, as if the pending report had not been finalized.

        Finalizing what a quorum signed and paying somebody what is theirs are everybody's right, and change
        nothing here: wallets count together with what is still owed to them.
        """
        whole, world, people = self.whole, self.whole.world, self.whole.world.people
        token, splitter, escrow = world.token, world.splitter, world.escrow
        owned: dict[str, int] = {}
        drawn = {number: splitter.charged(number) - self.charged[number] for number in self.licenses}

        def credit(party: int) -> int:
            bps = (1_000, 1_000, 500, 500)[party]
            return sum(
                splitter.shareCredit(number, party) - drawn[number] * bps // BPS for number in self.licenses
            )

        for index, (payee, amount) in enumerate(zip(PAYEES, NOTES, strict=True)):
            unpaid = 0 if splitter.isPaid(self.tree_id, index) else amount
            owned[payee.name] = token.balanceOf(payee) + unpaid
        community = [*whole.named, whole.fund]
        owned["community"] = credit(0) + sum(token.balanceOf(who) for who in community)
        stewards = [people.steward, *whole.members, whole.cooperative]
        owned["stewards"] = credit(1) + sum(token.balanceOf(who) for who in stewards)
        owned["platform"] = credit(2) + token.balanceOf(people.platform)
        owned["operators"] = credit(3) + token.balanceOf(people.operators)
        owned["pool"] = splitter.pool() - sum(drawn[number] * 7_000 // BPS for number in self.licenses)
        for number in self.licenses:
            held = escrow.account(number)
            owned[f"deposit {number}"] = held.available + held.reserved + drawn[number]
            owned[f"bond {number}"] = world.license_bonds.bond(number)
            owned[f"upfront {number}"] = world.fees.upfront(number).amount
            owned[f"fee held {number}"] = world.fees.upfront(number).stage
        for signer in world.signers[1]:
            owned[f"bond of {signer.name}"] = world.operator_bonds.bonded(signer)
        outsiders = [people.buyer, people.custodian, people.remediation_fund, people.stranger]
        for who in [*outsiders, *self.titles.values(), *world.contracts.values()]:
            if who.address not in (splitter.address, escrow.address):
                name = who.name if isinstance(who, Account) else f"tokens of {who.name}"
                owned.setdefault(name, token.balanceOf(who))
        return owned


@pytest.fixture(scope="module")
def stage() -> Stage:
    whole = WholeSet()
    world, people, token = whole.world, whole.world.people, whole.world.token
    world.registry.setCommunity(whole.fund, sender=people.council)
    for signer in world.signers[1]:
        token.mint(signer, 5_000, sender=signer)
        token.approve(world.operator_bonds, 5_000, sender=signer)
        world.operator_bonds.deposit(signer, 5_000, sender=signer)
    token.mint(people.buyer, 100_000, sender=people.buyer)
    token.approve(world.license_bonds, 40_000, sender=people.buyer)
    token.approve(world.fees, 40_000, sender=people.buyer)
    rich = {"usage_bond": 20_000, "upfront_fee": 20_000, "cooling_off_seconds": 300 * DAY}
    first = world.accept(**rich)
    offer = world.offer(steward=bytes.fromhex(whole.cooperative.address[2:]), **rich)
    call = whole.cooperative.calldata("approveOffer", 0, offer)
    ballot = whole.cooperative.propose(call, sender=whole.members[0]).value
    for member in whole.members:
        whole.cooperative.vote(ballot, True, sender=member)
    whole.cooperative.execute(ballot, call, sender=STRANGER)
    second = world.registry.accept(offer, b"", sender=people.buyer).value
    third = world.accept(ends_at=world.evm.timestamp + 3_600)
    licenses = (first, second, third)
    for number in licenses:
        world.deposit(number, 500_000)
    world.fill_pool(sum(NOTES) + 7_000)
    world.settle([(number, 200_000, 200_000) for number in licenses])
    tree = RawTree([word(payee.address, amount) for payee, amount in zip(PAYEES, NOTES, strict=True)])
    tree_id = world.issue(tree)
    term = world.evm.timestamp + 365 * DAY
    world.council_register.appointAuditor(AUDITOR, term, MANDATE, sender=people.council)
    whole.council.take_over(world)
    report = world.post([(first, 300_000, 100_000)], consent_root=ZERO_HASH)
    return Stage(whole, licenses, tree, tree_id, report, dict.fromkeys(licenses, 200_000))


def live_arguments(stage: Stage) -> dict[str, tuple[Any, ...]]:
    """Arguments with which the functions of titles, and those that pay, do their work; by name."""
    whole, world, tree = stage.whole, stage.whole.world, stage.tree
    manager, timelock, seat = world.manager, whole.council.timelock, whole.council.seat
    settlement, insider, now = world.settlement, stage.titles["seat"], whole.evm.timestamp
    found: dict[str, tuple[Any, ...]] = {
        "LicenseRegistry.setTemplate": (b"\1" * 32, True),
        "LicenseRegistry.setFloors": (0, 0),
        "LicenseRegistry.setCommunity": (insider,),
        "LicenseRegistry.setBondEpochs": (0,),
        "OracleCommittee.rotate": (committee_of(4, "insider"), world.settlement.state().lastEpoch + 2),
        "RoyaltySplitter.scheduleReissue": (stage.tree_id, tree.root, tree.total, tree.count),
        "RoyaltySplitter.executeReissue": (stage.tree_id,),
        "RoyaltySplitter.claim": (stage.tree_id, 1, tree.words[1], tree.proof(1)),
        "RoyaltySplitter.payRange": (stage.tree_id, 0, 2, [*tree.words, 0], b""),
        "RoyaltySplitter.payShare": (stage.licenses[0], 0),
        "UsageSettlement.reject": (stage.report, "an insider's reason"),
        "UsageSettlement.rejectByCouncil": (stage.report, "an insider's reason"),
        "UsageSettlement.setDisputeWindow": (1,),
        "UsageSettlement.setNoteMinimum": (2**96 - 1,),
        "UsageSettlement.submit": (stage.report, world.sign_report(stage.report)),
        "UsageSettlement.finalize": (stage.report,),
        "UsageSettlement.issueReserve": (stage.report,),
        "WindDown.announceByCouncil": (),
        "WindDown.cancelByCouncil": (),
        "OperatorBonds.setMinimumBond": (2**96 - 1,),
        "CouncilRegister.appointAuditor": (insider, now + DAY, MANDATE),
        "CouncilRegister.removeAuditor": (AUDITOR, MANDATE),
        "CommunityFund.pay": (world.token, 0),
        "StewardCooperative.pay": (stage.licenses[1], whole.members[0]),
        "AccessManager.grantRole": (GUARDIAN_ROLE, insider, 0),
        "AccessManager.revokeRole": (GUARDIAN_ROLE, world.people.guardian),
        "AccessManager.setTargetClosed": (world.settlement, True),
        "AccessManager.setTargetFunctionRole": (settlement, [settlement.selector("reject")], 2**64 - 1),
        "AccessManager.execute": (settlement, settlement.calldata("reject", stage.report, "by the manager")),
        "CouncilSeat.appoint": ((account("insiders' friend").address, now + DAY, MANDATE),),
        "CouncilSeat.revoke": (2, MANDATE),
        "CouncilTimelock.schedule": (seat, 0, b"", ZERO_HASH, ZERO_HASH, 30 * DAY),
        "PatientCouncil.propose": ([timelock], [0], [b""], "anything"),
        "AccessManager.labelRole": (COUNCIL_ROLE, "renamed"),
        "AccessManager.setRoleGuardian": (COUNCIL_ROLE, GUARDIAN_ROLE),
        "AccessManager.updateAuthority": (world.splitter, manager),
    }
    return {name: plain(values) for name, values in found.items()}


def plain(value: Any) -> Any:
    """A value as the ABI encoder takes it."""
    if isinstance(value, (Contract, Account)):
        return value.address
    return tuple(map(plain, value)) if isinstance(value, (tuple, list)) else as_abi(value)


class Insider:
    """Thinks of arguments: what lies around, what would be nice, and nonsense."""

    def __init__(self, stage: Stage, draw: random.Random, me: Account | Contract) -> None:
        self.stage, self.draw, self.me = stage, draw, me
        world = stage.whole.world
        self.places = [contract.address for contract in stage.whole.contracts.values()]
        self.people = [
            me.address,
            *(payee.address for payee in PAYEES),
            world.people.buyer.address,
            ZERO_ADDRESS,
        ]
        self.hashes = [ZERO_HASH, stage.tree.root, keccak(b"anything"), MANDATE]
        self.signature = sign(STRANGER.key, b"\1" * 32).full

    def arguments(self, action: Action, *, as_they_are: bool = False) -> list[Any]:
        """Live arguments, some exchanged unless they are wanted as they are; or invented ones."""
        inputs = action.function.inputs
        if action.name not in self.stage.live:
            return [self.invented(parameter) for parameter in inputs]
        live = list(self.stage.live[action.name])
        for position in range(len(inputs)):
            if not as_they_are and self.draw.random() < 0.25:
                live[position] = self.invented(inputs[position])
        return live

    def invented(self, parameter: dict[str, Any]) -> Any:
        """Some value of a type."""
        kind, draw = parameter["type"], self.draw
        if kind.endswith("[]"):
            inner = {**parameter, "type": kind[:-2]}
            return [self.invented(inner) for _ in range(draw.choice([0, 1, 1, 2, 4]))]
        if kind.endswith("]"):
            size = int(kind[kind.rindex("[") + 1 : -1])
            return [self.invented({**parameter, "type": kind[: kind.rindex("[")]}) for _ in range(size)]
        if kind == "tuple":
            return tuple(self.invented(member) for member in parameter["components"])
        if kind == "address":
            return draw.choice(self.people if draw.random() < 0.6 else self.places)
        if kind.startswith("uint"):
            return self.number(2 ** int(kind[4:]) - 1)
        if kind == "bytes":
            return draw.choice([b"", self.signature, self.stage.tree.proof(0), draw.randbytes(68)])
        if kind.startswith("bytes"):
            return draw.choice(self.hashes)[: int(kind[5:])]
        return {"bool": draw.random() < 0.5, "string": "words"}[kind]

    def number(self, top: int) -> int:
        """A license, a tree, a time, an amount, or a limit."""
        stage, now = self.stage, self.stage.whole.evm.timestamp
        likely = [0, 1, 2, *stage.licenses, stage.tree_id, 10_000, now, now + DAY, FOREVER, top]
        return min(self.draw.choice(likely), top)


def attempt(stage: Stage, caller: Account | Contract, action: Action, values: list[Any]) -> bool:
    """Call as somebody; whether it went through."""
    if caller.address == action.contract.address:
        return False
    try:
        stage.whole.evm.raw_call(caller, action.contract.address, action.calldata(values))
    except Reverted:
        return False
    return True


def titled(stage: Stage) -> Iterator[tuple[str, Account | Contract]]:
    yield from stage.titles.items()


def test_the_ledger_of_these_tests_sees_money_move(stage: Stage) -> None:
    """Else nothing below could fail: a base unit from anybody to anybody, and out of every place."""
    whole, world = stage.whole, stage.whole.world
    before, thief = stage.wealth(), stage.titles["seat"]
    places = [world.escrow, world.splitter, world.license_bonds, world.operator_bonds, world.fees]
    for victim in (*places, world.people.buyer, PAYEES[0], whole.fund, whole.cooperative):
        with whole.evm.undone():
            world.token.mint(victim, 1, sender=STRANGER)  # so that everybody has one
            world.token.transfer(thief, 1, sender=victim)
            assert stage.wealth() != before, victim
    with whole.evm.undone():
        whole.evm.warp(2 * DAY)
        world.splitter.claim(stage.tree_id, 0, stage.tree.words[0], stage.tree.proof(0), sender=STRANGER)
        world.settlement.finalize(stage.report, sender=STRANGER)
        assert stage.wealth() == before  # what is everybody's right counts as nothing
        world.escrow.withdraw(stage.licenses[2], 5, world.people.buyer, sender=world.people.buyer)
        assert stage.wealth() != before


@pytest.mark.parametrize("window_over", [False, True], ids=["in the window", "after the window"])
def test_inv_31_no_title_moves_anyones_money_with_any_single_call(stage: Stage, window_over: bool) -> None:
    evm, done = stage.whole.evm, {}
    with evm.undone():
        if window_over:
            evm.warp(DISPUTE_SECONDS)
        before = stage.wealth()
        for title, caller in titled(stage):
            insider = Insider(stage, random.Random(f"{title} {window_over}"), caller)
            for action in stage.whole.actions:
                for number in range(TRIES_PER_FUNCTION):
                    with evm.undone():
                        values = insider.arguments(action, as_they_are=number == 0)
                        if attempt(stage, caller, action, values):
                            done.setdefault(title, set()).add(action.name)
                            assert stage.wealth() == before, f"{title} moved money with {action.name}"
    # the tries were live ones: each title did what it may, and what anyone may
    payments = {"RoyaltySplitter.claim", "RoyaltySplitter.payRange", "RoyaltySplitter.payShare"}
    for title in stage.titles:
        assert payments <= done[title], title
        assert ("UsageSettlement.finalize" in done[title]) is window_over
        assert ("UsageSettlement.reject" in done[title]) is (title == "guardian")
        council = {
            "LicenseRegistry.setFloors",
            "LicenseRegistry.setCommunity",
            "UsageSettlement.rejectByCouncil",
        }
        council |= {"WindDown.announceByCouncil", "AccessManager.grantRole", "CouncilSeat.appoint"}
        assert (council <= done[title]) is (title == "timelock")
        assert bool(council & done[title]) is (title == "timelock")


def test_inv_31_no_sequence_of_titles_moves_anyones_money(stage: Stage) -> None:
    """Together, over weeks, in any order: everybody with a title, and a stranger to help."""
    evm, done = stage.whole.evm, set()
    callers = [*titled(stage), ("stranger", STRANGER), ("payee", PAYEES[0])]
    before = stage.wealth()
    for sequence in range(SEQUENCES):
        draw = random.Random(sequence)
        with evm.undone():
            history = []
            for _ in range(CALLS_PER_SEQUENCE):
                title, caller = draw.choice(callers)
                # Half of the calls are such as titles have, or that pay; and most of those the timelock's.
                live = draw.random() < 0.5
                if live and draw.random() < 0.6:
                    title, caller = callers[0]
                action = draw.choice(
                    [one for one in stage.whole.actions if not live or one.name in stage.live]
                )
                values = Insider(stage, draw, caller).arguments(action, as_they_are=draw.random() < 0.3)
                if attempt(stage, caller, action, values):
                    history.append(f"{title}: {action.name}")
                    done.add(action.name)
                if draw.random() < 0.1:
                    evm.warp(draw.choice([60, DISPUTE_SECONDS, DAY, 2 * DAY]))
            assert stage.wealth() == before, "\n".join(history)
    assert {"UsageSettlement.finalize", "UsageSettlement.reject", "OracleCommittee.rotate"} <= done
    assert {"WindDown.announceByCouncil", "AccessManager.setTargetFunctionRole", "CommunityFund.pay"} <= done


def test_inv_31_functions_opened_to_everybody_open_no_account(stage: Stage) -> None:
    """The manager may be told anything: it governs only functions that ask it, and none of those pays."""
    whole, evm = stage.whole, stage.whole.evm
    timelock, manager = whole.council.timelock, whole.world.manager
    with evm.undone():
        for name, contract in whole.contracts.items():
            selectors = [one.function.selector for one in whole.actions if one.contract.name == name]
            manager.setTargetFunctionRole(contract, selectors, 2**64 - 1, sender=timelock)
        before, opened = stage.wealth(), set()
        insider = Insider(stage, random.Random("everybody"), STRANGER)
        for action in whole.actions:
            for number in range(TRIES_PER_FUNCTION):
                with evm.undone():
                    values = insider.arguments(action, as_they_are=number == 0)
                    if attempt(stage, STRANGER, action, values):
                        opened.add(action.name)
                        assert stage.wealth() == before, action.name
    assert {
        "LicenseRegistry.setFloors",
        "UsageSettlement.reject",
        "UsageSettlement.rejectByCouncil",
    } <= opened
    neighbors = {action.name for action in whole.actions if whole.gate(action) in whole.contracts}
    assert not neighbors & opened


def test_the_written_exception_takes_five_years_and_ninety_days_notice(stage: Stage) -> None:
    """Re-issue, the one way in which a title changes who is paid: never sooner, and never of a paid note."""
    whole, evm, splitter = stage.whole, stage.whole.evm, stage.whole.world.splitter
    timelock = whole.council.timelock
    heirs = RawTree([word(STRANGER.address, sum(NOTES))])
    arguments = (stage.tree_id, heirs.root, heirs.total, heirs.count)
    with evm.undone():
        with pytest.raises(Reverted, match="RoyaltySplitter_TooYoung"):
            splitter.scheduleReissue(*arguments, sender=timelock)
        evm.warp(1_827 * DAY)
        splitter.scheduleReissue(*arguments, sender=timelock)
        evm.warp(89 * DAY)
        with pytest.raises(Reverted, match="RoyaltySplitter_NoticeRunning"):
            splitter.executeReissue(stage.tree_id, sender=timelock)
        with evm.undone():
            splitter.claim(stage.tree_id, 0, stage.tree.words[0], stage.tree.proof(0), sender=STRANGER)
            evm.warp(2 * DAY)
            with pytest.raises(Reverted, match="RoyaltySplitter_NotAllUnpaid"):
                splitter.executeReissue(stage.tree_id, sender=timelock)
        evm.warp(2 * DAY)
        tree_id = splitter.executeReissue(stage.tree_id, sender=STRANGER).value
        assert splitter.tree(tree_id).total == sum(NOTES)


def test_titles_are_admin_council_and_guardian(whole: WholeSet) -> None:
    """There is no other role, and nobody else has one of these."""
    manager, guardian = whole.world.manager, whole.world.people.guardian
    holders = {
        role: {who.address for who in everybody(whole) if manager.hasRole(role, who)[0]}
        for role in (ADMIN_ROLE, COUNCIL_ROLE, GUARDIAN_ROLE, *range(3, 10))
    }
    timelock = {whole.council.timelock.address}
    assert holders == {
        ADMIN_ROLE: timelock, COUNCIL_ROLE: timelock, GUARDIAN_ROLE: {guardian.address},
    } | {role: set() for role in range(3, 10)}  # fmt: skip
