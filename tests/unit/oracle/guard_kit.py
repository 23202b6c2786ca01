"""Guards whose machine and endpoint say what a test wants."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from usufruct_oracle.guards.approvals import Approvals
from usufruct_oracle.guards.gate import Guards, Surroundings
from usufruct_oracle.guards.limits import GuardLimits
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage.store import Store


@dataclass
class Machine:
    """What the endpoint and this machine's clock say."""

    chain_id: int = 31337
    head_s: int = 10_000
    clock_s: int = 10_000


def guards(
    store: Store,
    folder: Path,
    limits: GuardLimits | None = None,
    machine: Machine | None = None,
    status: NodeStatus | None = None,
    metrics: Metrics | None = None,
) -> Guards:
    """Guards of one node; without limits they hold nothing."""
    machine, limits = machine or Machine(), limits or GuardLimits.off()
    surroundings = Surroundings(
        limits, 31337, lambda: machine.chain_id, lambda: machine.head_s, lambda: machine.clock_s
    )
    return Guards(
        limits,
        store,
        Approvals(folder / "approvals"),
        surroundings,
        status or NodeStatus(),
        metrics or Metrics(),
    )
