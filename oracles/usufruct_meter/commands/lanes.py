"""usufruct-meter init, lane new|show|rotate, payer new: what makes and replaces lanes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from usufruct_protocol.errors import ConfigInvalid
from usufruct_protocol.signing import LocalSigner, checksum_address

from usufruct_meter.chain.lane_chain import LaneChain
from usufruct_meter.chain.registration import check_registered
from usufruct_meter.chain.rpc import Endpoint
from usufruct_meter.chain.views import ChainView
from usufruct_meter.commands.console import NEEDS_A_PERSON, add_command, address, say, show
from usufruct_meter.lanes.chain_file import CHAIN_FILE_NAME, write_chain_file
from usufruct_meter.lanes.lane import Lane, now_ms
from usufruct_meter.lanes.lane_file import LaneFile, lane_files
from usufruct_meter.lanes.lane_key import new_private_key, write_key_file
from usufruct_meter.lanes.lane_seed import derive_key, draw_branch, open_seed
from usufruct_meter.lanes.new_lane import (
    FOREVER_MS,
    LaneOptions,
    create_lane,
    describe_registration,
    sign_registration,
)
from usufruct_meter.lanes.rotation import prepare_successor, swap
from usufruct_meter.shipping.shipper import Shipper

PAYER_FILE_NAME: Final = "payer.key"
_MAX_LANES: Final = 1_000
_SHIP_S: Final = 30.0


def add_to(commands: Any) -> None:
    """Add the commands."""
    _add_init(commands)
    lane = commands.add_parser("lane", help="make, show and replace lanes").add_subparsers(
        required=True, metavar="COMMAND"
    )
    _add_new(lane)
    shown = add_command(lane, "show", _show_lanes, "show a lane file, and its registration", location=True)
    shown.add_argument("--registry", type=address, help="LicenseRegistry (default: as the chain says)")
    text = "make a lane's successor; asked again, once that is registered, put it in the lane's place"
    rotate = add_command(lane, "rotate", _rotate, text)
    rotate.add_argument("lane", type=Path, help="a lane file")
    rotate.add_argument("--seed", type=Path, metavar="FILE", help="derive the successor's key from this seed")
    rotate.add_argument("--registry", type=address, help="LicenseRegistry (default: as the chain says)")
    rotate.add_argument(
        "--is-registered", action="store_true", help="the successor is registered (without a chain file)"
    )
    payer = commands.add_parser("payer", help="the account that pays for anchors").add_subparsers(
        required=True, metavar="COMMAND"
    )
    new = add_command(payer, "new", _new_payer, "make a key that pays for anchors and does nothing else")
    new.add_argument("folder", type=Path, help="the folder of lane files")


def _add_init(commands: Any) -> None:
    text = "make a folder of lanes: what the chain knows of the license is read from it"
    parser = add_command(commands, "init", _init, text)
    parser.add_argument("folder", type=Path, help="where the files go")
    parser.add_argument("--license", type=int, required=True, metavar="ID")
    parser.add_argument("--settlement", type=address, required=True, help="address of UsageSettlement")
    parser.add_argument("--rpc-url", action="append", required=True, metavar="URL", help="repeat for several")
    parser.add_argument("--node", action="append", default=[], metavar="URL", help="repeat for each node")
    parser.add_argument("--unit-cap", type=int, required=True, help="most units that each lane may count")
    _add_key_options(parser)


def _add_new(lane: Any) -> None:
    parser = add_command(lane, "new", _new_lanes, "make keys, spools and lane files")
    parser.add_argument("folder", type=Path, help="where the lanes' files go")
    parser.add_argument("--name", help="name of the files (default: by the lane's address)")
    parser.add_argument("--license", type=int, required=True, metavar="ID")
    parser.add_argument("--chain-id", type=int, required=True)
    parser.add_argument("--settlement", type=address, required=True, help="address of UsageSettlement")
    parser.add_argument(
        "--genesis", type=int, required=True, metavar="SECONDS", help="as the contract has it"
    )
    parser.add_argument("--epoch-seconds", type=int, required=True, help="of the contract")
    parser.add_argument("--valid-from", type=int, default=0, metavar="MS")
    parser.add_argument("--valid-to", type=int, default=FOREVER_MS, metavar="MS")
    parser.add_argument("--unit-cap", type=int, default=2**96 - 1)
    parser.add_argument("--node", action="append", default=[], metavar="URL", help="repeat for each node")
    parser.add_argument("--registry", type=address, help="LicenseRegistry: print what registerLane takes")
    _add_key_options(parser)


def _add_key_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="one lane for each (1)")
    parser.add_argument(
        "--seed", type=Path, metavar="FILE", help="derive the keys from this seed, made if it is missing"
    )


def _init(options: argparse.Namespace) -> int:
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with Endpoint(options.rpc_url[0], 0) as probe:
        chain_id = probe.served_chain_id()
    with Endpoint(options.rpc_url[0], chain_id) as endpoint:
        view = ChainView(endpoint, options.settlement)
        neighbors, genesis_s = view.neighbors(), view.genesis_s()
        ends_s = view.license_ends_s(options.license)
    if ends_s * 1000 <= now_ms():
        raise ConfigInvalid(
            f"license {options.license} ended at {ends_s}", hint="no lane can be registered for it"
        )
    lane_options = LaneOptions(
        license_id=options.license,
        chain_id=chain_id,
        settlement=options.settlement,
        genesis_s=genesis_s,
        epoch_seconds=neighbors.epoch_seconds,
        nodes=options.node,
        valid_from_ms=now_ms(),
        valid_to_ms=ends_s * 1000,
        unit_cap=options.unit_cap,
    )
    if not (folder / CHAIN_FILE_NAME).exists():
        if not (folder / PAYER_FILE_NAME).exists():
            write_key_file(folder / PAYER_FILE_NAME, new_private_key())
        write_chain_file(folder, options.rpc_url, PAYER_FILE_NAME)
    made = _make(folder, lane_options, None, options)
    chain = LaneChain.beside(made[0])
    if chain is not None:
        payer = checksum_address(chain.payer().address)
        say(f"payer {payer}: send it some ether, it pays for anchors and nothing else")
        chain.close()
    say("the license's buyer now registers each lane: registerLane with what is printed")
    return show(options, [_described(file, neighbors.registry) for file in made])


def _new_lanes(options: argparse.Namespace) -> int:
    lane_options = LaneOptions(
        license_id=options.license,
        chain_id=options.chain_id,
        settlement=options.settlement,
        genesis_s=options.genesis,
        epoch_seconds=options.epoch_seconds,
        nodes=options.node,
        valid_from_ms=options.valid_from,
        valid_to_ms=options.valid_to,
        unit_cap=options.unit_cap,
    )
    made = _make(options.folder, lane_options, options.name, options)
    return show(options, [_described(file, options.registry) for file in made])


def _make(
    folder: Path, lane_options: LaneOptions, name: str | None, options: argparse.Namespace
) -> list[LaneFile]:
    if not 0 < options.workers <= _MAX_LANES:
        raise ConfigInvalid(f"--workers must be from 1 to {_MAX_LANES}, got {options.workers}")
    if name is not None and options.workers > 1:
        raise ConfigInvalid("--name is for one lane", hint="leave it out: lanes are named by their address")
    return [
        create_lane(folder, lane_options, name=name, private_key=key)
        for key in _keys(options.seed, lane_options.license_id, options.workers)
    ]


def _keys(seed_file: Path | None, license_id: int, count: int) -> Iterator[bytes]:
    if seed_file is None:
        yield from (new_private_key() for _ in range(count))
        return
    seed, branch = open_seed(seed_file), draw_branch(license_id)
    yield from (derive_key(seed, (*branch, worker)) for worker in range(count))


def _draw_key(seed_file: Path | None, license_id: int) -> bytes:
    return next(_keys(seed_file, license_id, 1))


def _show_lanes(options: argparse.Namespace) -> int:
    files = [LaneFile.load(path) for path in lane_files(options.lane)]
    return show(options, [_described(file, options.registry or _registry(file)) for file in files])


def _rotate(options: argparse.Namespace) -> int:
    path: Path = options.lane.absolute()
    if path.exists():
        file = LaneFile.load(path)
        draw_key = partial(_draw_key, options.seed, file.license_id)
        successor = prepare_successor(file, valid_from_ms=now_ms(), draw_key=draw_key)
        if not _is_registered(successor, options):
            say("register it, then run this command again; the old lane meters on meanwhile")
            show(options, [_described(successor, options.registry or _registry(successor))])
            return NEEDS_A_PERSON
    placed = swap(path, _ship_all)
    say(f"{path.name} is retired; keep its files until 90 days after the license's end")
    return show(options, [_described(placed, None)])


def _is_registered(successor: LaneFile, options: argparse.Namespace) -> bool:
    chain = LaneChain.beside(successor)
    if chain is None:
        return bool(options.is_registered)
    with chain:
        return chain.is_registered() and check_registered(successor, chain) >= 0


def _ship_all(lane: Lane) -> None:
    """Bring what is left to the nodes that answer; what they lack is shipped from the retired file."""
    with Shipper(lane) as shipper:
        shipper.settle(_SHIP_S)
        for node in shipper.status():
            if node.acked_count != lane.count:
                say(f"{node.url} holds {node.acked_count} of {lane.count} receipts: ship the retired lane")


def _new_payer(options: argparse.Namespace) -> int:
    key = new_private_key()
    path = options.folder.absolute() / PAYER_FILE_NAME
    write_key_file(path, key)
    return show(options, [{"key_file": str(path), "address": checksum_address(LocalSigner(key).address)}])


def _registry(file: LaneFile) -> bytes | None:
    chain = LaneChain.beside(file)
    if chain is None:
        return None
    with chain:
        return chain.registry()


def _described(file: LaneFile, registry: bytes | None) -> dict[str, Any]:
    described: dict[str, Any] = {
        "lane_file": str(file.path),
        "lane": checksum_address(file.lane),
        "license_id": file.license_id,
        "chain_id": file.chain_id,
        "settlement": checksum_address(file.settlement),
        "valid_from_ms": file.valid_from_ms,
        "valid_to_ms": file.valid_to_ms,
        "unit_cap": str(file.unit_cap),
        "nodes": list(file.nodes),
    }
    if registry is not None:
        described["registration"] = describe_registration(*sign_registration(file, registry))
    return described
