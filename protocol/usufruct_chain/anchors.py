"""Checkpoints anchored on chain, with the lanes' signatures that only their events keep.

State says when a checkpoint was anchored; the event is then looked for at that time alone, so that no history
of a chain has to be searched.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from eth_abi.abi import decode
from usufruct_protocol.errors import Transient
from usufruct_protocol.receipts import Checkpoint
from usufruct_protocol.signing import checksum_address

from usufruct_chain import artifacts
from usufruct_chain.abi import topic_of
from usufruct_chain.contracts import Contracts
from usufruct_chain.onchain import Block
from usufruct_chain.reader import Reader
from usufruct_chain.rpc import Rpc, data, hexed

_EVENT_TYPES: Final = ("uint64", "uint128", "bytes32", "uint256", "bytes")


class AnchorReader:
    """Reads of one deployment's anchors. Raises as `Reader` does."""

    def __init__(self, contracts: Contracts) -> None:
        self._contracts = contracts
        self._reader = Reader(contracts)
        self._rpc = Rpc(contracts.w3)

    def anchored_by(self, lane: bytes, time_s: int, head: Block) -> Checkpoint | None:
        """Return a lane's last checkpoint that was anchored by a time, as the chain of `head` has it."""
        return self._anchor_at(lane, time_s, head)[1]

    def signature_of(self, point: Checkpoint, head: Block) -> bytes | None:
        """Return the lane's signature of a checkpoint that was anchored, or None if it never was.

        The signature is as the event has it: verify it. Some fifty small requests.
        """
        anchored_at_s = self._time_of(point, head)
        if anchored_at_s is None:
            return None
        first = self._reader.first_block_from(anchored_at_s, head)
        after = self._reader.first_block_from(anchored_at_s + 1, head)
        wanted = {
            "address": self._contracts.deployment.anchors,
            "topics": [hexed(topic_of(_anchored_event())), hexed(bytes(12) + point.lane)],
            "fromBlock": hex(head.number if first is None else first.number),
            "toBlock": hex(head.number if after is None else after.number - 1),
        }
        for log in self._rpc.request("eth_getLogs", wanted):
            count, units, root, _anchored_at, signature = decode(_EVENT_TYPES, data(log["data"]))
            if Checkpoint(point.lane, count, units, root) == point:
                return bytes(signature)
        raise Transient(
            f"the chain holds the anchor of {point.count} receipts of lane 0x{point.lane.hex()}, "
            "but the endpoint shows no event of it",
            hint="try another endpoint: this one leaves out logs",
        )

    def _time_of(self, point: Checkpoint, head: Block) -> int | None:
        """When a checkpoint was anchored. Counts only rise, so the time of a count is found by halving."""
        anchored_at_s, last = self._anchor_at(point.lane, head.timestamp_s, head)
        if last is None or last.count < point.count:
            return None
        low, high = 0, anchored_at_s  # by `high` the lane had anchored as much, before `low` it had not
        while low < high:
            middle = (low + high) // 2
            anchored_at_s, found = self._anchor_at(point.lane, middle, head)
            if found is not None and found.count >= point.count:
                high, last = anchored_at_s, found
            else:
                low = middle + 1
        return high if last == point else None

    def _anchor_at(self, lane: bytes, time_s: int, head: Block) -> tuple[int, Checkpoint | None]:
        call = self._contracts.views.anchors.anchorAt(checksum_address(lane), time_s)
        ((anchored_at_s, count, units, root),) = self._reader.query([call], head.hash)
        return anchored_at_s, Checkpoint(lane, count, units, bytes(root)) if count else None


@cache
def _anchored_event() -> Any:
    abi = artifacts.load("CheckpointAnchors").abi
    return next(entry for entry in abi if entry["type"] == "event" and entry["name"] == "CheckpointAnchored")
