"""The only wiring: settings in, a node out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp
from usufruct_chain.connection import chain_id_of, compare_endpoints, connect
from usufruct_chain.contracts import Contracts
from usufruct_chain.deployment import Deployment
from usufruct_chain.deployment_check import open_contracts
from usufruct_chain.reader import Reader
from usufruct_chain.sender import Sender
from usufruct_chain.signatures import settlement_domain
from usufruct_protocol.signing import ZERO_ADDRESS, Signer, checksum_address

from usufruct_oracle.audit.sources import BundleSources
from usufruct_oracle.bundles.keys import Announcing
from usufruct_oracle.bundles.sealing import SealingKey
from usufruct_oracle.chain.client import ChainClient
from usufruct_oracle.chain.disputes import DisputeClient
from usufruct_oracle.chain.gas_watch import GasWatch
from usufruct_oracle.chain.registry import Registry
from usufruct_oracle.chain.sending import open_sender
from usufruct_oracle.disputes.accusations import Accusations
from usufruct_oracle.disputes.answers import Disputes
from usufruct_oracle.epoch_loop import EpochLoop
from usufruct_oracle.epochs.adoption import Adoption
from usufruct_oracle.epochs.payment import Payment
from usufruct_oracle.epochs.reporting import Reporting
from usufruct_oracle.epochs.submission import Stagger, Submission
from usufruct_oracle.epochs.vectors import Vectors
from usufruct_oracle.epochs.voting import Voting
from usufruct_oracle.guards.approvals import Approvals
from usufruct_oracle.guards.gate import Guards, Surroundings
from usufruct_oracle.http.app import NodeHttp
from usufruct_oracle.http.health import Health, free_bytes_beside
from usufruct_oracle.http.operator import operator_app
from usufruct_oracle.http.status_metrics import StatusCollector
from usufruct_oracle.intake.acknowledging import Acknowledging
from usufruct_oracle.intake.admission import Intake
from usufruct_oracle.intake.lane_sync import LaneSync
from usufruct_oracle.intake.writer import IntakeWriter
from usufruct_oracle.keys.node_key import close_signer, open_signer
from usufruct_oracle.logs import Redactor, secrets_of
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.peers.auth import PeerAuth
from usufruct_oracle.peers.client import Peers
from usufruct_oracle.peers.rosters import Rosters
from usufruct_oracle.settings import Settings
from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage.store import Store, schema_version

_PATIENCE_POLLS = 10
_PATIENCE_TIMEOUTS = 4


@dataclass(frozen=True, slots=True)
class Node:
    """A wired node, not yet running."""

    settings: Settings
    loop: EpochLoop
    app: ASGIApp
    operator: ASGIApp
    status: NodeStatus
    store: Store
    writer: IntakeWriter
    peers: Peers
    metrics: Metrics
    gas: GasWatch | None
    signer: Signer | None
    sender: Sender | None

    def close(self) -> None:
        """Finish what waits and release everything."""
        if self.sender is not None:
            self.sender.close()
        self.writer.close()
        self.peers.close()
        self.store.close()
        close_signer(self.signer)


@dataclass(frozen=True, slots=True)
class Access:
    """What commands and the node need to reach the chain and to speak as a signer."""

    deployment: Deployment
    contracts: Contracts
    signer: Signer | None
    own_address: bytes
    domain_separator: bytes

    @property
    def identity(self) -> dict[str, str]:
        """Whose node it is, in which deployment; its database is tied to it."""
        return {
            "signer": checksum_address(self.own_address),
            "settlement": self.deployment.settlement,
            "chain_id": str(self.deployment.chain_id),
        }

    def open_sender(self, journal: Path, metrics: Metrics) -> Sender | None:
        """Return what sends this signer's transactions, or None in a dry run. Raises: ConfigInvalid."""
        if self.signer is None:
            return None
        return open_sender(self.contracts.w3, self.signer, self.deployment.chain_id, journal, metrics)


def open_chain(deployment: Deployment, rpc_urls: Sequence[str], metrics: Metrics) -> Contracts:
    """Connect, and make sure that the contracts are those of the deployment file.

    Raises: ConfigInvalid, Transient.
    """
    counted = metrics.rpc_requests
    w3 = connect(
        rpc_urls,
        chain_id=deployment.chain_id,
        observer=lambda place, outcome: counted.labels(str(place), outcome).inc(),
    )
    compare_endpoints(w3)
    return open_contracts(w3, deployment)


def open_access(settings: Settings, metrics: Metrics | None = None) -> Access:
    """Read key and deployment, connect, and make sure that the contracts are those of the deployment file.

    Raises: ConfigInvalid, Transient.
    """
    metrics = metrics or Metrics()
    signer = open_signer(settings, metrics.signer_failures.inc)
    deployment = Deployment.load(settings.deployment)
    contracts = open_chain(deployment, settings.rpc_urls, metrics)
    own_address = ZERO_ADDRESS if signer is None else signer.address
    return Access(deployment, contracts, signer, own_address, settlement_domain(deployment))


