"""Good histories that bring a world to where there is something to steal, and show how each contract is used.

What a story does inside `undone()` is a good call that still waits to be made when the story ends.
"""

from __future__ import annotations

from collections.abc import Callable

from usufruct_protocol.terms import NoteRedirect

from tests.contracts.evm import disputes, fees, gateway, removal
from tests.contracts.evm.removal import revoke_tag
from tests.contracts.evm.reserves import Reserve, claim_reserve, issue_reserve, replace_committee
from tests.contracts.evm.winding_down import Ending, Shown
from tests.contracts.evm.world import FOREVER, MERGE_DELAY_SECONDS, World
from tests.contracts.trees import RawTree, word
from tests.contracts.wire import SPLITTER, Account, account, sign, typed_digest

PAYEES = [account(f"payee {number}") for number in range(4)]
GOAL = account("where payees want it")
CHALLENGER = disputes.CHALLENGER


def payments(world: World) -> None:
    """Notes of two epochs, a reserve before a new committee, a report that waits."""
    license_id = world.fill_pool(1_000_000)
    trees: list[tuple[int, RawTree]] = []
    for epoch in range(2):
        tree = RawTree([word(who.address, 100 + epoch + at) for at, who in enumerate([*PAYEES, *PAYEES])])
        trees.append((world.issue(tree), tree))
    reserve = Reserve([700, 800, 900])
    world.deposit(license_id, 5_000)
    last = world.settle([(license_id, 1_002_000, 2_000)], **reserve.in_report)
    replace_committee(world, last.epoch + 2)
    with world.evm.undone():
        final = world.settle(**reserve.in_report)
        issue_reserve(world, final)
        claim_reserve(world, 2 * final.epoch + 1, reserve, 1)
    for tree_id, tree in trees:
        with world.evm.undone():
            pay_all_ways(world, tree_id, tree)
    with world.evm.undone():
        for party in range(4):
            if world.splitter.shareCredit(license_id, party):
                world.splitter.payShare(license_id, party, sender=world.people.stranger)
        vrs = world.authorization(license_id, world.people.buyer, 77, b"\1" * 32)
        world.token.mint(world.people.buyer, 77, sender=world.people.buyer)
        arguments = (license_id, world.people.buyer, 77, 0, FOREVER, b"\1" * 32, *vrs)
        world.escrow.depositWithAuthorization(*arguments, sender=world.people.stranger)
    world.token.mint(world.people.buyer, 1_000, sender=world.people.buyer)
    world.post([(license_id, 1_003_000, 1_000)], RawTree([word(PAYEES[0].address, 500)]))


def pay_all_ways(world: World, tree_id: int, tree: RawTree) -> None:
    """A range, a claim, several claims and a redirect, each on notes of its own."""
    splitter, anyone = world.splitter, world.people.stranger
    splitter.payRange(tree_id, 0, 2, tree.range_words(0, 2), tree.range_proof(0, 2), sender=anyone)
    splitter.claim(tree_id, 4, tree.words[4], tree.proof(4), sender=anyone)
    splitter.claimMany([(tree_id, 5, tree.words[5], tree.proof(5))], sender=anyone)
    payee = next(who for who in PAYEES if int(who.address, 16) == tree.words[6] >> 96)
    amount = tree.words[6] % 2**96
    values = NoteRedirect(tree_id, 6, raw(payee), amount, raw(GOAL), FOREVER)
    digest = typed_digest(SPLITTER, world.evm.chain_id, splitter.address, "NoteRedirect", values)
    signature = sign(payee.key, digest).full
    splitter.redirect(tree_id, 6, tree.words[6], GOAL, FOREVER, signature, tree.proof(6), sender=anyone)


def against_reports(world: World) -> None:
    """Bonded signers, a report that waits and is asked about."""
    scene = disputes.Scene.build(world)
    world.deposit(scene.first, 10**6)
    disputes.settle(world, scene.vector(3, 3, 3))
    for lane in scene.lanes:
        lane.serve(10)
    disputes.next_period(world)
    report, vector = scene.pending()
    with world.evm.undone():
        asked = disputes.ask_head(world, report, 0)
        shown = disputes.shown_by(scene.lanes[0], vector)
        world.disputes.answerHead(asked, shown, sender=world.people.stranger)
    with world.evm.undone():
        asked = disputes.ask_units(world, report)
        heads = [disputes.shown_by(lane, vector) for lane in scene.lanes[:2]]
        world.disputes.answerUnits(asked, heads, sender=world.people.stranger)
    with world.evm.undone():
        asked = disputes.ask_head(world, report, 1)
        disputes.window_over(world)
        disputes.condemn(world, asked, report)
    disputes.ask_head(world, report, 2)


