"""A chain whose time a test moves, a committee of real node processes, lanes that sign whatever is asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from usufruct_chain import calls
from usufruct_chain.deploy import deploy
from usufruct_chain.deployment_check import open_contracts
from usufruct_chain.onchain import SubmittedReport
from usufruct_chain.reader import Reader
from usufruct_chain.sender import Sender
from usufruct_chain.signatures import settlement_domain
from usufruct_protocol.batches import Batch
from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.keccak import keccak256
from usufruct_protocol.roster import Roster, RosterRow
from usufruct_protocol.signing import LocalSigner, address_of, checksum_address

from scripts.devchain import Anvil, dev_key
from scripts.network import Network, Pace
from tests.integration.chain_world import EPOCH_S, GENESIS_S, ROLES, USDC, WINDOW_S, World, world_config
from tests.integration.nursery import Nursery
from tests.unit.oracle.lane_kit import KitLane

ATTEMPT_S = 600
PACE = Pace(
    grace_s=10, attempt_seconds=ATTEMPT_S, stagger_seconds=0.4, poll_seconds=0.05, peer_timeout_seconds=1.5
)


@dataclass
class Committee:
    """Everything a test of the nodes needs. `lanes[n]` is lane number n; `stopped` lanes are not shipped."""

    world: World
    network: Network
    nursery: Nursery
    folder: Path
    lanes: list[KitLane] = field(default_factory=list)
    kinds: dict[int, MeterKind] = field(default_factory=dict)
    rosters: dict[int, Roster] = field(default_factory=dict)
    stopped: set[int] = field(default_factory=set)
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=10.0, trust_env=False))

    def license(self, kind: MeterKind, people: int, deposit: int = 1_000 * USDC) -> int:
        """An accepted, funded license whose roster has so many people with weights 1, 2, 3 …"""
        license_id = self.world.accept(self.world.offer(meter_kind=int(kind)))
        self.world.deposit(license_id, deposit, salt=keccak256(b"salt %d" % license_id))
        self.kinds[license_id] = kind
        self.rosters[license_id] = roster(license_id, people)
        steward = self.world.sender("steward")
        steward.send(calls.set_roster(self.world.contracts, license_id, self.rosters[license_id].root))
        return license_id

    def lane(self, license_id: int) -> KitLane:
        """A new registered lane of a license."""
        number = len(self.lanes)
        self.world.register_lane(license_id, number)
        kit = KitLane(
            number,
            license_id,
            dev_key(number, "lane"),
            domain=settlement_domain(self.world.contracts.deployment),
        )
        self.lanes.append(kit)
        return kit

    def put_rosters(self) -> None:
        """Send every roster to every running node."""
        for license_id, each in self.rosters.items():
            self.network.put_roster(license_id, each)

    def post(self, batch: Batch, *nodes: int) -> list[httpx.Response]:
        """Send a batch to some nodes, or to all that run."""
        wanted = nodes or [index for index in self.network.indexes if self.network.is_running(index)]
        body = batch.encode()
        return [self.http.post(f"{self.network.urls[index]}/v1/batches", content=body) for index in wanted]

    def ship(self, *nodes: int) -> None:
        """Send all receipts of all lanes to some nodes, or to all that run; each must take them."""
        for kit in self.lanes:
            if kit.count and kit.number not in self.stopped:
                for answer in self.post(kit.batch(), *nodes):
                    assert answer.status_code == 200, answer.text
                    assert answer.json()["count"] == kit.count

    def at_ms(self, epoch: int, second: int = 100) -> int:
        """A time within an epoch's period, in ms."""
        return (GENESIS_S + (epoch - 1) * EPOCH_S + second) * 1000

    def close_period(self, epoch: int) -> None:
        """Move chain time past the end of an epoch's period and its grace."""
        self.world.chain.advance_to(GENESIS_S + epoch * EPOCH_S + PACE.grace_s)

    def pass_time(self, seconds: int) -> None:
        """Move chain time on."""
        self.world.chain.advance_to(self.world.chain.now() + seconds)

    def wait_frozen(self, epoch: int) -> None:
        """Wait until every running node has frozen an epoch."""
        for index in self.network.indexes:
            if self.network.is_running(index):
                self.network.wait_until(
                    f"node {index} freezes epoch {epoch}",
                    lambda index=index: self.network.has_frozen(index, epoch),
                )

    def wait_pending(self, epoch: int, timeout_s: float = 20.0) -> None:
        """Wait until a report is posted."""
        self.network.wait_until(
            f"the report of epoch {epoch}",
            lambda: self.world.reader.report_hash(epoch) != bytes(32),
            timeout_s,
        )

    def wait_final(self, epoch: int) -> SubmittedReport:
        """Let the dispute window pass, wait until the epoch is final; return its report."""
        self.wait_pending(epoch)
        self.pass_time(WINDOW_S)
        looks = itertools.count(1)

        def is_final() -> bool:
            # A chain goes on while nodes take their turns; this one only moves when it is told to.
            if next(looks) % 20 == 0:
                self.pass_time(1)
            return self.last_final() >= epoch

        self.network.wait_until(f"epoch {epoch} is final", is_final, 20.0)
        submitted = self.world.reader.report_calldata(epoch)
        assert submitted is not None
        return submitted

    def settle(self, epoch: int) -> SubmittedReport:
        """Close an epoch's period and wait until it is final."""
        self.close_period(epoch)
        return self.wait_final(epoch)

    def last_final(self) -> int:
        """The last finalized epoch on chain."""
        return self.world.reader.settlement_state(self.world.reader.head().hash).last_epoch

    def wait_paid(self, epoch: int, timeout_s: float = 20.0) -> None:
        """Wait until every note of an epoch is paid."""

        def is_paid() -> bool:
            tree = self.world.reader.tree(2 * epoch)
            return tree.paid == tree.total

        self.network.wait_until(f"the notes of epoch {epoch} are paid", is_paid, timeout_s)

    def manifest(self, index: int, epoch: int) -> dict[str, tuple[bytes, int]]:
        """Digest and size of each file of a finalized epoch's bundle, by name, as a node shows them."""
        files = self.network.get(index, f"/v1/epochs/{epoch}/bundle").json()["files"]
        return {
            name: (bytes.fromhex(entry["sha256"].removeprefix("0x")), entry["size"])
            for name, entry in files.items()
        }

    def wait_known_final(self, index: int, epoch: int) -> None:
        """Wait until a node holds a finalized epoch with its bundle."""
        self.network.wait_until(
            f"node {index} holds epoch {epoch}",
            lambda: self.knows_final(index, epoch),
        )

    def knows_final(self, index: int, epoch: int) -> bool:
        """Tell whether a node holds a finalized epoch with its bundle."""
        return self.network.get(index, f"/v1/epochs/{epoch}").status_code == 200

    def wait_attempt(self, index: int, attempt: int) -> None:
        """Wait until a node works on an attempt."""
        self.network.wait_until(
            f"node {index} is at attempt {attempt}",
            lambda: self.network.status(index).get("attempt", -1) >= attempt,
        )

    def log_of(self, index: int) -> str:
        """What a node has logged so far."""
        return self.network.log_file(index).read_text(encoding="utf-8")


