"""No role moves anyone's money: every function of every contract, tried by everybody who has a title.

The functions come from the ABIs: a new one fails here until somebody says with which arguments it would work.
Tries vary those as an insider would: other licenses, other amounts, their own address.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from tests.contracts.evm.chain import Contract, Evm, Reverted, canonical_type
from tests.contracts.evm.world import DISPUTE_SECONDS, FOREVER, World, committee_of
from tests.contracts.trees import RawTree, word
from tests.contracts.wire import ZERO_ADDRESS, Account, account, sign

PAYEES = [account(f"payee {number}") for number in range(4)]
AMOUNTS = (10, 20, 40, 80)
PUBLIC_ROLE = 2**64 - 1
TRIES_PER_FUNCTION = 12

GOVERNED = {
    "LicenseRegistry": {"setAuthority", "setTemplate", "setFloors", "setCommunity", "setBondEpochs"},
    "OracleCommittee": {"setAuthority", "rotate"},
    "RoyaltySplitter": {"setAuthority", "scheduleReissue"},
    "UsageSettlement": {"setAuthority", "setDisputeWindow", "setNoteMinimum", "reject", "rejectByCouncil"},
}
NEIGHBORS_ONLY = [
    ("RoyaltyEscrow", "reserve"),
    ("RoyaltyEscrow", "release"),
    ("RoyaltyEscrow", "draw"),
    ("RoyaltyEscrow", "drawLate"),
    ("RoyaltySplitter", "accrue"),
    ("RoyaltySplitter", "accrueIncome"),
    ("RoyaltySplitter", "issue"),
    ("RoyaltySplitter", "surrenderPool"),
    ("UsageSettlement", "rejectProven"),
    ("UsageSettlement", "holdFinalization"),
    ("UsageSettlement", "releaseFinalization"),
    ("UsageSettlement", "stop"),
    ("LicenseRegistry", "revokeLane"),
]


@dataclass(eq=False)
class Stage:
    """Money in every place it can be: accounts, a reservation, the pool, credits, an unpaid tree."""

    world: World
    licenses: tuple[int, ...]
    tree: RawTree
    tree_id: int
    final: Any
    report: Any

    @property
    def contracts(self) -> dict[str, Contract]:
        world = self.world
        found = (world.registry, world.committee, world.escrow, world.splitter, world.settlement)
        return {contract.name: contract for contract in found}

    def actions(self) -> Iterator[tuple[Contract, str]]:
        """Every function that changes state."""
        for contract in self.contracts.values():
            for name, function in contract.functions.items():
                if not function.is_view:
                    yield contract, name


@pytest.fixture(scope="module")
def stage() -> Stage:
    world = World(Evm())
    running = world.accept()
    ended = world.accept(ends_at=world.evm.timestamp + 3_600)
    for license_id in (running, ended):
        world.deposit(license_id, 5_000)
    lane = account("lane")
    registration = world.lane(running, lane)
    world.registry.registerLane(registration, world.sign_lane(registration, lane), sender=world.people.buyer)
    world.fill_pool(1_000)
    world.settle([(running, 2_000, 2_000)])
    tree = RawTree([word(payee.address, amount) for payee, amount in zip(PAYEES, AMOUNTS, strict=True)])
    final = world.settle(notes=tree, reserve_root=b"\1" * 32, reserve_total=5, reserve_count=1)
    report = world.post([(running, 3_000, 1_000)])
    return Stage(world, (running, ended), tree, 2 * final.epoch, final, report)


def wealth(stage: Stage) -> dict[str, int]:
    """What belongs to whom, wherever it lies: wallet, unpaid notes, unpaid shares; then accounts and pool.

    Paying somebody what is theirs, or finalizing the signed report, is everybody's right and is no loss: the
    charge of the pending report counts as drawn already.
    """
    world, people = stage.world, stage.world.people
    splitter, token = world.splitter, world.token
    owned = {payee.name: token.balanceOf(payee) for payee in PAYEES}
    for index, (payee, amount) in enumerate(zip(PAYEES, AMOUNTS, strict=True)):
        owned[payee.name] += 0 if splitter.isPaid(stage.tree_id, index) else amount
    parties = (people.community, people.steward, people.platform, people.operators)
    for number, party in enumerate(parties):
        owned[party.name] = token.balanceOf(party)
        for license_id in stage.licenses:
            owned[party.name] += splitter.shareCredit(license_id, number)
    for license_id in stage.licenses:
        acct = world.escrow.account(license_id)
        owned[f"account {license_id}"] = acct.available + acct.reserved + acct.withdrawn + acct.charged
        owned[f"withdrawn {license_id}"] = acct.withdrawn
    owned["pool and charges"] = splitter.pool() - sum(
        splitter.charged(license_id) * 7_000 // 10_000 for license_id in stage.licenses
    )
    for insider in (people.admin, people.council, people.guardian, people.stranger):
        owned[insider.name] = token.balanceOf(insider)
    owned["buyer"] = token.balanceOf(people.buyer)
    return owned


def settle_parties(stage: Stage, owned: dict[str, int]) -> dict[str, int]:
    """Take out of the parties' wealth what the pending report's charge added to it, if it was finalized."""
    drawn = stage.world.escrow.account(stage.licenses[0]).charged - 2_000
    shares = {"community": 1_000, "steward": 1_000, "platform": 500, "operators": 500}
    return {name: amount - drawn * shares.get(name, 0) // 10_000 for name, amount in owned.items()}


@cache
def live_arguments(stage: Stage, caller: Account) -> dict[str, tuple[Any, ...]]:
    """Arguments with which each function would do its work, if only the caller were allowed to."""
    world, tree = stage.world, stage.tree
    running, ended = stage.licenses
    note = (stage.tree_id, 1, tree.words[1])
    offer, lane = world.offer(), world.lane(running, caller)
    lines = [(running, 3_000, 1_000)]
    someones_signature = sign(caller.key, b"\1" * 32)
    vrs = (someones_signature.v, someones_signature.r, someones_signature.s)
    return {
        "accept": (offer, world.sign_offer(offer)),
        "cancelOffer": (offer.nonce,),
        "registerLane": (lane, world.sign_lane(lane, caller)),
        "setRoster": (running, b"\1" * 32),
        "giveNotice": (running,),
        "coolOff": (running,),
        "setSuspended": (running, True),
        "setTemplate": (b"\1" * 32, True),
        "setFloors": (0, 0),
        "setCommunity": (caller,),
        "setBondEpochs": (1,),
        "revokeLane": (0,),
        "setAuthority": (caller,),
        "rotate": (committee_of(4, "insider"), world.settlement.state().lastEpoch + 2),
        "deposit": (running, 10),
        "depositWithPermit": (running, 10, FOREVER, *vrs),
        "depositWithAuthorization": (running, world.people.buyer, 10, 0, FOREVER, bytes(32), *vrs),
        "reserve": (lines,),
        "release": (lines,),
        "draw": (lines,),
        "drawLate": (running, 4_000, 1_000),
        "withdraw": (ended, 10, caller),
        "accrue": (lines,),
        "accrueIncome": (running, 10),
        "surrenderPool": (),
        "scheduleReissue": (stage.tree_id, tree.root, tree.total, tree.count),
        "executeReissue": (stage.tree_id,),
        "rescue": (world.token,),
        "issue": (stage.tree_id + 2, tree.root, tree.total, tree.count),
        "payRange": (stage.tree_id, 0, 2, tree.words, b""),
        "claim": (*note, tree.proof(1)),
        "claimMany": ([(*note, tree.proof(1))],),
        "claimReserve": (stage.tree_id + 1, *note[1:], bytes(32), tree.proof(1)),
        "redirect": (*note, caller, FOREVER, someones_signature.full, tree.proof(1)),
        "payShare": (running, 0),
        "submit": (stage.report, world.sign_report(stage.report)),
        "reject": (stage.report, "an insider's reason"),
        "rejectByCouncil": (stage.report, "an insider's reason"),
        "rejectProven": (stage.report, "an insider's reason"),
        "holdFinalization": (world.settlement.hashReport(stage.report),),
        "releaseFinalization": (world.settlement.hashReport(stage.report),),
        "issueReserve": (stage.final,),
        "stop": (),
        "finalize": (stage.report,),
        "setDisputeWindow": (1,),
        "setNoteMinimum": (0,),
    }


def something_else(stage: Stage, parameter: dict[str, Any], caller: Account, draw: random.Random) -> Any:
    """Another value of a parameter's type; None where only the live one makes sense."""
    kind = canonical_type(parameter)
    if kind == "address":
        return draw.choice([caller.address, stage.world.splitter.address, ZERO_ADDRESS])
    if kind.startswith("uint") and not kind.endswith("]"):
        top = 2 ** int(kind[4:]) - 1
        return min(draw.choice([0, 1, 2, 3, 27, 1_000, 5_000, stage.world.evm.timestamp, top]), top)
    if kind == "bytes32":
        return draw.choice([bytes(32), stage.tree.root, draw.randbytes(32)])
    if kind == "bytes":
        return draw.choice([b"", stage.tree.range_proof(0, 1), stage.tree.proof(0)])
    return draw.choice([True, False]) if kind == "bool" else None