def against_buyers(world: World) -> None:
    """A bonded license whose gateway hid a receipt, and challenges that wait for answers."""
    license_id = gateway.bonded_license(world, 10**9)
    lane = gateway.Gateway(world, license_id, "a lane")
    for _ in range(4):
        lane.serve(5)
    gateway.fund_challenger(world, CHALLENGER, 8)
    world.evm.warp(MERGE_DELAY_SECONDS)
    vector = gateway.LaneVector([lane.checkpoint(2)])
    report = world.settle(**vector.in_report)
    hidden = lane.signed(lane.receipts[3])
    head = vector.head(0)
    with world.evm.undone():
        gateway.reveal(world, CHALLENGER, "openBeyondCount", hidden, report, head)
        world.evm.warp(30 * 86_400)
        world.challenges.uphold(world.challenges.challengeCount(), sender=world.people.stranger)
        world.license_bonds.payCredit(CHALLENGER, sender=world.people.stranger)
    with world.evm.undone():
        two = gateway.contradiction(lane.signed(lane.receipts[1]), lane.signed(lane.forged(1, units=9)))
        gateway.reveal(world, CHALLENGER, "challengeContradiction", two)
    gateway.reveal(
        world, CHALLENGER, "openSwapped", lane.signed(lane.receipts[1]), lane.signed(lane.checkpoint())
    )
    with world.evm.undone():
        number, proof = world.challenges.challengeCount(), lane.proof(1)
        world.challenges.answerByInclusion(number, proof, sender=world.people.stranger)
        world.challenges.withdrawCredit(GOAL, sender=world.people.stranger)


def considerations(world: World) -> None:
    """An upfront fee that is held, milestones that are funded, a royalty that runs."""
    terms, royalty = fees.milestone_terms(world), fees.royalty_terms(world)
    deal = fees.make_deal(world, upfront=5_000, milestones=terms, royalty=royalty)
    deal.open_milestones()
    deal.fund(0)
    deal.open_royalty()
    with world.evm.undone():
        deal.cool_off()
        world.fees.refundUpfront(deal.license_id, world.people.buyer, sender=world.people.buyer)
    with world.evm.undone():
        deal.after_cooling_off()
        world.fees.releaseUpfront(deal.license_id, sender=world.people.stranger)
        deal.release(0, deal.attested(0, (0, 1)))
    with world.evm.undone():
        deal.after_period(0)
        deal.state(0, 10**6)
        deal.pay(0, deal.owed(0)[0])


def removals(world: World) -> None:
    """Duties that are open, and a use after consent that somebody can show."""
    scene = removal.Scene(world)
    record, now_ms = b"r" * 32, world.evm.timestamp * 1_000
    scene.set_roster({record: [(0, now_ms + 10**12, revoke_tag(1))]})
    scene.revoke(1)
    world.evm.warp(2 * 86_400)
    world.duties.openDuty(scene.license_id, 0, revoke_tag(1), sender=world.people.steward)
    evidence = scene.evidence(scene.use(record), record)
    with world.evm.undone():
        scene.penalize(evidence)
    with world.evm.undone():
        world.duties.attestRemoval(scene.license_id, 0, 1, b"\1" * 32, sender=world.people.buyer)
    with world.evm.undone():
        world.evm.warp(40 * 86_400)
        world.duties.enforceDuty(scene.license_id, 0, 1, sender=world.people.stranger)


def the_end(world: World) -> None:
    """A closed settlement: late usage to settle, reserve and supplement to claim, balances to take back."""
    ending = Ending.of(Reserve([40, 50, 60]), world)
    ending.vanish()
    with world.evm.undone():
        ending.settle_late(Shown(ending.lanes[0], 1_500))
        claim_reserve(world, ending.tree_id, ending.reserve, 0)
        ending.open_refunds()
        ending.withdraw(100)
        ending.supplement(1)
    with world.evm.undone():
        ending.open_refunds()
        world.wind_down.claimSupplement(*ending.reserve.opening(2), sender=world.people.stranger)


STORIES: dict[str, Callable[[World], None]] = {
    "payments": payments,
    "against reports": against_reports,
    "against buyers": against_buyers,
    "considerations": considerations,
    "removals": removals,
    "the end": the_end,
}


def everybody(world: World) -> list[Account]:
    """Whoever acts in a story and could win or lose. Not the admin, who is the timelock in production."""
    people = world.people
    named = [value for name, value in vars(people).items() if isinstance(value, Account) and name != "admin"]
    signers = [signer for version in world.signers.values() for signer in version]
    return [*named, *PAYEES, GOAL, CHALLENGER, *signers]


def raw(who: Account) -> bytes:
    return bytes.fromhex(who.address[2:])
