"""Four node processes whose reports an attacker disputes in every way that the contract knows.

The tests are one story, told in order: each goes on from the epoch that the one before has left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pytest
from typer.testing import CliRunner
from usufruct_chain import calls
from usufruct_chain.disputes import Dispute, DisputeReader
from usufruct_chain.onchain import SubmittedReport
from usufruct_chain.sender import Sender
from usufruct_oracle.cli import app
from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.signing import LocalSigner, address_of, checksum_address

from scripts.devchain import dev_key
from tests.integration.chain_world import USDC
from tests.integration.oracle_world import Committee, committee

SIGNER_BOND = 1_000 * USDC
ATTACKER_MONEY = 10_000 * USDC
HEAD_BOND, LANE_BOND = 100 * USDC, 10 * USDC


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Committee]:
    with committee(tmp_path_factory.mktemp("committee")) as made:
        for kind in (MeterKind.INFERENCE, MeterKind.TOKENS):
            made.license(kind, 3)
        made.put_rosters()
        bond_signers(made)
        fund_attacker(made)
        yield made


def bond_signers(here: Committee) -> None:
    contracts, anyone = here.world.contracts, here.world.sender("anyone")
    anyone.send(contracts.token.functions.mint(anyone.address, 4 * SIGNER_BOND))
    anyone.send(contracts.token.functions.approve(contracts.deployment.operator_bonds, 4 * SIGNER_BOND))
    for signer in here.world.config.signers:
        anyone.send(contracts.operator_bonds.functions.deposit(signer, SIGNER_BOND))


def fund_attacker(here: Committee) -> None:
    contracts, attacker = here.world.contracts, attacker_of(here)
    here.world.chain.set_balance([attacker.address])
    attacker.send(contracts.token.functions.mint(attacker.address, ATTACKER_MONEY))
    attacker.send(contracts.token.functions.approve(contracts.deployment.disputes, ATTACKER_MONEY))


def attacker_of(here: Committee) -> Sender:
    return Sender(here.world.chain.w3, LocalSigner(dev_key(0, "attacker")))


def anchor(here: Committee, point: Checkpoint, signature: bytes) -> None:
    fields = (checksum_address(point.lane), point.count, point.cumulative_units, point.receipts_root)
    here.world.sender("anyone").send(here.world.contracts.anchors.functions.anchor(fields, signature))


def pending(here: Committee, epoch: int) -> SubmittedReport:
    here.close_period(epoch)
    here.wait_pending(epoch)
    found = here.world.reader.report_calldata(epoch)
    assert found is not None
    return found


def dispute_everything(here: Committee, submitted: SubmittedReport) -> list[Dispute]:
    """Ask for every lane and every line; returns what is open then."""
    attacker, functions = attacker_of(here), here.world.contracts.disputes.functions
    report = calls.report_tuple(submitted.report)
    for number in range(submitted.report.lane_count):
        attacker.send(functions.disputeHead(report, number))
    for index in range(len(submitted.report.lines)):
        attacker.send(functions.disputeUnits(report, index))
    return opened(here, submitted)


def opened(here: Committee, submitted: SubmittedReport) -> list[Dispute]:
    licenses = [line.license_id for line in submitted.report.lines]
    head = here.world.reader.head().hash
    return DisputeReader(here.world.contracts).open_disputes(submitted.report_hash, licenses, head)


def credits(here: Committee) -> list[int]:
    reader = DisputeReader(here.world.contracts)
    return [reader.credit(address_of(key)) for key in here.network.keys]


def token_of(here: Committee, address: str) -> int:
    return here.world.reader.token_balances([bytes.fromhex(address[2:])])[0]


def bonds(here: Committee) -> Sequence[int]:
    views = here.world.contracts.views.operator_bonds
    return here.world.reader.query([views.bonded(signer) for signer in here.world.config.signers])


def wait_answered(here: Committee, submitted: SubmittedReport) -> None:
    # A chain goes on while nodes take their turns.
    def is_answered() -> bool:
        here.pass_time(1)
        return not opened(here, submitted)

    here.network.wait_until("every dispute is answered", is_answered, 40.0)


def test_inv_24_nodes_answer_every_dispute_by_themselves_and_the_attacker_pays(here: Committee) -> None:
    """Lanes of every kind: held, silent, known only by its anchor, and one that anchored another history."""
    held, _silent, anchored, liar = here.lane(1), here.lane(1), here.lane(2), here.lane(2)
    at_ms = here.at_ms(1)
    held.meter(*[1_000] * 5, at_ms=at_ms)
    liar.meter(*[1_000] * 3, at_ms=at_ms)
    here.ship()
    anchored.meter(*[500] * 4, at_ms=at_ms)
    anchor(here, anchored.checkpoint(), anchored.sign(anchored.checkpoint()))
    # More receipts than the nodes hold, with fewer units: it binds nobody, if its contradiction is shown.
    other = type(liar)(liar.number, 2, liar.key, domain=liar.domain)
    other.meter(*[1] * 5, at_ms=at_ms)
    anchor(here, other.checkpoint(), other.sign(other.checkpoint()))

    submitted = pending(here, 1)
    assert [line.cumulative_units for line in submitted.report.lines] == [5_000, 5_000]
    here.network.kill(2)  # its turns pass to the others
    dispute_everything(here, submitted)
    attacker = attacker_of(here).address
    paid = ATTACKER_MONEY - token_of(here, attacker)
    assert paid == 4 * HEAD_BOND + 2 * (HEAD_BOND + 2 * LANE_BOND)
    wait_answered(here, submitted)
    final = here.wait_final(1)
    assert final.report_hash == submitted.report_hash
    assert sum(credits(here)) == paid
    assert credits(here)[2] == 0
    assert token_of(here, attacker) == ATTACKER_MONEY - paid
    assert bonds(here) == [SIGNER_BOND] * 4
    here.network.start(2)


def test_nodes_that_were_all_killed_answer_once_they_are_back(here: Committee) -> None:
    here.lanes[0].meter(*[10] * 3, at_ms=here.at_ms(2))
    here.post(here.lanes[0].batch())
    submitted = pending(here, 2)
    before = sum(credits(here))
    for index in here.network.indexes:
        here.network.kill(index)
    asked = dispute_everything(here, submitted)
    assert asked
    here.pass_time(60)
    assert len(opened(here, submitted)) == len(asked), "nobody is there to answer"
    here.network.start()
    wait_answered(here, submitted)
    assert here.wait_final(2).report_hash == submitted.report_hash
    assert sum(credits(here)) - before == sum(dispute.bond for dispute in asked)
    assert bonds(here) == [SIGNER_BOND] * 4


def command(here: Committee, *arguments: str, node: int = 1) -> str:
    config = str(here.network.config_file(node))
    done = CliRunner().invoke(app, ["disputes", *arguments, "--config", config])
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def test_an_operator_answers_by_hand_and_collects_the_bonds(here: Committee) -> None:
    """Node 1's database is asked while no node runs, for a report of which it holds all."""
    here.lanes[0].meter(*[10] * 3, at_ms=here.at_ms(3))
    here.post(here.lanes[0].batch())
    submitted = pending(here, 3)
    here.network.stop()
    asked = dispute_everything(here, submitted)
    listed = json.loads(command(here, "list", "--json"))
    assert listed["pending_report"] == "0x" + submitted.report_hash.hex()
    assert [each["dispute_id"] for each in listed["disputes"]] == [
        "0x" + dispute.dispute_id.hex() for dispute in asked
    ]
    assert f"{len(asked)} open" in command(here, "list")
    first = "0x" + asked[0].dispute_id.hex()
    assert "1 answered, 0 not" in command(here, "answer", "--dispute", first)
    assert f"{len(asked) - 1} answered, 0 not" in command(here, "answer")
    assert opened(here, submitted) == []
    own_address = checksum_address(address_of(here.network.keys[1]))
    earned = credits(here)[1]
    assert earned >= sum(dispute.bond for dispute in asked)
    assert f"{earned} base units paid to {own_address}" in command(here, "collect")
    assert (credits(here)[1], token_of(here, own_address)) == (0, earned)
    here.network.start()
    assert here.wait_final(3).report_hash == submitted.report_hash
