"""Deploy all contracts to a chain and write where they are: `python -m scripts.deploy --help`.

What to deploy stands in a TOML file (deploy.example.toml); nothing is asked. The deployer's key comes from a
file and keeps no role. The file named by --out is what nodes, meters and tools are given; it is written once
everything was read back from the chain and found as asked. Until then a state file lies beside it: a run that
was killed is continued by the same command.

The same under Brownie, on the chain that Brownie is connected to:

    USUFRUCT_DEPLOY="--config deploy.toml --key-file deployer.key --out deployment.json" brownie run deploy

Without USUFRUCT_DEPLOY, Brownie's dev chain gets a throw-away deployment.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from usufruct_chain.artifacts import PLACES
from usufruct_chain.connection import close, connect
from usufruct_chain.deploy import deploy
from usufruct_chain.deploy_config import DeployConfig
from usufruct_chain.deploy_file import read_config
from usufruct_chain.deployment import Deployment
from usufruct_chain.rpc import Rpc, quantity
from usufruct_chain.sender import Sender
from usufruct_protocol.errors import ConfigInvalid, UsufructError
from usufruct_protocol.signing import LocalSigner, address_of, checksum_address

from scripts.devchain import BALANCE_WEI, dev_key

BROWNIE_ARGUMENTS: Final = "USUFRUCT_DEPLOY"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code. Brownie calls it without arguments."""
    brownie_url = _brownie_endpoint() if arguments is None else None
    if brownie_url is not None:
        if BROWNIE_ARGUMENTS not in os.environ:
            dev(brownie_url)
            return 0
        arguments = ["--rpc", brownie_url, *shlex.split(os.environ[BROWNIE_ARGUMENTS])]
    given = parser().parse_args(arguments)
    try:
        deployment = run(given)
    except UsufructError as error:
        print(f"deploy: {error}{f' ({error.hint})' if error.hint else ''}", file=sys.stderr)
        if brownie_url is not None:
            raise SystemExit(1) from error
        return 1
    show(deployment, as_json=given.json)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line: where, by whom, and the file that says what."""
    command = argparse.ArgumentParser(
        prog="deploy", description="Deploy all contracts, wire them, hand over, verify."
    )
    command.add_argument("--rpc", required=True, metavar="URL", help="JSON-RPC endpoint of the chain")
    command.add_argument(
        "--key-file", required=True, type=Path, help="file with the deployer's key, 64 hex digits"
    )
    command.add_argument(
        "--config", required=True, type=Path, metavar="TOML", help="what to deploy; see deploy.example.toml"
    )
    command.add_argument("--out", required=True, type=Path, metavar="JSON", help="deployment file to write")
    command.add_argument("--json", action="store_true", help="print the deployment file's content")
    return command


def run(given: argparse.Namespace) -> Deployment:
    """Deploy, or continue to; write the deployment file and remove the state file."""
    state_file = given.out.with_name(f"{given.out.name}.state")
    if given.out.exists() and not state_file.exists():
        raise ConfigInvalid(f"{given.out} exists", hint="a deployment is not replaced: name another file")
    config = read_config(given.config)
    w3 = connect(given.rpc)
    try:
        deployment = deploy(Sender(w3, LocalSigner(read_key(given.key_file))), config, state_file)
    finally:
        close(w3)
    deployment.save(given.out)
    state_file.unlink(missing_ok=True)
    return deployment


def read_key(path: Path) -> bytes:
    """The private key in a file. Raises: ConfigInvalid, without showing what the file holds."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip().removeprefix("0x"))
    except OSError as error:
        raise ConfigInvalid(f"cannot read key file {path}: {error.strerror}") from error
    except ValueError:
        raise ConfigInvalid(f"key file {path} does not hold 64 hex digits") from None
    if len(key) != 32:
        raise ConfigInvalid(f"key file {path} does not hold 64 hex digits")
    return key


def dev(rpc_url: str) -> Deployment:
    """Deploy with keys that everyone knows, epochs of a day and a test token: on a dev chain only."""
    w3 = connect(rpc_url)
    try:
        sender = Sender(w3, LocalSigner(dev_key(0)))
        rpc = Rpc(w3)
        rpc.request("anvil_setBalance", sender.address, hex(BALANCE_WEI))
        people = [checksum_address(address_of(dev_key(number))) for number in range(1, 12)]
        config = DeployConfig(
            council=people[0],
            guardian=people[1],
            community=people[2],
            platform=people[3],
            operators=people[4],
            custodian=people[5],
            signers=tuple(people[6:10]),
            remediation_fund=people[10],
            genesis_s=quantity(rpc.request("eth_getBlockByNumber", "latest", False)["timestamp"]),
            epoch_seconds=86_400,
            dispute_window_seconds=3_600,
            note_minimum=1,
            max_merge_delay_seconds=86_400,
        )
        deployment = deploy(sender, config)
    finally:
        close(w3)
    show(deployment, as_json=True)
    return deployment


def show(deployment: Deployment, *, as_json: bool) -> None:
    """Print it: as the JSON that the deployment file holds, or a line per contract."""
    content = deployment.content()
    if as_json:
        print(json.dumps(content, indent=2))
        return
    print(f"Deployed on chain {deployment.chain_id}; code, wiring, parameters and roles are as asked.")
    for name, place in PLACES.items():
        if place in content:
            print(f"  {content[place]}  {name}")


def _brownie_endpoint() -> str | None:
    """The chain that Brownie is connected to, when it is Brownie that runs this."""
    brownie = sys.modules.get("brownie")
    if brownie is None or not brownie.network.is_connected():
        return None
    return str(brownie.web3.provider.endpoint_uri)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