@dataclass(frozen=True, slots=True)
class Reading:
    """What commands that only read need."""

    access: Access
    chain: ChainClient
    store: Store | None
    peers: Peers
    bundles: BundleSources


@contextmanager
def open_reading(settings: Settings) -> Iterator[Reading]:
    """Open the chain, this node's database if it has one (also while the node runs), and its peers.

    Raises: ConfigInvalid, Transient.
    """
    access = open_access(settings)
    auth = PeerAuth(access.domain_separator, access.own_address, access.signer, frozenset)
    peers = Peers(settings.peers, access.own_address, auth, settings.peer_timeout_seconds)
    store = Store(settings.database, exclusive=False) if schema_version(settings.database) else None
    try:
        chain = ChainClient(access.contracts, None)
        yield Reading(access, chain, store, peers, BundleSources(store, peers))
    finally:
        peers.close()
        if store is not None:
            store.close()
        close_signer(access.signer)


def bootstrap(settings: Settings) -> Node:
    """Wire a node: one process, one database, one key.

    Raises: ConfigInvalid; Incompatible if the database belongs to another node; Transient.
    """
    metrics = Metrics()
    access = open_access(settings, metrics)
    deployment, own_address = access.deployment, access.own_address
    count = metrics.store_errors
    store = Store(settings.database, exclusive=True, on_error=lambda code: count.labels(code).inc())
    sender = None
    try:
        store.bind_identity(access.identity, may_differ=("signer",) if access.signer is None else ())
        status = NodeStatus(redact=Redactor(secrets_of(settings)))
        writer = IntakeWriter(store, Intake(access.domain_separator, status.present_s), metrics)
        registry = Registry(store, ChainClient(access.contracts, None))
        auth = PeerAuth(access.domain_separator, own_address, access.signer, registry.signers)
        timeout_seconds = settings.peer_timeout_seconds
        peers = Peers(
            settings.peers, own_address, auth, timeout_seconds, _PATIENCE_TIMEOUTS * timeout_seconds, metrics
        )
        rosters = Rosters(store, peers)
        sender = access.open_sender(settings.pending_transaction, metrics)
        chain = ChainClient(access.contracts, sender)
        gas = (
            None
            if sender is None
            else GasWatch(own_address, Reader(access.contracts).gas_balance_wei, metrics)
        )
        patience_seconds = min(settings.attempt_seconds / 4, _PATIENCE_POLLS * settings.poll_seconds)
        stagger = Stagger(settings.stagger_seconds)
        sync = LaneSync(store, writer, access.domain_separator)
        surroundings = Surroundings(
            settings.guards,
            deployment.chain_id,
            lambda: chain_id_of(access.contracts.w3),
            lambda: chain.head().timestamp_s,
        )
        approvals = Approvals(settings.approvals)
        guards = Guards(settings.guards, store, approvals, surroundings, status, metrics)
        adoption = Adoption(store, chain, peers, settings.keep_restricted_epochs)
        disputes = DisputeClient(access.contracts, sender)
        loop = EpochLoop(
            settings,
            store,
            chain,
            registry,
            adoption,
            peers,
            sync,
            rosters,
            Vectors(store, sync, peers, rosters, own_address, patience_seconds),
            Reporting(store, rosters),
            Voting(store, peers, access.domain_separator, access.signer, guards),
            Disputes(store, peers, disputes, stagger, access.domain_separator, metrics),
            Accusations(store, disputes, stagger),
            Submission(chain, stagger),
            Payment(store, chain, stagger, settings.finality_depth),
            status,
            own_address,
            deployment.epoch_seconds,
            metrics,
        )
        acks = Acknowledging(
            store, access.domain_separator, access.signer, status.head_time_s, adoption.finalized_head
        )
        announcing = None
        if access.signer is not None:
            bundle_key = SealingKey.load_or_make(settings.bundle_key_file)
            announcing = Announcing(access.domain_separator, access.signer, bundle_key.recipient)
        health = Health(status, store, free_bytes_beside(settings.database))
        metrics.watch(StatusCollector(status, store, health.free_bytes))
        http = NodeHttp(
            store,
            writer,
            registry,
            rosters,
            auth,
            status,
            acks,
            own_address,
            {**access.identity, **settings.agreed},
            health=health,
            metrics=metrics,
            shares=settings.serving.shares,
            announcing=announcing,
        )
        operator = operator_app(metrics, health, http.status)
    except BaseException:
        if sender is not None:
            sender.close()
        store.close()
        raise
    return Node(
        settings,
        loop,
        http.app(),
        operator,
        status,
        store,
        writer,
        peers,
        metrics,
        gas,
        access.signer,
        sender,
    )
