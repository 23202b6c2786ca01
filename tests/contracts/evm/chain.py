"""An in-process chain: deploy, call as anyone, move time, undo.

A thin layer over pyrevm that encodes by ABI, decodes events and custom errors, and knows pyrevm's traps
(transient storage that outlives a call, gas without a limit, a default spec that moves).
"""

from __future__ import annotations

import contextlib
import re
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

from eth_abi.abi import decode, encode
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address
from pyrevm import EVM, AccountInfo, BlockEnv, CfgEnv, Env

from tests.contracts.evm.artifacts import Artifact, load_artifact
from tests.contracts.evm.words import words_decoder, words_encoder
from tests.contracts.wire import Account, as_abi

GAS_LIMIT = 30_000_000
CHAIN_ID = 31337
START_TIME_S = 1_800_000_000
START_BLOCK = 1_000
BLOCK_SECONDS = 12

_OUTPUT = re.compile(r"output: 0x([0-9a-fA-F]*)")
_PANIC = "Panic"


class Reverted(Exception):
    """A call reverted: `name` of the custom error (or Panic, Error, Halt), its arguments, the raw bytes."""

    def __init__(self, name: str, args: tuple[Any, ...], raw: bytes) -> None:
        super().__init__(f"{name}({', '.join(map(str, args))})")
        self.name = name
        self.arguments = args
        self.raw = raw


@dataclass(frozen=True)
class Event:
    """One decoded log; an event of an ABI that was never loaded has no name and stays raw."""

    emitter: str
    name: str
    args: SimpleNamespace


@dataclass(frozen=True)
class Receipt:
    """What a state-changing call left behind."""

    value: Any
    gas_used: int
    events: tuple[Event, ...]

    def named(self, name: str) -> list[SimpleNamespace]:
        """The arguments of every event of that name, in order."""
        return [event.args for event in self.events if event.name == name]


def canonical_type(parameter: dict[str, Any]) -> str:
    """Return the type of an ABI parameter as signatures spell it: tuples as (a,b)."""
    if not parameter["type"].startswith("tuple"):
        return str(parameter["type"])
    members = ",".join(canonical_type(member) for member in parameter["components"])
    return f"({members}){parameter['type'][5:]}"


def signature_of(entry: dict[str, Any]) -> str:
    """Return `name(type,type)` of a function, event or error."""
    return f"{entry['name']}({','.join(canonical_type(item) for item in entry['inputs'])})"


def selector_of(entry: dict[str, Any]) -> bytes:
    """Return the four bytes that name a function or an error in call data."""
    return keccak(signature_of(entry).encode())[:4]


def decoder_of(kinds: Sequence[str]) -> Callable[[bytes], Sequence[Any]]:
    """Return what reads values of these types."""
    return words_decoder(kinds) or partial(decode, kinds)


@dataclass(frozen=True)
class Function:
    """A function of an ABI with what calling it needs, worked out once."""

    name: str
    selector: bytes
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[dict[str, Any], ...]
    input_types: tuple[str, ...]
    output_types: tuple[str, ...]
    mutability: str
    encode: Callable[[Sequence[Any]], bytes]
    decode: Callable[[bytes], Sequence[Any]]

    @classmethod
    def of(cls, entry: dict[str, Any]) -> Function:
        """Read one ABI entry."""
        inputs, outputs = tuple(entry["inputs"]), tuple(entry["outputs"])
        input_types = tuple(map(canonical_type, inputs))
        output_types = tuple(map(canonical_type, outputs))
        return cls(
            entry["name"],
            selector_of(entry),
            inputs,
            outputs,
            input_types,
            output_types,
            entry["stateMutability"],
            words_encoder(input_types) or partial(encode, input_types),
            decoder_of(output_types),
        )

    @property
    def is_view(self) -> bool:
        """Whether it can change no state."""
        return self.mutability in ("view", "pure")


@cache
def functions_of(name: str) -> dict[str, Function]:
    """All functions of an artifact, by name (no contract here overloads one)."""
    abi = load_artifact(name).abi
    return {entry["name"]: Function.of(entry) for entry in abi if entry["type"] == "function"}


