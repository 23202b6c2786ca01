"""Letting go of usage lists that are finalized: by far the most of what a spool holds.

What the dispute window plus two epochs have passed over is settled; nodes delete their usage lists then as
well. Receipts, checkpoints and acknowledgements stay: they answer challenges until long after the license's
end, and say which calls were metered.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from usufruct_protocol.periods import fault_bound

from usufruct_meter.chain.lane_chain import LaneChain
from usufruct_meter.chain.views import each
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.spool_history import contradiction
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.nodes.finalized import fetch_finalized_lanes
from usufruct_meter.nodes.node_client import NodeClient

EPOCHS_KEPT: Final = 2


def prunable_below(lane: Lane, chain: LaneChain, reader: SpoolReader) -> int:
    """Return the seq below which usage lists are finalized long enough, and held by all but f nodes.

    What the nodes say of a report counts only if its hash is the one on chain.
    Raises: ChainUnavailable, NodeUnavailable; SpoolOutdated if the report counts another history of the lane.
    """
    epoch = min(each(chain.views, lambda view: view.last_epoch())) - EPOCHS_KEPT
    hashes = set(each(chain.views, lambda view: view.report_hash(epoch))) if epoch > 0 else set()
    if len(hashes) != 1 or None in hashes:
        return 0
    with ExitStack() as stack:
        nodes = [stack.enter_context(NodeClient(url)) for url in lane.file.nodes]
        finalized = fetch_finalized_lanes(nodes, epoch, hashes.pop())
    head = finalized.heads.get(lane.address)
    if head is None:
        return 0
    proof = contradiction(head, reader, "a finalized report")
    if proof is not None:
        raise proof
    return min(head.count, _widely_held(lane.file.nodes, reader.acks()))


def _widely_held(urls: tuple[str, ...], held: dict[str, int]) -> int:
    """Return how many receipts all but f nodes are known to hold."""
    counts = sorted((held.get(url, 0) for url in urls), reverse=True)
    faulty = fault_bound(len(urls)) if len(urls) >= 4 else 0
    return counts[len(urls) - faulty - 1] if urls else 0
