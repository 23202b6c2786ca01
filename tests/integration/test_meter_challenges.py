"""A gateway answers what it is charged with, against the real contracts, from what it has kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from usufruct_meter.chain.challenges import ChallengeWatch, Unanswerable, answer_to
from usufruct_meter.cli import main
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.receipts import Checkpoint, UsageReceipt
from usufruct_protocol.report_types import EpochReport
from usufruct_protocol.signing import address_of, checksum_address, sign_digest

from scripts.devchain import dev_key
from tests.integration.chain_world import EPOCH_S, GENESIS_S, World, unchanged, world
from tests.integration.meter_chain import PAYER, Setting, setting

SALT = b"\x07" * 32
NOTHING = (checksum_address(bytes(20)), 0, 0, bytes(32))


@pytest.fixture(scope="module")
def deployed() -> Iterator[World]:
    with world() as made:
        made.chain.set_balance([checksum_address(address_of(PAYER))])
        made.register_lane(made.accept(), 0)
        token, challenges = made.contracts.token.functions, made.contracts.challenges
        anyone = made.sender("anyone")
        anyone.send(token.mint(anyone.address, 10**12))
        anyone.send(token.approve(challenges.address, 10**12))
        yield made


@pytest.fixture
def made(deployed: World, tmp_path: Path) -> Iterator[Setting]:
    with unchanged(deployed) as chain, setting(chain, tmp_path) as one:
        yield one


def reveal(made: Setting, name: str, *shown: Any) -> int:
    """Somebody commits to a challenge, waits, and opens it; returns its number."""
    contract, challenger = made.world.contracts.challenges, made.world.sender("anyone")
    call = getattr(contract.functions, name)(*shown, SALT)
    data = bytes.fromhex(contract.encode_abi(name, args=[*shown, SALT])[2:])
    account = bytes.fromhex(challenger.address[2:]).rjust(32, b"\0")
    challenger.send(contract.functions.commit(keccak256(account + keccak256(data))))
    made.pass_time(120)
    challenger.send(call)
    return int(contract.functions.challengeCount().call())


def shown_receipt(made: Setting, seq: int, change: int | None = None) -> Any:
    """A receipt as contracts take it; with a change, one that the lane's key signed besides."""
    stored = made.reader.receipt(seq)
    assert stored is not None
    receipt, signature = stored.receipt, stored.signature
    if change is not None:
        receipt = replace(receipt, request_hash=bytes([change] * 32))
        digest = typed_digest(made.lane.domain, receipt.struct_hash())
        signature = sign_digest(dev_key(0, "lane"), digest)
    return _receipt(receipt), signature


def _receipt(one: UsageReceipt) -> tuple[Any, ...]:
    counts = (one.seq, one.units, one.cumulative_units)
    return (checksum_address(one.lane), *counts, one.usage_root, one.request_hash, one.issued_at_ms)


def _checkpoint(point: Checkpoint) -> tuple[Any, ...]:
    return checksum_address(point.lane), point.count, point.cumulative_units, point.receipts_root


def accuse_of_swapping(made: Setting, seq: int, change: int | None = None) -> int:
    last = made.reader.last_checkpoint()
    assert last is not None
    covering = (_checkpoint(last.checkpoint), last.signature)
    return reveal(made, "openSwapped", shown_receipt(made, seq, change), covering)


def accuse_of_hiding(made: Setting, seq: int) -> int:
    """Finalize a report that counts nothing, and show a receipt that it leaves out."""
    report = made.world.report(made.world.close_epoch(1))
    made.world.settle(report)
    return reveal(made, "openBeyondCount", shown_receipt(made, seq), _report(report), (NOTHING, []))


def _report(report: EpochReport) -> tuple[Any, ...]:
    return tuple(getattr(report, name) for name in EpochReport.__dataclass_fields__)


def is_open(made: Setting, challenge_id: int) -> bool:
    return int(made.world.contracts.challenges.functions.challenge(challenge_id).call()[3]) != 0


def credit(made: Setting) -> int:
    account = checksum_address(address_of(PAYER))
    return int(made.world.contracts.challenges.functions.credit(account).call())


def test_inv_25_a_receipt_that_is_in_its_checkpoint_is_shown_to_be(made: Setting) -> None:
    made.meter(11)
    challenge_id = accuse_of_swapping(made, 6)
    assert is_open(made, challenge_id)
    made.keeper.answer_challenges(made.reader)
    assert not is_open(made, challenge_id)
    assert credit(made) == made.world.config.challenges_settings.challenge_bond
    made.keeper.answer_challenges(made.reader)
    assert credit(made) == made.world.config.challenges_settings.challenge_bond


def test_inv_25_what_signers_had_acknowledged_is_shown_with_their_signatures(made: Setting) -> None:
    point = made.meter(3)
    made.acknowledge(point, 2, 0, 3)
    challenge_id = accuse_of_hiding(made, 1)
    made.keeper.answer_challenges(made.reader)
    assert not is_open(made, challenge_id)
    assert credit(made) > 0


def test_what_cannot_be_answered_is_an_alarm_and_the_next_is_answered(
    made: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    made.meter(4)
    forged, honest = accuse_of_swapping(made, 2, change=9), accuse_of_swapping(made, 1)
    made.keeper.answer_challenges(made.reader)
    assert is_open(made, forged)
    assert not is_open(made, honest)
    assert f"challenge {forged} is not answered" in caplog.text
    assert "revokeByContradiction" in caplog.text


def test_too_few_acknowledgements_are_said(made: Setting) -> None:
    point = made.meter(2)
    made.acknowledge(point, 0)
    made.acknowledge(point, 1, at_s=GENESIS_S + EPOCH_S + 1)
    accuse_of_hiding(made, 0)
    chain = made.keeper.chain
    (challenge,) = ChallengeWatch(chain).open()
    with pytest.raises(Unanswerable, match="fewer than 2 signers"):
        answer_to(challenge, chain, made.reader, made.acks)


def test_the_command_lists_and_answers_for_a_worker_that_is_down(
    made: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    made.meter(5)
    challenge_id = accuse_of_swapping(made, 3)
    command = ["challenges", str(made.lane.file.path), "--json"]
    assert main(command) == 4
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["challenge"], listed["kind"], listed["can_answer"]) == (challenge_id, "swapped", True)
    assert is_open(made, challenge_id)
    assert main([*command, "--answer"]) == 0
    assert not is_open(made, challenge_id)
    capsys.readouterr()
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == []
