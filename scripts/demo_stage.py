"""Everything that has to run before the demo's first question: chain, contracts, four nodes, the clinic."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usufruct_meter.importer import Contributor
from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.money import UNITS_PER_PRICE, SplitBps, mul_div_down

from scripts.devchain import Anvil
from scripts.network import Network, Pace
from scripts.people import Collection
from scripts.processes import Child, free_port, wait_until_healthy
from scripts.world import FIRST_SIGNER, NODES, Clock, LicensePlan, World, found_world

if TYPE_CHECKING:
    from examples.clinic.cohort import Cohort

ROOT: Final = Path(__file__).resolve().parent.parent

# Real-time epochs, as short as they can be with a dispute window inside and room for another attempt. They
# are stretched on a machine that is slower or busier than the one they were measured on.
EPOCH_SECONDS: Final = 10
DISPUTE_WINDOW_SECONDS: Final = 3
QUIET_IMPORT_SECONDS: Final = 5.0
LONGEST_STRETCH: Final = 6.0
PACE: Final = Pace(
    grace_s=1, attempt_seconds=2, stagger_seconds=0.7, poll_seconds=0.15, peer_timeout_seconds=1.5
)
# From the deployment to the start of the first epoch: what four nodes and two model workers take to come up.
LEAD_SECONDS: Final = 12

WORKERS: Final = 2
CLINIC_TIMEOUT_S: Final = 120.0

PREDICT, SIMILAR = 1, 2
USDC: Final = 1_000_000
PREDICT_PRICE: Final = 10_000 * UNITS_PER_PRICE
SIMILAR_PRICE: Final = 50_000 * UNITS_PER_PRICE
NOTE_MINIMUM: Final = 100
SPLITS: Final = {
    PREDICT: SplitBps(contributors=7_000, community=1_000, steward=1_000, platform=500, operators=500),
    SIMILAR: SplitBps(contributors=7_333, community=1_111, steward=777, platform=444, operators=335),
}
# The second license's first deposit covers this much of what its calls will cost: the last epoch falls short.
FUNDED_PERCENT: Final = 85


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs while the demo plays. `stretch` is how much longer than planned its epochs are."""

    cohort: Cohort
    collection: Collection
    world: World
    network: Network
    clinic_url: str
    stretch: float


@contextmanager
def stage(folder: Path, calls: Mapping[int, int]) -> Iterator[Stage]:
    """Start everything and stop it again, whatever happens in between.

    calls: how many each license will be asked, from which the deposits follow
    """
    cohort, collection, stretch = _cohort_and_stretch()
    with ExitStack() as running:
        chain = running.enter_context(Anvil(block_time=1))
        network = Network(folder, chain.keys[FIRST_SIGNER : FIRST_SIGNER + NODES], PACE)
        running.enter_context(network)
        clock = Clock(
            genesis_s=int(time.time() + stretch * LEAD_SECONDS),
            epoch_seconds=int(stretch * EPOCH_SECONDS),
            dispute_window_seconds=DISPUTE_WINDOW_SECONDS,
        )
        plans = _license_plans(collection, calls)
        world = found_world(chain, clock, plans, NOTE_MINIMUM, network.urls, folder)
        port = free_port()
        clinic = running.enter_context(_clinic(folder, world, collection, port))
        network.configure(chain.rpc_url, world.deployment_file)
        network.start()
        for license_ in world.licenses:
            network.put_roster(license_.license_id, license_.roster)
        clinic_url = f"http://127.0.0.1:{port}"
        wait_until_healthy(clinic, f"{clinic_url}/health", CLINIC_TIMEOUT_S)
        yield Stage(cohort, collection, world, network, clinic_url, stretch)


def _cohort_and_stretch() -> tuple[Cohort, Collection, float]:
    """Load the patients, and take the time: how long the imports take says how fast this machine is now."""
    started = time.monotonic()
    from examples.clinic.cohort import COLLECTION_NAME, load_cohort

    cohort = load_cohort()
    stretch = min(max(1.0, (time.monotonic() - started) / QUIET_IMPORT_SECONDS), LONGEST_STRETCH)
    patients = tuple(Contributor(patient, weight=1, records=(patient,)) for patient in cohort.references)
    return cohort, Collection(COLLECTION_NAME, patients), stretch


def _license_plans(collection: Collection, calls: Mapping[int, int]) -> list[LicensePlan]:
    """Two licenses of one collection: learned from everyone, and looked up from a few."""
    similar_total = mul_div_down(calls[SIMILAR], SIMILAR_PRICE, UNITS_PER_PRICE)
    return [
        LicensePlan(
            name="/predict",
            meter=MeterKind.INFERENCE,
            price_per_million_units=PREDICT_PRICE,
            max_charge_per_epoch=1_000 * USDC,
            split_bps=SPLITS[PREDICT],
            collection=collection,
            lanes=WORKERS,
            deposit_base_units=mul_div_down(calls[PREDICT], PREDICT_PRICE, UNITS_PER_PRICE) + 5 * USDC,
        ),
        LicensePlan(
            name="/similar",
            meter=MeterKind.RETRIEVAL,
            price_per_million_units=SIMILAR_PRICE,
            max_charge_per_epoch=1_000 * USDC,
            split_bps=SPLITS[SIMILAR],
            collection=collection,
            lanes=WORKERS,
            deposit_base_units=mul_div_down(similar_total, FUNDED_PERCENT, 100),
        ),
    ]


def _clinic(folder: Path, world: World, collection: Collection, port: int) -> Child:
    """The API of examples/clinic under uvicorn, two worker processes."""
    config = folder / "clinic.json"
    lanes = {license_.license_id: str(license_.lane_folder) for license_ in world.licenses}
    tags = {
        person.reference: collection.record_tag(person.reference).hex() for person in collection.contributors
    }
    config.write_text(
        json.dumps({"predict_lanes": lanes[PREDICT], "similar_lanes": lanes[SIMILAR], "record_tags": tags}),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "uvicorn", "examples.clinic.app:app"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(WORKERS)]
    command += ["--no-access-log", "--log-level", "warning", "--app-dir", str(ROOT)]
    # One thread per worker: the workers are the parallelism, and the machine may have two cores only.
    environment = {"CLINIC_CONFIG": str(config), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return Child("the clinic", command, folder / "clinic.log", {**os.environ, **environment})