@cache
def errors_of(name: str) -> dict[bytes, dict[str, Any]]:
    """All custom errors of an artifact, by selector."""
    return {selector_of(entry): entry for entry in load_artifact(name).abi if entry["type"] == "error"}


@dataclass(frozen=True)
class EventShape:
    """An event of an ABI with what reading one of its logs needs, worked out once."""

    name: str
    topic: bytes
    indexed: tuple[dict[str, Any], ...]
    plain: tuple[dict[str, Any], ...]
    decode_topics: Callable[[bytes], Sequence[Any]]
    decode_data: Callable[[bytes], Sequence[Any]]

    @classmethod
    def of(cls, entry: dict[str, Any]) -> EventShape:
        """Read one ABI entry."""
        indexed = tuple(_as_topic(item) for item in entry["inputs"] if item["indexed"])
        plain = tuple(item for item in entry["inputs"] if not item["indexed"])
        return cls(
            entry["name"],
            keccak(signature_of(entry).encode()),
            indexed,
            plain,
            decoder_of([canonical_type(item) for item in indexed]),
            decoder_of([canonical_type(item) for item in plain]),
        )

    def read(self, topics: Sequence[Any], data: bytes) -> SimpleNamespace:
        """Return the arguments of one log by name; of what is hashed into a topic, the hash."""
        values = [*self.decode_topics(b"".join(map(bytes, topics[1:]))), *self.decode_data(data)]
        parameters = (*self.indexed, *self.plain)
        return SimpleNamespace(
            **{
                parameter["name"]: _named(parameter, value)
                for parameter, value in zip(parameters, values, strict=True)
            }
        )


def _as_topic(parameter: dict[str, Any]) -> dict[str, Any]:
    is_hashed = parameter["type"] in ("string", "bytes") or parameter["type"].endswith("]")
    return {**parameter, "type": "bytes32"} if is_hashed else parameter


@cache
def events_of(name: str) -> dict[tuple[bytes, int], EventShape]:
    """All events of an artifact, by first topic and number of topics.

    ERC-20 and ERC-721 share Transfer and Approval: only the number of topics tells them apart.
    """
    shapes = [EventShape.of(entry) for entry in load_artifact(name).abi if entry["type"] == "event"]
    return {(shape.topic, 1 + len(shape.indexed)): shape for shape in shapes}


@cache
def _struct_type(names: tuple[str, ...]) -> Any:
    make: Any = namedtuple
    return make("Struct", names)


def _named(parameter: dict[str, Any], value: Any) -> Any:
    """Give decoded tuples the names of their ABI; addresses their checksum."""
    kind = parameter["type"]
    if kind.endswith("]"):
        inner = {**parameter, "type": kind[: kind.rindex("[")]}
        return tuple(_named(inner, item) for item in value)
    if kind == "tuple":
        shape = _struct_type(tuple(member["name"] for member in parameter["components"]))
        members = zip(parameter["components"], value, strict=True)
        return shape(*(_named(member, item) for member, item in members))
    return _checksummed(value) if kind == "address" else value


@cache
def _checksummed(address: str) -> str:
    return str(to_checksum_address(address))


class Contract:
    """A deployed contract: `contract.fn(args, sender=account)`. The sender may be another contract.

    View functions return their value; others a `Receipt`. Keyword `gas` bounds the call, `value` sends ETH.
    """

    def __init__(self, chain: Evm, artifact: Artifact, address: str) -> None:
        self.chain = chain
        self.name = artifact.name
        self.address = address
        self.functions = functions_of(artifact.name)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in self.functions:
            raise AttributeError(f"{self.name} has no function {name}")

        def invoke(*args: Any, **options: Any) -> Any:
            return self.chain.invoke(self, name, args, **options)

        return invoke

    def selector(self, name: str) -> bytes:
        """Return the four bytes that name a function."""
        return self.functions[name].selector

    def calldata(self, name: str, *args: Any) -> bytes:
        """Return the bytes that call a function."""
        function = self.functions[name]
        return function.selector + function.encode(_plain(args))


def _plain(value: Any) -> Any:
    if isinstance(value, (int, str)):
        return value
    if isinstance(value, (Contract, Account)):
        return value.address
    if isinstance(value, (tuple, list)):
        return tuple(_plain(item) for item in value)
    return as_abi(value)


