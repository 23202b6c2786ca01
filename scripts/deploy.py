"""Deploy all contracts to a chain and write where they are: `python -m scripts.deploy --help`.

Everything is an argument and nothing is asked. The deployer's key comes from a file and keeps no role. The
file named by --out is what nodes, meters and tools are given; it is written once everything was read back
from the chain and found as asked.

`brownie run deploy dev --network anvil` makes a throw-away deployment on Brownie's dev chain.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from usufruct_chain.connection import close, connect
from usufruct_chain.deploy import deploy
from usufruct_chain.deploy_config import DeployConfig
from usufruct_chain.deployment import Deployment
from usufruct_chain.rpc import Rpc, quantity
from usufruct_chain.sender import Sender
from usufruct_protocol.errors import ConfigInvalid, UsufructError
from usufruct_protocol.signing import address_of, checksum_address

from scripts.devchain import BALANCE_WEI, dev_key


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    given = parser().parse_args(arguments)
    try:
        if given.out.exists():
            raise ConfigInvalid(f"{given.out} exists", hint="a deployment is not replaced: name another file")
        w3 = connect(given.rpc)
        try:
            deployment = deploy(Sender(w3, read_key(given.key_file)), config_from(given))
        finally:
            close(w3)
        deployment.save(given.out)
    except UsufructError as error:
        print(f"deploy: {error}{f' ({error.hint})' if error.hint else ''}", file=sys.stderr)
        return 1
    show(deployment)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line: where and by whom, then what DeployConfig documents."""
    command = argparse.ArgumentParser(
        prog="deploy", description="Deploy all contracts, wire them, hand over."
    )
    command.add_argument("--rpc", required=True, metavar="URL", help="JSON-RPC endpoint of the chain")
    command.add_argument(
        "--key-file", required=True, type=Path, help="file with the deployer's key, 64 hex digits"
    )
    command.add_argument("--out", required=True, type=Path, metavar="JSON", help="deployment file to write")
    for name, meaning in (
        ("council", "gets the administrative roles; a timelock, in production"),
        ("guardian", "may reject pending reports"),
        ("community", "receives the community's share"),
        ("platform", "receives the platform's share"),
        ("operators", "receives the operators' share"),
        ("custodian", "holds the reserve of people without an address"),
        ("remediation-fund", "receives what bonds lose, less the rewards"),
    ):
        command.add_argument(f"--{name}", required=True, metavar="ADDRESS", help=meaning)
    command.add_argument(
        "--signer", required=True, action="append", metavar="ADDRESS", help="repeat, at least 4 times"
    )
    command.add_argument(
        "--token", metavar="ADDRESS", help="ERC-20 to be paid in; a test token on dev chains if absent"
    )
    for name, meaning in (
        ("genesis", "start of epoch 1, in seconds of chain time"),
        ("epoch-seconds", "length of a reporting period"),
        ("dispute-window-seconds", "how long a report can be rejected; below an epoch"),
        ("note-minimum", "smallest note worth issuing, in base units"),
        ("max-merge-delay-seconds", "how late a receipt may reach the nodes"),
    ):
        command.add_argument(f"--{name}", required=True, type=int, metavar="N", help=meaning)
    for name in ("contributors", "community"):
        command.add_argument(
            f"--floor-{name}-bps", type=int, default=0, metavar="N", help="least share in offers"
        )
    command.add_argument(
        "--template",
        action="append",
        default=[],
        type=bytes.fromhex,
        metavar="HEX",
        help="approved offer template",
    )
    command.add_argument(
        "--no-cutoff-check",
        action="store_true",
        help="for chains whose block numbers and hashes inside contracts are another chain's",
    )
    return command


def config_from(given: argparse.Namespace) -> DeployConfig:
    """What the arguments ask for."""
    return DeployConfig(
        council=given.council,
        guardian=given.guardian,
        signers=tuple(given.signer),
        community=given.community,
        platform=given.platform,
        operators=given.operators,
        custodian=given.custodian,
        remediation_fund=given.remediation_fund,
        genesis_s=given.genesis,
        epoch_seconds=given.epoch_seconds,
        dispute_window_seconds=given.dispute_window_seconds,
        note_minimum=given.note_minimum,
        max_merge_delay_seconds=given.max_merge_delay_seconds,
        token=given.token,
        checks_cutoff_block=not given.no_cutoff_check,
        floor_contributors_bps=given.floor_contributors_bps,
        floor_community_bps=given.floor_community_bps,
        templates=tuple(given.template),
    )


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


def dev(rpc_url: str | None = None) -> Deployment:
    """Deploy with keys that everyone knows, epochs of a day and a test token: on a dev chain only.

    Without `rpc_url`, on the chain that Brownie is connected to.
    """
    if rpc_url is None:
        import brownie  # type: ignore[import-not-found]

        rpc_url = brownie.web3.provider.endpoint_uri
    w3 = connect(rpc_url)
    try:
        sender = Sender(w3, dev_key(0))
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
            remediation_fund=people[10],
            signers=tuple(people[6:10]),
            genesis_s=quantity(rpc.request("eth_getBlockByNumber", "latest", False)["timestamp"]),
            epoch_seconds=86_400,
            dispute_window_seconds=3_600,
            note_minimum=1,
            max_merge_delay_seconds=86_400,
        )
        deployment = deploy(sender, config)
    finally:
        close(w3)
    show(deployment)
    return deployment


def show(deployment: Deployment) -> None:
    """Print it as the JSON that the deployment file holds."""
    print(json.dumps(deployment.content(), indent=2))


if __name__ == "__main__":
    sys.exit(main())
