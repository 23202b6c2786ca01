"""ConsentLog: what enters it, and the running hash at any block, against the Python twin.

Revert paths. publish: EmptyBatch (root 0, count 0). forceRevoke: none. accumulatorAt: FutureBlock. batch:
UnknownBatch (0, beyond the count). Ether: refused by everything.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st
from usufruct_protocol.consent_log import Batch, Entry, Revocation, accumulated, revoke_tag
from usufruct_protocol.errors import InputRejected

from tests.contracts.evm.chain import Contract, Evm, Reverted
from tests.contracts.wire import account

CLERK = account("clerk")
PATIENT = account("patient")
STRANGER = account("stranger")
SECRET = b"\x11" * 32
TAG = keccak(SECRET)
ROOT = keccak(b"a batch of commitments")
LEAST_GAS = 21_000


@pytest.fixture
def log(evm: Evm) -> Contract:
    return evm.deploy("ConsentLog", sender=CLERK)


def word(number: int, size: int) -> bytes:
    return number.to_bytes(size, "big")


def test_the_accumulator_is_zero_before_the_first_entry(evm: Evm, log: Contract) -> None:
    assert log.accumulator() == bytes(32)
    assert log.accumulatorAt(evm.number) == bytes(32)
    assert log.accumulatorAt(0) == bytes(32)


def test_one_batch_and_one_revocation_hash_as_written_in_the_specification(evm: Evm, log: Contract) -> None:
    """Spelled out here a second time, so that contract and twin cannot share a slip."""
    log.publish(ROOT, 3, sender=CLERK)
    content = keccak(ROOT + word(3, 4) + bytes.fromhex(CLERK.address[2:]))
    first = keccak(b"\x07" + bytes(32) + b"\x01" + content + word(evm.timestamp, 8))
    assert log.accumulator() == first
    evm.warp(5)
    log.forceRevoke(SECRET, sender=STRANGER)
    assert log.accumulator() == keccak(b"\x07" + first + b"\x02" + TAG + word(evm.timestamp, 8))


def test_a_batch_is_kept_with_publisher_and_time(evm: Evm, log: Contract) -> None:
    receipt = log.publish(ROOT, 3, sender=CLERK)
    assert receipt.value == 1
    assert log.publish(ROOT, 4, sender=STRANGER).value == 2  # the same root again is another batch
    assert log.batchCount() == 2
    assert tuple(log.batch(1)) == (ROOT, CLERK.address, 3, evm.timestamp)
    assert tuple(log.batch(2)) == (ROOT, STRANGER.address, 4, evm.timestamp)
    (event,) = receipt.named("BatchPublished")
    assert (event.batchId, event.publisher, event.root, event.count) == (1, CLERK.address, ROOT, 3)
    assert event.accumulator == accumulated([Batch(ROOT, 3, bytes.fromhex(CLERK.address[2:]), evm.timestamp)])


@pytest.mark.parametrize(("root", "count"), [(bytes(32), 1), (ROOT, 0), (bytes(32), 0)])
def test_a_batch_of_nothing_is_refused(log: Contract, root: bytes, count: int) -> None:
    with pytest.raises(Reverted, match="ConsentLog_EmptyBatch"):
        log.publish(root, count, sender=CLERK)
    assert log.accumulator() == bytes(32)


@pytest.mark.parametrize("batch_id", [0, 2, 2**64 - 1])
def test_a_batch_that_does_not_exist_is_said_so(log: Contract, batch_id: int) -> None:
    log.publish(ROOT, 1, sender=CLERK)
    with pytest.raises(Reverted, match="ConsentLog_UnknownBatch"):
        log.batch(batch_id)


def test_anyone_who_knows_the_secret_revokes(evm: Evm, log: Contract) -> None:
    receipt = log.forceRevoke(SECRET, sender=STRANGER)
    assert receipt.value == TAG == revoke_tag(SECRET)
    assert log.revokedAt(TAG) == evm.timestamp
    (event,) = receipt.named("ConsentRevoked")
    assert (event.revokeTag, event.accumulator) == (TAG, log.accumulator())


def test_a_tag_itself_revokes_nothing_of_its_own(log: Contract) -> None:
    """What is public, the tag, is no secret: sending it revokes the tag above it, which nobody has."""
    log.forceRevoke(TAG, sender=STRANGER)
    assert log.revokedAt(TAG) == 0


def test_a_secret_sent_twice_counts_once_and_fails_nobody(evm: Evm, log: Contract) -> None:
    """Somebody copies it on its way and is first: the patient's own still succeeds, and changes nothing."""
    log.forceRevoke(SECRET, sender=STRANGER)
    before = (log.accumulator(), log.revokedAt(TAG))
    evm.warp(3_600)
    receipt = log.forceRevoke(SECRET, sender=PATIENT)
    assert receipt.value == TAG
    assert receipt.events == ()
    assert (log.accumulator(), log.revokedAt(TAG)) == before


def test_nobody_else_s_entries_revoke_or_shift_a_revocation(evm: Evm, log: Contract) -> None:
    log.forceRevoke(SECRET, sender=PATIENT)
    at = evm.timestamp
    for number in range(50):
        evm.mine(number % 3)
        log.publish(word(number + 1, 32), 1, sender=STRANGER)
        log.forceRevoke(word(number, 32), sender=STRANGER)
    assert log.revokedAt(TAG) == at