def attempts(stage: Stage, contract: Contract, name: str, caller: Account) -> Iterator[bytes]:
    """Call data of the tries at one function, the same ones every time: the live arguments first, then with
    one or two of them replaced."""
    draw = random.Random(f"{contract.name}.{name}.{caller.name}")
    inputs = contract.functions[name].inputs
    for replaced in (0, *(draw.choice([0, 1, 1, 2]) for _ in range(TRIES_PER_FUNCTION))):
        values = list(live_arguments(stage, caller)[name])
        for position in draw.sample(range(len(inputs)), min(replaced, len(inputs))):
            other = something_else(stage, inputs[position], caller, draw)
            values[position] = values[position] if other is None else other
        yield contract.calldata(name, *values)


def try_everything(stage: Stage, caller: Account, *, through_manager: bool = False) -> set[str]:
    """Let somebody try every function; what succeeded. Fails if anyone's wealth changed."""
    world = stage.world
    before = settle_parties(stage, wealth(stage))
    succeeded = set()
    for contract, name in stage.actions():
        for call in attempts(stage, contract, name, caller):
            with world.evm.undone():
                try:
                    if through_manager:
                        world.manager.execute(contract, call, sender=caller)
                    else:
                        world.evm.raw_call(caller, contract.address, call)
                except Reverted:
                    continue
                succeeded.add(name)
                after = settle_parties(stage, wealth(stage))
                assert after == before, f"{caller} moved money with {contract.name}.{name}"
    return succeeded


@pytest.mark.parametrize("title", ["admin", "council", "guardian", "stranger"])
@pytest.mark.parametrize("window_over", [False, True], ids=["in the window", "after the window"])
def test_inv_31_no_title_moves_anyones_money(stage: Stage, title: str, window_over: bool) -> None:
    caller: Account = getattr(stage.world.people, title)
    with stage.world.evm.undone():
        if window_over:
            stage.world.evm.warp(DISPUTE_SECONDS)
        succeeded = try_everything(stage, caller)
    # the tries are live ones: what anybody may do went through, and so did what the title allows
    assert {"claim", "payRange", "payShare"} <= succeeded
    assert ("finalize" in succeeded) is window_over
    assert ({"setFloors", "rejectByCouncil"} <= succeeded) is (title == "council")
    assert ("reject" in succeeded) is (title == "guardian")
    forbidden = {"withdraw", "setRoster", "redirect", "issueReserve", "rescue", "executeReissue"}
    assert not (forbidden | {name for _, name in NEIGHBORS_ONLY}) & succeeded


def test_inv_31_an_admin_who_calls_through_the_manager_moves_nothing_either(stage: Stage) -> None:
    with stage.world.evm.undone():
        try_everything(stage, stage.world.people.admin, through_manager=True)


def test_inv_31_an_admin_who_opens_every_function_to_everybody_opens_no_account(stage: Stage) -> None:
    """The manager may be told anything; only functions that ask it are governed by it."""
    world = stage.world
    with world.evm.undone():
        for contract in stage.contracts.values():
            selectors = [contract.selector(name) for target, name in stage.actions() if target is contract]
            world.manager.setTargetFunctionRole(contract, selectors, PUBLIC_ROLE, sender=world.people.admin)
        succeeded = try_everything(stage, world.people.stranger)
    assert {"setFloors", "rejectByCouncil", "reject"} <= succeeded
    assert not {name for _, name in NEIGHBORS_ONLY} & succeeded


def test_inv_31_exactly_the_listed_functions_are_governed(stage: Stage) -> None:
    """A stranger is told so by each of them; and the contract that holds buyers' money asks no manager."""
    governed: dict[str, set[str]] = {}
    stranger = stage.world.people.stranger
    for contract, name in stage.actions():
        for call in attempts(stage, contract, name, stranger):
            try:
                with stage.world.evm.undone():
                    stage.world.evm.raw_call(stranger, contract.address, call)
            except Reverted as refused:
                if refused.name in ("AccessManagedUnauthorized", "AccessManagerUnauthorizedAccount"):
                    governed.setdefault(contract.name, set()).add(name)
    assert governed == GOVERNED
    assert "authority" not in stage.world.escrow.functions


@pytest.mark.parametrize(("contract_name", "name"), NEIGHBORS_ONLY)
def test_inv_31_money_moves_between_contracts_only_at_their_neighbors_word(
    stage: Stage, contract_name: str, name: str
) -> None:
    contract = stage.contracts[contract_name]
    people = stage.world.people
    for caller in (
        people.admin,
        people.council,
        people.guardian,
        people.stranger,
        people.steward,
        people.buyer,
    ):
        for call in attempts(stage, contract, name, caller):
            with pytest.raises(Reverted, match=f"{contract_name}_Only"):
                stage.world.evm.raw_call(caller, contract.address, call)
