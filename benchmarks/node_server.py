"""HTTP, intake and store of a node whose chain is away.

`python -m benchmarks.node_server serve DATABASE PASSWORD_FILE LANES PORT`: a file, or a PostgreSQL URL

The chain is not asked, because the store knows the lanes already.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

import uvicorn
from usufruct_chain.connection import connect
from usufruct_chain.contracts import Contracts
from usufruct_chain.deployment import Deployment
from usufruct_oracle.chain.client import ChainClient
from usufruct_oracle.chain.registry import Registry
from usufruct_oracle.http.app import NodeHttp
from usufruct_oracle.http.connections import Connections, server_settings
from usufruct_oracle.intake.acknowledging import Acknowledging
from usufruct_oracle.intake.admission import Intake
from usufruct_oracle.intake.writer import IntakeWriter
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.peers.auth import PeerAuth
from usufruct_oracle.peers.client import Peers
from usufruct_oracle.peers.rosters import Rosters
from usufruct_oracle.status import NodeStatus
from usufruct_oracle.storage import lane_store
from usufruct_oracle.storage.database import POSTGRES_SCHEMES, Location, PostgresUrl
from usufruct_oracle.storage.store import Store
from usufruct_protocol.chain_state import LaneState
from usufruct_protocol.receipts import settlement_domain
from usufruct_protocol.signing import address_of

from benchmarks.server import HOST

DOMAIN = settlement_domain(31337, b"\x5e" * 20)
NOWHERE = "0x" + "00" * 20


def key_of(lane: int) -> bytes:
    """The key of a lane."""
    return sha256(b"intake benchmark %d" % lane).digest()


def serve(database: Location, lanes: int, port: int) -> None:
    """Run the node until it is stopped."""
    store = Store(database, exclusive=True)
    with store.write() as db:
        lane_store.put_lanes(
            db, [LaneState(lane, address_of(key_of(lane)), 1, 0, 2**63, 2**96) for lane in range(lanes)]
        )
    deployment = Deployment(
        chain_id=31337,
        token=NOWHERE,
        access_manager=NOWHERE,
        registry=NOWHERE,
        committee=NOWHERE,
        escrow=NOWHERE,
        splitter=NOWHERE,
        settlement=NOWHERE,
        genesis_s=0,
        epoch_seconds=1,
        deployed_block=0,
    )
    registry = Registry(store, ChainClient(Contracts(connect(f"http://{HOST}:9"), deployment), None))
    auth = PeerAuth(DOMAIN, bytes(20), None, frozenset)
    writer = IntakeWriter(store, Intake(DOMAIN))
    rosters = Rosters(store, Peers({}, bytes(20), auth, 1.0))
    status = NodeStatus()
    acks = Acknowledging(store, DOMAIN, None, status.head_time_s, lambda _: None)
    app = NodeHttp(store, writer, registry, rosters, auth, status, acks, bytes(20), {}).app()
    guarded = server_settings(Connections(Metrics(), 512), ())
    uvicorn.run(app, host=HOST, port=port, log_level="error", access_log=False, lifespan="off", **guarded)


if __name__ == "__main__":
    _, command, place, password_file, lane_count, port_text = sys.argv
    if command != "serve":
        sys.exit(__doc__)
    is_postgres = place.startswith(POSTGRES_SCHEMES)
    location = PostgresUrl(place, Path(password_file)) if is_postgres else Path(place)
    serve(location, int(lane_count), int(port_text))
