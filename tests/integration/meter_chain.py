"""A lane on a dev chain with the real contracts, its keeper driven by hand, and acknowledgements at will."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usufruct_meter.chain.anchoring import AnchorKeeper
from usufruct_meter.chain.lane_chain import LaneChain
from usufruct_meter.lanes.ack_book import AckBook, ack_book_path
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.lane_key import write_key_file
from usufruct_meter.lanes.new_lane import LaneOptions, create_lane
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.shipping.batching import BatchLimits, next_batch
from usufruct_protocol.batches import Batch
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.receipts import Checkpoint, CheckpointAck
from usufruct_protocol.signing import address_of, checksum_address, parse_address, sign_digest

from scripts.devchain import dev_key
from tests.integration.chain_world import EPOCH_S, GENESIS_S, SIGNER_KEYS, World

PAYER = dev_key(0, "payer")
VALID_TO_MS = (GENESIS_S + 365 * EPOCH_S) * 1000


@dataclass
class Clock:
    """The lane's clock: the chain's, unless a test moves it."""

    chain: World
    ahead_s: int = 0

    def __call__(self) -> int:
        return (self.chain.chain.now() + self.ahead_s) * 1000


@dataclass
class Setting:
    """A lane on the chain, its keeper driven by hand, and the acknowledgements it got."""

    world: World
    lane: Lane
    keeper: AnchorKeeper
    acks: AckBook
    reader: SpoolReader

    def look(self) -> float:
        return self.keeper.step(self.reader)

    @property
    def anchored(self) -> int:
        found = self.world.contracts.anchors.functions.anchorAt(
            checksum_address(self.lane.address), self.world.chain.now()
        ).call()
        return int(found[1])

    @property
    def covered(self) -> int:
        found = self.keeper.status.coverage
        assert found is not None
        return found.covered_count

    def meter(self, count: int) -> Checkpoint:
        for _ in range(count):
            self.lane.meter(2)
        self.lane.checkpoint()
        last = self.reader.last_checkpoint()
        assert last is not None
        return last.checkpoint

    def acknowledge(
        self, point: Checkpoint, *signers: int, at_s: int | None = None, keys: Sequence[bytes] = SIGNER_KEYS
    ) -> None:
        received_at = self.world.chain.now() if at_s is None else at_s
        digest = typed_digest(self.lane.domain, CheckpointAck(point.struct_hash(), received_at).struct_hash())
        for signer in signers:
            signature = sign_digest(keys[signer], digest).hex()
            given = {"count": point.count, "received_at": received_at, "signature": signature}
            assert self.acks.keep(self.batch(), given, f"http://node-{signer}")

    def batch(self) -> Batch:
        found = next_batch(self.reader, 0, BatchLimits())
        assert found is not None
        return found

    def pass_time(self, seconds: int) -> None:
        self.world.chain.advance_to(self.world.chain.now() + seconds)


def lane_file(world: World, folder: Path, number: int = 0, **changes: Any) -> LaneFile:
    given: dict[str, Any] = {
        "license_id": 1,
        "chain_id": world.chain.chain_id,
        "settlement": parse_address(world.contracts.deployment.settlement),
        "genesis_s": GENESIS_S,
        "epoch_seconds": EPOCH_S,
        "valid_from_ms": GENESIS_S * 1000,
        "valid_to_ms": VALID_TO_MS,
        "unit_cap": 10**12,
    } | changes
    key = dev_key(number, "lane")
    return create_lane(folder, LaneOptions(**given), name=f"lane-{number}", private_key=key)


def chain_file(folder: Path, *urls: str, payer: bytes | None = PAYER, **more: Any) -> None:
    fields: dict[str, Any] = {"rpc_urls": list(urls)} | more
    if payer is not None:
        write_key_file(folder / "payer.key", payer)
        fields["payer_key_file"] = "payer.key"
    path = folder / "chain.json"
    path.write_text(json.dumps(fields))
    path.chmod(0o600)


@contextmanager
def setting(world: World, folder: Path, *urls: str, **more: Any) -> Iterator[Setting]:
    file = lane_file(world, folder)
    chain_file(folder, *(urls or (world.chain.rpc_url,)), **more)
    with ExitStack() as stack:
        lane = stack.enter_context(Lane.open(file, clock_ms=Clock(world)))
        acks = AckBook(ack_book_path(file.spool), lane.address, lane.domain, file.periods, 4)
        stack.callback(acks.close)
        chain = LaneChain.beside(file)
        assert chain is not None
        stack.enter_context(chain)
        keeper = AnchorKeeper(lane, chain, acks, threading.Event())
        reader = stack.enter_context(closing(SpoolReader.open(file.spool)))
        yield Setting(world, lane, keeper, acks, reader)


def payments(world: World) -> int:
    return world.contracts.w3.eth.get_transaction_count(checksum_address(address_of(PAYER)))


def anchored(world: World, file: LaneFile) -> int:
    call = world.contracts.anchors.functions.anchorAt(checksum_address(file.lane), world.chain.now())
    return int(call.call()[1])