class Evm:
    """One chain. Cheap to make, and `undone()` brings it back to any earlier moment."""

    def __init__(self, chain_id: int = CHAIN_ID) -> None:
        self._vm = EVM(env=Env(cfg=CfgEnv(chain_id=chain_id)), gas_limit=GAS_LIMIT, spec_id="CANCUN")
        self.chain_id = chain_id
        self.number = START_BLOCK
        self.timestamp = START_TIME_S
        self._errors: dict[bytes, dict[str, Any]] = {}
        self._events: dict[tuple[bytes, int], EventShape] = {}
        self._set_block()

    # -- time -----------------------------------------------------------------------------------------------

    def at(self, timestamp_s: int) -> None:
        """Mine a block with this time, in seconds; never earlier than the last one."""
        assert timestamp_s >= self.timestamp, "chain time never goes back"
        self.number += 1
        self.timestamp = timestamp_s
        self._set_block()

    def warp(self, seconds: int) -> None:
        """Mine a block this many seconds later."""
        self.at(self.timestamp + seconds)

    def mine(self, blocks: int) -> None:
        """Mine empty blocks."""
        self.number += blocks
        self.timestamp += blocks * BLOCK_SECONDS
        self._set_block()

    def block_hash(self, number: int) -> bytes:
        """Return the hash of a block, as BLOCKHASH would while it still knows it."""
        return bytes(self._vm.block_hash(number))

    @contextlib.contextmanager
    def undone(self) -> Iterator[None]:
        """Undo everything done inside, time included."""
        revert = self.checkpoint()
        try:
            yield
        finally:
            revert()

    def checkpoint(self) -> Callable[[], None]:
        """Remember this moment; the returned function goes back to it (once, innermost first)."""
        mark = self._vm.snapshot()
        number, timestamp = self.number, self.timestamp

        def revert() -> None:
            self._vm.revert(mark)
            self._vm.reset_transient_storage()
            self.number, self.timestamp = number, timestamp
            self._set_block()

        return revert

    # -- accounts and contracts -----------------------------------------------------------------------------

    def fund_ether(self, address: str, amount_wei: int) -> None:
        """Give an address ether."""
        self._vm.set_balance(address, amount_wei)

    def ether(self, address: str) -> int:
        """Return an address' ether in wei."""
        return int(self._vm.get_balance(address))

    def storage(self, address: str, slot: int) -> int:
        """Return one storage word."""
        return int(self._vm.storage(address, slot))

    def set_storage(self, address: str, slot: int, value: int) -> None:
        """Put a word where no call could: to see what holds when everything before it failed."""
        self._vm.insert_account_storage(address, slot, value)

    def settle_at(self, contract: Contract, address: str) -> Contract:
        """Let another address run a contract's code, with storage of its own; returns that contract."""
        self._set_code(address, self.code(contract.address))
        return Contract(self, load_artifact(contract.name), to_checksum_address(address))

    def code(self, address: str) -> bytes:
        """Return the code at an address."""
        return bytes(self._vm.get_code(address) or b"")

    def next_address(self, deployer: Account, ahead: int = 0) -> str:
        """Predict where a deployer's next contract (or the one `ahead` later) will live."""
        nonce = self._nonce(deployer) + ahead
        assert nonce < 0x80, "one-byte RLP nonces only"
        sender = bytes.fromhex(deployer.address[2:])
        return to_checksum_address(keccak(b"\xd6\x94" + sender + bytes((nonce or 0x80,)))[12:])

    def deploy(self, name: str, *args: Any, sender: Account) -> Contract:
        """Deploy the artifact of that name. Raises: Reverted."""
        artifact = self.know(name)
        types = [
            canonical_type(item)
            for entry in artifact.abi
            if entry["type"] == "constructor"
            for item in entry["inputs"]
        ]
        code = artifact.bytecode + encode(types, _plain(args))
        return Contract(self, artifact, to_checksum_address(self._create(sender, code)))

    def know(self, name: str) -> Artifact:
        """Load an artifact so that its errors and events are decoded by name."""
        self._errors.update(errors_of(name))
        self._events.update(events_of(name))
        return load_artifact(name)

    def invoke(
        self,
        contract: Contract,
        name: str,
        args: tuple[Any, ...],
        *,
        sender: Account | Contract | None = None,
        gas: int = GAS_LIMIT,
        value: int = 0,
    ) -> Any:
        """Call a function and decode what it returns. Raises: Reverted."""
        function = contract.functions[name]
        data = contract.calldata(name, *args)
        output = self.raw_call(
            sender, contract.address, data, gas=gas, value=value, is_static=function.is_view
        )
        items = zip(function.outputs, function.decode(output), strict=True)
        values = [_named(parameter, item) for parameter, item in items]
        result = values[0] if len(values) == 1 else tuple(values)
        if function.is_view:
            return result
        gas_used, logs = self._effects()
        return Receipt(result, gas_used, tuple(map(self._event, logs)))

    def raw_call(
        self,
        sender: Account | Contract | None,
        to: str,
        data: bytes,
        *,
        gas: int = GAS_LIMIT,
        value: int = 0,
        is_static: bool = False,
    ) -> bytes:
        """Send bytes to an address; what it answers. Raises: Reverted."""
        self._vm.reset_transient_storage()
        caller = sender.address if sender is not None else "0x" + "00" * 20
        with self._decoding(), self._without_code(caller):
            answer = self._vm.message_call(
                caller, to, calldata=data, value=value, gas=gas, is_static=is_static
            )
        return bytes(answer)

    # -- inside ---------------------------------------------------------------------------------------------

    def _set_block(self) -> None:
        self._vm.set_block_env(
            BlockEnv(number=self.number, timestamp=self.timestamp, gas_limit=GAS_LIMIT, basefee=0)
        )

    @contextlib.contextmanager
    def _without_code(self, address: str) -> Iterator[None]:
        """Let a contract send: chains refuse senders with code (EIP-3607), so it has none for the while."""
        code = self.code(address)
        if code:
            self._set_code(address, b"")
        try:
            yield
        finally:
            if code:
                self._set_code(address, code)

    def _set_code(self, address: str, code: bytes) -> None:
        account = self._vm.basic(address)
        info = AccountInfo(nonce=account.nonce, balance=account.balance, code=code)
        self._vm.insert_account_info(address, info)

    @contextlib.contextmanager
    def _decoding(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise self._reverted(str(error)) from None

    def _reverted(self, text: str) -> Reverted:
        found = _OUTPUT.search(text)
        if found is None:
            return Reverted("Halt", (text,), b"")
        raw = bytes.fromhex(found.group(1))
        entry = self._errors.get(raw[:4])
        if entry is not None:
            types = [canonical_type(item) for item in entry["inputs"]]
            items = zip(entry["inputs"], decode(types, raw[4:]), strict=True)
            return Reverted(entry["name"], tuple(_named(parameter, item) for parameter, item in items), raw)
        if raw[:4] == keccak(b"Panic(uint256)")[:4]:
            return Reverted(_PANIC, (hex(int.from_bytes(raw[4:], "big")),), raw)
        if raw[:4] == keccak(b"Error(string)")[:4]:
            return Reverted("Error", decode(["string"], raw[4:]), raw)
        return Reverted("Unknown" if raw else "Empty", (raw.hex(),), raw)

    def _nonce(self, sender: Account) -> int:
        return int(self._vm.basic(sender.address).nonce)

    def _create(self, sender: Account, code: bytes) -> str:
        with self._decoding():
            return str(self._vm.deploy(sender.address, code, gas=GAS_LIMIT))

    def _effects(self) -> tuple[int, Iterable[Any]]:
        """Gas and logs of the last call."""
        made = self._vm.result
        assert made is not None
        return made.gas_used, made.logs

    def _event(self, log: Any) -> Event:
        topics, data = log.data
        shape = self._events.get((bytes(topics[0]), len(topics))) if topics else None
        emitter = _checksummed(log.address)
        if shape is None:
            return Event(emitter, "", SimpleNamespace(topics=topics, data=data))
        return Event(emitter, shape.name, shape.read(topics, data))
