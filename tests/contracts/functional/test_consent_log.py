"""ConsentLog: batches, revocations, and their running hash at any block."""

import pytest
from brownie import chain

from tests.contracts.functional.scene import later, reverts
from tests.contracts.wire import ZERO_HASH, keccak

ROOT = keccak(b"root")
SECRET = keccak(b"secret")


def entry(before, kind, content, at):
    """The accumulator after one more entry, as docs/spec.md says."""
    return keccak(b"\7" + before + bytes([kind]) + content + at.to_bytes(8, "big"))


def test_anyone_publishes_a_batch(consent_log, stranger):
    made = consent_log.publish(ROOT, 3, {"from": stranger})
    event, batch = made.events["BatchPublished"], consent_log.batch(1)
    assert (event["batchId"], event["publisher"], event["count"]) == (1, stranger, 3)
    assert (bytes(batch["root"]), batch["publisher"], batch["publishedAt"]) == (
        ROOT,
        stranger,
        made.timestamp,
    )
    content = keccak(ROOT + (3).to_bytes(4, "big") + bytes.fromhex(stranger.address[2:]))
    assert bytes(consent_log.accumulator()) == entry(ZERO_HASH, 1, content, made.timestamp)


def test_whoever_knows_the_secret_revokes_once(consent_log, stranger, payee):
    made = consent_log.forceRevoke(SECRET, {"from": stranger})
    tag = keccak(SECRET)
    assert bytes(made.events["ConsentRevoked"]["revokeTag"]) == tag
    assert consent_log.revokedAt(tag) == made.timestamp
    after = entry(ZERO_HASH, 2, tag, made.timestamp)
    assert bytes(consent_log.accumulator()) == after
    later(100)
    again = consent_log.forceRevoke(SECRET, {"from": payee})
    assert "ConsentRevoked" not in again.events
    assert consent_log.revokedAt(tag) == made.timestamp
    assert bytes(consent_log.accumulator()) == after


def test_the_accumulator_of_a_block_never_changes(consent_log, stranger):
    blocks = []
    for number in range(3):
        consent_log.publish(keccak(bytes([number])), 1, {"from": stranger})
        blocks.append((chain.height, bytes(consent_log.accumulator())))
        later(10)
    assert bytes(consent_log.accumulatorAt(blocks[0][0] - 1)) == ZERO_HASH
    for height, accumulator in blocks:
        assert bytes(consent_log.accumulatorAt(height)) == accumulator
        assert bytes(consent_log.accumulatorAt(height + 1)) == accumulator


@pytest.mark.parametrize(("root", "count"), [(ZERO_HASH, 1), (ROOT, 0)])
def test_a_batch_is_of_something(consent_log, stranger, root, count):
    with reverts("ConsentLog_EmptyBatch"):
        consent_log.publish(root, count, {"from": stranger})


def test_nothing_is_said_of_what_is_not_there(consent_log, stranger):
    with reverts("ConsentLog_UnknownBatch"):
        consent_log.batch.transact(1, {"from": stranger})
    with reverts("ConsentLog_FutureBlock"):
        consent_log.accumulatorAt.transact(chain.height + 1_000, {"from": stranger})