def test_looking_back_over_much_spam_stays_cheap(evm: Evm, log: Contract) -> None:
    """A thousand blocks of a spammer's entries make the search ten steps longer, no more."""
    log.forceRevoke(SECRET, sender=PATIENT)
    at, expected = evm.number, log.accumulator()
    for number in range(1_000):
        evm.mine(1)
        log.forceRevoke(word(number, 32), sender=STRANGER)
    search = log.calldata("accumulatorAt", at)
    assert evm.raw_call(None, log.address, search, gas=LEAST_GAS + 60_000, is_static=True) == expected


def test_the_hash_of_a_block_covers_all_of_its_entries_and_none_after(evm: Evm, log: Contract) -> None:
    before = evm.number
    evm.mine(10)
    log.forceRevoke(word(1, 32), sender=PATIENT)
    halfway = log.accumulator()
    log.publish(ROOT, 1, sender=CLERK)
    busy, full = evm.number, log.accumulator()
    assert log.accumulatorAt(busy) == full != halfway  # the current block: so far
    evm.mine(10)
    log.forceRevoke(word(2, 32), sender=PATIENT)
    assert log.accumulatorAt(before) == bytes(32)
    assert log.accumulatorAt(busy - 1) == bytes(32)
    assert log.accumulatorAt(busy) == log.accumulatorAt(busy + 9) == full
    assert log.accumulatorAt(evm.number) == log.accumulator() != full


def test_a_block_to_come_has_no_hash(evm: Evm, log: Contract) -> None:
    log.publish(ROOT, 1, sender=CLERK)
    for block in (evm.number + 1, 2**256 - 1):
        with pytest.raises(Reverted, match="ConsentLog_FutureBlock") as refused:
            log.accumulatorAt(block)
        assert refused.value.arguments == (block, evm.number)


def test_entries_of_two_kinds_orders_or_publishers_never_share_a_hash(evm: Evm, log: Contract) -> None:
    """One entry differs in one respect each time, everything else being equal."""
    seen = set()
    for steps in (
        [("publish", (ROOT, 3), CLERK)],
        [("publish", (ROOT, 4), CLERK)],
        [("publish", (ROOT, 3), STRANGER)],
        [("publish", (TAG, 3), CLERK)],
        [("forceRevoke", (SECRET,), CLERK)],
        [("forceRevoke", (SECRET,), CLERK), ("publish", (ROOT, 3), CLERK)],
        [("publish", (ROOT, 3), CLERK), ("forceRevoke", (SECRET,), CLERK)],
    ):
        with evm.undone():
            for name, arguments, sender in steps:
                getattr(log, name)(*arguments, sender=sender)
            seen.add(log.accumulator())
    evm.warp(1)
    log.publish(ROOT, 3, sender=CLERK)
    seen.add(log.accumulator())
    assert len(seen) == 8


@dataclass
class Twin:
    """The log as a plain list, asked by walking all of it."""

    entries: list[tuple[int, Entry]] = field(default_factory=list)
    revoked: dict[bytes, int] = field(default_factory=dict)

    def at(self, block: int) -> bytes:
        return accumulated(entry for number, entry in self.entries if number <= block)


@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_any_history_reads_as_the_twin_at_every_block(draw: random.Random, length: int) -> None:
    evm, twin = Evm(), Twin()
    log = evm.deploy("ConsentLog", sender=CLERK)
    first = evm.number
    for _ in range(length):
        step = draw.randrange(4)
        if step < 2:
            evm.mine(draw.choice([1, 1, 2, 7]))
        elif step == 2:
            sender = draw.choice([CLERK, STRANGER])
            root, count = word(draw.randrange(1, 2**256), 32), draw.choice([1, 2, 2**32 - 1])
            log.publish(root, count, sender=sender)
            entry = Batch(root, count, bytes.fromhex(sender.address[2:]), evm.timestamp)
            twin.entries.append((evm.number, entry))
        else:
            secret = word(draw.randrange(8), 32)
            tag = log.forceRevoke(secret, sender=STRANGER).value
            assert tag == revoke_tag(secret)
            if tag not in twin.revoked:
                twin.revoked[tag] = evm.timestamp
                twin.entries.append((evm.number, Revocation(tag, evm.timestamp)))
    assert log.accumulator() == twin.at(evm.number)
    for block in range(first - 1, evm.number + 1):
        assert log.accumulatorAt(block) == twin.at(block)
    for number in range(8):
        tag = revoke_tag(word(number, 32))
        assert log.revokedAt(tag) == twin.revoked.get(tag, 0)


def test_ether_is_refused(evm: Evm, log: Contract) -> None:
    evm.fund_ether(STRANGER.address, 10)
    calls = [b"", log.calldata("publish", ROOT, 1), log.calldata("forceRevoke", SECRET)]
    for call in calls:
        with pytest.raises(Reverted):
            evm.raw_call(STRANGER, log.address, call, value=1)
    assert evm.ether(log.address) == 0


@pytest.mark.parametrize(
    "entry",
    [
        Batch(ROOT[1:], 1, b"\1" * 20, 1),
        Batch(ROOT, 2**32, b"\1" * 20, 1),
        Batch(ROOT, 1, b"\1" * 19, 1),
        Revocation(TAG + b"\0", 1),
        Revocation(TAG, 2**64),
    ],
)
def test_the_twin_refuses_what_no_log_can_hold(entry: Entry) -> None:
    with pytest.raises(InputRejected):
        accumulated([entry])
    with pytest.raises(InputRejected):
        revoke_tag(b"\1" * 31)