def payout(license_id: int, person: int) -> bytes:
    """The wallet of a person."""
    return address_of(dev_key(license_id * 1000 + person, "payout"))


def record_tag(license_id: int, person: int) -> bytes:
    """The one record of a person."""
    return keccak256(b"record %d %d" % (license_id, person))


def roster(license_id: int, people: int) -> Roster:
    """People 0 … n−1 with weights 1 … n, one record and one wallet each."""
    return Roster.build(
        RosterRow(
            purse=keccak256(b"purse %d %d" % (license_id, person)),
            weight=person + 1,
            payout=payout(license_id, person),
            threshold_base_units=0,
            salt=keccak256(b"row salt %d %d" % (license_id, person)),
            record_tags=(record_tag(license_id, person),),
        )
        for person in range(people)
    )


@contextmanager
def committee(
    folder: Path, *, size: int = 4, away: Sequence[int] = (), pace: Pace = PACE
) -> Iterator[Committee]:
    """Running nodes over a fresh deployment, no license yet. Chain time stands at genesis.

    Nodes `away` have a port and a place in the committee, and are not started.
    """
    keys = [dev_key(number, "signer") for number in range(size)]
    config = replace(world_config(), signers=tuple(checksum_address(address_of(key)) for key in keys))
    with (
        Anvil(timestamp=GENESIS_S) as chain,
        Nursery() as nursery,
        Network(folder, keys, pace, nursery.launch) as network,
    ):
        roles = {role: Sender(chain.w3, LocalSigner(dev_key(0, role))) for role in ROLES}
        chain.set_balance([*(sender.address for sender in roles.values()), *config.signers])
        deployment = deploy(roles["deployer"], config)
        contracts = open_contracts(chain.w3, deployment)
        deployment_file = folder / "deployment.json"
        deployment.save(deployment_file)
        network.configure(chain.rpc_url, deployment_file)
        present = [index for index in range(size) if index not in away]
        if present:  # naming none would start all
            network.start(*present)
        made = Committee(World(chain, contracts, config, Reader(contracts), roles), network, nursery, folder)
        try:
            yield made
        finally:
            made.http.close()


def proposer(epoch: int, attempt: int, size: int = 4) -> int:
    """Index of the node that proposes."""
    return (epoch + attempt) % size
